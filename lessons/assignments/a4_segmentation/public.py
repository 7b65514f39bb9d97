"""The public checks of A4: part of the handout, written to be read.

What they expect is worked out by hand, or comes from minidl's operations. A `Cause` is a well-known
mistake with the wrong result that it leads to.
"""

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl.teach.assign import Cause, check, compare, require

ADD = "A gradient that arrives along several ways is a sum: += and not =."


def oracle(function, grad, *arrays, **options):
    """minidl's result of a function of arrays, and the arrays' gradients given dL/dout."""
    tensors = [md.tensor(array, requires_grad=True) for array in arrays]
    out = function(*tensors, **options)
    out.backward(md.tensor(np.asarray(grad, dtype=out.dtype)))
    return out.detach().numpy(), [tensor.grad.numpy() for tensor in tensors]


def value(function, *arrays, **options):
    """minidl's result of a function of arrays."""
    return function(*map(md.tensor, arrays), **options).numpy()


def unchanged(got, *names):
    """Demand that the call has left its inputs alone."""
    for name in names:
        require(
            name not in got.changed,
            f"{name} must be left as it was; the call has changed its elements",
            "input changed in place: others still need that array.",
            "Look for x[...] = , -=, *= and out= on an argument or a view of one (reshape, a slice "
            "and transpose give views); make a new array.",
        )


# -- 1. Scores -------------------------------------------------------------------------------------

ONE = "1. Scores"


@check(points=3, part=ONE)
def confusion_matrix_of_a_small_mask(student, rng):
    """confusion_matrix: ten pixels of three classes, one of them ignored."""
    targets = np.array([[0, 0, 0, 1, 1], [1, 1, 2, 2, -100]])
    predicted = np.array([[0, 0, 1, 1, 1], [1, 2, 0, 2, 0]])
    expected = np.array([[2, 1, 0], [0, 3, 1], [1, 0, 1]])
    ignored_as_0 = expected + np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0]])
    got = student.call("confusion_matrix", predicted=predicted, targets=targets, num_classes=3)
    compare(
        "matrix",
        got["matrix"],
        expected,
        causes=[
            Cause(
                "rows and columns exchanged",
                expected.T,
                "Rows are the truth: row i says what became of the pixels of class i.",
            ),
            Cause(
                "repeated pixels counted once",
                (expected > 0).astype(int),
                "m[rows, columns] += 1 adds 1 to an element once, however often it is named. Count "
                "with np.add.at, np.bincount or a loop.",
            ),
            Cause(
                "ignored pixels counted",
                [ignored_as_0, expected + np.eye(3, dtype=int)[::-1] * [[1], [0], [0]]],
                "A pixel whose *target* is ignore_index must appear nowhere in the matrix.",
            ),
        ],
        look="Count by hand: which pixels are of class 0, and what were they predicted as? That is "
        "row 0, which must be 2, 1, 0.",
    )
    unchanged(got, "targets", "predicted")


# Of 10 pixels 4 are class 0, 5 class 1, 1 class 2.
MATRIX = np.array([[3, 1, 0], [1, 4, 0], [1, 0, 0]])
BY_HAND = {
    "accuracy": np.array([3 / 4, 4 / 5, 0.0]),
    "iou": np.array([3 / 6, 4 / 6, 0.0]),
    "pixel_accuracy": 7 / 10,
    "mean_accuracy": (3 / 4 + 4 / 5) / 3,
    "mean_iou": (3 / 6 + 4 / 6) / 3,
    "frequency_weighted_iou": (4 * 3 / 6 + 5 * 4 / 6) / 10,
}


@check(points=3, part=ONE)
def scores_of_a_small_matrix(student, rng):
    """segmentation_scores: a matrix of ten pixels, every score worked out by hand."""
    got = student.call("scores", matrix=MATRIX)
    hits, truth, said = np.diag(MATRIX), MATRIX.sum(1), MATRIX.sum(0)
    twice = hits / (truth + said)
    wrong = {
        "accuracy": [
            Cause(
                "precision instead of accuracy",
                [hits / np.maximum(said, 1), hits / np.where(said > 0, said, np.nan)],
                "Accuracy of a class divides by how many pixels *are* it: a row of the matrix.",
            )
        ],
        "iou": [
            Cause(
                "intersection counted twice",
                twice,
                "A pixel that is the class and predicted as it is in the row and in the column, "
                "but only once in the union.",
            )
        ],
        "mean_accuracy": [Cause("pixel accuracy", 0.7, "First a share for each class, then mean.")],
        "frequency_weighted_iou": [
            Cause(
                "weights from the predictions",
                (BY_HAND["iou"] * said).sum() / 10,
                "A class's weight is how many pixels truly are it.",
            )
        ],
    }
    for name, expected in BY_HAND.items():
        compare(
            name,
            got[name],
            expected,
            causes=wrong.get(name, []),
            look="Class 1: 5 pixels are it, 5 were predicted as it, 4 of these are the same. So 4 "
            "of 5 are right, and 4 of 6 lie in the union.",
        )
    unchanged(got, "matrix")


