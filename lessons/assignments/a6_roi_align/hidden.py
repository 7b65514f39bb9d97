"""Hidden checks of A6: random inputs of other sizes, and the edges of the contract.

Expected values come from minidl's own operations and boxes, or from the slow loops of slow.py,
which also recognise mistakes.
"""

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl import boxes as box_ops
from minidl.teach.assign import Cause, check, compare

from .public import EIGHT, FIVE, FOUR, ONE, SEVEN, SIX, THREE, TWO, earlier, one_draw, unchanged
from .slow import (
    ALIGN,
    ALIGN_BACKWARD,
    ANCHORS,
    BACKWARD,
    BILINEAR,
    DECODE,
    DETECT,
    ENCODE,
    HEAD,
    IOU,
    LEVELS,
    MASK_LOSS,
    MASKS,
    MATCH,
    NMS,
    POINTS,
    POOL,
    PROPOSALS,
    RPN,
    SAMPLE,
    mistakes,
    slow_align,
    slow_align_backward,
    slow_anchors,
    slow_bilinear,
    slow_bilinear_backward,
    slow_decode,
    slow_detect,
    slow_encode,
    slow_head,
    slow_iou,
    slow_levels,
    slow_mask_loss,
    slow_masks,
    slow_match,
    slow_nms,
    slow_points,
    slow_pool,
    slow_proposals,
    slow_rpn,
    slow_sample,
)


def random_boxes(rng, count, height, width, low=3.0, high=20.0):
    """(count, 4) boxes within a picture, sides from `low` to `high` pixels."""
    size = rng.uniform(low, high, (count, 2))
    corner = rng.uniform(0.0, 1.0, (count, 2)) * ([width, height] - size)
    return np.concatenate([corner, corner + size], axis=1)


def gradient_of(function, x, grad):
    """What minidl's function gives for x, and the gradient to x for the cotangent grad."""
    x = md.tensor(x, requires_grad=True)
    out = function(x)
    out.backward(md.tensor(grad))
    return out.detach().numpy(), x.grad.numpy()


# -- 1 ---------------------------------------------------------------------------------------------


@check(points=2, part=ONE)
def overlaps_of_all_pairs(student, rng):
    """box_iou: all pairs of 6 and 9 random boxes, many apart; then of none and 9."""
    first, second = random_boxes(rng, 6, 40, 60), random_boxes(rng, 9, 40, 60)
    second[0] = first[0]
    first[1], second[1] = (1, 2, 6, 5), (40, 25, 54, 39)
    got = student.call("box_iou", first=first, second=second)
    compare(
        "iou",
        got["iou"],
        box_ops.box_iou(first, second),
        causes=mistakes(slow_iou, (first, second), IOU),
        look="Take the first pair that differs, draw both boxes, and count areas by hand.",
    )
    unchanged(got)
    got = student.call("box_iou", first=np.zeros((0, 4)), second=second)
    compare("iou of none", got["iou"], np.zeros((0, 9)))


@check(points=2, part=ONE)
def suppression_of_many_boxes(student, rng):
    """nms: 14 random boxes, three in a chain, two of equal scores; an IoU equal to the threshold;
    then no boxes."""
    boxes = random_boxes(rng, 14, 40, 40, 10, 20)
    boxes[:3] = [[6, 0, 16, 10], [0, 0, 10, 10], [3, 0, 13, 10]]
    boxes[6] = boxes[5] + 0.5
    scores = rng.permutation(14) / 20 + 0.1
    scores[:3] = 0.8, 0.99, 0.9
    scores[6] = scores[5]
    exact = np.array([[0, 0, 4, 4], [0, 0, 4, 2], [0, 0, 2, 4]], float)  # IoU 1/2, 1/2, 1/3
    for b, s, name in ((boxes, scores, "kept"), (exact, np.array([0.9, 0.5, 0.4]), "kept at 0.5")):
        got = student.call("nms", boxes=b, scores=s, threshold=0.5)
        causes = mistakes(slow_nms, (b, s, 0.5), NMS)
        compare(
            name,
            got["kept"],
            box_ops.nms(b, s, 0.5),
            causes=[earlier("box_iou", got["own_iou"], box_ops.box_iou(b, b)), *causes],
        )
        unchanged(got)
    got = student.call("nms", boxes=np.zeros((0, 4)), scores=np.zeros(0), threshold=0.5)
    compare("kept of no boxes", got["kept"], np.zeros(0, np.int64))


@check(points=3, part=ONE)
def deltas_of_random_pairs(student, rng):
    """encode: 7 random boxes and anchors, weights (1, 1, 1, 1) and (8, 4, 2, 3)."""
    boxes, anchors = random_boxes(rng, 7, 50, 80), random_boxes(rng, 7, 50, 80)
    for weights in ((), (8.0, 4.0, 2.0, 3.0)):
        got = student.call("encode", boxes=boxes, anchors=anchors, weights=weights)
        full = weights or (1.0,) * 4
        compare(
            f"deltas, weights {full}",
            got["deltas"],
            box_ops.BoxCoder(full).encode(boxes, anchors),
            causes=mistakes(slow_encode, (boxes, anchors, full), ENCODE),
            look="Work one row out by hand: centres and sizes of both boxes first.",
        )
        unchanged(got)


