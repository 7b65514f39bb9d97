"""Slow, plain versions of what A6 asks for, which can make mistakes: the instructor's.

Each slow function takes the mistakes that can be made as options. A table beside it names them, in
rows of a name, a sentence for the student, and such options; `mistakes` makes the causes of a check
of it. Like hidden.py this file is no part of the handout.
"""

import math

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl import boxes as box_ops
from minidl.teach.assign import Cause

LIMIT = math.log(1000 / 16)


def mistakes(function, arguments, table, pick=None):
    """Causes: what came is what the slow function gives with one of the options of a mistake.

    Args:
        function: it, called with arguments and the options of a mistake.
        table: rows (name, sentence, options, options, ...).
        pick: which of several results is compared.
    """

    def leads(choices):
        def wrong(got):
            for options in choices:
                value = function(*arguments, **options)
                value = np.asarray(value if pick is None else value[pick])
                if value.shape == got.shape and np.allclose(got, value, equal_nan=True):
                    return True
            return False

        return wrong

    return [Cause(name, leads(choices), why) for name, why, *choices in table]


# -- 1 ---------------------------------------------------------------------------------------------


def slow_iou(first, second, one=0.0, clamp=True, twice=False):
    table = np.zeros((len(first), len(second)))
    for (i, a), (j, b) in ((p, q) for p in enumerate(first) for q in enumerate(second)):
        w, h = (min(a[k + 2], b[k + 2]) - max(a[k], b[k]) + one for k in (0, 1))
        shared = max(w, 0.0) * max(h, 0.0) if clamp else w * h
        both = sum((c[2] - c[0] + one) * (c[3] - c[1] + one) for c in (a, b))
        table[i, j] = shared / (both - (0.0 if twice else shared))
    return table


IOU = [
    (
        "IoU without clamp",
        "Boxes apart in x and y give two negative sides, and their product is positive. Set each "
        "side to at least 0 before multiplying.",
        {"clamp": False},
    ),
    (
        "intersection counted twice",
        "The sum of both areas has the intersection in it twice; the union has it once.",
        {"twice": True},
    ),
    (
        "off-by-one box area",
        "Boxes are half-open: a side is x2 - x1, without + 1, in areas and intersections alike.",
        {"one": 1.0},
    ),
]


def slow_nms(boxes, scores, threshold, sign=-1.0, chain=False, least=False, last=False):
    iou = slow_iou(boxes, boxes)
    order = np.argsort(sign * scores, kind="stable")
    if last:
        order = len(scores) - 1 - np.argsort(sign * scores[::-1], kind="stable")
    kept, before = [], []
    for i in order:
        by = [iou[i, j] for j in (before if chain else kept)]
        if not any(v >= threshold if least else v > threshold for v in by):
            kept.append(i)
        before.append(i)
    return np.array(kept, np.int64)


NMS = [
    (
        "removed by boxes that are removed themselves",
        "Only a box that stays removes others; one that was removed has no say any more.",
        {"chain": True},
    ),
    (
        "IoU equal to the threshold removes",
        "A box is removed by an IoU larger than the threshold, not by one equal to it.",
        {"least": True},
    ),
    ("lowest score first", "The box of highest score stays.", {"sign": 1.0}),
    (
        "order of equal scores",
        "Of equal scores the lower index comes first. argsort(scores)[::-1] turns ties round: "
        'use argsort(-scores, kind="stable").',
        {"last": True},
    ),
]


def slow_encode(boxes, anchors, weights, by=0, weigh=1, at=0.5, one=0.0, inverse=1.0, swap=False):
    rows = []
    for pair in zip(anchors, boxes, strict=True):
        start = [b[:2] for b in pair]
        size = [b[2:] - b[:2] + one for b in pair]
        centre = [a + at * s for a, s in zip(start, size, strict=True)]
        scale = size[by][::-1] if swap else size[by]
        moves = (centre[1] - centre[0]) / scale, inverse * np.log(size[1] / size[0])
        rows.append(np.concatenate(moves) * np.array(weights) ** weigh)
    return np.array(rows)


ENCODE = [
    (
        "divided by the wrong box's size",
        "Centres are measured in the anchor's widths and heights: only these are known when a "
        "prediction is decoded.",
        {"by": 1},
    ),
    (
        "weights not applied",
        "encode multiplies by the weights, decode divides by them.",
        {"weigh": 0},
        {"weigh": -1},
    ),
    ("corner instead of centre", "t_x and t_y are from centre to centre.", {"at": 0}, {"at": 1}),
    (
        "off-by-one box size",
        "Boxes are half-open: the width is x2 - x1, without + 1.",
        {"one": 1.0},
    ),
    (
        "log of the inverse ratio",
        "log(wanted / anchor): positive where the box must grow.",
        {"inverse": -1.0},
    ),
    ("x and y mixed", "t_x is in widths, t_y in heights.", {"swap": True}),
]


