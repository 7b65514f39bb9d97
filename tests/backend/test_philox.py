"""Philox: the published known answers, the stream, and the same bits everywhere."""

import numpy as np
import pytest

import minidl as md
from minidl import backend
from minidl.backend import by_name
from minidl.backend.cpu import random as cpu_random
from minidl.backend.plain.random import philox4x32

DEVICES = ["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)]
ONES = 0xFFFFFFFF


# The file kat_vectors of Random123, the library of the paper, lines "philox4x32 10".
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(counter, key, expected):
    words = philox4x32(tuple(np.array([c], np.uint64) for c in counter), key)
    assert tuple(int(w[0]) for w in words) == expected


@pytest.mark.parametrize("device", DEVICES)
def test_the_bits_are_the_same_on_every_device(device):
    seed, offset, count = 0x0123456789ABCDEF, 2**32 - 3, 29  # the counter crosses a word
    there = by_name(device)
    expected = by_name("cpu").philox_bits(count, seed, offset)
    assert expected.dtype == np.uint32
    assert np.array_equal(there.to_host(there.philox_bits(count, seed, offset)), expected)
    mask = there.philox_mask((3, 5), 0.3, seed, offset)
    assert np.array_equal(there.to_host(mask), (expected[:15] >= 0.3 * 2**32).reshape(3, 5))
    uniform = there.to_host(there.philox_uniform((29,), seed, offset))
    assert uniform.dtype == np.float32
    assert np.array_equal(uniform, (expected >> 8) / 2.0**24)


def test_a_stream_continues_at_the_next_offset():
    cpu = by_name("cpu")
    whole = cpu.philox_bits(40, 5, 7)
    parts = [cpu.philox_bits(12, 5, 7), cpu.philox_bits(28, 5, 10)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(cpu.philox_bits(40, 6, 7), whole)
    assert np.array_equal(cpu.philox_bits(3, 5, 7), whole[:3])
    assert cpu.philox_bits(0, 5, 7).shape == (0,)


def test_many_blocks_equal_one(monkeypatch):
    cpu = by_name("cpu")
    whole = cpu.philox_bits(1001, 3, 2**40)
    mask = cpu.philox_mask((7, 143), 0.5, 3, 2**40)
    uniform = cpu.philox_uniform((1001,), 3, 2**40)
    monkeypatch.setattr(cpu_random, "BLOCK", 16)
    assert np.array_equal(cpu.philox_bits(1001, 3, 2**40), whole)
    assert np.array_equal(cpu.philox_mask((7, 143), 0.5, 3, 2**40), mask)
    assert np.array_equal(cpu.philox_uniform((1001,), 3, 2**40), uniform)


def test_numbers_are_uniform():
    numbers = by_name("cpu").philox_uniform((100_000,), 11, 0).astype(np.float64)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, 100, (0, 1))[0]
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()  # mean 99, standard deviation 14
    assert 50 < chi_squared < 160
    for lag in (1, 2, 4):
        assert abs(np.corrcoef(numbers[:-lag], numbers[lag:])[0, 1]) < 0.015


def test_next_offset_never_hands_out_a_number_twice():
    md.manual_seed(3)
    seed, first = backend.random.next_offset(5)
    _, second = backend.random.next_offset(1)
    assert seed == 3
    assert second - first == 2  # five numbers use two counters
