"""Alternative: recursion and reduction instead of loops; IoU from overlaps of intervals."""

import functools

import numpy as np


def interval(lo, hi, other_lo, other_hi):
    """The length that two intervals share: with a sorted list of ends, the middle part."""
    ends = np.sort(np.stack(np.broadcast_arrays(lo, hi, other_lo, other_hi)), axis=0)
    overlap = (
        (np.maximum(lo, other_lo) < np.minimum(hi, other_hi)) & (lo < hi) & (other_lo < other_hi)
    )
    return np.where(overlap, ends[2] - ends[1], 0.0)


def to_corners(boxes):
    signs = np.array([-0.5, -0.5, 0.5, 0.5])
    return np.tile(boxes[..., :2], 2) + signs * np.tile(boxes[..., 2:], 2)


def to_centres(boxes):
    size = boxes[..., [2, 3]] - boxes[..., [0, 1]]
    return np.append(boxes[..., :2] + 0.5 * size, size, axis=-1)


def box_iou(first, second):
    x1, y1, x2, y2 = (first[..., k] for k in range(4))
    u1, v1, u2, v2 = (second[..., k] for k in range(4))
    shared = interval(x1, x2, u1, u2) * interval(y1, y2, v1, v2)
    # Nothing shared is 0, whatever the areas are.
    either = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared
    return shared / np.where(shared > 0, either, 1.0)


def owner_cells(boxes, image_size, grid):
    if len(boxes) == 0:
        return np.zeros((0, 2), np.int64)
    x1, y1, x2, y2 = boxes[0]
    row = np.floor_divide((y1 + y2) * grid, 2 * image_size[0])
    column = np.floor_divide((x1 + x2) * grid, 2 * image_size[1])
    one = np.array([[min(row, grid - 1), min(column, grid - 1)]]).astype(np.int64)
    return np.concatenate([one, owner_cells(boxes[1:], image_size, grid)])


def encode_targets(boxes, labels, cells, image_size, grid, num_classes):
    """The later objects first, so that the first one is written over them."""
    if len(boxes) == 0:
        return (
            np.zeros((grid, grid), bool),
            np.zeros((grid, grid, 4)),
            np.zeros((grid, grid, num_classes)),
        )
    has_object, target, classes = encode_targets(
        boxes[1:], labels[1:], cells[1:], image_size, grid, num_classes
    )
    row, column = cells[0]
    cx, cy, w, h = to_centres(boxes[0])
    has_object[row, column] = True
    target[row, column] = (
        cx / (image_size[1] / grid) - column,
        cy / (image_size[0] / grid) - row,
        np.sqrt(w) / np.sqrt(image_size[1]),
        np.sqrt(h) / np.sqrt(image_size[0]),
    )
    classes[row, column] = 0
    classes[row, column, labels[0]] = 1
    return has_object, target, classes


