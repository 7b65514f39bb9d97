"""Hidden checks of A5: random inputs of other sizes, and the edges of the contract.

Expected values come from minidl's own box operations, autograd and metrics, or from slow loops
written here; several take the mistake to be made as an option, which gives the arrays by which that
mistake is recognised.
"""

import numpy as np

import minidl as md
from minidl import boxes as box_ops
from minidl.data import Scenes
from minidl.metrics import VOCAveragePrecision
from minidl.models.detection.yolo_v1 import cell_truth
from minidl.teach.assign import Cause, check, compare, require

ONE = "1. Boxes"
TWO = "2. Targets"
THREE = "3. The responsible predictor"
FOUR = "4. The loss and its gradient"
FIVE = "5. Detections"
SIX = "6. Average precision"
SEVEN = "7. Training the head"


def random_boxes(rng, count, height, width, low=3.0, high=None):
    """(count, 4) boxes within an image, sides from `low` to `high` pixels."""
    high = high or 0.6 * min(height, width)
    size = rng.uniform(low, high, (count, 2))
    corner = rng.uniform(0.0, 1.0, (count, 2)) * ([width, height] - size)
    return np.concatenate([corner, corner + size], axis=1)


# -- 1 ---------------------------------------------------------------------------------------------


@check(points=2, part=ONE)
def centres_and_corners_with_leading_axes(student, rng):
    """to_corners and to_centres: random boxes in arrays (3, 2, 4), and one box (4,)."""
    corners = random_boxes(rng, 6, 50, 70)
    centres = box_ops.box_convert(corners, "xyxy", "cxcywh")
    for shape in ((3, 2, 4), (4,)):
        boxes = centres.reshape(-1)[: np.prod(shape)].reshape(shape)
        expected = corners.reshape(-1)[: np.prod(shape)].reshape(shape)
        got = student.call("to_corners", boxes=boxes)
        centre, size = boxes[..., :2], boxes[..., 2:]
        compare(
            "corners",
            got["corners"],
            expected,
            causes=[
                Cause(
                    "whole size instead of half",
                    [
                        np.concatenate([centre - size, centre + size], -1),
                        np.concatenate([centre, centre + size], -1),
                    ],
                    "The centre lies half a width from either edge.",
                )
            ],
            look="Draw one box on paper and write cx, cy, w, h and its corners beside it.",
        )
        got = student.call("to_centres", boxes=expected)
        compare(
            "centres",
            got["centres"],
            boxes,
            causes=[
                Cause(
                    "off-by-one box size",
                    np.concatenate([centre, size + 1], -1),
                    "Boxes are half-open: the width is x2 - x1, without + 1.",
                ),
                Cause(
                    "centre not halved",
                    np.concatenate([2 * centre, size], -1),
                    "The centre is the mean of both edges.",
                ),
            ],
        )


def slow_iou(
    first, second, *, one=(0.0, 0.0), clamp="sides", union="both", extra=0.0, mix=False, guard=None
):
    """(N, M) in loops.

    `one` is added to the sides of areas and of intersections; `guard` says what is done about a
    union that is not positive.
    """
    table = np.zeros((len(first), len(second)))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            w = min(a[2], b[2]) - max(a[0], b[0]) + one[1]
            h = min(a[3], b[3]) - max(a[1], b[1]) + one[1]
            if clamp == "sides":
                w, h = max(w, 0.0), max(h, 0.0)
            shared = max(w * h, 0.0) if clamp == "product" else w * h
            areas = [
                (c[1] - c[0]) * (c[3] - c[2])
                if mix
                else (c[2] - c[0] + one[0]) * (c[3] - c[1] + one[0])
                for c in (a, b)
            ]
            whole = {
                "both": sum(areas) - shared,
                "twice": sum(areas),
                "smaller": min(areas),
                "first": areas[0],
                "second": areas[1],
            }[union]
            if guard is not None and whole + extra <= 0:
                table[i, j] = shared if guard == "one" else 0.0
                continue
            with np.errstate(all="ignore"):
                table[i, j] = np.float64(shared) / (whole + extra)
    return table


NO_CLAMP = (
    "Boxes apart in x and y give two negative sides, and their product is positive. Set each side "
    "to at least 0 before multiplying."
)
HALF_OPEN = "Boxes are half-open: a side is x2 - x1, without + 1, in areas and intersection alike."


def iou_causes(first, second):
    def wrong(**options):
        return [slow_iou(first, second, guard=guard, **options) for guard in (None, "one", "zero")]

    return [
        Cause("IoU without clamp", wrong(clamp="none") + wrong(clamp="none", one=(1, 1)), NO_CLAMP),
        Cause(
            "clamp after the product",
            wrong(clamp="product"),
            "Two negative sides have a positive product. Clamp each side, then multiply.",
        ),
        Cause(
            "off-by-one box area",
            wrong(one=(1, 1)) + wrong(one=(1, 0)) + wrong(one=(0, 1)),
            HALF_OPEN,
        ),
        Cause(
            "intersection counted twice",
            wrong(union="twice"),
            "The sum of both areas has the intersection in it twice; the union has it once.",
        ),
        Cause(
            "divided by one box instead of the union",
            wrong(union="smaller") + wrong(union="first") + wrong(union="second"),
            "The denominator is the area that either box covers.",
        ),
        Cause(
            "x and y mixed",
            wrong(mix=True),
            "A box is x1, y1, x2, y2: the width is column 2 less column 0.",
        ),
        Cause(
            "a number added to the denominator",
            [slow_iou(first, second, extra=10.0**-k) for k in range(3, 13)],
            "The contract wants the exact ratio. Treat 0 / 0 by itself (np.where, or a test).",
        ),
    ]


@check(points=3, part=ONE)
def overlap_of_all_pairs(student, rng):
    """box_iou: all pairs of 7 and 11 random boxes, (7, 1, 4) against (11, 4); many lie apart."""
    first = random_boxes(rng, 7, 40, 50, 4, 18)
    second = random_boxes(rng, 11, 40, 50, 4, 18)
    # One pair apart in x and y, one the same box, one inside the other.
    first[0], second[0] = (1, 2, 6, 5), (30, 25, 44, 39)
    second[1], second[2] = first[1], (first[2] + first[2, [2, 3, 0, 1]]) / 2 + [-1, -1, 1, 1]
    got = student.call("box_iou", first=first[:, None], second=second)
    compare(
        "iou",
        got["iou"],
        box_ops.box_iou(first, second),
        causes=iou_causes(first, second),
        look="Take the first pair that differs, draw both boxes, and count areas by hand.",
    )


@check(points=2, part=ONE)
def overlap_of_empty_boxes_and_of_none(student, rng):
    """box_iou: boxes of no width, height or both, with themselves and with others; (0, 4) boxes."""
    full = random_boxes(rng, 2, 30, 30, 8, 15)
    x, y = full[0, :2] + 2
    empty = np.array([[x, y, x, y + 4], [x, y, x + 3, y], [x, y, x, y], [x + 1, y, x + 1, y + 4]])
    boxes = np.concatenate([full, empty])
    got = student.call("box_iou", first=boxes[:, None], second=boxes)
    compare(
        "iou",
        got["iou"],
        box_ops.box_iou(boxes, boxes),
        causes=[
            Cause(
                "0 / 0",
                lambda a: np.isnan(a).any(),
                "Two empty boxes have no union to divide by. The contract says 0 for them.",
            ),
            *iou_causes(boxes, boxes),
            Cause(
                "1 for empty boxes",
                lambda a: (a[2:, 2:] == 1).any(),
                "An empty box overlaps nothing, not even itself.",
            ),
        ],
    )
    got = student.call("box_iou", first=np.zeros((0, 1, 4)), second=boxes)
    compare("iou of no boxes", got["iou"], np.zeros((0, 6)))


@check(points=1, part=ONE)
def overlap_in_fractions_of_an_image(student, rng):
    """box_iou: boxes of area about 0.0001, row by row, (5, 4) against (5, 4)."""
    first = random_boxes(rng, 5, 40, 40, 8, 15)
    second = first + rng.uniform(-3, 3, (5, 4))
    first, second = first / 1000, second / 1000
    got = student.call("box_iou", first=first, second=second)
    expected = np.diagonal(box_ops.box_iou(first, second))
    wrongs = [
        Cause(
            c.name,
            [np.diagonal(a) for a in (c.wrong if isinstance(c.wrong, list) else [c.wrong])],
            c.why,
        )
        for c in iou_causes(first, second)
    ]
    compare("iou", got["iou"], expected, causes=wrongs)


# -- 2 ---------------------------------------------------------------------------------------------


def slow_cells(boxes, size, grid, *, pick="centre", way=np.floor, swap=False, clip=True):
    """(R, 2) row and column, in loops."""
    rows = []
    for x1, y1, x2, y2 in boxes:
        cx, cy = ((x1 + x2) / 2, (y1 + y2) / 2) if pick == "centre" else (x1, y1)
        row, column = way(cy * grid / size[0]), way(cx * grid / size[1])
        if clip:
            row, column = min(max(row, 0), grid - 1), min(max(column, 0), grid - 1)
        rows.append((column, row) if swap else (row, column))
    return np.array(rows, np.int64).reshape(-1, 2)


def cell_causes(boxes, size, grid):
    def wrong(**options):
        return slow_cells(boxes, size, grid, **options)

    return [
        Cause(
            "row and column swapped", wrong(swap=True), "The row follows from y, and comes first."
        ),
        Cause(
            "H and W swapped",
            [
                slow_cells(boxes, size[::-1], grid, clip=clip, swap=swap)
                for clip in (True, False)
                for swap in (True, False)
            ],
            "image_size is (H, W): x is divided by W, y by H.",
        ),
        Cause(
            "off-by-one at the image's edge",
            wrong(clip=False),
            "There is no cell S. A centre at W or H belongs to the last cell.",
        ),
        Cause(
            "border given to the left cell",
            [wrong(way=lambda v: np.ceil(v) - 1), wrong(way=lambda v: np.ceil(v) - 1, clip=False)],
            "A cell begins at its left and upper border, and ends before the next one begins.",
        ),
        Cause(
            "rounded instead of cut off",
            [wrong(way=w, clip=c) for w in (np.round, np.ceil) for c in (True, False)],
            "Cell k reaches from k to k + 1: cut off the fraction, do not round it.",
        ),
        Cause(
            "corner instead of centre",
            wrong(pick="corner"),
            "The cell of the centre owns the object, not that of the upper left corner.",
        ),
    ]


