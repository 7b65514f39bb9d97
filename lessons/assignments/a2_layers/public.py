"""The public checks of A2: part of the handout. What they expect comes from minidl's operations.

Each check draws inputs, has calls.py run your layer on them in a process of its own, and compares.
A `Cause` is a well-known mistake with the wrong result that it leads to.
"""

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl.teach.assign import Cause, check, compare, require

ADD = "A gradient that arrives along several ways is a sum: += and not =."
SHAPE = "A gradient has the shape of what it is the gradient of: print both shapes."


def oracle(function, grad, *arrays, **options):
    """minidl's result of a function of arrays, and the arrays' gradients given dL/dout."""
    tensors = [md.tensor(array, requires_grad=True) for array in arrays]
    out = function(*tensors, **options)
    out.backward(md.tensor(np.asarray(grad)))
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
            "input changed in place: others still need that array (another layer, the next step).",
            "Look for x[...] = , -=, *= and out= on an argument or a view of one (reshape, a slice "
            "and transpose give views); make a new array.",
        )


# 1. Linear, ReLU, loss ----------------------------------------------------------------------------

PART1 = "1. Linear, ReLU, loss"


@check(points=2, part=PART1)
def linear_layer_forward(student, rng):
    """linear_forward: 4 images with 3 features, 5 outputs."""
    x, weight, bias = (rng.standard_normal(shape) for shape in ((4, 3), (5, 3), 5))
    got = student.call("linear", x=x, weight=weight, bias=bias)
    compare(
        "out",
        got["out"],
        value(F.linear, x, weight, bias),
        causes=[
            Cause("bias forgotten", x @ weight.T, "One number of bias is added to each output."),
            Cause("bias subtracted", x @ weight.T - bias),
        ],
        look="Row m of weight belongs to output m: out[0, m] is the dot product of x[0] and "
        "weight[m], plus bias[m]. Work out one element by hand.",
    )
    unchanged(got, "x", "weight", "bias")


@check(points=3, part=PART1)
def linear_layer_backward(student, rng):
    """linear_backward: the gradients to x, weight and bias, given a random grad."""
    x, weight, bias, grad = (rng.standard_normal(s) for s in ((4, 3), (5, 3), 5, (4, 5)))
    _, (grad_x, grad_weight, grad_bias) = oracle(F.linear, grad, x, weight, bias)
    got = student.call("linear", x=x, weight=weight, bias=bias, grad=grad)
    n = len(x)
    mean = "A sum over the batch belongs here; the division by N is in the loss, not in the layers."
    ones = np.ones_like(grad)
    compare("grad_x", got["grad_x"], grad_x, look=SHAPE, factors={"N": n})
    compare(
        "grad_weight",
        got["grad_weight"],
        grad_weight,
        causes=[
            Cause("divided by N", grad_weight / n, mean),
            Cause("grad forgotten", ones.T @ x, "grad must enter all three gradients."),
            Cause("transposed", grad_weight.T, "weight has one row for each output. " + SHAPE),
        ],
        look="weight[m, d] is used once for each image: sum grad[n, m] * x[n, d] over n. " + SHAPE,
    )
    compare(
        "grad_bias",
        got["grad_bias"],
        grad_bias,
        causes=[
            Cause("divided by N", grad_bias / n, mean),
            Cause("grad forgotten", ones.sum(0), "grad must enter all three gradients."),
            Cause(
                "not summed over the batch",
                [grad, grad.sum(1), grad_bias[None]],
                "bias was added to each row; each row's gradient is added up, and the shape is "
                "(M,).",
            ),
        ],
        look="bias[m] was added to out[n, m] for every image n. " + SHAPE,
    )
    unchanged(got, "x", "weight", "grad")


@check(points=2, part=PART1)
def relu_forward_and_backward(student, rng):
    """relu_forward and relu_backward, some elements of x being exactly 0."""
    x = rng.standard_normal((3, 4, 5))
    x[:, 1] = 0
    grad = rng.standard_normal(x.shape)
    out, (grad_x,) = oracle(F.relu, grad, x)
    got = student.call("relu", x=x, grad=grad)
    compare(
        "out",
        got["out"],
        out,
        causes=[
            Cause("absolute value", np.abs(x), "Negative elements become 0, not positive."),
            Cause("1 instead of x", (x > 0).astype(float), "Positive elements keep their value."),
        ],
        look="out = max(x, 0), element by element.",
    )
    compare(
        "grad_x",
        got["grad_x"],
        grad_x,
        causes=[
            Cause("gradient at 0", grad * (x >= 0), "Where x is exactly 0 the gradient is 0: > ."),
            Cause("grad forgotten", (x > 0).astype(float), "The slope (0 or 1) multiplies grad."),
            Cause(
                "sign of grad instead of x",
                [np.maximum(grad, 0), grad * (x > 0) * (grad > 0)],
                "Where the gradient passes is decided by x, in the forward; a negative gradient "
                "passes too.",
            ),
            Cause("grad passed everywhere", grad, "Where x was negative the output did not move."),
        ],
        look="Compare element by element with x: where x > 0 grad_x is grad, elsewhere 0.",
    )
    unchanged(got, "x", "grad")


@check(points=2, part=PART1)
def cross_entropy_value(student, rng):
    """cross_entropy_forward: the loss of 5 images, 4 classes."""
    logits, targets = rng.standard_normal((5, 4)) * 2, np.array([3, 0, 2, 2, 1])
    expected = value(F.cross_entropy, logits, targets)
    got = student.call("cross_entropy", logits=logits, targets=targets)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    over_batch = np.exp(logits) / np.exp(logits).sum(0)
    rows = np.arange(5)
    compare(
        "loss",
        got["loss"],
        expected,
        causes=[
            Cause("sum instead of mean", expected * 5, "Divide by the number of images N."),
            Cause("divided by N * K", expected / 4, "Divide by the number of images N only."),
            Cause("sign", -expected, "The loss is minus the mean of log p[target]."),
            Cause(
                "[:, targets]",
                -np.log(p[:, targets]).mean(),
                "a[:, targets] takes all pairs of rows and targets, (N, N); you want one element a "
                "row, a[[0, 1, 2, ...], targets].",
            ),
            Cause(
                "softmax over the batch",
                -np.log(over_batch[rows, targets]).mean(),
                "The probabilities of one image add up to 1: sum over axis 1, the classes.",
            ),
            Cause("log forgotten", [-p[rows, targets].mean(), 1 - p[rows, targets].mean()]),
        ],
        look="Work out the loss of one image by hand: exp of its scores, their sum, the share of "
        "the target, minus its logarithm.",
    )
    unchanged(got, "logits")


