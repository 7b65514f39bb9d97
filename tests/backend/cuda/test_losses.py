"""The GPU's cross entropy, executed on the CPU against the plain kernels."""

import numpy as np

from .common import BACKENDS, PLAIN, assert_all_near, assert_near, each_way, needs_compiler

pytestmark = needs_compiler


def check(backend, rng, dtype, rtol):
    length = int(rng.choice([1, 1, 5]))
    n, classes = (
        int(rng.integers(1, 40)),
        int(rng.choice([3, 7, 300])),
    )  # one lane or 32, each a compilation
    x = (4 * rng.standard_normal((n, classes, length))).astype(dtype)
    target = rng.integers(0, classes, (n, length)).astype(rng.choice([np.int64, np.int32]))
    target[rng.random(target.shape) < 0.2] = -100
    target[0, 0] = rng.choice([0, classes])  # sometimes no class
    for weight in (None, rng.random(classes).astype(dtype)):
        for smoothing in (0.0, 0.3):
            options = (weight, -100, smoothing)
            expected = PLAIN.cross_entropy(x, target, *options)
            assert_all_near(backend.cross_entropy(x, target, *options), expected, rtol)
            p = expected[1]
            grad = rng.standard_normal(target.shape).astype(p.dtype)
            mine = backend.cross_entropy_grad(p, grad, target, *options)
            assert_near(mine, PLAIN.cross_entropy_grad(p, grad, target, *options), rtol)


def test_the_cross_entropy_equals_the_plain_kernels():
    each_way(check, seeds=9)


def test_scores_that_are_not_finite_spoil_their_own_row_only():
    x = np.zeros((4, 3, 1), np.float32)
    x[0, 1], x[1, 0], x[2, 2] = np.inf, -np.inf, np.nan
    target = np.array([[1], [1], [0], [2]])
    mine = BACKENDS[0].cross_entropy(x, target, None, -100, 0.0)
    with np.errstate(all="ignore"):
        assert_all_near(mine, PLAIN.cross_entropy(x, target, None, -100, 0.0), 1e-6)


def test_large_scores_do_not_overflow():
    x = np.array([[[1000.0], [1001.0]]], np.float32)
    loss, p, _ = BACKENDS[0].cross_entropy(x, np.array([[0]]), None, -100, 0.0)
    assert abs(loss.item() - 1.3132617) < 1e-6
    assert abs(p.sum() - 1) < 1e-6