@check(points=2, part=TWO)
def owners_in_a_wide_image(student, rng):
    """owner_cells: 12 random boxes in an image of 60 x 100 pixels, S = 5; then no boxes."""
    boxes = random_boxes(rng, 12, 60, 100)
    boxes[0] = 70, 3, 94, 11  # far right and up
    boxes[1] = 2, 42, 10, 58
    got = student.call("owner_cells", boxes=boxes, image_size=(60, 100), grid=5)
    expected = slow_cells(boxes, (60, 100), 5)
    compare("cells", got["cells"], expected, causes=cell_causes(boxes, (60, 100), 5))
    got = student.call("owner_cells", boxes=np.zeros((0, 4)), image_size=(60, 100), grid=5)
    compare("cells of no boxes", got["cells"], np.zeros((0, 2), np.int64))


@check(points=3, part=TWO)
def owners_on_borders_and_edges(student, rng):
    """owner_cells: centres on the border of two cells, and on the edge of the image (empty boxes
    there), 64 x 128 pixels, S = 4."""
    centres = [
        (32, 8),
        (64, 16),
        (96, 40),
        (10, 32),
        (40, 48),
        (128, 8),
        (5, 64),
        (128, 64),
        (0, 0),
    ]
    order = rng.permutation(len(centres))
    boxes = []
    for cx, cy in np.array(centres, float)[order]:
        half = min(4, cx, 128 - cx), min(4, cy, 64 - cy)
        boxes.append((cx - half[0], cy - half[1], cx + half[0], cy + half[1]))
    boxes = np.array(boxes)
    got = student.call("owner_cells", boxes=boxes, image_size=(64, 128), grid=4)
    expected = slow_cells(boxes, (64, 128), 4)
    compare(
        "cells",
        got["cells"],
        expected,
        causes=cell_causes(boxes, (64, 128), 4),
        look="What cell has a centre at x = 32, where column 0 ends; and one at x = 128 = W?",
    )


def slow_targets(
    boxes,
    labels,
    cells,
    size,
    grid,
    count,
    *,
    keep="first",
    root=True,
    offset="cell",
    unit="image",
    place="row column",
    first_label=0,
    both=False,
):
    """has_object, target, classes in loops."""
    has_object = np.zeros((grid, grid), bool)
    target = np.zeros((grid, grid, 4))
    classes = np.zeros((grid, grid, count))
    height, width = size
    for (x1, y1, x2, y2), label, (row, column) in zip(boxes, labels, cells, strict=True):
        at = (row, column) if place == "row column" else (column, row)
        k = (label - first_label) % count
        if has_object[at] and keep == "first":
            classes[at][k] = 1.0 if both else classes[at][k]
            continue
        x, y = (x1 + x2) / 2 / width * grid, (y1 + y2) / 2 / height * grid
        if offset == "cell":
            x, y = x - column, y - row
        elif offset == "image":
            x, y = x / grid, y / grid
        elif offset == "middle":
            x, y = x - column - 0.5, y - row - 0.5
        elif offset == "swapped":
            x, y = x - row, y - column
        elif offset == "share":
            x, y = (x - column) / grid, (y - row) / grid
        elif offset == "pixels":
            x, y = (x - column) * width / grid, (y - row) * height / grid
        w, h = x2 - x1, y2 - y1
        if unit == "image":
            w, h = w / width, h / height
        elif unit == "cell":
            w, h = w / width * grid, h / height * grid
        elif unit == "swapped":
            w, h = w / height, h / width
        elif unit == "h w":
            w, h = h / height, w / width
        if root:
            w, h = np.sqrt(w), np.sqrt(h)
        if keep == "last":
            classes[at] = classes[at] if both else 0.0
        has_object[at] = True
        target[at] = x, y, w, h
        classes[at][k] = 1.0
    return has_object, target, classes


def compare_targets(student, boxes, labels, cells, size, grid, count):
    got = student.call(
        "encode_targets",
        boxes=boxes,
        labels=labels,
        cells=cells,
        image_size=size,
        grid=grid,
        num_classes=count,
    )
    expected = slow_targets(boxes, labels, cells, size, grid, count)

    def wrong(**options):
        return slow_targets(boxes, labels, cells, size, grid, count, **options)

    swapped = (
        "row and column swapped",
        "The given cells are (row, column), and the arrays are indexed [row, column].",
    )
    last = (
        "last object of a cell instead of the first",
        "The first object in the list keeps the cell; leave it alone when another one comes.",
    )
    compare(
        "has_object",
        got["has_object"],
        expected[0],
        causes=[Cause(swapped[0], wrong(place="column row")[0], swapped[1])],
    )
    compare(
        "target",
        got["target"],
        expected[1],
        causes=[
            Cause(
                swapped[0], [wrong(place="column row")[1], wrong(offset="swapped")[1]], swapped[1]
            ),
            Cause(last[0], wrong(keep="last")[1], last[1]),
            Cause("no square root", wrong(root=False)[1], "The head gives roots of the sizes."),
            Cause(
                "size not as a fraction of the image",
                [wrong(unit="cell")[1], wrong(unit="pixels")[1]],
                "Divide the width by the image's W, the height by its H, then take the root.",
            ),
            Cause(
                "H and W swapped",
                [wrong(unit="swapped")[1], wrong(unit="h w")[1]],
                "x and widths go with W, y and heights with H.",
            ),
            Cause(
                "centre not measured from the cell's corner",
                [wrong(offset=o)[1] for o in ("global", "image", "middle")],
                "Subtract the cell's column from x and its row from y, both counted in cells.",
            ),
            Cause(
                "centre not measured in cells",
                [wrong(offset=o)[1] for o in ("share", "pixels")],
                "1 is the width (or height) of a cell.",
            ),
        ],
        look="Take one cell, and work out its four numbers by hand.",
    )
    compare(
        "classes",
        got["classes"],
        expected[2],
        causes=[
            Cause(swapped[0], wrong(place="column row")[2], swapped[1]),
            Cause(
                "two objects in one cell",
                [wrong(both=True)[2], wrong(both=True, keep="last")[2]],
                "A cell holds one object, so of its class scores only one is 1.",
            ),
            Cause(last[0], wrong(keep="last")[2], last[1]),
            Cause(
                "labels counted from 1",
                [wrong(first_label=1)[2], wrong(first_label=-1)[2]],
                "Labels are counted from 0: there is no class for the background.",
            ),
        ],
    )


@check(points=3, part=TWO)
def targets_of_several_objects(student, rng):
    """encode_targets: 6 objects in 6 cells of a tall image, 90 x 50 pixels, S = 5, C = 4."""
    size, grid = (90, 50), 5
    places = rng.permutation([(r, c) for r in range(grid) for c in range(grid) if r != c])[:6]
    centre = (places[:, ::-1] + rng.uniform(0.1, 0.9, (6, 2))) * [50 / grid, 90 / grid]
    room = np.minimum(centre, [50, 90] - centre)
    half = room * rng.uniform(0.3, 1.0, (6, 2))
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    labels = rng.permutation([0, 3, 1, 2, 1, 2])
    compare_targets(student, boxes, labels, places.astype(np.int64), size, grid, 4)


@check(points=2, part=TWO)
def objects_that_share_a_cell(student, rng):
    """encode_targets: three of five objects in one cell, of different classes; then no objects."""
    size, grid = (48, 72), 3
    centre = np.array([(30, 20), (60, 40), (36, 24), (40, 28), (10, 5)]) + rng.uniform(0, 3, (5, 2))
    half = rng.uniform(2, 5, (5, 2))
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    cells = np.array([(1, 1), (2, 2), (1, 1), (1, 1), (0, 0)])
    compare_targets(student, boxes, np.array([2, 0, 1, 3, 1]), cells, size, grid, 4)
    none = np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    compare_targets(student, *none, size, grid, 4)


# -- 3 ---------------------------------------------------------------------------------------------


def slow_predictor_iou(
    predicted, target, grid, *, square=True, divide=True, convert=True, **mistake
):
    """(..., B), box by box; `mistake` is one of `slow_iou`."""
    power = 2 if square else 1
    share = grid if divide else 1
    result = np.zeros(predicted.shape[:-1])
    for at in np.ndindex(*result.shape):
        corners = []
        for box in (predicted[at], target[at[:-1]]):
            box = np.concatenate([box[:2] / share, box[2:] ** power])
            corners.append(
                np.concatenate([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2]) if convert else box
            )
        result[at] = slow_iou([corners[0]], [corners[1]], **mistake)[0, 0]
    return result


@check(points=4, part=THREE)
def overlap_of_predictors_with_the_target(student, rng):
    """predictor_iou: (2, 3, 3, B, 4) near their targets, B = 3, S = 7; some roots are negative."""
    target = rng.uniform(0.1, 0.9, (2, 3, 3, 4))
    predicted = target[..., None, :] + rng.normal(0, 0.15, (2, 3, 3, 3, 4))
    predicted[..., 1, 2:] *= rng.choice([-1, 1], (2, 3, 3, 2))
    predicted[0, 0, 0, 1, 2:] = -0.4, 0.5
    got = student.call("predictor_iou", predicted=predicted, target=target, grid=7)

    def wrong(**options):
        return slow_predictor_iou(predicted, target, 7, **options)

    compare(
        "iou",
        got["iou"],
        wrong(),
        causes=[
            Cause(
                "roots not squared",
                [wrong(square=False), wrong(square=False, divide=False)],
                "The head gives roots of width and height; overlap is one of boxes.",
            ),
            Cause(
                "centre and size in different units",
                wrong(divide=False),
                "x, y count cells, sizes count images: divide the centre by S first.",
            ),
            Cause(
                "centre and size taken for corners",
                [wrong(convert=False), wrong(convert=False, divide=False)],
                "Overlap is computed from corners; see to_corners.",
            ),
            Cause(
                "box_iou is wrong",
                [
                    wrong(guard=guard, **mistake)
                    for guard in (None, "one", "zero")
                    for mistake in (
                        {"clamp": "none"},
                        {"clamp": "product"},
                        {"union": "twice"},
                        {"union": "smaller"},
                        {"mix": True},
                        {"one": (1, 1)},
                        {"one": (1, 0)},
                        {"one": (0, 1)},
                    )
                ],
                "This looks like a mistake of box_iou, not of predictor_iou: see its own checks.",
            ),
        ],
        look="Check box_iou alone first; then one cell by hand, in fractions of the image.",
    )


