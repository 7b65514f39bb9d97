import numpy as np
import pytest

import minidl as md
from minidl import nn, tensor
from minidl.models.detection.detector import PictureTransform
from minidl.models.detection.rfcn import (
    RFCN,
    EarlyProposals,
    PositionSensitiveHeads,
    PositionSensitiveMaps,
    RFCNBody,
    Vote,
    hardest,
    rfcn_resnet101,
    rfcn_small,
)
from minidl.models.detection.roi_heads import Samples

from .detection import (
    NUM_CLASSES,
    assert_loss_gradients_are_right,
    assert_robust,
    assert_same_on,
    objects,
    odd_batches,
    overfit,
    scenes,
)
from .segmentation import shake


def narrow(**options):
    options = {"min_size": 64, "hard_examples": 8} | options
    return rfcn_small(NUM_CLASSES, width=2, **options)


class Maps(nn.Module):
    """Score and box maps that are given, whatever the picture."""

    def __init__(self, scores, codes):
        super().__init__()
        self.scores, self.codes = tensor(scores), tensor(codes)

    def forward(self, x):
        return self.scores, self.codes


def test_resnet101_has_as_many_parameters_as_its_layers_say():
    resnet101 = 44_549_160 - 2049 * 1000  # without the last layer
    reduce = 2048 * 1024 + 1024
    maps = (1024 + 1) * 49 * (21 + 4)
    rpn = (1024 * 9 + 1) * 512 + (512 + 1) * 9 * (2 + 4)
    with nn.init.skip_init():
        net = rfcn_resnet101()
    assert sum(p.numel() for p in net.parameters()) == resnet101 + reduce + maps + rpn


def test_conv5_has_the_stride_of_conv4_and_sees_as_far():
    body = RFCNBody((1, 1, 1, 2), 12, width=4).eval()
    maps = body(md.randn(1, 3, 64, 96))
    assert maps["early"].shape == (1, 64, 4, 6)
    assert maps["0"].shape == (1, 12, 4, 6)
    assert [block.conv2.dilation for block in body.body.layer4] == [(1, 1), (2, 2)]


def test_scores_are_means_over_bins_that_come_each_from_a_map_of_its_own():
    # Two bins along each axis, one class and background. Map m has the value m everywhere.
    scores = np.arange(8.0).reshape(1, 8, 1, 1) * np.ones((1, 1, 8, 8))
    scores[0, 4:] *= 10
    codes = np.arange(16.0).reshape(1, 16, 1, 1) * np.ones((1, 1, 8, 8))
    heads = PositionSensitiveHeads(Maps(scores, codes), 2, 1.0)
    logits, deltas = heads({"0": None}, [np.array([[1, 1, 5, 7]], np.float32)], [(8, 8)])
    np.testing.assert_allclose(logits.data, [[(0 + 1 + 2 + 3) / 4, 10 * (4 + 5 + 6 + 7) / 4]])
    expected = [[1.5, 5.5, 9.5, 13.5]]
    np.testing.assert_allclose(deltas.data, [expected * 2])  # for all classes the same


def test_a_shifted_box_is_scored_lower_where_parts_answer():
    # An object in rows and columns 2 to 5: its four parts answer on maps of their own.
    scores = np.zeros((1, 8, 8, 8))
    scores[0, 4, 2:4, 2:4] = scores[0, 5, 2:4, 4:6] = 1
    scores[0, 6, 4:6, 2:4] = scores[0, 7, 4:6, 4:6] = 1
    heads = PositionSensitiveHeads(Maps(scores, np.zeros((1, 16, 8, 8))), 2, 1.0)
    boxes = np.array([[2, 2, 6, 6], [3, 2, 7, 6], [4, 2, 8, 6]], np.float32)
    logits, _ = heads({"0": None}, [boxes], [(8, 8)])
    np.testing.assert_allclose(logits.data[:, 1], [1, 0.5, 0])


def test_the_hardest_samples_are_those_of_the_largest_losses():
    boxes = np.arange(24, dtype=np.float32).reshape(6, 4)
    sample = Samples(boxes, np.array([3, 1, 2, 0, 0, 0]), np.array([7, 8, 9]))
    found = hardest(sample, np.array([0.1, 5.0, 0.2, 0.0, 4.0, 3.0]), 4)
    np.testing.assert_array_equal(found.boxes, boxes[[1, 2, 4, 5]])
    np.testing.assert_array_equal(found.labels, [1, 2, 0, 0])
    np.testing.assert_array_equal(found.matches, [8, 9])
    everything = hardest(sample, np.zeros(6), 100)
    np.testing.assert_array_equal(everything.boxes, boxes)
    np.testing.assert_array_equal(everything.matches, [7, 8, 9])


