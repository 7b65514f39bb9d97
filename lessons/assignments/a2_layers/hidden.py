"""The hidden checks of A2: the same contracts with other shapes, arguments and traps.

Wrong results that need more than minidl's operations are made by `scatter`, which adds up, or lets
overwrite each other, the contributions of windows to an image.
"""

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl.teach.assign import Cause, check, compare, require

from .public import (
    ADD,
    EARLIER,
    EPS,
    NAMES,
    PART1,
    PART2,
    PART3,
    PART4,
    PART5,
    PART6,
    PART7,
    SHAPE,
    batch_norm,
    conv_forward_causes,
    draw_conv,
    draw_net,
    draw_norm,
    dropout,
    grad_bias_causes,
    grad_weight_causes,
    grad_x_causes,
    gradient_of_the_loss,
    loss_causes,
    net_causes,
    network,
    oracle,
    per_channel,
    unchanged,
    value,
)


def both(value):
    return (value, value) if np.isscalar(value) else tuple(value)


def scatter(parts, size, stride, padding=0, dilation=1, how="add"):
    """Contributions of windows to an image: parts (N, C, KH, KW, OH, OW) -> (N, C, H, W).

    `how` they meet on a pixel: "add"; "element" or "window": each overwrites the ones before, in a
    loop over kernel elements or over windows; "winners": each that is not 0 does.
    """
    (sh, sw), (ph, pw), (dh, dw) = both(stride), both(padding), both(dilation)
    *lead, kh, kw, oh, ow = parts.shape
    image = np.zeros((*lead, size[0] + 2 * ph, size[1] + 2 * pw))
    elements, windows = list(np.ndindex(kh, kw)), list(np.ndindex(oh, ow))
    pairs = [(e, w) for e in elements for w in windows]
    if how == "window":
        pairs = [(e, w) for w in windows for e in elements]
    for (i, j), (y, x) in pairs:
        place = (..., y * sh + i * dh, x * sw + j * dw)
        part, before = parts[..., i, j, y, x], image[place]
        if how == "add":
            image[place] = before + part
        else:
            image[place] = np.where(part == 0, before, part) if how == "winners" else part
    return image[..., ph : ph + size[0], pw : pw + size[1]]


def overwritten(parts, size, right, **geometry):
    """The cause of contributions that overwrite each other; checks itself against the sum."""
    added = scatter(parts, size, **geometry)
    if not np.allclose(added, right):
        raise AssertionError("hidden.py: the contributions do not add up to the expected gradient")
    return Cause(
        "overwritten instead of added",
        [scatter(parts, size, **geometry, how=how) for how in ("element", "window", "winners")],
        "Windows overlap, so a pixel gets a gradient from several of them. " + ADD,
    )


# 1. Linear, ReLU, loss ----------------------------------------------------------------------------


@check(points=2, part=PART1)
def cross_entropy_of_extreme_logits(student, rng):
    """cross_entropy_forward with scores around 1000, around -1000, and far apart."""
    targets = np.array([1, 0, 2])
    base = rng.standard_normal((3, 4))
    high = base + 1000
    compare(
        "loss of logits near 1000",
        student.call("cross_entropy", logits=high, targets=targets)["loss"],
        value(F.cross_entropy, high, targets),
        causes=[
            Cause(
                "overflow of exp",
                lambda a: not np.isfinite(a),
                "exp(1000) is infinite. A constant subtracted from all scores of an image changes "
                "no probability: subtract the largest.",
            )
        ],
    )
    mixed = base + np.array([[0.0], [-1000.0], [1000.0]])
    compare(
        "loss of images near 0, -1000 and 1000",
        student.call("cross_entropy", logits=mixed, targets=targets)["loss"],
        value(F.cross_entropy, mixed, targets),
        causes=[
            Cause(
                "maximum of the whole batch",
                lambda a: not np.isfinite(a) or abs(a) > 10,
                "With the largest score of the batch subtracted, all exponentials of another image "
                "can be 0: subtract each row's own largest, with axis=1 and keepdims.",
            )
        ],
    )
    apart = np.array([[0.0, 1000.0], [0.0, -500.0]])
    compare(
        "loss of ((0, 1000), (0, -500)) for targets 0 and 1",
        student.call("cross_entropy", logits=apart, targets=np.array([0, 1]))["loss"],
        np.array(750.0),
        causes=[
            Cause(
                "probability clamped",
                lambda a: np.isfinite(a) and 0 < a < 100,
                "log(p + 1e-8) or a clipped p: the loss should be 1000 for the first image, but "
                "a probability that small has become the constant. Write log p = shifted score - "
                "log(sum of exponentials), without forming p.",
            ),
            Cause(
                "logarithm of 0",
                lambda a: not np.isfinite(a),
                "p underflows to 0. Write log p = shifted score - log(sum of exponentials).",
            ),
        ],
    )


@check(points=2, part=PART1)
def cross_entropy_gradient_with_a_factor(student, rng):
    """cross_entropy_backward with a random grad, 6 images and 3 classes, some scores near 800."""
    logits = rng.standard_normal((6, 3)) * 2
    logits[::2] += 800
    targets, grad = np.array([2, 2, 0, 1, 2, 0]), float(rng.uniform(2, 3))
    _, expected = gradient_of_the_loss(logits, targets, grad)
    got = student.call("cross_entropy", logits=logits, targets=targets, grad=grad)
    compare(
        "grad_logits",
        got["grad_logits"],
        expected,
        causes=[
            Cause(
                "grad forgotten",
                expected / grad,
                "The loss may be a part of something larger (a weighted sum of losses): multiply "
                "by grad, which is dL/dloss.",
            ),
            Cause(
                "overflow of exp",
                lambda a: not np.isfinite(a).all() or (a[::2] == 0).any(),
                "exp(800) is infinite: subtract each row's largest score first, here too.",
            ),
            *loss_causes(logits, targets, grad, expected),
        ],
        look="With grad = 1 the public check compares the same gradient.",
    )
    unchanged(got, "logits")


