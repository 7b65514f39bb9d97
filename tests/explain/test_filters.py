"""Filters as pictures."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.explain import as_pictures, filters
from minidl.models.classification.lenet import lenet5


def test_zero_is_grey_and_the_largest_number_black_or_white():
    x = np.float32([[[[0, 2], [-1, 1]]], [[[0, 0.1], [-0.4, 0.2]]], [[[0, 0], [0, 0]]]])
    expected = [[[[0.5, 1], [0.25, 0.75]]], [[[0.5, 0.625], [0, 0.75]]], [[[0.5, 0.5]] * 2]]
    for given in (x, md.tensor(x), md.tensor(x).to("strict")):
        found = as_pictures(given)
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected)


def test_filters_of_grey_and_colour_pictures_are_pictures_and_others_one_for_each_map():
    net = lenet5()
    weight = net.conv1.weight.data
    found = filters(net, "conv1")
    largest = np.abs(weight).max((1, 2, 3), keepdims=True)
    np.testing.assert_allclose((found - 0.5) * 2 * largest, weight, atol=1e-6)
    assert filters(net, "conv2").shape == (16 * 6, 1, 5, 5)
    conv2 = as_pictures(net.conv2.weight).reshape(16, 6, 5, 5)
    np.testing.assert_allclose(np.abs(conv2 - 0.5).max((1, 2, 3)), 0.5)  # a scale for each filter
    assert filters(nn.Conv2d(3, 8, 7), "").shape == (8, 3, 7, 7)


def test_what_has_no_filters_is_refused():
    net = lenet5()
    with pytest.raises(AttributeError, match="no module 'conv9'"):
        filters(net, "conv9")
    with pytest.raises(AttributeError, match="no parameter 'weight'"):
        filters(net, "")
    with pytest.raises(ValueError, match=r"the weight of 'fc1' is \(120, 400\)"):
        filters(net, "fc1")
    with pytest.raises(ValueError, match=r"needs \(N, C, H, W\), got \(2, 3\)"):
        as_pictures(np.zeros((2, 3)))
