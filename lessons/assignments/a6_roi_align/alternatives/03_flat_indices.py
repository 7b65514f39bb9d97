"""Alternative: flat indices, np.bincount and np.take in place of loops and np.add.at."""

import math

import numpy as np

LOG_LIMIT = math.log(1000 / 16)


def box_iou(first, second):
    sides = []
    for k in (0, 1):
        low = np.maximum.outer(first[:, k], second[:, k])
        sides.append(np.clip(np.minimum.outer(first[:, k + 2], second[:, k + 2]) - low, 0, None))
    both = sides[0] * sides[1]
    one, two = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (first, second))
    return both / (np.add.outer(one, two) - both)


def nms(boxes, scores, threshold):
    order = np.lexsort((np.arange(len(scores)), -scores))
    bad = np.triu(box_iou(boxes[order], boxes[order]) > threshold, 1)
    stays = np.ones(len(order), bool)
    for k in range(len(order)):
        if stays[k]:
            stays &= ~bad[k]
    return order[stays]


FORM = np.array([[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [-1, 0, 1, 0], [0, -1, 0, 1]])


def encode(boxes, anchors, weights=(1.0, 1.0, 1.0, 1.0)):
    wanted, start = boxes @ FORM.T, anchors @ FORM.T
    moves = np.hstack(
        [(wanted - start)[:, :2] / start[:, 2:], np.log(wanted[:, 2:] / start[:, 2:])]
    )
    return moves @ np.diag(weights)


def decode(deltas, anchors, weights=(1.0, 1.0, 1.0, 1.0)):
    start = anchors @ FORM.T
    moves = deltas @ np.diag(1 / np.array(weights))
    grown = np.where(moves[..., 2:] > LOG_LIMIT, 62.5, np.exp(np.minimum(moves[..., 2:], 5)))
    centre = start[..., :2] + moves[..., :2] * start[..., 2:]
    return np.concatenate([centre, grown * start[..., 2:]], -1) @ np.linalg.inv(FORM).T


def anchors_of_level(height, width, stride, sizes, ratios):
    n = np.arange(height * width * len(ratios) * len(sizes))
    i, j, r, s = np.unravel_index(n, (height, width, len(ratios), len(sizes)))
    ratio, size = np.take(ratios, r), np.take(sizes, s)
    half_w, half_h = size * ratio**-0.5 / 2, size * ratio**0.5 / 2
    x, y = (2 * j + 1) * stride / 2, (2 * i + 1) * stride / 2
    return np.column_stack([x - half_w, y - half_h, x + half_w, y + half_h])


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


def spans(low, high, bins, length):
    low, high = (int(np.floor(v + 0.5)) for v in (low, high))
    edges = np.arange(bins + 1) * (high - low + 1)
    return np.clip([edges[:-1] // bins + low, -(-edges[1:] // bins) + low], 0, length).T


def roi_pool(x, rois, size, scale):
    _, channels, height, width = x.shape
    out, places = np.zeros((2, len(rois), channels, *size))
    numbers = np.arange(x.size).reshape(x.shape)
    for k, (n, x1, y1, x2, y2) in enumerate(rois * [1, scale, scale, scale, scale]):
        for i, (top, bottom) in enumerate(spans(y1, y2, size[0], height)):
            for j, (left, right) in enumerate(spans(x1, x2, size[1], width)):
                part = numbers[int(n), :, top:bottom, left:right].reshape(channels, -1)
                if part.size:
                    best = np.take(x, part).argmax(-1)
                    where = part[np.arange(channels), best]
                    out[k, :, i, j], places[k, :, i, j] = np.take(x, where), where + 1
    return out, [places, np.array(x.shape)]


def roi_pool_backward(grad, cache):
    places, shape = cache
    total = np.bincount(places.astype(int).ravel(), grad.ravel(), 1 + np.prod(shape))
    return total[1:].reshape(shape)


def corner_weights(size, ys, xs):
    """Flat indices (4, P) of the pixels about each point, and their weights (4, P)."""
    height, width = size
    outside = (ys < -1) | (ys > height) | (xs < -1) | (xs > width)
    y, x = ys.clip(0, height - 1), xs.clip(0, width - 1)
    i, j = y.astype(int), x.astype(int)
    index, weight = [], []
    for a in (0, 1):
        for b in (0, 1):
            row, column = np.minimum(i + a, height - 1), np.minimum(j + b, width - 1)
            index.append(row * width + column)
            weight.append(abs(1 - a - y + i) * abs(1 - b - x + j))
    return np.array(index), np.where(outside, 0.0, weight)


def bilinear(x, ys, xs):
    index, weight = corner_weights(x.shape[1:], ys, xs)
    return (np.take(x.reshape(len(x), -1), index, axis=1) * weight).sum(1)


def bilinear_backward(grad, size, ys, xs):
    index, weight = corner_weights(size, ys, xs)
    total = [np.bincount(index.ravel(), (weight * g).ravel(), size[0] * size[1]) for g in grad]
    return np.array(total).reshape(-1, *size)


def sample_points(low, high, bins, scale, sampling_ratio, aligned):
    length = max((high - low) * scale, 0.0 if aligned else 1.0)
    n = sampling_ratio if sampling_ratio > 0 else int(np.ceil(length / bins))
    every = (2 * np.arange(bins * n) + 1) * (length / (2 * bins * max(n, 1)))
    return (every + low * scale - aligned * 0.5).reshape(bins, n)


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
    yes, no = np.logaddexp(0, -logits), np.logaddexp(0, logits)
    return targets * yes + (1 - targets) * no, np.exp(-yes) - targets


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
    side = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    # A box has level k or more from canonical_size * 2 ** (k - canonical_level) on.
    borders = canonical_size * 2.0 ** (np.arange(lowest + 1, highest + 1) - canonical_level)
    return lowest + np.searchsorted(borders, side, side="right").astype(np.int64)


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
