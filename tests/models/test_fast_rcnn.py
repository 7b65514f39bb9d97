import copy
import math

import numpy as np
import pytest

import minidl as md
from minidl import nn, tensor
from minidl.backend import of
from minidl.boxes import BalancedPositiveNegativeSampler, box_iou
from minidl.models.classification.vgg import VGG
from minidl.models.detection.detector import PictureTransform
from minidl.models.detection.fast_rcnn import (
    FastRCNN,
    FastRCNNHeads,
    NormalizedCoder,
    compress_linear,
    fast_rcnn_small,
    fast_rcnn_vgg16,
)
from minidl.models.detection.faster_rcnn import SingleScaleRoIPool
from minidl.models.detection.fpn import VGGBody
from minidl.models.detection.regions import CachedProposals, load_classifier
from minidl.models.detection.roi_heads import FastRCNNPredictor, TwoMLPHead

from .detection import (
    NUM_CLASSES,
    assert_loss_gradients_are_right,
    assert_robust,
    assert_same_on,
    moved,
    objects,
    odd_batches,
    overfit,
    scenes,
)
from .segmentation import shake


def narrow(**options):
    options = {"min_size": 64} | options
    return fast_rcnn_small(NUM_CLASSES, width=2, hidden=8, **options)


def given(*boxes):
    """A source of proposals that does not look."""
    return CachedProposals(lambda image: np.array(boxes, np.float32).reshape(-1, 4))


class Answers(nn.Module):
    """A predictor that says what it was told to, whatever the features are."""

    def __init__(self, scores, codes):
        super().__init__()
        self.scores, self.codes = scores, codes

    def forward(self, x):
        return tensor(self.scores), tensor(self.codes)


def test_vgg16_has_the_papers_number_of_parameters_and_layers():
    with nn.init.skip_init():
        net = fast_rcnn_vgg16()
    assert sum(p.numel() for p in net.parameters()) == 134_690_729
    assert net.roi_heads.box_predictor.cls_score.weight.shape == (21, 4096)
    assert net.roi_heads.box_predictor.bbox_pred.weight.shape == (84, 4096)
    assert [type(layer).__name__ for layer in net.backbone.features].count("MaxPool2d") == 4


def test_losses_are_means_over_the_regions_drawn():
    # Overlaps with the object: 1 (the object itself), 0.8, 0.2 and 0.
    object = [0, 0, 20, 20]
    source = given([0, 0, 20, 16], [0, 0, 20, 4], [40, 40, 60, 60])
    net = narrow(proposals=source)
    labels = [1, 0, 1]  # in the order of proposals, then the object; the fourth is left out
    scores = np.arange(12, dtype=np.float32).reshape(3, 4)
    codes = np.zeros((3, 4, 4), np.float32)
    net.roi_heads.box_predictor = Answers(scores, codes)
    losses = net.losses([md.zeros(3, 64, 64)], [objects(object, [0])])
    log_sum = scores.max(1) + np.log(np.exp(scores - scores.max(1, keepdims=True)).sum(1))
    expected = (log_sum - scores[np.arange(3), labels]).mean()
    assert math.isclose(losses["loss_classifier"].item(), expected, rel_tol=1e-6)
    # From the box of height 16 to that of 20, by centre 2 / 16 / 0.1 and log(20 / 16) / 0.2.
    shift, growth = 2 / 16 / 0.1, math.log(20 / 16) / 0.2
    expected = ((shift - 0.5) + (growth - 0.5)) / 3
    assert math.isclose(losses["loss_box_reg"].item(), expected, rel_tol=1e-5)


def test_a_batch_has_64_regions_of_each_picture_of_which_16_show_an_object():
    rng = np.random.default_rng(0)
    near = np.array([10, 10, 30, 30]) + rng.uniform(-2, 2, (40, 4))
    aside = np.array([20, 10, 40, 30]) + rng.uniform(-1, 1, (90, 4))  # overlaps by a third
    far = np.array([45, 45, 60, 60]) + rng.uniform(-1, 1, (90, 4))
    net = narrow()
    proposals = [np.concatenate([far, near, aside]).astype(np.float32)] * 2
    for sample in net.roi_heads.sample(proposals, [objects([[10, 10, 30, 30]])] * 2):
        assert len(sample.boxes) == 64
        assert len(sample.matches) == 16
        assert (sample.boxes[:16, 0] < 15).all()
        assert ((sample.boxes[16:, 0] > 15) & (sample.boxes[16:, 0] < 25)).all()


