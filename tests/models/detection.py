"""What tests of several detectors share: scenes, learning by heart, gradients, odd inputs."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import pytest

import minidl as md
from minidl import nn, no_grad, optim, tensor
from minidl.autograd import gradcheck
from minidl.backend import of
from minidl.data import Scenes
from minidl.metrics import VOCAveragePrecision

CLASSES = ("disc", "rectangle", "triangle")
NUM_CLASSES = len(CLASSES)
KEYPOINTS = 5  # of an object


def scenes(count, size=64, *, classes=CLASSES, seed=0, **options):
    """`count` generated scenes: a list of images (3, H, W) float32 and the list of their targets.

    size: one number or (H, W); options: of `Scenes`. A target has "boxes", "labels", "masks" and
    "keypoints" (R, 5, 3). By default one to three objects that do not hide each other, before plain
    backgrounds.
    """
    options = {"objects": (1, 3), "scale": (0.3, 0.6), "overlap": 0.0, "difficulty": 0.2} | options
    data = Scenes(count, size, seed, "instances", classes, **options)
    samples = [data[i] for i in range(count)]
    keys = ("boxes", "labels", "masks", "keypoints")
    targets = [{key: target[key] for key in keys} for _, target in samples]
    return [image for image, _ in samples], targets


def objects(boxes, labels=None, size=None):
    """A target of these boxes: labels (default: 0), and, where the size (H, W) is given, masks that
    fill the boxes and five visible keypoints in the middle of each."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    labels = np.zeros(len(boxes), np.int64) if labels is None else np.array(labels, np.int64)
    target = {"boxes": tensor(boxes), "labels": tensor(labels)}
    if size is not None:
        masks = np.zeros((len(boxes), *size), bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
            mask[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        points = np.concatenate([middle, np.full((len(boxes), 1), 2, np.float32)], axis=1)
        points = np.repeat(points[:, None], KEYPOINTS, axis=1)
        target |= {"masks": tensor(masks), "keypoints": tensor(points)}
    return target


def mixed(size=40):
    """Three pictures of several sizes, the second without objects."""
    images, targets = scenes(2, size, classes=("disc", "rectangle"))
    images.insert(1, tensor(np.random.default_rng(0).random((3, 24, 50), np.float32)))
    targets.insert(1, objects([]))
    keys = ("boxes", "labels")
    return images, [{key: target[key] for key in keys} for target in targets]


def moved(images, targets, device):
    """Copies of images and targets on a device."""
    images = images.to(device) if isinstance(images, md.Tensor) else [x.to(device) for x in images]
    return images, [{key: value.to(device) for key, value in t.items()} for t in targets]


# -- learning --------------------------------------------------------------------------------------


class Learned(NamedTuple):
    """ap: AP at overlap 0.5, of pictures seen in training; steps: how many it took."""

    ap: float
    steps: int


def average_precision(detector, images, targets, *, classes=NUM_CLASSES, kind="boxes"):
    """VOC's AP at overlap 0.5 of the detector in evaluation mode."""
    metric = VOCAveragePrecision(classes, kind=kind)
    training = detector.training
    detector.eval()
    metric.update(detector.predict(images), targets)
    detector.train(training)
    return float(metric.compute()["mAP"])


def overfit(
    detector,
    images,
    targets,
    *,
    steps,
    lr=1e-3,
    score=0.95,
    every=20,
    batch_size=None,
    clip=5.0,
    optimizer=optim.Adam,
    classes=NUM_CLASSES,
    kind="boxes",
):
    """Train until AP at overlap 0.5 on the same pictures is `score`, or `steps` are done.

    lr: at first; falls to a tenth along half a cosine. every: steps between two looks at AP.
    batch_size: pictures of a step, the next ones in turn; default: all. clip: bound of the norm
    of all gradients together.

    Returns Learned; assert its `ap`.
    """
    trained = [p for p in detector.parameters() if p.requires_grad]
    optimizer = optimizer(trained, lr=lr)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=lr / 10)
    size = len(images) if batch_size is None else batch_size
    ap = 0.0
    for step in range(1, steps + 1):
        detector.train()
        batch = [(step * size + i) % len(images) for i in range(size)]
        optimizer.zero_grad()
        losses = detector.losses([images[i] for i in batch], [targets[i] for i in batch])
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(trained, clip)
        optimizer.step()
        schedule.step()
        if step % every == 0 or step == steps:
            ap = average_precision(detector, images, targets, classes=classes, kind=kind)
            if ap >= score:
                break
    return Learned(ap, step)


# -- gradients -------------------------------------------------------------------------------------


def assert_loss_gradients_are_right(detector, images, targets, *, losses=None, only="", **options):
    """Each loss has the gradient that differences say it has, for each parameter, in float64.

    The detector is changed: it is in float64 and evaluation mode afterwards. losses: what is
    checked in place of `detector.losses`, a function of (images, targets), for instance with
    proposals held fixed. only: parameters whose names start so, or with one of these. options: of
    `gradcheck`. Random numbers are the same in each call.
    """
    detector.double().eval()
    images = [image.double() for image in images]
    named = [
        (name, p)
        for name, p in detector.named_parameters()
        if p.requires_grad and name.startswith(only)
    ]

    def call(*parameters):
        for (name, _), parameter in zip(named, parameters, strict=True):
            path, _, last = name.rpartition(".")
            detector.get_submodule(path)._parameters[last] = parameter
        md.manual_seed(0)
        return tuple((losses or detector.losses)(images, targets).values())

    assert named
    assert gradcheck(call, tuple(p for _, p in named), **options)


def loss_gradients(detector, images, targets):
    """The losses as numbers, and for each parameter the gradient of their sum, on the host."""
    md.manual_seed(0)
    detector.zero_grad()
    losses = detector.losses(images, targets)
    sum(losses.values()).backward()
    values = {name: float(of(loss.data).to_host(loss.data)) for name, loss in losses.items()}
    gradients = {
        name: of(p.grad.data).to_host(p.grad.data)
        for name, p in detector.named_parameters()
        if p.grad is not None
    }
    return values, gradients


def assert_same_on(device, detector, images, targets, *, rtol=1e-6):
    """Losses, their gradients and predictions on a device are those of the CPU, in float64."""
    here = detector.double()
    there = copy.deepcopy(here).to(device)
    images = [image.double() for image in images]
    far_images, far_targets = moved(images, targets, device)
    expected, expected_gradients = loss_gradients(here, images, targets)
    found, gradients = loss_gradients(there, far_images, far_targets)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=rtol, err_msg=name)
    assert gradients.keys() == expected_gradients.keys()
    # A bias before batch norm has no gradient but rounding errors.
    least = 1e-9 * max(np.abs(gradient).max() for gradient in expected_gradients.values())
    for name, gradient in gradients.items():
        np.testing.assert_allclose(
            gradient, expected_gradients[name], rtol=rtol, atol=least, err_msg=name
        )
    here.eval()
    there.eval()
    pairs = zip(here.predict(images), there.predict(far_images), strict=True)
    for expected_prediction, prediction in pairs:
        assert prediction.keys() == expected_prediction.keys()
        for key, value in prediction.items():
            assert value.device == device
            np.testing.assert_allclose(
                of(value.data).to_host(value.data),
                expected_prediction[key].data,
                rtol=1e-4,
                atol=1e-4,
                err_msg=key,
            )


