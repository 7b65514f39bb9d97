"""Assignment A1: its handout, solution, bugs and alternatives, and what its README promises."""

import re
from pathlib import Path

import numpy as np
import pytest

from minidl.teach.assign.assignment import load, module_of
from minidl.teach.assign.release import stripped
from minidl.teach.assign.verify import verify

FOLDER = Path(__file__).parents[2] / "lessons" / "assignments" / "a1_autograd"


@pytest.fixture(scope="module")
def assignment():
    return load(FOLDER)


@pytest.fixture(scope="module")
def autograd():
    return module_of(FOLDER, "autograd.py")


@pytest.fixture(scope="module")
def readme():
    return (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_handout_scores_0_and_the_solution_full(assignment):
    assert verify(assignment, parts="quick", jobs=2).problems == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2026])
def test_the_solution_is_full_with_other_inputs_too(assignment, seed):
    assert verify(assignment, parts="quick", jobs=2, seed=seed).problems == []


@pytest.mark.slow
def test_bugs_lose_points_for_their_causes_and_alternatives_none(assignment):
    found = verify(assignment, jobs=2)
    assert found.problems == []
    assert [bug.name for bug in found.survived] == []
    assert len(found.unnamed) <= 0.1 * len(found.bugs)
    assert len(found.bugs) >= 100
    assert len(found.alternatives) >= 9


def test_the_readme_names_the_points_of_each_part_and_the_number_of_checks(assignment, readme):
    points = {}
    for one in assignment.checks:
        points[one.part] = points.get(one.part, 0) + one.points
    assert sum(points.values()) == 100
    headings = re.findall(r"^## Part (\d\. .*) \((\d+) points\)$", readme, re.MULTILINE)
    assert {title: int(value) for title, value in headings} == points
    text = " ".join(readme.split())
    assert f"{sum(one.points for one in assignment.public):g} of the 100 points" in text
    assert f"come {len(assignment.hidden)} hidden checks" in text


def test_the_readme_names_every_class_and_function_of_the_solution(readme):
    text = (FOLDER / "autograd.py").read_text(encoding="utf-8")
    names = set(re.findall(r"^(?:def|class) (\w+)", text, re.MULTILINE))
    given = {"spiral", "demo"}
    assert [name for name in names - given if not re.search(rf"\b{name}\b", readme)] == []


def test_every_part_of_the_handout_says_what_is_to_be_written_where():
    text = (FOLDER / "autograd.py").read_text(encoding="utf-8")
    handout = stripped(text, "autograd.py")
    stubs = re.findall(r'raise NotImplementedError\("write ([\w.]+) here"\)', handout)
    assert len(stubs) == text.count("# BEGIN SOLUTION") == len(set(stubs))
    assert "SOLUTION" not in handout


def test_the_given_checkers_accept_the_solution_and_reject_a_wrong_rule(autograd):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 4)), rng.standard_normal(4)

    class Wrong(autograd.Mul):
        def backward(self, grad):
            of_a, of_b = super().backward(grad)
            return of_a, 1.01 * of_b

    assert autograd.check_rule(autograd.Mul, a, b)
    assert autograd.check_rule(autograd.Sum, a)
    assert autograd.check_rule(autograd.Max, a, axis=1)
    assert not autograd.check_rule(Wrong, a, b)
    assert autograd.check_tensors(lambda a, b: (a * b).exp().sum(), a, b)
    assert not autograd.check_tensors(lambda a, b: Wrong.apply(a, b).exp().sum(), a, b)


def test_numbers_and_arrays_beside_a_tensor_keep_its_dtype(autograd):
    x = autograd.Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    for result in (2 * x, 1 - x, x / 3, 1 / x, x**2, np.ones((2, 3), np.float32) + x):
        assert isinstance(result, autograd.Tensor)
        assert result.data.dtype == np.float32


def test_the_demo_learns_the_spiral(autograd, capsys):
    autograd.demo()
    right = re.search(r"([\d.]+)% of the points", capsys.readouterr().out)
    assert float(right[1]) >= 95
