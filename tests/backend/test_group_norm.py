"""Layer, group and instance normalisation for NumPy against their plain form."""

import numpy as np
import pytest

from minidl.backend import by_name
from minidl.backend.cpu import group_norm as cpu
from minidl.backend.plain.norm import NormKernels

# Every branch: weights of columns and of rows, short and long rows, one group and several.
CASES = [
    ((7, 12, 1), 1),
    ((3, 900, 1), 1),
    ((4, 6, 5), 3),
    ((2, 4, 700), 2),
    ((3, 5, 1500), 5),
    ((5, 6, 1), 2),
    ((1, 3, 40), 1),
]


class _Plain(NormKernels):
    xp = np


PLAIN = _Plain()


@pytest.fixture(params=["whole", "pieces"])
def _pieces(request, monkeypatch):
    if request.param == "pieces":
        monkeypatch.setattr(cpu, "BLOCK", 2000)
        monkeypatch.setattr(cpu, "PIECE", 500)


def _near(actual, expected, tolerance):
    scale = max(np.abs(expected).max(), 1e-3)
    assert np.abs(np.asarray(actual, np.float64) - expected).max() <= tolerance * scale


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize(("shape", "groups"), CASES)
@pytest.mark.parametrize("mean", [0.5, 1000.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normalisation_and_its_gradient_equal_the_plain_kernels(shape, groups, mean, dtype):
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((2, *shape)) * 2
    weight, bias = rng.standard_normal((2, shape[1]))
    arrays = [a.astype(dtype) for a in (x + mean, grad, weight, bias)]
    exact = [a.astype(np.float64) for a in arrays]
    tolerance = 1e-9 if dtype == "float64" else 1e-5
    fast = by_name("cpu")
    for use_weight, use_bias in ((True, True), (True, False), (False, True), (False, False)):
        w, b = arrays[2] if use_weight else None, arrays[3] if use_bias else None
        ew, eb = exact[2] if use_weight else None, exact[3] if use_bias else None
        y, m, v = fast.group_norm(arrays[0], groups, w, b, 1e-5)
        expected, em, ev = PLAIN.group_norm(exact[0], groups, ew, eb, 1e-5)
        assert y.dtype == np.dtype(dtype)
        assert y.shape == shape
        _near(y, expected, tolerance)
        # A sum has errors in proportion to what is summed, not to the result.
        allowed = (1e-7 if dtype == "float32" else 1e-14) * np.sqrt(em**2 + ev)
        assert (np.abs(m - em) <= allowed).all()
        _near(v, ev, tolerance)
        invstd = 1 / np.sqrt(ev + 1e-5)
        found = fast.group_norm_grad(arrays[1], arrays[0], groups, w, m, invstd)
        sought = PLAIN.group_norm_grad(exact[1], exact[0], groups, ew, em, invstd)
        assert found[0].dtype == np.dtype(dtype)
        for f, s in zip(found, sought, strict=True):
            _near(f, s, 10 * tolerance)


def test_half_precision_is_computed_in_single():
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((2, 3, 4, 5)).astype("f2")
    weight = np.ones(4, "f4")
    fast = by_name("cpu")
    y, mean, var = fast.group_norm(x, 2, weight, None, 1e-5)
    assert (y.dtype, mean.dtype, var.dtype) == ("float16", "float32", "float32")
    expected, em, ev = PLAIN.group_norm(x.astype("f8"), 2, None, None, 1e-5)
    _near(y, expected, 1e-3)
    dx, _, _ = fast.group_norm_grad(grad, x, 2, weight, mean, 1 / np.sqrt(var + 1e-5))
    assert dx.dtype == np.float16
    sought, _, _ = PLAIN.group_norm_grad(
        grad.astype("f8"), x.astype("f8"), 2, None, em, 1 / np.sqrt(ev + 1e-5)
    )
    _near(dx, sought, 2e-3)


def test_the_size_of_numpys_buffer_is_what_it_was_before():
    before = np.getbufsize()
    by_name("cpu").group_norm(np.ones((2, 3, 4), "f4"), 1, None, None, 1e-5)
    assert np.getbufsize() == before
