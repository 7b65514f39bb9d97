import numpy as np
import pytest

import minidl as md
from minidl.boxes import box_area
from minidl.data import CocoDetection, list_collate
from minidl.models.detection.faster_rcnn import small_roi_align
from minidl.models.detection.mask_rcnn import (
    MaskHead,
    MaskPredictor,
    MaskRCNN,
    MaskRoIHeads,
    maskrcnn_small,
    paste_masks,
)

from ..torchvision_oracle import torchvision
from .detection import (
    NUM_CLASSES,
    assert_loss_gradients_are_right,
    assert_robust,
    assert_same_on,
    average_precision,
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
    return maskrcnn_small(NUM_CLASSES, **{"min_size": 64, "max_size": 128, **options})


@pytest.mark.parametrize("name", ["narrow", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_torchvisions_weights_give_its_masks_and_its_losses(name):
    their, our = twins("MaskRCNN", name)
    our.mask_thresh = None
    assert_equal_predictions(their, our, pictures(), masks=1e-4)
    assert_equal_losses(their, our, pictures(), truth())


def boxes_of_all_kinds(rng, count, height, width):
    """Inside, across each border, outside, large, and smaller than a pixel."""
    start = rng.uniform(-0.3, 1.1, (count, 2)) * (width, height)
    sides = rng.uniform(0, 1, (count, 2)) ** 3 * (width, height) * 1.5
    return np.concatenate([start, start + sides], axis=1)


@pytest.mark.parametrize("grid", [5, 28])
def test_masks_are_pasted_as_in_torchvision(grid):
    import torch

    paste = torchvision().models.detection.roi_heads.paste_masks_in_image
    rng = np.random.default_rng(0)
    height, width = 37, 53
    boxes = boxes_of_all_kinds(rng, 60, height, width)
    masks = rng.uniform(0, 1, (60, grid, grid))
    # One that lies outside of the picture altogether is an error there.
    inside = ((boxes[:, 2:] > 1) & (boxes[:, :2] < (width - 1, height - 1))).all(axis=1)
    boxes, masks = boxes[inside], masks[inside]
    assert len(boxes) > 33  # more than two pieces of 16
    expected = paste(torch.tensor(masks)[:, None], torch.tensor(boxes), (height, width))[:, 0]
    found = paste_masks(masks, boxes, (height, width), None)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-12)
    found = paste_masks(masks, boxes, (height, width))
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, expected.numpy() >= 0.5)


def test_a_mask_fills_its_box():
    """A full mask of 2 x 2, with its border 4 x 4: the box of 8 x 4 pixels becomes 16 x 8, and
    that, with one pixel more as in torchvision, is what the grid is laid over."""
    masks, boxes = np.ones((1, 2, 2), np.float32), np.array([[20, 10, 28, 14]], np.float32)
    (found,) = paste_masks(masks, boxes, (24, 40), None)
    place = np.clip((np.arange(40) - 16 + 0.5) * 4 / 17 - 0.5, 0, 3)
    row = np.interp(place, [0, 1, 2, 3], [0, 1, 1, 0]) * (
        (np.arange(40) >= 16) & (np.arange(40) <= 32)
    )
    place = np.clip((np.arange(24) - 8 + 0.5) * 4 / 9 - 0.5, 0, 3)
    column = np.interp(place, [0, 1, 2, 3], [0, 1, 1, 0]) * (
        (np.arange(24) >= 8) & (np.arange(24) <= 16)
    )
    np.testing.assert_allclose(found, column[:, None] * row, atol=1e-6)
    assert found.dtype == np.float32
    (found,) = paste_masks(masks, boxes, (24, 40))
    rows, columns = np.nonzero(found.any(axis=1))[0], np.nonzero(found.any(axis=0))[0]
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 14, 20, 28)


def test_without_objects_there_are_no_masks():
    empty = np.zeros((0, 28, 28), np.float32)
    assert paste_masks(empty, np.zeros((0, 4), np.float32), (20, 30)).shape == (0, 20, 30)