def responsible_causes(iou, has_object):
    count = iou.shape[-1]
    there = has_object[..., None]
    first = iou.argmax(-1)[..., None] == np.arange(count)
    last = (count - 1 - iou[..., ::-1].argmax(-1))[..., None] == np.arange(count)
    most = iou == iou.max(-1, keepdims=True)
    return [
        Cause(
            "a predictor in cells without object",
            [first, last, most],
            "Nobody is responsible where nothing is to be found: use has_object.",
        ),
        Cause("all of equal overlaps", most & there, "Exactly one is responsible, also in a tie."),
        Cause("last of equal overlaps", last & there, "Of equal overlaps the first one counts."),
        Cause(
            "nobody where nothing overlaps",
            first & there & (iou > 0),
            "A cell with an object always has one responsible predictor, or it could never learn.",
        ),
        Cause(
            "every predictor that overlaps",
            [(iou >= t) & there for t in (0.3, 0.5, 0.7)] + [(iou > 0) & there],
            "Only the one of largest overlap, and it needs no threshold.",
        ),
        Cause("the smallest overlap", (iou.argmin(-1)[..., None] == np.arange(count)) & there),
    ]


@check(points=1, part=THREE)
def who_is_responsible(student, rng):
    """responsible: random overlaps of (2, 4, 4, 3), half of the cells with an object."""
    iou = rng.uniform(0.1, 0.9, (2, 4, 4, 3))
    has_object = rng.permuted(np.arange(32) % 2 == 0).reshape(2, 4, 4)
    got = student.call("responsible", iou=iou, has_object=has_object)
    expected = (iou.argmax(-1)[..., None] == np.arange(3)) & has_object[..., None]
    compare("mask", got["mask"], expected, causes=responsible_causes(iou, has_object))


@check(points=2, part=THREE)
def who_is_responsible_in_a_tie(student, rng):
    """responsible: equal overlaps, and cells where all overlaps are 0."""
    rows = [(0.5, 0.5, 0.2), (0.1, 0.7, 0.7), (0, 0, 0), (0.3, 0.3, 0.3), (0, 0, 0.4), (0, 0, 0)]
    iou = rng.permutation(np.array(rows)).reshape(2, 3, 3)
    has_object = iou.max(-1) != 0.4  # all but one cell
    got = student.call("responsible", iou=iou, has_object=has_object)
    expected = (iou.argmax(-1)[..., None] == np.arange(3)) & has_object[..., None]
    compare("mask", got["mask"], expected, causes=responsible_causes(iou, has_object))


# -- 4 ---------------------------------------------------------------------------------------------


@check(points=1, part=FOUR)
def predictions_taken_apart(student, rng):
    """split_predictions: (2, 3, 3, 5 B + C) for B = 3, C = 4."""
    predictions = rng.standard_normal((2, 3, 3, 19))
    got = student.call("split_predictions", predictions=predictions, num_boxes=3)
    shape = (2, 3, 3, 3)
    behind = predictions[..., :12].reshape(*shape, 4)
    first = predictions[..., 4:].reshape(*shape, 5)
    why = "The layout in each cell is B times (x, y, rw, rh, c), then C class scores."
    each = predictions[..., :15].reshape(*shape, 5)
    compare(
        "boxes",
        got["boxes"],
        each[..., :4],
        causes=[
            Cause("confidences taken from behind all boxes", behind, why),
            Cause("class scores taken from the front", first[..., :4], why),
            Cause("confidence taken first", each[..., 1:], why),
        ],
    )
    compare(
        "confidence",
        got["confidence"],
        each[..., 4],
        causes=[Cause("confidences taken from behind all boxes", predictions[..., 12:15], why)],
    )
    compare("scores", got["scores"], predictions[..., 15:])


def random_batch(rng, n=3, s=4, b=2, c=5):
    """Arguments of loss_terms; target and iou hold numbers also where they must not count."""
    has_object = rng.permuted(np.arange(n * s * s) % 3 == 0).reshape(n, s, s)
    iou = rng.uniform(0.05, 0.95, (n, s, s, b))
    mask = (rng.integers(0, b, (n, s, s))[..., None] == np.arange(b)) & has_object[..., None]
    classes = (rng.integers(0, c, (n, s, s))[..., None] == np.arange(c)) & has_object[..., None]
    return {
        "boxes": rng.normal(0.5, 0.4, (n, s, s, b, 4)),
        "confidence": rng.normal(0.3, 0.5, (n, s, s, b)),
        "scores": rng.normal(0.3, 0.5, (n, s, s, c)),
        "has_object": has_object,
        "target": rng.uniform(0.1, 0.9, (n, s, s, 4)) * has_object[..., None],
        "classes": classes * 1.0,
        "mask": mask,
        "iou": iou,
    }


def terms(batch, coord, noobj, xp=None, *, average="N"):
    """The five terms. With `xp` = minidl, of Tensors: boxes, confidence and scores."""
    m = batch["mask"] * 1.0
    there = batch["has_object"][..., None] * 1.0
    boxes, confidence, scores = (batch[name] for name in ("boxes", "confidence", "scores"))
    wrap = (lambda a: a) if xp is None else xp.tensor
    square = (boxes - wrap(batch["target"][..., None, :])) ** 2 * wrap(m[..., None])
    share = 1.0 / {"N": len(m), "cells": m[..., 0].size, "none": 1}[average]
    return {
        "centre": square[..., :2].sum() * (coord * share),
        "size": square[..., 2:].sum() * (coord * share),
        "object": ((confidence - wrap(batch["iou"])) ** 2 * wrap(m)).sum() * share,
        "no_object": (confidence**2 * wrap(1.0 - m)).sum() * (noobj * share),
        "class": ((scores - wrap(batch["classes"])) ** 2 * wrap(there)).sum() * share,
    }


MEAN = "Divide by the number of images N, and by nothing else."


def compare_terms(student, rng, names, more):
    """Compare some terms; `more` gives causes for (batch, weights, expected)."""
    batch = random_batch(rng)
    weights = tuple(rng.uniform(0.3, 6.0, 2).round(3).tolist())
    got = student.call("loss_terms", weights=weights, **batch)
    expected = terms(batch, *weights)
    averages = [terms(batch, *weights, average=how) for how in ("cells", "none")]
    causes = more(batch, weights)
    for name in names:
        compare(
            name,
            got[name],
            expected[name],
            causes=[
                *[
                    Cause(title, wrongs[name], why)
                    for title, wrongs, why in causes
                    if name in wrongs
                ],
                Cause("N against N*S*S", averages[0][name], MEAN),
                Cause("sum instead of the mean over images", averages[1][name], MEAN),
                Cause(
                    "weight forgotten",
                    terms(batch, 1.0, 1.0)[name],
                    "The term has a weight, an argument of the function.",
                ),
                Cause(
                    "default weight instead of the argument",
                    terms(batch, 5.0, 0.5)[name],
                    "Use lambda_coord and lambda_noobj as they are given.",
                ),
                Cause("weights swapped", terms(batch, *weights[::-1])[name]),
                Cause("half of the square", [expected[name] / 2], "No factor 1/2 stands here."),
            ],
            look="Leave one image, one cell and one predictor, and compute the term by hand.",
        )


@check(points=2, part=FOUR)
def terms_of_the_box(student, rng):
    """loss_terms: "centre" and "size", 3 images, S = 4, B = 2, weights drawn at random."""

    def more(batch, weights):
        share = weights[0] / len(batch["boxes"])
        there = batch["has_object"][..., None, None]
        difference = batch["boxes"] - batch["target"][..., None, :]
        squares = batch["boxes"] ** 2 - batch["target"][..., None, :] ** 2
        m = batch["mask"][..., None]
        whole = {"centre": slice(0, 2), "size": slice(2, 4)}
        return [
            (
                "every predictor of the cell",
                {k: ((difference**2 * there)[..., v]).sum() * share for k, v in whole.items()},
                "Only the responsible predictor's box is compared with the object: use mask.",
            ),
            (
                "every cell",
                {k: ((difference**2)[..., v]).sum() * share for k, v in whole.items()},
                "Only the responsible predictor's box is compared with the object: use mask.",
            ),
            (
                "sizes compared instead of their roots",
                {"size": ((squares**2 * m)[..., 2:]).sum() * share},
                "Both are roots already: compare them as they are.",
            ),
            (
                "absolute differences",
                {k: ((np.abs(difference) * m)[..., v]).sum() * share for k, v in whole.items()},
                "The differences are squared.",
            ),
        ]

    compare_terms(student, rng, ("centre", "size"), more)


