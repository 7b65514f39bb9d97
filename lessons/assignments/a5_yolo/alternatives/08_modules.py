"""Alternative: layers with forward and backward, a Loss object that caches; tuples and lists."""

import numpy as np


class Boxes:
    """Boxes (..., 4) by their corners."""

    def __init__(self, corners):
        self.x1, self.y1, self.x2, self.y2 = (corners[..., k] for k in range(4))

    def area(self):
        return (self.x2 - self.x1) * (self.y2 - self.y1)

    def shared(self, other):
        wide = np.fmin(self.x2, other.x2) - np.fmax(self.x1, other.x1)
        high = np.fmin(self.y2, other.y2) - np.fmax(self.y1, other.y1)
        return np.where((wide > 0) & (high > 0), wide * high, 0)


def to_corners(boxes):
    out = np.copy(boxes)
    out[..., 0] = boxes[..., 0] - boxes[..., 2] / 2
    out[..., 1] = boxes[..., 1] - boxes[..., 3] / 2
    out[..., 2] = boxes[..., 0] + boxes[..., 2] / 2
    out[..., 3] = boxes[..., 1] + boxes[..., 3] / 2
    return out


def to_centres(boxes):
    x1, y1, x2, y2 = np.rollaxis(boxes, -1) if boxes.ndim > 1 else boxes
    return np.stack(((x1 + x2) * 0.5, (y1 + y2) * 0.5, x2 - x1, y2 - y1), -1)


