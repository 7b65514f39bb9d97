"""Alternative: plain Python, number by number; NumPy only holds the results."""

import math

import numpy as np


def to_corners(boxes):
    out = np.empty(boxes.shape)
    for at in np.ndindex(*boxes.shape[:-1]):
        cx, cy, w, h = (float(v) for v in boxes[at])
        out[at] = [cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h]
    return out


def to_centres(boxes):
    out = np.empty(boxes.shape)
    for at in np.ndindex(*boxes.shape[:-1]):
        x1, y1, x2, y2 = (float(v) for v in boxes[at])
        out[at] = [x1 + (x2 - x1) / 2, y1 + (y2 - y1) / 2, x2 - x1, y2 - y1]
    return out


def one_iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    both = w * h
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def box_iou(first, second):
    shape = np.broadcast_shapes(first.shape, second.shape)
    a, b = np.broadcast_to(first, shape), np.broadcast_to(second, shape)
    out = np.zeros(shape[:-1])
    for at in np.ndindex(*shape[:-1]):
        out[at] = one_iou(a[at].tolist(), b[at].tolist())
    return out


def owner_cells(boxes, image_size, grid):
    out = np.zeros((len(boxes), 2), dtype=np.int64)
    for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        out[i, 0] = min(int((y1 + y2) / 2 / (image_size[0] / grid)), grid - 1)
        out[i, 1] = min(int((x1 + x2) / 2 / (image_size[1] / grid)), grid - 1)
    return out


def encode_targets(boxes, labels, cells, image_size, grid, num_classes):
    owners = {}
    for i, (row, column) in enumerate(cells.tolist()):
        owners.setdefault((row, column), i)
    has_object = np.zeros((grid, grid), dtype=bool)
    target = np.zeros((grid, grid, 4))
    classes = np.zeros((grid, grid, num_classes))
    cell_h, cell_w = image_size[0] / grid, image_size[1] / grid
    for (row, column), i in owners.items():
        x1, y1, x2, y2 = boxes[i].tolist()
        has_object[row, column] = True
        target[row, column, 0] = ((x1 + x2) / 2 - column * cell_w) / cell_w
        target[row, column, 1] = ((y1 + y2) / 2 - row * cell_h) / cell_h
        target[row, column, 2] = math.sqrt((x2 - x1) / image_size[1])
        target[row, column, 3] = math.sqrt((y2 - y1) / image_size[0])
        classes[row, column, int(labels[i])] = 1
    return has_object, target, classes


def predictor_iou(predicted, target, grid):
    out = np.zeros(predicted.shape[:-1])
    for at in np.ndindex(*out.shape):
        pair = []
        for x, y, rw, rh in (predicted[at].tolist(), target[at[:-1]].tolist()):
            w, h = grid * rw * rw, grid * rh * rh
            pair.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        out[at] = one_iou(*pair)
    return out


def responsible(iou, has_object):
    out = np.zeros(iou.shape, dtype=bool)
    for at in np.ndindex(*has_object.shape):
        if has_object[at]:
            values = iou[at].tolist()
            out[at][values.index(max(values))] = True
    return out


def split_predictions(predictions, num_boxes):
    lead = predictions.shape[:-1]
    boxes = np.empty((*lead, num_boxes, 4))
    confidence = np.empty((*lead, num_boxes))
    for b in range(num_boxes):
        for k in range(4):
            boxes[..., b, k] = predictions[..., 5 * b + k]
        confidence[..., b] = predictions[..., 5 * b + 4]
    return boxes, confidence, predictions[..., 5 * num_boxes :].copy()


