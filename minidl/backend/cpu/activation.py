"""Activations on NumPy: a few passes over each piece of an array while it is in the cache.

A pass over a piece costs about the same whatever it computes, an exponential apart, so fewer passes
is all there is to gain. The gradients of silu and gelu find s in y = x s by a division, where
computing s anew takes three passes or fifteen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..plain.activation import ActivationKernels
from .threads import get_num_threads, parallel

__all__ = ["CpuActivationKernels"]

Array = Any

# Numbers of a piece: 0.25 MB of float32, so that three such arrays share a second-level cache.
PIECE = 1 << 16
# Numbers that are worth a thread; fewer are done before it wakes.
WORTH_A_THREAD = 1 << 18

# The normal distribution function P(x) is 1 / (1 + e^(-x R(x^2))): R, highest power first, is at
# most 7e-8 off in P and in x P for all x. Own fit: a least-squares fit in 3000 Chebyshev points of
# 0 < x < 6, reweighted (Lawson) until the largest error was smallest.
LOGIT = (
    3.61872684e-09,
    -2.67293751e-07,
    7.94622673e-06,
    -1.10555886e-04,
    -6.59095076e-05,
    7.26678224e-02,
    1.59576898e00,
)
# (y + TINY / 2) / (x + TINY) is y / x, but 1/2 at x = 0, where y is x / 2.
TINY = 1e-30


class CpuActivationKernels(ActivationKernels):
    def erf(self, x: Array) -> Array:
        return _in_pieces(_assigned(super().erf), x)

    def sigmoid(self, x: Array) -> Array:
        return _in_pieces(_sigmoid, x)

    def gelu(self, x: Array) -> Array:
        if x.dtype != np.float32:
            return _in_pieces(_assigned(super().gelu), x)
        return _in_pieces(_gelu, x)

    def gelu_grad(self, grad: Array, x: Array, y: Array) -> Array:
        if x.dtype.itemsize < 4:
            return super().gelu_grad(grad, x, y)
        return _in_pieces(_gelu_grad, grad, x, y)

    def silu(self, x: Array) -> Array:
        if x.dtype.itemsize < 4:
            return super().silu(x)
        return _in_pieces(_silu, x)

    def silu_grad(self, grad: Array, x: Array, y: Array) -> Array:
        if x.dtype.itemsize < 4:
            return super().silu_grad(grad, x, y)
        return _in_pieces(_silu_grad, grad, x, y)

    def softplus(self, x: Array) -> Array:
        return _in_pieces(_assigned(super().softplus), x)

    def mish(self, x: Array) -> Array:
        return _in_pieces(_assigned(super().mish), x)

    def hardswish(self, x: Array) -> Array:
        return _in_pieces(_hardswish, x)

    def hardswish_grad(self, grad: Array, x: Array) -> Array:
        return _in_pieces(_hardswish_grad, grad, x)


def _in_pieces(kernel: Callable[..., None], *arrays: Array) -> Array:
    """A new array, filled by `kernel(*pieces of the arrays, piece of the result)`."""
    first = arrays[0]
    y = np.empty(first.shape, first.dtype)
    flat = [np.ascontiguousarray(a).reshape(-1) for a in (*arrays, y)]
    size = y.size
    if size <= PIECE:
        kernel(*flat)
        return y
    threads = min(get_num_threads(), max(1, size // WORTH_A_THREAD))
    share = -(-size // threads)

    def work(thread: int) -> None:
        end = min(size, (thread + 1) * share)
        for start in range(thread * share, end, PIECE):
            kernel(*[a[start : min(end, start + PIECE)] for a in flat])

    if threads == 1:
        work(0)
    else:
        parallel(work, threads)
    return y


def _assigned(kernel: Callable[[Array], Array]) -> Callable[[Array, Array], None]:
    """A kernel that returns its result, as one that puts it where it is told to."""

    def assign(x: Array, out: Array) -> None:
        out[...] = kernel(x)

    return assign


def _sigmoid(x: Array, y: Array) -> None:
    np.negative(x, out=y)
    np.exp(y, out=y)
    y += 1
    np.divide(1, y, out=y)


def _silu(x: Array, y: Array) -> None:
    np.negative(x, out=y)
    np.exp(y, out=y)
    y += 1
    np.divide(x, y, out=y)


def _silu_grad(grad: Array, x: Array, y: Array, dx: Array) -> None:
    s = _share(x, y)
    np.subtract(1, s, out=dx)
    dx *= y
    dx += s
    dx *= grad


def _gelu(x: Array, y: Array) -> None:
    square = np.square(x)
    np.multiply(square, -LOGIT[0], out=y)
    y -= LOGIT[1]
    for c in LOGIT[2:]:
        y *= square
        y -= c
    y *= x
    np.exp(y, out=y)
    y += 1
    np.divide(x, y, out=y)


def _gelu_grad(grad: Array, x: Array, y: Array, dx: Array) -> None:
    p = _share(x, y)
    np.square(x, out=dx)
    dx *= -0.5
    np.exp(dx, out=dx)
    dx *= x
    dx *= 1 / math.sqrt(2 * math.pi)
    dx += p
    dx *= grad


def _share(x: Array, y: Array) -> Array:
    """s in y = x s, where s is 1/2 at x = 0."""
    s = y + TINY / 2
    s /= x + TINY
    return s


def _hardswish(x: Array, y: Array) -> None:
    np.add(x, 3, out=y)
    y.clip(0.0, 6.0, out=y)
    y *= x
    y *= 1 / 6


def _hardswish_grad(grad: Array, x: Array, dx: Array) -> None:
    # With w = x / 3 held between -1 and 1, the slope is w + 1/2; at the bounds, where trunc(w) is
    # w, it is (w + 1) / 2.
    np.multiply(x, 1 / 3, out=dx)
    dx.clip(-1.0, 1.0, out=dx)
    outside = np.trunc(dx)
    outside *= 0.5
    dx -= outside
    dx += 0.5
    dx *= grad
