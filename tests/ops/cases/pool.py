"""Cases of pooling and unpooling. The oracles are loops over windows and pixels."""

import math
from itertools import product

import numpy as np

from minidl.ops import pool

from ..case import Case


def distinct(*shape):
    """Different numbers, far enough apart for differences not to change their order."""

    def make(rng):
        size = math.prod(shape)
        return ((rng.permutation(size).reshape(shape) - size / 2) / 20.0,)

    return make


def normal(*shape):
    return lambda rng: (rng.standard_normal(shape),)


# -- the oracles ----------------------------------------------------------------------------------


def planes(x, dims):
    return x.reshape(-1, *x.shape[-dims:]) if dims == 2 else x.reshape(-1, 1, x.shape[-1])


def pair(value, dims):
    if isinstance(value, int):
        return (value,) * 2 if dims == 2 else (1, value)
    return tuple(value)


def output_length(n, kernel, stride, padding, dilation, ceil_mode):
    """Count the windows one by one."""
    span = dilation * (kernel - 1) + 1
    count = 0
    while True:
        start = count * stride - padding
        inside = start + span <= n + padding
        if not inside and not (ceil_mode and start < n and start + span < n + padding + stride):
            return count
        count += 1


def windows(x, dims, kernel, stride=None, padding=0, dilation=1, ceil_mode=False):
    """(plane, row, column, pixels of the window inside the plane) and the output's shape."""
    stride = kernel if stride is None else stride
    kernel, stride = pair(kernel, dims), pair(stride, dims)
    padding = pair(padding, dims) if dims == 2 else (0, padding)
    dilation = pair(dilation, dims)
    stack = planes(x, dims)
    size = [
        output_length(n, k, s, p, d, ceil_mode)
        for n, k, s, p, d in zip(stack.shape[1:], kernel, stride, padding, dilation, strict=True)
    ]
    found = []
    for p, i, j in product(range(len(stack)), range(size[0]), range(size[1])):
        pixels = [
            (
                i * stride[0] - padding[0] + a * dilation[0],
                j * stride[1] - padding[1] + b * dilation[1],
            )
            for a in range(kernel[0])
            for b in range(kernel[1])
        ]
        found.append(((p, i, j), pixels))
    return stack, size, found


def inside(pixel, plane):
    return 0 <= pixel[0] < plane.shape[0] and 0 <= pixel[1] < plane.shape[1]


def max_pool(dims, **options):
    def oracle(x):
        stack, size, found = windows(x, dims, **options)
        values = np.zeros((len(stack), *size), x.dtype)
        places = np.zeros(values.shape, np.int64)
        for at, pixels in found:
            plane = stack[at[0]]
            legal = [pixel for pixel in pixels if inside(pixel, plane)]
            best = max(legal, key=lambda pixel: plane[pixel])  # the first of equals
            values[at] = plane[best]
            places[at] = best[0] * plane.shape[1] + best[1]
        shape = x.shape[:-dims] + values.shape[-dims:]
        return values.reshape(shape), places.reshape(shape)

    return oracle


def avg_pool(dims, count_include_pad=True, divisor_override=None, **options):
    padding = options.get("padding", 0)
    padding = pair(padding, dims) if dims == 2 else (0, padding)

    def oracle(x):
        stack, size, found = windows(x, dims, **options)
        values = np.zeros((len(stack), *size))
        for at, pixels in found:
            plane = stack[at[0]]
            legal = [pixel for pixel in pixels if inside(pixel, plane)]
            counted = len(legal)
            if count_include_pad:  # what ceil_mode adds beyond the padding is not counted
                counted = sum(
                    i < plane.shape[0] + padding[0] and j < plane.shape[1] + padding[1]
                    for i, j in pixels
                )
            values[at] = sum(plane[pixel] for pixel in legal) / (divisor_override or counted)
        return values.reshape(x.shape[:-dims] + values.shape[-dims:])

    return oracle


def adaptive(dims, output_size, reduce):
    def oracle(x):
        stack = planes(x, dims)
        size = (1, output_size) if dims == 1 else output_size
        values = np.zeros((len(stack), *size))
        places = np.zeros(values.shape, np.int64)
        for p, i, j in product(range(len(stack)), range(size[0]), range(size[1])):
            rows, columns = (
                range(math.floor(o * n / out), math.ceil((o + 1) * n / out))
                for o, n, out in zip((i, j), stack.shape[1:], size, strict=True)
            )
            pixels = list(product(rows, columns))
            if reduce == "mean":
                values[p, i, j] = sum(stack[p][pixel] for pixel in pixels) / len(pixels)
            else:
                best = max(pixels, key=lambda pixel: stack[p][pixel])
                values[p, i, j] = stack[p][best]
                places[p, i, j] = best[0] * stack.shape[2] + best[1]
        shape = x.shape[:-dims] + values.shape[-dims:]
        if reduce == "mean":
            return values.reshape(shape)
        return values.reshape(shape), places.reshape(shape)

    return oracle


