"""Resizing: nearest, linear, cubic and area interpolation, with torch's conventions.

All are linear and separable. An axis of n pixels is resized by a sparse matrix A with a row for
each output, so a plane X becomes Y = A_y X A_x^T, and the gradient dX = A_y^T dY A_x is a
resampling again. What distinguishes the modes is one function each, that makes the matrix of an
axis. Average pooling (`pool.py`) is made of the same.

Pixel o of n_out covers [o, o + 1) of the axis. With `align_corners=False` the whole axis is mapped
to the whole axis, so that its centre o + 1/2 comes from (o + 1/2) n_in / n_out; with
`align_corners=True` the centres of the first and of the last pixel are mapped to each other.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..autograd import Function, Tensor
from ..backend import of
from ..backend.axis_map import AxisMap
from .common import as_float, as_tensor, quiet

__all__ = ["interpolate", "upsample"]

# The modes of images and of sequences, and whether `align_corners` means something to them.
MODES = {
    4: {"nearest": False, "nearest-exact": False, "area": False, "bilinear": True, "bicubic": True},
    3: {"nearest": False, "nearest-exact": False, "area": False, "linear": True},
}


class Resample(Function):
    """Y = A_y X A_x^T for every plane X; one matrix for each trailing axis.    dX = A_y^T dY A_x"""

    @quiet
    def forward(self, x: Any, maps: tuple[AxisMap | None, ...]) -> Any:
        self.maps = maps
        kept, resized = x.shape[: -len(maps)], x.shape[-len(maps) :]
        sizes = [
            n if map is None else map.output_size for n, map in zip(resized, maps, strict=True)
        ]
        if 0 in (*sizes, x.size):
            return of(x).xp.zeros((*kept, *sizes), x.dtype)
        down, across = maps if len(maps) == 2 else (None, maps[0])
        return of(x).resample(as_planes(x, len(maps)), (down, across)).reshape(*kept, *sizes)

    def backward(self, grad: Tensor) -> Any:
        return resample(grad, tuple(None if map is None else map.T for map in self.maps))


def resample(input: Tensor, maps: tuple[AxisMap | None, ...]) -> Tensor:
    """`input` with a linear map applied along each of its last axes; None leaves an axis."""
    return Resample.apply(input, maps)


def as_planes(x: Any, dims: int) -> Any:
    """An array as a stack (P, H, W) of its last two axes, or (P, 1, L) of its last one."""
    plane = x.shape[-2:] if dims == 2 else (1, x.shape[-1])
    return x.reshape(math.prod(x.shape[:-dims]), *plane)


# -- the public functions -------------------------------------------------------------------------


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Images or sequences resized to `size`, or by `scale_factor`, as in torch.

    Args:
        input: (N, C, H, W), or (N, C, L). Integers stay what they are in the nearest modes and
            become float32 in the others.
        size: of the output: (H, W) or (L,), or one number for all.
        scale_factor: output / input, one number or one for each axis; the size is rounded down,
            and positions are computed with this very factor.
        mode: "nearest", "nearest-exact" (the pixel whose centre is nearest), "area" (the mean of
            the pixels below), and for images "bilinear", "bicubic", for sequences "linear".
        align_corners: for the linear and cubic modes; see the module's text. None means False.
        recompute_scale_factor: take the ratio of the sizes as factor, not `scale_factor`.
        antialias: bilinear and bicubic: widen the filter when shrinking.

    Returns:
        (N, C, *size).

    Raises:
        ValueError: wrong rank, mode, size, or options that exclude each other.
    """
    x = as_tensor(input)
    if x.ndim not in MODES:
        raise ValueError(
            f"interpolate: input must be (N, C, H, W) or (N, C, L), got {x.ndim} dimensions "
            f"{x.shape}"
        )
    modes = MODES[x.ndim]
    if mode not in modes:
        raise ValueError(
            f"interpolate: mode {mode!r} is not known for {x.ndim} dimensions {x.shape}; "
            f"use one of {', '.join(modes)}"
        )
    if align_corners is not None and not modes[mode]:
        raise ValueError(f"interpolate: mode {mode!r} has no align_corners; leave it out")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: mode {mode!r} has no antialias; use bilinear or bicubic")
    if 0 in x.shape[1:]:
        raise ValueError(f"interpolate: only the batch may be empty, got input {x.shape}")
    sizes, scales = _target(x, size, scale_factor, recompute_scale_factor)
    if not mode.startswith("nearest"):
        x = as_float(x)

    maps = []
    for n, out, scale in zip(x.shape[2:], sizes, scales, strict=True):
        if mode == "area":
            map = area_map(n, out)
        elif mode.startswith("nearest"):
            exact, sequence = mode == "nearest-exact", x.ndim == 3
            if not exact and not sequence and out in (n, 2 * n):
                scale = None  # torch doubles images exactly, whatever the factor; sequences not
            real = np.float64 if sequence and x.dtype == np.float64 else np.float32
            map = nearest_map(n, out, scale, exact, real)
        elif antialias:
            map = antialiased_map(n, out, scale, bool(align_corners), mode == "bicubic")
        elif mode == "bicubic":
            map = cubic_map(n, out, scale, bool(align_corners))
        else:
            map = linear_map(n, out, scale, bool(align_corners))
        maps.append(None if _is_identity(map) else map)
    return resample(x, tuple(maps))