@check(points=3, part=PART1)
def cross_entropy_gradient(student, rng):
    """cross_entropy_backward with grad = 1: 5 images, 4 classes."""
    logits, targets = rng.standard_normal((5, 4)) * 2, np.array([3, 0, 2, 2, 1])
    _, expected = gradient_of_the_loss(logits, targets, 1.0)
    got = student.call("cross_entropy", logits=logits, targets=targets, grad=1.0)
    compare(
        "grad_logits",
        got["grad_logits"],
        expected,
        causes=loss_causes(logits, targets, 1.0, expected),
        look="Two tests by hand: each row of grad_logits adds up to 0, and only the target's "
        "element of a row is negative.",
    )
    unchanged(got, "logits")


def gradient_of_the_loss(logits, targets, grad):
    """The loss and its gradient to the logits, given dL/dloss."""
    scores = md.tensor(logits, requires_grad=True)
    loss = F.cross_entropy(scores, md.tensor(targets))
    loss.backward(md.tensor(np.asarray(grad, dtype=logits.dtype)))
    return loss.detach().numpy(), scores.grad.numpy()


def loss_causes(logits, targets, grad, expected):
    """Known wrong gradients of the loss."""
    n = len(logits)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    some = p.copy()
    some[:, targets] -= 1
    return [
        Cause("mean forgotten", expected * n, "The loss is a mean: each image has a share of 1/N."),
        Cause("sign", -expected, "Downhill is minus the gradient; the gradient itself points up."),
        Cause(
            "[:, targets]",
            [some * grad / n, some * grad, some / n],
            "a[:, targets] -= 1 changes the columns of all targets in every row; you want one "
            "element a row, a[[0, 1, 2, ...], targets].",
        ),
        Cause(
            "target forgotten",
            [p * grad / n, p * grad, (p - 1) * grad / n],
            "The score of the target enters the loss twice: in the sum of exponentials and alone.",
        ),
    ]


# 2. Convolution -----------------------------------------------------------------------------------

PART2 = "2. Convolution"