def loss_terms(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    out = {"centre": 0.0, "size": 0.0, "object": 0.0, "no_object": 0.0, "class": 0.0}
    images = boxes.shape[0]
    for at in np.ndindex(*mask.shape):
        c = float(confidence[at])
        if mask[at]:
            d = [float(boxes[at][k] - target[at[:-1]][k]) ** 2 for k in range(4)]
            out["centre"] += lambda_coord * (d[0] + d[1])
            out["size"] += lambda_coord * (d[2] + d[3])
            out["object"] += (c - float(iou[at])) ** 2
        else:
            out["no_object"] += lambda_noobj * c * c
    for at in np.ndindex(*has_object.shape):
        if has_object[at]:
            for p, q in zip(scores[at].tolist(), classes[at].tolist(), strict=True):
                out["class"] += (p - q) ** 2
    return {name: value / images for name, value in out.items()}


def loss_gradients(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    grad_boxes, grad_confidence = np.zeros(boxes.shape), np.zeros(confidence.shape)
    grad_scores = np.zeros(scores.shape)
    images = boxes.shape[0]
    for at in np.ndindex(*mask.shape):
        if mask[at]:
            for k in range(4):
                d = boxes[at][k] - target[at[:-1]][k]
                grad_boxes[at][k] = 2 * lambda_coord * d / images
            grad_confidence[at] = 2 * (confidence[at] - iou[at]) / images
        else:
            grad_confidence[at] = 2 * lambda_noobj * confidence[at] / images
    for at in np.ndindex(*scores.shape):
        if has_object[at[:-1]]:
            grad_scores[at] = 2 * (scores[at] - classes[at]) / images
    return grad_boxes, grad_confidence, grad_scores


def yolo_loss(
    predictions, num_boxes, has_object, target, classes, lambda_coord=5.0, lambda_noobj=0.5
):
    boxes, confidence, scores = split_predictions(predictions, num_boxes)
    iou = predictor_iou(boxes, target, has_object.shape[-1])
    mask = responsible(iou, has_object)
    given = (boxes, confidence, scores, has_object, target, classes, mask, iou)
    terms = loss_terms(*given, lambda_coord=lambda_coord, lambda_noobj=lambda_noobj)
    a, b, c = loss_gradients(*given, lambda_coord=lambda_coord, lambda_noobj=lambda_noobj)
    gradient = np.zeros(predictions.shape)
    for k in range(num_boxes):
        gradient[..., 5 * k : 5 * k + 4] = a[..., k, :]
        gradient[..., 5 * k + 4] = b[..., k]
    gradient[..., 5 * num_boxes :] = c
    total = 0.0
    for value in terms.values():
        total += value
    return total, gradient


def decode(boxes, confidence, scores, image_size):
    height, width = image_size
    grid, _, count, _ = boxes.shape
    corners, sure = [], []
    for row in range(grid):
        for column in range(grid):
            for b in range(count):
                x, y, rw, rh = boxes[row, column, b].tolist()
                cx, cy = (column + x) / grid * width, (row + y) / grid * height
                w, h = rw * rw * width, rh * rh * height
                corners.append(
                    [
                        min(max(cx - w / 2, 0.0), width),
                        min(max(cy - h / 2, 0.0), height),
                        min(max(cx + w / 2, 0.0), width),
                        min(max(cy + h / 2, 0.0), height),
                    ]
                )
                c = min(max(float(confidence[row, column, b]), 0.0), 1.0)
                sure.append([c * min(max(p, 0.0), 1.0) for p in scores[row, column].tolist()])
    return np.array(corners, dtype=float), np.array(sure, dtype=float)


def nms(iou, scores, threshold):
    left = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if not iou[best, i] > threshold]
    return np.array(kept, dtype=np.int64)


def detect(boxes, scores, score_threshold, iou_threshold):
    rows = []
    for c in range(scores.shape[1]):
        some = [i for i in range(len(boxes)) if scores[i, c] > score_threshold]
        table = np.array([[one_iou(boxes[i], boxes[j]) for j in some] for i in some])
        for k in nms(table.reshape(len(some), len(some)), scores[some, c], iou_threshold):
            rows.append((some[k], c))
    index = np.array([i for i, _ in rows], dtype=np.int64)
    labels = np.array([c for _, c in rows], dtype=np.int64)
    return boxes[index], labels, np.array([scores[i, c] for i, c in rows], dtype=float)


def match(iou, scores, threshold):
    true = [False] * len(scores)
    taken = set()
    for d in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        best, most = None, -1.0
        for g in range(iou.shape[1]):
            if g not in taken and iou[d, g] > most:
                best, most = g, iou[d, g]
        if best is not None and most >= threshold:
            taken.add(best)
            true[d] = True
    return np.array(true, dtype=bool)


def precision_recall(scores, true, num_objects):
    precision, recall, found = [], [], 0
    for k, d in enumerate(sorted(range(len(scores)), key=lambda i: (-scores[i], i)), start=1):
        found += bool(true[d])
        precision.append(found / k)
        recall.append(found / num_objects)
    return np.array(precision, dtype=float), np.array(recall, dtype=float)


def ap_11_points(precision, recall):
    total = 0.0
    for k in range(11):
        best = 0.0
        for p, r in zip(precision, recall, strict=True):
            if r >= k / 10 and p > best:
                best = p
        total += best
    return total / 11


def ap_area(precision, recall):
    total, before = 0.0, 0.0
    for k in range(len(recall)):
        total += (recall[k] - before) * max(precision[k:])
        before = recall[k]
    return float(total)


def mean_average_precision(detections, truths, num_classes, iou_threshold=0.5):
    aps = []
    for c in range(num_classes):
        scores, true, objects = [], [], 0
        for (boxes, labels, sure), (places, kinds) in zip(detections, truths, strict=True):
            own = [i for i in range(len(labels)) if labels[i] == c]
            there = [i for i in range(len(kinds)) if kinds[i] == c]
            table = np.zeros((len(own), len(there)))
            for i, d in enumerate(own):
                for j, g in enumerate(there):
                    table[i, j] = one_iou(boxes[d], places[g])
            objects += len(there)
            scores += [sure[i] for i in own]
            true += match(table, sure[own], iou_threshold).tolist()
        if objects == 0:
            aps.append(float("nan"))
            continue
        aps.append(ap_area(*precision_recall(np.array(scores), np.array(true), objects)))
    known = [ap for ap in aps if not math.isnan(ap)]
    return np.array(aps), sum(known) / len(known) if known else float("nan")


def head(features, weight, bias):
    out = np.zeros((*features.shape[:-1], weight.shape[1]))
    for k in range(weight.shape[1]):
        out[..., k] = (features * weight[:, k]).sum(axis=-1) + bias[k]
    return out


def head_gradients(features, gradient):
    grad_weight = np.zeros((features.shape[-1], gradient.shape[-1]))
    grad_bias = np.zeros(gradient.shape[-1])
    for at in np.ndindex(*gradient.shape[:-1]):
        grad_weight += np.outer(features[at], gradient[at])
        grad_bias += gradient[at]
    return grad_weight, grad_bias


def train(features, weight, bias, num_boxes, has_object, target, classes, steps, learning_rate):
    weight, bias, losses = weight.copy(), bias.copy(), []
    for _ in range(steps):
        out = head(features, weight, bias)
        loss, gradient = yolo_loss(out, num_boxes, has_object, target, classes)
        losses.append(loss)
        a, b = head_gradients(features, gradient)
        weight -= learning_rate * a
        bias -= learning_rate * b
    return weight, bias, np.array(losses)