def upsample(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate`, by its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def _target(
    x: Tensor, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[list[int], list[float | None]]:
    """The output's size, and the factor to compute positions with (None: the ratio of sizes)."""
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give either size or scale_factor")
    if size is not None and recompute:
        raise ValueError("interpolate: recompute_scale_factor means nothing with a given size")
    given = scale_factor if size is None else size
    dims = x.ndim - 2
    given = list(given) if isinstance(given, Sequence) else [given] * dims
    if len(given) != dims:
        raise ValueError(
            f"interpolate: {given} is for {len(given)} axes, but input {x.shape} has {dims} of them"
        )
    scales: list[float | None] = [None] * dims
    if size is not None:
        sizes = [operator.index(n) for n in given]
    else:
        sizes = [math.floor(n * float(s)) for n, s in zip(x.shape[2:], given, strict=True)]
        if not recompute:
            scales = [float(s) for s in given]
    if min(sizes) < 1:
        raise ValueError(
            f"interpolate: output would be {tuple(sizes)} for input {x.shape}; "
            "sizes must be at least 1"
        )
    return sizes, scales


# -- one matrix for an axis -----------------------------------------------------------------------


@lru_cache(maxsize=256)
def nearest_map(n: int, out: int, scale: float | None, exact: bool, real: Any) -> AxisMap:
    """Each output is the input at floor(o r), or, `exact`, the one whose pixel its centre is in.

    Args:
        real: the dtype in which torch computes r. Rounding decides where a centre lies on an edge.
    """
    ratio = real(1.0 / scale) if scale else real(n) / real(out)
    position = (np.arange(out) + (0.5 if exact else 0.0)) * float(ratio)
    indices = np.floor(position.astype(np.float32)).astype(np.int64)
    return AxisMap(n, np.minimum(indices, n - 1)[None], np.ones((1, out)))


@lru_cache(maxsize=256)
def linear_map(n: int, out: int, scale: float | None, align_corners: bool) -> AxisMap:
    """Each output is a mixture of the two inputs on either side of it."""
    if n == out:
        return AxisMap(n, np.arange(n)[None], np.ones((1, n)))
    position = np.maximum(_positions(n, out, scale, align_corners), 0)
    first = np.minimum(position.astype(np.int64), n - 1)
    second = np.minimum(first + 1, n - 1)
    share = np.minimum(position - first, 1)
    return AxisMap(n, np.stack([first, second]), np.stack([1 - share, share]))


@lru_cache(maxsize=256)
def cubic_map(n: int, out: int, scale: float | None, align_corners: bool) -> AxisMap:
    """Each output is a mixture of four inputs, by Keys' kernel; beyond the edge the edge's pixel.

    Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -3/4.
    """
    position = _positions(n, out, scale, align_corners)
    taps = np.floor(position).astype(np.int64) + np.arange(-1, 3)[:, None]
    weights = _cubic(taps - position, -0.75)
    return AxisMap(n, np.clip(taps, 0, n - 1), weights)


@lru_cache(maxsize=256)
def antialiased_map(
    n: int, out: int, scale: float | None, align_corners: bool, cubic: bool
) -> AxisMap:
    """Linear or cubic weights (a = -1/2) stretched over all the inputs an output shrinks together.

    As in Pillow: the filter is as wide as the output's pixel, and normalised at the edges; an axis
    that keeps its size is left alone.
    """
    if n == out:
        return AxisMap(n, np.arange(n)[None], np.ones((1, n)))
    ratio = _ratio(n, out, scale, align_corners)
    stretch = max(ratio, 1.0)
    reach = (2 if cubic else 1) * stretch
    centre = ratio * (np.arange(out) + 0.5)
    start = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + reach + 0.5).astype(np.int64), n)

    def weights(taps: np.ndarray) -> np.ndarray:
        distance = (taps - centre + 0.5) / stretch
        return _cubic(distance, -0.5) if cubic else np.maximum(1 - abs(distance), 0)

    map = window_map(n, start, stop, weights)
    return AxisMap(n, map.indices, map.weights / map.weights.sum(axis=0))


@lru_cache(maxsize=256)
def area_map(n: int, out: int) -> AxisMap:
    """Each output is the mean of the inputs it covers, wholly or in part."""
    start, stop = adaptive_windows(n, out)
    return window_map(n, start, stop, lambda taps: np.broadcast_to(1 / (stop - start), taps.shape))


def adaptive_windows(n: int, out: int) -> tuple[np.ndarray, np.ndarray]:
    """The `out` windows [start, stop) that cover n pixels evenly; neighbours may share a pixel."""
    o = np.arange(out)
    return o * n // max(out, 1), -((-(o + 1) * n) // max(out, 1))


def window_map(
    n: int, start: np.ndarray, stop: np.ndarray, weights: Callable[[np.ndarray], np.ndarray]
) -> AxisMap:
    """The map whose output o sums the inputs in [start[o], stop[o]), times `weights(inputs)`."""
    taps = start + np.arange(int((stop - start).max(initial=1)))[:, None]
    inside = taps < stop
    return AxisMap(n, np.minimum(taps, stop - 1), np.where(inside, weights(taps), 0.0))


def _ratio(n: int, out: int, scale: float | None, align_corners: bool) -> float:
    """Input pixels for one output pixel."""
    if align_corners:
        return (n - 1) / (out - 1) if out > 1 else 0.0
    return 1.0 / scale if scale else n / out


def _positions(n: int, out: int, scale: float | None, align_corners: bool) -> np.ndarray:
    """Where the centre of each output lies, counted in inputs, whose centres are at 0, 1, 2 ..."""
    ratio = _ratio(n, out, scale, align_corners)
    return ratio * np.arange(out) if align_corners else ratio * (np.arange(out) + 0.5) - 0.5


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel, equation 4: zero from a distance of 2 on."""
    d = abs(distance)
    near = ((a + 2) * d - (a + 3)) * d**2 + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _is_identity(map: AxisMap) -> bool:
    return map.selects and map.output_size == map.size and map.tile == 1
