"""Recipes: what is built of them, and that they reach what they promise."""

import json
import os

import numpy as np
import pytest

import minidl as md
from minidl import models, nn, optim
from minidl.data import CIFAR10, ArrayDataset, DataLoader, Digits, transforms
from minidl.metrics import accuracy
from minidl.training import fit
from minidl.training.recipes import (
    RECIPES,
    Recipe,
    build,
    build_model,
    read_recipe,
    write_recipe,
)
from minidl.training.sources import SOURCES

from .small import bits


def train(recipe, **changes):
    """The history of a run by a recipe."""
    parts = build(recipe.changed(**changes), workers=1)
    return fit(
        parts.model,
        parts.optimizer,
        parts.criterion,
        parts.train,
        parts.test,
        epochs=changes.get("epochs", recipe.epochs),
        metrics={"accuracy": accuracy},
        scheduler=parts.scheduler,
        scheduler_every="batch",
        progress=False,
    )


def rates(recipe, batches):
    """The learning rate of every batch."""
    parts = build(recipe)
    found = []
    for _ in range(batches):
        found.append(parts.optimizer.param_groups[0]["lr"])
        parts.optimizer.steps_taken += 1
        parts.scheduler.step()
    return found


# -- building ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_names_things_that_exist(name):
    recipe = RECIPES[name]
    model = build_model(recipe)
    assert models.INPUT_SHAPES[recipe.model] == SOURCES[recipe.data].shape
    images = np.zeros((2, *SOURCES[recipe.data].shape), np.float32)
    assert model(md.Tensor(images)).shape == (2, len(SOURCES[recipe.data].classes))


def test_every_network_says_what_pictures_it_takes():
    assert set(models.INPUT_SHAPES) == set(models.__all__)


def test_a_recipe_and_its_seed_decide_everything():
    first, second = build(RECIPES["lenet5"]), build(RECIPES["lenet5"])
    assert bits(first.model) == bits(second.model)
    (x, _), (again, _) = next(iter(first.train)), next(iter(second.train))
    assert np.array_equal(x.data, again.data)
    other = build(RECIPES["lenet5"].changed(seed=1))
    assert bits(other.model) != bits(first.model)
    assert not np.array_equal(next(iter(other.train))[0].data, x.data)


def test_training_images_are_changed_at_random_and_test_images_are_not():
    parts = build(RECIPES["lenet5"])
    plain = build(RECIPES["lenet5"].changed(augment="none"))
    assert not np.array_equal(next(iter(parts.train))[0].data, next(iter(plain.train))[0].data)
    for x, _ in parts.test:
        assert abs(float(x.data.mean())) < 0.1
        assert abs(float(x.data.std()) - 1) < 0.1
    first = [x.data for x, _ in parts.test]
    assert all(np.array_equal(a, x.data) for a, (x, _) in zip(first, parts.test, strict=True))


def test_for_an_evaluation_the_training_images_are_not_read(monkeypatch):
    read = []
    monkeypatch.setattr(
        "minidl.training.sources.Digits", lambda train: read.append(train) or Digits(train)
    )
    parts = build(RECIPES["lenet5"], train=False)
    assert parts.train is None
    assert parts.scheduler is None
    assert len(parts.test.dataset) == 1000
    assert read == [False]


def test_a_batch_of_one_image_is_left_out():
    """BatchNorm cannot train on it."""
    recipe = RECIPES["mlp"].changed(batch_size=31)  # 4,000 = 129 * 31 + 1
    assert len(build(recipe).train) == 129
    assert len(build(recipe.changed(batch_size=64)).train) == 63


def test_the_rate_warms_up_and_falls_along_a_cosine():
    recipe = Recipe("mlp", "digits", lr=0.4, warmup=4, epochs=2, batch_size=400)
    found = rates(recipe, 20)
    assert found[:5] == pytest.approx([0.1, 0.175, 0.25, 0.325, 0.4])
    cosine = [0.2 * (1 + np.cos(np.pi * i / 16)) for i in range(16)]
    assert found[4:] == pytest.approx(cosine, abs=1e-12)


def test_the_rate_falls_in_steps():
    recipe = Recipe("mlp", "digits", lr=1.0, schedule="step", epochs=4, batch_size=400)
    assert rates(recipe, 40) == pytest.approx([1.0] * 20 + [0.1] * 10 + [0.01] * 10)
    warm = rates(recipe.changed(warmup=2), 40)
    assert warm == pytest.approx([0.5, 0.75] + [1.0] * 18 + [0.1] * 10 + [0.01] * 10)


