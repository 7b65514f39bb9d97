"""Sliding windows, and crops stretched to one size."""

import numpy as np
import pytest

import minidl as md
from minidl.backend import by_name
from minidl.boxes import crop_and_warp, sliding_windows

from .. import strict_cupy


def test_windows_by_hand():
    boxes = sliding_windows((4, 6), (4,), stride=0.5)
    assert boxes.tolist() == [[0, 0, 4, 4], [2, 0, 6, 4]]
    assert boxes.dtype == np.float32
    boxes = sliding_windows((8, 8), (4,), (4.0,), stride=1)
    assert boxes.tolist() == [[0, 0, 2, 8], [2, 0, 4, 8], [4, 0, 6, 8], [6, 0, 8, 8]]
    # The last window ends at the border: the distances are a little smaller.
    assert sliding_windows((10, 10), (4,), stride=1)[:3, 0].tolist() == [0, 3, 6]


@pytest.mark.parametrize("stride", [0.25, 0.5, 1.0])
def test_windows_cover_the_picture_and_stay_inside(stride):
    size = (37, 53)
    for side, ratio in [(12, 1.0), (16, 2.0), (16, 0.5), (37, 1.0)]:
        boxes = sliding_windows(size, (side,), (ratio,), stride)
        covered = np.zeros(size, bool)
        for x1, y1, x2, y2 in boxes.astype(int):
            assert 0 <= x1 < x2 <= size[1]
            assert 0 <= y1 < y2 <= size[0]
            covered[y1:y2, x1:x2] = True
        assert covered.all()
        steps = np.diff(np.unique(boxes[:, 0]))
        assert (steps <= stride * (boxes[0, 2] - boxes[0, 0]) + 1).all()
        assert len(np.unique(boxes, axis=0)) == len(boxes)


def test_several_sizes_and_shapes_follow_one_another():
    parts = [sliding_windows((30, 40), (n,), (r,)) for n in (8, 16) for r in (0.5, 2.0)]
    assert np.array_equal(sliding_windows((30, 40), (8, 16), (0.5, 2.0)), np.concatenate(parts))
    assert sliding_windows((8, 8), (9,)).shape == (0, 4)
    for arguments in [
        ((0, 4), (2,)),
        ((4, 4), (0,)),
        ((4, 4), (2,), (0,)),
        ((4, 4), (2,), (1,), 0),
    ]:
        with pytest.raises(ValueError, match=r"sliding_windows: .* must be positive"):
            sliding_windows(*arguments)


# -- crops ----------------------------------------------------------------------------------------


def slow_warp(image, box, size, padding, fill):
    """One bilinear sample for each pixel of the result, in a loop."""
    channels, height, width = image.shape
    x1, y1, x2, y2 = [float(c) for c in box]
    out = np.zeros((channels, *size))
    for i in range(size[0]):
        for j in range(size[1]):
            # pixel (i, j) of the result, as a share of what is inside the frame, in the picture
            y = y1 + (i + 0.5 - padding) / (size[0] - 2 * padding) * (y2 - y1) - 0.5
            x = x1 + (j + 0.5 - padding) / (size[1] - 2 * padding) * (x2 - x1) - 0.5
            if y < -1 or x < -1 or y > height or x > width:
                out[:, i, j] = fill
                continue
            y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
            top, left = min(int(y), height - 2), min(int(x), width - 2)
            for a, share in ((top, 1 - (y - top)), (top + 1, y - top)):
                for b, part in ((left, 1 - (x - left)), (left + 1, x - left)):
                    out[:, i, j] += share * part * image[:, a, b]
    return out


DEVICES = ["strict", pytest.param("cuda", marks=pytest.mark.gpu)]
BOXES = np.array(
    [[3, 2, 11, 9], [0, 0, 20, 16], [14.5, 3.25, 19.75, 15.5], [0, 12, 4, 16], [7, 7, 8, 8]]
)


