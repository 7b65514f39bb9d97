"""Alternative: the loss as one weighted square over arrays in the layout of the predictions."""

import numpy as np


def to_corners(boxes):
    cx, cy, w, h = np.moveaxis(boxes, -1, 0)
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=-1)


def to_centres(boxes):
    # The same map as a 4 x 4 matrix.
    half = 0.5
    matrix = np.array([[half, 0, -1, 0], [0, half, 0, -1], [half, 0, 1, 0], [0, half, 0, 1]])
    return boxes @ matrix


def box_iou(first, second):
    def cover(lo, hi):
        return np.prod(np.clip(hi - lo, 0, None), axis=-1)

    a, b = np.broadcast_arrays(first, second)
    both = cover(np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:]))
    either = cover(a[..., :2], a[..., 2:]) + cover(b[..., :2], b[..., 2:]) - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def owner_cells(boxes, image_size, grid):
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    # How many inner borders lie at or before the centre.
    inner = np.arange(1, grid) / grid
    row = np.searchsorted(inner * image_size[0], y, side="right")
    column = np.searchsorted(inner * image_size[1], x, side="right")
    return np.stack([row, column], axis=1).astype(np.int64)


def encode_targets(boxes, labels, cells, image_size, grid, num_classes):
    flat = cells[:, 0] * grid + cells[:, 1]
    place, first = np.unique(flat, return_index=True)
    scale = np.array(image_size[::-1], dtype=float)
    centre = to_centres(boxes)[first]
    has_object = np.zeros(grid * grid, dtype=bool)
    has_object[place] = True
    target = np.zeros((grid * grid, 4))
    target[place, :2] = centre[:, :2] / scale * grid - cells[first][:, ::-1]
    target[place, 2:] = (centre[:, 2:] / scale) ** 0.5
    classes = np.zeros((grid * grid, num_classes))
    classes[place] = np.eye(num_classes)[labels[first]]
    shape = (grid, grid)
    return has_object.reshape(shape), target.reshape(*shape, 4), classes.reshape(*shape, -1)


def predictor_iou(predicted, target, grid):
    # In cells: sizes times S.
    def corners(coded):
        return to_corners(np.concatenate([coded[..., :2], grid * np.square(coded[..., 2:])], -1))

    return box_iou(corners(predicted), np.expand_dims(corners(target), -2))


def responsible(iou, has_object):
    mask = np.zeros(iou.shape, dtype=bool)
    np.put_along_axis(mask, iou.argmax(-1)[..., None], True, axis=-1)
    mask[~has_object] = False
    return mask


def split_predictions(predictions, num_boxes):
    box_part, scores = np.split(predictions, [5 * num_boxes], axis=-1)
    each = box_part.reshape(predictions.shape[:-1] + (num_boxes, 5))
    boxes, confidence = np.split(each, [4], axis=-1)
    return boxes, confidence[..., 0], scores


def joined(boxes, confidence, scores):
    each = np.concatenate([boxes, confidence[..., None]], axis=-1)
    return np.concatenate([each.reshape(*each.shape[:-2], -1), scores], axis=-1)


def weights_and_aims(boxes, has_object, target, classes, mask, iou, lambda_coord, lambda_noobj):
    on = mask.astype(float)
    coord = np.broadcast_to(lambda_coord * on[..., None], boxes.shape)
    sure = np.where(mask, 1.0, lambda_noobj)
    kind = np.broadcast_to(has_object[..., None].astype(float), classes.shape)
    weight = joined(coord, sure, kind)
    aim = joined(np.broadcast_to(target[..., None, :], boxes.shape), iou * on, classes)
    return weight, aim


