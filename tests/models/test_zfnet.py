"""ZFNet."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.zfnet import ZFNet


def test_maps_have_the_sizes_of_figure_3():
    with nn.init.skip_init():
        net = models.zfnet()
    rows = nn.summary(net.features, (1, 3, 224, 224)).rows
    shapes = [row.shapes[0][1:] for row in rows if row.kind in ("Conv2d", "MaxPool2d")]
    assert shapes == [
        (96, 110, 110),
        (96, 55, 55),
        (256, 26, 26),
        (256, 13, 13),
        (384, 13, 13),
        (384, 13, 13),
        (256, 13, 13),
        (256, 6, 6),
    ]


def test_layers_follow_each_other_as_in_figure_3():
    # "passed through a rectified linear function, pooled, contrast normalized"
    normalised = ["Conv2d", "ReLU", "MaxPool2d", "LocalResponseNorm"]
    plain = ["Conv2d", "ReLU"]
    net = ZFNet(3, widths=(2, 2, 2, 2, 2), hidden=2)
    found = [type(m).__name__ for m in net.features]
    assert found == normalised * 2 + plain * 3 + ["MaxPool2d"]


def test_it_starts_from_weights_of_a_hundredth():
    net = ZFNet(10, hidden=128)
    layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 8
    assert all(m.weight.data.std() == pytest.approx(0.01, rel=0.05) for m in layers)
    assert not any(m.bias.data.any() for m in layers)


def test_a_smaller_picture_gives_scores_too():
    with nn.init.skip_init():
        net = models.zfnet(num_classes=5, in_channels=1).eval()
    x = md.tensor(np.zeros((2, 1, 63, 63), np.float32))
    with md.no_grad():
        assert net(x).shape == (2, 5)