def slow_decode(
    deltas, anchors, weights, weigh=-1, limit="sizes", at=0.5, half=0.5, swap=False, added=True
):
    out = np.zeros(deltas.shape)
    anchors = np.broadcast_to(anchors, deltas.shape)
    for k in np.ndindex(*deltas.shape[:-1]):
        size, low = anchors[k][2:] - anchors[k][:2], anchors[k][:2]
        t = deltas[k]
        if limit == "before":
            t = np.concatenate([t[:2], np.minimum(t[2:], LIMIT)])
        t = t * np.array(weights) ** weigh
        if limit == "all":
            t = np.minimum(t, LIMIT)
        logs = t[2:]
        if limit in ("sizes", "both"):
            logs = np.minimum(logs, LIMIT)
        if limit == "both":
            logs = np.maximum(logs, -LIMIT)
        centre = t[:2] * (size[::-1] if swap else size) + (low + at * size if added else 0)
        grown = np.exp(logs) * size
        out[k] = np.concatenate([centre - half * grown, centre + half * grown])
    return out


DECODE = [
    (
        "log sizes not cut",
        "t_w and t_h count as LOG_LIMIT where they are larger: exp overflows.",
        {"limit": "none"},
    ),
    (
        "log sizes cut before the weights",
        "Divide by the weights first: what goes into exp is to be at most LOG_LIMIT.",
        {"limit": "before"},
    ),
    (
        "too much cut",
        "Only t_w and t_h are cut, and only at the upper end.",
        {"limit": "all"},
        {"limit": "both"},
    ),
    (
        "weights not applied",
        "encode multiplies by the weights, decode divides by them.",
        {"weigh": 0},
        {"weigh": 1},
    ),
    ("size not halved", "The corners lie half a width from the centre.", {"half": 1.0}),
    (
        "corner instead of centre",
        "t_x moves the anchor's centre; add that, not its corner or nothing.",
        {"at": 0},
        {"added": False},
    ),
    ("x and y mixed", "t_x is in widths, t_y in heights.", {"swap": True}),
]


# -- 2 ---------------------------------------------------------------------------------------------


def slow_anchors(
    height, width, stride, sizes, ratios, at=0.5, power=0.5, both=True, order="yxrs", rounded=False
):
    found = {}
    for i, j in np.ndindex(height, width):
        for (n, r), (m, s) in ((a, b) for a in enumerate(ratios) for b in enumerate(sizes)):
            w, h = (s / r**power if both else s), s * r**power
            x, y = (j + at) * stride, (i + at) * stride
            box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            key = tuple({"y": i, "x": j, "r": n, "s": m}[name] for name in order)
            found[key] = np.round(box) if rounded else box
    return np.array([found[key] for key in sorted(found)])


ANCHORS = [
    ("ratio is height / width", "An anchor of ratio 2 is higher than wide.", {"power": -0.5}),
    (
        "centre not in the middle of the position",
        "Position j covers j stride to (j + 1) stride of the picture; its centre is in the middle.",
        {"at": 0},
        {"at": 1},
    ),
    (
        "area depends on the ratio",
        "Height sqrt(r) s and width s / sqrt(r): the area stays s² for every ratio.",
        {"power": 1},
        {"power": 1, "both": False},
        {"both": False},
    ),
    (
        "another order of anchors",
        "Row by row, column by column, ratio after ratio, size after size.",
        *({"order": order} for order in ("yxsr", "xyrs", "xysr", "rsyx", "sryx", "rsxy")),
    ),
    ("anchors rounded", "Nothing is rounded here (old code does it).", {"rounded": True}),
]


def slow_match(iou, high, low, keep_best, above=False, least=False, between=-2, which="all"):
    result = []
    for column in iou.T:
        own = int(column.argmax())
        best = column[own]
        if best > high if above else best >= high:
            result.append(own)
        elif best <= low if least else best < low:
            result.append(-1)
        else:
            result.append(between)
    for g, row in enumerate(iou if keep_best else []):
        anchors = np.flatnonzero(row == row.max()) if which != "first" else [row.argmax()]
        for a in anchors:
            if row.max() > 0 or which == "zero":
                result[a] = g if which == "stolen" else int(iou[:, a].argmax())
    return np.array(result, np.int64)


