"""Inception-ResNet-v2."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.inception_blocks import scaled_by
from minidl.models.classification.inception_resnet_v2 import (
    InceptionResNetV2,
    block8,
    block17,
    block35,
)


def test_stages_have_the_sizes_of_the_released_network():
    with nn.init.skip_init():
        net = models.inception_resnet_v2()
    rows = {row.path: row.shapes for row in nn.summary(net, (1, 3, 299, 299), depth=1).rows}
    for name, shape in {
        "maxpool_5a": (192, 35, 35),
        "mixed_5b": (320, 35, 35),
        "repeat": (320, 35, 35),
        "mixed_6a": (1088, 17, 17),
        "repeat_1": (1088, 17, 17),
        "mixed_7a": (2080, 8, 8),
        "block8": (2080, 8, 8),
        "conv2d_7b": (1536, 8, 8),
    }.items():
        assert rows[name] == [(1, *shape)]
    assert [len(net.repeat), len(net.repeat_1), len(net.repeat_2)] == [10, 20, 9]


@pytest.mark.parametrize(("block", "scale"), [(block35, 0.17), (block17, 0.1), (block8, 0.2)])
def test_the_residual_is_scaled_and_added_before_the_relu(block, scale):
    unit = block(6, scaled_by(1 / 16)).eval()
    x = md.randn(2, 6, 5, 5)
    seen = []
    unit.conv2d.register_forward_hook(lambda m, args, out: seen.append(out.data))
    with md.no_grad():
        y = unit(x).data
    np.testing.assert_allclose(y, np.maximum(x.data + scale * seen[0], 0), rtol=1e-5, atol=1e-6)


def test_the_last_block_has_neither_scale_nor_relu():
    net = InceptionResNetV2(3, blocks=(0, 0, 0), width=1 / 48)
    assert net.block8.scale == 1.0
    x = md.randn(1, net.block8.conv2d.out_channels, 4, 4)
    assert net.block8.eval()(x).data.min() < 0
