"""Networks that torchvision or timm have too: their weights load as they are, outputs agree."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.nasnet import NASNet
from minidl.models.classification.vit import VisionTransformer

from ..torchvision_oracle import timm, torchvision


@dataclass
class Twin:
    """A network here, and the same elsewhere.

    ours, theirs: make them; theirs is called only in the test. size: of the pictures;
    train: whether outputs in training mode (without dropout) are compared, too;
    double: in float64, where float32 alone puts either further than 1e-4 from the exact result.
    """

    ours: Callable
    theirs: Callable
    size: int = 64
    train: bool = False
    channels: int = 3
    double: bool = False
    marks: tuple = field(default=())


def timms_nasnet(**arguments):
    """timm's, with means as in TensorFlow: at stride 2 timm's own count the zeros around."""
    net = timm().models.nasnet.NASNetALarge(**arguments)
    for module in net.modules():
        if type(module).__name__ == "AvgPool2dSame":
            module.register_forward_hook(
                lambda m, args, out: out / m.forward(args[0].new_ones(args[0].shape))
            )
    return net


def redrawn(theirs, head):
    """Their network, its last layer random: it is 0 at first."""
    import torch

    torch.nn.init.normal_(head(theirs).weight)
    return theirs


PARITY: dict[str, Twin] = {
    "densenet121": Twin(models.densenet121, lambda: torchvision().models.densenet121(), train=True),
    "densenet161": Twin(models.densenet161, lambda: torchvision().models.densenet161()),
    "densenet169": Twin(models.densenet169, lambda: torchvision().models.densenet169()),
    "densenet201": Twin(models.densenet201, lambda: torchvision().models.densenet201()),
    "mobilenet_v2": Twin(
        models.mobilenet_v2, lambda: torchvision().models.mobilenet_v2(), train=True
    ),
    "mobilenet_v2 at width 0.35": Twin(
        lambda: models.mobilenet_v2(width_mult=0.35),
        lambda: torchvision().models.mobilenet_v2(width_mult=0.35),
    ),
    "shufflenet_v2_x0_5": Twin(
        models.shufflenet_v2_x0_5, lambda: torchvision().models.shufflenet_v2_x0_5(), train=True
    ),
    "shufflenet_v2_x1_0": Twin(
        models.shufflenet_v2_x1_0, lambda: torchvision().models.shufflenet_v2_x1_0()
    ),
    "shufflenet_v2_x1_5": Twin(
        models.shufflenet_v2_x1_5, lambda: torchvision().models.shufflenet_v2_x1_5()
    ),
    "shufflenet_v2_x2_0": Twin(
        models.shufflenet_v2_x2_0, lambda: torchvision().models.shufflenet_v2_x2_0()
    ),
    "efficientnet_b0": Twin(
        lambda: models.efficientnet_b0(stochastic_depth_prob=0.0),
        lambda: torchvision().models.efficientnet_b0(stochastic_depth_prob=0.0),
        train=True,
    ),
    **{
        f"efficientnet_b{i}": Twin(
            getattr(models, f"efficientnet_b{i}"),
            lambda i=i: getattr(torchvision().models, f"efficientnet_b{i}")(),
            marks=(pytest.mark.slow,) if i > 4 else (),
        )
        for i in range(1, 8)
    },
    "resnet18": Twin(models.resnet18, lambda: torchvision().models.resnet18(), train=True),
    "resnet34": Twin(models.resnet34, lambda: torchvision().models.resnet34()),
    "resnet50": Twin(models.resnet50, lambda: torchvision().models.resnet50(), train=True),
    "resnet101": Twin(
        models.resnet101, lambda: torchvision().models.resnet101(), marks=(pytest.mark.slow,)
    ),
    "resnet152": Twin(
        models.resnet152, lambda: torchvision().models.resnet152(), marks=(pytest.mark.slow,)
    ),
    "wide_resnet50_2": Twin(
        models.wide_resnet50_2,
        lambda: torchvision().models.wide_resnet50_2(),
        marks=(pytest.mark.slow,),
    ),
    "wide_resnet101_2": Twin(
        models.wide_resnet101_2,
        lambda: torchvision().models.wide_resnet101_2(),
        marks=(pytest.mark.slow,),
    ),
    "resnext50_32x4d": Twin(
        models.resnext50_32x4d, lambda: torchvision().models.resnext50_32x4d(), train=True
    ),
    "resnext101_32x8d": Twin(
        models.resnext101_32x8d,
        lambda: torchvision().models.resnext101_32x8d(),
        marks=(pytest.mark.slow,),
    ),
    "resnet50 with dilation": Twin(
        lambda: models.resnet50(replace_stride_with_dilation=(False, True, True)),
        lambda: torchvision().models.resnet50(replace_stride_with_dilation=(False, True, True)),
    ),
    "resnet50d": Twin(models.resnet50d, lambda: timm().create_model("resnet50d"), train=True),
    "resnet50 with squeeze-excitation": Twin(
        lambda: models.resnet50(se=True), lambda: timm().create_model("seresnet50")
    ),
    "se_resnet50": Twin(
        models.se_resnet50,
        lambda: timm().create_model("legacy_seresnet50", drop_rate=0.0),
        train=True,
    ),
    "se_resnet101": Twin(
        models.se_resnet101,
        lambda: timm().create_model("legacy_seresnet101"),
        double=True,
        marks=(pytest.mark.slow,),
    ),
    "se_resnext50_32x4d": Twin(
        models.se_resnext50_32x4d, lambda: timm().create_model("legacy_seresnext50_32x4d")
    ),
    "resnetv2_50": Twin(models.resnetv2_50, lambda: timm().create_model("resnetv2_50"), train=True),
    "resnetv2_101": Twin(
        models.resnetv2_101, lambda: timm().create_model("resnetv2_101"), marks=(pytest.mark.slow,)
    ),
    "resnetv2_152": Twin(
        models.resnetv2_152, lambda: timm().create_model("resnetv2_152"), marks=(pytest.mark.slow,)
    ),
    "squeezenet1_0": Twin(
        models.squeezenet1_0, lambda: torchvision().models.squeezenet1_0(), train=True
    ),
    "squeezenet1_1": Twin(models.squeezenet1_1, lambda: torchvision().models.squeezenet1_1()),
    "xception": Twin(
        models.xception, lambda: timm().create_model("legacy_xception"), size=96, train=True
    ),
    "alexnet": Twin(
        models.alexnet, lambda: torchvision().models.alexnet(), marks=(pytest.mark.slow,)
    ),
    "vgg11": Twin(models.vgg11, lambda: torchvision().models.vgg11(), marks=(pytest.mark.slow,)),
    "vgg13": Twin(models.vgg13, lambda: torchvision().models.vgg13(), marks=(pytest.mark.slow,)),
    "vgg16": Twin(models.vgg16, lambda: torchvision().models.vgg16(), marks=(pytest.mark.slow,)),
    "vgg19": Twin(models.vgg19, lambda: torchvision().models.vgg19(), marks=(pytest.mark.slow,)),
    "vgg11_bn": Twin(
        models.vgg11_bn, lambda: torchvision().models.vgg11_bn(), marks=(pytest.mark.slow,)
    ),
    "vgg16_bn": Twin(
        models.vgg16_bn, lambda: torchvision().models.vgg16_bn(), marks=(pytest.mark.slow,)
    ),
    "googlenet": Twin(
        models.googlenet, lambda: torchvision().models.googlenet(init_weights=False), train=True
    ),
    "inception_v3": Twin(
        lambda: models.inception_v3(aux_logits=False),
        lambda: torchvision().models.inception_v3(init_weights=False, aux_logits=False),
        size=96,
        train=True,
        double=True,
    ),
    "inception_v3 with its auxiliary classifier": Twin(
        models.inception_v3,
        lambda: torchvision().models.inception_v3(init_weights=False),
        size=299,
        train=True,
        double=True,
        marks=(pytest.mark.slow,),
    ),
    "inception_v4": Twin(
        models.inception_v4,
        lambda: timm().create_model("inception_v4"),
        size=96,
        train=True,
        double=True,
        marks=(pytest.mark.slow,),
    ),
    "inception_resnet_v2": Twin(
        models.inception_resnet_v2,
        lambda: timm().create_model("inception_resnet_v2"),
        size=96,
        train=True,
        double=True,
        marks=(pytest.mark.slow,),
    ),
    "nasnet_a, narrow": Twin(
        lambda: NASNet(6, 192, 8), lambda: timms_nasnet(stem_size=8, num_features=192), 96, True
    ),
    "nasnet_a_large": Twin(
        models.nasnet_a_large, lambda: timms_nasnet(), 96, marks=(pytest.mark.slow,)
    ),
    **{
        f"vit_{name}": Twin(
            lambda name=name: getattr(models, f"vit_{name}")(image_size=64),
            lambda name=name: redrawn(
                getattr(torchvision().models, f"vit_{name}")(image_size=64),
                lambda net: net.heads.head,
            ),
            marks=(pytest.mark.slow,),
        )
        for name in ("b_16", "b_32")
    },
    "vit, narrow": Twin(
        lambda: VisionTransformer(64, 16, 3, 3, 48, 96, representation_size=32),
        lambda: redrawn(
            torchvision().models.VisionTransformer(64, 16, 3, 3, 48, 96, representation_size=32),
            lambda net: net.heads.head,
        ),
        train=True,
    ),
    **{
        f"mixer_{name}": Twin(
            lambda name=name: getattr(models, f"mixer_{name}")(),
            lambda name=name: redrawn(
                timm().create_model(f"mixer_{name}_224"), lambda net: net.head
            ),
            size=224,
            marks=(pytest.mark.slow,) * (name != "s32"),
        )
        for name in ("s16", "s32", "b16", "b32")
    },
    **{
        f"resmlp_s{depth}": Twin(
            lambda depth=depth: getattr(models, f"resmlp_s{depth}")(),
            lambda depth=depth: redrawn(
                timm().create_model(f"resmlp_{depth}_224"), lambda net: net.head
            ),
            size=224,
            marks=(pytest.mark.slow,) * (depth > 12),
        )
        for depth in (12, 24, 36)
    },
}

CASES = [pytest.param(twin, id=name, marks=twin.marks) for name, twin in PARITY.items()]


def outputs(result):
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("twin", CASES)
def test_weights_load_and_outputs_agree(twin):
    theirs = twin.theirs()
    import torch

    generator = torch.Generator().manual_seed(0)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with nn.init.skip_init():
        ours = twin.ours()
    for module in ours.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(2, twin.channels, twin.size, twin.size))
    x = x.astype(np.float32)
    if twin.double:
        ours, theirs, x = ours.double(), theirs.double(), x.astype(np.float64)
    for training in (False, True)[: 1 + twin.train]:
        ours.train(training)
        theirs.train(training)
        with md.no_grad(), torch.no_grad():
            actual = outputs(ours(md.tensor(x)))
            expected = outputs(theirs(torch.tensor(x)))
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            e = e.numpy()
            assert a.shape == e.shape
            assert np.abs(a.data - e).max() <= 1e-4 * np.abs(e).max()


def test_the_oracles_are_there():
    assert torchvision().models.resnet18 is not None
    assert timm().create_model is not None
