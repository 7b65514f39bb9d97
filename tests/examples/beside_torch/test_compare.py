"""A network trained on both sides: the same path, and what is printed and kept of it."""

import argparse
import importlib.util
import json
import re

import numpy as np
import pytest

from minidl.data import joint
from minidl.models.segmentation.segnet import SegNetBasic

from ...models.segmentation import scenes


@pytest.fixture
def both():
    import beside_torch

    return beside_torch


@pytest.fixture
def plan(both):
    images, masks = scenes(6, 3, 16, 20)
    masks[0, 0] = 9

    def twin():
        from beside_torch.networks import SegNetBasic

        return SegNetBasic(3, 4, stages=2)

    pairs = list(zip(images, masks, strict=True))
    return both.Plan(
        "SegNet-Basic",
        "very narrow",
        build=lambda: SegNetBasic(3, stages=2, width=4),
        twin=twin,
        train=both.Pictures(pairs, joint.RandomHorizontalFlip()),
        test=both.Pictures(pairs),
        classes=("ground", "square", "disc"),
        ignore_index=9,
        weight=None,
        epochs=3,
        batch_size=2,
        lr=0.01,
        published={"mean_iou": 12.5},
    )


def arguments(folder, seeds=2):
    return argparse.Namespace(out=str(folder), seeds=seeds, quick=False)


def test_without_dropout_both_sides_go_the_same_way(both, plan):
    pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    for seed in (0, 1):
        ours, theirs = both.train_minidl(plan, seed), both.train_torch(plan, seed)
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)
        assert ours["pixel_error"] == pytest.approx(theirs["pixel_error"], abs=0.01)
        assert ours["class_iou"] == pytest.approx(theirs["class_iou"], abs=0.02)
    other = both.train_minidl(plan, 2)
    assert abs(other["train_loss"] - ours["train_loss"]) > 1e-3 * ours["train_loss"]


def test_published_and_both_sides_stand_one_below_the_other(both, plan, tmp_path, capsys):
    pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    both.compare("A result", [plan], arguments(tmp_path))
    printed = capsys.readouterr().out
    kept = json.loads((tmp_path / "results.json").read_text())[str(plan)]
    errors = {s: [100 * run["pixel_error"] for run in kept[s].values()] for s in both.SIDES}
    means = {side: np.mean(values) for side, values in errors.items()}
    for side, values in errors.items():
        std = np.std(values, ddof=1)
        assert re.search(rf"{side} +{means[side]:.2f} ± {std:.2f} % ", printed)
    assert re.search(r"published +- +12\.50 %", printed)
    apart = np.subtract(errors["minidl"], errors["torch"])
    expected = f"{apart.mean():+.2f} (SE {apart.std(ddof=1) / np.sqrt(2):.2f})"
    assert re.search(rf"minidl - torch +{re.escape(expected)}", printed)
    for words in ("A result\n", "command: python ", "machine: ", "IoU of classes, torch: ground "):
        assert words in printed


def test_what_is_there_is_not_trained_again(both, plan, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    both.compare("A result", [plan], arguments(tmp_path, seeds=1))
    first = capsys.readouterr().out
    assert "  minidl, seed 0: pixel error" in first
    both.compare("A result", [plan], arguments(tmp_path, seeds=2))
    second = capsys.readouterr().out
    assert "seed 0:" not in second
    assert "  minidl, seed 1: " in second
    plan.lr = 0.02  # another plan
    both.compare("A result", [plan], arguments(tmp_path, seeds=1))
    assert "  minidl, seed 0: " in capsys.readouterr().out


def test_without_torch_minidls_half_is_done(both, plan, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    both.compare("A result", [plan], arguments(tmp_path, seeds=1))
    printed = capsys.readouterr().out
    assert "torch is not installed" in printed
    assert re.search(r"  minidl +\d+\.\d\d % ", printed)
    assert "minidl - torch" not in printed


def test_missing_files_end_with_a_message_and_no_traceback(both):
    def read():
        raise FileNotFoundError("there is no picture")

    with pytest.raises(SystemExit, match=r"there is no picture; --root or MINIDL_DATA"):
        both.find_data(read)
