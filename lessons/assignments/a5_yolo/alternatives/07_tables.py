"""Alternative: tables of all pairs and fixed points instead of greedy loops; no loop over boxes."""

import numpy as np


def to_corners(boxes):
    matrix = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])
    return np.einsum("...i,ij->...j", boxes, matrix)


def to_centres(boxes):
    matrix = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]])
    return np.einsum("...i,ij->...j", boxes, matrix)


def box_iou(first, second):
    # The share of each axis is a sum of both lengths less the length of the hull, if positive.
    length, other = first[..., 2:] - first[..., :2], second[..., 2:] - second[..., :2]
    hull = np.maximum(first[..., 2:], second[..., 2:]) - np.minimum(first[..., :2], second[..., :2])
    apart = (second[..., :2] >= first[..., 2:]) | (first[..., :2] >= second[..., 2:])
    empty = (length <= 0) | (other <= 0)
    ends = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = np.where(apart | empty | (hull <= 0), 0.0, ends).prod(axis=-1)
    union = length.prod(axis=-1) + other.prod(axis=-1) - shared
    return np.where(shared > 0, shared, 0.0) / np.where(shared > 0, union, 1.0)


def owner_cells(boxes, image_size, grid):
    middle = (boxes[:, [1, 0]] + boxes[:, [3, 2]]) / 2
    cells = np.trunc(middle / np.divide(image_size, grid))
    return np.where(cells >= grid, grid - 1, cells).astype(np.int64)


def encode_targets(boxes, labels, cells, image_size, grid, num_classes):
    count = len(boxes)
    code = cells[:, 0] * grid + cells[:, 1]
    # (S * S, R + 1): whose cell it is; the last column says nobody.
    mine = code == np.arange(grid * grid)[:, None]
    mine = np.concatenate([mine, np.ones((grid * grid, 1), bool)], axis=1)
    owner = mine.argmax(axis=1)
    has_object = owner < count
    scale = np.array([image_size[1], image_size[0]])
    coded = np.zeros((count + 1, 4))
    coded[:count, :2] = (boxes[:, :2] + boxes[:, 2:]) / 2 * grid / scale - cells[:, [1, 0]]
    coded[:count, 2:] = np.sqrt((boxes[:, 2:] - boxes[:, :2]) / scale)
    kinds = np.zeros((count + 1, num_classes))
    kinds[np.arange(count), labels] = 1
    return (
        has_object.reshape(grid, grid),
        coded[owner].reshape(grid, grid, 4),
        kinds[owner].reshape(grid, grid, num_classes),
    )


def predictor_iou(predicted, target, grid):
    unit = np.array([1.0, 1.0, grid, grid])
    power = np.array([1, 1, 2, 2])
    first, second = (to_corners(c**power * unit) for c in (predicted, target))
    return box_iou(first, second.reshape(*target.shape[:-1], 1, 4))


def responsible(iou, has_object):
    # Who is beaten: by a larger one, or by an equal one before it.
    index = np.arange(iou.shape[-1])
    one, other = iou[..., :, None], iou[..., None, :]
    beaten = (other > one) | ((other == one) & (index < index[:, None]))
    return ~beaten.any(axis=-1) & has_object[..., None]


def split_predictions(predictions, num_boxes):
    kind = np.concatenate(
        [np.tile([0, 0, 0, 0, 1], num_boxes), np.full(predictions.shape[-1] - 5 * num_boxes, 2)]
    )
    boxes = predictions[..., kind == 0]
    return (
        boxes.reshape(*boxes.shape[:-1], num_boxes, 4),
        predictions[..., kind == 1],
        predictions[..., kind == 2],
    )


