"""The hidden checks of A4: the same contracts with other sizes, and their edges.

Expected values come from minidl's operations and metrics, or from slow loops written here; wrong
results, by which a mistake is recognised, too.
"""

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl.metrics import ConfusionMatrix
from minidl.teach.assign import Cause, check, compare, require

from .public import (
    ADD,
    EIGHT,
    FIVE,
    FOUR,
    ONE,
    SEVEN,
    SIX,
    THREE,
    TWO,
    compare_dice,
    compare_loss_gradient,
    compare_skip,
    compare_tiles,
    compare_windows,
    draw_masks,
    draw_net,
    index_causes,
    kernel_causes,
    network,
    oracle,
    transpose_causes,
    transpose_gradients,
    unchanged,
    value,
)

# -- 1. Scores -------------------------------------------------------------------------------------


@check(points=3, part=ONE)
def confusion_matrix_of_bytes(student, rng):
    """confusion_matrix: masks of uint8 as they come from a file, 20 classes, 255 ignored."""
    targets = rng.integers(0, 20, (2, 9, 11)).astype(np.uint8)
    predicted = rng.integers(0, 20, targets.shape).astype(np.uint8)
    predicted[:, :6] = targets[:, :6]
    targets[:, 4:7, 3:6] = 255
    metric = ConfusionMatrix(20, ignore_index=255)
    metric.update(md.tensor(predicted), md.tensor(targets))
    expected = metric.matrix
    counted = targets != 255
    t, p = targets[counted], predicted[counted]
    wrapped = np.bincount(t * np.uint8(20) + p, minlength=400).reshape(20, 20)
    as_0 = expected + 0
    np.add.at(as_0, (0, predicted[~counted]), 1)
    got = student.call(
        "confusion_matrix", predicted=predicted, targets=targets, num_classes=20, ignore_index=255
    )
    compare(
        "matrix",
        got["matrix"],
        expected,
        causes=[
            Cause(
                "overflow of uint8",
                wrapped,
                "An array of uint8 times 20 stays uint8: 13 * 20 becomes 260 - 256 = 4. Convert to "
                "int64 before you multiply.",
            ),
            Cause("rows and columns exchanged", expected.T, "Rows are the truth."),
            Cause(
                "repeated pixels counted once",
                (expected > 0).astype(int),
                "m[rows, columns] += 1 adds 1 once, however often an element is named.",
            ),
            Cause("ignored pixels counted", as_0, "A pixel with target 255 must appear nowhere."),
        ],
        look="The sum of the matrix is the number of pixels that count: "
        f"{int(counted.sum())} here.",
    )
    unchanged(got, "targets", "predicted")


@check(points=3, part=ONE)
def scores_with_absent_classes(student, rng):
    """segmentation_scores: one class is nowhere, one only predicted, one never predicted."""
    matrix = rng.integers(1, 40, (6, 6))
    matrix[1], matrix[:, 1] = 0, 0  # class 1 is nowhere
    matrix[3] = 0  # class 3 is only predicted
    matrix[:, 4] = 0  # class 4 is never predicted
    metric = ConfusionMatrix(6)
    metric.load_state_dict({"matrix": matrix})
    accuracy = np.array([float(score) for score in metric.class_accuracy()])
    iou = np.array([float(score) for score in metric.class_iou()])
    truth, said, hits = matrix.sum(1), matrix.sum(0), np.diag(matrix)
    there, nan = truth > 0, np.full(6, np.nan)
    precision = np.divide(hits, said, out=nan.copy(), where=said > 0)
    twice = np.divide(hits, truth + said, out=nan.copy(), where=truth + said > 0)
    got = student.call("scores", matrix=matrix)
    absent = "A class that is neither there nor predicted has no score: NaN, and left out of means."
    zero = "absent classes counted as 0"
    wrong = {
        "accuracy": [
            Cause(zero, np.nan_to_num(accuracy), absent),
            Cause("precision instead of accuracy", precision, "Divide by the truth: rows."),
        ],
        "iou": [
            Cause(zero, np.nan_to_num(iou), absent),
            Cause(
                "class without truth left out",
                np.where(there, iou, np.nan),
                "A class that is not there but was predicted has the IoU 0, and counts: these "
                "pixels are errors.",
            ),
            Cause("absent classes counted as 1", np.where(np.isnan(iou), 1, iou), absent),
            Cause("intersection counted twice", twice, "Subtract it once."),
        ],
        "mean_accuracy": [Cause(zero, np.nansum(accuracy) / 6, absent)],
        "mean_iou": [
            Cause(zero, np.nansum(iou) / 6, absent),
            Cause(
                "class without truth left out",
                iou[there].mean(),
                "Class 3 was predicted where it is not: its IoU is 0, and counts.",
            ),
        ],
        "frequency_weighted_iou": [
            Cause(
                "weights from the predictions",
                np.nansum(said * iou) / said.sum(),
                "The weight of a class is how many pixels truly are it.",
            ),
            Cause("weights of all classes alike", np.nanmean(iou), "Weight by true pixels."),
        ],
    }
    expected = {name: float(score) for name, score in metric.scores().items()}
    for name, right in (("accuracy", accuracy), ("iou", iou), *expected.items()):
        compare(
            name,
            got[name],
            right,
            causes=wrong.get(name, []),
            look="Row 1 and column 1 of this matrix are empty, so are row 3 and column 4: write "
            "down what each score must be for classes 1, 3 and 4.",
        )
    unchanged(got, "matrix")


# -- 2. Resizing -----------------------------------------------------------------------------------