# -- 2. Resizing -----------------------------------------------------------------------------------

TWO = "2. Resizing"


@check(points=2, part=TWO)
def nearest_neighbour_twice_as_large(student, rng):
    """nearest_forward and nearest_backward: (2, 2, 3, 4) to (6, 8), a random gradient."""
    x, grad = rng.standard_normal((2, 2, 3, 4)), rng.standard_normal((2, 2, 6, 8))
    out, (grad_x,) = oracle(F.interpolate, grad, x, size=(6, 8))
    got = student.call("nearest", x=x, size=(6, 8), grad=grad)
    compare(
        "out",
        got["out"],
        out,
        causes=[
            Cause(
                "tiled",
                np.tile(x, (1, 1, 2, 2)),
                "Neighbouring outputs copy the same input: 0 0 1 1 2 2, not 0 1 2 0 1 2.",
            ),
            Cause(
                "rounded instead of cut",
                x[:, :, [0, 0, 1, 2, 2, 2]][:, :, :, [0, 0, 1, 2, 2, 2, 3, 3]],
                "floor(o * H / OH): the fraction is cut off.",
            ),
        ],
        look="Row o of the output is row floor(o * 3 / 6) of the input. Print these six numbers.",
    )
    compare(
        "grad_x",
        got["grad_x"],
        grad_x,
        causes=[
            Cause(
                "mean instead of sum",
                grad_x / 4,
                "Each of the four copies hands its whole gradient back.",
            ),
            *overwritten(grad, 2),
        ],
        look="x[0, 0, 0, 0] was copied to four outputs: add up grad[0, 0, :2, :2].",
    )
    unchanged(got, "x", "grad")


def overwritten(grad, factor):
    """The cause of copies' gradients that overwrite each other."""
    last = grad[:, :, factor - 1 :: factor, factor - 1 :: factor]
    first = grad[:, :, ::factor, ::factor]
    return [Cause("overwritten instead of added", [last, first], ADD)]


HALF, EDGE = "half a pixel forgotten", "not moved to the edge"
STEPS, ALIGNED = "steps counted as pixels", "align_corners the other way"
POSITIONS = {
    HALF: "The centre of output o is o + 1/2 from the edge, in output pixels. From there to input "
    "pixels; and the first input centre, position 0, is itself 1/2 from the edge.",
    EDGE: "Between the edge and the first centre there is nothing to interpolate with: positions "
    "before 0 are moved to 0, those beyond n - 1 to n - 1.",
    STEPS: "n pixels have n - 1 steps between their centres, and out pixels have out - 1.",
    ALIGNED: "True aligns the outermost centres (0 and n - 1 are positions), False the edges.",
}


@check(points=2, part=TWO)
def positions_of_resized_pixels(student, rng):
    """source_positions: 4 pixels to 8, to 7 and to 2, for both values of align_corners, by hand."""
    cases = [  # n, out, align_corners, the positions; and wrong ones
        (
            (4, 8, False, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]),
            {
                HALF: [
                    np.arange(8) / 2,
                    np.minimum(np.arange(8) / 2, 3),
                    np.minimum(np.arange(8) / 2 + 0.25, 3),
                ],
                EDGE: [[-0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25]],
                ALIGNED: [np.arange(8) * 3 / 7],
            },
        ),
        (
            (4, 7, True, [0, 0.5, 1, 1.5, 2, 2.5, 3]),
            {
                STEPS: [np.arange(7) * 3 / 7, np.arange(7) * 4 / 7, np.arange(7) * 4 / 6],
                ALIGNED: [[0, 0.5 / 1.4, 1.3 / 1.4, 1.5, 2.9 / 1.4, 3.7 / 1.4, 3]],
            },
        ),
        ((4, 2, False, [0.5, 2.5]), {HALF: [[0, 2], [1, 3]], ALIGNED: [[0, 3]]}),
        ((4, 2, True, [0, 3]), {STEPS: [[0, 1.5], [0, 2], [0, 4]], ALIGNED: [[0.5, 2.5]]}),
    ]
    n, out, align, _ = zip(*[case for case, _ in cases], strict=True)
    got = student.call("positions", n=list(n), out=list(out), align_corners=list(align))
    for i, ((pixels, size, aligned, right), wrong) in enumerate(cases):
        compare(
            f"positions of {size} pixels among {pixels}, align_corners={aligned}",
            got[f"positions {i}"],
            np.array(right, dtype=float),
            causes=[
                Cause(name, [np.array(a, dtype=float) for a in arrays], POSITIONS[name])
                for name, arrays in wrong.items()
            ],
            look="Draw both rows of pixels as boxes above each other: outer edges aligned for "
            "False, outermost centres for True. Centres are at the middle of the boxes.",
        )


