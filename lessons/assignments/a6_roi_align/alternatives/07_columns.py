"""Alternative: columns of boxes unpacked by name, else a mixture: hats, heaps, flat indices."""

import heapq
import math

import numpy as np

LOG_LIMIT = math.log(1000 / 16)


def box_iou(first, second):
    (x1, y1, x2, y2), (u1, v1, u2, v2) = first.T[..., None], second.T[:, None]
    both = np.fmax(np.fmin(x2, u2) - np.fmax(x1, u1), 0)
    both = both * np.fmax(np.fmin(y2, v2) - np.fmax(y1, v1), 0)
    return both / ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - both)


def nms(boxes, scores, threshold):
    heap = [(-float(s), i) for i, s in enumerate(scores)]
    heapq.heapify(heap)
    kept = []
    while heap:
        _, i = heapq.heappop(heap)
        kept.append(i)
        table = box_iou(boxes[[i]], boxes)
        heap = [pair for pair in heap if not table[0, pair[1]] > threshold]
        heapq.heapify(heap)
    return np.asarray(kept, "int64")


def encode(boxes, anchors, weights=(1.0, 1.0, 1.0, 1.0)):
    (x1, y1, x2, y2), (u1, v1, u2, v2) = boxes.T, anchors.T
    wide, high = u2 - u1, v2 - v1
    a, b, c, d = weights
    dx, dy = (x1 + x2 - u1 - u2) / (2 * wide), (y1 + y2 - v1 - v2) / (2 * high)
    return np.stack([a * dx, b * dy, c * np.log((x2 - x1) / wide), d * np.log((y2 - y1) / high)]).T


def decode(deltas, anchors, weights=(1.0, 1.0, 1.0, 1.0)):
    x1, y1, x2, y2 = (anchors[..., k] for k in range(4))
    tx, ty, tw, th = (deltas[..., k] / weights[k] for k in range(4))
    out = np.empty(deltas.shape)
    for k, low, high, move, log in ((0, x1, x2, tx, tw), (1, y1, y2, ty, th)):
        size = high - low
        grown = size * np.exp(np.where(log < LOG_LIMIT, log, LOG_LIMIT))
        out[..., k] = low + size * (move + 0.5) - grown * 0.5
        out[..., k + 2] = out[..., k] + grown
    return out


def anchors_of_level(height, width, stride, sizes, ratios):
    if height > 1:
        above = anchors_of_level(height - 1, width, stride, sizes, ratios)
        last = above[-width * len(sizes) * len(ratios) :] + np.array([0, stride, 0, stride])
        return np.vstack([above, last])
    if width > 1:
        left = anchors_of_level(1, width - 1, stride, sizes, ratios)
        return np.vstack([left, left[-len(sizes) * len(ratios) :] + [stride, 0, stride, 0]])
    half = [(s / r**0.5 / 2, s * r**0.5 / 2) for r in ratios for s in sizes]
    return np.array([(-w, -h, w, h) for w, h in half]) + stride / 2


def match_anchors(iou, high, low, keep_best=True):
    if not len(iou):
        return -np.ones(iou.shape[1], np.int64)
    own = np.argmax(iou, 0)
    best = np.take_along_axis(iou, own[None], 0)[0]
    codes = np.select([best >= high, best >= low], [own, -2], -1)
    for row in iou if keep_best else ():
        if row.max() > 0:
            codes = np.where(row == row.max(), own, codes)
    return codes


def sample_anchors(matches, count, fraction, rng):
    numbers = rng.random(len(matches))

    def lowest(mask, most):
        rank = np.argsort(np.argsort(np.where(mask, numbers, 2.0)))
        return np.nonzero(mask & (rank < most))[0]

    positive = lowest(matches > -1, int(count * fraction))
    return positive, lowest(matches == -1, count - positive.size)


def memberships(low, high, bins, length):
    """(bins, length) bool: the pixels of each bin."""
    low, high = np.floor(low + 0.5), np.floor(high + 0.5)
    step = (high - low + 1) / bins
    pixel = np.arange(length) - low
    b = np.arange(bins)[:, None]
    return (pixel >= np.floor(b * step)) & (pixel < np.ceil((b + 1) * step))


