import math

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.models.detection.roi_heads import FastRCNNPredictor, RoIHeads, Samples, TwoMLPHead


class Told(nn.Module):
    """A predictor that says what it was told."""

    def __init__(self, logits, deltas=None):
        super().__init__()
        self.logits = md.tensor(np.array(logits, np.float32), requires_grad=True)
        shape = (*self.logits.shape, 4)
        values = np.zeros(shape, np.float32) if deltas is None else deltas
        self.deltas = md.tensor(values.astype(np.float32), requires_grad=True)

    def forward(self, x):
        return self.logits, self.deltas


def heads(predictor=None, **options):
    pool = nn.MultiScaleRoIAlign(["0"], 2, 2)
    predictor = FastRCNNPredictor(5, 2) if predictor is None else predictor
    return RoIHeads(pool, TwoMLPHead(12, 5), predictor, **options)


FEATURES = {"0": md.zeros(1, 3, 8, 8)}
SIZES = [(64, 64)]
TRUE = np.array([[0, 0, 10, 10], [40, 40, 60, 60]], np.float32)
TARGETS = [{"boxes": md.tensor(TRUE), "labels": md.tensor([0, 1])}]
NONE = [{"boxes": md.zeros(0, 4), "labels": md.tensor(np.zeros(0, np.int64))}]


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def test_samples_are_proposals_and_true_boxes_the_positive_ones_first():
    proposals = boxes([20, 20, 30, 30], [0, 0, 10, 8], [40, 40, 60, 51], [40, 40, 60, 49])
    (sample,) = heads().sample([proposals], TARGETS)
    # Overlaps of the proposals: none, 0.8, 0.55, 0.45; the true boxes have 1.
    expected = boxes(proposals[1], proposals[2], *TRUE, proposals[0], proposals[3])
    np.testing.assert_array_equal(sample.boxes, expected)
    np.testing.assert_array_equal(sample.positive, expected[:4])
    assert sample.labels.tolist() == [1, 2, 1, 2, 0, 0]
    assert sample.labels.dtype == np.int64
    assert sample.matches.tolist() == [0, 1, 0, 1]


def test_proposals_between_the_thresholds_are_not_drawn():
    proposals = boxes([20, 20, 30, 30], [40, 40, 60, 49])
    (sample,) = heads(bg_iou_thresh=0.4).sample([proposals], TARGETS)
    np.testing.assert_array_equal(sample.boxes, boxes(*TRUE, proposals[0]))


def test_a_quarter_of_the_samples_is_positive_at_most():
    proposals = np.concatenate([np.repeat(TRUE[:1], 50, 0), boxes(*[[20, 20, 30, 30]] * 50)])
    (sample,) = heads(batch_size_per_image=16).sample([proposals], TARGETS)
    assert (len(sample.boxes), len(sample.matches)) == (16, 4)
    (sample,) = heads(batch_size_per_image=80).sample([proposals], TARGETS)
    assert (len(sample.boxes), len(sample.matches)) == (70, 20)


def test_a_picture_without_objects_has_background_only():
    proposals = boxes([20, 20, 30, 30], [0, 0, 10, 8])
    (sample,) = heads().sample([proposals], NONE)
    assert sample.labels.tolist() == [0, 0]
    assert len(sample.matches) == 0
    (sample,) = heads().sample([boxes()], NONE)
    assert sample.boxes.shape == (0, 4)


def test_losses_are_those_computed_by_hand():
    logits = np.array([[0.0, 1, 2], [1, 0, 0], [0, 0, 3], [2, 0, 0]])
    deltas = np.random.default_rng(0).normal(size=(4, 3, 4))
    moved = boxes([2, 0, 12, 10])  # t = (10 * -2 / 10, 0, 0, 0)
    first = Samples(boxes(*moved, [20, 20, 30, 30]), np.array([1, 0]), np.array([0]))
    second = Samples(boxes(TRUE[1], [0, 0, 5, 5]), np.array([2, 0]), np.array([1]))
    net = heads(Told(logits, deltas))
    features = {"0": md.zeros(2, 3, 8, 8)}
    found = net.losses(features, [first, second], TARGETS * 2, SIZES * 2)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -sum(math.log(chances[k, c]) for k, c in enumerate((1, 0, 2, 0))) / 4
    assert float(found["loss_classifier"]) == pytest.approx(expected, rel=1e-5)
    wanted = np.array([[-2.0, 0, 0, 0], [0, 0, 0, 0]])
    d = np.abs(np.stack([deltas[0, 1], deltas[2, 2]]) - wanted)
    expected = np.where(d < 1 / 9, d**2 * 4.5, d - 1 / 18).sum() / 4
    assert float(found["loss_box_reg"]) == pytest.approx(expected, rel=1e-5)
    found["loss_box_reg"].backward()
    # Only the deltas of the true classes of positive samples are learned.
    changed = np.abs(net.box_predictor.deltas.grad.data).sum(axis=2) > 0
    assert np.argwhere(changed).tolist() == [[0, 1], [2, 2]]