@check(points=3, part=TWO)
def bilinear_sampling(student, rng):
    """bilinear_forward: (2, 3, 4, 5) at 3 x 4 given positions, two of them at the image's edge."""
    x = rng.standard_normal((2, 3, 4, 5))
    rows, columns = np.array([0.0, 1.25, 3.0]), np.array([0.6, 2.0, 3.8, 4.0])
    # With aligned corners, 13 rows lie 1/4 apart in 4, and 21 columns 1/5 apart in 5.
    fine = value(F.interpolate, x, size=(13, 21), mode="bilinear", align_corners=True)

    def at(rows, columns):
        return fine[:, :, rows][:, :, :, columns]

    got = student.call("bilinear", x=x, rows=rows, columns=columns)
    compare(
        "out",
        got["out"],
        at([0, 5, 12], [3, 10, 19, 20]),
        causes=[
            Cause(
                "shares exchanged",
                at([4, 7, 12], [2, 15, 16, 20]),
                "The nearer pixel has the larger share: at 1.25 that is pixel 1, with 3/4.",
            ),
            Cause(
                "nearest instead of bilinear",
                [at([0, 4, 12], [0, 10, 15, 20]), at([0, 4, 12], [5, 10, 20, 20])],
                "Positions between pixels mix four of them.",
            ),
        ],
        look="(rows[1], columns[1]) lies between two pixels of a column: 3/4 of x[..., 1, 2] and "
        "1/4 of x[..., 2, 2].",
    )
    unchanged(got, "x", "rows", "columns")


# -- 3. Unpooling ----------------------------------------------------------------------------------

THREE = "3. Unpooling"


@check(points=3, part=THREE)
def max_pooling_with_indices(student, rng):
    """max_pool2d_forward: (2, 3, 4, 6), windows of 2 x 2; the maxima and where they were."""
    x = rng.standard_normal((2, 3, 4, 6))
    out, indices = F.max_pool2d(md.tensor(x), 2, return_indices=True)
    got = student.call("max_pool", x=x, kernel_size=2)
    compare("out", got["out"], out.numpy(), look="Every window of 2 x 2 gives its largest element.")
    compare(
        "indices",
        got["indices"],
        indices.numpy(),
        causes=index_causes(indices.numpy(), 6, 2, 2),
        look="The index must find the element: x[0, 0].ravel()[indices[0, 0]] is out[0, 0].",
    )
    unchanged(got, "x")


def index_causes(indices, width, kernel, stride):
    """Known wrong indices of the maxima in planes of that width."""
    rows, columns = indices // width, indices % width
    down, across = indices.shape[2:]
    inside = rows - np.arange(down)[:, None] * stride, columns - np.arange(across) * stride
    planes = np.arange(indices[:, :, 0, 0].size).reshape(*indices.shape[:2], 1, 1)
    return [
        Cause(
            "index within the window",
            inside[0] * kernel + inside[1],
            "argmax of a window counts its elements; add where the window begins, and count in "
            "rows of the whole plane.",
        ),
        Cause(
            "width of the output",
            [rows * across + columns, rows * kernel + columns],
            "A row of the plane has W elements, W of the *input*: row * W + column.",
        ),
        Cause(
            "rows and columns exchanged",
            [columns * width + rows],
            "row * W + column: what is multiplied by W counts down.",
        ),
        Cause(
            "planes counted too",
            [indices + planes * (indices.max() + 1)],
            "Each plane (image and channel) counts from 0.",
        ),
    ]


@check(points=3, part=THREE)
def unpooling_forward_and_backward(student, rng):
    """max_unpool2d_forward and backward: 2 x 3 elements a plane back into 4 x 6."""
    image = rng.standard_normal((2, 2, 4, 6))
    _, indices = F.max_pool2d(md.tensor(image), 2, return_indices=True)
    x, grad = rng.standard_normal((2, 2, 2, 3)), rng.standard_normal(image.shape)
    out, (grad_x,) = oracle(lambda t: F.max_unpool2d(t, indices, 2), grad, x)
    got = student.call("max_unpool", x=x, indices=indices.numpy(), size=(4, 6), grad=grad)
    require(
        not got["refused"],
        f"these indices are all different within a plane, and were refused: {got.get('message')}",
        "planes mixed up: the same index in two planes (images, channels) is no overlap.",
        "Look at the indices of one plane (n, c) at a time.",
    )
    compare(
        "out",
        got["out"],
        out,
        causes=[
            Cause(
                "nearest instead of unpooling",
                x.repeat(2, 2).repeat(2, 3),
                "Only the place of the maximum gets a value, the others of the window 0.",
            ),
            Cause("bed of nails", nails(x), "The places are those of indices."),
        ],
        look="out[n, c].ravel()[indices[n, c, 0, 0]] is x[n, c, 0, 0].",
    )
    compare(
        "grad_x",
        got["grad_x"],
        grad_x,
        causes=[
            Cause(
                "first plane everywhere",
                [grad.ravel()[indices.numpy()], grad[0, 0].ravel()[indices.numpy()]],
                "The indices count within a plane; each plane has its own gradient.",
            ),
            Cause(
                "sum over the window",
                grad.reshape(2, 2, 2, 2, 3, 2).sum((3, 5)),
                "x went to one place of each window: only that place's gradient comes back.",
            ),
        ],
        look="Where x[n, c, i, j] was written, there its gradient is read.",
    )
    unchanged(got, "x", "indices", "grad")


