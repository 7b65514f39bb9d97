"""Detections as pictures."""

import os

import numpy as np
import pytest
from PIL import Image

from minidl.data import CocoDetection, Scenes
from minidl.plot import detection, detection_grid, draw_detections
from minidl.plot.objects import colour_of

CLASSES = ["cat", "dog", "a very long name of something"]
GREY = np.full((3, 40, 80), 0.5, np.float32)
RED = np.round(255 * np.array(colour_of(0)))  # of class 0 and of the first instance
BLUE = np.round(255 * np.array(colour_of(1)))


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def target(boxes, labels=None, **more):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return {
        "boxes": boxes,
        "labels": np.zeros(len(boxes), int) if labels is None else labels,
    } | more


def drawn(tmp_path, objects, image=GREY, **options):
    draw_detections(image, objects, CLASSES, tmp_path / "d.png", **options)
    assert os.listdir(tmp_path) == ["d.png"]
    return pixels(tmp_path / "d.png")


def near(pixel, colour, by=3):
    return np.abs(pixel - np.array(colour)).max(axis=-1) <= by


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((64, 64), 800, (768, 768)),  # twelve times
        ((40, 80), 800, (400, 800)),
        ((30, 401), 800, (30, 401)),
        ((1200, 900), 800, (800, 600)),
        ((3, 2000), 500, (1, 500)),
        ((1, 1), 32, (32, 32)),
    ],
)
def test_small_images_are_enlarged_by_whole_numbers_and_large_ones_reduced(
    tmp_path, size, side, expected
):
    image = np.random.default_rng(0).random((1, *size)).astype(np.float32)
    picture = drawn(tmp_path, target([]), image, side=side)
    assert picture.shape[:2] == expected
    if expected[0] > size[0]:
        by = expected[0] // size[0]
        large = np.repeat(np.repeat(image[0], by, axis=0), by, axis=1)
        assert np.abs(picture - 255 * large[..., None]).max() <= 1


def test_boxes_lie_where_they_are_in_the_colour_of_their_class(tmp_path):
    objects = target([[10, 10, 30, 30], [50, 4, 70.5, 36]], np.array([0, 1]))
    picture = drawn(tmp_path, objects)  # ten times as large
    for (x1, y1, x2, y2), colour in (((10, 10, 30, 30), RED), ((50, 4, 70.5, 36), BLUE)):
        x, y = int(5 * (x1 + x2)), int(5 * (y1 + y2))
        for row, column in ((y, 10 * x1), (y, 10 * x2), (10 * y1, x), (10 * y2, x)):
            assert near(picture[int(row), int(column)], colour)
        assert near(picture[y, x], 128)  # nothing inside
        assert near(picture[y, int(10 * x1) - 5], 128)  # nor outside
    # The name: on the box, text on its colour.
    name = picture[100 - 20 : 98, 100:125]
    assert near(name, RED).sum() > 100
    assert near(name, 255, by=40).sum() > 10


def test_a_box_of_the_whole_picture_and_beyond_is_seen_at_its_border(tmp_path):
    whole, beyond = (drawn(tmp_path, target([box])) for box in ([0, 0, 80, 40], [-20, -9, 300, 77]))
    for picture in (whole, beyond):
        for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
            assert near(edge, RED, by=40).mean() > 0.9


def test_objects_of_low_score_are_left_out(tmp_path):
    objects = target([[5, 5, 30, 30], [40, 5, 60, 30]], scores=np.array([0.4, 0.9]))
    picture = drawn(tmp_path, objects)
    only = drawn(tmp_path, {key: value[1:] for key, value in objects.items()})
    np.testing.assert_array_equal(picture, only)
    assert near(drawn(tmp_path, objects, threshold=0.3)[200, 50], RED)
    assert near(drawn(tmp_path, objects, threshold=0.95), 128).all()


def test_a_prediction_s_names_have_scores_and_a_target_s_have_none(tmp_path):
    def width_of_name(picture):
        return near(picture[82:96], RED).any(axis=0).sum()

    plain = drawn(tmp_path, target([[10, 10, 12, 30]]))
    scored = drawn(tmp_path, target([[10, 10, 12, 30]], scores=np.array([0.5])))
    assert width_of_name(scored) > width_of_name(plain) + 20


