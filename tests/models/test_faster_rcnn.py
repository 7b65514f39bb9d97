import re

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.models.detection.faster_rcnn import (
    FasterRCNN,
    SingleScaleRoIPool,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_small,
    fasterrcnn_vgg16,
)
from minidl.models.detection.fpn import PathAggregation, VGGBody
from minidl.models.detection.roi_heads import RoIHeads

from .detection import (
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
    theirs,
    truth,
    twins,
    weights,
)


def small(**options):
    return fasterrcnn_small(NUM_CLASSES, **{"min_size": 64, "max_size": 128, **options})


@pytest.mark.parametrize("name", ["narrow", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_torchvisions_weights_give_its_objects_and_its_losses(name):
    their, our = twins("FasterRCNN", name)
    assert_equal_predictions(their, our, pictures())
    targets = truth()
    targets.append({name: value[:0] for name, value in targets[0].items()})
    targets[-1]["masks"] = np.zeros((0, 45, 65), bool)
    images = [*pictures(), *pictures(((45, 65),))]
    assert_equal_losses(their, our, images, targets)


def test_names_of_torchvisions_older_files_are_understood():
    """Its published weights of 2018 have them: `fasterrcnn_resnet50_fpn_coco-258fb6c6.pth`."""
    state = weights(theirs("FasterRCNN", "resnet18"))
    old = {}
    for path, values in state.items():
        path = re.sub(r"(inner_blocks|layer_blocks)\.(\d)\.0\.", r"\1.\2.", path)
        old[path.replace("rpn.head.conv.0.0.", "rpn.head.conv.")] = values
    assert sum(path not in state for path in old) == 18
    with nn.init.skip_init():
        net = fasterrcnn_resnet50_fpn(6, backbone_name="resnet18")
    net.load_state_dict(old)
    for path, values in state.items():
        if not path.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(net.state_dict()[path].data, values)
    with pytest.raises(RuntimeError, match=r"rpn\.head\.conv\.0\.0\.weight"):
        net.load_state_dict({p: v for p, v in old.items() if p != "rpn.head.conv.weight"})


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [8, 2])
def test_scenes_are_learned_by_heart(batch_size):
    images, targets = scenes(8)
    learned = overfit(small(), images, targets, steps=480 // batch_size, batch_size=batch_size)
    assert learned.ap >= 0.95


def test_each_step_makes_the_losses_smaller():
    images, targets = scenes(2)
    net = small()
    optimizer = md.optim.Adam(net.parameters(), lr=1e-3)
    sums = []
    for _ in range(12):
        optimizer.zero_grad()
        total = sum(net(images, targets).values())
        total.backward()
        optimizer.step()
        sums.append(float(total))
    assert np.mean(sums[-3:]) < 0.6 * np.mean(sums[:3])


def test_gradients_of_the_four_losses_are_right():
    images, targets = scenes(2, (32, 40))
    net = narrow(FasterRCNN, RoIHeads, {})
    losses, parts = fixed(net, images, targets), ("backbone.fpn.layer", "rpn.", "roi_heads.")
    assert_loss_gradients_are_right(net, images, targets, losses=losses, only=parts, trials=1)


def test_every_parameter_takes_part_in_training():
    images, targets = scenes(2)
    net = small()
    sum(net(images, targets).values()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", odd_batches())
def test_odd_batches_are_learned_and_predicted(name):
    images, targets = odd_batches()[name]
    net = small()
    net.roi_heads.score_thresh = 0.0  # as much as can be found
    assert_robust(net, images, targets)


def test_losses_are_the_same_in_both_modes_and_prediction_is_deterministic():
    images, targets = scenes(2)
    net = small()
    found = []
    for mode in (True, False):
        md.manual_seed(3)
        found.append({k: float(v) for k, v in net.train(mode).losses(images, targets).items()})
    assert found[0] == found[1]
    assert list(found[0]) == [
        "loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"
    ]  # fmt: skip
    first, second = net(images), net(images)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one["scores"].data, other["scores"].data)


def test_each_picture_of_a_batch_is_treated_alone():
    """If all have one size; a smaller one is padded, and its last pixels see the padding."""
    images = [image.double() for image in scenes(3)[0]]
    net = small().eval().double()
    for one, together in zip(images, net(images), strict=True):
        (alone,) = net([one])
        assert len(alone["scores"]) > 10
        for name, values in alone.items():
            np.testing.assert_allclose(together[name].data, values.data, atol=1e-9)


def test_boxes_are_in_pixels_of_the_picture_as_given():
    net = small().double().eval()
    image = scenes(1)[0][0].double()
    large = nn.functional.interpolate(image.unsqueeze(0), (128, 128), mode="bilinear")[0]
    net.transform.min_size, net.transform.max_size = 128, 128
    found, same = net([image])[0], net([large])[0]
    assert len(found["scores"]) > 0
    np.testing.assert_allclose(found["boxes"].data * 2, same["boxes"].data, atol=1e-5)
    np.testing.assert_allclose(found["scores"].data, same["scores"].data, atol=1e-9)


def test_losses_and_objects_are_the_same_on_another_device():
    images, targets = scenes(2, 32)
    net = small(min_size=32)
    net.roi_heads.score_thresh = 0.3
    assert_same_on("strict", net, images, targets)


def test_float32_stays_float32():
    images, targets = scenes(1, 32)
    seen = set()

    def note(event):
        tensors = [t for t in (*event.inputs, *event.outputs) if isinstance(t, md.Tensor)]
        seen.update((event.op, str(t.dtype)) for t in tensors if t.is_floating_point())

    net = small(min_size=32)
    with md.autograd.listen(note):
        sum(net(images, targets).values()).backward()
        net(images)
    assert {pair for pair in seen if pair[1] != "float32"} == set()


def test_what_is_wrong_with_a_target_is_said():
    images, targets = scenes(1)
    with pytest.raises(ValueError, match=r"FasterRCNN: image 0: labels: .* between 0 and 2"):
        small()(images, [{**targets[0], "labels": targets[0]["labels"] + 3}])


def test_a_pyramid_may_have_a_path_up():
    with nn.init.skip_init():
        net = fasterrcnn_resnet50_fpn(3, backbone_name="resnet18", fpn=PathAggregation, width=4)
    assert isinstance(net.backbone.fpn, PathAggregation)


def narrow_vgg():
    """`fasterrcnn_vgg16` with few channels and small anchors, for pictures of 64 pixels."""
    with nn.init.skip_init():
        net = fasterrcnn_vgg16(NUM_CLASSES, min_size=64, max_size=128, dropout=0.0)
    made = fasterrcnn_small(NUM_CLASSES)
    backbone = VGGBody((8, 8, 16, 16, 32))
    rpn = net.rpn
    rpn.head = type(rpn.head)(32, 9, softmax=True)
    rpn.anchor_generator = md.boxes.AnchorGenerator(((12, 24, 48),), ((0.5, 1.0, 2.0),))
    heads = net.roi_heads
    heads.box_head = type(heads.box_head)(32 * 49, 64)
    heads.box_predictor = type(heads.box_predictor)(64, NUM_CLASSES)
    return FasterRCNN(backbone, rpn, heads, made.transform, NUM_CLASSES)


def test_the_papers_network_has_its_form():
    with nn.init.skip_init():
        net = fasterrcnn_vgg16()
    assert net.rpn.head.softmax
    assert net.rpn.ignore_crossing
    assert net.roi_heads.box_head.dropout.p == 0.5
    net = narrow_vgg()
    net.roi_heads.score_thresh = 0.0
    for name in ("one picture without objects", "pictures of several sizes"):
        assert_robust(net, *odd_batches()[name])


def test_gradients_of_the_papers_network_are_right():
    images, targets = scenes(2, 64)
    net = narrow_vgg()
    heads = ("rpn.", "roi_heads.box_predictor")
    losses = fixed(net, images, targets)
    assert_loss_gradients_are_right(net, images, targets, losses=losses, only=heads, trials=1)


def test_a_single_map_is_pooled_at_its_scale():
    x = md.randn(2, 3, 8, 8)
    boxes = [np.array([[0, 0, 63, 63]], np.float32), np.array([[16, 16, 100, 120]], np.float32)]
    found = SingleScaleRoIPool(2, 1 / 16)({"0": x}, boxes, [(128, 128)] * 2)
    rows = np.array([[0, *boxes[0][0]], [1, *boxes[1][0]]], np.float32)
    expected = nn.functional.roi_pool(x, rows, 2, 1 / 16)
    np.testing.assert_array_equal(found.data, expected.data)