# 2. Convolution -----------------------------------------------------------------------------------


@check(points=3, part=PART2)
def convolution_with_pairs_and_dilation(student, rng):
    """conv2d_forward: stride (2, 1), padding (1, 2), dilation (1, 3) together; dilation 2 alone."""
    options = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 3)}
    for shape, settings in (((5, 2, 3, 2), options), ((2, 2, 3, 3), {"dilation": 2})):
        x, weight, _, _ = draw_conv(rng, (2, 2, 8, 9), shape, **settings)
        causes = conv_forward_causes(x, weight, None, **settings)
        if settings is options:
            swapped = []
            for names in (
                ("stride",),
                ("padding",),
                ("dilation",),
                ("stride", "padding", "dilation"),
            ):
                other = {n: v[::-1] if n in names else v for n, v in options.items()}
                swapped.append(value(F.conv2d, x, weight, **other))
            causes.append(
                Cause(
                    "h and w mixed up",
                    swapped,
                    "The first number of a pair is for rows (axis 2), the second for columns "
                    "(axis 3).",
                )
            )
        got = student.call("conv2d", x=x, weight=weight, **settings)
        compare(
            f"out ({', '.join(f'{n} {v}' for n, v in settings.items())})",
            got["out"],
            value(F.conv2d, x, weight, **settings),
            causes=causes,
            look="Check the shape against conv_output_size for each axis, then out[0, 0, 0, 0].",
        )
        unchanged(got, "x", "weight")


