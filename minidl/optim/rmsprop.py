"""RMSprop (Tieleman and Hinton, lecture 6.5 of Neural Networks for Machine Learning, 2012)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .flat import Run
from .optimizer import Optimizer

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """The gradient over the root of its average square.

    Args:
        params: tensors or groups; see `Optimizer`.
        lr: the learning rate.
        alpha: how much of the average square is kept each step.
        eps: added to the root.
        weight_decay: g <- g + weight_decay p.
        momentum: how much of the last step's direction is kept.
        centered: divide by an estimate of the standard deviation instead (Graves 2013).
        maximize: climb instead of descend.

    Raises:
        ValueError: a negative option.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        for option in ("alpha", "momentum"):
            if group[option] < 0:
                raise ValueError(f"RMSprop: {option} must not be negative, got {group[option]}")

    def _states(self, group: dict[str, Any]) -> tuple[str, ...]:
        names = ["square_avg"]
        if group["momentum"]:
            names.append("momentum_buffer")
        if group["centered"]:
            names.append("grad_avg")
        return tuple(names)

    def _update(self, run: Run, group: dict[str, Any]) -> None:
        run.backend.rmsprop_step(
            run.param,
            run.grad,
            run.states["square_avg"],
            run.states.get("grad_avg"),
            run.states.get("momentum_buffer"),
            lr=float(group["lr"]),
            alpha=float(group["alpha"]),
            eps=float(group["eps"]),
            weight_decay=float(group["weight_decay"]),
            momentum=float(group["momentum"]),
            maximize=bool(group["maximize"]),
        )
