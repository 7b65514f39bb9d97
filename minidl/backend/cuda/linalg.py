"""Matrix products on the GPU, alone and in batches, by cuBLAS.

CuPy's own matmul copies transposed batches, computes float16 in float32, refuses bfloat16, builds
tables of pointers where batches broadcast, and reads from the environment whether TF32 is allowed.
Here a batch goes to cublasGemmStridedBatchedEx as it lies: a matrix may be transposed, and a batch
that repeats one matrix has the stride 0. 16-bit factors are summed up in float32.

cuBLAS counts down the columns first. An array in C order is to it the transposed matrix; therefore
out = a b is asked for as out^T = b^T a^T, with the operands exchanged.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..base import Array
from ..plain.linalg import LinalgKernels as PlainLinalgKernels
from ..precision import matmul
from .launcher import KernelLauncher

__all__ = ["LinalgKernels"]

# cudaDataType (library_types.h) and cublasComputeType_t, cublasGemmAlgo_t (cublas_api.h): for each
# dtype, by its character (E is bfloat16), that of the elements, that of the sums, and the dtype of
# the two factors alpha and beta.
CUBLAS_GEMM_DEFAULT = -1
CUBLAS_COMPUTE_32F_FAST_TF32 = 77
CUBLAS_TYPES = {
    "e": (2, 68, np.float32),  # CUDA_R_16F, CUBLAS_COMPUTE_32F
    "E": (14, 68, np.float32),  # CUDA_R_16BF, CUBLAS_COMPUTE_32F
    "f": (0, 68, np.float32),  # CUDA_R_32F, CUBLAS_COMPUTE_32F
    "d": (1, 70, np.float64),  # CUDA_R_64F, CUBLAS_COMPUTE_64F
}


class Operand(NamedTuple):
    """A batch of matrices as cuBLAS takes it.

    Attributes:
        array: whose memory it is; its last two dimensions are the matrix.
        transposed: whether a column, not a row, lies in one piece.
        leading: elements from one such piece to the next.
        stride: elements from one matrix to the next; 0: the same matrix again.
    """

    array: Array
    transposed: bool
    leading: int
    stride: int


class LinalgKernels(KernelLauncher, PlainLinalgKernels):
    """The arguments and results are those of `backend/plain/linalg.py`."""

    xp: Any

    def cublas(self) -> tuple[Any, int]:
        """The module with `gemmEx` and `gemmStridedBatchedEx`, and a handle for them."""
        raise NotImplementedError

    def bmm(self, a: Array, b: Array) -> Array:
        return self.product(a, b, matmul.allow_tf32)

    def product(self, a: Array, b: Array, tf32: bool) -> Array:
        """a @ b, with float32 factors rounded to TF32 if they may be."""
        if a.ndim < 2 or b.ndim < 2 or a.dtype != b.dtype or a.dtype.char not in CUBLAS_TYPES:
            return super().bmm(a, b)
        if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous:  # one product, of all rows
            rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
            return self.product(rows, b, tf32).reshape(*a.shape[:-1], b.shape[-1])
        (m, k), (inner, n) = a.shape[-2:], b.shape[-2:]
        if inner != k:
            raise ValueError(
                f"bmm: {k} columns do not meet {inner} rows (shapes {a.shape} and {b.shape})"
            )
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        out = self.xp.empty((*batch, m, n), a.dtype)
        if out.size == 0:
            return out
        if k == 0:
            out.fill(0)
            return out
        left, right = _operand(self.xp, a, batch), _operand(self.xp, b, batch)
        self._ask(left, right, out, k, tf32)
        return out

    def _ask(self, a: Operand, b: Operand, out: Array, k: int, tf32: bool) -> None:
        library, handle = self.cublas()
        m, n = out.shape[-2:]
        kind, compute, factor = CUBLAS_TYPES[out.dtype.char]
        if out.dtype == np.float32 and tf32:
            compute = CUBLAS_COMPUTE_32F_FAST_TF32
        one, zero = np.ones((), factor), np.zeros((), factor)  # read before the call returns
        count = math.prod(out.shape[:-2])
        if count == 1:  # cuBLAS chooses better among its kernels where it knows of no batch
            library.gemmEx(
                handle, int(b.transposed), int(a.transposed), n, m, k, one.ctypes.data,
                b.array.data.ptr, kind, b.leading, a.array.data.ptr, kind, a.leading,
                zero.ctypes.data, out.data.ptr, kind, n, compute, CUBLAS_GEMM_DEFAULT,
            )  # fmt: skip
            return
        library.gemmStridedBatchedEx(
            handle, int(b.transposed), int(a.transposed), n, m, k, one.ctypes.data,
            b.array.data.ptr, kind, b.leading, b.stride,
            a.array.data.ptr, kind, a.leading, a.stride,
            zero.ctypes.data, out.data.ptr, kind, n, m * n,
            count, compute, CUBLAS_GEMM_DEFAULT,
        )  # fmt: skip


def _operand(xp: Any, x: Array, batch: tuple[int, ...]) -> Operand:
    """How `x` (..., rows, columns), broadcast to the shape `batch`, lies in memory.

    It is copied only if its rows and its columns both lie scattered, or its matrices do not follow
    one another at one distance.
    """
    layout, stride = _layout(x), _stride(x, batch)
    if layout is None or stride is None:
        if stride is None:
            x = xp.broadcast_to(x, (*batch, *x.shape[-2:]))
        x = x.copy()
        layout = False, x.shape[-1]
        stride = x.shape[-2] * x.shape[-1] if math.prod(x.shape[:-2]) > 1 else 0
    return Operand(x, *layout, stride)


def _layout(x: Array) -> tuple[bool, int] | None:
    """`transposed` and `leading` of an Operand, where one of rows and columns lies in one piece."""
    rows, columns = x.shape[-2:]
    down, across = (step // x.itemsize for step in x.strides[-2:])
    if (columns == 1 or across == 1) and (rows == 1 or down >= columns):
        return False, columns if rows == 1 else down
    if (rows == 1 or down == 1) and (columns == 1 or across >= rows):
        return True, rows if columns == 1 else across
    return None


def _stride(x: Array, batch: tuple[int, ...]) -> int | None:
    """`stride` of an Operand, where its matrices follow one another at one distance."""
    steps = [(n, step) for n, step in zip(x.shape[:-2], x.strides[:-2], strict=True) if n > 1]
    if not steps:
        return 0
    if math.prod(x.shape[:-2]) != math.prod(batch) or steps[-1][1] < 0:
        return None
    nested = all(outer == n * inner for (_, outer), (n, inner) in pairwise(steps))
    return steps[-1][1] // x.itemsize if nested else None