def roi_pool(x, rois, size, scale):
    shape = x.shape
    out, first = np.zeros((len(rois), shape[1], *size)), {}
    for k, (n, x1, y1, x2, y2) in enumerate(rois):
        rows = memberships(y1 * scale, y2 * scale, size[0], shape[2])
        columns = memberships(x1 * scale, x2 * scale, size[1], shape[3])
        for i, j in np.ndindex(*size):
            inside = np.logical_and.outer(rows[i], columns[j])
            if inside.any():
                plane = np.where(inside, x[int(n)], -np.inf).reshape(shape[1], -1)
                out[k, :, i, j] = plane.max(1)
                first[k, i, j] = int(n), plane.argmax(1)
    return out, {"first": first, "shape": shape}


def roi_pool_backward(grad, cache):
    n, c, h, w = cache["shape"]
    grad_x = np.zeros((n, c, h * w))
    for (k, i, j), (image, place) in cache["first"].items():
        grad_x[image, np.arange(c), place] += grad[k, :, i, j]
    return grad_x.reshape(n, c, h, w)


def hats(points, n):
    """(P, n) the hats about pixels, in extended precision; 0 for points outside."""
    at = np.clip(np.asarray(points, np.longdouble), 0, n - 1)
    hat = np.maximum(0, 1 - abs(at[:, None] - np.arange(n)))
    hat[(points < -1) | (points > n)] = 0
    return hat


def bilinear(x, ys, xs):
    both = hats(ys, x.shape[1])[:, :, None] * hats(xs, x.shape[2])[:, None]
    return (x[:, None] * both).sum((2, 3)).astype(float)


def bilinear_backward(grad, size, ys, xs):
    both = hats(ys, size[0])[:, :, None] * hats(xs, size[1])[:, None]
    return (grad[:, :, None, None] * both).sum(1).astype(float)


