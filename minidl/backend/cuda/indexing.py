"""Scatter-add on the GPU: the kernels of kernels/scatter.cu."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..base import Array
from ..plain.indexing import IndexingKernels as PlainIndexingKernels
from .launcher import KernelLauncher, contiguous, is_real, types

__all__ = ["IndexingKernels", "deterministic", "sums"]


class _Sums:
    deterministic: bool = False


sums = _Sums()


class deterministic:
    """Add in one order on the GPU, from now on or within a `with` block: the same bits every run.

    Concerns sums into positions that are named more than once: gradients of indexing and of
    embeddings, of max-pooling with overlapping windows. All other kernels have one order anyway.
    It takes a sort of the indices, and is slow where many name one position.

    Args:
        mode: whether to.
    """

    def __init__(self, mode: bool = True) -> None:
        self._before = sums.deterministic
        sums.deterministic = bool(mode)

    def __enter__(self) -> deterministic:
        return self

    def __exit__(self, *exception: object) -> None:
        sums.deterministic = self._before


class IndexingKernels(KernelLauncher, PlainIndexingKernels):
    """The arguments and results are those of `backend/plain/indexing.py`."""

    xp: Any

    def scatter_add(self, out: Array, index: tuple[Any, ...], values: Array) -> None:
        """For floats and adjacent index arrays one kernel; anything else goes to CuPy."""
        dims = [dim for dim, part in enumerate(index) if not isinstance(part, slice)]
        ready = is_real(out.dtype) and out.flags.c_contiguous
        if not ready or dims[-1] - dims[0] != len(dims) - 1:
            super().scatter_add(out, index, values)
            return
        xp, sizes = self.xp, out.shape[dims[0] : dims[-1] + 1]
        place = self._place([index[dim] for dim in dims], sizes)
        shape = (math.prod(sizes), place.size, math.prod(out.shape[dims[-1] + 1 :]))
        values, defines = contiguous(xp, values), types(out.dtype)[0]
        if not sums.deterministic:
            args = (out, place, values, *shape)
            self.launch_each("scatter.cu", "mdl_scatter_add", values.size, args, **defines)
        elif values.size:
            order = xp.argsort(place, kind="stable")
            sorted_args = (out, place[order], order, values, *shape)
            kernel = "mdl_scatter_add_sorted"
            self.launch_each("scatter.cu", kernel, values.size, sorted_args, **defines)

    def _place(self, parts: list[Any], sizes: tuple[int, ...]) -> Array:
        """Positions in the flattened dimensions of the index arrays, int64, one-dimensional."""
        xp = self.xp
        place: Any = 0
        for part, size in zip(parts, sizes, strict=True):
            part = part.astype(np.int64, copy=False)
            # With one array the kernel wraps negative ones itself.
            wrapped = part if len(parts) == 1 and not sums.deterministic else part % size
            place = wrapped if len(parts) == 1 else place * size + wrapped
        return contiguous(xp, place).reshape(-1)
