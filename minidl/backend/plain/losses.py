"""The cross entropy of a softmax, fused: one pass for the loss, one for its gradient.

For a row of scores x over C classes with the target class t,

    loss = sum_c q_c (-log p_c),    p = softmax(x),
    q_c  = (1 - smoothing) w_t [c = t] + smoothing w_c / C,

and the gradient is d loss / d x_c = (sum_c q_c) p_c - q_c. Rows whose target is `ignore_index` have
q = 0. Arrays are (N, C, L): samples, classes, positions; targets (N, L).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .norm import quiet, wide_dtype

__all__ = ["LossKernels"]

Array = Any


class LossKernels:
    xp: Any

    def check_classes(self, op: str, target: Array, classes: int, ignore_index: int) -> None:
        """Raise IndexError if a target is no class, where looking does not mean waiting.

        Where it does, nothing is checked, and the loss of such a row is NaN.
        """

    def check_range(self, op: str, x: Array, low: float, high: float) -> None:
        """Raise ValueError if an element is outside [low, high]; likewise."""

    def pick_class(self, x: Array, target: Array, ignore_index: int) -> Array:
        """x (N, C, L) at the targets (N, L): 0 where ignored, NaN where there is no such class."""
        xp = self.xp
        labels, inside = self._labels(target, ignore_index, x.shape[1])
        picked = xp.take_along_axis(x, labels[:, None], axis=1)[:, 0]
        otherwise = xp.where(target == ignore_index, 0.0, np.nan).astype(x.dtype)
        return xp.where(inside, picked, otherwise)

    def place_class(self, v: Array, target: Array, ignore_index: int, classes: int) -> Array:
        """Zeros (N, C, L), but v (N, L) at the targets: the adjoint of `pick_class`."""
        xp = self.xp
        labels, inside = self._labels(target, ignore_index, classes)
        y = xp.zeros((v.shape[0], classes, v.shape[1]), v.dtype)
        xp.put_along_axis(y, labels[:, None], (v * inside)[:, None], axis=1)
        return y

    @quiet
    def cross_entropy(
        self,
        x: Array,
        target: Array,
        weight: Array | None,
        ignore_index: int,
        smoothing: float,
    ) -> tuple[Array, Array, Array]:
        """The loss of each row.

        Args:
            x: (N, C, L) scores.
            target: (N, L) integers: classes or `ignore_index`.
            weight: (C,), or None for 1.
            smoothing: the share of the target that goes to all classes alike, 0 to 1.

        Returns:
            the losses (N, L), the probabilities (N, C, L), and the weights (N, L) of the rows'
            target classes, all in float32 or wider.
        """
        xp = self.xp
        wide = wide_dtype(x.dtype)
        x = x.astype(wide, copy=False)
        shifted = x - x.max(axis=1, keepdims=True)
        p = xp.exp(shifted)
        total = p.sum(axis=1, keepdims=True)
        p /= total
        log_total = xp.log(total[:, 0])
        labels, rows, valid = self._rows(target, weight, ignore_index, x.shape[1], wide)
        picked = xp.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
        loss = (log_total - picked) * rows
        if smoothing:
            if weight is None:
                everywhere = x.shape[1] * log_total - shifted.sum(axis=1)
            else:
                weight = weight.astype(wide, copy=False)
                everywhere = ((log_total[:, None] - shifted) * weight[:, None]).sum(axis=1)
            share = smoothing / x.shape[1]
            loss = (1 - smoothing) * loss + share * everywhere * valid
        # An ignored row counts 0 even if its scores are not finite.
        loss = xp.where(valid > 0, loss, xp.where(target == ignore_index, 0.0, np.nan))
        return loss.astype(wide, copy=False), p, rows

    @quiet
    def cross_entropy_grad(
        self,
        p: Array,
        grad: Array,
        target: Array,
        weight: Array | None,
        ignore_index: int,
        smoothing: float,
    ) -> Array:
        """The gradient of `cross_entropy` with respect to x, in p's dtype.

        Args:
            p: (N, C, L), the probabilities.
            grad: (N, L), the gradient with respect to the loss of each row.
            target, weight, ignore_index, smoothing: as in `cross_entropy`.
        """
        xp = self.xp
        classes = p.shape[1]
        labels, rows, valid = self._rows(target, weight, ignore_index, classes, p.dtype)
        mass = self.cross_entropy_mass(target, weight, ignore_index, smoothing, classes, p.dtype)
        dx = p * (mass * grad)[:, None]
        if smoothing:
            share = (valid * grad * (smoothing / classes))[:, None]
            dx -= share if weight is None else share * weight.astype(p.dtype, copy=False)[:, None]
        labels = labels[:, None]
        at_target = xp.take_along_axis(dx, labels, axis=1)
        at_target -= ((1 - smoothing) * rows * grad)[:, None]
        xp.put_along_axis(dx, labels, at_target, axis=1)
        return dx

    def cross_entropy_mass(
        self,
        target: Array,
        weight: Array | None,
        ignore_index: int,
        smoothing: float,
        classes: int,
        dtype: Any,
    ) -> Array:
        """sum_c q_c of each row, (N, L): its weight, without smoothing."""
        _, rows, valid = self._rows(target, weight, ignore_index, classes, dtype)
        if not smoothing:
            return rows
        if weight is None:
            return valid
        average = weight.astype(dtype, copy=False).mean()
        return (1 - smoothing) * rows + (smoothing * valid) * average

    def _rows(
        self, target: Array, weight: Array | None, ignore_index: int, classes: int, dtype: Any
    ) -> tuple[Array, Array, Array]:
        """Targets that are safe as indices, their weights, and 1 where they count, else 0."""
        labels, inside = self._labels(target, ignore_index, classes)
        valid = inside.astype(dtype)
        return labels, valid if weight is None else weight.astype(dtype)[labels] * valid, valid

    def _labels(self, target: Array, ignore_index: int, classes: int) -> tuple[Array, Array]:
        """Targets that are safe as indices, and whether they count."""
        inside = (target != ignore_index) & (target >= 0) & (target < classes)
        return self.xp.where(inside, target, 0), inside