def interleaved(x, weight, bias, groups, grad, **options):
    """A convolution whose groups take every groups-th channel: out and gradients, all wrong."""

    def deal(a, axis):
        """From blocks to interleaved channels."""
        shape = a.shape
        split = (*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
        return np.ascontiguousarray(a.reshape(split).swapaxes(axis, axis + 1).reshape(shape))

    def gather(a, axis):
        shape = a.shape
        split = (*shape[:axis], shape[axis] // groups, groups, *shape[axis + 1 :])
        return np.ascontiguousarray(a.reshape(split).swapaxes(axis, axis + 1).reshape(shape))

    options = {**options, "groups": groups}
    only_in, _ = oracle(F.conv2d, grad, gather(x, 1), weight, bias, **options)
    plain, _ = oracle(F.conv2d, grad, x, weight, bias, **options)
    only_out = deal(plain, 1)
    out_with_bias = deal(plain - bias[:, None, None], 1) + bias[:, None, None]
    return [only_in, only_out, out_with_bias, deal(only_in, 1)]


@check(points=3, part=PART2)
def convolution_in_groups(student, rng):
    """conv2d_forward with groups: 4 channels to 6 in 2 groups, and depthwise (4 groups, 8 out)."""
    for groups, shape in ((2, (6, 2, 3, 3)), (4, (8, 1, 3, 3))):
        options = {"padding": 1, "groups": groups}
        x, weight, bias, grad = draw_conv(rng, (2, 4, 5, 6), shape, **options)
        expected = value(F.conv2d, x, weight, bias, **options)
        causes = conv_forward_causes(x, weight, bias, **options)
        causes.append(
            Cause(
                "groups interleaved",
                interleaved(x, weight, bias, groups, grad, padding=1),
                "Group g is block g: channels g * C / G up to (g + 1) * C / G, of the input and of "
                "the output. reshape(N, G, C / G, ...) makes blocks; (N, C / G, G, ...) deals them "
                "out like cards.",
            )
        )
        first = [
            value(
                F.conv2d, np.tile(x[:, : 4 // groups], (1, groups, 1, 1)), weight, bias, **options
            )
        ]
        causes.append(
            Cause("first group's input everywhere", first, "Block g of out sees block g of x.")
        )
        got = student.call("conv2d", x=x, weight=weight, bias=bias, **options)
        compare(
            f"out (groups {groups})",
            got["out"],
            expected,
            causes=causes,
            look="Compare with the plain convolution of x[:, : C / G] and weight[: O / G]: that is "
            "the first block of out.",
        )
        unchanged(got, "x", "weight", "bias")


@check(points=3, part=PART2)
def convolution_gradients_with_stride_and_padding(student, rng):
    """conv2d_backward: stride (2, 3), padding (1, 2), windows that overlap, pixels left over."""
    options = {"stride": (2, 3), "padding": (1, 2)}
    x, weight, bias, grad = draw_conv(rng, (3, 2, 8, 10), (4, 2, 3, 4), **options)
    _, (grad_x, grad_weight, grad_bias) = oracle(F.conv2d, grad, x, weight, bias, **options)
    got = student.call("conv2d", x=x, weight=weight, bias=bias, grad=grad, **options)
    parts = np.einsum("noyx,ocij->ncijyx", grad, weight)
    touching = {"stride": 1, "padding": (1, 2)}
    compare(
        "grad_x",
        got["grad_x"],
        grad_x,
        causes=[
            overwritten(parts, x.shape[2:], grad_x, **options),
            Cause(
                "stride ignored",
                scatter(parts, x.shape[2:], **touching),
                "The window of output (y, x') begins at (y * stride, x' * stride) of the padded "
                "input, in the backward too.",
            ),
            *grad_x_causes(x, weight, bias, grad, grad_x, **options),
        ],
        look="Compare the first pixel that is wrong: a border (padding), every second or third "
        "(stride), or the last rows (pixels that no window meets have gradient 0)?",
        factors={"N": 3},
    )
    compare(
        "grad_weight",
        got["grad_weight"],
        grad_weight,
        causes=[
            Cause(
                "padding forgotten",
                _weight_gradient_of(
                    np.pad(x, ((0, 0), (0, 0), (0, 2), (0, 4))), grad, (3, 4), 2, 3
                ),
                "The pixels that a kernel element met are those of the padded input.",
            ),
            Cause(
                "stride ignored",
                _weight_gradient_of(
                    np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2))), grad, (3, 4), 1, 1
                ),
                "Kernel element (i, j) met every stride-th pixel.",
            ),
            *grad_weight_causes(grad_weight, len(x), grad.shape),
        ],
        look="Are the shapes of the pixels that (i, j) met and of grad the same? " + SHAPE,
    )
    causes = grad_bias_causes(grad_bias, grad)
    compare("grad_bias", got["grad_bias"], grad_bias, causes=causes, look=SHAPE)
    unchanged(got, "x", "weight", "bias", "grad")


def _weight_gradient_of(padded, grad, kernel, sh, sw, dh=1, dw=1):
    """The gradient to a weight of windows at any places (to make wrong ones)."""
    oh, ow = grad.shape[2:]
    result = np.zeros((grad.shape[1], padded.shape[1], *kernel))
    for i, j in np.ndindex(*kernel):
        met = padded[:, :, i * dh :: sh, j * dw :: sw][:, :, :oh, :ow]
        result[:, :, i, j] = np.einsum("noyx,ncyx->oc", grad, met)
    return result


@check(points=3, part=PART2)
def convolution_gradients_with_dilation_and_groups(student, rng):
    """conv2d_backward: dilation (2, 1) with padding 1, then 2 groups and depthwise."""
    options = {"dilation": (2, 1), "padding": 1}
    x, weight, bias, grad = draw_conv(rng, (2, 3, 8, 6), (4, 3, 3, 3), **options)
    _, (grad_x, grad_weight, grad_bias) = oracle(F.conv2d, grad, x, weight, bias, **options)
    got = student.call("conv2d", x=x, weight=weight, bias=bias, grad=grad, **options)
    parts = np.einsum("noyx,ocij->ncijyx", grad, weight)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    ignored = "Kernel element (i, j) met the pixel i * dilation down, j * dilation right; the same "
    ignored += "one gets its gradient."
    compare(
        "grad_x (dilation (2, 1))",
        got["grad_x"],
        grad_x,
        causes=[
            Cause(
                "dilation ignored",
                scatter(parts, x.shape[2:], stride=1, padding=1),
                ignored,
            ),
            overwritten(parts, x.shape[2:], grad_x, stride=1, **options),
            *grad_x_causes(x, weight, bias, grad, grad_x, **options),
        ],
        look="Does conv2d_backward use dilation at the places where conv2d_forward does?",
    )
    compare(
        "grad_weight (dilation (2, 1))",
        got["grad_weight"],
        grad_weight,
        causes=[
            Cause(
                "dilation ignored",
                _weight_gradient_of(padded, grad, (3, 3), 1, 1),
                ignored,
            ),
            *grad_weight_causes(grad_weight, len(x), grad.shape),
        ],
        look="Does conv2d_backward use dilation at the places where conv2d_forward does?",
    )
    compare(
        "grad_bias (dilation (2, 1))",
        got["grad_bias"],
        grad_bias,
        causes=grad_bias_causes(grad_bias, grad),
        look=SHAPE,
    )
    for groups, shape in ((2, (6, 2, 3, 3)), (4, (4, 1, 3, 3))):
        options = {"padding": 1, "groups": groups}
        x, weight, bias, grad = draw_conv(rng, (2, 4, 5, 6), shape, **options)
        _, (grad_x, grad_weight, grad_bias) = oracle(F.conv2d, grad, x, weight, bias, **options)
        got = student.call("conv2d", x=x, weight=weight, bias=bias, grad=grad, **options)
        look = "Gradients of block g come from block g of grad, x and weight alone. " + SHAPE
        compare(f"grad_x (groups {groups})", got["grad_x"], grad_x, look=look)
        compare(f"grad_weight (groups {groups})", got["grad_weight"], grad_weight, look=look)
        compare(f"grad_bias (groups {groups})", got["grad_bias"], grad_bias, look=look)
        unchanged(got, "x", "weight", "bias", "grad")


@check(points=2, part=PART2)
def two_convolutions_before_the_first_backward(student, rng):
    """Two layers go forward, then both backward, the last first, as in every network."""
    x1, weight1, _, grad1 = draw_conv(rng, (2, 3, 5, 5), (3, 3, 3, 3), padding=1)
    x2, weight2, _, grad2 = draw_conv(rng, (2, 3, 5, 5), (3, 3, 3, 3), padding=1)
    got = student.call(
        "two_convolutions",
        x1=x1,
        weight1=weight1,
        grad1=grad1,
        x2=x2,
        weight2=weight2,
        grad2=grad2,
        padding=1,
    )
    layers = (("2", x2, weight2, grad2), ("1", x1, weight1, grad1))
    other = {"1": (x2, weight2), "2": (x1, weight1)}
    for number, x, weight, grad in layers:
        out, (grad_x, grad_weight) = oracle(F.conv2d, grad, x, weight, padding=1)
        _, (wrong_x, wrong_weight) = oracle(F.conv2d, grad, *other[number], padding=1)
        state = "The backward of one layer has used what another layer's forward left behind: what "
        state += "backward needs belongs in the cache that this forward returned."
        look = "If the earlier checks of part 2 fail, mend those first."
        compare(f"out of layer {number}", got[f"out{number}"], out, look=look)
        compare(
            f"grad_weight of layer {number}",
            got[f"grad_weight{number}"],
            grad_weight,
            causes=[Cause("state kept between calls", wrong_weight, state)],
            look=look,
        )
        compare(
            f"grad_x of layer {number}",
            got[f"grad_x{number}"],
            grad_x,
            causes=[Cause("state kept between calls", wrong_x, state)],
            look=look,
        )


def float32(**arrays):
    return {
        name: a.astype(np.float32) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
        for name, a in arrays.items()
    }


PROMOTED = (
    "Somewhere float64 came in: np.zeros and np.ones without dtype, a NumPy scalar such as "
    "np.float64 or np.sqrt(2), a mask divided by a number, an integer array divided by one."
)


def compare32(got, expected):
    """Compare float32 results with float64 ones; first the dtype of each."""
    for name in expected:
        dtype = getattr(got[name], "dtype", None)
        require(
            dtype is None or dtype == np.float32,
            f"{name} must be float32, as the inputs; it is {dtype}",
            f"float64: {PROMOTED}",
            "Print the dtype after each line of your function.",
        )
    for name, array in expected.items():
        compare(
            name,
            got[name],
            np.asarray(array, dtype=np.float32),
            rtol=1e-4,
            atol=1e-4,
            look="If the float64 checks of this function fail, mend those first.",
        )


@check(points=2, part=PART2)
def convolution_and_loss_in_float32(student, rng):
    """conv2d and cross_entropy with float32 inputs: all results are float32, and right."""
    options = {"padding": 1, "stride": 2}
    x, weight, bias, grad = draw_conv(rng, (2, 3, 6, 5), (4, 3, 3, 3), **options)
    out, grads = oracle(F.conv2d, grad, x, weight, bias, **options)
    got = student.call("conv2d", **float32(x=x, weight=weight, bias=bias, grad=grad), **options)
    names = ("grad_x", "grad_weight", "grad_bias")
    compare32(got, {"out": out, **dict(zip(names, grads, strict=True))})
    logits, targets = rng.standard_normal((4, 3)), np.array([0, 2, 1, 1])
    _, grad_logits = gradient_of_the_loss(logits, targets, 1.0)
    got = student.call("cross_entropy", **float32(logits=logits, targets=targets), grad=1.0)
    compare32(got, {"grad_logits": grad_logits})


# 3. Pooling ---------------------------------------------------------------------------------------


@check(points=2, part=PART3)
def max_pooling_with_padding(student, rng):
    """max_pool2d_forward: all pixels negative, 3 x 2 windows, stride (2, 1), padding (1, 1)."""
    x = -1 - rng.random((2, 3, 7, 5))
    options = {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1)}
    got = student.call("max_pool2d", x=x, **options)
    expected = value(F.max_pool2d, x, **options)
    turned = {name: pair[::-1] for name, pair in options.items()}
    compare(
        "out",
        got["out"],
        expected,
        causes=[
            Cause(
                "padded with 0",
                np.maximum(
                    expected,
                    np.where(_touches_padding(x.shape, expected.shape, **options), 0, -np.inf),
                ),
                "0 is larger than every pixel here. Padding never wins: pad with minus infinity.",
            ),
            Cause("h and w mixed up", value(F.max_pool2d, x, **turned), "Pairs are (h, w)."),
        ],
        look="Every element of out is one of x.",
    )
    unchanged(got, "x")