def nails(x):
    out = np.zeros((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]))
    out[:, :, ::2, ::2] = x
    return out


# -- 4. Transposed convolution ---------------------------------------------------------------------

FOUR = "4. Transposed convolution"


@check(points=2, part=FOUR)
def output_size_of_a_transposed_convolution(student, rng):
    """conv_transpose_output_size for five combinations, worked out by hand."""
    size, kernel, stride = [4, 4, 4, 7, 5], [2, 3, 3, 4, 5], [2, 1, 2, 2, 3]
    padding, output_padding = [0, 0, 1, 1, 1], [0, 0, 1, 0, 2]
    arguments = {"size": size, "kernel": kernel, "stride": stride, "padding": padding}
    got = student.call("transpose_sizes", **arguments, output_padding=output_padding)
    compare(
        "sizes",
        got["sizes"],
        np.array([8, 6, 8, 14, 17]),
        causes=[
            Cause(
                "padding added instead of removed",
                np.array([8, 6, 12, 18, 21]),
                "Padding made the convolution's input larger; its transpose cuts it off.",
            ),
            Cause("padding on one side", np.array([8, 6, 9, 15, 18]), "It is cut on two sides."),
            Cause(
                "output padding forgotten",
                np.array([8, 6, 7, 14, 15]),
                "So many rows more come at the end.",
            ),
            Cause(
                "output padding on two sides",
                np.array([8, 6, 9, 14, 19]),
                "It is added once, at the end.",
            ),
            Cause(
                "size times stride",
                np.array([10, 7, 10, 16, 20]),
                "The last copy begins (size - 1) strides after the first.",
            ),
            Cause("size of a convolution", np.array([2, 2, 2, 3, 1]), "This is the other way."),
        ],
        look="Draw case 0: four copies of a kernel of 2, each 2 further right: where does the last "
        "one end?",
    )


def transpose_causes(x, weight, bias, **options):
    """Known wrong results of a transposed convolution, from minidl's with other arguments."""
    arrays = (x, weight) if bias is None else (x, weight, bias)
    right = value(F.conv_transpose2d, *arrays, **options)
    causes = [
        Cause(
            "kernel flipped",
            value(F.conv_transpose2d, x, weight[:, :, ::-1, ::-1].copy(), *arrays[2:], **options),
            "Each element of x puts the kernel into the output as it is: (0, 0) is upper left.",
        )
    ]
    if weight.shape[0] == weight.shape[1]:
        causes.append(
            Cause(
                "channels of the weight exchanged",
                value(F.conv_transpose2d, x, weight.swapaxes(0, 1).copy(), *arrays[2:], **options),
                "weight is (C, O, KH, KW), inputs first: the other way round than a convolution's.",
            )
        )
    if bias is not None:
        plain = right - bias[:, None, None]
        times = weight.shape[2] * weight.shape[3]
        causes += [
            Cause("bias forgotten", plain, "bias[o] is added to all pixels of output channel o."),
            Cause(
                "bias once per kernel element",
                plain + times * bias[:, None, None],
                "Add it once, after the loop.",
            ),
        ]
    return causes


@check(points=3, part=FOUR)
def transposed_convolution_with_stride(student, rng):
    """conv_transpose2d_forward: 3 channels to 3, kernels 3 x 3, stride 2, bias; no padding."""
    x, weight = rng.standard_normal((2, 3, 3, 4)), rng.standard_normal((3, 3, 3, 3))
    bias = rng.standard_normal(3)
    got = student.call("conv_transpose", x=x, weight=weight, bias=bias, stride=2)
    compare(
        "out",
        got["out"],
        value(F.conv_transpose2d, x, weight, bias, stride=2),
        causes=transpose_causes(x, weight, bias, stride=2),
        look="The first pixel is reached by one copy only: out[0, o, 0, 0] is the sum of "
        "x[0, c, 0, 0] * weight[c, o, 0, 0] over c, plus bias[o]. In out[0, o, 0, 2] the shares of "
        "two copies are added.",
    )
    unchanged(got, "x", "weight", "bias")


