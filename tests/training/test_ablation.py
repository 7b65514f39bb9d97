"""Ablations: which runs are made, that none is made twice, and the table of what came out."""

import csv
import json
import math
import os
import signal
from itertools import count

import numpy as np
import pytest

from minidl.training.ablation import Trial, ablate, table, train_once, variations
from minidl.training.checkpoint import Checkpoint
from minidl.training.log import read_log
from minidl.training.recipes import RECIPES, Recipe, read_recipe

from .small import untimed

BASE = Recipe("mlp", "digits", images=128, batch_size=64, epochs=2, lr=0.05)
FULL = BASE.changed(augment="affine+cutout:8", label_smoothing=0.1)


def differences(first, second):
    return {
        name: getattr(second, name)
        for name in Recipe.__dataclass_fields__
        if getattr(first, name) != getattr(second, name)
    }


# -- what to train --------------------------------------------------------------------------------


def test_all_parts_each_left_out_and_none():
    found = variations(FULL, ["augment", "label_smoothing"])
    assert [name for name, _ in found] == [
        "augment + label_smoothing",
        "label_smoothing",
        "augment",
        "base",
    ]
    assert [differences(FULL, recipe) for _, recipe in found] == [
        {},
        {"augment": "none"},
        {"label_smoothing": 0.0},
        {"augment": "none", "label_smoothing": 0.0},
    ]


def test_parts_can_be_added_with_a_value():
    found = dict(variations(FULL, ["augment"], {"ema": 0.9, "num_classes": 12}))
    assert list(found) == [
        "augment + ema + num_classes",
        "ema + num_classes",
        "augment + num_classes",
        "augment + ema",
        "base",
    ]
    assert differences(FULL, found["augment + ema"]) == {"ema": 0.9}
    assert differences(FULL, found["augment + num_classes"]) == {"options": {"num_classes": 12}}
    assert differences(FULL, found["base"]) == {"augment": "none"}
    # A field that is on already, with another value: without it is as it was.
    found = dict(variations(FULL, [], {"label_smoothing": 0.3}))
    assert differences(FULL, found["base"]) == {}


def test_every_combination_can_be_asked_for():
    found = variations(BASE, [], {"ema": 0.9, "mixup": 0.2, "nesterov": True}, every=True)
    names = [name for name, _ in found]
    assert len(set(names)) == len(names) == 8
    assert names[0] == "ema + mixup + nesterov"
    assert names[-1] == "base"
    assert "ema + nesterov" in names
    assert len({json.dumps(differences(BASE, recipe)) for _, recipe in found}) == 8


def test_without_momentum_there_is_no_nesterov_either():
    recipe = FULL.changed(nesterov=True)
    found = dict(variations(recipe, ["momentum", "augment"]))
    assert differences(recipe, found["augment"]) == {"momentum": 0.0, "nesterov": False}
    assert differences(recipe, found["momentum"]) == {"augment": "none"}


def test_one_part_is_with_and_without():
    assert [name for name, _ in variations(FULL, ["augment"])] == ["augment", "base"]


def test_one_change_of_the_images_and_one_option_can_be_left_out():
    recipe = FULL.with_options(num_classes=10, in_channels=1)
    found = dict(variations(recipe, ["cutout", "num_classes"]))
    assert found["num_classes"].augment == "affine"
    assert found["cutout"].options == {"in_channels": 1}
    assert found["base"].augment == "affine"
    assert dict(variations(BASE.changed(augment="cutout"), ["cutout"]))["base"].augment == "none"


@pytest.mark.parametrize(
    ("without", "added", "message"),
    [
        ([], {}, "needs parts to leave out, or to add"),
        (["augment", "augment"], {}, "a part is named twice: augment"),
        (["augment"], {"augment": "none"}, "a part is named twice: augment"),
        (["mixup"], {}, r"of mlp has no 'mixup' to leave out; it has augment, .*affine, cutout"),
        (["epochs"], {}, "has no 'epochs' to leave out"),
        (["zoom"], {}, "has no 'zoom' to leave out"),
        ([], {"label_smoothing": 0.1}, "of mlp has label_smoothing=0.1 already"),
        ([], {"mixup": "abc"}, "mixup must be a finite number, got 'abc'"),
        ([], {"options": 3}, "options must be names with values, got 3"),
    ],
)
def test_parts_that_are_not_there_are_refused(without, added, message):
    with pytest.raises(ValueError, match=message):
        variations(FULL, without, added)


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_parts_that_a_recipe_is_said_to_have_can_be_left_out(name):
    with pytest.raises(ValueError, match="to leave out; it has") as caught:
        variations(RECIPES[name], ["nothing"])
    parts = str(caught.value).split("it has ")[1].split(". Other")[0].split(", ")
    for part in parts:
        assert len(variations(RECIPES[name], [part])) == 2


# -- training -------------------------------------------------------------------------------------


def no_training(monkeypatch):
    def build(*args, **kwargs):
        pytest.fail("trained again")

    monkeypatch.setattr("minidl.training.ablation.build", build)


def test_each_variation_is_trained_for_each_seed_and_never_twice(tmp_path, monkeypatch):
    seen = []
    found = variations(FULL, ["augment"])
    trials = ablate(
        found,
        2,
        tmp_path,
        on_run=lambda trial, seed, trials: seen.append((trial.name, seed)),
        progress=False,
    )
    assert seen == [("augment", 0), ("base", 0), ("augment", 1), ("base", 1)]
    assert len({score for trial in trials for score in trial.scores("train_loss")}) == 4
    for trial in trials:
        for seed, history in trial.runs.items():
            folder = tmp_path / trial.name / f"seed{seed}"
            assert read_recipe(folder) == trial.recipe.changed(seed=seed)
            assert read_log(folder / "log.csv") == history
            alone = train_once(trial.recipe.changed(seed=seed), tmp_path / "x", progress=False)
            assert untimed(alone) == untimed(history)
            for name in os.listdir(tmp_path / "x"):
                os.remove(tmp_path / "x" / name)
    no_training(monkeypatch)
    again = ablate(found, 2, tmp_path)
    assert [trial.runs for trial in again] == [trial.runs for trial in trials]
    assert table(again) == table(trials)


