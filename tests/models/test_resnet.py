"""Residual networks for ImageNet, plain ones, wide ones, ResNeXt and ResNet-D."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.resnet import (
    BasicBlock,
    Bottleneck,
    BottleneckV1,
    ResNet,
    make_downsample,
)


def count(net):
    return sum(p.numel() for p in net.parameters())


def without_values(build, *args, **options):
    with nn.init.skip_init():
        return build(*args, **options)


def batch(*shape, dtype=np.float32):
    return md.tensor(np.random.default_rng(0).normal(size=shape).astype(dtype))


def random_statistics(net):
    rng = np.random.default_rng(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.data[...] = rng.normal(0, 0.1, module.num_features)
            module.running_var.data[...] = rng.uniform(0.5, 1.5, module.num_features)
    return net


# -- table 1 --------------------------------------------------------------------------------------

V1 = {"variant": "v1"}


@pytest.mark.parametrize(
    ("name", "options", "published", "digits"),
    [
        # He et al. 2015, table 1; for ResNet-50 it says 3.8 (cut off), Hu et al. 2018 say 3.86
        ("resnet18", {}, 1.8, 1),
        ("plain34", {}, 3.6, 1),
        ("resnet50", V1, 3.86, 2),
        ("resnet101", V1, 7.6, 1),
        ("resnet152", V1, 11.3, 1),
        # Xie et al. 2017, table 1
        ("resnext50_32x4d", {}, 4.2, 1),
        # what torchvision states beside its weights
        ("resnet34", {}, 3.664, 3),
        ("resnet50", {}, 4.089, 3),
        ("resnet101", {}, 7.801, 3),
        ("resnet152", {}, 11.514, 3),
        ("wide_resnet50_2", {}, 11.398, 3),
        ("wide_resnet101_2", {}, 22.753, 3),
        ("resnext101_32x8d", {}, 16.414, 3),
    ],
)
def test_multiply_adds_and_maps_are_those_of_the_table(name, options, published, digits):
    net = without_values(getattr(models, name), **options)
    found = nn.summary(net, (1, 3, 224, 224))
    assert round(found.multiply_adds / 1e9, digits) == published
    shapes = {row.path: row.shapes[0] for row in found.rows}
    widen = net.layer1[0].expansion
    assert shapes["conv1"] == (1, 64, 112, 112)
    assert shapes["maxpool"] == (1, 64, 56, 56)
    assert shapes["layer1"] == (1, 64 * widen, 56, 56)
    assert shapes["layer2"] == (1, 128 * widen, 28, 28)
    assert shapes["layer3"] == (1, 256 * widen, 14, 14)
    assert shapes["layer4"] == (1, 512 * widen, 7, 7)
    assert shapes[""] == (1, 1000)


def test_the_names_say_how_many_layers_have_weights():
    for depth in (18, 34, 50, 101, 152):
        net = without_values(getattr(models, f"resnet{depth}"))
        names = [name for name, p in net.named_parameters() if p.ndim > 1]
        assert len([name for name in names if "downsample" not in name]) == depth


def receptive_field(net, size):
    """Side and step of what one result of layer4 sees, found by its gradient."""
    for parameter in net.parameters():
        if parameter.ndim == 4:  # positive, so that nothing cancels
            parameter.data[...] = 1 / parameter[0].numel()
    net.maxpool = nn.AvgPool2d(3, 2, padding=1)  # the same windows, without a choice
    net.double().eval()
    seen = []
    for step in (0, 1):
        x = md.tensor(np.ones((1, 3, size, size)), requires_grad=True)
        maps = net.forward_features(x)
        maps[0, 0, maps.shape[2] // 2, maps.shape[3] // 2 + step].backward()
        rows, columns = np.nonzero(x.grad.data[0].sum(0))
        assert rows.min() > 0  # the border did not cut it
        assert rows.max() < size - 1
        seen.append((columns.min(), columns.max()))
    return seen[0][1] - seen[0][0] + 1, seen[1][0] - seen[0][0]


@pytest.mark.parametrize(
    ("block", "layers", "field"),
    [
        # 11 pixels up to layer1, where results are 4 apart; then twice the distance for each 3x3
        (BasicBlock, (2, 2, 2, 2), 11 + 4 * 8 + (8 + 3 * 16) + (16 + 3 * 32) + (32 + 3 * 64)),
        (Bottleneck, (3, 4, 6, 3), 11 + 3 * 8 + (8 + 3 * 16) + (16 + 5 * 32) + (32 + 2 * 64)),
        (BottleneckV1, (3, 4, 6, 3), 483),  # Araujo et al. 2019, "Computing receptive fields"
    ],
)
def test_a_result_sees_as_many_pixels_as_the_strides_and_kernels_say(block, layers, field):
    net = ResNet(block, layers, 2, width=2)
    assert receptive_field(net, 704) == (field, 32)


# -- shortcuts ------------------------------------------------------------------------------------


def test_zero_padding_costs_nothing_and_projections_what_their_shapes_say():
    plain = count(without_values(models.plain34))
    cost = {
        option: count(without_values(models.resnet34, shortcut=option)) - plain for option in "ABC"
    }
    assert cost["A"] == 0
    changes = sum(c * 2 * c + 2 * 2 * c for c in (64, 128, 256))
    assert cost["B"] == changes
    others = ((3, 64), (3, 128), (5, 256), (2, 512))
    assert cost["C"] == changes + sum(n * (c * c + 2 * c) for n, c in others)
    assert plain == 21_623_848
    assert count(without_values(models.plain18)) == 11_515_688


def test_shortcuts_are_where_the_paper_has_them():
    def where(net):
        return [p for p, m in net.named_modules() if p.endswith("downsample") and m is not None]

    assert where(without_values(models.resnet18)) == [
        "layer2.0.downsample",
        "layer3.0.downsample",
        "layer4.0.downsample",
    ]
    assert len(where(without_values(models.resnet50))) == 4  # 64 to 256 channels in layer1, too
    assert len(where(without_values(models.resnet50, shortcut="C"))) == 16
    assert where(without_values(models.plain18)) == []


def test_a_shortcut_of_each_kind_brings_the_input_to_the_shape_of_the_sum():
    x = batch(2, 4, 6, 5)
    for stride, size in ((1, (6, 5)), (2, (3, 3))):
        for option in "ABCD":
            way = make_downsample(option, 4, 8, stride)
            assert way(x).shape == (2, 8, *size)
    for option in ("A", "B", "D", "none"):
        assert make_downsample(option, 4, 4, 1) is None
    assert make_downsample("C", 4, 4, 1) is not None
    assert make_downsample("none", 4, 8, 2) is None


def test_the_shortcut_of_resnet_d_skips_no_pixel():
    x = batch(1, 2, 4, 5)
    mean = make_downsample("D", 2, 4, 2)[0](x).data
    for i in range(2):
        for j in range(3):  # the last column of an odd width is a window of its own
            window = x.data[0, 0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            assert mean[0, 0, i, j] == pytest.approx(window.mean(), rel=1e-5)
    assert isinstance(make_downsample("D", 2, 4, 1)[0], nn.Identity)


def test_a_plain_network_has_nothing_but_its_convolutions():
    # residuals that start at 0 leave the shortcuts, and without these nothing
    for build, nothing in ((models.resnet18, False), (models.plain18, True)):
        net = build(num_classes=2, width=4, zero_init_residual=True).eval()
        assert (not net.forward_features(batch(1, 3, 64, 64)).data.any()) == nothing


def test_resnet_34_with_any_shortcut_takes_any_picture():
    for shortcut in ("A", "B", "C", "D", "none"):
        net = models.resnet34(num_classes=4, in_channels=1, width=4, shortcut=shortcut).eval()
        for size in ((64, 64), (65, 97)):
            assert net(batch(1, 1, *size)).shape == (1, 4)


# -- switches -------------------------------------------------------------------------------------


def test_the_stride_of_a_bottleneck_is_in_the_3x3_and_in_the_paper_in_the_1x1():
    ours, papers = without_values(models.resnet50), without_values(models.resnet50, variant="v1")
    assert ours.layer2[0].conv1.stride == (1, 1)
    assert ours.layer2[0].conv2.stride == (2, 2)
    assert papers.layer2[0].conv1.stride == (2, 2)
    assert papers.layer2[0].conv2.stride == (1, 1)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in papers.named_parameters()]
    with pytest.raises(ValueError, match=r"resnet50: variant is 'v1.5' .* not 'v2'"):
        models.resnet50(variant="v2")


@pytest.mark.parametrize("block", [Bottleneck, BottleneckV1])
@pytest.mark.parametrize("where", [(False, True, True), (False, False, True)])
def test_dilation_in_place_of_stride_gives_the_same_results_and_those_in_between(block, where):
    strided = random_statistics(ResNet(block, (1, 1, 2, 2), 3, width=4)).eval()
    dilated = ResNet(block, (1, 1, 2, 2), 3, width=4, replace_stride_with_dilation=where).eval()
    dilated.load_state_dict(strided.state_dict())
    x = batch(1, 3, 64, 64)
    few, many = strided.forward_features(x).data, dilated.forward_features(x).data
    step = 2 ** sum(where)
    assert many.shape[2] == few.shape[2] * step
    assert (few > 0).mean() > 0.3
    np.testing.assert_allclose(many[:, :, ::step, ::step], few, rtol=1e-4, atol=1e-5)


def test_blocks_can_start_as_their_shortcuts():
    net = models.resnet50(width=4, zero_init_residual=True)
    last = [block.bn3 for i in range(1, 5) for block in getattr(net, f"layer{i}")]
    zeros = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and not m.weight.data.any()]
    assert {id(m) for m in zeros} == {id(m) for m in last}
    block = net.layer1[1]
    x = batch(2, 16, 8, 8)
    np.testing.assert_array_equal(block(x).data, np.maximum(x.data, 0))
    net = models.resnet18(width=4, zero_init_residual=True)
    assert not net.layer3[0].bn2.weight.data.any()
    assert net.layer3[0].bn1.weight.data.all()


def test_later_blocks_are_left_out_more_often():
    net = without_values(models.resnet18, stochastic_depth_prob=0.5)
    drops = [block.drop.p for i in range(1, 5) for block in getattr(net, f"layer{i}")]
    np.testing.assert_allclose(drops, np.arange(1, 9) / 16)  # l / L times 0.5
    assert without_values(models.resnet18).layer4[1].drop is None


def test_a_block_that_is_left_out_is_its_shortcut_and_evaluation_leaves_none_out():
    md.manual_seed(0)
    block = BasicBlock(4, 4, drop=0.5)
    sure = BasicBlock(4, 4)
    sure.load_state_dict(block.state_dict())
    x = batch(64, 4, 3, 3)
    out = block(x).data
    dropped = (out == np.maximum(x.data, 0)).all((1, 2, 3))
    assert 16 < dropped.sum() < 48
    whole = x.data + 2 * sure.residual(x).data  # what stays is divided by 1 - p
    np.testing.assert_allclose(out[~dropped], np.maximum(whole, 0)[~dropped], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(block.eval()(x).data, sure.eval()(x).data)


def test_dropout_and_squeeze_excitation_can_be_switched_on():
    net = without_values(models.resnet50, dropout=0.25, se=True)
    assert net.dropout.p == 0.25
    assert count(net) == 28_088_024  # as SE-ResNet-50
    assert net.layer4[0].se.fc1.out_channels == 128
    quarter = without_values(models.resnet50, se=True, se_reduction=4)
    assert quarter.layer4[0].se.fc1.out_channels == 512


def test_the_steps_of_the_ladder_can_be_taken_together():
    md.manual_seed(0)
    net = models.resnet50(
        num_classes=4,
        width=8,
        shortcut="D",
        deep_stem=True,
        se=True,
        se_reduction=4,
        stochastic_depth_prob=0.2,
        dropout=0.25,
        zero_init_residual=True,
    )
    net(batch(4, 3, 64, 64)).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert [type(m).__name__ for m in net.conv1].count("Conv2d") == 3


def test_the_normalisation_can_be_another():
    net = models.resnet50(2, width=8, shortcut="D", deep_stem=True, norm_layer=grouped)
    kinds = {type(m).__name__ for m in net.modules()}
    assert "GroupNorm" in kinds
    assert "BatchNorm2d" not in kinds
    assert net(batch(1, 3, 32, 32)).shape == (1, 2)


def grouped(channels):
    return nn.GroupNorm(2, channels)


def test_convolutions_start_with_the_variance_of_their_outgoing_weights():
    net = models.resnet18(2, width=32)
    weight = net.layer3[1].conv1.weight.data  # 128 channels
    assert weight.std() == pytest.approx(np.sqrt(2 / (128 * 9)), rel=0.03)
    assert not net.bn1.bias.data.any()


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="'A', 'B', 'C', 'D' or 'none', not 'E'"):
        models.resnet18(shortcut="E")
    with pytest.raises(ValueError, match="stochastic depth needs shortcuts"):
        models.plain18(stochastic_depth_prob=0.5)
    with pytest.raises(ValueError, match="groups=32, width_per_group=4, dilation=1"):
        models.resnet18(groups=32, width_per_group=4)
    with pytest.raises(ValueError, match="dilation=2"):
        models.resnet18(replace_stride_with_dilation=(False, False, True))
    with pytest.raises(ValueError, match="layers has 4 elements"):
        ResNet(BasicBlock, (1, 1, 1))
    with pytest.raises(ValueError, match="replace_stride_with_dilation 3"):
        models.resnet50(replace_stride_with_dilation=(False, True))
