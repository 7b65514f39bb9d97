"""Alternative: plain Python loops over single numbers."""

import math

import numpy as np

LOG_LIMIT = math.log(1000 / 16)


def box_iou(first, second):
    out = np.zeros((len(first), len(second)))
    for i, (a, b, c, d) in enumerate(first.tolist()):
        for j, (e, f, g, h) in enumerate(second.tolist()):
            w, v = min(c, g) - max(a, e), min(d, h) - max(b, f)
            if w > 0 and v > 0:
                out[i, j] = w * v / ((c - a) * (d - b) + (g - e) * (h - f) - w * v)
    return out


def nms(boxes, scores, threshold):
    alive, kept = list(range(len(scores))), []
    while alive:
        best = max(alive, key=lambda i: (scores[i], -i))
        kept.append(best)
        row = box_iou(boxes[best : best + 1], boxes)[0]
        alive = [i for i in alive if i != best and row[i] <= threshold]
    return np.array(kept, dtype=np.int64)


def middle(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]


def encode(boxes, anchors, weights=(1.0, 1.0, 1.0, 1.0)):
    out = np.empty(boxes.shape)
    for k in range(len(boxes)):
        (x, y, w, h), (xa, ya, wa, ha) = middle(boxes[k]), middle(anchors[k])
        t = (x - xa) / wa, (y - ya) / ha, np.log(w) - np.log(wa), np.log(h) - np.log(ha)
        out[k] = [a * b for a, b in zip(t, weights, strict=True)]
    return out


def decode(deltas, anchors, weights=(1.0, 1.0, 1.0, 1.0)):
    starts = np.broadcast_to(anchors, deltas.shape)
    out = np.empty(deltas.shape)
    for at in np.ndindex(*deltas.shape[:-1]):
        xa, ya, wa, ha = middle(starts[at])
        tx, ty, tw, th = (float(t) / w for t, w in zip(deltas[at], weights, strict=True))
        w, h = wa * math.exp(min(tw, LOG_LIMIT)), ha * math.exp(min(th, LOG_LIMIT))
        x, y = xa + tx * wa, ya + ty * ha
        out[at] = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    return out


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
    order = sorted(range(len(matches)), key=lambda a: (numbers[a], a))
    positive = [a for a in order if matches[a] >= 0][: int(count * fraction)]
    negative = [a for a in order if matches[a] == -1][: count - len(positive)]
    return tuple(np.array(sorted(part), dtype=np.int64) for part in (positive, negative))


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


def neighbours(y, x, height, width):
    """(row, column, weight) of the pixels about a point."""
    if not (-1 <= y <= height and -1 <= x <= width):
        return []
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    i, j = int(y), int(x)
    corners = [(i, j), (i, j + 1), (i + 1, j), (i + 1, j + 1)]
    pairs = [(a, b, (1 - abs(y - a)) * (1 - abs(x - b))) for a, b in corners]
    return [(a, b, w) for a, b, w in pairs if a < height and b < width]


def bilinear(x, ys, xs):
    out = np.zeros((len(x), len(ys)))
    for p in range(len(ys)):
        for a, b, w in neighbours(float(ys[p]), float(xs[p]), *x.shape[1:]):
            out[:, p] += x[:, a, b] * w
    return out


def bilinear_backward(grad, size, ys, xs):
    grad_x = np.zeros((len(grad), *size))
    for p in range(len(ys)):
        for a, b, w in neighbours(float(ys[p]), float(xs[p]), *size):
            grad_x[:, a, b] += grad[:, p] * w
    return grad_x


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


def roi_align(x, rois, size, scale, sampling_ratio, aligned):
    out = np.zeros((len(rois), x.shape[1], *size))
    for k, (n, x1, y1, x2, y2) in enumerate(rois.tolist()):
        rows = sample_points(y1, y2, size[0], scale, sampling_ratio, aligned)
        columns = sample_points(x1, x2, size[1], scale, sampling_ratio, aligned)
        for i, j in np.ndindex(*size):
            pairs = [(y, z) for y in rows[i] for z in columns[j]]
            if pairs:
                ys, xs = np.array(pairs).T
                out[k, :, i, j] = bilinear(x[int(n)], ys, xs).sum(1) / len(pairs)
    return out


