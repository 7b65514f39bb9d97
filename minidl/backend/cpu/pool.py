"""Max-pooling on the CPU: whole rows against whole rows, then columns, in pieces of the batch.

A window's maximum is the maximum over its columns of the maxima over its rows, so that k x k taps
take 2 (k - 1) passes, the first ones over contiguous rows. Where the maximum was is found by
comparing the taps with it, one after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry import ConvGeometry
from ..plain.pool import PoolKernels, index_dtype, lowest
from .planes import for_planes
from .workspace import scratch

__all__ = ["CpuPoolKernels"]

WIDE = 36  # taps; windows of so many that lie side by side are searched one by one


class CpuPoolKernels(PoolKernels):
    """Max-pooling, gather and scatter for NumPy."""

    def max_pool(self, x: Any, geometry: ConvGeometry, indices: bool) -> tuple[Any, Any]:
        count, height, width = x.shape
        rows, columns = geometry.output_size((height, width))
        values = np.empty((count, rows, columns), x.dtype)
        places = np.empty(values.shape, index_dtype(height * width)) if indices else None
        offsets, corners = _numbers(geometry, values.shape[1:], width, index_dtype(height * width))
        search = _search_tiles if _wide_tiles(geometry) else _search_taps
        plain, least = super().max_pool, lowest(x.dtype)

        def work(piece: slice) -> None:
            tap = search(x[piece], geometry, values[piece], indices)
            if places is None or tap is None:
                return
            if (values[piece] > least).all():
                np.take(offsets, tap, out=places[piece], mode="clip")
                places[piece] += corners
            else:  # NaN equals nothing, and -inf equals the padding: with more care
                values[piece], places[piece] = plain(x[piece], geometry, True)

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
            # One flat index into a flat array of the same dtype: the fast path of add.at, 0.7 ns
            # each (NumPy 1.25). It keeps the interpreter's lock.
            np.add.at(out[piece].reshape(-1), flat.reshape(-1), values.reshape(-1))

        for_planes(work, count, max(x.itemsize * size, 8 * indices.shape[1]), threads=False)
        return out

    def unique_indices(self, indices: Any, size: int) -> Any:
        count, each = indices.shape
        out = np.empty(indices.shape, index_dtype(size))

        def work(piece: slice) -> None:
            flat, _ = _flat(indices[piece], size)
            order = np.arange(flat.size, dtype=index_dtype(flat.size)).reshape(flat.shape)
            owner = np.empty(len(flat) * size, order.dtype)  # read only where it is written
            owner[flat] = order
            out[piece] = indices[piece]
            lost = owner[flat] != order
            if lost.any():
                out[piece][lost] = -1

        for_planes(work, count, 8 * max(size, each))
        return out


def _numbers(
    geometry: ConvGeometry, outputs: tuple[int, int], width: int, dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The place of each tap from its window's corner, and of the corners, in the flat plane."""
    (kh, kw), (sh, sw), (dh, dw) = geometry.kernel, geometry.stride, geometry.dilation
    (top, _), (left, _) = geometry.padding
    taps = np.arange(kh)[:, None] * (dh * width) + np.arange(kw) * dw
    down = (np.arange(outputs[0]) * sh - top) * width
    corners = down[:, None] + (np.arange(outputs[1]) * sw - left)
    return taps.reshape(-1).astype(dtype), corners.astype(dtype)


def _search_taps(
    x: np.ndarray, geometry: ConvGeometry, best: np.ndarray, indices: bool
) -> np.ndarray | None:
    """Write the maxima of all windows to `best`; return the number of the first tap that has it."""
    (kh, kw), (sh, sw), (dh, dw) = geometry.kernel, geometry.stride, geometry.dilation
    rows, columns = best.shape[1:]
    below = [slice(a * dh, a * dh + (rows - 1) * sh + 1, sh) for a in range(kh)]
    beside = [slice(b * dw, b * dw + (columns - 1) * sw + 1, sw) for b in range(kw)]
    x = _pad(x, geometry)
    tall = scratch("pool rows", (len(x), rows, x.shape[2]), x.dtype)
    _maximum([x[:, row] for row in below], tall)
    _maximum([tall[:, :, column] for column in beside], best)
    if not indices:
        return None
    taps = [x[:, row, column] for row in below for column in beside]
    # A tap's number is how many were passed over before it.
    number = scratch("pool taps", best.shape, np.min_scalar_type(len(taps)))
    passed = scratch("pool passed", best.shape, np.bool_)
    other = scratch("pool other", best.shape, np.bool_)
    number.fill(0)
    passed.fill(True)
    for tap in taps[:-1]:
        np.not_equal(tap, best, out=other)
        passed &= other
        number += passed.view(np.uint8)
    return number


def _pad(x: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    if geometry.padding == ((0, 0), (0, 0)):
        return x
    (top, _), (left, _) = geometry.padding
    count, height, width = x.shape
    size = geometry.padded_size((height, width))
    padded = scratch("pool padded", (count, *size), x.dtype)
    padded.fill(lowest(x.dtype))
    padded[:, top : top + height, left : left + width] = x
    return padded


def _maximum(arrays: list[np.ndarray], out: np.ndarray) -> None:
    """Write the elementwise maximum of arrays to `out`."""
    if len(arrays) == 1:
        out[...] = arrays[0]
        return
    np.maximum(arrays[0], arrays[1], out=out)
    for array in arrays[2:]:
        np.maximum(out, array, out=out)


def _wide_tiles(geometry: ConvGeometry) -> bool:
    return (
        geometry.kernel == geometry.stride
        and geometry.dilation == (1, 1)
        and geometry.padding == ((0, 0), (0, 0))
        and geometry.kernel[0] * geometry.kernel[1] >= WIDE
    )


def _search_tiles(
    x: np.ndarray, geometry: ConvGeometry, best: np.ndarray, indices: bool
) -> np.ndarray | None:
    """`_search_taps` for large windows side by side, as in global pooling: each one in one row."""
    (kh, kw), (rows, columns) = geometry.kernel, best.shape[1:]
    tiles = x[:, : rows * kh, : columns * kw].reshape(len(x), rows, kh, columns, kw)
    windows = tiles.transpose(0, 1, 3, 2, 4).reshape(*best.shape, kh * kw)
    windows.max(axis=-1, out=best)
    return windows.argmax(axis=-1) if indices else None


def _flat(indices: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Indices into the stack of planes laid end to end, and where there are none (or None)."""
    flat = scratch("pool flat", indices.shape, np.intp)
    np.add(indices, np.arange(len(indices))[:, None] * size, out=flat)
    if indices.size and indices.min() < 0:
        nowhere = indices < 0
        flat[nowhere] = 0
        return flat, nowhere
    return flat, None
