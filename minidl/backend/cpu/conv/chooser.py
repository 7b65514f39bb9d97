"""Which algorithm computes a convolution: one table, and a way to overrule it.

The figures are from one core of a 2025 server (AVX-512, 1 MB of second-level cache, OpenBLAS
0.3.31), float32. They move the borders a little on another machine, not the order of things.
"""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np

from ...geometry import ConvGeometry
from . import deep, depthwise, direct, fft, im2col, pointwise, rows, shift, taps
from .phases import input_grad_by_phases
from .winograd import F2X2, F4X4

__all__ = ["ALGORITHMS", "choose", "conv_algorithm"]


class Algorithm(Protocol):
    """What a file of this folder offers, as functions: the three faces, and what it can do."""

    def supports(self, face: str, geometry: ConvGeometry, channels: int) -> bool: ...

    def forward(
        self,
        x: np.ndarray,
        w: np.ndarray,
        bias: np.ndarray | None,
        geometry: ConvGeometry,
        y: np.ndarray,
    ) -> None: ...

    def input_grad(
        self, g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray
    ) -> None: ...

    def weight_grad(
        self, x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray
    ) -> None: ...


ALGORITHMS: dict[str, Algorithm] = {
    "direct": direct,
    "im2col": im2col,
    "rows": rows,
    "shift": shift,
    "pointwise": pointwise,
    "deep": deep,
    "depthwise": depthwise,
    "taps": taps,
    "winograd": F4X4,
    "winograd2x2": F2X2,
    "fft": fft,
}

FACES = ("forward", "input_grad", "weight_grad")


def choose(
    face: str,
    geometry: ConvGeometry,
    channels: int,
    filters: int,
    size: tuple[int, int],
    batch: int,
) -> Algorithm | None:
    """The algorithm for one face of a convolution.

    Args:
        face: one of `FACES`.
        channels, filters: of input and output (C, O).
        size: of the output, (Ho, Wo).
        batch: number of images, N.

    Returns:
        the algorithm; None for an input gradient that is best computed as convolutions (phases.py),
        each by the algorithm that this table has for it.
    """
    forced = ALGORITHMS.get(_forced.name or "")
    if forced is not None and forced.supports(face, geometry, channels):
        return forced

    windows = size[0] * size[1]
    kh, kw = geometry.kernel
    c, o = channels // geometry.groups, filters // geometry.groups

    if depthwise.supports(face, geometry, channels):
        return _choose_depthwise(face, geometry, size)
    # A quarter of the multiplications pays for the transforms if there are many of them:
    # 64 channels of 56 x 56, .7 of the time of rows.
    tiled = (
        F4X4.supports(face, geometry, channels)
        and min(c, o) >= 32
        and min(c, o) * windows >= 80_000
    )
    # Few windows for the size of the weight, which the others copy: 1,024 channels of four 8 x 8
    # maps .65, .65 and .25 of the time of rows; 512 of eight 7 x 7, .7, .7 and .5 of im2col.
    # Transforming the kernel costs as much, and its gradient more.
    fewest = 1 if tiled and face != "weight_grad" else 3.2
    if batch * windows <= fewest * min(c, o) and deep.supports(face, geometry, channels):
        return deep
    # One image makes too narrow a matrix: 4 x 4 maps of 512 channels, .43 of the time of rows.
    if windows < im2col.SMALL_MAP:
        return None if face == "input_grad" else im2col
    if pointwise.supports(face, geometry, channels):
        return pointwise
    # (shift has no line: rows reads as little, and adds up a third as often.)
    if tiled:
        return F4X4

    # Few channels and a large kernel: 31 x 31 on 8 channels of 128 x 128, .25 of the time of rows.
    if kh * kw >= max(225, 100 * max(c, o)) and windows >= 64 * 64:
        return fft

    if face == "forward":
        # Rows saves copies of kh kw C numbers a window and adds up kh - 1 times O instead.
        return im2col if kh * kw * c < 1.5 * (kh - 1) * o else rows
    if face == "input_grad":
        # Few input channels are few rows for the matrices of a convolution of g.
        return im2col if c <= 4 and o >= 32 and geometry.stride != (1, 1) else None
    # Each vertical tap of rows reads all of g; one product with a thin matrix does not use it well.
    return im2col if kw * c < 32 <= o else rows


def _choose_depthwise(face: str, geometry: ConvGeometry, size: tuple[int, int]) -> Algorithm:
    """`choose`, where each channel has its own filters: nothing is added up over channels."""
    # On wide maps most of a banded matrix is zero. Tap by tap is quicker there (144 channels of
    # 56 x 56: .8 of the time of rows forward, .35 and .5 in the gradients) if taps are few.
    wide, steps = size[1] > 40, geometry.stride != (1, 1)
    if face == "weight_grad":
        # The products of rows are long enough from 16 x 16 on.
        if size[0] * size[1] <= 256:
            return depthwise
        return taps if wide and not steps else rows
    if not wide or (steps and face == "input_grad"):
        return depthwise
    if steps:
        return rows
    # 21 x 21 on 56 x 56: the banded matrix .6 of the time of fft; 15 x 15 on 224 x 224: six times.
    number = geometry.kernel[0] * geometry.kernel[1]
    if number >= 25 and size[1] <= 100:
        return depthwise
    return fft if number >= 169 else taps


def forward_by_table(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, y: np.ndarray
) -> None:
    """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, C/G, kh, kw), y (N, O, Ho, Wo)."""
    algorithm = choose("forward", geometry, x.shape[1], y.shape[1], y.shape[2:], len(x))
    assert algorithm is not None
    algorithm.forward(x, w, bias, geometry, y)


def input_grad_by_table(
    g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray
) -> None:
    """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, C/G, kh, kw)."""
    algorithm = choose("input_grad", geometry, dx.shape[1], g.shape[1], g.shape[2:], len(g))
    if algorithm is None:
        input_grad_by_phases(forward_by_table, g, w, geometry, dx)
    else:
        algorithm.input_grad(g, w, geometry, dx)


def weight_grad_by_table(
    x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray
) -> None:
    """Write the gradient to the weight into dw, of w's shape. x (N, C, H, W), g (N, O, Ho, Wo)."""
    algorithm = choose("weight_grad", geometry, x.shape[1], g.shape[1], g.shape[2:], len(x))
    assert algorithm is not None
    algorithm.weight_grad(x, g, geometry, dw)


class _Forced(threading.local):
    name: str | None = None


_forced = _Forced()


class conv_algorithm:
    """Compute the CPU convolutions of this thread by one algorithm within a `with` block.

    Args:
        name: "direct", "im2col", "rows", "shift", "pointwise", "deep", "depthwise", "taps",
            "winograd" (tiles of 4 x 4), "winograd2x2" or "fft". A convolution that the algorithm
            cannot do is computed as if nothing were said.

    Raises:
        ValueError: unknown name.

    Example:
        >>> with conv_algorithm("im2col"):
        ...     y = conv2d(x, w)
    """

    def __init__(self, name: str) -> None:
        if name not in ALGORITHMS:
            raise ValueError(
                f"conv_algorithm: unknown algorithm {name!r}; known are {', '.join(ALGORITHMS)}"
            )
        self._name = name

    def __enter__(self) -> conv_algorithm:
        self._before, _forced.name = _forced.name, self._name
        return self

    def __exit__(self, *exception: object) -> None:
        _forced.name = self._before
