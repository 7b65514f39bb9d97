"""The GPU's RoI kernels, executed on the CPU against the plain ones."""

import numpy as np
import pytest

from minidl.backend import quietly
from minidl.backend.roi_grid import RoiGrid

from .common import BACKENDS, PLAIN, assert_all_near, assert_near, each_way, needs_compiler

pytestmark = needs_compiler


def random_rois(rng, count, images, real):
    """Boxes partly or wholly outside of a picture of 64 x 96, some without area, some inverted."""
    corners = rng.uniform(-40, 130, (count, 2, 2))
    tidy = rng.random(count) < 0.8
    corners[tidy] = np.sort(corners[tidy], axis=1)
    corners[rng.random(count) < 0.1, 1] = corners[0, 0]
    image = rng.integers(0, images, (count, 1))
    return np.concatenate([image, corners.reshape(count, 4)], axis=1).astype(real)


def check(backend, rng, dtype, rtol):
    real = np.float64 if dtype == np.float64 else np.float32
    shape = (2, int(rng.integers(1, 12)), 8, 12)
    rois = random_rois(rng, 7, 2, real)
    x = rng.standard_normal(shape).astype(dtype)
    for aligned in (False, True):
        for samples in (0, 1, 3):
            grid = RoiGrid((3, 2), 0.125, samples, aligned)
            assert_near(backend.roi_align(x, rois, grid), PLAIN.roi_align(x, rois, grid), rtol)
            g = rng.standard_normal((7, shape[1], 3, 2)).astype(dtype)
            expected = PLAIN.roi_align_adjoint(g, rois, grid, shape)
            assert_near(backend.roi_align_adjoint(g, rois, grid, shape), expected, rtol)
    grid = RoiGrid((3, 2), 0.125)
    x = rng.integers(-2, 3, shape).astype(dtype)  # many are equal
    x[rng.random(shape) < 0.05] = np.nan
    x[rng.random(shape) < 0.05] = -np.inf
    values, places = PLAIN.roi_pool(x, rois, grid, True)
    assert_all_near(backend.roi_pool(x, rois, grid, True), (values, places), 0)
    assert_near(backend.roi_pool(x, rois, grid, False)[0], values, 0)


def test_roi_kernels_equal_the_plain_ones():
    each_way(check, seeds=9)


def test_no_boxes_launch_nothing():
    x, rois, grid = (
        np.ones((2, 3, 4, 5), np.float32),
        np.zeros((0, 5), np.float32),
        RoiGrid((2, 2), 1.0),
    )
    backend = BACKENDS[0]
    assert backend.roi_align(x, rois, grid).shape == (0, 3, 2, 2)
    assert backend.roi_pool(x, rois, grid, True)[1].shape == (0, 3, 2, 2)
    dx = backend.roi_align_adjoint(np.zeros((0, 3, 2, 2), np.float32), rois, grid, x.shape)
    assert dx.shape == x.shape
    assert not dx.any()


@pytest.mark.parametrize("samples", [0, 2])
def test_impossible_boxes_end(samples):
    """NaN gives NaN, an image that is not there 0; the longest box costs no more than the map."""
    rois = np.array(
        [
            [0, 0, np.nan, 3, 3],
            [0, -1e6, -1e6, 1e6, 1e6],
            [0, 0, 0, np.inf, 3],
            [5, 0, 0, 3, 3],
            [-1, 0, 0, 3, 3],
        ],
        np.float32,
    )
    x = np.ones((1, 1, 6, 6), np.float32)
    grid = RoiGrid((1, 1), 1.0, samples)
    out = BACKENDS[0].roi_align(x, rois, grid)
    assert np.isnan(out[0]).all()
    assert (out[1] >= 0).all()
    assert (out[1] < 1e-3).all()
    assert (out[3:] == 0).all()
    plain = quietly(PLAIN.roi_align, x, rois[[0, 1, 3, 4]], grid)
    assert_near(out[[0, 1, 3, 4]], plain, 1e-4)
    values, places = BACKENDS[0].roi_pool(x, rois, grid, True)
    assert (places[[0, 3, 4]] == -1).all()
    assert (values[[0, 3, 4]] == 0).all()
    assert (values[1] == 1).all()
