"""Convolution on the CPU: several algorithms behind one door.

Each algorithm has a file of its own, to be read as a lesson, with the same functions: `forward`,
`input_grad`, `weight_grad`, and `supports`. `chooser.py` picks one by shape; `conv_algorithm`
forces one. All of them are compared with `direct.py`, the definition written as loops.
"""

from __future__ import annotations

import numpy as np

from ...geometry import ConvGeometry
from ..rows import row_sums
from ..threads import one_blas_thread
from .chooser import (
    ALGORITHMS,
    conv_algorithm,
    forward_by_table,
    input_grad_by_table,
    weight_grad_by_table,
)

__all__ = ["ALGORITHMS", "CpuConvKernels", "conv_algorithm"]


class CpuConvKernels:
    """The convolution kernels of the NumPy backend; described in `backend/plain/conv.py`.

    BLAS has one thread in all of them, also in what they do before threads share out the work: its
    own go on spinning for some 25 ms after a product, on the processor that a thread of ours needs.
    """

    def conv_forward(
        self,
        x: np.ndarray,
        w: np.ndarray,
        geometry: ConvGeometry,
        bias: np.ndarray | None = None,
    ) -> np.ndarray:
        dtype, x, w = x.dtype, _wide(x), _wide(w)
        y = np.empty((len(x), len(w), *geometry.output_size(x.shape[2:])), x.dtype)
        if y.size:
            with one_blas_thread:
                forward_by_table(x, w, None if bias is None else _wide(bias), geometry, y)
        return y.astype(dtype, copy=False)

    def conv_input_grad(
        self, g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, size: tuple[int, int]
    ) -> np.ndarray:
        dtype, g, w = g.dtype, _wide(g), _wide(w)
        dx = np.empty((len(g), w.shape[1] * geometry.groups, *size), g.dtype)
        if dx.size:
            with one_blas_thread:
                input_grad_by_table(g, w, geometry, dx)
        return dx.astype(dtype, copy=False)

    def conv_weight_grad(self, x: np.ndarray, g: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        dtype, x, g = x.dtype, _wide(x), _wide(g)
        shape = (g.shape[1], x.shape[1] // geometry.groups, *geometry.kernel)
        dw = np.empty(shape, x.dtype)
        if g.size:
            with one_blas_thread:
                weight_grad_by_table(x, g, geometry, dw)
        else:
            dw.fill(0)
        return dw.astype(dtype, copy=False)

    def conv_bias_grad(self, g: np.ndarray) -> np.ndarray:
        n, o, ho, wo = g.shape
        planes = _wide(g).reshape(n, o, ho * wo)
        # A product with ones runs at the speed of memory; sum((0, 2, 3)) takes three times as long.
        with one_blas_thread:
            sums = row_sums(planes.reshape(n * o, ho * wo)).reshape(n, o).sum(0)
        return sums.astype(g.dtype, copy=False)


def _wide(array: np.ndarray) -> np.ndarray:
    """Half precision as float32: BLAS has no products for less."""
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array
