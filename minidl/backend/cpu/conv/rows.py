"""Convolution by rows: copies across, views down (MEC).

Cho and Brand, "MEC: Memory-efficient Convolution for Deep Neural Network", 2017.

im2col copies every pixel once for each of the kh * kw taps. Here it is copied once for each of
the kw horizontal taps only. A vertical tap needs no copy: it is the same memory, read from some
rows further down. The price is kh products to add up instead of a single one:

    y   = sum over a of  W[a] (O, kw C)  @  columns (kw C, rows from a on)

    dW[a] = columns (kw C, rows from a on)  @  g (O, rows)^T

The gradient to the input is a convolution of g: see phases.py.
"""

from __future__ import annotations

import numpy as np

from ...geometry import ConvGeometry
from ..workspace import scratch
from .columns import has_whole_rows, kernel_matrices, run_of_tap, shifted_rows
from .phases import input_grad_by_phases
from .pieces import Piece, cut, each_piece, rows_that_fit, sum_of_pieces

__all__ = ["forward", "input_grad", "supports", "weight_grad"]

# From this many filters on, a product with g^T gains more from a transposed copy of g than the copy
# costs: 154 -> 269 GFLOP/s at 32 filters on 16 x 16 maps (OpenBLAS 0.3.31, AVX-512).
WORTH_TRANSPOSING = 32


def supports(face: str, geometry: ConvGeometry, channels: int) -> bool:
    return True


def forward(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, y: np.ndarray
) -> None:
    """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, C/G, kh, kw), y (N, O, Ho, Wo)."""
    taps = kernel_matrices(w, geometry.groups)

    def work(piece: Piece) -> None:
        out = y[piece.images, :, piece.rows]
        _forward(x[piece.images, :, piece.seen], taps, bias, piece.geometry, out)

    each_piece(_cut(x, y, geometry), work)


def _cut(x: np.ndarray, y: np.ndarray, geometry: ConvGeometry) -> list[Piece]:
    row = x.shape[1] * geometry.kernel[1] * y.shape[3] * geometry.stride[0] + 2 * y[0, :, 0].size
    return cut(len(x), x.shape[2], y.shape[2], geometry, rows_that_fit(row * x.itemsize))


def _forward(
    x: np.ndarray,
    taps: np.ndarray,
    bias: np.ndarray | None,
    geometry: ConvGeometry,
    y: np.ndarray,
) -> None:
    n, o, ho, wo = y.shape
    shape = (n, geometry.groups, o // geometry.groups, ho * wo)
    columns = shifted_rows(x, geometry, ho, wo)
    direct = has_whole_rows(y)
    total = y.reshape(shape) if direct else scratch("total", shape, y.dtype)
    for a, tap in enumerate(taps):
        run = columns[..., run_of_tap(geometry, a, ho, wo)]
        if a == 0:
            np.matmul(tap, run, out=total)
        else:
            total += np.matmul(tap, run, out=scratch("product", shape, y.dtype))
    if bias is not None:
        total += bias.reshape(shape[1], shape[2], 1)
    if not direct:
        y[...] = total.reshape(y.shape)


def input_grad(g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray) -> None:
    """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, C/G, kh, kw)."""
    input_grad_by_phases(forward, g, w, geometry, dx)


def weight_grad(x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray) -> None:
    """Write the gradient to the weight into dw, of w's shape. x (N, C, H, W), g (N, O, Ho, Wo)."""
    c, o = x.shape[1], g.shape[1]
    groups = geometry.groups
    kh, kw = geometry.kernel
    shape = (groups, kw * c // groups, o // groups)

    def work(piece: Piece, total: np.ndarray) -> None:
        part = g[piece.images, :, piece.rows]
        n, _, ho, wo = part.shape
        columns = shifted_rows(x[piece.images, :, piece.seen], piece.geometry, ho, wo)
        part = part.reshape(n, groups, o // groups, ho * wo).swapaxes(2, 3)
        if o // groups >= WORTH_TRANSPOSING and not _collide(g):
            copy = scratch("transposed", part.shape, g.dtype)
            copy[...] = part
            part = copy
        product = scratch("product", (n, *shape), x.dtype)
        for a in range(kh):
            run = columns[..., run_of_tap(piece.geometry, a, ho, wo)]
            total[a] += np.matmul(run, part, out=product).sum(0)

    total = sum_of_pieces(_cut(x, g, geometry), (kh, *shape), x.dtype, work)
    total = total.reshape(kh, groups, kw, c // groups, o // groups)
    by_group = dw.reshape(groups, o // groups, c // groups, kh, kw)
    by_group[...] = total.transpose(1, 4, 3, 0, 2)


def _collide(g: np.ndarray) -> bool:
    """Whether a pixel of all planes falls into the same set of the first-level cache.

    Sets repeat every 4 kB; a transposed copy would then push out each line before it is used up.
    """
    return g.strides[1] % 4096 == 0
