"""Matrix products for NumPy: half precision goes through float32."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["CpuLinalgKernels"]


class CpuLinalgKernels:
    """The product of matrices and of batches of matrices on the CPU."""

    def bmm(self, a: Any, b: Any) -> Any:
        # BLAS knows no 16-bit floats: NumPy's own loop is 30 times slower than the detour, and
        # rounds every partial sum. Other libraries add up in float32 as well.
        if a.dtype.itemsize == 2 and a.dtype.kind in "fV":
            return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
        return np.matmul(a, b)
