"""Class maps as pictures."""

import os

import numpy as np
import pytest
from PIL import Image

from minidl.plot import class_colours, mask_overlay, paint_mask, segmentation_grid

CLASSES = ["background", "car", "tree"]
COLOURS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
MASK = np.array([[0, 1, 2], [1, 1, 255]])
IMAGE = np.full((3, 2, 3), 0.5)


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def has(picture, colour, many=1):
    return (np.abs(picture.astype(int) - np.array(colour)).max(axis=-1) <= 2).sum() >= many


def test_colours_of_classes_differ():
    colours = class_colours([str(i) for i in range(40)])
    assert colours.shape == (40, 3)
    assert 0 <= colours.min() <= colours.max() <= 1
    apart = np.abs(colours[:, None] - colours).max(axis=-1)
    assert np.sort(apart, axis=1)[:12, 1].min() > 0.04
    assert np.abs(np.diff(colours, axis=0)).max(axis=1).min() > 0.3  # neighbours
    assert not class_colours(CLASSES)[0].any()
    assert class_colours(CLASSES)[1:].max(axis=1).min() > 0.6
    assert class_colours([]).shape == (0, 3)


def test_a_class_map_is_painted_pixel_by_pixel():
    alone = paint_mask(MASK, COLOURS)
    over = paint_mask(MASK, COLOURS, IMAGE, opacity=0.25, clear=[0])
    grey = paint_mask(MASK, COLOURS, IMAGE[:1], opacity=0.25, clear=[0])
    np.testing.assert_array_equal(over, grey)
    for i, j in np.ndindex(*MASK.shape):
        label = MASK[i, j]
        expected = COLOURS[label] if label < 3 else np.array([224, 224, 192]) / 255
        np.testing.assert_allclose(alone[:, i, j], expected)
        share = 0.25 if label in (1, 2) else 0.0
        expected = IMAGE[:, i, j] * (1 - share) + share * expected
        np.testing.assert_allclose(over[:, i, j], expected)


def test_what_is_no_class_map_is_refused():
    for mask, image, message in [
        (MASK * 1.0, None, "class map"),
        (MASK[0], None, r"\(H, W\)"),
        (MASK, IMAGE[:2], r"size \(2, 3\), got \(2, 2, 3\)"),
        (MASK, IMAGE[:, :1], "needs an image"),
    ]:
        with pytest.raises(ValueError, match=message):
            paint_mask(mask, COLOURS, image)


@pytest.mark.parametrize("size", [(8, 8), (200, 300), (40, 10)])
def test_an_overlay_has_the_image_the_class_and_the_legend(tmp_path, size):
    image, mask = np.ones((3, *size)), np.zeros(size, np.int64)
    image[2] = 0.0  # yellow
    mask[: size[0] // 2] = 1
    mask_overlay(image, mask, CLASSES, tmp_path / "o.png", colours=COLOURS, opacity=1.0)
    picture = pixels(tmp_path / "o.png")
    assert has(picture, [255, 0, 0], many=500)  # the class, and its patch in the legend
    assert has(picture, [255, 255, 0], many=500)  # background is not painted
    legend = picture[:60, -185:]
    assert has(legend, [255, 0, 0], many=50)
    assert not has(legend, [0, 255, 0])  # no tree in the picture
    assert legend.min() < 60  # text
    assert os.listdir(tmp_path) == ["o.png"]


def test_a_grid_shows_image_truth_and_prediction(tmp_path):
    images = [np.full((1, 8, 12), 0.5), np.full((3, 10, 8), 0.25)]
    truths = [np.full((8, 12), 1), np.full((10, 8), 255)]
    predictions = [np.full((8, 12), 2), np.full((10, 8), 0)]
    path = tmp_path / "g.png"
    segmentation_grid(images, truths, predictions, CLASSES, path, colours=COLOURS)
    picture = pixels(path)
    width = picture.shape[1]
    for part, colours in enumerate(
        [[(128, 128, 128), (64, 64, 64)], [(255, 0, 0), (224, 224, 192)], [(0, 255, 0), (0, 0, 0)]]
    ):
        column = picture[:, part * width // 3 + 20 : (part + 1) * width // 3 - 20]
        for colour in colours:
            assert has(column, colour, many=1000), (part, colour)
    plain = picture.shape[0]
    segmentation_grid(images, truths, predictions, CLASSES, path, captions=["a", "b"])
    assert pixels(path).shape[0] > plain


def test_grids_that_do_not_fit_are_refused(tmp_path):
    images, maps = [np.zeros((3, 4, 4))], [np.zeros((4, 4), int)]
    for arguments in ((images, maps, []), ([], [], []), (images * 2, maps, maps)):
        with pytest.raises(ValueError, match="as many images as truths"):
            segmentation_grid(*arguments, CLASSES, tmp_path / "g.png")
    with pytest.raises(ValueError, match=r"colours must be \(C, 3\)"):
        segmentation_grid(images, maps, maps, ["a"], tmp_path / "g.png", colours=COLOURS)
    with pytest.raises(ValueError, match="needs an image"):
        segmentation_grid(images, [np.zeros((4, 5), int)], maps, ["a"], tmp_path / "g.png")
    assert not os.listdir(tmp_path)
