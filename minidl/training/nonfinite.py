"""Why a loss is not finite: the step is run once more, watched."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Tensor, detect_anomaly
from ..backend import random

__all__ = ["explain"]


def explain(model: Any, criterion: Any, x: Tensor, y: Tensor, before: dict[str, Any]) -> None:
    """Raise an error that says which operation the first NaN or infinity came from.

    Args:
        model, criterion, x, y: the step whose loss was not finite.
        before: the random state before it, so that dropout drops the same.

    Raises:
        FloatingPointError: always.
    """
    for name, p in model.named_parameters():
        if not math.isfinite(float(abs(p.detach()).sum())):
            raise FloatingPointError(
                f"the loss is not finite: parameter {name} already is not; an earlier step made it "
                "so: lower the learning rate, or clip the gradient (clip_norm)"
            )
    random.set_state(before)  # the same dropout masks
    with detect_anomaly():
        criterion(model(x), y)
    raise FloatingPointError("the loss is not finite, but finite when the step is repeated")
