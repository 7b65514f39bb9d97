"""The words of a recipe's augment."""

import numpy as np
import pytest

from minidl.data import transforms
from minidl.training.augment import (
    AUGMENTS,
    JOINT_AUGMENTS,
    OBJECT_AUGMENTS,
    make_augment,
    make_joint_augment,
)

NORMALIZE = transforms.Normalize(0.5, 0.25)


def names(text, size=(32, 32)):
    return [type(t).__name__ for t in make_augment(text, size, NORMALIZE).transforms]


def test_words_are_transforms_one_after_the_other_around_normalize():
    assert names("none") == ["Normalize"]
    assert names("crop-flip") == ["RandomCrop", "RandomHorizontalFlip", "Normalize"]
    assert names("cutout+crop-flip + randaugment") == [
        "RandomCrop",
        "RandomHorizontalFlip",
        "RandAugment",
        "Normalize",
        "Cutout",
    ]


def test_numbers_are_arguments():
    (change, _) = make_augment("randaugment:3,12", (32, 32), NORMALIZE).transforms
    assert (change.num_ops, change.magnitude) == (3, 12)
    (change, _) = make_augment("rotation:7.5", (32, 32), NORMALIZE).transforms
    assert change.degrees == (-7.5, 7.5)
    (_, change) = make_augment("cutout", (40, 32), NORMALIZE).transforms
    assert change.size == 20


@pytest.mark.parametrize("name", list(AUGMENTS))
def test_every_word_changes_the_images_and_keeps_their_size(name):
    images = np.random.default_rng(0).random((16, 3, 24, 32)).astype(np.float32)
    result = make_augment(name, (24, 32), NORMALIZE)(images, np.random.default_rng(1))
    assert result.shape == images.shape
    assert result.dtype == np.float32
    assert not np.array_equal(result, NORMALIZE(images))
    assert AUGMENTS[name].__doc__


def test_what_is_hidden_is_grey_after_normalizing():
    images = np.ones((8, 1, 16, 16), np.float32)
    for name in ("cutout", "erasing:1"):
        result = make_augment(name, (16, 16), NORMALIZE)(images, np.random.default_rng(1))
        assert set(np.unique(result)) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crop", "unknown augment 'crop'; known are none, flip, crop-flip"),
        ("flip+", "unknown augment ''"),
        ("none+flip", "unknown augment 'none'"),
        ("rotation:a", "augment 'rotation:a': could not convert"),
        ("flip:1", "augment 'flip:1': .*takes 1 positional argument"),
        ("randaugment:2.5,9", "augment 'randaugment:2.5,9': 2.5 is not a whole number"),
        ("randaugment:2,99", "augment 'randaugment:2,99': .*magnitude must be"),
    ],
)
def test_what_is_no_augment_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        make_augment(text, (32, 32), NORMALIZE)


# -- with ground truth in the picture --------------------------------------------------------------


def scene(size=24):
    rng = np.random.default_rng(0)
    image, mask = rng.random((3, size, size), np.float32), rng.integers(0, 4, (size, size))
    target = {"boxes": np.array([[4.0, 5, 20, 18]], np.float32), "labels": np.array([1])}
    return image, mask, target


@pytest.mark.parametrize("name", list(JOINT_AUGMENTS))
def test_every_joint_change_moves_class_maps_and_brings_in_no_class(name):
    image, mask, _ = scene()
    (change,) = make_joint_augment(name, objects=False)
    changed = 0
    for seed in range(8):
        x, y = change(image, mask, np.random.default_rng(seed))
        assert x.shape[1:] == y.shape
        assert set(np.unique(y)) <= {0, 1, 2, 3}, "mirrored, where there is nothing"
        changed += not (np.array_equal(x, image) and np.array_equal(y, mask))
    assert changed >= 2


@pytest.mark.parametrize("name", list(OBJECT_AUGMENTS))
def test_every_change_of_objects_keeps_boxes_in_the_picture(name):
    image, _, target = scene()
    (change,) = make_joint_augment(name, objects=True)
    for seed in range(8):
        x, y = change(image, target, np.random.default_rng(seed))
        height, width = x.shape[1:]
        assert x.shape[0] == 3
        assert len(y["boxes"]) == len(y["labels"])
        assert (y["boxes"] >= 0).all()
        assert (y["boxes"] <= [width, height, width, height]).all()


def test_joint_changes_have_numbers_and_follow_each_other():
    first, second = make_joint_augment("scale:0.8,1.25 + rotation:40", objects=False)
    assert first.scale == (0.8, 1.25)
    assert second.degrees == (-40.0, 40.0)
    (out,) = make_joint_augment("zoom-out:1.5", objects=True)
    assert out.side_range == (1.0, 1.5)
    assert make_joint_augment("none", objects=True) == []


def test_changes_of_another_task_are_refused():
    for text, objects in (("iou-crop", False), ("cutout", True), ("crop-flip", False)):
        with pytest.raises(ValueError, match=f"unknown augment '{text}'; known are none, flip"):
            make_joint_augment(text, objects)
    with pytest.raises(ValueError, match="augment 'flip:3'"):
        make_joint_augment("flip:3", objects=True)
