"""Softmax with the GPU's kernels, executed on the CPU against the plain kernels."""

import numpy as np
import pytest

from minidl.backend.cuda.softmax import _lanes

from .common import BACKENDS, PLAIN, assert_near, each_way, needs_compiler

pytestmark = needs_compiler

# (shape, dimension): short, middling and long rows; rows side by side; rows of one number.
SHAPES = [((5, 7), 1), ((3, 70), 1), ((2, 2100), -1), ((3, 5, 4), 1), ((300, 3), 0), ((4, 1), 1)]


def check_one(backend, rng, dtype, rtol, shape, dim, log):
    dim %= len(shape)
    x, g = ((3 * rng.standard_normal(shape)).astype(dtype) for _ in range(2))
    y = PLAIN.softmax(x, dim, log)
    assert_near(backend.softmax(x, dim, log), y, rtol)
    expected = PLAIN.softmax_grad(y, g, dim, log)
    assert_near(backend.softmax_grad(y, g, dim, log), expected, rtol)
    turned = np.asfortranarray(x)
    assert_near(backend.softmax(turned, dim, log), y, rtol)


def check(backend, rng, dtype, rtol):
    for shape, dim in SHAPES:
        for log in (False, True):
            check_one(backend, rng, dtype, rtol, shape, dim, log)


def test_softmax_equals_the_plain_kernels():
    each_way(check, seeds=3)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("shape", [(2, 4), (2, 300), (2, 4, 3)])
def test_infinities_and_nan_pass_as_in_the_plain_kernels(shape, log):
    x = np.zeros(shape, np.float32)
    x[0, 1] = -np.inf
    x[1, 3] = np.nan
    expected = PLAIN.softmax(x, 1, log)
    found = BACKENDS[0].softmax(x, 1, log)
    assert_near(found, expected, 1e-6)
    assert np.isnan(found[1]).all() if len(shape) == 2 else np.isnan(found[1]).any()
    everywhere = np.full(shape, -np.inf, np.float32)
    assert np.isnan(BACKENDS[0].softmax(everywhere, 1, log)).all()


def test_large_scores_do_not_overflow():
    x = np.array([[1e4, 0.0, -1e4]], np.float32)
    assert np.array_equal(BACKENDS[0].softmax(x, 1, False), [[1.0, 0.0, 0.0]])
    assert np.array_equal(BACKENDS[0].softmax(x, 1, True), [[0.0, -1e4, -2e4]])


def test_nothing_is_launched_for_no_rows():
    assert BACKENDS[0].softmax(np.zeros((0, 3), np.float32), 1, False).shape == (0, 3)


def test_a_row_has_threads_by_its_length():
    assert [_lanes(c, 1) for c in (1, 7, 8, 10, 100, 1000, 50000)] == [1, 1, 2, 2, 16, 128, 256]
    assert _lanes(1000, 49) == 1
