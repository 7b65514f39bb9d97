"""Normalisation: running statistics, errors, empty batches, dtypes.

Values and gradients are in cases/norm.py.
"""

import numpy as np
import pytest

import minidl as md
from minidl.ops import norm
from minidl.ops.activation import relu

DEVICES = ["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)]


def _x(*shape, dtype="float64", grad=False, device="cpu"):
    values = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    return md.tensor(values, device=device, requires_grad=grad)


def _zeros_and_ones(n, dtype="float64", device="cpu"):
    return [md.tensor(a, dtype=dtype, device=device) for a in (np.zeros(n), np.ones(n))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("function", [norm.batch_norm, norm.batch_norm_relu])
def test_running_statistics_move_by_momentum_and_take_the_unbiased_variance(device, function):
    x = _x(4, 3, 5, device=device)
    mean, var = _zeros_and_ones(3, device=device)
    versions = mean._version[0], var._version[0]
    function(x, mean, var, training=True, momentum=0.25)
    values = x.cpu().numpy()
    assert np.allclose(mean.cpu().numpy(), 0.25 * values.mean((0, 2)))
    assert np.allclose(var.cpu().numpy(), 0.75 + 0.25 * values.var((0, 2), ddof=1))
    assert (mean._version[0], var._version[0]) == (versions[0] + 1, versions[1] + 1)


def test_running_statistics_stay_as_they_are_outside_training():
    mean, var = _zeros_and_ones(3)
    norm.batch_norm(_x(4, 3), mean, var)
    norm.instance_norm(_x(2, 3, 4), mean, var, use_input_stats=False)
    assert np.array_equal(mean.numpy(), np.zeros(3))
    assert np.array_equal(var.numpy(), np.ones(3))


def test_float32_running_statistics_of_float16_images_stay_float32():
    x = _x(4, 3, 2, 2, dtype="float16", grad=True)
    mean, var = _zeros_and_ones(3, "float32")
    weight = md.tensor(np.ones(3, "float32"), requires_grad=True)
    y = norm.batch_norm(x, mean, var, weight, weight, training=True)
    y.sum().backward()
    assert (y.dtype, x.grad.dtype, weight.grad.dtype) == (np.float16, np.float16, np.float32)
    assert mean.dtype == var.dtype == np.float32
    assert norm.batch_norm(x, mean, var, weight).dtype == np.float16


def test_training_sees_the_statistics_of_the_batch_even_under_no_grad():
    mean, var = _zeros_and_ones(3)
    with md.no_grad():
        y = norm.batch_norm(_x(8, 3, grad=True) + 5, mean, var, training=True, momentum=1.0)
    assert not y.requires_grad
    assert mean.numpy().min() > 3


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2), (4, 3, 2, 2), (2, 3, 2, 2, 2)])
def test_batch_norm_relu_is_relu_of_batch_norm_to_second_order(shape):
    rng = np.random.default_rng(3)
    results = []
    for function in (norm.batch_norm_relu, lambda *a: relu(norm.batch_norm(*a))):
        x = _x(*shape, grad=True)
        w, b = [md.tensor(v, requires_grad=True) for v in (np.array([1.0, -2, 0.5]), np.ones(3))]
        y = function(x, None, None, w, b, True)
        rng = np.random.default_rng(4)
        u = md.tensor(rng.standard_normal(shape), requires_grad=True)
        first = md.grad(y, [x, w, b], u, create_graph=True)
        total = sum((g * md.tensor(rng.standard_normal(g.shape))).sum() for g in first)
        second = md.grad(total, [x, w, u])
        results.append([t.detach().numpy() for t in (y, *first, *second)])
    for a, b in zip(*results, strict=True):
        assert np.allclose(a, b, rtol=1e-12, atol=1e-12)


def test_batch_norm_is_differentiable_three_times():
    x = _x(4, 2, 3, grad=True)
    w = md.tensor(np.array([1.5, -0.5]), requires_grad=True)

    def gradient(x, w):
        y = norm.batch_norm(x, None, None, w, None, True, eps=1e-2)
        return md.grad((y * y * y).sum(), [x, w], create_graph=True)

    assert md.gradgradcheck(gradient, [x, w])


def test_frozen_statistics_are_constants():
    mean, var = _zeros_and_ones(3)
    x = _x(4, 3, grad=True)
    y = norm.batch_norm(x, mean, var)
    mean.zero_()
    y.sum().backward()  # nothing that backward needs was changed
    assert np.allclose(x.grad.numpy(), 1 / np.sqrt(1 + 1e-5))


def test_empty_batches_pass_through():
    mean, var = _zeros_and_ones(3)
    weight = md.tensor(np.ones(3), requires_grad=True)
    for shape in ((0, 3), (0, 3, 4, 4), (2, 3, 0)):
        for training in (True, False):
            for function in (norm.batch_norm, norm.batch_norm_relu):
                x = _x(*shape, grad=True)
                y = function(x, mean, var, weight, weight, training)
                assert y.shape == shape
                weight.grad = None
                y.sum().backward()
                assert np.array_equal(weight.grad.numpy(), np.zeros(3))
                assert x.grad.shape == shape
    assert np.array_equal(mean.numpy(), np.zeros(3))
    assert norm.layer_norm(_x(0, 3), 3, weight, weight).shape == (0, 3)
    assert norm.layer_norm(_x(2, 0), 0).shape == (2, 0)
    assert norm.group_norm(_x(0, 3, 2), 3, weight).shape == (0, 3, 2)
    assert norm.instance_norm(_x(0, 3, 2)).shape == (0, 3, 2)
    assert norm.local_response_norm(_x(0, 3, 2), 2).shape == (0, 3, 2)
    assert norm.normalize(_x(0, 3)).shape == (0, 3)