def test_the_rate_can_stay():
    recipe = Recipe("mlp", "digits", lr=0.3, schedule="constant", batch_size=400)
    assert rates(recipe, 30) == [0.3] * 30


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_optimizers_are_made_with_their_options(name):
    recipe = Recipe("mlp", "digits", optimizer=name, lr=0.02, weight_decay=0.5, warmup=0)
    optimizer = build(recipe).optimizer
    assert type(optimizer).__name__.lower() == name
    assert optimizer.param_groups[0]["weight_decay"] == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "nope"}, "unknown network 'nope'; known are .*lenet5"),
        ({"model": "INPUT_SHAPES"}, "unknown network"),
        ({"data": "nope"}, "unknown data set 'nope'"),
        ({"optimizer": "nope"}, "unknown optimizer 'nope'"),
        ({"schedule": "nope"}, "unknown schedule 'nope'"),
        ({"augment": "nope"}, "unknown augment 'nope'"),
        ({"model": "resnet20"}, r"resnet20 does not take the images of digits, \(1, 28, 28\): "),
        ({"options": {"num_classes": 9}}, r"gives scores \(1, 9\); digits has 10 classes"),
    ],
)
def test_unknown_names_and_networks_for_other_data_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build(RECIPES["lenet5"].changed(**changes))


# -- files ---------------------------------------------------------------------------------------


def test_a_recipe_is_kept_in_the_folder_of_its_run(tmp_path):
    recipe = RECIPES["lenet5"].changed(options={"variant": "1998"}, lr=1 / 3)
    write_recipe(recipe, tmp_path)
    assert read_recipe(tmp_path) == recipe
    assert os.listdir(tmp_path) == ["recipe.json"]


def test_a_folder_that_is_no_run_and_a_damaged_recipe_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not the folder of a run"):
        read_recipe(tmp_path)
    for text in ("", "{", "[1]", '{"model": "a"}', '{"colour": "red"}', "7"):
        (tmp_path / "recipe.json").write_text(text)
        with pytest.raises(ValueError, match=r"recipe\.json is not a recipe"):
            read_recipe(tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps({"model": "mlp", "data": "digits"}))
    assert read_recipe(tmp_path) == Recipe("mlp", "digits")


# -- learning ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_lenet5_learns_the_digits_that_come_with_minidl(seed):
    """The README's promise, with other seeds, too: 97.5 %, last epoch."""
    assert train(RECIPES["lenet5"], seed=seed)[-1]["test_accuracy"] >= 0.975


@pytest.mark.slow
@pytest.mark.data
def test_lenet5_reaches_99_percent_on_mnist_within_ten_epochs():
    """The mean of three seeds, each after its last epoch. (Five epochs, to be quick about it.)"""
    assert RECIPES["lenet5-mnist"].epochs == 10
    last = [
        train(RECIPES["lenet5-mnist"], epochs=5, seed=seed)[-1]["test_accuracy"]
        for seed in (0, 1, 2)
    ]
    assert np.mean(last) >= 0.99, last


@pytest.mark.slow
@pytest.mark.data
def test_resnet20_overfits_256_images(data_folder):
    """Every one of them right, without a second try, within 40 epochs of 4 batches."""
    md.manual_seed(0)
    images = CIFAR10(data_folder, batches=(1,))
    images = ArrayDataset(
        images.images[:256], images.labels[:256], transforms.Normalize(images.mean, images.std)
    )
    model = models.resnet20()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
    history = fit(
        model,
        optimizer,
        nn.CrossEntropyLoss(),
        DataLoader(images, 64, shuffle=True, seed=0),
        DataLoader(images, 256),  # in eval mode: the running statistics fit, too
        epochs=40,
        metrics={"accuracy": accuracy},
        scheduler=schedule,
        progress=False,
    )
    assert history[-1]["test_accuracy"] == 1.0


@pytest.mark.slow
@pytest.mark.data
def test_resnet20_learns_from_one_file_of_cifar10(tmp_path, data_folder, monkeypatch):
    """10,000 images, 8 epochs of 157 batches, seed 0: more than 55 % of the 10,000 test images."""
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (tmp_path / name).symlink_to(data_folder / "cifar10" / name)
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
    recipe = RECIPES["resnet20"].changed(schedule="cosine", warmup=80, batch_size=64, lr=0.05)
    history = train(recipe, epochs=8, seed=0)
    assert history[-1]["test_accuracy"] > 0.55