@check(points=3, part=ONE)
def boxes_of_random_deltas(student, rng):
    """decode: 6 random anchors and deltas; weights (8, 4, 2, 3); deltas for each of 3
    classes; large and very negative log sizes, moves of several widths."""
    anchors = random_boxes(rng, 6, 50, 80)
    plain = 0.5 * rng.standard_normal((6, 4))
    plain[1, 2:], plain[2, 2:], plain[3, :2] = (6, -1), (-7, 5), (-9, 6)
    weights = (8.0, 4.0, 2.0, 3.0)
    heavy = plain * weights
    heavy[4, 2:] = 7, 9
    classes = rng.standard_normal((6, 3, 4))
    cases = (
        ("boxes", plain, anchors, (1.0,) * 4),
        ("boxes with weights", heavy, anchors, weights),
        ("boxes of each class", classes, anchors[:, None], weights),
    )
    for name, deltas, start, of in cases:
        got = student.call("decode", deltas=deltas, anchors=start, weights=of)
        compare(
            name,
            got["boxes"],
            box_ops.BoxCoder(of).decode(deltas, anchors),
            causes=mistakes(slow_decode, (deltas, start, of), DECODE),
            look="decode undoes encode. Index the last axis as deltas[..., 0].",
        )
        unchanged(got)


# -- 2 ---------------------------------------------------------------------------------------------


@check(points=3, part=TWO)
def anchors_of_a_map(student, rng):
    """anchors_of_level: a map of 3 x 5, stride 12, two sizes, three ratios; a map of 1 x 1."""
    for height, width, sizes, ratios in (
        (3, 5, (20.0, 33.0), (0.5, 1.0, 2.0)),
        (1, 1, (7.0,), (0.3, 3.0)),
    ):
        inputs = {"height": height, "width": width, "stride": 12, "sizes": sizes, "ratios": ratios}
        got = student.call("anchors_of_level", **inputs)
        compare(
            "anchors",
            got["anchors"],
            slow_anchors(*inputs.values()),
            causes=mistakes(slow_anchors, inputs.values(), ANCHORS),
            look="Print the first anchors of a map of 1 x 2, with centre, area and ratio.",
        )


@check(points=2, part=TWO)
def matches_at_the_thresholds(student, rng):
    """match_anchors: 4 objects, 30 random anchors, some IoU equal to a threshold; without
    keep_best; then no object."""
    iou = np.round(rng.uniform(0, 0.9, (4, 30)) * rng.uniform(0, 1, 30), 3)
    iou[:, 3], iou[:, 7], iou[:, 11] = (0.7, 0.1, 0, 0), (0, 0.3, 0.1, 0), (0.6, 0.2, 0.6, 0.5)
    got = student.call("match_anchors", iou=iou, high=0.7, low=0.3, keep_best=False)
    compare(
        "matches",
        got["matches"],
        box_ops.Matcher(0.7, 0.3)(iou),
        causes=mistakes(slow_match, (iou, 0.7, 0.3, False), MATCH),
    )
    unchanged(got)
    got = student.call("match_anchors", iou=np.zeros((0, 5)), high=0.7, low=0.3, keep_best=True)
    compare("matches without objects", got["matches"], np.full(5, -1))


@check(points=2, part=TWO)
def every_object_keeps_its_best_anchor(student, rng):
    """match_anchors with keep_best: an object with two equally good anchors; one whose best anchor
    likes another object more; one that no anchor overlaps."""
    iou = np.round(rng.uniform(0, 0.25, (4, 12)), 3)
    iou[3] = 0
    iou[:, 2], iou[:, 9], iou[:, 5] = (0, 0.5, 0, 0), (0, 0.5, 0.1, 0), (0.8, 0, 0.4, 0)
    iou[0, 7] = 0.35
    iou[:, 10] = 0
    got = student.call("match_anchors", iou=iou, high=0.7, low=0.3, keep_best=True)
    compare(
        "matches",
        got["matches"],
        box_ops.Matcher(0.7, 0.3, allow_low_quality_matches=True)(iou),
        causes=[
            *mistakes(slow_match, (iou, 0.7, 0.3, True), MATCH),
            Cause(
                "an object left without an anchor",
                slow_match(iou, 0.7, 0.3, False),
                "keep_best: the anchors of an object's largest IoU find something whatever the "
                "thresholds say.",
            ),
        ],
        look="Object 1 has its largest IoU with anchors 2 and 9, object 2 with anchor 5.",
    )


def compare_samples(student, matches, count, fraction, seed):
    inputs = {"matches": matches, "count": count, "fraction": fraction, "seed": seed}
    got = student.call("sample_anchors", **inputs)
    one_draw(got, len(matches), seed)
    for k, name in enumerate(("positive", "negative")):
        compare(
            name,
            got[name],
            slow_sample(*inputs.values())[k],
            causes=mistakes(slow_sample, inputs.values(), SAMPLE, k),
            look="rng.random(A) is called once; numbers[a] belongs to anchor a.",
        )
    unchanged(got)


