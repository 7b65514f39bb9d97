"""ShuffleNet V2."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.shufflenet_v2 import ShuffleUnit

NETWORKS = {
    # builder: parameters as torchvision counts them, million multiply-adds of table 5, channels
    "shufflenet_v2_x0_5": (1_366_792, 41, (48, 96, 192, 1024)),
    "shufflenet_v2_x1_0": (2_278_604, 146, (116, 232, 464, 1024)),
    "shufflenet_v2_x1_5": (3_503_624, 299, (176, 352, 704, 1024)),
    "shufflenet_v2_x2_0": (7_393_996, 591, (244, 488, 976, 2048)),
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_sizes_and_costs_are_those_of_table_5(name):
    parameters, multiply_adds, widths = NETWORKS[name]
    with nn.init.skip_init():
        found = md.summary(getattr(models, name)(), (1, 3, 224, 224))
    assert found.trainable == parameters
    # ours are one percent below the printed ones
    assert found.multiply_adds / 1e6 == pytest.approx(multiply_adds, rel=0.015)
    rows = {row.path: row.shapes for row in found.rows}
    assert rows["maxpool"] == [(1, 24, 56, 56)]
    layers = ("stage2", "stage3", "stage4", "conv5")
    for layer, width, size in zip(layers, widths, (28, 14, 7, 7), strict=True):
        assert rows[layer] == [(1, width, size, size)]


def test_half_of_the_channels_pass_a_unit_of_stride_1_untouched():
    unit = ShuffleUnit(8, 8, 1)
    x = np.random.default_rng(0).normal(size=(2, 8, 5, 5)).astype(np.float32)
    y = unit(md.tensor(x)).data
    np.testing.assert_array_equal(y[:, ::2], x[:, :4])
    np.testing.assert_array_equal(y[:, 1::2], unit.branch2(md.tensor(x[:, 4:])).data)


def test_a_unit_of_stride_2_sends_all_channels_both_ways():
    unit = ShuffleUnit(8, 16, 2).eval()
    x = md.randn(2, 8, 6, 6)
    y = unit(x).data
    assert y.shape == (2, 16, 3, 3)
    np.testing.assert_array_equal(y[:, ::2], unit.branch1(x).data)
    np.testing.assert_array_equal(y[:, 1::2], unit.branch2(x).data)


def test_impossible_units_are_refused():
    with pytest.raises(ValueError, match="got 8 to 16 channels with stride 1"):
        ShuffleUnit(8, 16, 1)
    with pytest.raises(ValueError, match="out_channels must be even"):
        ShuffleUnit(8, 15, 2)
