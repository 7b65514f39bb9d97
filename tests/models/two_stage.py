"""What tests of Faster, Mask and Keypoint R-CNN share: torchvision's networks beside ours."""

import functools
from unittest import mock

import numpy as np

import minidl as md
from minidl import nn
from minidl.backend import of
from minidl.models.classification.resnet import BasicBlock
from minidl.models.detection.detector import PictureTransform
from minidl.models.detection.faster_rcnn import (
    FasterRCNN,
    fasterrcnn_resnet50_fpn,
    fpn_rpn,
    small_roi_align,
    small_rpn,
)
from minidl.models.detection.fpn import (
    BackboneWithFPN,
    FeaturePyramid,
    LastLevelMaxPool,
    ResNetBody,
)
from minidl.models.detection.keypoint_rcnn import (
    KeypointHead,
    KeypointPredictor,
    KeypointRCNN,
    KeypointRoIHeads,
    keypointrcnn_resnet50_fpn,
)
from minidl.models.detection.mask_rcnn import (
    MaskHead,
    MaskPredictor,
    MaskRCNN,
    MaskRoIHeads,
    maskrcnn_resnet50_fpn,
)
from minidl.models.detection.roi_heads import FastRCNNPredictor, RoIHeads, TwoMLPHead
from minidl.models.detection.rpn import RPNHead

from ..torchvision_oracle import torchvision

SIZES = ((75, 105), (90, 70))
OPTIONS = {"min_size": 96, "max_size": 144}
BUILDERS = {
    "FasterRCNN": fasterrcnn_resnet50_fpn,
    "MaskRCNN": maskrcnn_resnet50_fpn,
    "KeypointRCNN": keypointrcnn_resnet50_fpn,
}
# Few, as torchvision's operations are written in Python here; each in training, in prediction.
PROPOSALS = (120, 80), (80, 60)  # before and after suppression
DETECTIONS = 50


def theirs(kind, name, num_classes=7):
    """torchvision's FasterRCNN, MaskRCNN or KeypointRCNN, with random weights that find objects.

    name: of its backbone; "narrow" for four blocks and heads of few channels.
    """
    import torch

    detection = torchvision().models.detection
    torch.manual_seed(0)
    build = getattr(detection, kind)
    if name == "narrow":
        resnet = torchvision().models.resnet
        body = detection.backbone_utils.BackboneWithFPN(
            resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1]),
            {f"layer{k + 1}": str(k) for k in range(4)},
            [64, 128, 256, 512],
            32,
        )
        parts = {
            "box_head": detection.faster_rcnn.TwoMLPHead(32 * 49, 64),
            "box_predictor": detection.faster_rcnn.FastRCNNPredictor(64, num_classes),
        }
        if kind == "MaskRCNN":
            parts["mask_head"] = detection.mask_rcnn.MaskRCNNHeads(32, (16,), 1)
            parts["mask_predictor"] = detection.mask_rcnn.MaskRCNNPredictor(16, 12, num_classes)
        if kind == "KeypointRCNN":
            parts["keypoint_head"] = detection.keypoint_rcnn.KeypointRCNNHeads(32, (16,))
            parts["keypoint_predictor"] = detection.keypoint_rcnn.KeypointRCNNPredictor(16, 17)
        net = build(body, None, **OPTIONS, **parts)
    else:
        body = detection.backbone_utils.resnet_fpn_backbone(
            backbone_name=name, weights=None, trainable_layers=5, norm_layer=torch.nn.BatchNorm2d
        )
        net = build(body, num_classes, **OPTIONS)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if hasattr(module, "bn3"):  # sixteen residuals on top of each other are too much
            torch.nn.init.constant_(module.bn3.weight, 0.45)
    spread = {
        "rpn.head.cls_logits": 0.05,
        "rpn.head.bbox_pred": 0.02,
        "roi_heads.box_predictor.cls_score": 0.03,
        "roi_heads.box_predictor.bbox_pred": 0.1,
    }
    with torch.no_grad():
        for path, std in spread.items():
            net.get_submodule(path).weight.normal_(0, std)
            net.get_submodule(path).bias.normal_(0, std)
    return net.eval()


def weights(net):
    return {path: values.numpy() for path, values in net.state_dict().items()}


