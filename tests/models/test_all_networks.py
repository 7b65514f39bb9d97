"""What every network must do, on a narrow version of each."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

import minidl as md
from minidl import models
from minidl.autograd import gradcheck
from minidl.models.classification.resnet_cifar import ResNetCIFAR

from .overfit import overfit


@dataclass
class Narrow:
    """A narrow version of a network, and what stands for it.

    build: makes it, with `classes` outputs; names: the builders in minidl.models it stands for;
    shape: of a picture; lr, steps: with which it learns 16 pictures by heart.
    """

    build: Callable
    names: tuple[str, ...]
    shape: tuple[int, int, int]
    lr: float = 0.05
    steps: int = 40
    classes: int = 3
    marks: tuple = field(default=())


NARROW = {
    "lenet5": Narrow(lambda: models.lenet5(num_classes=3), ("lenet5",), (1, 28, 28)),
    "mlp": Narrow(lambda: models.mlp((784, 12, 8, 3)), ("mlp",), (1, 28, 28)),
    "resnet_cifar": Narrow(
        lambda: ResNetCIFAR(1, 3),
        ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"),
        (3, 8, 8),
    ),
}

CASES = [pytest.param(case, id=name, marks=case.marks) for name, case in NARROW.items()]


def scores(output):
    """The main output of a network that has auxiliary ones, too."""
    return output[0] if isinstance(output, tuple) else output


def pictures(case, count, dtype=np.float32):
    return np.random.default_rng(1).normal(size=(count, *case.shape)).astype(dtype)


def test_every_builder_has_a_narrow_version():
    assert {name for case in NARROW.values() for name in case.names} == set(models.__all__)


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_picture_and_parameters_are_right(case):
    net = case.build().double().eval()  # no dropout; BatchNorm's own gradients are checked apart
    for buffer in net.buffers():
        if buffer.is_floating_point():
            buffer.data[...] = np.random.default_rng(2).uniform(0.5, 1.5, buffer.shape)
    x = md.tensor(pictures(case, 2, np.float64), requires_grad=True)
    names = [name for name, _ in net.named_parameters()]

    def call(x, *parameters):
        for name, parameter in zip(names, parameters, strict=True):
            path, _, last = name.rpartition(".")
            net.get_submodule(path)._parameters[last] = parameter
        return scores(net(x))

    assert gradcheck(call, (x, *net.parameters()))


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_takes_part_in_training(case):
    net = case.build().train()
    outputs = net(md.tensor(pictures(case, 4)))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for output in outputs:
        assert output.shape == (4, case.classes)
    sum((output * md.randn(4, case.classes)).sum() for output in outputs).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("case", CASES)
def test_sixteen_pictures_are_learned_by_heart(case):
    net = case.build()
    shape = (16, *case.shape)
    assert overfit(net, shape, steps=case.steps, lr=case.lr, classes=case.classes) == 1.0


@pytest.mark.parametrize("case", CASES)
def test_evaluation_is_deterministic_and_treats_each_picture_alone(case):
    net = case.build().eval()
    x = md.tensor(pictures(case, 3))
    with md.no_grad():
        together, again = net(x), net(x)
        alone = net(x[1:2])  # a batch of one
    assert isinstance(together, md.Tensor)
    assert together.shape == (3, case.classes)
    np.testing.assert_array_equal(together.data, again.data)
    np.testing.assert_allclose(alone.data[0], together.data[1], rtol=1e-4, atol=1e-5)
