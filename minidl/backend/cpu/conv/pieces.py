"""Cutting a convolution into pieces that fit the cache.

A piece is a range of images or, where one image is too much, a band of its output rows. The
columns of a piece are built, multiplied and forgotten while they are still in the cache, and
memory does not grow with the batch. Pieces are also what threads share out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...geometry import ConvGeometry
from ..threads import get_num_threads, parallel

__all__ = ["PIECE_BYTES", "Band", "Piece", "cut", "each_piece", "rows_that_fit", "sum_of_pieces"]

PIECE_BYTES = 1536 * 1024  # scratch of a piece; measured with a second-level cache of 1 MB


class Band(NamedTuple):
    """A range of output rows, with the input rows these see.

    Attributes:
        rows: slice of the output's rows.
        seen: slice of the input's rows under the windows of `rows`.
        geometry: the convolution from `seen` to `rows`: its vertical padding is that of the band.
    """

    rows: slice
    seen: slice
    geometry: ConvGeometry


class Piece(NamedTuple):
    """A range of images and a band of their rows; see `Band`."""

    images: slice
    rows: slice
    seen: slice
    geometry: ConvGeometry


def cut_rows(height: int, rows: int, geometry: ConvGeometry, most: int) -> list[Band]:
    """Bands of at most `most` output rows that cover `rows` of them, on `height` input rows."""
    top = geometry.padding[0][0]
    bands = []
    for begin in range(0, rows, most):
        end = min(begin + most, rows)
        first = begin * geometry.stride[0] - top
        last = (end - 1) * geometry.stride[0] - top + geometry.span[0]
        low = min(max(first, 0), height)
        high = min(max(last, low), height)
        padding = ((low - first, last - high), geometry.padding[1])
        bands.append(Band(slice(begin, end), slice(low, high), replace(geometry, padding=padding)))
    return bands


def cut(
    batch: int,
    height: int,
    rows: int,
    geometry: ConvGeometry,
    fitting: int,
    multiple: int = 1,
) -> list[Piece]:
    """Pieces that cover `batch` images of `height` rows and `rows` rows of output.

    Args:
        fitting: output rows in a piece, of one or several images; see `rows_that_fit`.
        multiple: bands begin at multiples of this row.
    """
    return _cut(batch, height, rows, geometry, fitting, multiple, get_num_threads())


@lru_cache(maxsize=256)  # a network asks for the same few again and again
def _cut(
    batch: int,
    height: int,
    rows: int,
    geometry: ConvGeometry,
    fitting: int,
    multiple: int,
    threads: int,
) -> list[Piece]:
    if fitting >= rows:
        images = fitting // rows
        if threads > 1:
            # A few pieces for each thread, so that all end at about the same time; but none so
            # small that waking a thread takes longer than the work.
            images = min(images, max(-(-batch // (2 * threads)), fitting // (16 * rows), 1))
        most = rows
    else:
        images = 1
        most = -(-rows // -(-rows // fitting))  # bands of about the same height
    bands = cut_rows(height, rows, geometry, most + -most % multiple)
    return [
        Piece(slice(first, min(first + images, batch)), *band)
        for first in range(0, batch, images)
        for band in bands
    ]


def rows_that_fit(row_bytes: int) -> int:
    """How many output rows of one image fit the cache, when each takes so much scratch memory."""
    return max(1, PIECE_BYTES // max(1, row_bytes))


def each_piece(pieces: list[Piece], work: Callable[[Piece], None]) -> None:
    """Call `work(piece)` for every piece, on all threads."""
    parallel(lambda index: work(pieces[index]), len(pieces))


def sum_of_pieces(
    pieces: list[Piece],
    shape: tuple[int, ...],
    dtype: np.dtype,
    work: Callable[[Piece, np.ndarray], None],
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
