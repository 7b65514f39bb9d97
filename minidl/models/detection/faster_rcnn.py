"""Faster R-CNN: Ren, He, Girshick, Sun, "Faster R-CNN: towards real-time object detection with
region proposal networks", 2015; with a feature pyramid: Lin et al., "Feature pyramid networks for
object detection", 2017, section 4.

    picture --backbone--> maps --region proposal network--> proposals    where something is
                           |                                    |
                           +--------RoI heads-------------------+        what it is, where exactly

Two stages on one backbone, trained jointly (section 3.2, "approximate joint training") by four
losses: two of rpn.py, two of roi_heads.py. Read `FasterRCNN.losses` and follow it down.

    network                  maps           anchors a position   cut out by   fc6, fc7
    fasterrcnn_vgg16         1/16           9, of 3 sizes        RoIPool      4096
    fasterrcnn_resnet50_fpn  1/4 ... 1/64   3, each map a size   RoIAlign     1024

Published: the first 69.9 % mAP on VOC 2007 (table 3), the second AP 37.0 on COCO (torchvision's
weights, of which names and numbers fit here). Where torchvision departs from the papers, so does
what is named after its networks: smooth L1 with beta 1/9 in both stages, anchors that cross the
border of the picture are learned from, a single logit an anchor.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ... import nn
from ...autograd import Tensor, no_grad
from ...backend import Array
from ...boxes import AnchorGenerator, fpn_anchors, rpn_anchors
from ...nn import functional as F
from ..classification.resnet import BasicBlock
from .detector import Batch, Detector, Objects, PictureTransform, Sizes, Targets, check_pictures
from .fpn import BackboneWithFPN, FeaturePyramid, ResNetBody, VGGBody, resnet_fpn_backbone
from .roi_heads import FastRCNNPredictor, RoIHeads, TwoMLPHead
from .rpn import RegionProposalNetwork, RPNHead

__all__ = [
    "FasterRCNN",
    "SingleScaleRoIPool",
    "fasterrcnn_resnet18_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_small",
    "fasterrcnn_vgg16",
]

# Names in files written before torchvision 0.13, and what they are called since.
RENAMED = (
    (r"(inner_blocks|layer_blocks)\.(\d+)\.(weight|bias)$", r"\1.\2.0.\3"),
    (r"rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
    *[(rf"mask_fcn{k + 1}\.", f"{k}.0.") for k in range(4)],
)


class FasterRCNN(Detector):
    """A detector of two stages.

    Args:
        backbone: from pictures (N, C, H, W) to maps by name, as `BackboneWithFPN` and `VGGBody`.
        rpn: says where something is.
        roi_heads: says what it is.
        transform: brings pictures to their size and into batches.
        num_classes: kinds of objects, without background.
    """

    needs: tuple[str, ...] = ()  # what targets must have, besides boxes and labels

    def __init__(
        self,
        backbone: nn.Module,
        rpn: RegionProposalNetwork,
        roi_heads: RoIHeads,
        transform: PictureTransform,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = backbone, rpn, roi_heads
        self.transform, self.num_classes = transform, num_classes

    def losses(self, images: Any, targets: Targets) -> dict[str, Tensor]:
        """The four losses, or more in a subclass; their sum is to be made small.

        Which anchors and proposals are compared is drawn by `manual_seed`; all else is determined.

        Args:
            images, targets: see detector.py.

        Returns:
            "loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", scalars.

        Raises:
            TypeError, ValueError: as `check_pictures`.
        """
        images = check_pictures(type(self).__name__, images, targets, self.num_classes, self.needs)
        batch, targets = self.transform(images, targets)  # (N, C, H, W), and boxes moved along
        features = self.backbone(batch.images)  # maps (N, C, H_k, W_k) by name
        levels = self.rpn(features, batch.images.shape[2:])  # what is said of each anchor
        proposals = self.rpn.proposals(levels, batch.sizes, training=True)  # (K, 4) an image
        samples = self.roi_heads.sample(proposals, targets)  # some of them, and what they show
        return {
            **self.rpn.losses(levels, targets, batch.sizes),
            **self.roi_heads.losses(features, samples, targets, batch.sizes),
        }

    @no_grad()
    def predict(self, images: Any) -> Objects:
        """The objects in each image. In evaluation mode nothing is left to chance.

        Args:
            images: see detector.py.

        Returns:
            for each image "boxes" (R, 4), pixels, "labels" (R,), "scores" (R,) from 0 to 1,
            falling.

        Raises:
            TypeError, ValueError: as `check_pictures`.
        """
        batch, _ = self.transform(check_pictures(type(self).__name__, images))
        features = self.backbone(batch.images)
        levels = self.rpn(features, batch.images.shape[2:])
        proposals = self.rpn.proposals(levels, batch.sizes, training=False)
        found = self.roi_heads.detect(features, proposals, batch.sizes)
        return self.finish(self.transform.restore(found, batch.sizes, batch.original_sizes), batch)

    def finish(self, found: Objects, batch: Batch) -> Objects:
        """What is left to do when boxes are in pixels of the pictures as given: here nothing."""
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """As any module's; torchvision's older names are understood."""
        renamed = dict(state_dict)
        for path in state_dict:
            new = path
            for old, name in RENAMED:
                new = re.sub(old, name, new)
            renamed[new] = renamed.pop(path)
        return super().load_state_dict(renamed, strict)


class SingleScaleRoIPool(nn.Module):
    """RoIPool where a backbone has one map only, "0".

    Args:
        output_size, spatial_scale: as in `functional.roi_pool`.
    """

    def __init__(self, output_size: int, spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(
        self, features: Mapping[str, Tensor], boxes: Sequence[Array], sizes: Sizes
    ) -> Tensor:
        """The map (N, C, H, W), and for each image boxes (K_i, 4), to (K, C, ph, pw)."""
        return F.roi_pool(features["0"], boxes, self.output_size, self.spatial_scale)


# -- the networks ---------------------------------------------------------------------------------


def fpn_rpn(out_channels: int) -> RegionProposalNetwork:
    """Proposals from the five levels of a pyramid. Lin et al. 2017, section 4.1."""
    return RegionProposalNetwork(fpn_anchors(), RPNHead(out_channels, 3))


def fpn_box_parts(out_channels: int, num_classes: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The first three arguments of `RoIHeads`, on a pyramid. Lin et al. 2017, section 4.2."""
    return (
        nn.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2),
        TwoMLPHead(out_channels * 7 * 7, 1024),
        FastRCNNPredictor(1024, num_classes),
    )


