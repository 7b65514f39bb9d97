"""What a model is trained for: a criterion of its output, or losses that it brings itself.

A classifier's output is compared with its target by a criterion. A detector's loss is made of parts
for which it needs the target on the way (which anchors lie on an object?), so it computes them
itself:

    losses(*inputs, target) -> {name: Tensor}     what is minimised is their sum
    predict(*inputs)                              what metrics are given
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..autograd import Tensor
from .auxiliary import loss_of
from .batches import Batch

__all__ = ["brings_losses", "losses_of"]


def brings_losses(model: Any) -> bool:
    """Whether the model computes its losses itself."""
    return callable(getattr(model, "losses", None))


def losses_of(model: Any, criterion: Any, batch: Batch) -> tuple[dict[str, Tensor], Any]:
    """What a batch costs.

    Args:
        criterion: function of (output, target); None: the model brings its losses.

    Returns:
        {"loss": what is minimised, <name>: each of its parts}, and the model's output; with its own
        losses it has none, and the parts have names.

    Raises:
        TypeError: `losses` returned something else than names with tensors.
    """
    if criterion is not None:
        output = batch.through(model)
        return {"loss": loss_of(criterion, output, batch.target)}, output
    parts = model.losses(*batch.args, batch.target, **batch.kwargs)
    if not isinstance(parts, Mapping) or not parts:
        raise TypeError(
            f"{type(model).__name__}.losses must return a dictionary of losses by name, at least "
            f"one, not {parts!r}"
        )
    first, *others = parts.values()
    return {**parts, "loss": sum(others, first)}, None
