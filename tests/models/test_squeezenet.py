"""SqueezeNet."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.squeezenet import Fire


def summary_of(name, size=224):
    with nn.init.skip_init():
        return md.summary(getattr(models, name)(), (1, 3, size, size))


def test_layers_have_the_sizes_of_table_1():
    rows = {row.path: row.shapes for row in summary_of("squeezenet1_0", 227).rows}
    shapes = [rows[f"features.{i}"][0][1:] for i in range(13) if i != 1]
    assert shapes == [
        *[(96, 111, 111), (96, 55, 55), (128, 55, 55), (128, 55, 55), (256, 55, 55)],
        *[(256, 27, 27), (256, 27, 27), (384, 27, 27), (384, 27, 27), (512, 27, 27)],
        *[(512, 13, 13), (512, 13, 13)],
    ]
    assert rows["classifier.1"] == [(1, 1000, 13, 13)]


def test_parameters_are_as_many_as_table_1_says_in_both_versions():
    one, other = summary_of("squeezenet1_0"), summary_of("squeezenet1_1")
    assert one.trainable == 1_248_424
    assert other.trainable == 1_235_496  # as torchvision counts
    # "2.4x less computation", the authors' code says
    assert one.multiply_adds / other.multiply_adds == pytest.approx(2.4, abs=0.06)


def test_a_fire_module_puts_both_expansions_side_by_side():
    fire = Fire(8, 2, 3, 5)
    x = md.randn(2, 8, 4, 6)
    y = fire(x).data
    assert y.shape == (2, 8, 4, 6)
    assert y.min() == 0.0
    squeezed = nn.functional.relu(fire.squeeze(x))
    np.testing.assert_array_equal(y[:, :3], np.maximum(fire.expand1x1(squeezed).data, 0))
    np.testing.assert_array_equal(y[:, 3:], np.maximum(fire.expand3x3(squeezed).data, 0))


def test_the_last_convolution_starts_smaller_than_the_others():
    net = models.squeezenet1_1()
    assert net.classifier[1].weight.data.std() == pytest.approx(0.01, rel=0.01)
    # uniform with variance 2 / fan_in
    assert net.features[12].squeeze.weight.data.std() == pytest.approx((2 / 512) ** 0.5, rel=0.02)
    assert not any(p.data.any() for name, p in net.named_parameters() if name.endswith("bias"))
