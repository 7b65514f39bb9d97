"""What the Inception networks share."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.models.classification.inception_blocks import (
    BasicConv2d,
    Branches,
    column,
    mean_pool,
    row,
    scaled_by,
)


def names(module):
    return [name for name, _ in module.named_parameters()]


def test_a_convolution_with_batch_norm_has_no_bias_unless_asked_for():
    assert names(BasicConv2d(2, 3, 1)) == ["conv.weight", "bn.weight", "bn.bias"]
    assert names(BasicConv2d(2, 3, 1, bias=True))[:2] == ["conv.weight", "conv.bias"]
    assert names(BasicConv2d(2, 3, 1, batch_norm=False)) == ["conv.weight", "conv.bias"]
    assert BasicConv2d(2, 3, 1).bn.eps == 0.001


def test_it_computes_relu_after_batch_norm_after_convolution():
    layer = BasicConv2d(2, 3, 3, 2, 1)
    x = md.randn(4, 2, 6, 6)
    expected = nn.functional.relu(layer.bn(nn.functional.conv2d(x, layer.conv.weight, None, 2, 1)))
    np.testing.assert_allclose(layer(x).data, expected.data, rtol=1e-5, atol=1e-6)
    plain = BasicConv2d(2, 3, 3, batch_norm=False)
    assert plain(x).data.min() == 0.0


def test_branches_join_their_maps_in_order():
    module = Branches({"b": nn.Identity(), "a": nn.MaxPool2d(3, 1, 1)})
    x = md.randn(2, 3, 4, 4)
    y = module(x)
    np.testing.assert_array_equal(y.data[:, :3], x.data)
    np.testing.assert_array_equal(y.data[:, 3:], nn.functional.max_pool2d(x, 3, 1, 1).data)


@pytest.mark.parametrize("taps", [3, 7])
def test_a_row_and_a_column_keep_the_size_and_cost_two_times_n(taps):
    x = md.randn(1, 2, 9, 8)
    for make, window in ((row, (1, taps)), (column, (taps, 1))):
        layer = make(2, 3, taps)
        assert layer(x).shape == (1, 3, 9, 8)
        assert layer.conv.weight.shape == (3, 2, *window)


def test_the_mean_leaves_margins_out():
    x = md.ones(1, 1, 4, 4)
    np.testing.assert_array_equal(mean_pool()(x).data, x.data)


def test_widths_are_rounded_to_one_at_least():
    w = scaled_by(1 / 48)
    assert [w(n) for n in (16, 64, 96, 120, 384)] == [1, 1, 2, 2, 8]
    assert scaled_by(1.0)(37) == 37
