"""The script that lays all detectors into one table runs, and its table is what was measured."""

import csv
import importlib.util
import json

import pytest
from PIL import Image

from minidl import models
from minidl.training.recipe import write_recipe
from minidl.training.recipes import default

from .test_examples import ROOT, run

SCRIPT = ROOT / "examples" / "detectors_scenes.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("detectors_scenes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def a_row(system, seed, ap50, **others):
    row = {"system": system, "seed": seed, "AP50": ap50, "AP": ap50 / 2, "epochs": 3}
    row |= {"parameters": 1234, "minutes": 2.0, "images_per_second_test": 50.0}
    return row | {"images_per_second_training": 20.0} | others


def test_detectors_are_trained_and_laid_into_one_table_and_not_trained_again(tmp_path):
    args = ("--quick", "--only", "localization_small", "ssd_small")
    result = run(SCRIPT, *args, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    out = tmp_path / "runs" / "detectors_scenes-quick"
    table = (out / "detectors.md").read_text()
    assert "| SSD | one stage |" in table
    assert "| Localisation | one object |" in table
    assert table.strip() in result.stdout
    with open(out / "detectors.csv") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["localization_small", "ssd_small"]
    for name, row in rows.items():
        network = getattr(models, name)()
        assert int(row["parameters"]) == sum(p.numel() for p in network.parameters())
        assert 0 <= float(row["AP"]) <= float(row["AP50"]) <= 1
        assert float(row["images_per_second_test"]) > 0
        assert 0 < float(row["minutes"]) < 5
    assert Image.open(out / "detectors.png").size[0] > 600

    kept = out / "ssd_small-quick-0" / "result.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "AP50": 0.987}))
    again = run(SCRIPT, *args, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "| SSD | one stage | 98.7 % |" in again.stdout


def test_a_run_goes_on_with_the_schedule_it_began_with(script, tmp_path):
    recipe = default("ssd_small").changed(size=64, images=16, epochs=2).with_options(width=4)
    write_recipe(recipe, tmp_path)
    row = script.train_system("ssd_small", 1.0, 0, str(tmp_path), quick=True)
    assert row["epochs"] == 2
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + 2
    assert json.loads((tmp_path / "result.json").read_text()) == row


def test_as_many_epochs_are_planned_as_fit_into_the_time(script, monkeypatch):
    """A step of 2 s, of which the first with a batch takes 3 s longer; 2 batches an epoch."""
    recipe = default("ssd_small").changed(size=64, images=16, epochs=1).with_options(width=4)
    clock, seen = [0.0], set()

    class Clock:
        perf_counter = staticmethod(lambda: clock[0])

    parts = script.prepare(recipe, quick=True)

    def losses(images, targets, right=parts.model.losses):
        clock[0] += 2.0 if id(images) in seen else 5.0
        seen.add(id(images))
        return right(images, targets)

    monkeypatch.setattr(parts.model, "losses", losses, raising=False)
    monkeypatch.setattr(script, "prepare", lambda *_: parts)
    monkeypatch.setattr(script, "time", Clock)
    batches = list(parts.train)  # held, so that each has an id of its own
    parts.train = batches
    assert script.epochs_within(2 * 3 + 5 * 4 + 1, recipe, quick=True) == 5
    seen.clear()
    assert script.epochs_within(1, recipe, quick=True) == 1


def test_the_table_has_means_over_seeds_with_their_spread(script):
    rows = [a_row("ssd_small", 0, 0.4), a_row("ssd_small", 1, 0.6)]
    rows.append(a_row("maskrcnn_small", 0, 0.7, masks_AP50=0.65, masks_AP=0.3))
    means = script.means_of(rows)
    lines = script.markdown(means).splitlines()
    assert lines[2] == ("| SSD | one stage | 50.0 ± 14.1 % | 25.0 % | 1,234 | 20 | 50 | 3 | 2.0 |")
    assert lines[3].startswith("| Mask R-CNN | two stages | 70.0 % | 35.0 % |")
    assert script.compare_kinds(means) == [
        "one stage (1): AP50 50.0 %, 50 images/s",
        "two stages (1): AP50 70.0 %, 50 images/s",
    ]
    assert script.other_scores(rows) == ["Mask R-CNN, seed 0: masks AP50 65.0 %, AP 30.0 %"]


def test_all_small_detectors_are_in_the_table(script):
    small = {name for name in models.detection.__all__ if name.endswith("_small")}
    assert set(script.SYSTEMS) == small | {"sliding_window_detector"}


@pytest.mark.slow
def test_all_systems_go_through_all_their_stages(tmp_path):
    result = run(SCRIPT, "--quick", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    out = tmp_path / "runs" / "detectors_scenes-quick"
    with open(out / "detectors.csv") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert len(rows) == 14
    network = models.rcnn_small()
    own = sum(p.numel() for p in network.parameters())
    assert int(rows["rcnn_small"]["parameters"]) > own + 13 * 4 * 1024, "SVMs and regressors"
    assert rows["maskrcnn_small"]["masks_AP50"] != ""
    assert rows["keypointrcnn_small"]["keypoints_AP50"] != ""
