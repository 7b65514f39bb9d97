"""Softmax at its edges. Values and gradients of ordinary input: cases/softmax.py."""

import math

import numpy as np
import pytest

import minidl as md
from minidl.ops.softmax import log_softmax, softmax, softmin

FUNCTIONS = [softmax, softmin, log_softmax]


def test_large_scores_do_not_overflow():
    x = md.tensor(np.float32([1e4, 1e4, -1e4]), requires_grad=True)
    assert softmax(x, 0).tolist() == [0.5, 0.5, 0]
    y = log_softmax(x, 0)
    assert np.allclose(y.tolist(), [-math.log(2), -math.log(2), -2e4 - math.log(2)])
    md.grad(y[2], x)


def test_a_score_of_minus_infinity_has_no_share_and_a_finite_gradient():
    x = md.tensor([[-math.inf, 0.0, 1.0]], requires_grad=True)
    y = softmax(x, 1)
    assert y.tolist()[0][0] == 0
    (y * md.tensor([[3.0, 1.0, 2.0]])).sum().backward()
    assert x.grad.tolist()[0][0] == 0
    assert np.isfinite(x.grad.numpy()).all()
    x.grad = None
    log_softmax(x, 1)[0, 1].backward()
    assert x.grad.tolist()[0][0] == 0
    assert np.isfinite(x.grad.numpy()).all()
    assert log_softmax(x, 1).tolist()[0][0] == -math.inf


@pytest.mark.parametrize("row", [[-math.inf, -math.inf], [math.inf, 0.0], [math.nan, 0.0]])
def test_rows_without_an_answer_are_nan_without_a_warning(row):
    for function in (softmax, log_softmax):
        values = function(md.tensor([row, [0.0, 0.0]]), 1).numpy()
        assert np.isnan(values[0]).all()
        assert np.isfinite(values[1]).all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_shapes_without_elements_and_without_dimensions(function):
    for shape in ((0, 3), (3, 0), (0,)):
        x = md.tensor(np.zeros(shape), requires_grad=True)
        y = function(x, -1)
        assert y.shape == shape
        y.sum().backward()
        assert x.grad.shape == shape
    assert function(md.tensor(2.0), 0).shape == ()


def test_dtypes():
    integers = md.tensor([[1, 2], [3, 4]])
    for function in FUNCTIONS:
        assert function(integers, 1).dtype == np.float32
        assert function(integers, 1, dtype="float64").dtype == np.float64
        assert function(md.tensor(np.zeros(2, "float16")), 0).dtype == np.float16
    many = softmax(md.tensor(np.zeros(60_000, "float16")), 0)  # their sum is found in float32
    assert np.allclose(many.numpy(), 1 / 60_000, rtol=1e-1)


def test_a_missing_dim_is_chosen_as_in_torch_with_a_warning():
    for shape, dim in (((3,), 0), ((2, 3), 1), ((2, 3, 2), 0), ((2, 3, 2, 2), 1)):
        x = md.tensor(np.random.default_rng(0).standard_normal(shape))
        with pytest.warns(UserWarning, match=f"softmax: dim was not given; taking {dim}"):
            y = softmax(x)
        assert np.array_equal(y.numpy(), softmax(x, dim).numpy())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_dimension_that_is_not_there_is_an_error(function):
    with pytest.raises(IndexError, match=f"{function.__name__}: dimension 2"):
        function(md.tensor([[1.0]]), 2)


def test_methods_of_a_tensor():
    x = md.tensor([[1.0, 2.0]])
    assert np.array_equal(x.softmax(1).numpy(), softmax(x, 1).numpy())
    assert np.array_equal(x.log_softmax(-1).numpy(), log_softmax(x, 1).numpy())
