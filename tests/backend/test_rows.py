"""Arithmetic of a matrix with a number for each row."""

import numpy as np
import pytest

from minidl.backend.cpu.rows import LONG, add_to_rows, direct_rows, multiply_rows, outer, pairs


@pytest.mark.parametrize("columns", [1, 7, LONG - 1, LONG, LONG + 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_multiplied_and_added_to_as_by_broadcasting(columns, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, columns)).astype(dtype)
    numbers = rng.standard_normal(5)
    exact = numbers.astype(dtype)[:, None]
    out = np.empty_like(x)
    assert multiply_rows(x, pairs(numbers, 0.0, dtype), out) is out
    np.testing.assert_array_equal(out, x * exact)
    add_to_rows(x, pairs(numbers, 0.0, dtype), out)
    np.testing.assert_array_equal(out, x + exact)
    multiply_rows(out, pairs(numbers, 0.0, dtype), out)  # in place
    np.testing.assert_array_equal(out, (x + exact) * exact)


def test_outer_is_the_sum_of_two_outer_products():
    left = pairs(np.array([1.0, 2.0]), np.array([10.0, 20.0]), "f4")
    right = np.array([[1, 2, 3], [0, 1, 0]], "f4")
    assert outer(left, right).tolist() == [[1, 12, 3], [2, 24, 6]]


def test_numpys_buffer_is_small_inside_direct_rows_only_and_also_after_an_error():
    before = np.getbufsize()

    @direct_rows
    def look(fail):
        size = np.getbufsize()
        if fail:
            raise ValueError(size)
        return size

    assert look(False) == 16
    with pytest.raises(ValueError, match="16"):
        look(True)
    assert np.getbufsize() == before
