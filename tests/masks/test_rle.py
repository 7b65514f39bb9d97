"""minidl/masks/rle.py: what runs say of a mask is what its pixels say."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import masks
from minidl.masks import RLE


@st.composite
def pixels(draw, count=1):
    """`count` masks of one small size."""
    height, width = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    bits = draw(st.lists(st.booleans(), min_size=count * height * width, max_size=count * 36))
    return np.array(bits[: count * height * width], bool).reshape(count, height, width)


def obvious_counts(mask):
    counts, now = [0], False
    for pixel in mask.T.reshape(-1):
        if pixel != now:
            counts.append(0)
            now = pixel
        counts[-1] += 1
    return counts


def obvious_iou(a, b, crowd):
    shared = (a & b).sum()
    whole = a.sum() if crowd else (a | b).sum()
    return shared / whole if whole else 0.0


def test_the_example_in_the_docstring_is_true():
    rle = masks.encode(np.array([[0, 1, 1], [0, 1, 0]]))
    assert rle.counts.tolist() == [2, 3, 1]
    assert rle.size == (2, 3)


@settings(max_examples=60, deadline=None)
@given(pixels())
def test_runs_are_those_found_pixel_by_pixel(mask):
    rle = masks.encode(mask[0])
    assert rle.counts.tolist() == obvious_counts(mask[0])
    assert rle.size == mask[0].shape
    assert masks.area(rle) == mask.sum()


@settings(max_examples=60, deadline=None)
@given(pixels())
def test_decoding_gives_the_mask_back(mask):
    back = masks.decode(masks.encode(mask[0]))
    assert back.dtype == bool
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, mask[0])


@settings(max_examples=60, deadline=None)
@given(pixels())
def test_a_file_gives_the_mask_back(mask):
    rle = masks.encode(mask[0])
    entry = json.loads(json.dumps(masks.to_json(rle)))
    assert masks.from_json(entry) == rle
    assert masks.from_json({"size": entry["size"], "counts": entry["counts"].encode()}) == rle
    assert masks.from_json({"size": entry["size"], "counts": rle.counts.tolist()}) == rle


def test_long_runs_survive_as_text():
    rng = np.random.default_rng(0)
    counts = np.concatenate([10 ** rng.integers(0, 9, 50), [1, 2**31, 1, 31, 32, 33, 15, 16, 17]])
    rle = RLE((1, int(counts.sum())), counts)
    assert masks.from_json(masks.to_json(rle)) == rle


def test_text_is_what_cocos_tools_write():
    # Worked out by hand: 6 is "6"; 1 is "1"; 40 = 8 + 32 * 1 -> 8 | 32, then 1: "X1"; 5 - 1 = 4.
    assert masks.to_json(RLE((52, 1), np.array([6, 1, 40, 5])))["counts"] == "61X14"
    # A fourth run shorter than the second: 1 - 3 = -2 is 11110 in five bits, 30 + 48 is "N".
    assert masks.to_json(RLE((2, 5), np.array([4, 3, 2, 1])))["counts"] == "432N"


def test_runs_of_no_pixels_are_joined():
    entry = {"size": [2, 3], "counts": [1, 2, 0, 1, 2, 0]}
    assert masks.from_json(entry).counts.tolist() == [1, 3, 2]
    assert masks.from_json({"size": [2, 3], "counts": [0, 0, 6]}).counts.tolist() == [6]


@settings(max_examples=60, deadline=None)
@given(pixels(count=3))
def test_union_and_intersection_are_those_of_the_pixels(three):
    rles = [masks.encode(mask) for mask in three]
    assert masks.merge(rles) == masks.encode(three.any(axis=0))
    assert masks.merge(rles, intersect=True) == masks.encode(three.all(axis=0))
    assert masks.merge(rles[:1]) == rles[0]


@settings(max_examples=60, deadline=None)
@given(pixels(count=5), st.tuples(st.booleans(), st.booleans()))
def test_overlaps_are_those_of_the_pixels(five, crowd):
    rles = [masks.encode(mask) for mask in five]
    got = masks.iou(rles[:3], rles[3:], np.array(crowd))
    expected = [
        [obvious_iou(a, b, c) for b, c in zip(five[3:], crowd, strict=True)] for a in five[:3]
    ]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(
        masks.iou(rles, rles), masks.iou(rles, rles, np.zeros(5, bool)), strict=True
    )


def test_overlaps_of_nothing_have_a_shape():
    rle = masks.encode(np.ones((2, 2)))
    assert masks.iou([], [rle]).shape == (0, 1)
    assert masks.iou([rle, rle], []).shape == (2, 0)


@settings(max_examples=60, deadline=None)
@given(pixels(count=3))
def test_boxes_are_the_smallest_around_the_pixels(three):
    expected = np.zeros((3, 4))
    for box, mask in zip(expected, three, strict=True):
        y, x = np.nonzero(mask)
        if y.size:
            box[:] = x.min(), y.min(), x.max() + 1, y.max() + 1
    got = masks.bounding_boxes([masks.encode(mask) for mask in three])
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, "size .H, W. and counts, got None"),
        ({"size": [2, 2]}, "size .H, W. and counts"),
        ({"size": [2], "counts": [4]}, "size .H, W. and counts"),
        ({"size": [2, 2], "counts": [3]}, "runs of 3 pixels.*do not fill 2 x 2 = 4"),
        ({"size": [2, 2], "counts": [5, -1]}, "1 negative"),
        ({"size": [2, 2], "counts": ["a"]}, "counts must be integers"),
        ({"size": [2, 2], "counts": "4X"}, "not a mask as text, or its end is missing"),
        ({"size": [2, 2], "counts": ""}, "not a mask as text"),
        ({"size": [2, 2], "counts": "4 4"}, "not a mask as text"),
        ({"size": [2, 2], "counts": "o" * 13 + "0"}, "a number of 14 characters"),
    ],
)
def test_what_is_no_mask_is_told(entry, message):
    with pytest.raises(ValueError, match=message):
        masks.from_json(entry)


def test_masks_that_do_not_fit_together_are_told():
    small, large = masks.encode(np.ones((2, 2))), masks.encode(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"one size, got sizes \[\(2, 2\), \(2, 3\)\]"):
        masks.iou([small], [large])
    with pytest.raises(ValueError, match="one size"):
        masks.merge([small, large])
    with pytest.raises(ValueError, match=r"got sizes \[\]"):
        masks.merge([])
    with pytest.raises(ValueError, match=r"must be \(H, W\), got \(1, 2, 2\)"):
        masks.encode(np.ones((1, 2, 2)))


# -- against COCO's tools --------------------------------------------------------------------------


def test_everything_is_as_cocos_tools_have_it():
    theirs = pytest.importorskip("pycocotools.mask", reason="needs pycocotools (extra reference)")
    rng = np.random.default_rng(1)
    for _ in range(40):
        height, width = rng.integers(1, 40, 2)
        coarse = rng.random((6, -(-height // 4), -(-width // 4))) < 0.5
        dense = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
        rles = [masks.encode(mask) for mask in dense]
        packed = [theirs.encode(np.asfortranarray(mask, np.uint8)) for mask in dense]
        assert [masks.to_json(r)["counts"].encode() for r in rles] == [p["counts"] for p in packed]
        crowd = rng.integers(0, 2, 3)
        np.testing.assert_allclose(
            masks.iou(rles[:3], rles[3:], crowd),
            theirs.iou(packed[:3], packed[3:], crowd.tolist()),
            rtol=0,
            atol=1e-15,
        )
        assert masks.from_json(theirs.merge(packed, intersect=True)) == masks.merge(rles, True)