def _touches_padding(shape, out_shape, kernel_size, stride, padding):
    """(OH, OW) bool: whether a window reaches over the border."""
    reaches = []
    for axis in (0, 1):
        first = np.arange(out_shape[2 + axis]) * stride[axis] - padding[axis]
        last = first + kernel_size[axis] - 1
        reaches.append((first < 0) | (last >= shape[2 + axis]))
    return reaches[0][:, None] | reaches[1][None]


def routed(x, grad, kernel, stride, padding, which):
    """Contributions (N, C, KH, KW, OH, OW) of max pooling: to the "first", "last" or "all" ties."""
    n, c, h, w = x.shape
    oh, ow = grad.shape[2:]
    padded = np.full((n, c, h + 2 * padding, w + 2 * padding), -np.inf)
    padded[:, :, padding : padding + h, padding : padding + w] = x
    parts = np.zeros((n, c, kernel, kernel, oh, ow))
    for y, x_ in np.ndindex(oh, ow):
        top, left = y * stride, x_ * stride
        window = padded[:, :, top : top + kernel, left : left + kernel].reshape(n, c, -1)
        largest = window == window.max(2, keepdims=True)
        if which == "first":
            largest &= np.cumsum(largest, 2) == 1
        elif which == "last":
            largest &= np.cumsum(largest[..., ::-1], 2)[..., ::-1] == 1
        elif which == "shared":
            largest = largest / largest.sum(2, keepdims=True)
        share = largest.reshape(n, c, kernel, kernel)
        parts[..., y, x_] = share * grad[:, :, y, x_, None, None]
    return parts


@check(points=2, part=PART3)
def max_pooling_backward_with_overlap(student, rng):
    """max_pool2d_backward: 3 x 3 windows with stride 2 and padding 1, which overlap."""
    x = rng.standard_normal((2, 3, 8, 7))
    options = {"kernel_size": 3, "stride": 2, "padding": 1}
    grad = rng.standard_normal(value(F.max_pool2d, x, **options).shape)
    _, (expected,) = oracle(F.max_pool2d, grad, x, **options)
    parts = routed(x, grad, 3, 2, 1, "first")
    got = student.call("max_pool2d", x=x, grad=grad, **options)
    padded = scatter(parts, (10, 9), stride=2)
    compare(
        "grad_x",
        got["grad_x"],
        expected,
        causes=[
            overwritten(parts, x.shape[2:], expected, stride=2, padding=1),
            Cause(
                "padding not cropped",
                [padded, padded[:, :, :8, :7]],
                "This is the gradient of the padded image: cut off `padding` rows and columns on "
                "each side.",
            ),
            Cause(
                "stride ignored",
                [
                    scatter(parts, x.shape[2:], stride=1, padding=1),
                    scatter(parts[..., :2, :2], x.shape[2:], stride=3, padding=1),
                ],
                "The window of output (y, x') begins at (y * stride, x' * stride).",
            ),
        ],
        look="Take a pixel that is the largest of two windows: does it get both gradients?",
    )
    unchanged(got, "x", "grad")


