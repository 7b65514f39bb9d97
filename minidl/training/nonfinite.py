"""Why a loss or a gradient is not finite: the step is run once more, watched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..autograd import Tensor, detect_anomaly
from ..backend import of, quiet, random
from .batches import Batch
from .objective import losses_of

__all__ = ["HINT", "first_nonfinite", "require_finite"]

HINT = "watch=True (on the command line --watch) looks at every step and names the operation"


def require_finite(
    model: Any, criterion: Any, batch: Batch, loss: Tensor, before: dict[str, Any]
) -> None:
    """Raise an error if the loss or a gradient of a step is NaN or infinite. Waits for the device.

    Args:
        model, criterion, batch: the step, after its backward pass and before the optimiser's.
        loss: what it gave.
        before: the random state before it, so that dropout drops the same in a second run.

    Raises:
        FloatingPointError: names what was not finite, and where that began: the input, a
            parameter, or the operation that made it from finite numbers.
    """
    if not math.isfinite(loss.item()):
        what = f"the loss is {loss.item()}"
    else:
        bad = first_nonfinite({name: p.grad for name, p in model.named_parameters()})
        if bad is None:
            return
        what = f"the gradient of {bad} is not finite"

    bad = first_nonfinite(batch.tensors())
    if bad is not None:
        raise FloatingPointError(f"{what}: the {bad} of this batch is not finite already")
    bad = first_nonfinite(model.state_dict())
    if bad is not None:
        raise FloatingPointError(
            f"{what}: {bad} is not finite already, so that began in an earlier step; {HINT}"
        )
    random.set_state(before)  # the same dropout masks
    model.zero_grad()
    try:
        with detect_anomaly():
            losses_of(model, criterion, batch)[0]["loss"].backward()
    except FloatingPointError as error:
        raise FloatingPointError(
            f"{what}, which began in {error}. A lower learning rate, or clipping the gradient "
            "(clip_norm), may help"
        ) from None
    raise FloatingPointError(f"{what}, but finite when the step is repeated")


@quiet
def first_nonfinite(tensors: Mapping[str, Tensor | None]) -> str | None:
    """The name of the first tensor that holds NaN or infinity. Waits for the device."""
    for name, tensor in tensors.items():
        if tensor is None or not tensor.is_floating_point():
            continue
        backend = of(tensor.data)
        # The sum is one fast pass; finite numbers may have an infinite sum, so then look closer.
        if math.isfinite(backend.to_host(tensor.data.sum())):
            continue
        if not backend.to_host(backend.xp.isfinite(tensor.data).all()):
            return name
    return None
