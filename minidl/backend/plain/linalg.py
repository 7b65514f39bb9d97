"""Matrix products, plain form."""

from __future__ import annotations

from typing import Any

__all__ = ["LinalgKernels"]


class LinalgKernels:
    """The product of matrices and of batches of matrices."""

    xp: Any

    def bmm(self, a: Any, b: Any) -> Any:
        """a @ b for (..., M, K) and (..., K, N); leading axes broadcast. Returns (..., M, N)."""
        return self.xp.matmul(a, b)
