"""FCN: classifiers that slide, scores that line up with pixels, torch and torchvision."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.alexnet import AlexNet
from minidl.models.classification.vgg import VGG
from minidl.models.segmentation.fcn import FCN, bilinear_, convolutionalize
from minidl.nn import functional as F

from ..torchvision_oracle import torchvision
from .segmentation import assert_as_in_torch, shake


def narrow_vgg(pooled=1):
    net = VGG("D", 5, dropout=0.0, widths=(2, 2, 3, 3, 4), hidden=6, pooled=pooled)
    for p in net.parameters():
        if p.ndim == 2:
            nn.init.kaiming_normal_(p)
    return shake(net).eval()


def narrow_fcn(stride, **options):
    net = FCN(3, stride, 2, convs=(1, 2, 1, 2, 1), widths=(4, 5, 6, 7, 8), hidden=9, **options)
    return shake(net)


# -- convolutionalize ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "size"),
    [
        (lambda: narrow_vgg(pooled=7), 224),
        (lambda: AlexNet(5, widths=(4, 4, 4, 4, 4), hidden=8), 224),
    ],
)
def test_at_the_size_of_the_classifier_scores_are_the_classifiers(net, size):
    net = net().eval()
    x = md.randn(1, 3, size, size)
    with md.no_grad():
        scores = convolutionalize(net)(x)
        assert scores.shape == (1, 5, 1, 1)
        np.testing.assert_allclose(scores.data[..., 0, 0], net(x).data, rtol=1e-4, atol=1e-6)


def test_a_heat_map_is_what_a_window_slid_over_the_picture_gives():
    net = narrow_vgg(pooled=2)
    sliding = convolutionalize(net, padding=False)
    window = 212 + 32  # a unit of pool5 sees 212 pixels of VGG-16, its neighbour begins 32 later
    x = md.randn(1, 3, window + 64, window + 32)
    with md.no_grad():
        heat = sliding(x)
        assert heat.shape == (1, 5, 3, 2)
        for i in range(3):
            for j in range(2):
                part = x[:, :, 32 * i : 32 * i + window, 32 * j : 32 * j + window]
                # The classifier itself, as it is but for the zeros around its maps.
                features = sliding[: len(net.features)](part)
                scores = net.classifier(features.flatten(1))
                np.testing.assert_allclose(
                    heat.data[0, :, i, j], scores.data[0], rtol=1e-4, atol=1e-5
                )
    once = nn.summary(sliding, x.shape).multiply_adds
    every = 6 * nn.summary(sliding, (1, 3, window, window)).multiply_adds
    print(f"multiply-adds of 6 windows: {every:,} one by one, {once:,} at once")
    assert every > 4 * once


def test_zeros_around_maps_change_only_what_lies_near_the_edge():
    net = narrow_vgg(pooled=1)
    x = md.randn(1, 3, 32 * 15, 32 * 14)
    with md.no_grad():
        padded = convolutionalize(net)(x)
        assert padded.shape == (1, 5, 15, 14)
        # Unit k of pool5 begins 90 pixels before the 32 that it stands for, which it sees from its
        # neighbours where padding is left out: (212 - 32) / 2.
        bare = convolutionalize(net, padding=False)(x[:, :, 6:, 6:])
    assert bare.shape == (1, 5, 9, 8)
    inside = padded.data[:, :, 3:12, 3:11]  # 3 * 32 = 90 + 6
    np.testing.assert_allclose(inside, bare.data, rtol=1e-4, atol=1e-5)


def test_vgg16_sees_404_pixels_when_it_slides():
    seen = 1 + 6 * 1  # fc6
    for count in (3, 3, 3, 2, 2):
        seen = 2 * seen + 2 * count
    assert seen == 404


def test_what_slides_has_the_parameters_of_the_classifier():
    net = narrow_vgg(pooled=7).train()
    sliding = convolutionalize(net)
    assert sliding.training
    mine, theirs = list(sliding.parameters()), list(net.parameters())
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert np.shares_memory(a.data, b.data)
    assert isinstance(net.classifier[0], nn.Linear)  # it stays as it is


def test_a_network_without_linear_layers_behind_pooled_maps_is_refused():
    with pytest.raises(TypeError, match=r"LeNet5 has no features, avgpool and classifier"):
        convolutionalize(models.lenet5())


# -- interpolation -------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "window"), [(2, 4), (8, 16), (3, 5), (32, 64)])
def test_a_bilinear_transposed_convolution_enlarges_as_interpolate_does(factor, window):
    layer = nn.ConvTranspose2d(2, 2, window, factor, bias=False)
    bilinear_(layer.weight)
    x = md.randn(1, 2, 5, 6)
    with md.no_grad():
        actual = layer(x).data
        expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False).data
    before = (window - factor) // 2  # what the windows of the first row reach beyond it
    actual = actual[:, :, before : before + 5 * factor, before : before + 6 * factor]
    inner = (slice(None), slice(None), slice(factor, -factor), slice(factor, -factor))
    np.testing.assert_allclose(actual[inner], expected[inner], rtol=1e-5, atol=1e-6)


def test_only_the_last_interpolation_is_fixed():
    for stride, last, learned in (
        (32, "upscore", []),
        (16, "upscore16", ["upscore2"]),
        (8, "upscore8", ["upscore2", "upscore_pool4"]),
    ):
        net = narrow_fcn(stride)
        fixed = [name for name, p in net.named_parameters() if not p.requires_grad]
        assert fixed == [f"{last}.weight"]
        found = [n for n, m in net.named_children() if isinstance(m, nn.ConvTranspose2d)]
        assert sorted(found) == sorted([last, *learned])
        for name in found:  # channels do not mix at first
            weight = net.get_submodule(name).weight.data
            assert weight.shape[:2] == (3, 3)
            assert not weight[~np.eye(3, dtype=bool)].any()
            np.testing.assert_array_equal(weight[0, 0], weight[2, 2])


def test_interpolation_needs_as_many_channels_out_as_in():
    with pytest.raises(ValueError, match=r"\(C, C, k, k\), not of shape \(2, 3, 4, 4\)"):
        bilinear_(md.zeros(2, 3, 4, 4))


# -- FCN -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_crops_are_where_pixels_of_one_map_lie_in_the_other(stride):
    """Followed through all layers: where the middle of what unit 0 of each map sees lies."""

    def convolved(middle, step, window, padding):
        return middle + step * ((window - 1) / 2 - padding)

    middle, step = 0.0, 1  # of unit 0, and the distance of units, in pixels
    pools = []
    for i in range(5):
        if i == 0:
            middle = convolved(middle, step, 3, 100)
        middle = convolved(middle, step, 2, 0)  # the maximum
        step *= 2
        pools.append(middle)
    middle = convolved(middle, step, 7, 0)  # fc6

    def enlarged(middle, step, factor):
        # Output (window - 1) / 2 of a transposed convolution has its middle where input 0 has it.
        return middle - (2 * factor - 1) / 2 * (step / factor), step / factor

    crops = []
    for level in {32: [], 16: [3], 8: [3, 2]}[stride]:
        middle, step = enlarged(middle, step, 2)
        crops.append((middle - pools[level]) / step)
    middle, step = enlarged(middle, step, stride)
    assert step == 1
    crops.append(-middle)
    assert crops == {32: [19], 16: [5, 27], 8: [5, 9, 31]}[stride]


@pytest.mark.parametrize("stride", [32, 16, 8])
@pytest.mark.parametrize("size", [(1, 1), (32, 33), (50, 71)])
def test_scores_have_the_size_of_the_picture(stride, size):
    with md.no_grad():
        assert narrow_fcn(stride)(md.zeros(1, 2, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_scores_start_at_zero(stride):
    net = FCN(3, stride, 2, convs=(1,) * 5, widths=(4,) * 5, hidden=4)
    assert not net(md.randn(1, 2, 20, 20)).data.any()


def test_a_network_starts_from_vgg16_without_its_last_layer():
    vgg = narrow_vgg(pooled=7)
    with nn.init.skip_init():
        net = FCN(3, 32, widths=(2, 2, 3, 3, 4), hidden=6).eval()
    net.load_vgg16(vgg)
    found = []
    net.fc7.register_forward_hook(lambda m, args, out: found.append(out.data))
    x = md.randn(1, 3, 58, 90)  # with the zeros multiples of 32: maxima have no windows cut off
    with md.no_grad():
        net(x)
        # The same by the classifier that slides; VGG has 1 zero around a picture, not 100.
        hidden = convolutionalize(vgg)[:-3]
        expected = hidden(F.pad(x, (99, 99, 99, 99)))
    assert found[0].shape == (1, 6, 2, 3)
    np.testing.assert_allclose(found[0], expected.data, rtol=1e-4, atol=1e-5)


def test_a_finer_network_starts_from_a_coarser_one():
    coarse, fine = narrow_fcn(32), narrow_fcn(16)
    keys = fine.load_state_dict(coarse.state_dict(), strict=False)
    assert keys.unexpected_keys == ["upscore.weight"]
    assert set(keys.missing_keys) == {
        "upscore2.weight", "score_pool4.weight", "score_pool4.bias", "upscore16.weight"
    }  # fmt: skip
    np.testing.assert_array_equal(fine.fc6.weight.data, coarse.fc6.weight.data)


def test_another_stride_is_an_error():
    with pytest.raises(ValueError, match="stride is 32, 16 or 8, not 4"):
        FCN(stride=4)


def in_torch(stride):
    def forward(t, x):
        height, width = x.shape[2:]
        pools = []
        for i, count in enumerate((1, 2, 1, 2, 1), 1):
            for j in range(1, count + 1):
                x = t.conv(f"conv{i}_{j}", x, padding=100 if (i, j) == (1, 1) else 1).relu()
            x = t.F.max_pool2d(x, 2, ceil_mode=True)
            pools.append(x)
        x = t.conv("score_fr", t.conv("fc7", t.conv("fc6", x).relu()).relu())
        offset, last = {32: (19, "upscore"), 16: (27, "upscore16"), 8: (31, "upscore8")}[stride]
        if stride <= 16:
            x = t.deconv("upscore2", x, stride=2)
            h, w = x.shape[2:]
            x = x + t.conv("score_pool4", pools[3])[:, :, 5 : 5 + h, 5 : 5 + w]
        if stride == 8:
            x = t.deconv("upscore_pool4", x, stride=2)
            h, w = x.shape[2:]
            x = x + t.conv("score_pool3", pools[2])[:, :, 9 : 9 + h, 9 : 9 + w]
        x = t.deconv(last, x, stride=stride)
        return x[:, :, offset : offset + height, offset : offset + width]

    return forward


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_outputs_are_those_of_torch(stride):
    net = narrow_fcn(stride, dropout=0.0)
    images = np.random.default_rng(0).normal(size=(2, 2, 45, 70)).astype(np.float32)
    assert_as_in_torch(net, images, in_torch(stride))


# -- FCN on ResNet-50 ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("aux", [False, True])
def test_weights_of_torchvision_load_and_outputs_agree(aux):
    build = torchvision().models.segmentation.fcn_resnet50
    theirs = build(weights=None, weights_backbone=None, num_classes=5, aux_loss=aux)
    import torch

    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with nn.init.skip_init():
        ours = models.fcn_resnet50(5, aux_loss=aux, dropout=0.0)
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(2, 3, 40, 56)).astype(np.float32)
    for training in (False, True)[: 1 + aux]:
        ours.train(training)
        theirs.train(training)
        with md.no_grad(), torch.no_grad():
            actual, expected = ours(md.tensor(x)), theirs(torch.tensor(x))
        pairs = [(actual, expected["out"])]
        if training:
            pairs = [(actual[0], expected["out"]), (actual[1], expected["aux"])]
        for a, e in pairs:
            e = e.numpy()
            assert a.shape == e.shape == (2, 5, 40, 56)
            assert np.abs(a.data - e).max() <= 1e-4 * np.abs(e).max()
