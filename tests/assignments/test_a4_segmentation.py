"""Assignment A4: its handout, solution, bugs and alternatives, and what its README promises."""

import re
from pathlib import Path

import numpy as np
import pytest

import minidl.nn.functional as F
from minidl import nn, tensor
from minidl.models.segmentation.fcn import bilinear_
from minidl.teach.assign.assignment import load, module_of
from minidl.teach.assign.verify import verify
from minidl.training.tiles import predict_tiles

FOLDER = Path(__file__).parents[2] / "lessons" / "assignments" / "a4_segmentation"


@pytest.fixture(scope="module")
def assignment():
    return load(FOLDER)


@pytest.fixture(scope="module")
def solution():
    return module_of(FOLDER, "segmentation.py")


def test_the_handout_scores_0_and_the_solution_full(assignment):
    assert verify(assignment, parts="quick", jobs=2).problems == []


@pytest.mark.slow
def test_the_solution_is_full_with_other_inputs_too(assignment):
    assert verify(assignment, parts="quick", jobs=2, seed=2026).problems == []


@pytest.mark.slow
def test_bugs_lose_points_for_their_causes_and_alternatives_none(assignment):
    found = verify(assignment, jobs=2)
    assert found.problems == []
    assert [bug.name for bug in found.survived] == []
    assert len(found.unnamed) <= 0.1 * len(found.bugs)
    assert len(found.bugs) >= 36
    assert len(found.alternatives) >= 7


def test_the_readme_names_the_points_of_each_part_and_of_the_public_checks(assignment):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    points = {}
    for one in assignment.checks:
        points[one.part] = points.get(one.part, 0) + one.points
    assert sum(points.values()) == 100
    table = re.findall(r"^\| (\d\. .*?) \|.*\| (\d+) \|$", text, re.MULTILINE)
    assert {part: int(value) for part, value in table} == points
    headings = re.findall(r"^## (\d\. .*?) \((\d+) points\)$", text, re.MULTILINE)
    assert {part: int(value) for part, value in headings} == points
    public = sum(one.points for one in assignment.public)
    assert f"give {public:g} of the 100 points" in " ".join(text.split())


def test_the_readme_names_every_function_of_the_solution():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    functions = re.findall(
        r"^def (\w+)", (FOLDER / "segmentation.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(functions) == 33
    assert [name for name in functions if f"`{name}`" not in text] == []


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
def test_the_kernel_is_that_of_fcn_and_upsampling_interpolates(solution, factor):
    weight = solution.bilinear_kernel(3, factor)
    expected = tensor(np.zeros_like(weight))
    bilinear_(expected)
    np.testing.assert_allclose(weight, expected.numpy(), atol=1e-12)
    x = np.random.default_rng(3).standard_normal((2, 3, 5, 6))
    resized = F.interpolate(tensor(x), size=(5 * factor, 6 * factor), mode="bilinear").numpy()
    inner = np.s_[:, :, factor:-factor, factor:-factor]
    np.testing.assert_allclose(solution.upsample(x, factor)[inner], resized[inner], atol=1e-12)


def test_tiles_are_joined_as_minidl_joins_them(solution):
    rng = np.random.default_rng(4)
    image = rng.standard_normal((2, 11, 7)).astype(np.float32)
    model = nn.Conv2d(2, 3, 3, padding=1)
    ours = solution.predict_tiles(
        lambda piece: model(tensor(piece[None])).detach().numpy()[0], image, 4, 2
    )
    theirs = predict_tiles(model, tensor(image[None]), 4, 2).numpy()[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_loss_of_a_perfect_mask_is_nearly_0(solution):
    targets = np.random.default_rng(5).integers(0, 3, (2, 4, 4))
    logits = 50.0 * (targets[:, None] == np.arange(3)[:, None, None])
    assert solution.cross_entropy_forward(logits, targets)[0] < 1e-12
    assert solution.dice_forward(logits, targets)[0] < 1e-12