def test_detections_are_decoded_boxes_of_every_class_but_background():
    net = narrow(proposals=given([10, 20, 30, 60], [11, 20, 31, 60]))
    scores = np.log(np.array([[0.1, 0.8, 0.06, 0.04], [0.2, 0.7, 0.02, 0.08]], np.float32))
    codes = np.zeros((2, 4, 4), np.float32)
    codes[0, 1, 0] = 1.0  # 0.1 of the width to the right
    codes[0, 2, 3] = 5.0  # e times as high
    net.roi_heads.box_predictor = Answers(scores, codes)
    (found,) = net.predict([md.zeros(3, 64, 64)])
    # Class 0 is found once: the second region overlaps the first.
    np.testing.assert_array_equal(found["labels"].data, [0, 2, 1])
    np.testing.assert_allclose(found["scores"].data, [0.8, 0.08, 0.06], rtol=1e-5)
    half = 20 * math.e
    expected = [[12, 20, 32, 60], [11, 20, 31, 60], [10, max(40 - half, 0), 30, min(40 + half, 64)]]
    np.testing.assert_allclose(found["boxes"].data, expected, rtol=1e-5)


def test_proposals_are_found_on_the_picture_as_given_and_used_on_the_resized_one():
    net = narrow(proposals=given([0, 0, 128, 64]))
    image = md.zeros(3, 128, 256)
    batch, _ = net.transform([image])
    assert batch.sizes == [(64, 128)]
    np.testing.assert_allclose(net.propose([image], batch), [[[0, 0, 64, 32]]])
    scores = np.array([[0.0, 9.0, 0.0, 0.0]], np.float32)
    net.roi_heads.box_predictor = Answers(scores, np.zeros((1, 4, 4), np.float32))
    (found,) = net.predict([image])
    np.testing.assert_allclose(found["boxes"].data, [[0, 0, 128, 64]], rtol=1e-5)


