"""Convolution with a 1 x 1 kernel: a matrix product, with nothing to copy.

Lin, Chen and Yan, "Network In Network", 2014.

A window is one pixel, so that the image (C, H W) itself is the matrix of columns:

    y = W (O, C) @ x (C, P)        dx = W^T @ g (O, P)        dW^T = sum over images of  x @ g^T

With a stride, the pixels that windows meet are picked out first.
"""

from __future__ import annotations

import numpy as np

from ...geometry import ConvGeometry
from ..workspace import scratch
from .columns import has_whole_rows
from .pieces import Piece, cut, each_piece, rows_that_fit, sum_of_pieces

__all__ = ["forward", "input_grad", "supports", "weight_grad"]


def supports(face: str, geometry: ConvGeometry, channels: int) -> bool:
    return geometry.kernel == (1, 1) and geometry.padding == ((0, 0), (0, 0))


def forward(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, y: np.ndarray
) -> None:
    """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, C/G, 1, 1), y (N, O, Ho, Wo)."""
    groups = geometry.groups
    matrix = w.reshape(groups, len(w) // groups, -1)

    def work(piece: Piece) -> None:
        out = y[piece.images, :, piece.rows]
        _multiply(matrix, _met(x, out, piece, geometry), out)
        if bias is not None:
            out += bias[:, None, None]

    each_piece(_cut(x, y, geometry), work)


def input_grad(g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray) -> None:
    """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, C/G, 1, 1)."""
    groups = geometry.groups
    matrix = w.reshape(groups, len(w) // groups, -1).swapaxes(1, 2)
    if geometry.stride != (1, 1):
        dx[...] = 0  # pixels between the windows

    def work(piece: Piece) -> None:
        part = g[piece.images, :, piece.rows]
        _multiply(matrix, part, _met(dx, part, piece, geometry))

    each_piece(_cut(dx, g, geometry), work)


def weight_grad(x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray) -> None:
    """Write the gradient to the weight into dw, of w's shape. x (N, C, H, W), g (N, O, Ho, Wo)."""
    c, o = x.shape[1], g.shape[1]
    groups = geometry.groups
    shape = (groups, c // groups, o // groups)

    def work(piece: Piece, total: np.ndarray) -> None:
        part = g[piece.images, :, piece.rows]
        pixels = _as_matrices("pixels", _met(x, part, piece, geometry), groups)
        gradients = _as_matrices("gradients", part, groups).swapaxes(2, 3)
        product = scratch("product", (len(part), *shape), x.dtype)
        total += np.matmul(pixels, gradients, out=product).sum(0)

    total = sum_of_pieces(_cut(x, g, geometry), shape, x.dtype, work)
    dw.reshape(groups, o // groups, c // groups)[...] = total.swapaxes(1, 2)


def _cut(x: np.ndarray, y: np.ndarray, geometry: ConvGeometry) -> list[Piece]:
    row = (x.shape[1] + y.shape[1]) * y.shape[3]
    return cut(len(x), x.shape[2], y.shape[2], geometry, rows_that_fit(row * x.itemsize))


def _met(x: np.ndarray, y: np.ndarray, piece: Piece, geometry: ConvGeometry) -> np.ndarray:
    """The pixels of x that the windows of y, a piece of the output, meet. A view."""
    (sh, sw), width = geometry.stride, y.shape[3]
    return x[piece.images, :, piece.seen][:, :, ::sh, : (width - 1) * sw + 1 : sw]


def _as_matrices(name: str, x: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, H, W) as (N, G, C/G, H W), with a copy only where planes are no runs of memory."""
    n, c, h, w = x.shape
    if not has_whole_rows(x):
        copy = scratch(name, x.shape, x.dtype)
        copy[...] = x
        x = copy
    return x.reshape(n, groups, c // groups, h * w)


def _multiply(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Write matrix (G, R, S) @ x (N, G S, ...) into y (N, G R, ...)."""
    groups, rows, _ = matrix.shape
    n, _, h, w = y.shape
    shape = (n, groups, rows, h * w)
    direct = has_whole_rows(y)
    out = y.reshape(shape) if direct else scratch("product", shape, y.dtype)
    np.matmul(matrix, _as_matrices("pixels", x, groups), out=out)
    if not direct:
        y[...] = out.reshape(y.shape)
