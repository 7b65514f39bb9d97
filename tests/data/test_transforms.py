"""minidl/data/transforms: each transform against the obvious loop over pixels."""

import colorsys
import math

import numpy as np
import pytest

import minidl as md
from minidl.data.dataset import use_batch_generator
from minidl.data.transforms import (
    ColorJitter,
    Compose,
    Cutout,
    Normalize,
    RandAugment,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomPhotometricDistort,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    RandomZoom,
    ToFloat,
    Transform,
)

EVERY = [
    RandomHorizontalFlip(),
    RandomVerticalFlip(),
    RandomCrop(6),
    RandomCrop((5, 9), padding=(1, 2), fill=0.5),
    RandomCrop(8, padding=3, padding_mode="reflect"),
    RandomResizedCrop(7),
    RandomResizedCrop((12, 5), (0.5, 0.6), (1.0, 2.0)),
    RandomRotation(30),
    RandomRotation((20, 70), fill=0.25),
    RandomZoom(),
    RandomAffine(20, (0.2, 0.1), (0.7, 1.4), fill=1.0),
    ColorJitter(0.5, 0.5, 0.5),
    ColorJitter(hue=0.3),
    RandomPhotometricDistort(),
    RandomPhotometricDistort((0.5, 2), p=1.0),
    Cutout(4),
    RandAugment(3, 20),
    RandomErasing(),
    RandomErasing(1.0, value=(0.1, 0.2, 0.3)),
    RandomErasing(1.0, value="random"),
    Normalize((0.1, 0.2, 0.3), (1.0, 2.0, 3.0)),
    ToFloat(),
    Compose([RandomHorizontalFlip(), RandomRotation(10), Normalize(0.5, 0.5)]),
]


def images(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).random(shape).astype(dtype)


def rng(seed=7):
    return np.random.default_rng(seed)


# -- every transform ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("transform", EVERY, ids=repr)
def test_a_transform_keeps_the_dtype_and_leaves_its_input_alone(transform, dtype):
    batch = images(5, 3, 9, 12, dtype=dtype)
    batch.setflags(write=False)
    result = transform(batch, rng())
    assert result.dtype == dtype
    assert result.shape[:2] == (5, 3)
    assert np.isfinite(result).all()


@pytest.mark.parametrize("transform", EVERY, ids=repr)
def test_a_transform_is_a_function_of_the_batch_and_the_generator(transform):
    batch = images(5, 3, 9, 12)
    first = transform(batch, rng())
    np.testing.assert_array_equal(transform(batch, rng()), first)
    strided = np.asfortranarray(batch)[:, :, ::-1][:, :, ::-1]
    np.testing.assert_array_equal(transform(strided, rng()), first)
    with use_batch_generator(rng()):
        np.testing.assert_array_equal(transform(batch), first)
    md.manual_seed(7)
    np.testing.assert_array_equal(transform(batch), first)


@pytest.mark.parametrize("transform", EVERY, ids=repr)
def test_a_transform_takes_an_empty_batch(transform):
    result = transform(images(0, 3, 9, 12), rng())
    assert result.shape[:2] == (0, 3)
    assert result.dtype == np.float32


@pytest.mark.parametrize("transform", EVERY, ids=repr)
def test_images_of_a_batch_draw_their_own_chance(transform):
    same = np.repeat(images(1, 3, 9, 12), 40, axis=0)
    different = {image.tobytes() for image in transform(same, rng())}
    if isinstance(transform, (Normalize, ToFloat)):
        assert len(different) == 1
    elif isinstance(transform, (RandomHorizontalFlip, RandomVerticalFlip)):
        assert len(different) == 2
    else:
        assert len(different) > 10


@pytest.mark.parametrize(
    "transform", [t for t in EVERY if not isinstance(t, (Compose, ToFloat))], ids=repr
)
def test_a_transform_refuses_what_is_not_a_batch_of_float_images(transform):
    name = type(transform).__name__
    with pytest.raises(TypeError, match=f"{name}: needs a NumPy array of floats, got uint8; see"):
        transform(np.zeros((2, 3, 9, 12), np.uint8), rng())
    with pytest.raises(TypeError, match=f"{name}: needs a NumPy array of floats, got Tensor"):
        transform(md.Tensor(np.zeros((2, 3, 9, 12), np.float32)), rng())
    with pytest.raises(ValueError, match=rf"{name}: needs images \(N, C, H, W\), got shape \(3, 9"):
        transform(images(3, 9, 12), rng())


