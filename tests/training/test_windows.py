"""What a segmentation network is trained and tested on: windows, with what it sees around them."""

import numpy as np
import pytest

from minidl import nn
from minidl.data import batch_generator
from minidl.models.segmentation.unet import UNet
from minidl.training.windows import Window, mirrored, seen_for

VALID = UNet(2, 1, widths=(2, 2), dropout=0.0)  # 16 pixels fewer: 8 on each side
SAME = nn.Conv2d(1, 2, 3, padding=1)


def picture(height, width):
    """A picture of places, and a class map of places: which pixel came from where."""
    mask = np.arange(height * width).reshape(height, width) + 1
    return mask[None].astype(np.float32), mask


def test_networks_with_padding_see_what_they_answer_for():
    assert seen_for(SAME, 17) == (17, 17)


def test_networks_without_padding_see_more_and_answer_for_the_next_size_that_fits():
    for size in range(1, 30):
        seen, answered = seen_for(VALID, size)
        assert VALID.output_size(seen) == answered
        assert answered in (size, size + 1)
        assert seen == answered + 16
    paper = UNet(2, 1, widths=(1,) * 5)
    assert seen_for(paper, 388) == (572, 388)
    assert seen_for(paper, 64) == (252, 68)


def test_a_network_that_takes_nothing_is_named():
    class Stubborn(nn.Module):
        def output_size(self, size):
            raise ValueError("never")

    with pytest.raises(ValueError, match="Stubborn answers for no picture of 5 pixels"):
        seen_for(Stubborn(), 5)


def test_a_side_goes_on_as_its_mirror_image():
    assert mirrored(-3, 10, 4).tolist() == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert mirrored(2, 3, 9).tolist() == [2, 3, 4]
    assert mirrored(-2, 4, 1).tolist() == [0, 0, 0, 0]
    # As np.pad has it, wherever that goes.
    assert mirrored(-6, 19, 7).tolist() == np.pad(np.arange(7), 6, "reflect").tolist()


def test_windows_of_a_network_with_padding_are_equal_pieces_of_both():
    image, mask = picture(20, 30)
    cut = Window(SAME, 8, 255)
    places = set()
    for _ in range(50):
        x, y = cut(image, mask, batch_generator())
        assert x.shape == (1, 8, 8)
        assert np.array_equal(x[0], y)
        assert np.array_equal(np.diff(y, axis=1), np.ones((8, 7)))
        assert np.array_equal(np.diff(y, axis=0), np.full((7, 8), 30))
        places.add(int(y[0, 0]))
    assert len(places) > 30


def test_windows_of_a_network_without_padding_have_true_pixels_around_them():
    image, mask = picture(40, 50)
    x, y = Window(VALID, 6, 255)(image, mask, np.random.default_rng(1))
    assert x.shape == (1, 22, 22)
    assert y.shape == (6, 6)
    assert np.array_equal(x[0, 8:-8, 8:-8], y)
    row, column = np.unravel_index(y[0, 0] - 1, mask.shape)
    padded = np.pad(mask, 8, "reflect")
    assert np.array_equal(x[0], padded[row : row + 22, column : column + 22])


def test_the_whole_picture_is_taken_with_a_mirrored_margin():
    image, mask = picture(8, 11)
    x, y = Window(VALID, None, 255)(image, mask)
    assert x.shape == (1, 24, 28)
    assert y.shape == (8, 12)
    assert (y == 255).sum() == 8  # a column beyond the picture
    counts = y != 255
    assert np.array_equal(y[counts].reshape(8, 11), mask)
    assert np.array_equal(x[0, 8:-8, 8:-8][counts], y[counts])
    again, _ = Window(SAME, None, 255)(image, mask)
    assert np.array_equal(again, image)


def test_a_picture_smaller_than_the_window_lies_within_it():
    image, mask = picture(5, 6)
    seen = set()
    for _ in range(40):
        x, y = Window(SAME, 9, 255)(image, mask)
        assert x.shape == (1, 9, 9)
        counts = y != 255
        assert np.array_equal(y[counts], mask.ravel())
        assert np.array_equal(x[0][counts], y[counts])
        seen.add(tuple(np.argwhere(counts)[0].tolist()))
    assert len(seen) > 5


def test_a_window_without_a_pixel_that_counts_is_looked_for_anew():
    image, mask = picture(40, 40)
    mask[:, 10:] = 255
    found = [Window(SAME, 4, 255)(image, mask)[1] for _ in range(30)]
    assert sum((y != 255).any() for y in found) >= 25  # of 1/4 of the places, ten tries
    mask[:] = 255
    assert (Window(SAME, 4, 255)(image, mask)[1] == 255).all()


def test_it_says_what_it_is():
    assert repr(Window(SAME, 4, 255)) == "Window(size=4, ignore_index=255)"
