"""Dropout: shares, channels, samples, random state, errors.

Values and gradients are in cases/dropout.py.
"""

import warnings

import numpy as np
import pytest

import minidl as md
from minidl import backend
from minidl.ops import dropout

DEVICES = ["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)]


def _ones(*shape, dtype="float32", grad=False, device="cpu"):
    return md.tensor(np.ones(shape, dtype), requires_grad=grad, device=device)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_of_zeros_is_p_and_the_mean_stays(p):
    y = dropout.dropout(_ones(200, 500), p).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / (1 - p))}
    deviation = np.sqrt(p * (1 - p) / y.size)
    assert abs((y == 0).mean() - p) < 5 * deviation
    assert abs(y.mean() - 1) < 5 * deviation / (1 - p)


def test_every_call_draws_anew_and_a_seed_repeats():
    x = _ones(8, 9)
    first, second = dropout.dropout(x).numpy(), dropout.dropout(x).numpy()
    assert not np.array_equal(first, second)
    md.manual_seed(0)  # where each test starts
    assert np.array_equal(dropout.dropout(x).numpy(), first)
    state = backend.random.get_state()
    third = dropout.dropout(x).numpy()
    backend.random.set_state(state)
    assert np.array_equal(dropout.dropout(x).numpy(), third)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "function",
    [
        lambda x: dropout.dropout(x, 0.3),
        lambda x: dropout.dropout2d(x, 0.3),
        lambda x: dropout.alpha_dropout(x, 0.3, True),
        lambda x: dropout.stochastic_depth(x, 0.3, "row"),
    ],
)
def test_all_devices_drop_the_same(function, device):
    results = []
    for where in ("cpu", device):
        md.manual_seed(5)
        results.append(function(_ones(6, 5, 3, 2, device=where)).cpu().numpy())
    assert np.array_equal(*results)


def test_whole_channels_and_whole_samples_are_dropped():
    for function, shape, free in (
        (dropout.dropout1d, (30, 20, 4), 2),
        (dropout.dropout1d, (30, 4), 1),
        (dropout.dropout2d, (30, 20, 2, 3), 2),
        (dropout.dropout3d, (10, 20, 2, 2, 2), 2),
        (lambda x: dropout.stochastic_depth(x, 0.5, "row"), (50, 2, 3), 1),
        (lambda x: dropout.stochastic_depth(x, 0.5, "batch"), (50, 2, 3), 0),
    ):
        y = function(_ones(*shape)).numpy().reshape(*shape[:free], -1)
        assert (y == y[..., :1]).all()
        assert set(np.unique(y)) <= {0, 2}
        if free:
            assert len(np.unique(y)) == 2


def test_the_mask_takes_one_byte_for_each_random_number():
    x = _ones(4, 5, 6, 6, grad=True)
    assert dropout.dropout(x).grad_fn.saved_bytes == x.numel()
    assert dropout.dropout2d(x).grad_fn.saved_bytes == 4 * 5


def test_without_training_or_with_p_zero_the_input_comes_back():
    x = _ones(3, 4)
    assert dropout.dropout(x, 0.5, training=False) is x
    assert dropout.dropout(x, 0.0) is x
    assert dropout.dropout1d(x, 0.5, False) is x
    assert dropout.alpha_dropout(x, 0.5) is x
    assert dropout.stochastic_depth(x, 0.5, "row", training=False) is x
    assert backend.random.get_state()["offset"] == 0


def test_p_one_gives_zeros_and_a_gradient_of_zeros():
    x = _ones(3, 4, grad=True)
    y = dropout.dropout(x, 1.0)
    assert np.array_equal(y.detach().numpy(), np.zeros((3, 4)))
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), np.zeros((3, 4)))
    assert np.array_equal(dropout.alpha_dropout(_ones(3), 1.0, True).numpy(), np.zeros(3))
    assert np.array_equal(dropout.stochastic_depth(_ones(3), 1, "batch").numpy(), np.zeros(3))


def test_in_place_changes_the_tensor_and_keeps_the_graph():
    x = _ones(5, 6)
    assert dropout.dropout(x, 0.5, inplace=True) is x
    assert set(np.unique(x.numpy())) == {0, 2}
    a = _ones(5, 6, grad=True)
    h = a * 3
    assert dropout.dropout(h, 0.5, inplace=True) is h
    h.sum().backward()
    assert np.array_equal(a.grad.numpy(), h.detach().numpy())
    with pytest.raises(RuntimeError, match="leaf"):
        dropout.dropout(a, 0.5, inplace=True)


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).standard_normal((300, 300)).astype("float32")
    y = dropout.alpha_dropout(md.tensor(x), 0.2, training=True).numpy()
    assert y.dtype == np.float32
    assert abs(y.mean()) < 0.02
    assert abs(y.var() - 1) < 0.02


def test_empty_and_integer_input():
    assert dropout.dropout(_ones(0, 3)).shape == (0, 3)
    y = dropout.dropout(md.tensor(np.ones(9, int)))
    assert y.dtype == np.float32


def test_shapes_that_torch_warns_about_give_a_warning():
    for shape in ((4, 3), (4, 3, 2), (2, 2, 2, 2, 2)):
        with pytest.warns(UserWarning, match="dropout2d: input .* dimensions, not 4"):
            y = dropout.dropout2d(_ones(*shape))
        assert y.shape == shape
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dropout.dropout2d(_ones(4, 3, 2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: dropout.dropout(x, 1.5), "dropout: the probability p .* 1.5"),
        (lambda x: dropout.dropout(x, -0.1, training=False), "dropout: the probability"),
        (lambda x: dropout.dropout(x, float("nan")), "dropout: the probability"),
        (lambda x: dropout.alpha_dropout(x, 2), "alpha_dropout: the probability"),
        (lambda x: dropout.dropout1d(x[0]), r"dropout1d: .* got \(3,\)"),
        (lambda x: dropout.dropout2d(x[0]), r"dropout2d: .* got \(3,\)"),
        (lambda x: dropout.stochastic_depth(x, 0.5, "rows"), "stochastic_depth: mode .* 'rows'"),
        (lambda x: dropout.stochastic_depth(x, 3, "row"), "stochastic_depth: the probability"),
    ],
)
def test_wrong_arguments_are_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(_ones(4, 3))
