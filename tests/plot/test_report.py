"""A run on one page."""

import os

import numpy as np
import pytest
from PIL import Image

from minidl.plot import report

HISTORY = [
    {"epoch": e, "lr": 0.1, "train_loss": 1 / e, "train_accuracy": 1 - 0.5 / e, "test_loss": 1.0}
    for e in (1, 2, 3)
]


@pytest.mark.parametrize("mistakes", [0, 45])
def test_mistakes_are_marked_in_red_however_many_there_are(tmp_path, mistakes):
    images = np.random.default_rng(0).random((60, 1, 6, 6), dtype=np.float32)
    labels = np.arange(60) % 3
    answers = labels.copy()
    answers[:mistakes] = (labels[:mistakes] + 1) % 3
    report(HISTORY, images, labels, answers, ["cat", "dog", "aeroplane"], tmp_path / "r.png", "net")
    picture = np.asarray(Image.open(tmp_path / "r.png").convert("RGB")).astype(int)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 60) & (picture[..., 2] < 60)
    assert red.any() == (mistakes > 0)


def test_colour_pictures_are_drawn_too(tmp_path):
    images, labels = np.zeros((40, 3, 6, 6), np.float32), np.zeros(40, np.int64)
    images[:, 1] = 1.0
    report(HISTORY, images, labels, labels, ["lawn"], tmp_path / "r.png")
    picture = np.asarray(Image.open(tmp_path / "r.png").convert("RGB")).reshape(-1, 3)
    assert (picture == [0, 255, 0]).all(axis=1).any()


def test_fewer_images_than_places_are_enough(tmp_path):
    zeros = np.zeros(2, np.int64)
    report(HISTORY, np.zeros((2, 1, 4, 4)), zeros, zeros, ["a"], tmp_path / "r.png")
    assert os.listdir(tmp_path) == ["r.png"]


def test_lengths_that_differ_are_refused(tmp_path):
    with pytest.raises(ValueError, match="3 images, 2 labels, 3 answers"):
        report(
            HISTORY,
            np.zeros((3, 1, 4, 4)),
            np.zeros(2, np.int64),
            np.zeros(3, np.int64),
            ["a"],
            tmp_path / "r.png",
        )