@check(points=1, part=PART2)
def output_size_of_a_window(student, rng):
    """conv_output_size for six combinations, listed in public.py and worked out by hand."""
    size = [5, 5, 6, 8, 30, 11]
    kernel = [3, 3, 2, 3, 5, 3]
    stride = [1, 1, 2, 2, 3, 2]
    padding = [0, 1, 0, 1, 2, 2]
    dilation = [1, 1, 1, 1, 1, 3]
    got = student.call(
        "conv_output_size",
        size=size,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    sizes, expected = np.asarray(got["sizes"]), np.array([3, 5, 3, 4, 10, 5])
    wrong = int(np.argmax(sizes != expected)) if sizes.shape == expected.shape else 0
    compare(
        "sizes",
        sizes,
        expected,
        causes=[
            Cause(
                "padding on one side",
                np.array([3, 4, 3, 4, 10, 4]),
                "padding zeros are added on each of the two sides.",
            ),
            Cause(
                "dilation times kernel",
                np.array([3, 5, 3, 4, 10, 4]),
                "Three elements have two gaps: draw o . . o . . o for dilation 3 and count.",
            ),
            Cause(
                "rounded up",
                np.array([3, 5, 3, 5, 11, 5]),
                "A window that does not fit entirely does not count: round down.",
            ),
            Cause(
                "one too few",
                np.array([2, 4, 2, 3, 9, 4]),
                "The window's first position, before any step, counts too.",
            ),
            Cause("a float", lambda a: a.dtype.kind == "f", "A size is an int: // and not / ."),
        ],
        look=f"Draw case {wrong} on squared paper (size {size[wrong]}, kernel {kernel[wrong]}, "
        f"stride {stride[wrong]}, padding {padding[wrong]}, dilation {dilation[wrong]}) and move "
        "the window.",
    )


def bias_shape(bias):
    return bias[:, None, None]


def conv_forward_causes(x, weight, bias, **options):
    """Known wrong results of a convolution, from minidl's with other arguments."""
    arrays = (x, weight) if bias is None else (x, weight, bias)
    expected = value(F.conv2d, *arrays, **options)
    flipped = np.ascontiguousarray(weight[:, :, ::-1, ::-1])
    causes = [
        Cause(
            "kernel flipped",
            value(F.conv2d, x, flipped, *arrays[2:], **options),
            "A layer's convolution is a cross-correlation: element (0, 0) of the kernel meets the "
            "upper left pixel of the window.",
        ),
    ]
    if weight.shape[2] == weight.shape[3]:
        swapped = np.ascontiguousarray(weight.swapaxes(2, 3))
        causes.append(
            Cause(
                "kernel transposed",
                value(F.conv2d, x, swapped, *arrays[2:], **options),
                "weight[o, c, i, j]: i counts rows (down), j counts columns (right).",
            )
        )
    if bias is not None:
        without = expected - bias_shape(bias)
        causes += [
            Cause("bias forgotten", without, "bias[o] is added to all of output channel o."),
            Cause(
                "bias added once per kernel element",
                without + weight.shape[2] * weight.shape[3] * bias_shape(bias),
                "Add it once, outside of the loop.",
            ),
        ]
    if options.get("padding"):
        plain = {**options, "padding": 0}
        causes.append(
            Cause("padding forgotten", value(F.conv2d, *arrays, **plain), "Pad x with zeros.")
        )
    if options.get("stride", 1) != 1:
        dense = value(F.conv2d, *arrays, **{**options, "stride": 1})
        corner = dense[:, :, : expected.shape[2], : expected.shape[3]]
        causes.append(
            Cause("stride ignored", [dense, corner], "The window moves by stride pixels a step.")
        )
    if options.get("dilation", 1) != 1:
        dense = value(F.conv2d, *arrays, **{**options, "dilation": 1})
        corner = dense[:, :, : expected.shape[2], : expected.shape[3]]
        causes.append(
            Cause(
                "dilation ignored",
                [dense, corner],
                "Kernel element (i, j) meets the pixel i * dilation down, j * dilation right.",
            )
        )
    return causes


@check(points=3, part=PART2)
def convolution_of_one_image(student, rng):
    """conv2d_forward: one image with one channel, one 3 x 3 kernel, no bias, stride 1."""
    x, weight = rng.standard_normal((1, 1, 5, 6)), rng.standard_normal((1, 1, 3, 3))
    got = student.call("conv2d", x=x, weight=weight)
    compare(
        "out",
        got["out"],
        value(F.conv2d, x, weight),
        causes=conv_forward_causes(x, weight, None),
        look="out[0, 0, 0, 0] is the sum of weight[0, 0] * x[0, 0, :3, :3]: compare this one.",
    )
    unchanged(got, "x", "weight")


@check(points=3, part=PART2)
def convolution_with_stride_and_padding(student, rng):
    """conv2d_forward: 2 images, 3 channels to 4, bias, stride 2, padding 1."""
    x, weight = rng.standard_normal((2, 3, 7, 6)), rng.standard_normal((4, 3, 3, 3))
    bias = rng.standard_normal(4)
    options = {"stride": 2, "padding": 1}
    got = student.call("conv2d", x=x, weight=weight, bias=bias, **options)
    compare(
        "out",
        got["out"],
        value(F.conv2d, x, weight, bias, **options),
        causes=conv_forward_causes(x, weight, bias, **options),
        look="out[0, 0, 0, 1] begins at column 2 of the padded image, column 1 of x; all input "
        "channels add up.",
    )
    unchanged(got, "x", "weight", "bias")


def draw_conv(rng, x_shape, weight_shape, **options):
    """x, weight, bias, and a random dL/dout of the right shape."""
    x, weight = rng.standard_normal(x_shape), rng.standard_normal(weight_shape)
    bias = rng.standard_normal(weight_shape[0])
    grad = rng.standard_normal(value(F.conv2d, x, weight, bias, **options).shape)
    return x, weight, bias, grad


@check(points=3, part=PART2)
def convolution_gradient_to_the_input(student, rng):
    """conv2d_backward, grad_x: 3 x 3 kernels, stride 1, once without and once with padding 1."""
    for padding in (0, 1):
        x, weight, bias, grad = draw_conv(rng, (2, 3, 5, 6), (4, 3, 3, 3), padding=padding)
        _, (grad_x, _, _) = oracle(F.conv2d, grad, x, weight, bias, padding=padding)
        got = student.call("conv2d", x=x, weight=weight, bias=bias, grad=grad, padding=padding)
        compare(
            f"grad_x (padding {padding})",
            got["grad_x"],
            grad_x,
            causes=grad_x_causes(x, weight, bias, grad, grad_x, padding=padding),
            look="Which outputs does pixel (0, 0) take part in, with which kernel element? Then a "
            "pixel in the middle.",
            factors={"N": 2, "KH * KW": 9},
        )
        unchanged(got, "x", "weight", "bias", "grad")


def grad_x_causes(x, weight, bias, grad, grad_x, padding=0, **options):
    """Known wrong gradients of a convolution to its input."""
    n = len(x)
    ph, pw = (padding, padding) if np.isscalar(padding) else padding
    flipped = np.ascontiguousarray(weight[:, :, ::-1, ::-1])
    wrong, _ = oracle(F.conv2d, grad, x, flipped, bias, padding=padding, **options)[1][:2]
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    _, (uncropped, *_) = oracle(F.conv2d, grad, padded, weight, bias, **options)
    causes = [
        Cause(
            "kernel flipped",
            wrong,
            "The pixel that met weight[i, j] in the forward gets grad * weight[i, j], the same "
            "element. (As a convolution of grad this is the flipped kernel; as a loop over kernel "
            "elements it is not.)",
        ),
        Cause("divided by N", grad_x / n, "The division by N is in the loss, not in the layers."),
    ]
    if ph or pw:
        corner = uncropped[:, :, : x.shape[2], : x.shape[3]]
        causes.append(
            Cause(
                "padding not cropped",
                [uncropped, corner],
                "This is the gradient of the padded image: cut off `padding` rows and columns on "
                "each side.",
            )
        )
    else:
        # A corner pixel is in one window only (stride 1), so it is right even then.
        corners = (..., slice(None, None, x.shape[2] - 1), slice(None, None, x.shape[3] - 1))
        causes.append(
            Cause(
                "overwritten instead of added",
                lambda a: a.shape == x.shape and np.allclose(a[corners], grad_x[corners]),
                "The corner pixels are right: they are in one window each. All others are in "
                "several, and get a gradient from each. " + ADD,
            )
        )
        causes.append(
            Cause(
                "a slice to -0",
                lambda a: a.size == 0,
                "a[p:-p] is empty when p is 0, as -0 is 0: write a[p : p + H].",
            )
        )
    return causes


@check(points=3, part=PART2)
def convolution_gradient_to_the_weight(student, rng):
    """conv2d_backward, grad_weight: 3 x 3 kernels, stride 1, padding 1."""
    x, weight, bias, grad = draw_conv(rng, (2, 3, 5, 6), (4, 3, 3, 3), padding=1)
    _, (_, grad_weight, _) = oracle(F.conv2d, grad, x, weight, bias, padding=1)
    got = student.call("conv2d", x=x, weight=weight, bias=bias, grad=grad, padding=1)
    compare(
        "grad_weight",
        got["grad_weight"],
        grad_weight,
        causes=grad_weight_causes(grad_weight, len(x), grad.shape),
        look="weight[o, c, i, j] is used once at each output position of each image: sum "
        "grad[n, o, y, x'] * (the pixel it met there).",
    )


def grad_weight_causes(grad_weight, n, out_shape):
    """Known wrong gradients of a convolution to its weight."""
    area = out_shape[2] * out_shape[3]
    return [
        Cause(
            "kernel flipped",
            np.flip(grad_weight, (2, 3)),
            "grad_weight[..., i, j] belongs to the pixels that element (i, j) met: no flipping.",
        ),
        Cause(
            "divided by N",
            grad_weight / n,
            "A sum over the batch belongs here; the division by N is in the loss.",
        ),
        Cause(
            "divided by N * OH * OW",
            [grad_weight / (n * area), grad_weight / area],
            "The element's gradient is the sum over all positions and images, not their mean.",
        ),
    ]


def grad_bias_causes(grad_bias, grad):
    """Known wrong gradients of a convolution to its bias."""
    n, _, h, w = grad.shape
    return [
        Cause(
            "divided by N", grad_bias / n, "A sum belongs here; the division by N is in the loss."
        ),
        Cause(
            "divided by N * OH * OW",
            [grad_bias / (n * h * w), grad_bias / (h * w)],
            "bias[o] moves all of channel o: its gradient is a sum, not a mean.",
        ),
        Cause(
            "not summed over all axes",
            [grad.sum(0), grad.sum((2, 3)), grad],
            "bias[o] was added to every pixel of every image: sum over axes 0, 2 and 3.",
        ),
    ]


@check(points=1, part=PART2)
def convolution_gradient_to_the_bias(student, rng):
    """conv2d_backward, grad_bias: with a bias, and None without one."""
    x, weight, bias, grad = draw_conv(rng, (2, 3, 5, 6), (4, 3, 3, 3))
    _, (_, _, grad_bias) = oracle(F.conv2d, grad, x, weight, bias)
    got = student.call("conv2d", x=x, weight=weight, bias=bias, grad=grad)
    compare(
        "grad_bias",
        got["grad_bias"],
        grad_bias,
        causes=grad_bias_causes(grad_bias, grad),
        look=SHAPE,
    )
    got = student.call("conv2d", x=x, weight=weight, grad=grad)
    require(
        got["grad_bias"] is None,
        f"without a bias grad_bias must be None; it is {type(got['grad_bias']).__name__}",
        "no bias, no gradient: the third value is None if conv2d_forward got bias=None.",
    )


# 3. Pooling ---------------------------------------------------------------------------------------

PART3 = "3. Pooling"


@check(points=2, part=PART3)
def max_pooling_forward(student, rng):
    """max_pool2d_forward: windows of 2 x 2 side by side, then 3 x 3 with stride 2."""
    x = rng.standard_normal((2, 3, 6, 7))
    for kernel, stride in ((2, None), (3, 2)):
        got = student.call("max_pool2d", x=x, kernel_size=kernel, stride=stride)
        expected = value(F.max_pool2d, x, kernel_size=kernel, stride=stride)
        causes = [
            Cause(
                "mean instead of maximum",
                value(F.avg_pool2d, x, kernel_size=kernel, stride=stride),
            ),
            Cause(
                "maximum of magnitudes",
                value(F.max_pool2d, np.abs(x), kernel_size=kernel, stride=stride),
                "-3 is smaller than 1.",
            ),
            Cause(
                "stride ignored",
                value(F.max_pool2d, x, kernel_size=kernel, stride=kernel if stride else 1),
                "The window moves by stride; None means kernel_size, so that windows touch.",
            ),
        ]
        compare(
            f"out (kernel {kernel}, stride {stride})",
            got["out"],
            expected,
            causes=causes,
            look="out[0, 0, 0, 0] is the largest of the window at the upper left of x[0, 0].",
        )
        unchanged(got, "x")


@check(points=3, part=PART3)
def max_pooling_backward(student, rng):
    """max_pool2d_backward: windows of 2 x 2 side by side; the last column belongs to none."""
    x = rng.standard_normal((2, 3, 6, 7))
    grad = rng.standard_normal((2, 3, 3, 3))
    _, (expected,) = oracle(F.max_pool2d, grad, x, kernel_size=2)
    got = student.call("max_pool2d", x=x, kernel_size=2, grad=grad)
    spread = np.zeros_like(x)
    spread[..., :6] = grad.repeat(2, 2).repeat(2, 3)
    compare(
        "grad_x",
        got["grad_x"],
        expected,
        causes=[
            Cause(
                "every element of the window",
                [spread, spread / 4],
                "Only the element that was the largest moved the output: it gets all of grad.",
            ),
            Cause("grad forgotten", (expected != 0).astype(float), "The winner gets grad, not 1."),
            Cause("last column cut off", expected[..., :6], SHAPE),
        ],
        look="In each window exactly one element of grad_x is not 0, and it equals grad there.",
    )
    unchanged(got, "x", "grad")


@check(points=2, part=PART3)
def average_pooling_forward(student, rng):
    """avg_pool2d_forward: 2 x 2 side by side, and 3 x 3 with stride 2 and padding 1 (counted)."""
    x = rng.standard_normal((2, 3, 6, 7))
    for kernel, stride, padding in ((2, None, 0), (3, 2, 1)):
        options = {"kernel_size": kernel, "stride": stride, "padding": padding}
        expected = value(F.avg_pool2d, x, **options)
        got = student.call("avg_pool2d", x=x, **options)
        area = kernel * kernel
        causes = [
            Cause("not divided", expected * area, "The mean is the sum divided by KH * KW."),
            Cause("divided by KH", expected * kernel, "A window has KH * KW elements."),
        ]
        if padding:
            uncounted = value(F.avg_pool2d, x, **options, count_include_pad=False)
            causes.append(
                Cause(
                    "count_include_pad reversed",
                    uncounted,
                    "count_include_pad=True divides by KH * KW everywhere, at the border too.",
                )
            )
        compare(
            f"out (kernel {kernel}, stride {stride}, padding {padding})",
            got["out"],
            expected,
            causes=causes,
            look="Compare out[0, 0, 0, 0], a window at the border, with out[0, 0, 1, 1], inside.",
        )
        unchanged(got, "x")


@check(points=2, part=PART3)
def average_pooling_backward(student, rng):
    """avg_pool2d_backward: windows of 2 x 2 side by side; the last column belongs to none."""
    x = rng.standard_normal((2, 3, 6, 7))
    grad = rng.standard_normal((2, 3, 3, 3))
    _, (expected,) = oracle(F.avg_pool2d, grad, x, kernel_size=2)
    got = student.call("avg_pool2d", x=x, kernel_size=2, grad=grad)
    compare(
        "grad_x",
        got["grad_x"],
        expected,
        causes=[
            Cause(
                "not divided",
                expected * 4,
                "Each element has a share of 1 / (KH * KW) in the mean, so also in its gradient.",
            ),
            Cause("divided twice", expected / 4, "The share is 1 / (KH * KW), once."),
            Cause("last column cut off", expected[..., :6], SHAPE),
        ],
        look="All four elements of a window get the same: grad there, divided by 4.",
    )
    unchanged(got, "x", "grad")


# 4. BatchNorm -------------------------------------------------------------------------------------

PART4 = "4. BatchNorm"
# A large eps, so that its place matters to the result.
EPS = 0.05


def draw_norm(rng, shape, scale=1.0):
    """Inputs of a normalisation as a dict, and a random dL/dout."""
    channels = shape[1]
    spread = rng.uniform(0.5, 2, channels).reshape(1, -1, *[1] * (len(shape) - 2))
    inputs = {
        "x": scale * spread * rng.standard_normal(shape) + 1.5 * spread,
        "weight": rng.uniform(0.5, 2, channels),
        "bias": rng.standard_normal(channels),
        "running_mean": rng.standard_normal(channels),
        "running_var": rng.uniform(0.5, 2, channels),
    }
    return inputs, rng.standard_normal(shape)


def batch_norm(inputs, grad, training, momentum=0.1, eps=EPS):
    """minidl's batch normalisation: a dict of all its results; `inputs` stays as it is."""
    mean, var = md.tensor(inputs["running_mean"].copy()), md.tensor(inputs["running_var"].copy())
    x, weight, bias = (
        md.tensor(inputs[name], requires_grad=True) for name in ("x", "weight", "bias")
    )
    out = F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    out.backward(md.tensor(grad))
    return {
        "out": out.detach().numpy(),
        "running_mean": mean.numpy(),
        "running_var": var.numpy(),
        "grad_x": x.grad.numpy(),
        "grad_weight": weight.grad.numpy(),
        "grad_bias": bias.grad.numpy(),
    }


def per_channel(a, ndim):
    """(C,) as (1, C) or (1, C, 1, 1)."""
    return np.reshape(a, (1, -1) + (1,) * (ndim - 2))


def norm_forward_causes(inputs, training, eps=EPS):
    """Known wrong results of batch_norm_forward."""
    x, ndim = inputs["x"], inputs["x"].ndim
    weight, bias = (per_channel(inputs[name], ndim) for name in ("weight", "bias"))
    axes = (0, *range(2, ndim))
    batch = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    running = tuple(per_channel(inputs[f"running_{name}"], ndim) for name in ("mean", "var"))
    mean, var = batch if training else running
    count = x.size // x.shape[1]
    normal = (x - mean) / np.sqrt(var + eps)
    other = running if training else batch
    causes = [
        Cause(
            "eps outside the root",
            weight * (x - mean) / (np.sqrt(var) + eps) + bias,
            "sqrt(var + eps), not sqrt(var) + eps.",
        ),
        Cause("eps forgotten", weight * (x - mean) / np.sqrt(var) + bias, "sqrt(var + eps)."),
        Cause(
            "root forgotten",
            weight * (x - mean) / (var + eps) + bias,
            "Divide by the standard deviation, the square root of the variance.",
        ),
        Cause("scale and shift forgotten", normal, "out = weight * normalised + bias."),
        Cause("shift forgotten", weight * normal, "out = weight * normalised + bias."),
        Cause("scale forgotten", normal + bias, "out = weight * normalised + bias."),
        Cause(
            "train and evaluation mode mixed up",
            weight * (x - other[0]) / np.sqrt(other[1] + eps) + bias,
            "training=True takes the batch's statistics, training=False the running ones.",
        ),
    ]
    if training:
        unbiased = var * count / (count - 1)
        causes.append(
            Cause(
                "unbiased variance in the output",
                weight * (x - mean) / np.sqrt(unbiased + eps) + bias,
                "The output is normalised with the biased variance (divide by M); only running_var "
                "gets the unbiased one.",
            )
        )
    return causes


@check(points=3, part=PART4)
def batchnorm_1d_forward_in_training(student, rng):
    """batch_norm_forward, training=True: out for x of (6, 4)."""
    inputs, grad = draw_norm(rng, (6, 4))
    got = student.call("batch_norm", **inputs, training=True, eps=EPS)
    compare(
        "out",
        got["out"],
        batch_norm(inputs, grad, True)["out"],
        causes=norm_forward_causes(inputs, True),
        look="Before scale and shift each column has mean 0 and (nearly) variance 1.",
    )
    unchanged(got, "x", "weight", "bias")


@check(points=2, part=PART4)
def batchnorm_2d_forward_in_training(student, rng):
    """batch_norm_forward, training=True: out for images, x of (3, 4, 5, 2)."""
    inputs, grad = draw_norm(rng, (3, 4, 5, 2))
    x, weight, bias = inputs["x"], *(per_channel(inputs[n], 4) for n in ("weight", "bias"))
    got = student.call("batch_norm", **inputs, training=True, eps=EPS)
    causes = norm_forward_causes(inputs, True)
    wrong = [
        weight * (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + EPS)
        + bias
        for axes in ((0,), (2, 3), (1, 2, 3), (0, 1, 2, 3))
    ]
    causes.append(
        Cause(
            "wrong axes",
            wrong,
            "A channel's statistics are over images, rows and columns: axes 0, 2 and 3.",
        )
    )
    compare(
        "out",
        got["out"],
        batch_norm(inputs, grad, True)["out"],
        causes=causes,
        look="There is one mean a channel, a mean of N * H * W = 30 elements.",
    )
    unchanged(got, "x", "weight", "bias")


@check(points=2, part=PART4)
def batchnorm_running_statistics(student, rng):
    """batch_norm_forward, training=True: running_mean and running_var afterwards, momentum 0.3."""
    for shape in ((6, 4), (3, 4, 5, 2)):
        inputs, grad = draw_norm(rng, shape)
        expected = batch_norm(inputs, grad, True, momentum=0.3)
        got = student.call("batch_norm", **inputs, training=True, momentum=0.3, eps=EPS)
        axes, count = (0, *range(2, len(shape))), grad.size // shape[1]
        for name in ("running_mean", "running_var"):
            old = inputs[name]
            new = inputs["x"].mean(axes) if name == "running_mean" else inputs["x"].var(axes)
            causes = [
                Cause(
                    "not changed in place",
                    old,
                    "The caller's array is as before. running_mean = ... names a new array inside "
                    "your function only; assign to the elements, running_mean[:] = ... .",
                ),
                Cause(
                    "momentum reversed",
                    (0.3 * old + 0.7 * new * (count / (count - 1) if "var" in name else 1)),
                    "momentum is the share of the new value, 1 - momentum that of the old.",
                ),
                Cause(
                    "sum instead of a mixture",
                    old + 0.3 * new,
                    "The old value must lose what the new one gains: (1 - momentum) * old.",
                ),
            ]
            if name == "running_var":
                causes += [
                    Cause(
                        "biased variance in running_var",
                        0.7 * old + 0.3 * new,
                        "running_var gets the unbiased variance, sum of squares / (M - 1); with "
                        "M = N * H * W for images.",
                    ),
                    Cause(
                        "N against N * H * W",
                        0.7 * old + 0.3 * new * (shape[0] / (shape[0] - 1)),
                        "M counts all elements of a channel, N * H * W.",
                    ),
                    Cause(
                        "standard deviation in running_var",
                        [
                            0.7 * old + 0.3 * np.sqrt(new),
                            0.7 * old + 0.3 * np.sqrt(new * count / (count - 1)),
                            0.7 * old + 0.3 * np.sqrt(new + EPS),
                        ],
                        "running_var holds variances; take no root.",
                    ),
                    Cause("eps in running_var", lambda a, e=expected[name]: _constant(a - e)),
                ]
            compare(
                f"{name} after x of {shape}",
                got[name],
                expected[name],
                causes=causes,
                look="Old value, batch's value, new value: print the three for channel 0.",
            )


def _constant(a):
    """Whether an array differs from 0 by the same everywhere."""
    return a.size > 1 and abs(a.flat[0]) > 1e-9 and np.allclose(a, a.flat[0], rtol=1e-4, atol=0)


@check(points=2, part=PART4)
def batchnorm_forward_in_evaluation(student, rng):
    """batch_norm_forward, training=False: out, and the running statistics left as they are."""
    for shape in ((6, 4), (3, 4, 5, 2)):
        inputs, grad = draw_norm(rng, shape)
        got = student.call("batch_norm", **inputs, training=False, eps=EPS)
        compare(
            f"out for x of {shape}",
            got["out"],
            batch_norm(inputs, grad, False)["out"],
            causes=norm_forward_causes(inputs, False),
            look="In evaluation an image's result does not depend on the others in the batch.",
        )
        for name in ("running_mean", "running_var"):
            compare(
                f"{name} after x of {shape}",
                got[name],
                inputs[name],
                causes=[
                    Cause(
                        "running statistics changed in evaluation",
                        lambda a: True,
                        "Only training may change them; else testing changes the network.",
                    )
                ],
            )
        unchanged(got, "x", "weight", "bias")


@check(points=2, part=PART4)
def batchnorm_gradients_to_scale_and_shift(student, rng):
    """batch_norm_backward in training: grad_weight and grad_bias, for (6, 4) and (3, 4, 5, 2)."""
    for shape in ((6, 4), (3, 4, 5, 2)):
        inputs, grad = draw_norm(rng, shape)
        expected = batch_norm(inputs, grad, True)
        got = student.call("batch_norm", **inputs, training=True, grad=grad, eps=EPS)
        x, axes = inputs["x"], (0, *range(2, len(shape)))
        count = grad.size // shape[1]
        centred = x - x.mean(axes, keepdims=True)
        mean = "Scale and shift act on every element of the channel: a sum, not a mean."
        compare(
            f"grad_weight for x of {shape}",
            got["grad_weight"],
            expected["grad_weight"],
            causes=[
                Cause(
                    "x instead of the normalised x",
                    [(grad * x).sum(axes), (grad * centred).sum(axes)],
                    "weight multiplies the normalised value: this is the factor in its gradient.",
                ),
                Cause("divided by M", expected["grad_weight"] / count, mean),
                Cause("divided by N", expected["grad_weight"] / shape[0], mean),
            ],
            look="weight[c] multiplies each normalised element of channel c. " + SHAPE,
        )
        compare(
            f"grad_bias for x of {shape}",
            got["grad_bias"],
            expected["grad_bias"],
            causes=[
                Cause("divided by M", expected["grad_bias"] / count, mean),
                Cause("divided by N", expected["grad_bias"] / shape[0], mean),
            ],
            look="bias[c] is added to each element of channel c. " + SHAPE,
        )
        unchanged(got, "x", "weight", "bias", "grad")


@check(points=2, part=PART4)
def batchnorm_1d_gradient_to_the_input_in_training(student, rng):
    """batch_norm_backward in training: grad_x for x of (7, 3)."""
    inputs, grad = draw_norm(rng, (7, 3))
    x, weight = inputs["x"], inputs["weight"]
    expected = batch_norm(inputs, grad, True)["grad_x"]
    statistics = {"running_mean": x.mean(0), "running_var": x.var(0)}
    constants = batch_norm({**inputs, **statistics}, grad, False)["grad_x"]
    centred = x - x.mean(0)

    def off_by(direction, a):
        """Whether the error is a multiple of `direction`, in each channel another one."""
        error = a - expected
        share = (error * direction).sum(0) / (direction * direction).sum(0)
        return np.allclose(error, share * direction, atol=1e-9)

    got = student.call("batch_norm", **inputs, training=True, grad=grad, eps=EPS)
    compare(
        "grad_x",
        got["grad_x"],
        expected,
        causes=[
            Cause(
                "mean and variance taken for constants",
                constants,
                "In training each x moves its channel's mean and variance, and through them all "
                "outputs of the channel: two more paths.",
            ),
            Cause("scale forgotten", expected / weight, "grad reaches the normalised x by weight."),
            Cause(
                "path through the mean forgotten",
                lambda a: off_by(np.ones_like(x), a),
                "Wrong by the same amount in a whole channel: x moves the channel's mean. "
                "grad_x must add up to 0 over a channel.",
            ),
            Cause(
                "path through the variance forgotten",
                lambda a: off_by(centred, a),
                "The error is a multiple of x - mean: x moves the channel's variance.",
            ),
        ],
        look="If out is wrong in the checks of the forward, mend it first. Then compute the "
        "gradient to the variance and to the mean by themselves, and test each with central "
        "differences (lesson 05), before you simplify.",
    )
    unchanged(got, "x", "weight", "bias", "grad")


# 5. Dropout ---------------------------------------------------------------------------------------

PART5 = "5. Dropout"


def dropout(x, p, seed):
    """What dropout must do to x in training: the rule of the docstring."""
    stays = np.random.default_rng(seed).random(x.shape) >= p
    return np.where(stays, x / (1 - p), 0), stays


@check(points=2, part=PART5)
def dropout_forward_in_training_and_evaluation(student, rng):
    """dropout_forward: p = 0.3, once with training=True, once with training=False."""
    x, p = rng.standard_normal((8, 5)) + 3, 0.3
    expected, stays = dropout(x, p, 7)
    got = student.call("dropout", x=x, p=p, training=True, seed=7)
    first_row = np.random.default_rng(7).random(x.shape[1:]) >= p
    compare(
        "out in training",
        got["out"],
        expected,
        causes=[
            Cause(
                "not scaled",
                x * stays,
                "Inverted dropout multiplies what stays by 1 / (1 - p) in training.",
            ),
            Cause("scaled by 1 - p", x * stays * (1 - p), "It is divided by 1 - p."),
            Cause(
                "scaled by 1 / p", x * stays / p, "It is divided by the share that stays, 1 - p."
            ),
            Cause(
                "kept and dropped mixed up",
                [x * ~stays / (1 - p), x * ~stays / p, x * ~stays],
                "p is the probability of being dropped: an element stays where rng.random >= p.",
            ),
            Cause("dropout off in training", x, "training=True is when it drops."),
            Cause(
                "one mask for the whole batch",
                [x * first_row / (1 - p), x * first_row],
                "Each element of each image has its own draw: rng.random(x.shape).",
            ),
        ],
        look="Elements that stay are x / 0.7; which ones stay is in the docstring.",
    )
    require(
        got["next_number"] == np.random.default_rng(7).random(x.size + 1)[-1],
        "one rng.random(x.shape) must be drawn in training; rng is somewhere else afterwards",
        "number of draws",
    )
    unchanged(got, "x")
    got = student.call("dropout", x=x, p=p, training=False, seed=7)
    compare(
        "out in evaluation",
        got["out"],
        x,
        causes=[
            Cause(
                "scaled in evaluation",
                [x * (1 - p), x / (1 - p)],
                "The scaling has been done in training: in evaluation out equals x.",
            ),
            Cause(
                "dropout on in evaluation",
                [expected, x * stays],
                "training=False: nothing is dropped.",
            ),
        ],
        look="In evaluation there is nothing to do.",
    )
    require(
        got["next_number"] == np.random.default_rng(7).random(),
        "rng must not be used in evaluation; it is somewhere else afterwards",
        "number of draws",
        "Draw inside the branch for training only.",
    )


# 6. GroupNorm -------------------------------------------------------------------------------------

PART6 = "6. GroupNorm"


def block_norm(x, blocks, weight, bias, eps, axes=(2, 3, 4), ddof=0, interleaved=False):
    """A normalisation of blocks of channels over any axes of (N, G, C / G, H, W)."""
    n, c, h, w = x.shape
    if interleaved:
        y = x.reshape(n, c // blocks, blocks, h, w).swapaxes(1, 2)
    else:
        y = x.reshape(n, blocks, c // blocks, h, w)
    std = np.sqrt(y.var(axes, keepdims=True, ddof=ddof) + eps)
    y = (y - y.mean(axes, keepdims=True)) / std
    y = (y.swapaxes(1, 2) if interleaved else y).reshape(x.shape)
    return y * weight[:, None, None] + bias[:, None, None]


@check(points=2, part=PART6)
def groupnorm_forward(student, rng):
    """group_norm_forward: 6 channels in 3 groups, 1 group and 6 groups."""
    inputs, _ = draw_norm(rng, (2, 6, 4, 5))
    x, weight, bias = (inputs[name] for name in ("x", "weight", "bias"))
    for groups in (3, 1, 6):
        got = student.call("group_norm", x=x, num_groups=groups, weight=weight, bias=bias, eps=EPS)
        arguments = (x, groups, weight, bias, EPS)
        causes = [
            Cause(
                "channels interleaved",
                block_norm(*arguments, interleaved=True),
                "Group 0 is the first C / num_groups channels, not every num_groups-th one: "
                "reshape to (N, num_groups, C / num_groups, ...).",
            ),
            Cause(
                "statistics over the batch",
                block_norm(*arguments, axes=(0, 2, 3, 4)),
                "Each image is normalised by itself: no mean over axis 0.",
            ),
            Cause(
                "one channel instead of a block",
                block_norm(*arguments, axes=(3, 4)),
                "The mean is over all channels of the block as well as over rows and columns.",
            ),
            Cause(
                "unbiased variance in the output",
                block_norm(*arguments, ddof=1),
                "Divide by the number of elements (biased variance).",
            ),
            Cause(
                "scale and shift forgotten",
                block_norm(x, groups, np.ones(6), np.zeros(6), EPS),
                "Each channel has its own weight and bias.",
            ),
        ]
        compare(
            f"out ({groups} groups)",
            got["out"],
            value(
                F.group_norm,
                x,
                num_groups=groups,
                weight=md.tensor(weight),
                bias=md.tensor(bias),
                eps=EPS,
            ),
            causes=causes,
            look="Before scale and shift each block of each image has mean 0.",
        )
        unchanged(got, "x", "weight", "bias")


# 7. A network that trains -------------------------------------------------------------------------

PART7 = "7. A network that trains"


@check(points=1, part=PART7)
def sgd_two_steps(student, rng):
    """sgd_step twice: param 1, gradients 2 and 4, learning rate 0.5, then 0.25, momentum 0.5."""
    got = student.call(
        "sgd",
        params=[np.array([1.0])],
        velocities=[np.array([0.0])],
        grads=[np.array([2.0]), np.array([4.0])],
        lrs=[0.5, 0.25],
        momentum=0.5,
    )
    # By hand: velocity 2, param 1 - 0.5 * 2 = 0; velocity 0.5 * 2 + 4 = 5, param 0 - 0.25 * 5.
    in_place = (
        "The caller's array is as before: param = ... names a new array, params[name] = ... puts "
        "another array into the dict. Change the elements: param -= ..., velocity *= ... ."
    )
    compare(
        "velocity",
        got["velocities"][0],
        np.array([5.0]),
        causes=[
            Cause(
                "learning rate in the velocity",
                [np.array([-1.5]), np.array([1.5])],
                "The velocity adds up gradients; the learning rate comes in where param moves. The "
                "two differ as soon as the learning rate changes.",
            ),
            Cause(
                "damped gradient",
                np.array([2.5]),
                "velocity = momentum * velocity + g: g is not multiplied by 1 - momentum.",
            ),
            Cause("no momentum", np.array([4.0]), "velocity = momentum * velocity + g."),
            Cause("not changed in place", np.array([0.0]), in_place),
        ],
        look="By hand: velocity 2, then 0.5 * 2 + 4 = 5.",
    )
    compare(
        "param",
        got["params"][0],
        np.array([-1.25]),
        causes=[
            Cause("not changed in place", np.array([1.0]), in_place),
            Cause("no momentum", np.array([-1.0]), "param moves by lr * velocity, not lr * g."),
            Cause("Nesterov", np.array([-2.125]), "param moves by lr * velocity, nothing else."),
            Cause("velocity of the step before", np.array([0.5]), "Velocity first, then param."),
            Cause("sign", np.array([3.25]), "Downhill: param minus lr * velocity."),
        ],
        look="By hand: velocity 2, param 0; velocity 5, param -1.25.",
    )
    unchanged(got, "grads")


def draw_net(rng):
    """Parameters of the network (in the order of calls.PARAMS), running statistics, a batch."""
    shapes = ((4, 2, 3, 3), (4,), (4,), (4, 4, 3, 3), (4,), (3, 24), (3,))
    params = [rng.standard_normal(shape) * 0.5 for shape in shapes]
    params[1] = rng.uniform(0.5, 2, 4)
    running = {"mean": rng.standard_normal(4) * 0.2, "var": rng.uniform(0.5, 2, 4)}
    return params, running, rng.standard_normal((5, 2, 4, 6))


NAMES = (
    "conv1.weight",
    "bn.weight",
    "bn.bias",
    "conv2.weight",
    "conv2.bias",
    "fc.weight",
    "fc.bias",
)


def network(params, mean, var, x, training, mask=None, cut=None, relu_last=False):
    """The network made of minidl's operations: (logits, parameters as tensors).

    `training` is the BatchNorm's, which then changes mean and var; `mask` what dropout multiplies
    with. `cut` ("shortcut" or "branch") lets no gradient through that way; `relu_last` puts the
    ReLU after the sum.
    """
    p1, scale, shift, p2, p2_bias, fc, fc_bias = tensors = [
        md.tensor(param, requires_grad=True) for param in params
    ]
    h = F.conv2d(md.tensor(x), p1, padding=1)
    statistics = md.tensor(mean), md.tensor(var)
    h = F.batch_norm(h, *statistics, scale, shift, training)
    h = h if relu_last else F.relu(h)
    branch = F.conv2d(h.detach() if cut == "branch" else h, p2, p2_bias, padding=1)
    h = (h.detach() if cut == "shortcut" else h) + branch
    h = F.max_pool2d(F.relu(h) if relu_last else h, 2)
    h = h.reshape(len(x), -1)
    h = h if mask is None else h * md.tensor(mask)
    for kept, new in zip((mean, var), statistics, strict=True):
        kept[:] = new.numpy()
    return F.linear(h, fc, fc_bias), tensors


def net_causes(params, running, x, training, mask, other_mask):
    """Known wrong logits of the network; other_mask: the dropout's of the other mode."""

    def logits(training, mask, **options):
        mean, var = running["mean"].copy(), running["var"].copy()
        return network(params, mean, var, x, training, mask, **options)[0].detach().numpy()

    return [
        Cause(
            "mode of the BatchNorm",
            logits(not training, mask),
            "Hand `training` on to batch_norm_forward.",
        ),
        Cause(
            "mode of the dropout",
            logits(training, other_mask),
            "Hand `training` on to dropout_forward.",
        ),
        Cause(
            "mode of BatchNorm and dropout",
            logits(not training, other_mask),
            "Hand `training` on to batch_norm_forward and dropout_forward.",
        ),
        Cause(
            "ReLU after the sum",
            logits(training, mask, relu_last=True),
            "The ReLU comes right after the BatchNorm; after the sum there is none.",
        ),
    ]


EARLIER = "If parts 1 to 5 have failing checks, mend those first: this part is made of them. "


@check(points=1, part=PART7)
def network_forward_in_training(student, rng):
    """convnet_forward, training=True, p = 0.25: logits for 5 images of 4 x 6 pixels."""
    params, running, x = draw_net(rng)
    got = student.call("convnet", params=params, **running, x=x, training=True, p=0.25, seed=3)
    mask, _ = dropout(np.ones((5, 24)), 0.25, 3)
    mean, var = running["mean"].copy(), running["var"].copy()
    expected = network(params, mean, var, x, True, mask)[0].detach().numpy()
    compare(
        "logits",
        got["logits"],
        expected,
        causes=net_causes(params, running, x, True, mask, None),
        look=EARLIER + "Then run it with p = 0, and print the shape after each layer.",
    )
    look = "BatchNorm changes its running arrays in place: hand on running[...] itself, no copy."
    compare("running mean", got["mean"], mean, look=look)
    compare("running var", got["var"], var, look=look)


@check(points=2, part=PART7)
def network_backward_in_training(student, rng):
    """convnet_backward after training=True, p = 0.25: the gradients of all parameters."""
    params, running, x = draw_net(rng)
    grad = rng.standard_normal((5, 3))
    options = {"training": True, "p": 0.25, "seed": 3}
    got = student.call("convnet", params=params, **running, x=x, **options, grad=grad)

    mask, _ = dropout(np.ones((5, 24)), 0.25, 3)

    def gradients(cut=None):
        mean, var = running["mean"].copy(), running["var"].copy()
        logits, tensors = network(params, mean, var, x, True, mask, cut=cut)
        logits.backward(md.tensor(grad))
        return [tensor.grad.numpy() for tensor in tensors]

    rows = zip(NAMES, gradients(), gradients("shortcut"), gradients("branch"), strict=True)
    for name, expected, no_shortcut, no_branch in reversed(list(rows)):
        compare(
            f"grad of {name}",
            got[f"grad of {name}"],
            expected,
            causes=[
                Cause(
                    "gradient of the shortcut forgotten",
                    no_shortcut,
                    "h went two ways: through conv2, and past it. " + ADD,
                ),
                Cause(
                    "gradient of the branch forgotten",
                    no_branch,
                    "h went two ways: through conv2, and past it. " + ADD,
                ),
            ],
            look=EARLIER
            + "The gradients are checked from the last layer to the first: this is the "
            "first that is wrong on the way back, so look at the layer after it.",
        )
