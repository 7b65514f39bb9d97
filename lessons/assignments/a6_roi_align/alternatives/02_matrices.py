"""Alternative: matrices: RoIAlign is A_y F A_x^T, its gradient the transpose; one-hot products."""

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
    found = []
    for i in range(height):
        for j in range(width):
            x, y = stride * j + stride / 2, stride * i + stride / 2
            for r in ratios:
                for s in sizes:
                    w, h = s / math.sqrt(r), s * math.sqrt(r)
                    found.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return np.array(found)


def match_anchors(iou, high, low, keep_best=True):
    result = []
    for a in range(iou.shape[1]):
        column = iou[:, a].tolist()
        best = max(column, default=0.0)
        forced = keep_best and any(v > 0 and v == max(iou[g]) for g, v in enumerate(column))
        if column and (forced or best >= high):
            result.append(column.index(best))
        else:
            result.append(-1 if not column or best < low else -2)
    return np.array(result, np.int64)


def sample_anchors(matches, count, fraction, rng):
    numbers = rng.random(len(matches))

    def lowest(mask, most):
        rank = np.argsort(np.argsort(np.where(mask, numbers, 2.0)))
        return np.nonzero(mask & (rank < most))[0]

    positive = lowest(matches > -1, int(count * fraction))
    return positive, lowest(matches == -1, count - positive.size)


def spans(low, high, bins, length):
    low, high = math.floor(low + 0.5), math.floor(high + 0.5)
    n = high - low + 1
    for b in range(bins):
        start, stop = low + b * n // bins, low - (-(b + 1) * n // bins)
        yield range(max(start, 0), min(stop, length))


def roi_pool(x, rois, size, scale):
    out = np.zeros((len(rois), x.shape[1], size[0], size[1]))
    winners = {}
    for k in range(len(rois)):
        n, (x1, y1, x2, y2) = int(rois[k, 0]), (rois[k, 1:] * scale).tolist()
        for i, rows in enumerate(spans(y1, y2, size[0], x.shape[2])):
            for j, columns in enumerate(spans(x1, x2, size[1], x.shape[3])):
                for c in range(x.shape[1]):
                    best = None
                    for r in rows:
                        for s in columns:
                            if best is None or x[n, c, r, s] > x[best]:
                                best = n, c, r, s
                    if best is not None:
                        out[k, c, i, j], winners[k, c, i, j] = x[best], best
    return out, (winners, x.shape)


def roi_pool_backward(grad, cache):
    winners, shape = cache
    grad_x = np.zeros(shape)
    for at, best in winners.items():
        grad_x[best] += grad[at]
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
    start, end = low * scale, high * scale
    if aligned:
        start, end = start - 0.5, end - 0.5
    length = end - start if aligned or end - start > 1 else 1.0
    n = sampling_ratio if sampling_ratio > 0 else math.ceil(length / bins)
    points = [
        [start + b * length / bins + (k + 0.5) * length / (bins * n) for k in range(n)]
        for b in range(bins)
    ]
    return np.array(points, float).reshape(bins, n)


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
    found = []
    for a in sorted(range(len(logits)), key=lambda a: -logits[a])[:pre_top]:
        box = decode(deltas[a : a + 1], anchors[a : a + 1])[0]
        limits = (image_size[1], image_size[0]) * 2
        box = [min(max(v, 0.0), limit) for v, limit in zip(box.tolist(), limits, strict=True)]
        if box[2] - box[0] >= min_size and box[3] - box[1] >= min_size:
            found.append((*box, logits[a]))
    table = np.array(found).reshape(-1, 5)
    table = table[nms(table[:, :4], table[:, 4], threshold)[:post_top]]
    return table[:, :4], table[:, 4]


def assign_levels(boxes, lowest, highest, canonical_level=4, canonical_size=224.0):
    levels = []
    for x1, y1, x2, y2 in boxes.tolist():
        ratio = math.sqrt((x2 - x1) * (y2 - y1)) / canonical_size
        levels.append(min(max(math.floor(canonical_level + math.log2(ratio)), lowest), highest))
    return np.array(levels, dtype=np.int64)


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
