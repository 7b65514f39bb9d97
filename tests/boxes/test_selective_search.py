"""Selective search: grouping against a slow loop on sets of pixels, and objects that are found."""

import colorsys
import math

import numpy as np
import pytest

import minidl as md
from minidl.boxes import box_iou, felzenszwalb, hierarchical_grouping, selective_search
from minidl.boxes.segments import blur
from minidl.boxes.selective_search import SPACES


def shapes(seed=0, size=(60, 80)):
    """Bright rectangles on a noisy ground: the picture and their boxes."""
    rng = np.random.default_rng(seed)
    image = 0.15 + 0.03 * rng.random((3, *size))
    boxes = [[5, 8, 30, 33], [40, 10, 75, 32], [20, 38, 60, 58]]
    for (x1, y1, x2, y2), colour in zip(
        boxes, ([0.9, 0.2, 0.1], [0.1, 0.8, 0.3], [0.2, 0.3, 0.9]), strict=True
    ):
        image[:, y1:y2, x1:x2] = np.array(colour)[:, None, None] + 0.03 * rng.random(
            (3, y2 - y1, x2 - x1)
        )
    return image.astype(np.float32), np.array(boxes, np.float32)


# -- the slow grouping ----------------------------------------------------------------------------


def histogram(maps, pixels, bins):
    counts = []
    for plane in maps:
        row = [0] * bins
        for p in pixels:
            row[min(int(plane[p] * bins), bins - 1)] += 1
        counts += row
    return [c / sum(counts) for c in counts]


def around(pixels):
    ys, xs = zip(*pixels, strict=True)
    return [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


def slow_texture(image):
    by_y, by_x = blur(image, 1.0, (1, 0)), blur(image, 1.0, (0, 1))
    maps = []
    for k in range(8):
        for c in range(len(image)):
            angle = math.pi * k / 4
            maps.append(np.maximum(math.cos(angle) * by_x[c] + math.sin(angle) * by_y[c], 0))
    largest = max(m.max() for m in maps)
    return [m / largest for m in maps]


def slow_grouping(image, labels, measure):
    image = image.astype(np.float64)
    texture, area = slow_texture(image), labels.size
    alive = {}
    for n in range(labels.max() + 1):
        alive[n] = {(int(y), int(x)) for y, x in zip(*np.nonzero(labels == n), strict=True)}
    boxes = [around(alive[n]) for n in alive]

    def touch(a, b):
        return any((y + dy, x + dx) in b for y, x in a for dy in (-1, 0, 1) for dx in (-1, 0, 1))

    def likeness(a, b):
        total = 0.0
        for letter, maps, bins in (("c", image, 25), ("t", texture, 10)):
            if letter in measure:
                pairs = zip(histogram(maps, a, bins), histogram(maps, b, bins), strict=True)
                total += sum(min(pair) for pair in pairs)
        if "s" in measure:
            total += 1 - (len(a) + len(b)) / area
        if "f" in measure:
            x1, y1, x2, y2 = around(a | b)
            total += 1 - ((x2 - x1) * (y2 - y1) - len(a) - len(b)) / area
        return total

    while len(alive) > 1:
        pairs = [(i, j) for i in alive for j in alive if i < j and touch(alive[i], alive[j])]
        i, j = max(pairs, key=lambda pair: likeness(alive[pair[0]], alive[pair[1]]))
        alive[i] |= alive.pop(j)
        boxes.append(around(alive[i]))
    return boxes


@pytest.mark.parametrize("measure", ["ctsf", "tsf", "c", "t", "sf"])
def test_grouping_equals_a_slow_loop_on_sets_of_pixels(measure):
    image = np.clip(blur(np.random.default_rng(3).random((3, 14, 18)), 1.0) * 2 - 0.5, 0, 1)
    labels = felzenszwalb(image, 150, 0.5, 12)
    assert 6 <= labels.max() + 1 <= 20
    boxes = hierarchical_grouping(image, labels, measure)
    assert boxes.dtype == np.float32
    assert boxes.tolist() == slow_grouping(image, labels, measure)
    assert len(boxes) == 2 * (labels.max() + 1) - 1
    assert boxes[-1].tolist() == [0, 0, 18, 14]


def test_one_region_is_one_box():
    boxes = hierarchical_grouping(np.zeros((3, 5, 7)), np.zeros((5, 7), int))
    assert boxes.tolist() == [[0, 0, 7, 5]]


def test_the_most_alike_are_joined_first():
    image = np.zeros((1, 10, 30))
    image[:, :, 10:20], image[:, :, 20:] = 0.02, 0.9  # the first two fall into one bin
    labels = np.repeat(np.array([[0, 1, 2]]), 10, 1).repeat(10, 0)
    boxes = hierarchical_grouping(image, labels, "c")
    assert boxes[3:].tolist() == [[0, 0, 20, 10], [0, 0, 30, 10]]


# -- the whole ------------------------------------------------------------------------------------


def test_every_object_is_among_the_proposals():
    image, objects = shapes()
    found = selective_search(image, min_box=5)
    assert found.dtype == np.float32
    assert box_iou(objects, found).max(axis=1).min() > 0.8
    assert len(np.unique(found, axis=0)) == len(found)
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] <= [80, 60]).all()