MATCH = [
    ("IoU equal to high", "best IoU >= high: equal is enough.", {"above": True}),
    ("IoU equal to low", "Background is below low; equal is not below.", {"least": True}),
    (
        "nothing left unsaid",
        "Between the thresholds an anchor is neither an object nor background: -2.",
        {"between": -1},
    ),
    (
        "one of equally good anchors",
        "All anchors whose IoU equals the object's largest are kept, not only the first: argmax "
        "finds one; compare with the maximum.",
        {"which": "first"},
    ),
    (
        "object of keep_best instead of the anchor's own",
        "An anchor that is some object's best still finds the object that it itself overlaps most.",
        {"which": "stolen"},
    ),
    (
        "anchors that overlap nothing",
        "An object that no anchor touches has a largest IoU of 0, and all anchors have that. Only "
        "an IoU above 0 counts.",
        {"which": "zero"},
    ),
]


def slow_sample(
    matches,
    count,
    fraction,
    seed,
    way=int,
    highest=False,
    background=(-1,),
    fill=True,
    draws="one",
    rising=True,
):
    rng = np.random.default_rng(seed)
    numbers = rng.random(len(matches))
    groups = ([a for a, m in enumerate(matches) if m >= 0],)
    groups += ([a for a, m in enumerate(matches) if m in background],)
    if draws == "each":
        rng = np.random.default_rng(seed)
        for group in groups:
            numbers[group] = rng.random(len(group))
    result, most = [], way(count * fraction)
    for group in groups:
        chosen = sorted(group, key=lambda a: -numbers[a] if highest else numbers[a])[:most]
        result.append(np.array(sorted(chosen) if rising else chosen, np.int64))
        most = count - (len(result[0]) if fill else most)
    return result


SAMPLE = [
    ("highest numbers", "Those of the lowest numbers are taken.", {"highest": True}),
    (
        "-2 drawn as background",
        "Nothing is said about anchors of -2: they are never drawn.",
        {"background": (-1, -2)},
    ),
    (
        "missing positives not replaced",
        "Where there are fewer positive anchors than wanted, background takes their places: "
        "count - P.",
        {"fill": False},
    ),
    (
        "number of positives rounded otherwise",
        "int(count * fraction) cuts the fraction off.",
        {"way": math.ceil},
        {"way": round},
    ),
    ("not in rising order", "Sort the indices at the end.", {"rising": False}),
    (
        "numbers drawn otherwise",
        "numbers = rng.random(A), once, one for each anchor, whatever it is.",
        {"draws": "each"},
    ),
]


# -- 3 ---------------------------------------------------------------------------------------------


def slow_pool(
    x,
    rois,
    size,
    scale,
    grad=None,
    way=lambda v: np.floor(v + 0.5),
    one=1,
    ends="floor ceil",
    empty=0.0,
    own=True,
    ties="first",
    add=True,
):
    """RoIPool, or with grad its gradient."""
    height, width = x.shape[2:]
    out, grad_x = np.zeros((len(rois), x.shape[1], *size)), np.zeros(x.shape)

    def window(low, high, bins, i, length):
        step = max(high - low + one, 1) / bins
        first, last = ends.split()
        start = (math.floor if first == "floor" else math.ceil)(i * step) + int(low)
        stop = (math.ceil if last == "ceil" else math.floor)((i + 1) * step) + int(low)
        return range(max(start, 0), min(stop, length))

    for k, c, i, j in np.ndindex(*out.shape):
        n = int(rois[k, 0]) if own else 0
        x1, y1, x2, y2 = (way(v * scale) for v in rois[k, 1:])
        rows, columns = window(y1, y2, size[0], i, height), window(x1, x2, size[1], j, width)
        places = [(n, c, row, column) for row in rows for column in columns]
        if not places:
            out[k, c, i, j] = empty
            continue
        best = max(x[p] for p in places)
        out[k, c, i, j] = best
        winners = [p for p in places if x[p] == best]
        for p in {"first": winners[:1], "last": winners[-1:], "all": winners}[ties]:
            if grad is not None:
                grad_x[p] = grad[k, c, i, j] + (grad_x[p] if add else 0.0)
    return out if grad is None else grad_x