# -- torchvision -----------------------------------------------------------------------------------


def to_torch(images, targets, first):
    """Images and targets for torchvision's detectors, whose classes start at `first`."""
    import torch

    there = [{key: torch.tensor(value.data) for key, value in target.items()} for target in targets]
    for target in there:
        target["labels"] += first
    return [torch.tensor(image.data) for image in images], there


def assert_predictions_as_in_torchvision(found, expected, first):
    """The same detections in the same order: boxes to 1e-3 pixels, scores to 1e-4."""
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert len(mine["scores"].data) == len(theirs["scores"])
        np.testing.assert_array_equal(mine["labels"].data + first, theirs["labels"].numpy())
        np.testing.assert_allclose(mine["scores"].data, theirs["scores"].numpy(), atol=1e-4)
        np.testing.assert_allclose(mine["boxes"].data, theirs["boxes"].numpy(), atol=1e-3)


# -- odd inputs ------------------------------------------------------------------------------------


def assert_as_torchvision(ours, theirs, images, targets, first):
    """With their weights our losses are theirs, and then our predictions; `first` as `to_torch`."""
    import torch

    ours.load_state_dict(theirs.state_dict())
    there, there_targets = to_torch(images, targets, first)
    with torch.no_grad(), no_grad():
        expected = theirs.train()(there, there_targets)
        losses = ours.train().losses(images, targets)
        assert losses.keys() == expected.keys()
        for name, loss in losses.items():
            assert loss.item() == pytest.approx(expected[name].item(), rel=1e-4)
        expected = theirs.eval()(there)
    # Training has changed the statistics of batch norm, here and there.
    found = ours.eval().predict(images)
    assert all(len(prediction["scores"].data) > 10 for prediction in found)
    assert_predictions_as_in_torchvision(found, expected, first)


