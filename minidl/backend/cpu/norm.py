"""Normalisation on the CPU: few passes, over pieces that fit the cache, spread over the threads.

Two rounds over the data: the first adds up what the statistics or the gradients of the parameters
need, the second applies one formula with a few numbers for each channel. Between them everything is
a vector (C,) and is computed in float64. Sums are products with a vector of ones, in which BLAS is
two to three times faster than `sum` over two axes.

The variance is taken as <(x - s)^2> - <x - s>^2 with a shift s. With s = 0 that saves a pass over
the data, and costs digits where the mean is large compared with the standard deviation; such data
are gone over again with s close to the mean, where it costs none (Chan, Golub and LeVeque 1983).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..plain import norm as plain
from ..plain.norm import quiet
from . import rows
from .threads import one_blas_thread, parallel
from .workspace import scratch

__all__ = ["CpuNormKernels"]

Array = Any
Part = tuple[slice, slice]  # which samples and which channels

# Bytes of one operand of a piece. Smaller pieces would stay in a second-level cache but are many
# calls: at (64, 16, 32, 32), 0.25 MB pieces take 1.2 times as long as 1 MB, 4 MB pieces 0.9 times.
PIECE = 1 << 21
# Up to this ratio of mean^2 to variance no shift is needed: the variance of float32 numbers then
# still has a relative error of some 1e-6.
FAR = 16.0
SHORT = 32  # positions: rows shorter than this are summed over samples first
FEW = 8  # samples
LONG = 4096  # positions: up to here a channel's number is written out along the row


class CpuNormKernels(plain.NormKernels):
    @quiet
    def batch_norm(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        eps: float,
        ceiling: float | None = None,
    ) -> tuple[Array, Array, Array]:
        if x.dtype.itemsize < 4:
            return super().batch_norm(x, weight, bias, eps, ceiling)
        x = np.ascontiguousarray(x)
        count = x.shape[0] * x.shape[2]
        shift = None
        total, squares = _sums(x, lambda part: (x[part], x[part]))
        offset = mean = total / count
        var = squares / count - offset**2
        if _far(mean, var):
            shift = mean.astype(x.dtype)

            def shifted(part: Part) -> tuple[Array, Array]:
                block = _shifted(x, part, shift)
                return block, block

            total, squares = _sums(x, shifted)
            offset = total / count
            mean = shift + offset
            var = squares / count - offset**2
        var = np.maximum(var, 0)  # a rounding error may have made it negative

        scale = 1 / np.sqrt(var + eps)
        if weight is not None:
            scale = scale * weight
        constant = -offset * scale
        if bias is not None:
            constant = constant + bias
        return _affine(x, shift, scale, constant, ceiling), mean, var

    @quiet
    def batch_norm_grad(
        self,
        grad: Array,
        x: Array,
        weight: Array | None,
        mean: Array,
        invstd: Array,
        rectified: Array | None = None,
        ceiling: float | None = None,
    ) -> tuple[Array, Array, Array]:
        if x.dtype.itemsize < 4:
            return super().batch_norm_grad(grad, x, weight, mean, invstd, rectified, ceiling)
        x, grad = np.ascontiguousarray(x), np.ascontiguousarray(grad)
        count = x.shape[0] * x.shape[2]
        dx = np.empty_like(x)
        offset, shift = mean, None
        if _far(mean, invstd**-2.0):
            shift = mean.astype(x.dtype)
            offset = mean - shift

        def terms(part: Part) -> tuple[Array, Array]:
            g = grad[part]
            if rectified is not None:
                g = np.multiply(g, rectified[part] > 0, out=dx[part])
                if ceiling != math.inf:
                    g *= rectified[part] < ceiling
            return g, _shifted(x, part, shift)

        grad_bias, product = _sums(x, terms)
        grad_weight = (product - offset * grad_bias) * invstd

        # dx = a grad + b (x - shift) + c, with numbers a, b and c for each channel.
        a = invstd if weight is None else invstd * weight
        b = -a * invstd * grad_weight / count
        c = -a * grad_bias / count - b * offset
        a, b, c = _spread(a, x), _spread(b, x), _spread(c, x)
        if rectified is not None:
            grad = dx  # where `terms` has left what passes the rectifier

        def combine(part: Part) -> None:
            out, channels = dx[part], part[1]
            work = scratch("norm work", out.shape, x.dtype)
            np.multiply(_shifted(x, part, shift), b[channels], out=work)
            work += c[channels]
            np.multiply(grad[part], a[channels], out=out)
            out += work

        _for_pieces(x, combine)
        return dx, grad_weight, grad_bias

    @quiet
    def channel_affine(self, x: Array, scale: Array | None, shift: Array | None) -> Array:
        if x.dtype.itemsize < 4 or x.size == 0 or scale is None:
            return super().channel_affine(x, scale, shift)
        # Short rows of few samples are not spread out, and need NumPy's buffer.
        direct = x.shape[0] >= FEW or x.shape[2] >= rows.LONG
        affine = rows.direct_rows(_affine) if direct else _affine
        return affine(np.ascontiguousarray(x), None, scale, shift, None)

    def channel_sum(self, x: Array) -> Array:
        if x.dtype.itemsize < 4 or x.size == 0:
            return super().channel_sum(x)
        with one_blas_thread:  # threads of BLAS would spin for some 25 ms after
            return _sum(np.ascontiguousarray(x))

    def channel_dot(self, a: Array, b: Array) -> Array:
        if a.dtype.itemsize < 4 or a.size == 0:
            return super().channel_dot(a, b)
        a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
        return _sums(a, lambda part: (a[part], b[part]))[1]


def _for_pieces(x: Array, work: Callable[[Part], None]) -> None:
    """Call `work((samples, channels))` for pieces of x (N, C, L), spread over the threads."""
    samples, channels = _steps(x)
    parts = [
        (slice(n, n + samples), slice(c, c + channels))
        for n in range(0, x.shape[0], samples)
        for c in range(0, x.shape[1], channels)
    ]

    @quiet  # again, as the setting belongs to the thread
    def run(index: int) -> None:
        work(parts[index])

    parallel(run, len(parts))


def _steps(x: Array) -> tuple[int, int]:
    """How many samples and how many channels a piece of x (N, C, L) has."""
    n, channels, length = x.shape
    row = length * x.dtype.itemsize
    samples = min(n, max(1, PIECE // (channels * row)))
    return samples, channels if samples > 1 else min(channels, max(1, PIECE // row))


def _sums(x: Array, terms: Callable[[Part], tuple[Array, Array]]) -> tuple[Array, Array]:
    """The sums over each channel of u and of u v, where (u, v) = terms(part): (C,) in float64."""
    samples, _ = _steps(x)
    partial = np.empty((2, -(-x.shape[0] // samples), x.shape[1]))

    def add_up(part: Part) -> None:
        u, v = terms(part)
        row = part[0].start // samples
        partial[0, row, part[1]] = _sum(u)
        if u.shape[2] >= 2 * SHORT:
            partial[1, row, part[1]] = _over_samples(rows.row_dots(_matrix(u), _matrix(v)), u)
        else:
            product = np.multiply(u, v, out=scratch("norm product", u.shape, u.dtype))
            partial[1, row, part[1]] = _sum(product)

    _for_pieces(x, add_up)
    total, products = partial.sum(axis=1)
    return total, products


def _sum(x: Array) -> Array:
    """The sum of x (n, C, L) over each channel: (C,) in float64."""
    n, channels, length = x.shape
    if length >= SHORT:
        return _over_samples(rows.row_sums(_matrix(x)), x)
    columns = np.dot(np.ones(n, x.dtype), x.reshape(n, channels * length))
    return columns.reshape(channels, length).sum(axis=1, dtype=np.float64)


def _matrix(x: Array) -> Array:
    """x (n, C, L) with a row for each plane."""
    return x.reshape(-1, x.shape[2])


def _over_samples(planes: Array, x: Array) -> Array:
    """A number for each plane of x (n, C, L), added up for each channel: (C,) in float64."""
    return planes.reshape(x.shape[:2]).sum(axis=0, dtype=np.float64)


def _shifted(x: Array, part: Part, shift: Array | None) -> Array:
    """The part of x (N, C, L), less a shift (C,) for each channel."""
    block = x[part]
    if shift is None:
        return block
    return np.subtract(block, shift[part[1], None], out=scratch("norm shift", block.shape, x.dtype))


def _far(mean: Array, var: Array) -> bool:
    """Whether a mean is so large, compared with its variance, that a shift is needed."""
    return bool((mean * mean > FAR * var).any())


def _affine(
    x: Array,
    shift: Array | None,
    scale: Array,
    constant: Array | None,
    ceiling: float | None,
) -> Array:
    """scale (x - shift) + constant for each channel of x (N, C, L), within 0 and `ceiling`."""
    y = np.empty_like(x)
    scale = _spread(scale, x)
    constant = None if constant is None else _spread(constant, x)

    def apply(part: Part) -> None:
        out, channels = y[part], part[1]
        np.multiply(_shifted(x, part, shift), scale[channels], out=out)
        if constant is not None:
            out += constant[channels]
        if ceiling is not None:
            out.clip(0.0, ceiling, out=out)

    _for_pieces(x, apply)
    return y


def _spread(vector: Array, x: Array) -> Array:
    """A number for each channel, in a form that combines quickly with x (N, C, L).

    With one number for a row, NumPy goes row by row; written out along the row, it goes over all
    channels at once. That pays unless rows are long or the samples few.
    """
    n, channels, length = x.shape
    vector = vector.astype(x.dtype, copy=False)
    if length > LONG or n < FEW:
        return vector[:, None]
    return np.repeat(vector, length).reshape(channels, length)
