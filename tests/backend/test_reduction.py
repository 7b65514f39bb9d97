"""Sums as products equal NumPy's sums, and lose no digits in long rows."""

import itertools

import numpy as np
import pytest

from minidl.backend import by_name
from minidl.backend.plain.reduction import ReductionKernels

SHAPES = [(40_000,), (3, 20_001), (70, 300), (8, 16, 24, 24), (4, 1, 90, 70), (1 << 15, 2)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_plain_sum_over_all_choices_of_axes(shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    tolerance = 1e-13 if dtype == "float64" else 2e-6
    for count in range(1, len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), count):
            for keepdims in (False, True):
                found = by_name("cpu").sum(x, axes, keepdims)
                expected = ReductionKernels().sum(x.astype("float64"), axes, keepdims)
                assert found.dtype == dtype
                assert np.shape(found) == np.shape(expected)
                scale = np.abs(x).sum(axis=axes, keepdims=keepdims).max()
                assert np.abs(found - expected).max() <= tolerance * scale, axes


def test_a_long_row_of_equal_numbers_is_summed_to_six_digits():
    x = np.full((2, 10_000_019), 0.1, np.float32)
    found = by_name("cpu").sum(x, (1,), False)
    np.testing.assert_allclose(found, x[0].astype("float64").sum(), rtol=2e-6)


@pytest.mark.parametrize("make", [np.asfortranarray, lambda x: x[::2], lambda x: x[:, ::-1]])
def test_other_memory_layouts_are_summed_as_well(make):
    x = make(np.random.default_rng(1).standard_normal((200, 300)))
    np.testing.assert_allclose(by_name("cpu").sum(x, (1,), False), x.sum(1), rtol=1e-12)


def test_integers_and_bools_are_summed_as_integers():
    x = np.ones((200, 300), bool)
    assert by_name("cpu").sum(x, (0, 1), False, np.int64) == 60_000