POOL = [
    (
        "halves rounded to even, or down",
        "floor(v + 1/2): np.round takes the even neighbour, int() and floor() cut off.",
        {"way": np.round},
        {"way": np.floor},
        {"way": np.trunc},
        {"way": np.ceil},
    ),
    (
        "second corner left out",
        "In RoIPool the pixels of both corners belong to the region: w = x2 - x1 + 1.",
        {"one": 0},
    ),
    (
        "bins do not share rows and columns",
        "A bin begins at floor(i h / ph) and ends at ceil((i + 1) h / ph): no bin is empty.",
        {"ends": "floor floor"},
        {"ends": "ceil ceil"},
    ),
    (
        "empty bin is not 0",
        "A bin of which nothing lies on the map gives 0.",
        {"empty": -np.inf},
        {"empty": np.nan},
    ),
    (
        "image of the region ignored",
        "The first number of a region is the image that it is cut from.",
        {"own": False},
    ),
    ("gradient to ties", "Of equal elements the first one gets all.", {"ties": "all"}),
    (
        "last of equal elements",
        "Of equal elements the first one, row by row, gets all.",
        {"ties": "last"},
    ),
    (
        "overwritten instead of added",
        "A pixel that is taken twice gets both gradients. a[index] += b keeps only the last of "
        "equal indices, and so does =; np.add.at adds them all.",
        {"add": False},
    ),
]


# -- 4 ---------------------------------------------------------------------------------------------


def slow_weights(size, ys, xs, far=False, border="clip", near="", swap=False, closed=True):
    """(P, H, W): the weight of each pixel in each point."""
    height, width = size
    weights = np.zeros((len(ys), height, width))
    for p, (y, x) in enumerate(zip(ys, xs, strict=True)):
        if swap:
            y, x = x, y
        if not far:
            if y < -1 or y > height or x < -1 or x > width:
                continue
            if not closed and (y in (-1, height) or x in (-1, width)):
                continue
        if border == "zero" and not (0 <= y <= height - 1 and 0 <= x <= width - 1):
            continue
        if border != "padded":
            y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        i, j = math.floor(y), math.floor(x)
        rows, columns = [(i, i + 1 - y), (i + 1, y - i)], [(j, j + 1 - x), (j + 1, x - j)]
        if "rows" in near:
            rows = [(i, y - i), (i + 1, i + 1 - y)]
        if "columns" in near:
            columns = [(j, x - j), (j + 1, j + 1 - x)]
        for a, wy in rows:
            for b, wx in columns:
                if border != "padded":
                    a, b = min(a, height - 1), min(b, width - 1)
                if 0 <= a < height and 0 <= b < width:
                    weights[p, a, b] += wy * wx
    return weights


def slow_bilinear(x, ys, xs, **options):
    return np.einsum("chw,phw->cp", x, slow_weights(x.shape[1:], ys, xs, **options))


def slow_bilinear_backward(grad, size, ys, xs, add=True, **options):
    weights = slow_weights(size, ys, xs, **options)
    if add:
        return np.einsum("cp,phw->chw", grad, weights)
    # Each of the four neighbours is added for itself, so that only equal indices are lost.
    clipped = [np.clip(v, 0, n - 1) for v, n in zip((ys, xs), size, strict=True)]
    low = [np.floor(v).astype(int) for v in clipped]
    grad_x = np.zeros((len(grad), *size))
    for a, b in np.ndindex(2, 2):
        rows, columns = np.minimum(low[0] + a, size[0] - 1), np.minimum(low[1] + b, size[1] - 1)
        share = abs(1 - a - (clipped[0] - low[0])) * abs(1 - b - (clipped[1] - low[1]))
        share = share * (weights.sum(axis=(1, 2)) > 0)
        grad_x[:, rows, columns] += grad * share
    return grad_x


BILINEAR = [
    (
        "points far outside count as the border",
        "Below -1 and above the size, on either axis, a point counts as 0 and gets no gradient.",
        {"far": True},
    ),
    (
        "border pixel not continued",
        "From -1 to 0 a point counts as at 0, from the last pixel to the size as there: clip.",
        {"border": "zero"},
        {"border": "padded"},
    ),
    (
        "points at exactly -1 or the size",
        "Only below -1 and above the size the value is 0: -1 and the size still count.",
        {"closed": False},
    ),
    (
        "weights of the neighbours exchanged",
        "The nearer pixel has the larger weight: 1 - distance.",
        {"near": "rows"},
        {"near": "columns"},
        {"near": "rows columns"},
    ),
    ("x and y exchanged", "Rows follow from y, columns from x.", {"swap": True}),
]


BACKWARD = [
    (
        "overwritten instead of added",
        "Points share pixels: a[index] += b keeps only the last of equal indices; np.add.at adds "
        "them all.",
        {"add": False},
    ),
    *BILINEAR,
]


# -- 5 ---------------------------------------------------------------------------------------------


