"""Indexing kernels, plain form: sums into positions that may be named more than once."""

from __future__ import annotations

from typing import Any

__all__ = ["IndexingKernels"]

# What CuPy's add.at adds atomically: int32/64, uint32/64, float16/32/64.
_ATOMIC = ("i4", "i8", "u4", "u8", "f2", "f4", "f8")


class IndexingKernels:
    """Scatter-add and the check of indices."""

    xp: Any

    def check_index(self, op: str, index: Any, size: int, dim: int, negative: bool) -> None:
        """Raise IndexError where an integer array points outside of dimension `dim` of `size`.

        Args:
            negative: whether -1 stands for the last position.

        A device is not asked: the answer would have to be waited for. There an index out of range
        wraps round, so try a program on the CPU first.
        """

    def scatter_add(self, out: Any, index: tuple[Any, ...], values: Any) -> None:
        """out[index] += values, where a position named several times receives every value.

        Args:
            out: the array that is changed.
            index: integer arrays and `slice(None)`s, one for each axis that is not trailing.
            values: of the shape of `out[index]` and the dtype of `out`.

        On a GPU the order of the additions is free, and with it the last bits of a float sum.
        """
        if out.dtype.str[1:] in _ATOMIC:
            self.xp.add.at(out, index, values)
            return
        wide = self.xp.int64 if out.dtype.kind in "iub" else self.xp.float32
        total = out.astype(wide)
        self.xp.add.at(total, index, values.astype(wide))
        out[...] = total.astype(out.dtype)
