"""Public checks of A6: small cases, worked out by hand where that is possible. Read them.

The hidden checks test the same functions with random inputs of other sizes, and at their edges.
"""

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl.teach.assign import Cause, check, compare, require

ONE = "1. Boxes"
TWO = "2. Anchors"
THREE = "3. RoIPool"
FOUR = "4. Interpolation"
FIVE = "5. RoIAlign"
SIX = "6. The region proposal network"
SEVEN = "7. The second stage"
EIGHT = "8. Masks"


def unchanged(got):
    """Demand that the call has left its inputs alone."""
    require(
        not got.changed,
        f"arguments must be left as they were; the call has changed {', '.join(got.changed)}",
        "input changed in place: others still need that array.",
        "Look for x[...] =, -=, *= and out= on an argument or a view of one (a slice, reshape and "
        "transpose give views); make a new array.",
    )


def one_draw(got, anchors, seed):
    """Demand that sample_anchors has drawn as many numbers as there are anchors."""
    rng = np.random.default_rng(seed)
    rng.random(anchors)
    require(
        got["next_number"] == rng.random(),
        "the generator gives another number after the call than after one rng.random(A)",
        "numbers drawn otherwise: numbers = rng.random(A) is drawn once, and nothing else.",
        "How many numbers does your code draw, and with what function of rng?",
    )


def earlier(name, own, right):
    """The cause that an earlier function of the submission, which this one may call, is wrong."""

    def is_wrong(_):
        own_array = np.asarray(own, float)
        return own_array.shape != right.shape or not np.allclose(own_array, right)

    return Cause(
        f"{name} is wrong",
        lambda got: own is not None and is_wrong(got),
        f"Your {name} gives wrong results here. If this function calls it, mend that first.",
    )


# -- 1 ---------------------------------------------------------------------------------------------


@check(points=1, part=ONE)
def overlaps_of_one_box_with_four(student, rng):
    """box_iou: a box of 4 x 4 with itself, with one that shares 2 x 2 of it, with one that touches
    it, and with one that lies apart from it in x and y."""
    first = np.array([[0, 0, 4, 4]], float)
    second = np.array([[0, 0, 4, 4], [2, 2, 6, 6], [4, 0, 8, 4], [7, 9, 8, 11]], float)
    got = student.call("box_iou", first=first, second=second)
    compare(
        "iou",
        got["iou"],
        np.array([[1, 4 / 28, 0, 0]]),
        causes=[
            Cause(
                "IoU without clamp",
                np.array([[1, 4 / 28, 0, 15 / (16 + 2 - 15)]]),
                "Boxes apart in x and y give two negative sides, and their product is positive. "
                "Set each side to at least 0 before multiplying.",
            ),
            Cause(
                "intersection counted twice",
                np.array([[0.5, 4 / 32, 0, 0]]),
                "The sum of both areas has the intersection in it twice; the union has it once.",
            ),
        ],
        look="Draw the pair that differs on squared paper, and count squares.",
    )


@check(points=1, part=ONE)
def suppression_of_a_chain(student, rng):
    """nms: of four boxes A overlaps B, B overlaps C, and D is alone; scores A > B > C > D."""
    # In the input C is number 0, A number 1, D number 2, B number 3.
    boxes = np.array([[6, 0, 16, 10], [0, 0, 10, 10], [40, 0, 50, 10], [3, 0, 13, 10]], float)
    scores = np.array([0.7, 0.9, 0.2, 0.8])
    got = student.call("nms", boxes=boxes, scores=scores, threshold=0.5)
    compare(
        "kept",
        got["kept"],
        np.array([1, 0, 2]),
        causes=[
            Cause(
                "removed by boxes that are removed themselves",
                np.array([1, 2]),
                "Only a box that stays removes others: A removes B, and B has no say any more.",
            ),
            Cause(
                "not by falling score",
                np.array([0, 1, 2]),
                "The indices come in the order in which the boxes were chosen.",
            ),
            Cause(
                "lowest score first",
                [np.array([2, 0, 1]), np.array([2, 3])],
                "The box of highest score stays: sort by falling score.",
            ),
        ],
        look="IoU of A and B, and of B and C, is 7/13; of A and C it is 1/4.",
    )