@check(points=1, part=PART3)
def max_pooling_ties(student, rng):
    """max_pool2d_backward: equal elements in a window; the first in reading order gets all."""
    x = rng.integers(0, 3, (2, 3, 6, 6)).astype(float)
    for kernel, stride in ((2, 2), (3, 1)):
        grad = rng.standard_normal(value(F.max_pool2d, x, kernel_size=kernel, stride=stride).shape)
        _, (expected,) = oracle(F.max_pool2d, grad, x, kernel_size=kernel, stride=stride)
        wrong = {
            which: scatter(routed(x, grad, kernel, stride, 0, which), (6, 6), stride)
            for which in ("first", "last", "all", "shared")
        }
        if not np.allclose(wrong["first"], expected):
            raise AssertionError("hidden.py: the first of the ties is not what minidl chooses")
        got = student.call("max_pool2d", x=x, kernel_size=kernel, stride=stride, grad=grad)
        compare(
            f"grad_x (kernel {kernel}, stride {stride})",
            got["grad_x"],
            expected,
            causes=[
                Cause(
                    "last of the ties",
                    wrong["last"],
                    "Of equal elements the first in reading order wins: a later one replaces it "
                    "only if it is larger, not if it is equal.",
                ),
                Cause(
                    "all of the ties",
                    wrong["all"],
                    "window == maximum is true for every one of several equal elements, and each "
                    "gets the gradient: take one, for example np.argmax.",
                ),
                Cause("shared among the ties", wrong["shared"], "The first gets all of it."),
            ],
            look="Windows full of zeros (after a ReLU) are such ties: the upper left pixel wins.",
        )


@check(points=2, part=PART3)
def average_pooling_without_counting_padding(student, rng):
    """avg_pool2d_forward: count_include_pad=False, 3 x 2 windows, stride (2, 1), padding (1, 1)."""
    x = rng.standard_normal((2, 3, 7, 5)) + 2
    options = {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1)}
    expected = value(F.avg_pool2d, x, **options, count_include_pad=False)
    counted = value(F.avg_pool2d, x, **options)
    turned = {name: pair[::-1] for name, pair in options.items()}
    got = student.call("avg_pool2d", x=x, **options, count_include_pad=False)
    compare(
        "out",
        got["out"],
        expected,
        causes=[
            Cause(
                "count_include_pad ignored",
                counted,
                "Without counting the padding a window at the border is divided by the number of "
                "pixels of x that it holds.",
            ),
            Cause(
                "h and w mixed up",
                [
                    value(F.avg_pool2d, x, **turned, count_include_pad=flag)
                    for flag in (False, True)
                ],
                "Pairs are (h, w).",
            ),
        ],
        look="For x full of ones, out is full of ones.",
    )
    got = student.call("avg_pool2d", x=x, **options)
    compare(
        "out (count_include_pad=True)",
        got["out"],
        counted,
        causes=[
            Cause("divided by KH * KH", counted * 6 / 9, "A window has KH * KW elements."),
            Cause("divided by KW * KW", counted * 6 / 4, "A window has KH * KW elements."),
        ],
    )
    unchanged(got, "x")


@check(points=2, part=PART3)
def average_pooling_backward_with_overlap(student, rng):
    """avg_pool2d_backward: 3 x 3 windows, stride 2, padding 1, the padding counted and not."""
    x = rng.standard_normal((2, 3, 8, 7))
    options = {"kernel_size": 3, "stride": 2, "padding": 1}
    grad = rng.standard_normal(value(F.avg_pool2d, x, **options).shape)
    counts = {True: np.full(grad.shape, 9.0)}
    counts[False] = 9 * value(F.avg_pool2d, np.ones_like(x), **options)
    for counted in (True, False):
        got = student.call("avg_pool2d", x=x, grad=grad, **options, count_include_pad=counted)
        _, (expected,) = oracle(F.avg_pool2d, grad, x, **options, count_include_pad=counted)

        def parts(counted):
            share = grad / counts[counted]
            return np.broadcast_to(share[:, :, None, None], (2, 3, 3, 3, *grad.shape[2:]))

        padded = scatter(parts(counted), (10, 9), stride=2)
        compare(
            f"grad_x (count_include_pad={counted})",
            got["grad_x"],
            expected,
            causes=[
                Cause(
                    "divided by another number than the forward",
                    scatter(parts(not counted), (8, 7), stride=2, padding=1),
                    "The backward divides by what the forward divided by: KH * KW if "
                    "count_include_pad, else the number of pixels in the window. Keep it in cache.",
                ),
                overwritten(parts(counted), (8, 7), expected, stride=2, padding=1),
                Cause("not divided", expected * 9, "Each element has a share of 1 / (KH * KW)."),
                Cause(
                    "padding not cropped",
                    [padded, padded[:, :, :8, :7]],
                    "Cut off `padding` rows and columns on each side.",
                ),
                Cause(
                    "stride ignored",
                    scatter(parts(counted), (8, 7), stride=1, padding=1),
                    "The window of output (y, x') begins at (y * stride, x' * stride).",
                ),
            ],
            look="A pixel in four windows gets a share of four gradients.",
        )
        unchanged(got, "x", "grad")


