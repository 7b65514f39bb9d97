"""Training steps of whole networks: minidl's, and the same written in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["NETWORKS", "minidl_step", "torch_step"]

# name -> (batch size, shape of an image)
NETWORKS = {"lenet5": (128, (1, 28, 28)), "resnet20": (128, (3, 32, 32))}


def _batch(name: str) -> tuple[np.ndarray, np.ndarray]:
    size, shape = NETWORKS[name]
    rng = np.random.default_rng(0)
    images = rng.standard_normal((size, *shape), dtype=np.float32)
    return images, rng.integers(0, 10, size)


def minidl_step(name: str, device: str) -> Callable[[], None]:
    """A function that does one training step: forward, backward, SGD with momentum."""
    import minidl as md
    from minidl import models, nn, optim

    md.manual_seed(0)
    model = getattr(models, name)().to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    images, labels = _batch(name)
    x, y = md.tensor(images, device=device), md.tensor(labels, device=device)

    def step() -> None:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device == "cuda":
            md.cuda.synchronize()

    return step


def torch_step(name: str, device: str) -> Callable[[], None]:
    """The same in PyTorch."""
    import torch

    torch.manual_seed(0)
    model = {"lenet5": _torch_lenet5, "resnet20": _torch_resnet20}[name]().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    criterion = torch.nn.CrossEntropyLoss()
    images, labels = _batch(name)
    x, y = torch.tensor(images, device=device), torch.tensor(labels, device=device)

    def step() -> None:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def _torch_lenet5() -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def _torch_resnet20() -> Any:
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, channels: int, out: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(out)
            self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(out)
            self.extra = out - channels
            self.stride = stride

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            if self.extra or self.stride > 1:
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra // 2, self.extra // 2))
            return F.relu(y + x)

    blocks = []
    channels = 16
    for out, stride in ((16, 1), (32, 2), (64, 2)):
        for i in range(3):
            blocks.append(Block(channels, out, stride if i == 0 else 1))
            channels = out
    stem = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
