"""Alternative: recursion, sorted with keys and heapq; results as views and in Fortran order."""

import heapq
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


class Window:
    """A bin on one image: a view of the map, and the winners that it remembers."""

    def __init__(self, image, rows, columns):
        self.image, self.rows, self.columns = image, rows, columns

    def pool(self, x):
        view = x[self.image, :, self.rows, self.columns]
        if 0 in view.shape[1:]:
            self.winners = []
            return np.zeros(len(x[0]))
        self.winners = [np.unravel_index(plane.argmax(), plane.shape) for plane in view]
        return np.array([plane[w] for plane, w in zip(view, self.winners, strict=True)])

    def spread(self, grad_x, grad):
        view = grad_x[self.image, :, self.rows, self.columns]
        for c, winner in enumerate(self.winners):
            view[c][winner] += grad[c]


def slices(low, high, bins, length):
    low = math.floor(low + 0.5)
    step = (math.floor(high + 0.5) - low + 1) / bins
    ends = [(low + math.floor(b * step), low + math.ceil((b + 1) * step)) for b in range(bins)]
    return [slice(*(min(max(v, 0), length) for v in pair)) for pair in ends]


def roi_pool(x, rois, size, scale):
    out, windows = np.zeros((len(rois), x.shape[1], *size)), {}
    for k, roi in enumerate(rois):
        rows = slices(roi[2] * scale, roi[4] * scale, size[0], x.shape[2])
        columns = slices(roi[1] * scale, roi[3] * scale, size[1], x.shape[3])
        for i, j in np.ndindex(*size):
            windows[k, i, j] = Window(int(roi[0]), rows[i], columns[j])
            out[k, :, i, j] = windows[k, i, j].pool(x)
    return out, (windows, x.shape)


def roi_pool_backward(grad, cache):
    windows, shape = cache
    grad_x = np.zeros(shape)
    for (k, i, j), window in windows.items():
        window.spread(grad_x, grad[k, :, i, j])
    return grad_x


def line(points, n):
    """(P, n): the weights of an axis' pixels in points along it."""
    points = np.asarray(points, float)
    weights = 1 - abs(np.clip(points, 0, n - 1)[:, None] - np.arange(n))
    inside = (points >= -1) & (points <= n)
    return np.where(weights > 0, weights, 0) * inside[:, None]


def bilinear(x, ys, xs):
    return np.einsum("ph,chw,pw->cp", line(ys, x.shape[1]), x, line(xs, x.shape[2]))


def bilinear_backward(grad, size, ys, xs):
    return np.einsum("cp,ph,pw->chw", grad, line(ys, size[0]), line(xs, size[1]))


def sample_points(low, high, bins, scale, sampling_ratio, aligned):
    start, length = low * scale - 0.5 * bool(aligned), (high - low) * scale
    if length < 1 and not aligned:
        length = 1.0
    edges = np.linspace(start, start + length, bins + 1)
    n = sampling_ratio if sampling_ratio >= 1 else -int(-length / bins // 1)
    inner = [np.linspace(edges[b], edges[b + 1], 2 * n + 1)[1::2] for b in range(bins)]
    return np.stack(inner)


def axis_matrix(low, high, bins, n, *options):
    points = sample_points(low, high, bins, *options)
    weights = line(points.ravel(), n).reshape(*points.shape, n)
    return weights.sum(1) / max(points.shape[1], 1)


def region_matrices(roi, shape, size, options):
    _, x1, y1, x2, y2 = roi
    rows = axis_matrix(y1, y2, size[0], shape[2], *options)
    return rows, axis_matrix(x1, x2, size[1], shape[3], *options)


def roi_align(x, rois, size, *options):
    out = np.zeros((len(rois), x.shape[1], *size))
    for k, roi in enumerate(rois):
        rows, columns = region_matrices(roi, x.shape, size, options)
        out[k] = rows @ x[int(roi[0])] @ columns.T
    return out


def roi_align_backward(grad, shape, rois, *options):
    grad_x = np.zeros(shape)
    for g, roi in zip(grad, rois, strict=True):
        rows, columns = region_matrices(roi, shape, g.shape[1:], options)
        grad_x[int(roi[0])] += rows.T @ g @ columns
    return grad_x


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
