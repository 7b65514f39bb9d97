"""The CPU's RoI kernels and suppression against the plain ones, and RoIAlign's matrices."""

import numpy as np
import pytest

from minidl.backend import get_num_threads, of, quietly, set_num_threads
from minidl.backend.cpu import nms as cpu_nms
from minidl.backend.roi_grid import RoiGrid, align_weights

from .cuda.common import PLAIN, assert_all_near, assert_near
from .cuda.test_nms_kernels import random_boxes
from .cuda.test_roi_kernels import check, random_rois

CPU = of(np.zeros(1))
PRECISIONS = [(np.float64, 1e-12), (np.float32, 1e-5), (np.float16, 1e-2)]


@pytest.mark.parametrize(("dtype", "rtol"), PRECISIONS)
@pytest.mark.parametrize("seed", range(5))
def test_roi_kernels_equal_the_plain_ones(seed, dtype, rtol):
    rng = np.random.default_rng(seed)
    rois = random_rois(rng, 9, 3, np.float64 if dtype == np.float64 else np.float32)
    shape = (3, 130, 7, 9)  # several pieces of channels
    x = rng.standard_normal(shape).astype(dtype)
    g = rng.standard_normal((9, 130, 2, 3)).astype(dtype)
    for aligned in (False, True):
        for samples in (0, 2):
            grid = RoiGrid((2, 3), 0.1, samples, aligned)
            assert_near(CPU.roi_align(x, rois, grid), PLAIN.roi_align(x, rois, grid), rtol)
            expected = PLAIN.roi_align_adjoint(g, rois, grid, shape)
            assert_near(CPU.roi_align_adjoint(g, rois, grid, shape), expected, rtol)
    x = rng.integers(-3, 4, shape).astype(dtype)
    grid = RoiGrid((2, 3), 0.1)
    assert_all_near(CPU.roi_pool(x, rois, grid, True), PLAIN.roi_pool(x, rois, grid, True), 0)
    x[rng.random(shape) < 0.02] = np.nan
    expected = PLAIN.roi_pool(x, rois, grid, False)[0]
    assert_near(CPU.roi_pool(x, rois, grid, False)[0], expected, 0)


def test_the_number_of_threads_changes_no_bit():
    rng, before = np.random.default_rng(0), get_num_threads()
    rois = random_rois(rng, 9, 2, np.float32)
    x = rng.standard_normal((2, 200, 7, 9)).astype(np.float32)
    g = rng.standard_normal((9, 200, 2, 2)).astype(np.float32)
    grid, results = RoiGrid((2, 2), 0.1, 2), []
    try:
        for threads in (1, 3):
            set_num_threads(threads)
            dx = CPU.roi_align_adjoint(g, rois, grid, x.shape)
            results.append((CPU.roi_align(x, rois, grid), dx))
    finally:
        set_num_threads(before)
    assert_all_near(*results, 0)


def test_the_weights_of_a_bin_inside_the_map_add_up_to_one():
    rois = np.array([[0, 2.3, 1.1, 40.7, 17.9], [0, 5, 5, 5.5, 5.25]])
    for samples in (0, 1, 4):
        for aligned in (False, True):
            grid = RoiGrid((3, 5), 0.5, samples, aligned)
            for axis, size in enumerate((20, 30)):
                weights = align_weights(np, rois, axis, grid, np.arange(float(size)), size)
                assert np.allclose(weights.sum(axis=2), 1)


@pytest.mark.parametrize("length", [0.3, 1.0, 1.01, 7.0, 49.9, 63.2, 400.0])
def test_adaptive_weights_equal_those_of_the_same_number_of_samples(length):
    """The few samples near a pixel that are looked at are all there are."""
    rng = np.random.default_rng(0)
    starts = rng.uniform(-30, 30, 20)
    rois = np.stack([starts * 0, starts, starts, starts + length, starts + length], axis=1)
    count = max(1, int(np.ceil(length / 3)))
    pixels = np.arange(40.0)
    for aligned in (False, True):
        if not aligned and length < 1:
            continue
        both = [
            align_weights(np, rois, 0, RoiGrid((3, 3), 1.0, s, aligned), pixels, 40)
            for s in (0, count)
        ]
        assert np.allclose(*both, atol=1e-12)


def test_impossible_boxes_end():
    rois = np.array([[0, 0, np.nan, 3, 3], [0, -1e6, -1e6, 1e6, 1e6], [0, 0, 0, np.inf, 3]])
    x = np.ones((1, 1, 6, 6))
    out = quietly(CPU.roi_align, x, rois, RoiGrid((1, 1), 1.0))
    assert np.isnan(out[0]).all()
    assert (out[1] < 1e-3).all()
    quietly(CPU.roi_pool, x, rois, RoiGrid((1, 1), 1.0), True)


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nms_equals_the_plain_kernel(count, dtype, monkeypatch):
    rng = np.random.default_rng(count)
    boxes, labels = random_boxes(rng, count, dtype), rng.integers(0, 3, count)
    for table in (cpu_nms.TABLE, 100):  # passes over all rows, and over one
        monkeypatch.setattr(cpu_nms, "TABLE", table)
        for threshold in (0.1, 0.5, 0.7):
            for own in (None, labels):
                expected = PLAIN.nms(boxes, own, threshold)
                assert_near(quietly(CPU.nms, boxes, own, threshold), expected, 0)


def test_the_checks_of_the_gpu_kernels_hold_on_the_cpu():
    quietly(check, CPU, np.random.default_rng(0), np.float64, 1e-12)
