"""The GPU's depthwise convolution, executed on the CPU against the plain kernels."""

import numpy as np

from minidl.backend.cuda.depthwise import is_depthwise
from minidl.backend.geometry import ConvGeometry

from .common import BACKENDS, PLAIN, assert_near, each_way, needs_compiler

pytestmark = needs_compiler

KERNELS = [(3, 3), (1, 4)]  # each is a compilation


def check(backend, rng, dtype, rtol):
    channels, filters = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    geometry = ConvGeometry(
        kernel=KERNELS[int(rng.integers(2)) if dtype == np.float64 else 0],
        stride=tuple(int(k) for k in rng.integers(1, 4, 2)),
        padding=tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (2, 2))),
        dilation=tuple(int(k) for k in rng.integers(1, 3, 2)),
        groups=channels,
    )
    size = tuple(int(k) for k in rng.integers(6, 10, 2))
    x = rng.standard_normal((int(rng.integers(1, 4)), channels, *size)).astype(dtype)
    w = rng.standard_normal((channels * filters, 1, *geometry.kernel)).astype(dtype)
    assert is_depthwise(w.shape, geometry)
    g = rng.standard_normal((len(x), len(w), *geometry.output_size(size))).astype(dtype)
    bias = rng.standard_normal(len(w)).astype(dtype)
    for b in (None, bias):
        mine, theirs = (k.conv_forward(x, w, geometry, b) for k in (backend, PLAIN))
        assert_near(mine, theirs, rtol)
    mine, theirs = (k.conv_input_grad(g, w, geometry, size) for k in (backend, PLAIN))
    assert_near(mine, theirs, rtol)
    mine, theirs = (k.conv_weight_grad(x, g, geometry) for k in (backend, PLAIN))
    assert_near(mine, theirs, rtol)


def test_depthwise_convolution_equals_the_plain_kernels():
    each_way(check)


def test_the_weight_gradient_is_summed_in_several_parts():
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((3, 2, 30, 30)), rng.standard_normal((3, 2, 30, 30))
    geometry = ConvGeometry((3, 3), padding=((1, 1), (1, 1)), groups=2)
    mine, theirs = (k.conv_weight_grad(x, g, geometry) for k in (BACKENDS[0], PLAIN))
    assert_near(mine, theirs, 1e-12)


def test_only_one_channel_a_group_and_few_taps_go_this_way():
    def chosen(groups, channels, filters, kernel):
        w = np.empty((groups * filters, channels, *kernel))
        return is_depthwise(w.shape, ConvGeometry(kernel, groups=groups))

    assert chosen(8, 1, 1, (3, 3))
    assert chosen(8, 1, 2, (7, 7))
    assert not chosen(8, 2, 2, (3, 3))  # more channels
    assert not chosen(1, 1, 1, (3, 3))  # one group: nothing is saved
    assert not chosen(8, 1, 16, (3, 3))  # many filters: a matrix product again
    assert not chosen(8, 1, 1, (9, 9))  # too many sums for the registers


def test_an_empty_batch_launches_nothing():
    geometry = ConvGeometry((3, 3), groups=2)
    x, w = np.zeros((0, 2, 5, 5), np.float32), np.ones((2, 1, 3, 3), np.float32)
    y = BACKENDS[0].conv_forward(x, w, geometry)
    assert y.shape == (0, 2, 3, 3)
    assert not BACKENDS[0].conv_weight_grad(x, y, geometry).any()
