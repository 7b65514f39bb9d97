"""Alternative: all cells of all images as rows, index arithmetic, long doubles inside."""

import heapq
import itertools
import math

import numpy as np

WIDE = np.longdouble


def to_corners(boxes):
    rows = np.asarray(boxes, WIDE).reshape(-1, 4).T
    out = np.array(
        [rows[0] - rows[2] / 2, rows[1] - rows[3] / 2, rows[0] + rows[2] / 2, rows[1] + rows[3] / 2]
    )
    return out.T.astype(np.float64).reshape(boxes.shape)


def to_centres(boxes):
    rows = np.asarray(boxes, WIDE).reshape(-1, 4).T
    out = np.array(
        [(rows[0] + rows[2]) / 2, (rows[1] + rows[3]) / 2, rows[2] - rows[0], rows[3] - rows[1]]
    )
    return out.T.astype(np.float64).reshape(boxes.shape)


def box_iou(first, second):
    a = np.asarray(first, WIDE)
    b = np.asarray(second, WIDE)
    shared = 1
    for axis in (0, 1):
        begin = np.where(a[..., axis] > b[..., axis], a[..., axis], b[..., axis])
        end = np.where(a[..., axis + 2] < b[..., axis + 2], a[..., axis + 2], b[..., axis + 2])
        shared = shared * np.where(end > begin, end - begin, 0)
    area = np.diff(a[..., ::2])[..., 0] * np.diff(a[..., 1::2])[..., 0]
    other = np.diff(b[..., ::2])[..., 0] * np.diff(b[..., 1::2])[..., 0]
    union = area + other - shared
    result = np.zeros(union.shape, WIDE)
    np.divide(shared, union, out=result, where=union != 0)
    return result.astype(np.float64)


def owner_cells(boxes, image_size, grid):
    middle = to_centres(boxes)[:, 1::-1]
    cells = (middle * grid / np.asarray(image_size)).astype(np.int64)
    cells[cells == grid] = grid - 1
    return cells


def encode_targets(boxes, labels, cells, image_size, grid, num_classes):
    has_object = np.zeros(grid**2, bool)
    target = np.zeros((grid**2, 4))
    classes = np.zeros((grid**2, num_classes))
    rows = cells @ [grid, 1] if len(cells) else np.zeros(0, int)
    # Backwards, so that the first object is written last.
    for i in reversed(range(len(boxes))):
        cx, cy, w, h = to_centres(boxes[i])
        row = rows[i]
        has_object[row] = True
        target[row] = (
            math.fmod(cx * grid, image_size[1]) / image_size[1] if cx < image_size[1] else 1.0,
            math.fmod(cy * grid, image_size[0]) / image_size[0] if cy < image_size[0] else 1.0,
            math.sqrt(w / image_size[1]),
            math.sqrt(h / image_size[0]),
        )
        classes[row] = 0
        classes[row][labels[i]] = 1
    return tuple(a.reshape(grid, grid, *a.shape[1:]) for a in (has_object, target, classes))


def predictor_iou(predicted, target, grid):
    scale = np.array([1 / grid, 1 / grid])
    rows, aims = predicted.reshape(-1, predicted.shape[-2], 4), target.reshape(-1, 4)
    out = np.zeros(rows.shape[:2])
    for b in range(rows.shape[1]):
        one = np.hstack([rows[:, b, :2] * scale, rows[:, b, 2:] ** 2])
        two = np.hstack([aims[:, :2] * scale, aims[:, 2:] ** 2])
        out[:, b] = box_iou(to_corners(one), to_corners(two))
    return out.reshape(predicted.shape[:-1])


def responsible(iou, has_object):
    count = iou.shape[-1]
    rows, there = iou.reshape(-1, count), has_object.reshape(-1)
    flat = np.zeros(rows.size, bool)
    flat[(np.arange(len(rows)) * count + rows.argmax(1))[there]] = True
    return flat.reshape(iou.shape)


def places(num_boxes, length):
    """The columns of boxes, confidences and scores."""
    grid = np.arange(5 * num_boxes).reshape(num_boxes, 5)
    return grid[:, :4], grid[:, 4], np.arange(5 * num_boxes, length)


def split_predictions(predictions, num_boxes):
    return tuple(predictions[..., k] for k in places(num_boxes, predictions.shape[-1]))


def squares(
    boxes, confidence, scores, has_object, target, classes, mask, iou, lambda_coord, lambda_noobj
):
    """(factor, difference) of each term, broadcast to boxes, confidence and scores."""
    m = mask.astype(WIDE)
    yield "box", lambda_coord * m[..., None], boxes - target[..., None, :]
    yield "object", m, confidence - iou
    yield "no_object", lambda_noobj * (1 - m), confidence
    yield "class", has_object[..., None].astype(WIDE), scores - classes


