"""Assignment A6: its handout, solution, bugs and alternatives, and what its README promises."""

import re
from pathlib import Path

import numpy as np
import pytest

import minidl as md
import minidl.nn.functional as F
from minidl.teach.assign.assignment import load, module_of
from minidl.teach.assign.release import release
from minidl.teach.assign.verify import verify

FOLDER = Path(__file__).parents[2] / "lessons" / "assignments" / "a6_roi_align"


@pytest.fixture(scope="module")
def assignment():
    return load(FOLDER)


@pytest.fixture(scope="module")
def solution():
    return module_of(FOLDER, "roi.py")


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
    assert len(found.bugs) >= 90
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
    functions = re.findall(r"^def (\w+)", (FOLDER / "roi.py").read_text("utf-8"), re.MULTILINE)
    assert len(functions) == 23
    assert [name for name in functions if f"`{name}`" not in text] == []


def test_the_handout_holds_no_slow_oracles(assignment, tmp_path):
    files = release(assignment, tmp_path / "handout")
    assert set(files) == {"README.md", "assignment.py", "calls.py", "public.py", "roi.py"}


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [0, 2])
def test_region_pooling_is_that_of_minidl(solution, aligned, ratio):
    rng = np.random.default_rng(6)
    x = rng.standard_normal((2, 3, 11, 13))
    corner = rng.uniform(-6, 40, (9, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 30, (9, 2))], axis=1)
    rois = np.concatenate([rng.integers(0, 2, (9, 1)), boxes], axis=1)
    grad = rng.standard_normal((9, 3, 3, 4))
    t = md.tensor(x, requires_grad=True)
    wanted = F.roi_align(t, rois, (3, 4), 0.25, ratio, aligned)
    wanted.backward(md.tensor(grad))
    options = 0.25, ratio, aligned
    np.testing.assert_allclose(
        solution.roi_align(x, rois, (3, 4), *options), wanted.detach().numpy(), atol=1e-12
    )
    back = solution.roi_align_backward(grad, x.shape, rois, *options)
    np.testing.assert_allclose(back, t.grad.numpy(), atol=1e-12)
    t.grad = None
    pooled = F.roi_pool(t, rois, (3, 4), 0.25)
    pooled.backward(md.tensor(grad))
    out, cache = solution.roi_pool(x, rois, (3, 4), 0.25)
    np.testing.assert_array_equal(out, pooled.detach().numpy())
    back = solution.roi_pool_backward(grad, cache)
    np.testing.assert_allclose(back, t.grad.numpy(), atol=1e-12)