@check(points=1, part=ONE)
def deltas_of_one_pair(student, rng):
    """encode: from an anchor of 10 x 20 about (5, 10) to a box of 20 x 5 about (12, 7.5), with
    weights (10, 10, 5, 5)."""
    boxes, anchors = np.array([[2, 5, 22, 10.0]]), np.array([[0, 0, 10, 20.0]])
    got = student.call("encode", boxes=boxes, anchors=anchors, weights=(10.0, 10.0, 5.0, 5.0))
    logs = np.log([2, 1 / 4])
    compare(
        "deltas",
        got["deltas"],
        np.array([[7, -1.25, *(5 * logs)]]),
        causes=[
            Cause(
                "divided by the wrong box's size",
                np.array([[3.5, -5, *(5 * logs)]]),
                "Centres are measured in the anchor's widths and heights: only these are known "
                "when a prediction is decoded.",
            ),
            Cause(
                "weights not applied",
                [np.array([[0.7, -0.125, *logs]]), np.array([[0.07, -0.0125, *(logs / 5)]])],
                "encode multiplies by the weights, decode divides by them.",
            ),
            Cause(
                "corner instead of centre",
                np.array([[2, 2.5, *(5 * logs)]]),
                "t_x and t_y are from centre to centre.",
            ),
            Cause(
                "log of the inverse ratio",
                np.array([[7, -1.25, *(-5 * logs)]]),
                "log(wanted / anchor): positive where the box must grow.",
            ),
        ],
        look="The centre moves by 7 to the right, 7/10 of the anchor's width.",
    )


@check(points=1, part=ONE)
def boxes_of_two_deltas(student, rng):
    """decode: an anchor of 10 x 20 moved and reshaped; and one whose t_w is 8."""
    anchors = np.array([[0, 0, 10, 20.0]] * 2)
    deltas = np.array([[0.7, -0.125, np.log(2), np.log(1 / 4)], [0, 0, 8, 0]])
    got = student.call("decode", deltas=deltas, anchors=anchors)
    wide = 10 * 1000 / 16 / 2
    expected = np.array([[2, 5, 22, 10], [5 - wide, 0, 5 + wide, 20]])
    free = expected.copy()
    free[1, [0, 2]] = 5 - 5 * np.exp(8), 5 + 5 * np.exp(8)
    compare(
        "boxes",
        got["boxes"],
        expected,
        causes=[
            Cause(
                "log sizes not cut",
                free,
                "t_w and t_h count as LOG_LIMIT where they are larger: exp(8) is 3000.",
            ),
            Cause(
                "size not halved",
                np.array([[-8, 2.5, 32, 12.5], [5 - 2 * wide, -10, 5 + 2 * wide, 30]]),
                "The corners lie half a width from the centre.",
            ),
        ],
        look="The first row is the box of the check of encode, back.",
    )


# -- 2 ---------------------------------------------------------------------------------------------


@check(points=2, part=TWO)
def anchors_of_two_positions(student, rng):
    """anchors_of_level: a map of height 1 and width 2, stride 8, size 4, ratios 1 and 4."""
    got = student.call(
        "anchors_of_level", height=1, width=2, stride=8, sizes=(4.0,), ratios=(1.0, 4.0)
    )
    expected = np.array([[2, 2, 6, 6], [3, 0, 5, 8], [10, 2, 14, 6], [11, 0, 13, 8]], float)
    compare(
        "anchors",
        got["anchors"],
        expected,
        causes=[
            Cause(
                "ratio is height / width",
                np.array([[2, 2, 6, 6], [0, 3, 8, 5], [10, 2, 14, 6], [8, 3, 16, 5]]),
                "An anchor of ratio 4 is four times as high as wide.",
            ),
            Cause(
                "centre not in the middle of the position",
                expected - 4,
                "Position j covers j stride to (j + 1) stride of the picture; its centre is in "
                "the middle.",
            ),
            Cause(
                "area depends on the ratio",
                [
                    np.array([[2, 2, 6, 6], [2, -4, 6, 12], [10, 2, 14, 6], [10, -4, 14, 12]]),
                    np.array([[2, 2, 6, 6], [3.5, 2, 4.5, 6], [10, 2, 14, 6], [11.5, 2, 12.5, 6]]),
                ],
                "Height sqrt(r) s and width s / sqrt(r): the area stays s² for every ratio.",
            ),
            Cause(
                "another order of anchors",
                expected[[0, 2, 1, 3]],
                "All anchors of one position come before those of the next.",
            ),
        ],
        look="The centres are (4, 4) and (12, 4); 2 x 8 has the area 4 x 4 and the ratio 4.",
    )


