"""Networks that torchvision or timm have too: their weights load as they are, outputs agree."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

import minidl as md
from minidl import nn

from ..torchvision_oracle import timm, torchvision


@dataclass
class Twin:
    """A network here, and the same elsewhere.

    ours, theirs: make them; theirs is called only in the test. size: of the pictures;
    train: whether outputs in training mode (without dropout) are compared, too.
    """

    ours: Callable
    theirs: Callable
    size: int = 64
    train: bool = False
    channels: int = 3
    marks: tuple = field(default=())


PARITY: dict[str, Twin] = {}

CASES = [pytest.param(twin, id=name, marks=twin.marks) for name, twin in PARITY.items()]


def outputs(result):
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("twin", CASES)
def test_weights_load_and_outputs_agree(twin):
    theirs = twin.theirs()
    import torch

    generator = torch.Generator().manual_seed(0)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with nn.init.skip_init():
        ours = twin.ours()
    for module in ours.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(2, twin.channels, twin.size, twin.size))
    x = x.astype(np.float32)
    for training in (False, True)[: 1 + twin.train]:
        ours.train(training)
        theirs.train(training)
        with md.no_grad(), torch.no_grad():
            actual = outputs(ours(md.tensor(x)))
            expected = outputs(theirs(torch.tensor(x)))
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            e = e.numpy()
            assert a.shape == e.shape
            assert np.abs(a.data - e).max() <= 1e-4 * np.abs(e).max()


def test_the_oracles_are_there():
    assert torchvision().models.resnet18 is not None
    assert timm().create_model is not None