@pytest.mark.parametrize("transform", EVERY, ids=repr)
def test_the_repr_of_a_transform_makes_it_again(transform):
    again = eval(repr(transform))
    batch = images(4, 3, 9, 12)
    np.testing.assert_array_equal(again(batch, rng()), transform(batch, rng()))


def test_a_transform_without_a_rule_says_so():
    with pytest.raises(NotImplementedError):
        Transform()(images(1, 1, 2, 2), rng())


# -- one by one -----------------------------------------------------------------------------------


def test_compose_applies_one_after_the_other_with_one_generator():
    batch, shared = images(4, 3, 9, 12), rng()
    first, second = RandomRotation(20), RandomErasing()
    expected = second(first(batch, shared), shared)
    np.testing.assert_array_equal(Compose([first, second])(batch, rng()), expected)
    assert Compose([])(batch, rng()) is batch


def test_to_float_divides_bytes_by_255_and_keeps_floats():
    values = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    result = ToFloat()(values)
    assert result.dtype == np.float32
    assert [float(v) for v in result.ravel()] == [float(np.float32(i / 255)) for i in range(256)]
    batch = images(1, 1, 2, 2, dtype=np.float64)
    assert ToFloat()(batch) is batch
    with pytest.raises(TypeError, match="ToFloat: needs uint8 or floats, got int64"):
        ToFloat()(np.zeros((1, 1, 2, 2), np.int64))


def test_normalize_subtracts_and_divides_channel_by_channel():
    batch = images(2, 3, 4, 5)
    result = Normalize((0.1, 0.2, 0.3), (0.5, 1.0, 2.0))(batch)
    for c, (mean, std) in enumerate([(0.1, 0.5), (0.2, 1.0), (0.3, 2.0)]):
        np.testing.assert_allclose(result[:, c], (batch[:, c] - mean) / std, rtol=0, atol=2e-7)
    np.testing.assert_allclose(Normalize(0.5, 0.25)(batch), (batch - 0.5) * 4, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="Normalize: 2 means and 1 stds for images of 3 channels"):
        Normalize((0.1, 0.2), 1.0)(batch)
    with pytest.raises(ValueError, match="std must be above 0"):
        Normalize(0.0, (1.0, 0.0))


@pytest.mark.parametrize(
    ("transform", "mirrored"),
    [(RandomHorizontalFlip, lambda x: x[:, :, ::-1]), (RandomVerticalFlip, lambda x: x[:, ::-1])],
)
def test_a_flip_mirrors_the_stated_share_of_the_images(transform, mirrored):
    batch = images(2000, 2, 3, 4)
    for p in (0.0, 0.3, 1.0):
        flipped = 0
        for before, after in zip(batch, transform(p)(batch, rng()), strict=True):
            if np.array_equal(after, mirrored(before)):
                flipped += 1
            else:
                np.testing.assert_array_equal(after, before)
        assert abs(flipped / 2000 - p) <= 0.04 * (0 < p < 1)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got 1.5"):
        transform(1.5)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_a_crop_is_a_window_of_the_padded_image_at_any_place_alike(mode):
    batch = images(3000, 2, 4, 5)
    crop = RandomCrop((5, 6), padding=(2, 1, 1, 2), fill=0.5, padding_mode=mode)
    result = crop(batch, rng())
    extra = {"constant_values": 0.5} if mode == "constant" else {}
    # left 2, top 1, right 1, bottom 2: 7 x 8, so windows at 3 x 3 places.
    counts = np.zeros((3, 3), int)
    for before, after in zip(batch, result, strict=True):
        padded = np.pad(before, ((0, 0), (1, 2), (2, 1)), mode=mode, **extra)
        places = [
            (y, x)
            for y in range(3)
            for x in range(3)
            if np.array_equal(after, padded[:, y : y + 5, x : x + 6])
        ]
        assert places
        counts[places[0]] += 1
    assert counts.sum() == 3000
    assert counts.min() > 250, "each of nine places about 333 times"


def test_a_crop_that_does_not_fit_is_refused():
    with pytest.raises(
        ValueError, match=r"window of \(7, 7\) does not fit into images of \(4, 4\), "
    ):
        RandomCrop(7, padding=1)(images(1, 1, 4, 4), rng())
    with pytest.raises(ValueError, match="padding must be 1, 2 or 4 numbers"):
        RandomCrop(7, padding=(1, 2, 3))
    with pytest.raises(ValueError, match="unknown padding_mode 'wrap'"):
        RandomCrop(7, padding_mode="wrap")


def resized_by_pillow(image, top, left, h, w, size):
    from PIL import Image

    window = image[:, top : top + h, left : left + w].astype(np.float32)
    planes = [Image.fromarray(c).resize(size[::-1], Image.Resampling.BILINEAR) for c in window]
    return np.stack([np.asarray(plane) for plane in planes])