def fasterrcnn_resnet50_fpn(
    num_classes: int = 90,
    *,
    backbone_name: str = "resnet50",
    min_size: int = 800,
    max_size: int = 1333,
    trainable_backbone_layers: int | None = None,
    **options: Any,
) -> FasterRCNN:
    """Faster R-CNN on a pyramid of ResNet-50: Lin et al. 2017; 41,755,286 parameters.

    So with batch norm that is frozen; where it learns, it has 53,120 more.

    Args:
        num_classes: kinds of objects without background; torchvision counts one more. (COCO's
            category k is label k - 1; ten of the 90 are unused.)
        backbone_name: "resnet18" to "resnet152".
        min_size, max_size: pixels to which the shorter side of a picture is brought, unless the
            longer one became more than max_size.
        trainable_backbone_layers: None to train everything, from the start; with a backbone that
            others trained 0 to 5, see `freeze_body` in fpn.py; 3 is usual.
        options: of `resnet_fpn_backbone`: fpn=PathAggregation, norm_layer ... torchvision's own
            weights want norm_layer=functools.partial(nn.FrozenBatchNorm2d, eps=0.0).

    Returns:
        a detector: see detector.py.
    """
    backbone = resnet_fpn_backbone(backbone_name, trainable_backbone_layers, **options)
    channels = backbone.out_channels
    roi_heads = RoIHeads(*fpn_box_parts(channels, num_classes))
    transform = PictureTransform(min_size, max_size)
    return FasterRCNN(backbone, fpn_rpn(channels), roi_heads, transform, num_classes)


