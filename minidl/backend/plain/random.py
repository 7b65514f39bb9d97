"""Philox: random numbers as a function of a counter, so with the same bits on every backend.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A block
cipher of few rounds turns the counters 0, 1, 2, ... into numbers that pass every known test; there
is no state to carry from one number to the next, so any part of the stream can be computed alone.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["RandomKernels", "philox4x32", "threshold"]

Array = Any

# Salmon et al. 2011, section 4.3: multipliers of Philox4x32, and the Weyl sequence of its keys,
# the fractional parts of the golden ratio and of sqrt(3).
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF
ROUNDS = 10


def philox4x32(counter: tuple[Array, Array, Array, Array], key: tuple[int, int]) -> tuple[Any, ...]:
    """Four random words for each counter of four words.

    Args:
        counter: four uint64 arrays of one shape that hold 32-bit words.
        key: two 32-bit words.

    Returns:
        four uint64 arrays that hold 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        product0, product2 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1 = (product2 >> 32) ^ c1 ^ k0, product2 & LOW
        c2, c3 = (product0 >> 32) ^ c3 ^ k1, product0 & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return c0, c1, c2, c3


class RandomKernels:
    xp: Any

    def philox_bits(self, count: int, seed: int, offset: int) -> Array:
        """`count` uint32 numbers of the stream `seed`, four from each counter from `offset` on.

        Args:
            seed: 0 to 2^64 - 1, the key.
            offset: 0 to 2^64 - 1, the first counter; `backend.random.next_offset` hands them out.
        """
        xp = self.xp
        counters = xp.arange(-(-count // 4), dtype=xp.uint64) + offset
        zeros = xp.zeros_like(counters)
        counter = (counters & LOW, counters >> 32, zeros, zeros)
        words = philox4x32(counter, (seed & LOW, seed >> 32))
        bits = xp.stack([word.astype(xp.uint32) for word in words], axis=1)
        return bits.reshape(-1)[:count]

    def philox_uniform(self, shape: tuple[int, ...], seed: int, offset: int) -> Array:
        """float32 numbers in [0, 1): multiples of 2^-24, from one 32-bit number each."""
        bits = self.philox_bits(math.prod(shape), seed, offset)
        return ((bits >> 8).astype(self.xp.float32) * 2.0**-24).reshape(shape)

    def philox_mask(self, shape: tuple[int, ...], p: float, seed: int, offset: int) -> Array:
        """bools that are False with probability p, to within 2^-33, from one 32-bit number each."""
        bits = self.philox_bits(math.prod(shape), seed, offset)
        return (bits >= threshold(p)).reshape(shape)


def threshold(p: float) -> int:
    """The 32-bit number below which a share p of all 32-bit numbers lies."""
    return min(round(p * 2.0**32), LOW)