@check(points=3, part=TWO)
def nearest_neighbour_to_any_size(student, rng):
    """nearest_forward and nearest_backward: 5 x 7 to 8 x 3, and 4 x 4 to 3 x 10."""
    for size, target in (((5, 7), (8, 3)), ((4, 4), (3, 10))):
        x, grad = rng.standard_normal((2, 3, *size)), rng.standard_normal((2, 3, *target))
        out, (grad_x,) = oracle(F.interpolate, grad, x, size=target)
        got = student.call("nearest", x=x, size=target, grad=grad)

        def copied(index, x=x, size=size, target=target):
            rows, columns = (
                np.clip([int(index(o * n / m)) for o in range(m)], 0, n - 1)
                for n, m in zip(size, target, strict=True)
            )
            return x[:, :, rows][:, :, :, columns]

        compare(
            f"out of {size} to {target}",
            got["out"],
            out,
            causes=[
                Cause(
                    "rounded instead of cut",
                    [copied(np.round), copied(np.ceil), copied(lambda a: np.floor(a + 0.5))],
                    "floor(o * H / OH): the fraction is cut off.",
                ),
                Cause(
                    "centres used",
                    value(F.interpolate, x, size=target, mode="nearest-exact"),
                    "The contract's rule has no half pixels (it is torch's nearest, not "
                    "nearest-exact).",
                ),
            ],
            look="Print o * H / OH for each o along the first axis that is wrong.",
        )
        last = np.zeros_like(x)
        for o, p in np.ndindex(target):
            place = o * size[0] // target[0], p * size[1] // target[1]
            last[:, :, place[0], place[1]] = grad[:, :, o, p]
        _, (count,) = oracle(F.interpolate, np.ones_like(grad), x, size=target)
        mean = grad_x / np.maximum(count, 1)
        compare(
            f"grad_x of {size} to {target}",
            got["grad_x"],
            grad_x,
            causes=[
                Cause("overwritten instead of added", last, ADD),
                Cause("mean instead of sum", mean, "Each copy hands its whole gradient back."),
            ],
            look="A pixel that was copied twice gets two gradients, one that was left out 0.",
        )
        unchanged(got, "x", "grad")


@check(points=2, part=TWO)
def positions_for_other_sizes(student, rng):
    """source_positions: 5 to 3, 3 to 8, 1 to 4 and 6 to 1, for both values of align_corners."""
    cases = [(n, m, a) for n, m in ((5, 3), (3, 8), (1, 4), (6, 1)) for a in (True, False)]
    n, out, align = zip(*cases, strict=True)
    got = student.call("positions", n=list(n), out=list(out), align_corners=list(align))
    for i, (pixels, size, aligned) in enumerate(cases):
        o = np.arange(size)
        between = o * (pixels - 1) / max(size - 1, 1)
        free = (o + 0.5) * pixels / size - 0.5
        edge = np.clip(free, 0, pixels - 1)
        if aligned:
            causes = [
                Cause(
                    "steps counted as pixels",
                    [o * (pixels - 1) / size, o * pixels / size, o * pixels / max(size - 1, 1)],
                    "n pixels have n - 1 steps between their centres.",
                ),
                Cause(
                    "one pixel: 0 / 0",
                    lambda a, size=size: size == 1 and not np.isfinite(a).all(),
                    "A single output pixel has no step; the contract says where it lies.",
                ),
            ]
        else:
            causes = [
                Cause(
                    "half a pixel forgotten",
                    [o * pixels / size, np.clip((o + 0.5) * pixels / size, 0, pixels - 1)],
                    "The first centre of the input is itself half a pixel from the edge.",
                ),
                Cause(
                    "not moved to the edge",
                    [free, np.maximum(free, 0), np.minimum(free, pixels - 1)],
                    "Positions before 0 are moved to 0, those beyond n - 1 to n - 1.",
                ),
            ]
        other = edge if aligned else between
        compare(
            f"positions of {size} pixels among {pixels}, align_corners={aligned}",
            got[f"positions {i}"],
            between if aligned else edge,
            causes=[*causes, Cause("align_corners the other way", other, "See the docstring.")],
            look="Draw both rows of pixels above each other.",
        )


def sampled(x, rows, columns):
    """minidl's way to sample: a matrix of shares along each axis."""
    down, across = (
        np.maximum(0, 1 - np.abs(np.arange(n) - at[:, None]))
        for n, at in zip(x.shape[2:], (rows, columns), strict=True)
    )
    return md.tensor(down) @ x @ md.tensor(across.T)


@check(points=2, part=TWO)
def bilinear_sampling_and_its_gradient(student, rng):
    """bilinear_forward and bilinear_backward: random positions, repeated ones, the edges."""
    x = rng.standard_normal((2, 2, 5, 4))
    rows = np.append(rng.uniform(0, 4, 5), [4.0, 1.0, 1.5, 0.0])
    columns = np.append(rng.uniform(0, 3, 3), [3.0, 0.0, 2.25, 2.25])
    grad = rng.standard_normal((2, 2, 9, 7))
    out, (grad_x,) = oracle(lambda t: sampled(t, rows, columns), grad, x)
    got = student.call("bilinear", x=x, rows=rows, columns=columns, grad=grad)
    low = [np.floor(at) for at in (rows, columns)]
    turned = [2 * a + 1 - at for a, at in zip(low, (rows, columns), strict=True)]
    inside = np.s_[:, :, :5, :3]  # positions that are no whole numbers
    compare(
        "out",
        got["out"],
        out,
        causes=[
            Cause(
                "shares exchanged",
                lambda a: np.allclose(a[inside], sampled(md.tensor(x), *turned).numpy()[inside]),
                "The nearer of two pixels has the larger share.",
            )
        ],
        look="First the positions that are whole numbers: there out is the pixel itself, at the "
        "last row and column too.",
    )

    def overwritten(high):
        """The pixels before and after take their shares in turn, the last of equal ones wins."""
        total = np.zeros_like(x)
        for r, down in ((low[0], 1 - rows + low[0]), (high[0], rows - low[0])):
            for c, across in ((low[1], 1 - columns + low[1]), (high[1], columns - low[1])):
                kept = np.zeros_like(x)
                kept[:, :, r.astype(int)[:, None], c.astype(int)] = grad * np.outer(down, across)
                total += kept
        return total

    following = [np.minimum(a + 1, n - 1) for a, n in zip(low, (5, 4), strict=True)]
    first = np.zeros_like(x)
    np.add.at(first, np.s_[:, :, low[0].astype(int)[:, None], low[1].astype(int)], grad)
    compare(
        "grad_x",
        got["grad_x"],
        grad_x,
        causes=[
            Cause(
                "overwritten instead of added",
                [overwritten(following), overwritten([np.ceil(rows), np.ceil(columns)])],
                "Several positions lie next to the same pixel: a[rows, columns] += keeps only one "
                "of them where an index is repeated (np.add.at adds all). " + ADD,
            ),
            Cause(
                "shares forgotten",
                first,
                "An output took a share of four pixels; each gets that share of the gradient.",
            ),
        ],
        look="Send a grad that is 0 but for one output, and see which four pixels get a share.",
    )
    unchanged(got, "x", "rows", "columns", "grad")


