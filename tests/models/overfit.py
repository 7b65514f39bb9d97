"""Learning by heart: the test that a network can learn at all."""

from __future__ import annotations

import numpy as np

from minidl import nn, no_grad, optim, tensor


def overfit(model, shape, *, steps, lr, classes=10, momentum=0.9):
    """The accuracy of a model on random pictures with random labels, after training on them.

    Losses of auxiliary outputs are added; the accuracy is that of the first output.
    """
    rng = np.random.default_rng(0)
    images = tensor(rng.normal(size=shape).astype(np.float32))
    labels = tensor(rng.integers(0, classes, shape[0]))
    loss_of = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    model.train()

    def outputs():
        scores = model(images)
        return scores if isinstance(scores, tuple) else (scores,)

    for _ in range(steps):
        optimizer.zero_grad()
        sum(loss_of(scores, labels) for scores in outputs()).backward()
        optimizer.step()
    with no_grad():
        return float((outputs()[0].data.argmax(1) == labels.data).mean())
