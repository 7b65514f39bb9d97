"""Averages of losses and metrics over a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..autograd import Tensor, no_grad

__all__ = ["Metrics", "Sums", "evaluate"]

Metrics = Mapping[str, Callable[[Tensor, Tensor], Tensor]]


@no_grad()
def evaluate(
    model: Any,
    loader: Any,
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None,
    metrics: Metrics | None = None,
    *,
    device: Any = None,
    ema: Any = None,
) -> dict[str, float]:
    """Averages over all samples of `loader`, computed in eval mode without gradients.

    Args:
        model: a Module; its mode is restored afterwards, and so are its weights.
        loader: batches of (input, target).
        criterion, metrics: functions of (output, target) averaged over a batch.
        device: where the batches go; default: where the model is.
        ema: averaged weights to use in place of the model's own.

    Returns:
        {"loss": ..., <metric>: ...}.
    """
    device = device or next(iter(model.parameters())).device
    functions = ({} if criterion is None else {"loss": criterion}) | dict(metrics or {})
    sums = Sums(list(functions))
    was_training = model.training
    model.eval()
    try:
        with ema.swap() if ema is not None else no_grad():
            for x, y in loader:
                x, y = x.to(device), y.to(device)
                output = model(x)
                sums.add(len(y), **{name: f(output, y) for name, f in functions.items()})
    finally:
        model.train(was_training)
    return sums.means()


class Sums:
    """Sums over samples, kept on the device in float64: adding never waits."""

    def __init__(self, names: list[str]) -> None:
        self.totals: dict[str, Any] = dict.fromkeys(names, 0.0)
        self.count = 0

    def add(self, count: int, **values: Tensor) -> None:
        for name, value in values.items():
            self.totals[name] = self.totals[name] + value.data.astype("float64") * float(count)
        self.count += count

    def mean(self, name: str) -> float:
        return float(self.totals[name]) / self.count if self.count else math.nan

    def means(self) -> dict[str, float]:
        return {name: self.mean(name) for name in self.totals}

    def state_dict(self) -> dict[str, Any]:
        return {"totals": {k: float(v) for k, v in self.totals.items()}, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.totals, self.count = dict(state["totals"]), state["count"]