def ours(kind, name, num_classes):
    """The same of ours; num_classes without background."""
    if name != "narrow":
        return BUILDERS[kind](num_classes, backbone_name=name, **OPTIONS)
    body = ResNetBody(BasicBlock, (1, 1, 1, 1))
    backbone = BackboneWithFPN(body, FeaturePyramid(body.channels, 32, LastLevelMaxPool()))
    levels = ["0", "1", "2", "3"]
    parts = [
        nn.MultiScaleRoIAlign(levels, 7, 2),
        TwoMLPHead(32 * 49, 64),
        FastRCNNPredictor(64, num_classes),
    ]
    pool = nn.MultiScaleRoIAlign(levels, 14, 2)
    if kind == "FasterRCNN":
        build, heads = FasterRCNN, RoIHeads(*parts)
    elif kind == "MaskRCNN":
        mask_parts = pool, MaskHead(32, (16,)), MaskPredictor(16, 12, num_classes)
        build, heads = MaskRCNN, MaskRoIHeads(*parts, mask_parts=mask_parts)
    else:
        points = pool, KeypointHead(32, (16,)), KeypointPredictor(16, 17)
        build, heads = KeypointRCNN, KeypointRoIHeads(*parts, keypoint_parts=points)
    return build(backbone, fpn_rpn(32), heads, PictureTransform(**OPTIONS), num_classes)


def twins(kind, name, num_classes=7):
    """torchvision's network and ours with its weights, in float64.

    In float32 two boxes may be found in the other order, since their scores differ by less than
    rounding errors; then another box may be suppressed, and everything after it moves up.
    """
    their = theirs(kind, name, num_classes)
    with nn.init.skip_init():
        our = ours(kind, name, num_classes - 1)
    our.load_state_dict(weights(their))
    their.roi_heads.detections_per_img = our.roi_heads.detections_per_img = DETECTIONS
    our.rpn.pre_nms_top_n, our.rpn.post_nms_top_n = PROPOSALS
    for attribute, numbers in zip(("_pre_nms_top_n", "_post_nms_top_n"), PROPOSALS, strict=True):
        setattr(their.rpn, attribute, dict(zip(("training", "testing"), numbers, strict=True)))
    return their.double(), our.double().eval()


def pictures(sizes=SIZES):
    rng = np.random.default_rng(0)
    return [rng.uniform(0, 1, (3, *size)) for size in sizes]


