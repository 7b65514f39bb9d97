import operator

import numpy as np
import pytest

import minidl as md
from minidl.ops import arithmetic as op

from .parity import assert_like_torch

NAN, INF = float("nan"), float("inf")
SPECIAL = [0.0, 2.0, -3.0, NAN, INF, -INF]
BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.mod,
    operator.pow,
]


@pytest.mark.parametrize("function", BINARY)
def test_zeros_infinities_and_nan_give_torchs_values_and_gradients(function):
    a, b = np.meshgrid(SPECIAL, SPECIAL)
    if function is operator.mod:  # torch's modulus of and by infinity differs between its kernels
        a, b = np.meshgrid([0.0, 2.0, -3.0, NAN], [2.0, -3.0, NAN, 0.0])
    assert_like_torch(function, lambda torch, a, b: function(a, b), a, b)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 0.5, -1, -2, 2.5, -0.5])
def test_powers_of_special_numbers_are_torchs(exponent):
    numbers = SPECIAL
    if exponent in (0.5, -0.5):
        numbers = SPECIAL[:-1]  # torch takes a root of -inf, C's pow says +inf or 0
    assert_like_torch(lambda x: x**exponent, lambda torch, x: x**exponent, numbers)


@pytest.mark.parametrize("base", [0, 1, 2.5, -2.0])
def test_powers_of_special_bases_are_torchs(base):
    assert_like_torch(lambda x: base**x, lambda torch, x: torch.pow(base, x), [0.0, 2.0, -1.0, 0.5])


def test_pow_at_zero_is_torchs():
    assert_like_torch(
        lambda a, b: a**b,
        lambda torch, a, b: a**b,
        [0.0, 0.0, -2.0, 2.0, 0.0],
        [0.0, 2.0, 3.0, 0.5, -1.0],
    )


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_rounded_division_by_zero_is_torchs(mode):
    assert_like_torch(
        lambda a, b: op.div(a, b, rounding_mode=mode),
        lambda torch, a, b: torch.div(a, b, rounding_mode=mode),
        [5.0, -5.0, 0.0, 1.0],
        [2.0, 2.0, 0.0, 0.0],
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda i, f, b: i + f,
        lambda i, f, b: i * 2,
        lambda i, f, b: i * 2.5,
        lambda i, f, b: i / 2,
        lambda i, f, b: i / i,
        lambda i, f, b: b + 1,
        lambda i, f, b: b * b,
        lambda i, f, b: b + b,
        lambda i, f, b: b / b,
        lambda i, f, b: b**2,
        lambda i, f, b: i**2,
        lambda i, f, b: i**0.5,
        lambda i, f, b: 2**i,
        lambda i, f, b: 2.0**i,
        lambda i, f, b: i + True,
        lambda i, f, b: f + i.sum(),
        lambda i, f, b: i // 2,
        lambda i, f, b: i % 2,
        lambda i, f, b: -i,
    ],
)
def test_types_mix_as_in_torch(function):
    arrays = [np.array([1, 2, 3]), np.array([0.5, 1.5, 2.5]), np.array([True, False, True])]
    assert_like_torch(
        function, lambda torch, *t: function(*t), *arrays, dtype="float32", grad=False, rtol=1e-6
    )


def test_a_0d_float64_tensor_does_not_widen_a_float32_tensor():
    x = md.tensor(np.ones(3, np.float32))
    y = md.tensor(np.float64(2.0))
    assert (x * y).dtype == (y * x).dtype == np.float32
    assert (x * np.float64(2.0)).dtype == (np.float64(2.0) * x).dtype == np.float32


@pytest.mark.parametrize("function", [operator.floordiv, operator.mod])
def test_integers_divided_by_zero_raise(function):
    with pytest.raises(ZeroDivisionError, match=r"floor_divide|remainder"):
        function(md.tensor([1, 2]), md.tensor([1, 0]))
    with pytest.raises(ZeroDivisionError, match="div: integer"):
        op.div(md.tensor([1]), 0, rounding_mode="trunc")


def test_integers_to_negative_powers_raise():
    with pytest.raises(ValueError, match="pow: integers to the negative power -1"):
        md.tensor([2, 3]) ** -1


def test_an_unknown_rounding_mode_raises():
    with pytest.raises(ValueError, match="rounding_mode must be None, 'trunc' or 'floor'"):
        op.div(md.tensor([1.0]), 2, rounding_mode="up")


def test_floor_divide_has_no_gradient_and_says_so():
    x = md.tensor([5.0, 7.0], requires_grad=True)
    with pytest.raises(NotImplementedError, match="FloorDivide"):
        (x // 2).sum().backward()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (op.add, "add"),
        (op.sub, "sub"),
        (op.mul, "mul"),
        (op.div, "div"),
        (op.pow, "pow"),
        (op.remainder, "remainder"),
        (op.floor_divide, "floordivide"),
    ],
)
def test_shapes_that_do_not_broadcast_are_named(function, name):
    with pytest.raises(ValueError, match=rf"{name}: shapes \(3,\) and \(2, 2\) do not broadcast"):
        function(md.tensor([1.0, 2.0, 3.0]), md.tensor([[1.0, 2.0], [3.0, 4.0]]))


def test_empty_tensors_give_empty_results():
    for function in BINARY:
        assert_like_torch(
            function, lambda torch, a, b, f=function: f(a, b), np.zeros((0, 3)), np.ones(3)
        )


def test_numpy_arrays_are_operands_on_either_side():
    x = md.tensor(np.ones(3), requires_grad=True)
    a = np.array([1.0, 2.0, 3.0])
    assert isinstance(a * x, md.Tensor)
    assert isinstance(a - x, md.Tensor)
    np.testing.assert_array_equal((a - x).detach().numpy(), [0, 1, 2])


def test_the_gradient_of_a_large_power_of_negative_numbers_is_right():
    x = -np.linspace(0.5, 1.5, 3000)  # long enough for the kernel that works on magnitudes
    for n in (5, 6, -3):
        assert_like_torch(lambda x, n=n: x**n, lambda torch, x, n=n: x**n, x)


def test_random_shapes_that_broadcast_give_torchs_values_and_gradients():
    rng = np.random.default_rng(0)
    for trial in range(120):
        function = BINARY[trial % len(BINARY)]
        shape = rng.integers(1, 4, rng.integers(0, 5))
        pair = []
        for _ in range(2):
            part = np.where(rng.random(len(shape)) < 0.4, 1, shape)[rng.integers(len(shape) + 1) :]
            pair.append(rng.uniform(0.3, 2.0, part))
        assert_like_torch(function, lambda torch, a, b, f=function: f(a, b), *pair)
