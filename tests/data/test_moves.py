"""minidl/data/moves.py: each move against one pixel at a time, and against its own points."""

import numpy as np
import pytest

from minidl.data.moves import Crop, Flip, Resize, elastic, rotation

H, W = 9, 12
RNG = np.random.default_rng(0)
IMAGE = RNG.random((2, H, W))
LABELS = RNG.integers(0, 5, (H, W))
BENT = RNG.normal(0, 0.6, (2, 3, 3))


def bilinear(image, y, x, fill):
    """The mean of the four pixels around a place, y and x in numbers of pixels."""
    total = 0.0
    for i in (int(np.floor(y)), int(np.floor(y)) + 1):
        for j in (int(np.floor(x)), int(np.floor(x)) + 1):
            inside = 0 <= i < image.shape[0] and 0 <= j < image.shape[1]
            value = image[i, j] if inside else fill
            total += (1 - abs(y - i)) * (1 - abs(x - j)) * value
    return total


def warped(source, fill):
    """(image, labels) where pixel (i, j) comes from the place source(i + 1/2, j + 1/2)."""
    image, labels = np.zeros_like(IMAGE), np.zeros_like(LABELS)
    for i in range(H):
        for j in range(W):
            y, x = source(i + 0.5, j + 0.5)
            for c in range(2):
                image[c, i, j] = bilinear(IMAGE[c], y - 0.5, x - 0.5, fill)
            inside = 0 <= y < H and 0 <= x < W
            labels[i, j] = LABELS[int(y), int(x)] if inside else 255
    return image, labels


@pytest.mark.parametrize("degrees", [0.0, 25.0, -100.0, 180.0])
def test_a_rotation_takes_each_pixel_from_where_it_was_before(degrees):
    angle = np.deg2rad(degrees)

    def source(y, x):  # counter-clockwise on the screen, where y points down
        z = complex(x - W / 2, -(y - H / 2)) * np.exp(-1j * angle)
        # A place on a border between pixels belongs to one of them by rounding.
        return round(-z.imag + H / 2, 9), round(z.real + W / 2, 9)

    image, labels = warped(source, fill=0.3)
    move = rotation(H, W, degrees)
    np.testing.assert_allclose(move.image(IMAGE, 0.3), image, atol=1e-8)
    assert (move.labels(LABELS, 255) == labels).mean() > 0.97
    points = RNG.random((6, 2)) * [W, H]
    back = [source(y, x)[::-1] for x, y in move.points(points)]
    np.testing.assert_allclose(back, points, atol=1e-8)


def keys(values, t):
    """Bicubic interpolation in one dimension (Keys 1981) of a few values, continued linearly."""
    values = [2 * values[0] - values[1], *values, 2 * values[-1] - values[-2]]
    i = min(int(t), len(values) - 4)
    a, b, c, d = values[i : i + 4]
    u = t - i
    return b + u / 2 * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)))


def test_an_elastic_move_takes_each_pixel_from_a_place_displaced_by_bicubic_functions():
    def source(y, x):
        down, right = (keys([keys(row, x / W * 2) for row in field], y / H * 2) for field in BENT)
        return y + down, x + right

    image, labels = warped(source, fill=0.0)
    move = elastic(H, W, BENT)
    np.testing.assert_allclose(move.image(IMAGE, 0.0), image, atol=1e-12)
    np.testing.assert_array_equal(move.labels(LABELS, 255), labels)
    points = 2 + RNG.random((6, 2)) * [W - 4, H - 4]
    back = [source(y, x)[::-1] for x, y in move.points(points)]
    np.testing.assert_allclose(back, points, atol=1e-6)


def test_a_point_where_the_image_folds_over_itself_has_no_place():
    folded = np.zeros((2, 3, 3))
    folded[1, :, 1] = 3 * W  # the middle comes from far to the right
    points = elastic(H, W, folded).points(np.array([[W / 4, H / 2], [W / 2, H / 2]]))
    assert np.isnan(points).any()


