"""What every network that classifies must do, on a narrow version of each."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.autograd import gradcheck
from minidl.models.classification.alexnet import AlexNet, AlexNetOf2012
from minidl.models.classification.bagnet import BagNet
from minidl.models.classification.densenet import DenseNet
from minidl.models.classification.efficientnet import EfficientNet
from minidl.models.classification.googlenet import GoogLeNet
from minidl.models.classification.highway import HighwayCIFAR, HighwayMLP
from minidl.models.classification.inception_resnet_v2 import InceptionResNetV2
from minidl.models.classification.inception_v2 import InceptionV2
from minidl.models.classification.inception_v3 import Inception3
from minidl.models.classification.inception_v4 import InceptionV4
from minidl.models.classification.mlp_mixer import MlpMixer
from minidl.models.classification.mobilenet_v1 import MobileNetV1
from minidl.models.classification.mobilenet_v2 import MobileNetV2
from minidl.models.classification.nasnet import NASNet
from minidl.models.classification.overfeat import Layer, OverFeat
from minidl.models.classification.preact_resnet_cifar import PreActResNetCIFAR
from minidl.models.classification.resmlp import ResMLP
from minidl.models.classification.resnet import BasicBlock, Bottleneck, ResNet
from minidl.models.classification.resnet_cifar import ResNetCIFAR
from minidl.models.classification.resnetv2 import ResNetV2
from minidl.models.classification.resnext_cifar import ResNeXtCIFAR
from minidl.models.classification.se_resnet import (
    SENet,
    SEResNetBottleneck,
    SEResNeXtBottleneck,
)
from minidl.models.classification.shufflenet_v1 import ShuffleNetV1
from minidl.models.classification.shufflenet_v2 import ShuffleNetV2
from minidl.models.classification.squeezenet import SqueezeNet
from minidl.models.classification.vgg import VGG
from minidl.models.classification.vit import VisionTransformer
from minidl.models.classification.wide_resnet_cifar import WideResNetCIFAR
from minidl.models.classification.xception import Xception
from minidl.models.classification.zfnet import ZFNet

from .overfit import overfit


@dataclass
class Narrow:
    """A narrow version of a network, and what stands for it.

    build: makes it, with `classes` outputs; names: the builders in minidl.models it stands for;
    shape: of a picture; lr, steps: with which it learns 16 pictures by heart.
    """

    build: Callable
    names: tuple[str, ...]
    shape: tuple[int, int, int]
    lr: float = 0.05
    steps: int = 40
    classes: int = 3
    marks: tuple = field(default=())


def narrow_squeezenet():
    """With biases, which are 0 at first: ReLU comes last, and stays silent in so small a net."""
    net = SqueezeNet(8, 3, (0, 8, 0, 8), 3, dropout=0.0)
    for name, p in net.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(p, 0.0, 0.2)
    nn.init.constant_(net.classifier[1].bias, 3.0)
    return net


def redrawn(net):
    """A narrow network with He's initial values; its own are for thousands of inputs a unit."""
    for name, p in net.named_parameters():
        if p.ndim > 1:
            nn.init.kaiming_normal_(p, nonlinearity="relu")
        elif name.endswith("bias"):  # not 0, where a unit without input has a kink
            nn.init.uniform_(p, -0.1, 0.1)
    return net


