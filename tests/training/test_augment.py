"""The words of a recipe's augment."""

import numpy as np
import pytest

from minidl.data import transforms
from minidl.training.augment import AUGMENTS, make_augment

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
