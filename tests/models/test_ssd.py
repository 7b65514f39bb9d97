"""SSD: its boxes, its loss by hand, torchvision's results, learning."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.boxes import DefaultBoxGenerator
from minidl.models.classification.vgg import VGG
from minidl.models.detection.detector import Batch
from minidl.models.detection.ssd import SSD, VGGFeatures, hard_negatives, ssd300_vgg16, ssd_small

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
from .segmentation import shake

ODD = odd_batches()
DEVICES = ["strict", pytest.param("cuda", marks=pytest.mark.gpu)]


class TwoMaps(nn.Module):
    """Maps of a quarter and an eighth, without normalisation: a backbone that torch has, too."""

    out_channels = (6, 8)

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 5, 4, 2)
        self.second = nn.Conv2d(6, 8, 3, 2, 1)

    def forward(self, x):
        first = nn.functional.relu(self.first(x))
        return [first, nn.functional.relu(self.second(first))]


def narrow(**options):
    """Pictures of 32x32, two kinds of objects, 8 * 8 * 4 + 4 * 4 * 6 = 352 default boxes."""
    boxes = DefaultBoxGenerator([[2], [2, 3]], min_ratio=0.3, max_ratio=0.6)
    return SSD(
        TwoMaps(), boxes, (32, 32), 2, image_mean=(0.5,) * 3, image_std=(0.3,) * 3, **options
    )


def narrow_of_torchvision(**options):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    detection = torchvision().models.detection

    class Backbone(torch.nn.Module):
        out_channels = (6, 8)

        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(3, 6, 5, 4, 2)
            self.second = torch.nn.Conv2d(6, 8, 3, 2, 1)

        def forward(self, x):
            first = self.first(x).relu()
            return {"0": first, "1": self.second(first).relu()}

    torch.manual_seed(0)
    boxes = detection.anchor_utils.DefaultBoxGenerator([[2], [2, 3]], 0.3, 0.6)
    net = detection.ssd.SSD(
        Backbone(), boxes, (32, 32), 3, image_mean=[0.5] * 3, image_std=[0.3] * 3, **options
    )
    with torch.no_grad():  # away from where all scores are alike
        for p in net.head.parameters():
            p.copy_(torch.randn(p.shape) * 0.2)
    return net


# -- what is particular to SSD ---------------------------------------------------------------------


def test_ssd300_has_the_papers_8732_boxes():
    extra = ((2, 3, 2, 1), (2, 4, 2, 1), (2, 5, 1, 0), (2, 6, 1, 0))
    features = VGGFeatures((2, 2, 2, 2, 2), 3, extra)
    with nn.init.skip_init():
        full = ssd300_vgg16(20)
    net = SSD(features, full.anchor_generator, (300, 300), 20)
    assert full.backbone.out_channels == [512, 1024, 512, 256, 256, 256]
    assert features.out_channels == [2, 3, 3, 4, 5, 6]
    images = md.zeros(1, 3, 300, 300)
    maps = features(images)
    assert [x.shape for x in maps] == [
        (1, 2, 38, 38), (1, 3, 19, 19), (1, 3, 10, 10), (1, 4, 5, 5), (1, 5, 3, 3), (1, 6, 1, 1)
    ]  # fmt: skip
    logits, codes, boxes = net.answers(Batch(images, [(300, 300)], [(300, 300)]))
    assert logits.shape == (1, 8732, 21)
    assert codes.shape == (1, 8732, 4)
    assert boxes.shape == (8732, 4)


def test_conv4_3_has_the_length_20_at_each_position_at_first():
    features = VGGFeatures((2, 2, 2, 5, 2), 3, ())
    first = features(md.randn(2, 3, 64, 64))[0]
    np.testing.assert_allclose(np.sqrt((first.data**2).sum(axis=1)), 20.0, rtol=1e-4)


def test_a_classifier_gives_its_convolutions_and_a_part_of_fc6_and_fc7():
    vgg = VGG("D", 10, widths=(2, 3, 4, 5, 6), hidden=16)
    features = VGGFeatures((2, 3, 4, 5, 6), 4, ())
    features.load_vgg16(vgg)
    x = md.randn(1, 3, 32, 32)
    conv4_3 = vgg.features[:23](x)
    np.testing.assert_array_equal(features.features(x).data, conv4_3.data)
    conv5_3 = vgg.features[23:30](conv4_3)
    np.testing.assert_array_equal(features.extra[0][:-1](conv4_3).data, conv5_3.data)

    # fc6 sees 7x7 positions, of which every third is seen six apart.
    maps = np.zeros((1, 6, 13, 13), np.float32)
    maps[:, :, ::6, ::6] = np.random.default_rng(0).normal(size=(1, 6, 3, 3))
    window = np.zeros((1, 6, 7, 7), np.float32)
    window[:, :, ::3, ::3] = maps[:, :, ::6, ::6]
    fc6, fc7 = vgg.classifier[0], vgg.classifier[3]
    hidden = fc6(md.tensor(window).flatten(1)).data[0, ::4]
    _, conv6, relu, conv7, _ = features.extra[0][-1]
    found = conv6(md.tensor(maps))
    np.testing.assert_allclose(found.data[0, :, 6, 6], hidden, rtol=1e-4)
    weight, bias = fc7.weight.data[::4, ::4], fc7.bias.data[::4]
    expected = weight @ np.maximum(found.data[0, :, 6, 6], 0) + bias
    np.testing.assert_allclose(conv7(relu(found)).data[0, :, 6, 6], expected, rtol=1e-4)


def test_a_classifier_of_other_widths_is_refused():
    features = VGGFeatures((2, 3, 4, 5, 6), 4, ())
    with pytest.raises(ValueError, match=r"weights \(2, 3, 3, 3\) here, \(4, 3, 3, 3\) there"):
        features.load_vgg16(VGG("D", 10, widths=(4, 3, 4, 5, 6), hidden=16))


def test_of_the_background_only_the_worst_counts_three_for_each_object():
    loss = np.array(
        [[9, 1, 5, 3, 4, 2, 8], [9, 1, 5, 3, 4, 2, 8], [9, 1, 5, 3, 4, 2, 8]], np.float32
    )
    positive = np.array([[1, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 1], [0] * 7], bool)
    chosen = hard_negatives(loss, positive, 3.0)
    # The first picture: 8, 5 and 4. The second: all five there are. The third has no object.
    assert chosen.astype(int).tolist() == [
        [0, 0, 1, 0, 1, 0, 1],
        [1, 0, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]


def test_the_loss_is_the_one_of_equations_1_to_3():
    net = narrow()
    images, targets = mixed()
    images, targets = images[:2], targets[:2]
    batch, resized = net.transform(images, targets)
    logits, codes, boxes = net.answers(batch)
    logits, codes = logits.data.astype(np.float64), codes.data.astype(np.float64)
    count, by_class, by_code = 0, 0.0, 0.0
    for n, target in enumerate(resized):
        truth, labels = target["boxes"].data.astype(np.float64), target["labels"].data
        overlap = np.array([[iou(box, one) for one in truth] for box in boxes]).reshape(352, -1)
        owner = [int(row.argmax()) if len(row) and row.max() >= 0.5 else None for row in overlap]
        for k in range(len(truth)):
            owner[int(overlap[:, k].argmax())] = k
        negatives = []
        for b, k in enumerate(owner):
            log_p = logits[n, b] - math.log(np.exp(logits[n, b]).sum())
            if k is None:
                negatives.append(-log_p[0])
                continue
            count += 1
            by_class -= log_p[1 + labels[k]]
            (x1, y1, x2, y2), (tx1, ty1, tx2, ty2) = boxes[b].astype(np.float64), truth[k]
            w, h = x2 - x1, y2 - y1
            wanted = (
                10 * ((tx1 + tx2) - (x1 + x2)) / 2 / w,
                10 * ((ty1 + ty2) - (y1 + y2)) / 2 / h,
                5 * math.log((tx2 - tx1) / w),
                5 * math.log((ty2 - ty1) / h),
            )
            for mine, other in zip(codes[n, b], wanted, strict=True):
                d = abs(mine - other)
                by_code += d * d / 2 if d < 1 else d - 0.5
        matched = len(owner) - len(negatives)
        by_class += sum(sorted(negatives, reverse=True)[: 3 * matched])
    assert count > 3
    losses = net.losses(images, targets)
    assert losses["classification"].item() == pytest.approx(by_class / count, rel=1e-4)
    assert losses["bbox_regression"].item() == pytest.approx(by_code / count, rel=1e-4)


def iou(a, b):
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return w * h / (sum(areas) - w * h)


def test_a_batch_without_objects_has_no_loss():
    losses = ssd_small(3).losses(*ODD["nothing but background"])
    assert [loss.item() for loss in losses.values()] == [0.0, 0.0]


def test_backbone_and_boxes_must_have_as_many_maps():
    boxes = DefaultBoxGenerator([[2]] * 3)
    with pytest.raises(ValueError, match=r"SSD: the backbone gives 2 maps, .* is made for 3"):
        SSD(TwoMaps(), boxes, (32, 32), 2)


# -- torchvision -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"score_thresh": 0.4, "topk_candidates": 60, "detections_per_img": 30}], ids=str
)
def test_a_narrow_ssd_gives_the_losses_and_detections_of_torchvision(options):
    assert_as_torchvision(narrow(**options), narrow_of_torchvision(**options), *mixed(), 1)


@pytest.mark.slow
def test_ssd300_gives_the_losses_and_detections_of_torchvision():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    torch.manual_seed(0)
    theirs = torchvision().models.detection.ssd300_vgg16(
        weights_backbone=None, num_classes=4, score_thresh=0.3
    )
    with nn.init.skip_init():
        ours = ssd300_vgg16(3)
    ours.score_thresh = 0.3
    images, targets = mixed(80)
    assert_as_torchvision(ours, theirs, images, targets, 1)


# -- learning --------------------------------------------------------------------------------------


def test_the_loss_has_the_gradient_that_differences_say():
    images, targets = mixed()
    assert_loss_gradients_are_right(narrow(), images, targets)


def test_the_loss_of_the_network_on_vgg_has_the_gradient_that_differences_say():
    features = VGGFeatures((2, 2, 2, 3, 2), 3, ((2, 3, 2, 1),))
    boxes = DefaultBoxGenerator([[2], [2], [2]])
    net = shake(SSD(features, boxes, (32, 32), 2, image_mean=(0.5,) * 3, image_std=(0.3,) * 3))
    images, targets = mixed(32)
    new = ("backbone.scale_weight", "backbone.extra.0.7", "backbone.extra.1")
    assert_loss_gradients_are_right(net, images[:1], targets[:1], only=new, trials=1)


def test_a_small_ssd_learns_eight_scenes_by_heart():
    images, targets = scenes(8)
    assert overfit(ssd_small(3), images, targets, steps=100, lr=2e-3).ap >= 0.95


# -- odd inputs, devices ---------------------------------------------------------------------------


@pytest.mark.parametrize("batch", ODD)
def test_odd_batches_give_finite_losses_and_detections(batch):
    assert_robust(ssd_small(3, width=8), *ODD[batch])


def test_pictures_in_a_batch_do_not_influence_each_other():
    images, _ = mixed()
    net = narrow()
    together = net.predict(images)
    for image, expected in zip(images, together, strict=True):
        (alone,) = net.predict([image])
        for key, value in expected.items():
            np.testing.assert_allclose(alone[key].data, value.data, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_losses_and_detections_on_a_gpu_are_those_of_the_cpu(device):
    images, targets = mixed()
    assert_same_on(device, narrow(), images, targets)


@pytest.mark.parametrize("device", DEVICES)
def test_a_training_step_on_a_gpu_does_not_wait(device):
    net = narrow().to(device)
    images, targets = moved(*mixed(32), device)
    net.losses(images, targets)  # default boxes are sent there once
    with strict_cupy.forbid_sync():
        sum(net.losses(images, targets).values()).backward()


@pytest.mark.parametrize("size", [64, 96, 128])
def test_the_small_ssd_takes_pictures_from_64_to_128_pixels(size):
    net = ssd_small(13, size=size, width=8)
    logits, _, boxes = net.answers(net.transform([md.zeros(3, 70, 90)])[0])
    assert logits.shape == (1, len(boxes), 14)
    assert net.num_classes == 13