@check(points=3, part=FOUR)
def transposed_convolution_gradients(student, rng):
    """conv_transpose2d_backward: 2 images, 3 channels to 2, kernels 2 x 2, stride 2, bias."""
    x, weight = rng.standard_normal((2, 3, 3, 4)), rng.standard_normal((3, 2, 2, 2))
    bias, grad = rng.standard_normal(2), rng.standard_normal((2, 2, 6, 8))
    _, right = oracle(F.conv_transpose2d, grad, x, weight, bias, stride=2)
    turned = weight[:, :, ::-1, ::-1].copy()
    _, (flipped, _, _) = oracle(F.conv_transpose2d, grad, x, turned, bias, stride=2)
    got = student.call("conv_transpose", x=x, weight=weight, bias=bias, grad=grad, stride=2)
    why = "Backward reads with the kernel as it is, where the forward wrote with it."
    causes = [Cause("kernel flipped", flipped, why)]
    transpose_gradients(got, x, weight, grad, right, x_causes=causes)
    unchanged(got, "x", "weight", "grad")


def transpose_gradients(got, x, weight, grad, right, x_causes=(), weight_causes=()):
    """Compare the three gradients of a transposed convolution."""
    grad_x, grad_weight, grad_bias = right
    n = len(x)
    mean = Cause(
        "divided by N",
        lambda a: any(a.shape == r.shape and np.allclose(a * n, r) for r in right),
        "The mean over the batch is the loss's affair; here the images' shares are added.",
    )
    compare(
        "grad_x",
        got["grad_x"],
        grad_x,
        causes=[mean, *x_causes],
        look="x[n, c, a, b] was put, times the kernel, into a window of the output: its gradient "
        "is the product of that window of grad with weight[c], summed over o, i and j.",
    )
    compare(
        "grad_weight",
        got["grad_weight"],
        grad_weight,
        causes=[mean, *weight_causes],
        look="weight[c, o, i, j] met x[n, c, a, b] in pixel (a stride + i, b stride + j): sum over "
        "n, a and b.",
    )
    compare(
        "grad_bias",
        got["grad_bias"],
        grad_bias,
        causes=[
            mean,
            Cause(
                "not summed over the batch",
                grad.sum((2, 3)),
                "bias[o] was added to each pixel of each image.",
            ),
        ],
        look="bias[o] was added to all pixels of channel o of all images.",
    )


@check(points=2, part=FOUR)
def bilinear_kernel_for_a_factor_of_2(student, rng):
    """bilinear_kernel: two channels, factor 2, worked out by hand."""
    line = np.array([0.25, 0.75, 0.75, 0.25])
    expected = np.zeros((2, 2, 4, 4))
    expected[0, 0] = expected[1, 1] = np.outer(line, line)
    off = np.array([0.5, 1.0, 0.5, 0.0])
    got = student.call("kernel", channels=2, factor=2)
    compare(
        "weight",
        got["weight"],
        expected,
        causes=kernel_causes(expected, off, 4),
        look="Along one axis the kernel is 0.25, 0.75, 0.75, 0.25.",
    )


def kernel_causes(right, off, total):
    """Known wrong kernels, `off` being a tent whose top is at another place."""
    c = len(right)
    one, eye = right[0, 0], np.eye(c)[:, :, None, None]
    return [
        Cause(
            "channels mixed",
            np.ones_like(right) * one,
            "Each channel is enlarged alone: weight[c, o] is 0 unless c == o.",
        ),
        Cause(
            "another middle of the kernel",
            [eye * np.outer(off, off), eye * np.outer(off[::-1], off[::-1])],
            "k elements 0 ... k - 1 have their middle at (k - 1) / 2; the tent is symmetric.",
        ),
        Cause(
            "normalised",
            [right / total, right / right.sum((2, 3)).max()],
            "The kernel's sum is f * f, not 1: a pixel of the output sees only every f-th element.",
        ),
    ]


# -- 5. Skip connections ---------------------------------------------------------------------------

FIVE = "5. Skip connections"


@check(points=2, part=FIVE)
def skip_connection_with_an_even_border(student, rng):
    """skip_forward and skip_backward: a map (2, 3, 8, 10) beside one of (2, 2, 4, 6)."""
    up, skip = rng.standard_normal((2, 2, 4, 6)), rng.standard_normal((2, 3, 8, 10))
    grad = rng.standard_normal((2, 5, 4, 6))
    got = student.call("skip", up=up, skip=skip, grad=grad)
    # The crop is rows 2 to 5 and columns 2 to 7.
    crops = [skip[:, :, 2:6, 2:8], skip[:, :, :4, :6]]
    compare_skip(got, up, skip, grad, crops, ((2, 2), (2, 2)))


