"""Pictures as users have them, in the form a network has learned from."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from minidl.data import Digits
from minidl.training.picture import prepare_digit, prepare_picture


def draw(size=(200, 300), at=(40, 60), ink=0, paper=255, width=14):
    """A rough 4 of 80 x 120 pixels."""
    picture = Image.new("L", size, paper)
    x, y = at
    lines = [(x, y, x, y + 60), (x, y + 60, x + 80, y + 60), (x + 60, y, x + 60, y + 120)]
    for line in lines:
        ImageDraw.Draw(picture).line(line, ink, width)
    return picture


def grey(picture):
    return np.asarray(picture, np.float32) / np.float32(255)


def centre(image):
    """(row, column) of the centre of mass."""
    return [float((image.sum(1 - axis) @ np.arange(28)) / image.sum()) for axis in (0, 1)]


@pytest.mark.parametrize(
    "picture",
    [
        draw(),
        draw(ink=255, paper=0),
        draw(ink=90, paper=200),
        draw((1000, 400), (800, 200)),
        draw((300, 200), (2, 2)),
    ],
)
def test_ink_is_light_in_the_middle_and_of_one_size(picture):
    image = prepare_digit(grey(picture))
    assert image.shape == (28, 28)
    assert image.dtype == np.float32
    assert image.max() == 1.0
    assert image[0].max() == image[:, 0].max() == 0.0
    assert centre(image) == pytest.approx([14.0, 14.0], abs=0.6)
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20


def test_wherever_and_however_large_it_is_drawn_it_looks_the_same():
    small, large = draw(), draw().resize((1000, 1500), Image.Resampling.NEAREST)
    first, second = prepare_digit(grey(small)), prepare_digit(grey(large))
    assert np.abs(first - second).mean() < 0.01
    there, elsewhere = draw((200, 200), (40, 60)), draw((224, 224), (120, 17))  # not averaged
    assert np.allclose(prepare_digit(grey(there)), prepare_digit(grey(elsewhere)), atol=1e-5)
    # Averaging 2.2 pixels into one moves an edge by up to one of the 28.
    assert np.abs(first - prepare_digit(grey(draw((500, 500), (300, 17))))).mean() < 0.05
    assert np.allclose(first, prepare_digit(1 - grey(draw())), atol=1e-6)


def test_noise_and_shade_of_the_paper_are_not_taken_for_ink():
    clean = grey(draw((600, 900), (200, 300), width=30).resize((1200, 1800)))
    rng = np.random.default_rng(0)
    noisy = clean * 0.6 + 0.2 + rng.normal(0, 8 / 255, clean.shape)
    shaded = noisy - 0.15 * np.linspace(0, 1, 1200)
    expected = prepare_digit(clean)
    for picture in (noisy, shaded, 1 - shaded):
        assert np.abs(prepare_digit(picture.astype(np.float32)) - expected).mean() < 0.03


def test_digits_in_the_form_already_are_left_as_they_are():
    images = Digits(train=False).images[:, 0] / np.float32(255)
    for image in images[::20]:
        assert np.array_equal(prepare_digit(image), image)
        assert np.allclose(prepare_digit(1 - image), image, atol=1e-6)  # put right again


def test_digits_that_were_moved_and_enlarged_come_back_to_where_they_were():
    images = Digits(train=False).images[:, 0] / np.float32(255)
    distances = []
    for image in images[::20]:
        page = np.ones((100, 150), np.float32)
        page[20:76, 90:146] = 1.0 - image.repeat(2, axis=0).repeat(2, axis=1)
        distances.append(np.abs(prepare_digit(page) - image).mean())
    assert np.mean(distances) < 0.03


def test_faint_noise_of_the_paper_is_not_ink():
    rng = np.random.default_rng(0)
    picture = grey(draw(ink=40, paper=200))
    noisy = np.clip(picture + rng.uniform(-0.04, 0.04, picture.shape), 0, 1).astype(np.float32)
    assert np.abs(prepare_digit(noisy) - prepare_digit(picture)).mean() < 0.03


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (5, 400)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_empty_page_is_black(shape, value):
    assert not prepare_digit(np.full(shape, value, np.float32)).any()


@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (2, 90), (90, 2)])
def test_thin_pictures_do_not_break_it(shape):
    picture = np.ones(shape, np.float32)
    picture.reshape(-1)[picture.size // 2] = 0.0
    assert prepare_digit(picture).shape == (28, 28)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P", "1", "RGBA", "CMYK"])
def test_every_kind_of_picture_gives_the_same_digit(tmp_path, mode):
    path = tmp_path / ("four.tiff" if mode == "CMYK" else "four.png")
    draw().convert(mode).save(path)
    image = prepare_picture(path, (1, 28, 28))
    assert image.shape == (1, 28, 28)
    assert np.abs(image[0] - prepare_digit(grey(draw()))).mean() < 0.01


def test_ink_on_a_transparent_page_is_seen(tmp_path):
    ink = Image.new("RGBA", (200, 300), (0, 0, 0, 0))
    ink.paste((0, 0, 0, 255), mask=draw(ink=255, paper=0))
    ink.save(tmp_path / "four.png")
    image = prepare_picture(tmp_path / "four.png", (1, 28, 28))
    assert np.abs(image[0] - prepare_digit(grey(draw()))).mean() < 0.01


def test_colour_pictures_keep_their_proportions(tmp_path):
    picture = Image.new("RGB", (300, 100), (255, 0, 0))
    ImageDraw.Draw(picture).rectangle((100, 0, 199, 99), (0, 0, 255))
    picture.save(tmp_path / "flag.png")
    image = prepare_picture(tmp_path / "flag.png", (3, 32, 32))
    assert image.shape == (3, 32, 32)
    assert np.allclose(image[:, :, 1:-1], np.float32([0, 0, 1]).reshape(3, 1, 1), atol=0.02)


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"x\.png is not a picture"):
        prepare_picture(tmp_path / "x.png", (1, 28, 28))
    with pytest.raises(FileNotFoundError, match=r"y\.png"):
        prepare_picture(tmp_path / "y.png", (1, 28, 28))
