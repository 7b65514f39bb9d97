"""SegNet-Basic and FCN-8s on CamVid: Badrinarayanan, Kendall, Cipolla, "SegNet: a deep
convolutional encoder-decoder architecture for image segmentation", 2017, and Long, Shelhamer,
Darrell, "Fully convolutional networks for semantic segmentation", 2015.

Published: on CamVid, 367 training and 233 test pictures of 360 x 480, SegNet-Basic has a mean IoU
of 46.3 %; on VOC 2011, from a trained VGG-16, FCN-8s has 62.7 %.

Here each is trained from random weights on as many of the training pictures as are there, and
tested on those of the folder val; and the same network with torch, from the same weights, on the
same batches. Where this differs from the papers, so that it fits two cores: pictures of 120 x 160,
mirrored at random, 12 and 20 epochs; SegNet-Basic with 16 maps (64); FCN-8s with one convolution in
each stage (VGG-16: 2 or 3), 8 to 64 maps (64 to 512) and 128 in fc6 and fc7 (4096); Adam. Rare
classes count more, by median frequency.

    python examples/segnet_fcn_camvid.py           three seeds on both sides: 5 minutes on one core
    python examples/segnet_fcn_camvid.py --quick   does it run?

The folder MINIDL_DATA should have `camvid` with train, trainannot, val and valannot.
"""

from __future__ import annotations

from typing import Any

from beside_torch import Pictures, Plan, compare, find_data, options

from minidl.data import CamVid, joint, median_frequency_weights
from minidl.data.transforms import Normalize
from minidl.models.segmentation.fcn import FCN
from minidl.models.segmentation.segnet import SegNetBasic

SIZE = (120, 160)
MEAN, STD = (0.411, 0.425, 0.432), (0.307, 0.312, 0.308)  # computed from 36 training pictures
CLASSES = CamVid.class_names
VOID = 11
SEGNET_WIDTH = 16
NARROW_FCN: dict[str, Any] = {
    "convs": (1, 1, 1, 1, 1),
    "widths": (8, 16, 32, 64, 64),
    "hidden": 128,
    "dropout": 0.5,
}


def read(root: str, split: str) -> list[tuple[Any, Any]]:
    """Pictures and class maps as arrays, normalised, a third of the size each way."""
    smaller = joint.Compose([joint.Resize(SIZE), joint.ImageOnly(Normalize(MEAN, STD))])
    pictures = CamVid(root, split, transform=smaller)
    return [(image.numpy(), mask.numpy()) for image, mask in pictures]


def segnet_of_torch() -> Any:
    from beside_torch.networks import SegNetBasic

    return SegNetBasic(len(CLASSES), SEGNET_WIDTH)


def fcn_of_torch() -> Any:
    from beside_torch.networks import FCN8s

    return FCN8s(len(CLASSES), **NARROW_FCN)


if __name__ == "__main__":
    args = options(__doc__, seeds=3)
    train, test = (find_data(lambda part=part: read(args.root, part)) for part in ("train", "val"))
    if args.quick:
        train, test = train[:4], test[:2]
    common: dict[str, Any] = {
        "train": Pictures(train, joint.RandomHorizontalFlip()),
        "test": Pictures(test),
        "classes": CLASSES,
        "ignore_index": VOID,
        "weight": median_frequency_weights([mask for _, mask in train], len(CLASSES), VOID),
    }
    plans = [
        Plan(
            "SegNet-Basic",
            f"{SEGNET_WIDTH} maps",
            build=lambda: SegNetBasic(len(CLASSES), width=SEGNET_WIDTH),
            twin=segnet_of_torch,
            epochs=1 if args.quick else 12,
            batch_size=3,
            lr=0.01,
            published={"mean_iou": 46.3},
            **common,
        ),
        Plan(
            "FCN-8s",
            "one convolution a stage, 8 to 64 maps, 128 in fc6 and fc7",
            build=lambda: FCN(len(CLASSES), 8, **NARROW_FCN),
            twin=fcn_of_torch,
            epochs=1 if args.quick else 20,
            batch_size=2,
            lr=0.001,
            **common,
        ),
    ]
    compare("SegNet-Basic and FCN-8s on a part of CamVid", plans, args)
