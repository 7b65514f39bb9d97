"""Scores of classifiers, as 0-d tensors on the device: nothing here waits for a GPU."""

from __future__ import annotations

from ..autograd import Tensor, wrap
from ..backend import of

__all__ = ["accuracy", "topk_accuracy"]


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """The share of samples whose highest score is that of the right class.

    Args:
        output: scores (N, C) or (N, C, d1, ...).
        target: class indices (N) or (N, d1, ...); or probabilities of output's shape, as of mixed
            images, of which the highest counts as the right class.

    Returns:
        a 0-d float32 tensor in [0, 1]; NaN for an empty batch.
    """
    classes = target.data
    if output.ndim > 1 and target.shape == output.shape:
        classes = classes.argmax(axis=1)
    else:
        _check("accuracy", output, target)
    right = output.data.argmax(axis=1) == classes
    return wrap(right.mean(dtype="float32"))


def topk_accuracy(output: Tensor, target: Tensor, k: int = 5) -> Tensor:
    """The share of samples whose right class is among the `k` highest scores.

    A class that ties with the k-th highest score counts as among them only if fewer than `k`
    classes score strictly higher.

    Args:
        output: scores (N, C).
        target: class indices (N).

    Returns:
        a 0-d float32 tensor in [0, 1]; NaN for an empty batch.
    """
    _check("topk_accuracy", output, target)
    if output.ndim != 2:
        raise ValueError(f"topk_accuracy: output must be (N, C), got {output.shape}")
    xp = of(output.data).xp
    rows = xp.arange(output.shape[0])
    mine = output.data[rows, target.data][:, None]
    higher = (output.data > mine).sum(axis=1)
    return wrap((higher < k).mean(dtype="float32"))


def _check(name: str, output: Tensor, target: Tensor) -> None:
    if output.ndim < 2 or target.shape != (output.shape[0], *output.shape[2:]):
        raise ValueError(
            f"{name}: output (N, C, ...) and target (N, ...) do not fit: {output.shape} and "
            f"{target.shape}"
        )
