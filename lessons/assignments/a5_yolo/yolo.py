"""A YOLO-style detector in plain NumPy: targets, loss, gradient, decoding, NMS and AP.

Redmon, Divvala, Girshick, Farhadi, "You only look once: unified, real-time object detection", 2016.
Where the paper leaves something open, the docstrings here decide it.

Conventions, everywhere in this file:

- Floats are float64, class labels and indices int64, counted from 0; masks are bool.
- A box is x1, y1, x2, y2 in pixels, x to the right, y down. It is half-open: it covers
  x1 <= x < x2, so its width is x2 - x1, without + 1.
- Sizes of images are (H, W), and H need not equal W.
- N images, S x S cells, B predicted boxes a cell, C classes. Arrays over cells are indexed
  [row, column]: the row follows from y, the column from x.
- The head gives for each cell 5 B + C numbers: B times (x, y, rw, rh, c), then C class scores.
      x, y     centre of the box, measured from the cell's upper left corner; 1 is the cell's width,
               or height
      rw, rh   square roots of the box's width and height as fractions of the image's
      c        confidence
- No function changes the arrays that it is given.
"""

import numpy as np

# -- 1. boxes --------------------------------------------------------------------------------------


def to_corners(boxes):
    """Boxes by their centre and size, as corners.

    Args:
        boxes: (..., 4) cx, cy, w, h, any number of leading axes.

    Returns:
        (..., 4) x1, y1, x2, y2.
    """
    # BEGIN SOLUTION
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)
    # END SOLUTION


def to_centres(boxes):
    """Boxes by their corners, as centre and size: what undoes `to_corners`.

    Args:
        boxes: (..., 4) x1, y1, x2, y2, any number of leading axes.

    Returns:
        (..., 4) cx, cy, w, h.
    """
    # BEGIN SOLUTION
    low, high = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=-1)
    # END SOLUTION


def box_iou(first, second):
    """Intersection over union, box by box; the leading axes broadcast against each other.

    For all pairs of (N, 4) and (M, 4) boxes one calls box_iou(first[:, None], second).

    Args:
        first: (..., 4) x1, y1, x2, y2, in any unit, large or tiny.
        second: (..., 4), whose leading axes broadcast with those of first.

    Returns:
        (...) the broadcast leading axes; from 0 to 1, exact: nothing is added to the denominator.
        Boxes that only touch have 0. Two empty boxes (of no width or height) have 0, not NaN.
    """
    # BEGIN SOLUTION
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    sides = np.maximum(high - low, 0.0)
    intersection = sides[..., 0] * sides[..., 1]
    area = (first[..., 2] - first[..., 0]) * (first[..., 3] - first[..., 1])
    other = (second[..., 2] - second[..., 0]) * (second[..., 3] - second[..., 1])
    union = area + other - intersection
    return intersection / np.where(union > 0, union, 1.0)
    # END SOLUTION


# -- 2. targets: which cell has to find which object -----------------------------------------------


def owner_cells(boxes, image_size, grid):
    """The cell into which the centre of each box falls.

    A centre on the border between two cells belongs to the right or lower one. One on the image's
    right or lower edge belongs to the last column or row.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels, all within the image; R may be 0.
        image_size: (H, W), pixels.
        grid: S: the image is divided into S columns, each W / S wide, and S rows, each H / S high.

    Returns:
        (R, 2) int64: row and column.
    """
    # BEGIN SOLUTION
    height, width = image_size
    centres = to_centres(boxes)[:, :2]
    cells = np.floor(centres[:, ::-1] * grid / np.array([height, width]))
    return np.minimum(cells, grid - 1).astype(np.int64)
    # END SOLUTION


