"""Sums over axes, plain form."""

from __future__ import annotations

from typing import Any

__all__ = ["ReductionKernels"]


class ReductionKernels:
    def sum(self, x: Any, axes: tuple[int, ...], keepdims: bool, dtype: Any = None) -> Any:
        """The sum of x over `axes`, taken in `dtype`, by default that of x."""
        return x.sum(axis=axes, dtype=dtype, keepdims=keepdims)
