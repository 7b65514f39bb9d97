"""Single convolutions: forward and both gradients, minidl, PyTorch and the classic im2col."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .classic import classic_convolutions
from .timing import race

__all__ = ["SHAPES", "Shape", "measure"]


@dataclass(frozen=True)
class Shape:
    """A convolution: (N, C, H, W) to O channels with a k x k kernel, "same" padding (k - 1) / 2."""

    batch: int
    channels: int
    size: int
    out: int
    kernel: int
    stride: int = 1
    groups: int = 1

    def __str__(self) -> str:
        text = f"({self.batch}, {self.channels}, {self.size}, {self.size}) -> {self.out}, "
        text += f"{self.kernel}x{self.kernel}"
        text += f", stride {self.stride}" if self.stride > 1 else ""
        return text + (", depthwise" if self.groups > 1 else "")


SHAPES = [
    Shape(128, 1, 28, 6, 5),  # LeNet-5
    Shape(128, 6, 14, 16, 5),
    Shape(128, 3, 32, 16, 3),  # ResNet-20
    Shape(128, 16, 32, 16, 3),
    Shape(128, 16, 32, 32, 3, stride=2),
    Shape(128, 32, 16, 32, 3),
    Shape(128, 64, 8, 64, 3),
    Shape(8, 64, 56, 64, 3),  # ResNet-50
    Shape(8, 256, 14, 256, 3),
    Shape(8, 256, 56, 64, 1),
    Shape(4, 3, 224, 64, 7, stride=2),
    Shape(64, 96, 16, 96, 3, groups=96),  # MobileNetV2
    Shape(1, 64, 128, 64, 3),  # U-Net
]


def measure(s: Shape, device: str, seconds: float) -> dict[str, float]:
    """Seconds for forward and both gradients: {"minidl": ..., "torch": ..., "classic": ...}."""
    import torch

    import minidl as md
    from minidl.nn import functional as F

    rng = np.random.default_rng(0)
    x = rng.standard_normal((s.batch, s.channels, s.size, s.size), dtype=np.float32)
    w = rng.standard_normal((s.out, s.channels // s.groups, s.kernel, s.kernel), dtype=np.float32)
    padding = (s.kernel - 1) // 2
    options: dict[str, Any] = {"stride": s.stride, "padding": padding, "groups": s.groups}
    ho = (s.size + 2 * padding - s.kernel) // s.stride + 1
    u = rng.standard_normal((s.batch, s.out, ho, ho), dtype=np.float32)

    mx, mw = (md.tensor(a, device=device, requires_grad=True) for a in (x, w))
    mu = md.tensor(u, device=device)
    tx, tw = (torch.tensor(a, device=device, requires_grad=True) for a in (x, w))
    tu = torch.tensor(u, device=device)

    def ours() -> None:
        md.grad(F.conv2d(mx, mw, **options), [mx, mw], mu)

    def theirs() -> None:
        torch.autograd.grad(torch.nn.functional.conv2d(tx, tw, **options), [tx, tw], tu)

    contenders = {"minidl": ours, "torch": theirs}
    if s.groups == 1:

        def classic() -> None:
            with classic_convolutions():
                ours()

        contenders["classic"] = classic
    return race(contenders, seconds)
