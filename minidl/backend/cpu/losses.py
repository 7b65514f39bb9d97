"""Losses on the CPU: targets are checked, and large score maps are taken in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..plain import losses as plain
from ..plain.norm import wide_dtype
from ..quiet import quiet
from .threads import parallel

__all__ = ["CpuLossKernels"]

Array = Any

FEW = 1 << 16  # scores: a batch of images, not of pixels
PIECE = 1 << 19  # bytes of scores in a piece: with four such arrays at work, a second-level cache


class CpuLossKernels(plain.LossKernels):
    def check_classes(self, op: str, target: Array, classes: int, ignore_index: int) -> None:
        outside = (target < 0) | (target >= classes)
        outside &= target != ignore_index
        if outside.any():
            place = tuple(int(i) for i in np.argwhere(outside)[0])
            allowed = f"0 to {classes - 1}"
            if ignore_index >= -(2**31):  # not a value that stands for none
                allowed += f" or ignore_index ({ignore_index})"
            raise IndexError(
                f"{op}: target {int(target[place])} at {place} is out of bounds for {classes} "
                f"classes; targets are {allowed}"
            )

    def check_range(self, op: str, x: Array, low: float, high: float) -> None:
        # Written so that NaN, which compares as false, is outside too.
        if x.size and not (x.min() >= low and x.max() <= high):
            raise ValueError(
                f"{op}: all elements must be between {low} and {high}, got {x.min()} to {x.max()}"
            )

    def cross_entropy(
        self,
        x: Array,
        target: Array,
        weight: Array | None,
        ignore_index: int,
        smoothing: float,
    ) -> tuple[Array, Array, Array]:
        if weight is None and not smoothing and _is_simple(x, target, ignore_index):
            return _cross_entropy(x, target)
        step, count = _pieces(x)
        whole = super().cross_entropy
        if count <= 1:
            return whole(x, target, weight, ignore_index, smoothing)
        wide = wide_dtype(x.dtype)
        loss, p, rows = (np.empty(s, wide) for s in (target.shape, x.shape, target.shape))

        def run(i: int) -> None:
            part = slice(i * step, (i + 1) * step)
            loss[part], p[part], rows[part] = whole(
                x[part], target[part], weight, ignore_index, smoothing
            )

        parallel(run, count)
        return loss, p, rows

    def cross_entropy_grad(
        self,
        p: Array,
        grad: Array,
        target: Array,
        weight: Array | None,
        ignore_index: int,
        smoothing: float,
    ) -> Array:
        if weight is None and not smoothing and _is_simple(p, target, ignore_index):
            dx = p * grad[:, :, None]
            dx[np.arange(len(p)), target[:, 0]] -= grad
            return dx
        step, count = _pieces(p)
        whole = super().cross_entropy_grad
        if count <= 1:
            return whole(p, grad, target, weight, ignore_index, smoothing)
        dx = np.empty_like(p)

        def run(i: int) -> None:
            part = slice(i * step, (i + 1) * step)
            dx[part] = whole(p[part], grad[part], target[part], weight, ignore_index, smoothing)

        parallel(run, count)
        return dx


def _is_simple(x: Array, target: Array, ignore_index: int) -> bool:
    """Whether x (N, C, 1) is small, and every target a class: none ignored, none out of bounds."""
    classes = x.shape[1]
    if x.shape[2] != 1 or not 0 < x.size <= FEW or x.dtype.itemsize < 4:
        return False
    if 0 <= ignore_index < classes:
        return False
    return bool(target.view(np.uint64).max() < classes)  # a negative one becomes a large one


@quiet
def _cross_entropy(x: Array, target: Array) -> tuple[Array, Array, Array]:
    """`cross_entropy` of a simple case, in as few calls as can be: calls are all it takes."""
    x = x[:, :, 0]
    shifted = x - np.maximum.reduce(x, axis=1, keepdims=True)
    p = np.exp(shifted)
    total = np.add.reduce(p, axis=1, keepdims=True)
    picked = shifted[np.arange(len(x)), target[:, 0]]
    loss = np.log(total)
    loss[:, 0] -= picked
    p /= total
    return loss, p[:, :, None], np.ones(loss.shape, x.dtype)


def _pieces(x: Array) -> tuple[int, int]:
    """How many samples of x (N, C, L) make a piece, and how many pieces there are."""
    n = x.shape[0]
    step = max(1, PIECE * n // max(1, x.nbytes))
    return step, -(-n // step)