def loss_terms(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    weight, aim = weights_and_aims(
        boxes, has_object, target, classes, mask, iou, lambda_coord, lambda_noobj
    )
    square = weight * (joined(boxes, confidence, scores) - aim) ** 2 / len(boxes)
    b, c, s = split_predictions(square, mask.shape[-1])
    return {
        "class": s.sum(),
        "object": c[mask].sum(),
        "no_object": c[~mask].sum(),
        "centre": b[..., :2].sum(),
        "size": b[..., 2:].sum(),
    }


def loss_gradients(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    weight, aim = weights_and_aims(
        boxes, has_object, target, classes, mask, iou, lambda_coord, lambda_noobj
    )
    gradient = 2 * weight * (joined(boxes, confidence, scores) - aim) / len(boxes)
    return split_predictions(gradient, mask.shape[-1])


def yolo_loss(
    predictions, num_boxes, has_object, target, classes, lambda_coord=5.0, lambda_noobj=0.5
):
    boxes, _, _ = split_predictions(predictions, num_boxes)
    iou = predictor_iou(boxes, target, predictions.shape[1])
    mask = responsible(iou, has_object)
    weight, aim = weights_and_aims(
        boxes, has_object, target, classes, mask, iou, lambda_coord, lambda_noobj
    )
    difference = predictions - aim
    share = 1 / predictions.shape[0]
    return np.vdot(weight, difference**2) * share, 2 * share * weight * difference


def decode(boxes, confidence, scores, image_size):
    grid, count = boxes.shape[0], boxes.shape[2]
    scale = np.array([image_size[1], image_size[0]], dtype=float)
    y, x = np.meshgrid(np.arange(grid), np.arange(grid), indexing="ij")
    corner = np.stack([x, y], axis=-1)[:, :, None]
    centre = (boxes[..., :2] + corner) / grid
    half = boxes[..., 2:] ** 2 / 2
    low = np.clip(centre - half, 0, 1) * scale
    high = np.clip(centre + half, 0, 1) * scale
    sure = np.einsum("ijb,ijc->ijbc", confidence.clip(0, 1), scores.clip(0, 1))
    return np.concatenate([low, high], -1).reshape(-1, 4), sure.reshape(grid * grid * count, -1)


def nms(iou, scores, threshold):
    left = np.ones(len(scores), dtype=bool)
    kept = []
    while left.any():
        best = int(np.where(left, scores, -np.inf).argmax())
        kept.append(best)
        left &= iou[best] <= threshold
        left[best] = False
    return np.asarray(kept, dtype=np.int64)


def detect(boxes, scores, score_threshold, iou_threshold):
    found = [np.zeros((0, 6))]
    for c, column in enumerate(scores.T):
        some = column > score_threshold
        own, sure = boxes[some], column[some]
        kept = nms(box_iou(own[:, None, :], own[None, :, :]), sure, iou_threshold)
        found.append(np.column_stack([own[kept], np.full(len(kept), c), sure[kept]]))
    table = np.concatenate(found)
    return table[:, :4], table[:, 4].astype(np.int64), table[:, 5]


def match(iou, scores, threshold):
    true = np.zeros(len(scores), dtype=bool)
    free = np.ones(iou.shape[1], dtype=bool)
    for d in np.lexsort((np.arange(len(scores)), -scores)):
        good = np.flatnonzero(free & (iou[d] >= threshold))
        if good.size:
            free[good[iou[d, good].argmax()]] = False
            true[d] = True
    return true


def precision_recall(scores, true, num_objects):
    order = np.argsort(-scores, kind="mergesort")
    hit = true[order].astype(float)
    tp, fp = np.cumsum(hit), np.cumsum(1 - hit)
    return tp / (tp + fp), tp / num_objects


def ap_11_points(precision, recall):
    t = np.arange(11) / 10
    reached = recall[None, :] >= t[:, None]
    table = np.where(reached, precision, 0.0)
    return np.concatenate([table, np.zeros((11, 1))], axis=1).max(axis=1).mean()


def ap_area(precision, recall):
    r = np.concatenate([[0.0], recall, [1.0]])
    p = np.concatenate([[0.0], precision, [0.0]])
    for k in range(len(p) - 2, -1, -1):
        p[k] = max(p[k], p[k + 1])
    step = np.flatnonzero(r[1:] != r[:-1])
    return float(np.sum((r[step + 1] - r[step]) * p[step + 1]))


def mean_average_precision(detections, truths, num_classes, iou_threshold=0.5):
    aps = np.full(num_classes, np.nan)
    for c in range(num_classes):
        number = sum(int(np.sum(kinds == c)) for _, kinds in truths)
        if number == 0:
            continue
        rows = [np.zeros((2, 0))]
        for (boxes, labels, sure), (places, kinds) in zip(detections, truths, strict=True):
            mine = labels == c
            table = box_iou(boxes[mine][:, None], places[kinds == c][None])
            rows.append(np.stack([sure[mine], match(table, sure[mine], iou_threshold)]))
        sure, hit = np.concatenate(rows, axis=1)
        aps[c] = ap_area(*precision_recall(sure, hit > 0, number))
    some = np.isfinite(aps)
    return aps, np.sum(aps[some]) / some.sum() if some.any() else np.nan


def head(features, weight, bias):
    return np.einsum("nijf,fk->nijk", features, weight) + bias


def head_gradients(features, gradient):
    return np.einsum("nijf,nijk->fk", features, gradient), np.einsum("nijk->k", gradient)


def train(features, weight, bias, num_boxes, has_object, target, classes, steps, learning_rate):
    # The bias as one more row of the weight.
    wide = np.concatenate([features, np.ones((*features.shape[:-1], 1))], axis=-1)
    both = np.vstack([weight, bias])
    losses = np.empty(steps)
    for k in range(steps):
        losses[k], gradient = yolo_loss(wide @ both, num_boxes, has_object, target, classes)
        both = both - learning_rate * np.tensordot(wide, gradient, axes=([0, 1, 2], [0, 1, 2]))
    return both[:-1], both[-1], losses
