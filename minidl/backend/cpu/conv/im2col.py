"""Convolution as one matrix product (im2col), in pieces that fit the cache.

Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document
Processing", 2006.

Every window becomes a column of kh * kw * C numbers; the kernel becomes a matrix with a row for
each filter. With P = Ho * Wo windows an image:

    y       =  W (O, kh kw C)  @  columns (kh kw C, P)
    dW^T    =  columns         @  g (O, P)^T
    columns' gradient = W^T @ g,  added up where windows overlap (col2im): the gradient to x

On small maps a single image gives too narrow a matrix: there, the columns of all images of a piece
lie side by side and are multiplied at once.
"""

from __future__ import annotations

import numpy as np

from ...geometry import ConvGeometry
from ..workspace import scratch, scratch_with_zeros
from .columns import run_of_tap, shifted_rows
from .pieces import Piece, cut, each_piece, sum_of_pieces

__all__ = ["forward", "input_grad", "supports", "weight_grad"]

# Below this many windows an image, images are multiplied together. Measured.
SMALL_MAP = 64


def supports(face: str, geometry: ConvGeometry) -> bool:
    return True


def forward(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, y: np.ndarray
) -> None:
    """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, C/G, kh, kw), y (N, O, Ho, Wo)."""
    matrix = _matrix(w, geometry)

    def work(piece: Piece) -> None:
        out = y[piece.images, :, piece.rows]
        columns = _columns(x[piece.images, :, piece.seen], piece.geometry, out.shape)
        shape = _grouped(out.shape, geometry)
        if out.flags.c_contiguous and _by_image(out.shape):
            total = np.matmul(matrix, columns, out=out.reshape(shape))
        else:
            total = _empty("product", shape, out.dtype)
            np.matmul(matrix, _as_matrices(columns), out=_as_matrices(total))
        if bias is not None:
            total += bias.reshape(shape[1], shape[2], 1)
        if not np.may_share_memory(total, out):
            out[...] = total.reshape(out.shape)

    each_piece(_cut(x, y, geometry), work)


def input_grad(g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray) -> None:
    """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, C/G, kh, kw)."""
