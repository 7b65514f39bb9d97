"""A model of cuBLAS: the product that its documentation defines, on addresses, in NumPy.

For each matrix i of a batch, C_i = alpha op(A_i) op(B_i) + beta C_i, where op transposes on demand,
all matrices are stored by columns, and A_i begins `strideA` elements after A_(i-1). Written from
cuBLAS' documentation of cublasGemmStridedBatchedEx, and as strict: a leading dimension that is too
small, which cuBLAS refuses, is refused. TF32 is modelled, too: factors rounded to 10 bits.
"""

from __future__ import annotations

import ctypes
import importlib.util

import numpy as np

TYPES = {0: np.float32, 1: np.float64, 2: np.float16}  # cudaDataType
COMPUTE = {68: np.float32, 70: np.float64, 77: np.float32}  # cublasComputeType_t
TF32 = 77  # CUBLAS_COMPUTE_32F_FAST_TF32
if importlib.util.find_spec("ml_dtypes"):
    import ml_dtypes

    TYPES[14] = ml_dtypes.bfloat16


class ColumnMajor:
    """The part of `cupy.cuda.cublas` that minidl uses; the order of arguments is CuPy's."""

    def gemmStridedBatchedEx(
        self,
        handle, transa, transb, m, n, k, alpha, A, Atype, lda, strideA, B, Btype, ldb, strideB,
        beta, C, Ctype, ldc, strideC, batchCount, computeType, algo,
    ):  # fmt: skip
        assert handle is not None
        assert algo == -1
        assert computeType != TF32 or Atype == Btype == 0, "TF32 is a way to multiply float32"
        wide = COMPUTE[computeType]
        alpha, beta = (_memory(address, 1, wide)[0] for address in (alpha, beta))
        for i in range(batchCount):
            a = _matrix(A, Atype, (k, m) if transa else (m, k), lda, i * strideA).astype(wide)
            b = _matrix(B, Btype, (n, k) if transb else (k, n), ldb, i * strideB).astype(wide)
            if computeType == TF32:
                a, b = rounded(a), rounded(b)
            c = _matrix(C, Ctype, (m, n), ldc, i * strideC)
            product = alpha * ((a.T if transa else a) @ (b.T if transb else b))
            c[...] = product + beta * c if beta else product

    def gemmEx(
        self,
        handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb,
        beta, C, Ctype, ldc, computeType, algo,
    ):  # fmt: skip
        self.gemmStridedBatchedEx(
            handle, transa, transb, m, n, k, alpha, A, Atype, lda, 0, B, Btype, ldb, 0,
            beta, C, Ctype, ldc, 0, 1, computeType, algo,
        )  # fmt: skip


def rounded(x):
    """float32 numbers with 10 bits behind the point instead of 23."""
    bits = x.view(np.uint32) if x.flags.c_contiguous else np.ascontiguousarray(x).view(np.uint32)
    return ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)


def _matrix(address, kind, shape, leading, start):
    """A view of a matrix stored by columns."""
    rows, columns = shape
    assert leading >= max(1, rows), f"leading dimension {leading} for {rows} rows"
    dtype = np.dtype(TYPES[kind])
    address += start * dtype.itemsize
    flat = _memory(address, leading * (columns - 1) + rows, dtype)
    return np.lib.stride_tricks.as_strided(
        flat, shape, (dtype.itemsize, leading * dtype.itemsize), writeable=True
    )


def _memory(address, count, dtype):
    dtype = np.dtype(dtype)
    return np.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(address), dtype)
