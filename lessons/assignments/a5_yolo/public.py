"""Public checks of A5: small cases, worked out by hand. Read them: each is an example.

The hidden checks test the same functions with random inputs of other sizes, and at their edges.
"""

import numpy as np

from minidl.teach.assign import Cause, check, compare, require

ONE = "1. Boxes"
TWO = "2. Targets"
THREE = "3. The responsible predictor"
FOUR = "4. The loss and its gradient"
FIVE = "5. Detections"
SIX = "6. Average precision"
SEVEN = "7. Training the head"


@check(points=2, part=ONE)
def corners_of_two_boxes(student, rng):
    """to_corners: a box of 4 x 6 about (5, 10), and one of 3 x 1 about (2.5, 0.5)."""
    boxes = np.array([[5, 10, 4, 6], [2.5, 0.5, 3, 1]], float)
    expected = np.array([[3, 7, 7, 13], [1, 0, 4, 1]], float)
    got = student.call("to_corners", boxes=boxes)
    compare(
        "corners",
        got["corners"],
        expected,
        causes=[
            Cause(
                "whole size instead of half",
                [
                    np.array([[1, 4, 9, 16], [-0.5, -0.5, 5.5, 1.5]]),
                    np.array([[5, 10, 9, 16], [2.5, 0.5, 5.5, 1.5]]),
                ],
                "The centre lies half a width from either edge.",
            )
        ],
        look="Draw the first box on squared paper.",
    )


@check(points=1, part=ONE)
def centres_of_two_boxes(student, rng):
    """to_centres: the same two boxes, back."""
    corners = np.array([[3, 7, 7, 13], [1, 0, 4, 1]], float)
    expected = np.array([[5, 10, 4, 6], [2.5, 0.5, 3, 1]], float)
    got = student.call("to_centres", boxes=corners)
    compare(
        "centres",
        got["centres"],
        expected,
        causes=[
            Cause(
                "off-by-one box size",
                [expected + [0, 0, 1, 1], expected + [0.5, 0.5, 1, 1]],
                "Boxes are half-open: the width is x2 - x1, without + 1.",
            ),
            Cause(
                "centre not halved",
                expected * [2, 2, 1, 1],
                "The centre is the mean of both edges.",
            ),
        ],
    )


@check(points=3, part=ONE)
def overlaps_by_hand(student, rng):
    """box_iou: a box of 4 x 4 with itself, with one that shares 2 x 2 of it, with one inside of it,
    with one that touches it, and with one that lies apart from it in x and y."""
    first = np.array([[0, 0, 4, 4]], float)
    second = np.array(
        [[0, 0, 4, 4], [2, 2, 6, 6], [1, 1, 3, 2], [4, 0, 8, 4], [7, 9, 8, 11]], float
    )
    expected = np.array([1, 4 / 28, 2 / 16, 0, 0])
    got = student.call("box_iou", first=first, second=second)
    apart = -3.0 * -5.0
    compare(
        "iou",
        got["iou"],
        expected,
        causes=[
            Cause(
                "IoU without clamp",
                np.array([1, 4 / 28, 2 / 16, 0, apart / (16 + 2 - apart)]),
                "Boxes apart in x and y give two negative sides, and their product is positive. "
                "Set each side to at least 0 before multiplying.",
            ),
            Cause(
                "off-by-one box area",
                [
                    np.array([1, 9 / 41, 6 / 25, 5 / 45, 0]),
                    np.array([16 / 34, 4 / 46, 2 / 29, 0, 0]),
                    np.array([25 / 7, 9 / 23, 6 / 12, 5 / 27, 0]),
                ],
                "Boxes are half-open: a side is x2 - x1, without + 1.",
            ),
            Cause(
                "intersection counted twice",
                np.array([0.5, 4 / 32, 2 / 18, 0, 0]),
                "The sum of both areas has the intersection in it twice; the union has it once.",
            ),
            Cause(
                "divided by one box instead of the union",
                [np.array([1, 4 / 16, 1, 0, 0]), np.array([1, 4 / 16, 2 / 16, 0, 0])],
                "The denominator is the area that either box covers.",
            ),
        ],
        look="Draw the pair that differs, and count squares.",
    )


