"""Matrix products for NumPy: half precision goes through float32, and no thread spins.

The threads of BLAS wait for each other in a loop that keeps a core busy. Where another process
wants that core, a product of 0.1 ms takes 50. So BLAS is held to one thread, and a product that is
large enough is cut into pieces for threads that sleep while they wait.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .threads import get_num_threads, one_blas_thread, parallel

__all__ = ["CpuLinalgKernels"]

LARGE = 100_000_000  # multiply-adds, about 1 ms: handing a piece to a thread takes 0.05 ms


class CpuLinalgKernels:
    """The product of matrices and of batches of matrices on the CPU."""

    def bmm(self, a: Any, b: Any) -> Any:
        # BLAS knows no 16-bit floats: NumPy's own loop is 30 times slower than the detour, and
        # rounds every partial sum. Other libraries add up in float32 as well.
        if a.dtype.itemsize == 2 and a.dtype.kind in "fV":
            return self.bmm(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
        with one_blas_thread:
            if a.ndim == b.ndim == 2 and a.size * b.shape[1] >= LARGE:
                return _in_pieces(a, b)
            return np.matmul(a, b)


def _in_pieces(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b, each thread computing some rows of the result, or some columns where it has more."""
    result = np.empty((a.shape[0], b.shape[1]), np.result_type(a, b))
    by_rows = result.shape[0] >= result.shape[1]
    length, pieces = max(result.shape), get_num_threads()

    def work(i: int) -> None:
        piece = slice(length * i // pieces, length * (i + 1) // pieces)
        if by_rows:
            np.matmul(a[piece], b, out=result[piece])
        else:
            np.matmul(a, b[:, piece], out=result[:, piece])

    parallel(work, pieces)
    return result
