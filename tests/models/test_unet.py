"""U-Net: the sizes of figure 1, its options, and torch."""

import itertools

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.segmentation.unet import ResidualDoubleConv, UNet

from .segmentation import assert_as_in_torch, shake


def shapes_of(net, x):
    """Heights of what blocks and transposed convolutions return, in the order in which they run."""
    found = []
    for module in [*net.down, *net.upconv, *net.up]:
        module.register_forward_hook(lambda m, args, out: found.append((out.shape[2], m)))
    with md.no_grad():
        result = net.eval()(x)
    return [size for size, _ in found], result.shape


def test_maps_have_the_sizes_of_figure_1():
    sizes, shape = shapes_of(models.unet(width=1), md.zeros(1, 1, 572, 572))
    assert sizes == [568, 280, 136, 64, 28, 56, 52, 104, 100, 200, 196, 392, 388]
    assert shape == (1, 2, 388, 388)
    assert models.unet(width=1).output_size(572) == 388


def test_with_padding_maps_are_halved_and_doubled_and_nothing_else():
    sizes, shape = shapes_of(models.unet(width=1, padding="same"), md.zeros(1, 1, 32, 48))
    assert sizes == [32, 16, 8, 4, 2, 4, 4, 8, 8, 16, 16, 32, 32]
    assert shape == (1, 2, 32, 48)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (45, 20)])
def test_with_padding_any_size_comes_back(size):
    with md.no_grad():
        assert models.unet(3, width=1, padding="same")(md.zeros(2, 1, *size)).shape == (2, 3, *size)


def test_a_size_that_does_not_fit_is_an_error_that_names_the_next_one():
    net = models.unet(width=1)
    assert [n for n in range(260) if net._through(n)] == [188, 204, 220, 236, 252]
    with pytest.raises(ValueError, match=r"512 pixels does not fit.* the next that fits is 524"):
        net(md.zeros(1, 1, 572, 512))
    with pytest.raises(ValueError, match=r"100 pixels does not fit.* the next that fits is 188"):
        net(md.zeros(1, 1, 100, 572))


def test_tiles_that_overlap_give_what_the_whole_picture_gives():  # figure 2
    net = shake(UNet(2, widths=(3, 4, 5))).eval()
    x = md.randn(1, 1, 64, 72)
    with md.no_grad():
        whole = net(x)
        tiles = [[net(x[:, :, i : i + 56, j : j + 56]) for j in (0, 16)] for i in (0, 8)]
    assert whole.shape == (1, 2, 24, 32)
    for row, i in zip(tiles, (0, 8), strict=True):
        for tile, j in zip(row, (0, 16), strict=True):
            part = whole.data[:, :, i : i + 16, j : j + 16]
            np.testing.assert_allclose(tile.data, part, rtol=1e-4, atol=1e-5)


def test_dropout_stands_at_the_end_of_the_way_down():
    net = models.unet(width=1, padding="same")
    found = []
    net.dropout.register_forward_hook(lambda m, args, out: found.append(out.shape))
    net(md.zeros(1, 1, 32, 32))
    assert found == [(1, 8, 4, 4), (1, 16, 2, 2)]
    assert net.dropout.p == 0.5


def test_weights_start_normal_with_variance_two_over_the_inputs_of_a_unit():
    net = models.unet(width=24)
    for weight, inputs in (
        (net.down[1][0].weight, 9 * 24),
        (net.up[0][2].weight, 9 * 192),
        (net.upconv[0].weight, 384),
    ):
        assert weight.data.std() == pytest.approx(np.sqrt(2 / inputs), rel=0.02)
    assert not any(p.data.any() for name, p in net.named_parameters() if name.endswith("bias"))


def test_options_change_the_parameters_as_they_should():
    def count(**options):
        with nn.init.skip_init():
            return sum(p.numel() for p in models.unet(**options).parameters())

    plain = count()
    widths = [64, 128, 256, 512, 1024]
    maps = 2 * sum(widths) + 2 * sum(widths[:-1])  # of all 3x3 convolutions
    assert count(padding="same") == plain
    assert count(batch_norm=True) == plain + maps  # scale and shift in place of the bias
    shortcuts = sum(
        (i + 1) * o
        for i, o in [(1, 64), *itertools.pairwise(widths)] + [(2 * w, w) for w in widths[:-1]]
    )
    assert count(residual=True) == plain + shortcuts


def test_a_residual_block_adds_the_middle_of_what_it_saw():
    block = ResidualDoubleConv(3, 3, 0)
    nn.init.zeros_(block.residual[2].weight)
    nn.init.zeros_(block.residual[2].bias)
    x = md.randn(2, 3, 9, 10)
    np.testing.assert_array_equal(block(x).data, np.maximum(x.data[:, :, 2:-2, 2:-2], 0))


def test_unknown_padding_and_too_few_levels_are_errors():
    with pytest.raises(ValueError, match="'valid' or 'same', not 'full'"):
        models.unet(padding="full")
    with pytest.raises(ValueError, match="two levels or more"):
        UNet(widths=(64,))


def in_torch(padding, batch_norm, residual):
    """Three levels, written with torch."""

    def forward(t, x):
        def cut(x, like):
            top, left = ((a - b) // 2 for a, b in zip(x.shape[2:], like.shape[2:], strict=True))
            return x[:, :, top : top + like.shape[2], left : left + like.shape[3]]

        def double(name, x):
            inner = f"{name}.residual" if residual else name
            found = x
            for i in (0, 3 if batch_norm else 2):
                found = t.conv(f"{inner}.{i}", found, padding=int(padding == "same"))
                if batch_norm:
                    found = t.norm(f"{inner}.{i + 1}", found)
                if i == 0 or not residual:
                    found = found.relu()
            if residual:
                found = (found + t.conv(f"{name}.shortcut", cut(x, found))).relu()
            return found

        found = [double("down.0", x)]
        for i in (1, 2):
            found.append(double(f"down.{i}", t.F.max_pool2d(found[-1], 2)))
        x = found.pop()
        for i in (0, 1):
            x = t.deconv(f"upconv.{i}", x, stride=2)
            x = double(f"up.{i}", t.torch.cat([cut(found.pop(), x), x], 1))
        return t.conv("head", x)

    return forward


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_outputs_are_those_of_torch(padding, batch_norm, residual):
    options = {"padding": padding, "batch_norm": batch_norm, "residual": residual}
    net = shake(UNet(3, 2, widths=(4, 6, 8), dropout=0.0, **options))
    images = np.random.default_rng(0).normal(size=(2, 2, 60, 68)).astype(np.float32)
    for training in (False, True):
        assert_as_in_torch(net.train(training), images, in_torch(**options))
