"""Learning by heart: the test that a network can learn at all."""

from __future__ import annotations

import numpy as np

from minidl import nn, no_grad, optim, tensor


def overfit(model, shape, *, steps, lr, classes=10, momentum=0.9):
    """The accuracy of a model on random pictures with random labels, after training on them."""
    rng = np.random.default_rng(0)
    images = tensor(rng.normal(size=shape).astype(np.float32))
    labels = tensor(rng.integers(0, classes, shape[0]))
    loss_of = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model(images), labels).backward()
        optimizer.step()
    with no_grad():
        return float((model(images).data.argmax(1) == labels.data).mean())