@check(points=1, part=TWO)
def matches_of_five_anchors(student, rng):
    """match_anchors: two objects and five anchors, high 0.7, low 0.3, keep_best."""
    iou = np.array([[0.8, 0.4, 0.1, 0.0, 0.2], [0.1, 0.5, 0.2, 0.0, 0.6]])
    got = student.call("match_anchors", iou=iou, high=0.7, low=0.3, keep_best=True)
    compare(
        "matches",
        got["matches"],
        np.array([0, -2, -1, -1, 1]),
        causes=[
            Cause(
                "an object left without an anchor",
                np.array([0, -2, -1, -1, -2]),
                "keep_best: no anchor reaches 0.7 with object 1; its best one, of 0.6, gets it.",
            ),
            Cause(
                "nothing left unsaid",
                [np.array([0, -1, -1, -1, 1]), np.array([0, 1, -1, -1, 1])],
                "An anchor of 0.5 is neither an object nor background: -2.",
            ),
            Cause(
                "-1 and -2 exchanged",
                np.array([0, -1, -2, -2, 1]),
                "-1 is background, -2 is nothing said.",
            ),
        ],
        look="The best IoU of each anchor: 0.8, 0.5, 0.2, 0, 0.6.",
    )


@check(points=1, part=TWO)
def four_anchors_of_eight(student, rng):
    """sample_anchors: 4 of 8 anchors, a quarter of them positive; seed 7."""
    matches = np.array([0, -1, -2, -1, 1, -1, 2, -1])
    got = student.call("sample_anchors", matches=matches, count=4, fraction=0.25, seed=7)
    one_draw(got, 8, 7)
    # default_rng(7).random(8) is about 0.63, 0.90, 0.78, 0.23, 0.30, 0.87, 0.01, 0.82.
    compare(
        "positive",
        got["positive"],
        np.array([6]),
        causes=[Cause("highest numbers", np.array([0]), "Those of the lowest numbers are taken.")],
        look="Three anchors have an object: 0, 4, 6. int(4 * 0.25) of them are wanted.",
    )
    compare(
        "negative",
        got["negative"],
        np.array([3, 5, 7]),
        causes=[
            Cause("not in rising order", np.array([3, 7, 5]), "Sort the indices at the end."),
            Cause(
                "-2 drawn as background",
                np.array([2, 3, 7]),
                "Nothing is said about anchors of -2: they are never drawn.",
            ),
        ],
        look="Background are 1, 3, 5, 7.",
    )


# -- 3 ---------------------------------------------------------------------------------------------


@check(points=2, part=THREE)
def a_region_on_a_ramp(student, rng):
    """roi_pool: x[i, j] = 10 i + j on a map of 4 x 6, the region x 2 to 9, y 0 to 6 of the picture,
    scale 1/2, 2 x 2 bins."""
    x = (10.0 * np.arange(4)[:, None] + np.arange(6))[None, None]
    rois = np.array([[0, 2, 0, 9, 6.0]])
    got = student.call("roi_pool", x=x, rois=rois, size=(2, 2), scale=0.5)
    compare(
        "out",
        got["out"],
        np.array([[[[13, 15], [33, 35.0]]]]),
        causes=[
            Cause(
                "halves rounded to even, or down",
                np.array([[[[12, 14], [32, 34]]]]),
                "4.5 becomes 5: floor(v + 1/2). np.round takes the even neighbour, int() cuts off.",
            ),
            Cause(
                "second corner left out",
                np.array([[[[12, 14], [22, 24]]]]),
                "In RoIPool the pixels of both corners belong to the region: w = x2 - x1 + 1.",
            ),
            Cause(
                "bins do not share rows and columns",
                [np.array([[[[12, 15], [32, 35]]]]), np.array([[[[12, 14], [32, 34]]]])],
                "A bin ends at ceil((i + 1) h / ph), so that no bin is empty.",
            ),
        ],
        look="Rounded: columns 1 to 5, rows 0 to 3. Bins of 2.5 columns: 1 to 3, and 3 to 5.",
    )


@check(points=1, part=THREE)
def a_pixel_that_two_bins_share(student, rng):
    """roi_pool_backward: the region of the check before; its largest number lies in two bins."""
    x = np.zeros((1, 1, 4, 6))
    x[0, 0, 1, 3], x[0, 0, 2, 1], x[0, 0, 3, 5] = 9, 5, 7
    grad = np.array([[[[1, 10], [100, 1000.0]]]])
    got = student.call(
        "roi_pool", x=x, rois=np.array([[0, 2, 0, 9, 6.0]]), size=(2, 2), scale=0.5, grad=grad
    )
    expected = np.zeros(x.shape)
    expected[0, 0, [1, 2, 3], [3, 1, 5]] = 11, 100, 1000
    over = expected.copy()
    over[0, 0, 1, 3] = 10
    compare(
        "grad_x",
        got["grad_x"],
        expected,
        causes=[
            earlier("roi_pool", got["out"], np.array([[[[9, 9], [5, 7.0]]]])),
            Cause(
                "overwritten instead of added",
                over,
                "A pixel that is taken twice gets both gradients. a[index] += b keeps only the "
                "last of equal indices; np.add.at adds them all.",
            ),
        ],
        look="x[1, 3] = 9 is the largest of bins (0, 0) and (0, 1).",
    )