def encode_targets(boxes, labels, cells, image_size, grid, num_classes):
    """What each cell should say.

    A cell holds one object: of several that share it, the first in the list counts, and the others
    leave no trace.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels; R may be 0.
        labels: (R,) int64, from 0 to num_classes - 1.
        cells: (R, 2) int64, the row and column that own each box. (Given, so that a mistake in
            `owner_cells` costs nothing here.)
        image_size: (H, W), pixels.
        grid: S.
        num_classes: C.

    Returns:
        has_object: (S, S) bool.
        target: (S, S, 4) x, y, rw, rh, as the head should give them; 0 in cells without object.
        classes: (S, S, C) 1 for the class of the cell's object, else 0.
    """
    # BEGIN SOLUTION
    height, width = image_size
    has_object = np.zeros((grid, grid), bool)
    target = np.zeros((grid, grid, 4))
    classes = np.zeros((grid, grid, num_classes))
    for (cx, cy, w, h), label, (row, column) in zip(to_centres(boxes), labels, cells, strict=True):
        if has_object[row, column]:
            continue
        has_object[row, column] = True
        target[row, column] = (
            cx * grid / width - column,
            cy * grid / height - row,
            np.sqrt(w / width),
            np.sqrt(h / height),
        )
        classes[row, column, label] = 1.0
    return has_object, target, classes
    # END SOLUTION


# -- 3. the responsible predictor ------------------------------------------------------------------


def predictor_iou(predicted, target, grid):
    """How well each of the B boxes of a cell fits what the cell has to find.

    Args:
        predicted: (..., B, 4) x, y, rw, rh of the boxes of some cells. rw and rh may be negative;
            a box's width is rw squared.
        target: (..., 4) x, y, rw, rh of the same cells.
        grid: S.

    Returns:
        (..., B) the IoU of each predicted box with its cell's target, both measured in one unit.
    """

    # BEGIN SOLUTION
    def corners(coded):
        # In fractions of the image, from the cell's corner: where that lies makes no difference.
        return to_corners(np.concatenate([coded[..., :2] / grid, coded[..., 2:] ** 2], axis=-1))

    return box_iou(corners(predicted), corners(target)[..., None, :])
    # END SOLUTION


def responsible(iou, has_object):
    """Which predictor of each cell answers for the cell's object.

    It is the one of largest IoU; of equal ones (also where all are 0) the first. In a cell with an
    object exactly one predictor is responsible, in a cell without object none.

    Args:
        iou: (..., B).
        has_object: (...) bool.

    Returns:
        (..., B) bool.
    """
    # BEGIN SOLUTION
    best = iou.argmax(axis=-1)
    return (best[..., None] == np.arange(iou.shape[-1])) & has_object[..., None]
    # END SOLUTION


# -- 4. the loss -----------------------------------------------------------------------------------


def split_predictions(predictions, num_boxes):
    """The head's numbers, taken apart.

    Args:
        predictions: (..., 5 B + C), in each cell B times (x, y, rw, rh, c), then C class scores.
        num_boxes: B.

    Returns:
        boxes (..., B, 4), confidence (..., B), scores (..., C).
    """
    # BEGIN SOLUTION
    end = 5 * num_boxes
    each = predictions[..., :end].reshape(*predictions.shape[:-1], num_boxes, 5)
    return each[..., :4], each[..., 4], predictions[..., end:]
    # END SOLUTION


def loss_terms(
    boxes,
    confidence,
    scores,
    has_object,
    target,
    classes,
    mask,
    iou,
    lambda_coord=5.0,
    lambda_noobj=0.5,
):
    """The five lines of the paper's equation 3, each with its weight.

    Every line is a sum of squared differences over cells (and predictors, and classes) of all
    images, divided by the number of images N, and by nothing else.

    Args:
        boxes: (N, S, S, B, 4) x, y, rw, rh that the head gives.
        confidence: (N, S, S, B).
        scores: (N, S, S, C).
        has_object: (N, S, S) bool.
        target: (N, S, S, 4) x, y, rw, rh.
        classes: (N, S, S, C).
        mask: (N, S, S, B) bool: the responsible predictors.
        iou: (N, S, S, B): what the confidence of a responsible predictor should be.
        lambda_coord, lambda_noobj: weights.

    Returns:
        a dict of five floats:
        "centre"     lambda_coord times: x and y, over responsible predictors
        "size"       lambda_coord times: rw and rh, over responsible predictors
        "object"     confidence against iou, over responsible predictors
        "no_object"  lambda_noobj times: confidence against 0, over all other predictors, also the
                     others of a cell with an object
        "class"      scores against classes, over cells with an object
    """
    # BEGIN SOLUTION
    share = 1.0 / len(boxes)
    square = (boxes - target[..., None, :]) ** 2 * mask[..., None]
    return {
        "centre": float(square[..., :2].sum() * lambda_coord * share),
        "size": float(square[..., 2:].sum() * lambda_coord * share),
        "object": float(((confidence - iou) ** 2 * mask).sum() * share),
        "no_object": float((confidence**2 * ~mask).sum() * lambda_noobj * share),
        "class": float(((scores - classes) ** 2 * has_object[..., None]).sum() * share),
    }
    # END SOLUTION