def compare_skip(got, up, skip, grad, crops, cut):
    """`crops`: the right one, the corner's, one with the odd rest at another side. `cut`: how much
    was cut off, (top, bottom) and (left, right).
    """
    cropped, corner, *odd = crops
    d = skip.shape[1]

    compare(
        "out",
        got["out"],
        np.concatenate([cropped, up], 1),
        causes=[
            Cause(
                "cropped at the corner",
                np.concatenate([corner, up], 1),
                "The middle is kept: as much goes on one side as on the other.",
            ),
            Cause(
                "odd rest on the other side",
                [np.concatenate([crop, up], 1) for crop in odd],
                "For an odd difference the crop begins at (H - h) // 2.",
            ),
            Cause(
                "order of the channels",
                np.concatenate([up, cropped], 1),
                "First the channels of skip, then those of up.",
            ),
        ],
        look="The first D channels are a window of skip, the others are up unchanged.",
    )
    grad_up, grad_skip = grad[:, d:], np.pad(grad[:, :d], ((0, 0), (0, 0), *cut))
    compare(
        "grad_up",
        got["grad_up"],
        grad_up,
        causes=[
            Cause(
                "split at the wrong channel",
                [grad[:, : up.shape[1]], grad[:, up.shape[1] :]],
                "The forward put D channels of skip first: up's gradient begins at channel D.",
            )
        ],
        look="Which channels of out are up?",
    )
    compare(
        "grad_skip",
        got["grad_skip"],
        grad_skip,
        causes=[
            Cause(
                "crop not undone",
                grad[:, :d],
                "A gradient has the shape of what it is the gradient of: what was cut off gets 0.",
            )
        ],
        look="The gradient of what was cut off is 0; the rest goes where it was read.",
    )
    unchanged(got, "up", "skip", "grad")


# -- 6. Losses -------------------------------------------------------------------------------------

SIX = "6. Losses"


def draw_masks(rng, n, k, h, w, ignored=None):
    """Logits (N, K, H, W), targets (N, H, W) with all classes, class weights (K,)."""
    logits = rng.standard_normal((n, k, h, w)) * 2
    targets = rng.integers(0, k, (n, h, w))
    if ignored is not None:
        targets[rng.random(targets.shape) < 0.3] = ignored
    return logits, targets, rng.uniform(0.5, 3, k)


def loss_causes(logits, targets, weight, ignored):
    """Known wrong values of the mean cross-entropy."""
    axes = logits.shape[1]
    counted = targets != ignored
    labels = np.where(counted, targets, 0)
    each = value(F.cross_entropy, logits, labels, reduction="none")
    v = weight[labels]
    over = [np.exp(logits) / np.exp(logits).sum(axis, keepdims=True) for axis in (0, 2, 3)]
    other = [-np.log(np.take_along_axis(p, labels[:, None], 1)[:, 0]) for p in over]
    total = (each * v * counted).sum()
    return [
        Cause(
            "ignored pixels counted",
            [(each * v).sum() / v.sum(), (each * v).sum() / (v * counted).sum()],
            "A pixel whose target is ignore_index adds nothing, neither above nor below.",
        ),
        Cause(
            "divided by the number of pixels",
            [total / counted.sum(), total / counted.size, total / v.sum()],
            "A weighted mean divides by the sum of the weights that took part.",
        ),
        Cause(
            "weights forgotten",
            (each * counted).sum() / counted.sum(),
            "Each pixel counts as much as its class's weight.",
        ),
        Cause("sum instead of mean", total, "Divide by the sum of the pixels' weights."),
        Cause("sign", lambda a: a < 0, "The loss is minus the logarithm of p."),
        Cause(
            "softmax over another axis",
            [(e * v * counted).sum() / (v * counted).sum() for e in other],
            f"The {axes} probabilities of one pixel add up to 1: the classes are axis 1.",
        ),
    ]


@check(points=3, part=SIX)
def cross_entropy_of_pixels(student, rng):
    """cross_entropy_forward: 2 images, 3 classes with weights, some pixels ignored (255)."""
    logits, targets, weight = draw_masks(rng, 2, 3, 4, 5, 255)
    got = student.call(
        "cross_entropy", logits=logits, targets=targets, weight=weight, ignore_index=255
    )
    expected = F.cross_entropy(
        md.tensor(logits), md.tensor(targets), weight=md.tensor(weight), ignore_index=255
    )
    compare(
        "loss",
        got["loss"],
        expected.numpy(),
        causes=loss_causes(logits, targets, weight, 255),
        look="Try two pixels of your own, of which one is ignored: the loss is that of the other.",
    )
    unchanged(got, "logits", "targets", "weight")


@check(points=2, part=SIX)
def gradient_of_the_cross_entropy(student, rng):
    """cross_entropy_backward with grad = 1: 2 images, 4 classes, no weights, some ignored."""
    logits, targets, _ = draw_masks(rng, 2, 4, 3, 5, -100)
    got = student.call("cross_entropy", logits=logits, targets=targets, grad=1.0)
    compare_loss_gradient(got, logits, targets, None, -100, 1.0)


