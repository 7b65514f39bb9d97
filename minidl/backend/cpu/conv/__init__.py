"""Convolution on the CPU: several algorithms behind one door.

Each algorithm has a file of its own, to be read as a lesson, with the same functions: `forward`,
`input_grad`, `weight_grad`, and `supports`. `chooser.py` picks one by shape; `conv_algorithm`
forces one. All of them are compared with `direct.py`, the definition written as loops.
"""

from __future__ import annotations

import numpy as np

from ...geometry import ConvGeometry
from .chooser import ALGORITHMS, choose, conv_algorithm

__all__ = ["ALGORITHMS", "ConvKernels", "conv_algorithm"]


class ConvKernels:
    """The convolution kernels of the NumPy backend; shapes as in `backend/plain/conv.py`."""

    def conv_forward(
        self,
        x: np.ndarray,
        w: np.ndarray,
        geometry: ConvGeometry,
        bias: np.ndarray | None = None,
    ) -> np.ndarray:
        dtype, x, w = x.dtype, _wide(x), _wide(w)
        bias = None if bias is None else _wide(bias)
        size = geometry.output_size(x.shape[2:])
        y = np.empty((len(x), len(w), *size), x.dtype)
        if y.size:
            choose("forward", geometry, x.shape[1], len(w), size).forward(x, w, bias, geometry, y)
        return y.astype(dtype, copy=False)

    def conv_input_grad(
        self, g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, size: tuple[int, int]
    ) -> np.ndarray:
        dtype, g, w = g.dtype, _wide(g), _wide(w)
        dx = np.empty((len(g), w.shape[1] * geometry.groups, *size), g.dtype)
        if dx.size:
            algorithm = choose("input_grad", geometry, dx.shape[1], len(w), g.shape[2:])
            algorithm.input_grad(g, w, geometry, dx)
        return dx.astype(dtype, copy=False)

    def conv_weight_grad(
        self, x: np.ndarray, g: np.ndarray, geometry: ConvGeometry
    ) -> np.ndarray:
        dtype, x, g = x.dtype, _wide(x), _wide(g)
        c, o = x.shape[1], g.shape[1]
        if not g.size:
            return np.zeros((o, c // geometry.groups, *geometry.kernel), dtype)
        algorithm = choose("weight_grad", geometry, c, o, g.shape[2:])
        return algorithm.weight_grad(x, g, geometry).astype(dtype, copy=False)

    def conv_bias_grad(self, g: np.ndarray) -> np.ndarray:
        n, o, ho, wo = g.shape
        wide = _wide(g).reshape(n, o, ho * wo)
        # A product with ones runs at memory speed; sum((0, 2, 3)) takes three times as long.
        return (wide @ np.ones(ho * wo, wide.dtype)).sum(0).astype(g.dtype, copy=False)


def _wide(array: np.ndarray) -> np.ndarray:
    """Half precision as float32: BLAS has no products for less."""
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array