def slow_points(
    low,
    high,
    bins,
    scale,
    ratio,
    aligned,
    half=0.5,
    early=False,
    least=None,
    part=0.5,
    way=math.ceil,
    cut=None,
):
    shift = half if aligned else 0.0
    shift *= scale if early else 1.0
    start, end = low * scale - shift, high * scale - shift
    if cut:
        start, end = cut(start), cut(end)
    length = end - start
    if (not aligned) if least is None else least:
        length = max(length, 1.0)
    step = length / bins
    n = ratio if ratio > 0 else way(step)
    return np.array(
        [[start + (b + (k + part) / n) * step for k in range(n)] for b in range(bins)]
    ).reshape(bins, n)


POINTS = [
    (
        "shift of half a pixel",
        "aligned: low * scale - 1/2 and high * scale - 1/2, after the scale. Not aligned: none.",
        {"half": 0.0},
        {"half": -0.5},
        {"half": 1.0},
        {"early": True},
    ),
    (
        "short regions not made 1 long",
        "Not aligned, a region shorter than 1 on the map counts as 1 long.",
        {"least": False},
    ),
    (
        "short aligned regions made 1 long",
        "Only where not aligned a region counts as at least 1 long; aligned ones keep their own.",
        {"least": True},
    ),
    (
        "points not in the middle of their parts",
        "A bin has n equal parts, and a point lies in the middle of each.",
        {"part": 0.0},
        {"part": 1.0},
    ),
    (
        "number of points not rounded up",
        "Adaptive: the bin's length on the map, rounded up, so that points are at most 1 apart.",
        {"way": math.floor},
        {"way": round},
        {"way": lambda v: math.floor(v) + 1},
        {"way": lambda v: max(math.floor(v), 1)},
        {"way": lambda v: max(round(v), 1)},
    ),
    ("coordinates rounded", "RoIAlign rounds nothing.", {"cut": round}, {"cut": math.floor}),
]


def align_matrix(shape, rois, size, options, whole="mean", own=True, swap=False, scale_x=True):
    """(K, ph, pw, N, H, W): the weight of each element of the map in each bin."""
    matrix = np.zeros((len(rois), *size, shape[0], *shape[2:]))
    for k, (image, x1, y1, x2, y2) in enumerate(rois):
        if swap:
            x1, y1, x2, y2 = y1, x1, y2, x2
        rows = slow_points(y1, y2, size[0], *options)
        columns = slow_points(x1, x2, size[1], *options)
        for i, j in np.ndindex(*size):
            pairs = [(y, x) for y in rows[i] for x in columns[j]]
            if not pairs:
                continue
            weights = slow_weights(shape[2:], *np.transpose(pairs))
            inside = max(int((weights.sum(axis=(1, 2)) > 0).sum()), 1)
            divisor = {
                "mean": len(pairs),
                "sum": 1,
                "inside": inside,
                "rows": len(rows[i]),
                "columns": len(columns[j]),
            }[whole]
            matrix[k, i, j, int(image) if own else 0] = weights.sum(axis=0) / divisor
    return matrix


def slow_align(x, rois, size, options, **mistake):
    return np.einsum("nchw,kijnhw->kcij", x, align_matrix(x.shape, rois, size, options, **mistake))


def slow_align_backward(grad, shape, rois, options, add=True, **mistake):
    matrix = align_matrix(shape, rois, grad.shape[2:], options, **mistake)
    if add:
        return np.einsum("kcij,kijnhw->nchw", grad, matrix)
    out = np.zeros(shape)
    for k, roi in enumerate(rois):
        out[int(roi[0])] = np.einsum("cij,ijhw->chw", grad[k], matrix[k, :, :, int(roi[0])])
    return out


ALIGN = [
    (
        "sum instead of the mean over points",
        "A bin is the mean over all its points.",
        {"whole": "sum"},
    ),
    (
        "mean over the points inside alone",
        "Points that count as 0 are part of the mean: divide by all of them.",
        {"whole": "inside"},
    ),
    (
        "divided by the points of one axis",
        "A bin has as many points as pairs: those along y times those along x.",
        {"whole": "rows"},
        {"whole": "columns"},
    ),
    (
        "image of the region ignored",
        "The first number of a region is the image that it is cut from.",
        {"own": False},
    ),
    (
        "x and y exchanged",
        "A region is (image, x1, y1, x2, y2): rows of the map follow from y.",
        {"swap": True},
    ),
]


ALIGN_BACKWARD = [
    (
        "overwritten instead of added",
        "Regions of one image share its map: add up what each of them gives.",
        {"add": False},
    ),
    (
        "gradient not divided by the number of points",
        "A bin is a mean of n points: each gets 1/n of the bin's gradient.",
        {"whole": "sum"},
    ),
    *ALIGN[1:],
]


