"""Contact sheets."""

import os

import numpy as np
import pytest
from PIL import Image

from minidl.plot import image_grid


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (5, 1, 8, 6), (5, 3, 8, 8), (17, 9, 9)])
def test_grey_and_colour_images_of_any_number_are_drawn(tmp_path, shape):
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    image_grid(images, tmp_path / "g.png", [str(i) for i in range(len(images))])
    assert pixels(tmp_path / "g.png").std() > 10
    assert os.listdir(tmp_path) == ["g.png"]


def test_an_image_keeps_its_colours(tmp_path):
    """Black and white stay what they are, even in an image that has only one of them."""
    images = np.zeros((3, 3, 4, 4), np.float32)
    images[0, 0], images[1, 1] = 1.0, 0.5
    image_grid(images, tmp_path / "g.png")
    found = {tuple(int(v) for v in p) for p in pixels(tmp_path / "g.png").reshape(-1, 3)}
    assert {(255, 0, 0), (0, 0, 0)} <= found
    assert (0, 127, 0) in found or (0, 128, 0) in found
    image_grid(np.full((1, 4, 4), 0.5), tmp_path / "g.png")
    found = {tuple(int(v) for v in p) for p in pixels(tmp_path / "g.png").reshape(-1, 3)}
    assert found & {(127, 127, 127), (128, 128, 128)}


def test_marked_captions_are_red(tmp_path):
    images = np.zeros((2, 6, 6))
    for marked, red in (([False, False], False), ([False, True], True)):
        image_grid(images, tmp_path / "g.png", ["seven", "eight"], marked=marked)
        r, g, b = pixels(tmp_path / "g.png").astype(int).reshape(-1, 3).T
        assert ((r > 150) & (g < 60) & (b < 60)).any() == red


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (2, 2, 4, 4), (4, 4), (2, 3, 4, 4, 1)])
def test_what_are_no_images_is_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="needs images"):
        image_grid(np.zeros(shape), tmp_path / "g.png")
    assert not os.listdir(tmp_path)


def test_captions_for_other_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="1 captions for 2 images"):
        image_grid(np.zeros((2, 4, 4)), tmp_path / "g.png", ["a"])
    with pytest.raises(ValueError, match="3 marked for 2 images"):
        image_grid(np.zeros((2, 4, 4)), tmp_path / "g.png", ["a", "b"], marked=[True] * 3)
