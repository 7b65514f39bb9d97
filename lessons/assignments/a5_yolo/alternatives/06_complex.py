"""Alternative: corners as complex numbers x + iy, results in Fortran order and as views."""

import numpy as np


def to_complex(boxes):
    """The two points of (..., 4) numbers, each (...) complex."""
    return boxes[..., 0] + 1j * boxes[..., 1], boxes[..., 2] + 1j * boxes[..., 3]


def to_real(first, second):
    return np.asfortranarray(np.stack([first.real, first.imag, second.real, second.imag], axis=-1))


def to_corners(boxes):
    centre, size = to_complex(boxes)
    return to_real(centre - size / 2, centre + size / 2)


def to_centres(boxes):
    low, high = to_complex(boxes)
    return to_real((low + high) / 2, high - low)


def area(low, high):
    size = high - low
    return np.where((size.real > 0) & (size.imag > 0), size.real * size.imag, 0.0)


def overlap(low, high, other_low, other_high):
    begin = np.maximum(low.real, other_low.real) + 1j * np.maximum(low.imag, other_low.imag)
    end = np.minimum(high.real, other_high.real) + 1j * np.minimum(high.imag, other_high.imag)
    shared = area(begin, end)
    whole = area(low, high) + area(other_low, other_high) - shared
    return shared / (whole + (whole == 0))


def box_iou(first, second):
    return overlap(*to_complex(first), *to_complex(second))


def owner_cells(boxes, image_size, grid):
    low, high = to_complex(boxes)
    middle = (low + high) / 2
    # For each centre the number of cells that begin at or before it, less one.
    begins = np.arange(grid)
    row = (begins * image_size[0] / grid <= middle.imag[:, None]).sum(axis=1) - 1
    column = (begins * image_size[1] / grid <= middle.real[:, None]).sum(axis=1) - 1
    return np.array([row, column]).T


def encode_targets(boxes, labels, cells, image_size, grid, num_classes):
    height, width = image_size
    has_object = np.zeros((grid, grid), bool, order="F")
    target = np.zeros((4, grid, grid))
    classes = np.zeros((num_classes, grid, grid))
    for i in range(len(boxes)):
        row, column = cells[i]
        if not has_object[row, column]:
            low, high = to_complex(boxes[i])
            size, middle = high - low, low + (high - low) / 2
            has_object[row, column] = True
            target[0, row, column] = middle.real / (width / grid) - column
            target[1, row, column] = middle.imag / (height / grid) - row
            target[2:, row, column] = np.sqrt([size.real / width, size.imag / height])
            classes[labels[i], row, column] = 1
    return has_object, target.transpose(1, 2, 0), classes.transpose(1, 2, 0)


def predictor_iou(predicted, target, grid):
    def corners(coded):
        centre, root = to_complex(coded)
        half = (root.real**2 + 1j * root.imag**2) / 2
        return centre / grid - half, centre / grid + half

    low, high = corners(target)
    return overlap(*corners(predicted), low[..., None], high[..., None])


def responsible(iou, has_object):
    # Stable sort by falling overlap: the first of the equal ones comes first.
    first = np.argsort(-iou, axis=-1, kind="stable")[..., 0]
    mask = np.eye(iou.shape[-1], dtype=bool)[first]
    return np.logical_and(mask, np.expand_dims(has_object, -1))


def split_predictions(predictions, num_boxes):
    last = np.moveaxis(predictions, -1, 0)
    boxes = np.stack([last[k : 5 * num_boxes : 5] for k in range(4)])  # (4, B, ...)
    confidence = last[4 : 5 * num_boxes : 5]
    boxes = np.moveaxis(boxes, (0, 1), (-1, -2))
    return boxes, np.moveaxis(confidence, 0, -1), np.moveaxis(last[5 * num_boxes :], 0, -1)


