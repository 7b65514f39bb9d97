"""bfloat16, which NumPy does not know: the upper half of a float32."""

from __future__ import annotations

import numpy as np

__all__ = ["float32_of_bfloat16"]


def float32_of_bfloat16(upper: np.ndarray) -> np.ndarray:
    """The float32 numbers, exactly, whose upper 16 bits are given (any shape, dtype uint16)."""
    return (upper.astype(np.uint32) << np.uint32(16)).view(np.float32)