@pytest.mark.parametrize("form", ["bool", "probabilities"])
def test_masks_are_translucent_and_have_an_edge(tmp_path, form):
    mask = np.zeros((1, 40, 80), bool)
    mask[0, 8:32, 8:40] = True
    given = mask if form == "bool" else np.where(mask, 0.6, 0.4)[:, None].astype(np.float32)
    picture = drawn(tmp_path, target([[50, 1, 60, 5]], masks=given))
    assert near(picture[200, 200], 0.55 * 127.5 + 0.45 * RED).all()
    for row, column in ((80, 200), (319, 200), (200, 80), (200, 399)):
        assert near(picture[row, column], RED)
    for row, column in ((78, 200), (321, 200), (200, 78), (200, 401)):
        assert near(picture[row, column], 128)


def test_colours_are_those_of_classes_or_of_instances(tmp_path):
    objects = target([[5, 20, 30, 35], [40, 20, 70, 35]], np.array([1, 1]))
    masks = np.zeros((2, 40, 80), bool)
    middle = 275  # of the height of both boxes
    for options, parts, expected in (
        ({}, objects, (BLUE, BLUE)),
        ({}, objects | {"masks": masks}, (RED, BLUE)),
        ({"colour_by": "class"}, objects | {"masks": masks}, (BLUE, BLUE)),
        ({"colour_by": "instance"}, objects, (RED, BLUE)),
    ):
        picture = drawn(tmp_path, parts, **options)
        for x, colour in zip((50, 400), expected, strict=True):
            assert near(picture[middle, x], colour)


def test_the_best_object_is_drawn_last(tmp_path):
    boxes, labels = [[10, 10, 40, 30], [10, 10, 40, 30]], np.array([0, 1])
    for scores, colour in (([0.9, 0.8], RED), ([0.8, 0.9], BLUE)):
        picture = drawn(tmp_path, target(boxes, labels, scores=np.array(scores)))
        assert near(picture[200, 100], colour)


def test_keypoints_that_are_hidden_are_hollow_and_absent_ones_not_there(tmp_path):
    keypoints = np.array([[[20, 20, 2], [40, 20, 1], [60, 20, 0], [20, 30, 2]]], np.float32)
    objects = target([[5, 5, 70, 36]], keypoints=keypoints)
    picture = drawn(tmp_path, objects, skeleton=[(0, 3), (0, 2)])
    assert near(picture[200, 200], RED)
    assert near(picture[200, 400], 128)
    assert near(picture[190:210, 400], RED, by=30).any()  # the ring
    assert near(picture[185:215, 585:615], 128).all()
    assert near(picture[250, 200], RED)  # the line to the fourth
    assert near(picture[200, 300], 128)  # none to what is absent
    # Where a prediction says that keypoints are, all are alike.
    predicted = drawn(tmp_path, objects | {"scores": np.array([0.9])})
    assert near(predicted[200, 400], RED)


@pytest.mark.parametrize("key", ["iscrowd", "difficult"])
def test_crowds_and_difficult_objects_are_dashed(tmp_path, key):
    objects = target([[5, 5, 70, 36]], **{key: np.array([1])})
    share = near(drawn(tmp_path, objects)[360, 60:690], RED).mean()
    assert 0.3 < share < 0.8
    objects[key][0] = 0
    assert near(drawn(tmp_path, objects)[360, 60:690], RED).all()


def test_a_name_that_is_wider_than_the_picture_is_written_smaller(tmp_path):
    objects = target([[2, 20, 7, 35]], np.array([2]))
    picture = drawn(tmp_path, objects, np.full((3, 40, 8), 0.5, np.float32), side=80)
    colour = 255 * np.array(colour_of(2))
    assert near(picture, colour).any(axis=1).sum() > 30
    assert near(picture[:, :1], colour).any()
    assert near(picture[:, -1:], colour).any()