@check(points=2, part=TWO)
def samples_of_many_anchors(student, rng):
    """sample_anchors: 15 of 60 anchors, 0.37 of them positive; more than enough of either kind."""
    matches = rng.choice([-2, -1, 0, 1, 2], 60)
    compare_samples(student, matches, 15, 0.37, 11)


@check(points=1, part=TWO)
def samples_of_too_few_anchors(student, rng):
    """sample_anchors: 2 positive anchors where 8 are wanted; then fewer anchors than wanted."""
    matches = rng.permutation([0, 3] + [-1] * 30 + [-2] * 8)
    compare_samples(student, matches, 16, 0.5, 12)
    compare_samples(student, matches[:20], 40, 0.5, 13)


# -- 3 ---------------------------------------------------------------------------------------------


def compare_pool(student, x, rois, size, scale, grad=None):
    inputs = {"x": x, "rois": rois, "size": size, "scale": scale}
    if grad is not None:
        inputs["grad"] = grad
    got = student.call("roi_pool", **inputs)
    cotangent = np.zeros((len(rois), x.shape[1], *size)) if grad is None else grad
    out, grad_x = gradient_of(lambda t: F.roi_pool(t, rois, size, scale), x, cotangent)
    arguments = (x, rois, size, scale)
    look = "Take one region, round its corners, and write down the rows and columns of each bin."
    compare("out", got["out"], out, causes=mistakes(slow_pool, arguments, POOL), look=look)
    if grad is not None:
        causes = mistakes(slow_pool, (*arguments, grad), POOL)
        compare("grad_x", got["grad_x"], grad_x, causes=causes)
    unchanged(got)


@check(points=2, part=THREE)
def regions_of_two_images(student, rng):
    """roi_pool: 5 regions of 2 images, 3 x 2 bins, scale 1/4, corners that fall on halves; then no
    regions."""
    x = rng.standard_normal((2, 3, 9, 11)) - 3
    boxes = np.array(
        [[2, 6, 30, 26], [0, 0, 43, 35], [10, 10, 17, 33], [13, 3, 22, 11], [21, 15, 21, 16]], float
    )
    rois = np.concatenate([[[1], [0], [1], [0], [1]], boxes], axis=1)
    compare_pool(student, x, rois, (3, 2), 0.25)
    got = student.call("roi_pool", x=x, rois=np.zeros((0, 5)), size=(3, 2), scale=0.25)
    compare("out of no regions", got["out"], np.zeros((0, 3, 3, 2)))


@check(points=2, part=THREE)
def regions_beyond_the_map(student, rng):
    """roi_pool: regions that reach out of the map on each side, and one that lies outside; all
    numbers of the map negative."""
    x = -rng.uniform(1, 2, (1, 2, 7, 6))
    rois = np.array([[0, -7.4, -6, 9, 8], [0, 6, 8, 19, 17], [0, 30, 2, 36, 8]], float)
    compare_pool(student, x, rois, (3, 4), 0.5)


@check(points=2, part=THREE)
def gradients_of_overlapping_regions(student, rng):
    """roi_pool_backward: 6 regions of 2 images, many of which share pixels; random cotangent."""
    x = rng.permutation(2.0 * 2 * 64 - np.arange(2.0 * 2 * 64)).reshape(2, 2, 8, 8)
    boxes = np.array(
        [[0, 0, 7, 7], [1, 1, 6, 7], [0, 2, 7, 5], [2, 0, 4, 7], [5, 5, 9, 9], [0, 0, 7, 7]], float
    )
    rois = np.concatenate([[[1], [1], [0], [0], [1], [0]], boxes], axis=1)
    compare_pool(student, x, rois, (3, 3), 1.0, rng.standard_normal((6, 2, 3, 3)))


@check(points=2, part=THREE)
def gradients_to_equal_elements(student, rng):
    """roi_pool_backward: a map of a few whole numbers, so that most bins have several largest
    elements; one region reaches out of the map; random cotangent."""
    x = rng.integers(0, 3, (1, 2, 7, 9)).astype(float)
    x[0, 1] = -1.0
    rois = np.array([[0, 0, 0, 8, 6], [0, 5, -3, 12, 4]], float)
    compare_pool(student, x, rois, (2, 3), 1.0, rng.standard_normal((2, 2, 2, 3)))


# -- 4 ---------------------------------------------------------------------------------------------


def edge_points(rng):
    """Points of a map of 4 x 6: inside, between the edges' pixels and the limits, on the limits,
    beyond; two of them twice."""
    ys = np.array([1.3, 0.2, 2.7, -0.4, 1.6, 3.6, 2.2, -1.0, 4.0, 1.2, 0.7, -1.2, 4.1, 1.5, 2.0])
    xs = np.array([2.6, 4.5, 0.4, 1.2, -0.8, 3.1, 5.7, 2.3, 1.1, -1.0, 6.0, 3.3, 2.0, -1.1, 6.2])
    order = rng.permutation(len(ys))
    return np.append(ys[order], [1.3, 3.0]), np.append(xs[order], [2.6, 5.0])