def loss_gradients(
    boxes,
    confidence,
    scores,
    has_object,
    target,
    classes,
    mask,
    iou,
    lambda_coord=5.0,
    lambda_noobj=0.5,
):
    """The gradient of the sum of the five terms of `loss_terms`.

    mask and iou are constants: nothing flows through them to the boxes.

    Args:
        those of `loss_terms`.

    Returns:
        gradients to boxes (N, S, S, B, 4), confidence (N, S, S, B) and scores (N, S, S, C).
    """
    # BEGIN SOLUTION
    twice = 2.0 / len(boxes)
    grad_boxes = twice * lambda_coord * (boxes - target[..., None, :]) * mask[..., None]
    grad_confidence = twice * np.where(mask, confidence - iou, lambda_noobj * confidence)
    grad_scores = twice * (scores - classes) * has_object[..., None]
    return grad_boxes, grad_confidence, grad_scores
    # END SOLUTION


def yolo_loss(
    predictions, num_boxes, has_object, target, classes, lambda_coord=5.0, lambda_noobj=0.5
):
    """The loss of a batch, and its gradient: the functions above, put together.

    Who is responsible, and the IoU that its confidence is compared with, follow from the
    predictions.

    Args:
        predictions: (N, S, S, 5 B + C).
        num_boxes: B.
        has_object: (N, S, S) bool.
        target: (N, S, S, 4).
        classes: (N, S, S, C).
        lambda_coord, lambda_noobj: weights.

    Returns:
        loss: float, the sum of the five terms.
        gradient: (N, S, S, 5 B + C), to predictions.
    """
    # BEGIN SOLUTION
    boxes, confidence, scores = split_predictions(predictions, num_boxes)
    iou = predictor_iou(boxes, target, predictions.shape[1])
    mask = responsible(iou, has_object)
    arguments = (boxes, confidence, scores, has_object, target, classes, mask, iou)
    loss = sum(loss_terms(*arguments, lambda_coord, lambda_noobj).values())
    grad_boxes, grad_confidence, grad_scores = loss_gradients(
        *arguments, lambda_coord, lambda_noobj
    )
    each = np.concatenate([grad_boxes, grad_confidence[..., None]], axis=-1)
    cells = predictions.shape[:3]
    return loss, np.concatenate([each.reshape(*cells, 5 * num_boxes), grad_scores], axis=-1)
    # END SOLUTION


# -- 5. detections ---------------------------------------------------------------------------------


def decode(boxes, confidence, scores, image_size):
    """The boxes in pixels that the head means, and their scores, for one image.

    A box's score for a class is confidence times class score, each first cut to the range 0 to 1
    (the head is linear, and both may be negative or above 1).

    Args:
        boxes: (S, S, B, 4) x, y, rw, rh.
        confidence: (S, S, B).
        scores: (S, S, C).
        image_size: (H, W), pixels.

    Returns:
        boxes: (S S B, 4) x1, y1, x2, y2, pixels, cut off at the edges of the image; row by row, in
            a row cell by cell, in a cell predictor by predictor.
        scores: (S S B, C).
    """
    # BEGIN SOLUTION
    height, width = image_size
    grid, _, count = confidence.shape
    row, column = np.indices((grid, grid))[..., None]  # both (S, S, 1)
    pixels = np.stack(
        [
            (column + boxes[..., 0]) * width / grid,
            (row + boxes[..., 1]) * height / grid,
            boxes[..., 2] ** 2 * width,
            boxes[..., 3] ** 2 * height,
        ],
        axis=-1,
    )
    corners = np.clip(to_corners(pixels), 0.0, [width, height, width, height])
    sure = np.clip(confidence, 0.0, 1.0)[..., None] * np.clip(scores, 0.0, 1.0)[:, :, None]
    return corners.reshape(-1, 4), sure.reshape(grid * grid * count, -1)
    # END SOLUTION


