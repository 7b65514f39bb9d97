"""Box arithmetic, against loops over pixels and pairs and by hand."""

import numpy as np
import pytest

import minidl as md
from minidl import boxes as B
from minidl.backend import by_name

from .. import strict_cupy

SOME = np.array([[0, 0, 4, 4], [2, 1, 6, 3], [10, 10, 12, 13], [2, 1, 6, 3]], np.float32)


def pixels(box):
    x1, y1, x2, y2 = box.astype(int)
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


def test_area_and_overlap_count_pixels():
    cells = [pixels(box) for box in SOME]
    assert B.box_area(SOME).tolist() == [len(c) for c in cells]
    expected = [[len(a & b) / len(a | b) for b in cells] for a in cells]
    iou = B.box_iou(SOME, SOME)
    assert iou.dtype == np.float32
    assert np.allclose(iou, expected)


def test_generalized_iou_by_hand():
    a, b = np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0], [4, 0, 6, 2], [0, 0, 2, 2]])
    # unions 6, 8, 4 in hulls 6, 12, 4
    assert np.allclose(B.generalized_box_iou(a, b), [[1 / 3, -1 / 3, 1]])


def test_boxes_without_area_overlap_nothing_and_give_no_nan():
    """Where torchvision divides 0 by 0."""
    points = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 4, 1]], np.float32)
    assert not B.box_iou(points, points).any()
    assert not B.box_iou(points, SOME).any()
    generalized = B.generalized_box_iou(points, np.concatenate([points, SOME]))
    assert np.isfinite(generalized).all()
    assert generalized[0, 0] == 0


def test_a_nan_stays_visible():
    a = np.array([[0, 0, np.nan, 1]], np.float32)
    for function in (B.box_iou, B.generalized_box_iou):
        assert np.isnan(function(a, SOME)).all()
        assert np.isnan(function(SOME, a)).all()
    assert np.isnan(B.box_area(a)).all()
    assert B.remove_small_boxes(a, 0).tolist() == []


def test_clipping_moves_corners_into_the_image():
    a = np.array([[-5, -5, 3, 50], [20, 20, 30, 30], [1, 2, 3, 4]], np.float32)
    clipped = B.clip_boxes_to_image(a, (10, 8))
    assert clipped.tolist() == [[0, 0, 3, 10], [8, 10, 8, 10], [1, 2, 3, 4]]
    assert a[0, 0] == -5
    assert clipped.dtype == np.float32


def test_small_boxes_are_left_out_by_their_shorter_side():
    keep = B.remove_small_boxes(SOME, 2.5)
    assert keep.dtype == np.int64
    assert keep.tolist() == [0]
    assert B.remove_small_boxes(SOME, 2).tolist() == [0, 1, 2, 3]


FORMS = {"xyxy": [2, 4, 8, 10], "xywh": [2, 4, 6, 6], "cxcywh": [5, 7, 6, 6]}


@pytest.mark.parametrize("out_fmt", FORMS)
@pytest.mark.parametrize("in_fmt", FORMS)
def test_forms_convert_into_each_other(in_fmt, out_fmt):
    boxes = np.array([FORMS[in_fmt]] * 2, np.float32)
    made = B.box_convert(boxes, in_fmt, out_fmt)
    assert made.tolist() == [FORMS[out_fmt]] * 2
    assert made.dtype == np.float32
    assert not np.shares_memory(made, boxes)


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.float64])
def test_other_dtypes_are_computed_without_overflow(dtype):
    wide = np.array([[0, 0, 300, 300]]).astype(dtype)  # 90,000 is no float16
    area = B.box_area(wide)
    assert area.tolist() == [90000]
    assert area.dtype == (np.float64 if dtype == np.float64 else np.float32)


def test_no_boxes_are_legal():
    none = np.zeros((0, 4), np.float32)
    assert B.box_iou(none, SOME).shape == (0, 4)
    assert B.generalized_box_iou(SOME, none).shape == (4, 0)
    assert B.box_area(none).shape == (0,)
    assert B.clip_boxes_to_image(none, (5, 5)).shape == (0, 4)
    assert B.remove_small_boxes(none, 1).shape == (0,)
    assert B.box_convert(none, "xyxy", "xywh").shape == (0, 4)


def test_wrong_arguments_name_the_function():
    with pytest.raises(ValueError, match=r"box_iou: boxes must be \(R, 4\), got \(3, 5\)"):
        B.box_iou(SOME, np.zeros((3, 5)))
    with pytest.raises(TypeError, match="box_area: boxes must be an array, got a Tensor"):
        B.box_area(md.zeros(2, 4))
    with pytest.raises(ValueError, match="box_convert: 'yxyx' is unknown"):
        B.box_convert(SOME, "xyxy", "yxyx")


def test_a_device_gives_the_same_without_waiting():
    strict = by_name("strict")
    there, size = strict.asarray(SOME), (3, 5)
    with strict_cupy.forbid_sync():
        made = [
            B.box_area(there),
            B.box_iou(there, there),
            B.generalized_box_iou(there, there),
            B.clip_boxes_to_image(there, size),
            B.box_convert(there, "cxcywh", "xyxy"),
        ]
    with strict_cupy.allow_sync():
        for here, expected in zip(
            [strict.to_host(a) for a in made],
            [
                B.box_area(SOME),
                B.box_iou(SOME, SOME),
                B.generalized_box_iou(SOME, SOME),
                B.clip_boxes_to_image(SOME, size),
                B.box_convert(SOME, "cxcywh", "xyxy"),
            ],
            strict=True,
        ):
            assert np.allclose(here, expected)
        keep = strict.to_host(B.remove_small_boxes(there, 2.5))
    assert keep.tolist() == [0]
