"""The GPU's Philox, executed on the CPU: the same bits as NumPy's."""

import numpy as np
import pytest

from .common import BACKENDS, PLAIN, needs_compiler

pytestmark = needs_compiler

SEEDS = [(0, 0), (42, 7), (2**64 - 1, 2**33), (0xA4093822299F31D0, 2**63)]


@pytest.mark.parametrize("order", BACKENDS)
@pytest.mark.parametrize(("seed", "offset"), SEEDS)
def test_the_bits_are_those_of_the_cpu(seed, offset, order):
    backend = BACKENDS[order]
    for count in (0, 1, 4, 7, 3000):
        bits = backend.philox_bits(count, seed, offset)
        assert bits.dtype == np.uint32
        assert np.array_equal(bits, PLAIN.philox_bits(count, seed, offset))
    uniform = backend.philox_uniform((5, 13), seed, offset)
    assert uniform.dtype == np.float32
    assert np.array_equal(uniform, PLAIN.philox_uniform((5, 13), seed, offset))
    for p in (0.0, 0.3, 1 - 2**-30):
        mask = backend.philox_mask((3, 7, 11), p, seed, offset)
        assert mask.dtype == np.bool_
        assert np.array_equal(mask, PLAIN.philox_mask((3, 7, 11), p, seed, offset))


def test_the_bits_are_those_of_the_paper():
    """Known answer of Philox4x32-10 for counter 0 and key 0 (Random123, kat_vectors)."""
    expected = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert BACKENDS[0].philox_bits(4, 0, 0).tolist() == expected


def check(backend, rng, dtype, rtol):
    count = int(rng.integers(1, 2000))
    assert np.array_equal(backend.philox_bits(count, 5, 3), PLAIN.philox_bits(count, 5, 3))
    mask = backend.philox_mask((count,), 0.5, 5, 3)
    assert np.array_equal(mask, PLAIN.philox_mask((count,), 0.5, 5, 3))