NARROW = {
    "lenet5": Narrow(lambda: models.lenet5(num_classes=3), ("lenet5",), (1, 28, 28)),
    "mlp": Narrow(lambda: models.mlp((784, 12, 8, 3)), ("mlp",), (1, 28, 28)),
    "densenet": Narrow(
        lambda: DenseNet(2, (2, 1), 4, num_classes=3),
        ("densenet121", "densenet161", "densenet169", "densenet201"),
        (3, 32, 32),
    ),
    "densenet_cifar": Narrow(
        lambda: DenseNet(3, (2, 1), 4, None, 1.0, stem="cifar", num_classes=3),
        ("densenet_40_12",),
        (3, 8, 8),
    ),
    "densenet_bc_cifar": Narrow(
        lambda: DenseNet(4, (2, 1), 8, stem="cifar", num_classes=3),
        ("densenet_bc_40_12", "densenet_bc_100_12"),
        (3, 8, 8),
    ),
    "efficientnet": Narrow(
        lambda: EfficientNet(
            3,
            dropout=0.0,
            stochastic_depth_prob=0.0,
            setting=((1, 3, 1, 8, 1), (3, 5, 2, 8, 2)),
            first_channels=8,
        ),
        tuple(f"efficientnet_b{i}" for i in range(8)),
        (3, 16, 16),
    ),
    "mobilenet_v1": Narrow(
        lambda: MobileNetV1(3, setting=((8, 1), (16, 2)), first_channels=8),
        ("mobilenet_v1",),
        (3, 16, 16),
    ),
    "mobilenet_v2": Narrow(
        lambda: MobileNetV2(
            3,
            dropout=0.0,
            setting=((1, 8, 1, 1), (3, 8, 2, 2)),
            first_channels=8,
            last_channels=16,
        ),
        ("mobilenet_v2",),
        (3, 16, 16),
    ),
    "shufflenet_v1": Narrow(
        lambda: ShuffleNetV1(3, 2, first_channels=4, width=8, repeats=(2, 1, 1)),
        ("shufflenet_v1",),
        (3, 32, 32),
    ),
    "shufflenet_v2": Narrow(
        lambda: ShuffleNetV2((2, 1, 1), (4, 8, 8, 16, 16), 3),
        ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
        (3, 32, 32),
    ),
    "squeezenet": Narrow(
        narrow_squeezenet,
        ("squeezenet1_0", "squeezenet1_1"),
        (3, 32, 32),
        lr=0.02,
        steps=120,
    ),
    "xception": Narrow(
        lambda: Xception(3, dropout=0.0, stem=(4, 8), entry=(8, 12), middle=1, exit=(16, 16, 16)),
        ("xception",),
        (3, 32, 32),
    ),
    "nasnet": Narrow(
        lambda: NASNet(1, 96, 4, 3, dropout=0.0),
        ("nasnet_a_large", "nasnet_a_mobile"),
        (3, 32, 32),
        marks=(pytest.mark.slow,),
    ),
    "resnet_cifar": Narrow(
        lambda: ResNetCIFAR(1, 3, width=4),
        ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"),
        (3, 8, 8),
    ),
    "plain_cifar": Narrow(
        lambda: ResNetCIFAR(1, 3, shortcut="none", width=4),
        ("plain20", "plain32", "plain44", "plain56", "plain110"),
        (3, 8, 8),
    ),
    "preact_full": Narrow(
        lambda: PreActResNetCIFAR(1, 3, "full", width=4), ("preact_resnet110",), (3, 8, 8)
    ),
    "preact_relu_only": Narrow(
        lambda: PreActResNetCIFAR(1, 3, "relu_only", width=4), ("preact_resnet110",), (3, 8, 8)
    ),
    "preact_relu_before_addition": Narrow(
        lambda: PreActResNetCIFAR(1, 3, "relu_before_addition", width=4),
        ("preact_resnet110",),
        (3, 8, 8),
    ),
    "preact_bn_after_addition": Narrow(
        lambda: PreActResNetCIFAR(1, 3, "bn_after_addition", width=4),
        ("preact_resnet110",),
        (3, 8, 8),
    ),
    "preact_original": Narrow(
        lambda: PreActResNetCIFAR(1, 3, "original", width=4), ("preact_resnet110",), (3, 8, 8)
    ),
    "preact_exclusive_gating": Narrow(
        lambda: PreActResNetCIFAR(
            1, 3, "original", width=4, shortcut="exclusive_gating", gate_bias=-1.0
        ),
        ("preact_resnet110",),
        (3, 8, 8),
    ),
    "preact_bottleneck_full": Narrow(
        lambda: PreActResNetCIFAR(1, 3, "full", True, width=4),
        ("preact_resnet164", "preact_resnet1001"),
        (3, 8, 8),
    ),
    "preact_bottleneck_relu_only": Narrow(
        lambda: PreActResNetCIFAR(1, 3, "relu_only", True, width=4),
        ("preact_resnet164", "preact_resnet1001"),
        (3, 8, 8),
    ),
    "wide_resnet_cifar": Narrow(
        lambda: WideResNetCIFAR(10, 2, 3, width=4),
        ("wide_resnet16_4", "wide_resnet28_10"),
        (3, 8, 8),
    ),
    "resnext_cifar": Narrow(
        lambda: ResNeXtCIFAR(2, 32, 1, 3, width=4),
        ("resnext29_8x64d", "resnext29_16x64d"),
        (3, 8, 8),
    ),
    "highway_mlp": Narrow(
        lambda: HighwayMLP(16, 12, 5, 3, -1.0), ("highway_mlp",), (1, 4, 4), lr=0.1, steps=80
    ),
    "highway_cifar": Narrow(
        lambda: HighwayCIFAR((8, 10, 12), (2, 2, 2), 24, 3, drop_rate=0.0),
        ("highway19", "highway32"),
        (3, 8, 8),
        lr=0.025,
        steps=150,
    ),
    "resnet of basic blocks": Narrow(
        lambda: ResNet(BasicBlock, (1, 1, 1, 1), 3, width=4),
        ("resnet18", "resnet34"),
        (3, 33, 33),
    ),
    "resnet of bottlenecks": Narrow(
        lambda: ResNet(Bottleneck, (2, 1, 1, 1), 3, width=4, zero_init_residual=True),
        ("resnet50", "resnet101", "resnet152"),
        (3, 33, 33),
    ),
    "plain": Narrow(
        lambda: ResNet(BasicBlock, (1, 1, 1, 1), 3, width=4, shortcut="none"),
        ("plain18", "plain34"),
        (3, 33, 33),
    ),
    "wide_resnet": Narrow(
        lambda: ResNet(Bottleneck, (1, 1, 1, 1), 3, width=4, width_per_group=128),
        ("wide_resnet50_2", "wide_resnet101_2"),
        (3, 33, 33),
    ),
    "resnext": Narrow(
        lambda: ResNet(Bottleneck, (1, 1, 1, 1), 3, width=4, groups=2, width_per_group=32),
        ("resnext50_32x4d", "resnext101_32x8d"),
        (3, 33, 33),
    ),
    "resnet_d with squeeze-excitation": Narrow(
        lambda: ResNet(Bottleneck, (1, 1, 1, 1), 3, width=4, shortcut="D", deep_stem=True, se=True),
        ("resnet50d",),
        (3, 33, 33),
    ),
    "se_resnet": Narrow(
        lambda: SENet(SEResNetBottleneck, (1, 1, 1, 1), 3, width=4),
        ("se_resnet50", "se_resnet101"),
        (3, 33, 33),
    ),
    "se_resnext": Narrow(
        lambda: SENet(SEResNeXtBottleneck, (1, 1, 1, 1), 3, width=4, groups=2, width_per_group=32),
        ("se_resnext50_32x4d",),
        (3, 33, 33),
    ),
    "resnetv2": Narrow(
        lambda: ResNetV2((2, 1, 1, 1), 3, width=4),
        ("resnetv2_50", "resnetv2_101", "resnetv2_152"),
        (3, 33, 33),
    ),
    "bagnet": Narrow(
        lambda: BagNet((3, 3, 3, 1), 3, layers=(1, 1, 1, 2), width=4),
        ("bagnet9", "bagnet17", "bagnet33"),
        (3, 26, 26),
    ),
    "lenet1989": Narrow(lambda: models.lenet1989(num_classes=3), ("lenet1989",), (1, 16, 16)),
    "alexnet": Narrow(
        lambda: redrawn(
            AlexNet(3, dropout=0.0, widths=(8, 12, 16, 16, 16), hidden=32, pooled=1),
        ),
        ("alexnet",),
        (3, 63, 63),
        lr=0.005,
        steps=80,
    ),
    "alexnet of 2012": Narrow(
        lambda: redrawn(
            AlexNetOf2012(3, dropout=0.0, widths=(8, 12, 16, 16, 16), hidden=32, pooled=1),
        ),
        ("alexnet",),
        (3, 63, 63),
        lr=0.005,
        steps=80,
    ),
    "zfnet": Narrow(
        lambda: redrawn(ZFNet(3, dropout=0.0, widths=(8, 12, 16, 16, 16), hidden=32, pooled=1)),
        ("zfnet",),
        (3, 63, 63),
        lr=0.005,
        steps=80,
    ),
    "overfeat": Narrow(
        lambda: redrawn(
            OverFeat(
                3,
                (Layer(4, 5, 2, 0, 2), Layer(6, 3, 1, 1, 1), Layer(6, 3, 1, 1, 2)),
                3,
                (12, 12),
                dropout=0.0,
            )
        ),
        ("overfeat",),
        (3, 32, 32),
    ),
    "vgg": Narrow(
        lambda: redrawn(
            VGG("A-LRN", 3, dropout=0.0, widths=(8, 12, 16, 16, 16), hidden=32, pooled=1)
        ),
        ("vgg11", "vgg13", "vgg16", "vgg19"),
        (3, 32, 32),
        lr=0.005,
        steps=80,
    ),
    "vgg_bn": Narrow(
        lambda: redrawn(
            VGG("C", 3, batch_norm=True, dropout=0.0, widths=(4, 4, 6, 6, 6), hidden=16, pooled=1)
        ),
        ("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
        (3, 32, 32),
        lr=0.02,
    ),
    "googlenet": Narrow(
        lambda: GoogLeNet(
            3,
            dropout=0.0,
            stem=(4, 4, 6),
            table={"4a": (4, 2, 4, 2, 4, 2), "4d": (4, 2, 6, 2, 4, 2)},
            aux=(4, 32),
        ),
        ("googlenet",),
        (3, 48, 48),
        steps=60,
    ),
    "googlenet of 2014": Narrow(
        lambda: GoogLeNet(
            3,
            "2014",
            False,
            dropout=0.0,
            stem=(6, 6, 12),
            table={"3a": (4, 4, 6, 4, 4, 4), "4a": (6, 4, 8, 4, 6, 4), "5a": (6, 4, 8, 4, 6, 4)},
        ),
        ("googlenet",),
        (3, 48, 48),
        lr=0.02,
        steps=80,
    ),
    "inception_v2": Narrow(
        lambda: InceptionV2(
            3,
            stem=(4, 4, 6),
            table={
                "3b": (2, 2, 3, 2, 3, "avg", 2),
                "3c": (0, 2, 4, 2, 3, "max", 0),
            },
        ),
        ("inception_v2",),
        (3, 32, 32),
    ),
    "inception_v3": Narrow(  # its auxiliary classifier needs 299x299: test_inception_v3.py
        lambda: Inception3(
            3,
            False,
            dropout=0.0,
            width=1 / 48,
            pool_features=(),
            channels_7x7=(),
            blocks_7=1,
        ),
        ("inception_v3",),
        (3, 75, 75),
    ),
    "inception_v4": Narrow(
        lambda: InceptionV4(3, dropout=0.0, blocks=(0, 0, 1), width=1 / 48),
        ("inception_v4",),
        (3, 75, 75),
    ),
    "inception_resnet_v2": Narrow(
        lambda: InceptionResNetV2(3, dropout=0.0, blocks=(1, 0, 0), width=1 / 48),
        ("inception_resnet_v2",),
        (3, 75, 75),
        lr=0.02,
    ),
    "vit": Narrow(
        lambda: VisionTransformer(8, 4, 2, 2, 8, 16, num_classes=3, representation_size=10),
        (
            "vit_b_16",
            "vit_b_32",
            "vit_l_16",
            "vit_l_32",
            "vit_s_16",
            "vit_s_32",
            "vit_ti_16",
            "vit_ti_32",
        ),
        (3, 8, 8),
        steps=80,
    ),
    "mixer": Narrow(
        lambda: MlpMixer(3, 2, 8, 6, 16, 4, 8),
        tuple(f"mixer_{size}{patch}" for size in "sbl" for patch in (16, 32)),
        (3, 8, 8),
        steps=80,
    ),
    "resmlp": Narrow(
        lambda: ResMLP(3, 2, 8, 0.5, 4, 8),
        ("resmlp_s12", "resmlp_s24", "resmlp_s36"),
        (3, 8, 8),
        steps=80,
    ),
}

CASES = [pytest.param(case, id=name, marks=case.marks) for name, case in NARROW.items()]


def scores(output):
    """The main output of a network that has auxiliary ones, too."""
    return output[0] if isinstance(output, tuple) else output


def pictures(case, count, dtype=np.float32):
    return np.random.default_rng(1).normal(size=(count, *case.shape)).astype(dtype)


def test_every_builder_has_a_narrow_version():
    names = {name for case in NARROW.values() for name in case.names}
    assert names == set(models.classification.__all__)


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_picture_and_parameters_are_right(case):
    net = case.build().double().eval()  # no dropout; BatchNorm's own gradients are checked apart
    for buffer in net.buffers():
        if buffer.is_floating_point():
            buffer.data[...] = np.random.default_rng(2).uniform(0.5, 1.5, buffer.shape)
    x = md.tensor(pictures(case, 2, np.float64), requires_grad=True)
    names = [name for name, _ in net.named_parameters()]

    def call(x, *parameters):
        for name, parameter in zip(names, parameters, strict=True):
            path, _, last = name.rpartition(".")
            net.get_submodule(path)._parameters[last] = parameter
        return scores(net(x))

    assert gradcheck(call, (x, *net.parameters()))


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_takes_part_in_training(case):
    net = case.build().train()
    outputs = net(md.tensor(pictures(case, 4)))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for output in outputs:
        assert output.shape == (4, case.classes)
    sum((output * md.randn(4, case.classes)).sum() for output in outputs).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("case", CASES)
def test_sixteen_pictures_are_learned_by_heart(case):
    net = case.build()
    shape = (16, *case.shape)
    assert overfit(net, shape, steps=case.steps, lr=case.lr, classes=case.classes) == 1.0


@pytest.mark.parametrize("case", CASES)
def test_evaluation_is_deterministic_and_treats_each_picture_alone(case):
    net = case.build().eval()
    x = md.tensor(pictures(case, 3))
    with md.no_grad():
        together, again = net(x), net(x)
        alone = net(x[1:2])  # a batch of one
    assert isinstance(together, md.Tensor)
    assert together.shape == (3, case.classes)
    np.testing.assert_array_equal(together.data, again.data)
    np.testing.assert_allclose(alone.data[0], together.data[1], rtol=1e-4, atol=1e-5)
