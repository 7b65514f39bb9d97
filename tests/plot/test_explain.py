"""Pictures beside maps."""

import os

import numpy as np
import pytest
from PIL import Image

import minidl as md
from minidl.plot import attribution_grid

RNG = np.random.default_rng(0)


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (3, 3, 8, 6), (2, 9, 7)])
def test_maps_of_any_size_are_drawn_beside_grey_and_colour_pictures(tmp_path, shape):
    count = shape[0]
    maps = {
        "heat": RNG.random((count, 4, 3)),
        "signed": md.tensor(RNG.standard_normal((count, *shape[-2:]))).to("strict"),
        "channels": RNG.standard_normal((count, 3, *shape[-2:])),
        "nothing": np.zeros((count, 2, 2)),
    }
    captions = [str(n) for n in range(count)]
    attribution_grid(RNG.random(shape), maps, tmp_path / "a.png", captions=captions)
    assert pixels(tmp_path / "a.png").std() > 10
    assert os.listdir(tmp_path) == ["a.png"]


def test_what_speaks_for_a_class_is_red_and_what_speaks_against_it_blue(tmp_path):
    signed = np.zeros((1, 4, 4))
    signed[0, 0], signed[0, 3] = 1.0, -1.0
    attribution_grid(np.zeros((1, 1, 4, 4)), {"signed": signed}, tmp_path / "a.png")
    picture = pixels(tmp_path / "a.png")
    red = (picture[..., 0] - picture[..., 2] > 60).nonzero()[0]
    blue = (picture[..., 2] - picture[..., 0] > 60).nonzero()[0]
    assert len(red)
    assert len(blue)
    assert red.max() < blue.min(), "row 0 is on top"


def test_heat_lies_over_the_picture_where_there_is_some(tmp_path):
    heat = np.zeros((1, 2, 2))
    heat[0, 1, 1] = 1.0
    attribution_grid(np.full((1, 1, 8, 8), 0.4), {"heat": heat}, tmp_path / "a.png")
    picture = pixels(tmp_path / "a.png")
    coloured = np.abs(picture - picture.mean(-1, keepdims=True)).max(-1) > 30
    rows, columns = coloured.nonzero()
    panel = (np.abs(picture - 102).max(-1) < 3).nonzero()  # the grey of the pictures
    assert rows.mean() > panel[0].mean()
    assert columns.mean() > panel[1].mean()


def test_maps_of_other_pictures_are_refused(tmp_path):
    images = np.zeros((2, 1, 4, 4))
    for maps, captions, message in [
        ({"a": np.zeros((3, 4, 4))}, None, r"'a' is \(3, 4, 4\)"),
        ({"a": np.zeros((2, 4))}, None, r"'a' is \(2, 4\)"),
        ({}, None, "needs maps"),
        ({"a": np.zeros((2, 4, 4))}, ["one"], "captions for 2 pictures"),
    ]:
        with pytest.raises(ValueError, match=message):
            attribution_grid(images, maps, tmp_path / "a.png", captions=captions)
    with pytest.raises(ValueError, match="needs images"):
        attribution_grid(np.zeros((2, 2, 4, 4)), {"a": np.zeros((2, 4, 4))}, tmp_path / "a.png")
    assert not os.listdir(tmp_path)
