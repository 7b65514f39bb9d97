"""Pieces that several networks share."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.models.blocks import (
    ConvNormAct,
    SeparableConv2d,
    SqueezeExcitation,
    init_fan_out,
    inverted_residual,
    make_divisible,
    mirror_around,
)

from ..torchvision_oracle import torchvision


@pytest.mark.parametrize(
    ("channels", "rounded"),
    # the last two: the nearest multiple would lose more than a tenth
    [(8, 8), (1.0, 8), (11.9, 16), (12.0, 16), (44.8, 48), (19.2, 24), (11.2, 16)],
)
def test_channels_are_rounded_to_multiples_of_eight(channels, rounded):
    assert make_divisible(channels) == rounded


def test_channels_are_rounded_as_by_torchvision():
    theirs = torchvision().models._utils._make_divisible
    for channels in np.random.default_rng(0).uniform(1, 400, 500):
        for divisor in (4, 8):
            assert make_divisible(channels, divisor) == theirs(channels, divisor)


def test_an_inverted_residual_expands_filters_gates_and_projects():
    gate = nn.Identity()
    expand, filters, found, project = inverted_residual(4, 24, 6, 5, 2, act=nn.SiLU, gate=gate)
    assert (expand[0].kernel_size, expand[0].out_channels) == ((1, 1), 24)
    assert (filters[0].kernel_size, filters[0].stride, filters[0].groups) == ((5, 5), (2, 2), 24)
    assert isinstance(expand[2], nn.SiLU)
    assert found is gate
    assert [type(m) for m in project] == [nn.Conv2d, nn.BatchNorm2d], "no activation"
    assert [len(inverted_residual(4, n, 4)) for n in (24, 4)] == [3, 2]
    x = md.randn(1, 4, 9, 9)
    assert nn.Sequential(expand, filters, project)(x).shape == (1, 6, 5, 5)


def test_squeeze_and_excitation_multiplies_each_channel_by_a_gate_of_all_means():
    gates = SqueezeExcitation(4, 3, nn.SiLU).double()
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 5))
    hidden = x.mean((2, 3)) @ gates.fc1.weight.data[:, :, 0, 0].T + gates.fc1.bias.data
    hidden = hidden / (1 + np.exp(-hidden))
    gate = hidden @ gates.fc2.weight.data[:, :, 0, 0].T + gates.fc2.bias.data
    expected = x / (1 + np.exp(-gate))[:, :, None, None]
    np.testing.assert_allclose(gates(md.tensor(x)).data, expected, rtol=1e-12)


def test_initial_weights_keep_the_variance_of_gradients():
    net = nn.Sequential(
        ConvNormAct(8, 64, 3), ConvNormAct(64, 64, 3, groups=64), nn.Linear(64, 500)
    )
    net[2].bias.data[...] = 1.0
    init_fan_out(net, linear_std=0.05)
    assert net[0][0].weight.data.std() == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.05)
    assert net[1][0].weight.data.std() == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.1)
    assert net[2].weight.data.std() == pytest.approx(0.05, rel=0.02)
    assert not net[2].bias.data.any()
    np.testing.assert_array_equal(net[0][1].weight.data, 1)


def test_a_separable_convolution_is_a_full_one_of_rank_one():
    pair = SeparableConv2d(4, 6, 3)
    depthwise, pointwise = pair.conv1.weight.data, pair.pointwise.weight.data
    full = nn.Conv2d(4, 6, 3, padding=1, bias=False)
    full.weight.data[...] = pointwise * depthwise[:, 0]  # (6, 4, 1, 1) * (4, 3, 3)
    x = md.randn(2, 4, 7, 5)
    np.testing.assert_allclose(pair(x).data, full(x).data, rtol=1e-4, atol=1e-5)
    assert SeparableConv2d(4, 6, 7, 2)(x).shape == (2, 6, 4, 3)
    assert list(SeparableConv2d(4, 6, names=("a", "b")).state_dict()) == ["a.weight", "b.weight"]


@pytest.mark.parametrize("size", [(5, 6), (2, 3), (1, 4)])
@pytest.mark.parametrize("margins", [(2, 1, 0, 3), (0, 0, 0, 0), (4, 9, 11, 5), (0, 7, 13, 0)])
def test_margins_mirror_a_picture_however_wide_they_are(size, margins):
    x = np.random.default_rng(0).normal(size=(2, 3, *size))
    top, bottom, left, right = margins
    expected = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), mode="reflect")
    np.testing.assert_array_equal(mirror_around(md.tensor(x), *margins).data, expected)