# 4. BatchNorm -------------------------------------------------------------------------------------


def norm_grad_x_causes(inputs, grad, expected, training, eps=EPS):
    """Known wrong gradients of a batch normalisation to x."""
    x, ndim = inputs["x"], inputs["x"].ndim
    axes, n = (0, *range(2, ndim)), len(x)
    count = x.size // x.shape[1]
    weight = per_channel(inputs["weight"], ndim)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    if not training:
        mean, var = (per_channel(inputs[f"running_{s}"], ndim) for s in ("mean", "var"))
    std = np.sqrt(var + eps)
    normal, g = (x - mean) / std, grad * weight
    sum_g, sum_gn = g.sum(axes, keepdims=True), (g * normal).sum(axes, keepdims=True)
    causes = [
        Cause(
            "scale forgotten",
            expected / weight,
            "out = weight * normalised + bias: the gradient to the normalised values is "
            "grad * weight.",
        ),
        Cause("standard deviation forgotten", expected * std, "Divide by the standard deviation."),
    ]
    if not training:
        causes.append(
            Cause(
                "formula of training in evaluation",
                [
                    (g - sum_g / count - normal * sum_gn / count) / std,
                    batch_norm(inputs, grad, True, eps=eps)["grad_x"],
                ],
                "In evaluation mean and variance are constants: each output depends on one input, "
                "and the gradient is grad * weight / sqrt(running_var + eps).",
            )
        )
        return causes
    causes += [
        Cause(
            "mean and variance taken for constants",
            g / std,
            "In training each x moves its channel's mean and variance, and through them all "
            "outputs of the channel: two more terms.",
        ),
        Cause(
            "path through the mean forgotten",
            (g - normal * sum_gn / count) / std,
            "x moves the mean of its channel, and the mean moves every output of it. Test: grad_x "
            "must add up to 0 over a channel.",
        ),
        Cause(
            "path through the variance forgotten",
            (g - sum_g / count) / std,
            "x moves the variance of its channel. Test: the sum of grad_x * normalised over a "
            "channel must be (nearly) 0.",
        ),
        Cause("sign", (g + sum_g / count + normal * sum_gn / count) / std),
        Cause(
            "unbiased variance in the backward",
            (g - sum_g / count - normal * sum_gn / (count - 1)) / std,
            "The variance in the output is the biased one, so its gradient divides by M.",
        ),
    ]
    if n != count:
        causes.append(
            Cause(
                "N against N * H * W",
                (g - sum_g / n - normal * sum_gn / n) / std,
                "The means in the backward are over all M = N * H * W elements of a channel.",
            )
        )
    return causes


@check(points=2, part=PART4)
def batchnorm_2d_gradient_to_the_input_in_training(student, rng):
    """batch_norm_backward in training: grad_x for images, x of (3, 4, 2, 5)."""
    inputs, grad = draw_norm(rng, (3, 4, 2, 5))
    expected = batch_norm(inputs, grad, True)["grad_x"]
    got = student.call("batch_norm", **inputs, training=True, grad=grad, eps=EPS)
    compare(
        "grad_x",
        got["grad_x"],
        expected,
        causes=norm_grad_x_causes(inputs, grad, expected, True),
        look="If grad_x is wrong for (N, C) too, in the public check, mend that first.",
    )
    unchanged(got, "x", "weight", "bias", "grad")


@check(points=2, part=PART4)
def batchnorm_gradients_in_evaluation(student, rng):
    """batch_norm_backward after training=False: all three gradients."""
    for shape in ((7, 3), (3, 4, 2, 5)):
        inputs, grad = draw_norm(rng, shape)
        expected = batch_norm(inputs, grad, False)
        got = student.call("batch_norm", **inputs, training=False, grad=grad, eps=EPS)
        compare(
            f"grad_x for x of {shape}",
            got["grad_x"],
            expected["grad_x"],
            causes=norm_grad_x_causes(inputs, grad, expected["grad_x"], False),
            look="If out is wrong in the check of the evaluation mode, mend it first. Then: which "
            "outputs does one element of x move, if mean and variance are constants?",
        )
        batch = batch_norm(inputs, grad, True)
        compare(
            f"grad_weight for x of {shape}",
            got["grad_weight"],
            expected["grad_weight"],
            causes=[
                Cause(
                    "normalised with the batch's statistics",
                    batch["grad_weight"],
                    "In evaluation the normalised values are those of the running statistics.",
                )
            ],
            look="weight multiplies the normalised values: those of the evaluation mode.",
        )
        compare(f"grad_bias for x of {shape}", got["grad_bias"], expected["grad_bias"], look=SHAPE)


@check(points=1, part=PART4)
def batchnorm_in_float32_with_the_default_eps(student, rng):
    """batch_norm in float32, momentum and eps left out, a channel of nearly equal values."""
    inputs, grad = draw_norm(rng, (3, 4, 5, 2))
    inputs["x"][:, 1] = 0.01 * inputs["x"][:, 1]
    expected = batch_norm(inputs, grad, True, eps=1e-5)
    got = student.call("batch_norm", **float32(**inputs, grad=grad), training=True)
    for name in ("running_mean", "running_var"):
        require(
            getattr(got[name], "dtype", None) == np.float32,
            f"{name} must stay the caller's float32 array",
            "float64",
        )
    names = ("out", "grad_weight", "grad_bias", "running_mean", "running_var")
    compare32(got, {name: expected[name] for name in names})
    scale = np.abs(expected["grad_x"]).max((0, 2, 3), keepdims=True)
    require(got["grad_x"].dtype == np.float32, "grad_x must be float32", f"float64: {PROMOTED}")
    compare(
        "grad_x / its largest",
        got["grad_x"] / scale,
        expected["grad_x"] / scale,
        atol=1e-3,
        look="If the float64 checks of this function fail, mend those first.",
    )