@pytest.mark.parametrize("size", [(6, 9), (30, 24), (1, 1)])
def test_a_resized_crop_is_the_window_as_pillow_resizes_it(size):
    batch = images(40, 2, 17, 22)
    crop = RandomResizedCrop(size, (0.05, 1.0), (0.5, 2.0))
    places = crop._windows(40, 17, 22, rng())
    result = crop(batch, rng())
    assert result.shape == (40, 2, *size)
    assert len(set(zip(*(p.tolist() for p in places), strict=True))) > 30
    for image, found, *place in zip(batch, result, *places, strict=True):
        expected = resized_by_pillow(image, *(int(v) for v in place), size)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_the_windows_of_resized_crops_have_the_stated_area_and_shape_and_reach_every_edge():
    crop = RandomResizedCrop(8, (0.2, 0.6), (0.5, 2.0))
    top, left, h, w = crop._windows(5000, 60, 80, rng())
    assert top.min() == left.min() == 0
    assert (top + h).max() == 60
    assert (left + w).max() == 80
    share, ratio = h * w / 4800, w / h
    assert 0.19 < share.min() < 0.21
    assert 0.58 < share.max() < 0.61
    assert 0.48 < ratio.min() < 0.55
    assert 1.85 < ratio.max() < 2.1
    assert abs(np.mean(share) - 0.39) < 0.02
    *_, h, w = RandomResizedCrop(8, (0.2, 0.4), (2.0, 3.0))._windows(100, 60, 60, rng())
    assert (w / h).min() > 1.9  # the ratio is width to height


def test_where_no_window_fits_the_largest_in_the_middle_is_taken():
    crop = RandomResizedCrop(4, (1.0, 1.0), (1.0, 1.0))  # a square of the whole area, of 10 x 6
    np.testing.assert_array_equal(
        np.stack(crop._windows(3, 10, 6, rng())), np.repeat([[2], [0], [6], [6]], 3, axis=1)
    )
    np.testing.assert_array_equal(
        np.stack(crop._windows(2, 6, 10, rng())), np.repeat([[0], [2], [6], [6]], 2, axis=1)
    )
    with pytest.raises(ValueError, match="RandomResizedCrop: needs a range"):
        RandomResizedCrop(4, ratio=(2.0, 1.0))


def warp_by_loops(image, angle, zoom, dx, dy, fill):
    """Rotate counter-clockwise by `angle` degrees, enlarge, shift: pixel by pixel."""
    channels, height, width = image.shape
    result = np.empty_like(image)

    def pixel(c, y, x):
        inside = 0 <= y < height and 0 <= x < width
        return float(image[c, y, x]) if inside else fill

    turn = math.radians(angle)
    for y in range(height):
        for x in range(width):
            # Shift back, then turn back, then shrink back, about the centre.
            u, v = x - dx - (width - 1) / 2, y - dy - (height - 1) / 2
            u, v = (
                math.cos(turn) * u - math.sin(turn) * v,
                math.sin(turn) * u + math.cos(turn) * v,
            )
            u, v = u / zoom + (width - 1) / 2, v / zoom + (height - 1) / 2
            x0, y0 = math.floor(u), math.floor(v)
            for c in range(channels):
                result[c, y, x] = sum(
                    (1 - abs(u - x0 - i)) * (1 - abs(v - y0 - j)) * pixel(c, y0 + j, x0 + i)
                    for i in (0, 1)
                    for j in (0, 1)
                )
    return result


@pytest.mark.parametrize("size", [(7, 7), (6, 9), (1, 5)])
@pytest.mark.parametrize("fill", [0.0, 0.75])
def test_rotation_zoom_and_affine_agree_with_the_loop_over_pixels(size, fill):
    batch = images(6, 2, *size, dtype=np.float64)
    n = len(batch)
    one, none = np.ones(n), np.zeros(n)

    angle = rng().uniform(-90, 40, size=n)
    cases = [(RandomRotation((-90, 40), fill), angle, one, none, none)]
    zoom = rng().uniform(0.4, 2.5, size=n)
    cases.append((RandomZoom((0.4, 2.5), fill), none, zoom, none, none))
    chance = rng()
    angle, zoom = chance.uniform(-50, 50, size=n), chance.uniform(0.5, 2.0, size=n)
    shift = chance.uniform(-1, 1, size=(2, n)) * [[0.4 * size[1]], [0.3 * size[0]]]
    affine = RandomAffine(50, (0.4, 0.3), (0.5, 2.0), fill)
    cases.append((affine, -angle, zoom, *np.round(shift)))

    for transform, *parameters in cases:
        result = transform(batch, rng())
        for image, found, *values in zip(batch, result, *parameters, strict=True):
            expected = warp_by_loops(image, *values, fill)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        single = transform(batch.astype(np.float32), rng())
        np.testing.assert_allclose(single, result, rtol=0, atol=2e-5)


