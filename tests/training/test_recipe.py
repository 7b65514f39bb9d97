"""The recipe as a value, and as a file."""

import json
import os

import pytest

from minidl import models
from minidl.training.recipe import Recipe, read_recipe, write_recipe

PLAIN = Recipe("lenet5", "digits")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": 5}, "model must be text, got 5"),
        ({"epochs": 2.5}, r"epochs must be a whole number, got 2\.5"),
        ({"epochs": True}, "epochs must be a whole number, got True"),
        ({"lr": "fast"}, "lr must be a finite number, got 'fast'"),
        ({"mixup": True}, "mixup must be a finite number, got True"),
        ({"clip_norm": float("nan")}, "clip_norm must be a finite number, got nan"),
        ({"nesterov": "yes"}, "nesterov must be true or false, got 'yes'"),
        ({"classes": "sky"}, "classes must be a list of names, got 'sky'"),
        ({"options": [1]}, r"options must be names with values, got \[1\]"),
    ],
)
def test_values_of_another_type_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        PLAIN.changed(**changes)
    assert PLAIN.changed(lr=1, mixup=0).lr == 1  # whole numbers are numbers


def test_the_task_is_that_of_the_network():
    assert Recipe("lenet5", "digits").task == "classification"
    assert {Recipe(name, "").task for name in models.classification.__all__} == {"classification"}
    assert {Recipe(name, "").task for name in models.segmentation.__all__} == {"segmentation"}
    assert {Recipe(name, "").task for name in models.detection.__all__} == {"detection"}


def test_a_recipe_is_kept_in_the_folder_of_its_run(tmp_path):
    recipe = PLAIN.changed(options={"variant": "1998"}, lr=1 / 3)
    write_recipe(recipe, tmp_path)
    assert read_recipe(tmp_path) == recipe
    assert os.listdir(tmp_path) == ["recipe.json"]


def test_a_folder_that_is_no_run_and_a_damaged_recipe_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not the folder of a run"):
        read_recipe(tmp_path)
    wrong = '{"model": "mlp", "data": "digits", "epochs": "3"}'
    for text in ("", "{", "[1]", '{"model": "a"}', '{"colour": "red"}', "7", wrong):
        (tmp_path / "recipe.json").write_text(text)
        with pytest.raises(ValueError, match=r"recipe\.json is not a recipe"):
            read_recipe(tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps({"model": "mlp", "data": "digits"}))
    assert read_recipe(tmp_path) == Recipe("mlp", "digits")
