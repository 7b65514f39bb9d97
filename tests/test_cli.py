"""The `minidl` command, as a user types it."""

import itertools
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import minidl as md
from minidl.cli import _fitted, _parser, main
from minidl.data import Digits
from minidl.training.log import read_log
from minidl.training.recipes import Recipe, read_recipe

COMMAND = [sys.executable, "-m", "minidl.cli"]
# Where processes find this very minidl from another folder.
PLACE = {**os.environ, "PYTHONPATH": str(pathlib.Path(md.__file__).parents[1])}
FILES = ["checkpoint.safetensors", "curves.png", "log.csv", "recipe.json"]
QUICK = ["train", "mlp", "--epochs", "2", "--workers", "0"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """An empty folder to work in, and no data but what comes with minidl."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIDL_DATA", raising=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two epochs."""
    folder = tmp_path_factory.mktemp("trained") / "mlp"
    assert main([*QUICK, "--out", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it that may be damaged."""
    return shutil.copytree(trained, tmp_path / "run")


def fails(capsys, *args):
    """The one line of error that a command ends with."""
    assert main([str(arg) for arg in args]) == 1
    out, err = capsys.readouterr()
    assert re.fullmatch(rf"minidl {args[0]}: [^\n]+\n", err), err
    assert "Traceback" not in out
    return err


def weights(run):
    state = md.load(os.path.join(run, "checkpoint.safetensors"))
    return {name: tensor.data.tobytes() for name, tensor in state["model"].items()}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- train ---------------------------------------------------------------------------------------


def test_train_says_what_it_does_and_leaves_its_files(capsys):
    assert main(QUICK) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == (
        "mlp (268,978 parameters) on digits: 4,000 training and 1,000 test images, 2 epochs on cpu"
    )
    assert re.fullmatch(r"epoch 1/2  train: loss .* accuracy .*  test: loss .* img/s\)", lines[1])
    accuracy = float(re.search(r"test accuracy ([0-9.]+)%", lines[3])[1])
    assert lines[3].endswith("in runs/mlp: checkpoint.safetensors, log.csv, curves.png")
    assert len(lines) == 4
    assert err == ""
    assert sorted(os.listdir("runs/mlp")) == FILES
    assert accuracy == pytest.approx(100 * read_log("runs/mlp/log.csv")[-1]["test_accuracy"])
    assert accuracy > 80
    assert Image.open("runs/mlp/curves.png").format == "PNG"


def test_options_go_into_the_recipe_of_the_run():
    args = ["--lr", "0.01", "--optimizer", "adam", "--seed", "3", "--batch-size", "500"]
    assert main(["train", "mlp", *args, "--epochs", "1", "--out", "x", "--quiet"]) == 0
    with open("x/recipe.json") as file:
        recipe = json.load(file)
    assert (recipe["lr"], recipe["optimizer"], recipe["seed"]) == (0.01, "adam", 3)
    assert (recipe["batch_size"], recipe["epochs"], recipe["model"]) == (500, 1, "mlp")


def test_switches_and_options_of_the_network_go_into_the_recipe_too():
    args = ["--augment", "rotation:5+cutout", "--mixup", "0.2", "--ema", "0.9", "--images", "200"]
    args += ["--scale-lr", "--no-nesterov", "--warmup-epochs", "1", "--decay", "weights"]
    args += ["--option", "variant=1998", "--lr", "0.002", "--epochs", "2", "--clip-norm", "1"]
    assert main(["train", "lenet5", *args, "--out", "x", "--quiet"]) == 0
    recipe = read_recipe("x")
    assert recipe.options == {"variant": "1998"}
    assert (recipe.augment, recipe.mixup, recipe.ema) == ("rotation:5+cutout", 0.2, 0.9)
    assert (recipe.scale_lr, recipe.nesterov, recipe.warmup_epochs) == (True, False, 1)
    assert (recipe.decay, recipe.clip_norm, recipe.images) == ("weights", 1.0, 200)


def test_of_a_run_with_averaged_weights_these_are_evaluated(capsys):
    args = ["--ema", "0.9", "--out", "x", "--quiet"]
    assert main([*QUICK, *args]) == 0
    assert main(["eval", "x"]) == 0
    row = read_log("x/log.csv")[-1]
    assert f"loss {row['test_loss']:.4f}" in capsys.readouterr().out


def test_a_run_at_a_constant_rate_can_be_lengthened(capsys):
    args = [*QUICK, "--schedule", "constant", "--images", "300", "--quiet"]
    assert main([*args, "--out", "x"]) == 0
    assert main(["train", "--resume", "x", "--epochs", "4", "--quiet"]) == 0
    assert main([*args, "--epochs", "4", "--out", "y"]) == 0
    assert weights("x") == weights("y")
    assert len(read_log("x/log.csv")) == read_recipe("x").epochs == 4
    before = contents(pathlib.Path("x"))
    assert "cannot end after 3 epochs: 4 are done" in fails(
        capsys, "train", "--resume", "x", "--epochs", "3"
    )
    assert contents(pathlib.Path("x")) == before


def test_a_run_whose_schedule_is_over_says_why_it_cannot_be_lengthened(capsys, run):
    before = contents(run)
    line = fails(capsys, "train", "--resume", run, "--epochs", "9")
    assert "begun for 2 epochs, and its cosine schedule was laid out over just these" in line
    assert "begin a new run with --epochs 9" in line
    assert contents(run) == before


def test_a_run_is_not_overwritten_unless_that_is_asked_for(capsys, run):
    before = contents(run)
    line = fails(capsys, *QUICK, "--out", run)
    assert f"--resume {run}" in line
    assert contents(run) == before
    assert main([*QUICK, "--epochs", "1", "--out", str(run), "--force", "--quiet"]) == 0
    assert len(read_log(run / "log.csv")) == 1


def test_what_cannot_be_built_does_not_cost_the_run_that_is_there(capsys, run):
    before = contents(run)
    fails(capsys, "train", "mlp", "--data", "mnist", "--out", run, "--force")
    fails(capsys, "train", "mlp", "--lr", "-1", "--out", run, "--force")
    assert contents(run) == before


def test_a_finished_run_is_resumed_by_saying_how_it_ended(capsys, run):
    before = weights(run)
    os.remove(run / "curves.png")
    assert main(["train", "--resume", str(run)]) == 0
    assert "test accuracy" in capsys.readouterr().out
    assert weights(run) == before
    assert sorted(os.listdir(run)) == FILES


def test_the_run_to_resume_is_found_by_the_network(capsys):
    assert main([*QUICK, "--quiet"]) == 0
    assert main(["train", "mlp", "--resume", "--quiet"]) == 0
    assert main(["train", "--resume", "runs/mlp", "--quiet"]) == 0


def test_a_run_is_resumed_as_it_was_begun(capsys, run):
    before = contents(run)
    line = fails(capsys, "train", "--resume", run, "--epochs", "9", "--lr", "1")
    assert "excludes another lr, epochs" in line
    assert "excludes another model" in fails(capsys, "train", "lenet5", "--resume", run)
    assert contents(run) == before
    assert main(["train", "--resume", str(run), "--epochs", "2", "--quiet"]) == 0


@pytest.mark.parametrize("content", [b"", b"x", b"whole"])
def test_a_damaged_checkpoint_is_named_and_left_alone(capsys, run, content):
    path = run / "checkpoint.safetensors"
    if content == b"whole":
        content = path.read_bytes()[:-1]
    path.write_bytes(content)
    for args in (["train", "--resume", run], ["eval", run], ["predict", run, "x.png"]):
        assert "checkpoint.safetensors" in fails(capsys, *args)
        assert path.read_bytes() == content


def test_the_checkpoint_of_another_network_is_named(capsys, run):
    recipe = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(recipe | {"model": "lenet5"}))
    before = contents(run)
    for args in (["train", "--resume", run], ["eval", run], ["predict", run, "x.png"]):
        assert "is of another run or network" in fails(capsys, *args)
    assert contents(run) == before


def test_what_is_no_run_is_named(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    for args in (["train", "--resume", "empty"], ["eval", "empty"], ["predict", "empty", "x.png"]):
        assert "empty is not the folder of a run" in fails(capsys, *args)
    assert not os.listdir("empty")
    assert "is not the folder of a run" in fails(capsys, "train", "mlp", "--resume")
    assert "name a network" in fails(capsys, "train")


def test_unknown_names_are_named_with_the_known_ones(capsys):
    assert "known are lenet5" in fails(capsys, "train", "nope")
    assert "unknown network 'nope'; known are alexnet" in fails(capsys, "summary", "nope")
    assert "unknown device" in fails(capsys, "train", "mlp", "--device", "tpu")
    assert not os.path.exists("runs")


def test_a_network_for_other_pictures_than_there_are_needs_the_name_of_the_data(capsys):
    assert "choose one with --data (digits" in fails(capsys, "train", "resnet18")
    args = ["--data", "digits", "--images", "64", "--epochs", "1", "--option", "width=4"]
    assert main(["train", "resnet18", *args, "--quiet"]) == 0
    recipe = read_recipe("runs/resnet18")
    assert recipe.options["num_classes"] == 10
    assert recipe.augment == "affine", "what is done with the data"


def test_a_network_is_fitted_to_the_channels_of_the_data():
    for model, data, options in [
        ("resnet20", "digits", {"in_channels": 1}),
        ("resnet18", "digits", {"in_channels": 1, "num_classes": 10}),
        ("lenet5", "cifar10", {"in_channels": 3}),
        ("lenet5", "mnist", {}),
        ("mlp", "cifar10", {}),  # knows no channels, and will be refused
    ]:
        assert _fitted(Recipe(model, data)).options == options


def test_missing_data_are_an_error_that_says_how_to_get_them(capsys):
    for args in (["train", "lenet5", "--data", "mnist"], ["train", "resnet20"]):
        assert "--download" in fails(capsys, *args)
    assert not os.path.exists("runs")


def test_a_folder_that_cannot_be_made_is_named(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in fails(capsys, "train", "mlp", "--out", "file/run")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has other permissions")
def test_a_folder_that_may_not_be_written_is_named(capsys, run):
    before, user = contents(run), os.geteuid()
    run.chmod(0o555)
    try:
        if user == 0:  # the superuser may write everywhere: be somebody else
            for folder in run.parents[:3]:  # pytest's, which are closed to others
                folder.chmod(0o755)
            os.seteuid(65534)
        assert "Permission denied" in fails(capsys, "train", "mlp", "--out", run / "deeper")
        assert "Permission denied" in fails(capsys, "train", "mlp", "--out", run, "--force")
    finally:
        os.seteuid(user)
        run.chmod(0o755)
    assert contents(run) == before


@pytest.mark.parametrize("args", [["--epochs", "0"], ["--epochs", "x"], ["--data", "nope"]])
def test_impossible_arguments_are_refused_with_the_usage(capsys, args):
    with pytest.raises(SystemExit) as caught:
        main(["train", "mlp", *args])
    assert caught.value.code == 2
    assert "usage: minidl train" in capsys.readouterr().err


def test_negative_numbers_are_refused(capsys):
    for option in ("--lr", "--weight-decay", "--seed", "--workers"):
        fails(capsys, "train", "mlp", option, "-1")
    assert not os.path.exists("runs")


# -- ablate --------------------------------------------------------------------------------------

ABLATE = ["ablate", "mlp", "--images", "200", "--epochs", "1", "--workers", "0"]


def test_ablate_prints_a_line_a_run_and_a_table_with_spread(capsys):
    args = ["--without", "augment", "--with", "label-smoothing=0.1", "--seeds", "2"]
    assert main([*ABLATE, *args]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == (
        "mlp on digits: 4 variations x 2 seeds of 1 epochs on cpu; runs are in runs/ablate-mlp"
    )
    names = ["augment + label_smoothing", "label_smoothing", "augment", "base"]
    for line, (seed, name) in zip(lines[1:9], itertools.product("01", names), strict=True):
        assert re.fullmatch(rf"{re.escape(name)}, seed {seed}: [0-9.]+% \(\d+ s\)", line)
    assert lines[10] == "test accuracy after the last epoch, digits"
    for line, name in zip(lines[12:16], names, strict=True):
        assert re.match(rf"{re.escape(name)} +[0-9.]+ % +[0-9.]+ ", line)
    assert sorted(os.listdir("runs/ablate-mlp")) == sorted(
        ["results.csv", "results.json", *(name.replace(" ", "") for name in names)]
    )
    assert main([*ABLATE, *args]) == 0
    assert capsys.readouterr().out == out


def test_ablate_walks_the_ladder(capsys):
    args = ["--images", "40", "--epochs", "1", "--seeds", "1", "--data", "digits"]
    args += ["--option", "width=4", "--out", "x"]
    assert main(["ablate", "resnet18", "--ladder", *args]) == 0
    assert read_recipe("x/resnet18/seed0").schedule == "step"
    assert read_recipe("x/cosine-schedule/seed0").schedule == "cosine"
    table = capsys.readouterr().out.split("last epoch")[1].splitlines()
    assert [line.split("  ")[0] for line in table[2:13]] == [
        "resnet18",
        "cosine schedule",
        "more epochs",
        "averaged weights",
        "label smoothing",
        "stochastic depth",
        "RandAugment",
        "dropout",
        "less weight decay",
        "squeeze-and-excitation",
        "ResNet-D",
    ]
    assert "excludes --without" in fails(
        capsys, "ablate", "resnet18", "--ladder", "--without", "augment", *args
    )


def test_ablate_refuses_what_the_recipe_does_not_have(capsys):
    assert "has no 'mixup' to leave out" in fails(capsys, *ABLATE, "--without", "mixup")
    assert "needs parts" in fails(capsys, *ABLATE)
    with pytest.raises(SystemExit):
        main([*ABLATE, "--with", "mixup"])
    assert "write it as NAME=VALUE, not 'mixup'" in capsys.readouterr().err
    assert not os.path.exists("runs")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
def test_ablate_goes_on_after_ctrl_c(capsys):
    args = [*ABLATE, "--epochs", "3", "--without", "augment", "--seeds", "2"]
    process = start(*args)
    wait_for("runs/ablate-mlp/base/seed0/recipe.json", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.endswith("stopped; the same command goes on from there\n")
    assert "Traceback" not in err
    assert main(args) == 0
    assert main([*args, "--out", "whole"]) == 0
    for name in ("augment/seed0", "base/seed0", "augment/seed1", "base/seed1"):
        assert weights(f"runs/ablate-mlp/{name}") == weights(f"whole/{name}")


# -- stopping a process --------------------------------------------------------------------------


def start(*args):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*COMMAND, *args], env=PLACE, **pipes)


def wait_for(path, process):
    while not os.path.exists(path):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
def test_ctrl_c_ends_with_a_checkpoint_and_the_way_to_go_on(trained):
    recipe = json.loads((trained / "recipe.json").read_text())
    process = start(*QUICK, "--out", "run")
    wait_for("run/recipe.json", process)
    time.sleep(0.15)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    if process.returncode != 0:  # else it was faster
        assert process.returncode == 130
        assert out.endswith("stopped; continue with: minidl train --resume run\n")
        assert "Traceback" not in err
        assert main(["train", "--resume", "run", "--quiet"]) == 0
    with open("run/recipe.json") as file:
        assert json.load(file) == recipe
    assert weights("run") == weights(trained)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_a_command_that_is_killed_again_and_again_ends_as_if_it_had_not_been():
    assert main(["train", "lenet5", "--epochs", "3", "--out", "whole", "--quiet"]) == 0
    chance, kills = random.Random(0), 0
    process = start("train", "lenet5", "--epochs", "3", "--out", "run")
    while kills < 8:
        try:
            process.communicate(timeout=chance.uniform(0.3, 1.5))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        begun = os.path.exists("run/recipe.json")
        args = ["--resume", "run"] if begun else ["lenet5", "--epochs", "3", "--out", "run"]
        process = start("train", *args)
    process.communicate(timeout=120)
    assert kills > 0
    assert weights("run") == weights("whole")
    assert sorted(os.listdir("run")) == FILES


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other pipes")
def test_a_reader_that_goes_away_is_no_error():
    command = " ".join([*COMMAND, "models", "|", "head", "-n", "1"])
    result = subprocess.run(command, shell=True, capture_output=True, text=True, env=PLACE)
    assert result.stdout.split() == ["parameters", "multiply-adds", "source"]
    assert result.stderr == ""


# -- eval and predict ----------------------------------------------------------------------------


def test_eval_finds_what_training_found(capsys, trained):
    assert main(["eval", str(trained)]) == 0
    out = capsys.readouterr().out
    row = read_log(trained / "log.csv")[-1]
    assert f"test accuracy {row['test_accuracy']:.2%}, loss {row['test_loss']:.4f}" in out
    assert "1,000 images of digits" in out


def test_eval_draws_a_picture(capsys, trained):
    assert main(["eval", str(trained), "--picture", "deep/page.png"]) == 0
    assert "drawn: deep/page.png" in capsys.readouterr().out
    assert Image.open("deep/page.png").size[0] > 1000


def test_predict_answers_for_pictures_of_any_kind(capsys, trained):
    digits = Digits(train=False)
    right = 0
    for i in range(30):
        image = Image.fromarray(digits.images[i, 0])
        image.save("a.png")
        Image.fromarray(255 - digits.images[i, 0]).resize((300, 300)).convert("RGB").save("b.jpg")
        assert main(["predict", str(trained), "a.png", "b.jpg", "--top", "2"]) == 0
        lines = capsys.readouterr().out.splitlines()
        answer = r"(\d) [0-9.]+%, \d [0-9.]+%"
        first = re.fullmatch(rf"a\.png: {answer}", lines[0])[1]
        second = re.fullmatch(rf"b\.jpg: {answer}", lines[1])[1]
        right += [int(first), int(second)].count(digits.labels[i])
    assert right >= 0.8 * 60


def test_predict_goes_on_after_a_file_that_is_no_picture(capsys, trained):
    Image.fromarray(Digits(train=False).images[0, 0]).save("good.png")
    with open("bad.png", "w") as file:
        file.write("no picture")
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(trained), "bad.png", "absent.png", "good.png"])
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    assert re.fullmatch(r"good\.png: [^\n]+\n", out)
    assert re.fullmatch(
        r"minidl predict: bad\.png is not a picture[^\n]+\nminidl predict: [^\n]*absent\.png'\n",
        err,
    )


# -- segmentation and detection ------------------------------------------------------------------

# Narrow networks, few small pictures.
PIXELS = ["train", "full_resolution", "--option", "depth=2", "--option", "width=4"]
OBJECTS = ["train", "ssd_small", "--option", "width=4", "--size", "64"]
FEW = ["--images", "8", "--epochs", "1", "--batch-size", "4", "--workers", "0"]


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    """A run that segments."""
    folder = tmp_path_factory.mktemp("pixels") / "run"
    assert main([*PIXELS, *FEW, "--size", "24", "--out", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """A run that detects."""
    folder = tmp_path_factory.mktemp("objects") / "run"
    assert main([*OBJECTS, *FEW, "--out", str(folder), "--quiet"]) == 0
    return folder


def picture(path, height=40, width=60):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


def test_train_teaches_segmentation_and_draws_examples(capsys):
    assert main([*PIXELS, *FEW, "--size", "24", "--out", "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"full_resolution \(.* parameters\) on scenes: 8 training and 8 test images, 1 epochs on "
        r"cpu",
        lines[0],
    )
    assert re.search(
        r"train: loss .* pixel_accuracy .* mean_iou .* test: loss .* mean_iou", lines[1]
    )
    assert re.fullmatch(
        r"test mean IoU [0-9.]+% after 1 epochs \(.*\); in run: checkpoint\.safetensors, log\.csv, "
        r"curves\.png, examples\.png",
        lines[2],
    )
    assert sorted(os.listdir("run")) == sorted([*FILES, "examples.png"])
    assert min(Image.open("run/examples.png").size) > 500
    recipe = read_recipe("run")
    assert recipe.options == {"depth": 2, "width": 4, "in_channels": 3, "num_classes": 14}
    assert (recipe.size, recipe.classes) == (24, [])


def test_train_teaches_detection_and_draws_examples(capsys):
    assert main([*OBJECTS, *FEW, "--out", "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "on scenes: 8 training and 8 test images" in lines[0]
    assert re.search(r"train: loss .* classification .* test: loss .* AP50 ", lines[1])
    assert re.match(r"test AP50 [0-9.]+% after 1 epochs", lines[2])
    assert lines[2].endswith("examples.png")
    assert min(Image.open("run/examples.png").size) > 500


@pytest.mark.parametrize(("name", "words"), [("pixels", "mean IoU"), ("objects", "AP50")])
def test_eval_finds_what_training_found_and_draws_examples(capsys, request, name, words):
    run = request.getfixturevalue(name)
    capsys.readouterr()
    assert main(["eval", str(run), "--picture", "deep/page.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = read_log(run / "log.csv")[-1]
    score = row["test_mean_iou" if name == "pixels" else "test_AP50"]
    assert lines[0] == (
        f"{run}: test {words} {score:.2%}, loss {row['test_loss']:.4f} on 8 images of scenes"
    )
    assert f"{words} {score:.2%}" in lines[1]
    names = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "disc", "rectangle", "triangle"]
    assert [line.split()[0] for line in lines[3:-1]][-13:] == names
    assert lines[-1] == "drawn: deep/page.png"
    assert Image.open("deep/page.png").format == "PNG"


def test_examples_are_drawn_with_averaged_weights_and_eval_draws_the_same():
    args = [*PIXELS, *FEW, "--size", "24", "--ema", "0.5", "--lr", "0.1", "--epochs", "3"]
    assert main([*args, "--out", "run", "--quiet"]) == 0
    assert main(["eval", "run", "--picture", "again.png"]) == 0
    first, again = (np.asarray(Image.open(path)) for path in ("run/examples.png", "again.png"))
    assert np.array_equal(first, again)
    assert main([*args, "--ema", "0", "--out", "plain", "--quiet"]) == 0
    assert not np.array_equal(first, np.asarray(Image.open("plain/examples.png")))


def test_predict_paints_what_each_pixel_shows(capsys, pixels):
    picture("a.png")
    picture("b.jpg", 33, 20)
    assert main(["predict", str(pixels), "a.png", "b.jpg", "--out", "drawn", "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("; ")[1] for line in lines] == [
        "drawn: drawn/a-classes.png",
        "drawn: drawn/b-classes.png",
    ]
    for line in lines:
        assert re.match(r"[ab]\.(png|jpg): \w+ [0-9.]+%; ", line)
    assert sorted(os.listdir("drawn")) == ["a-classes.png", "b-classes.png"]
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(pixels), "absent.png"])
    assert caught.value.code == 1


def test_predict_marks_objects(capsys, objects):
    picture("a.png")
    assert main(["predict", str(objects), "a.png", "--threshold", "0.99"]) == 0
    assert capsys.readouterr().out == "a.png: nothing; drawn: a-objects.png\n"
    empty = Image.open("a-objects.png").convert("RGB")
    assert main(["predict", str(objects), "a.png", "--threshold", "0", "--top", "2"]) == 0
    answer = r"a\.png: \w+ [0-9.]+%, \w+ [0-9.]+% and \d+ more; drawn: a-objects\.png\n"
    assert re.fullmatch(answer, capsys.readouterr().out)
    marked = Image.open("a-objects.png").convert("RGB")
    assert marked.size == empty.size
    assert marked.tobytes() != empty.tobytes()


def test_a_folder_of_images_and_masks_is_learned_by_one_command(capsys):
    for part in ("images", "masks"):
        os.makedirs(f"data/{part}")
    for i in range(6):
        picture(f"data/images/{i}.png", 30, 34)
        mask = np.zeros((30, 34), np.uint8)
        mask[5:20, 5 + i : 20] = 255
        Image.fromarray(mask).save(f"data/masks/{i}.png")
    args = [*PIXELS, "--data", "folder", "--root", "data", *FEW, "--size", "16", "--out", "run"]
    assert "data/classes.txt is missing: the names of the classes" in fails(capsys, *args)
    assert not os.path.exists("run")
    pathlib.Path("data/classes.txt").write_text("ground\nsquare\n")
    assert main(args) == 0
    assert "on folder: 5 training and 1 test images" in capsys.readouterr().out
    recipe = read_recipe("run")
    assert recipe.classes == ["ground", "square"]
    # The files of the data are not needed to use what was learned from them.
    shutil.rmtree("data/masks")
    assert main(["predict", "run", "data/images/0.png"]) == 0
    assert re.search(r"(ground|square) [0-9.]+%", capsys.readouterr().out)
    assert "no folder data/masks" in fails(capsys, "eval", "run", "--root", "data")


def test_data_that_do_not_fit_are_one_clear_sentence(capsys, tmp_path):
    for args, message in (
        (["unet", "--data", "digits"], "digits is data for classification; known for segmentation"),
        (["ssd_small", "--data", "isbi"], "isbi is data for segmentation; known for detection are"),
        (["lenet5", "--data", "camvid"], "camvid is data for segmentation; known for classific"),
        (["unet", "--data", "camvid", "--root", "x"], "CamVid: there is no "),
        (["ssd_small", "--data", "bccd", "--root", "x"], "no folder JPEGImages"),
        (
            ["unet", "--option", "num_classes=3"],
            "needed are (1, 14, 64, 64), one for each of its 1",
        ),
        (["ssd_small", "--option", "num_classes=3"], "was made for 3 kinds of objects; scenes has"),
        (["maskrcnn_small", "--data", "voc"], "learns from masks, which voc does not have"),
        (["sliding_window"], "sliding_window learns from windows"),
        ([*PIXELS[1:], "--loss", "nope"], "unknown loss 'nope'"),
        ([*PIXELS[1:], "--mixup", "1"], "mixup is not for segmentation, which full_resolution is"),
    ):
        assert message in fails(capsys, "train", *args)
    assert not os.path.exists("runs")


def test_the_checkpoint_of_another_kind_of_network_is_named(capsys, pixels, tmp_path):
    copy = shutil.copytree(pixels, tmp_path / "copy")
    recipe = json.loads((copy / "recipe.json").read_text())
    other = {"model": "ssd_small", "options": {"width": 4}, "size": 64}
    (copy / "recipe.json").write_text(json.dumps(recipe | other))
    picture("a.png")
    for args in (["train", "--resume", copy], ["eval", copy], ["predict", copy, "a.png"]):
        assert "is of another run or network" in fails(capsys, *args)


def test_a_stopped_run_of_a_segmentation_is_continued(capsys, pixels):
    assert main([*PIXELS, *FEW, "--size", "24", "--out", "whole", "--quiet"]) == 0
    assert weights("whole") == weights(pixels)
    assert main(["train", "--resume", "whole"]) == 0
    assert "test mean IoU" in capsys.readouterr().out
    assert weights("whole") == weights(pixels)


def test_ablate_compares_the_score_of_the_task(capsys):
    args = ["ablate", *PIXELS[1:], *FEW, "--size", "24", "--with", "balance=true", "--seeds", "1"]
    assert main([*args, "--out", "x"]) == 0
    out = capsys.readouterr().out
    assert "test mean IoU after the last epoch, scenes" in out
    assert re.search(r"balance, seed 0: [0-9.]+%", out)


# -- look ----------------------------------------------------------------------------------------


def test_summary_counts_the_parameters_of_the_784_300_100_10_network(capsys):
    assert main(["summary", "mlp"]) == 0
    out = capsys.readouterr().out
    for number in ("271,346", "268,978", "2,368"):
        assert re.search(rf"arameters:\s+{number}\n", out)


def test_summary_takes_another_shape(capsys):
    assert main(["summary", "resnet20", "--input", "3x64x64"]) == 0
    assert "(1, 16, 64, 64)" in capsys.readouterr().out
    assert "4 channels" in fails(capsys, "summary", "resnet20", "--input", "4x32x32")
    with pytest.raises(SystemExit):
        main(["summary", "resnet20", "--input", "32"])
    assert "write it as 1x28x28" in capsys.readouterr().err


def test_models_lists_every_network_with_parameters_multiply_adds_and_source(capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^ +parameters +multiply-adds  source$", out, re.M)
    assert re.search(r"^lenet5 +61,706 +416,520  LeNet-5", out, re.M)
    assert re.search(r"^resnet20 +269,722 +40,551,040  ResNet-20", out, re.M)
    assert len(out.splitlines()) == 1 + len(md.models.__all__)


def test_doctor_reports_and_says_what_holds_blas_back(capsys, monkeypatch):
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert f"NumPy {np.__version__}" in out or f"numpy {np.__version__}" in out
    for word in ("minidl 0", "Python 3", "GPU: ", "Threads: ", "GFLOP/s", "digits: 1,000"):
        assert word in out
    assert "unset" not in out
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "OPENBLAS_CORETYPE=Haswell is set" in out
    assert "unset OPENBLAS_CORETYPE" in out
    assert "OMP_NUM_THREADS=1 is set" in out


def test_help_and_version_are_there(capsys):
    for args in (["--help"], ["--version"], ["train", "--help"]):
        with pytest.raises(SystemExit) as caught:
            main(args)
        assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"minidl {md.__version__}" in out
    for verb in ("train", "eval", "predict", "ablate", "summary", "models", "doctor"):
        assert f"\n    {verb} " in out


def test_every_option_of_every_verb_has_a_help_text():
    verbs = next(a for a in _parser()._actions if isinstance(a.choices, dict))
    for name, verb in verbs.choices.items():
        for action in verb._actions:
            assert action.help, f"{name} {action.dest}"


def test_importing_the_command_draws_nothing_and_looks_for_no_gpu():
    code = (
        "import sys, minidl.cli; "
        "print([m for m in ('matplotlib', 'cupy', 'torch', 'tqdm', 'PIL') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, text=True, env=PLACE).strip() == "[]"