@check(points=2, part=TWO)
def owners_of_three_objects(student, rng):
    """owner_cells: an image 60 pixels high and 90 wide, so cells 20 high and 30 wide, S = 3."""
    boxes = np.array([[5, 2, 15, 10], [50, 5, 80, 25], [20, 42, 50, 58]], float)
    expected = np.array([[0, 0], [0, 2], [2, 1]])
    got = student.call("owner_cells", boxes=boxes, image_size=(60, 90), grid=3)
    compare(
        "cells",
        got["cells"],
        expected,
        causes=[
            Cause(
                "row and column swapped",
                expected[:, ::-1],
                "The row follows from y, and comes first.",
            ),
            Cause(
                "H and W swapped",
                [np.array([[0, 0], [0, 2], [1, 1]]), np.array([[0, 0], [0, 3], [1, 1]])],
                "image_size is (H, W): x is divided by W, y by H.",
            ),
            Cause(
                "corner instead of centre",
                np.array([[0, 0], [0, 1], [2, 0]]),
                "The cell of the centre owns the object.",
            ),
        ],
        look="The centres are (10, 6), (65, 15) and (35, 50).",
    )


@check(points=3, part=TWO)
def target_of_one_object(student, rng):
    """encode_targets: a box of 36 x 15 pixels about (65, 15) in an image of 60 x 90 pixels, S = 3,
    class 1 of 3; it is owned by row 0, column 2."""
    box = np.array([[47, 7.5, 83, 22.5]])
    cells = np.array([[0, 2]])
    got = student.call(
        "encode_targets",
        boxes=box,
        labels=np.array([1]),
        cells=cells,
        image_size=(60, 90),
        grid=3,
        num_classes=3,
    )
    has_object = np.zeros((3, 3), bool)
    has_object[0, 2] = True
    target, classes = np.zeros((3, 3, 4)), np.zeros((3, 3, 3))
    # The cell reaches from x = 60 to 90 and y = 0 to 20: 5 of 30, and 15 of 20.
    target[0, 2] = 5 / 30, 15 / 20, 0.4**0.5, 0.25**0.5
    classes[0, 2, 1] = 1
    swapped = (
        "row and column swapped",
        "Cells are (row, column), and the arrays are indexed [row, column].",
    )
    plain = np.where(np.arange(4) < 2, target, target**2)
    compare(
        "has_object",
        got["has_object"],
        has_object,
        causes=[Cause(swapped[0], has_object.T, swapped[1])],
    )
    compare(
        "target",
        got["target"],
        target,
        causes=[
            Cause(swapped[0], target.transpose(1, 0, 2), swapped[1]),
            Cause("no square root", plain, "The head gives roots of the sizes."),
            Cause(
                "centre not measured from the cell's corner",
                [
                    target + has_object[..., None] * move
                    for move in ([2, 0, 0, 0], [-0.5, -0.5, 0, 0])
                ],
                "Subtract the cell's column from x and its row from y, both counted in cells.",
            ),
            Cause(
                "size not as a fraction of the image",
                [target * [1, 1, 3**0.5, 3**0.5], target * [1, 1, 90**0.5, 60**0.5]],
                "Divide the width by the image's W, the height by its H, then take the root.",
            ),
        ],
        look="36 / 90 = 0.4 of the image's width, 15 / 60 = 0.25 of its height.",
    )
    compare(
        "classes",
        got["classes"],
        classes,
        causes=[
            Cause(
                "labels counted from 1",
                [np.roll(classes, 1, -1), np.roll(classes, -1, -1)],
                "Labels are counted from 0.",
            )
        ],
    )


@check(points=2, part=THREE)
def overlap_of_two_predictors(student, rng):
    """predictor_iou: one cell, B = 2, S = 4. Target: 0.25 x 0.25 of the image, about the middle of
    the cell. Predicted: the same, and one of that size, half a cell further right."""
    target = np.array([[0.5, 0.5, 0.5, 0.5]])
    predicted = np.array([[[0.5, 0.5, 0.5, 0.5], [1.0, 0.5, 0.5, 0.5]]])
    got = student.call("predictor_iou", predicted=predicted, target=target, grid=4)
    # Half a cell is 1/8 of the image, half the width: 1/2 in common of 3/2.
    compare(
        "iou",
        got["iou"],
        np.array([[1, 1 / 3]]),
        causes=[
            Cause(
                "centre and size in different units",
                [np.array([[1, 0.0]])],
                "x, y count cells, sizes count images: bring them together first.",
            ),
            Cause(
                "roots not squared",
                np.array([[1, 0.375 / 0.625]]),
                "The head gives roots of width and height; overlap is one of boxes.",
            ),
        ],
        look="Half a cell is 1/8 of the image. What share of the box is that?",
    )