def truth(num_classes=6, sizes=SIZES, keypoints=17, labels=None):
    """Targets as arrays: three objects in the first picture, one in each other."""
    rng, result = np.random.default_rng(1), []
    for k, (height, width) in enumerate(sizes):
        count = 1 if k else 3
        start = rng.uniform(0, 0.5, (count, 2)) * (width, height)
        sides = rng.uniform(0.2, 0.45, (count, 2)) * (width, height)
        boxes = np.concatenate([start, start + sides], axis=1).astype(np.float32)
        points = start[:, None] + rng.uniform(-0.1, 1.1, (count, keypoints, 2)) * sides[:, None]
        seen = rng.integers(0, 3, (count, keypoints, 1))
        masks = np.zeros((count, height, width), bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
            mask[y1:y2, x1:x2] = rng.uniform(0, 1, (y2 - y1, x2 - x1)) > 0.3
        result.append(
            {
                "boxes": boxes,
                "labels": rng.integers(0, num_classes, count),
                "masks": masks,
                "keypoints": np.concatenate([points, seen], axis=2).astype(np.float32),
            }
        )
    return result


def predictions(their, our, images):
    """What both find in the images: two lists of dictionaries of arrays; our labels from 1."""
    import torch

    with torch.no_grad():
        expected = their([torch.tensor(x) for x in images])
    found = our.predict([md.tensor(x) for x in images])
    expected = [{name: value.numpy() for name, value in one.items()} for one in expected]
    found = [{name: value.data for name, value in one.items()} for one in found]
    for one in found:
        one["labels"] = one["labels"] + 1
    return expected, found


def assert_equal_predictions(their, our, images, **tolerances):
    """Boxes within 1e-3 pixels, scores within 1e-4, equal labels; others by name as given."""
    tolerances = {"boxes": 1e-3, "scores": 1e-4, "labels": 0, **tolerances}
    expected, found = predictions(their, our, images)
    for e, f in zip(expected, found, strict=True):
        assert e.keys() == f.keys() == tolerances.keys()
        assert len(e["scores"]) > 10
        for name, tolerance in tolerances.items():
            wanted = e[name][:, 0] if name == "masks" else e[name]
            assert f[name].shape == wanted.shape
            np.testing.assert_allclose(f[name], wanted, rtol=0, atol=tolerance, err_msg=name)


class SameSampler:
    """In place of a random sampler, theirs or ours: the first of the positive and negative ones."""

    def __init__(self, size, fraction):
        self.size, self.fraction = size, fraction

    def __call__(self, labels):
        drawn = [self.draw(np.asarray(own)) for own in labels]
        if not isinstance(labels[0], np.ndarray):
            import torch

            drawn = [[torch.tensor(mask) for mask in pair] for pair in drawn]
        return [list(masks) for masks in zip(*drawn, strict=True)]

    def draw(self, labels):
        most = int(self.size * self.fraction)
        positive = (labels >= 1) & (np.cumsum(labels >= 1) <= most)
        rest = self.size - positive.sum()
        return positive, (labels == 0) & (np.cumsum(labels == 0) <= rest)


def losses(their, our, images, targets):
    """The losses of both in training mode, of the same anchors and proposals."""
    import torch

    for rpn, name in ((their.rpn, "fg_bg_sampler"), (our.rpn, "sampler")):
        setattr(rpn, name, SameSampler(256, 0.5))
    for heads, name in ((their.roi_heads, "fg_bg_sampler"), (our.roi_heads, "sampler")):
        setattr(heads, name, SameSampler(24, 0.25))
    copies = [{name: torch.tensor(value) for name, value in target.items()} for target in targets]
    for copy in copies:
        copy["labels"] = copy["labels"] + 1
    their.train()
    for module in their.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    # The whole masks are looked at for each sample of each box: box by box, or it takes gigabytes.
    theirs = torchvision().models.detection.roi_heads
    align = theirs.roi_align

    def one_by_one(masks, rois, *options):
        return torch.cat([align(masks, rois[k : k + 1], *options) for k in range(len(rois))])

    with torch.no_grad(), mock.patch.object(theirs, "roi_align", one_by_one):
        expected = their([torch.tensor(x) for x in images], copies)
    their.eval()
    found = our.losses(
        [md.tensor(x) for x in images],
        [{name: md.tensor(value) for name, value in target.items()} for target in targets],
    )
    return (
        {name: float(value) for name, value in expected.items()},
        {name: float(of(value.data).to_host(value.data)) for name, value in found.items()},
    )


def assert_equal_losses(their, our, images, targets, rtol=1e-4):
    expected, found = losses(their, our, images, targets)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert value > 0
        np.testing.assert_allclose(found[name], value, rtol=rtol, err_msg=name)


def narrow(kind, heads, parts, num_classes=3):
    """A network of few channels for small pictures.

    kind, heads: classes, as `FasterRCNN` and `RoIHeads`; parts: further arguments of the latter.
    """
    norm = functools.partial(nn.GroupNorm, 2)
    body = ResNetBody(BasicBlock, (1, 1, 1, 1), width=4, norm_layer=norm)
    backbone = BackboneWithFPN(body, FeaturePyramid(body.channels, 6))
    rpn = small_rpn()
    rpn.head = RPNHead(6, 3)
    box_parts = small_roi_align(3), TwoMLPHead(6 * 9, 8), FastRCNNPredictor(8, num_classes)
    roi_heads = heads(*box_parts, batch_size_per_image=16, **parts)
    for name, p in roi_heads.named_parameters():
        if name.endswith("bias"):  # not 0, where a unit without input has a kink
            nn.init.uniform_(p, -0.1, 0.1)
    return kind(backbone, rpn, roi_heads, PictureTransform(32, 64), num_classes)


def fixed(net, images, targets):
    """The losses as a function of (images, targets), in float64, with the samples of now.

    Proposals move with the weights, but no gradient goes through them; so differences agree with
    gradients only if proposals stay.
    """
    net.double().eval()
    images = [image.double() for image in images]
    batch, moved = net.transform(images, targets)
    levels = net.rpn(net.backbone(batch.images), batch.images.shape[2:])
    proposals = net.rpn.proposals(levels, batch.sizes, training=True)
    samples = net.roi_heads.sample(proposals, moved)
    assert all(0 < len(sample.matches) < len(sample.boxes) for sample in samples)

    def call(images, targets):
        batch, moved = net.transform(images, targets)
        features = net.backbone(batch.images)
        levels = net.rpn(features, batch.images.shape[2:])
        return {
            **net.rpn.losses(levels, moved, batch.sizes),
            **net.roi_heads.losses(features, samples, moved, batch.sizes),
        }

    return call
