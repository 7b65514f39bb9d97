"""What holds for every detector: how it is built and called."""

import inspect

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.detection import Detector

from .detection import scenes

NAMES = models.detection.__all__


@pytest.mark.parametrize("name", NAMES)
def test_a_builder_makes_a_detector_of_so_many_classes(name):
    build = getattr(models, name)
    assert build.__doc__
    assert next(iter(inspect.signature(build).parameters)) == "num_classes"
    with nn.init.skip_init():
        net = build(num_classes=5)
    assert isinstance(net, Detector)
    assert net.num_classes == 5
    assert len(models.INPUT_SHAPES[name]) == 3


SMALL = [name for name in NAMES if name.endswith("_small")]


@pytest.mark.parametrize("name", SMALL)
def test_a_small_detector_learns_and_predicts_by_what_it_is_given(name):
    images, targets = scenes(2, 64, objects=(1, 1))
    net = getattr(models, name)(num_classes=3)
    for mode in (True, False):
        losses = net.train(mode)(images, targets)
        assert all(loss.shape == () and np.isfinite(loss.data) for loss in losses.values())
        found = net(images)
        assert [type(one) for one in found] == [dict, dict]
        for one in found:
            assert {"boxes", "labels", "scores"} <= set(one)
            assert not one["boxes"].requires_grad
    assert md.autograd.is_grad_enabled()


def test_every_system_has_a_small_member():
    """One that two cores can train. Names begin with the system: "ssd300_vgg16" is of "ssd"."""

    def systems(names):
        return {name.split("_")[0].rstrip("0123456789") for name in names}

    assert systems(NAMES) - systems(SMALL) == {"sliding"}  # it is small itself
