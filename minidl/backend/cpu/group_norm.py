"""Layer, group and instance normalisation on the CPU: two rounds over the rows of a matrix.

As in batch normalisation (norm.py), the first round adds up what the statistics or the gradients of
the parameters need, the second applies one formula with a few numbers for each row; between them
everything is a vector, in float64. Here the numbers that are normalised together are neighbours in
memory: a row is a channel of a sample, and a group has several rows; or, where each element of a
group has a weight of its own (layer normalisation), a row is a group, and a weight is a column's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..plain import norm as plain
from ..plain.norm import quiet
from .rows import add_to_rows, direct_rows, multiply_rows, outer, pairs, row_dots, row_sums
from .threads import get_num_threads, parallel
from .workspace import scratch

__all__ = ["CpuGroupNormKernels"]

Array = Any

# Bytes of x that both rounds go over before the next are looked at: so much stays in the last-level
# cache. Measured: 1 MB takes 1.15 times as long as 4 MB (more calls), 16 MB 0.97 times.
BLOCK = 1 << 22
WORTH_THREADS = 1 << 19  # bytes of x: a thread takes 0.05 ms to begin
# Bytes of one operand of a piece. Measured: 0.25 MB takes 1.03 to 1.2 times as long.
PIECE = 1 << 19
# Up to this ratio of mean^2 to variance, sums of x lose no more digits than sums of x - mean: the
# variance of float32 numbers then still has a relative error of some 1e-6.
FAR = 16.0


class CpuGroupNormKernels(plain.NormKernels):
    @quiet
    @direct_rows
    def group_norm(
        self, x: Array, groups: int, weight: Array | None, bias: Array | None, eps: float
    ) -> tuple[Array, Array, Array]:
        if x.dtype.itemsize < 4:
            return super().group_norm(x, groups, weight, bias, eps)
        y = np.empty(x.shape, x.dtype)
        mean, var = np.empty((2, x.shape[0] * groups))

        def normalise(samples: slice, these: slice) -> None:
            m = _Matrix(x[samples], groups)
            offset, var[these] = m.statistics()
            mean[these] = offset
            if _far(offset, var[these]):
                m.shift = offset.astype(x.dtype)
                offset, var[these] = m.statistics()
                mean[these] = m.shift + offset
            scale = 1 / np.sqrt(var[these] + eps)
            m.affine(scale, -offset * scale, weight, bias, y[samples])

        _for_blocks(x, groups, normalise)
        return y, mean, var

    @quiet
    @direct_rows
    def group_norm_grad(
        self,
        grad: Array,
        x: Array,
        groups: int,
        weight: Array | None,
        mean: Array,
        invstd: Array,
    ) -> tuple[Array, Array, Array]:
        if x.dtype.itemsize < 4:
            return super().group_norm_grad(grad, x, groups, weight, mean, invstd)
        dx = np.empty(x.shape, x.dtype)
        sums: dict[int, Array] = {}  # of each block, by its first sample

        def differentiate(samples: slice, these: slice) -> None:
            m = _Matrix(x[samples], groups)
            offset, r = mean[these].astype(np.float64), invstd[these]
            if _far(offset, r**-2.0):
                m.shift = mean[these].astype(x.dtype)
                offset -= m.shift
            g = np.ascontiguousarray(grad[samples]).reshape(m.x.shape)
            add_up = m.sums_by_column if m.by_column else m.sums_by_row
            h_sum, h_dot, sums[samples.start] = add_up(g, weight, offset, r)
            # dx = r (h - <h> - x^ <h x^>) with h = weight grad and x^ = (x - offset) r
            slope = -r * r * h_dot / m.size
            constant = -r * h_sum / m.size - slope * offset
            m.combine(g, r, weight, slope, constant, dx[samples])

        _for_blocks(x, groups, differentiate)
        grad_weight, grad_bias = np.sum([sums[first] for first in sorted(sums)], axis=0)
        return dx, grad_weight, grad_bias


def _for_blocks(x: Array, groups: int, work: Callable[[slice, slice], None]) -> None:
    """Call `work(some samples, their groups)` until all are done, spread over the threads."""
    n = x.shape[0]
    blocks = -(-x.nbytes // BLOCK)
    if x.nbytes >= WORTH_THREADS:  # as many blocks for each thread
        threads = get_num_threads()
        blocks = -(-blocks // threads) * threads
    step = max(1, -(-n // blocks))

    def run(i: int) -> None:
        first, last = i * step, min(n, (i + 1) * step)
        work(slice(first, last), slice(first * groups, last * groups))

    parallel(run, -(-n // step))


class _Matrix:
    """x (N, C, L) as a matrix, with the groups that are normalised together.

    Attributes:
        by_column: whether a row is a group, so that weights belong to columns.
        size: how many numbers a group has.
        step: how many rows make a piece.
        shift: None, or a number for each group, which is subtracted from x wherever it is read.
    """

    def __init__(self, x: Array, groups: int) -> None:
        n, self.channels, length = x.shape
        self.samples, self.groups = n, n * groups
        self.size = self.channels // groups * length
        self.by_column = length == 1 and groups == 1
        self.x = np.ascontiguousarray(x).reshape(-1, self.channels if self.by_column else length)
        self.step = max(1, PIECE // self.x[0].nbytes)
        self.shift: Array | None = None

    def for_pieces(self, work: Callable[[slice], None]) -> None:
        """Call `work(some rows)` until all are done, spread over the threads."""
        rows, step = len(self.x), self.step
        parallel(lambda i: work(slice(i * step, min(rows, (i + 1) * step))), -(-rows // step))

    def to_rows(self, vector: Array) -> Array:
        """A number for each group, for each row."""
        return vector if self.by_column else np.repeat(vector, len(self.x) // self.groups)

    def to_groups(self, vector: Array) -> Array:
        """A number for each row, added up over each group."""
        return vector.reshape(self.groups, -1).sum(axis=1)

    def reader(self) -> Callable[[slice], Array]:
        """A function that gives some rows of x, less the shift."""
        if self.shift is None:
            return lambda part: self.x[part]
        less = pairs(-self.to_rows(self.shift), 0.0, self.x.dtype)

        def read(part: slice) -> Array:
            x = self.x[part]
            return add_to_rows(x, less[part], scratch("group norm shift", x.shape, x.dtype))

        return read

    def statistics(self) -> tuple[Array, Array]:
        """Mean and biased variance of each group."""
        totals, squares = np.empty((2, len(self.x)))
        read = self.reader()

        def add_up(part: slice) -> None:
            x = read(part)
            totals[part], squares[part] = row_sums(x), row_dots(x, x)

        self.for_pieces(add_up)
        mean = self.to_groups(totals) / self.size
        var = self.to_groups(squares) / self.size - mean**2
        return mean, np.maximum(var, 0)  # a rounding error may have made it negative

    def affine(
        self, scale: Array, constant: Array, weight: Array | None, bias: Array | None, y: Array
    ) -> None:
        """y = weight (scale x + constant) + bias, with scale and constant for each group."""
        weight, bias = self._ready(weight, 1.0), self._ready(bias, 0.0)
        scale, constant = self.to_rows(scale), self.to_rows(constant)
        y, read = y.reshape(self.x.shape), self.reader()
        if self.by_column:
            columns = np.stack([weight, bias])
            factors, terms = pairs(scale, 0.0, y.dtype), pairs(constant, 1.0, y.dtype)
        else:
            factors = pairs(scale * weight, 0.0, y.dtype)
            terms = pairs(constant * weight + bias, 0.0, y.dtype)

        def work(part: slice) -> None:
            x, out = read(part), y[part]
            if self.by_column:
                np.multiply(x, outer(factors[part], columns), out=out)
                out += outer(terms[part], columns)
            else:
                multiply_rows(x, factors[part], out)
                add_to_rows(out, terms[part], out)

        self.for_pieces(work)

    def combine(
        self,
        grad: Array,
        scale: Array,
        weight: Array | None,
        slope: Array,
        constant: Array,
        dx: Array,
    ) -> None:
        """dx = scale weight grad + slope x + constant, with three numbers for each group."""
        weight = self._ready(weight, 1.0)
        scale, slope, constant = (self.to_rows(v) for v in (scale, slope, constant))
        factors = pairs(scale if self.by_column else scale * weight, 0.0, dx.dtype)
        slopes, terms = (pairs(v, 0.0, dx.dtype) for v in (slope, constant))
        dx, read = dx.reshape(self.x.shape), self.reader()
        if self.by_column:
            columns = np.stack([weight, weight])

        def work(part: slice) -> None:
            out = dx[part]
            if self.by_column:
                np.multiply(grad[part], outer(factors[part], columns), out=out)
            else:
                multiply_rows(grad[part], factors[part], out)
            x = read(part)
            x = multiply_rows(x, slopes[part], scratch("group norm work", x.shape, x.dtype))
            out += add_to_rows(x, terms[part], x)

        self.for_pieces(work)

    def sums_by_row(
        self, grad: Array, weight: Array | None, offset: Array, r: Array
    ) -> tuple[Array, Array, Array]:
        """The sums of h and h x^ over each group; for the gradients of weight and bias, (2, C)."""
        totals, dots = np.empty((2, len(self.x)))
        read = self.reader()

        def add_up(part: slice) -> None:
            totals[part], dots[part] = row_sums(grad[part]), row_dots(grad[part], read(part))

        self.for_pieces(add_up)
        dots -= self.to_rows(offset) * totals
        dots *= self.to_rows(r)
        sums = np.stack([dots, totals]).reshape(2, self.samples, -1).sum(axis=1)
        weight = self._ready(weight, 1.0)
        return self.to_groups(totals * weight), self.to_groups(dots * weight), sums

    def sums_by_column(
        self, grad: Array, weight: Array | None, offset: Array, r: Array
    ) -> tuple[Array, Array, Array]:
        """The same where weights belong to columns."""
        weight = self._ready(weight, 1.0)
        h_sum, h_dot = np.empty((2, len(self.x)))
        left = np.empty((2, len(self.x)), grad.dtype)
        left[0], left[1] = -offset * r, 1
        r_left = r.astype(grad.dtype)
        partial = np.empty((len(self.x) // self.step + 1, 2, self.x.shape[1]))
        read = self.reader()

        def add_up(part: slice) -> None:
            g = grad[part]
            product = np.multiply(g, read(part), out=scratch("group norm work", g.shape, g.dtype))
            h_sum[part], h_dot[part] = np.dot(g, weight), np.dot(product, weight)
            sums = partial[part.start // self.step]
            np.matmul(left[:, part], g, out=sums)
            sums[0] += np.dot(r_left[part], product)

        partial[-1] = 0  # the last piece may end where the rows do
        self.for_pieces(add_up)
        return h_sum, (h_dot - offset * h_sum) * r, partial.sum(axis=0)

    def _ready(self, vector: Array | None, default: float) -> Array:
        """What belongs to a channel (C,): for each column, or for each row."""
        if vector is None:
            vector = np.full(self.channels, default, self.x.dtype)
        vector = vector.astype(self.x.dtype, copy=False)
        return vector if self.by_column else np.tile(vector, self.samples)


def _far(mean: Array, var: Array) -> bool:
    """Whether a mean is so large, compared with its variance, that it must be subtracted first."""
    return bool((mean * mean > FAR * var).any())