# -- 4 ---------------------------------------------------------------------------------------------


@check(points=2, part=FOUR)
def values_between_pixels(student, rng):
    """bilinear: x[i, j] = 10 i + j on a map of 2 x 3; points inside, on pixels, at and beyond the
    edges."""
    x = np.array([[[0, 1, 2], [10, 11, 12.0]]])
    points = [(0.5, 1.5), (0, 2), (1, 0.25), (-0.5, 1), (1.75, 2.5), (-1.25, 1), (0.5, 3.5)]
    ys, xs = np.array(points, float).T
    got = student.call("bilinear", x=x, ys=ys, xs=xs)
    expected = np.array([[6.5, 2, 10.25, 1, 12, 0, 0]])
    compare(
        "values",
        got["values"],
        expected,
        causes=[
            Cause(
                "points far outside count as the border",
                np.array([[6.5, 2, 10.25, 1, 12, 1, 7]]),
                "Below -1 and above the size the value is 0.",
            ),
            Cause(
                "border pixel not continued",
                [
                    np.array([[6.5, 2, 10.25, 0, 0, 0, 0]]),
                    np.array([[6.5, 2, 10.25, 0.5, 1.5, 0, 0]]),
                ],
                "From -1 to 0 a point counts as at 0, from the last pixel to the size as there.",
            ),
            Cause(
                "weights of the neighbours exchanged",
                [
                    np.array([[6.5, 2, 10.75, 2, 12, 0, 0]]),
                    np.array([[6.5, 12, 10.25, 11, 12, 0, 0]]),
                    np.array([[6.5, 12, 10.75, 12, 12, 0, 0]]),
                ],
                "The nearer pixel has the larger weight: 1 - distance.",
            ),
            Cause(
                "extrapolated",
                np.array([[6.5, 2, 10.25, -4, 20, 0, 0]]),
                "At the edge clip the coordinates first, and interpolate then.",
            ),
        ],
        look="Inside the map the value at (y, x) is 10 y + x.",
    )


@check(points=1, part=FOUR)
def gradients_of_four_points(student, rng):
    """bilinear_backward: a map of 2 x 3, four points: between four pixels, on a pixel, between two,
    and far outside."""
    ys, xs = np.array([0.5, 0, 0.25, -2]), np.array([1.5, 2, 0, 0])
    got = student.call(
        "bilinear_backward", grad=np.array([[4.0, 3, 8, 100]]), size=(2, 3), ys=ys, xs=xs
    )
    compare(
        "grad_x",
        got["grad_x"],
        np.array([[[6, 1, 4], [2, 1, 1.0]]]),
        causes=[
            Cause(
                "points far outside count as the border",
                np.array([[[106, 1, 4], [2, 1, 1]]]),
                "What gives 0 gets no gradient.",
            ),
            Cause(
                "weights of the neighbours exchanged",
                np.array([[[2, 1, 1], [6, 1, 4]]]),
                "The weights are those of the forward pass.",
            ),
            Cause(
                "overwritten instead of added",
                lambda a: a[0, 0, 2] in (0, 1, 3),
                "Points share pixels: a[index] += b keeps only the last of equal indices; "
                "np.add.at adds them all.",
            ),
        ],
        look="The first point gives 1 to each of its four pixels, the second 3 to pixel [0, 2].",
    )


# -- 5 ---------------------------------------------------------------------------------------------


