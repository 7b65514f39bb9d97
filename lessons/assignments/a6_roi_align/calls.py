"""How the checks call roi.py. It is part of the handout, and knows no answers.

Each function here runs in a fresh process of its own beside the submission, of which `student.roi`
is the module. Whatever it returns goes back to the check. The results named own_... are those of
functions that the one in question may call: they help to tell where an error is.
"""

import numpy as np


def tried(function, *arguments):
    """What a function gives, or None where it fails."""
    try:
        return function(*arguments)
    except Exception:
        return None


def first_of(function, *arguments):
    """The first of the results of a function, or None where it fails."""
    results = tried(function, *arguments)
    return results[0] if isinstance(results, tuple) else None


def box_iou(student, first, second):
    return {"iou": student.roi.box_iou(first, second)}


def nms(student, boxes, scores, threshold):
    return {
        "kept": student.roi.nms(boxes, scores, threshold),
        "own_iou": tried(student.roi.box_iou, boxes, boxes),
    }


def encode(student, boxes, anchors, weights=()):
    return {"deltas": student.roi.encode(boxes, anchors, *([weights] if weights else []))}


def decode(student, deltas, anchors, weights=()):
    return {"boxes": student.roi.decode(deltas, anchors, *([weights] if weights else []))}


def anchors_of_level(student, height, width, stride, sizes, ratios):
    return {"anchors": student.roi.anchors_of_level(height, width, stride, sizes, ratios)}


def match_anchors(student, iou, high, low, keep_best):
    return {"matches": student.roi.match_anchors(iou, high, low, keep_best)}


def sample_anchors(student, matches, count, fraction, seed):
    """With the number that the generator gives next."""
    rng = np.random.default_rng(seed)
    positive, negative = student.roi.sample_anchors(matches, count, fraction, rng)
    return {"positive": positive, "negative": negative, "next_number": rng.random()}


def roi_pool(student, x, rois, size, scale, grad=None):
    """roi_pool and, where grad is given, roi_pool_backward."""
    out, cache = student.roi.roi_pool(x, rois, size, scale)
    result = {"out": out}
    if grad is not None:
        result["grad_x"] = student.roi.roi_pool_backward(grad, cache)
    return result


def bilinear(student, x, ys, xs):
    return {"values": student.roi.bilinear(x, ys, xs)}


def bilinear_backward(student, grad, size, ys, xs):
    return {"grad_x": student.roi.bilinear_backward(grad, size, ys, xs)}


def sample_points(student, low, high, bins, scale, sampling_ratio, aligned):
    points = student.roi.sample_points(low, high, bins, scale, sampling_ratio, aligned)
    return {"points": points}


def own_points(student, roi, size, *options):
    """The points of one region along y and along x."""
    low, high = np.reshape(roi[1:], (2, 2))[:, ::-1]
    return [
        tried(student.roi.sample_points, *pair, bins, *options)
        for *pair, bins in zip(low, high, size, strict=True)
    ]


def roi_align(student, x, rois, size, scale, sampling_ratio, aligned, ys, xs):
    """With the submission's own points of the first region, and its own bilinear at ys, xs."""
    options = scale, sampling_ratio, aligned
    out = student.roi.roi_align(x, rois, size, *options)
    rows, columns = own_points(student, rois[0], size, *options) if len(rois) else (None, None)
    values = tried(student.roi.bilinear, x[0], ys, xs)
    return {"out": out, "own_rows": rows, "own_columns": columns, "own_values": values}


def roi_align_backward(student, grad, shape, rois, scale, sampling_ratio, aligned, slope, ys, xs):
    """With the submission's own points of the first region, and its own bilinear_backward."""
    options = scale, sampling_ratio, aligned
    grad_x = student.roi.roi_align_backward(grad, shape, rois, *options)
    rows, columns = own_points(student, rois[0], grad.shape[2:], *options)
    values = tried(student.roi.bilinear_backward, slope, shape[2:], ys, xs)
    return {"grad_x": grad_x, "own_rows": rows, "own_columns": columns, "own_values": values}


def binary_cross_entropy(student, logits, targets):
    losses, slopes = student.roi.binary_cross_entropy(logits, targets)
    return {"losses": losses, "slopes": slopes}


def smooth_l1(student, predicted, target, beta):
    losses, slopes = student.roi.smooth_l1(predicted, target, beta)
    return {"losses": losses, "slopes": slopes}


def rpn_loss(student, logits, deltas, targets, positive, negative, beta):
    """With the submission's own smooth_l1 of the deltas and cross-entropy of the logits."""
    objectness, boxes, grad_logits, grad_deltas = student.roi.rpn_loss(
        logits, deltas, targets, positive, negative, beta
    )
    return {
        "loss_objectness": objectness,
        "loss_boxes": boxes,
        "grad_logits": grad_logits,
        "grad_deltas": grad_deltas,
        "own_smooth_l1": first_of(student.roi.smooth_l1, deltas, 0 * deltas, beta),
        "own_entropy": first_of(student.roi.binary_cross_entropy, logits, 0 * logits),
    }


def proposals(student, logits, deltas, anchors, image_size, pre_top, post_top, min_size, threshold):
    """With the submission's own decode of all, and its own overlaps of what that gives."""
    moved = tried(student.roi.decode, deltas, anchors)
    boxes, scores = student.roi.proposals(
        logits, deltas, anchors, image_size, pre_top, post_top, min_size, threshold
    )
    return {"boxes": boxes, "scores": scores, "own_moved": moved}


def assign_levels(student, boxes, lowest, highest, canonical=()):
    return {"levels": student.roi.assign_levels(boxes, lowest, highest, *canonical)}


def head_loss(student, logits, deltas, labels, targets, beta):
    """With the submission's own smooth_l1 of the deltas."""
    classes, boxes, grad_logits, grad_deltas = student.roi.head_loss(
        logits, deltas, labels, targets, beta
    )
    return {
        "loss_classes": classes,
        "loss_boxes": boxes,
        "grad_logits": grad_logits,
        "grad_deltas": grad_deltas,
        "own_smooth_l1": first_of(student.roi.smooth_l1, deltas, 0 * deltas, beta),
    }


def detect(student, logits, deltas, boxes, image_size, weights, min_score, threshold, most):
    """With the submission's own decode of all."""
    moved = tried(student.roi.decode, deltas, boxes[:, None], weights)
    boxes, labels, scores = student.roi.detect(
        logits, deltas, boxes, image_size, weights, min_score, threshold, most
    )
    return {"boxes": boxes, "labels": labels, "scores": scores, "own_moved": moved}


def mask_targets(student, masks, matches, boxes, size):
    """With the submission's own roi_align of the same."""
    rois = np.concatenate([matches[:, None], boxes], axis=1)
    targets = student.roi.mask_targets(masks, matches, boxes, size)
    own = tried(student.roi.roi_align, 1.0 * masks[:, None], rois, (size, size), 1.0, 0, True)
    return {"targets": targets, "own_align": own}


def mask_loss(student, logits, labels, targets):
    loss, gradient = student.roi.mask_loss(logits, labels, targets)
    own = first_of(student.roi.binary_cross_entropy, logits, 0 * logits)
    return {"loss": loss, "gradient": gradient, "own_entropy": own}
