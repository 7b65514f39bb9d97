"""How the checks call yolo.py. It is part of the handout, and knows no answers.

Each function here runs in a fresh process of its own beside the submission, of which `student.yolo`
is the module. Whatever it returns goes back to the check.
"""

import numpy as np


def tried(function, *arguments):
    """What a function gives, or None where it fails: for what only helps to find an error."""
    try:
        return function(*arguments)
    except Exception:
        return None


def to_corners(student, boxes):
    return {"corners": student.yolo.to_corners(boxes)}


def to_centres(student, boxes):
    return {"centres": student.yolo.to_centres(boxes)}


def box_iou(student, first, second):
    return {"iou": student.yolo.box_iou(first, second)}


def owner_cells(student, boxes, image_size, grid):
    return {"cells": student.yolo.owner_cells(boxes, image_size, grid)}


def encode_targets(student, boxes, labels, cells, image_size, grid, num_classes):
    has_object, target, classes = student.yolo.encode_targets(
        boxes, labels, cells, image_size, grid, num_classes
    )
    return {"has_object": has_object, "target": target, "classes": classes}


def predictor_iou(student, predicted, target, grid):
    return {"iou": student.yolo.predictor_iou(predicted, target, grid)}


def responsible(student, iou, has_object):
    return {"mask": student.yolo.responsible(iou, has_object)}


def split_predictions(student, predictions, num_boxes):
    boxes, confidence, scores = student.yolo.split_predictions(predictions, num_boxes)
    return {"boxes": boxes, "confidence": confidence, "scores": scores}


# What loss_terms and loss_gradients take, in their order.
ARGUMENTS = ("boxes", "confidence", "scores", "has_object", "target", "classes", "mask", "iou")


def loss_terms(student, weights=(), **batch):
    return dict(student.yolo.loss_terms(*[batch[name] for name in ARGUMENTS], *weights))


def loss_gradients(student, weights=(), **batch):
    boxes, confidence, scores = student.yolo.loss_gradients(
        *[batch[name] for name in ARGUMENTS], *weights
    )
    return {"grad_boxes": boxes, "grad_confidence": confidence, "grad_scores": scores}


def differences(student, step, to_boxes, to_confidence, to_scores, **batch):
    """The gradient along a direction in boxes, one in confidence and one in scores, beside central
    differences of the loss along them.
    """
    directions = {"boxes": to_boxes, "confidence": to_confidence, "scores": to_scores}

    def loss(name, move):
        arrays = [batch[n] + move if n == name else batch[n] for n in ARGUMENTS]
        return sum(student.yolo.loss_terms(*arrays).values())

    gradients = student.yolo.loss_gradients(*[batch[name] for name in ARGUMENTS])
    found = {}
    for (name, d), gradient in zip(directions.items(), gradients, strict=True):
        found[f"slope_{name}"] = (loss(name, step * d) - loss(name, -step * d)) / (2 * step)
        found[f"by_gradient_{name}"] = np.vdot(d, gradient)
    return found


def yolo_loss(student, predictions, num_boxes, has_object, target, classes, weights=()):
    """With what the submission's own functions make of the overlaps, to tell where an error is."""

    def overlaps():
        boxes, _, _ = student.yolo.split_predictions(predictions.copy(), num_boxes)
        return student.yolo.predictor_iou(boxes, target, predictions.shape[1])

    loss, gradient = student.yolo.yolo_loss(
        predictions, num_boxes, has_object, target, classes, *weights
    )
    return {"loss": loss, "gradient": gradient, "own_iou": tried(overlaps)}


def decode(student, boxes, confidence, scores, image_size):
    boxes, scores = student.yolo.decode(boxes, confidence, scores, image_size)
    return {"boxes": boxes, "scores": scores}


def nms(student, iou, scores, threshold):
    return {"kept": student.yolo.nms(iou, scores, threshold)}


def detect(student, boxes, scores, score_threshold, iou_threshold):
    iou = tried(student.yolo.box_iou, boxes[:, None], boxes)
    boxes, labels, scores = student.yolo.detect(boxes, scores, score_threshold, iou_threshold)
    return {"boxes": boxes, "labels": labels, "scores": scores, "own_iou": iou}


def match(student, iou, scores, threshold):
    return {"true": student.yolo.match(iou, scores, threshold)}


def precision_recall(student, scores, true, num_objects):
    precision, recall = student.yolo.precision_recall(scores, true, num_objects)
    return {"precision": precision, "recall": recall}


def ap_11_points(student, precision, recall):
    return {"ap": student.yolo.ap_11_points(precision, recall)}


def ap_area(student, precision, recall):
    return {"ap": student.yolo.ap_area(precision, recall)}


def mean_average_precision(student, found, objects, images, num_classes, iou_threshold):
    """Detections `found` (D, 7) and `objects` (G, 6): image, label, box and, if found, score."""
    detections, truths = [], []
    for i in range(images):
        own, there = found[found[:, 0] == i], objects[objects[:, 0] == i]
        detections.append((own[:, 2:6], own[:, 1].astype(np.int64), own[:, 6]))
        truths.append((there[:, 2:6], there[:, 1].astype(np.int64)))
    aps, mean = student.yolo.mean_average_precision(detections, truths, num_classes, iou_threshold)
    iou = tried(student.yolo.box_iou, found[:, None, 2:6], objects[:, 2:6])
    return {"aps": aps, "mean": mean, "own_iou": iou}


def head(student, features, weight, bias, gradient):
    out = student.yolo.head(features, weight, bias)
    grad_weight, grad_bias = student.yolo.head_gradients(features, gradient)
    return {"out": out, "grad_weight": grad_weight, "grad_bias": grad_bias}


def train(student, features, weight, bias, num_boxes, has_object, target, classes, steps, rate):
    yolo = student.yolo
    # What yolo_loss makes of the first step's predictions, to tell where an error is.
    out = features @ weight + bias
    own = tried(yolo.yolo_loss, out, num_boxes, has_object, target, classes)
    loss, slope = own if isinstance(own, tuple) and len(own) == 2 else (None, None)
    weight, bias, losses = yolo.train(
        features, weight, bias, num_boxes, has_object, target, classes, steps, rate
    )
    return {"weight": weight, "bias": bias, "losses": losses, "own_loss": loss, "own_slope": slope}


def train_and_detect(
    student, features, weight, bias, num_boxes, has_object, target, classes, steps, rate, image_size
):
    """Train, and detect in the same images: (D, 7) image, label, box, score."""
    yolo = student.yolo
    weight, bias, losses = yolo.train(
        features, weight, bias, num_boxes, has_object, target, classes, steps, rate
    )
    rows = [np.zeros((0, 7))]
    for i, predictions in enumerate(yolo.head(features, weight, bias)):
        boxes, scores = yolo.decode(*yolo.split_predictions(predictions, num_boxes), image_size)
        boxes, labels, scores = yolo.detect(boxes, scores, 0.1, 0.5)
        image = np.full(len(labels), float(i))
        rows.append(np.column_stack([image, labels, np.reshape(boxes, (-1, 4)), scores]))
    return {"found": np.concatenate(rows), "losses": losses}
