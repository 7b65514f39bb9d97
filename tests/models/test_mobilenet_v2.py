"""MobileNetV2."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.mobilenet_v2 import InvertedResidual


def stages(net, shape):
    """The output shapes of the children of `features`, without the batch."""
    with nn.init.skip_init():
        rows = md.summary(net(), (1, *shape)).rows
    return [row.shapes[0][1:] for row in rows if row.path.count(".") == 1 and "feat" in row.path]


def test_stages_have_the_sizes_of_table_2():
    found = stages(models.mobilenet_v2, (3, 224, 224))
    expected = [(32, 112, 112), (16, 112, 112)] + [(24, 56, 56)] * 2 + [(32, 28, 28)] * 3
    expected += [(64, 14, 14)] * 4 + [(96, 14, 14)] * 3 + [(160, 7, 7)] * 3
    assert found == [*expected, (320, 7, 7), (1280, 7, 7)]


@pytest.mark.parametrize(("width", "published"), [(1.0, 300e6), (1.4, 585e6)])
def test_multiply_adds_are_those_of_table_4(width, published):
    with nn.init.skip_init():
        net = models.mobilenet_v2(width_mult=width)
        assert md.summary(net, (1, 3, 224, 224)).multiply_adds == pytest.approx(published, rel=0.01)


def test_small_pictures_keep_a_map_of_four_by_four_and_the_parameters_stay_the_same():
    small = lambda: models.mobilenet_v2(num_classes=10, small_input=True)  # noqa: E731
    assert stages(small, (3, 32, 32))[0] == (32, 32, 32)
    assert stages(small, (3, 32, 32))[3] == (24, 32, 32)
    assert stages(small, (3, 32, 32))[-1] == (1280, 4, 4)
    with nn.init.skip_init():
        shapes = [p.shape for p in small().parameters()]
        assert shapes == [p.shape for p in models.mobilenet_v2(num_classes=10).parameters()]


def test_a_shortcut_joins_ends_of_the_same_shape_only():
    x = md.randn(2, 8, 6, 6)
    for out, stride, joined in ((8, 1, True), (8, 2, False), (16, 1, False)):
        unit = InvertedResidual(8, out, stride, 6).eval()
        branch = unit.conv(x)
        expected = x + branch if joined else branch
        np.testing.assert_array_equal(unit(x).data, expected.data)


def test_the_narrow_end_is_linear():
    unit = InvertedResidual(4, 8, 1, 6).eval()
    assert [type(m).__name__ for m in unit.conv] == [
        "ConvNormAct",
        "ConvNormAct",
        "Conv2d",
        "BatchNorm2d",
    ]
    assert unit.conv(md.randn(2, 4, 6, 6)).data.min() < 0
    assert len(InvertedResidual(4, 8, 1, 1).conv) == 3, "nothing to expand"


def test_the_last_convolution_does_not_become_narrower():
    with nn.init.skip_init():
        assert models.mobilenet_v2(width_mult=0.5).classifier[1].in_features == 1280
        assert models.mobilenet_v2(width_mult=1.4).classifier[1].in_features == 1792


def test_initial_values_are_torchvisions():
    net = models.mobilenet_v2()
    depthwise = net.features[17].conv[1][0].weight.data  # (960, 1, 3, 3)
    assert depthwise.std() == pytest.approx(np.sqrt(2 / (960 * 9)), rel=0.05)
    assert net.classifier[1].weight.data.std() == pytest.approx(0.01, rel=0.01)
    assert not net.classifier[1].bias.data.any()


def test_other_channels_and_classes_are_possible():
    with nn.init.skip_init():
        net = models.mobilenet_v2(num_classes=7, in_channels=1).eval()
    assert net(md.zeros(1, 1, 40, 56)).shape == (1, 7)
