"""Prediction depth: from which layer on a network has made up its mind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .common import on_host

__all__ = ["prediction_depth"]


def prediction_depth(answers: Sequence[Any], final: Any) -> np.ndarray:
    """The first layer from which on all nearest neighbours say what the network says in the end.

    Baldock, Maennel and Neyshabur, "Deep learning through the lens of example difficulty", 2021,
    section 2: what takes many layers is hard.

    Args:
        answers: for each of L layers, from input to output, the classes (M,) that the k nearest
            training samples have in that layer; the paper's k is 30.
        final: (M,), the network's own answers.

    Returns:
        (M,) int64, from 0, the first of `answers`, to L, where the last one disagrees.

    Raises:
        ValueError: no layers, or shapes that do not fit.

    Example:
        >>> known, asked = (explain.activations(net, x, layers) for x in (train_x, test_x))
        >>> flat = lambda maps: maps.reshape(len(maps), -1)
        >>> answers = [
        ...     training.nearest_neighbours(flat(known[layer]), train_y, flat(asked[layer]), k=30)
        ...     for layer in layers
        ... ]
        >>> depth = explain.prediction_depth(answers, net(test_x).argmax(1))
    """
    end = on_host(final)
    table = [on_host(layer) for layer in answers]
    if not table or end.ndim != 1 or any(layer.shape != end.shape for layer in table):
        raise ValueError(
            f"prediction_depth: needs (M,) answers of at least one layer and (M,) final ones, got "
            f"{[layer.shape for layer in table]} and {end.shape}"
        )
    agree = np.stack(table) == end
    # Counted from the last layer upwards, as long as they agree.
    return len(table) - np.logical_and.accumulate(agree[::-1]).sum(0)
