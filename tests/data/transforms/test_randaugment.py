"""RandAugment: its fourteen changes are Pillow's bit for bit, and chance chooses them evenly."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from minidl.data.transforms import RandAugment
from minidl.data.transforms.randaugment import CHANGES


def pictures(count=6, channels=3, height=17, width=24, seed=0):
    """Bytes (N, C, H, W): noise, a ramp of few values, a flat one, dark and bright ones."""
    chance = np.random.default_rng(seed)
    images = chance.integers(0, 256, (count, channels, height, width)).astype(np.uint8)
    images[1] = np.arange(width) // 3 + 100
    images[2] = 77
    images[3] //= 4
    images[4] = 255 - images[4] // 8
    return images


def pillow(image):
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)).squeeze())


def array(picture, channels):
    return np.asarray(picture).reshape(*picture.size[::-1], channels).transpose(2, 0, 1)


def affine(a, b, c, d, e, f):
    return lambda p: p.transform(p.size, Image.Transform.AFFINE, (a, b, c, d, e, f))


EXPECTED = {
    "Identity": lambda v: lambda p: p,
    "AutoContrast": lambda v: ImageOps.autocontrast,
    "Equalize": lambda v: ImageOps.equalize,
    "Rotate": lambda v: lambda p: p.rotate(v),
    "Solarize": lambda v: lambda p: ImageOps.solarize(p, v),
    "Color": lambda v: lambda p: ImageEnhance.Color(p).enhance(1 + v),
    "Posterize": lambda v: lambda p: ImageOps.posterize(p, int(v)),
    "Contrast": lambda v: lambda p: ImageEnhance.Contrast(p).enhance(1 + v),
    "Brightness": lambda v: lambda p: ImageEnhance.Brightness(p).enhance(1 + v),
    "Sharpness": lambda v: lambda p: ImageEnhance.Sharpness(p).enhance(1 + v),
    "ShearX": lambda v: affine(1, v, 0, 0, 1, 0),
    "ShearY": lambda v: affine(1, 0, 0, v, 1, 0),
    "TranslateX": lambda v: affine(1, 0, int(v), 0, 1, 0),
    "TranslateY": lambda v: affine(1, 0, 0, 0, 1, int(v)),
}


@pytest.mark.parametrize("shape", [(17, 24), (32, 32), (40, 31)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(CHANGES))
def test_each_change_is_pillow_s_bit_for_bit(name, channels, shape):
    change, images = CHANGES[name], pictures(channels=channels, height=shape[0], width=shape[1])
    for strength in np.linspace(0.0, 1.0, 11):
        for sign in (1.0, -1.0) if change.signed else (1.0,):
            amount = sign * change.amount(float(strength), *shape)
            found = change.apply(images.copy(), np.full(len(images), amount), 0)
            for before, after in zip(images, found, strict=True):
                expected = array(EXPECTED[name](amount)(pillow(before)), channels)
                np.testing.assert_array_equal(after, expected, err_msg=f"{name} {amount}")


def test_every_image_has_an_amount_of_its_own():
    images = pictures()
    for name, change in CHANGES.items():
        strengths = np.linspace(0.1, 1.0, len(images))
        amounts = np.array([change.amount(float(s), 17, 24) for s in strengths])
        together = change.apply(images.copy(), amounts, 9)
        alone = [change.apply(images[i : i + 1].copy(), amounts[i : i + 1], 9)[0] for i in range(6)]
        np.testing.assert_array_equal(together, alone, err_msg=name)


def test_smoothing_is_pillow_s_filter_and_pictures_too_small_for_it_stay():
    for height, width in ((3, 3), (2, 9), (9, 1)):
        image = pictures(height=height, width=width)[:1]
        found = CHANGES["Sharpness"].apply(image, np.array([-1.0]), 0)[0]
        if min(height, width) < 3:
            np.testing.assert_array_equal(found, image[0])
        else:
            expected = pillow(image[0]).filter(ImageFilter.SMOOTH)
            np.testing.assert_array_equal(found, array(expected, 3))


def test_the_ranges_are_those_of_torchvision():
    from ...torchvision_oracle import torchvision

    torchvision()
    from torchvision.transforms import RandAugment as Theirs

    for bins in (11, 31):
        theirs = Theirs(num_magnitude_bins=bins)._augmentation_space(bins, (331, 662))
        assert set(theirs) == set(CHANGES)
        for name, (magnitudes, signed) in theirs.items():
            ours = [CHANGES[name].amount(m / (bins - 1), 331, 662) for m in range(bins)]
            expected = np.broadcast_to(np.asarray(magnitudes, np.float64), (bins,))
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-4, err_msg=name)
            assert CHANGES[name].signed == signed, name


def test_changes_and_signs_are_all_alike_likely():
    """One change of full strength for 7,000 copies of a picture: each result as often as it is
    likely, where changes that leave the picture alone count together."""
    image = pictures(height=13, width=11)[:1].repeat(7000, axis=0)
    result = RandAugment(1, 30)(np.float32(image / 255), np.random.default_rng(0))
    found = np.round(255 * result).astype(np.uint8)
    counts: dict[bytes, int] = {}
    for picture in found:
        counts[picture.tobytes()] = counts.get(picture.tobytes(), 0) + 1
    likely: dict[bytes, float] = {}
    for change in CHANGES.values():
        signs = (1.0, -1.0) if change.signed else (1.0,)
        for sign in signs:
            amount = np.array([sign * change.amount(1.0, 13, 11)])
            key = change.apply(image[:1], amount, 0)[0].tobytes()
            likely[key] = likely.get(key, 0.0) + 1 / (14 * len(signs))
    assert set(counts) == set(likely)
    for key, chance in likely.items():
        spread = np.sqrt(7000 * chance * (1 - chance))
        assert abs(counts[key] - 7000 * chance) < 5 * spread


def test_changes_follow_one_another():
    batch = np.float32(pictures() / 255)
    twice = RandAugment(2, 15)(batch, np.random.default_rng(3))
    chance, once = np.random.default_rng(3), RandAugment(1, 15)
    np.testing.assert_array_equal(once(once(batch, chance), chance), twice)
    rounded = np.float32(pictures()) / np.float32(255)
    np.testing.assert_array_equal(RandAugment(0)(batch), rounded)


def test_pixels_from_outside_have_the_fill():
    images = pictures()[:1]
    for name in ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"):
        amount = np.array([CHANGES[name].amount(1.0, 17, 24)])
        dark = CHANGES[name].apply(images, amount, 0)
        bright = CHANGES[name].apply(images, amount, 255)
        assert 10 < (dark != bright).any(axis=1).sum() < 17 * 24 / 2
        assert set(bright[dark != bright]) == {255}
    white = np.ones((50, 1, 9, 9), np.float32)  # so no change but one from outside shows an edge
    assert np.ptp(RandAugment(1, 30, fill=1.0)(white), axis=(2, 3)).max() == 0
    assert np.ptp(RandAugment(1, 30)(white), axis=(2, 3)).max() == 1


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="num_ops must not be negative"):
        RandAugment(-1)
    for magnitude, bins in ((31, 31), (-1, 31), (0, 1)):
        with pytest.raises(ValueError, match="magnitude must be one of 0 to"):
            RandAugment(2, magnitude, bins)
    with pytest.raises(ValueError, match="needs 1 or 3 channels"):
        RandAugment()(np.zeros((1, 4, 8, 8), np.float32))
