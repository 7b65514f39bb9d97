"""Activations and their gradients on the CPU against exact values and the plain kernels."""

import math

import numpy as np
import pytest

from minidl.backend import by_name, get_num_threads, quiet, set_num_threads
from minidl.backend.cpu import activation as cpu
from minidl.backend.plain.activation import ActivationKernels


class _Plain(ActivationKernels):
    xp = np


PLAIN, CPU = _Plain(), by_name("cpu")
GRADIENTS = ["gelu", "silu", "hardswish"]


@quiet  # as in the forward of an operation
def _run(name, *arrays):
    return getattr(CPU, name)(*arrays)


def _chance(x):
    """The normal distribution function, without cancellation in its lower tail."""
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])


def test_gelu_is_within_one_ten_millionth_of_its_largest_term():
    x = np.concatenate([np.linspace(-12, 12, 24001), [0.0, 1e-30, -1e-20, 100, -100]]).astype("f4")
    exact = x.astype("f8")
    error = np.abs(_run("gelu", x) - exact * _chance(exact))
    assert (error <= 1.5e-7 * np.maximum(1, np.abs(exact))).all()


def test_the_slope_of_gelu_is_within_a_few_ten_millionths():
    x = np.concatenate([np.linspace(-12, 12, 24001), [0.0, 1e-30, -1e-20, 100, -100]]).astype("f4")
    exact = x.astype("f8")
    density = np.exp(-exact * exact / 2) / math.sqrt(2 * math.pi)
    slope = _run("gelu_grad", np.ones_like(x), x, _run("gelu", x))
    assert np.abs(slope - (_chance(exact) + exact * density)).max() < 4e-7


def test_silu_and_its_slope_keep_their_digits_in_the_lower_tail():
    x = np.linspace(-60, 20, 8001).astype("f4")
    exact = x.astype("f8")
    s = 1 / (1 + np.exp(-exact))
    y = _run("silu", x)
    np.testing.assert_allclose(y, exact * s, rtol=1e-5, atol=0)
    slope = _run("silu_grad", np.ones_like(x), x, y)
    away = np.abs(exact + 1.2784645) > 0.1  # where the slope is zero
    np.testing.assert_allclose(slope[away], (s * (1 + exact * (1 - s)))[away], rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (3, 4), (5, 70)])
def test_gradients_equal_the_plain_kernels(name, dtype, shape):
    rng = np.random.default_rng(0)
    x, grad = (np.asarray(rng.standard_normal(shape) * 3).astype(dtype) for _ in range(2))
    if shape:
        x[0] = 0
    y = _run(name, x)
    args = (grad, x) if name == "hardswish" else (grad, x, y)
    exact = [a.astype("f8") for a in args]
    dx = _run(f"{name}_grad", *args)
    assert dx.dtype == np.dtype(dtype)
    assert dx.shape == shape
    rtol = {"float16": 5e-3, "float32": 1e-6, "float64": 1e-12}[dtype]
    expected = getattr(PLAIN, f"{name}_grad")(*exact)
    np.testing.assert_allclose(dx, expected, rtol=rtol, atol=rtol * 3)


def test_hardswish_has_torchs_slope_at_its_kinks():
    x = np.array([-3.5, -3, np.nextafter(np.float32(-3), 0), 0, 2.9999998, 3, 4], "f4")
    slope = _run("hardswish_grad", np.ones_like(x), x)
    np.testing.assert_allclose(slope, [0, 0, -0.5, 0.5, 1.5, 1, 1], atol=1e-6)


@pytest.mark.parametrize("threads", [1, 3])
def test_pieces_on_several_threads_give_the_same_numbers(threads, monkeypatch):
    x = np.random.default_rng(0).standard_normal((7, 1001)).astype("f4")
    whole = [
        _run("silu", x),
        _run("gelu", x),
        _run("hardswish", x),
        _run("sigmoid", x),
        _run("softplus", x),
    ]
    monkeypatch.setattr(cpu, "PIECE", 100)
    monkeypatch.setattr(cpu, "WORTH_A_THREAD", 500)
    before = get_num_threads()
    set_num_threads(threads)
    try:
        for name, expected in zip(
            ("silu", "gelu", "hardswish", "sigmoid", "softplus"), whole, strict=True
        ):
            np.testing.assert_allclose(_run(name, x.T).T, expected, rtol=1e-6, atol=1e-7)
    finally:
        set_num_threads(before)
