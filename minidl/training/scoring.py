"""Metrics: functions that are averaged over samples, and accumulators that count for themselves.

Accuracy is an average over samples. Mean IoU and average precision are not: they come from what was
counted over the whole data set. Such a metric is an object with

    reset()                    forget everything
    update(output, target)     take in a batch
    scores()                   {name: number}, of all batches since the last reset

as `ConfusionMatrix` and `COCOAveragePrecision`. One that also has `state_dict()` and
`load_state_dict(state)` is kept in a run's checkpoint, so that it can count the training data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..autograd import Tensor

__all__ = ["Accumulators", "Metrics", "split_metrics"]

Metrics = Mapping[str, Any]  # name -> a function of (output, target), or an accumulator


def split_metrics(
    metrics: Metrics | None,
) -> tuple[dict[str, Callable[[Any, Any], Tensor]], Accumulators]:
    """The functions among the metrics, and the accumulators.

    Raises:
        TypeError: one that is neither.
    """
    functions: dict[str, Any] = {}
    counting: dict[str, Any] = {}
    for name, metric in (metrics or {}).items():
        if all(hasattr(metric, part) for part in ("reset", "update", "scores")):
            counting[name] = metric
        elif callable(metric):
            functions[name] = metric
        else:
            raise TypeError(
                f"the metric {name!r} is neither a function of (output, target) nor an object with "
                f"reset, update and scores: {metric!r}"
            )
    return functions, Accumulators(counting)


class Accumulators:
    """Several accumulating metrics as one.

    Args:
        metrics: name -> accumulator.
    """

    def __init__(self, metrics: Mapping[str, Any]) -> None:
        self.metrics = dict(metrics)

    def resumable(self) -> Accumulators:
        """Those that a checkpoint can hold."""
        return Accumulators({n: m for n, m in self.metrics.items() if hasattr(m, "state_dict")})

    def reset(self) -> None:
        """Forget everything."""
        for metric in self.metrics.values():
            metric.reset()

    def update(self, output: Any, target: Any) -> None:
        """Take in a batch."""
        for metric in self.metrics.values():
            metric.update(output, target)

    def scores(self) -> dict[str, float]:
        """All scores by their names; "<metric>_<score>" where an earlier metric has that name."""
        found: dict[str, float] = {}
        for name, metric in self.metrics.items():
            for key, score in metric.scores().items():
                found[f"{name}_{key}" if key in found else key] = float(score)
        return found

    def state_dict(self) -> dict[str, Any]:
        return {name: metric.state_dict() for name, metric in self.metrics.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if set(state) != set(self.metrics):
            saved, mine = ", ".join(state) or "nothing", ", ".join(self.metrics) or "nothing"
            raise ValueError(f"the counts are of {saved}; this run has {mine}")
        for name, metric in self.metrics.items():
            metric.load_state_dict(state[name])
