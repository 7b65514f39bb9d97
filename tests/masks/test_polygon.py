"""minidl/masks/polygon.py: polygons fill the pixels that COCO's tools fill."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import masks

SIZE = (12, 15)


def obvious(corners, size):
    """Walk along the outline point by point and toggle a column wherever it is crossed."""
    height, width = size
    grid = [(int(5 * x + 0.5), int(5 * y + 0.5)) for x, y in corners]
    walk = []
    for (x0, y0), (x1, y1) in zip(grid, grid[1:] + grid[:1], strict=True):
        steps = max(abs(x1 - x0), abs(y1 - y0))
        long_x = abs(x1 - x0) >= abs(y1 - y0)
        back = x0 > x1 if long_x else y0 > y1
        (ax, ay), (bx, by) = ((x1, y1), (x0, y0)) if back else ((x0, y0), (x1, y1))
        side = []
        for t in range(steps + 1):
            if long_x:
                slope = (by - ay) / steps if steps else 0.0
                side.append((ax + t, int(ay + slope * t + 0.5)))
            else:
                side.append((int(ax + (bx - ax) / steps * t + 0.5), ay + t))
        walk += side[::-1] if back else side
    toggles = np.zeros((width, height + 1), int)
    for (x0, y0), (x1, y1) in pairwise(walk):
        x = (min(x0, x1) + 0.5) / 5 - 0.5
        if x0 != x1 and x == math.floor(x) and 0 <= x < width:
            y = math.ceil(min(max((min(y0, y1) + 0.5) / 5 - 0.5, 0), height))
            toggles[int(x), y] += 1
    return (toggles.cumsum(axis=1)[:, :height] % 2).T.astype(bool)


corner = st.floats(-5, 20).map(lambda x: round(x, 2))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(corner, corner), min_size=3, max_size=8))
def test_filling_is_that_of_a_walk_along_the_outline(corners):
    got = masks.decode(masks.from_polygons([np.ravel(corners)], SIZE))
    np.testing.assert_array_equal(got, obvious(corners, SIZE))


@settings(max_examples=60, deadline=None)
@given(
    *(st.integers(0, 12) for _ in range(4)),
)
def test_a_rectangle_between_pixels_is_filled_exactly(x0, y0, x1, y1):
    expected = np.zeros(SIZE, bool)
    expected[min(y0, y1) : max(y0, y1), min(x0, x1) : max(x0, x1)] = True
    got = masks.decode(masks.from_polygons([[x0, y0, x1, y0, x1, y1, x0, y1]], SIZE))
    np.testing.assert_array_equal(got, expected)


def test_a_large_disc_has_its_area_and_middle():
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    x, y = 50.3 + 30 * np.cos(angle), 40.6 + 30 * np.sin(angle)
    mask = masks.decode(masks.from_polygons([np.stack([x, y], axis=1).ravel()], (90, 100)))
    assert mask.sum() == pytest.approx(np.pi * 900, rel=0.002)
    rows, columns = np.nonzero(mask)
    # Half a pixel: pixel (i, j) has its middle at (i + 0.5, j + 0.5).
    assert rows.mean() + 0.5 == pytest.approx(40.6, abs=0.15)
    assert columns.mean() + 0.5 == pytest.approx(50.3, abs=0.15)


def test_several_polygons_are_united_and_an_overlap_is_no_hole():
    a, b = [0, 0, 6, 0, 6, 6, 0, 6], [3, 3, 9, 3, 9, 9, 3, 9]
    both = masks.decode(masks.from_polygons([a, b], SIZE))
    each = [masks.decode(masks.from_polygons([p], SIZE)) for p in (a, b)]
    np.testing.assert_array_equal(both, each[0] | each[1])
    assert both.sum() == 36 + 36 - 9


def test_what_lies_outside_is_cut_off():
    assert masks.area(masks.from_polygons([[-50, -50, 50, -50, 50, 50, -50, 50]], SIZE)) == 12 * 15
    assert masks.area(masks.from_polygons([[20, 0, 30, 0, 30, 9]], SIZE)) == 0
    assert masks.area(masks.from_polygons([[0, 0, 5, 0, 5, 5]], (0, 0))) == 0


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        ([], "at least one polygon"),
        ([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4]], "polygon 1 must be x, y of three corners.*4 values"),
        ([[1, 2, 3, 4, 5, 6, 7]], "7 values"),
        ([[1, 2, 3, 4, 5, math.nan]], "1 of them not finite"),
        ([[1, 2, 3, 4, 5, "x"]], "polygon 0 holds what is no number"),
        ([[1, 2, 3, 4, 5, 1e9]], "corner at 1e.09 pixels"),
    ],
)
def test_what_is_no_polygon_is_told(polygons, message):
    with pytest.raises(ValueError, match=message):
        masks.from_polygons(polygons, SIZE)


def test_random_polygons_are_filled_as_by_cocos_tools():
    theirs = pytest.importorskip("pycocotools.mask", reason="needs pycocotools (extra reference)")
    rng = np.random.default_rng(0)
    for _ in range(300):
        height, width = (int(n) for n in rng.integers(1, 30, 2))
        polygons = [
            rng.uniform(-8, 40, 2 * rng.integers(3, 9)).round(rng.integers(0, 3)).tolist()
            for _ in range(rng.integers(1, 4))
        ]
        expected = theirs.merge(theirs.frPyObjects(polygons, height, width))
        assert masks.from_polygons(polygons, (height, width)) == masks.from_json(expected)


@pytest.mark.data
def test_all_outlines_of_real_images_are_filled_as_by_cocos_tools(data_folder):
    theirs = pytest.importorskip("pycocotools.mask", reason="needs pycocotools (extra reference)")
    content = json.loads(
        (data_folder / "coco-mini/annotations/instances_train2017.json").read_text()
    )
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for entry in content["annotations"]:
        outline, size = entry["segmentation"], sizes[entry["image_id"]]
        if isinstance(outline, list):
            mine = masks.from_polygons(outline, size)
            expected = theirs.merge(theirs.frPyObjects(outline, *size))
        else:
            mine, expected = masks.from_json(outline), theirs.frPyObjects(outline, *size)
        assert masks.to_json(mine)["counts"].encode() == expected["counts"]
        assert masks.area(mine) == theirs.area(expected)
        x, y, w, h = theirs.toBbox(expected)
        assert masks.bounding_boxes([mine]).tolist() == [[x, y, x + w, y + h]]


@pytest.mark.data
def test_areas_of_real_masks_are_near_those_in_the_file(data_folder):
    content = json.loads(
        (data_folder / "coco-mini/annotations/instances_train2017.json").read_text()
    )
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    wrong = []
    for entry in content["annotations"]:
        if isinstance(entry["segmentation"], list) and entry["area"] > 500:
            mask = masks.from_polygons(entry["segmentation"], sizes[entry["image_id"]])
            wrong.append(abs(masks.area(mask) / entry["area"] - 1))
    assert len(wrong) > 300
    assert np.median(wrong) < 0.01
