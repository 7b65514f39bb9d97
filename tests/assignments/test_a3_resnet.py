"""Assignment A3: its handout, solution, bugs and alternatives, and what its README promises."""

import re
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl.models.classification import preact_resnet_cifar, resnet, resnet_cifar
from minidl.teach.assign.assignment import load, module_of
from minidl.teach.assign.verify import verify

FOLDER = Path(__file__).parents[2] / "lessons" / "assignments" / "a3_resnet"


@pytest.fixture(scope="module")
def assignment():
    return load(FOLDER)


@pytest.fixture(scope="module")
def solution():
    return module_of(FOLDER, "resnet.py")


@pytest.mark.slow
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
        points[one.part[0]] = points.get(one.part[0], 0) + one.points
    assert sum(points.values()) == 100
    table = re.findall(r"^\| (\d) \|.*\| (\d+) \|$", text, re.MULTILINE)
    assert {part: int(value) for part, value in table} == points
    headings = re.findall(r"^## Part (\d)\. .*\((\d+) points\)$", text, re.MULTILINE)
    assert {part: int(value) for part, value in headings} == points
    public = sum(one.points for one in assignment.public)
    assert f"give {public:g} of the 100 points" in " ".join(text.split())


def test_the_readme_names_every_function_and_class_of_the_solution():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    source = (FOLDER / "resnet.py").read_text("utf-8")
    names = re.findall(r"^(?:def|class) (\w+)", source, re.MULTILINE)
    assert len(names) == 26
    assert [name for name in names if not re.search(rf"`{name}[`(]", text)] == []


def same(ours, theirs, shape, rename=lambda name: name):
    """Two modules with one state give one output and one gradient, in training."""
    rng = np.random.default_rng(0)
    ours, theirs = ours.double().train(), theirs.double().train()
    parameters = {rename(name): p for name, p in theirs.named_parameters()}
    assert set(parameters) == {name for name, _ in ours.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert parameter.shape == parameters[name].shape
        parameter.data[...] = rng.standard_normal(parameter.shape) * 0.5
        parameters[name].data[...] = parameter.data
    x = rng.standard_normal(shape)
    outs = [module(md.tensor(x)) for module in (ours, theirs)]
    grad = rng.standard_normal(outs[0].shape)
    for out in outs:
        out.backward(md.tensor(grad))
    np.testing.assert_allclose(outs[0].detach().numpy(), outs[1].detach().numpy(), rtol=1e-9)
    for name, parameter in ours.named_parameters():
        wanted = parameters[name].grad.numpy()
        np.testing.assert_allclose(parameter.grad.numpy(), wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("option", ["A", "B", "C"])
def test_the_solutions_network_is_that_of_the_models(solution, option):
    theirs = resnet_cifar.ResNetCIFAR(2, 5, option, 2, 4)
    same(solution.CifarResNet(2, 5, option, 2, 4), theirs, (3, 2, 9, 8))


def test_the_solutions_bottleneck_is_that_of_the_models(solution):
    theirs = resnet.Bottleneck(6, 2, 2, downsample=resnet_cifar.projection(6, 8, 2))
    ours = solution.Bottleneck(6, 2, 2, "B")
    same(ours, theirs, (3, 6, 7, 6), lambda name: name.replace("downsample", "shortcut"))


def test_the_solutions_preactivation_block_is_that_of_the_models(solution):
    def rename(name):
        return name.replace("before.", "").replace("residual.", "")

    theirs = preact_resnet_cifar.ResidualUnit(4, 4, 1, preact_resnet_cifar.ORDERS["full"])
    same(solution.PreActBlock(4, 4, 1, "A"), theirs, (3, 4, 7, 6), rename)


def test_the_solutions_optimiser_and_loss_are_torchs(solution):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start, grads = rng.standard_normal((2, 3)), rng.standard_normal((4, 2, 3))
    for nesterov in (False, True):
        p = md.nn.Parameter(md.tensor(start))
        q = torch.nn.Parameter(torch.tensor(start))
        ours = solution.SGD([{"params": [p], "weight_decay": 0.1}], 0.2, 0.9, nesterov)
        theirs = torch.optim.SGD([q], 0.2, 0.9, weight_decay=0.1, nesterov=nesterov)
        for grad in grads:
            p.grad, q.grad = md.tensor(grad), torch.tensor(grad)
            ours.step()
            theirs.step()
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12)
    logits, targets = rng.standard_normal((5, 4)), rng.integers(0, 4, 5)
    loss = solution.smooth_cross_entropy(md.tensor(logits), targets, 0.2)
    wanted = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(targets), label_smoothing=0.2
    )
    np.testing.assert_allclose(loss.item(), wanted.item(), rtol=1e-12)