def test_losses_of_single_samples_add_up_to_the_loss_of_all():
    md.manual_seed(0)
    images, targets = scenes(2)
    net = shake(narrow()).eval()
    batch, targets = net.transform(images, targets)
    features = net.backbone(batch.images)
    levels = net.rpn(features, (64, 64))
    proposals = net.rpn.proposals(levels, batch.sizes, training=True)
    heads = net.roi_heads
    samples = heads.sample(proposals, targets)
    assert [len(sample.boxes) for sample in samples] == [
        len(boxes) + len(target["boxes"]) for boxes, target in zip(proposals, targets, strict=True)
    ]
    each = np.concatenate(heads.loss_of_each(features, samples, targets, batch.sizes))
    heads.hard_examples = 10_000
    of_all = sum(heads.losses(features, samples, targets, batch.sizes).values()).item()
    np.testing.assert_allclose(each.mean(), of_all, rtol=1e-5)
    heads.hard_examples = 3
    hard = sum(heads.losses(features, samples, targets, batch.sizes).values()).item()
    first = len(samples[0].boxes)
    worst = [np.sort(part)[-3:] for part in (each[:first], each[first:])]
    np.testing.assert_allclose(np.mean(worst), hard, rtol=1e-5)


def test_without_hard_examples_regions_are_drawn_at_random():
    net = narrow(hard_examples=None)
    assert net.roi_heads.sampler.batch_size_per_image == 64
    assert_robust(net, [md.rand(3, 64, 64)], [objects([[5, 5, 40, 50]])])


def test_a_part_of_the_network_gives_the_early_proposals():
    net = narrow()
    assert isinstance(net, RFCN)
    assert isinstance(net.rpn, EarlyProposals)
    features = net.backbone(md.rand(1, 3, 64, 64))
    (level,) = net.rpn(features, (64, 64))
    assert level.objectness.shape == (1, 16 * 16 * 9)


# -- what all detectors must do -------------------------------------------------------------------


def test_gradients_of_the_losses_are_right():
    md.manual_seed(0)
    images, targets = scenes(2, (16, 24))
    net = shake(narrow(min_size=16, bins=2, hard_examples=None))
    fixed = [np.array([[1, 1, 9, 11], [4, 2, 20, 15]], np.float32)] * 2

    def losses(images, targets):
        # Proposals move with the parameters, by jumps: here they stay where they are.
        batch, moved = net.transform(images, targets)
        features = net.backbone(batch.images)
        levels = net.rpn(features, batch.images.shape[2:])
        samples = net.roi_heads.sample(fixed, moved)
        return {
            **net.rpn.losses(levels, moved, batch.sizes),
            **net.roi_heads.losses(features, samples, moved, batch.sizes),
        }

    assert_loss_gradients_are_right(net, images, targets, losses=losses)


@pytest.mark.parametrize("name", odd_batches())
def test_odd_pictures_do_no_harm(name):
    images, targets = odd_batches()[name]
    assert_robust(narrow(), images, targets)


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_gpu_gives_what_the_cpu_gives(device):
    md.manual_seed(0)
    images, targets = scenes(2)
    assert_same_on(device, shake(narrow()), images, targets)


def test_the_large_form_works_on_a_narrow_network():
    body = RFCNBody((1, 1, 1, 1), 16, width=4)
    small = narrow()
    rpn = EarlyProposals(small.rpn.anchor_generator, type(small.rpn.head)(64, 9, True, 8))
    heads = PositionSensitiveHeads(PositionSensitiveMaps(16, NUM_CLASSES, 3), 3, 1 / 16)
    assert isinstance(heads.box_predictor, Vote)
    net = RFCN(body, rpn, heads, PictureTransform(64), NUM_CLASSES)
    images, targets = scenes(2)
    assert_robust(net, images, targets)


@pytest.mark.slow
def test_eight_scenes_are_learned_by_heart():
    md.manual_seed(0)
    images, targets = scenes(8)
    net = rfcn_small(NUM_CLASSES, min_size=64)
    assert overfit(net, images, targets, steps=200, lr=3e-3).ap >= 0.95
