"""Softmax of rows on the CPU against the plain kernels."""

import numpy as np
import pytest

from minidl.backend import by_name
from minidl.backend.cpu import softmax as cpu
from minidl.backend.plain.softmax import SoftmaxKernels


class _Plain(SoftmaxKernels):
    xp = np

    def sum(self, x, axes, keepdims):
        return x.sum(axis=axes, keepdims=keepdims)


PLAIN, CPU = _Plain(), by_name("cpu")


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(cpu, "FEW", 0)
    monkeypatch.setattr(cpu, "PIECE", 4000)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("levels", [0.0, 5.0, 300.0])
@pytest.mark.parametrize("shape", [(40, 10), (3, 5, 600), (7, 3)])
def test_softmax_and_its_gradient_equal_the_plain_kernels(log, dtype, levels, shape):
    rng = np.random.default_rng(0)
    # `levels`: how far apart rows are from each other, so that one number does for all, or not.
    x = rng.standard_normal(shape) * 2 + rng.standard_normal((*shape[:-1], 1)) * levels
    x, grad = x.astype(dtype), rng.standard_normal(shape).astype(dtype)
    dim = len(shape) - 1
    exact, exact_grad = x.astype("f8"), grad.astype("f8")
    tolerance = 2e-6 if dtype == "float32" else 1e-12
    y, expected = CPU.softmax(x, dim, log), PLAIN.softmax(exact, dim, log)
    assert y.dtype == np.dtype(dtype)
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    dx = CPU.softmax_grad(expected.astype(dtype), grad, dim, log)
    assert dx.dtype == np.dtype(dtype)
    wanted = PLAIN.softmax_grad(expected, exact_grad, dim, log)
    np.testing.assert_allclose(dx, wanted, rtol=0, atol=5 * tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("log", [False, True])
def test_infinities_and_nan_stay_in_their_rows(log):
    x = np.random.default_rng(0).standard_normal((6, 5)).astype("f4")
    x[1, 2] = np.nan
    x[2] = -np.inf
    x[3, :3] = -np.inf
    x[4, 0] = np.inf
    y, expected = CPU.softmax(x, 1, log), PLAIN.softmax(x.astype("f8"), 1, log)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    assert np.isfinite(y[[0, 5]]).all()
    assert np.isnan(y[[1, 2, 4]]).all()
