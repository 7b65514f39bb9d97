"""Matrices with one number for each row or column: what normalisation and softmax are made of.

NumPy has a ufunc with a broadcast operand, as in x * a[:, None], go through a buffer, into which
the numbers are copied again and again: twice the time of the product of two whole matrices. Two
ways are faster. BLAS writes a[:, None] * u as a product of matrices with two columns and two rows,
at the speed of memory. And long rows need no buffer: NumPy leaves it out where it is smaller than
a row. Times of one core for a number of the matrix, in ns: through the buffer 0.13, as a product of
matrices and a product of numbers 0.05 + 0.06, long rows without a buffer 0.07.

A sum over each row is a product with a vector of ones, two to three times faster than `sum`. But
`@` and `vecdot` keep the interpreter's lock, and so all other threads waiting, unless the result
has more than 500 numbers (NumPy 2.4 counts results, not work). `dot` always lets go of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .workspace import scratch

__all__ = [
    "add_to_rows",
    "direct_rows",
    "multiply_rows",
    "outer",
    "pairs",
    "row_dots",
    "row_sums",
]

Array = Any
F = TypeVar("F", bound=Callable[..., Any])

LONG = 512  # numbers: rows from here on are gone over one by one
# A product adds a row up number by number, in as many strands as fit a vector register: longer
# rows, which would lose digits, are cut.
LONGEST = 1 << 10
LETS_GO = 500  # results: NumPy's products with more of them let go of the interpreter


def direct_rows(function: F) -> F:
    """Decorate a kernel: long rows in it go without NumPy's buffer, in helping threads too."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        before = np.setbufsize(16)  # the smallest there is
        try:
            return function(*args, **kwargs)
        finally:
            np.setbufsize(before)

    return wrapped  # type: ignore[return-value]


def pairs(first: Array, second: Array | float, dtype: Any) -> Array:
    """Two numbers for each row, (R, 2): the left side of `outer`."""
    both = np.empty((len(first), 2), dtype)
    both[:, 0], both[:, 1] = first, second
    return both


def outer(left: Array, right: Array) -> Array:
    """left @ right, (R, 2) @ (2, C), in scratch memory: the sum of two outer products.

    With one column and one row instead of two, NumPy would not call BLAS.
    """
    return np.matmul(left, right, out=scratch("outer", (len(left), right.shape[1]), left.dtype))


def multiply_rows(x: Array, factors: Array, out: Array) -> Array:
    """out = x (R, C) times one factor for each row: `pairs(factors, 0.0, dtype)`."""
    if x.shape[1] >= LONG:
        return np.multiply(x, factors[:, :1], out=out)
    return np.multiply(x, outer(factors, np.ones((2, x.shape[1]), x.dtype)), out=out)


def add_to_rows(x: Array, terms: Array, out: Array) -> Array:
    """out = x (R, C) plus one term for each row: `pairs(terms, 0.0, dtype)`."""
    if x.shape[1] >= LONG:
        return np.add(x, terms[:, :1], out=out)
    return np.add(x, outer(terms, np.ones((2, x.shape[1]), x.dtype)), out=out)


def row_sums(x: Array) -> Array:
    """The sum of each row of x (R, C): (R,)."""
    rows, length = x.shape
    if length <= LONGEST:
        return np.dot(x, np.ones(length, x.dtype))
    whole = length - length % LONGEST
    ones = np.ones(LONGEST, x.dtype)
    if whole == length:
        return np.dot(x.reshape(-1, LONGEST), ones).reshape(rows, -1).sum(axis=1)
    parts = x[:, :whole].reshape(rows, -1, LONGEST) @ ones
    return parts.sum(axis=1) + x[:, whole:].sum(axis=1)


def row_dots(x: Array, y: Array) -> Array:
    """The sum of x y over each row of x and y (R, C): (R,)."""
    rows, length = x.shape
    parts = 1
    while rows * parts <= LETS_GO and length % (2 * parts) == 0 and length >= 128 * parts:
        parts *= 2
    if parts == 1 or not (x.flags.c_contiguous and y.flags.c_contiguous):
        return np.vecdot(x, y)
    shape = (rows, parts, length // parts)
    return np.vecdot(x.reshape(shape), y.reshape(shape)).sum(axis=1)