# -- 6 ---------------------------------------------------------------------------------------------


def slow_rpn(logits, deltas, targets, positive, negative, beta, over="drawn", grads=True, to=1.0):
    """The two losses and the two gradients, by autograd of minidl."""
    drawn = np.concatenate([positive, negative])
    wanted = np.concatenate([np.full(len(positive), to), np.full(len(negative), 1 - to)])
    z, d = (md.tensor(a, requires_grad=True) for a in (logits, deltas))
    bce = F.binary_cross_entropy_with_logits(
        z[md.tensor(drawn)], md.tensor(wanted), reduction="sum"
    )
    at = md.tensor(positive)
    moved = F.smooth_l1_loss(d[at], md.tensor(targets[positive]), "sum", beta=beta)
    count, good = max(len(drawn), 1), max(len(positive), 1)
    by = {
        "drawn": (count, count),
        "positive": (count, good),
        "four": (count, 4 * count),
        "own four": (count, 4 * good),
        "anchors": (len(logits), len(logits)),
        "positive both": (good, good),
        "none": (1, 1),
    }[over]
    first, second = bce / by[0], moved / by[1]
    (first + second if grads else bce + moved).backward()
    return float(first), float(second), z.grad.numpy(), d.grad.numpy()


RPN = [
    ("gradient not divided", "The gradients are those of the divided losses.", {"grads": False}),
    (
        "boxes divided by the positive anchors",
        "Both sums are divided by the number of all anchors drawn, P + Q.",
        {"over": "positive"},
        {"over": "own four"},
        {"over": "positive both"},
    ),
    (
        "divided by another number",
        "Both sums are divided by the number of anchors drawn, P + Q: not by the 4 deltas, nor by "
        "all anchors of the picture, nor by nothing.",
        {"over": "four"},
        {"over": "anchors"},
        {"over": "none"},
    ),
    ("positive and negative exchanged", "Positive anchors have the target 1.", {"to": 0.0}),
]


def slow_proposals(
    logits,
    deltas,
    anchors,
    size,
    pre,
    post,
    least,
    threshold,
    steps="top decode clip small nms post",
    wrong=(),
):
    """Boxes and logits, the steps in the order given."""
    index = np.argsort(-logits, kind="stable")
    boxes = anchors[index]
    for step in steps.split():
        keep = np.arange(len(index))
        if step == "decode":
            moves = deltas[keep] if "deltas in input order" in wrong else deltas[index]
            boxes = box_ops.BoxCoder().decode(moves, boxes)
        elif step == "clip":
            edge = size[::-1] if "size" in wrong else size
            boxes = box_ops.clip_boxes_to_image(boxes, edge)
        elif step == "small":
            sides = boxes[:, 2:] - boxes[:, :2]
            large = sides >= least
            keep = np.flatnonzero(large.any(axis=1) if "any" in wrong else large.all(axis=1))
        elif step == "nms":
            keep = box_ops.nms(boxes, logits[index], threshold)
        else:
            keep = keep[: pre if step == "top" else post]
        index, boxes = index[keep], boxes[keep]
    return boxes, logits[index]


PROPOSALS = [
    (
        "not cut off at the picture",
        "x from 0 to W, y from 0 to H, before small boxes are left out.",
        {"steps": "top decode small nms post"},
        {"steps": "top decode small nms post clip"},
        {"steps": "top decode small clip nms post"},
        {"steps": "top decode small nms clip post"},
    ),
    ("H and W swapped", "image_size is (H, W): x is cut at W, y at H.", {"wrong": ("size",)}),
    (
        "small boxes left in",
        "A box stays only if both of its sides are at least min_size.",
        {"steps": "top decode clip nms post"},
        {"wrong": ("any",)},
    ),
    (
        "pre_top after the other steps",
        "The best pre_top anchors are chosen first; what is dropped later is not replaced.",
        {"steps": "decode clip small nms post"},
        {"steps": "decode clip small top nms post"},
    ),
    (
        "post_top before the suppression",
        "First nms, then the best post_top of what it has left.",
        {"steps": "top decode clip small post nms"},
        {"steps": "top decode clip small nms"},
    ),
    ("not suppressed", "nms is missing.", {"steps": "top decode clip small post"}),
    (
        "deltas of other anchors",
        "logits, deltas and anchors must be put in order together.",
        {"wrong": ("deltas in input order",)},
    ),
]


# -- 7 ---------------------------------------------------------------------------------------------


