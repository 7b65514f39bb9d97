"""RetinaNet: its loss by hand, torchvision's results, learning."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.boxes import AnchorGenerator, box_iou
from minidl.models.classification.resnet import BasicBlock
from minidl.models.detection.detector import PictureTransform
from minidl.models.detection.fpn import BackboneWithFPN, FeaturePyramid, ResNetBody
from minidl.models.detection.retinanet import (
    RetinaNet,
    RetinaNetHead,
    retinanet_resnet50_fpn,
    retinanet_small,
)

from .. import strict_cupy
from ..torchvision_oracle import torchvision
from .detection import (
    assert_as_torchvision,
    assert_loss_gradients_are_right,
    assert_robust,
    assert_same_on,
    mixed,
    moved,
    odd_batches,
    overfit,
    scenes,
)

ODD = odd_batches()
DEVICES = ["strict", pytest.param("cuda", marks=pytest.mark.gpu)]
SIZES = ((8, 11), (16, 22))


class TwoLevels(nn.Module):
    """Levels of a quarter and an eighth, without a pyramid: a backbone that torch has, too."""

    out_channels = 8

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 5, 4, 2)
        self.second = nn.Conv2d(8, 8, 3, 2, 1)

    def forward(self, x):
        first = nn.functional.relu(self.first(x))
        return {"0": first, "1": nn.functional.relu(self.second(first))}


def narrow(**options):
    """Shorter sides of 32, two kinds of objects, six anchors at each position of two levels."""
    anchors = AnchorGenerator(SIZES, (0.5, 1.0, 2.0))
    transform = PictureTransform(32, 48, (0.5,) * 3, (0.3,) * 3)
    return RetinaNet(TwoLevels(), anchors, 2, transform, **options)


def narrow_of_torchvision(**options):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    detection = torchvision().models.detection

    class Backbone(torch.nn.Module):
        out_channels = 8

        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 5, 4, 2)
            self.second = torch.nn.Conv2d(8, 8, 3, 2, 1)

        def forward(self, x):
            first = self.first(x).relu()
            return {"0": first, "1": self.second(first).relu()}

    anchors = detection.anchor_utils.AnchorGenerator(SIZES, ((0.5, 1.0, 2.0),) * 2)
    pixels = {"image_mean": [0.5] * 3, "image_std": [0.3] * 3}
    return redrawn(
        detection.retinanet.RetinaNet(
            Backbone(), 2, 32, 48, anchor_generator=anchors, **pixels, **options
        )
    )


def redrawn(theirs):
    """Their network, its heads away from where all scores are alike."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for p in theirs.head.parameters():
            p.copy_(torch.randn(p.shape) / math.sqrt(p[0].numel()))
    return theirs


# -- what is particular to RetinaNet ---------------------------------------------------------------


def test_each_class_has_the_prior_probability_at_first():
    head = RetinaNetHead(8, 3, 5, prior_probability=0.01)
    logits, codes = head([md.zeros(2, 8, 4, 6), md.zeros(2, 8, 2, 3)])
    assert logits.shape == (2, (4 * 6 + 2 * 3) * 3, 5)
    assert codes.shape == (2, (4 * 6 + 2 * 3) * 3, 4)
    np.testing.assert_allclose(md.sigmoid(logits).data, 0.01, rtol=1e-5)
    assert not codes.data.any()


def test_the_loss_is_focal_and_forgets_anchors_between_the_thresholds():
    net = narrow()
    for p in net.head.parameters():
        nn.init.normal_(p, 0.0, 0.1)
    images, targets = mixed()
    batch, resized = net.transform(images, targets)
    logits, codes, levels = net.answers(batch)
    anchors = np.concatenate(levels).astype(np.float64)
    expected, passed = {"classification": 0.0, "bbox_regression": 0.0}, 0
    for n, target in enumerate(resized):
        truth, labels = target["boxes"].data.astype(np.float64), target["labels"].data
        overlap = box_iou(truth, anchors)
        by_class = by_code = 0.0
        count = 0
        for b, (x1, y1, x2, y2) in enumerate(anchors):
            best = overlap[:, b].max(initial=0.0)
            wanted = any(overlap[k, b] == overlap[k].max() for k in range(len(truth)))
            if 0.4 <= best < 0.5 and not wanted:
                passed += 1
                continue
            owner = int(overlap[:, b].argmax()) if best >= 0.5 or wanted else None
            for c in range(2):
                p = 1 / (1 + math.exp(-logits.data[n, b, c]))
                if owner is not None and labels[owner] == c:
                    by_class -= 0.25 * (1 - p) ** 2 * math.log(p)
                else:
                    by_class -= 0.75 * p**2 * math.log(1 - p)
            if owner is not None:
                count += 1
                tx1, ty1, tx2, ty2 = truth[owner]
                w, h = x2 - x1, y2 - y1
                code = (
                    ((tx1 + tx2) - (x1 + x2)) / 2 / w,
                    ((ty1 + ty2) - (y1 + y2)) / 2 / h,
                    math.log((tx2 - tx1) / w),
                    math.log((ty2 - ty1) / h),
                )
                by_code += sum(abs(a - t) for a, t in zip(codes.data[n, b], code, strict=True))
        expected["classification"] += by_class / max(count, 1) / len(images)
        expected["bbox_regression"] += by_code / max(count, 1) / len(images)
    assert passed > 0
    losses = net.losses(images, targets)
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(expected, rel=1e-4)