def test_integers_become_float32():
    x = md.tensor(np.arange(12).reshape(4, 3))
    for y in (
        norm.batch_norm(x, None, None, training=True),
        norm.layer_norm(x, 3),
        norm.group_norm(x.reshape(2, 2, 3), 1),
        norm.instance_norm(x.reshape(2, 2, 3)),
        norm.normalize(x),
        norm.local_response_norm(x.reshape(2, 2, 3), 3),
    ):
        assert y.dtype == np.float32


def test_one_value_per_row_of_layer_norm_is_its_bias():
    assert np.array_equal(norm.layer_norm(_x(3, 1), 1).numpy(), np.zeros((3, 1)))


def test_normalize_of_zero_is_zero_with_a_finite_gradient():
    for dtype in ("float16", "float32", "float64"):
        for p in (1.0, 2.0, 3.0, float("inf")):
            x = md.tensor(np.zeros((2, 3), dtype), requires_grad=True)
            y = norm.normalize(x, p, eps=1e-3)
            y.sum().backward()
            assert np.array_equal(y.detach().numpy(), np.zeros((2, 3)))
            assert np.allclose(x.grad.numpy(), 1000, rtol=1e-2)


def test_normalize_does_not_overflow_in_float16():
    y = norm.normalize(md.tensor(np.float16([[3000, 4000]])))
    assert np.allclose(y.numpy(), [[0.6, 0.8]], atol=1e-3)


def test_statistics_of_nan_are_nan_without_a_warning():
    x = _x(4, 3).numpy().copy()
    x[1, 2] = np.nan
    mean, var = _zeros_and_ones(3)
    y = norm.batch_norm(md.tensor(x), mean, var, training=True).numpy()
    assert np.isnan(y[:, 2]).all()
    assert np.isfinite(y[:, :2]).all()
    assert np.isnan(mean.numpy()).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: norm.batch_norm(_x(1, 3), None, None, training=True),
            r"batch_norm: expected more than 1 value per channel in training.*\(1, 3\)",
        ),
        (lambda: norm.batch_norm(_x(3), None, None, training=True), "batch_norm: .* 2 dimensions"),
        (lambda: norm.batch_norm(_x(4, 3), None, None), "batch_norm: running_mean and running_var"),
        (
            lambda: norm.batch_norm(_x(4, 3), _x(3), None, training=True),
            "batch_norm: give both",
        ),
        (
            lambda: norm.batch_norm(_x(4, 3), _x(4), _x(4)),
            r"batch_norm: running_mean of shape \(4,\) does not fit the 3 channels",
        ),
        (
            lambda: norm.batch_norm_relu(_x(4, 3), None, None, _x(2), training=True),
            r"batch_norm_relu: weight of shape \(2,\)",
        ),
        (
            lambda: norm.batch_norm(_x(4, 3), None, None, None, _x(3, 1), training=True),
            r"batch_norm: bias of shape \(3, 1\)",
        ),
        (lambda: norm.layer_norm(_x(4, 3), (4,)), r"layer_norm: input \(4, 3\) must end in"),
        (lambda: norm.layer_norm(_x(4, 3), ()), "layer_norm: .* at least one"),
        (lambda: norm.layer_norm(_x(4, 3), 3, _x(4)), r"layer_norm: weight of shape \(4,\)"),
        (lambda: norm.layer_norm(_x(4, 3), 3, None, _x(1)), r"layer_norm: bias of shape \(1,\)"),
        (lambda: norm.group_norm(_x(4, 6, 2), 4), "group_norm: the 6 channels .* num_groups 4"),
        (lambda: norm.group_norm(_x(4, 6, 2), 0), "group_norm: .* num_groups 0"),
        (lambda: norm.group_norm(_x(1, 6), 6), "group_norm: expected more than 1 value"),
        (lambda: norm.group_norm(_x(6), 2), "group_norm: input must have at least 2"),
        (lambda: norm.group_norm(_x(2, 4), 2, _x(3)), "group_norm: weight of shape"),
        (lambda: norm.instance_norm(_x(4, 3)), "instance_norm: expected more than 1 position"),
        (lambda: norm.instance_norm(_x(4, 3, 1)), "instance_norm: expected more than 1 position"),
        (
            lambda: norm.instance_norm(_x(4, 3, 2), use_input_stats=False),
            "instance_norm: running_mean and running_var",
        ),
        (lambda: norm.local_response_norm(_x(4, 3), 2), "local_response_norm: .* 3 dimensions"),
        (lambda: norm.local_response_norm(_x(4, 3, 2), 0), "local_response_norm: size"),
    ],
)
def test_wrong_input_is_an_error_that_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_normalize_along_a_missing_dimension_is_an_error():
    with pytest.raises(IndexError, match="normalize: dimension 2"):
        norm.normalize(_x(3, 4), dim=2)
