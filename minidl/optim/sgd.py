"""Stochastic gradient descent, with momentum (Polyak 1964) and Nesterov's form (Sutskever 2013)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..autograd import Tensor
from .flat import Run
from .optimizer import Optimizer

__all__ = ["SGD"]


class SGD(Optimizer):
    """v <- momentum v + (1 - dampening) g,   p <- p - lr v.

    Args:
        params: tensors or groups; see `Optimizer`.
        lr: the learning rate.
        momentum: how much of the last step's direction is kept.
        dampening: how much of the gradient does not enter the momentum.
        weight_decay: g <- g + weight_decay p, the gradient of weight_decay/2 |p|^2.
        nesterov: p <- p - lr (g + momentum v): the gradient where the momentum leads to.
        maximize: climb instead of descend.

    Raises:
        ValueError: a negative option, or `nesterov` without momentum or with dampening.
    """

    _counts_steps = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["momentum"] < 0:
            raise ValueError(f"SGD: momentum must not be negative, got {group['momentum']}")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum above 0 and no dampening")

    def _states(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def _age(self, p: Tensor) -> int:
        return int(p in self.state and "momentum_buffer" in self.state[p])

    def _update(self, run: Run, group: dict[str, Any]) -> None:
        run.backend.sgd_step(
            run.param,
            run.grad,
            run.states.get("momentum_buffer"),
            lr=float(group["lr"]),
            momentum=float(group["momentum"]),
            dampening=float(group["dampening"]),
            nesterov=bool(group["nesterov"]),
            weight_decay=float(group["weight_decay"]),
            maximize=bool(group["maximize"]),
            first=run.age == 0,
        )
