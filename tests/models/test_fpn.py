import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.autograd import gradcheck
from minidl.models.classification.resnet import BasicBlock
from minidl.models.detection.fpn import (
    BackboneWithFPN,
    FeaturePyramid,
    LastLevelMaxPool,
    LastLevelP6P7,
    PathAggregation,
    ResNetBody,
    VGGBody,
    resnet_fpn_backbone,
)

from ..torchvision_oracle import torchvision

CHANNELS = (4, 6, 8)


def maps(sizes=((13, 10), (7, 5), (4, 3)), channels=CHANNELS, dtype=np.float32):
    rng = np.random.default_rng(0)
    pairs = zip(channels, sizes, strict=True)
    return {str(k): rng.normal(size=(2, c, *s)).astype(dtype) for k, (c, s) in enumerate(pairs)}


def tensors(arrays):
    return {name: md.tensor(x) for name, x in arrays.items()}


@pytest.mark.parametrize("extra", [None, "max-pool", "P6P7 of P5", "P6P7 of C5"])
def test_the_pyramid_is_torchvisions(extra):
    import torch

    theirs = torchvision().ops.feature_pyramid_network
    out = 8 if extra == "P6P7 of P5" else 5
    blocks = {
        None: (None, None),
        "max-pool": (LastLevelMaxPool(), theirs.LastLevelMaxPool()),
        "P6P7 of P5": (LastLevelP6P7(8, 8), theirs.LastLevelP6P7(8, 8)),
        "P6P7 of C5": (LastLevelP6P7(8, 5), theirs.LastLevelP6P7(8, 5)),
    }
    twin = theirs.FeaturePyramidNetwork(list(CHANNELS), out, extra_blocks=blocks[extra][1])
    ours = FeaturePyramid(CHANNELS, out, blocks[extra][0])
    ours.load_state_dict({name: x.numpy() for name, x in twin.state_dict().items()})
    arrays = maps()
    with torch.no_grad():
        expected = twin({name: torch.tensor(x) for name, x in arrays.items()})
    found = ours(tensors(arrays))
    assert list(found) == list(expected)
    for name, x in expected.items():
        np.testing.assert_allclose(found[name].data, x.numpy(), atol=1e-5)


def identity(pyramid):
    """A pyramid whose convolutions leave maps as they are: what is left is how they are joined."""
    for module in pyramid.modules():
        if isinstance(module, nn.Conv2d):
            middle = module.weight.shape[2] // 2
            module.weight.data[...] = 0
            module.weight.data[0, 0, middle, middle] = 1
            module.bias.data[...] = 0
    return pyramid.double()


def test_a_pyramid_adds_each_coarser_map_to_the_finer_one():
    fine, coarse = np.arange(12.0).reshape(3, 4), np.array([[100.0, 200], [300, 400]])
    pyramid = identity(FeaturePyramid((1, 1), 1, LastLevelMaxPool()))
    found = pyramid({"a": md.tensor(fine[None, None]), "b": md.tensor(coarse[None, None])})
    assert list(found) == ["a", "b", "pool"]
    np.testing.assert_array_equal(found["b"].data[0, 0], coarse)
    # Of three rows, row 1 is nearest to the coarse row 0: floor(1 * 2 / 3).
    np.testing.assert_array_equal(
        found["a"].data[0, 0],
        [[100, 101, 202, 203], [104, 105, 206, 207], [308, 309, 410, 411]],
    )
    np.testing.assert_array_equal(found["pool"].data[0, 0], [[100]])


def test_path_aggregation_goes_up_again():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(1, 1, n, n)) for n in (5, 3, 2)]
    names = {str(k): md.tensor(x) for k, x in enumerate(arrays)}
    p2, p3, p4 = [x.data for x in identity(FeaturePyramid((1, 1, 1), 1))(names).values()]
    found = identity(PathAggregation((1, 1, 1), 1, LastLevelMaxPool()))(names)
    # A convolution of stride 2 that leaves things as they are takes every other pixel.
    n3 = np.maximum(np.maximum(p2[:, :, ::2, ::2], 0) + p3, 0)
    n4 = np.maximum(np.maximum(n3[:, :, ::2, ::2], 0) + p4, 0)
    np.testing.assert_allclose(found["0"].data, p2)
    np.testing.assert_allclose(found["1"].data, n3)
    np.testing.assert_allclose(found["2"].data, n4)
    np.testing.assert_allclose(found["pool"].data, n4[:, :, ::2, ::2])


