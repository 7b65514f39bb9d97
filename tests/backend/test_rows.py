"""Arithmetic of a matrix with a number for each row."""

import numpy as np
import pytest

from minidl.backend.cpu.rows import (
    LONG,
    add_to_rows,
    direct_rows,
    multiply_rows,
    outer,
    pairs,
    row_dots,
    row_sums,
)


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 1000), (16, 1024), (2, 4096), (7, 3 * 1024 + 5), (600, 64)]
)
def test_sums_over_rows_equal_those_of_float64(shape, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, *shape)).astype(dtype)
    wide = x.astype(np.float64), y.astype(np.float64)
    tolerance = {"rtol": 0, "atol": 64 * np.finfo(dtype).eps * shape[1] ** 0.5}
    np.testing.assert_allclose(row_sums(x), wide[0].sum(1), **tolerance)
    np.testing.assert_allclose(row_dots(x, y), (wide[0] * wide[1]).sum(1), **tolerance)
    np.testing.assert_allclose(  # of matrices that are not one run of memory
        row_dots(x.T.copy().T, y), (wide[0] * wide[1]).sum(1), **tolerance
    )
    assert row_sums(x).dtype == row_dots(x, y).dtype == dtype