def box_iou(first, second):
    a, b = Boxes(first), Boxes(second)
    shared = a.shared(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(shared / (a.area() + b.area() - shared), nan=0.0)


def owner_cells(boxes, image_size, grid):
    result = []
    for box in boxes:
        cx, cy = to_centres(box)[:2]
        row, column = int(np.floor(grid * cy / image_size[0])), int(grid * cx / image_size[1])
        if row == grid:
            row -= 1
        if column == grid:
            column -= 1
        result.append((row, column))
    return np.array(result, dtype=np.int64) if result else np.empty((0, 2), np.int64)


class Encoder:
    def __init__(self, image_size, grid):
        self.height, self.width = image_size
        self.grid = grid

    def encode(self, box, row, column):
        cx, cy, w, h = to_centres(box)
        x, y = cx / self.width, cy / self.height
        root = np.sqrt([w / self.width, h / self.height])
        return np.array([x * self.grid - column, y * self.grid - row, *root])

    def decode(self, coded, row, column):
        x, y, rw, rh = coded
        box = np.array([(column + x) / self.grid, (row + y) / self.grid, rw**2, rh**2])
        unit = np.array([self.width, self.height, self.width, self.height])
        return np.clip(to_corners(box) * unit, 0, unit)


def encode_targets(boxes, labels, cells, image_size, grid, num_classes):
    encoder = Encoder(image_size, grid)
    has_object = np.full((grid, grid), False)
    target = np.zeros((grid, grid, 4))
    classes = np.zeros((grid, grid, num_classes))
    taken = []
    for i in range(len(boxes)):
        cell = tuple(int(n) for n in cells[i])
        if cell in taken:
            continue
        taken.append(cell)
        has_object[cell] = True
        target[cell] = encoder.encode(boxes[i], *cell)
        classes[cell] = [float(c == labels[i]) for c in range(num_classes)]
    return has_object, target, classes


def predictor_iou(predicted, target, grid):
    def boxes(coded):
        size = coded[..., 2:] ** 2
        middle = coded[..., :2] / grid
        return np.concatenate((middle - size / 2, middle + size / 2), axis=-1)

    wanted = np.repeat(target[..., None, :], predicted.shape[-2], axis=-2)
    return box_iou(boxes(predicted), boxes(wanted))


def responsible(iou, has_object):
    mask = np.zeros(iou.shape, dtype=np.bool_)
    for where in zip(*np.nonzero(has_object), strict=True):
        mask[where + (int(np.argmax(iou[where])),)] = True
    return mask


def split_predictions(predictions, num_boxes):
    boxes = []
    confidence = []
    rest = predictions
    for _ in range(num_boxes):
        box, sure, rest = np.split(rest, [4, 5], axis=-1)
        boxes.append(box)
        confidence.append(sure)
    return np.stack(boxes, axis=-2), np.concatenate(confidence, axis=-1), rest


class Loss:
    """The five terms; `backward` after `forward`."""

    def __init__(self, lambda_coord, lambda_noobj):
        self.lambda_coord, self.lambda_noobj = lambda_coord, lambda_noobj

    def forward(self, boxes, confidence, scores, has_object, target, classes, mask, iou):
        self.count = len(boxes)
        self.box = np.where(mask[..., None], boxes - target[..., None, :], 0)
        self.sure = np.where(mask, confidence - iou, 0)
        self.other = np.where(mask, 0, confidence)
        self.kind = np.where(has_object[..., None], scores - classes, 0)
        return {
            "size": self.lambda_coord * (self.box[..., 2:] ** 2).sum() / self.count,
            "centre": self.lambda_coord * (self.box[..., :2] ** 2).sum() / self.count,
            "class": (self.kind**2).sum() / self.count,
            "no_object": self.lambda_noobj * (self.other**2).sum() / self.count,
            "object": (self.sure**2).sum() / self.count,
        }

    def backward(self):
        share = 2 / self.count
        return (
            share * self.lambda_coord * self.box,
            share * (self.sure + self.lambda_noobj * self.other),
            share * self.kind,
        )


def loss_terms(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    loss = Loss(lambda_coord, lambda_noobj)
    return loss.forward(boxes, confidence, scores, has_object, target, classes, mask, iou)


def loss_gradients(
    boxes, confidence, scores, has_object, target, classes, mask, iou,
    lambda_coord=5.0, lambda_noobj=0.5,
):  # fmt: skip
    loss = Loss(lambda_coord, lambda_noobj)
    loss.forward(boxes, confidence, scores, has_object, target, classes, mask, iou)
    return list(loss.backward())


def yolo_loss(
    predictions, num_boxes, has_object, target, classes, lambda_coord=5.0, lambda_noobj=0.5
):
    boxes, confidence, scores = split_predictions(predictions, num_boxes)
    iou = predictor_iou(boxes, target, predictions.shape[1])
    loss = Loss(lambda_coord, lambda_noobj)
    terms = loss.forward(
        boxes,
        confidence,
        scores,
        has_object,
        target,
        classes,
        responsible(iou, has_object),
        iou,
    )
    box, sure, kind = loss.backward()
    columns = []
    for b in range(num_boxes):
        columns.extend([box[..., b, :], sure[..., b : b + 1]])
    return np.float64(sum(terms.values())), np.concatenate([*columns, kind], axis=-1)


def decode(boxes, confidence, scores, image_size):
    encoder = Encoder(image_size, len(boxes))
    corners, sure = [], []
    for row, column, b in np.ndindex(*confidence.shape):
        corners.append(encoder.decode(boxes[row, column, b], row, column))
        kinds = np.clip(scores[row, column], 0, 1)
        sure.append(kinds * min(1.0, max(0.0, confidence[row, column, b])))
    return np.array(corners), np.array(sure)


def nms(iou, scores, threshold):
    kept = []
    scores = [float(s) for s in scores]
    alive = set(range(len(scores)))
    while alive:
        best = min(alive, key=lambda i: (-scores[i], i))
        alive -= {i for i in alive if iou[best, i] > threshold} | {best}
        kept.append(best)
    return np.array(kept, dtype=np.int64)


def detect(boxes, scores, score_threshold, iou_threshold):
    found = {"boxes": [], "labels": [], "scores": []}
    for c in range(scores.shape[1]):
        order = nms_of(boxes, scores[:, c], score_threshold, iou_threshold)
        for i in order:
            found["boxes"].append(boxes[i])
            found["labels"].append(c)
            found["scores"].append(scores[i, c])
    return (
        np.array(found["boxes"], dtype=float).reshape(-1, 4),
        np.array(found["labels"], dtype=np.int64),
        np.array(found["scores"], dtype=float),
    )


def nms_of(boxes, scores, score_threshold, iou_threshold):
    index = np.array([i for i, s in enumerate(scores) if s > score_threshold], dtype=np.int64)
    own = boxes[index]
    return index[nms(box_iou(own[:, None], own[None]), scores[index], iou_threshold)]


def match(iou, scores, threshold):
    result = np.zeros(len(scores), dtype=np.bool_)
    masked = np.ma.masked_array(iou, mask=np.zeros(iou.shape, bool))
    for d in np.argsort(-scores, kind="stable"):
        row = masked[d]
        if row.count() and row.max() >= threshold:
            result[d] = True
            masked[:, row.argmax()] = np.ma.masked
    return result


def precision_recall(scores, true, num_objects):
    tp = fp = 0
    curve = []
    for d in np.argsort(-scores, kind="stable"):
        if true[d]:
            tp += 1
        else:
            fp += 1
        curve.append((tp / (tp + fp), tp / num_objects))
    precision, recall = np.array(curve, dtype=float).reshape(-1, 2).T
    return precision, recall


def ap_11_points(precision, recall):
    best = np.zeros(11)
    for p, r in zip(precision, recall, strict=True):
        reached = np.arange(11) <= r * 10 + 1e-9
        best[reached] = np.maximum(best[reached], p)
    return best.sum() / 11


def ap_area(precision, recall):
    total, k = 0.0, 0
    previous = 0.0
    while k < len(recall):
        # The rest of the curve is under its highest point; go on behind that.
        top = k + int(np.argmax(precision[k:]))
        total += (recall[top] - previous) * precision[top]
        previous, k = recall[top], top + 1
    return float(total)


def mean_average_precision(detections, truths, num_classes, iou_threshold=0.5):
    aps = np.full((num_classes,), float("nan"))
    for c in range(num_classes):
        objects = [places[kinds == c] for places, kinds in truths]
        if not sum(map(len, objects)):
            continue
        found = [(boxes[labels == c], sure[labels == c]) for boxes, labels, sure in detections]
        hits = [
            match(box_iou(boxes[:, None], there[None]), sure, iou_threshold)
            for (boxes, sure), there in zip(found, objects, strict=True)
        ]
        scores = np.concatenate([sure for _, sure in found])
        curve = precision_recall(scores, np.concatenate(hits), sum(map(len, objects)))
        aps[c] = ap_area(*curve)
    known = aps[aps == aps]
    return aps, known.mean() if known.size else float("nan")


class Linear:
    def __init__(self, weight, bias):
        self.weight, self.bias = np.array(weight), np.array(bias)

    def forward(self, x):
        self.x = x
        return x @ self.weight + self.bias

    def backward(self, grad):
        flat = grad.reshape(-1, grad.shape[-1])
        self.grad_weight = self.x.reshape(flat.shape[0], -1).T @ flat
        self.grad_bias = flat.sum(0)

    def step(self, rate):
        self.weight -= rate * self.grad_weight
        self.bias -= rate * self.grad_bias


def head(features, weight, bias):
    return Linear(weight, bias).forward(features)


def head_gradients(features, gradient):
    layer = Linear(np.zeros((features.shape[-1], gradient.shape[-1])), np.zeros(gradient.shape[-1]))
    layer.forward(features)
    layer.backward(gradient)
    return layer.grad_weight, layer.grad_bias


def train(features, weight, bias, num_boxes, has_object, target, classes, steps, learning_rate):
    layer, losses = Linear(weight, bias), []
    for _ in range(steps):
        loss, grad = yolo_loss(layer.forward(features), num_boxes, has_object, target, classes)
        layer.backward(grad)
        layer.step(learning_rate)
        losses.append(loss)
    return layer.weight, layer.bias, tuple(losses)
