"""Inception-v4."""

import minidl as md
from minidl import models, nn
from minidl.models.classification.inception_v4 import InceptionV4


def test_stages_have_the_sizes_of_figure_9():
    with nn.init.skip_init():
        net = models.inception_v4()
    shapes = [row.shapes[0][1:] for row in nn.summary(net.features, (1, 3, 299, 299), depth=1).rows]
    stem = [
        (32, 149, 149),
        (32, 147, 147),
        (64, 147, 147),
        (160, 73, 73),
        (192, 71, 71),
        (384, 35, 35),
    ]
    modules = [(384, 35, 35)] * 4 + [(1024, 17, 17)] * 8 + [(1536, 8, 8)] * 4
    assert shapes[1:] == stem + modules  # the first row is the whole


def test_depth_and_width_are_free():
    net = InceptionV4(3, in_channels=1, blocks=(0, 1, 0), width=1 / 64).eval()
    with md.no_grad():
        assert net(md.zeros(2, 1, 75, 90)).shape == (2, 3)
    with nn.init.skip_init():
        assert models.inception_v4(7).last_linear.weight.shape == (7, 1536)