@check(points=1, part=FOUR)
def values_at_random_points(student, rng):
    """bilinear: 20 random points within a map of 3 x 5 x 8."""
    x = rng.standard_normal((3, 5, 8))
    ys, xs = rng.uniform(0, 4, 20), rng.uniform(0, 7, 20)
    got = student.call("bilinear", x=x, ys=ys, xs=xs)
    compare(
        "values",
        got["values"],
        slow_bilinear(x, ys, xs),
        causes=mistakes(slow_bilinear, (x, ys, xs), BILINEAR),
        look="Take one point: its four pixels, and the weights of each; they add up to 1.",
    )
    unchanged(got)


@check(points=3, part=FOUR)
def values_at_and_beyond_the_edges(student, rng):
    """bilinear: points on each side between edge and limit, at exactly -1 and the size, and
    beyond, on one axis only too."""
    x = rng.standard_normal((2, 4, 6))
    ys, xs = edge_points(rng)
    got = student.call("bilinear", x=x, ys=ys, xs=xs)
    causes = mistakes(slow_bilinear, (x, ys, xs), BILINEAR)
    compare("values", got["values"], slow_bilinear(x, ys, xs), causes=causes)


@check(points=3, part=FOUR)
def gradients_of_points_that_share_pixels(student, rng):
    """bilinear_backward: the same kinds of points on a map of 4 x 6, random cotangent."""
    grad, (ys, xs) = rng.standard_normal((2, 17)), edge_points(rng)
    arguments = grad, (4, 6), ys, xs
    got = student.call("bilinear_backward", grad=grad, size=(4, 6), ys=ys, xs=xs)
    compare(
        "grad_x",
        got["grad_x"],
        slow_bilinear_backward(*arguments),
        causes=mistakes(slow_bilinear_backward, arguments, BACKWARD),
        look="One point alone: its gradient spread over its pixels must add up to its grad.",
    )
    unchanged(got)


# -- 5 ---------------------------------------------------------------------------------------------


@check(points=3, part=FIVE)
def points_of_many_kinds(student, rng):
    """sample_points: fixed and adaptive, aligned and not; a short region; one out of the map;
    one of length 0."""
    for low, high, bins, scale, ratio, aligned in (
        (13.7, 52.2, 3, 0.25, 3, False),
        (13.7, 52.2, 3, 0.25, 2, True),
        (5.1, 7.9, 2, 0.125, 2, False),
        (5.1, 7.9, 2, 0.125, 2, True),
        (-9.3, 37.4, 3, 0.3, 0, True),
        (3.2, 91.9, 5, 0.25, -1, False),
        (8.0, 8.0, 3, 0.5, 0, True),
    ):
        arguments = low, high, bins, scale, ratio, aligned
        names = ("low", "high", "bins", "scale", "sampling_ratio", "aligned")
        got = student.call("sample_points", **dict(zip(names, arguments, strict=True)))
        causes = mistakes(slow_points, arguments, POINTS)
        compare(
            f"points of {low} to {high}, scale {scale}, ratio {ratio}, aligned {aligned}",
            got["points"],
            slow_points(*arguments),
            causes=causes,
            look="Draw the axis: start, length, bins, parts of a bin.",
        )


def compare_align(student, rng, x, rois, size, options):
    ys, xs = edge_points(rng)
    names = ("scale", "sampling_ratio", "aligned")
    named = dict(zip(names, options, strict=True))
    got = student.call("roi_align", x=x, rois=rois, size=size, **named, ys=ys, xs=xs)
    rows, columns = (
        slow_points(rois[0, a], rois[0, a + 2], bins, *options)
        for a, bins in zip((2, 1), size, strict=True)
    )
    compare(
        f"out, sampling ratio {options[1]}, aligned {options[2]}",
        got["out"],
        F.roi_align(md.tensor(x), rois, size, *options).numpy(),
        causes=[
            earlier("sample_points", got["own_rows"], rows),
            earlier("sample_points", got["own_columns"], columns),
            earlier("bilinear", got["own_values"], slow_bilinear(x[0], ys, xs)),
            *mistakes(slow_align, (x, rois, size, options), ALIGN),
        ],
        look="One region with one bin: its points, the map at each, their mean.",
    )
    unchanged(got)


def compare_align_backward(student, rng, grad, shape, rois, options):
    ys, xs = edge_points(rng)
    slope = rng.standard_normal((2, len(ys)))
    names = ("scale", "sampling_ratio", "aligned")
    named = dict(zip(names, options, strict=True))
    got = student.call(
        "roi_align_backward", grad=grad, shape=shape, rois=rois, **named, slope=slope, ys=ys, xs=xs
    )
    size = grad.shape[2:]
    _, expected = gradient_of(
        lambda t: F.roi_align(t, rois, size, *options), rng.standard_normal(shape), grad
    )
    rows = slow_points(rois[0, 2], rois[0, 4], size[0], *options)
    values = slow_bilinear_backward(slope, shape[2:], ys, xs)
    compare(
        "grad_x",
        got["grad_x"],
        expected,
        causes=[
            earlier("sample_points", got["own_rows"], rows),
            earlier("bilinear_backward", got["own_values"], values),
            *mistakes(slow_align_backward, (grad, shape, rois, options), ALIGN_BACKWARD),
        ],
        look="(roi_align(x) * grad).sum() must be (x * grad_x).sum() for every x.",
    )
    unchanged(got)


