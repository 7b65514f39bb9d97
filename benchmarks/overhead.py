"""What an operation costs beside its arithmetic: a thousand products of one number."""

from __future__ import annotations

from typing import Any

from .timing import race

__all__ = ["measure"]

COUNT = 1000


def measure(phase: str, device: str, seconds: float) -> dict[str, float]:
    """Seconds for `COUNT` recorded operations forward, or for their backward."""
    import torch

    import minidl as md

    def chain(x: Any) -> Any:
        y = x
        for _ in range(COUNT):
            y = y * x
        return y

    a = md.ones(1, device=device, requires_grad=True)
    b = torch.ones(1, device=device, requires_grad=True)
    if phase == "forward":
        return race({"minidl": lambda: chain(a), "torch": lambda: chain(b)}, seconds)
    ours, theirs = chain(a), chain(b)
    return race(
        {
            "minidl": lambda: md.grad(ours, a, retain_graph=True),
            "torch": lambda: torch.autograd.grad(theirs, b, retain_graph=True),
        },
        seconds,
    )