# 5. Dropout ---------------------------------------------------------------------------------------


@check(points=2, part=PART5)
def dropout_backward_in_both_modes(student, rng):
    """dropout_backward: the mask and the scale of the forward; in evaluation, grad."""
    x, grad, p = rng.standard_normal((4, 3, 5)), rng.standard_normal((4, 3, 5)), 0.6
    _, stays = dropout(x, p, 11)
    got = student.call("dropout", x=x, p=p, training=True, seed=11, grad=grad)
    compare(
        "grad_x after training",
        got["grad_x"],
        grad * stays / (1 - p),
        causes=[
            Cause(
                "not scaled",
                grad * stays,
                "out = x / (1 - p) where x stays: the factor is in the gradient too.",
            ),
            Cause(
                "mask forgotten",
                [grad, grad / (1 - p)],
                "What was dropped did not move the output: its gradient is 0.",
            ),
            Cause("scaled by 1 - p", grad * stays * (1 - p), "It is divided by 1 - p."),
        ],
        look="out is x times a constant, element by element: grad_x is grad times the same one.",
    )
    got = student.call("dropout", x=x, p=p, training=False, seed=11, grad=grad)
    compare(
        "grad_x after evaluation",
        got["grad_x"],
        grad,
        causes=[
            Cause(
                "scaled in evaluation",
                [grad * (1 - p), grad / (1 - p)],
                "In evaluation out equals x: grad_x equals grad.",
            )
        ],
        look="In evaluation there is nothing to do.",
    )
    unchanged(got, "x", "grad")


@check(points=1, part=PART5)
def dropout_in_float32(student, rng):
    """dropout with float32 inputs, p = 0.5 and p = 0: results are float32, and right."""
    x, grad = rng.standard_normal((6, 7)), rng.standard_normal((6, 7))
    for p in (0.5, 0.0):
        expected, stays = dropout(x, p, 5)
        got = student.call("dropout", **float32(x=x, grad=grad), p=p, training=True, seed=5)
        compare32(got, {"out": expected, "grad_x": grad * stays / (1 - p)})


# 6. GroupNorm -------------------------------------------------------------------------------------


