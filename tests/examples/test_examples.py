"""The scripts in examples/ run, on a few images (their results take hours: see each one's page)."""

import os
import pathlib
import subprocess
import sys

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
