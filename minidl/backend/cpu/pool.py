"""Max-pooling on the CPU: whole rows against whole rows, then columns, in pieces of the batch.

A window's maximum is the maximum over columns of the maxima over rows, so that a k x k window
takes 2 (k - 1) passes, the first ones over contiguous rows. Where the maximum was is then found by
comparing for equality in the same two steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry import ConvGeometry
from ..plain.pool import PoolKernels, index_dtype, lowest
from .planes import for_planes

__all__ = ["CpuPoolKernels"]


class CpuPoolKernels(PoolKernels):
    """Max-pooling, gather and scatter for NumPy."""

    def max_pool(self, x: Any, geometry: ConvGeometry, indices: bool) -> tuple[Any, Any]:
        count, height, width = x.shape
        rows, columns = geometry.output_size((height, width))
        values = np.empty((count, rows, columns), x.dtype)
        places = np.empty(values.shape, index_dtype(height * width)) if indices else None
        least = lowest(x.dtype)
        plain = super().max_pool

        def work(piece: slice) -> None:
            block, best = x[piece], values[piece]
            padded = _pad(block, geometry, least)
            tall = _max_of_rows(padded, geometry, rows)
            _max_of_columns(tall, geometry, best)
            if places is None:
                return
            if (best > least).all():
                _find(padded, tall, best, geometry, width, places[piece])
            else:  # NaN equals nothing, and -inf equals the padding: one by one
                values[piece], places[piece] = plain(block, geometry, True)

        for_planes(work, count, height * width * x.itemsize)
        return values, places

    def pool_gather(self, x: Any, indices: Any) -> Any:
        count, size = x.shape
        out = np.empty(indices.shape, x.dtype)

        def work(piece: slice) -> None:
            flat, nowhere = _flat(indices[piece], size)
            np.take(x[piece].reshape(-1), flat, out=out[piece], mode="clip")
            if nowhere is not None:
                out[piece][nowhere] = 0

        for_planes(work, count, max(x.itemsize * size, 8 * indices.shape[1]))
        return out

    def pool_scatter(self, x: Any, indices: Any, size: int) -> Any:
        count = len(x)
        out = np.zeros((count, size), x.dtype)

        def work(piece: slice) -> None:
            flat, nowhere = _flat(indices[piece], size)
            values = x[piece]
            if nowhere is not None:
                values = values.copy()
                values[nowhere] = 0
            # One flat index into a flat array of the same dtype: add.at's fast path, 0.7 ns each.
            np.add.at(out[piece].reshape(-1), flat.reshape(-1), values.reshape(-1))

        for_planes(work, count, max(x.itemsize * size, 8 * indices.shape[1]))
        return out


def _pad(x: np.ndarray, geometry: ConvGeometry, least: float | int) -> np.ndarray:
    if geometry.padding == ((0, 0), (0, 0)):
        return x
    (top, _), (left, _) = geometry.padding
    count, height, width = x.shape
    padded = np.full((count, *geometry.padded_size((height, width))), least, x.dtype)
    padded[:, top : top + height, left : left + width] = x
    return padded


def _row_taps(padded: np.ndarray, geometry: ConvGeometry, rows: int) -> list[np.ndarray]:
    """For each row of the window: that row of all windows, (P, rows, W)."""
    step, apart = geometry.stride[0], geometry.dilation[0]
    starts = [a * apart for a in range(geometry.kernel[0])]
    return [padded[:, start : start + (rows - 1) * step + 1 : step] for start in starts]


def _column_taps(tall: np.ndarray, geometry: ConvGeometry, columns: int) -> list[np.ndarray]:
    """For each column of the window: that column of all windows, (P, H, columns)."""
    step, apart = geometry.stride[1], geometry.dilation[1]
    starts = [b * apart for b in range(geometry.kernel[1])]
    return [tall[:, :, start : start + (columns - 1) * step + 1 : step] for start in starts]


def _max_of_rows(padded: np.ndarray, geometry: ConvGeometry, rows: int) -> np.ndarray:
    first, *others = _row_taps(padded, geometry, rows)
    if not others:
        return first
    tall = np.maximum(first, others[0])
    for tap in others[1:]:
        np.maximum(tall, tap, out=tall)
    return tall


def _max_of_columns(tall: np.ndarray, geometry: ConvGeometry, out: np.ndarray) -> None:
    first, *others = _column_taps(tall, geometry, out.shape[2])
    if not others:
        out[...] = first
        return
    np.maximum(first, others[0], out=out)
    for tap in others[1:]:
        np.maximum(out, tap, out=out)


def _find(
    padded: np.ndarray,
    tall: np.ndarray,
    best: np.ndarray,
    geometry: ConvGeometry,
    width: int,
    places: np.ndarray,
) -> None:
    """Write to `places` where in the plane the first element equal to `best` is, in reading order.

    Args:
        padded: the planes; without NaN, and `best` above the padding.
        tall: the maxima over the rows of each window, for every column.
        best: the maxima of the windows.
        width: of the planes before padding.
    """
    (kh, kw), (sh, sw), (dh, dw) = geometry.kernel, geometry.stride, geometry.dilation
    (top, _), (left, _) = geometry.padding
    rows, columns = best.shape[1:]
    code = np.min_scalar_type(kh * kw)  # taps are numbered in reading order; the last means none

    # The first row of the window that holds its column's maximum: as many as were missed before.
    row_taps = _row_taps(padded, geometry, rows)
    first = np.zeros(tall.shape, code)
    missed = True
    for tap in row_taps[:-1]:
        missed = (tap != tall) & missed
        first += missed
    first *= kw

    # Of the columns whose maximum is the window's, the one whose tap comes first in reading order.
    tap_number = np.full(best.shape, -1, np.int64).astype(code)
    for b, (column, of_column) in enumerate(
        zip(_column_taps(tall, geometry, columns), _column_taps(first, geometry, columns), strict=True)
    ):
        other = (column != best).astype(code)
        np.negative(other, out=other)  # all bits set where this column is out of the question
        other |= of_column + code.type(b)
        np.minimum(tap_number, other, out=tap_number)

    offsets = (np.arange(kh)[:, None] * (dh * width) + np.arange(kw) * dw).astype(places.dtype)
    corners = (np.arange(rows)[:, None] * sh - top) * width + (np.arange(columns) * sw - left)
    np.take(offsets.reshape(-1), tap_number, out=places, mode="clip")
    places += corners.astype(places.dtype)


def _flat(indices: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Indices into the stack of planes laid end to end, and where there are none (or None)."""
    starts = np.arange(len(indices))[:, None] * size
    if indices.size and indices.min() < 0:
        return np.maximum(indices, 0) + starts, indices < 0
    return indices + starts, None