def test_what_was_interrupted_goes_on(tmp_path, monkeypatch):
    found = variations(FULL, ["augment", "label_smoothing"])
    whole = ablate(found, 2, tmp_path / "whole", progress=False)
    save, calls = Checkpoint.save, count()

    def save_then_ctrl_c(self):
        save(self)
        if next(calls) == 6:  # after the first epoch of the fourth run
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Checkpoint, "save", save_then_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        ablate(found, 2, tmp_path / "parts", progress=False)
    monkeypatch.undo()
    with open(tmp_path / "parts" / "results.csv") as file:
        assert len(file.readlines()) == 1 + 3
    again = ablate(found, 2, tmp_path / "parts", progress=False)
    for first, second in zip(whole, again, strict=True):
        for seed in (0, 1):
            assert untimed(first.runs[seed]) == untimed(second.runs[seed])


def test_more_seeds_or_variations_train_only_what_is_new(tmp_path):
    ablate(variations(FULL, ["augment"]), 1, tmp_path, progress=False)
    before = (tmp_path / "base" / "seed0" / "checkpoint.safetensors").stat().st_mtime_ns
    trials = ablate(variations(FULL, ["augment"]), 2, tmp_path, progress=False)
    assert [list(trial.runs) for trial in trials] == [[0, 1], [0, 1]]
    assert (tmp_path / "base" / "seed0" / "checkpoint.safetensors").stat().st_mtime_ns == before


def test_a_run_of_another_recipe_is_left_alone_and_named(tmp_path):
    train_once(BASE, tmp_path, progress=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=f"{tmp_path} holds a run of another recipe"):
        train_once(BASE.changed(lr=0.1), tmp_path, progress=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert train_once(BASE, tmp_path) == read_log(tmp_path / "log.csv")


def test_tuples_in_a_recipe_are_lists_in_its_file_and_yet_the_same(tmp_path, monkeypatch):
    class Stub:
        def fit(self, **arguments):
            return [{"epoch": 1}]

    monkeypatch.setattr("minidl.training.ablation.build", lambda recipe, **how: Stub())
    recipe = BASE.with_options(hidden=(10, 20))
    assert train_once(recipe, tmp_path) == train_once(recipe, tmp_path)


# -- what came of it ------------------------------------------------------------------------------


def trial(name, *scores, recipe=BASE):
    rows = {
        seed: [
            {"test_accuracy": 0.99, "seconds": 2.0},
            {
                "test_accuracy": score,
                "test_loss": 1.0,
                "train_accuracy": 0.5,
                "train_loss": 2.0,
                "seconds": 3.0,
            },
        ]
        for seed, score in enumerate(scores)
    }
    return Trial(name, recipe, rows)


def test_scores_are_those_of_the_last_epoch_and_their_spread_that_of_a_sample():
    one = trial("one", 0.9, 0.8, 0.88)
    assert one.scores() == [0.9, 0.8, 0.88]
    assert one.mean() == pytest.approx(np.mean([0.9, 0.8, 0.88]))
    assert one.std() == pytest.approx(np.std([0.9, 0.8, 0.88], ddof=1))
    assert one.seconds == 15.0
    assert math.isnan(trial("one", 0.9).std())
    assert math.isnan(trial("none").mean())


def test_the_table_has_means_deviations_and_differences_with_their_standard_error():
    text = table([trial("a + b", 0.95, 0.97), trial("b", 0.90, 0.94), trial("base", 0.5)])
    rows = [line.split() for line in text.splitlines()]
    assert rows[0] == ["mean", "std", "against", "the", "first", "each", "run"]
    assert rows[1] == ["a", "+", "b", "96.00", "%", "1.41", "95.00", "97.00"]
    # sqrt(1.414^2 / 2 + 2.828^2 / 2) = 2.24
    assert rows[2] == ["b", "92.00", "%", "2.83", "-4.00", "±", "2.24", "90.00", "94.00"]
    assert rows[3] == ["base", "50.00", "%", "-", "-46.00", "50.00"]
    assert text.endswith("std: of one run, from 2; ±: standard error of the difference of means")
    assert "±" not in table([trial("a", 0.95), trial("base", 0.5)])


def test_the_files_hold_every_run(tmp_path):
    found = variations(FULL, ["augment"])
    trials = ablate(found, 2, tmp_path, progress=False)
    with open(tmp_path / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["variation"], row["seed"], row["epochs"]) for row in rows] == [
        ("augment", "0", "2"),
        ("augment", "1", "2"),
        ("base", "0", "2"),
        ("base", "1", "2"),
    ]
    scores = [float(row["test_accuracy"]) for row in rows]
    assert scores == trials[0].scores() + trials[1].scores()
    with open(tmp_path / "results.json") as file:
        held = json.load(file)
    assert "processors" in held["machine"]
    for saved, made in zip(held["trials"], trials, strict=True):
        assert (saved["name"], saved["mean"], saved["std"]) == (made.name, made.mean(), made.std())
        assert saved["test_accuracy"] == made.scores()
        assert Recipe(**saved["recipe"]) == made.recipe


def test_one_seed_has_no_deviation_in_the_file_either(tmp_path):
    ablate(variations(FULL, ["augment"]), 1, tmp_path, progress=False)
    with open(tmp_path / "results.json") as file:
        assert json.load(file)["trials"][0]["std"] is None