def max_unpool(dims, size):
    def oracle(x, indices):
        flat = np.zeros((math.prod(x.shape[:-dims]), math.prod(size)))
        places = indices.reshape(len(flat), -1)
        for p, row in enumerate(x.reshape(len(flat), -1)):
            for value, place in zip(row, places[p], strict=True):
                flat[p, place] = value
        return flat.reshape(x.shape[:-dims] + tuple(size))

    return oracle


def unpool(kernel, nails):
    def oracle(x):
        out = np.zeros((*x.shape[:-2], x.shape[-2] * kernel[0], x.shape[-1] * kernel[1]))
        for at in np.ndindex(*out.shape):
            (*lead, i, j) = at
            if not nails or (i % kernel[0] == 0 and j % kernel[1] == 0):
                out[at] = x[(*lead, i // kernel[0], j // kernel[1])]
        return out

    return oracle


# -- the cases ------------------------------------------------------------------------------------


def max_case(name, dims, shape, strict=True, **options):
    function = getattr(pool, f"max_pool{dims}d")
    return Case(
        f"max_pool{dims}d, {name}",
        lambda x: function(x, return_indices=True, **_torch_names(options)),
        distinct(*shape),
        max_pool(dims, **options),
        lambda torch, x: getattr(torch.nn.functional, f"max_pool{dims}d")(
            x, return_indices=True, **_torch_names(options)
        ),
    )


def avg_case(name, dims, shape, **options):
    function = getattr(pool, f"avg_pool{dims}d")
    return Case(
        f"avg_pool{dims}d, {name}",
        lambda x: function(x, **_torch_names(options)),
        normal(*shape),
        avg_pool(dims, **options),
        lambda torch, x: getattr(torch.nn.functional, f"avg_pool{dims}d")(
            x, **_torch_names(options)
        ),
    )


def _torch_names(options):
    return {("kernel_size" if key == "kernel" else key): value for key, value in options.items()}


def adaptive_case(kind, dims, shape, output_size):
    name = f"adaptive_{kind}_pool{dims}d"
    function = getattr(pool, name)
    more = {"return_indices": True} if kind == "max" else {}
    return Case(
        f"{name}, {shape} to {output_size}",
        lambda x: function(x, output_size, **more),
        (distinct if kind == "max" else normal)(*shape),
        adaptive(dims, output_size, "mean" if kind == "avg" else "max"),
        lambda torch, x: getattr(torch.nn.functional, name)(x, output_size, **more),
    )


def some_places(*shape, plane):
    """Numbers, and different places for them in each plane."""

    def make(rng):
        dims = len(shape) - 2
        count, each = math.prod(shape[:2]), math.prod(shape[2:])
        places = np.stack([rng.permutation(plane)[:each] for _ in range(count)])
        assert dims in (1, 2)
        return rng.standard_normal(shape), places.reshape(shape).astype(np.int64)

    return make


CASES = [
    max_case("2x2", 2, (2, 3, 4, 6), kernel=2),
    max_case("2x2, odd size, one image", 2, (3, 5, 7), kernel=2),
    max_case("3x3, stride 2, padding 1", 2, (2, 2, 5, 6), kernel=3, stride=2, padding=1),
    max_case("3x3, stride 1", 2, (1, 2, 5, 4), kernel=3, stride=1),
    max_case("dilation (2, 3)", 2, (1, 2, 7, 8), kernel=2, stride=1, dilation=(2, 3)),
    max_case("ceil_mode", 2, (1, 2, 6, 5), kernel=3, stride=2, ceil_mode=True),
    max_case(
        "ceil_mode and padding", 2, (1, 2, 5, 6), kernel=2, stride=3, padding=1, ceil_mode=True
    ),
    max_case("windows (3, 2), strides (1, 3)", 2, (2, 1, 5, 8), kernel=(3, 2), stride=(1, 3)),
    max_case("6x6 windows side by side", 2, (1, 1, 12, 13), kernel=6),
    max_case("windows of 3, stride 2", 1, (2, 3, 8), kernel=3, stride=2, padding=1),
    max_case(
        "one sequence, dilation 2, ceil_mode", 1, (3, 9), kernel=2, dilation=2, ceil_mode=True
    ),
    Case(
        "max_pool2d without indices",
        lambda x: pool.max_pool2d(x, 2, 1, 1),
        distinct(1, 2, 4, 5),
        lambda x: max_pool(2, kernel=2, stride=1, padding=1)(x)[0],
        lambda torch, x: torch.nn.functional.max_pool2d(x, 2, 1, 1),
    ),
    Case(
        "max_pool2d, the first of equals in reading order",
        lambda x: pool.max_pool2d(x, 3, 2, 1, return_indices=True),
        lambda rng: (rng.integers(0, 3, (2, 2, 6, 7)).astype(np.float64),),
        max_pool(2, kernel=3, stride=2, padding=1),
        lambda torch, x: torch.nn.functional.max_pool2d(x, 3, 2, 1, return_indices=True),
        order=0,
    ),
    Case(
        "max_pool2d of integers",
        lambda x: pool.max_pool2d(x, 2, return_indices=True),
        lambda rng: (rng.integers(-9, 9, (2, 2, 4, 6)),),
        max_pool(2, kernel=2),
        lambda torch, x: torch.nn.functional.max_pool2d(x, 2, return_indices=True),
        order=0,
    ),
    avg_case("2x2", 2, (2, 3, 4, 6), kernel=2),
    avg_case("2x2, odd size, one image", 2, (3, 5, 7), kernel=2),
    avg_case("3x3, stride 2, padding 1", 2, (2, 2, 5, 6), kernel=3, stride=2, padding=1),
    avg_case(
        "padding not counted",
        2,
        (2, 2, 5, 6),
        kernel=3,
        stride=2,
        padding=1,
        count_include_pad=False,
    ),
    avg_case("ceil_mode", 2, (1, 2, 6, 5), kernel=3, stride=2, padding=1, ceil_mode=True),
    avg_case("divisor_override", 2, (1, 2, 5, 5), kernel=2, stride=1, divisor_override=3),
    avg_case("windows (5, 2), gaps between them", 2, (1, 2, 7, 8), kernel=(5, 2), stride=(1, 3)),
    avg_case("windows of 3, padding 1", 1, (2, 3, 8), kernel=3, stride=2, padding=1),
    adaptive_case("avg", 2, (2, 2, 5, 7), (3, 2)),
    adaptive_case("avg", 2, (2, 3, 4, 6), (2, 3)),
    adaptive_case("avg", 2, (1, 2, 3, 2), (5, 4)),
    adaptive_case("avg", 1, (2, 3, 7), 3),
    adaptive_case("max", 2, (2, 2, 5, 7), (3, 2)),
    adaptive_case("max", 2, (1, 3, 4, 6), (2, 3)),
    adaptive_case("max", 2, (1, 2, 3, 2), (5, 4)),
    adaptive_case("max", 2, (1, 2, 4, 5), (2, 3)),
    adaptive_case("max", 1, (2, 3, 7), 3),
    Case(
        "global_avg_pool2d",
        pool.global_avg_pool2d,
        normal(2, 3, 4, 5),
        lambda x: np.mean(x, (2, 3), keepdims=True),
        lambda torch, x: torch.nn.functional.adaptive_avg_pool2d(x, 1),
    ),
    Case(
        "global_max_pool2d",
        pool.global_max_pool2d,
        distinct(2, 3, 4, 5),
        lambda x: np.max(x, (2, 3), keepdims=True),
        lambda torch, x: torch.nn.functional.adaptive_max_pool2d(x, 1),
    ),
    Case(
        "max_unpool2d",
        lambda x, indices: pool.max_unpool2d(x, indices, 2),
        some_places(2, 2, 2, 3, plane=24),
        max_unpool(2, (4, 6)),
        lambda torch, x, indices: torch.nn.functional.max_unpool2d(x, indices, 2),
    ),
    Case(
        "max_unpool2d, output_size, padding",
        lambda x, indices: pool.max_unpool2d(x, indices, 3, 2, 1, (4, 7)),
        some_places(1, 2, 2, 4, plane=28),
        max_unpool(2, (4, 7)),
        lambda torch, x, indices: torch.nn.functional.max_unpool2d(x, indices, 3, 2, 1, (4, 7)),
    ),
    Case(
        "max_unpool1d",
        lambda x, indices: pool.max_unpool1d(x, indices, 3),
        some_places(2, 2, 3, plane=9),
        max_unpool(1, (9,)),
        lambda torch, x, indices: torch.nn.functional.max_unpool1d(x, indices, 3),
    ),
    Case(
        "unpool_nearest",
        lambda x: pool.unpool_nearest(x, (2, 3)),
        normal(2, 2, 2, 3),
        unpool((2, 3), nails=False),
        lambda torch, x: torch.nn.functional.interpolate(x, scale_factor=(2, 3)),
    ),
    Case(
        "unpool_nails",
        lambda x: pool.unpool_nails(x, (2, 3)),
        normal(2, 2, 2, 3),
        unpool((2, 3), nails=True),
    ),
]
