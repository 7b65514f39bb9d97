"""Philox on the CPU: the plain kernel on blocks that fit the cache, spread over the threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..plain import random as plain
from .threads import parallel

__all__ = ["CpuRandomKernels"]

Array = Any

# Counters in a block. One takes 8 bytes in each of the eight arrays at work; measured: 8,192 to
# 32,768 are best, a whole million takes three times as long.
BLOCK = 16384


class CpuRandomKernels(plain.RandomKernels):
    def philox_bits(self, count: int, seed: int, offset: int) -> Array:
        bits = np.empty(count, np.uint32)
        self._fill(bits, seed, offset, lambda drawn: drawn)
        return bits

    def philox_uniform(self, shape: tuple[int, ...], seed: int, offset: int) -> Array:
        numbers = np.empty(math.prod(shape), np.float32)
        self._fill(numbers, seed, offset, lambda drawn: drawn >> 8)
        numbers *= 2.0**-24
        return numbers.reshape(shape)

    def philox_mask(self, shape: tuple[int, ...], p: float, seed: int, offset: int) -> Array:
        mask = np.empty(math.prod(shape), np.bool_)
        threshold = plain.threshold(p)
        self._fill(mask, seed, offset, lambda drawn: drawn >= threshold)
        return mask.reshape(shape)

    def _fill(self, out: Array, seed: int, offset: int, use: Callable[[Array], Array]) -> None:
        """out = use(the next len(out) numbers), block by block."""
        draw = super().philox_bits

        def fill(block: int) -> None:
            part = out[4 * BLOCK * block : 4 * BLOCK * (block + 1)]
            part[:] = use(draw(part.size, seed, offset + BLOCK * block))

        parallel(fill, -(-out.size // (4 * BLOCK)))