def loss_terms(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    n = len(boxes)
    centre, size = to_complex(boxes)
    aim_centre, aim_size = (a[..., None] for a in to_complex(target))
    others = np.logical_not(mask)
    return {
        "centre": lambda_coord / n * (abs(centre - aim_centre) ** 2)[mask].sum(),
        "size": lambda_coord / n * (abs(size - aim_size) ** 2)[mask].sum(),
        "object": np.linalg.norm(confidence[mask] - iou[mask]) ** 2 / n,
        "no_object": lambda_noobj * np.linalg.norm(confidence[others]) ** 2 / n,
        "class": np.linalg.norm(scores[has_object] - classes[has_object]) ** 2 / n,
    }


def loss_gradients(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    n = len(boxes)
    factor = np.where(mask, 2 * lambda_coord / n, 0)
    centre, size = to_complex(boxes)
    aim_centre, aim_size = (a[..., None] for a in to_complex(target))
    grad_boxes = to_real((centre - aim_centre) * factor, (size - aim_size) * factor)
    grad_confidence = np.empty_like(confidence)
    grad_confidence[mask] = 2 * (confidence - iou)[mask] / n
    grad_confidence[~mask] = 2 * lambda_noobj * confidence[~mask] / n
    grad_scores = np.where(has_object[..., None], 2 * (scores - classes) / n, 0)
    return grad_boxes, grad_confidence, grad_scores


def yolo_loss(
    predictions, num_boxes, has_object, target, classes, lambda_coord=5.0, lambda_noobj=0.5
):
    parts = split_predictions(predictions, num_boxes)
    iou = predictor_iou(parts[0], target, predictions.shape[-2])
    given = (*parts, has_object, target, classes, responsible(iou, has_object), iou)
    terms = loss_terms(*given, lambda_coord, lambda_noobj)
    slopes = loss_gradients(*given, lambda_coord, lambda_noobj)
    gradient = np.zeros_like(predictions)
    # The parts are views of the gradient's own memory, so writing to them fills it.
    last = np.moveaxis(gradient, -1, 0)
    for k in range(4):
        last[k : 5 * num_boxes : 5] = np.moveaxis(slopes[0][..., k], -1, 0)
    last[4 : 5 * num_boxes : 5] = np.moveaxis(slopes[1], -1, 0)
    last[5 * num_boxes :] = np.moveaxis(slopes[2], -1, 0)
    return terms["centre"] + terms["size"] + terms["object"] + terms["no_object"] + terms[
        "class"
    ], gradient


def decode(boxes, confidence, scores, image_size):
    height, width = image_size
    grid = len(boxes)
    corner = np.arange(grid) + 1j * np.arange(grid)[:, None]
    centre, root = to_complex(boxes)
    centre = (centre + corner[..., None]) / grid
    half = (root.real**2 + 1j * root.imag**2) / 2

    def point(z):
        return np.clip(z.real * width, 0, width) + 1j * np.clip(z.imag * height, 0, height)

    corners = to_real(point(centre - half), point(centre + half))
    sure = np.clip(confidence, 0, 1)[..., None] * np.clip(scores, 0, 1)[:, :, None, :]
    return corners.reshape(-1, 4), sure.reshape(-1, scores.shape[-1])


def nms(iou, scores, threshold):
    order = np.argsort(-scores, kind="stable")
    hit = iou[np.ix_(order, order)] > threshold
    alive = np.ones(len(order), bool)
    for k in range(len(order)):
        if alive[k]:
            alive[k + 1 :] &= ~hit[k, k + 1 :]
    return order[alive]


def detect(boxes, scores, score_threshold, iou_threshold):
    low, high = to_complex(boxes)
    parts = []
    for c in range(scores.shape[-1]):
        some = np.where(scores[:, c] > score_threshold)[0]
        table = overlap(low[some, None], high[some, None], low[some], high[some])
        chosen = some[nms(table, scores[some, c], iou_threshold)]
        parts.append((boxes[chosen], c * np.ones(len(chosen), np.int64), scores[chosen, c]))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def match(iou, scores, threshold):
    true = np.zeros(len(scores), bool)
    columns = np.arange(iou.shape[1])
    for d in np.argsort(-scores, kind="stable"):
        if len(columns) and iou[d, columns].max() >= threshold:
            columns = np.delete(columns, iou[d, columns].argmax())
            true[d] = True
    return true


def precision_recall(scores, true, num_objects):
    order = np.argsort(-scores, kind="stable")
    found = np.array([true[order[: k + 1]].sum() for k in range(len(order))], float)
    return found / (1 + np.arange(len(order))), found / num_objects


def ap_11_points(precision, recall):
    total, threshold = 0.0, np.linspace(0, 1, 11)
    for t in threshold:
        some = precision[recall >= t]
        total += some.max() if some.size else 0
    return total / threshold.size


def ap_area(precision, recall):
    levels = np.unique(recall)
    levels = levels[levels > 0]
    heights = [precision[recall >= r].max() for r in levels]
    return float(np.dot(np.diff(np.concatenate([[0.0], levels])), heights)) if len(levels) else 0.0


def mean_average_precision(detections, truths, num_classes, iou_threshold=0.5):
    aps = {}
    for c in range(num_classes):
        count = sum(np.count_nonzero(kinds == c) for _, kinds in truths)
        if count == 0:
            continue
        sure, hits = [], []
        for i in range(len(truths)):
            boxes, labels, scores = detections[i]
            low, high = to_complex(boxes[labels == c])
            other = to_complex(truths[i][0][truths[i][1] == c])
            table = overlap(low[:, None], high[:, None], *other)
            sure.extend(scores[labels == c])
            hits.extend(match(table, scores[labels == c], iou_threshold))
        aps[c] = ap_area(*precision_recall(np.array(sure), np.array(hits, bool), count))
    mean = sum(aps.values()) / len(aps) if aps else float("nan")
    return np.array([aps.get(c, float("nan")) for c in range(num_classes)]), mean


def head(features, weight, bias):
    return np.matmul(features, weight) + bias[None, None, None]


def head_gradients(features, gradient):
    images = zip(features, gradient, strict=True)
    weight = sum(np.einsum("ijf,ijk->kf", f, g) for f, g in images)
    return weight.T, np.add.reduce(gradient, axis=(0, 1, 2))


def train(features, weight, bias, num_boxes, has_object, target, classes, steps, learning_rate):
    weight, bias = np.array(weight, order="F"), np.array(bias)
    losses = []
    while len(losses) < steps:
        value, slope = yolo_loss(
            head(features, weight, bias), num_boxes, has_object, target, classes
        )
        grad_weight, grad_bias = head_gradients(features, slope)
        np.subtract(weight, learning_rate * grad_weight, out=weight)
        np.subtract(bias, learning_rate * grad_bias, out=bias)
        losses.append(value)
    return weight, bias, np.array(losses)