def slow_levels(
    boxes, lowest, highest, level=4, size=224.0, way=math.floor, power=0.5, limits=True, first=0
):
    result = []
    for x1, y1, x2, y2 in boxes:
        k = way(level + math.log2(((x2 - x1) * (y2 - y1)) ** power / size))
        k = min(max(k, lowest), highest) if limits else k
        result.append(k - first * lowest)
    return np.array(result, np.int64)


LEVELS = [
    ("levels not limited", "Where there is no such level: the nearest one.", {"limits": False}),
    (
        "level not rounded down",
        "floor: neither round nor ceil.",
        {"way": round},
        {"way": math.ceil},
    ),
    ("area instead of its root", "log2 of sqrt(width * height) / canonical_size.", {"power": 1.0}),
    (
        "canonical values fixed",
        "canonical_level and canonical_size are arguments.",
        {"level": 4, "size": 224.0},
    ),
    ("levels counted from the lowest", "The level itself is wanted, not an index.", {"first": 1}),
    (
        "int() instead of floor",
        "int() and astype(int) cut towards 0: of a negative number that is up.",
        {"way": int},
        {"way": lambda v: 4 + int(v - 4)},
        {"way": lambda v: 3 + int(v - 3)},
    ),
]


def slow_head(logits, deltas, labels, targets, beta, over="all", rows="objects", grads=True, c=0):
    """The two losses and the two gradients, by autograd of minidl."""
    z, d = (md.tensor(a, requires_grad=True) for a in (logits, deltas))
    classes = F.cross_entropy(z, md.tensor(labels), reduction="sum")
    chosen = np.flatnonzero(labels > 0) if rows == "objects" else np.arange(len(labels))
    own = labels[chosen] - c
    at = (md.tensor(chosen), md.tensor(own))
    moved = F.smooth_l1_loss(d[at], md.tensor(targets[chosen]), "sum", beta=beta)
    count, good = max(len(labels), 1), max(int((labels > 0).sum()), 1)
    by = {"all": (count, count), "objects": (count, good), "four": (count, 4 * count)}
    by |= {"own four": (count, 4 * good), "none": (1, 1)}
    first, second = classes / by[over][0], moved / by[over][1]
    (first + second if grads else classes + moved).backward()
    return float(first), float(second), z.grad.numpy(), d.grad.numpy()


HEAD = [
    ("gradient not divided", "The gradients are those of the divided losses.", {"grads": False}),
    (
        "boxes divided by the objects",
        "Divided by K, all proposals, as the classes are.",
        {"over": "objects"},
        {"over": "own four"},
    ),
    (
        "divided by another number",
        "Both sums are divided by K: not by the four deltas too, nor by nothing.",
        {"over": "four"},
        {"over": "none"},
    ),
    (
        "boxes of background",
        "Background has no box to be compared with: only rows with a label above 0.",
        {"rows": "all"},
    ),
    (
        "deltas of another class",
        "Class c has deltas[:, c]: the background has a row too, the first.",
        {"c": 1},
    ),
]


def slow_detect(logits, deltas, boxes, size, weights, least, threshold, most, wrong=""):
    logits = logits - logits.max(axis=1, keepdims=True)
    every = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if wrong == "sigmoid":
        every = 1 / (1 + np.exp(-logits))
    if wrong == "softmax without background":
        every[:, 1:] = np.exp(logits[:, 1:]) / np.exp(logits[:, 1:]).sum(axis=1, keepdims=True)
    coder = box_ops.BoxCoder((1.0,) * 4 if wrong == "weights" else weights)
    moved = coder.decode(deltas, boxes)
    found = []
    for c in range(0 if wrong == "background" else 1, logits.shape[1]):
        for k in range(len(boxes)):
            box = moved[k, 1 if wrong == "one class" else c]
            if wrong == "best class" and every[k].argmax() != c:
                continue
            if every[k, c] > least:
                found.append((k, c, every[k, c], box))
    label = np.array([f[1] for f in found], np.int64)
    score = np.array([f[2] for f in found], float)
    corners = np.array([f[3] for f in found], float).reshape(-1, 4)
    if wrong != "clip":
        corners = box_ops.clip_boxes_to_image(corners, size[::-1] if wrong == "size" else size)
    if wrong == "no nms":
        kept = np.argsort(-score, kind="stable")
    elif wrong == "nms of all":
        kept = box_ops.nms(corners, score, threshold)
    else:
        kept = box_ops.batched_nms(corners, score, label, threshold)
    if wrong == "most of each class":
        seen = {}
        kept = np.array(
            [
                i
                for i in kept
                if seen.setdefault(label[i], []).append(i) or len(seen[label[i]]) <= most
            ]
        )
    elif wrong == "by class":
        kept = kept[:most]
        kept = kept[np.argsort(label[kept], kind="stable")]
    elif wrong == "first classes":
        kept = kept[np.argsort(label[kept], kind="stable")][:most]
    elif wrong != "all":
        kept = kept[:most]
    return corners[kept], label[kept], score[kept]


