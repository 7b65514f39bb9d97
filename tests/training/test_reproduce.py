"""Published and ours: what the scripts in examples/ print."""

import os
import re
import sys

import pytest

from minidl.training.ablation import Trial
from minidl.training.recipes import Recipe
from minidl.training.reproduce import QUICK, options, report, reproduce

RECIPE = Recipe("mlp", "digits", epochs=3, lr=0.05)


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Sets the command line."""
    monkeypatch.chdir(tmp_path)

    def given(*args):
        monkeypatch.setattr(sys, "argv", ["examples/some_result.py", *args])

    return given


def test_the_arguments_that_every_script_takes(call):
    call("--seeds", "2", "--device", "cpu")
    args = options("What it does.", seeds=5)
    assert (args.seeds, args.quick, args.workers) == (2, False, 1)
    assert args.out == os.path.join("runs", "some_result")
    call("--quick", "--device", "cpu")
    args = options("What it does.", seeds=5)
    assert (args.seeds, args.out) == (5, os.path.join("runs", "some_result-quick"))


@pytest.mark.parametrize(
    ("flag", "device", "short"),
    [("", "cpu", True), ("--short", "cpu", True), ("--paper", "cpu", False)],
)
def test_without_a_gpu_the_schedule_is_the_short_one_unless_asked(call, flag, device, short):
    call("--device", device, *flag.split())
    assert options("What it does.", 1, short="3 epochs").short is short


def test_published_and_ours_stand_side_by_side(call, capsys):
    call("--quick", "--seeds", "2", "--device", "cpu")
    args = options("What it does.", seeds=3)
    trials = reproduce(
        "A result",
        [("first net", RECIPE), ("second", RECIPE.changed(lr=0.1))],
        {"first net": 1.5},
        args,
    )
    assert [trial.recipe.epochs for trial in trials] == [1, 1]
    assert [trial.recipe.images for trial in trials] == [QUICK, QUICK]
    out = capsys.readouterr().out
    assert out.startswith(f"A result: one epoch on {QUICK} images, which shows that it runs")
    first, second = trials
    errors = [100 * (1 - score) for score in first.scores()]
    mean, std = 100 * (1 - first.mean()), 100 * first.std()
    line = rf"first net +1\.50 % +{mean:.2f} % +{std:.2f}  {errors[0]:.2f} {errors[1]:.2f}\n"
    assert re.search(line, out)
    assert re.search(rf"second +- +{100 * (1 - second.mean()):.2f} % ", out)
    assert "over 2 seeds" in out
    assert "command: python examples/some_result.py --quick --seeds 2 --device cpu\n" in out
    assert re.search(r"\ntime: \d+ s a run, \d+ s in all\nmachine: .*processors", out)
    assert re.search(r"  second, seed 1: [0-9.]+% \(\d+ s\)\n", out)


def test_one_seed_is_no_mean():
    rows = [{"test_accuracy": 0.5, "seconds": 100.0}, {"test_accuracy": 0.25, "seconds": 100.0}]
    text = report([Trial("net", RECIPE, {0: rows})], {}, "cpu")
    assert "after the last epoch, one seed\n" in text
    assert re.search(r"net +- +75\.00 % +-  75\.00\n", text)
    assert "time: 3 min 20 s a run" in text


def test_a_result_of_a_part_of_the_data_is_refused(call, monkeypatch):
    """CIFAR-10's training files can be there one by one."""
    call("--device", "cpu")
    monkeypatch.setattr("minidl.training.sources.CIFAR10", lambda *_, **__: range(10_000))
    monkeypatch.setattr("os.path.isfile", lambda path: True)
    message = "cifar10: 10,000 of 50,000 training images are there; --download"
    recipe = Recipe("resnet20", "cifar10")
    with pytest.raises(SystemExit, match=message):
        reproduce("A result", [("net", recipe)], {}, options("", 1))
    with pytest.raises(SystemExit, match="10,000 of 10,001"):
        reproduce("A result", [("net", recipe.changed(images=10_001))], {}, options("", 1))


@pytest.mark.parametrize("seeds", ["0", "-1", "many"])
def test_there_is_one_run_at_least(call, capsys, seeds):
    call("--seeds", seeds)
    with pytest.raises(SystemExit):
        options("", 1)
    assert f"must be a number from 1, not '{seeds}'" in capsys.readouterr().err


def test_missing_data_end_with_a_message_and_no_traceback(call, monkeypatch):
    monkeypatch.delenv("MINIDL_DATA", raising=False)
    call("--device", "cpu")
    with pytest.raises(SystemExit, match=r"some_result.py: MNIST: no .* --download fetches it"):
        reproduce("A result", [("net", Recipe("mlp", "mnist"))], {}, options("", 1))