def roi_align_backward(grad, shape, rois, scale, sampling_ratio, aligned):
    grad_x = np.zeros(shape)
    for k, (n, x1, y1, x2, y2) in enumerate(rois.tolist()):
        rows = sample_points(y1, y2, grad.shape[2], scale, sampling_ratio, aligned)
        columns = sample_points(x1, x2, grad.shape[3], scale, sampling_ratio, aligned)
        for i, j in np.ndindex(*grad.shape[2:]):
            pairs = [(y, z) for y in rows[i] for z in columns[j]]
            if pairs:
                ys, xs = np.array(pairs).T
                each = np.repeat(grad[k, :, i, j, None] / len(pairs), len(pairs), 1)
                grad_x[int(n)] += bilinear_backward(each, shape[2:], ys, xs)
    return grad_x


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z > 0 else math.exp(max(z, -745)) / (1 + math.exp(z))


def binary_cross_entropy(logits, targets):
    losses, slopes = np.zeros(logits.shape), np.zeros(logits.shape)
    for at in np.ndindex(*logits.shape):
        z, t = float(logits[at]), float(targets[at])
        losses[at] = max(z, 0.0) - z * t + math.log1p(math.exp(-abs(z)))
        slopes[at] = sigmoid(z) - t
    return losses, slopes


def smooth_l1(predicted, target, beta):
    d = np.subtract(predicted, target)
    losses, slopes = abs(d) - 0.5 * beta, np.where(d > 0, 1.0, -1.0)
    close = abs(d) < beta
    losses[close] = 0.5 * d[close] * d[close] / beta
    slopes[close] = d[close] / beta
    return losses, slopes


def rpn_loss(logits, deltas, targets, positive, negative, beta):
    n = len(positive) + len(negative) or 1
    grad_logits, grad_deltas = np.zeros_like(logits), np.zeros_like(deltas)
    objectness = boxes = 0.0
    for wanted, group in ((1.0, positive), (0.0, negative)):
        for a in group:
            loss, slope = binary_cross_entropy(logits[a : a + 1], np.array([wanted]))
            objectness += loss[0] / n
            grad_logits[a] = slope[0] / n
    for a in positive:
        loss, slope = smooth_l1(deltas[a], targets[a], beta)
        boxes += loss.sum() / n
        grad_deltas[a] = slope / n
    return objectness, boxes, grad_logits, grad_deltas


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
    n = len(labels) or 1
    grad_logits, grad_deltas = np.zeros_like(logits), np.zeros_like(deltas)
    classes = boxes = 0.0
    for k, c in enumerate(labels.tolist()):
        row = [math.exp(v) for v in (logits[k] - max(logits[k])).tolist()]
        classes += math.log(sum(row)) - float(logits[k, c] - max(logits[k]))
        grad_logits[k] = np.array(row) / sum(row) / n
        grad_logits[k, c] -= 1 / n
        if c:
            loss, slope = smooth_l1(deltas[k, c], targets[k], beta)
            boxes += loss.sum()
            grad_deltas[k, c] = slope / n
    return classes / n, boxes / n, grad_logits, grad_deltas


def detect(logits, deltas, boxes, image_size, weights, min_score, threshold, most):
    found = []
    for c in range(1, logits.shape[1]):
        rows = []
        for k in range(len(boxes)):
            p = 1 / np.exp(np.minimum(logits[k] - logits[k, c], 700)).sum()
            if p > min_score:
                x1, y1, x2, y2 = decode(deltas[k, c], boxes[k], weights)
                box = np.array([x1, y1, x2, y2])
                box[::2] = np.clip(box[::2], 0, image_size[1])
                box[1::2] = np.clip(box[1::2], 0, image_size[0])
                rows.append((*box, p))
        table = np.array(rows).reshape(-1, 5)
        for i in nms(table[:, :4], table[:, 4], threshold):
            found.append((table[i], c))
    found = sorted(found, key=lambda pair: -pair[0][4])[:most]
    table = np.array([row for row, _ in found]).reshape(-1, 5)
    return table[:, :4], np.array([c for _, c in found], np.int64), table[:, 4]


def mask_targets(masks, matches, boxes, size):
    out = np.zeros((len(boxes), size, size))
    for k, g in enumerate(matches):
        roi = np.array([[0.0, *boxes[k]]])
        out[k] = roi_align(1.0 * masks[g][None, None], roi, (size, size), 1.0, 0, True)[0, 0]
    return out


def mask_loss(logits, labels, targets):
    gradient = np.zeros(logits.shape)
    total = 0.0
    for k, c in enumerate(labels):
        losses, slope = binary_cross_entropy(logits[k, c], targets[k])
        total += losses.mean() / len(labels)
        gradient[k, c] = slope / slope.size / len(labels)
    return total, gradient
