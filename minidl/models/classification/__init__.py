"""Networks that name what is in a picture, one file an architecture."""

from .alexnet import alexnet
from .bagnet import bagnet9, bagnet17, bagnet33
from .densenet import (
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    densenet_40_12,
    densenet_bc_40_12,
    densenet_bc_100_12,
)
from .efficientnet import (
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
    efficientnet_b4,
    efficientnet_b5,
    efficientnet_b6,
    efficientnet_b7,
)
from .googlenet import googlenet
from .highway import highway19, highway32, highway_mlp
from .inception_resnet_v2 import inception_resnet_v2
from .inception_v2 import inception_v2
from .inception_v3 import inception_v3
from .inception_v4 import inception_v4
from .lenet import lenet5, lenet1989
from .mlp import mlp
from .mlp_mixer import (
    mixer_b16,
    mixer_b32,
    mixer_l16,
    mixer_l32,
    mixer_s16,
    mixer_s32,
)
from .mobilenet_v1 import mobilenet_v1
from .mobilenet_v2 import mobilenet_v2
from .nasnet import nasnet_a_large, nasnet_a_mobile
from .overfeat import overfeat
from .preact_resnet_cifar import preact_resnet110, preact_resnet164, preact_resnet1001
from .resmlp import (
    resmlp_s12,
    resmlp_s24,
    resmlp_s36,
)
from .resnet import (
    plain18,
    plain34,
    resnet18,
    resnet34,
    resnet50,
    resnet50d,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from .resnet_cifar import (
    plain20,
    plain32,
    plain44,
    plain56,
    plain110,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
)
from .resnetv2 import resnetv2_50, resnetv2_101, resnetv2_152
from .resnext_cifar import resnext29_8x64d, resnext29_16x64d
from .se_resnet import se_resnet50, se_resnet101, se_resnext50_32x4d
from .shufflenet_v1 import shufflenet_v1
from .shufflenet_v2 import (
    shufflenet_v2_x0_5,
    shufflenet_v2_x1_0,
    shufflenet_v2_x1_5,
    shufflenet_v2_x2_0,
)
from .squeezenet import squeezenet1_0, squeezenet1_1
from .vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from .vit import (
    vit_b_16,
    vit_b_32,
    vit_l_16,
    vit_l_32,
    vit_s_16,
    vit_s_32,
    vit_ti_16,
    vit_ti_32,
)
from .wide_resnet_cifar import wide_resnet16_4, wide_resnet28_10
from .xception import xception
from .zfnet import zfnet

__all__ = [
    "alexnet",
    "bagnet9",
    "bagnet17",
    "bagnet33",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet_40_12",
    "densenet_bc_40_12",
    "densenet_bc_100_12",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "googlenet",
    "highway19",
    "highway32",
    "highway_mlp",
    "inception_resnet_v2",
    "inception_v2",
    "inception_v3",
    "inception_v4",
    "lenet5",
    "lenet1989",
    "mixer_b16",
    "mixer_b32",
    "mixer_l16",
    "mixer_l32",
    "mixer_s16",
    "mixer_s32",
    "mlp",
    "mobilenet_v1",
    "mobilenet_v2",
    "nasnet_a_large",
    "nasnet_a_mobile",
    "overfeat",
    "plain18",
    "plain20",
    "plain32",
    "plain34",
    "plain44",
    "plain56",
    "plain110",
    "preact_resnet110",
    "preact_resnet164",
    "preact_resnet1001",
    "resmlp_s12",
    "resmlp_s24",
    "resmlp_s36",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet50d",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "resnetv2_50",
    "resnetv2_101",
    "resnetv2_152",
    "resnext29_8x64d",
    "resnext29_16x64d",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "se_resnet50",
    "se_resnet101",
    "se_resnext50_32x4d",
    "shufflenet_v1",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "squeezenet1_0",
    "squeezenet1_1",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "vit_b_16",
    "vit_b_32",
    "vit_l_16",
    "vit_l_32",
    "vit_s_16",
    "vit_s_32",
    "vit_ti_16",
    "vit_ti_32",
    "wide_resnet16_4",
    "wide_resnet28_10",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "xception",
    "zfnet",
]
