"""Cutting a convolution into pieces that fit the cache.

A piece is a range of images or, where one image is too much, a band of its output rows. The
columns of a piece are built, multiplied and forgotten while they are still in the cache, and
memory does not grow with the batch. Pieces are also what threads share out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ...geometry import ConvGeometry
from ..threads import get_num_threads, parallel

__all__ = ["PIECE_BYTES", "Piece", "cut", "each_piece", "sum_of_pieces"]

PIECE_BYTES = 768 * 1024  # columns of a piece; measured, for a second-level cache of 1 to 2 MB


class Piece(NamedTuple):
    """A range of images and of output rows, with the input rows these see.

    Attributes:
        images: slice of the batch.
        rows: slice of the output's rows.
        seen: slice of the input's rows under the windows of `rows`.
        geometry: the convolution from `seen` to `rows`: its vertical padding is that of the band.
    """

    images: slice
    rows: slice
    seen: slice
    geometry: ConvGeometry


def cut(
    batch: int, height: int, rows: int, geometry: ConvGeometry, row_bytes: int
) -> list[Piece]:
    """Pieces that cover `batch` images of `height` rows and `rows` rows of output.

    Args:
        row_bytes: bytes of scratch memory that one output row of one image takes.
    """
    threads = get_num_threads()
    fitting = max(1, PIECE_BYTES // max(1, row_bytes))  # rows in a piece
    if fitting >= rows:
        images = max(1, fitting // max(1, rows))
        if threads > 1:  # a few pieces for each thread, so that all end at about the same time
            images = min(images, -(-batch // (2 * threads)))
        bands = 1
    else:
        images = 1
        bands = -(-rows // fitting)
    pieces = []
    for first in range(0, batch, images):
        for band in range(bands):
            begin, end = rows * band // bands, rows * (band + 1) // bands
            seen, sub = _band(geometry, height, begin, end)
            pieces.append(
                Piece(slice(first, min(first + images, batch)), slice(begin, end), seen, sub)
            )
    return pieces


def _band(geometry: ConvGeometry, height: int, begin: int, end: int) -> tuple[slice, ConvGeometry]:
    """The input rows that output rows begin..end see, and the geometry between the two."""
    top = geometry.padding[0][0]
    first = begin * geometry.stride[0] - top
    last = (end - 1) * geometry.stride[0] - top + geometry.span[0]
    low = min(max(first, 0), height)
    high = min(max(last, low), height)
    padding = ((low - first, last - high), geometry.padding[1])
    return slice(low, high), replace(geometry, padding=padding)


def each_piece(pieces: list[Piece], work: Callable[[Piece], None]) -> None:
    """Call `work(piece)` for every piece, on all threads."""
    parallel(lambda index: work(pieces[index]), len(pieces))


def sum_of_pieces(
    pieces: list[Piece], shape: tuple[int, ...], dtype: np.dtype, work: Callable
) -> np.ndarray:
    """The sum over all pieces of what `work(piece, total)` adds to `total`, of `shape`.

    Every thread takes a fixed range of the pieces and adds them up in order, so that the result
    is the same, bit for bit, whenever the number of threads is.
    """
    strands = max(1, min(get_num_threads(), len(pieces)))
    totals = np.zeros((strands, *shape), dtype)

    def strand(index: int) -> None:
        begin, end = len(pieces) * index // strands, len(pieces) * (index + 1) // strands
        for piece in pieces[begin:end]:
            work(piece, totals[index])

    parallel(strand, strands)
    return totals[0] if strands == 1 else totals.sum(0)
