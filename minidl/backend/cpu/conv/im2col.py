"""Convolution as one matrix product (im2col), in pieces that fit the cache.

Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document
Processing", 2006.

Every window becomes a column of kh * kw * C numbers, and every filter a row of a matrix W. With
P = Ho * Wo windows an image:

    y    = W (O, kh kw C)  @  columns (kh kw C, P)
    dW^T = columns  @  g (O, P)^T
    dx   = W^T @ g, whose columns are added up where their windows overlap (col2im)

On small maps the matrix of a single image is too narrow for a good product: there, the columns of
all images of a piece lie side by side and are multiplied at once.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from ...geometry import ConvGeometry
from ..threads import parallel
from ..workspace import scratch
from .columns import has_whole_rows, run_of_tap, shifted_rows
from .pieces import Piece, cut, each_piece, rows_that_fit, sum_of_pieces

__all__ = ["forward", "input_grad", "supports", "weight_grad"]

# Below this many windows an image, images are multiplied together.
SMALL_MAP = 64


def supports(face: str, geometry: ConvGeometry, channels: int) -> bool:
    return True


def forward(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, y: np.ndarray
) -> None:
    """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, C/G, kh, kw), y (N, O, Ho, Wo)."""
    matrix = _matrix(w, geometry.groups)

    def work(piece: Piece) -> None:
        out = y[piece.images, :, piece.rows]
        n, o, ho, wo = out.shape
        columns = _columns(x[piece.images, :, piece.seen], piece.geometry, ho, wo)
        shape = (n, geometry.groups, o // geometry.groups, ho * wo)
        direct = has_whole_rows(out) and ho * wo >= SMALL_MAP
        total = out.reshape(shape) if direct else _buffer("product", shape, y.dtype)
        np.matmul(matrix, _matrices(columns), out=_matrices(total))
        if bias is not None:
            total += bias.reshape(shape[1], shape[2], 1)
        if not direct:
            out[...] = total.reshape(out.shape)

    each_piece(_cut(x, y, geometry), work)


def input_grad(g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray) -> None:
    """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, C/G, kh, kw)."""
    matrix = _matrix(w, geometry.groups).swapaxes(1, 2)
    # Bands of the same image overlap in dx, so one thread takes them all, in order.
    images = [list(bands) for _, bands in groupby(_cut(dx, g, geometry), lambda p: p.images)]

    def work(index: int) -> None:
        dx[images[index][0].images] = 0
        for piece in images[index]:
            part = g[piece.images, :, piece.rows]
            n, o, ho, wo = part.shape
            grouped = _buffer(
                "gradient", (n, geometry.groups, o // geometry.groups, ho * wo), g.dtype
            )
            grouped[...] = part.reshape(grouped.shape)
            columns = _buffer("full", (n, geometry.groups, matrix.shape[1], ho * wo), g.dtype)
            np.matmul(matrix, _matrices(grouped), out=_matrices(columns))
            _add_columns(columns, piece.geometry, ho, wo, dx[piece.images, :, piece.seen])

    parallel(work, len(images))


def weight_grad(x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray) -> None:
    """Write the gradient to the weight into dw, of w's shape. x (N, C, H, W), g (N, O, Ho, Wo)."""
    c, o = x.shape[1], g.shape[1]
    groups = geometry.groups
    kh, kw = geometry.kernel

    def work(piece: Piece, total: np.ndarray) -> None:
        part = g[piece.images, :, piece.rows]
        n, _, ho, wo = part.shape
        columns = _columns(x[piece.images, :, piece.seen], piece.geometry, ho, wo)
        part = part.reshape(n, groups, o // groups, ho * wo)
        if ho * wo < SMALL_MAP:
            side_by_side = _buffer("gradient", part.shape, g.dtype)
            side_by_side[...] = part
            total += _matrices(columns) @ _matrices(side_by_side).swapaxes(1, 2)
        else:
            total += np.matmul(columns, part.swapaxes(2, 3)).sum(0)

    shape = (groups, kh * kw * c // groups, o // groups)
    total = sum_of_pieces(_cut(x, g, geometry), shape, x.dtype, work)
    total = total.reshape(groups, kh, kw, c // groups, o // groups)
    by_group = dw.reshape(groups, o // groups, c // groups, kh, kw)
    by_group[...] = total.transpose(0, 4, 3, 1, 2)


def _matrix(w: np.ndarray, groups: int) -> np.ndarray:
    """The kernel (O, C/G, kh, kw) as matrices (G, O/G, kh kw C/G)."""
    o = len(w) // groups
    w = w.reshape(groups, o, *w.shape[1:])
    if w.strides[1] < w.strides[2]:  # inputs and outputs exchanged: see kernel_matrices
        return w.transpose(0, 3, 4, 2, 1).reshape(groups, -1, o).swapaxes(1, 2)
    return w.transpose(0, 1, 3, 4, 2).reshape(groups, o, -1)


def _cut(x: np.ndarray, y: np.ndarray, geometry: ConvGeometry) -> list[Piece]:
    row = x.shape[1] * geometry.kernel[0] * geometry.kernel[1] * y.shape[3]
    return cut(len(x), x.shape[2], y.shape[2], geometry, rows_that_fit(row * x.itemsize))


def _buffer(name: str, shape: tuple[int, int, int, int], dtype: np.dtype) -> np.ndarray:
    """Scratch of shape (N, G, rows, P); on small maps in the order (G, rows, N, P) of memory."""
    n, groups, rows, count = shape
    if count >= SMALL_MAP:
        return scratch(name, shape, dtype)
    return scratch(name, (groups, rows, n, count), dtype).transpose(2, 0, 1, 3)


def _matrices(buffer: np.ndarray) -> np.ndarray:
    """A buffer as the matrices to multiply: (N, G, rows, P), or (G, rows, N P) on small maps."""
    n, groups, rows, count = buffer.shape
    if count >= SMALL_MAP:
        return buffer
    return buffer.transpose(1, 2, 0, 3).reshape(groups, rows, n * count)


def _columns(x: np.ndarray, geometry: ConvGeometry, height: int, width: int) -> np.ndarray:
    """What every window sees: (N, G, kh kw C/G, P), from long runs of the shifted image."""
    rows = shifted_rows(x, geometry, height, width)
    n, groups, across, _ = rows.shape
    columns = _buffer("full", (n, groups, geometry.kernel[0] * across, height * width), x.dtype)
    for a in range(geometry.kernel[0]):
        run = rows[..., run_of_tap(geometry, a, height, width)]
        columns[:, :, a * across : (a + 1) * across] = run
    return columns


def _add_columns(
    columns: np.ndarray, geometry: ConvGeometry, height: int, width: int, dx: np.ndarray
) -> None:
    """Add to each pixel of dx (N, C, H, W) what the columns of its windows hold for it (col2im)."""
    n, c, h, w = dx.shape
    kh, kw = geometry.kernel
    groups = geometry.groups
    columns = columns.reshape(n, groups, kh, kw, c // groups, height, width)
    dx = dx.reshape(n, groups, c // groups, h, w)
    for a in range(kh):
        to_rows, of_rows = geometry.tap(0, a, h, height)
        for b in range(kw):
            to_columns, of_columns = geometry.tap(1, b, w, width)
            dx[..., of_rows, of_columns] += columns[:, :, a, b, :, to_rows, to_columns]
