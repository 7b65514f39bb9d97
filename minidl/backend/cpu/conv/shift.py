"""Convolution as a sum of 1 x 1 convolutions of the shifted image (kn2row).

Vasudevan, Anderson and Gregg, "Parallel Multi Channel Convolution using General Matrix
Multiplication", 2017.

Write each plane of the padded image as one long row of memory. Where tap (0, 0) finds the pixels of
all windows, tap (a, b) finds its own a rows and b pixels further on: the same memory again, read
from another place. So nothing needs copying but the padding:

    y        = sum over (a, b) of  W[a, b] (O, C)  @  image (C, from (a, b) on)
    dW[a, b] = image (C, from (a, b) on)  @  g (O, -)^T

The price is a product for each tap, thin where there are few channels, their sum, and the windows
that run over the right edge into the next row: they are computed and dropped. A stride would drop
most windows, so that there is none; in the gradient to the input, phases.py takes strides apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...geometry import ConvGeometry, windows_on_image
from ..workspace import scratch, scratch_with_zeros
from .phases import input_grad_by_phases
from .pieces import Piece, cut, each_piece, rows_that_fit, sum_of_pieces

__all__ = ["flat_taps", "forward", "input_grad", "padded_planes", "supports", "weight_grad"]


def supports(face: str, geometry: ConvGeometry, channels: int) -> bool:
    return face == "input_grad" or geometry.stride == (1, 1)


def forward(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, y: np.ndarray
) -> None:
    """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, C/G, kh, kw), y (N, O, Ho, Wo)."""
    groups = geometry.groups
    filters = w.shape[0] // groups
    # One matrix (O/G, C/G) for each tap and group.
    matrices = w.reshape(groups, filters, *w.shape[1:]).transpose(3, 4, 0, 1, 2).copy()

    def work(piece: Piece) -> None:
        out = y[piece.images, :, piece.rows]
        n, _, ho, wo = out.shape
        image, pitch = padded_planes(x[piece.images, :, piece.seen], piece.geometry)
        image = image.reshape(n, groups, -1, image.shape[2])
        length = (ho - 1) * pitch + wo
        rows = scratch("total", (n, groups, filters, ho * pitch), y.dtype)
        total = rows[..., :length]
        for a, b, start in flat_taps(geometry, pitch):
            run = image[..., start : start + length]
            if start == 0:
                np.matmul(matrices[a, b], run, out=total)
            else:
                product = scratch("product", total.shape, y.dtype)
                total += np.matmul(matrices[a, b], run, out=product)
        found = rows.reshape(n, -1, ho, pitch)[..., :wo]
        if bias is None:
            out[...] = found
        else:
            np.add(found, bias[:, None, None], out=out)

    each_piece(_cut(x, y, geometry), work)


def input_grad(g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray) -> None:
    """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, C/G, kh, kw)."""
    input_grad_by_phases(forward, g, w, geometry, dx)


def weight_grad(x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray) -> None:
    """Write the gradient to the weight into dw, of w's shape. x (N, C, H, W), g (N, O, Ho, Wo)."""
    c, o = x.shape[1], g.shape[1]
    groups = geometry.groups
    shape = (*geometry.kernel, groups, c // groups, o // groups)

    def work(piece: Piece, total: np.ndarray) -> None:
        part = g[piece.images, :, piece.rows]
        n, _, ho, wo = part.shape
        image, pitch = padded_planes(x[piece.images, :, piece.seen], piece.geometry)
        image = image.reshape(n, groups, -1, image.shape[2])
        length = (ho - 1) * pitch + wo
        gradient = scratch_with_zeros("gradient", (n, o, ho, pitch), g.dtype, wo)
        gradient[..., :wo] = part
        gradient = gradient.reshape(n, groups, o // groups, -1)[..., :length].swapaxes(2, 3)
        product = scratch("product", (n, *shape[2:]), x.dtype)
        for a, b, start in flat_taps(geometry, pitch):
            run = image[..., start : start + length]
            total[a, b] += np.matmul(run, gradient, out=product).sum(0)

    total = sum_of_pieces(_cut(x, g, geometry), shape, x.dtype, work)
    by_group = dw.reshape(groups, o // groups, c // groups, *geometry.kernel)
    by_group[...] = total.transpose(2, 4, 3, 0, 1)


def _cut(x: np.ndarray, y: np.ndarray, geometry: ConvGeometry) -> list[Piece]:
    row = (x.shape[1] + 2 * y.shape[1]) * (y.shape[3] + geometry.span[1] - 1)
    return cut(len(x), x.shape[2], y.shape[2], geometry, rows_that_fit(row * x.itemsize))


def padded_planes(x: np.ndarray, geometry: ConvGeometry) -> tuple[np.ndarray, int]:
    """(N, C, padded H W) of scratch memory with the padded image, and its width."""
    n, c, h, w = x.shape
    (top, _), (left, _) = geometry.padding
    height, width = geometry.padded_size((h, w))
    padded = scratch_with_zeros("padded", (n, c, height, width), x.dtype, (top, left, h, w))
    to_rows, of_rows = windows_on_image(-top, 1, h, height)
    to_columns, of_columns = windows_on_image(-left, 1, w, width)
    padded[:, :, to_rows, to_columns] = x[:, :, of_rows, of_columns]
    return padded.reshape(n, c, height * width), width


def flat_taps(geometry: ConvGeometry, pitch: int) -> Iterator[tuple[int, int, int]]:
    """(a, b, place of the first pixel it finds) for every tap."""
    for a in range(geometry.kernel[0]):
        for b in range(geometry.kernel[1]):
            yield a, b, a * geometry.dilation[0] * pitch + b * geometry.dilation[1]