@check(points=2, part=FIVE)
def points_along_one_axis(student, rng):
    """sample_points: 4 to 20 at scale 1/4 in two bins of two points, not aligned and aligned; a
    region of half a pixel, not aligned; and an adaptive one, 4 to 21."""
    inputs = {"low": 4.0, "high": 20.0, "bins": 2, "scale": 0.25}
    plain = np.array([[1.5, 2.5], [3.5, 4.5]])
    half = Cause(
        "shift of half a pixel",
        [plain + 0.5, plain, plain - 0.5, plain - 0.125, plain - 1],
        "aligned: low * scale - 1/2 and high * scale - 1/2. Not aligned: no shift.",
    )
    edge = Cause(
        "points not in the middle of their parts",
        [np.array([[1, 2], [3, 4.0]]), np.array([[1, 3], [3, 5.0]])],
        "A bin of 2 has two parts of 1; the points lie in their middles.",
    )
    look = "Draw the axis: the region is 1 to 5, the bins 1 to 3 and 3 to 5."
    got = student.call("sample_points", **inputs, sampling_ratio=2, aligned=False)
    compare("points", got["points"], plain, causes=[edge, half], look=look)
    got = student.call("sample_points", **inputs, sampling_ratio=2, aligned=True)
    compare("points, aligned", got["points"], plain - 0.5, causes=[half], look=look)
    inputs["high"] = 6.0
    got = student.call("sample_points", **inputs, sampling_ratio=1, aligned=False)
    compare(
        "points of a short region",
        got["points"],
        np.array([[1.25], [1.75]]),
        causes=[
            Cause(
                "short regions not made 1 long",
                np.array([[1.125], [1.375]]),
                "Not aligned, a region shorter than 1 on the map counts as 1 long.",
            )
        ],
    )
    inputs["high"] = 21.0
    got = student.call("sample_points", **inputs, sampling_ratio=0, aligned=True)
    step = 4.25 / 2
    compare(
        "adaptive points",
        got["points"],
        0.5 + np.array([[0], [step]]) + step * np.array([1, 3, 5]) / 6,
        causes=[
            Cause(
                "number of points not rounded up",
                lambda a: a.shape == (2, 2),
                "A bin of 2.125 gets 3 points, so that they are at most 1 apart.",
            )
        ],
        look="The region is 4.25 long, a bin 2.125.",
    )


@check(points=2, part=FIVE)
def a_region_of_bins_on_a_ramp(student, rng):
    """roi_align: x[i, j] = 10 i + j on a map of 8 x 8, a region of 16 x 16 pixels at scale 1/4,
    2 x 2 bins of 2 x 2 points, not aligned and aligned."""
    x = (10.0 * np.arange(8)[:, None] + np.arange(8))[None, None]
    rois = np.array([[0, 4, 8, 20, 24.0]])
    right = np.array([[[[32, 34], [52, 54.0]]]])
    exchanged = np.array([[[[23, 25], [43, 45.0]]]])
    points = np.array([0.5, 1.5]), np.array([0.25, 3.75])
    for aligned, expected in ((False, right), (True, right - 5.5)):
        got = student.call(
            "roi_align",
            x=x,
            rois=rois,
            size=(2, 2),
            scale=0.25,
            sampling_ratio=2,
            aligned=aligned,
            ys=points[0],
            xs=points[1],
        )
        rows = np.array([[2.5, 3.5], [4.5, 5.5]]) - 0.5 * aligned
        compare(
            "out, aligned" if aligned else "out",
            got["out"],
            expected,
            causes=[
                earlier("sample_points", got["own_rows"], rows),
                earlier("bilinear", got["own_values"], np.array([[5.25, 18.75]])),
                Cause(
                    "sum instead of the mean over points",
                    expected * 4,
                    "A bin is the mean of its points.",
                ),
                Cause(
                    "x and y exchanged",
                    [expected.swapaxes(2, 3), exchanged - 5.5 * aligned],
                    "A region is (image, x1, y1, x2, y2): rows of the map follow from y.",
                ),
            ],
            look="Between the points of a bin lies its centre, and a ramp's mean is the value "
            "there: at y = 3 and 5, x = 2 and 4 where not aligned.",
        )


@check(points=1, part=FIVE)
def gradient_of_a_region(student, rng):
    """roi_align_backward: one region on a random map of 2 x 6 x 7, random cotangent, against
    minidl's roi_align."""
    x = md.tensor(rng.standard_normal((1, 2, 6, 7)), requires_grad=True)
    rois = np.array([[0, 3.0, 2.0, 19.0, 17.0]])
    grad = rng.standard_normal((1, 2, 2, 3))
    F.roi_align(x, rois, (2, 3), 0.3, 2, True).backward(md.tensor(grad))
    expected = x.grad.numpy()
    got = student.call(
        "roi_align_backward",
        grad=grad,
        shape=x.shape,
        rois=rois,
        scale=0.3,
        sampling_ratio=2,
        aligned=True,
        slope=np.array([[4.0], [2.0]]),
        ys=np.array([1.5]),
        xs=np.array([2.0]),
    )
    rows = np.array([[0.6625, 1.7875], [2.9125, 4.0375]])  # 4.5 long, from 0.1 on
    values = np.zeros((2, 6, 7))
    values[:, 1:3, 2] = [[2, 2], [1, 1]]
    compare(
        "grad_x",
        got["grad_x"],
        expected,
        causes=[
            earlier("sample_points", got["own_rows"], rows),
            earlier("bilinear_backward", got["own_values"], values),
            Cause(
                "gradient not divided by the number of points",
                expected * 4,
                "A bin is a mean of 4 points: each gets a quarter of the bin's gradient.",
            ),
        ],
        look="The gradient of a sum of numbers of roi_align is the transpose of a linear map: "
        "(roi_align(x) * grad).sum() must be (x * grad_x).sum() for every x.",
    )


