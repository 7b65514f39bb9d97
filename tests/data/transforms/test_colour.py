"""minidl/data/transforms/colour.py: SSD's changes of colours (ColorJitter: see test_transforms)."""

import numpy as np
import pytest

from minidl.data.transforms import RandomPhotometricDistort

from ...torchvision_oracle import torchvision

ONE = (1.0, 1.0)


def images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def sorted_channels(batch):
    return np.sort(batch.reshape(len(batch), batch.shape[1], -1).sum(axis=2), axis=1)


def test_each_change_happens_to_its_share_of_the_images():
    batch = np.repeat(images(1, 3, 6, 6), 600, axis=0)
    for p, low, high in ((0.0, 0, 0), (0.2, 0.15, 0.25), (1.0, 1, 1)):
        result = RandomPhotometricDistort(ONE, (0.5, 0.9), ONE, (0.0, 0.0), p)(batch, rng())
        # Less contrast: the sum of squares is smaller, whatever the order of the channels.
        changed = (result**2).sum(axis=(1, 2, 3)) < (batch**2).sum(axis=(1, 2, 3)) * (1 - 1e-5)
        assert low <= changed.mean() <= high


def test_channels_are_exchanged_last_and_in_every_order():
    batch = np.repeat(images(1, 3, 5, 4), 400, axis=0)
    result = RandomPhotometricDistort(ONE, ONE, ONE, (0.0, 0.0), p=0.5)(batch, rng())
    np.testing.assert_allclose(sorted_channels(result), sorted_channels(batch), rtol=1e-5)
    found = [tuple(np.argsort(image.mean(axis=(1, 2)))) for image in result]
    counts = {order: found.count(order) for order in set(found)}
    assert len(counts) == 6
    same = counts.pop(tuple(np.argsort(batch[0].mean(axis=(1, 2)))))
    # Half of the images keep their channels, and a sixth of the others by chance.
    assert abs(same / 400 - 7 / 12) < 0.08
    assert all(abs(count / 400 - 1 / 12) < 0.05 for count in counts.values())
    grey = images(5, 1, 4, 4)
    same = RandomPhotometricDistort(ONE, ONE, (0.5, 1.5), (-0.1, 0.1), 1.0)(grey, rng())
    np.testing.assert_allclose(same, grey, atol=1e-6)


def test_the_four_changes_come_in_every_order():
    """Brightness and contrast do not commute where values are clipped, nor do the others."""
    image = images(1, 3, 4, 4)
    distort = RandomPhotometricDistort((1.5, 1.5), (1.5, 1.5), (1.5, 1.5), (0.1, 0.1), 1.0)
    seen = {sorted_channels(distort(image, rng(i))).round(4).tobytes() for i in range(300)}
    assert len(seen) >= 20  # of 24 orders; some give the same


@pytest.mark.parametrize(
    ("argument", "name", "factor"),
    [
        ("brightness", "adjust_brightness", 1.1),
        ("contrast", "adjust_contrast", 1.4),
        ("contrast", "adjust_contrast", 0.5),
        ("saturation", "adjust_saturation", 1.5),
        ("saturation", "adjust_saturation", 0.6),
        ("hue", "adjust_hue", 0.05),
        ("hue", "adjust_hue", -0.05),
    ],
)
def test_each_change_is_torchvision_s(argument, name, factor):
    torchvision()
    import torch
    from torchvision.transforms.v2 import functional

    others = {"brightness": ONE, "contrast": ONE, "saturation": ONE, "hue": (0.0, 0.0)}
    distort = RandomPhotometricDistort(**{**others, argument: (factor, factor)}, p=1.0)
    image = images(3, 16, 12, seed=3)
    found = distort(image[None], rng())[0]
    expected = getattr(functional, name)(torch.from_numpy(image), factor).numpy()
    # Channels were exchanged: each is one of the expected ones.
    for channel in expected:
        assert min(np.abs(channel - other).max() for other in found) < 1e-5


def test_the_ranges_are_torchvision_s():
    torchvision()
    from torchvision.transforms import v2

    ours, theirs = RandomPhotometricDistort(), v2.RandomPhotometricDistort()
    for name in ("brightness", "contrast", "saturation", "hue", "p"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_what_makes_no_sense_is_refused():
    for arguments, message in [
        ({"p": 1.5}, r"RandomPhotometricDistort: must be in \[0, 1\], got 1.5"),
        ({"hue": (-0.6, 0.0)}, "RandomPhotometricDistort: hue must be a range within"),
        ({"contrast": (-0.5, 1.0)}, "RandomPhotometricDistort: contrast must be a range of"),
    ]:
        with pytest.raises(ValueError, match=message):
            RandomPhotometricDistort(**arguments)
    with pytest.raises(ValueError, match="needs 1 or 3 channels, got a batch"):
        RandomPhotometricDistort()(images(1, 4, 2, 2), rng())
