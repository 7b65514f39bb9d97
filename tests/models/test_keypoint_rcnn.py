import math

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.data import CocoDetection, list_collate
from minidl.metrics import COCOAveragePrecision
from minidl.models.detection.faster_rcnn import small_roi_align
from minidl.models.detection.keypoint_rcnn import (
    KeypointHead,
    KeypointPredictor,
    KeypointRCNN,
    KeypointRoIHeads,
    heatmaps_to_keypoints,
    keypointrcnn_small,
    keypoints_to_places,
)

from ..torchvision_oracle import torchvision
from .detection import (
    KEYPOINTS,
    NUM_CLASSES,
    assert_loss_gradients_are_right,
    assert_robust,
    assert_same_on,
    odd_batches,
    overfit,
    scenes,
)
from .two_stage import (
    assert_equal_losses,
    assert_equal_predictions,
    fixed,
    narrow,
    pictures,
    truth,
    twins,
)


def small(**options):
    options = {"min_size": 64, "max_size": 128, **options}
    return keypointrcnn_small(NUM_CLASSES, KEYPOINTS, **options)


@pytest.mark.parametrize("name", ["narrow", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_torchvisions_weights_give_its_keypoints_and_its_losses(name):
    their, our = twins("KeypointRCNN", name, 2)
    # Places are computed in float32 there.
    assert_equal_predictions(their, our, pictures(), keypoints=1e-3, keypoints_scores=1e-4)
    assert_equal_losses(their, our, pictures(), truth(1))


def test_points_are_put_into_cells_as_in_torchvision():
    import torch

    rng = np.random.default_rng(0)
    start = rng.uniform(0, 30, (20, 2))
    boxes = np.concatenate([start, start + rng.uniform(0.5, 40, (20, 2))], axis=1)
    share = rng.uniform(-0.2, 1.2, (20, 9, 2))
    share[:, :3] = np.round(np.clip(share[:, :3], 0, 1))  # on corners and edges
    sides = boxes[:, None, 2:] - boxes[:, None, :2]
    points = boxes[:, None, :2] + share * sides
    points = np.where(share == 1, boxes[:, None, 2:], points)
    points = np.concatenate([points, rng.integers(0, 3, (20, 9, 1))], axis=2)
    to_heatmap = torchvision().models.detection.roi_heads.keypoints_to_heatmap
    places, counts = to_heatmap(torch.tensor(points), torch.tensor(boxes), 56)
    found = keypoints_to_places(points, boxes, 56)
    np.testing.assert_array_equal(found, np.where(counts.numpy() == 1, places.numpy(), -1))
    assert found.dtype == np.int64
    assert (found >= 0).any()
    assert (found < 0).any()


def test_a_point_lies_in_the_cell_that_is_computed_by_hand():
    boxes = np.array([[10.0, 20, 18, 40]])
    points = np.array([[[10, 20, 2], [13, 37, 1], [18, 40, 2], [13, 37, 0], [9, 30, 2]]], float)
    # cells of 2 x 5 pixels: column (x - 10) / 2, row (y - 20) / 5; 4 cells a side
    assert keypoints_to_places(points, boxes, 4).tolist() == [[0, 3 * 4 + 1, 15, -1, -1]]


def test_maps_are_read_as_in_torchvision():
    import torch

    rng = np.random.default_rng(0)
    start = rng.uniform(0, 30, (12, 2)).astype(np.float32)
    sides = rng.uniform(0.3, 70, (12, 2)).astype(np.float32)
    boxes = np.concatenate([start, start + sides], axis=1)
    maps = rng.normal(size=(12, 5, 14, 14)).astype(np.float32)
    read = torchvision().models.detection.roi_heads.heatmaps_to_keypoints
    points, scores = read(torch.tensor(maps), torch.tensor(boxes))
    found, values = heatmaps_to_keypoints(md.tensor(maps), boxes)
    np.testing.assert_allclose(found.data, points.numpy(), atol=1e-4)
    np.testing.assert_allclose(values.data, scores.numpy(), atol=1e-4)
    assert (found.dtype, values.dtype) == (np.float32, np.float32)


def test_without_objects_there_are_no_points():
    points, scores = heatmaps_to_keypoints(md.zeros(0, 5, 8, 8), np.zeros((0, 4), np.float32))
    assert (points.shape, scores.shape) == ((0, 5, 3), (0, 5))


def test_a_map_with_one_peak_gives_the_middle_of_its_cell():
    maps = np.zeros((1, 2, 8, 8), np.float32)
    maps[0, 0, 2, 5] = maps[0, 1, 7, 0] = 1.0
    boxes = np.array([[10, 20, 42, 28]], np.float32)  # cells of 4 x 1 pixels
    points, scores = heatmaps_to_keypoints(md.tensor(maps), boxes)
    assert points.data[0, :, 1].tolist() == [22.5, 27.5]
    # Four columns belong to the cell, from 30 to 34; the larger values are in the middle.
    assert abs(points.data[0, 0, 0] - 32) <= 0.5
    assert abs(points.data[0, 1, 0] - 12) <= 2
    assert (points.data[:, :, 2] == 1).all()
    assert (scores.data > 0.9).all()


def test_the_loss_is_a_softmax_over_places():
    net = small().eval()
    heads = net.roi_heads
    targets = [
        {
            "boxes": md.tensor([[8.0, 8, 40, 40]]),
            "labels": md.tensor([1]),
            "keypoints": md.tensor([[[9.0, 9, 2], [30, 12, 1], [0, 0, 0], [60, 60, 2], [8, 8, 0]]]),
        }
    ]
    samples = heads.sample([np.zeros((0, 4), np.float32)], targets)
    features = net.backbone(net.transform([md.zeros(3, 64, 64)])[0].images)
    logits = np.random.default_rng(0).normal(size=(1, 5, 56, 56)).astype(np.float32)
    heads.keypoint_predictor.forward = lambda x: md.tensor(logits)
    found = float(heads.losses(features, samples, targets, [(64, 64)])["loss_keypoint"])
    flat = logits[0].reshape(5, -1).astype(float)
    chances = np.exp(flat) / np.exp(flat).sum(axis=1, keepdims=True)
    # Of five points two count: the third and fifth are not labelled, the fourth is outside.
    cell = 56 / 32
    places = [
        math.floor(cell) * 56 + math.floor(cell),
        math.floor(4 * cell) * 56 + math.floor(22 * cell),
    ]
    expected = -(math.log(chances[0, places[0]]) + math.log(chances[1, places[1]])) / 2
    assert found == pytest.approx(expected, rel=1e-5)


def test_without_labelled_points_the_loss_is_zero():
    images, targets = scenes(2)
    for target in targets:
        target["keypoints"] = md.zeros(*target["keypoints"].shape)
    net = small()
    losses = net(images, targets)
    assert float(losses["loss_keypoint"]) == 0.0
    losses["loss_keypoint"].backward()
    assert not net.roi_heads.keypoint_predictor.kps_score_lowres.weight.grad.data.any()


def test_maps_are_four_times_as_large_as_what_is_cut_out():
    x = KeypointHead(5, (6, 7))(md.randn(2, 5, 14, 14))
    assert x.shape == (2, 7, 14, 14)
    assert KeypointPredictor(7, 3)(x).shape == (2, 3, 56, 56)


def test_predictions_have_points_in_pixels_of_the_picture():
    image = scenes(1)[0][0].double()
    large = nn.functional.interpolate(image.unsqueeze(0), (128, 128), mode="bilinear")[0]
    net = small(min_size=128).double().eval()
    found, same = net([image])[0], net([large])[0]
    count = len(found["scores"])
    assert count > 0
    assert found["keypoints"].shape == (count, KEYPOINTS, 3)
    assert found["keypoints_scores"].shape == (count, KEYPOINTS)
    np.testing.assert_allclose(
        found["keypoints"].data[..., :2] * 2, same["keypoints"].data[..., :2], atol=1e-4
    )


@pytest.mark.slow
def test_points_are_learned_by_heart():
    images, targets = scenes(8)
    net = small()
    learned = overfit(net, images, targets, steps=150, score=1.01)
    assert learned.ap >= 0.95
    far = []
    for found, target in zip(net.eval()(images), targets, strict=True):
        for box, points in zip(target["boxes"].data, target["keypoints"].data, strict=True):
            best = int(np.abs(found["boxes"].data - box).sum(axis=1).argmin())
            seen = points[:, 2] > 0
            off = found["keypoints"].data[best, seen, :2] - points[seen, :2]
            far += (np.hypot(*off.T) / np.sqrt((box[2] - box[0]) * (box[3] - box[1]))).tolist()
    # Distances in shares of the object's size; at chance they would be about one half.
    assert np.median(far) < 0.05
    assert np.mean(np.array(far) < 0.15) > 0.9


def test_gradients_of_all_losses_are_right():
    images, targets = scenes(2, (32, 40))
    parts = small_roi_align(4), KeypointHead(6, (5,)), KeypointPredictor(5, KEYPOINTS)
    net = narrow(KeypointRCNN, KeypointRoIHeads, {"keypoint_parts": parts})
    losses, parts = fixed(net, images, targets), ("backbone.fpn.layer", "rpn.", "roi_heads.")
    assert_loss_gradients_are_right(net, images, targets, losses=losses, only=parts, trials=1)


@pytest.mark.parametrize("name", odd_batches())
def test_odd_batches_are_learned_and_predicted(name):
    images, targets = odd_batches()[name]
    net = small()
    net.roi_heads.score_thresh, net.roi_heads.detections_per_img = 0.0, 10
    assert_robust(net, images, targets)


def test_losses_and_points_are_the_same_on_another_device():
    images, targets = scenes(2, 32)
    net = small(min_size=32)
    net.roi_heads.score_thresh = 0.3
    net.roi_heads.detections_per_img = 5
    assert_same_on("strict", net, images, targets)


def test_targets_need_keypoints():
    images, targets = scenes(1)
    with pytest.raises(TypeError, match=r"KeypointRCNN: image 0: .* dictionary with 'keypoints'"):
        small()(images, [{name: targets[0][name] for name in ("boxes", "labels")}])


@pytest.mark.data
@pytest.mark.slow
def test_persons_of_coco_are_learned_by_heart(data_folder):
    """Four photographs, 14 persons; from the start, at a quarter of their size."""
    folder = data_folder / "coco-kp4"
    data = CocoDetection(folder, folder / "test_coco.json", keypoints=True, crowds=False)
    images, targets = list_collate([data[i] for i in range(len(data))])
    net = keypointrcnn_small(len(data.classes), 17, min_size=160, max_size=240)
    learned = overfit(net, images, targets, steps=120, score=1.01, every=120, classes=data.classes)
    assert learned.ap >= 0.95
    score = COCOAveragePrecision(data.classes, kind="keypoints")
    score.update(net.eval()(images), targets)
    assert score.compute()["AP50"] >= 0.7