@check(points=2, part=TWO)
def resizing_in_float32(student, rng):
    """source_positions and bilinear_forward, backward together: float32, 4 x 6 to 7 x 5."""
    for align in (True, False):
        x = rng.standard_normal((2, 3, 4, 6)).astype(np.float32)
        grad = rng.standard_normal((2, 3, 7, 5)).astype(np.float32)
        options = {"size": (7, 5), "mode": "bilinear", "align_corners": align}
        out, (grad_x,) = oracle(F.interpolate, grad, x, **options)
        got = student.call("resize", x=x, size=(7, 5), align_corners=align, grad=grad)
        for name, right in (("out", out), ("grad_x", grad_x)):
            compare(
                f"{name} (align_corners={align})",
                got[name],
                right,
                rtol=1e-4,
                atol=1e-5,
                dtype=np.float32,
                look="Positions are float64, and an image times them would be, too: results have "
                "the dtype of x. If the values are wrong, see the other checks of this part first.",
            )


# -- 3. Unpooling ----------------------------------------------------------------------------------


@check(points=3, part=THREE)
def max_pooling_of_overlapping_windows(student, rng):
    """max_pool2d_forward: 8 x 9, windows 3 x 3, stride 2, negative elements, many of them equal."""
    x = rng.integers(-4, 0, (2, 2, 8, 9)).astype(float)
    out, indices = F.max_pool2d(md.tensor(x), 3, 2, return_indices=True)
    out, indices = out.numpy(), indices.numpy()
    backwards = np.ascontiguousarray(x[:, :, ::-1, ::-1])
    cut = backwards[:, :, 1:]  # the last row is in no window
    _, last = F.max_pool2d(md.tensor(cut), 3, 2, return_indices=True)
    last = np.ascontiguousarray((7 * 9 - 1 - last.numpy())[:, :, ::-1, ::-1])
    got = student.call("max_pool", x=x, kernel_size=3, stride=2)
    apart = value(F.max_pool2d, x, kernel_size=3)
    compare(
        "out",
        got["out"],
        out,
        causes=[Cause("stride ignored", apart, "Windows begin stride elements after each other.")],
        look="Windows begin at rows 0, 2, 4: the last row is in none of them.",
    )
    compare(
        "indices",
        got["indices"],
        indices,
        causes=[
            Cause(
                "last of equal elements",
                last,
                "Of equal elements the first in reading order counts, as for np.argmax: > and not "
                ">= in a loop.",
            ),
            *index_causes(indices, 9, 3, 2),
        ],
        look="x[n, c].ravel()[indices[n, c]] must be out[n, c]; and no equal element of the same "
        "window may come before it.",
    )
    unchanged(got, "x")


@check(points=2, part=THREE)
def gradient_of_overlapping_windows(student, rng):
    """max_pool2d_backward: windows 3 x 3, stride 1; many elements won several windows."""
    x, grad = rng.standard_normal((2, 3, 6, 7)), rng.standard_normal((2, 3, 4, 5))
    _, (expected,) = oracle(F.max_pool2d, grad, x, kernel_size=3, stride=1)
    _, indices = F.max_pool2d(md.tensor(x), 3, 1, return_indices=True)
    indices = indices.numpy()
    once, together = np.zeros((6, 42)), np.zeros((6, 42))
    np.put_along_axis(once, indices.reshape(6, -1), grad.reshape(6, -1), 1)
    np.add.at(together, (0, indices.ravel()), grad.ravel())
    got = student.call("max_pool_gradient", grad=grad, indices=indices, size=(6, 7))
    compare(
        "grad_x",
        got["grad_x"],
        expected,
        causes=[
            Cause(
                "overwritten instead of added",
                once.reshape(x.shape),
                "An element that won several windows gets all their gradients; a[index] += counts "
                "a repeated index once, np.add.at does not. " + ADD,
            ),
            Cause(
                "first plane everywhere",
                [together.reshape(x.shape)],
                "The indices count within a plane: each plane gets its own.",
            ),
        ],
        look="The sum of grad_x over a plane must be the sum of grad over it.",
    )
    unchanged(got, "grad", "indices")


@check(points=2, part=THREE)
def unpooling_refuses_overlaps(student, rng):
    """max_unpool2d_forward: a repeated index in one plane; then the same one in all planes."""
    x = rng.standard_normal((2, 2, 2, 2))
    same = np.broadcast_to([[0, 3], [9, 14]], x.shape).copy()
    got = student.call("max_unpool", x=x, indices=same, size=(4, 4))
    require(
        not got["refused"],
        "each plane has the indices 0, 3, 9, 14, all different, and was refused: "
        f"{got.get('message')}",
        "planes mixed up: the same index in two planes (images, channels) is no overlap.",
        "Look for repeated indices within each plane (n, c).",
    )
    expected = np.zeros((2, 2, 16))
    expected[:, :, [0, 3, 9, 14]] = x.reshape(2, 2, 4)
    compare("out", got["out"], expected.reshape(2, 2, 4, 4))
    double = same.copy()
    double[1, 0, 1, 0] = 3
    got = student.call("max_unpool", x=x, indices=double, size=(4, 4))
    require(
        got["refused"],
        "in plane (1, 0) two elements go to place 3; expected a ValueError, and a result came",
        "overlap not refused: one of the two elements is lost without a word, and which one "
        "depends on the order of a loop.",
        "How can one see whether some indices of a plane are equal? (np.unique, a sort, a set.)",
    )