def test_levels_must_have_as_many_anchors_at_a_position():
    anchors = AnchorGenerator(((8, 11), (16,)), (0.5, 1.0, 2.0))
    with pytest.raises(
        ValueError, match=r"RetinaNet: .* as many anchors at a position, got \[6, 3"
    ):
        RetinaNet(TwoLevels(), anchors, 2, PictureTransform(32, 48))


# -- torchvision -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"score_thresh": 0.5, "topk_candidates": 60, "detections_per_img": 30}], ids=str
)
def test_a_narrow_retinanet_gives_the_losses_and_detections_of_torchvision(options):
    assert_as_torchvision(narrow(**options), narrow_of_torchvision(**options), *mixed(), 0)


@pytest.mark.slow
def test_retinanet_resnet50_fpn_gives_the_losses_and_detections_of_torchvision():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    torch.manual_seed(0)
    theirs = torchvision().models.detection.retinanet_resnet50_fpn(
        weights_backbone=None, num_classes=3, min_size=96, max_size=160
    )
    with nn.init.skip_init():
        ours = retinanet_resnet50_fpn(3, min_size=96, max_size=160)
    assert_as_torchvision(ours, redrawn(theirs), *mixed(100), 0)


def test_torchvisions_weights_with_their_older_names_load_as_they_are():
    anchors = AnchorGenerator(((8,), (16,)), (1.0,))
    body = ResNetBody(BasicBlock, (1, 1, 1, 1), (1, 2), width=4)

    def build():
        backbone = BackboneWithFPN(body, FeaturePyramid(body.channels, 8))
        return RetinaNet(backbone, anchors, 2, PictureTransform(32, 48))

    here, there = build(), build()
    older = {}
    for path, value in there.state_dict().items():
        parts = path.split(".")
        if "_blocks" in path:  # backbone.fpn.inner_blocks.1.0.weight
            parts.pop(4)
        elif "conv" in parts and "body" not in parts:  # head.regression_head.conv.3.0.weight
            parts[3:5] = [str(2 * int(parts[3]))]
        older[".".join(parts)] = value
    assert "head.regression_head.conv.6.weight" in older
    assert "backbone.fpn.inner_blocks.1.bias" in older
    here.load_state_dict(older)
    for path, value in here.state_dict().items():
        np.testing.assert_array_equal(value.data, there.state_dict()[path].data, err_msg=path)


# -- learning --------------------------------------------------------------------------------------


def test_the_loss_has_the_gradient_that_differences_say():
    images, targets = mixed()
    net = narrow(num_convs=1, norm=lambda channels: nn.GroupNorm(2, channels))
    for p in net.head.parameters():
        nn.init.normal_(p, 0.0, 0.3)
    assert_loss_gradients_are_right(net, images, targets)


def test_a_small_retinanet_learns_eight_scenes_by_heart():
    images, targets = scenes(8)
    assert overfit(retinanet_small(3), images, targets, steps=100, lr=2e-3).ap >= 0.95


# -- odd inputs, devices ---------------------------------------------------------------------------


@pytest.mark.parametrize("batch", ODD)
def test_odd_batches_give_finite_losses_and_detections(batch):
    assert_robust(retinanet_small(3, width=8), *ODD[batch])


def test_pictures_in_a_batch_do_not_influence_each_other():
    images, _ = mixed(40)
    images = [images[0], images[2]]  # of one size: others are padded
    net = narrow(score_thresh=0.0)
    together = net.predict(images)
    for image, expected in zip(images, together, strict=True):
        (alone,) = net.predict([image])
        for key, value in expected.items():
            np.testing.assert_allclose(alone[key].data, value.data, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_losses_and_detections_on_a_gpu_are_those_of_the_cpu(device):
    images, targets = mixed()
    assert_same_on(device, narrow(score_thresh=0.0), images, targets)


@pytest.mark.parametrize("device", DEVICES)
def test_a_training_step_on_a_gpu_does_not_wait(device):
    net = narrow().to(device)
    images, targets = moved(*mixed(32), device)
    net.losses(images, targets)  # anchors are sent there once
    with strict_cupy.forbid_sync():
        sum(net.losses(images, targets).values()).backward()


@pytest.mark.parametrize("size", [64, 96, 128])
def test_the_small_retinanet_takes_pictures_from_64_to_128_pixels(size):
    net = retinanet_small(13, size=size, width=8)
    logits, _, levels = net.answers(net.transform([md.zeros(3, 70, 90)])[0])
    assert logits.shape == (1, sum(len(boxes) for boxes in levels), 13)
    assert net.num_classes == 13
