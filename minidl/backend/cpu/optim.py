"""The update rules in pieces that stay in the cache: a rule passes over its arrays many times.

A rule reads and writes three to five arrays in about ten ufuncs. On whole arrays each ufunc goes
through main memory; on pieces of 128 KB only the first does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..plain.optim import OptimKernels
from ..quiet import quiet
from .threads import parallel

__all__ = ["CpuOptimKernels"]

PIECE = 32768  # elements; five float32 arrays of this length fit a second-level cache of 1 MB


def _in_pieces(rule: Callable[..., None], arrays: tuple[Any, ...], hyper: dict[str, Any]) -> None:
    @quiet  # the state of NumPy's warnings belongs to a thread
    def work(index: int) -> None:
        piece = slice(index * PIECE, (index + 1) * PIECE)
        rule(*[None if array is None else array[piece] for array in arrays], **hyper)

    parallel(work, -(-arrays[0].size // PIECE))


class CpuOptimKernels(OptimKernels):
    """The plain rules, piece by piece."""

    def sgd_step(self, *arrays: Any, **hyper: Any) -> None:
        _in_pieces(super().sgd_step, arrays, hyper)

    def adam_step(self, *arrays: Any, **hyper: Any) -> None:
        _in_pieces(super().adam_step, arrays, hyper)

    def rmsprop_step(self, *arrays: Any, **hyper: Any) -> None:
        _in_pieces(super().rmsprop_step, arrays, hyper)