def test_an_object_of_two_colours_needs_more_than_colour():
    """A ball in two halves on a ground: some strategy joins the halves before the ground."""
    image, _ = shapes()
    image[:] = 0.1
    image[0, 20:40, 20:40], image[2, 20:40, 40:60] = 0.9, 0.9
    found = selective_search(image, min_box=5)
    wanted = np.array([[20, 20, 40, 40], [40, 20, 60, 40], [20, 20, 60, 40]], np.float32)
    assert box_iou(wanted, found).max(axis=1).min() > 0.8


def test_small_boxes_are_left_out_and_more_strategies_give_more():
    image, _ = shapes(1)
    few = selective_search(image, ("rgb",), (50,), ("ctsf",), min_box=0)
    more = selective_search(image, ("rgb", "hsv"), (50, 20), ("ctsf", "s"), min_box=0)
    assert len(more) > len(few)
    sides = selective_search(image, min_box=25)
    assert (sides[:, 2:] - sides[:, :2] >= 25).all()
    assert selective_search(image, min_box=100).shape == (0, 4)


def test_the_order_is_decided_by_manual_seed():
    image, _ = shapes(2)
    md.manual_seed(1)
    first = selective_search(image, min_box=5)
    md.manual_seed(1)
    assert np.array_equal(selective_search(image, min_box=5), first)
    again = selective_search(image, min_box=5)
    assert not np.array_equal(again, first)
    assert sorted(again.tolist()) == sorted(first.tolist())


def test_colour_spaces():
    rng = np.random.default_rng(0)
    pixels = np.concatenate([rng.random((3, 40)), np.eye(3), np.ones((3, 1)), np.zeros((3, 1))], 1)
    hsv = SPACES["hsv"](pixels[:, None])[:, 0]
    expected = np.array([colorsys.rgb_to_hsv(*p) for p in pixels.T]).T
    assert np.allclose(hsv, expected)
    assert SPACES["rgb"](pixels) is pixels
    lab = SPACES["lab"](pixels[:, None])[:, 0] * [[100], [255], [255]] - [[0], [128], [128]]
    # the published values of red, green and blue
    published = [[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86]]
    assert np.allclose(lab[:, 40:43].T, published, atol=0.1)
    assert np.allclose(lab[:, 43], [100, 0, 0], atol=0.1)
    assert np.allclose(lab[:, 44], 0, atol=0.1)


def test_wrong_arguments_name_the_function():
    image, labels = np.zeros((3, 4, 5)), np.zeros((4, 5), int)
    for call, error, message in [
        (lambda: selective_search(image[:1]), ValueError, r"must be \(3, H, W\), RGB"),
        (lambda: selective_search(image + 3), ValueError, "numbers from 0 to 1"),
        (lambda: selective_search(image, ("cmyk",)), ValueError, "'cmyk' is unknown"),
        (lambda: selective_search(image, measures=("x",)), ValueError, "letters of 'ctsf'"),
        (lambda: hierarchical_grouping(image, labels, ""), ValueError, "letters of 'ctsf'"),
        (lambda: hierarchical_grouping(image, labels[:2]), ValueError, r"labels \(2, 5\) do not"),
        (lambda: hierarchical_grouping(image, labels + 1), ValueError, "without gaps"),
        (lambda: hierarchical_grouping(image, labels - 1), ValueError, "without gaps"),
        (lambda: hierarchical_grouping(image, labels * 1.0), TypeError, "array of integers"),
    ]:
        with pytest.raises(error, match=rf"(selective_search|hierarchical_grouping): .*{message}"):
            call()


@pytest.mark.data
@pytest.mark.slow
def test_objects_of_real_photographs_are_found(data_folder):
    """COCO's objects of at least 60 x 60 pixels; the paper reports a mean best overlap of 0.78."""
    import json

    from PIL import Image

    folder = data_folder / "coco-mini"
    annotations = next(iter(sorted(folder.rglob("*instances*.json"))))
    coco = json.loads(annotations.read_text())
    best = []
    for picture in coco["images"][:6]:
        path = next(iter(folder.rglob(picture["file_name"])))
        with Image.open(path) as opened:
            small = opened.convert("RGB").resize((opened.width // 2, opened.height // 2))
        image = np.asarray(small, np.float32).transpose(2, 0, 1) / 255
        truth = [
            a["bbox"]
            for a in coco["annotations"]
            if a["image_id"] == picture["id"] and min(a["bbox"][2:]) >= 60 and not a["iscrowd"]
        ]
        if truth:
            boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in truth], np.float32) / 2
            best += box_iou(boxes, selective_search(image)).max(axis=1).tolist()
    assert len(best) >= 5
    assert np.mean(best) > 0.65