def compare_loss_gradient(got, logits, targets, weight, ignored, grad):
    def loss(scores, w=weight):
        return F.cross_entropy(
            scores,
            md.tensor(targets),
            weight=None if w is None else md.tensor(w),
            ignore_index=ignored,
        )

    _, (expected,) = oracle(loss, grad, logits)
    _, (unweighted,) = oracle(lambda scores: loss(scores, None), grad, logits)
    counted = targets != ignored
    number = counted.sum()
    causes = [
        Cause(
            "gradient at ignored pixels",
            lambda a: a[np.broadcast_to(~counted[:, None], a.shape)].any(),
            "The loss does not look at ignored pixels: their gradient is 0.",
        ),
        Cause(
            "mean forgotten",
            expected * (number if weight is None else weight[targets[counted]].sum()),
            "The forward divided by the sum of the weights; so must the backward.",
        ),
        Cause(
            "divided by the number of pixels",
            [expected * number / counted.size],
            "Divide by what the forward divides by: ignored pixels do not count.",
        ),
        Cause("grad forgotten", expected / grad, "grad is dL/dloss and multiplies everything."),
    ]
    if weight is not None:
        causes.append(
            Cause("weights forgotten", unweighted, "A pixel's gradient has its class's weight too.")
        )
    compare(
        "grad_logits",
        got["grad_logits"],
        expected,
        causes=causes,
        look="Tests by hand: the gradients of a pixel add up to 0 over the classes; only that of "
        "its target is negative; all are 0 where the target is ignored.",
    )
    unchanged(got, "logits", "targets")


@check(points=2, part=SIX)
def dice_loss_of_one_image(student, rng):
    """dice_forward: one image, 3 classes, smooth = 1."""
    logits, targets, _ = draw_masks(rng, 1, 3, 4, 5)
    got = student.call("dice", logits=logits, targets=targets, smooth=1.0)
    compare_dice(got, logits, targets, 1.0)


def compare_dice(got, logits, targets, smooth, causes=()):
    classes, n = logits.shape[1], len(logits)

    def loss(smooth):
        return F.dice_loss(md.tensor(logits), md.tensor(targets), smooth=smooth).numpy()

    expected = loss(smooth)
    compare(
        "loss",
        got["loss"],
        expected,
        causes=[
            Cause("smooth forgotten", loss(0), "Add it above and below."),
            Cause("the coefficient instead of the loss", 1 - expected, "The loss is 1 minus it."),
            Cause(
                "sum instead of mean",
                [expected * classes, expected * classes * n],
                "The loss is the mean over images and classes.",
            ),
            *causes,
        ],
        look="Print p, g and the two sums of one class of one image; put them into the formula.",
    )
    unchanged(got, "logits", "targets")


# -- 7. Large images -------------------------------------------------------------------------------

SEVEN = "7. Large images"


@check(points=2, part=SEVEN)
def tiles_that_fit(student, rng):
    """predict_tiles: an image of (2, 8, 12) in tiles of 4 with a context of 2."""
    image, kernels = rng.standard_normal((2, 8, 12)), rng.standard_normal((3, 2, 5, 5))
    got = student.call("tiles", image=image, kernels=kernels, tile=4, context=2)
    compare_tiles(got, image, kernels, 4, 2)


def compare_tiles(got, image, kernels, tile, context):
    """With what the network makes of the image under several continuations of it."""

    def whole(mode):
        padded = np.pad(image, ((0, 0), (context, context), (context, context)), mode=mode)
        reach = kernels.shape[-1] // 2
        out = value(F.conv2d, padded[None], kernels, padding=reach)[0]
        return out[:, context:-context, context:-context]

    expected = whole("reflect")
    large = tile + 2 * context
    pieces = np.asarray(got["pieces"])
    require(
        pieces.ndim == 2 and (pieces[:, 1:] == large).all() and len(image) == pieces[0, 0],
        f"the network takes pieces of {(len(image), large, large)}; it was shown "
        f"{sorted({tuple(int(n) for n in size) for size in pieces})}"[:300],
        "pieces of another size: a piece is the tile and `context` pixels on each of its sides, "
        "also at the border of the image.",
        "Continue the image beyond its border first, then cut the pieces out.",
    )
    out = np.asarray(got["out"])
    h, w = image.shape[1:]
    same = out.shape == expected.shape
    full = h // tile * tile, w // tile * tile
    inner = (slice(None), slice(context, h - context), slice(context, w - context))
    fitting = same and np.allclose(out[:, : full[0], : full[1]], expected[:, : full[0], : full[1]])
    compare(
        "out",
        out,
        expected,
        causes=[
            Cause("zeros beyond the border", whole("constant"), "Use the mirror image."),
            Cause(
                "border row repeated",
                [whole("symmetric"), whole("edge")],
                "The mirror stands on the border row: what follows row 0 outwards is row 1.",
            ),
            Cause(
                "last tiles missing",
                lambda a: fitting and full != (h, w) and not np.allclose(a, expected),
                "The tiles that fit entirely are right, the rest is not: round the number of tiles "
                "up, and cut off what is too much at the end.",
            ),
            Cause(
                "middle of the answer missed",
                lambda a: same and not np.allclose(a[inner], expected[inner]),
                "Of an answer only the tile in its middle is used: cut `context` pixels off on all "
                "four sides.",
            ),
        ],
        look="Compare the first wrong pixel's place with the borders of the tiles and of the "
        "image.",
    )
    unchanged(got, "image")


