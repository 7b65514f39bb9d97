"""Overlap-tile inference equals inference on the whole image, where it must."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.models.segmentation import unet
from minidl.training import predict_tiles


def conv_net(padding):
    """A receptive field of 9 pixels, radius 4; with BatchNorm, which training mode would change."""
    md.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 5, 5, padding=2 * padding),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 3, 5, padding=2 * padding),
    )


class HourGlass(nn.Module):
    """Pooled to a half and back: total stride 2."""

    def __init__(self, padding):
        super().__init__()
        md.manual_seed(2)
        self.before = nn.Conv2d(2, 4, 3, padding=padding)
        self.inside = nn.Conv2d(4, 4, 3, padding=padding)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ConvTranspose2d(4, 3, 2, 2)

    def forward(self, x):
        return self.up(self.inside(self.pool(self.before(x).relu())).relu())


def images(height, width, n=2):
    x = np.random.default_rng(0).standard_normal((n, 2, height, width))
    return md.tensor(x.astype(np.float32))


def mirrored(x, *pads):
    return md.tensor(np.pad(x.data, ((0, 0), (0, 0), *pads), mode="reflect"))


def whole(model, x):
    with md.no_grad():
        return model.eval()(x).data


@pytest.mark.parametrize("size", [(8, 8), (11, 23), (24, 9), (5, 6), (8, 30)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_network_without_padding_sees_the_mirrored_image(size, batch_size):
    model, x = conv_net(0), images(*size)
    expected = whole(model, mirrored(x, (4, 4), (4, 4)))
    answer = predict_tiles(model, x, 8, 4, batch_size=batch_size)
    assert answer.shape == (2, 3, *size)
    np.testing.assert_allclose(answer.data, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (11, 23), (7, 40)])
def test_the_answer_of_a_padded_network_is_that_of_its_middle(size):
    model, x = conv_net(1), images(*size)
    around = whole(model, mirrored(x, (6, 6), (5, 5)))
    answer = predict_tiles(model, x, (8, 12), (6, 5))
    np.testing.assert_allclose(answer.data, around[:, :, 6:-6, 5:-5], atol=1e-5)
    # In the inside it is the answer to the image itself, at the border it is not.
    alone = whole(model, x)
    inside = np.s_[:, :, 4:-4, 4:-4]
    np.testing.assert_allclose(answer.data[inside], alone[inside], atol=1e-5)
    assert not np.allclose(answer.data, alone, atol=1e-3)


@pytest.mark.parametrize("size", [(16, 16), (11, 23), (7, 40), (5, 5)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_with_the_networks_own_border_the_answer_is_that_to_the_whole_image(size, batch_size):
    model, x = conv_net(1), images(*size)
    answer = predict_tiles(model, x, 8, 4, border="network", batch_size=batch_size)
    np.testing.assert_allclose(answer.data, whole(model, x), atol=1e-5)


def test_less_context_than_the_receptive_field_shows():
    model, x = conv_net(1), images(24, 24)
    answer = predict_tiles(model, x, 8, 3, border="network")
    assert not np.allclose(answer.data, whole(model, x), atol=1e-4)


def test_tiles_that_are_multiples_of_the_stride_suit_a_network_that_pools():
    x = images(22, 28)
    # Without padding it loses 3 pixels on each side: 1 before the pool, 2 = 1 x 2 behind it.
    valid = HourGlass(0)
    assert valid(images(14, 14)).shape == (2, 3, 8, 8)
    around = whole(valid, mirrored(x, (3, 5), (3, 7)))[:, :, :22, :28]
    answer = predict_tiles(valid, x, 8, 3)
    np.testing.assert_allclose(answer.data, around, atol=1e-5)
    same = HourGlass(1)
    answer = predict_tiles(same, x, 8, 4, border="network")
    np.testing.assert_allclose(answer.data, whole(same, x), atol=1e-5)


def test_of_a_larger_answer_the_middle_is_used():
    """So a tile can be a multiple of the stride where the answer is not, as U-Net's 388 pixels."""
    model, x = HourGlass(0), images(22, 28)
    around = whole(model, mirrored(x, (5, 7), (5, 9)))  # 34 x 42 in, 28 x 36 out
    answer = predict_tiles(model, x, (8, 4), 5)
    np.testing.assert_allclose(answer.data, around[:, :, 2:24, 2:30], atol=1e-5)


def test_the_tiles_of_u_net_fit_together():
    model = unet(in_channels=2, width=2)
    x = images(50, 40, n=1)
    # Two tiles of 32 pixels each way: 64 + 2 x 94 pixels in, 68 out.
    around = whole(model, mirrored(x, (94, 108), (94, 118)))
    assert around.shape == (1, 2, 68, 68)
    answer = predict_tiles(model, x, 32, 94)
    np.testing.assert_allclose(answer.data, around[:, :, 2:52, 2:42], atol=1e-5)
    assert answer.data.std() > 100 * 1e-5


def test_the_model_is_left_in_the_mode_it_was_in_and_nothing_is_recorded():
    model = conv_net(0).train()
    before = model[1].running_mean.data.copy()
    answer = predict_tiles(model, images(8, 8), 8, 4)
    assert model.training
    assert model[1].training
    np.testing.assert_array_equal(model[1].running_mean.data, before)
    assert not answer.requires_grad


def test_tiles_are_put_together_on_the_device():
    class Twice(nn.Module):
        def forward(self, x):
            return x * 2.0

    x = md.tensor(images(5, 7).data, device="strict")
    answer = predict_tiles(Twice(), x, 4, 2)
    assert answer.device == "strict"
    np.testing.assert_array_equal(answer.cpu().numpy(), 2 * images(5, 7).data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tile": 0}, "must be positive"),
        ({"context": -1}, "must be positive and context not negative"),
        ({"batch_size": 0}, "must be positive"),
        ({"border": "zeros"}, "border must be 'mirror' or 'network'"),
        ({"context": 3}, r"a tile of \(14, 14\) pixels with \(6, 6\); with context \(3, 3\)"),
        ({"border": "network"}, r"it should be \(12, 12\)$"),
    ],
)
def test_sizes_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        predict_tiles(conv_net(0), images(16, 16), **{"tile": 8, "context": 4, **arguments})


def test_what_are_no_images_is_refused():
    with pytest.raises(ValueError, match=r"images must be \(N, C, H, W\), got \(2, 8, 8\)"):
        predict_tiles(conv_net(0), images(8, 8)[0], 8, 4)