def test_tensors_are_drawn_and_stay_as_they_are(tmp_path):
    scenes = Scenes(3, 48, task="instances")
    image, truth = scenes[1]
    before = {key: value.data.copy() for key, value in truth.items()}
    draw_detections(image, truth, scenes.classes, tmp_path / "a.png")
    for key, value in before.items():
        np.testing.assert_array_equal(truth[key].data, value)
    arrays = {key: value.data for key, value in truth.items()}
    draw_detections(image.data, arrays, scenes.classes, tmp_path / "b.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


def test_500_objects_and_none_are_drawn(tmp_path):
    corner = np.random.default_rng(0).uniform(0, 1, (500, 2)) * [70, 30]
    boxes = np.concatenate([corner, corner + 8], axis=1)
    picture = drawn(tmp_path, target(boxes, np.arange(500) % 3, scores=np.linspace(0, 1, 500)))
    assert not near(picture, 128).all()
    empty = target([], masks=np.zeros((0, 40, 80), bool), keypoints=np.zeros((0, 5, 3)))
    assert near(drawn(tmp_path, empty), 128).all()


def test_a_grid_has_the_truth_beside_the_prediction(tmp_path):
    images = [GREY, np.full((1, 60, 40), 0.25), GREY]
    truths = [target([[10, 10, 30, 30]])] * 3
    predictions = [target([[50, 10, 70, 30]], np.array([1]), scores=np.array([0.9]))] + [
        target([], scores=np.zeros(0))
    ] * 2
    path = tmp_path / "g.png"
    detection_grid(images, truths, predictions, CLASSES, path, side=160)
    picture = pixels(path)
    # Two pairs in a row: pictures of 160 and of 80 columns; below the first, the third.
    gap, head = detection.GAP, detection.HEAD
    assert picture.shape[1] == 2 * 160 + 2 * 80 + 6 * gap
    assert picture.shape[0] == head + 120 + gap + 80 + gap
    first = picture[head : head + 80, gap : gap + 160]
    second = picture[head : head + 80, 2 * gap + 160 : 2 * gap + 320]
    assert near(first[40, 20], RED)
    assert near(second[40, 100], BLUE)
    assert near(second[40, 20], 128)
    assert near(picture[head + 5, 4 * gap + 325], 64)
    assert near(picture[-80 - gap : -gap, gap : gap + 2], 128).all()
    assert picture[:head].min() < 80  # titles
    detection_grid(images, truths, predictions, CLASSES, path, side=160, captions=["a", "b", "c"])
    captioned = pixels(path)
    assert captioned.shape[0] == picture.shape[0] + 2 * (head - gap)
    detection_grid(images, truths, predictions, CLASSES, path, side=160, pairs=1)
    assert pixels(path).shape[1] == 2 * 160 + 3 * gap
    assert os.listdir(tmp_path) == ["g.png"]


def test_what_does_not_fit_is_refused(tmp_path):
    good = target([[1, 1, 5, 5]])
    for image, objects, options, message in [
        (GREY[0], good, {}, r"needs an image \(3, H, W\) or \(1, H, W\), got \(40, 80\)"),
        (np.zeros((4, 5, 5)), good, {}, "needs an image"),
        (GREY, {"boxes": good["boxes"]}, {}, "need boxes and labels, got boxes"),
        (GREY, good | {"boxes": np.zeros((1, 5))}, {}, r"boxes must be \(1, 4\), got \(1, 5\)"),
        (GREY, good | {"labels": np.zeros(2, int)}, {}, r"labels must be \(1\), got \(2,\)"),
        (GREY, good | {"labels": np.array([3])}, {}, "object 0 has label 3 of 3 classes"),
        (GREY, good | {"masks": np.zeros((1, 9, 9), bool)}, {}, r"masks must be \(1, 40, 80\)"),
        (GREY, good | {"keypoints": np.zeros((1, 3))}, {}, r"keypoints must be \(1, K, 3\)"),
        (GREY, target([[1, 1, np.nan, 5]]), {}, "object 0 has a box that is not finite"),
        (GREY, good, {"colour_by": "score"}, "'class' or 'instance', got 'score'"),
        (GREY, good, {"side": 8}, "at least 32 pixels, got 8"),
    ]:
        with pytest.raises(ValueError, match=message):
            draw_detections(image, objects, CLASSES, tmp_path / "d.png", **options)
    for arguments in (([GREY], [good], []), ([], [], []), ([GREY] * 2, [good], [good])):
        with pytest.raises(ValueError, match="as many images as truths"):
            detection_grid(*arguments, CLASSES, tmp_path / "d.png")
    assert not os.listdir(tmp_path)


@pytest.mark.data
def test_coco_s_people_are_drawn_with_their_skeletons(tmp_path, data_folder):
    folder = data_folder / "coco-mini"
    data = CocoDetection(
        folder / "train2017",
        folder / "annotations" / "person_keypoints_train2017.json",
        masks=True,
        keypoints=True,
        invalid="drop",
    )
    image, people = data[0]
    draw_detections(image, people, data.classes, tmp_path / "p.png", skeleton=data.skeleton)
    assert max(pixels(tmp_path / "p.png").shape) <= 800
