"""Philox on the GPU: the kernels of kernels/random.cu, with the same bits as on the CPU."""

from __future__ import annotations

import math
from typing import Any

from ..base import Array
from ..plain.random import RandomKernels as PlainRandomKernels
from ..plain.random import threshold
from .launcher import KernelLauncher

__all__ = ["RandomKernels"]


class RandomKernels(KernelLauncher, PlainRandomKernels):
    """The arguments and results are those of `backend/plain/random.py`."""

    xp: Any

    def philox_bits(self, count: int, seed: int, offset: int) -> Array:
        return self._draw("mdl_philox_bits", (count,), self.xp.uint32, seed, offset)

    def philox_uniform(self, shape: tuple[int, ...], seed: int, offset: int) -> Array:
        return self._draw("mdl_philox_uniform", shape, self.xp.float32, seed, offset)

    def philox_mask(self, shape: tuple[int, ...], p: float, seed: int, offset: int) -> Array:
        return self._draw("mdl_philox_mask", shape, self.xp.bool_, seed, offset, threshold(p))

    def _draw(
        self, kernel: str, shape: tuple[int, ...], dtype: Any, seed: int, offset: int, *more: int
    ) -> Array:
        numbers = math.prod(shape)
        out = self.xp.empty(numbers, dtype)
        counters = -(-numbers // 4)
        self.launch_each("random.cu", kernel, counters, (out, seed, offset, *more, numbers))
        return out.reshape(shape)
