"""Training steps of whole networks: minidl's, and the same written in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["CLASSIC", "NETWORKS", "minidl_step", "torch_step"]

# name -> (batch size, shape of an image, options of the builder)
NETWORKS: dict[str, tuple[int, tuple[int, int, int], dict[str, Any]]] = {
    "lenet5": (128, (1, 28, 28), {}),
    "resnet20": (128, (3, 32, 32), {}),
    "densenet_bc_40_12": (32, (3, 32, 32), {}),
    "mobilenet_v2": (64, (3, 32, 32), {"num_classes": 10, "small_input": True}),
    "unet": (4, (3, 128, 128), {"in_channels": 3, "padding": "same"}),
}


# Those whose convolutions the classic im2col of classic.py can do, too.
CLASSIC = ("lenet5", "resnet20")


def _batch(name: str) -> tuple[np.ndarray, np.ndarray]:
    size, shape, _ = NETWORKS[name]
    rng = np.random.default_rng(0)
    images = rng.standard_normal((size, *shape), dtype=np.float32)
    if name == "unet":
        return images, rng.integers(0, 2, (size, *shape[1:]))  # a class for each pixel
    return images, rng.integers(0, 10, size)


def minidl_step(name: str, device: str) -> Callable[[], None]:
    """A function that does one training step: forward, backward, SGD with momentum."""
    import minidl as md
    from minidl import models, nn, optim

    md.manual_seed(0)
    model = getattr(models, name)(**NETWORKS[name][2]).to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    images, labels = _batch(name)
    x, y = md.tensor(images, device=device), md.tensor(labels, device=device)

    def step() -> None:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def torch_step(name: str, device: str) -> Callable[[], None]:
    """The same in PyTorch."""
    import torch

    from . import torch_networks

    torch.manual_seed(0)
    model = getattr(torch_networks, name)().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    criterion = torch.nn.CrossEntropyLoss()
    images, labels = _batch(name)
    x, y = torch.tensor(images, device=device), torch.tensor(labels, device=device)

    def step() -> None:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step