@check(points=2, part=FIVE)
def regions_with_fixed_sampling(student, rng):
    """roi_align: 4 regions on 2 images, 2 x 3 bins, scale 1/4, sampling ratio 2, both alignments;
    then no regions."""
    x = rng.standard_normal((2, 3, 9, 12))
    rois = np.concatenate([[[1], [0], [1], [0]], random_boxes(rng, 4, 34, 46, 6, 30)], axis=1)
    rois[3, 3:] = rois[3, 1:3] + 1.7  # less than half a pixel of the map
    for aligned in (False, True):
        compare_align(student, rng, x, rois, (2, 3), (0.25, 2, aligned))
    got = student.call(
        "roi_align",
        x=x,
        rois=np.zeros((0, 5)),
        size=(2, 3),
        scale=0.25,
        sampling_ratio=2,
        aligned=True,
        ys=np.zeros(0),
        xs=np.zeros(0),
    )
    compare("out of no regions", got["out"], np.zeros((0, 3, 2, 3)))


@check(points=3, part=FIVE)
def adaptive_regions_and_those_beyond_the_map(student, rng):
    """roi_align: adaptive sampling with different numbers of points along x and y; regions that
    reach out of the map on each side; one outside; one without area."""
    x = rng.standard_normal((2, 2, 7, 8))
    boxes = [[3.3, 2.1, 21.4, 6.6], [-9.1, -6.2, 14.3, 11.8], [11.2, 8.7, 29.9, 25.1]]
    boxes += [[40.3, 3.1, 50.2, 9.9], [5.5, 7.3, 5.5, 12.4]]
    rois = np.concatenate([[[0], [1], [0], [1], [1]], boxes], axis=1)
    for options in ((0.5, 0, True), (0.5, -1, False)):
        compare_align(student, rng, x, rois, (2, 2), options)


@check(points=2, part=FIVE)
def gradient_of_regions_of_two_images(student, rng):
    """roi_align_backward: 4 regions on 2 images, 2 x 3 bins, sampling ratio 2, not aligned; random
    cotangent."""
    rois = np.concatenate([[[1], [0], [1], [1]], random_boxes(rng, 4, 34, 46, 6, 30)], axis=1)
    grad = rng.standard_normal((4, 2, 2, 3))
    compare_align_backward(student, rng, grad, (2, 2, 9, 12), rois, (0.25, 2, False))


@check(points=2, part=FIVE)
def gradient_of_adaptive_regions(student, rng):
    """roi_align_backward: adaptive sampling, aligned, regions that overlap and reach out of the
    map, one without area; random cotangent."""
    boxes = [[-3.3, 2.1, 21.4, 6.6], [1.1, -6.2, 14.3, 19.8], [9.1, 8.7, 22.9, 14.1]]
    boxes += [[5.5, 7.3, 5.5, 12.4]]
    rois = np.concatenate([[[0], [1], [1], [0]], boxes], axis=1)
    grad = rng.standard_normal((4, 3, 3, 2))
    compare_align_backward(student, rng, grad, (2, 3, 7, 8), rois, (0.5, 0, True))


# -- 6 ---------------------------------------------------------------------------------------------


@check(points=2, part=SIX)
def entropies_of_any_logit(student, rng):
    """binary_cross_entropy: random logits (4, 5) with targets between 0 and 1; logits of 30 to 2000
    on either side."""
    logits, targets = 3 * rng.standard_normal((4, 5)), rng.uniform(0, 1, (4, 5))
    got = student.call("binary_cross_entropy", logits=logits, targets=targets)
    p = 1 / (1 + np.exp(-logits))
    losses = -(targets * np.log(p) + (1 - targets) * np.log(1 - p))
    compare("losses", got["losses"], losses)
    slope = Cause(
        "derivative by the probability",
        [(p - targets) / (p * (1 - p)), (p - targets) * p * (1 - p)],
        "The derivative by the logit is p - t: those of log and sigmoid cancel.",
    )
    compare("slopes", got["slopes"], p - targets, causes=[slope])
    unchanged(got)
    large = np.array([30, 40, 750, 2000, -30, -40, -750, -2000.0])
    for wanted in (0.0, 1.0):
        got = student.call("binary_cross_entropy", logits=large, targets=np.full(8, wanted))
        sign = -1.0 if wanted else 1.0
        with np.errstate(under="ignore"):
            exact = np.where(sign * large > 0, sign * large, 0) + np.log1p(np.exp(-abs(large)))
        compare(
            f"losses of large logits, target {wanted:g}",
            got["losses"],
            exact,
            atol=1e-12,
            causes=[
                Cause(
                    "not stable for large logits",
                    lambda _: True,
                    "exp of a large number is infinite, log(0) is -inf, and a small number added "
                    "inside the log gives 27.6 where 2000 is right. Take exp of -|logit| only.",
                )
            ],
        )
        compare("slopes", got["slopes"], (large > 0) - wanted, atol=1e-12)