def loss_terms(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    # Everything multiplied out: (p - t)^2 = p^2 - 2 p t + t^2.
    m, there, n = mask.astype(float), has_object.astype(float), boxes.shape[0]

    def square(k):
        p, t = boxes[..., k], target[..., k]
        own = np.einsum("nijb,nijbk,nijbk->", m, p, p)
        cross = np.einsum("nijb,nijbk,nijk->", m, p, t)
        return own - 2 * cross + np.einsum("nijb,nijk,nijk->", m, t, t)

    return {
        "centre": lambda_coord * square(slice(0, 2)) / n,
        "size": lambda_coord * square(slice(2, 4)) / n,
        "object": np.einsum("nijb,nijb->", m, (confidence - iou) ** 2) / n,
        "no_object": lambda_noobj * np.einsum("nijb,nijb->", 1 - m, confidence**2) / n,
        "class": np.einsum("nij,nijc->", there, (scores - classes) ** 2) / n,
    }


def loss_gradients(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    m, there, n = mask.astype(float), has_object.astype(float), boxes.shape[0]
    box = np.einsum("nijb,nijbk->nijbk", m, boxes) - np.einsum("nijb,nijk->nijbk", m, target)
    sure = m * (confidence - iou) + lambda_noobj * (1 - m) * confidence
    kind = np.einsum("nij,nijc->nijc", there, scores - classes)
    return box * (2 * lambda_coord / n), sure * (2 / n), kind * (2 / n)


def yolo_loss(
    predictions, num_boxes, has_object, target, classes, lambda_coord=5.0, lambda_noobj=0.5
):
    boxes, confidence, scores = split_predictions(predictions, num_boxes)
    iou = predictor_iou(boxes, target, has_object.shape[2])
    mask = responsible(iou, has_object)
    given = [boxes, confidence, scores, has_object, target, classes, mask, iou]
    weights = [lambda_coord, lambda_noobj]
    box, sure, kind = loss_gradients(*given, *weights)
    gradient = np.insert(
        box.reshape(*box.shape[:3], -1), np.arange(4, 4 * num_boxes + 1, 4), sure, axis=-1
    )
    return sum(loss_terms(*given, *weights).values()), np.append(gradient, kind, axis=-1)


def decode(boxes, confidence, scores, image_size):
    grid, _, count = confidence.shape
    row, column = np.divmod(np.arange(grid * grid), grid)
    start = np.stack([column, row], axis=-1).reshape(grid, grid, 1, 2)
    wide = np.array([image_size[1], image_size[0]])
    coded = np.concatenate(
        [(boxes[..., :2] + start) / grid * wide, boxes[..., 2:] ** 2 * wide], axis=-1
    )
    corners = to_corners(coded).reshape(grid * grid * count, 2, 2)
    corners = np.minimum(np.maximum(corners, 0), wide).reshape(-1, 4)
    sure = np.maximum(np.minimum(confidence, 1), 0).reshape(-1, count, 1)
    kind = np.maximum(np.minimum(scores, 1), 0).reshape(grid * grid, 1, -1)
    return corners, (sure * kind).reshape(-1, scores.shape[-1])


def nms(iou, scores, threshold):
    """Repeated until nothing changes: a box stays if no box that stays and is surer overlaps it."""
    order = np.lexsort((np.arange(len(scores)), -scores))
    over = np.triu(iou[order][:, order] > threshold, 1)
    stays = np.ones(len(order), bool)
    while True:
        now = ~(over & stays[:, None]).any(axis=0)
        if (now == stays).all():
            return order[stays]
        stays = now


def detect(boxes, scores, score_threshold, iou_threshold):
    # Each class in a place of its own, far from the others: one suppression for all.
    label, index = np.nonzero((scores > score_threshold).T)
    sure = scores[index, label]
    own = boxes[index]
    reach = np.ptp(boxes) + 1.0
    moved = own + np.repeat(label[:, None] * 4.0 * np.exp2(np.ceil(np.log2(reach))), 4, axis=1)
    kept = nms(box_iou(moved[:, None], moved[None]), sure, iou_threshold)
    kept = kept[np.lexsort((np.arange(len(kept)), label[kept]))]
    return own[kept], label[kept], sure[kept]


def match(iou, scores, threshold):
    table = np.where(iou >= threshold, iou, 0.0)
    true = np.zeros(len(scores), bool)
    for d in np.argsort(-scores, kind="stable"):
        if table[d].any():
            table[:, table[d].argmax()] = 0.0
            true[d] = True
    return true


def precision_recall(scores, true, num_objects):
    index = np.arange(len(scores))
    before = (scores > scores[:, None]) | ((scores == scores[:, None]) & (index <= index[:, None]))
    rank = before.sum(axis=1)  # from 1 on
    found = (before & true).sum(axis=1)
    precision, recall = np.zeros(len(scores)), np.zeros(len(scores))
    precision[rank - 1] = found / rank
    recall[rank - 1] = found / num_objects
    return precision, recall


def ap_11_points(precision, recall):
    grid = np.arange(0, 11)
    table = np.where(10 * recall >= grid[:, None], precision, 0)
    return float(table.max(axis=1, initial=0).sum() / 11)


def ap_area(precision, recall):
    right = recall[None] >= recall[:, None]
    best = np.where(right, precision, 0.0).max(axis=1, initial=0.0)
    return float(np.sum(best * (recall - np.concatenate([[0.0], recall])[: len(recall)])))


def mean_average_precision(detections, truths, num_classes, iou_threshold=0.5):
    number = np.zeros(num_classes)
    for _, kinds in truths:
        np.add.at(number, kinds, 1)
    rows = []
    for (boxes, labels, sure), (places, kinds) in zip(detections, truths, strict=True):
        # Of another class: no overlap; so all classes are matched at once.
        table = box_iou(boxes[:, None], places[None])
        table[labels[:, None] != kinds] = 0.0
        rows.append(np.column_stack([labels, sure, match(table, sure, iou_threshold)]))
    label, sure, hit = np.concatenate(rows).T
    aps = np.full(num_classes, np.nan)
    for c in np.flatnonzero(number):
        own = label == c
        aps[c] = ap_area(*precision_recall(sure[own], hit[own] > 0, number[c]))
    return aps, (np.nansum(aps) / (number > 0).sum() if number.any() else np.nan)


def head(features, weight, bias):
    return (features[..., None, :] @ weight)[..., 0, :] + bias


def head_gradients(features, gradient):
    by_cell = features[..., :, None] * gradient[..., None, :]
    return by_cell.sum(axis=(0, 1, 2)), gradient.sum(axis=(0, 1, 2))


def train(features, weight, bias, num_boxes, has_object, target, classes, steps, learning_rate):
    history = [(weight, bias)]
    losses = np.zeros(steps)
    for k in range(steps):
        weight, bias = history[-1]
        losses[k], slope = yolo_loss(
            head(features, weight, bias), num_boxes, has_object, target, classes
        )
        grad_weight, grad_bias = head_gradients(features, slope)
        history.append((weight - learning_rate * grad_weight, bias - learning_rate * grad_bias))
    return *history[-1], losses
