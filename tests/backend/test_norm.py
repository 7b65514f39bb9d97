"""The normalisation kernels for NumPy against their plain form."""

import numpy as np
import pytest

from minidl.backend import by_name
from minidl.backend.cpu import norm as cpu_norm
from minidl.backend.plain.norm import NormKernels

# Every branch: one position, short and long rows, few and many samples, one sample.
SHAPES = [(9, 5, 1), (3, 4, 7), (12, 3, 40), (2, 3, 300), (8, 2, 5000), (1, 30, 64), (1, 7, 5)]


class _Plain(NormKernels):
    xp = np


PLAIN = _Plain()


@pytest.fixture(params=["whole", "pieces"])
def _pieces(request, monkeypatch):
    if request.param == "pieces":
        monkeypatch.setattr(cpu_norm, "PIECE", 512)


def _data(shape, dtype, mean):
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((2, *shape)) * 2
    weight, bias = rng.standard_normal((2, shape[1]))
    x += mean
    return [a.astype(dtype) for a in (x, grad, weight, bias)]


def _near(actual, expected, tolerance):
    scale = max(np.abs(expected).max(), 1e-3)
    assert np.abs(np.asarray(actual, np.float64) - expected).max() <= tolerance * scale


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mean", [0.5, 1000.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ceiling", [None, np.inf, 0.75])
def test_batch_norm_and_its_gradient_equal_the_plain_kernel(shape, mean, dtype, ceiling):
    fast = by_name("cpu")
    x, grad, weight, bias = _data(shape, dtype, mean)
    exact = [a.astype(np.float64) for a in (x, grad, weight, bias)]
    tolerance = 1e-9 if dtype == "float64" else 1e-5
    for w, b in ((2, 3), (2, None), (None, None)):
        args = [None if i is None else (x, grad, weight, bias)[i] for i in (w, b)]
        wide = [None if i is None else exact[i] for i in (w, b)]
        y, m, v = fast.batch_norm(x, *args, 1e-5, ceiling)
        expected, em, ev = PLAIN.batch_norm(exact[0], *wide, 1e-5, ceiling)
        assert y.dtype == np.dtype(dtype)
        _near(y, expected, tolerance)
        _near(m, em, 1e-7 if dtype == "float32" else 1e-14)
        _near(v, ev, tolerance)
        invstd = 1 / np.sqrt(ev + 1e-5)
        rectified = (None if ceiling is None else expected, ceiling)
        found = fast.batch_norm_grad(grad, x, args[0], m, invstd, *rectified)
        sought = PLAIN.batch_norm_grad(exact[1], exact[0], wide[0], em, invstd, *rectified)
        assert found[0].dtype == np.dtype(dtype)
        for f, s in zip(found, sought, strict=True):
            _near(f, s, 10 * tolerance)


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("shape", [*SHAPES, (0, 3, 4), (2, 0, 4), (2, 3, 0)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_channel_kernels_equal_the_plain_ones(shape, dtype):
    fast = by_name("cpu")
    x, grad, weight, bias = _data(shape, dtype, 0.5)
    exact = [a.astype(np.float64) for a in (x, grad, weight, bias)]
    tolerance = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3}[dtype]
    for w, b in ((2, 3), (2, None), (None, 3), (None, None)):
        args = [None if i is None else (x, grad, weight, bias)[i] for i in (w, b)]
        wide = [None if i is None else exact[i] for i in (w, b)]
        y = fast.channel_affine(x, *args)
        assert y.dtype == np.dtype(dtype)
        assert y.shape == shape
        assert not np.shares_memory(y, x)
        if x.size:
            _near(y, PLAIN.channel_affine(exact[0], *wide), tolerance)
    if shape[1]:
        _near(fast.channel_sum(x), PLAIN.channel_sum(exact[0]), tolerance)
        _near(fast.channel_dot(x, grad), PLAIN.channel_dot(exact[0], exact[1]), tolerance)


def test_a_constant_channel_has_no_variance():
    x = np.full((4, 2, 9), 12345.678, np.float32)
    y, mean, var = by_name("cpu").batch_norm(x, None, np.float32([1, 2]), 1e-5)
    assert np.array_equal(var, [0, 0])
    assert np.allclose(mean, 12345.678)
    assert np.array_equal(y, np.broadcast_to(np.float32([1, 2])[:, None], x.shape))


def test_small_variance_beside_a_large_mean_keeps_its_digits():
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((32, 4, 400)) + 10_000).astype(np.float32)
    y, mean, var = by_name("cpu").batch_norm(x, None, None, 1e-5)
    exact = x.astype(np.float64)
    assert np.allclose(var, exact.var(axis=(0, 2)), rtol=1e-6)
    assert np.allclose(mean, exact.mean(axis=(0, 2)), rtol=1e-9)
    expected = PLAIN.batch_norm(exact, None, None, 1e-5)[0]
    assert np.abs(y - expected).max() < 1e-6 * np.abs(expected).max()


def test_infinities_and_nans_stay_in_their_channel():
    x = np.random.default_rng(0).standard_normal((4, 3, 50)).astype(np.float32)
    x[0, 1, 0], x[2, 2, 3] = np.inf, np.nan
    y, mean, _ = by_name("cpu").batch_norm(x, None, None, 1e-5)
    assert np.isfinite(y[:, 0]).all()
    assert np.isnan(y[:, 2]).all()
    assert np.isnan(y[0, 1, 0])
    assert mean[1] == np.inf