@check(points=2, part=FOUR)
def terms_of_the_confidence(student, rng):
    """loss_terms: "object" and "no_object", 3 images, S = 4, B = 2, weights drawn at random."""

    def more(batch, weights):
        n = len(batch["boxes"])
        c, m, iou = batch["confidence"], batch["mask"], batch["iou"]
        there = batch["has_object"][..., None]
        return [
            (
                "confidence target 1 instead of IoU",
                {"object": ((c - 1) ** 2 * m).sum() / n},
                "The confidence of a responsible predictor should be its IoU.",
            ),
            (
                "every predictor of the cell",
                {"object": ((c - iou) ** 2 * there).sum() / n},
                'Only the responsible predictor says "object".',
            ),
            (
                "others of a cell with an object left out",
                {"no_object": (c**2 * ~there).sum() * weights[1] / n},
                'All predictors that are not responsible say "no object", also those of a cell '
                "with an object: use mask, not has_object.",
            ),
            (
                "all predictors say no object",
                {"no_object": (c**2).sum() * weights[1] / n},
                "The responsible predictor is not among the others.",
            ),
            (
                "IoU as the target of the others",
                {"no_object": ((c - iou) ** 2 * ~m).sum() * weights[1] / n},
                "Who is not responsible should say 0, however well the box fits.",
            ),
            (
                "lambda_noobj on the wrong term",
                {
                    "object": ((c - iou) ** 2 * m).sum() * weights[1] / n,
                },
                'lambda_noobj belongs to "no_object".',
            ),
        ]

    compare_terms(student, rng, ("object", "no_object"), more)


@check(points=2, part=FOUR)
def term_of_the_class(student, rng):
    """loss_terms: "class", 3 images, S = 4, B = 2, C = 5."""

    def more(batch, weights):
        n = len(batch["boxes"])
        square = (batch["scores"] - batch["classes"]) ** 2
        there = batch["has_object"]
        return [
            (
                "classes of cells without object",
                {"class": square.sum() / n},
                "A cell without object has no class to be compared with: use has_object.",
            ),
            (
                "once for each predictor",
                {"class": square[there].sum() * batch["mask"].shape[-1] / n},
                "The cell says its class once.",
            ),
            (
                "mean over the classes",
                {"class": square[there].mean(-1).sum() / n},
                "It is a sum over classes.",
            ),
            (
                "only the true class",
                {"class": (square * batch["classes"]).sum() / n},
                "The scores of the other classes should be 0: they count too.",
            ),
        ]

    compare_terms(student, rng, ("class",), more)


def gradients(batch, coord, noobj):
    """By minidl's autograd: to boxes, confidence and scores."""
    names = ("boxes", "confidence", "scores")
    leaves = {name: md.tensor(batch[name], requires_grad=True) for name in names}
    sum(terms({**batch, **leaves}, coord, noobj, md).values()).backward()
    return {f"grad_{name}": leaves[name].grad.data for name in names}


def compare_gradient(student, rng, name, more):
    batch = random_batch(rng)
    weights = tuple(rng.uniform(0.3, 6.0, 2).round(3).tolist())
    got = student.call("loss_gradients", weights=weights, **batch)
    expected = gradients(batch, *weights)[name]
    n, cells = batch["mask"].shape[0], batch["mask"][..., 0].size
    compare(
        name,
        got[name],
        expected,
        causes=[
            *[Cause(title, wrong, why) for title, wrong, why in more(batch, weights, expected)],
            Cause("factor 2 forgotten", expected / 2, "The derivative of d² is 2 d."),
            Cause(
                "target minus prediction",
                [-expected, -expected / 2],
                "d/dp (p - t)² = 2 (p - t): the loss grows when p moves away from t.",
            ),
            Cause("N against N*S*S", expected * n / cells, MEAN),
            Cause("sum instead of the mean over images", expected * n, MEAN),
            Cause(
                "weight forgotten",
                gradients(batch, 1.0, 1.0)[name],
                "The term's weight stands in its gradient too.",
            ),
            Cause("weights swapped", gradients(batch, *weights[::-1])[name]),
            Cause(
                "default weight instead of the argument",
                gradients(batch, 5.0, 0.5)[name],
                "Use lambda_coord and lambda_noobj as they are given.",
            ),
        ],
        look="Move one number by 1e-5 in either direction and watch loss_terms.",
    )


@check(points=3, part=FOUR)
def gradient_to_the_boxes(student, rng):
    """loss_gradients: to boxes, a random batch with random weights, against minidl's autograd."""

    def more(batch, weights, expected):
        factor = 2 * weights[0] / len(expected)
        difference = batch["boxes"] - batch["target"][..., None, :]
        there = batch["has_object"][..., None, None]
        inner = np.concatenate(
            [expected[..., :2], expected[..., 2:] * 2 * batch["boxes"][..., 2:]], -1
        )
        why = "Only the box of the responsible predictor gets a gradient: use mask."
        centre_only = expected * [weights[0] ** 0, weights[0] ** 0, 1 / weights[0], 1 / weights[0]]
        return [
            ("every predictor of the cell", factor * difference * there, why),
            ("every cell", factor * difference, why),
            (
                "weight forgotten",
                centre_only,
                "lambda_coord stands before the sizes as well as before the centre.",
            ),
            (
                "root differentiated once more",
                inner,
                "The head gives rw itself, and the loss is a square in rw.",
            ),
        ]

    compare_gradient(student, rng, "grad_boxes", more)


@check(points=2, part=FOUR)
def gradient_to_the_confidence(student, rng):
    """loss_gradients: to confidence, a random batch with random weights, against autograd."""

    def more(batch, weights, expected):
        n = len(expected)
        c, m, iou = batch["confidence"], batch["mask"], batch["iou"]
        there = batch["has_object"][..., None]
        return [
            (
                "no gradient from no_object",
                2 / n * (c - iou) * m,
                "Who is not responsible should say 0, and learns it too.",
            ),
            (
                "others of a cell with an object left out",
                2 / n * np.where(m, c - iou, np.where(there, 0, weights[1] * c)),
                "All predictors that are not responsible count: use mask, not has_object.",
            ),
            (
                "confidence target 1 instead of IoU",
                2 / n * np.where(m, c - 1, weights[1] * c),
                "The confidence of a responsible predictor should be its IoU.",
            ),
            (
                "weight forgotten",
                2 / n * np.where(m, c - iou, c),
                "lambda_noobj stands in the gradient too.",
            ),
        ]

    compare_gradient(student, rng, "grad_confidence", more)


@check(points=2, part=FOUR)
def gradient_to_the_scores(student, rng):
    """loss_gradients: to scores, a random batch, against minidl's autograd."""

    def more(batch, weights, expected):
        factor = 2 / len(expected)
        difference = batch["scores"] - batch["classes"]
        why = "Cells without object do not learn a class: use has_object."
        count = batch["mask"].shape[-1]
        return [
            ("classes of cells without object", factor * difference, why),
            ("once for each predictor", expected * count, "The cell says its class once."),
        ]

    compare_gradient(student, rng, "grad_scores", more)


def slow_loss(predictions, count, batch, weights=(5.0, 0.5), *, iou_target=None):
    """The loss of a batch and its gradient, cell by cell."""
    has_object, target, classes = (batch[k] for k in ("has_object", "target", "classes"))
    n, s = predictions.shape[:2]
    loss, gradient = 0.0, np.zeros_like(predictions)
    for at in np.ndindex(n, s, s):
        cell, grad = predictions[at], gradient[at]
        each, out = cell[: 5 * count].reshape(count, 5), grad[: 5 * count].reshape(count, 5)
        best = -1
        if has_object[at]:
            iou = slow_predictor_iou(each[:, :4], target[at], s)
            best = int(iou.argmax())
            d = each[best, :4] - target[at]
            aim = iou[best] if iou_target is None else iou_target
            loss += weights[0] * (d**2).sum() + (each[best, 4] - aim) ** 2
            out[best, :4] = 2 * weights[0] * d
            out[best, 4] = 2 * (each[best, 4] - aim)
            d = cell[5 * count :] - classes[at]
            loss += (d**2).sum()
            grad[5 * count :] = 2 * d
        for b in range(count):
            if b != best:
                loss += weights[1] * each[b, 4] ** 2
                out[b, 4] = 2 * weights[1] * each[b, 4]
    return loss / n, gradient / n


@check(points=3, part=FOUR)
def whole_loss_of_a_batch(student, rng):
    """yolo_loss: loss and gradient of random predictions near their targets, 2 images, S = 3,
    B = 3, C = 4, weights drawn at random; predictions stay as they are."""
    batch = random_batch(rng, 2, 3, 3, 4)
    near = batch["target"][..., None, :] + rng.normal(0, 0.1, (2, 3, 3, 3, 4))
    rest = rng.normal(0.4, 0.4, (2, 3, 3, 3, 1))
    each = np.concatenate([near, rest], -1).reshape(2, 3, 3, 15)
    predictions = np.concatenate([each, rng.normal(0.3, 0.4, (2, 3, 3, 4))], -1)
    weights = tuple(rng.uniform(0.5, 6.0, 2).round(3).tolist())
    wanted = {name: batch[name] for name in ("has_object", "target", "classes")}
    got = student.call("yolo_loss", predictions=predictions, num_boxes=3, weights=weights, **wanted)
    require(
        "predictions" not in got.changed,
        "predictions were changed by the call; they must stay as they are",
        "input changed in place: split_predictions gives views; writing into one of them writes "
        "into predictions.",
        "Make a new array, or copy first.",
    )
    loss, gradient = slow_loss(predictions, 3, batch, weights)
    default = slow_loss(predictions, 3, batch)
    at_one = slow_loss(predictions, 3, batch, weights, iou_target=1.0)
    ways = "The two lambdas are arguments: pass them on to both functions."
    wrong_iou = earlier(
        "split_predictions or predictor_iou",
        got["own_iou"],
        slow_predictor_iou(near, batch["target"], 3),
    )
    compare(
        "loss",
        got["loss"],
        loss,
        causes=[
            wrong_iou,
            Cause("default weight instead of the argument", default[0], ways),
            Cause("confidence target 1 instead of IoU", at_one[0]),
        ],
        look="If the checks of the four functions before pass, look at what is passed to them.",
    )
    boxes = gradient[..., :15].reshape(2, 3, 3, 3, 5)
    behind = np.concatenate(
        [
            boxes[..., :4].reshape(2, 3, 3, 12),
            boxes[..., 4].reshape(2, 3, 3, 3),
            gradient[..., 15:],
        ],
        -1,
    )
    compare(
        "gradient",
        got["gradient"],
        gradient,
        causes=[
            wrong_iou,
            Cause("default weight instead of the argument", default[1], ways),
            Cause(
                "gradient not in the layout of the predictions",
                [behind, np.concatenate([gradient[..., 15:], gradient[..., :15]], -1)],
                "What was taken apart must go back to the same places: B times (x, y, rw, rh, c), "
                "then the classes.",
            ),
        ],
        look="gradient[..., k] belongs to predictions[..., k].",
    )


