"""DeconvNet: the table of its supplement, and torch."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.segmentation.deconvnet import DeconvNet

from .segmentation import assert_as_in_torch, shake


def test_maps_have_the_sizes_of_the_table():
    net = DeconvNet(21, widths=(1, 1, 1, 1, 1), hidden=1).eval()
    sizes = []
    for module in (*net.conv, net.fc[0], net.fc[3], net.fc[6], *net.deconv):
        module.register_forward_hook(lambda m, args, out: sizes.append(out.shape[2:]))
    with md.no_grad():
        assert net(md.zeros(1, 3, 224, 224)).shape == (1, 21, 224, 224)
    expected = [224, 112, 56, 28, 14, 1, 1, 7, 14, 28, 56, 112, 224]
    assert sizes == [(n, n) for n in expected]


def test_the_way_up_is_the_way_down_reversed():
    with nn.init.skip_init():
        net = models.deconvnet()
    down = [m for stage in net.conv for m in stage if isinstance(m, nn.Conv2d)]
    up = [m for stage in net.deconv for m in stage if isinstance(m, nn.ConvTranspose2d)]
    assert len(down) == len(up) == 13
    pairs = [(m.in_channels, m.out_channels) for m in up]
    assert pairs == [(m.out_channels, m.in_channels) for m in down[:0:-1]] + [(64, 64)]


def test_larger_pictures_come_back_and_smaller_ones_are_an_error():
    net = DeconvNet(3, convs=(1, 1), widths=(2, 2), hidden=2, window=3).eval()
    with md.no_grad():
        assert net(md.zeros(1, 3, 19, 30)).shape == (1, 3, 19, 30)
    with pytest.raises(ValueError, match="pictures are 12x12 or larger"):
        net(md.zeros(1, 3, 11, 30))


def in_torch(t, x):
    places = []
    for i, count in enumerate((1, 2)):
        for j in range(0, 3 * count, 3):
            x = t.norm(f"conv.{i}.{j + 1}", t.conv(f"conv.{i}.{j}", x, padding=1)).relu()
        size = x.shape[2:]
        x, indices = t.F.max_pool2d(x, 2, return_indices=True)
        places.append((indices, size))
    x = t.norm("fc.1", t.conv("fc.0", x)).relu()
    x = t.norm("fc.4", t.conv("fc.3", x)).relu()
    x = t.norm("fc.7", t.deconv("fc.6", x)).relu()
    for i, count in enumerate((2, 1)):
        indices, size = places.pop()
        x = t.F.max_unpool2d(x, indices, 2, output_size=size)
        for j in range(0, 3 * count, 3):
            x = t.norm(f"deconv.{i}.{j + 1}", t.deconv(f"deconv.{i}.{j}", x, padding=1)).relu()
    return t.conv("head", x)


def test_outputs_are_those_of_torch():
    net = shake(DeconvNet(3, convs=(1, 2), widths=(4, 6), hidden=10, window=3))
    images = np.random.default_rng(0).normal(size=(2, 3, 19, 24)).astype(np.float32)
    for training in (False, True):
        assert_as_in_torch(net.train(training), images, in_torch)
