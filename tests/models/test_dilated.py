"""Dilated front end and context module: what they see, how they start, and torch."""

import itertools

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.segmentation.dilated import ContextModule, DilatedVGG, FrontEnd, identity_

from .segmentation import assert_as_in_torch, shake


def positive_(net):
    """Parameters with which ReLU cuts off nothing."""
    for p in net.parameters():
        p.data[...] = np.random.default_rng(0).uniform(0.1, 1, p.shape)


def test_the_front_end_makes_66x66_scores_of_900x900_pixels():
    net = FrontEnd(2, widths=(1,) * 5, hidden=1).eval()
    with md.no_grad():  # the authors' network for VOC
        assert net.layers(md.zeros(1, 3, 900, 900)).shape == (1, 2, 66, 66)
    assert net.margin == (900 - 66 * 8) // 2 == 186


@pytest.mark.parametrize("size", [(8, 8), (17, 30)])
def test_scores_of_the_front_end_stand_for_squares_of_8x8(size):
    net = FrontEnd(2, convs=(1,) * 5, widths=(1,) * 5, hidden=1, window=3).eval()
    with md.no_grad():
        assert net(md.zeros(1, 3, *size)).shape == (1, 2, *(-(-n // 8) for n in size))


def test_a_score_sees_the_middle_of_its_square_from_both_sides():
    net = FrontEnd(1, 1, convs=(1,) * 5, widths=(2,) * 5, hidden=2, window=3).double().eval()
    positive_(net)
    size = 2 * net.margin + 8  # of the layers' input for a single score
    x = md.rand(1, 1, size, size, dtype=np.float64, requires_grad=True)
    scores = net.layers(x)
    assert scores.shape == (1, 1, 1, 1)
    scores.sum().backward()
    touched = np.nonzero(x.grad.data.any((0, 1, 3)))[0]
    assert touched[0] < 8  # a maximum may pass the outermost pixels by
    assert touched[-1] >= size - 8


@pytest.mark.parametrize("form", ["basic", "large"])
def test_layers_of_the_context_module_see_as_much_as_in_table_1(form):
    net = ContextModule(2, form).double()
    positive_(net)
    x = md.ones(1, 2, 71, 71, dtype=np.float64, requires_grad=True)
    seen, maps, out = [], [], x
    for layer in net:
        out = layer(out)
        if isinstance(layer, nn.Conv2d):
            x.grad = None
            maps.append(out.shape[1] // 2)
            half = out.shape[2] // 2
            out[0, 0, half, half].backward(retain_graph=True)
            gradient = x.grad.data[0].max((0, 1))
            seen.append(int((gradient > 1e-9 * gradient.max()).sum()))  # there are rounding errors
    assert seen == [3, 5, 9, 17, 33, 65, 67, 67]
    assert maps == {"basic": [1] * 8, "large": [2, 2, 4, 8, 16, 32, 32, 1]}[form]
    assert out.shape == x.shape


@pytest.mark.parametrize("form", ["basic", "large"])
def test_the_context_module_starts_as_the_identity(form):
    net = ContextModule(3, form, std=0.0)
    x = md.rand(2, 3, 9, 12)  # positive, as ReLU would cut off the rest
    with md.no_grad():
        np.testing.assert_allclose(net(x).data, x.data, rtol=1e-6)


def test_only_the_large_form_starts_with_noise_and_it_is_small():
    x = md.rand(1, 3, 16, 16)
    with md.no_grad():
        np.testing.assert_array_equal(ContextModule(3)(x).data, x.data)
        large = ContextModule(3, "large")(x).data
    assert 0 < np.abs(large - x.data).max() < 0.1


def test_maps_that_stand_for_one_class_share_its_weight():  # equation 5
    weight = identity_(nn.Parameter(np.zeros((4, 2, 3, 3), np.float32)), 2).data
    np.testing.assert_array_equal(weight[:, :, 1, 1], [[0.5, 0], [0.5, 0], [0, 0.5], [0, 0.5]])
    weight = identity_(nn.Parameter(np.zeros((2, 4, 3, 3), np.float32)), 2).data
    np.testing.assert_array_equal(weight[:, :, 1, 1], [[1, 1, 0, 0], [0, 0, 1, 1]])
    assert weight.sum() == 4


def test_context_modules_have_as_many_weights_as_the_paper_says():
    with nn.init.skip_init():
        counts = {
            form: sum(p.numel() for p in ContextModule(21, form).parameters())
            for form in ("basic", "large")
        }
    assert counts["basic"] == 64 * 21**2 + 8 * 21  # "about 64 C^2"
    widths = [1, 2, 2, 4, 8, 16, 32, 32]
    weights = 9 * sum(a * b for a, b in itertools.pairwise(widths)) + 32
    assert counts["large"] == weights * 21**2 + (sum(widths[1:]) + 1) * 21


@pytest.mark.parametrize(
    ("context", "count"), [("none", 134346581), ("basic", 134374973), ("large", 141149720)]
)
def test_builders_make_the_networks_that_they_name(context, count):
    with nn.init.skip_init():
        net = models.dilated_vgg16(context=context)
    # VGG-16 but for its last layer, 4096 inputs to 1000 classes, now to 21.
    assert count - 134346581 in (0, 28392, 6803139)
    assert 138357544 - 4097 * (1000 - 21) == 134346581
    assert sum(p.numel() for p in net.parameters()) == count


def test_unknown_forms_are_errors():
    with pytest.raises(ValueError, match="'basic', 'large' or 'none', not 'huge'"):
        models.dilated_vgg16(context="huge")
    with pytest.raises(ValueError, match="'basic' or 'large', not 'none'"):
        ContextModule(3, "none")


@pytest.mark.parametrize("form", ["basic", "large"])
def test_outputs_are_those_of_torch(form):
    front_end = FrontEnd(
        2, convs=(1, 2, 1, 1, 2), widths=(3, 4, 5, 6, 7), hidden=8, window=3, dropout=0.0
    )
    net = shake(DilatedVGG(front_end, ContextModule(2, form)))
    height, width = 91, 99

    def in_torch(t, x):
        m = front_end.margin
        x = t.F.pad(x, (m, m + 5, m, m + 5), mode="reflect")  # 96 and 104 are multiples of 8
        for i, count in enumerate((1, 2, 1, 1, 2), 1):
            for j in range(1, count + 1):
                name = f"front_end.layers.conv{i}_{j}"
                x = t.conv(name, x, dilation=2 if i == 5 else 1).relu()
            if i <= 3:
                x = t.F.max_pool2d(x, 2)
        x = t.conv("front_end.layers.fc6", x, dilation=4).relu()
        x = t.conv("front_end.layers.fc7", x).relu()
        x = t.conv("front_end.layers.final", x)
        assert x.shape[2:] == (12, 13)
        x = t.F.pad(x, (33,) * 4)
        for i, dilation in enumerate((1, 1, 2, 4, 8, 16, 1)):
            x = t.conv(f"context.{2 * i}", x, dilation=dilation).relu()
        x = t.conv("context.14", x)
        return t.F.interpolate(x, scale_factor=8, mode="bilinear")[:, :, :height, :width]

    images = np.random.default_rng(0).normal(size=(2, 3, height, width)).astype(np.float32)
    assert_as_in_torch(net, images, in_torch)
