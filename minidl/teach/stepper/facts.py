"""What a formula shows beside an operation's inputs and outputs: means, probabilities, masks.

It is computed from the whole arrays while they are there: the page has samples only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...autograd import Function
from ...backend import of
from ...ops.dropout import Dropout
from ...ops.losses import CrossEntropy
from ...ops.norm import BatchNorm, GroupNorm
from .sample import Sample

__all__ = ["facts_of", "gradient_facts_of"]


def facts_of(node: Function, inputs: tuple[Any, ...]) -> dict[str, Sample]:
    """The facts about a forward, by the names they have in the formulas."""
    if isinstance(node, (BatchNorm, GroupNorm)):
        x = inputs[0].data
        axes, rows = _normalised(node, x)
        mean, var = rows.mean(axes), rows.var(axes)
        return {
            "mean": Sample.of(mean),
            "deviation": Sample.of(of(x).xp.sqrt(var + node.eps)),
        }
    if isinstance(node, CrossEntropy):
        x = inputs[0].data
        return {"p": Sample.of(of(x).softmax(x, 1, False))}
    if isinstance(node, Dropout) and node.recording:
        return {"mask": Sample.of(node.saved_arrays[0])}
    return {}


def gradient_facts_of(node: Function, gradients: tuple[Any, ...]) -> dict[str, Sample]:
    """The facts about a backward, which has just run."""
    if isinstance(node, BatchNorm) and node.ceiling is None:
        x, _, mean, invstd, _ = (None if t is None else t.data for t in node.saved_tensors)
        g = gradients[0].data.astype(np.float64)
        normalised = (x - mean[:, None]) * invstd[:, None]
        return {
            "mean_g": Sample.of(g.mean((0, 2))),
            "mean_gx": Sample.of((g * normalised).mean((0, 2))),
        }
    return {}


def _normalised(node: Any, x: Any) -> tuple[tuple[int, ...], Any]:
    """x in float64 and the axes that one mean is taken over."""
    wide = x.astype(np.float64)
    if isinstance(node, BatchNorm):
        return (0, 2), wide
    return (2,), wide.reshape(x.shape[0], node.groups, -1)