@check(points=1, part=THREE)
def unpooling_to_an_odd_size(student, rng):
    """max_unpool2d_forward and backward: 3 x 4 elements into 7 x 9, float32."""
    image = rng.standard_normal((2, 3, 7, 9))
    _, indices = F.max_pool2d(md.tensor(image), 2, return_indices=True)
    x = rng.standard_normal((2, 3, 3, 4)).astype(np.float32)
    grad = rng.standard_normal(image.shape).astype(np.float32)

    def unpool(t, size=(7, 9)):
        return F.max_unpool2d(t, indices, 2, output_size=size)

    out, (grad_x,) = oracle(unpool, grad, x)
    got = student.call("max_unpool", x=x, indices=indices.numpy(), size=(7, 9), grad=grad)
    require(not got["refused"], f"these indices were refused: {got.get('message')}")
    compare(
        "out",
        got["out"],
        out,
        dtype=np.float32,
        causes=[
            Cause(
                "size ignored",
                lambda a: a.shape != out.shape,
                "The result has the given size: 7 rows pool to 3 as 6 do, so it cannot be guessed.",
            )
        ],
        look="Rows of the result are W = 9 elements long: index 9 is the first of row 1.",
    )
    compare("grad_x", got["grad_x"], grad_x, dtype=np.float32)
    unchanged(got, "x", "indices", "grad")


# -- 4. Transposed convolution ---------------------------------------------------------------------


def pasted(x, weight, bias, order="added", stride=1, padding=0, output_padding=0, top=False):
    """Copies of the kernel in loops: added, or overwriting each other in either order."""
    (h, w), (kh, kw) = x.shape[2:], weight.shape[2:]
    sizes = [(n - 1) * stride + k for n, k in zip((h, w), (kh, kw), strict=True)]
    large = np.zeros((len(x), weight.shape[1], *[n + output_padding for n in sizes]))
    elements, copies = list(np.ndindex(kh, kw)), list(np.ndindex(h, w))
    turns = [(e, c) for e in elements for c in copies]
    if order == "copies":
        turns = [(e, c) for c in copies for e in elements]
    for (i, j), (a, b) in turns:
        share = x[:, :, a, b] @ weight[:, :, i, j]
        place = (slice(None), slice(None), a * stride + i, b * stride + j)
        large[place] = large[place] + share if order == "added" else share
    low = padding - (output_padding if top else 0)
    if low < 0:
        large, low = np.pad(large, ((0, 0), (0, 0), (-low, 0), (-low, 0))), 0
    ends = [low + n - 2 * padding + output_padding for n in sizes]
    out = large[:, :, low : ends[0], low : ends[1]]
    return out if bias is None else out + bias[:, None, None]


@check(points=4, part=FOUR)
def transposed_convolution_with_padding_and_output_padding(student, rng):
    """conv_transpose2d_forward: stride 3, padding 2, output_padding 2; stride 2, padding 0,
    output_padding 1; kernels that overlap.
    """
    for kernel, options in (
        ((5, 4), {"stride": 3, "padding": 2, "output_padding": 2}),
        ((3, 3), {"stride": 2, "padding": 0, "output_padding": 1}),
    ):
        x, weight = rng.standard_normal((2, 2, 3, 4)), rng.standard_normal((2, 2, *kernel))
        bias = rng.standard_normal(2)
        right = value(F.conv_transpose2d, x, weight, bias, **options)
        if not np.allclose(pasted(x, weight, bias, **options), right):
            raise AssertionError("hidden.py: the copies do not add up to minidl's result")
        end = options["output_padding"]
        zeros = right.copy()
        zeros[:, :, -end:], zeros[:, :, :, -end:] = 0, 0
        biased = zeros.copy()
        biased[:, :, -end:], biased[:, :, :, -end:] = bias[:, None, None], bias[:, None, None]
        got = student.call("conv_transpose", x=x, weight=weight, bias=bias, **options)
        compare(
            f"out ({', '.join(f'{name} {number}' for name, number in options.items())})",
            got["out"],
            right,
            causes=[
                *transpose_causes(x, weight, bias, **options),
                Cause(
                    "overwritten instead of added",
                    [pasted(x, weight, bias, order, **options) for order in ("elements", "copies")],
                    "Where copies of the kernel overlap they are added: += and not =.",
                ),
                Cause(
                    "output padding of zeros",
                    [zeros, biased],
                    "output_padding makes the window on the large image longer; where that holds "
                    "copies of the kernel, they show. And bias is added there too.",
                ),
                Cause(
                    "output padding at the top",
                    pasted(x, weight, bias, top=True, **options),
                    "The additional rows and columns are at the bottom and at the right.",
                ),
            ],
            look="In the large image, before anything is cut off, find pixel (padding, padding): "
            "it becomes out[..., 0, 0].",
        )
        unchanged(got, "x", "weight", "bias")


@check(points=2, part=FOUR)
def transposed_convolution_gradient_to_x(student, rng):
    """conv_transpose2d_backward, grad_x: kernels 3 x 4, stride 2, padding 1, output_padding 1."""
    x, weight, bias, grad, options = draw_transposed(rng)
    _, (expected, _, _) = oracle(F.conv_transpose2d, grad, x, weight, bias, **options)
    flipped = weight[:, :, ::-1, ::-1].copy()
    _, (turned, _, _) = oracle(F.conv_transpose2d, grad, x, flipped, bias, **options)
    got = student.call("conv_transpose", x=x, weight=weight, bias=bias, grad=grad, **options)
    compare(
        "grad_x",
        got["grad_x"],
        expected,
        causes=[
            Cause(
                "kernel flipped",
                turned,
                "The gradient to x reads with the kernel where the forward wrote with it: a "
                "convolution of grad with stride, not flipped.",
            ),
            Cause("divided by N", expected / 3, "The loss's affair."),
            *cropped_wrongly(grad, weight, expected),
        ],
        look="The convolution whose transpose this is, applied to grad: same stride and padding.",
    )
    unchanged(got, "x", "weight", "grad")