def odd_batches(size=64, *, num_classes=NUM_CLASSES):
    """Batches that detectors have stumbled over: a dictionary name -> (images, targets).

    Pictures have `size` x `size` pixels where nothing else is said; targets have masks and
    keypoints, too.
    """
    rng = np.random.default_rng(0)

    def picture(height=size, width=size):
        return tensor(rng.uniform(0, 1, (3, height, width)).astype(np.float32))

    def many(count):
        start = rng.uniform(0, 0.8 * size, (count, 2))
        sides = rng.uniform(0.02 * size, 0.2 * size, (count, 2))
        return objects(
            np.concatenate([start, start + sides], axis=1),
            rng.integers(0, num_classes, count),
            (size, size),
        )

    def none(height=size, width=size):
        return objects([], size=(height, width))

    whole, half = (size, size), size // 2
    middle = [[size / 4, size / 4, 3 * size / 4, 3 * size / 4]]
    last = num_classes - 1
    return {
        "a batch of one": ([picture()], [objects(middle, [last], whole)]),
        "nothing but background": ([picture(), picture()], [none(), none()]),
        "one picture without objects": (
            [picture(), picture()],
            [objects(middle, [last], whole), none()],
        ),
        "boxes of one pixel": (
            [picture(), picture()],
            [
                objects([[0, 0, 1, 1], [half, half, half + 1, half + 1]], [0, last], whole),
                objects([[size - 1, size - 1, size, size]], [0], whole),
            ],
        ),
        "500 objects": ([picture(), picture()], [many(500), many(3)]),
        "pictures of several sizes": (
            [picture(), picture(half, size), picture(size + 9, half + 5)],
            [
                objects(middle, [0], whole),
                none(half, size),
                objects([[1, 2, half, size]], [last], (size + 9, half + 5)),
            ],
        ),
        "a box around all, and two that are equal": (
            [picture()],
            [objects([[0, 0, size, size], *middle, *middle], [0, last, last], whole)],
        ),
        "a constant picture": (
            [tensor(np.zeros((3, size, size), np.float32))],
            [objects(middle, [last], whole)],
        ),
    }


def assert_predictions(predictions, images, num_classes, *, probabilities=True):
    """Predictions have the form that all detectors promise, and nothing in them is NaN.

    probabilities: whether scores lie between 0 and 1.
    """
    assert len(predictions) == len(images)
    for prediction, image in zip(predictions, images, strict=True):
        boxes, labels, scores = (prediction[key].data for key in ("boxes", "labels", "scores"))
        count = len(scores)
        assert (boxes.shape, boxes.dtype) == ((count, 4), np.float32)
        assert (labels.shape, labels.dtype) == ((count,), np.int64)
        assert (scores.shape, scores.dtype) == ((count,), np.float32)
        assert not any(value.requires_grad for value in prediction.values())
        assert all(len(value.data) == count for value in prediction.values())
        assert np.isfinite(boxes).all()
        assert np.isfinite(scores).all()
        height, width = image.shape[-2:]
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] >= boxes[:, :2]).all()
        assert (boxes[:, 2:] <= np.array([width, height]) * (1 + 1e-5)).all()
        assert ((labels >= 0) & (labels < num_classes)).all()
        assert (np.diff(scores) <= 0).all()
        if probabilities:
            assert ((scores >= 0) & (scores <= 1)).all()


def assert_robust(detector, images, targets, num_classes=NUM_CLASSES, *, probabilities=True):
    """Losses are finite and differentiable in both modes, predictions have the promised form."""
    for mode in (True, False):
        detector.train(mode)
        detector.zero_grad()
        losses = detector(images, targets)
        assert losses
        assert all(loss.shape == () for loss in losses.values())
        values = {name: float(loss.data) for name, loss in losses.items()}
        assert all(np.isfinite(value) and value >= 0 for value in values.values()), values
        sum(losses.values()).backward()
        gradients = [p.grad.data for p in detector.parameters() if p.grad is not None]
        assert gradients
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        with no_grad():
            assert detector.losses(images, targets).keys() == losses.keys()
        assert_predictions(detector(images), images, num_classes, probabilities=probabilities)
    detector.zero_grad()
