"""What the tests of this room share: a trained LeNet-5 and whether a look changed anything."""

from __future__ import annotations

import functools

import numpy as np

import minidl as md
from minidl import nn, optim
from minidl.data import DataLoader, Digits
from minidl.models.classification.lenet import lenet5
from minidl.training import fit


@functools.cache
def trained():
    """LeNet-5 after two rounds of the digits that come with minidl: about three seconds."""
    md.manual_seed(0)
    net = lenet5()
    train = DataLoader(Digits(), 64, shuffle=True, seed=0)
    optimizer = optim.Adam(net.parameters(), lr=2e-3)
    fit(net, optimizer, nn.CrossEntropyLoss(), train, epochs=2, progress=False)
    net.zero_grad()
    return net


@functools.cache
def some_digits(count=60):
    """(count, 1, 28, 28) in [0, 1] and their labels, none of them trained with."""
    test = Digits(train=False)
    return md.tensor((test.images[:count] / 255).astype(np.float32)), test.labels[:count]


def pooled(maps=5, classes=3, seed=0):
    """Convolution, ReLU, global average pooling and a linear layer; with all that has a mode."""
    md.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, maps, 3, padding=1),
        nn.BatchNorm2d(maps),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(maps, classes),
    )


def pictures(count=4, channels=2, size=(8, 9), seed=0):
    rng = np.random.default_rng(seed)
    return md.tensor(rng.standard_normal((count, channels, *size), dtype=np.float32))


def traces(model):
    """What a look must leave as it was."""
    return [
        *((m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()),
        *((p.requires_grad, p.grad is None, p.data.tobytes()) for p in model.parameters()),
        *(b.data.tobytes() for b in model.buffers()),
    ]