def cropped_wrongly(grad, weight, expected):
    """grad_x where the border that was cut off is not put back, or at one side."""
    wrong = []
    for before, after in ((0, 2), (2, 0)):
        large = np.pad(grad, ((0, 0), (0, 0), (before, after), (before, after)))
        out = value(F.conv2d, large, weight, stride=2)
        wrong.append(out[:, :, : expected.shape[2], : expected.shape[3]])
    return [
        Cause(
            "border not put back",
            wrong,
            "The forward cut `padding` rows off at the top; so grad begins in row `padding` of the "
            "large image.",
        )
    ]


def draw_transposed(rng):
    options = {"stride": 2, "padding": 1, "output_padding": 1}
    x, weight = rng.standard_normal((3, 2, 4, 3)), rng.standard_normal((2, 4, 3, 4))
    return x, weight, rng.standard_normal(4), rng.standard_normal((3, 4, 8, 7)), options


@check(points=2, part=FOUR)
def transposed_convolution_gradients_to_weight_and_bias(student, rng):
    """conv_transpose2d_backward, grad_weight and grad_bias, after the forward of another x."""
    x, weight, bias, grad, options = draw_transposed(rng)
    other = rng.standard_normal(x.shape)
    _, right = oracle(F.conv_transpose2d, grad, x, weight, bias, **options)
    _, (_, mixed, _) = oracle(F.conv_transpose2d, grad, other, weight, bias, **options)
    got = student.call(
        "conv_transpose", x=x, weight=weight, bias=bias, grad=grad, other=other, **options
    )
    got["grad_x"] = right[0]  # graded by itself
    shared = Cause(
        "cache shared between calls",
        mixed,
        "This is the gradient for the x of a later forward: what backward needs belongs into the "
        "cache that this forward returned, not into a global variable.",
    )
    transpose_gradients(got, x, weight, grad, right, weight_causes=[shared])
    unchanged(got, "x", "weight", "grad")


@check(points=1, part=FOUR)
def transposed_convolution_in_float32_without_bias(student, rng):
    """conv_transpose2d_forward and backward: float32, no bias, stride 1: grad_bias is None."""
    x, weight, grad = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((2, 3, 4, 4), (3, 2, 3, 3), (2, 2, 6, 6))
    )
    out, (grad_x, grad_weight) = oracle(F.conv_transpose2d, grad, x, weight)
    got = student.call("conv_transpose", x=x, weight=weight, grad=grad)
    results = {"out": out, "grad_x": grad_x, "grad_weight": grad_weight}
    for name, right in results.items():
        compare(
            name,
            got[name],
            right,
            rtol=1e-3,
            atol=1e-4,
            dtype=np.float32,
            look="np.zeros(shape) is float64; np.zeros(shape, x.dtype) is not. If the values are "
            "wrong, see the other checks of this part first.",
        )
    require(
        got["grad_bias"] is None,
        "without a bias grad_bias must be None, and something else came",
        "gradient of no bias: the cache must remember whether there was one.",
    )


@check(points=1, part=FOUR)
def bilinear_kernels_for_3_and_4(student, rng):
    """bilinear_kernel: three channels, factors 3 (5 x 5) and 4 (8 x 8); one channel, factor 1."""
    lines = {
        (3, 3): np.array([1, 2, 3, 2, 1]) / 3,
        (3, 4): np.array([1, 3, 5, 7, 7, 5, 3, 1]) / 8,
        (1, 1): np.array([1.0]),
    }
    for (channels, factor), line in lines.items():
        right = np.eye(channels)[:, :, None, None] * np.outer(line, line)
        off = np.maximum(0, 1 - np.abs(np.arange(len(line)) - (factor - 1)) / factor)
        if factor % 2:
            off = np.maximum(0, 1 - np.abs(np.arange(len(line)) - factor + 0.5) / factor)
        got = student.call("kernel", channels=channels, factor=factor)
        causes = kernel_causes(right, off, line.sum() ** 2)
        if factor == 3:
            even = 1 - np.abs(np.arange(6) - 2.5) / 3
            wrong = np.eye(3)[:, :, None, None] * np.outer(even, even)
            causes.append(
                Cause("even kernel for an odd factor", wrong, "k = 2 f - f % 2: 5 for a factor 3.")
            )
        compare(
            f"weight (factor {factor})",
            got["weight"],
            right,
            causes=causes,
            look=f"Along one axis the kernel is {np.round(line, 3).tolist()}.",
        )


