"""ResNeXt for CIFAR."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.resnext_cifar import ResNeXtCIFAR


def test_stages_have_the_sizes_of_the_table():
    net = ResNeXtCIFAR(2, 64, width=4).eval()
    shapes = []
    for stage in (net.conv1, net.layer1, net.layer2, net.layer3):
        stage.register_forward_hook(lambda module, args, out: shapes.append(out.shape[1:]))
    net(md.tensor(np.zeros((1, 3, 32, 32), np.float32)))
    assert shapes == [(4, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)]


@pytest.mark.parametrize(
    ("build", "cardinality"), [(models.resnext29_8x64d, 8), (models.resnext29_16x64d, 16)]
)
def test_groups_and_widths_are_those_of_the_name(build, cardinality):
    with nn.init.skip_init():
        net = build()
    for i, stage in enumerate((net.layer1, net.layer2, net.layer3)):
        convs = [block.conv2 for block in stage]
        assert [c.groups for c in convs] == [cardinality] * 3
        assert [c.out_channels for c in convs] == [cardinality * 64 * 2**i] * 3
        assert [block.conv3.out_channels for block in stage] == [256 * 2**i] * 3
    main = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(main) == 29 + 3  # and three projections


def test_the_stride_is_in_the_3x3_convolution_of_the_later_stages():
    net = ResNeXtCIFAR(2, 64, width=4)
    strides = [[block.conv2.stride for block in s] for s in (net.layer1, net.layer2, net.layer3)]
    assert strides == [[(1, 1)] * 3] + [[(2, 2), (1, 1), (1, 1)]] * 2
    assert {block.conv1.stride for s in (net.layer2, net.layer3) for block in s} == {(1, 1)}


def test_groups_are_paths_of_their_own():
    # figure 3: a grouped convolution (c) is the sum of narrow paths (a)
    net = ResNeXtCIFAR(4, 32, blocks=1, width=8).eval()
    block = net.layer1[0]
    x = md.tensor(np.random.default_rng(0).normal(size=(2, 8, 5, 5)).astype(np.float32))
    total = 0.0
    for path in range(4):
        rows = slice(4 * path, 4 * path + 4)
        y = nn.functional.conv2d(x, md.tensor(block.conv1.weight.data[rows]))
        y = nn.functional.relu(y / (1 + 1e-5) ** 0.5)  # new running statistics: mean 0, variance 1
        y = nn.functional.conv2d(y, md.tensor(block.conv2.weight.data[rows]), padding=1)
        y = nn.functional.relu(y / (1 + 1e-5) ** 0.5)
        y = nn.functional.conv2d(y, md.tensor(block.conv3.weight.data[:, rows]))
        total = total + y.data
    expected = np.maximum(total / (1 + 1e-5) ** 0.5 + block.downsample(x).data, 0)
    np.testing.assert_allclose(block(x).data, expected, rtol=1e-4, atol=1e-5)


def test_initial_values_count_the_outgoing_weights_of_all_groups():
    net = ResNeXtCIFAR(4, 64, blocks=1, width=16)
    weight = net.layer3[0].conv2.weight.data
    assert weight.shape == (256, 64, 3, 3)
    assert weight.std() == pytest.approx(np.sqrt(2 / (256 * 9)), rel=0.02)
    assert not net.fc.bias.data.any()