@check(points=2, part=THREE)
def responsible_of_three_cells(student, rng):
    """responsible: three cells, B = 2: the second fits better; both fit equally; no object."""
    iou = np.array([[0.25, 0.5], [0.5, 0.5], [0.75, 0.25]])
    has_object = np.array([True, True, False])
    got = student.call("responsible", iou=iou, has_object=has_object)
    expected = np.array([(0, 1), (1, 0), (0, 0)], bool)
    causes = [
        Cause(
            "a predictor in cells without object",
            np.array([(0, 1), (1, 0), (1, 0)], bool),
            "Nobody is responsible where nothing is to be found: use has_object.",
        ),
        Cause(
            "all of equal overlaps",
            np.array([(0, 1), (1, 1), (0, 0)], bool),
            "Exactly one is responsible, also in a tie: the first.",
        ),
        Cause(
            "last of equal overlaps",
            np.array([(0, 1), (0, 1), (0, 0)], bool),
            "Of equal overlaps the first one counts.",
        ),
    ]
    compare("mask", got["mask"], expected, causes=causes)


@check(points=1, part=FOUR)
def predictions_of_one_cell(student, rng):
    """split_predictions: the numbers 0 to 12 in one cell, B = 2, C = 3."""
    got = student.call(
        "split_predictions", predictions=np.arange(13.0).reshape(1, 1, 13), num_boxes=2
    )
    why = "The layout in each cell is B times (x, y, rw, rh, c), then C class scores."
    compare(
        "boxes",
        got["boxes"],
        np.array([[[[0, 1, 2, 3], [5, 6, 7, 8]]]], float),
        causes=[
            Cause(
                "confidences taken from behind all boxes",
                np.array([[[[0, 1, 2, 3], [4, 5, 6, 7]]]]),
                why,
            ),
            Cause(
                "class scores taken from the front",
                np.array([[[[3, 4, 5, 6], [8, 9, 10, 11]]]]),
                why,
            ),
        ],
    )
    compare(
        "confidence",
        got["confidence"],
        np.array([[[4, 9]]], float),
        causes=[Cause("confidences taken from behind all boxes", np.array([[[8, 9]]]), why)],
    )
    compare("scores", got["scores"], np.array([[[10, 11, 12]]], float))


def three_cells():
    """Three images of one cell, B = 2, C = 2; the first has an object, for its second predictor."""
    boxes = np.array(
        [
            [[0.5, 0.5, 0.5, 0.5], [0.4, 0.7, 0.6, 0.3]],
            [[0, 0, 0, 0], [1, 1, 1, 1]],
            [[0.3, 0.3, 0.3, 0.3], [0.5, 0.5, 0.5, 0.5]],
        ]
    )
    return {
        "boxes": boxes.reshape(3, 1, 1, 2, 4),
        "confidence": np.array([0.4, 0.6, 0.2, -0.2, 0.3, 0.0]).reshape(3, 1, 1, 2),
        "scores": np.array([0.8, 0.3, 0.5, 0.5, 0.0, 0.0]).reshape(3, 1, 1, 2),
        "has_object": np.array([True, False, False]).reshape(3, 1, 1),
        "target": np.array([[0.5] * 4, [0] * 4, [0] * 4]).reshape(3, 1, 1, 4),
        "classes": np.array([[1.0, 0], [0, 0], [0, 0]]).reshape(3, 1, 1, 2),
        "mask": np.array([False, True, False, False, False, False]).reshape(3, 1, 1, 2),
        "iou": np.array([0.5, 0.7, 0, 0, 0, 0]).reshape(3, 1, 1, 2),
    }


