"""The GPU's pooling kernels, executed on the CPU against the plain ones."""

import numpy as np

from minidl.backend.cuda import deterministic
from minidl.backend.geometry import ConvGeometry

from .common import BACKENDS, PLAIN, assert_all_near, assert_near, each_way, needs_compiler

pytestmark = needs_compiler


def random_pool(rng, dtype):
    kernel = tuple(int(k) for k in rng.integers(1, 4, 2))
    geometry = ConvGeometry(
        kernel=kernel,
        stride=tuple(int(k) for k in rng.integers(1, 4, 2)),
        padding=tuple(tuple(int(p) for p in rng.integers(0, k, 2)) for k in kernel),
        dilation=tuple(int(k) for k in rng.integers(1, 3, 2)),
    )
    shape = (int(rng.integers(1, 5)), *(int(k) for k in rng.integers(6, 12, 2)))
    # a few values, so that many are equal; some that need care
    x = rng.integers(-3, 4, shape).astype(dtype)
    special = rng.random(shape)
    x[special < 0.1] = -np.inf
    x[special > 0.95] = np.nan
    return x, geometry


def check(backend, rng, dtype, rtol):
    x, geometry = random_pool(rng, dtype)
    values, places = PLAIN.max_pool(x, geometry, True)
    assert_all_near(backend.max_pool(x, geometry, True), (values, places), 0)
    assert_near(backend.max_pool(x, geometry, False)[0], values, 0)

    flat = rng.standard_normal((len(x), x[0].size)).astype(dtype)
    places = places.reshape(len(x), -1)
    wider = [places.astype(np.int64)] if dtype == np.float64 else []  # a compilation
    for index in (places, *wider):
        assert_near(backend.pool_gather(flat, index), PLAIN.pool_gather(flat, index), 0)
        grad = rng.standard_normal(places.shape).astype(dtype)
        expected = PLAIN.pool_scatter(grad, index, x[0].size)
        assert_near(backend.pool_scatter(grad, index, x[0].size), expected, rtol)
        with deterministic():
            assert_near(backend.pool_scatter(grad, index, x[0].size), expected, rtol)


def test_pooling_equals_the_plain_kernels():
    each_way(check, seeds=12)


def test_integers_and_empty_batches_are_pooled_too():
    geometry = ConvGeometry((2, 2), (2, 2))
    for x in (np.arange(32).reshape(2, 4, 4), np.zeros((0, 4, 4), np.float32)):
        mine, theirs = BACKENDS[0].max_pool(x, geometry, True), PLAIN.max_pool(x, geometry, True)
        assert_all_near(mine, theirs, 0)