# -- 6 ---------------------------------------------------------------------------------------------


@check(points=1, part=SIX)
def losses_of_four_logits(student, rng):
    """binary_cross_entropy: logits 0, 0, 800, -800 with targets 1, 0, 0, 1."""
    got = student.call(
        "binary_cross_entropy",
        logits=np.array([0, 0, 800, -800.0]),
        targets=np.array([1, 0, 0, 1.0]),
    )
    log2 = np.log(2)
    compare(
        "losses",
        got["losses"],
        np.array([log2, log2, 800, 800]),
        causes=[
            Cause(
                "not stable for large logits",
                lambda a: not np.isfinite(a[2:]).all() or (a[2:] < 799).any(),
                "exp(800) is infinite, and a p that is exactly 0 or 1 has no log. Rewrite the "
                "formula so that exp is only taken of -|logit|; log1p(e) is log(1 + e).",
            )
        ],
        look="For a large logit and target 0 the loss is nearly the logit itself.",
    )
    compare("slopes", got["slopes"], np.array([-0.5, 0.5, 1, -1]), look="sigmoid(logit) - target")


@check(points=1, part=SIX)
def smooth_l1_of_four_differences(student, rng):
    """smooth_l1: differences 0.25, -1, 2, 0 with beta 0.5."""
    target = np.array([1, 2, 3, 4.0])
    d = np.array([0.25, -1, 2, 0])
    got = student.call("smooth_l1", predicted=target + d, target=target, beta=0.5)
    compare(
        "losses",
        got["losses"],
        np.array([0.0625, 0.75, 1.75, 0]),
        causes=[
            Cause(
                "a jump at beta",
                [np.array([0.0625, 1, 2, 0]), np.array([0.0625, 0.5, 1.5, 0])],
                "|d| - beta / 2, so that both pieces meet at |d| = beta.",
            ),
            Cause(
                "beta forgotten in the parabola",
                [np.array([0.03125, 0.75, 1.75, 0]), np.array([0.015625, 0.75, 1.75, 0])],
                "d² / (2 beta): its slope at beta is 1, as that of the line.",
            ),
        ],
    )
    compare("slopes", got["slopes"], np.array([0.5, -1, 1, 0]), look="d / beta, or the sign of d.")


@check(points=1, part=SIX)
def loss_of_three_anchors(student, rng):
    """rpn_loss: of four anchors number 1 is positive, 0 and 3 negative; all logits 0, beta 0.5."""
    deltas, targets = np.zeros((4, 4)), np.full((4, 4), 7.0)
    deltas[1], targets[1] = [1, 0.25, 0, -2], 0
    got = student.call(
        "rpn_loss",
        logits=np.zeros(4),
        deltas=deltas,
        targets=targets,
        positive=np.array([1]),
        negative=np.array([0, 3]),
        beta=0.5,
    )
    compare("loss_objectness", got["loss_objectness"], np.log(2), factors={"P + Q": 3})
    each = np.zeros((4, 4))
    each[1] = 0.75, 0.0625, 0, 1.75
    boxes = 0.75 + 0.0625 + 1.75
    compare(
        "loss_boxes",
        got["loss_boxes"],
        boxes / 3,
        causes=[
            earlier("smooth_l1", got["own_smooth_l1"], each),
            Cause(
                "boxes divided by the positive anchors",
                [boxes, boxes / 4],
                "Both sums are divided by all anchors drawn, P + Q = 3.",
            ),
        ],
        factors={"P + Q": 3},
    )
    compare("grad_logits", got["grad_logits"], np.array([0.5, -0.5, 0, 0.5]) / 3)
    grad_deltas = np.zeros((4, 4))
    grad_deltas[1] = np.array([1, 0.5, 0, -1]) / 3
    compare("grad_deltas", got["grad_deltas"], grad_deltas, factors={"P + Q": 3})


