"""The plain kernels against exact values, and those of the CPU against the plain ones."""

import math

import numpy as np
import pytest

from minidl.backend import by_name, quiet
from minidl.backend.plain.elementwise import ElementwiseKernels


class Plain(ElementwiseKernels):
    xp = np


PLAIN, CPU = Plain(), by_name("cpu")
# Below and above the size where the CPU's kernels change their form.
SIZES = [(), (3, 4), (70, 80)]
DTYPES = ["float16", "float32", "float64", "int32", "int64", "uint8", "bool"]


@quiet
def erf(x):
    return PLAIN.erf(x)


def test_erf_in_double_precision_is_within_a_few_units_of_the_last_place():
    x = np.concatenate(
        [
            np.linspace(-7, 7, 7001),
            10.0 ** -np.arange(0, 300, 7),
            [0.46875, np.nextafter(0.46875, 1), 4.0, 5.9, 6.0, 6.1, 40.0],
        ]
    )
    expected = np.array([math.erf(v) for v in x])
    error = np.abs(erf(x) - expected)
    assert (error <= 5e-16 * np.abs(expected)).all()


def test_erf_in_single_precision_is_within_three_ten_millionths():
    x = np.concatenate([np.linspace(-7, 7, 14001), 10.0 ** -np.arange(0, 30, 1.0)]).astype("f4")
    expected = np.array([math.erf(v) for v in x.tolist()])
    y = erf(x)
    assert y.dtype == np.float32
    assert (np.abs(y - expected) <= 3e-7 * np.abs(expected)).all()
    assert (np.abs(y) <= 1).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_erf_of_infinities_nan_and_zeros(dtype):
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], dtype)
    y = erf(x)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, np.array([1, -1, np.nan, 0, 0], dtype))
    assert np.signbit(y[4])


def test_erf_in_single_precision_saturates_for_huge_numbers():
    assert erf(np.array([1e10, -1e30, 3e38], "f4")).tolist() == [1.0, -1.0, 1.0]


def test_erf_of_a_0d_array_is_one_number():
    for dtype in ("float16", "float32", "float64"):
        assert np.shape(erf(np.array(0.5, dtype))) == ()


@quiet
def test_sigmoid_neither_overflows_nor_loses_digits():
    x = np.array([-1000.0, -50.0, 0.0, 50.0, 1000.0, np.nan])
    expected = [0.0, math.exp(-50), 0.5, 1.0, 1.0, np.nan]
    np.testing.assert_allclose(PLAIN.sigmoid(x), expected, rtol=1e-15)


def test_sign_of_nan_is_zero():
    np.testing.assert_array_equal(PLAIN.sign(np.array([np.nan, -2.0, 0.0, 3.0])), [0, -1, 0, 1])
    np.testing.assert_array_equal(PLAIN.sign(np.array([0, 3], np.uint8)), [0, 1])


def numbers(size, dtype, seed=0):
    x = np.random.default_rng(seed).standard_normal(size) * 50
    x = np.asarray(x)
    if x.size > 5:
        x.flat[:5] = [0.0, -0.0, 1.0, -1.0, 99.0]
    return np.abs(x).astype(dtype) if dtype == "uint8" else x.astype(dtype)


def special(x):
    """x with NaN and infinities, where its dtype has them."""
    if x.dtype.kind == "f" and x.size > 9:
        x.flat[5:9] = [np.nan, np.inf, -np.inf, np.nan]
    return x


def mask(size):
    return np.asarray(np.random.default_rng(9).random(size) > 0.5)


def assert_same(a, b):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_where_and_masked(size, dtype):
    a, b = special(numbers(size, dtype)), special(numbers(size, dtype, 1))
    keep = mask(size)
    assert_same(CPU.where(keep, a, b), PLAIN.where(keep, a, b))
    assert_same(CPU.masked(a, keep), PLAIN.masked(a, keep))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_and_masked_of_broadcast_and_turned_arrays(dtype):
    a, b = numbers((70, 80), dtype), numbers((80,), dtype, 1)
    turned = np.asfortranarray(a)[::-1]
    for keep in (mask((70, 80)), mask((70, 1)), mask((80,)), mask((140, 80))[::2]):
        assert_same(CPU.where(keep, turned, b), PLAIN.where(keep, turned, b))
        assert_same(CPU.masked(turned, keep), PLAIN.masked(turned, keep))
    number = a.dtype.type
    keep = mask((70, 80))
    assert_same(
        CPU.where(keep, number(1), number(-0.5)), PLAIN.where(keep, number(1), number(-0.5))
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
@pytest.mark.parametrize("size", SIZES)
def test_relu(size, dtype):
    x = special(numbers(size, dtype))
    assert_same(CPU.relu(x), PLAIN.relu(x))


@pytest.mark.parametrize("exponent", [-3, -2, -1, 0, 1, 2, 3, 4, 5, 2.0, 0.5, -0.5, 2.5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
@quiet
def test_power(size, dtype, exponent):
    x = special(numbers(size, dtype))
    y = CPU.power(x, exponent)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(
        y, PLAIN.power(x, exponent), rtol=1e-6 if dtype == "float32" else 1e-15
    )