# -- 5 ---------------------------------------------------------------------------------------------


def slow_decode(
    boxes, confidence, scores, size, *, cell=True, swap=False, square=True, clip=True,
    order="cells", unit="image",
):  # fmt: skip
    """(S S B, 4) in loops."""
    s, _, count = confidence.shape
    height, width = size
    rows = []
    for r, c, b in np.ndindex(s, s, count):
        x, y, w, h = boxes[r, c, b]
        if cell:
            x, y = (x + r, y + c) if swap else (x + c, y + r)
        w, h = {True: (w**2, h**2), False: (w, h), "abs": (abs(w), abs(h))}[square]
        x, y = x * width / s, y * height / s
        w, h = (w * width, h * height) if unit == "image" else (w * width / s, h * height / s)
        box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        rows.append(np.clip(box, 0, [width, height, width, height]) if clip else box)
    table = np.array(rows).reshape(s, s, count, 4)
    if order == "predictors":
        table = table.transpose(2, 0, 1, 3)
    if order == "columns":
        table = table.transpose(1, 0, 2, 3)
    return table.reshape(-1, 4)


@check(points=3, part=FIVE)
def boxes_of_a_wide_image(student, rng):
    """decode: S = 4, B = 3, 48 x 96 pixels; some roots are negative, and boxes reach out of it."""
    boxes = np.concatenate(
        [rng.uniform(0, 1, (4, 4, 3, 2)), rng.uniform(0.2, 0.8, (4, 4, 3, 2))], -1
    )
    boxes[..., 2, 2:] *= -1
    confidence, scores = rng.uniform(0, 1, (4, 4, 3)), rng.uniform(0, 1, (4, 4, 5))
    size = (48, 96)
    arguments = {"boxes": boxes, "confidence": confidence, "scores": scores}
    got = student.call("decode", **arguments, image_size=size)

    def wrong(use=size, **options):
        return slow_decode(boxes, confidence, scores, use, **options)

    compare(
        "boxes",
        got["boxes"],
        wrong(),
        causes=[
            Cause(
                "the cell's place not added",
                wrong(cell=False),
                "x, y are measured from the cell's corner: add column and row.",
            ),
            Cause(
                "row and column swapped",
                [wrong(swap=True), wrong(order="columns")],
                "The column is added to x, the row to y; the boxes of row 0 come first.",
            ),
            Cause(
                "roots not squared",
                [wrong(square=how, clip=clip) for how in (False, "abs") for clip in (True, False)],
                "The width is rw squared.",
            ),
            Cause(
                "not cut off at the edges of the image",
                wrong(clip=False),
                "x lies in 0 to W, y in 0 to H, after decoding.",
            ),
            Cause(
                "H and W swapped",
                [wrong((96, 48)), wrong((96, 48), clip=False)],
                "image_size is (H, W): x goes with W.",
            ),
            Cause(
                "sizes taken as fractions of the cell",
                wrong(unit="cell"),
                "Sizes are fractions of the image.",
            ),
            Cause(
                "order of the boxes",
                wrong(order="predictors"),
                "Row by row, cell by cell, predictor by predictor.",
            ),
        ],
        look="Take the box of row 0, column 1 and decode it by hand.",
    )
    expected = (confidence[..., None] * scores[:, :, None]).reshape(48, 5)
    compare("scores", got["scores"], expected, causes=score_causes(confidence, scores))


def score_causes(confidence, scores):
    s, _, count = confidence.shape
    product = confidence[..., None] * scores[:, :, None]
    sure = np.clip(confidence, 0, 1)[..., None]
    probability = np.clip(scores, 0, 1)[:, :, None]
    return [
        Cause(
            "scores not cut to 0 to 1",
            [a.reshape(s * s * count, -1) for a in (product, np.clip(product, 0, 1))],
            "Cut confidence and class score first: two negative numbers have a positive product.",
        ),
        Cause(
            "class score without confidence",
            np.broadcast_to(probability, product.shape).reshape(s * s * count, -1),
            "A cell names a class also where nothing is: multiply by the confidence.",
        ),
        Cause(
            "order of the boxes",
            (sure * probability).transpose(2, 0, 1, 3).reshape(s * s * count, -1),
            "Row by row, cell by cell, predictor by predictor, as the boxes.",
        ),
    ]


@check(points=2, part=FIVE)
def scores_below_0_and_above_1(student, rng):
    """decode: confidences and class scores from -2 to 2, S = 3, B = 2."""
    confidence, scores = rng.uniform(-2, 2, (3, 3, 2)), rng.uniform(-2, 2, (3, 3, 4))
    confidence[0, 0], scores[0, 0] = (-0.5, 0.5), (-0.6, 1.5, 0.4, -0.2)
    boxes = rng.uniform(0.2, 0.6, (3, 3, 2, 4))
    arguments = {"boxes": boxes, "confidence": confidence, "scores": scores}
    got = student.call("decode", **arguments, image_size=(30, 30))
    expected = np.clip(confidence, 0, 1)[..., None] * np.clip(scores, 0, 1)[:, :, None]
    compare(
        "scores", got["scores"], expected.reshape(18, 4), causes=score_causes(confidence, scores)
    )


def slow_nms(iou, scores, threshold, *, strict=True, greedy=True, rising=False, ties="first"):
    count = len(scores)
    order = sorted(range(count), key=lambda i: (scores[i] if rising else -scores[i], i))
    if ties == "last":
        order = sorted(range(count), key=lambda i: (-scores[i], -i))
    kept, seen = [], []
    for i in order:
        others = kept if greedy else seen
        if not any(
            iou[j, i] > threshold or (not strict and iou[j, i] == threshold) for j in others
        ):
            kept.append(i)
        seen.append(i)
    return np.array(kept, np.int64)


def nms_causes(iou, scores, threshold):
    def wrong(**options):
        return slow_nms(iou, scores, threshold, **options)

    def below():
        """Boxes that overlap more than the threshold are kept, the others removed."""
        order, kept = list(np.argsort(-scores, kind="stable")), []
        while order:
            best, order = order[0], order[1:]
            kept.append(best)
            order = [i for i in order if iou[best, i] > threshold]
        return np.array(kept)

    kept = np.zeros(len(scores), bool)
    kept[wrong()] = True
    return [
        Cause(
            "removed at equality",
            wrong(strict=False),
            "A box is removed if its IoU is larger than the threshold, not if equal.",
        ),
        Cause(
            "removed by boxes that are removed themselves",
            wrong(greedy=False),
            "Only a box that stays removes others.",
        ),
        Cause(
            "lowest score first",
            [wrong(rising=True), wrong()[::-1]],
            "The box of highest score stays: sort by falling score.",
        ),
        Cause(
            "tie of scores",
            wrong(ties="last"),
            "Of equal scores the lower index comes first: sort stably, by -scores; a reversed "
            "rising sort reverses the ties too.",
        ),
        Cause(
            "not by falling score",
            [np.sort(wrong()), kept],
            "The indices come in the order in which the boxes were chosen.",
        ),
        Cause("the wrong ones removed", below(), "Those that overlap little are the ones to keep."),
    ]


def compare_nms(student, iou, scores, threshold, look=""):
    got = student.call("nms", iou=iou, scores=scores, threshold=threshold)
    expected = slow_nms(iou, scores, threshold)
    compare("kept", got["kept"], expected, causes=nms_causes(iou, scores, threshold), look=look)


@check(points=2, part=FIVE)
def suppression_among_many(student, rng):
    """nms: 40 boxes, some in chains: A overlaps B and B overlaps C, but A does not overlap C."""
    boxes = random_boxes(rng, 34, 60, 60, 12, 30)
    chain = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]], float)
    boxes = np.concatenate([boxes, chain + 70, chain + [70, 0, 70, 0]])
    scores = np.concatenate([rng.permutation(34) / 40 + 0.01, [0.9, 0.8, 0.7], [0.7, 0.9, 0.8]])
    scores += rng.permutation(40) * 1e-4
    compare_nms(student, box_ops.box_iou(boxes, boxes), scores, 0.45)


@check(points=2, part=FIVE)
def suppression_at_the_threshold_and_in_ties(student, rng):
    """nms: IoU equal to the threshold, equal scores; then no boxes."""
    iou = np.eye(7)
    for i, j, value in ((0, 1, 0.5), (2, 3, 0.75), (4, 5, 0.5), (5, 6, 0.625)):
        iou[i, j] = iou[j, i] = value
    order = rng.permutation(7)
    iou = iou[order][:, order]
    scores = np.array([0.5, 0.5, 0.25, 0.25, 0.75, 0.5, 0.5])[order]
    compare_nms(student, iou, scores, 0.5)
    compare_nms(student, np.zeros((0, 0)), np.zeros(0), 0.5)


def slow_detect(boxes, scores, least, threshold, *, alone=True, strict=True, best_only=False):
    """Rows of box, label, score by rising label and falling score."""
    pairs = []
    for i, c in np.ndindex(*scores.shape):
        enough = scores[i, c] > least or (not strict and scores[i, c] == least)
        if enough and (not best_only or c == scores[i].argmax()):
            pairs.append((i, c))
    pairs.sort(key=lambda p: (-scores[p], p[0]))
    kept = []
    for i, c in pairs:
        rivals = [j for j, d in kept if d == c or not alone]
        if not any(slow_iou([boxes[j]], [boxes[i]])[0, 0] > threshold for j in rivals):
            kept.append((i, c))
    kept.sort(key=lambda p: (p[1], -scores[p]))
    index = np.array([i for i, _ in kept], np.int64)
    labels = np.array([c for _, c in kept], np.int64)
    return boxes[index], labels, scores[index, labels]


