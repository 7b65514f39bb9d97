"""Depthwise convolution as products with a banded matrix.

Sifre, "Rigid-Motion Scattering For Image Classification", 2014; Howard et al., "MobileNets", 2017.

Each channel has a kernel of its own, so there is no sum over channels for a matrix product to
take over, and in NumPy every tap of the kernel would be a pass over memory. But sliding a kernel
along a row of pixels is itself a matrix product: with a banded (Toeplitz) matrix T that has the
kernel in every column, one stride further down from column to column.

    y (N, rows Wo)  =  x (N, seen W)  @  T (seen W, rows Wo)        for each channel and band

A band is a few rows of the result, `seen` are the rows of the source under it. Most of T is zero,
most of the arithmetic is wasted, and BLAS is faster nevertheless. Images are read and written in
place: a band of a channel is one run of memory in each of them. Padding is what T leaves out.

Backwards, dx is g times a matrix of the same kind, the transposed one, cut into bands of dx. The
gradient to T is x^T @ g, and that to a tap of the kernel is the sum over its places in T.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...geometry import ConvGeometry
from ..threads import get_num_threads, parallel
from ..workspace import scratch
from .columns import has_whole_rows
from .pieces import PIECE_BYTES

__all__ = ["forward", "input_grad", "supports", "weight_grad"]

# Pixels of the result, of one image and channel, that a product should yield. Measured.
BAND_PIXELS = 32


def supports(face: str, geometry: ConvGeometry, channels: int) -> bool:
    return geometry.groups == channels > 1


def forward(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, y: np.ndarray
) -> None:
    """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, 1, kh, kw), y (N, O, Ho, Wo)."""
    if not has_whole_rows(y):  # every other pixel of a gradient
        whole = np.empty(y.shape, y.dtype)
        forward(x, w, bias, geometry, whole)
        y[...] = whole
        return
    channels = x.shape[1]
    plan = _plan(geometry, x.shape[2:], y.shape[2:])
    x, y = _by_channel(x, channels), _by_channel(y, channels)
    kernels = w.reshape(channels, -1, *geometry.kernel)

    def work(chunk: slice) -> None:
        matrix = plan.matrix(kernels[chunk])
        for band in plan.bands:
            seen = _runs(x[:, chunk, :, band.seen])
            rows = _runs(y[:, chunk, :, band.rows])
            np.matmul(seen, plan.part(matrix, band), out=rows)
            if bias is not None:
                rows += bias.reshape(channels, -1, 1, 1)[chunk]

    _each_chunk(channels, x.nbytes + y.nbytes, work)


def input_grad(g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray) -> None:
    """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, 1, kh, kw)."""
    channels = dx.shape[1]
    plan = _plan(geometry, dx.shape[2:], g.shape[2:], backward=True)
    g, dx = _by_channel(g, channels), _by_channel(dx, channels)
    kernels = w.reshape(channels, -1, *geometry.kernel)

    def work(chunk: slice) -> None:
        matrix = plan.matrix(kernels[chunk])
        for band in plan.bands:
            seen = _runs(g[:, chunk, :, band.seen])
            rows = _runs(dx[:, chunk, :, band.rows])
            part = plan.part(matrix, band)
            np.matmul(seen[:, :1], part[:, :1], out=rows)
            for k in range(1, kernels.shape[1]):  # several filters to a channel add up
                product = scratch("product", rows.shape, g.dtype)
                rows += np.matmul(seen[:, k : k + 1], part[:, k : k + 1], out=product)

    _each_chunk(channels, g.nbytes + dx.nbytes, work)


def weight_grad(x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray) -> None:
    """Write the gradient to the weight into dw, of w's shape. x (N, C, H, W), g (N, O, Ho, Wo)."""
    channels = x.shape[1]
    plan = _plan(geometry, x.shape[2:], g.shape[2:])
    x, g = _by_channel(x, channels), _by_channel(g, channels)
    kernels = dw.reshape(channels, -1, *geometry.kernel)
    kernels[...] = 0

    def work(chunk: slice) -> None:
        # Products that sum over images want the images of a channel close together.
        images, gradients = _gathered("images", x[:, chunk]), _gathered("gradients", g[:, chunk])
        matrix = plan.matrix(kernels[chunk])
        for band in plan.bands:
            seen = _runs(images[:, :, :, band.seen]).swapaxes(2, 3)
            rows = _runs(gradients[:, :, :, band.rows])
            part = plan.part(matrix, band)
            part += np.matmul(seen, rows, out=scratch("product", part.shape, x.dtype))
        kernels[chunk] = plan.kernels(matrix)

    _each_chunk(channels, x.nbytes + g.nbytes, work)


class _Band(NamedTuple):
    """Rows of the result, the rows of the source they see, and how many of T's rows see padding."""

    rows: slice
    seen: slice
    skip: int


