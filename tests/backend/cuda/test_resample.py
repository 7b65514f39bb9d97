"""The GPU's kernel of resizing and average pooling, executed on the CPU against the plain one."""

import numpy as np

from minidl.backend.axis_map import AxisMap

from .common import BACKENDS, PLAIN, assert_near, each_way, needs_compiler

pytestmark = needs_compiler


def random_map(rng, size, taps):
    outputs = int(rng.integers(1, 9))
    weights = rng.standard_normal((taps, outputs))
    weights[rng.random(weights.shape) < 0.2] = 0
    return AxisMap(size, rng.integers(0, size, (taps, outputs)), weights)


def check(backend, rng, dtype, rtol):
    x = rng.standard_normal((3, *(int(n) for n in rng.integers(1, 9, 2)))).astype(dtype)
    for taps in ((1, 2), (3, 2), (5, 6)):  # the last: one axis after the other
        down, across = (random_map(rng, n, k) for n, k in zip(x.shape[1:], taps, strict=True))
        for maps in ((down, across), (down, None), (None, across), (None, None)):
            assert_near(backend.resample(x, maps), PLAIN.resample(x, maps), rtol)


def test_linear_maps_equal_the_plain_kernel():
    each_way(check)


def test_an_infinity_with_weight_0_is_not_seen():
    x = np.array([[[1.0, np.inf]]], np.float32)
    only_first = AxisMap(2, np.array([[0], [1]]), np.array([[1.0], [0.0]]))
    assert BACKENDS[0].resample(x, (None, only_first)).item() == 1.0


def test_the_gradient_is_the_transposed_map():
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, 5, 6)), rng.standard_normal((2, 4, 3))
    down = AxisMap(5, rng.integers(0, 5, (2, 4)), rng.standard_normal((2, 4)))
    across = AxisMap(6, rng.integers(0, 6, (2, 3)), rng.standard_normal((2, 3)))
    forward = (BACKENDS[0].resample(x, (down, across)) * g).sum()
    backward = (BACKENDS[0].resample(g, (down.T, across.T)) * x).sum()
    assert abs(forward - backward) < 1e-12