def loss_terms(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    given = (boxes, confidence, scores, has_object, target, classes, mask, iou)
    out = {}
    for name, factor, difference in squares(*given, lambda_coord, lambda_noobj):
        square = factor * difference * difference / len(boxes)
        if name == "box":
            out["centre"] = float(square[..., :2].sum())
            out["size"] = float(square[..., 2:].sum())
        else:
            out[name] = float(square.sum())
    return out


def loss_gradients(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    given = (boxes, confidence, scores, has_object, target, classes, mask, iou)
    found = {
        name: 2 * factor * difference / len(boxes)
        for name, factor, difference in squares(*given, lambda_coord, lambda_noobj)
    }
    parts = found["box"], found["object"] + found["no_object"], found["class"]
    return tuple(part.astype(np.float64) for part in parts)


def yolo_loss(
    predictions, num_boxes, has_object, target, classes, lambda_coord=5.0, lambda_noobj=0.5
):
    boxes, confidence, scores = split_predictions(predictions, num_boxes)
    iou = predictor_iou(boxes, target, predictions.shape[2])
    given = (boxes, confidence, scores, has_object, target, classes)
    given += (responsible(iou, has_object), iou, lambda_coord, lambda_noobj)
    gradient = np.full(predictions.shape, np.nan)
    columns = places(num_boxes, predictions.shape[-1])
    for column, part in zip(columns, loss_gradients(*given), strict=True):
        gradient[..., column] = part
    return math.fsum(loss_terms(*given).values()), gradient


def decode(boxes, confidence, scores, image_size):
    grid, _, count, _ = boxes.shape
    cell = np.arange(grid * grid).repeat(count)
    rows = boxes.reshape(-1, 4)
    wide = np.array([image_size[1], image_size[0]], dtype=float)
    centre = (rows[:, :2] + np.column_stack([cell % grid, cell // grid])) * wide / grid
    corners = to_corners(np.hstack([centre, rows[:, 2:] ** 2 * wide]))
    limits = np.tile(wide, 2)
    corners = np.where(corners < 0, 0.0, np.where(corners > limits, limits, corners))
    kinds = scores.reshape(grid * grid, -1)[cell]
    return corners, confidence.reshape(-1, 1).clip(0, 1) * kinds.clip(0, 1)


def nms(iou, scores, threshold):
    heap = [(-score, i) for i, score in enumerate(scores.tolist())]
    heapq.heapify(heap)
    gone, kept = set(), []
    while heap:
        _, best = heapq.heappop(heap)
        if best not in gone:
            kept.append(best)
            gone.update(np.flatnonzero(iou[best] > threshold).tolist())
    return np.fromiter(kept, np.int64, len(kept))


def detect(boxes, scores, score_threshold, iou_threshold):
    """One run for all classes: boxes of different classes do not overlap."""
    index, labels = np.nonzero(scores > score_threshold)
    sure = scores[index, labels]
    same = labels[:, None] == labels
    iou = np.where(same, box_iou(boxes[index][:, None], boxes[index]), 0.0)
    kept = nms(iou, sure, iou_threshold)
    kept = kept[np.argsort(labels[kept], kind="stable")]
    return boxes[index[kept]], labels[kept], sure[kept]


def match(iou, scores, threshold):
    """All pairs in the order of turns; a pair counts if both sides are still free."""
    turn = np.empty(len(scores), int)
    turn[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    pairs = sorted(
        ((turn[d], -iou[d, g], g, d) for d, g in np.argwhere(iou >= threshold)),
    )
    busy, taken = np.zeros(len(scores), bool), set()
    for _, _, g, d in pairs:
        if not busy[d] and g not in taken:
            busy[d] = True
            taken.add(g)
    return busy


def precision_recall(scores, true, num_objects):
    ranked = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)  # stable as well
    found = np.array(list(itertools.accumulate(int(true[d]) for d in ranked)), dtype=float)
    return found / np.arange(1.0, len(found) + 1.0), found / num_objects


def envelope(precision):
    return np.array(list(itertools.accumulate(precision[::-1], max)))[::-1]


def ap_11_points(precision, recall):
    best = np.append(envelope(precision), 0.0)
    return float(best[np.searchsorted(recall, np.arange(11) / 10, side="left")].mean())


def ap_area(precision, recall):
    if len(recall) == 0:
        return 0.0
    best = envelope(precision)
    # Summed by heights: each fall of the staircase ends at its recall.
    return float(np.dot(best - np.append(best[1:], 0.0), recall))


def mean_average_precision(detections, truths, num_classes, iou_threshold=0.5):
    images = len(truths)
    found = np.concatenate(
        [
            np.column_stack([np.full(len(s), i), lab, b, s])
            for i, (b, lab, s) in enumerate(detections)
        ]
    )
    objects = np.concatenate(
        [np.column_stack([np.full(len(lab), i), lab, b]) for i, (b, lab) in enumerate(truths)]
    )
    aps = []
    for c in range(num_classes):
        mine, there = found[found[:, 1] == c], objects[objects[:, 1] == c]
        # Boxes of different images do not overlap.
        same = mine[:, None, 0] == there[:, 0]
        iou = np.where(same, box_iou(mine[:, None, 2:6], there[:, 2:6]), 0.0)
        hits = match(iou, mine[:, 6], iou_threshold)
        aps.append(
            ap_area(*precision_recall(mine[:, 6], hits, len(there))) if len(there) else math.nan
        )
    assert images == len(detections)
    known = [ap for ap in aps if ap == ap]
    return np.array(aps), math.fsum(known) / len(known) if known else math.nan


def head(features, weight, bias):
    rows = features.reshape(-1, features.shape[-1]) @ weight
    rows += bias
    return rows.reshape(*features.shape[:-1], -1)


def head_gradients(features, gradient):
    rows = gradient.reshape(-1, gradient.shape[-1])
    flat = features.reshape(-1, features.shape[-1])
    return np.dot(rows.T, flat).T, np.ones(len(rows)) @ rows


def train(features, weight, bias, num_boxes, has_object, target, classes, steps, learning_rate):
    moved_weight, moved_bias = np.zeros_like(weight), np.zeros_like(bias)
    losses = []
    for _ in range(steps):
        out = head(features, weight + moved_weight, bias + moved_bias)
        loss, gradient = yolo_loss(out, num_boxes, has_object, target, classes)
        losses.append(loss)
        for moved, slope in zip((moved_weight, moved_bias), head_gradients(features, gradient)):  # noqa: B905
            moved -= learning_rate * slope
    return weight + moved_weight, bias + moved_bias, np.array(losses)