def nms(iou, scores, threshold):
    """Greedy non-maximum suppression.

    The box of highest score stays, and removes all whose IoU with it is larger than the threshold
    (equal to it is not larger); of those left, the one of highest score stays, and so on. A box
    that has been removed removes nothing. Of equal scores the box of lower index comes first.

    Args:
        iou: (D, D) of each pair of boxes. D may be 0.
        scores: (D,).
        threshold: a float.

    Returns:
        (K,) int64: indices of the boxes that stay, by falling score.
    """
    # BEGIN SOLUTION
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[iou[best, order] <= threshold]
    return np.array(kept, np.int64)
    # END SOLUTION


def detect(boxes, scores, score_threshold, iou_threshold):
    """The detections of an image: every box is a candidate for every class.

    Of the pairs of a box and a class those with a score larger than score_threshold are left; then
    comes non-maximum suppression within each class. Boxes of different classes do not remove each
    other, also if they are the same box.

    Args:
        boxes: (D, 4) x1, y1, x2, y2.
        scores: (D, C) of each box and class.
        score_threshold, iou_threshold: floats.

    Returns:
        boxes (K, 4), labels (K,) int64, scores (K,): by rising label, within a label by falling
        score. K may be 0.
    """
    # BEGIN SOLUTION
    index, label = [], []
    for c in range(scores.shape[1]):
        candidates = np.flatnonzero(scores[:, c] > score_threshold)
        own = boxes[candidates]
        kept = nms(box_iou(own[:, None], own), scores[candidates, c], iou_threshold)
        index.append(candidates[kept])
        label.append(np.full(len(kept), c))
    index, label = np.concatenate(index), np.concatenate(label)
    return boxes[index], label, scores[index, label]
    # END SOLUTION


# -- 6. average precision --------------------------------------------------------------------------


def match(iou, scores, threshold):
    """Which detections of one class in one image are true.

    The detections take their turns by falling score, of equal scores the first one first. In its
    turn a detection looks at the objects that are not taken yet. If the largest IoU with one of
    them is at least the threshold, it takes that object (of equals the first) and is true;
    otherwise it is false. Nobody takes an object twice.

    Args:
        iou: (D, G) of each detection and object. D or G may be 0.
        scores: (D,).
        threshold: a float above 0.

    Returns:
        (D,) bool, in the order of the input.
    """
    # BEGIN SOLUTION
    true = np.zeros(len(scores), bool)
    free = np.array(iou, float)
    if free.shape[1] == 0:
        return true
    for d in np.argsort(-scores, kind="stable"):
        best = free[d].argmax()
        if free[d, best] >= threshold:
            true[d] = True
            free[:, best] = -1.0
    return true
    # END SOLUTION


def precision_recall(scores, true, num_objects):
    """Precision and recall after each detection, those of high score first.

    Args:
        scores: (D,) of all detections of a class, from all images. D may be 0.
        true: (D,) bool.
        num_objects: how many objects of the class there are, at least 1.

    Returns:
        precision (D,) and recall (D,): entry k is about the k + 1 detections of highest score. Of
        equal scores the first one comes first.
    """
    # BEGIN SOLUTION
    found = np.cumsum(true[np.argsort(-scores, kind="stable")])
    return found / np.arange(1, len(found) + 1), found / num_objects
    # END SOLUTION


def ap_11_points(precision, recall):
    """Average precision as Pascal VOC had it until 2009.

    The mean, over the eleven recalls 0, 0.1, ..., 1, of the largest precision among the entries
    with that recall or a larger one; 0 where there is none.

    Args:
        precision, recall: (D,) as from `precision_recall`. D may be 0.

    Returns:
        float.
    """
    # BEGIN SOLUTION
    best = [precision[recall >= t].max(initial=0.0) for t in np.linspace(0.0, 1.0, 11)]
    return float(np.mean(best))
    # END SOLUTION


