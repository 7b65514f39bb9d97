"""Cases of convolution and transposed convolution. The oracles are loops over the definition."""

from itertools import product

import numpy as np

from minidl.ops import conv

from ..case import Case


def normal(*shapes):
    return lambda rng: tuple(rng.standard_normal(shape) for shape in shapes)


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def sides(padding, kernel, dilation):
    """((top, bottom), (left, right)) for any form of padding."""
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((p, p) if isinstance(p, int) else tuple(p) for p in pair(padding))


def correlate(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """conv2d, one multiplication after the other."""
    stride, dilation = pair(stride), pair(dilation)
    filters, channels, kh, kw = w.shape
    around = sides(padding, (kh, kw), dilation)
    x = np.pad(x, ((0, 0), (0, 0), *around))
    each = filters // groups
    heights = range(0, x.shape[2] - dilation[0] * (kh - 1), stride[0])
    widths = range(0, x.shape[3] - dilation[1] * (kw - 1), stride[1])
    y = np.zeros((len(x), filters, len(heights), len(widths)))
    for n, o in product(range(len(x)), range(filters)):
        first = o // each * channels
        for (i, top), (j, left) in product(enumerate(heights), enumerate(widths)):
            for c, a, k in product(range(channels), range(kh), range(kw)):
                pixel = x[n, first + c, top + a * dilation[0], left + k * dilation[1]]
                y[n, o, i, j] += w[o, c, a, k] * pixel
            if b is not None:
                y[n, o, i, j] += b[o]
    return y


def spread(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """conv_transpose2d: every pixel of x adds a scaled kernel to y; then the border is cut off."""
    stride, dilation, more = pair(stride), pair(dilation), pair(output_padding)
    channels, filters, kh, kw = w.shape
    (top, bottom), (left, right) = sides(padding, (kh, kw), dilation)
    each = channels // groups
    height = (x.shape[2] - 1) * stride[0] + dilation[0] * (kh - 1) + 1 + more[0]
    width = (x.shape[3] - 1) * stride[1] + dilation[1] * (kw - 1) + 1 + more[1]
    y = np.zeros((len(x), filters * groups, height, width))
    for n, c, i, j in np.ndindex(*x.shape):
        for o, a, k in product(range(filters), range(kh), range(kw)):
            row, column = i * stride[0] + a * dilation[0], j * stride[1] + k * dilation[1]
            y[n, c // each * filters + o, row, column] += x[n, c, i, j] * w[c, o, a, k]
    y = y[:, :, top : height - bottom, left : width - right]
    return y if b is None else y + b[:, None, None]


def in_one_dimension(oracle):
    """The oracle for signals: images of height 1."""

    def run(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, **rest):
        if padding == "same":
            total = dilation * (w.shape[2] - 1)
            padding = ((total // 2, total - total // 2),)
        ends = (padding, padding) if isinstance(padding, int) else padding[0]
        more = {name: (0, value) for name, value in rest.items()}  # output_padding
        return oracle(
            x[:, :, None],
            w[:, :, None],
            b,
            stride=(1, stride),
            padding=((0, 0), ends),
            dilation=(1, dilation),
            groups=groups,
            **more,
        )[:, :, 0]

    return run


def case(name, op, shapes, against_torch=True, **parameters):
    """A case of one of the four functions; `shapes` of input, weight and maybe bias."""
    oracle = {
        "conv1d": in_one_dimension(correlate),
        "conv2d": correlate,
        "conv_transpose1d": in_one_dimension(spread),
        "conv_transpose2d": spread,
    }[op]
    batched = 3 if op.endswith("1d") else 4

    def slow(x, *rest):
        if x.ndim < batched:
            return oracle(x[None], *rest, **parameters)[0]
        return oracle(x, *rest, **parameters)

    def theirs(torch, *tensors):
        return getattr(torch.nn.functional, op)(*tensors, **parameters)

    return Case(
        f"{op}, {name}",
        lambda *tensors: getattr(conv, op)(*tensors, **parameters),
        normal(*shapes),
        slow,
        theirs if against_torch else None,
    )


CASES = [
    case("3 x 3 with bias", "conv2d", [(2, 3, 5, 4), (4, 3, 3, 3), (4,)]),
    case("without bias, padded", "conv2d", [(1, 2, 4, 5), (3, 2, 3, 3)], padding=1),
    case("a single image", "conv2d", [(2, 4, 5), (3, 2, 3, 2), (3,)], padding=(1, 0)),
    case("stride 2", "conv2d", [(2, 2, 6, 5), (3, 2, 3, 3), (3,)], stride=2, padding=1),
    case("stride over the kernel", "conv2d", [(1, 2, 7, 8), (2, 2, 2, 2)], stride=(3, 4)),
    case("dilation", "conv2d", [(1, 2, 7, 6), (3, 2, 3, 2), (3,)], dilation=(2, 3), padding=(2, 1)),
    case("dilation and stride", "conv2d", [(1, 2, 8, 7), (2, 2, 3, 2)], dilation=2, stride=3),
    case("two groups", "conv2d", [(2, 4, 4, 4), (6, 2, 3, 3), (6,)], groups=2, padding=1),
    case("depthwise", "conv2d", [(2, 3, 5, 4), (3, 1, 3, 3), (3,)], groups=3, padding=1),
    case("depthwise, stride 2", "conv2d", [(1, 3, 6, 5), (3, 1, 3, 3)], groups=3, stride=2),
    case("depthwise, two filters", "conv2d", [(1, 3, 4, 5), (6, 1, 3, 2), (6,)], groups=3),
    case("1 x 1", "conv2d", [(2, 3, 3, 4), (4, 3, 1, 1), (4,)]),
    case("1 x 1 on a large map", "conv2d", [(1, 2, 8, 9), (3, 2, 1, 1), (3,)]),
    case("1 x 1, stride 2", "conv2d", [(1, 3, 5, 4), (2, 3, 1, 1)], stride=2),
    case("as large as the image", "conv2d", [(2, 2, 3, 4), (3, 2, 3, 4), (3,)]),
    case("same", "conv2d", [(1, 2, 4, 5), (2, 2, 3, 4), (2,)], padding="same"),
    case("same, dilated", "conv2d", [(1, 2, 5, 6), (2, 2, 2, 3)], padding="same", dilation=(3, 2)),
    case("valid", "conv2d", [(1, 2, 4, 5), (2, 2, 2, 3)], padding="valid"),
    case("padding beyond the kernel", "conv2d", [(1, 1, 2, 3), (2, 1, 2, 2)], padding=3, stride=2),
    case(
        "asymmetric padding",
        "conv2d",
        [(2, 2, 4, 3), (3, 2, 3, 3), (3,)],
        against_torch=False,
        padding=((0, 2), (1, 0)),
        stride=(1, 2),
    ),
    case("of a signal", "conv1d", [(2, 3, 7), (4, 3, 3), (4,)], padding=1),
    case("strided", "conv1d", [(2, 2, 9), (3, 2, 3)], stride=2, padding=2, dilation=2),
    case("a single signal", "conv1d", [(2, 8), (4, 1, 3), (4,)], groups=2),
    case("same", "conv1d", [(1, 2, 6), (3, 2, 4), (3,)], padding="same"),
    case("at one side", "conv1d", [(1, 2, 6), (2, 2, 3)], against_torch=False, padding=((2, 0),)),
    case("3 x 3 with bias", "conv_transpose2d", [(2, 3, 3, 4), (3, 2, 3, 3), (2,)]),
    case("stride 2", "conv_transpose2d", [(1, 3, 3, 3), (3, 2, 3, 3), (2,)], stride=2, padding=1),
    case(
        "output padding",
        "conv_transpose2d",
        [(1, 2, 3, 4), (2, 3, 3, 3), (3,)],
        stride=(2, 3),
        padding=1,
        output_padding=(1, 2),
    ),
    case(
        "output padding up to the dilation",
        "conv_transpose2d",
        [(1, 2, 3, 3), (2, 2, 2, 2)],
        dilation=3,
        output_padding=2,
    ),
    case("two groups", "conv_transpose2d", [(2, 4, 3, 3), (4, 2, 2, 3), (4,)], groups=2, stride=2),
    case("depthwise", "conv_transpose2d", [(1, 3, 3, 4), (3, 1, 4, 4)], groups=3, stride=2),
    case("gaps", "conv_transpose2d", [(1, 2, 3, 2), (2, 2, 2, 2), (2,)], stride=3),
    case("one image", "conv_transpose2d", [(2, 3, 3), (2, 2, 3, 3), (2,)], stride=2, padding=1),
    case(
        "asymmetric padding",
        "conv_transpose2d",
        [(1, 2, 3, 3), (2, 2, 3, 3)],
        against_torch=False,
        stride=2,
        padding=((1, 0), (0, 2)),
    ),
    case("of a signal", "conv_transpose1d", [(2, 3, 4), (3, 2, 3), (2,)], stride=2, padding=1),
    case(
        "with everything",
        "conv_transpose1d",
        [(1, 4, 4), (4, 1, 3), (2,)],
        stride=3,
        padding=2,
        output_padding=1,
        dilation=2,
        groups=2,
    ),
]