@check(points=1, part=SEVEN)
def windows_that_fit(student, rng):
    """predict_windows: an image of (2, 8, 6), windows of 4, stride 2."""
    image, matrix = rng.standard_normal((2, 8, 6)), rng.standard_normal((3, 2))
    got = student.call("windows", image=image, matrix=matrix, window=4, stride=2)
    # In a window the network's answers rise and fall like 1, 2, 2, 1 along each axis. Windows begin
    # at rows 0, 2 and 4: row 2 is the third of one window and the first of the next.
    means = [1, 2, 1.5, 1.5, 1.5, 1.5, 2, 1], [1, 2, 1.5, 1.5, 2, 1]
    sums = [1, 2, 3, 3, 3, 3, 2, 1], [1, 2, 3, 3, 2, 1]
    last = [1, 2, 1, 2, 1, 2, 2, 1], [1, 2, 1, 2, 2, 1]
    compare_windows(got, image, matrix, means, sums, last)


def compare_windows(got, image, matrix, means, sums, last, missing=None):
    """With factors of rows and columns: right, undivided, overwritten, without the last window."""
    mixed = np.einsum("kc,chw->khw", matrix, image)
    causes = [
        Cause(
            "overwritten instead of averaged",
            mixed * np.outer(*last),
            "Where windows overlap, add the answers up, and divide by how many there were.",
        ),
        Cause(
            "not divided by the count",
            mixed * np.outer(*sums),
            "Pixels in the middle lie in more windows than those of the corners: divide each by "
            "its own number of windows.",
        ),
    ]
    if missing is not None:
        without = np.outer(*missing)
        causes.append(
            Cause(
                "border not covered",
                [mixed * without, mixed * np.where(without == 0, np.nan, without)],
                "Where the last window does not end at the border, one more does.",
            )
        )
    compare(
        "out",
        got["out"],
        mixed * np.outer(*means),
        causes=causes,
        look="List where windows begin along each axis. In how many of them does the first wrong "
        "pixel lie, and where in each?",
    )
    unchanged(got, "image")


# -- 8. A network that trains ----------------------------------------------------------------------

EIGHT = "8. A network that trains"


def draw_net(rng, channels, first, second, classes):
    """Parameters of a small U-Net."""

    def draw(fan_in, *shape):
        return rng.standard_normal(shape) * np.sqrt(2 / fan_in)

    return {
        "down.weight": draw(9 * channels, first, channels, 3, 3),
        "down.bias": 0.1 * rng.standard_normal(first),
        "bottom.weight": draw(9 * first, second, first, 3, 3),
        "bottom.bias": 0.1 * rng.standard_normal(second),
        "up.weight": draw(second, second, first, 2, 2),
        "up.bias": 0.1 * rng.standard_normal(first),
        "head.weight": draw(18 * first, classes, 2 * first, 3, 3),
        "head.bias": 0.1 * rng.standard_normal(classes),
    }


def network(x, *p, relu=(F.relu, F.relu), swapped=False, cut=""):
    """minidl's network of the parameters in the order of `draw_net`.

    `relu` are the two functions after the convolutions; `cut` is a way that no gradient takes.
    """
    down = relu[0](F.conv2d(x, p[0], p[1], padding=1))
    pooled = F.max_pool2d(down.detach() if cut == "pool" else down, 2)
    bottom = relu[1](F.conv2d(pooled, p[2], p[3], padding=1))
    up = F.conv_transpose2d(bottom, p[4], p[5], stride=2)
    way = down.detach() if cut == "skip" else down
    both = [up, way] if swapped else [way, up]
    return F.conv2d(md.cat(both, 1), p[6], p[7], padding=1)


def as_it_is(x):
    return x


@check(points=1, part=EIGHT)
def network_forward(student, rng):
    """unet_forward: 2 images (2, 4, 6), 3 and 4 channels, 3 classes."""
    x, params = rng.standard_normal((2, 2, 4, 6)), draw_net(rng, 2, 3, 4, 3)
    got = student.call("unet", x=x, **params)
    arrays = (x, *params.values())
    compare(
        "logits",
        got["logits"],
        value(network, *arrays),
        causes=[
            Cause("channels in another order", value(network, *arrays, swapped=True), "See skip."),
            Cause(
                "ReLU forgotten",
                [
                    value(network, *arrays, relu=r)
                    for r in ((as_it_is,) * 2, (as_it_is, F.relu), (F.relu, as_it_is))
                ],
                "After both convolutions on the way down, before the pooling and before the "
                "transposed convolution.",
            ),
        ],
        look="Print the shapes of down, small, bottom, up and both beside those of the docstring; "
        "parts 3, 4 and 5 are used here.",
    )
    unchanged(got, "x", *params)