def test_the_loss_is_that_of_the_true_class_cut_out_by_the_box():
    """A mask that is the left half of an object; the logits of its class say so, strongly."""
    images = [md.tensor(np.zeros((3, 64, 64), np.float32))]
    net = small().eval()
    mask = np.zeros((1, 64, 64), bool)
    mask[0, 16:48, 16:32] = True
    boxes = np.array([[16.0, 16, 48, 48]], np.float32)
    targets = [{"boxes": md.tensor(boxes), "labels": md.tensor([2]), "masks": md.tensor(mask)}]
    heads = net.roi_heads
    samples = heads.sample([np.zeros((0, 4), np.float32)], targets)
    features = net.backbone(net.transform(images)[0].images)
    size = 28
    half = np.full((size, size), -9.0, np.float32)
    half[:, : size // 2] = 9.0
    losses = []
    for column in (3, 1):
        said = np.zeros((1, NUM_CLASSES + 1, size, size), np.float32)
        said[0, column] = half
        heads.mask_predictor.forward = lambda x, said=said: md.tensor(said)
        losses.append(float(heads.losses(features, samples, targets, [(64, 64)])["loss_mask"]))
    # RoIAlign without the shift by half a pixel: sample x reads the mask at x - 0.5, so the cell
    # at 31.4 to 32.6 is nine tenths inside, and the rest of each row is as the logits say.
    right = np.log1p(np.exp(-9.0))
    assert right < losses[0] < right + 9.0 / size
    # What the masks of other classes say does not count.
    assert losses[1] == pytest.approx(np.log(2), rel=1e-5)


def test_a_head_keeps_the_size_and_a_predictor_doubles_it():
    x = MaskHead(5, (6, 7))(md.randn(2, 5, 14, 14))
    assert x.shape == (2, 7, 14, 14)
    assert MaskPredictor(7, 8, 3)(x).shape == (2, 4, 28, 28)


def test_predictions_have_masks_of_the_pictures():
    images = scenes(2, (50, 70))[0]
    net = small()
    net.roi_heads.score_thresh = 0.0
    found = net(images)
    for one in found:
        count = len(one["scores"])
        assert set(one) == {"boxes", "labels", "scores", "masks"}
        assert (one["masks"].shape, one["masks"].dtype) == ((count, 50, 70), np.bool_)
    net.mask_thresh = None
    for one, soft in zip(found, net(images), strict=True):
        assert soft["masks"].dtype == np.float32
        np.testing.assert_array_equal(soft["masks"].data >= 0.5, one["masks"].data)


@pytest.mark.slow
def test_masks_are_learned_by_heart():
    images, targets = scenes(8)
    net = small()
    learned = overfit(net, images, targets, steps=100, kind="masks")
    assert learned.ap >= 0.95
    assert average_precision(net, images, targets) >= 0.95


def test_gradients_of_all_losses_are_right():
    images, targets = scenes(2, (32, 40))
    parts = small_roi_align(4), MaskHead(6, (5,)), MaskPredictor(5, 4, NUM_CLASSES)
    net = narrow(MaskRCNN, MaskRoIHeads, {"mask_parts": parts})
    losses, parts = fixed(net, images, targets), ("backbone.fpn.layer", "rpn.", "roi_heads.")
    assert_loss_gradients_are_right(net, images, targets, losses=losses, only=parts, trials=1)


@pytest.mark.parametrize("name", odd_batches())
def test_odd_batches_are_learned_and_predicted(name):
    images, targets = odd_batches()[name]
    net = small()
    net.roi_heads.score_thresh, net.roi_heads.detections_per_img = 0.0, 10
    assert_robust(net, images, targets)


def test_losses_and_masks_are_the_same_on_another_device():
    images, targets = scenes(2, 32)
    net = small(min_size=32)
    net.roi_heads.score_thresh = 0.3
    net.mask_thresh = None
    assert_same_on("strict", net, images, targets)


def test_targets_need_masks():
    images, targets = scenes(1)
    with pytest.raises(TypeError, match=r"MaskRCNN: image 0: .* dictionary with 'masks'"):
        small()(images, [{name: targets[0][name] for name in ("boxes", "labels")}])


@pytest.mark.data
@pytest.mark.slow
def test_large_objects_of_coco_are_learned_by_heart(data_folder):
    """Four photographs, 30 objects of more than 64 x 64 pixels; from the start, at a third of that.

    What is smaller has a few pixels then.
    """
    folder = data_folder / "coco-mini"
    annotations = folder / "annotations" / "instances_train2017.json"
    data = CocoDetection(folder / "train2017", annotations, masks=True, crowds=False)
    images, targets = list_collate([data[i] for i in range(4)])
    large = [box_area(target["boxes"].data) > 64**2 for target in targets]
    targets = [
        {name: md.tensor(target[name].data[mask]) for name in ("boxes", "labels", "masks")}
        for target, mask in zip(targets, large, strict=True)
    ]
    assert sum(len(target["labels"]) for target in targets) == 30
    net = maskrcnn_small(len(data.classes), min_size=160, max_size=240)
    options = {"classes": data.classes, "kind": "masks", "score": 0.99}
    learned = overfit(net, images, targets, steps=220, **options)
    assert learned.ap >= 0.95
    assert average_precision(net, images, targets, classes=data.classes) >= 0.95