@check(points=3, part=PART6)
def groupnorm_backward(student, rng):
    """group_norm_backward: all three gradients, 6 channels in 2 groups, 1 group and 6 groups."""
    for groups in (2, 1, 6):
        inputs, grad = draw_norm(rng, (3, 6, 4, 2))
        x, weight, bias = (inputs[name] for name in ("x", "weight", "bias"))
        _, (grad_x, grad_weight, grad_bias) = oracle(
            lambda x, w, b, groups=groups: F.group_norm(x, groups, w, b, EPS),
            grad,
            x,
            weight,
            bias,
        )
        got = student.call(
            "group_norm", x=x, num_groups=groups, weight=weight, bias=bias, eps=EPS, grad=grad
        )
        blocks = (3, groups, 6 // groups, 4, 2)
        axes = (2, 3, 4)
        y, g = x.reshape(blocks), (grad * weight[:, None, None]).reshape(blocks)
        std = np.sqrt(y.var(axes, keepdims=True) + EPS)
        normal = (y - y.mean(axes, keepdims=True)) / std
        mean_g, mean_gn = (a.mean(axes, keepdims=True) for a in (g, g * normal))
        unscaled = grad.reshape(blocks)
        flat = unscaled - unscaled.mean(axes, keepdims=True)
        flat = flat - normal * (unscaled * normal).mean(axes, keepdims=True)
        compare(
            f"grad_weight ({groups} groups)",
            got["grad_weight"],
            grad_weight,
            causes=[
                Cause(
                    "x instead of the normalised x",
                    [
                        (grad * x).sum((0, 2, 3)),
                        (grad * (y - y.mean(axes, keepdims=True)).reshape(x.shape)).sum((0, 2, 3)),
                    ],
                    "weight multiplies the normalised value: this is the factor in its gradient.",
                ),
                Cause(
                    "divided by N",
                    grad_weight / 3,
                    "A sum over the batch, not a mean, belongs here.",
                ),
            ],
            look="weight[c] multiplies the normalised elements of channel c, in all images. "
            + SHAPE,
        )
        compare(f"grad_bias ({groups} groups)", got["grad_bias"], grad_bias, look=SHAPE)
        compare(
            f"grad_x ({groups} groups)",
            got["grad_x"],
            grad_x,
            causes=[
                Cause(
                    "scale forgotten",
                    (flat / std).reshape(x.shape),
                    "The gradient to the normalised values is grad * weight, before the means.",
                ),
                Cause(
                    "mean and variance taken for constants",
                    (g / std).reshape(x.shape),
                    "Each x moves the mean and the variance of its block.",
                ),
                Cause(
                    "path through the mean forgotten",
                    ((g - normal * mean_gn) / std).reshape(x.shape),
                    "x moves the mean of its block: grad_x must add up to 0 over a block.",
                ),
                Cause(
                    "path through the variance forgotten",
                    ((g - mean_g) / std).reshape(x.shape),
                    "x moves the variance of its block.",
                ),
            ],
            look="The algebra is that of BatchNorm, with means over a block of one image instead "
            "of over a channel of the batch.",
        )
        unchanged(got, "x", "weight", "bias", "grad")


# 7. A network that trains -------------------------------------------------------------------------


@check(points=1, part=PART7)
def sgd_with_weight_decay(student, rng):
    """sgd_step: two arrays, three steps, weight decay, momentum 0.8, default and other rates."""
    shapes = ((3, 4), (5,))
    params = [rng.standard_normal(shape) for shape in shapes]
    velocities = [rng.standard_normal(shape) for shape in shapes]
    lrs, momentum, decay = [0.1, 0.2, 0.05], 0.8, 0.3
    grads = [rng.standard_normal(shape) for _ in lrs for shape in shapes]

    def run(sign=1.0, where="gradient", nesterov=False):
        ps, vs = [p.copy() for p in params], [v.copy() for v in velocities]
        for step, lr in enumerate(lrs):
            for k in (0, 1):
                g = grads[2 * step + k] + (sign * decay * ps[k] if where == "gradient" else 0)
                vs[k] = momentum * vs[k] + g
                after = sign * decay * ps[k] if where == "step" else 0
                ps[k] = ps[k] - lr * ((g + momentum * vs[k] if nesterov else vs[k]) + after)
        return ps, vs

    expected = run()
    got = student.call(
        "sgd",
        params=params,
        velocities=velocities,
        grads=grads,
        lrs=lrs,
        momentum=momentum,
        weight_decay=decay,
    )
    for k in (0, 1):
        known = [
            ("weight decay forgotten", run(0.0), "g = grad + weight_decay * param."),
            ("sign of the weight decay", run(-1.0), "Decay pulls to 0: g = grad + decay * param."),
            (
                "weight decay outside the velocity",
                run(where="step"),
                "Here the decay is a part of g, so it goes through the velocity (outside of it, "
                "it is AdamW's manner).",
            ),
            ("Nesterov", run(nesterov=True), "param moves by lr * velocity, nothing else."),
        ]
        for name, which in (("param", 0), ("velocity", 1)):
            compare(
                f"{name} {k} after three steps",
                got["velocities" if which else "params"][k],
                expected[which][k],
                causes=[Cause(name, wrong[which][k], why) for name, wrong, why in known],
                look="Compare with the three lines of the docstring, in their order.",
            )
    unchanged(got, "grads")


@check(points=1, part=PART7)
def network_forward_in_evaluation(student, rng):
    """convnet_forward, training=False: logits; the running statistics stay; no dropout."""
    params, running, x = draw_net(rng)
    mean, var = running["mean"].copy(), running["var"].copy()
    expected = network(params, mean, var, x, False)[0].detach().numpy()
    got = student.call("convnet", params=params, **running, x=x, training=False, p=0.4, seed=8)
    mask, _ = dropout(np.ones((5, 24)), 0.4, 8)
    compare(
        "logits",
        got["logits"],
        expected,
        causes=net_causes(params, running, x, False, None, mask),
        look=EARLIER + "Is `training` handed on to both layers that have two modes?",
    )
    for name in ("mean", "var"):
        compare(
            f"running {name}",
            got[name],
            running[name],
            causes=[Cause("running statistics changed in evaluation", lambda a: True)],
        )


@check(points=2, part=PART7)
def training_for_four_steps(student, rng):
    """train_step, four times on one batch: the losses, the parameters and running statistics."""
    params, running, x = draw_net(rng)
    targets = np.array([0, 2, 1, 1, 0])
    lrs, momentum, decay, p, seed = [0.1, 0.1, 0.05, 0.05], 0.8, 0.05, 0.25, 4

    def train(momentum=momentum, decay=decay, learns=True, same_mask=False):
        ps, mean, var = [q.copy() for q in params], *(a.copy() for a in running.values())
        velocities = [np.zeros_like(q) for q in ps]
        draws, losses = np.random.default_rng(seed), []
        for lr in lrs:
            draws = np.random.default_rng(seed) if same_mask else draws
            mask = np.where(draws.random((5, 24)) >= p, 1 / (1 - p), 0)
            logits, tensors = network(ps, mean, var, x, True, mask)
            loss = F.cross_entropy(logits, md.tensor(targets))
            losses.append(loss.item())
            loss.backward()
            for q, v, tensor in zip(ps, velocities, tensors, strict=True):
                v[:] = momentum * v + tensor.grad.numpy() + decay * q
                q -= lr * v if learns else 0
        return losses, ps, mean, var

    losses, ps, mean, var = train()
    got = student.call(
        "training",
        params=params,
        **running,
        x=x,
        targets=targets,
        p=p,
        seed=seed,
        lrs=lrs,
        momentum=momentum,
        weight_decay=decay,
    )
    compare(
        "losses",
        np.asarray(got["losses"], dtype=float),
        np.array(losses),
        rtol=1e-5,
        causes=[
            Cause(
                "nothing learned",
                np.array(train(learns=False)[0]),
                "The parameters stay as they were: does train_step call sgd_step, and are the "
                "arrays of params changed in place?",
            ),
            Cause(
                "momentum and weight_decay not handed on",
                [train(0.9, 0.0)[0], train(0.9)[0], train(decay=0.0)[0]],
                "train_step gets momentum and weight_decay and must give both to sgd_step.",
            ),
            Cause(
                "the same mask in every step",
                np.array(train(same_mask=True)[0]),
                "Use the rng that train_step is given, and no new one.",
            ),
        ],
        look=EARLIER + "If only the first loss is right, the gradients or the step are wrong.",
    )
    for name, before, expected in zip(NAMES, params, ps, strict=True):
        compare(
            f"{name} after four steps",
            got[name],
            expected,
            rtol=1e-5,
            atol=1e-7,
            causes=[
                Cause(
                    "not changed in place",
                    before,
                    "The arrays of params must change themselves; others hold the same arrays.",
                )
            ],
            look="The losses are right. Are the new values written into the arrays of params?",
        )
    compare("running mean", got["mean"], mean, rtol=1e-5, atol=1e-7)
    compare("running var", got["var"], var, rtol=1e-5, atol=1e-7)
