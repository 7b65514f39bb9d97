"""Convolution as it is defined: one loop for each index of the sum.

    y[n, o, i, j] = sum over c, a, b of  w[o, c, a, b] * x[n, c, u, v]

with u = i * stride + a * dilation - padding, v likewise from j and b, and zero outside the image.
The three faces of a convolution are one loop read in three ways: of y, x and w, two are given
and the third is added up. Too slow to train with; the other algorithms are compared with it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...geometry import ConvGeometry

__all__ = ["forward", "input_grad", "supports", "weight_grad"]


def supports(face: str, geometry: ConvGeometry, channels: int) -> bool:
    return True


def forward(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, y: np.ndarray
) -> None:
    """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, C/G, kh, kw), y (N, O, Ho, Wo)."""
    y[...] = 0 if bias is None else bias[:, None, None]
    for i, j, a, b, u, v in _meetings(geometry, x.shape, y.shape):
        for inputs, outputs in _groups(geometry, x.shape[1], y.shape[1]):
            y[:, outputs, i, j] += x[:, inputs, u, v] @ w[outputs, :, a, b].T


def input_grad(g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray) -> None:
    """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, C/G, kh, kw)."""
    dx[...] = 0
    for i, j, a, b, u, v in _meetings(geometry, dx.shape, g.shape):
        for inputs, outputs in _groups(geometry, dx.shape[1], g.shape[1]):
            dx[:, inputs, u, v] += g[:, outputs, i, j] @ w[outputs, :, a, b]


def weight_grad(x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray) -> None:
    """Write the gradient to the weight into dw, of w's shape. x (N, C, H, W), g (N, O, Ho, Wo)."""
    dw[...] = 0
    for i, j, a, b, u, v in _meetings(geometry, x.shape, g.shape):
        for inputs, outputs in _groups(geometry, x.shape[1], g.shape[1]):
            dw[outputs, :, a, b] += g[:, outputs, i, j].T @ x[:, inputs, u, v]


def _meetings(
    geometry: ConvGeometry, image: tuple[int, ...], output: tuple[int, ...]
) -> Iterator[tuple[int, int, int, int, int, int]]:
    """All (i, j, a, b, u, v) where tap (a, b) of window (i, j) lies on pixel (u, v)."""
    (kh, kw), (sh, sw), (dh, dw) = geometry.kernel, geometry.stride, geometry.dilation
    (top, _), (left, _) = geometry.padding
    for i in range(output[2]):
        for j in range(output[3]):
            for a in range(kh):
                for b in range(kw):
                    u = i * sh + a * dh - top
                    v = j * sw + b * dw - left
                    if 0 <= u < image[2] and 0 <= v < image[3]:
                        yield i, j, a, b, u, v


def _groups(geometry: ConvGeometry, c: int, o: int) -> Iterator[tuple[slice, slice]]:
    """The input and output channels of each group."""
    groups = geometry.groups
    for k in range(groups):
        yield (
            slice(c // groups * k, c // groups * (k + 1)),
            slice(o // groups * k, o // groups * (k + 1)),
        )
