"""Unscaling of gradients with the GPU's kernel, executed on the CPU."""

import numpy as np
import pytest

from .common import BACKENDS, PLAIN, assert_near, each_way, needs_compiler

pytestmark = needs_compiler


def check(backend, rng, dtype, rtol):
    grad = rng.standard_normal((3, 50)).astype(dtype)
    inverse = np.full(1, 0.25, np.float32)
    for values in (grad, grad.T, grad[0, 0]):
        for bad in (None, np.inf, -np.inf, np.nan):
            mine, theirs = np.array(values), np.array(values)
            if bad is not None:
                last = (-1,) * mine.ndim
                mine[last] = theirs[last] = bad
            found, expected = np.zeros(1, np.float32), np.zeros(1, np.float32)
            backend.unscale(mine, inverse, found)
            PLAIN.unscale(theirs, inverse, expected)
            assert_near(mine, theirs, rtol)
            assert (found[0] > 0) == (expected[0] > 0) == (bad is not None)


def test_unscaling_equals_the_plain_kernel():
    each_way(check, seeds=3)


@pytest.mark.filterwarnings("ignore:overflow")
def test_the_largest_finite_number_is_finite():
    grad = np.array([65504.0, -65504.0], np.float16)
    found = np.zeros(1, np.float32)
    BACKENDS[0].unscale(grad, np.full(1, 2.0**-16, np.float32), found)
    assert not found.any()
