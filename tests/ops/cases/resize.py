"""Cases of resizing. The oracles loop over output pixels and weigh the inputs of each."""

import math
from itertools import product

import numpy as np

from minidl.ops import resize

from ..case import Case


def normal(*shape):
    return lambda rng: (rng.standard_normal(shape),)


# -- the oracles: for each output of an axis, a list of (input, weight) ----------------------------


def nearest(n, out, ratio, exact=False):
    return [[(min(math.floor((o + exact / 2) * ratio), n - 1), 1.0)] for o in range(out)]


def centre(o, n, out, ratio, align_corners):
    if align_corners:
        return o * (n - 1) / (out - 1) if out > 1 else 0.0
    return (o + 0.5) * ratio - 0.5


def linear(n, out, ratio, align_corners=False):
    taps = []
    for o in range(out):
        at = max(centre(o, n, out, ratio, align_corners), 0.0)
        low = min(math.floor(at), n - 1)
        taps.append([(low, 1 - (at - low)), (min(low + 1, n - 1), at - low)])
    return taps


def keys(distance, a):
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def cubic(n, out, ratio, align_corners=False):
    taps = []
    for o in range(out):
        at = centre(o, n, out, ratio, align_corners)
        first = math.floor(at) - 1
        taps.append([(min(max(i, 0), n - 1), keys(i - at, -0.75)) for i in range(first, first + 4)])
    return taps


def area(n, out, ratio=None):
    taps = []
    for o in range(out):
        inputs = range(math.floor(o * n / out), math.ceil((o + 1) * n / out))
        taps.append([(i, 1 / len(inputs)) for i in inputs])
    return taps


def antialiased(n, out, ratio, kernel):
    """A hat or a cubic as wide as an output pixel, normalised over the pixels there are."""
    wide = max(ratio, 1.0)
    taps = []
    for o in range(out):
        at = (o + 0.5) * ratio - 0.5
        weights = [kernel((i - at) / wide) for i in range(n)]
        taps.append([(i, w / sum(weights)) for i, w in enumerate(weights)])
    return taps


def resized(taps, size, scale=None):
    """`taps` for every axis, applied to every output pixel."""

    def oracle(x):
        dims = len(size)
        axes = [
            taps(n, out, n / out if scale is None else 1 / scale)
            for n, out in zip(x.shape[2:], size, strict=True)
        ]
        y = np.zeros((*x.shape[:2], *size))
        for at in product(*map(range, y.shape)):
            for chosen in product(*[axes[d][at[2 + d]] for d in range(dims)]):
                index = tuple(i for i, _ in chosen)
                y[at] += x[at[:2] + index] * math.prod(w for _, w in chosen)
        return y

    return oracle


# -- the cases ------------------------------------------------------------------------------------


def case(name, shape, taps, size, scale=None, oracle_scale=None, **options):
    target = {"size": size} if scale is None else {"scale_factor": scale}
    return Case(
        f"interpolate, {name}",
        lambda x: resize.interpolate(x, **target, **options),
        normal(*shape),
        resized(taps, size, oracle_scale),
        lambda torch, x: torch.nn.functional.interpolate(x, **target, **options),
    )


def aligned(taps):
    return lambda n, out, ratio: taps(n, out, ratio, True)


CASES = [
    case("nearest, twice as large", (2, 2, 3, 4), nearest, (6, 8), scale=2),
    case("nearest, to an odd size", (1, 2, 5, 4), nearest, (3, 7), mode="nearest"),
    case("nearest, of a sequence", (2, 3, 5), nearest, (8,), mode="nearest"),
    case(
        "nearest-exact",
        (1, 2, 5, 6),
        lambda n, out, r: nearest(n, out, r, True),
        (3, 4),
        mode="nearest-exact",
    ),
    case("bilinear, twice as large", (2, 2, 3, 4), linear, (6, 8), scale=2, mode="bilinear"),
    case("bilinear, smaller and larger", (1, 2, 7, 3), linear, (4, 8), mode="bilinear"),
    case(
        "bilinear, align_corners",
        (1, 2, 4, 5),
        aligned(linear),
        (7, 3),
        mode="bilinear",
        align_corners=True,
    ),
    case(
        "bilinear, align_corners, to one row",
        (1, 2, 4, 5),
        aligned(linear),
        (1, 5),
        mode="bilinear",
        align_corners=True,
    ),
    case(
        "bilinear, by 1.7 with this factor",
        (1, 2, 4, 5),
        linear,
        (6, 8),
        scale=1.7,
        oracle_scale=1.7,
        mode="bilinear",
    ),
    case(
        "bilinear, by 1.7 with the factor of the sizes",
        (1, 2, 4, 5),
        linear,
        (6, 8),
        scale=1.7,
        mode="bilinear",
        recompute_scale_factor=True,
    ),
    case(
        "bilinear, antialias",
        (1, 2, 7, 8),
        lambda n, out, r: antialiased(n, out, r, lambda d: max(0.0, 1 - abs(d))),
        (3, 10),
        mode="bilinear",
        antialias=True,
    ),
    case("linear", (2, 3, 5), linear, (8,), mode="linear"),
    case("bicubic", (1, 2, 4, 5), cubic, (7, 3), mode="bicubic"),
    case(
        "bicubic, align_corners",
        (1, 2, 4, 5),
        aligned(cubic),
        (6, 9),
        mode="bicubic",
        align_corners=True,
    ),
    case(
        "bicubic, antialias",
        (1, 2, 7, 8),
        lambda n, out, r: antialiased(n, out, r, lambda d: keys(d, -0.5)),
        (3, 5),
        mode="bicubic",
        antialias=True,
    ),
    case("area", (1, 2, 5, 7), area, (3, 2), mode="area"),
    case("to the same size", (1, 2, 3, 4), linear, (3, 4), mode="bilinear"),
    Case(
        "interpolate, nearest, of integers",
        lambda x: resize.interpolate(x, size=(5, 4)),
        lambda rng: (rng.integers(0, 255, (1, 2, 3, 3), dtype=np.uint8),),
        resized(nearest, (5, 4)),
        lambda torch, x: torch.nn.functional.interpolate(x, size=(5, 4)),
        order=0,
    ),
    Case(
        "upsample",
        lambda x: resize.upsample(x, scale_factor=3, mode="bilinear"),
        normal(1, 2, 2, 3),
        resized(linear, (6, 9)),
    ),
]
