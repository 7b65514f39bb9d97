"""Curves of a detector: a panel for each class, a legible picture in any case."""

import os

import numpy as np
import pytest
from PIL import Image

from minidl.metrics import COCOAveragePrecision, VOCAveragePrecision
from minidl.plot import precision_recall


def scored(make, names=("cat", "dog", "cow")):
    """Cats are found among errors, dogs are missed, there are no cows."""
    score = make(list(names))
    boxes = np.array([[20.0 * i, 0, 20 * i + 10, 10] for i in range(6)])
    target = {"boxes": boxes[:4], "labels": [0, 0, 0, 1]}
    prediction = {"boxes": boxes[[0, 5, 1]], "labels": [0, 0, 0], "scores": [0.9, 0.8, 0.7]}
    score.update([prediction], [target])
    return score.compute()


def share_of(path, colour):
    picture = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return (picture == colour).all(axis=1).mean()


BLUE, LIGHT_BLUE, GREY = (0x00, 0x72, 0xB2), (217, 234, 243), (0x99, 0x99, 0x99)


@pytest.mark.parametrize("make", [COCOAveragePrecision, VOCAveragePrecision])
def test_curves_are_drawn_of_classes_that_have_a_score(make, tmp_path):
    precision_recall(scored(make), tmp_path / "c.png")
    assert os.listdir(tmp_path) == ["c.png"]
    with Image.open(tmp_path / "c.png") as picture:
        width, height = picture.size
    assert 1.8 < width / height < 2.2, "two panels"
    assert share_of(tmp_path / "c.png", BLUE) > 0
    assert share_of(tmp_path / "c.png", LIGHT_BLUE) > 0.05


def test_area_grows_with_what_is_found(tmp_path):
    shares = []
    for found in (1, 3):
        score = VOCAveragePrecision(["cat"])
        boxes = np.array([[20.0 * i, 0, 20 * i + 10, 10] for i in range(3)])
        prediction = {"boxes": boxes[:found], "labels": [0] * found, "scores": [0.5] * found}
        score.update([prediction], [{"boxes": boxes, "labels": [0, 0, 0]}])
        precision_recall(score.compute(), tmp_path / "c.png")
        shares.append(share_of(tmp_path / "c.png", LIGHT_BLUE))
    assert shares[1] == pytest.approx(3 * shares[0], rel=0.1)


def test_without_any_score_there_is_still_a_picture(tmp_path):
    precision_recall(COCOAveragePrecision(["cat", "dog"]).compute(), tmp_path / "c.png")
    assert share_of(tmp_path / "c.png", BLUE) == 0


def test_many_classes_take_several_lines(tmp_path):
    result = scored(VOCAveragePrecision, [str(i) for i in range(12)])
    precision_recall(result, tmp_path / "c.png", classes=list(result["curves"]), columns=4)
    with Image.open(tmp_path / "c.png") as picture:
        width, height = picture.size
    assert 1.2 < width / height < 1.5


def test_an_unknown_class_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"unknown classes \['horse'\]; the result has cat, dog"):
        precision_recall(scored(VOCAveragePrecision), tmp_path / "c.png", classes=["horse"])
    assert not os.listdir(tmp_path)