@pytest.mark.parametrize("kind", [FeaturePyramid, PathAggregation])
def test_gradients_of_a_pyramid_are_right(kind):
    pyramid = kind(CHANNELS, 3, LastLevelP6P7(8, 3)).double()
    names = [name for name, _ in pyramid.named_parameters()]
    inputs = maps(dtype=np.float64)

    def call(*values):
        for name, value in zip(names, values[3:], strict=True):
            path, _, last = name.rpartition(".")
            pyramid.get_submodule(path)._parameters[last] = value
        return tuple(pyramid(dict(zip(inputs, values, strict=False))).values())

    x = [md.tensor(value, requires_grad=True) for value in inputs.values()]
    assert gradcheck(call, (*x, *pyramid.parameters()))


def test_path_aggregation_reaches_coarse_levels_by_few_layers():
    """What PANet is for: one pixel of the finest map is seen in the coarsest level."""
    for kind, seen in ((FeaturePyramid, False), (PathAggregation, True)):
        x = {name: md.tensor(value, requires_grad=True) for name, value in maps().items()}
        kind(CHANNELS, 4)(x)["2"].sum().backward()
        assert (x["0"].grad is not None) == seen


@pytest.mark.parametrize("returned", [(1, 2, 3, 4), (2, 3, 4), (2,)])
def test_a_body_gives_the_last_maps_of_its_stages(returned):
    body = ResNetBody(BasicBlock, (1, 1, 1, 1), returned, width=4)
    found = body(md.randn(2, 3, 64, 96))
    assert body.channels == [4 * 2 ** (k - 1) for k in returned]
    assert [x.shape for x in found.values()] == [
        (2, 4 * 2 ** (k - 1), 128 // 2 ** (k + 2), 192 // 2 ** (k + 2)) for k in returned
    ]
    assert list(found) == [str(k) for k in range(len(returned))]


def test_the_body_of_vgg_stops_before_the_last_pooling():
    body = VGGBody((4, 4, 6, 6, 8))
    found = body(md.randn(1, 3, 50, 67))
    assert found["0"].shape == (1, 8, 3, 4)
    assert body.out_channels == 8
    with nn.init.skip_init():
        count = sum(p.numel() for p in VGGBody().parameters())
    assert count == 14_714_688


@pytest.mark.parametrize("trained", [None, 0, 1, 3, 5])
def test_as_many_stages_are_trained_as_in_torchvision(trained):
    import torch

    utils = torchvision().models.detection.backbone_utils
    norm = torch.nn.BatchNorm2d if trained is None else torchvision().ops.FrozenBatchNorm2d
    layers = 5 if trained is None else trained
    theirs = utils.resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=norm, trainable_layers=layers
    )
    with nn.init.skip_init():
        ours = resnet_fpn_backbone("resnet18", trained)
    expected = {name for name, p in theirs.named_parameters() if p.requires_grad}
    assert {name for name, p in ours.named_parameters() if p.requires_grad} == expected


def test_frozen_batch_norm_stays_as_it_is_in_training():
    backbone = resnet_fpn_backbone("resnet18", 3, width=4, out_channels=4).train()
    before = {name: x.data.copy() for name, x in backbone.named_buffers()}
    x = md.randn(2, 3, 64, 64)
    in_training = backbone(x)
    for name, values in backbone.named_buffers():
        np.testing.assert_array_equal(values.data, before[name])
    for name, values in backbone.eval()(x).items():
        np.testing.assert_array_equal(in_training[name].data, values.data)


def test_backbones_that_do_not_exist_are_named():
    with pytest.raises(ValueError, match="'resnet7' is unknown; known are resnet18, resnet34"):
        resnet_fpn_backbone("resnet7")
    with pytest.raises(ValueError, match="from 0 to 5, got 6"):
        resnet_fpn_backbone("resnet18", 6, width=2)


def test_a_backbone_knows_its_channels():
    body = ResNetBody(BasicBlock, (1, 1, 1, 1), width=4)
    backbone = BackboneWithFPN(body, PathAggregation(body.channels, 6))
    assert backbone.out_channels == 6
    assert [x.shape[1] for x in backbone(md.randn(2, 3, 32, 32)).values()] == [6] * 4