def earlier(function, got, expected):
    """The cause that a function which this one calls is wrong: told by what it gives here."""
    own = np.asarray(got)
    alike = own.shape == expected.shape and own.dtype.kind in "biuf"
    right = alike and np.allclose(own, expected, rtol=1e-6, atol=1e-8)
    return Cause(
        f"{function} is wrong",
        lambda _: not right,
        f"This function calls your {function}, which gives other numbers here than its contract "
        "says. Mend that first; its own checks say what is wrong with it.",
    )


def compare_detections(student, boxes, scores, least, threshold):
    got = student.call(
        "detect", boxes=boxes, scores=scores, score_threshold=least, iou_threshold=threshold
    )
    expected = slow_detect(boxes, scores, least, threshold)
    wrongs = [
        (
            "suppression across classes",
            slow_detect(boxes, scores, least, threshold, alone=False),
            "Boxes of different classes do not remove each other: call nms for each class.",
        ),
        (
            "score equal to the threshold kept",
            slow_detect(boxes, scores, least, threshold, strict=False),
            "A score must be larger than score_threshold.",
        ),
        (
            "only the best class of a box",
            slow_detect(boxes, scores, least, threshold, best_only=True),
            "Every box is a candidate for every class whose score is large enough.",
        ),
        (
            "no suppression",
            slow_detect(boxes, scores, least, 1.0),
            "Of boxes of a class that overlap, nms leaves one.",
        ),
        (
            "score threshold forgotten",
            slow_detect(boxes, scores, -np.inf, threshold),
            "Leave out scores up to score_threshold first.",
        ),
    ]
    order = np.argsort(-expected[2], kind="stable")
    wrongs.append(
        (
            "not ordered by class",
            tuple(part[order] for part in expected),
            "Rising label first, and within a label falling score.",
        )
    )
    for k, name in ((1, "labels"), (0, "boxes"), (2, "scores")):
        compare(
            name,
            got[name],
            expected[k],
            causes=[
                earlier("box_iou", got["own_iou"], box_ops.box_iou(boxes, boxes)),
                *[Cause(title, parts[k], why) for title, parts, why in wrongs],
            ],
        )


@check(points=2, part=FIVE)
def detections_of_an_image(student, rng):
    """detect: 20 boxes, 3 classes; boxes with a high score for two classes; a score equal to the
    threshold; then nothing above the threshold."""
    boxes = random_boxes(rng, 20, 40, 40, 12, 25)
    scores = rng.permutation(60).reshape(20, 3) / 64
    boxes[1], scores[0], scores[1] = boxes[0] + 0.5, (0.99, 0.97, 0.1), (0.98, 0.96, 0.95)
    scores[2], boxes[2] = (0.5, 0.1, 0.2), (38, 38, 39, 39)
    compare_detections(student, boxes, scores, 0.5, 0.4)
    compare_detections(student, boxes, scores / 4, 0.5, 0.4)


# -- 6 ---------------------------------------------------------------------------------------------


def slow_match(
    iou, scores, threshold, *, strict=False, once=True, by_score=True, taken="passed", pick="best",
    ties="first",
):  # fmt: skip
    """(D,) bool in the order of the input."""
    count, objects = iou.shape
    true, gone = np.zeros(count, bool), np.zeros(objects, bool)
    sign = 1 if ties == "first" else -1
    order = sorted(range(count), key=lambda i: (-scores[i] if by_score else 0, sign * i))
    for d in order:
        free = [g for g in range(objects) if not gone[g] or not once or taken == "looked at"]
        enough = [
            g for g in free if iou[d, g] > threshold or (iou[d, g] == threshold and not strict)
        ]
        if not enough:
            continue
        best = enough[0] if pick == "first" else max(enough, key=lambda g: (iou[d, g], -g))
        if once and gone[best]:
            continue
        true[d] = gone[best] = True
    return true


def match_causes(iou, scores, threshold):
    def wrong(**options):
        return slow_match(iou, scores, threshold, **options)

    order = np.argsort(-scores, kind="stable")
    return [
        Cause(
            "an object found more than once",
            wrong(once=False),
            "The second detection of an object is false: remember what is taken.",
        ),
        Cause("false at equality", wrong(strict=True), "An IoU equal to the threshold is enough."),
        Cause(
            "input order instead of falling score",
            wrong(by_score=False),
            "The surest detection chooses first.",
        ),
        Cause(
            "objects that are taken not passed over",
            wrong(taken="looked at"),
            "A detection looks only at objects that are free, and takes the best of these.",
        ),
        Cause(
            "first object that overlaps enough",
            wrong(pick="first"),
            "Of the free objects it takes the one of largest IoU; another may need the first.",
        ),
        Cause("tie of scores", wrong(ties="last"), "Of equal scores the first one chooses first."),
        Cause(
            "result in the order of the scores",
            wrong()[order],
            "Entry k of the result is about detection k of the input.",
        ),
    ]


def compare_match(student, iou, scores, threshold):
    got = student.call("match", iou=iou, scores=scores, threshold=threshold)
    compare(
        "true",
        got["true"],
        slow_match(iou, scores, threshold),
        causes=match_causes(iou, scores, threshold),
        look="Go through the detections by falling score, crossing out objects on paper.",
    )


@check(points=2, part=SIX)
def detections_matched_with_objects(student, rng):
    """match: 14 detections, 8 objects, several detections of an object, some of which have a second
    choice; scores in random order."""
    iou = rng.uniform(0, 0.45, (14, 8))
    # (detection, object, IoU); scores of detections fall from 0 to 13.
    strong = [(0, 0, 0.8), (1, 0, 0.9), (2, 1, 0.7), (2, 2, 0.9), (3, 1, 0.8), (4, 2, 0.75)]
    strong += [(4, 3, 0.6), (5, 4, 0.65), (6, 4, 0.95), (8, 5, 0.7), (8, 6, 0.6), (9, 5, 0.9)]
    strong += [(10, 6, 0.7), (11, 2, 0.9), (12, 7, 0.55), (13, 7, 0.85)]
    for d, g, value in strong:
        iou[d, g] = value
    scores = np.linspace(0.95, 0.1, 14)
    rows = rng.permutation(14)
    while (rows == np.arange(14)).any():
        rows = rng.permutation(14)
    compare_match(student, iou[rows], scores[rows], 0.5)


@check(points=1, part=SIX)
def matching_at_the_threshold_and_of_nothing(student, rng):
    """match: an IoU equal to the threshold, equal scores; no detections; no objects."""
    iou = np.array([[0.5, 0.1, 0.0], [0.0, 0.75, 0.1], [0.0, 0.625, 0.25], [0.1, 0.2, 0.375]])
    compare_match(student, iou, np.array([0.25, 0.5, 0.5, 0.75]), 0.5)
    compare_match(student, np.zeros((0, 3)), np.zeros(0), 0.5)
    compare_match(student, np.zeros((3, 0)), rng.uniform(0, 1, 3), 0.5)


def ranked(rng, count=12, objects=9):
    """Scores and hits of a class; the number of objects avoids recalls of tenths."""
    scores = rng.permutation(count) / count + 0.02
    order = np.argsort(-scores)
    true = np.zeros(count, bool)
    # By rank: hits and misses in turn, so that precision rises and falls.
    true[order] = [k in (0, 3, 4, 7, 8, 10) for k in range(count)]
    return scores, true, objects


@check(points=2, part=SIX)
def precision_and_recall_of_a_ranking(student, rng):
    """precision_recall: 12 detections in random order, 9 objects; ties; no detections."""
    scores, true, objects = ranked(rng)
    got = student.call("precision_recall", scores=scores, true=true, num_objects=objects)
    hits = true[np.argsort(-scores)]
    k = np.arange(1, 13)
    unsorted = np.cumsum(true)
    rising = np.cumsum(hits[::-1])
    total = hits.sum()
    compare(
        "precision",
        got["precision"],
        np.cumsum(hits) / k,
        causes=[
            Cause("not by falling score", unsorted / k, "Sort by falling score first."),
            Cause("lowest score first", rising / k, "Sort by falling score."),
            Cause(
                "divided by all detections",
                np.cumsum(hits) / 12,
                "After k detections precision is the share of these k that are true.",
            ),
            Cause("divided by the number of objects", np.cumsum(hits) / objects),
            Cause(
                "off-by-one rank",
                lambda a: np.allclose(a[1:], np.cumsum(hits)[1:] / k[:-1]),
                "Entry 0 is about one detection, not about none.",
            ),
        ],
    )
    compare(
        "recall",
        got["recall"],
        np.cumsum(hits) / objects,
        causes=[
            Cause("not by falling score", unsorted / objects, "Sort by falling score first."),
            Cause(
                "recall of the objects found instead of all",
                np.cumsum(hits) / total,
                "Objects that nobody found count too: divide by num_objects.",
            ),
            Cause(
                "divided by the detections",
                [np.cumsum(hits) / 12, np.cumsum(hits) / k],
                "Recall is a share of the objects: divide by num_objects.",
            ),
        ],
    )
    tied = np.array([0.5, 0.75, 0.5, 0.75]), np.array([True, False, False, True])
    got = student.call("precision_recall", scores=tied[0], true=tied[1], num_objects=3)
    compare(
        "precision with equal scores",
        got["precision"],
        np.array([0, 1 / 2, 2 / 3, 2 / 4]),
        causes=[
            Cause(
                "tie of scores",
                np.array([1, 1 / 2, 1 / 3, 2 / 4]),
                "Of equal scores the first one comes first: sort stably by -scores.",
            )
        ],
    )
    got = student.call(
        "precision_recall", scores=np.zeros(0), true=np.zeros(0, bool), num_objects=3
    )
    compare("precision of no detections", got["precision"], np.zeros(0))
    compare("recall of no detections", got["recall"], np.zeros(0))


