"""Every network has as many parameters as published: parameters.csv beside this file."""

import csv
import pathlib

import pytest

from minidl import models, nn

TABLE = pathlib.Path(__file__).with_name("parameters.csv")

# (model, variant) of parameters.csv -> how it is built here
COUNTS = {
    ("lenet5", "1998 with sparse C3 and trainable subsampling (without RBF)"): lambda: (
        models.lenet5(variant="1998")
    ),
    ("lenet5", "modern: full C3 and linear 84->10"): lambda: models.lenet5(),
    ("densenet121", ""): lambda: models.densenet121(),
    ("densenet161", ""): lambda: models.densenet161(),
    ("densenet169", ""): lambda: models.densenet169(),
    ("densenet201", ""): lambda: models.densenet201(),
    ("densenet_40_12", "CIFAR-10 basic"): lambda: models.densenet_40_12(),
    ("densenet_bc_100_12", "CIFAR-10"): lambda: models.densenet_bc_100_12(),
    ("efficientnet_b0", ""): lambda: models.efficientnet_b0(),
    ("efficientnet_b1", ""): lambda: models.efficientnet_b1(),
    ("efficientnet_b7", ""): lambda: models.efficientnet_b7(),
    ("mobilenet_v1", ""): lambda: models.mobilenet_v1(),
    ("mobilenet_v2", ""): lambda: models.mobilenet_v2(),
    ("nasnet_a", "mobile"): lambda: models.nasnet_a_mobile(),
    ("nasnet_a", "large"): lambda: models.nasnet_a_large(),
    ("shufflenet_v1", "1x g=1"): lambda: models.shufflenet_v1(groups=1),
    ("shufflenet_v1", "1x g=3"): lambda: models.shufflenet_v1(),
    ("shufflenet_v1", "1x g=8"): lambda: models.shufflenet_v1(groups=8),
    ("shufflenet_v2_x1_0", ""): lambda: models.shufflenet_v2_x1_0(),
    ("xception", ""): lambda: models.xception(),
    ("resnet20_cifar", "option A shortcuts"): lambda: models.resnet20(),
    ("resnet32_cifar", "option A"): lambda: models.resnet32(),
    ("resnet44_cifar", "option A"): lambda: models.resnet44(),
    ("resnet56_cifar", "option A"): lambda: models.resnet56(),
    ("resnet110_cifar", "option A"): lambda: models.resnet110(),
    ("resnet20_cifar", "option B shortcuts (1x1 + BatchNorm)"): lambda: models.resnet20(
        shortcut="B"
    ),
    ("resnet164_cifar", "pre-activation bottleneck"): lambda: models.preact_resnet164(),
    ("resnet1001_cifar", "pre-activation bottleneck"): lambda: models.preact_resnet1001(),
    ("wide_resnet28_10", "CIFAR-10"): lambda: models.wide_resnet28_10(),
    ("wide_resnet16_4", "CIFAR-10"): lambda: models.wide_resnet16_4(),
    ("resnext29_8x64d", "CIFAR-10"): lambda: models.resnext29_8x64d(),
    ("resnext29_16x64d", "CIFAR-10"): lambda: models.resnext29_16x64d(),
    ("resnet18", ""): lambda: models.resnet18(),
    ("resnet34", ""): lambda: models.resnet34(),
    ("resnet50", ""): lambda: models.resnet50(),
    ("resnet101", ""): lambda: models.resnet101(),
    ("resnet152", ""): lambda: models.resnet152(),
    ("wide_resnet50_2", ""): lambda: models.wide_resnet50_2(),
    ("resnext50_32x4d", ""): lambda: models.resnext50_32x4d(),
    ("resnext101_32x8d", ""): lambda: models.resnext101_32x8d(),
    ("resnetv2_50", "pre-activation"): lambda: models.resnetv2_50(),
    ("resnetv2_101", "pre-activation"): lambda: models.resnetv2_101(),
    ("resnetv2_152", "pre-activation"): lambda: models.resnetv2_152(),
    ("se_resnet50", ""): lambda: models.se_resnet50(),
    ("se_resnet101", ""): lambda: models.se_resnet101(),
    ("se_resnext50", ""): lambda: models.se_resnext50_32x4d(),
    ("bagnet9", ""): lambda: models.bagnet9(),
    ("bagnet17", ""): lambda: models.bagnet17(),
    ("bagnet33", ""): lambda: models.bagnet33(),
    ("lenet1989", "digits 16x16 10 classes"): lambda: models.lenet1989(),
    ("alexnet", "2012 grouped"): lambda: models.alexnet(variant="2012"),
    ("alexnet", "tv (one tower 64-192-384-256-256)"): lambda: models.alexnet(),
    ("zfnet", "2013"): lambda: models.zfnet(),
    ("overfeat", "fast"): lambda: models.overfeat(),
    ("overfeat", "accurate"): lambda: models.overfeat(variant="accurate"),
    ("vgg", "A"): lambda: models.vgg11(),
    ("vgg", "B"): lambda: models.vgg13(),
    ("vgg", "C"): lambda: models.vgg16(variant="C"),
    ("vgg", "D"): lambda: models.vgg16(),
    ("vgg", "E"): lambda: models.vgg19(),
    ("vgg", "D with BatchNorm"): lambda: models.vgg16_bn(),
    ("googlenet", "2014 (5x5 with bias and no BatchNorm)"): lambda: models.googlenet(
        variant="2014", aux_logits=False
    ),
    ("googlenet", "2014 with both auxiliary heads"): lambda: models.googlenet(variant="2014"),
    ("googlenet", "tv (3x3 in branch 3 + BatchNorm; no aux)"): lambda: models.googlenet(
        aux_logits=False
    ),
    ("googlenet", "tv with aux"): lambda: models.googlenet(),
    ("inception_v2", "BN-Inception"): lambda: models.inception_v2(),
    ("inception_v3", "no aux"): lambda: models.inception_v3(aux_logits=False),
    ("inception_v3", "with aux"): lambda: models.inception_v3(),
    ("inception_v4", ""): lambda: models.inception_v4(),
    ("inception_resnet_v2", ""): lambda: models.inception_resnet_v2(),
    ("vit_b_16", ""): lambda: models.vit_b_16(),
    ("vit_b_32", ""): lambda: models.vit_b_32(),
    ("vit_l_16", ""): lambda: models.vit_l_16(),
    ("mixer_s16", ""): lambda: models.mixer_s16(),
    ("mixer_b16", ""): lambda: models.mixer_b16(),
    ("resmlp_s12", ""): lambda: models.resmlp_s12(),
    ("resmlp_s24", ""): lambda: models.resmlp_s24(),
    ("fcn32s", "VGG16 21 classes incl. 64x64 deconvolution kernel"): lambda: models.fcn32s(),
    ("fcn16s", "VGG16 21 classes"): lambda: models.fcn16s(),
    ("fcn8s", "VGG16 21 classes"): lambda: models.fcn8s(),
    ("fcn_resnet50", "21 classes without aux"): lambda: models.fcn_resnet50(),
    ("fcn_resnet50", "21 classes with aux"): lambda: models.fcn_resnet50(aux_loss=True),
    ("segnet", "VGG16 12 classes"): lambda: models.segnet(),
    # 49 * 64 * (3 + 7 * 64) weights of eight 7x7 convolutions without bias, 8 * 2 * 64 of batch
    # norm, 64 * 11 + 11 of the classifier. (The row's source said 12 classes: 1,416,140.)
    ("segnet_basic", "11 classes"): lambda: models.segnet_basic(11),
    ("deconvnet", "21 classes"): lambda: models.deconvnet(),
    ("unet", "1 channel -> 2 classes"): lambda: models.unet(),
    ("unet", "3 channels -> 21 classes"): lambda: models.unet(21, in_channels=3),
    # As published, frozen: scale and shift of batch norm are no parameters.
    ("retinanet_resnet50_fpn", "91 classes"): lambda: models.retinanet_resnet50_fpn(
        norm_layer=nn.FrozenBatchNorm2d
    ),
    ("fasterrcnn_resnet50_fpn", "91 classes (frozen BatchNorm not counted)"): lambda: (
        models.fasterrcnn_resnet50_fpn(trainable_backbone_layers=3)
    ),
    ("maskrcnn_resnet50_fpn", "91 classes"): lambda: models.maskrcnn_resnet50_fpn(
        trainable_backbone_layers=3
    ),
    ("keypointrcnn_resnet50_fpn", "2 classes 17 keypoints"): lambda: (
        models.keypointrcnn_resnet50_fpn(trainable_backbone_layers=3)
    ),
    ("faster_rcnn_vgg16", "21 classes"): lambda: models.fasterrcnn_vgg16(),
    ("fast_rcnn_vgg16", "21 classes"): lambda: models.fast_rcnn_vgg16(20),
    ("ssd300_vgg16", "21 classes"): lambda: models.ssd300_vgg16(20),
    ("ssd300_vgg16", "91 classes"): lambda: models.ssd300_vgg16(90),
    ("yolo_v1", "S=7 B=2 C=20"): lambda: models.yolo_v1(),
}


def published():
    with TABLE.open() as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {(row["model"], row["variant"]): int(row["parameters"]) for row in rows}


@pytest.mark.parametrize(("model", "variant"), list(COUNTS))
def test_a_network_has_the_published_number_of_parameters(model, variant):
    with nn.init.skip_init():
        net = COUNTS[model, variant]()
    assert sum(p.numel() for p in net.parameters()) == published()[model, variant]


def test_every_published_row_is_checked():
    assert set(published()) == set(COUNTS)
