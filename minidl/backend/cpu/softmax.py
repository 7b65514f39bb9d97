"""Softmax over the last dimension on the CPU: rows of a matrix, in pieces that fit the cache.

Lowering each row by its own largest number is a third of the work: NumPy reduces a matrix row by
row. One number for all rows of a piece does as well, as long as no row is far below it: what a row
is lowered by cancels, and costs digits only where it is large compared with the numbers themselves.
Whether it was too much is seen afterwards, from the smallest sum of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..plain import softmax as plain
from ..quiet import quiet
from .rows import add_to_rows, direct_rows, multiply_rows, pairs, row_dots, row_sums
from .threads import parallel
from .workspace import scratch

__all__ = ["CpuSoftmaxKernels"]

Array = Any

FEW = 1 << 12  # numbers: below, plain array operations are fewer calls
PIECE = 1 << 18  # bytes of one operand of a piece
# A row's largest number may be this far below that of its piece: x - 8 is exact to 5e-7 at most.
NEAR = 8.0


class CpuSoftmaxKernels(plain.SoftmaxKernels):
    @quiet
    @direct_rows
    def softmax(self, x: Array, dim: int, log: bool) -> Array:
        if not _suits(x, dim):
            return super().softmax(x, dim, log)
        y = np.empty(x.shape, x.dtype)
        rows, results = _matrix(x), _matrix(y)

        def work(part: slice) -> None:
            piece, out = rows[part], results[part]
            p = out if not log else scratch("softmax", piece.shape, piece.dtype)
            high = piece.max()
            np.subtract(piece, high, out=out)
            total = row_sums(np.exp(out, out=p))
            if not total.min() >= math.exp(-NEAR):  # false for NaN, too
                high = piece.max(axis=1, keepdims=True)
                np.subtract(piece, high, out=out)
                total = row_sums(np.exp(out, out=p))
            if log:
                add_to_rows(out, pairs(-np.log(total), 0.0, x.dtype), out)
            else:
                multiply_rows(out, pairs(1 / total, 0.0, x.dtype), out)

        _for_pieces(rows, work)
        return y

    @quiet
    @direct_rows
    def softmax_grad(self, y: Array, grad: Array, dim: int, log: bool) -> Array:
        if not _suits(y, dim):
            return super().softmax_grad(y, grad, dim, log)
        dx = np.empty(y.shape, y.dtype)
        rows, grads, results = _matrix(y), _matrix(grad), _matrix(dx)

        def work(part: slice) -> None:
            piece, g, out = rows[part], grads[part], results[part]
            if log:  # g - exp(y) sum g
                np.exp(piece, out=out)
                multiply_rows(out, pairs(-row_sums(g), 0.0, y.dtype), out)
                out += g
            else:  # y (g - sum g y)
                add_to_rows(g, pairs(-row_dots(g, piece), 0.0, y.dtype), out)
                out *= piece

        _for_pieces(rows, work)
        return dx


def _suits(x: Array, dim: int) -> bool:
    return dim == x.ndim - 1 and x.size >= FEW and x.dtype.char in "fd" and x.shape[-1] > 1


def _matrix(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])


def _for_pieces(rows: Array, work: Callable[[slice], None]) -> None:
    step, count = max(1, PIECE // rows[0].nbytes), len(rows)
    parallel(lambda i: work(slice(i * step, (i + 1) * step)), -(-count // step))
