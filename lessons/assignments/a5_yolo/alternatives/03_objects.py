"""Alternative: classes for boxes and targets, sorting by keys, generators."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self):
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    def __and__(self, other):
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def iou(self, other):
        shared = (self & other).area
        return shared / (self.area + other.area - shared) if shared else 0.0


@dataclass
class Ranking:
    rows: list = field(default_factory=list)

    def add(self, score, hit):
        self.rows.append((-float(score), len(self.rows), bool(hit)))

    def hits(self):
        return [hit for _, _, hit in sorted(self.rows)]


def each(boxes):
    return (Box(*map(float, row)) for row in np.reshape(boxes, (-1, 4)))


def to_corners(boxes):
    out = np.array(boxes, dtype=float)
    out[..., :2] -= boxes[..., 2:] / 2
    out[..., 2:] += out[..., :2]
    return out


def to_centres(boxes):
    out = np.array(boxes, dtype=float)
    out[..., 2:] -= out[..., :2]
    out[..., :2] += out[..., 2:] / 2
    return out


def box_iou(first, second):
    a, b = np.broadcast_arrays(first, second)
    values = [x.iou(y) for x, y in zip(each(a), each(b), strict=True)]
    return np.array(values, dtype=float).reshape(a.shape[:-1])


def owner_cells(boxes, image_size, grid):
    cells = []
    for box in each(boxes):
        middle = (box.top + box.bottom) / 2, (box.left + box.right) / 2
        cells.append([min(int(m * grid // s), grid - 1) for m, s in zip(middle, image_size)])  # noqa: B905
    return np.array(cells, dtype=np.int64).reshape(-1, 2)


def encode_targets(boxes, labels, cells, image_size, grid, num_classes):
    by_cell = defaultdict(list)
    for cell, box, label in zip(map(tuple, cells), each(boxes), labels, strict=True):
        by_cell[cell].append((box, label))
    has_object = np.zeros((grid, grid), bool)
    target, classes = np.zeros((grid, grid, 4)), np.zeros((grid, grid, num_classes))
    high, wide = image_size
    for (row, column), inhabitants in by_cell.items():
        box, label = inhabitants[0]
        has_object[row, column] = True
        classes[row, column] = np.arange(num_classes) == label
        target[row, column] = [
            (box.left + box.right) * grid / (2 * wide) - column,
            (box.top + box.bottom) * grid / (2 * high) - row,
            ((box.right - box.left) / wide) ** 0.5,
            ((box.bottom - box.top) / high) ** 0.5,
        ]
    return has_object, target, classes


def predictor_iou(predicted, target, grid):
    def boxes(coded):
        plain = np.array(coded, dtype=float)
        plain[..., :2] /= grid
        plain[..., 2:] *= coded[..., 2:]
        return to_corners(plain)

    return box_iou(boxes(predicted), boxes(target)[..., np.newaxis, :])


def responsible(iou, has_object):
    most = iou.max(axis=-1, keepdims=True) == iou
    first = np.cumsum(most, axis=-1) == 1
    return most & first & has_object[..., None]


def split_predictions(predictions, num_boxes):
    boxes = [predictions[..., 5 * b : 5 * b + 4] for b in range(num_boxes)]
    confidence = [predictions[..., 5 * b + 4] for b in range(num_boxes)]
    scores = predictions[..., 5 * num_boxes :]
    return np.stack(boxes, axis=-2), np.stack(confidence, axis=-1), scores


def loss_terms(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    n = boxes.shape[0]
    at = np.nonzero(mask)
    off = boxes[at] - target[at[:-1]]
    return {
        "centre": lambda_coord * np.sum(off[:, :2] ** 2) / n,
        "size": lambda_coord * np.sum(off[:, 2:] ** 2) / n,
        "object": np.sum((confidence[at] - iou[at]) ** 2) / n,
        "no_object": lambda_noobj * np.sum(confidence[~mask] ** 2) / n,
        "class": np.sum((scores[has_object] - classes[has_object]) ** 2) / n,
    }


def loss_gradients(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    n = boxes.shape[0]
    a, b, c = np.zeros_like(boxes), confidence * (2 * lambda_noobj / n), np.zeros_like(scores)
    at = np.nonzero(mask)
    a[at] = 2 * lambda_coord / n * (boxes[at] - target[at[:-1]])
    b[at] = 2 / n * (confidence[at] - iou[at])
    c[has_object] = 2 / n * (scores[has_object] - classes[has_object])
    return a, b, c


def yolo_loss(
    predictions, num_boxes, has_object, target, classes, lambda_coord=5.0, lambda_noobj=0.5
):
    boxes, confidence, scores = split_predictions(predictions, num_boxes)
    iou = np.zeros(confidence.shape)
    iou[has_object] = predictor_iou(boxes[has_object], target[has_object], has_object.shape[1])
    given = boxes, confidence, scores, has_object, target, classes, responsible(iou, has_object)
    terms = loss_terms(*given, iou, lambda_coord, lambda_noobj)
    a, b, c = loss_gradients(*given, iou, lambda_coord, lambda_noobj)
    parts = []
    for k in range(num_boxes):
        parts += [a[..., k, :], b[..., k, None]]
    return sum(terms.values()), np.concatenate([*parts, c], axis=-1)


def decode(boxes, confidence, scores, image_size):
    grid, _, count = confidence.shape
    out = np.zeros((grid, grid, count, 4))
    for row, column in np.ndindex(grid, grid):
        centred = np.empty((count, 4))
        centred[:, :2] = (boxes[row, column, :, :2] + [column, row]) / grid
        centred[:, 2:] = boxes[row, column, :, 2:] ** 2
        out[row, column] = to_corners(centred)
    out = np.minimum(np.maximum(out, 0), 1).reshape(-1, 4)
    sure = np.minimum(np.maximum(confidence, 0), 1).reshape(-1, 1)
    kinds = np.minimum(np.maximum(scores, 0), 1).reshape(grid * grid, -1).repeat(count, axis=0)
    return out * np.tile(np.array(image_size, dtype=float)[::-1], 2), sure * kinds


def nms(iou, scores, threshold):
    kept = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if all(iou[k, i] <= threshold for k in kept):
            kept.append(i)
    return np.array(kept, dtype=np.int64)


def detect(boxes, scores, score_threshold, iou_threshold):
    things = list(each(boxes))
    chosen = []
    for c in range(scores.shape[1]):
        mine = []
        for i in sorted(range(len(things)), key=lambda i, c=c: -scores[i, c]):
            free = all(things[k].iou(things[i]) <= iou_threshold for k in mine)
            if free and scores[i, c] > score_threshold:
                mine.append(i)
        chosen += [(i, c) for i in mine]
    pairs = np.array(chosen, dtype=np.int64).reshape(-1, 2)
    return boxes[pairs[:, 0]], pairs[:, 1], scores[pairs[:, 0], pairs[:, 1]]


def match(iou, scores, threshold):
    free = list(range(iou.shape[1]))
    true = np.zeros(len(scores), dtype=bool)
    for d in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if not free:
            break
        best = max(free, key=lambda g, d=d: iou[d, g])
        if iou[d, best] >= threshold:
            free.remove(best)
            true[d] = True
    return true


def precision_recall(scores, true, num_objects):
    ranking = Ranking()
    for score, hit in zip(scores, true, strict=True):
        ranking.add(score, hit)
    found = np.cumsum(np.array(ranking.hits(), dtype=float))
    return found / (np.arange(len(found)) + 1.0), found / num_objects


def ap_11_points(precision, recall):
    curve = list(zip(precision, recall, strict=True))
    return float(sum(max((p for p, r in curve if r >= k / 10), default=0) for k in range(11)) / 11)


def ap_area(precision, recall):
    # From the end to the beginning, with the best precision so far.
    best, total = 0.0, 0.0
    befores = [0.0, *recall[:-1]]
    for p, r, before in zip(precision[::-1], recall[::-1], befores[::-1], strict=False):
        best = max(best, p)
        total += best * (r - before)
    return total


def mean_average_precision(detections, truths, num_classes, iou_threshold=0.5):
    rankings = [Ranking() for _ in range(num_classes)]
    objects = [0] * num_classes
    for (boxes, labels, sure), (places, kinds) in zip(detections, truths, strict=True):
        for c in range(num_classes):
            own, there = np.flatnonzero(labels == c), list(each(places[kinds == c]))
            objects[c] += len(there)
            table = [[box.iou(other) for other in there] for box in each(boxes[own])]
            table = np.array(table, dtype=float).reshape(len(own), len(there))
            for i, hit in zip(own, match(table, sure[own], iou_threshold), strict=True):
                rankings[c].add(sure[i], hit)
    aps = []
    for ranking, number in zip(rankings, objects, strict=True):
        found = np.cumsum(np.array(ranking.hits(), dtype=float))
        rank = np.arange(1, len(found) + 1)
        aps.append(ap_area(found / rank, found / number) if number else float("nan"))
    known = [ap for ap, number in zip(aps, objects, strict=True) if number]
    return aps, float(np.mean(known)) if known else float("nan")


def head(features, weight, bias):
    return np.dot(features, weight) + bias


def head_gradients(features, gradient):
    pairs = zip(features.reshape(-1, features.shape[-1]), gradient.reshape(-1, gradient.shape[-1]))  # noqa: B905
    return sum(np.outer(f, g) for f, g in pairs), gradient.sum(0).sum(0).sum(0)


class Descent:
    def __init__(self, weight, bias, rate):
        self.weight, self.bias, self.rate = weight, bias, rate

    def step(self, grad_weight, grad_bias):
        self.weight = self.weight - self.rate * grad_weight
        self.bias = self.bias - self.rate * grad_bias


def train(features, weight, bias, num_boxes, has_object, target, classes, steps, learning_rate):
    descent, losses = Descent(weight, bias, learning_rate), []
    for _ in range(steps):
        out = head(features, descent.weight, descent.bias)
        loss, gradient = yolo_loss(out, num_boxes, has_object, target, classes)
        losses += [loss]
        descent.step(*head_gradients(features, gradient))
    return descent.weight, descent.bias, losses
