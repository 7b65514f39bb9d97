"""LARS, layer-wise adaptive rate scaling, for large batches (You, Gitman and Ginsburg 2017)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..autograd import Tensor
from .flat import Run
from .optimizer import Optimizer

__all__ = ["LARS"]


class LARS(Optimizer):
    """SGD in which each parameter's rate is scaled to the ratio of its norm and its gradient's.

        ratio = trust_coefficient |p| / (|g| + weight_decay |p|)
        v <- momentum v + lr ratio (g + weight_decay p),   p <- p - v

    Args:
        params: tensors or groups; see `Optimizer`.
        lr: the global learning rate.
        momentum: how much of the last step is kept.
        weight_decay: strength of the decay.
        trust_coefficient: by how much of its norm a parameter may change in a step at lr = 1.
        eps: added to the denominator.
        adapt_vectors: whether biases and scales of norms (parameters of one dimension) have a rate
            of their own, too, as in the paper; usual since is that they take the global one.
        nesterov: look ahead along the momentum.
        maximize: climb instead of descend.

    Raises:
        ValueError: a negative option.
    """

    _counts_steps = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-1,
        momentum: float = 0.9,
        weight_decay: float = 0,
        trust_coefficient: float = 1e-3,
        eps: float = 1e-8,
        adapt_vectors: bool = False,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "eps": eps,
            "adapt_vectors": adapt_vectors,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        for option in ("momentum", "trust_coefficient"):
            if group[option] < 0:
                raise ValueError(f"LARS: {option} must not be negative, got {group[option]}")

    def _states(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",)

    def _age(self, p: Tensor) -> int:
        return int(p in self.state and "momentum_buffer" in self.state[p])

    def _update(self, run: Run, group: dict[str, Any]) -> None:
        own = [group["adapt_vectors"] or p.ndim > 1 for p in run.params]
        run.backend.lars_step(
            run.param,
            run.grad,
            run.states["momentum_buffer"],
            [place for place, adapts in zip(run.places, own, strict=True) if adapts],
            lr=float(group["lr"]),
            momentum=float(group["momentum"]),
            weight_decay=float(group["weight_decay"]),
            trust_coefficient=float(group["trust_coefficient"]),
            eps=float(group["eps"]),
            nesterov=bool(group["nesterov"]),
            maximize=bool(group["maximize"]),
        )
