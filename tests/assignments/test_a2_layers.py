"""Assignment A2: its handout, solution, bugs and alternatives, and what its README promises."""

import re
from pathlib import Path

import numpy as np
import pytest

from minidl.teach.assign.assignment import load, module_of
from minidl.teach.assign.verify import verify

FOLDER = Path(__file__).parents[2] / "lessons" / "assignments" / "a2_layers"


@pytest.fixture(scope="module")
def assignment():
    return load(FOLDER)


@pytest.fixture(scope="module")
def layers():
    return module_of(FOLDER, "layers.py")


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
    assert len(found.bugs) >= 40
    assert len(found.alternatives) >= 8


def test_the_readme_names_the_points_of_each_part_and_of_the_public_checks(assignment):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    points = {}
    for one in assignment.checks:
        points[one.part[0]] = points.get(one.part[0], 0) + one.points
    assert sum(points.values()) == 100
    table = re.findall(r"^\| (\d) \|.*\| (\d+) \|$", text, re.MULTILINE)
    assert {part: int(value) for part, value in table} == points
    headings = re.findall(r"^## Part (\d)\. .*\((\d+) points\)$", text, re.MULTILINE)
    assert {part: int(value) for part, value in headings} == points
    public = sum(one.points for one in assignment.public)
    assert f"give {public:g} of the 100 points" in " ".join(text.split())


def test_the_readme_names_every_function_of_the_solution():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    functions = re.findall(r"^def (\w+)", (FOLDER / "layers.py").read_text("utf-8"), re.MULTILINE)
    assert len(functions) == 25
    assert [name for name in functions if not re.search(rf"`{name}[`(]", text)] == []


def against_torch(layers, name, reference, arrays, *arguments):
    """Compare a pair of functions with torch's function, given a random cotangent."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    expected = reference(torch.nn.functional, *tensors)
    cotangent = rng.standard_normal(expected.shape)
    expected.backward(torch.tensor(cotangent))
    out, cache = getattr(layers, f"{name}_forward")(*arrays, *arguments)
    grads = getattr(layers, f"{name}_backward")(cotangent, cache)
    grads = grads if isinstance(grads, tuple) else (grads,)
    pairs = [(out, expected.detach()), *zip(grads, [t.grad for t in tensors], strict=True)]
    for got, wanted in pairs:
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((3, 3), (1, 1, 1, 1)),
        ((3, 2), ((2, 3), (1, 2), (2, 1), 2)),
        ((3, 3), (2, 1, 1, 4)),
        ((2, 2), (3, 0, 1, 1)),
    ],
)
def test_the_solutions_convolution_is_torchs(layers, kernel, options):
    rng = np.random.default_rng(0)
    shapes = (2, 4, 9, 11), (8, 4 // options[3], *kernel), (8,)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    against_torch(layers, "conv2d", lambda F, *t: F.conv2d(*t, *options), arrays, *options)


@pytest.mark.parametrize("options", [(2, None, 0), (3, 2, 1), ((3, 2), (1, 2), (1, 0)), (2, 3, 0)])
def test_the_solutions_pooling_is_torchs_with_ties_too(layers, options):
    x = np.random.default_rng(0).integers(-3, 3, (2, 3, 7, 8)).astype(float)
    against_torch(layers, "max_pool2d", lambda F, x: F.max_pool2d(x, *options), [x], *options)
    for counted in (True, False):
        against_torch(
            layers,
            "avg_pool2d",
            lambda F, x, counted=counted: F.avg_pool2d(x, *options, False, counted),
            [x],
            *options,
            counted,
        )


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_the_solutions_batchnorm_is_torchs_with_its_running_statistics(layers, shape, training):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) * 3 + 1, rng.random(4) + 0.5, rng.random(4)]
    mean, var = rng.random(4), rng.random(4) + 0.5
    theirs = torch.tensor(mean), torch.tensor(var)
    against_torch(
        layers,
        "batch_norm",
        lambda F, x, w, b: F.batch_norm(x, *theirs, w, b, training, 0.3, 1e-3),
        arrays,
        mean,
        var,
        training,
        0.3,
        1e-3,
    )
    np.testing.assert_allclose(mean, theirs[0].numpy(), rtol=1e-12)
    np.testing.assert_allclose(var, theirs[1].numpy(), rtol=1e-12)
