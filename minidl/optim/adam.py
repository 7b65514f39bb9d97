"""Adam, and AdamW, in which the decay is decoupled from the gradient.

Kingma and Ba, "Adam", 2015; Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .flat import Run
from .optimizer import Optimizer

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Each parameter moves by the average of its gradients over the root of their average square.

    Args:
        params: tensors or groups; see `Optimizer`.
        lr: the learning rate, about the largest change of a parameter in one step.
        betas: how much of the two averages, of the gradient and of its square, is kept each step.
        eps: added to the root.
        weight_decay: g <- g + weight_decay p.
        amsgrad: divide by the largest average square so far (Reddi et al. 2018).
        maximize: climb instead of descend.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).
    """

    _decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if not all(0.0 <= beta < 1.0 for beta in group["betas"]):
            raise ValueError(f"{self._name}: betas must be in [0, 1), got {group['betas']}")

    def _states(self, group: dict[str, Any]) -> tuple[str, ...]:
        averages = ("exp_avg", "exp_avg_sq")
        return (*averages, "max_exp_avg_sq") if group["amsgrad"] else averages

    def _update(self, run: Run, group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        run.backend.adam_step(
            run.param,
            run.grad,
            run.states["exp_avg"],
            run.states["exp_avg_sq"],
            run.states.get("max_exp_avg_sq"),
            step=run.age + 1,
            lr=float(group["lr"]),
            betas=(float(beta1), float(beta2)),
            eps=float(group["eps"]),
            weight_decay=float(group["weight_decay"]),
            decoupled=self._decoupled,
            maximize=bool(group["maximize"]),
        )


class AdamW(Adam):
    """Adam with decay of the weights themselves: p <- p - lr weight_decay p, beside the step.

    Arguments as Adam's; the decay is on by default.
    """

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
