"""The GPU's kernels of non-maximum suppression, executed on the CPU against the plain one."""

import numpy as np

from minidl.backend import of
from minidl.boxes import batched_nms, nms

from ... import strict_cupy
from .common import BACKENDS, PLAIN, assert_near, each_way, needs_compiler

pytestmark = needs_compiler


def random_boxes(rng, count, dtype):
    """Boxes that overlap a lot; some equal, some without area, some with a NaN."""
    corners = rng.uniform(0, 20, (count, 2))
    sizes = rng.uniform(2, 12, (count, 2)) * (rng.random((count, 1)) < 0.95)
    boxes = np.concatenate([corners, corners + sizes], axis=1).astype(dtype)
    boxes[rng.random(count) < 0.05] = boxes[0] if count else 0
    boxes[rng.random(count) < 0.02, 1] = np.nan
    return boxes


def check(backend, rng, dtype, rtol):
    del rtol
    if dtype == np.float16:
        return  # boxes are float32 or float64
    for count in (1, 63, 64, 65, 200):
        boxes, labels = random_boxes(rng, count, dtype), rng.integers(0, 3, count)
        for threshold in (0.1, 0.5):
            assert_near(backend.nms(boxes, None, threshold), PLAIN.nms(boxes, None, threshold), 0)
            expected = PLAIN.nms(boxes, labels, threshold)
            assert_near(backend.nms(boxes, labels, threshold), expected, 0)


def test_nms_equals_the_plain_kernel():
    each_way(check, seeds=3)


def test_more_words_than_threads():
    """A row of the bits is longer than the block that goes through it."""
    count = 257 * 64 + 5
    rng = np.random.default_rng(0)
    starts = rng.uniform(0, 1e6, (count, 1)).astype(np.float32)
    boxes = np.concatenate([starts, starts * 0, starts + 30, starts * 0 + 10], axis=1)
    assert_near(BACKENDS[0].nms(boxes, None, 0.3), of(boxes).nms(boxes, None, 0.3), 0)


def test_suppression_on_a_device_waits_only_for_how_many_are_left(gpu):
    rng = np.random.default_rng(0)
    boxes, scores = random_boxes(rng, 150, np.float32), rng.random(150).astype(np.float32)
    labels = rng.integers(0, 3, 150)
    there = [gpu.asarray(a) for a in (boxes, scores, labels)]
    strict_cupy.syncs.clear()
    kept = nms(*there[:2], 0.4), batched_nms(*there, 0.4)
    assert len(strict_cupy.syncs) == 2
    strict_cupy.syncs.clear()
    with strict_cupy.allow_sync():
        mine = [gpu.to_host(a).tolist() for a in kept]
    expected = nms(boxes, scores, 0.4), batched_nms(boxes, scores, labels, 0.4)
    assert mine == [a.tolist() for a in expected]


def test_no_boxes_launch_nothing():
    assert BACKENDS[0].nms(np.zeros((0, 4), np.float32), None, 0.5).shape == (0,)