@check(points=1, part=SIX)
def smooth_l1_of_random_differences(student, rng):
    """smooth_l1: random arrays (5, 4), beta 1/9 and 2; a difference of exactly beta, one of 0."""
    target = rng.standard_normal((5, 4))
    for beta in (1 / 9, 2.0):
        d = beta * 1.5 * rng.standard_normal((5, 4))
        predicted = target + d
        predicted[0, 0], predicted[0, 1], target[0, :2] = beta, 0, 0
        t = md.tensor(predicted, requires_grad=True)
        F.smooth_l1_loss(t, md.tensor(target), "sum", beta=beta).backward()
        got = student.call("smooth_l1", predicted=predicted, target=target, beta=beta)
        d = predicted - target
        near, slope = abs(d) < beta, t.grad.numpy()
        line = abs(d) - beta / 2
        compare(
            "losses",
            got["losses"],
            np.where(near, d**2 / (2 * beta), line),
            causes=[
                Cause(
                    "a jump at beta",
                    [np.where(near, d**2 / (2 * beta), abs(d) - k) for k in (0, 0.5, beta)],
                    "|d| - beta / 2, so that both pieces meet at |d| = beta.",
                ),
                Cause(
                    "beta forgotten in the parabola",
                    [np.where(near, d**2 / k, line) for k in (2, 1, beta, 2 * beta**2)],
                    "d² / (2 beta): its slope at beta is 1, as that of the line.",
                ),
            ],
        )
        compare(
            "slopes",
            got["slopes"],
            slope,
            causes=[
                Cause(
                    "beta forgotten in the slope",
                    [np.where(near, d * k, np.sign(d)) for k in (1, beta, 2 / beta, 0.5 / beta)],
                    "The derivative of d² / (2 beta) is d / beta.",
                )
            ],
        )
        unchanged(got)


RPN_RESULTS = ("loss_objectness", "loss_boxes", "grad_logits", "grad_deltas")


def earlier_losses(got, logits, deltas=None, beta=1.0):
    """The causes that the losses are wrong which a sum of them calls."""
    causes = []
    if "own_entropy" in got:
        right = np.logaddexp(0, logits)
        causes.append(earlier("binary_cross_entropy", got["own_entropy"], right))
    if "own_smooth_l1" in got:
        zeros = md.tensor(np.zeros(deltas.shape))
        right = F.smooth_l1_loss(md.tensor(deltas), zeros, "none", beta=beta).numpy()
        causes.append(earlier("smooth_l1", got["own_smooth_l1"], right))
    return causes


def compare_rpn(student, *arguments):
    names = ("logits", "deltas", "targets", "positive", "negative", "beta")
    got = student.call("rpn_loss", **dict(zip(names, arguments, strict=True)))
    expected = slow_rpn(*arguments)
    for k, name in enumerate(RPN_RESULTS):
        causes = earlier_losses(got, arguments[0], arguments[1], arguments[-1])
        causes += mistakes(slow_rpn, arguments, RPN, k)
        look = "For one anchor drawn: its logit, its target, and what its loss is divided by."
        compare(name, got[name], expected[k], causes=causes, look=look)
    unchanged(got)


@check(points=2, part=SIX)
def loss_of_random_anchors(student, rng):
    """rpn_loss: 9 of 20 anchors drawn, 3 of them positive; NaN in the targets of all others."""
    drawn = rng.permutation(20)[:9]
    targets = np.full((20, 4), np.nan)
    targets[drawn[:3]] = rng.standard_normal((3, 4))
    logits, deltas = rng.standard_normal(20), rng.standard_normal((20, 4))
    compare_rpn(student, logits, deltas, targets, np.sort(drawn[:3]), np.sort(drawn[3:]), 1 / 9)


@check(points=1, part=SIX)
def loss_without_positive_anchors(student, rng):
    """rpn_loss: no positive anchor; then none drawn at all."""
    logits, deltas = rng.standard_normal(6), rng.standard_normal((6, 4))
    targets, none = np.full((6, 4), np.nan), np.zeros(0, np.int64)
    compare_rpn(student, logits, deltas, targets, none, np.array([1, 4]), 1.0)
    compare_rpn(student, logits, deltas, targets, none, none, 1.0)


PROPOSAL_NAMES = (
    *("logits", "deltas", "anchors", "image_size"),
    *("pre_top", "post_top", "min_size", "threshold"),
)


@check(points=2, part=SIX)
def proposals_of_random_anchors(student, rng):
    """proposals: the best 30 of 60 anchors in a picture of 50 x 90 pixels, moved, cut, suppressed,
    8 of them left."""
    logits = rng.permutation(60) / 7.0 - 4
    deltas = 0.3 * rng.standard_normal((60, 4))
    deltas[::4, 2:] -= 2.0
    anchors = random_boxes(rng, 60, 70, 110, 14, 40) - 10
    arguments = logits, deltas, anchors, (50, 90), 30, 8, 5.0, 0.4
    got = student.call("proposals", **dict(zip(PROPOSAL_NAMES, arguments, strict=True)))
    moved = box_ops.BoxCoder().decode(deltas, anchors)
    for k, name in enumerate(("boxes", "scores")):
        compare(
            name,
            got[name],
            slow_proposals(*arguments)[k],
            causes=[
                earlier("decode", got["own_moved"], moved),
                *mistakes(slow_proposals, arguments, PROPOSALS, k),
            ],
            look="Count the boxes after each of the six steps, in the order of the contract.",
        )
    unchanged(got)