def sample_points(low, high, bins, scale, sampling_ratio, aligned):
    start, length = low * scale - 0.5 * bool(aligned), (high - low) * scale
    if length < 1 and not aligned:
        length = 1.0
    edges = np.linspace(start, start + length, bins + 1)
    n = sampling_ratio if sampling_ratio >= 1 else -int(-length / bins // 1)
    inner = [np.linspace(edges[b], edges[b + 1], 2 * n + 1)[1::2] for b in range(bins)]
    return np.stack(inner)


def points_of(roi, size, options):
    """The points (ph, pw, n) of a region along y and along x; n may be 0."""
    rows = sample_points(roi[2], roi[4], size[0], *options)
    columns = sample_points(roi[1], roi[3], size[1], *options)
    shape = size[0], size[1], rows.shape[1], columns.shape[1]
    both = [rows[:, None, :, None], columns[None, :, None, :]]
    n = shape[2] * shape[3]
    return [np.broadcast_to(a, shape).reshape(size[0] * size[1] * n) for a in both], n


def roi_align(x, rois, size, scale, sampling_ratio, aligned):
    parts = [np.zeros((0, x.shape[1], *size))]
    for roi in rois:
        points, n = points_of(roi, size, (scale, sampling_ratio, aligned))
        values = bilinear(x[int(roi[0])], *points).reshape(x.shape[1], *size, n)
        parts.append(values.sum(-1)[None] / max(n, 1))
    return np.concatenate(parts)


def roi_align_backward(grad, shape, rois, scale, sampling_ratio, aligned):
    images = [np.zeros(shape[1:]) for _ in range(shape[0])]
    for g, roi in zip(grad, rois, strict=True):
        points, n = points_of(roi, g.shape[1:], (scale, sampling_ratio, aligned))
        spread = np.repeat(g.reshape(shape[1], -1), n, axis=1) / max(n, 1)
        images[int(roi[0])] = images[int(roi[0])] + bilinear_backward(spread, shape[2:], *points)
    return np.array(images)


def binary_cross_entropy(logits, targets):
    where = logits > 0
    e = np.exp(np.where(where, -logits, logits))
    losses = np.where(where, logits * (1 - targets), -logits * targets) + np.log1p(e)
    return np.asfortranarray(losses), (1 + np.tanh(logits / 2)) / 2 - targets


def smooth_l1(predicted, target, beta):
    # Huber: the slope is cut at 1, and the loss is what its integral gives.
    slope = np.clip((predicted - target) / beta, -1, 1)
    return slope * (predicted - target) - beta / 2 * slope**2, slope


def rpn_loss(logits, deltas, targets, positive, negative, beta):
    yes, no = np.zeros(len(logits)), np.zeros(len(logits))
    yes[positive], no[negative] = 1.0, 1.0
    weight = (yes + no) / max((yes + no).sum(), 1)
    losses, slopes = binary_cross_entropy(logits, yes)
    wanted = np.where(yes[:, None] > 0, targets, deltas)
    moved, moves = smooth_l1(deltas, wanted, beta)
    return weight @ losses, (weight @ moved).sum(), weight * slopes, weight[:, None] * moves


def proposals(logits, deltas, anchors, image_size, pre_top, post_top, min_size, threshold):
    moved = decode(deltas, anchors)
    for k, limit in ((0, image_size[1]), (1, image_size[0])):
        moved[:, k::2] = moved[:, k::2].clip(0, limit)
    best = np.argsort(-logits, kind="stable")[:pre_top]
    sides = moved[best, 2:] - moved[best, :2]
    best = best[sides.min(axis=1) >= min_size]
    best = best[nms(moved[best], logits[best], threshold)][:post_top]
    return moved[best], logits[best]


def assign_levels(boxes, lowest, highest, canonical_level=4, canonical_size=224.0):
    x1, y1, x2, y2 = boxes.T
    mantissa, exponent = np.frexp(np.sqrt((x2 - x1) * (y2 - y1)) / canonical_size)
    return np.clip(exponent - 1 + canonical_level, lowest, highest).astype("int64")


def head_loss(logits, deltas, labels, targets, beta):
    n = max(len(labels), 1)
    hot = np.eye(logits.shape[1])[labels]
    logp = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    own = np.where(np.arange(logits.shape[1]) > 0, hot, 0)[..., None]
    # Where nothing is wanted, what is there is: no loss, no gradient, no NaN.
    wanted = np.where(own > 0, targets[:, None], deltas)
    losses, slopes = smooth_l1(deltas, wanted, beta)
    return -(hot * logp).sum() / n, losses.sum() / n, (np.exp(logp) - hot) / n, slopes / n


def detect(logits, deltas, boxes, image_size, weights, min_score, threshold, most):
    logp = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    scores = np.exp(logp)[:, 1:].T  # (C, K)
    moved = decode(deltas[:, 1:], boxes[:, None], weights).transpose(1, 0, 2)
    height, width = image_size
    moved = np.minimum(np.maximum(moved, 0.0), np.array([width, height] * 2, float))
    stays = np.zeros(scores.shape, bool)
    for c, row in enumerate(scores):
        there = np.nonzero(row > min_score)[0]
        stays[c, there[nms(moved[c, there], row[there], threshold)]] = True
    label, index = np.nonzero(stays)
    best = np.lexsort((label, -scores[label, index]))[:most]
    label, index = label[best], index[best]
    return moved[label, index], label + 1, scores[label, index]


def mask_targets(masks, matches, boxes, size):
    # The maps in the order of the proposals: image k is the mask of proposal k.
    rois = np.column_stack([np.arange(len(boxes)), boxes]).astype(float)
    maps = masks[matches].astype(np.float64)[:, None]
    return roi_align(maps, rois, (size, size), 1.0, -1, True).reshape(-1, size, size)


def mask_loss(logits, labels, targets):
    own = np.eye(logits.shape[1])[labels][:, :, None, None]
    losses, slopes = binary_cross_entropy(logits, targets[:, None])
    count = max(targets.size, 1)
    return (losses * own).sum() / count, slopes * own / count