@check(points=3, part=FOUR)
def five_terms_by_hand(student, rng):
    """loss_terms: three images of one cell, B = 2, C = 2, of which one has an object."""
    got = student.call("loss_terms", **three_cells())
    expected = {
        "centre": 5 * (0.1**2 + 0.2**2) / 3,
        "size": 5 * (0.1**2 + 0.2**2) / 3,
        "object": (0.6 - 0.7) ** 2 / 3,
        "no_object": 0.5 * (0.4**2 + 0.2**2 + 0.2**2 + 0.3**2) / 3,
        "class": (0.2**2 + 0.3**2) / 3,
    }
    special = {
        "object": Cause(
            "confidence target 1 instead of IoU",
            0.4**2 / 3,
            "The confidence of a responsible predictor should be its IoU.",
        ),
        "no_object": Cause(
            "others of a cell with an object left out",
            0.5 * (0.2**2 + 0.2**2 + 0.3**2) / 3,
            'All predictors that are not responsible say "no object": use mask, not has_object.',
        ),
        "class": Cause(
            "classes of cells without object",
            (0.2**2 + 0.3**2 + 0.5) / 3,
            "A cell without object has no class to be compared with: use has_object.",
        ),
    }
    for name, value in expected.items():
        compare(
            name,
            got[name],
            value,
            causes=[
                *([special[name]] if name in special else []),
                Cause(
                    "sum instead of the mean over images",
                    value * 3,
                    "Divide by the number of images N, and by nothing else.",
                ),
                Cause(
                    "weight forgotten",
                    {"no_object": value * 2}.get(name, value / 5),
                    "The term has a weight, an argument of the function.",
                ),
            ],
            look="The numbers of three_cells() in public.py are small enough to do it by hand.",
        )


@check(points=1, part=FOUR)
def gradient_against_differences_of_your_loss(student, rng):
    """loss_gradients: along random directions, against central differences of your own
    loss_terms; and two of its numbers by hand."""
    batch = three_cells()
    got = student.call("loss_gradients", **batch)
    # 5 (x - x^)² / 3 has the slope 10 (x - x^) / 3; the second predictor's x is 0.1 too small.
    hand = np.array([-1 / 3, 0.0])
    compare(
        "grad_boxes of x in the first image",
        np.asarray(got["grad_boxes"])[..., 0].reshape(-1)[[1, 0]],
        hand,
        causes=[
            Cause("factor 2 forgotten", hand / 2, "The derivative of d² is 2 d."),
            Cause("target minus prediction", [-hand, -hand / 2], "d/dp (p - t)² = 2 (p - t)."),
            Cause(
                "sum instead of the mean over images",
                hand * 3,
                "Divide by the number of images N, and by nothing else.",
            ),
            Cause("weight forgotten", hand / 5, "lambda_coord stands in the gradient too."),
        ],
    )
    for name, value in batch.items():
        if name in ("boxes", "confidence", "scores"):
            batch[name] = value + 0.2 * rng.standard_normal(value.shape)
    names = ("boxes", "confidence", "scores")
    directions = {f"to_{name}": rng.standard_normal(batch[name].shape) for name in names}
    got = student.call("differences", step=1e-5, **directions, **batch)
    for name in names:
        slope = got[f"slope_{name}"]
        compare(
            f"slope along a direction in {name}, by the gradient",
            got[f"by_gradient_{name}"],
            slope,
            rtol=1e-5,
            atol=1e-7,
            causes=[
                Cause("factor 2 forgotten", slope / 2, "The derivative of d² is 2 d."),
                Cause(
                    "target minus prediction", [-slope, -slope / 2], "d/dp (p - t)² = 2 (p - t)."
                ),
            ],
            look=f"Expected is a difference of your loss_terms. Move one number of {name} at a "
            "time, as calls.differences does, and see which of them disagree.",
        )