@check(points=1, part=SIX)
def proposals_of_five_anchors(student, rng):
    """proposals: five anchors in a picture of 20 x 40 pixels; one has a low logit, one reaches
    out of the picture, one lies outside of it but for a strip of 1, one overlaps another."""
    anchors = np.array(
        [[0, 0, 10, 10], [30, -5, 50, 15], [39, 2, 49, 12], [2, 0, 12, 10], [20, 0, 28, 8]], float
    )
    logits = np.array([1.0, 3, 4, 2, -1])
    got = student.call(
        "proposals",
        logits=logits,
        deltas=np.zeros((5, 4)),
        anchors=anchors,
        image_size=(20, 40),
        pre_top=4,
        post_top=3,
        min_size=2.0,
        threshold=0.5,
    )
    compare(
        "boxes",
        got["boxes"],
        np.array([[30, 0, 40, 15], [2, 0, 12, 10.0]]),
        causes=[
            earlier("decode", got["own_moved"], anchors),
            Cause(
                "not cut off at the picture",
                lambda a: (a < 0).any() or (a[:, 2] > 40).any() or (a[:, 3] > 20).any(),
                "x from 0 to W, y from 0 to H; image_size is (H, W).",
            ),
            Cause(
                "small boxes left in",
                lambda a: ((a[:, 2:] - a[:, :2]) < 2).any(),
                "After the cut the box at x = 39 is 1 wide, less than min_size.",
            ),
            Cause(
                "pre_top after the other steps",
                np.array([[30, 0, 40, 15], [2, 0, 12, 10], [20, 0, 28, 8]]),
                "The best four are chosen first; what is dropped later is not replaced.",
            ),
        ],
        look="Write down after each of the six steps which anchors are left.",
    )
    compare("scores", got["scores"], np.array([3.0, 2]))


# -- 7 ---------------------------------------------------------------------------------------------


@check(points=1, part=SEVEN)
def levels_of_six_boxes(student, rng):
    """assign_levels: squares of 224, 112, 448, 10 and 5000 pixels, and a box of 448 x 112; levels
    2 to 5."""
    sides = [(224, 224), (112, 112), (448, 448), (10, 10), (5000, 5000), (448, 112)]
    boxes = np.array([[3, 5, 3 + w, 5 + h] for w, h in sides], float)
    got = student.call("assign_levels", boxes=boxes, lowest=2, highest=5)
    compare(
        "levels",
        got["levels"],
        np.array([4, 3, 5, 2, 5, 4]),
        causes=[
            Cause(
                "levels not limited",
                np.array([4, 3, 5, -1, 8, 4]),
                "Below the lowest level there is none: use np.clip.",
            ),
            Cause(
                "area instead of its root",
                lambda a: a.shape == (6,) and a[0] == 5 and a[1] == 5,
                "log2 of sqrt(width * height) / 224.",
            ),
        ],
    )


@check(points=2, part=SEVEN)
def loss_of_three_proposals(student, rng):
    """head_loss: two classes and background, labels 0, 2, 1; equal logits; beta 1."""
    deltas, targets = np.zeros((3, 3, 4)), np.full((3, 4), 9.0)
    deltas[1, 2], targets[1] = [0.5, 0, 0, 0], 0  # loss 0.125
    deltas[2, 1], targets[2] = [0, 3, 0, -2], 0  # loss 2.5 + 1.5
    got = student.call(
        "head_loss",
        logits=np.full((3, 3), 5.0),
        deltas=deltas,
        labels=np.array([0, 2, 1]),
        targets=targets,
        beta=1.0,
    )
    each = np.zeros((3, 3, 4))
    each[1, 2, 0], each[2, 1, 1], each[2, 1, 3] = 0.125, 2.5, 1.5
    compare("loss_classes", got["loss_classes"], np.log(3), factors={"K": 3})
    compare(
        "loss_boxes",
        got["loss_boxes"],
        4.125 / 3,
        causes=[
            earlier("smooth_l1", got["own_smooth_l1"], each),
            Cause(
                "boxes divided by the objects",
                4.125 / 2,
                "Divided by K, all proposals: an object's box then counts the same in every "
                "mixture with background.",
            ),
            Cause(
                "boxes of background",
                lambda a: float(a) > 10,
                "Background has no box to be compared with: only rows with a label above 0.",
            ),
        ],
    )
    slopes = np.full((3, 3), 1 / 3)
    slopes[[0, 1, 2], [0, 2, 1]] -= 1
    compare("grad_logits", got["grad_logits"], slopes / 3, factors={"K": 3})
    grad_deltas = np.zeros((3, 3, 4))
    grad_deltas[1, 2, 0], grad_deltas[2, 1, 1], grad_deltas[2, 1, 3] = 0.5 / 3, 1 / 3, -1 / 3
    compare("grad_deltas", got["grad_deltas"], grad_deltas, factors={"K": 3})


