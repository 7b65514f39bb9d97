"""RoIAlign, its adjoint and RoIPool on the CPU: box after box, with the channels side by side.

With channels last, a box's rows of the map are one matrix (rows, columns C) whose product with A_y
is a single call, and so is the product of its columns with A_x. Only the pixels under the
box take part. Maps are worked on in pieces of some channels of one image, spread over the threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..plain.pool import index_dtype
from ..plain.roi import RoiKernels
from ..roi_grid import RoiGrid, align_span, align_weights, pool_windows
from .threads import parallel
from .workspace import scratch

__all__ = ["CpuRoiKernels"]

CHANNELS = 64  # of a piece: rows of this length fill vector registers, and maps stay in the cache


class CpuRoiKernels(RoiKernels):
    """RoI kernels for NumPy."""

    def roi_align(self, x: Any, rois: Any, grid: RoiGrid) -> Any:
        out = np.zeros((len(rois), x.shape[1], *grid.bins), x.dtype)
        if out.size == 0:
            return out
        rows, columns = [_Span(rois, axis, grid, x.shape[2 + axis]) for axis in (0, 1)]

        def work(n: int, channels: slice, boxes: Any) -> None:
            image = _channels_last(x[n, channels], rois.dtype)
            for k in boxes:
                crop = image[rows.of(k), columns.of(k)]  # (h, w, C)
                h, w, c = crop.shape
                mixed = np.matmul(rows.weights[k, :, :h], crop.reshape(h, w * c))
                mixed = np.matmul(columns.weights[k, :, :w], mixed.reshape(-1, w, c))
                out[k, channels] = mixed.transpose(2, 0, 1)

        _for_pieces(work, x.shape, rois)
        return out

    def roi_align_adjoint(
        self, grad: Any, rois: Any, grid: RoiGrid, shape: tuple[int, int, int, int]
    ) -> Any:
        out = np.zeros(shape, grad.dtype)
        if out.size == 0 or grad.size == 0:
            return out
        rows, columns = [_Span(rois, axis, grid, shape[2 + axis]) for axis in (0, 1)]

        def work(n: int, channels: slice, boxes: Any) -> None:
            c = channels.stop - channels.start
            image = scratch("roi", (*shape[2:], c), rois.dtype)
            image.fill(0)
            for k in boxes:
                crop = image[rows.of(k), columns.of(k)]
                h, w, _ = crop.shape
                bins = np.ascontiguousarray(grad[k, channels].transpose(1, 2, 0), rois.dtype)
                spread = np.matmul(columns.weights[k, :, :w].T, bins)  # (ph, w, C)
                spread = np.matmul(rows.weights[k, :, :h].T, spread.reshape(-1, w * c))
                crop += spread.reshape(h, w, c)
            out[n, channels] = image.transpose(2, 0, 1)

        _for_pieces(work, shape, rois)
        return out

    def roi_pool(self, x: Any, rois: Any, grid: RoiGrid, indices: bool) -> tuple[Any, Any]:
        _, channels, height, width = x.shape
        values = np.zeros((len(rois), channels, *grid.bins), x.dtype)
        places = np.full(values.shape, -1, index_dtype(x.size)) if indices else None
        if values.size == 0:
            return values, places
        windows = [pool_windows(np, rois, axis, grid, x.shape[2 + axis], True) for axis in (0, 1)]
        # (start or stop, K, bins); a window of a box with a NaN is empty.
        rows, columns = [np.nan_to_num(np.stack(window)).astype(np.intp) for window in windows]

        def work(n: int, part: slice, boxes: Any) -> None:
            image = _channels_last(x[n, part], x.dtype)
            nans = bool(np.isnan(image.max()))
            base = (n * channels + np.arange(part.start, part.stop)) * (height * width)
            for k in boxes:
                (tops, bottoms), (lefts, rights) = rows[:, k], columns[:, k]
                top, bottom = tops.min(), bottoms.max()
                used = np.flatnonzero(lefts < rights)  # these are neighbours
                if top >= bottom or not used.size:
                    continue
                # First the columns of each bin in all rows of the box, then the rows of each bin.
                across = slice(used[0], used[-1] + 1)
                best = np.empty((bottom - top, used.size, len(base)), x.dtype)
                column = np.empty(best.shape, np.int64)
                for j, (left, right) in enumerate(zip(lefts[used], rights[used], strict=True)):
                    taps = image[top:bottom, left:right].transpose(1, 0, 2)
                    best[:, j], place = _largest(taps, indices, nans)
                    column[:, j] = left + place
                for i, (first, last) in enumerate(zip(tops - top, bottoms - top, strict=True)):
                    if first >= last:
                        continue
                    value, row = _largest(best[first:last], indices, nans)
                    values[k, part, i, across] = value.T
                    if places is not None:
                        beside = np.take_along_axis(column[first:last], row[None], axis=0)[0]
                        pixel = (top + first + row) * width + beside
                        places[k, part, i, across] = base[:, None] + pixel.T

        _for_pieces(work, x.shape, rois)
        return values, places


class _Span:
    """The pixels that each box touches along one axis, and their weights in its bins."""

    def __init__(self, rois: np.ndarray, axis: int, grid: RoiGrid, size: int) -> None:
        start, length = align_span(np, rois, axis, grid)
        stop = start + length
        # Samples lie between start and stop, whichever is first, each between two pixels. A box
        # with a NaN keeps one pixel, to give NaN.
        low, high = np.floor(np.minimum(start, stop)), np.floor(np.maximum(start, stop)) + 2.0
        self.low = np.nan_to_num(low).clip(0, size - 1).astype(np.intp)
        self.high = np.maximum(np.nan_to_num(high).clip(0, size).astype(np.intp), self.low + 1)
        longest = np.arange((self.high - self.low).max(), dtype=rois.dtype)
        pixels = self.low[:, None, None].astype(rois.dtype) + longest
        self.weights = align_weights(np, rois, axis, grid, pixels, size)  # (K, bins, longest)

    def of(self, k: int) -> slice:
        return slice(self.low[k], self.high[k])


def _channels_last(planes: np.ndarray, dtype: Any) -> np.ndarray:
    """(C, H, W) as (H, W, C), contiguous, in scratch memory."""
    c, height, width = planes.shape
    image = scratch("roi", (height, width, c), dtype)
    image[...] = planes.transpose(1, 2, 0)
    return image


def _largest(taps: np.ndarray, indices: bool, nans: bool) -> tuple[np.ndarray, np.ndarray]:
    """The largest of `taps` along the first axis, and the first one that is it, or is NaN."""
    best, place = taps[0].copy(), np.zeros(taps.shape[1:], np.int16)
    for t in range(1, len(taps)):
        if indices:  # t rises, so the largest t is that of the last improvement
            better = taps[t] > best
            if nans:
                better |= np.isnan(taps[t]) & ~np.isnan(best)
            np.maximum(place, better * np.int16(t), out=place)
        np.maximum(best, taps[t], out=best)
    return best, place.astype(np.intp)


def _for_pieces(
    work: Callable[[int, slice, Any], None], shape: tuple[int, ...], rois: np.ndarray
) -> None:
    """Call `work(n, channels, boxes)` for the images that have boxes, some channels at a time."""
    images, channels = shape[:2]
    boxes = [np.flatnonzero(rois[:, 0] == n).tolist() for n in range(images)]
    pieces = [
        (n, slice(start, min(start + CHANNELS, channels)), boxes[n])
        for n in range(images)
        for start in range(0, channels, CHANNELS)
        if boxes[n]
    ]
    parallel(lambda i: work(*pieces[i]), len(pieces))
