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
    ("resnet20_cifar", "option A shortcuts"): lambda: models.resnet20(),
    ("resnet32_cifar", "option A"): lambda: models.resnet32(),
    ("resnet44_cifar", "option A"): lambda: models.resnet44(),
    ("resnet56_cifar", "option A"): lambda: models.resnet56(),
    ("resnet110_cifar", "option A"): lambda: models.resnet110(),
    ("resnet20_cifar", "option B shortcuts (1x1 + BatchNorm)"): lambda: models.resnet20(
        shortcut="B"
    ),
}

# Networks that do not exist here yet: segmentation and detection.
NOT_YET = {
    "fcn32s", "fcn16s", "fcn8s", "segnet", "segnet_basic", "deconvnet", "unet", "fcn_resnet50",
    "yolo_v1", "ssd300_vgg16", "fast_rcnn_vgg16", "faster_rcnn_vgg16", "fasterrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn", "retinanet_resnet50_fpn",
}  # fmt: skip


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
    wanted = {row for row in published() if row[0] not in NOT_YET}
    assert wanted == set(COUNTS)