def curve(rng):
    """A ranking's curve that ends before recall 1, and its hits."""
    scores, true, objects = ranked(rng, 12, int(rng.choice([7, 9, 11])))
    hits = true[np.argsort(-scores)]
    found = np.cumsum(hits)
    return found / np.arange(1, 13), found / objects, hits, objects


def envelope(precision):
    return np.array([precision[k:].max() for k in range(len(precision))])


@check(points=2, part=SIX)
def average_precision_at_eleven_recalls(student, rng):
    """ap_11_points: a curve of 12 detections that ends before recall 1; a perfect one; none."""
    precision, recall, _, _ = curve(rng)
    got = student.call("ap_11_points", precision=precision, recall=recall)

    def mean(points, value, among=lambda t: recall >= t, by=None):
        inner = [precision[among(t)] for t in points]
        return sum([value(p) if len(p) else 0.0 for p in inner]) / (by or len(points))

    tenths = np.linspace(0, 1, 11)
    reached = sum(recall.max() >= t for t in tenths)
    compare(
        "ap",
        got["ap"],
        mean(tenths, np.max),
        causes=[
            Cause(
                "precision not the best at this recall or more",
                [mean(tenths, lambda p: p[0]), mean(tenths, np.mean), mean(tenths, np.min)],
                "Of all entries with this recall or a larger one take the largest precision.",
            ),
            Cause(
                "best precision at this recall or less",
                mean(tenths, np.max, lambda t: recall <= t),
                "Look to the right: at entries with recall at least t.",
            ),
            Cause(
                "ten recalls instead of eleven",
                [
                    mean(tenths[1:], np.max),
                    mean(tenths[:-1], np.max),
                    mean(tenths, np.max, by=10),
                    mean(tenths[:-1], np.max, by=11),
                ],
                "0, 0.1, ..., 1 are eleven numbers; both ends count.",
            ),
            Cause(
                "recalls that were not reached left out",
                mean(tenths, np.max, by=reached),
                "A recall that is never reached has precision 0, and counts.",
            ),
            Cause("area instead of eleven points", area(precision, recall)),
        ],
    )
    got = student.call("ap_11_points", precision=np.ones(4), recall=np.arange(1, 5) / 4)
    compare("ap of a perfect ranking", got["ap"], 1.0)
    got = student.call("ap_11_points", precision=np.zeros(0), recall=np.zeros(0))
    compare("ap of no detections", got["ap"], 0.0)


def area(precision, recall, *, smooth=True, first=True, how="right"):
    best = envelope(precision) if smooth else precision
    total = 0.0
    for k in range(len(best)):
        if k == 0 and not first:
            continue
        before = recall[k - 1] if k else 0.0
        height = best[k]
        if how == "trapezoid":
            height = (best[k] + (best[k - 1] if k else best[0])) / 2
        if how == "left":
            height = best[k - 1] if k else best[0]
        total += (recall[k] - before) * height
    return total


@check(points=2, part=SIX)
def average_precision_as_an_area(student, rng):
    """ap_area: a curve of 12 detections that ends before recall 1; a perfect one; none."""
    precision, recall, hits, _ = curve(rng)
    got = student.call("ap_area", precision=precision, recall=recall)
    best = envelope(precision)
    padded = np.concatenate([[0.0], recall, [1.0]])
    compare(
        "ap",
        got["ap"],
        area(precision, recall),
        causes=[
            Cause(
                "precision not interpolated",
                [
                    area(precision, recall, smooth=False),
                    precision[hits].mean(),
                    area(precision, recall, smooth=False, how="trapezoid"),
                    np.trapezoid(precision, recall),
                ],
                "First replace each precision by the largest one at this recall or a larger one.",
            ),
            Cause(
                "interpolated from the wrong side",
                area(np.maximum.accumulate(precision), recall, smooth=False),
                "The best from here to the END of the ranking: run the maximum backwards.",
            ),
            Cause(
                "trapezoids instead of steps",
                [
                    area(precision, recall, how="trapezoid"),
                    np.trapezoid(np.concatenate([[best[0]], best, [0.0]]), padded),
                    np.trapezoid(best[hits], recall[hits]),
                    np.trapezoid([best[0], *best[hits]], [0.0, *recall[hits]]),
                    np.trapezoid([1.0, *best[hits]], [0.0, *recall[hits]]),
                ],
                "The interpolated curve is a staircase: step times height, no slopes.",
            ),
            Cause(
                "first step forgotten",
                area(precision, recall, first=False),
                "The area begins at recall 0, before the first entry.",
            ),
            Cause(
                "precision of the step before",
                area(precision, recall, how="left"),
                "The step up to recall r has the precision of r.",
            ),
            Cause(
                "last precision kept up to recall 1",
                area(precision, recall) + (1 - recall[-1]) * precision[-1],
                "Objects that were never found: beyond the last recall precision is 0.",
            ),
            Cause(
                "mean over the hits instead of the objects",
                best[hits].mean(),
                "Objects that were never found count with 0.",
            ),
        ],
        look="Draw the staircase of the README's example, and add up its rectangles.",
    )
    got = student.call("ap_area", precision=np.ones(4), recall=np.arange(1, 5) / 4)
    compare("ap of a perfect ranking", got["ap"], 1.0)
    got = student.call("ap_area", precision=np.zeros(0), recall=np.zeros(0))
    compare("ap of no detections", got["ap"], 0.0)


def slow_map(found, objects, images, count, threshold, *, apart=True, classes=True):
    """The APs. `apart`: images are; `classes`: a detection finds only objects of its own class."""
    aps = np.full(count, np.nan)
    for c in range(count):
        scores, hits = [], []
        number = int((objects[:, 1] == c).sum())
        for i in range(images) if apart else [None]:
            mine = found[((found[:, 0] == i) | (not apart)) & (found[:, 1] == c)]
            there = objects[(objects[:, 0] == i) | (not apart)]
            there = there[there[:, 1] == c] if classes else there
            iou = slow_iou(mine[:, 2:6], there[:, 2:6]).reshape(len(mine), len(there))
            scores.append(mine[:, 6])
            hits.append(slow_match(iou, mine[:, 6], threshold))
        if number:
            hit = np.concatenate(hits)[np.argsort(-np.concatenate(scores), kind="stable")]
            total = np.cumsum(hit)
            aps[c] = area(total / np.arange(1, len(hit) + 1), total / number)
    return aps


def compare_map(student, found, objects, images, count, threshold):
    got = student.call(
        "mean_average_precision",
        found=found,
        objects=objects,
        images=images,
        num_classes=count,
        iou_threshold=threshold,
    )
    expected = slow_map(found, objects, images, count, threshold)
    there = ~np.isnan(expected)
    detected = np.isin(np.arange(count), found[:, 1])
    merged = slow_map(found, objects, images, count, threshold, apart=False)
    per_image = np.full((images, count), np.nan)
    for i in range(images):
        of_image = [
            rows[rows[:, 0] == i] * [0, *[1] * (rows.shape[1] - 1)] for rows in (found, objects)
        ]
        per_image[i] = slow_map(*of_image, 1, count, threshold)
    with_objects = np.isin(found[:, 0], objects[:, 0])
    own = np.array(
        [((objects[:, 0] == row[0]) & (objects[:, 1] == row[1])).any() for row in found], bool
    )
    kept = [
        slow_map(found[some], objects, images, count, threshold) for some in (with_objects, own)
    ]
    means = [np.nanmean(per_image[:, c]) if there[c] else np.nan for c in range(count)]
    mistakes = [
        (
            "detections compared with objects of other images",
            merged,
            "A detection can only find an object of its own image.",
        ),
        (
            "mean over images instead of one ranking",
            np.array(means),
            "Match in each image, but rank and count the detections of all images together.",
        ),
        (
            "detections in images without objects left out",
            kept[0],
            "What is detected in an image without objects is false, and counts.",
        ),
        ("detections in images without objects left out", kept[1], ""),
        (
            "detections compared with objects of other classes",
            slow_map(found, objects, images, count, threshold, classes=False),
            "A detection can only find an object of its own class.",
        ),
        (
            "threshold not passed on",
            slow_map(found, objects, images, count, 0.5),
            "Use iou_threshold.",
        ),
    ]
    zeros = np.where(there, expected, 0.0)
    overlaps = box_ops.box_iou(found[:, 2:6], objects[:, 2:6])
    compare(
        "aps",
        got["aps"],
        expected,
        causes=[
            earlier("box_iou", got["own_iou"], overlaps),
            Cause(
                "class without objects counted",
                [zeros, np.where(there, expected, 1.0)],
                "The AP of a class without objects does not exist: NaN.",
            ),
            Cause(
                "class without detections left out",
                [np.where(detected, expected, np.nan), np.where(detected, zeros, np.nan)],
                "A class with objects that nobody detected has AP 0.",
            ),
            *[Cause(name, [aps, np.where(there, aps, 0.0)], why) for name, aps, why in mistakes],
        ],
        look="Print scores and hits of one class, ranked, and its number of objects.",
    )
    compare(
        "mean",
        got["mean"],
        float(expected[there].mean()) if there.any() else float("nan"),
        causes=[
            Cause(
                "class without objects counted",
                [zeros.mean(), np.nan] if there.any() else 0.0,
                "The mean is over the classes that have objects; np.mean of a NaN is NaN.",
            ),
            Cause(
                "class without detections left out",
                expected[there & detected].mean() if (there & detected).any() else 0.0,
                "A class with objects that nobody detected has AP 0, and counts.",
            ),
        ],
    )
    return got


def random_detections(rng, images, count, per_image=4):
    """Objects (G, 6), and detections (D, 7) of them and of nothing."""
    objects, found = [], []
    for i in range(images):
        boxes = random_boxes(rng, per_image, 100, 100, 15, 35)
        for box, label in zip(boxes, rng.integers(0, count, per_image), strict=True):
            objects.append((i, label, *box))
            for _ in range(rng.integers(0, 3)):
                shifted = box + rng.uniform(-4, 4, 4)
                found.append((i, label, *shifted, rng.uniform(0.2, 1)))
        for box in random_boxes(rng, 3, 100, 100, 15, 35):
            found.append((i, rng.integers(0, count), *box, rng.uniform(0.1, 0.9)))
    return np.array(objects), np.array(found)


