"""Averages of losses and metrics over a data set."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from ..autograd import Tensor, no_grad
from ..backend import of, quiet
from .batches import batches_on
from .modes import eval_mode
from .objective import brings_losses, losses_of
from .scoring import Metrics, split_metrics

__all__ = ["Criterion", "Sums", "evaluate", "main_output"]

Criterion = Callable[[Any, Any], Tensor]


@no_grad()
def evaluate(
    model: Any,
    loader: Any,
    criterion: Criterion | None = None,
    metrics: Metrics | None = None,
    *,
    device: Any = None,
    ema: Any = None,
) -> dict[str, float]:
    """Averages over all samples of `loader`, computed in eval mode without gradients.

    Args:
        model: a Module; the mode of its parts is restored afterwards, and so are its weights.
        loader: batches of (input, target), or others of `batches.py`.
        criterion: function of (output, target), averaged over a batch; None: there is no loss, but
            for a model with `losses` (see `objective.py`), whose own are averaged.
        metrics: name -> function of (output, target), averaged over a batch; or an object with
            reset, update(output, target) and scores, as `ConfusionMatrix`, which keeps its counts
            afterwards. With an `AuxiliaryLoss`, output is the main output; of a model with its own
            losses it is `model.predict(*inputs)`.
        device: where the batches go; default: where the model is.
        ema: an `optim.EMA` of the model, whose averages are used in place of its own weights.

    Returns:
        {"loss": ..., <metric>: ..., <score>: ...}; NaN where the loader is empty.
    """
    device = device or next(iter(model.parameters())).device
    main = main_output(criterion)
    functions, counting = split_metrics(metrics)
    own = criterion is None and brings_losses(model)
    has_loss = own or criterion is not None
    sums = Sums([*(["loss"] if has_loss else []), *functions], more=own)
    counting.reset()
    with eval_mode(model), ema.averages() if ema is not None else nullcontext():
        for batch in batches_on(loader, device):
            values, output = (
                losses_of(model, criterion, batch) if has_loss else ({}, batch.through(model))
            )
            if own and metrics:
                output = model.predict(*batch.args, **batch.kwargs)
            answer, target = main(output), batch.target
            values |= {name: f(answer, target) for name, f in functions.items()}
            counting.update(answer, target)
            sums.add(batch.count, values)
    return sums.means() | counting.scores()


def main_output(criterion: Any) -> Callable[[Any], Any]:
    """What takes the part that metrics are given out of a model's output."""
    return getattr(criterion, "main", None) or (lambda output: output)


class Sums:
    """Sums over samples, kept on the device in float64: adding never waits for a GPU.

    Args:
        names: of the values.
        more: whether values of other names may be added, too.

    Attributes:
        count: how many samples have been added.
    """

    def __init__(self, names: Mapping[str, Any] | list[str], more: bool = False) -> None:
        self.names = list(names)
        self.more = more
        self.reset()

    def reset(self) -> None:
        """Begin anew, the clock included."""
        self._totals: dict[str, Any] = dict.fromkeys(self.names, 0.0)
        self.count = 0
        self._began = time.monotonic()

    @quiet
    def add(self, count: int, values: Mapping[str, Tensor]) -> None:
        """Take in the averages of `count` samples."""
        for name, value in values.items():
            before = self._totals.get(name, 0.0)
            self._totals[name] = before + value.data.astype("float64") * float(count)
        self.count += count

    @property
    def totals(self) -> dict[str, float]:
        """name -> sum over all samples so far; waits for the device."""
        return {
            name: float(total if isinstance(total, float) else of(total).to_host(total))
            for name, total in self._totals.items()
        }

    def means(self) -> dict[str, float]:
        """name -> average over all samples so far; waits for the device."""
        count = self.count or math.nan
        return {name: total / count for name, total in self.totals.items()}

    @property
    def seconds(self) -> float:
        """Since the beginning, in all processes that took part."""
        return time.monotonic() - self._began

    def state_dict(self) -> dict[str, Any]:
        return {"totals": self.totals, "count": self.count, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        others = set(state["totals"]) ^ set(self.names)
        if others - (set(state["totals"]) if self.more else set()):
            saved, mine = ", ".join(state["totals"]), ", ".join(self.names)
            raise ValueError(f"the sums are of {saved}; this run has {mine}")
        self._totals, self.count = dict(state["totals"]), int(state["count"])
        self._began = time.monotonic() - float(state["seconds"])
