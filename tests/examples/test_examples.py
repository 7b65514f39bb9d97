"""The scripts in examples/ run, on a few images (their results take hours: see each one's page)."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import minidl as md

ROOT = pathlib.Path(md.__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


def run(script, *args, cwd):
    place = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), *args]
    return subprocess.run(command, cwd=cwd, env=place, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_a_script_says_what_it_reproduces_and_how_it_is_called(script, tmp_path):
    result = run(script, "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    text = " ".join(result.stdout.split())
    for words in ("python examples/" + script.name, "--quick", "MINIDL_DATA", "--seeds"):
        assert words in text


@pytest.mark.slow
@pytest.mark.data
def test_lenet_s_script_prints_published_and_ours(tmp_path):
    result = run(ROOT / "examples" / "lenet5_mnist.py", "--quick", "--seeds", "2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    printed = " ".join(result.stdout.split())
    for words in ("LeNet-5 of 1998 0.95 %", "LeNet-5, distortions 0.80 %", "command: python "):
        assert words in printed
    assert (tmp_path / "runs" / "lenet5_mnist-quick" / "results.json").exists()


@pytest.mark.slow
@pytest.mark.data
def test_resnet_s_script_prints_published_and_ours(tmp_path):
    args = ("--quick", "--seeds", "1", "--device", "cpu")
    result = run(ROOT / "examples" / "resnet20_cifar10.py", *args, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "ResNet-20 8.75 %" in " ".join(result.stdout.split())
    assert "a short schedule" in result.stdout


@pytest.mark.slow
@pytest.mark.data
def test_the_degradation_script_draws_its_curves(tmp_path):
    args = ("--quick", "--device", "cpu")
    result = run(ROOT / "examples" / "degradation.py", *args, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    picture = tmp_path / "runs" / "degradation-quick" / "degradation.png"
    assert f"drawn: {picture.relative_to(tmp_path)}" in result.stdout
    assert Image.open(picture).size[0] > 1000


def test_the_script_of_shifted_regions_prints_and_draws_its_measures(tmp_path):
    result = run(ROOT / "examples" / "roi_shift.py", "--quick", "--seeds", "2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = re.findall(r"^(RoI[\w, ]*?) {2,}([\d.]+) ±", result.stdout, re.MULTILINE)
    change = {name: float(percent) for name, percent in rows}
    assert list(change) == ["RoIPool", "RoIAlign, rounded box", "RoIAlign"]
    assert change["RoIPool"] > 3 * change["RoIAlign"] > 0
    picture = tmp_path / "runs" / "roi_shift" / "roi_shift.png"
    assert f"drawn: {picture.relative_to(tmp_path)}" in result.stdout
    assert Image.open(picture).size[0] > 800


def test_pooling_by_rounded_boxes_follows_whole_cells_only():
    """Nothing changes at shifts of 0 and 1, much between them but for RoIAlign."""
    spec = importlib.util.spec_from_file_location("roi_shift", ROOT / "examples" / "roi_shift.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    found = script.measure(2, 12, 4, np.array([0.0, 0.5, 1.0]))
    change = {name: values[0].mean(axis=0) for name, values in found.items()}
    error = {name: values[1].mean() for name, values in found.items()}
    for values in change.values():
        np.testing.assert_allclose(values[[0, 2]], 0, atol=1e-9)
    assert change["RoIAlign"][1] < 0.1
    assert change["RoIPool"][1] > 0.2
    assert change["RoIAlign, rounded box"][1] > 0.2
    assert error["RoIAlign"] < 0.1 < error["RoIAlign, rounded box"] < error["RoIPool"]
    # The waves, by their formula at one place.
    waves = script.draw_waves(3, np.random.default_rng(1))
    values = waves.at(np.array([1.5, 7.25]), np.array([3.0]))
    expected = np.cos(waves.x * 7.25 + waves.y * 3.0 + waves.phase).sum(axis=1) / np.sqrt(3)
    np.testing.assert_allclose(values[:, 0, 1], expected)