@pytest.mark.parametrize("padding", [0, 3])
def test_crops_equal_a_loop_over_pixels(padding):
    image = np.random.default_rng(0).random((3, 16, 20))
    fill = np.array([0.2, 0.5, 0.8])
    made = crop_and_warp(image, BOXES, (13, 11), padding, fill, 1)
    assert made.shape == (5, 3, 13, 11)
    assert made.dtype == np.float64
    for crop, box in zip(made, BOXES, strict=True):
        assert np.allclose(crop, slow_warp(image, box, (13, 11), padding, fill))


def test_a_crop_of_the_boxs_own_size_is_the_picture():
    image = np.random.default_rng(1).random((3, 16, 20)).astype(np.float32)
    boxes = np.array([[2, 3, 10, 11]], np.float32)
    crop = crop_and_warp(image, boxes, 8, padding=0)
    assert crop.dtype == np.float32
    assert np.allclose(crop[0], image[:, 3:11, 2:10], atol=1e-6)
    # With a frame of 2 pixels in 12, what is 2 pixels around comes along.
    crop = crop_and_warp(image, boxes, 12, padding=2)
    assert np.allclose(crop[0], image[:, 1:13, 0:12], atol=1e-6)


def test_what_lies_outside_has_the_mean_colour():
    image = np.random.default_rng(2).random((3, 10, 10)).astype(np.float32)
    crop = crop_and_warp(image, np.array([[0, 0, 10, 10]], np.float32), 60, padding=15)[0]
    mean = image.mean(axis=(1, 2))
    corner = crop[:, :8, :8].reshape(3, -1)
    assert np.allclose(corner, mean[:, None], atol=1e-6)
    crop = crop_and_warp(image, np.array([[0, 0, 10, 10]], np.float32), 60, padding=15, fill=0)
    assert not crop[0, :, :8].any()


def test_a_smaller_crop_is_the_mean_of_its_pixels():
    image = np.random.default_rng(3).random((2, 8, 8))
    crop = crop_and_warp(image, np.array([[0, 0, 8, 8.0]]), 2, padding=0)
    assert np.allclose(crop[0], image.reshape(2, 2, 4, 2, 4).mean(axis=(2, 4)))


def test_no_boxes_are_legal():
    image = np.zeros((3, 8, 8), np.float32)
    assert crop_and_warp(image, np.zeros((0, 4)), 40).shape == (0, 3, 40, 40)


def test_wrong_arguments_name_the_function():
    image, boxes = np.zeros((3, 8, 8), np.float32), np.array([[0, 0, 4, 4]], np.float32)
    for call, error, message in [
        (lambda: crop_and_warp(md.tensor(image), boxes, 40), TypeError, "must be an array"),
        (lambda: crop_and_warp(image[0], boxes, 40), ValueError, r"must be \(C, H, W\)"),
        (lambda: crop_and_warp(image.astype(int), boxes, 40), TypeError, "floating-point"),
        (lambda: crop_and_warp(image, boxes[:, :3], 40), ValueError, r"must be \(R, 4\)"),
        (lambda: crop_and_warp(image, boxes, 32), ValueError, "16 pixels leaves no room"),
        (lambda: crop_and_warp(image, boxes, (40, 40), -1), ValueError, "leaves no room"),
        (lambda: crop_and_warp(image, boxes * 0, 40), ValueError, "box 0, .* has no area"),
        (lambda: crop_and_warp(image, boxes * np.nan, 40), ValueError, "box 0, .* has a NaN"),
    ]:
        with pytest.raises(error, match=f"crop_and_warp: .*{message}"):
            call()


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_gives_the_same_without_waiting(device):
    backend = by_name(device)
    image = np.random.default_rng(4).random((3, 16, 20)).astype(np.float32)
    boxes = BOXES.astype(np.float32)
    there = backend.asarray(image), backend.asarray(boxes)
    with strict_cupy.forbid_sync():
        made = [crop_and_warp(*there, 20, 4), crop_and_warp(*there, 20, 4, (0.1, 0.2, 0.3), 2)]
    with strict_cupy.allow_sync():
        for crop, options in zip(made, [(), ((0.1, 0.2, 0.3), 2)], strict=True):
            expected = crop_and_warp(image, boxes, 20, 4, *options)
            assert np.allclose(backend.to_host(crop), expected, atol=1e-5)
