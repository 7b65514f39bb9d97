"""Pictures that excite a unit."""

import re

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.explain import activation_maximization
from minidl.explain.maximization import _blurred

from .small import pooled, some_digits, traces, trained

PLAIN = {"decay": 0.0, "blur": 0.0, "jitter": 0}


def test_the_best_picture_of_a_linear_unit_is_its_weight():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    found = activation_maximization(net, "", [2, 0], (1, 3, 4), steps=100, **PLAIN).data
    for picture, unit in zip(found.reshape(2, 12), (2, 0), strict=True):
        weight = net[1].weight.data[unit]
        assert np.corrcoef(picture, weight)[0, 1] > 0.999
        # Each step adds 0.1 of root mean square along the weight, to noise of 0.01.
        np.testing.assert_allclose(np.sqrt((picture**2).mean()), 10.0, rtol=0.01)


def test_decay_limits_the_picture():
    """Where a step adds 0.1 and takes a tenth away, the root mean square ends at 1."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    options = {**PLAIN, "decay": 0.1}
    found = activation_maximization(net, "1", 1, (1, 3, 4), steps=200, **options).data
    np.testing.assert_allclose(np.sqrt((found**2).mean()), 1.0, rtol=1e-4)


def test_pictures_made_for_the_classes_of_digits_score_higher_than_any_digit():
    net, (x, _) = trained(), some_digits()
    found = activation_maximization(net, "", range(10), (1, 28, 28), steps=60)
    assert found.shape == (10, 1, 28, 28)
    with md.no_grad():
        made, real = net.eval()(found).data, net(x).data
    assert (made.diagonal() > real.max(0)).all()
    assert (made.argmax(1) == np.arange(10)).sum() >= 8
    rough = activation_maximization(net, "", range(10), (1, 28, 28), steps=60, **PLAIN).data

    def roughness(x):
        return np.abs(np.diff(x)).mean() / np.abs(x).mean()

    assert roughness(found.data) < 0.7 * roughness(rough)


def test_single_units_see_only_their_field():
    """A unit of conv2 of LeNet-5 sees 14 x 14 pixels; (2, 5) from row 2 and column 8 on."""
    found = activation_maximization(
        trained(), "conv2", (0, 2, 5), (1, 28, 28), steps=20, blur=0.0, jitter=0
    ).data[0, 0]
    faint = 0.05  # the noise of the start
    assert np.abs(found[2:16, 8:22]).max() > 4 * faint
    outside = np.ones((28, 28), bool)
    outside[2:16, 8:22] = False
    assert np.abs(found[outside]).max() < faint


def test_one_unit_alone_and_among_others_get_the_same_picture():
    net = trained()
    options = {**PLAIN, "steps": 10, "lr": 1.0}
    both = activation_maximization(net, "conv1", [1, 3], (1, 28, 28), **options).data
    alone = activation_maximization(net, "conv1", 3, (1, 28, 28), **options).data
    assert alone.shape == (1, 1, 28, 28)
    assert np.corrcoef(both[1].ravel(), alone[0].ravel())[0, 1] > 0.95


def test_bounds_and_the_generator_are_kept_to():
    args = trained(), "conv2", 3, (1, 28, 28)
    made = [
        activation_maximization(
            *args, steps=12, lr=0.5, bounds=(-0.2, 0.3), generator=np.random.default_rng(s)
        ).data
        for s in (1, 1, 2)
    ]
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).any()
    assert made[0].min() == np.float32(-0.2)
    assert made[0].max() == np.float32(0.3)


@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_the_network_stays_as_it_is(device):
    net = pooled()
    net[1].eval()
    before = traces(net)
    with md.no_grad():
        found = activation_maximization(net.to(device), "2", [0, 1], (2, 8, 9), steps=5)
    assert (found.device, found.dtype, found.requires_grad) == (device, np.float32, False)
    assert traces(net.cpu()) == before


def test_blur_is_that_of_a_bell_over_a_repeated_border():
    x = np.random.default_rng(0).random((2, 3, 6, 7))
    bell = np.exp(-0.5 * (np.arange(-3, 4) / 0.9) ** 2)
    bell = np.outer(bell, bell) / bell.sum() ** 2
    wide = np.pad(x, ((0, 0), (0, 0), (3, 3), (3, 3)), mode="edge")
    expected = sum(
        bell[i, j] * wide[:, :, i : i + 6, j : j + 7] for i in range(7) for j in range(7)
    )
    np.testing.assert_allclose(_blurred(md.tensor(x), 0.9).data, expected, rtol=1e-6)


def test_units_that_are_not_there_are_refused():
    net = pooled()
    for layer, unit in [("2", 5), ("2", -1), ("2", (0, 8, 0)), ("2", (0, 0, 9)), ("", 3)]:
        with pytest.raises(ValueError, match=rf"gives .* has no unit {re.escape(str(unit))}"):
            activation_maximization(net, layer, unit, (2, 8, 9))
    with pytest.raises(ValueError, match="has no unit"):
        activation_maximization(net, "", (0, 0, 0), (2, 8, 9))
    with pytest.raises(ValueError, match="needs units and the shape"):
        activation_maximization(net, "", [], (2, 8, 9))
    with pytest.raises(ValueError, match="needs units and the shape"):
        activation_maximization(net, "", 0, (8, 9))
    with pytest.raises(AttributeError, match="no module 'x'"):
        activation_maximization(net, "x", 0, (2, 8, 9))