@check(points=2, part=SIX)
def proposals_of_one_side_too_short(student, rng):
    """proposals: flat and thin boxes at the picture's edges, min_size equal to a side; equal
    logits; then none is left."""
    anchors = [[0, 0, 20, 2], [30, 0, 34, 30], [38, 5, 60, 25], [36, 10, 50, 20], [5, 10, 15, 24]]
    anchors = np.array([*anchors, [5, 10, 15, 24.5]])
    logits, deltas = np.array([1.0, 2.0, 3.0, 3.0, 0.5, 0.5]), np.zeros((6, 4))
    for least in (4.0, 60.0):
        arguments = logits, deltas, anchors, (30, 40), 9, 9, least, 0.7
        got = student.call("proposals", **dict(zip(PROPOSAL_NAMES, arguments, strict=True)))
        for k, name in enumerate(("boxes", "scores")):
            causes = mistakes(slow_proposals, arguments, PROPOSALS, k)
            compare(name, got[name], slow_proposals(*arguments)[k], causes=causes)


# -- 7 ---------------------------------------------------------------------------------------------


@check(points=2, part=SEVEN)
def levels_of_random_boxes(student, rng):
    """assign_levels: 30 random boxes of 8 to 900 pixels, levels 2 to 5; then another canonical
    level and size, and level 0; then no boxes."""
    side = 2.0 ** rng.uniform(3, 9.8, (30, 2))
    corner = rng.uniform(-20, 50, (30, 2))
    boxes = np.concatenate([corner, corner + side], axis=1)
    for limits, canonical in (((2, 5), ()), ((0, 6), (3, 100.0))):
        got = student.call(
            "assign_levels", boxes=boxes, lowest=limits[0], highest=limits[1], canonical=canonical
        )
        named = dict(zip(("level", "size"), canonical, strict=False))
        compare(
            "levels",
            got["levels"],
            slow_levels(boxes, *limits, **named),
            causes=mistakes(
                lambda *a, named=named, **o: slow_levels(*a, **(named | o)),
                (boxes, *limits),
                LEVELS,
            ),
            look="Take the first box that differs: its root of the area, over the canonical size.",
        )
    got = student.call("assign_levels", boxes=np.zeros((0, 4)), lowest=2, highest=5)
    compare("levels of no boxes", got["levels"], np.zeros(0, np.int64))


def compare_head(student, *arguments):
    names = ("logits", "deltas", "labels", "targets", "beta")
    got = student.call("head_loss", **dict(zip(names, arguments, strict=True)))
    expected = slow_head(*arguments)
    huge = Cause(
        "softmax overflows",
        lambda a: not np.isfinite(a).all() and np.abs(arguments[0]).max(initial=0) > 100,
        "exp of a large logit is infinite: subtract each row's largest logit first, and take "
        "log(sum) - logit rather than the log of a probability.",
    )
    background = Cause(
        "boxes of background",
        lambda a: np.isnan(a).any() and np.isnan(arguments[3]).any(),
        "Background has no box to be compared with (its targets here are NaN, and 0 * NaN is NaN): "
        "choose the rows with a label above 0 first.",
    )
    results = ("loss_classes", "loss_boxes", "grad_logits", "grad_deltas")
    for k, name in enumerate(results):
        causes = earlier_losses(got, arguments[0], arguments[1], arguments[-1])
        causes += [huge, background, *mistakes(slow_head, arguments, HEAD, k)]
        if name == "grad_deltas":
            all_classes = Cause(
                "deltas of all classes",
                lambda a: ((a != 0).any(axis=2).sum(axis=1) > 1).any(),
                "Only the four deltas of the true class are compared, and get a gradient.",
            )
            causes = [*causes, all_classes]
        look = "For one proposal: its label, its logits, and which of its deltas are compared."
        compare(name, got[name], expected[k], causes=causes, look=look)
    unchanged(got)


@check(points=3, part=SEVEN)
def loss_of_random_proposals(student, rng):
    """head_loss: 9 proposals, 4 classes and background; some are background, and then have
    NaN targets."""
    labels = np.array([0, 3, 1, 0, 4, 2, 0, 4, 0])
    targets = rng.standard_normal((9, 4))
    logits, deltas = 2 * rng.standard_normal((9, 5)), rng.standard_normal((9, 5, 4))
    compare_head(student, logits, deltas, labels, targets, 0.5)
    targets[labels == 0] = np.nan
    compare_head(student, logits, deltas, labels, targets, 1.0)


@check(points=1, part=SEVEN)
def loss_of_huge_logits_and_of_background(student, rng):
    """head_loss: logits of hundreds and thousands; nothing but background; no proposals."""
    deltas, targets = rng.standard_normal((4, 3, 4)), rng.standard_normal((4, 4))
    logits = np.array([[900, 1, 2], [-800, -799, -900], [3, 2500, 2499], [0, -5000, 1.0]])
    compare_head(student, logits, deltas, np.array([1, 2, 0, 1]), targets, 1.0)
    compare_head(student, logits / 1e3, deltas, np.zeros(4, np.int64), targets, 1.0)
    got = student.call(
        "head_loss",
        logits=logits[:0],
        deltas=deltas[:0],
        labels=np.zeros(0, np.int64),
        targets=targets[:0],
        beta=1.0,
    )
    nothing = Cause(
        "0 / 0", lambda a: np.isnan(a).any(), "The mean of no proposals: divide by 1 then."
    )
    compare("loss_classes of no proposals", got["loss_classes"], 0.0, causes=[nothing])
    compare("loss_boxes of no proposals", got["loss_boxes"], 0.0, causes=[nothing])
    compare("grad_deltas of no proposals", got["grad_deltas"], np.zeros((0, 3, 4)))


