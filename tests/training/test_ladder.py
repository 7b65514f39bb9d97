"""The ladder of 2021 from the residual network of 2015."""

from itertools import pairwise

import pytest

from minidl.training.ladder import LADDER, walk
from minidl.training.recipes import RECIPES, Recipe, build, build_model


def test_each_step_is_added_to_those_before_it():
    base = Recipe("resnet18", "cifar10", augment="crop-flip", schedule="step", epochs=3)
    steps, left_out = walk(base)
    assert not left_out
    assert [name for name, _ in steps] == ["resnet18", *(name for name, _ in LADDER)]
    assert steps[0][1] == base
    last = steps[-1][1]
    assert (last.schedule, last.epochs, last.ema) == ("cosine", 12, 0.9999)
    assert (last.label_smoothing, last.weight_decay) == (0.1, 4e-5)
    assert last.augment == "crop-flip+randaugment:2,15"
    assert last.options == {
        "stochastic_depth_prob": 0.2,
        "dropout": 0.25,
        "se": True,
        "shortcut": "D",
        "deep_stem": True,
    }
    recipes = [recipe for _, recipe in steps]
    assert all(first != second for first, second in pairwise(recipes))


def test_steps_that_the_network_has_no_options_for_are_left_out_and_named():
    steps, left_out = walk(RECIPES["resnet20"])
    assert left_out == ["dropout", "squeeze-and-excitation", "ResNet-D"]
    assert len(steps) == 1 + len(LADDER) - 3
    assert steps[-1][1].options == {"stochastic_depth_prob": 0.2}


def test_randaugment_alone_needs_no_plus():
    steps, _ = walk(Recipe("resnet20", "cifar10"), [("RandAugment", {"augment": "+randaugment"})])
    assert steps[-1][1].augment == "randaugment"


def test_the_network_of_every_step_can_be_made():
    steps, _ = walk(Recipe("resnet18", "cifar10", options={"num_classes": 10, "width": 8}))
    counts = [sum(p.numel() for p in build_model(recipe).parameters()) for _, recipe in steps]
    assert counts[0] == counts[8]
    assert counts[8] < counts[9]
    assert counts[9] != counts[10]


@pytest.mark.data
def test_the_recipe_of_the_last_step_can_be_built(data_folder):
    steps, _ = walk(Recipe("resnet18", "cifar10", options={"num_classes": 10, "width": 8}))
    parts = build(steps[-1][1].changed(images=64))
    assert parts.ema is not None
    assert "RandAugment" in repr(parts.train.dataset.transform.transforms)