@check(points=2, part=FIVE)
def one_box_decoded(student, rng):
    """decode: S = 2, B = 1, C = 2, an image of 100 x 200 pixels."""
    boxes = np.zeros((2, 2, 1, 4))
    boxes[0, 1, 0] = 0.5, 0.2, 0.5, 0.4  # centre (150, 10), 50 x 16 pixels
    boxes[1, 0, 0] = 0.1, 0.5, -0.5, 0.6  # centre (10, 75), 50 x 36: out of the image on the left
    confidence, scores = np.zeros((2, 2, 1)), np.zeros((2, 2, 2))
    confidence[0, 1], scores[0, 1] = 0.5, (0.8, 0.2)
    confidence[1, 0], scores[1, 0] = -0.5, (-0.8, 1.0)
    got = student.call(
        "decode", boxes=boxes, confidence=confidence, scores=scores, image_size=(100, 200)
    )
    expected = np.array(
        [[0, 0, 0, 0], [125, 2, 175, 18], [0, 57, 35, 93], [100, 50, 100, 50]], float
    )
    beyond = expected.copy()
    beyond[2, 0] = -15
    compare(
        "boxes",
        got["boxes"],
        expected,
        causes=[
            Cause(
                "not cut off at the edges of the image",
                beyond,
                "x lies in 0 to W, y in 0 to H, after decoding.",
            ),
            Cause(
                "row and column swapped",
                [
                    np.array(
                        [[0, 0, 0, 0], [25, 52, 75, 68], [85, 7, 135, 43], [100, 50, 100, 50]]
                    ),
                    expected[[0, 2, 1, 3]],
                ],
                "The column is added to x, the row to y; the boxes of row 0 come first.",
            ),
            Cause(
                "the cell's place not added",
                np.array([[0, 0, 0, 0], [25, 2, 75, 18], [0, 7, 35, 43], [0, 0, 0, 0]]),
                "x, y are measured from the cell's corner: add column and row.",
            ),
            Cause(
                "roots not squared",
                np.array([[0, 0, 0, 0], [100, 0, 200, 30], [60, 45, 0, 100], [100, 50, 100, 50]]),
                "The width is rw squared.",
            ),
        ],
        look="boxes[1] of the result is that of row 0, column 1.",
    )
    wanted = np.array([[0, 0], [0.4, 0.1], [0, 0], [0, 0]])
    product = wanted.copy()
    product[2] = 0.4, -0.5
    compare(
        "scores",
        got["scores"],
        wanted,
        causes=[
            Cause(
                "scores not cut to 0 to 1",
                [product, np.clip(product, 0, 1)],
                "Cut confidence and class score first: two negative numbers have a positive "
                "product.",
            ),
            Cause(
                "class score without confidence",
                np.array([[0, 0], [0.8, 0.2], [0, 1], [0, 0]]),
                "Multiply by the confidence.",
            ),
        ],
    )


@check(points=1, part=FIVE)
def suppression_of_a_chain(student, rng):
    """nms: of four boxes A overlaps B, B overlaps C, and D is alone; scores A > B > C > D. Then no
    boxes at all: the result is an int64 array too."""
    iou = np.eye(4)
    iou[1, 3] = iou[3, 1] = iou[3, 0] = iou[0, 3] = 0.6
    # In the input C is number 0, A number 1, D number 2, B number 3.
    got = student.call("nms", iou=iou, scores=np.array([0.7, 0.9, 0.2, 0.8]), threshold=0.5)
    compare(
        "kept",
        got["kept"],
        np.array([1, 0, 2]),
        causes=[
            Cause(
                "removed by boxes that are removed themselves",
                np.array([1, 2]),
                "Only a box that stays removes others.",
            ),
            Cause(
                "not by falling score",
                [np.array([0, 1, 2]), np.array([True, True, True, False])],
                "The indices come in the order in which the boxes were chosen.",
            ),
            Cause(
                "lowest score first",
                [np.array([2, 0, 1]), np.array([2, 3])],
                "The box of highest score stays: sort by falling score.",
            ),
        ],
    )
    got = student.call("nms", iou=np.zeros((0, 0)), scores=np.zeros(0), threshold=0.5)
    compare("kept of no boxes", got["kept"], np.zeros(0, np.int64))


@check(points=1, part=FIVE)
def a_rider_and_a_horse(student, rng):
    """detect: two boxes that overlap, of two classes, and two of one class."""
    boxes = np.array([[0, 0, 10, 10], [0, 1, 10, 11], [30, 30, 40, 40]], float)
    scores = np.array([[0.1, 0.9], [0.8, 0.7], [0.3, 0.0]])
    got = student.call("detect", boxes=boxes, scores=scores, score_threshold=0.2, iou_threshold=0.5)
    both = 90 / 110
    overlaps = np.array([[1, both, 0], [both, 1, 0], [0, 0, 1]])
    compare(
        "labels",
        got["labels"],
        np.array([0, 0, 1]),
        causes=[
            Cause(
                "box_iou is wrong",
                lambda _: not np.allclose(np.asarray(got["own_iou"], float), overlaps),
                "detect calls your box_iou, which gives wrong overlaps here. Mend that first.",
            ),
            Cause(
                "suppression across classes",
                np.array([0, 1]),
                "Boxes of different classes do not remove each other: call nms for each class.",
            ),
            Cause("not ordered by class", np.array([1, 0, 0]), "Rising label first."),
        ],
    )
    compare("boxes", got["boxes"], boxes[[1, 2, 0]])
    compare("scores", got["scores"], np.array([0.8, 0.3, 0.9]))