class _Plan:
    """The banded matrix of a convolution, or of its gradient to x, and the bands that use it.

    Args:
        image, output: the sizes of x (H, W) and of y (Ho, Wo).
        backward: whether the source is g and the result dx, instead of x and y.

    Attributes:
        bands: they cover the result.
        places: indices into T, flattened, that hold a tap of the kernel; the others are zero.
        taps: for each of `places`, the index a * kw + b of the tap it holds.
    """

    def __init__(
        self,
        geometry: ConvGeometry,
        image: tuple[int, int],
        output: tuple[int, int],
        backward: bool = False,
    ) -> None:
        self.geometry, self.backward = geometry, backward
        self.source, self.result = (output, image) if backward else (image, output)
        self.rows = min(self.result[0], -(-BAND_PIXELS // self.result[1]))
        if backward:
            self.rows += -self.rows % geometry.stride[0]  # bands begin at a multiple of the stride
        first, end = self._sees(0, self.rows)
        self.shape = (end - first, self.source[1], self.rows, self.result[1])
        self.bands = []
        for begin in range(0, self.result[0], self.rows):
            stop = min(begin + self.rows, self.result[0])
            first, end = self._sees(begin, stop)
            low = min(max(first, 0), self.source[0])
            high = max(low, min(end, self.source[0]))
            self.bands.append(_Band(slice(begin, stop), slice(low, high), low - first))
        self.places, self.taps = self._places()

    def _sees(self, begin: int, stop: int) -> tuple[int, int]:
        """The rows of the source, padding included, that rows begin..stop of the result see."""
        stride, span = self.geometry.stride[0], self.geometry.span[0]
        top = self.geometry.padding[0][0]
        if self.backward:
            return -((span - 1 - top - begin) // stride), (stop - 1 + top) // stride + 1
        return begin * stride - top, (stop - 1) * stride - top + span

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        index = np.arange(math.prod(self.shape)).reshape(self.shape)
        kh, kw = self.geometry.kernel
        places, taps = [], []
        for b in range(kw):
            if self.backward:
                source, result = self.geometry.tap(1, b, self.result[1], self.source[1])
            else:
                result, source = self.geometry.tap(1, b, self.source[1], self.result[1])
            for a in range(kh):
                for row, seen in self._meetings(a):
                    met = index[seen, source, row, result].diagonal()
                    places.append(met)
                    taps.append(np.full(len(met), a * kw + b))
        return np.concatenate(places), np.concatenate(taps)

    def _meetings(self, a: int) -> Iterator[tuple[int, int]]:
        """(row of the result, row of the source), within a band, that meet by vertical tap a."""
        stride, top = self.geometry.stride[0], self.geometry.padding[0][0]
        down = a * self.geometry.dilation[0] - top
        first, _ = self._sees(0, self.rows)
        for row in range(self.rows):
            if not self.backward:
                yield row, row * stride + down - first
            elif (row - down) % stride == 0:
                yield row, (row - down) // stride - first

    def matrix(self, kernels: np.ndarray) -> np.ndarray:
        """T for kernels (C, K, kh, kw): (C, K, source rows, source width, rows, width)."""
        c, k = kernels.shape[:2]
        matrix = np.zeros((c, k, math.prod(self.shape)), kernels.dtype)
        matrix[:, :, self.places] = kernels.reshape(c, k, -1)[:, :, self.taps]
        return matrix.reshape(c, k, *self.shape)

    def kernels(self, matrix: np.ndarray) -> np.ndarray:
        """The adjoint of `matrix`: for every tap the sum over its places."""
        c, k = matrix.shape[:2]
        kernel = self.geometry.kernel
        belongs = (self.taps[:, None] == np.arange(math.prod(kernel))).astype(matrix.dtype)
        return (matrix.reshape(c, k, -1)[:, :, self.places] @ belongs).reshape(c, k, *kernel)

    def part(self, matrix: np.ndarray, band: _Band) -> np.ndarray:
        """What a band needs of T, as matrices (C, K, seen width, rows width): a view."""
        seen, rows = band.seen.stop - band.seen.start, band.rows.stop - band.rows.start
        part = matrix[:, :, band.skip : band.skip + seen, :, :rows]
        return part.reshape(*part.shape[:2], seen * part.shape[3], rows * part.shape[5])


_plan = lru_cache(maxsize=64)(_Plan)


def _by_channel(x: np.ndarray, channels: int) -> np.ndarray:
    """(N, C K, H, W) as (N, C, K, H, W), with planes that are runs of memory."""
    if not has_whole_rows(x):
        x = np.ascontiguousarray(x)
    return x.reshape(len(x), channels, -1, *x.shape[2:])


def _runs(rows: np.ndarray) -> np.ndarray:
    """(N, C, K, rows, W) as matrices (C, K, N, rows W), a view."""
    return rows.reshape(*rows.shape[:3], -1).transpose(1, 2, 0, 3)


def _gathered(name: str, x: np.ndarray) -> np.ndarray:
    """A copy of (N, C, K, H, W) in scratch memory with the images innermost but for H and W."""
    n, c, k, h, w = x.shape
    copy = scratch(name, (c, k, n, h, w), x.dtype).transpose(2, 0, 1, 3, 4)
    copy[...] = x
    return copy


def _each_chunk(channels: int, nbytes: int, work: Callable[[slice], None]) -> None:
    """Call `work` for ranges of channels whose pixels fit the cache, on all threads."""
    # No chunk is so small that waking a thread for it takes longer than the work.
    count = max(min(get_num_threads(), 16 * nbytes // PIECE_BYTES), nbytes // PIECE_BYTES, 1)
    size = -(-channels // count)
    chunks = [slice(first, first + size) for first in range(0, channels, size)]
    parallel(lambda index: work(chunks[index]), len(chunks))