@pytest.mark.parametrize("border", ["constant", "reflect"])
def test_no_displacement_and_no_turn_change_nothing(border):
    for move in (rotation(H, W, 0.0, border), elastic(H, W, np.zeros((2, 4, 4)), border)):
        np.testing.assert_array_equal(move.image(IMAGE, 9.0), IMAGE)
        np.testing.assert_array_equal(move.labels(LABELS, 255), LABELS)
        np.testing.assert_array_equal(move.points(np.array([[3.0, 4.0]])), [[3.0, 4.0]])


def test_a_reflecting_border_shows_the_image_mirrored_at_its_border_pixels():
    shift = np.zeros((2, 2, 2))
    shift[0], shift[1] = -4, 20
    move = elastic(H, W, shift, "reflect")
    expected = np.pad(IMAGE, ((0, 0), (4, 0), (0, 20)), mode="reflect")[:, :H, 20 : 20 + W]
    np.testing.assert_allclose(move.image(IMAGE, 9.0), expected, atol=1e-12)
    expected = np.pad(LABELS, ((4, 0), (0, 20)), mode="reflect")[:H, 20 : 20 + W]
    np.testing.assert_array_equal(move.labels(LABELS, 255), expected)
    one = elastic(1, 1, shift, "reflect")
    assert one.image(np.full((1, 1, 1), 0.25), 9.0).item() == 0.25


def test_a_flip_reverses_rows_or_columns_and_twice_is_nothing():
    for vertical, axis in ((False, -1), (True, -2)):
        move = Flip(H, W, vertical)
        np.testing.assert_array_equal(move.image(IMAGE, 0.0), np.flip(IMAGE, axis))
        np.testing.assert_array_equal(move.labels(LABELS, 0), np.flip(LABELS, axis))
        np.testing.assert_array_equal(move.image(move.image(IMAGE, 0.0), 0.0), IMAGE)
        points = RNG.random((4, 2))
        np.testing.assert_allclose(move.points(move.points(points)), points, atol=1e-12)
    np.testing.assert_array_equal(Flip(H, W).points(np.array([[1.0, 2.0]])), [[W - 1.0, 2.0]])
    np.testing.assert_array_equal(Flip(H, W, True).points(np.array([[1.0, 2.0]])), [[1.0, H - 2.0]])


@pytest.mark.parametrize("window", [(2, 3, 4, 5), (-2, 8, 13, 9), (-20, 0, 5, 5), (0, 0, H, W)])
def test_a_crop_is_a_window_of_the_padded_image(window):
    top, left, h, w = window
    padded = np.pad(IMAGE, ((0, 0), (30, 30), (30, 30)), constant_values=0.7)
    labels = np.pad(LABELS, 30, constant_values=255)
    move = Crop(*window)
    inside = np.s_[30 + top : 30 + top + h, 30 + left : 30 + left + w]
    np.testing.assert_array_equal(move.image(IMAGE, 0.7), padded[(slice(None), *inside)])
    np.testing.assert_array_equal(move.labels(LABELS, 255), labels[inside])
    np.testing.assert_array_equal(move.points(np.array([[4.0, 6.0]])), [[4.0 - left, 6.0 - top]])


@pytest.mark.parametrize("size", [(9, 12), (18, 24), (5, 30), (3, 4), (1, 1), (20, 5)])
def test_a_resize_is_pillows_bilinear_one_and_the_nearest_label(size):
    from PIL import Image

    move = Resize(H, W, *size)
    image = IMAGE.astype(np.float32)
    expected = [
        np.asarray(Image.fromarray(c).resize(size[::-1], Image.Resampling.BILINEAR)) for c in image
    ]
    np.testing.assert_allclose(move.image(image, 0.0), expected, atol=1e-6)
    assert move.image(image, 0.0).dtype == np.float32
    labels = move.labels(LABELS, 255)
    for i, j in np.ndindex(*size):  # whole numbers: no rounding where two are equally near
        y, x = (2 * i + 1) * H // (2 * size[0]), (2 * j + 1) * W // (2 * size[1])
        assert labels[i, j] == LABELS[y, x]
    np.testing.assert_allclose(
        move.points(np.array([[W, H]], float)), [[size[1], size[0]]], atol=1e-12
    )