@check(points=2, part=SIX)
def mean_ap_over_images_and_classes(student, rng):
    """mean_average_precision: 5 images, 3 classes, about 40 detections, threshold 0.6, one image
    without objects; also against minidl.metrics."""
    objects, found = random_detections(rng, 5, 3)
    objects[:3, 1] = 0, 1, 2
    objects = objects[objects[:, 0] != 3]
    # The same places in another image, where nothing is.
    sure = objects[:6]
    found = np.concatenate(
        [found, np.column_stack([np.full(6, 3), sure[:, 1:6], np.full(6, 0.97)])]
    )
    found = np.concatenate([found, np.column_stack([sure[:, :6], rng.uniform(0.3, 0.99, 6)])])
    # And with the name of another class.
    other = np.column_stack([sure[:3, 0], (sure[:3, 1] + 1) % 3, sure[:3, 2:6], np.full(3, 0.98)])
    found = np.concatenate([found, other])
    got = compare_map(student, found, objects, 5, 3, 0.6)
    metric = VOCAveragePrecision(3, iou_threshold=0.6, rule="lecture")
    for i in range(5):
        mine, there = found[found[:, 0] == i], objects[objects[:, 0] == i]
        metric.update(
            [
                {
                    "boxes": md.tensor(mine[:, 2:6]),
                    "labels": md.tensor(mine[:, 1].astype(np.int64)),
                    "scores": md.tensor(mine[:, 6]),
                }
            ],
            [
                {
                    "boxes": md.tensor(there[:, 2:6]),
                    "labels": md.tensor(there[:, 1].astype(np.int64)),
                }
            ],
        )
    compare("mean, by minidl.metrics", got["mean"], float(metric.compute()["mAP"]), rtol=1e-5)


@check(points=1, part=SIX)
def mean_ap_with_absent_classes(student, rng):
    """mean_average_precision: a class without objects but with detections, one with objects but
    without detections, one with neither; then no objects at all."""
    objects, found = random_detections(rng, 3, 2)
    objects[:, 1] = np.where(np.arange(len(objects)) % 3 == 0, 3, 0)
    found = found[found[:, 1] == 0]
    stray = np.array([(0, 1, 5, 5, 20, 20, 0.8), (2, 1, 5, 5, 20, 20, 0.6)], float)
    sure = np.column_stack([objects[1:3, :6], [0.9, 0.4]])
    found = np.concatenate([found, stray, sure])
    compare_map(student, found, objects, 3, 4, 0.5)
    compare_map(student, found, np.zeros((0, 6)), 3, 4, 0.5)


# -- 7 ---------------------------------------------------------------------------------------------


@check(points=1, part=SEVEN)
def gradients_of_the_head(student, rng):
    """head and head_gradients: 3 images, S = 4, F = 6, K = 5, a random gradient from above."""
    features, weight = rng.standard_normal((3, 4, 4, 6)), rng.standard_normal((6, 5))
    bias, gradient = rng.standard_normal(5), rng.standard_normal((3, 4, 4, 5))
    got = student.call("head", features=features, weight=weight, bias=bias, gradient=gradient)
    compare("out", got["out"], np.einsum("nijf,fk->nijk", features, weight) + bias)
    expected = np.einsum("nijf,nijk->fk", features, gradient)
    compare(
        "grad_weight",
        got["grad_weight"],
        expected,
        causes=[
            Cause(
                "mean instead of sum",
                [expected / 48, expected / 3, expected / 16],
                "The gradient above has the 1 / N of the loss in it already: add up.",
            ),
            Cause("transposed", expected.T, "weight is (F, K), and so is its gradient."),
        ],
    )
    expected = gradient.sum((0, 1, 2))
    compare(
        "grad_bias",
        got["grad_bias"],
        expected,
        causes=[
            Cause(
                "mean instead of sum",
                [expected / 48, expected / 3, expected / 16],
                "The gradient above has the 1 / N of the loss in it already: add up.",
            ),
            Cause(
                "forgotten sum over the batch",
                [gradient.sum((1, 2)), gradient.sum(0), gradient],
                "One bias serves all cells of all images: sum over all three axes.",
            ),
        ],
    )


def scenes(seed, count=4, grid=4, size=64):
    """Features of scenes in which no two objects share a cell, what to find there, and the objects.

    Features of a cell: random rectified units of the pixels of it and its neighbours, whitened.
    """
    rng = np.random.default_rng(seed)
    data = Scenes(
        60,
        size=size,
        seed=int(rng.integers(10**6)),
        task="instances",
        classes=("disc", "rectangle", "triangle"),
        objects=(1, 3),
        scale=(0.3, 0.6),
        difficulty=0.3,
    )
    step, pictures, truths, objects = size // grid, [], [], []
    for image, target in (data[i] for i in range(len(data))):
        boxes, labels = target["boxes"].data.astype(float), target["labels"].data
        truth = cell_truth(boxes, labels, size, grid)
        if truth.occupied.sum() < len(boxes):
            continue
        border = ((0, 0), (step, step), (step, step))
        pictures.append(np.pad(np.asarray(image, dtype=float), border, mode="edge"))
        truths.append(truth)
        place = np.full(len(boxes), len(truths) - 1.0)
        objects.append(np.column_stack([place, labels, boxes]))
        if len(truths) == count:
            break
    cells = [
        picture[:, r : r + 3 * step : 2, c : c + 3 * step : 2].reshape(-1)
        for picture in pictures
        for r in range(0, size, step)
        for c in range(0, size, step)
    ]
    pixels = np.stack(cells) - np.mean(cells, axis=0)
    units = np.maximum(pixels @ rng.standard_normal((pixels.shape[1], 200)), 0.0)
    left = np.linalg.svd(units - units.mean(0), full_matrices=False)[0][:, :48]
    features = (left * np.sqrt(len(left) / 48)).reshape(count, grid, grid, 48)
    occupied, boxes, labels = (
        np.stack(a).reshape(count, grid, grid, *a[0].shape[1:]) for a in zip(*truths, strict=True)
    )
    target = np.concatenate([boxes[..., :2], np.sqrt(boxes[..., 2:])], -1) * occupied[..., None]
    classes = (labels[..., None] == np.arange(3)) & occupied[..., None]
    start = {
        "weight": rng.normal(0, 0.05, (48, 13)),
        "bias": np.tile([0.5, 0.5, 0.6, 0.4, 0.0], 3)[:13],
    }
    start["bias"][7:9], start["bias"][10:] = (0.4, 0.6), 0.0
    wanted = {"has_object": occupied, "target": target, "classes": classes * 1.0}
    return {"features": features, "num_boxes": 2, **start, **wanted}, np.concatenate(objects)


@check(points=2, part=SEVEN)
def first_steps_of_training(student, rng):
    """train: weight, bias and losses of four steps on scenes; weight and bias that were given stay
    as they are."""
    inputs, _ = scenes(rng.integers(2**31))
    got = student.call("train", **inputs, steps=4, rate=0.05)
    require(
        not {"weight", "bias"} & set(got.changed),
        "the weight or bias that was given was changed; they must stay as they are",
        "input changed in place: weight -= ... writes into the caller's array.",
        "weight = weight - ... makes a new one; or copy first.",
    )

    def steps(sign=-1.0, rate=0.05, fixed_bias=False):
        weight, bias, losses = inputs["weight"], inputs["bias"], []
        for _ in range(5):
            loss, gradient = slow_loss(inputs["features"] @ weight + bias, 2, inputs)
            losses.append(loss)
            before = weight, bias
            weight = weight + sign * rate * np.einsum("nijf,nijk->fk", inputs["features"], gradient)
            bias = bias if fixed_bias else bias + sign * rate * gradient.sum((0, 1, 2))
        return *before, np.array(losses)

    weight, bias, losses = steps()
    first = slow_loss(inputs["features"] @ inputs["weight"] + inputs["bias"], 2, inputs)
    wrong_loss = earlier("yolo_loss", got["own_slope"], first[1])
    wrong_value = earlier("yolo_loss", got["own_loss"], np.asarray(first[0]))
    up, still, small = steps(sign=1.0), steps(fixed_bias=True), steps(rate=0.05 / 4)
    compare(
        "losses",
        got["losses"],
        losses[:4],
        causes=[
            wrong_loss,
            wrong_value,
            Cause("loss after the step", losses[1:], "Record the loss before the update."),
            Cause("uphill", up[2][:4], "A step goes against the gradient: subtract it."),
            Cause("bias not learned", still[2][:4], "The bias has a gradient and a step too."),
            Cause("divided by N once more", small[2][:4], "The loss is a mean already."),
        ],
        look="If losses[0] is right, look at the update; if not, at yolo_loss.",
    )
    compare("weight", got["weight"], weight, rtol=1e-5)
    compare("bias", got["bias"], bias, rtol=1e-5)


@check(points=2, part=SEVEN)
def a_trained_detector_finds_the_objects(student, rng):
    """train, decode and detect together: 300 steps on four scenes, then AP50 of the detections in
    these scenes, by minidl.metrics."""
    inputs, objects = scenes(rng.integers(2**31))
    got = student.call("train_and_detect", **inputs, steps=300, rate=0.05, image_size=(64, 64))
    losses, found = np.ravel(np.asarray(got["losses"], float)), got["found"]
    require(
        len(losses) == 300 and losses[-1] < losses[0] / 20,
        f"the loss must fall from {losses[0]:.3g} below a twentieth; it is {losses[-1]:.3g}",
        "does not learn: a gradient or the update is wrong; the checks of parts 4 and 7 say where.",
    )
    aps = slow_map(np.asarray(found, float).reshape(-1, 7), objects, 4, 3, 0.5)
    score = float(np.nanmean(aps))
    require(
        score >= 0.9,
        f"mean AP at IoU 0.5 must be at least 0.9, it is {score:.3f} (of {len(found)} detections)",
        "learns, but detects wrongly: the loss falls, so look at decode and detect.",
    )