def test_measured_codes_have_mean_0_and_spread_1():
    images, targets = scenes(3)
    net = narrow()
    net.fit_targets(zip(images, targets, strict=True))
    codes = []
    for image, target in zip(images, targets, strict=True):
        boxes, true = net.proposals(image), target["boxes"].data
        matches = net.roi_heads.matcher(box_iou(true, boxes))
        mine = matches >= 0
        codes.append(net.roi_heads.box_coder.encode(true[matches[mine]], boxes[mine]))
    codes = np.concatenate(codes)
    assert len(codes) > 10
    np.testing.assert_allclose(codes.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(codes.std(0), 1, atol=1e-5)
    with pytest.raises(ValueError, match="0 regions show an object"):
        net.fit_targets([(images[0], objects([]))])


def test_decoding_normalised_codes_undoes_encoding_and_is_saved_with_the_network():
    net = narrow(proposals=given([10, 20, 30, 60]))
    coder = net.roi_heads.box_coder
    coder.mean.data[...] = 0.01, 0.02, 0.03, 0.04
    coder.std.data[...] = 0.1, 0.2, 0.3, 0.4
    start = np.array([[10, 20, 30, 60]], np.float32)
    wanted = np.array([[12, 20, 40, 50]], np.float32)
    codes = coder.encode(wanted, start)
    # Of the centre: 6 / 20 to the right, 5 / 40 up.
    expected = [(0.3 - 0.01) / 0.1, (-5 / 40 - 0.02) / 0.2]
    np.testing.assert_allclose(codes[0, :2], expected, rtol=1e-5)
    np.testing.assert_allclose(coder.decode(codes, start), wanted, rtol=1e-5)
    other = NormalizedCoder()
    prefix = "roi_heads.box_coder."
    state = net.state_dict()
    other.load_state_dict({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
    np.testing.assert_array_equal(other.encode(wanted, start), codes)


def test_it_starts_from_the_weights_of_a_classifier():
    widths, hidden = (2, 3, 4, 5, 6), 7
    vgg = VGG("D", 10, widths=widths, hidden=hidden).eval()
    heads = FastRCNNHeads(
        SingleScaleRoIPool(7, 1 / 16),
        TwoMLPHead(6 * 49, hidden),
        FastRCNNPredictor(hidden, 20),
    )
    net = FastRCNN(VGGBody(widths), heads, PictureTransform(224), 20, given()).eval()
    load_classifier(net.backbone.features, heads.box_head, vgg)
    x = md.randn(1, 3, 224, 224)
    # Both corners belong to a box: pixels 0 to 13 of the map, in place of the last 2x2 maxima.
    box = np.array([[0, 0, 208, 208]], np.float32)
    pooled = heads.box_roi_pool(net.backbone(x), [box], [(224, 224)])
    np.testing.assert_array_equal(pooled.data, vgg.features(x).data)
    expected = vgg.classifier[:6](pooled.flatten(1)).data
    np.testing.assert_allclose(heads.box_head(pooled).data, expected, rtol=1e-5)


# -- truncated SVD --------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_a_compressed_layer_is_the_nearest_of_its_rank(bias):
    layer = nn.Linear(12, 9, bias=bias)
    first, second = compress_linear(layer, 4)
    assert first.bias is None
    assert (second.bias is not None) == bias
    product = second.weight.data @ first.weight.data
    singular = np.linalg.svd(layer.weight.data, compute_uv=False)
    # Eckart and Young: what is missing is the rest of the singular values.
    missing = np.linalg.norm(layer.weight.data - product)
    assert math.isclose(missing, np.linalg.norm(singular[4:]), rel_tol=1e-4)
    assert np.linalg.matrix_rank(product, tol=1e-4) == 4


def test_compression_to_the_full_rank_changes_nothing():
    layer = nn.Linear(5, 7)
    x = md.randn(3, 5)
    np.testing.assert_allclose(compress_linear(layer, 5)(x).data, layer(x).data, atol=1e-6)
    for rank in (0, 6):
        with pytest.raises(ValueError, match="rank is 1 to 5"):
            compress_linear(layer, rank)


def test_the_papers_compression_makes_fc6_and_fc7_almost_four_times_smaller():
    # Section 3.1: t (u + v) numbers in place of u v.
    before, after = 25088 * 4096 + 4096 * 4096, 1024 * (25088 + 4096) + 256 * (4096 + 4096)
    assert before / after == pytest.approx(3.74, abs=0.01)
    net = narrow()
    head = net.roi_heads.box_head
    head.fc6 = compress_linear(head.fc6, 3)
    assert isinstance(net.predict([md.rand(3, 64, 64)])[0]["boxes"], md.Tensor)


# -- what all detectors must do -------------------------------------------------------------------


def test_gradients_of_the_losses_are_right():
    md.manual_seed(0)
    images, targets = scenes(2, (32, 40))
    net = shake(narrow(min_size=32, proposals=given([2, 2, 20, 30], [10, 0, 40, 25])))
    assert_loss_gradients_are_right(net, images, targets)


@pytest.mark.parametrize("name", odd_batches())
def test_odd_pictures_do_no_harm(name):
    images, targets = odd_batches()[name]
    assert_robust(narrow(), images, targets)


def test_pictures_without_a_single_proposal_do_no_harm():
    assert_robust(narrow(proposals=given()), [md.rand(3, 64, 64)], [objects([])])


def test_a_batch_is_the_mean_of_its_pictures():
    images, targets = scenes(2)
    net = shake(narrow()).eval()
    # All regions, so that nothing is left to chance.
    net.roi_heads.sampler = BalancedPositiveNegativeSampler(10_000, 1.0)
    together = net.losses(images, targets)
    counts, alone = [], []
    for image, target in zip(images, targets, strict=True):
        (sample,) = net.roi_heads.sample([net.proposals(image)], [target])
        counts.append(len(sample.boxes))
        alone.append(net.losses([image], [target]))
    for name, value in together.items():
        expected = np.average([part[name].item() for part in alone], weights=counts)
        assert math.isclose(value.item(), expected, rel_tol=1e-4)


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_gpu_gives_what_the_cpu_gives(device):
    images, targets = scenes(2)
    assert_same_on(device, shake(narrow()), images, targets)


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_codes_are_measured_and_layers_compressed_on_a_gpu_too(device):
    images, targets = scenes(2)
    here = narrow(proposals=given([2, 2, 40, 40], [20, 10, 60, 60], [0, 0, 30, 60]))
    there = copy.deepcopy(here).to(device)
    layers = []
    for net, place in ((here, "cpu"), (there, device)):
        net.fit_targets(zip(*moved(images, targets, place), strict=True))
        layers.append(compress_linear(net.roi_heads.box_head.fc7, 8))
    coder, far = here.roi_heads.box_coder, there.roi_heads.box_coder
    for expected, value in ((coder.mean, far.mean), (coder.std, far.std)):
        np.testing.assert_allclose(of(value.data).to_host(value.data), expected.data, rtol=1e-5)
    x = md.randn(3, 8)
    y = layers[1](x.to(device))
    np.testing.assert_allclose(of(y.data).to_host(y.data), layers[0](x).data, atol=1e-5)


def test_a_detector_can_be_copied_and_saved():
    images, _ = scenes(1)
    net = shake(narrow())
    other = narrow()
    other.load_state_dict(net.state_dict())
    for twin in (copy.deepcopy(net), other):
        found, expected = (n.eval().predict(images)[0] for n in (twin, net))
        # Selective search, which each asks anew, may find boxes in another order.
        np.testing.assert_allclose(found["scores"].data, expected["scores"].data, rtol=1e-5)


@pytest.mark.slow
def test_eight_scenes_are_learned_by_heart():
    md.manual_seed(0)
    images, targets = scenes(8)
    net = fast_rcnn_small(NUM_CLASSES, min_size=64)
    assert overfit(net, images, targets, steps=100, lr=3e-3).ap >= 0.95