def test_a_quarter_turn_is_exact_and_counter_clockwise():
    batch = images(2, 3, 8, 8)
    turned = RandomRotation((90, 90))(batch, rng())
    np.testing.assert_allclose(turned, np.rot90(batch, axes=(2, 3)), rtol=0, atol=1e-5)
    clockwise = RandomAffine((90, 90))(batch, rng())
    np.testing.assert_allclose(clockwise, np.rot90(batch, -1, axes=(2, 3)), rtol=0, atol=1e-5)


def test_a_shift_is_whole_pixels_to_the_right_and_down():
    batch = images(400, 1, 10, 10)
    result = RandomAffine(0, translate=(0.2, 0.1))(batch, rng())
    seen = set()
    for before, after in zip(batch[:, 0], result[:, 0], strict=True):
        padded = np.pad(before, ((1, 1), (2, 2)))
        for dy in (-1, 0, 1):
            for dx in (-2, -1, 0, 1, 2):
                if np.allclose(
                    after, padded[1 - dy : 11 - dy, 2 - dx : 12 - dx], rtol=0, atol=1e-6
                ):
                    seen.add((dy, dx))
    assert len(seen) == 15


def test_rotation_agrees_with_torch_grid_sample():
    torch = pytest.importorskip("torch")
    batch = images(4, 3, 12, 12)
    angles = rng().uniform(-180, 180, size=4)
    theta = np.zeros((4, 2, 3), np.float32)
    for i, a in enumerate(np.deg2rad(angles)):
        theta[i, :, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    grid = torch.nn.functional.affine_grid(torch.tensor(theta), (4, 3, 12, 12), align_corners=False)
    expected = torch.nn.functional.grid_sample(
        torch.tensor(batch), grid, align_corners=False, padding_mode="zeros"
    )
    found = RandomRotation(180)(batch, rng())
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [(0.0, 1.0), (1.2, 0.8), (-1.0, 2.0), (1.0, math.inf)])
def test_a_zoom_without_a_range_is_refused(scale):
    with pytest.raises(ValueError, match="RandomZoom: needs a range"):
        RandomZoom(scale)


def grey(pixel):
    return pixel[0] if len(pixel) == 1 else 0.2989 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
@pytest.mark.parametrize("what", ["brightness", "contrast", "saturation"])
def test_colour_moves_each_pixel_towards_black_mean_grey_or_its_grey(what, factor, channels):
    batch = images(2, channels, 3, 4, dtype=np.float64)
    result = ColorJitter(**{what: (factor, factor)})(batch, rng())
    for image, found in zip(batch, result, strict=True):
        greys = [[grey(image[:, y, x]) for x in range(4)] for y in range(3)]
        for y in range(3):
            for x in range(4):
                anchor = {
                    "brightness": 0.0,
                    "contrast": sum(map(sum, greys)) / 12,
                    "saturation": greys[y][x],
                }[what]
                for c in range(channels):
                    expected = anchor + (image[c, y, x] - anchor) * factor
                    assert abs(found[c, y, x] - min(max(expected, 0.0), 1.0)) < 1e-12


def test_colour_factors_cover_their_range_and_come_in_every_order():
    batch = np.full((3000, 1, 1, 1), 0.5)
    factors = ColorJitter(brightness=0.4)(batch, rng()).ravel() / 0.5
    assert 0.6 <= factors.min() < 0.61
    assert 1.39 < factors.max() <= 1.4
    image = images(1, 3, 4, 4)
    jitter = ColorJitter((2, 2), (2, 2), (2, 2))
    assert len({jitter(image, rng(i)).tobytes() for i in range(60)}) == 6


@pytest.mark.parametrize("turn", [-0.5, -0.3, 0.0001, 0.2, 0.45, 0.5])
def test_hue_is_turned_as_in_python_s_own_colour_conversions(turn):
    batch = images(2, 3, 5, 6, dtype=np.float64)
    batch[0, :, 0, 0] = 0.4  # a grey has no hue
    batch[0, :, 0, 1] = (0.0, 1.0, 0.0)
    result = ColorJitter(hue=(turn, turn))(batch, rng())
    for image, found in zip(batch, result, strict=True):
        for y in range(5):
            for x in range(6):
                hue, saturation, value = colorsys.rgb_to_hsv(*image[:, y, x])
                expected = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
                np.testing.assert_allclose(found[:, y, x], expected, rtol=0, atol=1e-12)
    grey = images(2, 1, 4, 4)
    np.testing.assert_array_equal(ColorJitter(hue=0.5)(grey, rng()), grey)
    with pytest.raises(ValueError, match="hue must be a range within"):
        ColorJitter(hue=0.6)


