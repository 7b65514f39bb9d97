"""Assignment A5: its handout, solution, bugs and alternatives, and what its README promises."""

import re
from pathlib import Path

import numpy as np
import pytest

from minidl import tensor
from minidl.metrics import VOCAveragePrecision
from minidl.teach.assign.assignment import load, module_of
from minidl.teach.assign.verify import verify

FOLDER = Path(__file__).parents[2] / "lessons" / "assignments" / "a5_yolo"


@pytest.fixture(scope="module")
def assignment():
    return load(FOLDER)


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
    assert len(found.bugs) >= 38
    assert len(found.alternatives) >= 8


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
    solution = (FOLDER / "yolo.py").read_text(encoding="utf-8")
    functions = re.findall(r"^def (\w+)", solution, re.MULTILINE)
    assert len(functions) == 22
    assert [name for name in functions if f"`{name}`" not in text] == []


def test_average_precision_is_that_of_minidl_metrics():
    solution = module_of(FOLDER, "yolo.py")
    rng = np.random.default_rng(5)
    metric = VOCAveragePrecision(3, rule="lecture")
    eleven = VOCAveragePrecision(3, rule="lecture", points=11)
    detections, truths = [], []
    for _ in range(6):
        corner = rng.uniform(0, 60, (7, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(10, 30, (7, 2))], axis=1)
        labels = rng.integers(0, 3, 7)
        shifted = np.concatenate([boxes + rng.uniform(-4, 4, (7, 4)), boxes[:3]])
        kinds = np.concatenate([labels, rng.integers(0, 3, 3)])
        scores = rng.uniform(0, 1, 10)
        detections.append((shifted, kinds, scores))
        truths.append((boxes, labels))
        for score in (metric, eleven):
            score.update(
                [{"boxes": tensor(shifted), "labels": tensor(kinds), "scores": tensor(scores)}],
                [{"boxes": tensor(boxes), "labels": tensor(labels)}],
            )
    aps, mean = solution.mean_average_precision(detections, truths, 3)
    assert mean == pytest.approx(float(metric.compute()["mAP"]), rel=1e-5)
    per_class = metric.compute()["per_class"].values()
    np.testing.assert_allclose(aps, [float(row["AP"]) for row in per_class], rtol=1e-5)
    # Eleven points of the same curves.
    curves = eleven.compute()["curves"].values()
    ours = [solution.ap_11_points(c["precision"], c["recall"]) for c in curves]
    theirs = [float(row["AP"]) for row in eleven.compute()["per_class"].values()]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