def fasterrcnn_resnet18_fpn(num_classes: int = 90, **options: Any) -> FasterRCNN:
    """Faster R-CNN on a pyramid of ResNet-18, the lightest. Arguments: `fasterrcnn_resnet50_fpn`.

    Not published; here it is what speed is measured with.
    """
    return fasterrcnn_resnet50_fpn(num_classes, backbone_name="resnet18", **options)


def fasterrcnn_vgg16(
    num_classes: int = 20, *, min_size: int = 600, max_size: int = 1000, dropout: float = 0.5
) -> FasterRCNN:
    """Faster R-CNN on VGG-16: Ren et al. 2015; 137,078,239 parameters.

    69.9 % mAP on VOC 2007, trained on its trainval set (table 3). The paper starts from a VGG-16
    trained on ImageNet, whose weights `backbone.features` and `roi_heads.box_head` take, and does
    not train its first four convolutions: `nn.utils.freeze(net.backbone.features[:10])`.

    Args:
        num_classes: kinds of objects without background.
        min_size, max_size: as in `fasterrcnn_resnet50_fpn`; the paper's.
        dropout: probability after fc6 and fc7.

    Returns:
        a detector: see detector.py.
    """
    backbone = VGGBody()
    rpn = RegionProposalNetwork(
        rpn_anchors(),
        RPNHead(512, 9, softmax=True),
        pre_nms_top_n=(12000, 6000),  # of the authors' code; the others: section 3.3
        post_nms_top_n=(2000, 300),
        ignore_crossing=True,
    )
    roi_heads = RoIHeads(
        SingleScaleRoIPool(7, 1 / 16),
        TwoMLPHead(512 * 7 * 7, 4096, dropout),
        FastRCNNPredictor(4096, num_classes),
        batch_size_per_image=64,  # 128 of two pictures: Girshick 2015, section 2.3
        beta=1.0,
    )
    transform = PictureTransform(min_size, max_size)
    return FasterRCNN(backbone, rpn, roi_heads, transform, num_classes)


def small_backbone() -> BackboneWithFPN:
    """Four blocks and a pyramid with 64 channels, normalised by groups: it learns from two pictures
    at a time, too, and without weights of others (Wu, He 2018; He et al. 2019).
    """
    norm = functools.partial(nn.GroupNorm, 8)
    body = ResNetBody(BasicBlock, (1, 1, 1, 1), width=16, norm_layer=norm)
    return BackboneWithFPN(body, FeaturePyramid(body.channels, 64))


def small_rpn() -> RegionProposalNetwork:
    """Proposals for objects from 10 to 150 pixels, from the four levels of `small_backbone`."""
    return RegionProposalNetwork(
        AnchorGenerator(((16,), (32,), (64,), (128,)), (0.5, 1.0, 2.0)),
        RPNHead(64, 3),
        batch_size_per_image=128,
        pre_nms_top_n=(400, 200),
        post_nms_top_n=(200, 100),
    )


def small_roi_align(output_size: int) -> nn.MultiScaleRoIAlign:
    """Boxes of 64 pixels from the level of stride 16, as their anchors are."""
    return nn.MultiScaleRoIAlign(["0", "1", "2", "3"], output_size, 2, canonical_scale=64)


def small_box_parts(num_classes: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The first three arguments of `RoIHeads`, on `small_backbone`."""
    return small_roi_align(7), TwoMLPHead(64 * 7 * 7, 256), FastRCNNPredictor(256, num_classes)


def fasterrcnn_small(
    num_classes: int = 13, *, min_size: int = 128, max_size: int = 256
) -> FasterRCNN:
    """A Faster R-CNN for pictures of 64 to 256 pixels that two cores train in minutes.

    Args:
        num_classes: kinds of objects without background.
        min_size, max_size: as in `fasterrcnn_resnet50_fpn`.

    Returns:
        a detector: see detector.py.
    """
    roi_heads = RoIHeads(*small_box_parts(num_classes), batch_size_per_image=64)
    transform = PictureTransform(min_size, max_size)
    return FasterRCNN(small_backbone(), small_rpn(), roi_heads, transform, num_classes)