def test_colour_refuses_other_channels_and_negative_factors():
    with pytest.raises(ValueError, match="needs 1 or 3 channels, got a batch"):
        ColorJitter(0.1)(images(1, 4, 2, 2), rng())
    with pytest.raises(ValueError, match="contrast must be a range of factors"):
        ColorJitter(contrast=(-0.1, 1))


@pytest.mark.parametrize("side", [1, 4, 5, 30])
def test_cutout_writes_a_square_about_a_pixel_also_past_the_edge(side):
    batch = images(3000, 2, 9, 12) + 1
    result = Cutout(side, 0.5)(batch, rng())
    possible = set()
    for y in range(9):
        for x in range(12):
            mask = np.zeros((9, 12), bool)
            top, left = max(y - side // 2, 0), max(x - side // 2, 0)
            mask[top : y - side // 2 + side, left : x - side // 2 + side] = True
            possible.add(mask.tobytes())
    seen = set()
    for before, after in zip(batch, result, strict=True):
        hidden = (before != after).any(axis=0)
        np.testing.assert_array_equal(after, np.where(hidden, np.float32(0.5), before))
        seen.add(hidden.tobytes())
    assert seen == possible


def test_cutout_without_a_size_is_refused():
    with pytest.raises(ValueError, match="at least one pixel"):
        Cutout(0)


def test_erasing_writes_one_rectangle_of_the_stated_share_and_ratio():
    size, count = 40, 1000
    batch = images(count, 2, size, size) + 1
    shares, ratios, erased = [], [], 0
    for before, after in zip(batch, RandomErasing(0.6)(batch, rng()), strict=True):
        changed = (before != after).any(axis=0)
        np.testing.assert_array_equal(after, np.where(changed, np.float32(0), before))
        if not changed.any():
            continue
        erased += 1
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        h, w = len(rows), len(columns)
        assert changed.sum() == h * w == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        shares.append(h * w / size**2)
        ratios.append(h / w)
    assert abs(erased / count - 0.6) < 0.05
    assert 0.015 < min(shares) < 0.05
    assert 0.28 < max(shares) < 0.35
    assert 0.25 < min(ratios) < 0.45
    assert 2.4 < max(ratios) < 4.0
    assert abs(np.mean(np.log(ratios))) < 0.1


def test_the_ratio_of_what_is_erased_is_its_height_to_its_width():
    batch = np.ones((200, 1, 60, 60), np.float32)
    for image in RandomErasing(1.0, scale=(0.1, 0.2), ratio=(2.0, 3.0))(batch, rng())[:, 0]:
        h, w = (image == 0).any(axis=1).sum(), (image == 0).any(axis=0).sum()
        assert 1.8 < h / w < 3.2


def test_erasing_reaches_every_edge():
    batch = np.ones((2000, 1, 8, 8), np.float32)
    result = RandomErasing(1.0, scale=(0.1, 0.2))(batch, rng())[:, 0]
    assert all(
        (edge == 0).any()
        for edge in (result[:, 0], result[:, -1], result[:, :, 0], result[:, :, -1])
    )


def test_erasing_writes_numbers_or_noise():
    batch = np.full((50, 3, 16, 16), 9, np.float32)
    coloured = RandomErasing(1.0, value=(0.1, 0.2, 0.3))(batch, rng())
    for c, value in enumerate(np.float32([0.1, 0.2, 0.3])):
        assert set(np.unique(coloured[:, c])) == {value, np.float32(9)}
    noise = RandomErasing(1.0, value="random")(batch, rng())
    noise = noise[noise != 9]
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05
    with pytest.raises(ValueError, match="2 values for 3 channels"):
        RandomErasing(1.0, value=(1, 2))(batch, rng())
    with pytest.raises(ValueError, match='numbers or "random"'):
        RandomErasing(value="noise")


def test_erasing_leaves_an_image_alone_when_no_rectangle_fits():
    batch = images(20, 1, 4, 4)
    np.testing.assert_array_equal(
        RandomErasing(1.0, scale=(0.9, 0.95), ratio=(3.0, 3.3))(batch, rng()), batch
    )