@check(points=1, part=SEVEN)
def a_rider_and_a_horse(student, rng):
    """detect: two proposals that overlap; one is a rider, the other a horse, class 1 and 2. A third
    is background."""
    boxes = np.array([[0, 0, 10, 10], [0, 1, 10, 11], [30, 30, 40, 40]], float)
    every = np.array([[0.1, 0.7, 0.2], [0.15, 0.05, 0.8], [0.9, 0.05, 0.05]])
    deltas = np.zeros((3, 3, 4))
    deltas[0, 1] = 1, 0, 0, 0  # of the rider's box, a tenth of its width to the right
    got = student.call(
        "detect",
        logits=np.log(every) + 3,
        deltas=deltas,
        boxes=boxes,
        image_size=(60, 80),
        weights=(10.0, 10.0, 5.0, 5.0),
        min_score=0.1,
        threshold=0.5,
        most=10,
    )
    compare(
        "labels",
        got["labels"],
        np.array([2, 1]),
        causes=[
            Cause(
                "background reported",
                lambda a: (a == 0).any(),
                "Class 0 is no object: it takes part in the softmax, and no further.",
            ),
            Cause(
                "suppression across classes",
                np.array([2]),
                "Boxes of different classes do not remove each other.",
            ),
            Cause(
                "not by falling score", np.array([1, 2]), "All classes together, the surest first."
            ),
        ],
        look="Probabilities above 0.1: 0.7 and 0.2 of the first, 0.8 of the second proposal; the "
        "0.2 is suppressed.",
    )
    compare("boxes", got["boxes"], np.array([[0, 1, 10, 11], [1, 0, 11, 10.0]]))
    compare("scores", got["scores"], np.array([0.8, 0.7]))


# -- 8 ---------------------------------------------------------------------------------------------


@check(points=2, part=EIGHT)
def target_of_a_half_plane(student, rng):
    """mask_targets: the object covers the left half of a picture of 8 x 8; boxes across its edge,
    of 4 x 4 and of 5 x 4 pixels, a grid of 2 x 2."""
    masks = np.zeros((2, 8, 8), bool)
    masks[1, :, :4] = True
    got = student.call(
        "mask_targets",
        masks=masks,
        matches=np.array([1, 1]),
        boxes=np.array([[2, 0, 6, 4], [1, 1, 6, 5.0]]),
        size=2,
    )
    # The second box is 0.5 to 5.5 on the map: bins of 2.5, three points each, the last of them at
    # 0.5 + 2.5 + 2.5 / 6 = 3.41..., which is 1 - 0.41... of the object.
    part = (1 - 2.5 / 6) / 3
    right = np.array([[[1, 0]] * 2, [[1, part]] * 2])
    compare(
        "targets",
        got["targets"],
        right,
        causes=[
            earlier("roi_align", got["own_align"], right[:, None]),
            Cause(
                "not aligned",
                lambda a: np.allclose(a[0], [[0.75, 0], [0.75, 0]]),
                "Pixel j covers j to j + 1, its centre is at j + 1/2: aligned must be true.",
            ),
            Cause(
                "mask of another object",
                lambda a: not a[0].any(),
                "matches says which mask: number 1 here, not number k.",
            ),
            Cause(
                "cut to 0 and 1",
                lambda a: np.isin(a, (0, 1)).all(),
                "The shares stay as they are. Is the mask float before it is resampled?",
            ),
        ],
        look="The first box begins at 2 - 1/2 on the map; its points are at 2, 3, 4, 5.",
    )


@check(points=1, part=EIGHT)
def loss_of_one_mask(student, rng):
    """mask_loss: one proposal of class 1 of 2, logits 0 on its mask of 2 x 2, others 5."""
    logits = np.full((1, 3, 2, 2), 5.0)
    logits[0, 1] = 0
    targets = np.array([[[1, 0], [0.25, 0.5]]])
    got = student.call("mask_loss", logits=logits, labels=np.array([1]), targets=targets)
    compare(
        "loss",
        got["loss"],
        np.log(2),
        causes=[
            Cause(
                "masks counted from 0",
                lambda a: abs(a - (5.0067153485 - 5 * 1.75 / 4)) < 1e-6,
                "logits[:, label], as classes: channel 0 is background's.",
            )
        ],
        factors={"pixels": 4, "channels": 3},
    )
    gradient = np.zeros((1, 3, 2, 2))
    gradient[0, 1] = (0.5 - targets[0]) / 4
    compare("gradient", got["gradient"], gradient, factors={"pixels": 4})