DETECT = [
    (
        "background reported",
        "Class 0 is no object; it only takes part in the softmax.",
        {"wrong": "background"},
    ),
    (
        "suppression across classes",
        "Boxes of different classes do not remove each other: call nms for each class.",
        {"wrong": "nms of all"},
    ),
    (
        "weights not applied",
        "The deltas were multiplied by weights: give them to decode.",
        {"wrong": "weights"},
    ),
    (
        "not cut off at the picture",
        "Cut the boxes off at the picture before nms.",
        {"wrong": "clip"},
    ),
    ("H and W swapped", "image_size is (H, W): x is cut at W, y at H.", {"wrong": "size"}),
    (
        "deltas of another class",
        "Each class moves the proposal by its own deltas, deltas[:, c].",
        {"wrong": "one class"},
    ),
    (
        "only the best class of a proposal",
        "Every pair of a proposal and a class above min_score is a candidate.",
        {"wrong": "best class"},
    ),
    (
        "most of each class",
        "`most` counts the objects of all classes together, the surest of them.",
        {"wrong": "most of each class"},
        {"wrong": "all"},
        {"wrong": "first classes"},
    ),
    ("not by falling score", "All classes together, the surest first.", {"wrong": "by class"}),
    ("not suppressed", "nms is missing.", {"wrong": "no nms"}),
    (
        "no softmax over all classes",
        "The probabilities of a proposal, background included, add up to 1.",
        {"wrong": "sigmoid"},
        {"wrong": "softmax without background"},
    ),
]


# -- 8 ---------------------------------------------------------------------------------------------


def slow_masks(masks, matches, boxes, size, options=(1.0, 0, True), own=True, way=None):
    picked = matches if own else np.arange(len(boxes)) % len(masks)
    rois = np.concatenate([picked[:, None], boxes], axis=1)
    shares = F.roi_align(md.tensor(masks[:, None] * 1.0), rois, (size, size), *options).numpy()
    return way(shares[:, 0]) if way else shares[:, 0]


MASKS = [
    (
        "not aligned",
        "Pixel j covers j to j + 1, its centre is at j + 1/2: aligned must be true.",
        {"options": (1.0, 0, False)},
    ),
    (
        "mask of another object",
        "Proposal k has to find object matches[k]: that is the mask.",
        {"own": False},
    ),
    (
        "cut to 0 and 1",
        "The shares stay as they are, from 0 to 1.",
        {"way": lambda a: (a >= 0.5) * 1.0},
        {"way": np.round},
        {"way": np.floor},
        {"way": np.ceil},
    ),
    (
        "fixed instead of adaptive sampling",
        "sampling_ratio is 0: as many points as a bin is long.",
        {"options": (1.0, 1, True)},
        {"options": (1.0, 2, True)},
    ),
]


def slow_mask_loss(logits, labels, targets, over="all", channel="own", grads=True):
    z = md.tensor(logits, requires_grad=True)
    rows = np.arange(len(labels))
    if channel == "all":
        wanted = np.zeros(logits.shape)
        wanted[rows, labels] = targets
        picked = z
    else:
        wanted = targets
        picked = z[md.tensor(rows), md.tensor(labels - (channel == "before"))]
    total = F.binary_cross_entropy_with_logits(picked, md.tensor(wanted), reduction="sum")
    divisor = {"all": targets.size, "masks": len(labels), "pixels": targets[0].size, "none": 1}
    divisor["channels"] = logits.size
    loss = total / divisor[over]
    (loss if grads else total).backward()
    return float(loss), z.grad.numpy()


MASK_LOSS = [
    ("gradient not divided", "The gradient is that of the mean.", {"grads": False}),
    (
        "masks of all classes",
        "Only the mask of the true class is compared; classes do not compete for pixels.",
        {"channel": "all"},
        {"channel": "all", "over": "channels"},
    ),
    (
        "masks counted from 0",
        "logits[:, label]: channel 0 is that of the background.",
        {"channel": "before"},
    ),
    (
        "divided by another number",
        "The mean is over the proposals and the m x m pixels: divide by K m m.",
        {"over": "masks"},
        {"over": "pixels"},
        {"over": "none"},
        {"over": "channels"},
    ),
]