@check(points=2, part=FOUR)
def upsampling_by_a_transposed_convolution(student, rng):
    """upsample: 2 channels, factors 2, 3 and 4: the size, the interior, the border."""
    for factor in (2, 3, 4):
        x = rng.standard_normal((2, 2, 4, 5))
        k = 2 * factor - factor % 2
        tent = 1 - np.abs(np.arange(k) - (k - 1) / 2) / factor
        weight = np.eye(2)[:, :, None, None] * np.outer(tent, tent)

        def enlarged(padding, x=x, weight=weight, factor=factor):
            return value(F.conv_transpose2d, x, weight, stride=factor, padding=padding)

        wrong = [enlarged(p) for p in range(factor) if p != factor // 2]
        resized = value(F.interpolate, x, scale_factor=float(factor), mode="bilinear")
        expected = enlarged(factor // 2)
        inner = np.s_[:, :, factor:-factor, factor:-factor]
        if not np.allclose(expected[inner], resized[inner]):
            raise AssertionError("hidden.py: the kernel does not interpolate")
        got = student.call("upsample", x=x, factor=factor)
        compare(
            f"out (factor {factor})",
            got["out"],
            expected,
            causes=[
                Cause(
                    "padding of another size",
                    lambda a, wrong=wrong, right=expected: (
                        any(a.shape == w.shape and np.allclose(a, w) for w in wrong)
                        or a.shape != right.shape
                    ),
                    "(H - 1) f - 2 padding + k must be H f, with k = 2 f - f % 2: solve for the "
                    "padding, for even and for odd f.",
                ),
                Cause(
                    "interpolated at the border",
                    resized,
                    "The contract asks for the transposed convolution, which takes 0 for what is "
                    "beyond the border.",
                ),
            ],
            look="Away from the border it must equal interpolation with align_corners=False; this "
            "uses bilinear_kernel and conv_transpose2d_forward.",
        )
        unchanged(got, "x")


# -- 5. Skip connections ---------------------------------------------------------------------------


@check(points=2, part=FIVE)
def skip_connection_with_odd_borders(student, rng):
    """skip_forward and skip_backward: 9 x 13 beside 4 x 6, one channel beside three."""
    up, skip = rng.standard_normal((2, 3, 4, 6)), rng.standard_normal((2, 1, 9, 13))
    grad = rng.standard_normal((2, 4, 4, 6))
    got = student.call("skip", up=up, skip=skip, grad=grad)
    crops = [skip[:, :, top : top + 4, left : left + 6] for top, left in ((2, 3), (0, 0), (3, 4))]
    compare_skip(got, up, skip, grad, crops, ((2, 3), (3, 4)))


@check(points=2, part=FIVE)
def skip_connection_without_a_border(student, rng):
    """skip_forward and skip_backward: maps of equal sizes; and of equal widths only."""
    for size, cut in (((4, 6), ((0, 0), (0, 0))), ((6, 6), ((1, 1), (0, 0)))):
        up, skip = rng.standard_normal((2, 2, 4, 6)), rng.standard_normal((2, 3, *size))
        grad = rng.standard_normal((2, 5, 4, 6))
        got = student.call("skip", up=up, skip=skip, grad=grad)
        top = cut[0][0]
        crops = [skip[:, :, top : top + 4], skip[:, :, :4]]
        if not top:
            require(
                np.size(got["out"]) == grad.size,
                f"expected out of shape {grad.shape}, got {np.shape(got['out'])}",
                "slice that ends at -0: where nothing is cut off, a[0:-0] is a[0:0], and empty.",
                "Slice from top to top + h, not to -bottom.",
            )
        compare_skip(got, up, skip, grad, crops, cut)


# -- 6. Losses -------------------------------------------------------------------------------------


@check(points=2, part=SIX)
def cross_entropy_of_extreme_scores(student, rng):
    """cross_entropy_forward: scores near 1000 in some pixels, near -1000 in others; far apart."""
    logits, targets, weight = draw_masks(rng, 1, 3, 2, 3)
    logits[:, :, 0] += 1000
    logits[:, :, 1] -= 1000
    right = F.cross_entropy(md.tensor(logits), md.tensor(targets), weight=md.tensor(weight)).numpy()
    got = student.call("cross_entropy", logits=logits, targets=targets, weight=weight)
    compare(
        "loss of scores near 1000 and near -1000",
        got["loss"],
        right,
        causes=[
            Cause(
                "overflow of exp",
                lambda a: not np.isfinite(a) or abs(a - right) > 1,
                "exp(1000) is infinite. Subtract from the scores of a pixel the largest of that "
                "pixel (axis=1, keepdims=True); no probability changes.",
            )
        ],
        look="The maximum is taken for each pixel, not for the image: with 1000 subtracted, all "
        "exponentials of another pixel can be 0.",
    )
    logits = np.zeros((1, 2, 1, 2))
    logits[0, 1, 0, 0], logits[0, 1, 0, 1] = 1000, -500
    targets = np.array([[[0, 1]]])
    got = student.call("cross_entropy", logits=logits, targets=targets)
    compare(
        "loss of the pixels (0, 1000) and (0, -500) with targets 0 and 1",
        got["loss"],
        np.array(750.0),
        causes=[
            Cause(
                "probability clamped",
                lambda a: np.isfinite(a) and 0 < a < 300,
                "log(p + 1e-8), or a clipped p: the loss of the first pixel is 1000. Write log p = "
                "score - maximum - log(sum of exponentials), without forming p.",
            ),
            Cause(
                "logarithm of 0",
                lambda a: not np.isfinite(a),
                "p underflows to 0. Write log p = score - maximum - log(sum of exponentials).",
            ),
        ],
        look="The losses of the two pixels are 1000 and 500.",
    )


@check(points=2, part=SIX)
def gradient_of_the_weighted_cross_entropy(student, rng):
    """cross_entropy_backward: a random grad, class weights, 3 images, some pixels ignored (9)."""
    logits, targets, weight = draw_masks(rng, 3, 5, 4, 4, 9)
    grad = float(rng.uniform(2, 3))
    got = student.call(
        "cross_entropy", logits=logits, targets=targets, weight=weight, ignore_index=9, grad=grad
    )
    compare_loss_gradient(got, logits, targets, weight, 9, grad)


@check(points=1, part=SIX)
def cross_entropy_of_nothing(student, rng):
    """cross_entropy_forward and backward: all pixels ignored: the loss is 0, and its gradient."""
    logits, targets, weight = draw_masks(rng, 1, 3, 2, 2)
    targets[:] = -100
    got = student.call("cross_entropy", logits=logits, targets=targets, weight=weight, grad=1.0)
    nothing = Cause(
        "nothing counted",
        lambda a: not np.isfinite(a).all(),
        "The sum of the weights is 0: 0 / 0. The contract says what the loss is then.",
    )
    loss = float(got["loss"]) if isinstance(got["loss"], int) else got["loss"]
    look = "The README, part 6: what are the loss and its gradient when no pixel counts?"
    compare("loss", loss, np.array(0.0), causes=[nothing], look=look)
    compare("grad_logits", got["grad_logits"], np.zeros_like(logits), causes=[nothing], look=look)


def soft_regions(logits, targets):
    """Probabilities and truths (N, K, H, W), as Tensors."""
    classes = np.arange(logits.shape[1])[:, None, None]
    return F.softmax(logits, dim=1), md.tensor((targets[:, None] == classes).astype(float))


@check(points=1, part=SIX)
def dice_loss_of_several_images(student, rng):
    """dice_forward: 3 images, 4 classes of which one is nowhere in an image, smooth = 0.5."""
    logits, targets, _ = draw_masks(rng, 3, 4, 4, 5)
    targets[0][targets[0] == 2] = 1
    p, g = (t.numpy() for t in soft_regions(md.tensor(logits), targets))

    def loss(axes=(2, 3), twice=2, power=2, above=0.5, below=0.5):
        both, sizes = twice * (p * g).sum(axes), (p**power + g).sum(axes)
        return (1 - (both + above) / (sizes + below)).mean()

    got = student.call("dice", logits=logits, targets=targets, smooth=0.5)
    causes = [
        Cause("factor 2 forgotten", loss(twice=1), "For a perfect p the fraction must be 1."),
        Cause("p instead of p squared", loss(power=1), "The sum below is of p * p."),
        Cause(
            "smooth on one side",
            [loss(above=0), loss(below=0)],
            "smooth is added above and below: a class that is nowhere then has the loss 0.",
        ),
        Cause(
            "sums over the batch",
            loss(axes=(0, 2, 3)),
            "Each image has its own sums: a fraction for every image and class, then the mean.",
        ),
        Cause("sums over all classes", loss(axes=(1, 2, 3)), "Each class has its own fraction."),
        Cause("smooth is always 1", loss(above=1, below=1), "Use the argument."),
    ]
    compare_dice(got, logits, targets, 0.5, causes)


@check(points=3, part=SIX)
def gradient_of_the_dice_loss(student, rng):
    """dice_backward: 2 images, 3 classes, smooth = 2, a random grad."""
    logits, targets, _ = draw_masks(rng, 2, 3, 4, 5)
    grad, smooth = float(rng.uniform(2, 3)), 2.0

    def loss(scores):
        return F.dice_loss(scores, md.tensor(targets), smooth=smooth)

    def parts(frozen):
        """By hand, with a part taken as constant."""
        scores = md.tensor(logits, requires_grad=True)
        p, g = soft_regions(scores, targets)
        above = (p * g).sum((2, 3)) * 2 + smooth
        below = (p * p + g).sum((2, 3)) + smooth
        if frozen == "below":
            below = below.detach()
        if frozen == "above":
            above = above.detach()
        (1 - above / below).mean().backward(md.tensor(np.asarray(grad)))
        return scores.grad.numpy()

    p, g = (t.numpy() for t in soft_regions(md.tensor(logits), targets))
    above = 2 * (p * g).sum((2, 3), keepdims=True) + smooth
    below = (p**2 + g).sum((2, 3), keepdims=True) + smooth
    by_p = -grad / 6 * (2 * g / below - 2 * p * above / below**2)
    _, (expected,) = oracle(loss, grad, logits)
    got = student.call("dice", logits=logits, targets=targets, smooth=smooth, grad=grad)
    compare(
        "grad_logits",
        got["grad_logits"],
        expected,
        causes=[
            Cause(
                "softmax not differentiated",
                by_p,
                "This is dL/dp. p is the softmax of the logits, and moves with each of them: "
                "through it the gradient becomes p (dL/dp - sum over classes of p dL/dp).",
            ),
            Cause(
                "softmax as if it were a sigmoid",
                by_p * p * (1 - p),
                "p (1 - p) is the derivative of p_k to its own logit only. A logit moves the "
                "probabilities of all classes of its pixel.",
            ),
            Cause(
                "denominator taken as constant",
                parts("below"),
                "The sum of p^2 depends on p: the derivative of a fraction has two terms.",
            ),
            Cause("numerator taken as constant", parts("above"), "The other term of the two."),
            Cause("grad forgotten", expected / grad, "grad is dL/dloss."),
            Cause(
                "mean forgotten", [expected * 6, expected * 3, expected * 2], "A mean over N * K."
            ),
        ],
        look="First dL/dp of a single pixel and class by central differences, then the softmax.",
    )
    unchanged(got, "logits", "targets")


# -- 7. Large images -------------------------------------------------------------------------------


@check(points=2, part=SEVEN)
def tiles_that_do_not_fit(student, rng):
    """predict_tiles: an image of (2, 9, 14) in tiles of 4 with a context of 3."""
    image, kernels = rng.standard_normal((2, 9, 14)), rng.standard_normal((2, 2, 5, 5))
    got = student.call("tiles", image=image, kernels=kernels, tile=4, context=3)
    compare_tiles(got, image, kernels, 4, 3)


@check(points=1, part=SEVEN)
def windows_that_do_not_fit(student, rng):
    """predict_windows: an image of (2, 9, 7), windows of 4, stride 3."""
    image, matrix = rng.standard_normal((2, 9, 7)), rng.standard_normal((3, 2))
    got = student.call("windows", image=image, matrix=matrix, window=4, stride=3)
    # Windows begin at rows 0, 3 and, to end at the border, 5; at columns 0 and 3.
    means = [1, 2, 2, 1, 2, 1.5, 1.5, 2, 1], [1, 2, 2, 1, 2, 2, 1]
    sums = [1, 2, 2, 2, 2, 3, 3, 2, 1], [1, 2, 2, 2, 2, 2, 1]
    last = [1, 2, 2, 1, 2, 1, 2, 2, 1], [1, 2, 2, 1, 2, 2, 1]
    missing = [1, 2, 2, 1, 2, 2, 1, 0, 0], means[1]
    compare_windows(got, image, matrix, means, sums, last, missing)


# -- 8. A network that trains ----------------------------------------------------------------------


def masked_copy(x):
    """ReLU whose gradient forgets that it was there."""
    return x + (F.relu(x) - x).detach()


@check(points=3, part=EIGHT)
def network_backward(student, rng):
    """unet_backward: the gradients to all eight parameters, a random dL/dlogits."""
    x, params = rng.standard_normal((2, 2, 4, 6)), draw_net(rng, 2, 3, 4, 3)
    grad = rng.standard_normal((2, 3, 4, 6))
    arrays = (x, *params.values())

    def gradients(**options):
        _, (_, *found) = oracle(lambda *t: network(*t, **options), grad, *arrays)
        return dict(zip(params, found, strict=True))

    right = gradients()
    wrong = {
        "ReLU forgotten in the backward": (
            [
                gradients(relu=r)
                for r in ((masked_copy,) * 2, (masked_copy, F.relu), (F.relu, masked_copy))
            ],
            "Where ReLU gave 0 its gradient is 0; once after each of the two convolutions.",
        ),
        "one of two ways forgotten": (
            [gradients(cut="skip"), gradients(cut="pool")],
            "down is used twice, by the pooling and by the skip connection: what comes back along "
            "both ways is added.",
        ),
    }
    got = student.call("unet", x=x, grad=grad, **params)
    # From the end of the network to its beginning, as the gradient goes.
    order = ["head", "up", "bottom", "down"]
    for name in sorted(params, key=lambda name: order.index(name.partition(".")[0])):
        compare(
            f"gradient of {name}",
            got[f"gradient of {name}"],
            right[name],
            rtol=1e-5,
            causes=[
                Cause(cause, [other[name] for other in others], why)
                for cause, (others, why) in wrong.items()
            ],
            look="The parameters are compared from the head backwards, so what is nearer to the "
            "head is right. Parts 3, 4 and 5 are used here.",
        )
    unchanged(got, "x", "grad", *params)


def pictures(rng, count, size):
    """Noisy pictures (N, 2, H, W) of a bright rectangle and a disc, and their masks (N, H, W)."""
    images, masks = rng.normal(0, 0.1, (count, 2, size, size)), np.zeros((count, size, size), int)
    rows, columns = np.mgrid[:size, :size]
    for image, mask in zip(images, masks, strict=True):
        top, left = rng.integers(0, size // 2, 2)
        box = (rows >= top) & (rows < top + 4) & (columns >= left) & (columns < left + 5)
        y, x = rng.integers(size // 2, size - 2, 2)
        disc = (rows - y) ** 2 + (columns - x) ** 2 <= 5
        mask[box], mask[disc] = 1, 2
        image[:, mask == 1] += 1
        image[0, mask == 2] += 1
    return images, masks


def trained(params, x, targets, weight, steps, rate, dice=True, late=False):
    """minidl's training: losses and parameters."""
    tensors = [md.tensor(p, requires_grad=True) for p in params.values()]
    losses = []
    for _ in range(steps + late):
        logits = network(md.tensor(x), *tensors)
        first = F.cross_entropy(logits, md.tensor(targets), weight=md.tensor(weight))
        second = F.dice_loss(logits, md.tensor(targets), smooth=1.0)
        losses.append(float((first + second).item()))
        total = first + (second if dice else second.detach())
        total.backward()
        tensors = [
            md.tensor(t.detach().numpy() - rate * t.grad.numpy(), requires_grad=True)
            for t in tensors
        ]
    if late:
        return losses[1:], None
    return losses, dict(zip(params, [t.detach().numpy() for t in tensors], strict=True))


@check(points=2, part=EIGHT)
def first_steps_of_training(student, rng):
    """train: the losses before each of three steps, and the parameters after them."""
    x, targets = pictures(rng, 2, 8)
    params, weight = draw_net(rng, 2, 3, 4, 3), rng.uniform(0.5, 2, 3)
    arguments = {"x": x, "targets": targets, "weight": weight, "steps": 3, "rate": 0.1}
    losses, after = trained(params, **arguments)
    without, _ = trained(params, **arguments, dice=False)
    later, _ = trained(params, **arguments, late=True)
    uphill, _ = trained(params, **{**arguments, "rate": -0.1})
    alike, _ = trained(params, **{**arguments, "weight": np.ones(3)})
    got = student.call("train", **arguments, **params)
    compare(
        "losses",
        got["losses"],
        np.array(losses),
        rtol=1e-5,
        causes=[
            Cause("loss after the step", np.array(later), "Note the loss before the step."),
            Cause(
                "parameters not changed",
                np.full(3, losses[0]),
                "params[name] must get new values in the dict that was given.",
            ),
            Cause("uphill", np.array(uphill), "Minus rate times gradient."),
            Cause("weights forgotten", np.array(alike), "cross_entropy_forward takes them."),
            Cause(
                "gradient of Dice forgotten",
                np.array(without),
                "The loss is a sum of two, so its gradient is the sum of both gradients.",
            ),
        ],
        look="If the first loss is wrong, see the losses of part 6; if only the second is, "
        "unet_backward and the step.",
    )
    for name, right in after.items():
        require(
            name in got.changed,
            f"{name} must be changed in place, the array itself; it still has its old values",
            "parameters not changed: params[name] = params[name] - ... puts a new array into the "
            "dict; the arrays that the caller holds stay as they were.",
            "params[name] -= ... or params[name][...] = ...",
        )
        compare(f"{name} after three steps", got[name], right, rtol=1e-5, atol=1e-7)
    unchanged(got, "x", "targets", "weight")


@check(points=2, part=EIGHT)
def training_reaches_a_low_loss(student, rng):
    """train: 60 steps on four pictures of 12 x 12; a loss below 0.15, and mean IoU above 0.9."""
    x, targets = pictures(rng, 4, 12)
    params, weight = draw_net(rng, 2, 6, 8, 3), np.array([0.5, 1.0, 1.0])
    got = student.call("train", x=x, targets=targets, steps=60, rate=0.3, weight=weight, **params)
    losses = np.asarray(got["losses"])
    require(
        losses.shape == (60,) and np.isfinite(losses).all(),
        f"expected 60 finite losses, got {losses.shape}",
        "losses missing: one for each step.",
    )
    metric = ConfusionMatrix(3)
    metric.update(md.tensor(got["logits"]), md.tensor(targets))
    score = float(metric.mean_iou())
    require(
        losses[-1] < 0.15 and score > 0.9,
        f"expected a last loss below 0.15 and a mean IoU above 0.9; got {losses[-1]:.3f} (the "
        f"first was {losses[0]:.3f}) and {score:.3f}",
        "training does not get there: a gradient or the step is wrong.",
        "The first steps are compared with exact values in another check; see that one first.",
    )