@check(points=1, part=SIX)
def three_detections_and_two_objects(student, rng):
    """match: the surest detection takes an object; the next one overlaps only that."""
    iou = np.array([[0.9, 0.0], [0.6, 0.1], [0.0, 0.7]])
    got = student.call("match", iou=iou, scores=np.array([0.5, 0.8, 0.3]), threshold=0.5)
    compare(
        "true",
        got["true"],
        np.array([False, True, True]),
        causes=[
            Cause(
                "input order instead of falling score",
                np.array([True, False, True]),
                "The surest detection chooses first, also where another one fits better.",
            ),
            Cause(
                "an object found more than once",
                np.array([True, True, True]),
                "The second detection of an object is false: remember what is taken.",
            ),
        ],
    )


@check(points=1, part=SIX)
def precision_and_recall_of_the_example(student, rng):
    """precision_recall: the README's three detections and two objects."""
    got = student.call(
        "precision_recall",
        scores=np.array([0.5, 0.9, 0.2]),
        true=np.array([False, True, True]),
        num_objects=2,
    )
    compare(
        "precision",
        got["precision"],
        np.array([1, 1 / 2, 2 / 3]),
        causes=[
            Cause(
                "not by falling score", np.array([0, 1 / 2, 2 / 3]), "Sort by falling score first."
            )
        ],
    )
    compare("recall", got["recall"], np.array([0.5, 0.5, 1.0]))


@check(points=1, part=SIX)
def eleven_points_of_the_example(student, rng):
    """ap_11_points: the README's three detections and two objects."""
    got = student.call(
        "ap_11_points", precision=np.array([1, 1 / 2, 2 / 3]), recall=np.array([0.5, 0.5, 1.0])
    )
    compare("ap", got["ap"], (6 * 1 + 5 * 2 / 3) / 11)


@check(points=1, part=SIX)
def area_of_the_example(student, rng):
    """ap_area: the README's three detections and two objects."""
    got = student.call(
        "ap_area", precision=np.array([1, 1 / 2, 2 / 3]), recall=np.array([0.5, 0.5, 1.0])
    )
    compare(
        "ap",
        got["ap"],
        5 / 6,
        causes=[
            Cause("first step forgotten", 1 / 3, "The area begins at recall 0."),
            Cause(
                "trapezoids instead of steps",
                [0.5 * (0.5 + 2 / 3) / 2, 1 / 2 + 0.5 * (1 + 2 / 3) / 2],
                "The interpolated curve is a staircase: step times height, no slopes.",
            ),
        ],
        look="The rectangles are 0.5 wide and 1 high, and 0.5 wide and 2/3 high.",
    )


@check(points=1, part=SEVEN)
def a_head_of_two_features(student, rng):
    """head and head_gradients: one image of two cells, F = 2, K = 1."""
    features = np.array([[[[1, 2]], [[3, 4]]]], float)
    got = student.call(
        "head",
        features=features,
        weight=np.array([[10.0], [1.0]]),
        bias=np.array([0.5]),
        gradient=np.array([[[[1]], [[10]]]], float),
    )
    compare("out", got["out"], np.array([[[[12.5]], [[34.5]]]]))
    compare("grad_weight", got["grad_weight"], np.array([[31.0], [42.0]]))
    compare("grad_bias", got["grad_bias"], np.array([11.0]))


@check(points=1, part=SEVEN)
def training_makes_the_loss_fall(student, rng):
    """train: 100 steps on random features of one image, S = 3, B = 2, C = 2."""
    features = np.linalg.qr(rng.standard_normal((9, 9)))[0].reshape(1, 3, 3, 9)
    has_object = np.zeros((1, 3, 3), bool)
    has_object[0, [0, 1, 2], [1, 2, 0]] = True
    target = rng.uniform(0.3, 0.7, (1, 3, 3, 4)) * has_object[..., None]
    classes = np.eye(2)[rng.integers(0, 2, (1, 3, 3))] * has_object[..., None]
    got = student.call(
        "train",
        features=features,
        weight=0.01 * rng.standard_normal((9, 12)),
        bias=np.zeros(12),
        num_boxes=2,
        has_object=has_object,
        target=target,
        classes=classes,
        steps=100,
        rate=0.03,
    )
    losses = np.asarray(got["losses"], float)
    require(
        losses.shape == (100,) and losses[-1] < losses[0] / 3,
        f"100 losses that fall below a third of the first, got {losses.shape}: "
        f"{losses.reshape(-1)[:1]} to {losses.reshape(-1)[-1:]}",
        "does not learn: a gradient or the update is wrong; see the checks before this one.",
        "Print the loss of each step: does it rise at once (sign), or stay (no update)?",
    )