def predictor_iou(predicted, target, grid):
    def iou(b):
        x, y, w, h = (predicted[..., b, k] ** (1 + k // 2) for k in range(4))
        u, v, s, t = (target[..., k] ** (1 + k // 2) for k in range(4))
        w, h, s, t = w * grid / 2, h * grid / 2, s * grid / 2, t * grid / 2
        one = np.stack([x - w, y - h, x + w, y + h], axis=-1)
        return box_iou(one, np.stack([u - s, v - t, u + s, v + t], axis=-1))

    return np.stack([iou(b) for b in range(predicted.shape[-2])], axis=-1)


def responsible(iou, has_object):
    def better(best, b):
        return np.where(iou[..., b] > np.take_along_axis(iou, best[..., None], -1)[..., 0], b, best)

    best = functools.reduce(better, range(1, iou.shape[-1]), np.zeros(iou.shape[:-1], np.int64))
    return np.stack([(best == b) & has_object for b in range(iou.shape[-1])], axis=-1)


def split_predictions(predictions, num_boxes):
    if num_boxes == 0:
        lead = predictions.shape[:-1]
        return np.zeros((*lead, 0, 4)), np.zeros((*lead, 0)), predictions
    boxes, confidence, scores = split_predictions(predictions[..., 5:], num_boxes - 1)
    return (
        np.concatenate([predictions[..., None, :4], boxes], axis=-2),
        np.concatenate([predictions[..., 4:5], confidence], axis=-1),
        scores,
    )


def of_one_image(box, sure, score, there, target, classes, mask, iou, coord, noobj):
    aim = np.where(there[..., None], target, 0.0)[..., None, :]
    off = np.where(mask[..., None], box - aim, 0.0)
    return np.array(
        [
            coord * np.square(off[..., :2]).sum(),
            coord * np.square(off[..., 2:]).sum(),
            np.square(np.where(mask, sure - iou, 0.0)).sum(),
            noobj * np.square(np.where(mask, 0.0, sure)).sum(),
            np.square(np.where(there[..., None], score - classes, 0.0)).sum(),
        ]
    )


def loss_terms(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    images = zip(boxes, confidence, scores, has_object, target, classes, mask, iou, strict=True)
    rows = [of_one_image(*image, lambda_coord, lambda_noobj) for image in images]
    names = ("centre", "size", "object", "no_object", "class")
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))


def loss_gradients(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    """Every number enters one square, so differences of any width are exact."""

    def slope(square, at, h=1.0):
        return (square(at + h) - square(at - h)) / (2 * h) / len(boxes)

    on = np.expand_dims(mask, -1)
    aim = np.expand_dims(target, -2)
    there = np.expand_dims(has_object, -1)
    return (
        slope(lambda p: lambda_coord * on * (p - aim) ** 2, boxes),
        slope(lambda c: np.where(mask, (c - iou) ** 2, lambda_noobj * c**2), confidence),
        slope(lambda p: there * (p - classes) ** 2, scores),
    )


def yolo_loss(
    predictions, num_boxes, has_object, target, classes, lambda_coord=5.0, lambda_noobj=0.5
):
    boxes, confidence, scores = split_predictions(predictions, num_boxes)
    iou = predictor_iou(boxes, target, len(has_object[0]))
    mask = responsible(iou, has_object)
    given = {
        "boxes": boxes,
        "confidence": confidence,
        "scores": scores,
        "has_object": has_object,
        "target": target,
        "classes": classes,
        "mask": mask,
        "iou": iou,
        "lambda_coord": lambda_coord,
        "lambda_noobj": lambda_noobj,
    }
    terms, (a, b, c) = loss_terms(**given), loss_gradients(**given)
    each = [np.append(a[..., k, :], b[..., k : k + 1], axis=-1) for k in range(num_boxes)]
    return float(np.sum(list(terms.values()))), np.concatenate([*each, c], axis=-1)


def decode(boxes, confidence, scores, image_size):
    height, width = image_size
    grid = len(boxes)
    steps = np.arange(grid)
    x = (boxes[..., 0] + steps[None, :, None]) * (width / grid)
    y = (boxes[..., 1] + steps[:, None, None]) * (height / grid)
    w, h = boxes[..., 2] * boxes[..., 2] * width, boxes[..., 3] * boxes[..., 3] * height
    flat = [
        np.clip(x - w / 2, 0, width).ravel(),
        np.clip(y - h / 2, 0, height).ravel(),
        np.clip(x + w / 2, 0, width).ravel(),
        np.clip(y + h / 2, 0, height).ravel(),
    ]
    sure = confidence.clip(0, 1)[:, :, :, np.newaxis] * scores.clip(0, 1)[:, :, np.newaxis, :]
    return np.column_stack(flat), sure.reshape(len(flat[0]), -1)


def nms(iou, scores, threshold):
    def keep(order):
        if not order:
            return []
        best, *rest = order
        return [best, *keep([i for i in rest if iou[best][i] <= threshold])]

    return np.array(keep(np.argsort(-scores, kind="stable").tolist()), np.int64)


def detect(boxes, scores, score_threshold, iou_threshold):
    table = box_iou(boxes[:, None], boxes)

    def of_class(c):
        some = np.nonzero(scores[:, c] > score_threshold)[0]
        return some[nms(table[np.ix_(some, some)], scores[some, c], iou_threshold)]

    index = [of_class(c) for c in range(scores.shape[1])]
    labels = np.repeat(np.arange(len(index)), [len(i) for i in index])
    joined = np.concatenate(index)
    return boxes[joined], labels, scores[joined, labels]


def match(iou, scores, threshold):
    def turn(order, free):
        if not order:
            return {}
        d, rest = order[0], order[1:]
        best = max(free, key=lambda g: (iou[d, g], -g), default=None)
        if best is not None and iou[d, best] >= threshold:
            return {d: True, **turn(rest, [g for g in free if g != best])}
        return {d: False, **turn(rest, free)}

    order = np.argsort(-scores, kind="stable").tolist()
    result = turn(order, list(range(iou.shape[1])))
    return np.array([result[d] for d in range(len(scores))], bool)


def precision_recall(scores, true, num_objects):
    order = np.argsort(-scores, kind="stable")
    # A triangular matrix adds up what came before.
    found = np.tri(len(order)) @ true[order]
    return found / np.cumsum(np.ones(len(order))), found / num_objects


def ap_11_points(precision, recall):
    best = functools.reduce(
        np.maximum,
        [p * (r >= np.linspace(0, 1, 11)) for p, r in zip(precision, recall, strict=True)],
        np.zeros(11),
    )
    return best.sum() / 11


def ap_area(precision, recall):
    def below(k, before):
        if k == len(recall):
            return 0.0
        return (recall[k] - before) * precision[k:].max() + below(k + 1, recall[k])

    return float(below(0, 0.0))


def mean_average_precision(detections, truths, num_classes, iou_threshold=0.5):
    def of_class(c):
        number = sum((kinds == c).sum() for _, kinds in truths)
        if not number:
            return np.nan
        hits, sure = [], []
        for (boxes, labels, scores), (places, kinds) in zip(detections, truths, strict=True):
            own = labels == c
            table = box_iou(boxes[own][:, None], places[kinds == c])
            hits.append(match(table, scores[own], iou_threshold))
            sure.append(scores[own])
        return ap_area(*precision_recall(np.hstack(sure), np.hstack(hits), number))

    aps = np.array([of_class(c) for c in range(num_classes)])
    return aps, np.nanmean(aps) if not np.isnan(aps).all() else np.nan


def head(features, weight, bias):
    return np.tensordot(features, weight, axes=1) + bias


def head_gradients(features, gradient):
    one = np.ones((*features.shape[:-1], 1))
    both = np.tensordot(np.append(features, one, axis=-1), gradient, axes=([0, 1, 2], [0, 1, 2]))
    return both[:-1], both[-1]


def train(features, weight, bias, num_boxes, has_object, target, classes, steps, learning_rate):
    if steps == 0:
        return weight, bias, np.zeros(0)
    loss, gradient = yolo_loss(head(features, weight, bias), num_boxes, has_object, target, classes)
    grad_weight, grad_bias = head_gradients(features, gradient)
    weight, bias, rest = train(
        features,
        weight - learning_rate * grad_weight,
        bias - learning_rate * grad_bias,
        num_boxes,
        has_object,
        target,
        classes,
        steps - 1,
        learning_rate,
    )
    return weight, bias, np.append(loss, rest)
