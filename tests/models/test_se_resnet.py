"""Squeeze-and-excitation networks."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.se_resnet import (
    SENet,
    SEResNetBottleneck,
    SEResNeXtBottleneck,
)


def without_values(build):
    with nn.init.skip_init():
        return build()


def batch(*shape):
    return md.tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "published"),  # Hu et al. 2018, table 2, in units of 1e9
    [("se_resnet50", 3.87), ("se_resnet101", 7.60), ("se_resnext50_32x4d", 4.25)],
)
def test_multiply_adds_and_maps_are_those_of_the_paper(name, published):
    found = nn.summary(without_values(getattr(models, name)), (1, 3, 224, 224))
    # the paper counts a little more than products: half a percent
    assert found.multiply_adds == pytest.approx(published * 1e9, rel=0.005)
    shapes = {row.path: row.shapes[0] for row in found.rows}
    assert shapes["layer0"] == (1, 64, 112, 112)
    assert shapes["pool0"] == (1, 64, 56, 56)
    assert shapes["layer1"] == (1, 256, 56, 56)
    assert shapes["layer4"] == (1, 2048, 7, 7)


def test_gates_have_the_widths_of_table_1():
    for name in ("se_resnet50", "se_resnext50_32x4d"):
        net = without_values(getattr(models, name))
        widths = [getattr(net, f"layer{i}")[0].se_module.fc1.out_channels for i in range(1, 5)]
        assert widths == [16, 32, 64, 128]


def test_the_gates_cost_two_and_a_half_million_parameters():
    # section 4 of the paper: "about 2.5 million", two layers of C * C / 16 and their biases
    gates = sum(
        n * (2 * c * c // 16 + c // 16 + c) for n, c in ((3, 256), (4, 512), (6, 1024), (3, 2048))
    )
    assert gates == 2_530_992
    with_gates, without = without_values(models.se_resnet50), without_values(models.resnet50)
    assert (
        sum(p.numel() for p in with_gates.parameters())
        == sum(p.numel() for p in without.parameters()) + gates
    )


def test_the_stride_is_where_the_authors_have_it():
    first = without_values(models.se_resnet50).layer2[0]
    assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))
    first = without_values(models.se_resnext50_32x4d).layer2[0]
    assert (first.conv1.stride, first.conv2.stride) == ((1, 1), (2, 2))
    assert first.conv2.groups == 32
    assert first.conv2.in_channels == 256


@pytest.mark.parametrize("block", [SEResNetBottleneck, SEResNeXtBottleneck])
def test_a_gate_multiplies_the_channels_of_the_residual_by_what_their_means_say(block):
    unit = block(16, 4, reduction=2).eval()
    x = batch(2, 16, 5, 5)
    gate = unit.se_module
    residual = unit.bn3(unit.conv3(unit.relu(unit.bn2(unit.conv2(
        unit.relu(unit.bn1(unit.conv1(x))))))))  # fmt: skip
    means = residual.data.mean((2, 3))
    inner = np.maximum(means @ gate.fc1.weight.data[:, :, 0, 0].T + gate.fc1.bias.data, 0)
    scale = inner @ gate.fc2.weight.data[:, :, 0, 0].T + gate.fc2.bias.data
    scale = 1 / (1 + np.exp(-scale))
    expected = np.maximum(x.data + residual.data * scale[:, :, None, None], 0)
    np.testing.assert_allclose(unit(x).data, expected, rtol=1e-4, atol=1e-5)
    gate.fc2.bias.data[...] = -100  # gates shut: what remains is the shortcut
    np.testing.assert_allclose(unit(x).data, np.maximum(x.data, 0), atol=1e-6)


def test_any_size_of_picture_is_taken():
    net = SENet(SEResNetBottleneck, (1, 1, 1, 1), 4, in_channels=1, width=4, dropout=0.5).eval()
    assert net.dropout.p == 0.5
    for size in ((64, 64), (33, 70)):
        assert net(batch(1, 1, *size)).shape == (1, 4)