@check(points=3, part=SEVEN)
def detections_of_random_proposals(student, rng):
    """detect: 25 proposals, 3 classes, deltas of each class with weights (10, 10, 5, 5), a picture
    of 40 x 70 pixels; the best 12, then all; logits of hundreds; then no proposals."""
    boxes = random_boxes(rng, 25, 40, 70, 14, 30)
    boxes[12:] = boxes[:13] + rng.uniform(-2, 2, (13, 4))
    logits = 1.2 * rng.standard_normal((25, 4))
    logits[3] += 900
    deltas = rng.standard_normal((25, 4, 4))
    names = ("logits", "deltas", "boxes", "image_size")
    names += ("weights", "min_score", "threshold", "most")
    for most in (12, 100):
        arguments = logits, deltas, boxes, (40, 70), (10.0, 10.0, 5.0, 5.0), 0.2, 0.5, most
        got = student.call("detect", **dict(zip(names, arguments, strict=True)))
        expected = slow_detect(*arguments)
        moved = box_ops.BoxCoder(arguments[4]).decode(deltas, boxes)
        for k, name in enumerate(("labels", "scores", "boxes")):
            compare(
                name,
                got[name],
                expected[(1, 2, 0)[k]],
                causes=[
                    earlier("decode", got["own_moved"], moved),
                    *mistakes(slow_detect, arguments, DETECT, (1, 2, 0)[k]),
                ],
                look="Count the candidates of each class before and after nms.",
            )
        unchanged(got)
    none = [a[:0] if isinstance(a, np.ndarray) else a for a in arguments]
    got = student.call("detect", **dict(zip(names, none, strict=True)))
    compare("boxes of no proposals", got["boxes"], np.zeros((0, 4)))
    compare("labels of no proposals", got["labels"], np.zeros(0, np.int64))


# -- 8 ---------------------------------------------------------------------------------------------


@check(points=2, part=EIGHT)
def targets_of_random_masks(student, rng):
    """mask_targets: 6 proposals of 3 objects (discs) in a picture of 30 x 40 pixels, grids of
    5 x 5; then no proposals."""
    y, x = np.mgrid[:30, :40]
    centres, radii = rng.uniform(8, 22, (3, 2)), rng.uniform(5, 10, 3)
    masks = np.array(
        [(y - a) ** 2 + (x - b) ** 2 < r**2 for (a, b), r in zip(centres, radii, strict=True)]
    )
    matches = np.array([2, 0, 0, 1, 2, 1])
    middle = centres[matches][:, ::-1]
    reach = radii[matches, None]
    offset = rng.uniform(-3, 3, (6, 4))
    boxes = np.concatenate([middle - reach, middle + reach], axis=1) + offset
    arguments = masks, matches, boxes, 5
    got = student.call("mask_targets", masks=masks, matches=matches, boxes=boxes, size=5)
    rois = np.concatenate([matches[:, None], boxes], axis=1)
    right = F.roi_align(md.tensor(masks[:, None] * 1.0), rois, (5, 5), 1.0, 0, True).numpy()
    compare(
        "targets",
        got["targets"],
        right[:, 0],
        causes=[
            earlier("roi_align", got["own_align"], right),
            *mistakes(slow_masks, arguments, MASKS),
        ],
        look="Which mask, which region of it, and with what options is roi_align called?",
    )
    unchanged(got)
    got = student.call("mask_targets", masks=masks, matches=matches[:0], boxes=boxes[:0], size=5)
    compare("targets of no proposals", got["targets"], np.zeros((0, 5, 5)))


@check(points=2, part=EIGHT)
def loss_of_random_masks(student, rng):
    """mask_loss: 4 proposals, 3 classes and background, masks of 5 x 5, logits to 100; then no
    proposals."""
    logits = 3 * rng.standard_normal((4, 4, 5, 5))
    logits[1, 2, 0] = 90, -90, 100, 50, -60
    labels, targets = np.array([3, 2, 1, 2]), rng.uniform(0, 1, (4, 5, 5))
    got = student.call("mask_loss", logits=logits, labels=labels, targets=targets)
    expected = slow_mask_loss(logits, labels, targets)
    for k, name in enumerate(("loss", "gradient")):
        causes = earlier_losses(got, logits)
        causes += mistakes(slow_mask_loss, (logits, labels, targets), MASK_LOSS, k)
        compare(name, got[name], expected[k], causes=causes)
    unchanged(got)
    got = student.call("mask_loss", logits=logits[:0], labels=labels[:0], targets=targets[:0])
    nothing = Cause(
        "0 / 0", lambda a: np.isnan(a).any(), "The mean of no proposals: the contract says 0."
    )
    compare("loss of no proposals", got["loss"], 0.0, causes=[nothing])
