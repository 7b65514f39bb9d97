"""Densely connected networks."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.densenet import DenseBlock, DenseNet

from ..torchvision_oracle import torchvision


def shapes_of_stages(net, size):
    """Name of each child of `features` -> (C, H) of its output."""
    found = {}
    for name, stage in net.features.named_children():
        stage.register_forward_hook(
            lambda module, args, out, name=name: found.update({name: out.shape[1:3]})
        )
    with md.no_grad():
        net.eval()(md.tensor(np.zeros((1, 3, size, size), np.float32)))
    return found


def test_stages_have_the_sizes_of_table_one():
    with nn.init.skip_init():
        net = models.densenet121()
    assert shapes_of_stages(net, 224) == {
        "conv0": (64, 112),
        "norm0": (64, 112),
        "relu0": (64, 112),
        "pool0": (64, 56),
        "denseblock1": (256, 56),  # 64 + 6 * 32
        "transition1": (128, 28),
        "denseblock2": (512, 28),  # 128 + 12 * 32
        "transition2": (256, 14),
        "denseblock3": (1024, 14),  # 256 + 24 * 32
        "transition3": (512, 7),
        "denseblock4": (1024, 7),  # 512 + 16 * 32
        "norm5": (1024, 7),
    }


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (models.densenet_40_12, [(16, 32), (160, 32), (160, 16), (304, 16), (304, 8), (448, 8)]),
        (models.densenet_bc_40_12, [(24, 32), (96, 32), (48, 16), (120, 16), (60, 8), (132, 8)]),
        (
            models.densenet_bc_100_12,
            [(24, 32), (216, 32), (108, 16), (300, 16), (150, 8), (342, 8)],
        ),
    ],
)
def test_stages_for_cifar_have_the_sizes_of_section_three(build, expected):
    with nn.init.skip_init():
        net = build()
    found = shapes_of_stages(net, 32)
    assert list(found.values()) == [*expected, expected[-1]]  # the last is norm5
    assert list(found)[-2:] == ["denseblock3", "norm5"]


@pytest.mark.parametrize(
    ("build", "depth"),
    [
        (models.densenet121, 121),
        (models.densenet161, 161),
        (models.densenet169, 169),
        (models.densenet201, 201),
        (models.densenet_40_12, 40),
        (models.densenet_bc_40_12, 40),
        (models.densenet_bc_100_12, 100),
    ],
)
def test_the_number_in_the_name_counts_convolutions_and_the_linear_layer(build, depth):
    with nn.init.skip_init():
        layers = [m for m in build().modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == depth


def test_a_bottleneck_network_has_the_parameters_that_its_layers_add_up_to():
    def layer(c):  # norm1, conv1, norm2, conv2 with k = 12
        return 2 * c + c * 48 + 2 * 48 + 48 * 12 * 9

    expected, c = 3 * 24 * 9, 24
    for block in range(3):
        expected += sum(layer(c + 12 * i) for i in range(6))
        c += 6 * 12
        if block < 2:
            expected += 2 * c + c * (c // 2)
            c //= 2
    expected += 2 * c + c * 10 + 10
    assert expected == 176_122
    assert sum(p.numel() for p in models.densenet_bc_40_12().parameters()) == expected


@pytest.mark.parametrize("name", ["densenet121", "densenet161", "densenet169", "densenet201"])
def test_multiply_adds_are_those_torchvision_publishes(name):
    weights = torchvision().models.get_model_weights(name).DEFAULT
    with nn.init.skip_init():
        net = getattr(models, name)()
    billions = nn.summary(net, (1, 3, 224, 224)).multiply_adds / 1e9
    assert billions == pytest.approx(weights.meta["_ops"], abs=0.001)


@pytest.mark.parametrize("bn_size", [None, 2])
def test_each_layer_sees_all_maps_before_it(bn_size):
    block = DenseBlock(4, 3, 2, bn_size, 0.0).double().eval()
    values = np.random.default_rng(0).normal(size=(2, 3, 5, 5))

    def joined_anew(x):
        maps = [x]
        for layer in block.values():
            maps.append(layer(md.cat(maps, 1)))
        return md.cat(maps, 1)

    weights = md.tensor(np.random.default_rng(1).normal(size=(2, 3 + 4 * 2, 5, 5)))
    results = []
    for forward in (block, joined_anew):
        x = md.tensor(values, requires_grad=True)
        out = forward(x)
        block.zero_grad()
        (out * weights).sum().backward()
        results.append([out.data, x.grad.data, *(p.grad.data.copy() for p in block.parameters())])
    assert len(results[0]) == 2 + len(list(block.parameters()))
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(results[0][0][:, :3], values)  # the input itself comes first


@pytest.mark.parametrize("build", [models.densenet_40_12, models.densenet_bc_40_12])
def test_dropout_follows_every_convolution_but_the_first(build):
    with nn.init.skip_init():
        net, without = build(drop_rate=0.2), build()
    kinds = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Dropout))]
    pairs = [type(m).__name__ for m in kinds]
    assert pairs == ["Conv2d"] + ["Conv2d", "Dropout"] * ((len(pairs) - 1) // 2)
    assert {m.p for m in kinds if isinstance(m, nn.Dropout)} == {0.2}
    assert not any(isinstance(m, nn.Dropout) for m in without.modules())
    assert net.state_dict().keys() == without.state_dict().keys()


def test_dropout_acts_in_training_only():
    net = DenseNet(4, (2, 2), 8, drop_rate=0.5, stem="cifar", num_classes=3)
    x = md.tensor(np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32))
    assert np.abs(net(x).data - net(x).data).max() > 1e-3
    net.eval()
    np.testing.assert_array_equal(net(x).data, net(x).data)


def test_a_transition_rounds_the_number_of_its_maps_down():
    net = DenseNet(2, (1, 1), 5, stem="cifar", num_classes=3)
    assert net.features.transition1.conv.out_channels == 3  # half of 7


def test_initial_values_are_those_for_rectifiers():
    net = models.densenet_bc_100_12()
    weight = net.features.denseblock3.denselayer16.conv2.weight.data
    assert weight.std() == pytest.approx(np.sqrt(2 / (48 * 9)), rel=0.03)
    assert not net.classifier.bias.data.any()


def test_an_unknown_stem_is_refused():
    with pytest.raises(ValueError, match="'imagenet' or 'cifar', not 'mnist'"):
        DenseNet(2, (1,), 4, stem="mnist")
