"""The GPU's activation functions, executed on the CPU against the plain kernels."""

import numpy as np
import pytest

from .common import PLAIN, assert_near, each_way, needs_compiler

pytestmark = needs_compiler

NAMES = [
    "sigmoid",
    "gelu",
    "gelu_slope",
    "silu",
    "silu_slope",
    "softplus",
    "mish",
    "hardswish",
    "hardswish_slope",
]


def check_one(name):
    def check(backend, rng, dtype, rtol):
        x = (3 * rng.standard_normal((3, 100))).astype(dtype)
        x[0, :6] = [0, 3, -3, 80, -80, np.nan]
        with np.errstate(over="ignore"):
            expected = getattr(PLAIN, name)(x)
        assert_near(getattr(backend, name)(x), expected, rtol)
        transposed = x.T
        assert_near(getattr(backend, name)(transposed), expected.T, rtol)

    return check


def check(backend, rng, dtype, rtol):
    for name in NAMES:
        check_one(name)(backend, rng, dtype, rtol)


@pytest.mark.parametrize("name", NAMES)
def test_an_activation_equals_the_plain_kernel(name):
    each_way(check_one(name), seeds=3)