def test_without_any_sample_losses_are_zero_and_have_gradients():
    net = heads()
    found = net.losses(
        FEATURES, [Samples(boxes(), np.zeros(0, np.int64), np.zeros(0, np.int64))], NONE, SIZES
    )
    assert [float(loss) for loss in found.values()] == [0.0, 0.0]
    sum(found.values()).backward()
    assert float(abs(net.box_predictor.cls_score.weight.grad).sum()) == 0.0


def logits_of(chances):
    return np.log(np.array(chances, np.float64))


def test_each_class_moves_a_proposal_its_own_way():
    deltas = np.zeros((1, 3, 4))
    deltas[0, 1, 0] = 10.0 * 0.5  # half a width to the right
    deltas[0, 2, 3] = 5.0 * math.log(2)  # twice as high
    net = heads(Told(logits_of([[0.5, 0.3, 0.2]]), deltas))
    (found,) = net.detect(FEATURES, [boxes([20, 20, 40, 30])], SIZES)
    assert found["labels"].tolist() == [0, 1]
    np.testing.assert_allclose(found["scores"].data, [0.3, 0.2], rtol=1e-6)
    np.testing.assert_allclose(found["boxes"].data, [[30, 20, 50, 30], [20, 15, 40, 35]], atol=1e-4)


def test_detections_have_a_score_and_overlap_no_better_one_of_their_class():
    proposals = boxes([0, 0, 10, 10], [0, 0, 10, 9], [30, 30, 40, 40], [60, 60, 90, 90])
    chances = [[0.1, 0.6, 0.3], [0.05, 0.7, 0.25], [0.92, 0.04, 0.04], [0.8, 0.1, 0.1]]
    net = heads(Told(logits_of(chances)))
    (found,) = net.detect(FEATURES, [proposals], SIZES)
    # The third has no score above 0.05; the last is cut to the picture.
    assert found["labels"].tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(found["scores"].data, [0.7, 0.3, 0.1, 0.1], rtol=1e-6)
    expected = [proposals[1], proposals[0], [60, 60, 64, 64], [60, 60, 64, 64]]
    np.testing.assert_allclose(found["boxes"].data, expected, atol=1e-4)
    net.detections_per_img = 1
    (found,) = net.detect(FEATURES, [proposals], SIZES)
    assert found["labels"].tolist() == [0]


def test_detections_belong_to_their_image():
    net = heads(Told(logits_of([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])))
    proposals = [boxes([0, 0, 10, 10]), boxes(), boxes([1, 1, 9, 9], [20, 20, 30, 30])]
    found = net.detect({"0": md.zeros(3, 3, 8, 8)}, proposals, SIZES * 3)
    best = [
        [
            label
            for label, s in zip(f["labels"].tolist(), f["scores"].tolist(), strict=True)
            if s > 0.5
        ]
        for f in found
    ]
    assert best == [[0], [], [1, 0]]


def test_what_is_no_number_or_has_no_area_is_not_detected():
    deltas = np.zeros((2, 2, 4))
    deltas[0, 1, 0] = np.nan
    deltas[1, 1, 2] = -100.0
    net = heads(Told(np.zeros((2, 2)), deltas))
    (found,) = net.detect(FEATURES, [boxes([0, 0, 9, 9], [20, 20, 30, 30])], SIZES)
    assert {name: value.shape for name, value in found.items()} == {
        "boxes": (0, 4), "labels": (0,), "scores": (0,)
    }  # fmt: skip


def test_the_first_column_of_a_predictor_is_background():
    predictor = FastRCNNPredictor(6, 4)
    logits, deltas = predictor(md.randn(3, 6))
    assert (logits.shape, deltas.shape) == ((3, 5), (3, 5, 4))
    assert predictor.cls_score.weight.data.std() == pytest.approx(0.01, rel=0.5)
    assert predictor.bbox_pred.weight.data.std() == pytest.approx(0.001, rel=0.5)


def test_hidden_layers_drop_units_in_training_only():
    head = TwoMLPHead(8, 400, dropout=0.5)
    x = md.randn(2, 2, 2, 2)
    assert (head.eval()(x).data == 0).mean() < 0.7
    assert (head.train()(x).data == 0).mean() > 0.7
