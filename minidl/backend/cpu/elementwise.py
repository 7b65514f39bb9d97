"""Elementwise kernels for NumPy, where the obvious form misses the processor's vector units.

Times of one core for 1,000,000 float32, obvious form and this one: maximum(x, 0) 0.30 ms, `relu`
0.09; where(mask, x, 0) on a random mask 3.7 ms, `masked` 0.18; where(mask, a, b) 3.7 ms, `where`
0.33; x ** 3 with negative x 45 to 90 ms, `power` 0.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["CpuElementwiseKernels"]

# Below this many elements NumPy's one call is faster than several quicker ones.
FEW = 2048

_SIGNED = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}
_INF = float("inf")


class CpuElementwiseKernels:
    """The same results as `ElementwiseKernels`, bit for bit except `power` (one rounding)."""

    def relu(self, x: Any) -> Any:
        if x.size < FEW or x.dtype.kind != "f":
            return np.maximum(x, 0)
        return x.clip(0.0, _INF)  # clip with two scalars is vectorised, maximum with one is not

    def where(self, mask: Any, a: Any, b: Any) -> Any:
        if mask.size < FEW:
            return np.where(mask, a, b)
        # np.where takes one branch an element; bits are chosen without: b ^ ((a ^ b) & mask).
        a, b = np.asarray(a), np.asarray(b)
        signed = _SIGNED[a.dtype.itemsize]
        bits = a.view(signed) ^ b.view(signed)
        bits = np.bitwise_and(bits, _ones(mask))
        bits ^= b.view(signed)
        return bits.view(a.dtype)

    def masked(self, x: Any, mask: Any) -> Any:
        if x.size < FEW:
            return np.where(mask, x, x.dtype.type(0))
        signed = _SIGNED[x.dtype.itemsize]
        y = np.empty_like(x)
        np.bitwise_and(x.view(signed), _ones(mask), out=y.view(signed))
        return y

    def power(self, x: Any, exponent: float) -> Any:
        if exponent == 2:
            return x * x
        if exponent == 3:
            return x * x * x
        if x.dtype.kind == "f" and exponent not in (-1, 0, 1) and float(exponent).is_integer():
            y = np.abs(x) ** exponent  # the vectorised power stops at negative numbers
            return np.copysign(y, x) if exponent % 2 else y
        return x**exponent


def _ones(mask: Any) -> Any:
    """The mask as int8: -1, all bits set, where true. A wider operand extends it, bits and all."""
    return np.negative(mask.view(np.int8))