def ap_area(precision, recall):
    """Average precision as Pascal VOC has it since 2010: the area under the interpolated curve.

    The interpolated precision at a recall r is the largest precision among the entries with recall
    r or larger, 0 where there is none. The area is that of this staircase, from recall 0 to 1.

    Args:
        precision, recall: (D,) as from `precision_recall`. D may be 0.

    Returns:
        float.
    """
    # BEGIN SOLUTION
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * best).sum())
    # END SOLUTION


def mean_average_precision(detections, truths, num_classes, iou_threshold=0.5):
    """The average precision of each class (by `ap_area`), and their mean.

    A detection can only find an object of its own image and class. The detections of a class are
    ranked together, over all images; of equal scores that of the earlier image comes first.

    Args:
        detections: for each image (boxes (D, 4), labels (D,), scores (D,)).
        truths: for each image (boxes (G, 4), labels (G,)).
        num_classes: C.
        iou_threshold: see `match`.

    Returns:
        aps: (C,) floats: 0 for a class with objects but no detections, NaN for a class without
            objects in any image (its AP does not exist, whatever was detected).
        mean: float, the mean over the classes with objects; NaN if there are none.
    """
    # BEGIN SOLUTION
    aps = np.full(num_classes, np.nan)
    for c in range(num_classes):
        scores, true, num_objects = [], [], 0
        for (boxes, labels, confidence), (objects, kinds) in zip(detections, truths, strict=True):
            own, wanted = labels == c, objects[kinds == c]
            num_objects += len(wanted)
            scores.append(confidence[own])
            true.append(match(box_iou(boxes[own][:, None], wanted), scores[-1], iou_threshold))
        if num_objects:
            aps[c] = ap_area(
                *precision_recall(np.concatenate(scores), np.concatenate(true), num_objects)
            )
    there = aps[~np.isnan(aps)]
    return aps, float(there.mean()) if len(there) else float("nan")
    # END SOLUTION


# -- 7. training the head --------------------------------------------------------------------------


def head(features, weight, bias):
    """A linear head: the same product in every cell (a 1 x 1 convolution, channels last).

    Args:
        features: (N, S, S, F).
        weight: (F, K).
        bias: (K,).

    Returns:
        (N, S, S, K).
    """
    # BEGIN SOLUTION
    return features @ weight + bias
    # END SOLUTION


def head_gradients(features, gradient):
    """The gradients of a loss to the head's weight and bias.

    Args:
        features: (N, S, S, F).
        gradient: (N, S, S, K), of the loss to what `head` gives.

    Returns:
        gradients to weight (F, K) and bias (K,).
    """
    # BEGIN SOLUTION
    flat = gradient.reshape(-1, gradient.shape[-1])
    return features.reshape(len(flat), -1).T @ flat, flat.sum(axis=0)
    # END SOLUTION


def train(features, weight, bias, num_boxes, has_object, target, classes, steps, learning_rate):
    """Plain gradient descent on `yolo_loss` (with its default weights), all images in each step.

    Args:
        features: (N, S, S, F).
        weight: (F, 5 B + C), bias: (5 B + C,): where to start. They stay as they are.
        num_boxes: B.
        has_object (N, S, S), target (N, S, S, 4), classes (N, S, S, C).
        steps: how many.
        learning_rate: a step subtracts learning_rate times the gradient.

    Returns:
        weight and bias after the last step, and losses (steps,): in each step the loss before
        the parameters change.
    """
    # BEGIN SOLUTION
    losses = np.zeros(steps)
    for step in range(steps):
        losses[step], gradient = yolo_loss(
            head(features, weight, bias), num_boxes, has_object, target, classes
        )
        grad_weight, grad_bias = head_gradients(features, gradient)
        weight = weight - learning_rate * grad_weight
        bias = bias - learning_rate * grad_bias
    return weight, bias, losses
    # END SOLUTION
