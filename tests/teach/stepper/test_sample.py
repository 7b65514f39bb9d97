"""Samples of arrays."""

import numpy as np
import pytest

from minidl.teach.stepper.sample import CAPTURED, Sample, kept_places

SHAPES = [(), (5,), (3000,), (3, 4), (700, 900), (2, 3, 5, 5), (64, 128, 56, 56), (0, 3), (4, 0, 9)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("budget", [16, 200, CAPTURED])
def test_a_sample_has_the_arrays_numbers_and_fits_the_budget(shape, budget):
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    sample = Sample.of(array, budget)
    assert sample.shape == shape
    assert sample.dtype == "float64"
    assert sample.values.size <= budget
    assert [len(p) for p in sample.places] == list(sample.values.shape)
    assert np.array_equal(sample.values, array[np.ix_(*sample.places)] if shape else array)


def test_a_small_array_is_kept_whole():
    assert kept_places((2, 3, 32, 32), CAPTURED) == (range(2), range(3), range(32), range(32))
    assert kept_places((4, 16, 64), CAPTURED) == (range(4), range(16), range(64))


def test_a_large_picture_stays_in_view_and_of_channels_the_first_are_kept():
    images, channels, rows, columns = kept_places((64, 128, 100, 50), 1024)
    assert images.step == channels.step == 1
    assert rows[-1] >= 85
    assert columns[-1] >= 43
    assert len(rows) <= 32
    assert len(columns) <= 32


def test_a_sample_of_a_sample_is_one_of_the_array():
    array = np.arange(9 * 70 * 80, dtype=np.float32).reshape(9, 70, 80)
    thin = Sample.of(array, 2000).thinned(100)
    assert thin.values.size <= 100
    assert np.array_equal(thin.values, array[np.ix_(*thin.places)])


def test_a_sample_is_a_copy():
    array = np.zeros(3)
    sample = Sample.of(array)
    array += 1
    assert sample.values.tolist() == [0.0, 0.0, 0.0]


def test_samples_are_equal_if_their_numbers_are():
    array = np.array([1.0, np.nan, 3.0])
    assert Sample.of(array).equals(Sample.of(array.copy()))
    assert not Sample.of(array).equals(Sample.of(array + 1))
    assert not Sample.of(array).equals(Sample.of(array.astype(np.float32)))
    assert not Sample.of(array).equals(Sample.of(array[:2]))


def test_the_sum_of_samples_is_the_sample_of_the_sum():
    a, b = np.random.default_rng(0).normal(size=(2, 100, 100))
    total = Sample.of(a, 50).plus(Sample.of(b, 50))
    assert total.equals(Sample.of(a + b, 50))
