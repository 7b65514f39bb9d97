"""Convolution of many channels on few pixels: im2col that leaves the weight where it is.

Deep in a network maps are small and weights are large: 1,024 filters of 1,024 x 3 x 3 are 38 MB,
four maps of 8 x 8 that they slide over 1 MB. There it is the weight that must not be copied, turned
round or read more than once. So the columns take the order in which a filter lies in memory,
(C, kh, kw), and all images stand side by side, as one long matrix:

    y  = W (O, C kh kw)  @  columns (C kh kw, N P)
    dW = g (O, N P)  @  columns^T
    dx = W^T @ g, whose columns are added up where their windows overlap (col2im)

The gradient to the weight lands where it belongs, and nothing is left to be added up over images.
Threads share out the filters, in dx the channels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...geometry import ConvGeometry
from ..threads import get_num_threads, parallel
from ..workspace import scratch, scratch_with_zeros
from .pieces import PIECE_BYTES

__all__ = ["forward", "input_grad", "supports", "weight_grad"]

COLUMNS_BYTES = 24 << 20  # of the columns; a batch that has more is cut
ALONE = 1 << 22  # multiply-adds: waking a thread for fewer takes longer than it saves


def supports(face: str, geometry: ConvGeometry, channels: int) -> bool:
    return geometry.groups == 1


def forward(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, y: np.ndarray
) -> None:
    """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, C, kh, kw), y (N, O, Ho, Wo)."""
    matrix = w.reshape(len(w), -1)

    def of(images: slice) -> None:
        columns = _columns(x[images], geometry, y.shape[2:])
        out = y[images].swapaxes(0, 1)
        product = scratch("deep product", (len(w), columns.shape[1]), y.dtype)

        def work(filters: slice) -> None:
            part = np.matmul(matrix[filters], columns, out=product[filters])
            if bias is not None:
                part += bias[filters, None]
            out[filters] = part.reshape(out[filters].shape)

        _share(len(w), columns.size, work)

    _for_pieces(x, y, geometry, of)


def input_grad(g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray) -> None:
    """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, C, kh, kw)."""
    o, c, kh, kw = w.shape
    matrix = w.reshape(o, c * kh * kw)

    def of(images: slice) -> None:
        gradient = _side_by_side(g[images])
        maps = dx[images].swapaxes(0, 1)
        each = max(1, PIECE_BYTES // (kh * kw * gradient[0].nbytes))

        def work(channels: slice) -> None:
            for first in range(channels.start, channels.stop, each):
                some = slice(first, min(first + each, channels.stop))
                rows = matrix[:, some.start * kh * kw : some.stop * kh * kw].T
                columns = scratch("deep part", (len(rows), gradient.shape[1]), g.dtype)
                np.matmul(rows, gradient, out=columns)
                shape = (some.stop - first, kh, kw, maps.shape[1], *g.shape[2:])
                _add_columns(columns.reshape(shape), geometry, maps[some])

        _share(c, kh * kw * gradient.size, work)

    _for_pieces(dx, g, geometry, of)


def weight_grad(x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray) -> None:
    """Write the gradient to the weight into dw, of w's shape. x (N, C, H, W), g (N, O, Ho, Wo)."""
    total = dw.reshape(len(dw), -1)  # dw is new, and contiguous

    def of(images: slice) -> None:
        columns = _columns(x[images], geometry, g.shape[2:])
        gradient = _side_by_side(g[images])

        def work(filters: slice) -> None:
            if images.start == 0:
                np.matmul(gradient[filters], columns.T, out=total[filters])
            else:
                total[filters] += gradient[filters] @ columns.T

        _share(len(dw), columns.size, work)

    _for_pieces(x, g, geometry, of)


def _for_pieces(
    x: np.ndarray, y: np.ndarray, geometry: ConvGeometry, work: Callable[[slice], None]
) -> None:
    """Call `work` for ranges of images whose columns are not too large."""
    image = x.shape[1] * geometry.kernel[0] * geometry.kernel[1] * y[0, 0].size * x.itemsize
    images = max(1, COLUMNS_BYTES // image)
    for first in range(0, len(x), images):
        work(slice(first, min(first + images, len(x))))


def _share(count: int, cost: int, work: Callable[[slice], None]) -> None:
    """Call `work` for ranges that cover `count` filters or channels, each of that cost."""
    parts = max(1, min(get_num_threads(), count, count * cost // ALONE))
    ranges = [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)]
    parallel(lambda index: work(ranges[index]), parts)


def _side_by_side(g: np.ndarray) -> np.ndarray:
    """The maps of all images as rows (O, N P). Scratch."""
    rows = scratch("deep gradient", (g.shape[1], len(g), *g.shape[2:]), g.dtype)
    rows[...] = g.swapaxes(0, 1)
    return rows.reshape(g.shape[1], -1)


def _columns(x: np.ndarray, geometry: ConvGeometry, size: tuple[int, ...]) -> np.ndarray:
    """What every window sees: (C kh kw, N P). Scratch."""
    n, c, h, w = x.shape
    kh, kw = geometry.kernel
    shape = (c, kh, kw, n, *size)
    columns = scratch_with_zeros("deep columns", shape, x.dtype, (geometry, h, w))
    x = x.swapaxes(0, 1)

    def work(channels: slice) -> None:
        for a in range(kh):
            to_rows, of_rows = geometry.tap(0, a, h, size[0])
            for b in range(kw):
                to_columns, of_columns = geometry.tap(1, b, w, size[1])
                found = x[channels, :, of_rows, of_columns]
                columns[channels, a, b, :, to_rows, to_columns] = found

    _share(c, 8 * columns[0].size, work)
    return columns.reshape(c * kh * kw, -1)


def _add_columns(columns: np.ndarray, geometry: ConvGeometry, dx: np.ndarray) -> None:
    """Put into each pixel of dx (C, N, H, W) what its windows' columns hold for it, added up.

    columns: (C, kh, kw, N, Ho, Wo).
    """
    dx[...] = 0
    for a in range(columns.shape[1]):
        to_rows, of_rows = geometry.tap(0, a, dx.shape[2], columns.shape[4])
        for b in range(columns.shape[2]):
            to_columns, of_columns = geometry.tap(1, b, dx.shape[3], columns.shape[5])
            dx[:, :, of_rows, of_columns] += columns[:, a, b, :, to_rows, to_columns]
