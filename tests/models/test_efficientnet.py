"""EfficientNet and its compound scaling."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.efficientnet import MBConv, compound_scaling

# (layers times, channels times, pixels) of the authors' code
PUBLISHED = {
    "efficientnet_b0": (1.0, 1.0, 224),
    "efficientnet_b1": (1.1, 1.0, 240),
    "efficientnet_b2": (1.2, 1.1, 260),
    "efficientnet_b3": (1.4, 1.2, 300),
    "efficientnet_b4": (1.8, 1.4, 380),
    "efficientnet_b5": (2.2, 1.6, 456),
    "efficientnet_b6": (2.6, 1.8, 528),
    "efficientnet_b7": (3.1, 2.0, 600),
}


def test_stages_have_the_sizes_of_table_1():
    with nn.init.skip_init():
        rows = md.summary(models.efficientnet_b0(), (1, 3, 224, 224)).rows
    stages = [row for row in rows if row.path.count(".") == 1 and row.path.startswith("features")]
    assert [row.shapes[0][1:] for row in stages] == [
        *[(32, 112, 112), (16, 112, 112), (24, 56, 56), (40, 28, 28), (80, 14, 14)],
        *[(112, 14, 14), (192, 7, 7), (320, 7, 7), (1280, 7, 7)],
    ]


@pytest.mark.parametrize(
    ("name", "billions"),  # table 2
    [("efficientnet_b0", 0.39), ("efficientnet_b1", 0.70), ("efficientnet_b2", 1.0)],
)
def test_multiply_adds_are_those_of_table_2(name, billions):
    with nn.init.skip_init():
        found = md.summary(getattr(models, name)(), (1, *models.INPUT_SHAPES[name]))
    assert found.multiply_adds / 1e9 == pytest.approx(billions, rel=0.02 if billions < 1 else 0.1)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_networks_are_as_deep_and_as_wide_as_published(name):
    depth, width, size = PUBLISHED[name]
    assert models.INPUT_SHAPES[name] == (3, size, size)
    with nn.init.skip_init():
        net = getattr(models, name)()
    stages = list(net.features)[1:-1]
    layers = (1, 2, 2, 3, 3, 4, 1)
    assert [len(stage) for stage in stages] == [math.ceil(depth * n - 1e-9) for n in layers]
    channels = [stage[-1].block[-1][0].out_channels for stage in stages]
    for found, base in zip(channels, (16, 24, 40, 80, 112, 192, 320), strict=True):
        assert found % 8 == 0
        assert 0.9 * base * width <= found < base * width + 8
    assert net.classifier[1].in_features == 4 * channels[-1]


def test_b1_to_b3_are_the_rule_rounded_to_a_digit():
    for name, phi in (("b0", 0), ("b1", 0.5), ("b2", 1), ("b3", 2)):
        depth, width, size = PUBLISHED[f"efficientnet_{name}"]
        scaling = compound_scaling(phi)
        assert (round(scaling.depth, 1), round(scaling.width, 1)) == (depth, width)
        assert scaling.resolution == pytest.approx(size, rel=0.015)


def test_from_b4_on_the_layers_stay_behind_the_rule():
    for name, phi, behind in (("b4", 3.8, 3.2), ("b5", 5, 4.3), ("b6", 6, 5.2), ("b7", 7, 6.2)):
        depth, width, size = PUBLISHED[f"efficientnet_{name}"]
        scaling = compound_scaling(phi)
        assert scaling.width == pytest.approx(width, rel=0.03)
        assert scaling.resolution == pytest.approx(size, rel=0.02)
        assert math.log(depth, 1.2) == pytest.approx(behind, abs=0.05)


def test_the_rule_nearly_doubles_depth_times_width_and_resolution_squared():
    # 1.2 * 1.1^2 * 1.15^2
    for phi in (1, 2, 3):
        depth, width, size = compound_scaling(phi)
        assert depth * width**2 * (size / 224) ** 2 == pytest.approx(1.92**phi, rel=0.01)


def test_branches_are_left_out_more_often_the_deeper_they_are():
    with nn.init.skip_init():
        net = models.efficientnet_b0()
    ps = [m.p for m in net.modules() if isinstance(m, nn.StochasticDepth)]
    np.testing.assert_allclose(ps, [0.2 * i / 16 for i in range(16)])


def test_only_the_branch_of_a_shortcut_is_left_out():
    md.manual_seed(0)
    x = md.randn(64, 8, 4, 4)
    joined = MBConv(8, 8, 6, 3, 1, stochastic_depth_prob=0.5).train()
    gone = (joined(x).data == x.data).all((1, 2, 3))
    assert 16 < gone.sum() < 48
    alone = MBConv(8, 16, 6, 3, 1, stochastic_depth_prob=1.0).train()
    assert alone(x).data.any()


def test_the_gate_is_as_wide_as_a_quarter_of_the_input():
    unit = MBConv(24, 40, 6, 5, 2)
    assert unit.block[2].fc1.weight.shape == (6, 144, 1, 1)
    assert len(MBConv(32, 16, 1, 3, 1).block) == 3, "nothing to expand"


def test_batch_norm_is_the_authors_in_the_large_ones():
    with nn.init.skip_init():
        for name, eps, momentum in (("b4", 1e-5, 0.1), ("b5", 1e-3, 0.01)):
            norm = getattr(models, f"efficientnet_{name}")().features[0][1]
            assert (norm.eps, norm.momentum) == (eps, momentum)


def test_initial_values_are_the_authors():
    net = models.efficientnet_b0()
    linear = net.classifier[1].weight.data
    assert np.abs(linear).max() <= 1 / np.sqrt(1000)
    assert linear.std() == pytest.approx(1 / np.sqrt(3000), rel=0.01)
    last = net.features[-1][0].weight.data
    assert last.std() == pytest.approx(np.sqrt(2 / 1280), rel=0.02)
