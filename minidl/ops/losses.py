"""Losses, with torch's names, arguments and reductions.

`reduction` is "none" (a loss for each element or sample), "sum" or "mean". The mean is over all
elements, except for classes: there it is over the samples, by the weights of their classes.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..autograd import Function, Tensor
from ..autograd.tensor import wrap
from ..backend import of
from ..backend.plain.norm import wide_dtype
from .arithmetic import add, div, mul, neg, pow, square, sub
from .autocast import autocasts
from .common import (
    as_float,
    as_tensor,
    astype,
    broadcast_to,
    check_broadcast,
    check_devices,
    masked,
    operands,
    quiet,
    sum_to,
)
from .elementwise import abs, clamp, exp, log, sigmoid
from .reduction import mean, sum
from .shape import reshape, unsqueeze
from .softmax import log_softmax, softmax

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dice_loss",
    "gaussian_nll_loss",
    "generalized_dice_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "nll_loss",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
]


IGNORE_NOTHING = -(2**63)  # an ignore_index that no target has


def _check_reduction(op: str, reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{op}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    return sum(loss) if reduction == "sum" else mean(loss)


def _pair(op: str, input: Any, target: Any, reduction: str) -> tuple[Tensor, Tensor]:
    """Both as floating-point Tensors of one shape; broadcasting gives torch's warning."""
    _check_reduction(op, reduction)
    input = as_float(input)
    input, target = operands(input, as_tensor(target, input))
    if input.shape != target.shape:
        check_broadcast(op, input, target)
        warnings.warn(
            f"{op}: target {target.shape} has another shape than input {input.shape} and is "
            "broadcast, which is rarely meant; reshape one of them",
            stacklevel=4,
        )
    return input, target


def _same_shape(op: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ValueError(f"{op}: target {target.shape} must have the shape of input {input.shape}")


# -- classes ---------------------------------------------------------------------------------------


def _flat(x: Any, dims: int) -> Any:
    """x with its dimensions from `dims` on as one, of length 1 if there are none."""
    return x.reshape(*x.shape[:dims], math.prod(x.shape[dims:]))


class CrossEntropy(Function):
    """sum_c q_c (-log softmax(x)_c) of each row, q from its target class; then reduced.

    x is (N, C, ...), the target (N, ...); see minidl/backend/plain/losses.py for q. With a "mean"
    the reduced loss is multiplied by a factor, 1 / sum of the weights of the target classes.
    """

    @quiet
    def forward(
        self,
        x: Any,
        target: Any,
        weight: Any,
        ignore_index: int,
        smoothing: float,
        reduction: str,
    ) -> Any:
        self.ignore_index, self.smoothing, self.reduction = ignore_index, smoothing, reduction
        backend = of(x)
        loss, p, rows = backend.cross_entropy(
            _flat(x, 2), _flat(target, 1), weight, ignore_index, smoothing
        )
        factor = None
        if reduction == "none":
            loss = loss.reshape(target.shape)
        else:
            loss = backend.xp.asarray(loss.sum())
        if reduction == "mean":  # no row that counts: 0 / 0, NaN as in torch
            factor = backend.xp.asarray(1 / rows.sum())
            loss = backend.xp.asarray(loss * factor)
        self.save_for_backward(x, target, weight, p, factor)
        return loss.astype(x.dtype, copy=False)

    def backward(self, grad: Tensor) -> Any:
        x, target, weight, p, factor = self.saved_tensors
        return CrossEntropyGrad.apply(
            grad,
            x,
            target,
            weight,
            p.data,
            None if factor is None else factor.data,
            ignore_index=self.ignore_index,
            smoothing=self.smoothing,
        )


class CrossEntropyGrad(Function):
    """dx = g (s p - q) in each row, with s = sum_c q_c, p = softmax(x) and g = factor grad.

    d/dgrad = factor sum_c v_c (s p - q)_c and d/dx = g s p (v - sum_c v_c p_c), where v is the
    gradient with respect to dx.
    """

    def forward(
        self,
        grad: Any,
        x: Any,
        target: Any,
        weight: Any,
        p: Any,
        factor: Any,
        ignore_index: int,
        smoothing: float,
    ) -> Any:
        self.ignore_index, self.smoothing = ignore_index, smoothing
        self.save_for_backward(grad, x, target, weight, p, factor)
        backend = of(x)
        g = grad.astype(p.dtype, copy=False)
        if factor is not None:
            g = g * factor
        rows = _flat(target, 1)
        g = g.reshape(rows.shape) if g.ndim else backend.xp.broadcast_to(g, rows.shape)
        dx = backend.cross_entropy_grad(p, g, rows, weight, ignore_index, smoothing)
        return dx.reshape(x.shape).astype(x.dtype, copy=False)

    def backward(self, v: Tensor) -> Any:
        grad, x, target, weight, p, factor = self.saved_tensors
        need_grad, need_x = self.needs_input_grad[:2]
        by_grad = by_x = None
        if need_grad:
            slope = CrossEntropyGrad.apply(
                wrap(of(x.data).xp.ones_like(grad.data)),
                x,
                target,
                weight,
                p.data,
                None if factor is None else factor.data,
                ignore_index=self.ignore_index,
                smoothing=self.smoothing,
            )
            by_grad = sum_to(sum(mul(v, slope), 1), grad.shape)
        if need_x:
            mass = of(x.data).cross_entropy_mass(
                target.data,
                None if weight is None else weight.data,
                self.ignore_index,
                self.smoothing,
                x.shape[1],
                p.dtype,
            )
            if factor is not None:
                mass = mass * factor.data
            y = softmax(x, 1)
            inner = sub(v, sum(mul(v, y), 1, keepdim=True))
            scale = unsqueeze(mul(grad, wrap(mass.astype(x.dtype, copy=False))), 1)
            by_x = mul(mul(scale, y), inner)
        return by_grad, by_x


@autocasts
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input) at the target class, or averaged over target probabilities.

    With class targets and "mean", the losses are weighted by the weights of their target classes;
    with probabilities, all samples count the same.

    Args:
        input: scores, (N, C), (N, C, d1, ...) or (C,).
        target: integer classes (N,), (N, d1, ...) or (); or probabilities of input's shape.
        weight: (C,), a constant: how much each class counts.
        ignore_index: class targets of this value count nothing.
        reduction: "none", "mean" or "sum".
        label_smoothing: the share of the target, 0 to 1, that goes to all classes alike.

    Returns:
        0-d, or with "none" of the shape of a class target.

    Raises:
        ValueError: shapes that do not fit, label_smoothing outside 0 to 1.
        TypeError: a target of the wrong kind.
        IndexError: a target that is no class (on the CPU; elsewhere its loss is NaN).
    """
    op = "cross_entropy"
    _check_reduction(op, reduction)
    input, target = as_float(input), as_tensor(target, input)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{op}: label_smoothing must be between 0 and 1, got {label_smoothing}")
    if input.ndim == 0:
        raise ValueError(f"{op}: input must be (N, C, ...) or (C,), got a 0-d tensor")
    _check_weight(op, input, weight)
    if input.shape == target.shape:
        return _soft_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    x, labels, shape = _classes(op, input, target, ignore_index)
    loss = CrossEntropy.apply(
        x,
        labels,
        weight,
        ignore_index=ignore_index,
        smoothing=label_smoothing,
        reduction=reduction,
    )
    return reshape(loss, shape) if reduction == "none" else loss


def _soft_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    smoothing: float,
) -> Tensor:
    """`cross_entropy` for probabilities as targets."""
    if not target.is_floating_point():
        raise TypeError(
            f"cross_entropy: a target of input's shape {input.shape} holds probabilities and must "
            f"be floating-point, got {target.dtype}; for classes leave out the class dimension"
        )
    if ignore_index >= 0:
        raise ValueError("cross_entropy: ignore_index has no meaning for target probabilities")
    dim = 0 if input.ndim == 1 else 1
    classes = input.shape[dim]
    target = astype(target, input.dtype)
    if smoothing:
        target = add(mul(target, 1 - smoothing), smoothing / max(classes, 1))
    log_p = log_softmax(input, dim)
    if weight is not None:
        weight = astype(weight.detach(), input.dtype)
        log_p = mul(log_p, reshape(weight, (-1,) + (1,) * (input.ndim - 1 - dim)))
    loss = neg(sum(mul(target, log_p), dim))
    return _reduce(loss, reduction)


def _check_weight(op: str, input: Tensor, weight: Tensor | None) -> None:
    if weight is None:
        return
    check_devices(op, input, weight)
    classes = input.shape[0 if input.ndim == 1 else 1]
    if weight.shape != (classes,):
        raise ValueError(
            f"{op}: weight of shape {weight.shape} must have one number for each of the {classes} "
            f"classes of input {input.shape}"
        )
    if weight.requires_grad:
        raise ValueError(f"{op}: weight is a constant without a gradient; pass weight.detach()")


def _classes(
    op: str, input: Tensor, target: Tensor, ignore_index: int, least: int = 1
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """input as (N, C, ...), target classes as (N, ...), and the shape of a loss for each target.

    Targets are below C; with `least` = 2, one score for each position may stand for two classes.
    """
    if target.data.dtype.kind not in "iu":
        raise TypeError(
            f"{op}: target {target.shape} for input {input.shape} must hold integer classes, got "
            f"{target.dtype}; probabilities have the shape of input"
        )
    batch = input.shape if input.ndim > 1 else (1, *input.shape)
    n, classes, positions = batch[0], batch[1], batch[2:]
    expected = (n, *positions) if input.ndim > 1 else ()
    if target.shape != expected and not (input.ndim == 1 and target.shape == (1,)):
        raise ValueError(
            f"{op}: target {target.shape} does not fit input {input.shape}; expected classes of "
            f"shape {expected}"
        )
    if classes == 0:
        raise ValueError(f"{op}: input {input.shape} has no classes")
    of(input.data).check_classes(op, target.data, max(classes, least), ignore_index)
    target = astype(target, np.int64)
    if input.ndim == 1:
        input, target = reshape(input, batch), reshape(target, (1,))
    return input, target, expected


def _rows(
    op: str, input: Tensor, target: Tensor, ignore_index: int
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """`_classes` with all positions in one dimension: (N, C, L) and (N, L)."""
    x, labels, expected = _classes(op, input, target, ignore_index)
    n, classes, *positions = x.shape
    length = math.prod(positions)
    return reshape(x, (n, classes, length)), reshape(labels, (n, length)), expected


class PickClass(Function):
    """x (N, C, L) at the targets (N, L): 0 where ignored, NaN where there is no such class."""

    def forward(self, x: Any, target: Any, ignore_index: int) -> Any:
        self.classes, self.ignore_index = x.shape[1], ignore_index
        self.save_for_backward(target)
        return of(x).pick_class(x, target, ignore_index)

    def backward(self, grad: Tensor) -> Any:
        (target,) = self.saved_tensors
        return PlaceClass.apply(grad, target, ignore_index=self.ignore_index, classes=self.classes)


class PlaceClass(Function):
    """Zeros (N, C, L) but for v (N, L) at the target classes: the adjoint of PickClass."""

    def forward(self, v: Any, target: Any, ignore_index: int, classes: int) -> Any:
        self.ignore_index = ignore_index
        self.save_for_backward(target)
        return of(v).place_class(v, target, ignore_index, classes)

    def backward(self, grad: Tensor) -> Any:
        (target,) = self.saved_tensors
        return PickClass.apply(grad, target, ignore_index=self.ignore_index)


@autocasts
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-input at the target class: the cross entropy of log-probabilities.

    Args:
        input: log-probabilities, (N, C), (N, C, d1, ...) or (C,).
        target, weight, ignore_index, reduction: as in `cross_entropy` with classes.

    Raises:
        as `cross_entropy`.
    """
    op = "nll_loss"
    _check_reduction(op, reduction)
    input, target = as_float(input), as_tensor(target, input)
    if input.ndim == 0:
        raise ValueError(f"{op}: input must be (N, C, ...) or (C,), got a 0-d tensor")
    _check_weight(op, input, weight)
    x, labels, shape = _rows(op, input, target, ignore_index)
    loss = neg(PickClass.apply(x, labels, ignore_index=ignore_index))
    rows = of(x.data).cross_entropy_mass(
        labels.data,
        None if weight is None else weight.data,
        ignore_index,
        0.0,
        x.shape[1],
        wide_dtype(x.dtype),
    )
    if weight is not None:
        loss = mul(loss, wrap(rows.astype(x.dtype, copy=False)))
    if reduction == "none":
        return reshape(loss, shape)
    total = sum(loss)
    if reduction == "mean":
        total = div(total, wrap(of(rows).xp.asarray(rows.sum()).astype(x.dtype, copy=False)))
    return total


@autocasts
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The multi-class SVM loss: sum over c != t of max(0, margin - x_t + x_c)^p, divided by C.

    Weston and Watkins 1999.

    Args:
        input: scores, (N, C) or (C,).
        target: integer classes, (N,) or ().
        p: 1 or 2.
        margin: by how much the target's score should exceed the others.
        weight: (C,), a constant; the weight of the target class multiplies a sample's loss.
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: shapes that do not fit, or another p.
        IndexError: a target that is no class (on the CPU; elsewhere its loss is NaN).
    """
    op = "multi_margin_loss"
    _check_reduction(op, reduction)
    if p not in (1, 2):
        raise ValueError(f"{op}: p must be 1 or 2, got {p}")
    input, target = as_float(input), as_tensor(target, input)
    if input.ndim not in (1, 2):
        raise ValueError(f"{op}: input must be (N, C) or (C,), got {input.shape}")
    _check_weight(op, input, weight)
    x, labels, shape = _rows(op, input, target, IGNORE_NOTHING)
    backend, classes = of(x.data), x.shape[1]
    at_target = unsqueeze(PickClass.apply(x, labels, ignore_index=IGNORE_NOTHING), 1)
    gap = clamp(add(sub(x, at_target), margin), min=0)
    others = labels.data[:, None] != backend.xp.arange(classes)[:, None]
    gap = masked(gap if p == 1 else square(gap), others)
    loss = div(sum(gap, (1, 2)), classes)
    if weight is not None:
        mass = backend.cross_entropy_mass(
            labels.data, weight.data, IGNORE_NOTHING, 0.0, classes, x.dtype
        )
        loss = mul(loss, wrap(mass[:, 0]))
    return _reduce(reshape(loss, shape), reduction)


# -- regions ---------------------------------------------------------------------------------------


def _regions(
    op: str, input: Any, target: Any, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """Scores and truths of maps as the regions that they claim.

    Returns:
        input as floats, of its own dtype; the probabilities p and the truths g (0 or 1), both
        (N, C, L) in float32 or wider and 0 where the target is ignored; the shape (N, C).
    """
    input, target = as_float(input), as_tensor(target)
    check_devices(op, input, target)
    if input.ndim < 2:
        raise ValueError(f"{op}: input must be (N, C, ...), got shape {input.shape}")
    x, labels, _ = _classes(op, input, target, ignore_index, least=2)
    n, classes, *positions = x.shape
    length = math.prod(positions)
    x = reshape(astype(x, wide_dtype(x.dtype)), (n, classes, length))
    backend = of(x.data)
    xp = backend.xp
    t = labels.data.reshape(n, 1, length)
    counted = t != ignore_index
    x = masked(x, counted)  # scores that are not finite do no harm where they do not count
    p = masked(sigmoid(x) if classes == 1 else softmax(x, 1), counted)
    own = xp.arange(classes).reshape(1, classes, 1) if classes > 1 else 1
    g = ((t == own) & counted).astype(x.dtype)
    no_class = counted & ((t < 0) | (t >= max(classes, 2)))
    g = backend.where(no_class, x.dtype.type(np.nan), g)
    return input, p, wrap(g), (n, classes)


@autocasts
def dice_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    smooth: float = 1.0,
) -> Tensor:
    """1 - 2 sum p g / (sum p^2 + sum g^2), the soft Dice loss of each sample and class.

    Milletari et al. 2016 (V-Net), section 3. p are the probabilities of the class (the
    softmax of the scores; the sigmoid where there is one score for two classes), g is 1 where it is
    the truth and 0 elsewhere; sums run over the positions of a sample. A region counts the same
    however small it is, which is what cross entropy lacks.

    Args:
        input: scores, (N, C, ...), C at least 2; or (N, 1, ...) for the classes 0 and 1, of which
            1 is the region.
        target: integer classes, (N, ...).
        weight: (C,), a constant: how much each class counts in the mean over classes.
        ignore_index: positions with this target count in no sum.
        reduction: "none", "mean" (over samples, and over classes by their weights) or "sum".
        smooth: added to the numerator and the denominator. So a class that is nowhere, and
            nowhere predicted, has the loss 0; with 0, as in the paper, it has NaN.

    Returns:
        0-d, or with "none" (N, C).

    Raises:
        ValueError: shapes that do not fit, or a negative `smooth`.
        TypeError: a target that is not of integers.
        IndexError: a target that is no class (on the CPU; elsewhere the loss is NaN).
    """
    op = "dice_loss"
    _check_reduction(op, reduction)
    if smooth < 0:
        raise ValueError(f"{op}: smooth must not be negative, got {smooth}")
    input, p, g, (n, classes) = _regions(op, input, target, ignore_index)
    _check_weight(op, input, weight)
    both = sum(mul(p, g), 2)
    sizes = add(sum(square(p), 2), sum(g, 2))  # g^2 is g
    loss = sub(1, div(add(mul(both, 2), smooth), add(sizes, smooth)))  # (N, C)
    count: Any = n * classes
    if weight is not None:
        weight = astype(weight, loss.dtype)
        loss, count = mul(loss, weight), mul(sum(weight), n)
    if reduction != "none":
        loss = sum(loss)
    if reduction == "mean":
        loss = div(loss, count)
    return astype(loss, input.dtype)


@autocasts
def generalized_dice_loss(
    input: Tensor, target: Tensor, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """1 - 2 sum_c w_c sum p g / sum_c w_c sum (p + g), with w_c = 1 / (sum g)^2.

    Sudre et al. 2017, section 2: one Dice loss for all classes of a sample, in which each class
    counts by the inverse square of its size. A class that the sample does not have counts as its
    smallest one does (in the paper it would count infinitely).

    Args:
        input, target, ignore_index: as in `dice_loss`.
        reduction: "none", "mean" or "sum", over samples.

    Returns:
        0-d, or with "none" (N,); NaN for a sample without a position that counts.

    Raises:
        as `dice_loss`.
    """
    op = "generalized_dice_loss"
    _check_reduction(op, reduction)
    input, p, g, _ = _regions(op, input, target, ignore_index)
    xp = of(p.data).xp
    sizes = g.data.sum(axis=2)  # (N, C)
    smallest = xp.where(sizes == 0, np.inf, sizes).min(axis=1, keepdims=True)
    # Relative to the largest weight, so that squares of large regions are no tiny numbers.
    w = wrap(xp.where(sizes == 0, 1.0, smallest / xp.maximum(sizes, 1.0)).astype(p.dtype) ** 2)
    both = sum(mul(w, sum(mul(p, g), 2)), 1)
    all_ = sum(mul(w, sum(add(p, g), 2)), 1)
    loss = sub(1, div(mul(both, 2), all_))
    return astype(_reduce(loss, reduction), input.dtype)


# -- probabilities of two outcomes -----------------------------------------------------------------


class BinaryCrossEntropy(Function):
    """-(t log x + (1 - t) log(1 - x)), the logarithms not below -100.

    d/dx = (x - t) / max(x (1 - x), 1e-12), d/dt = log(1 - x) - log x
    """

    @quiet
    def forward(self, x: Any, t: Any) -> Any:
        xp = of(x).xp
        self.save_for_backward(x, t)
        log_x = xp.maximum(xp.log(x), -100)
        log_rest = xp.maximum(xp.log1p(-x), -100)
        return (t - 1) * log_rest - t * log_x

    def backward(self, grad: Tensor) -> Any:
        x, t = self.saved_tensors
        need_x, need_t = self.needs_input_grad
        by_x = by_t = None
        rest = sub(1, x)
        if need_x:
            # Where float16 has no 1e-12, the smallest number it has.
            floor = max(1e-12, float(np.finfo(x.dtype).tiny))
            by_x = mul(grad, div(sub(x, t), clamp(mul(x, rest), min=floor)))
        if need_t:
            by_t = mul(grad, sub(clamp(log(rest), min=-100), clamp(log(x), min=-100)))
        return by_x, by_t


@autocasts
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-(t log x + (1 - t) log(1 - x)) for probabilities x, the logarithms not below -100.

    Scores are better left to `binary_cross_entropy_with_logits`.

    Args:
        input: probabilities, any shape.
        target: 0 to 1, of input's shape.
        weight: multiplies the losses; broadcasts.
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: other shapes, an input or target outside 0 to 1 (on the CPU; elsewhere NaN).
    """
    op = "binary_cross_entropy"
    _check_reduction(op, reduction)
    input = as_float(input)
    target = astype(as_tensor(target, input), input.dtype)
    _same_shape(op, input, target)
    what = f"{op}: input (probabilities; for scores there is {op}_with_logits)"
    of(input.data).check_range(what, input.data, 0.0, 1.0)
    of(target.data).check_range(f"{op}: target", target.data, 0.0, 1.0)
    loss = BinaryCrossEntropy.apply(input, target)
    return _reduce(loss if weight is None else mul(loss, weight), reduction)


class BinaryCrossEntropyWithLogits(Function):
    """max(x, 0) - x t + log(1 + exp(-|x|)).    d/dx = sigmoid(x) - t, d/dt = -x

    Equal to -(t log s + (1 - t) log(1 - s)) with s = sigmoid(x), without its overflow.
    """

    @quiet
    def forward(self, x: Any, t: Any) -> Any:
        backend = of(x)
        self.save_for_backward(x, t)
        return backend.relu(x) - x * t + backend.xp.log1p(backend.xp.exp(-backend.xp.abs(x)))

    def backward(self, grad: Tensor) -> Any:
        x, t = self.saved_tensors
        need_x, need_t = self.needs_input_grad
        return (
            mul(grad, sub(sigmoid(x), t)) if need_x else None,
            neg(mul(grad, x)) if need_t else None,
        )


@autocasts
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """-(w t log s + (1 - t) log(1 - s)) with s = sigmoid(input), computed without overflow.

    Args:
        input: scores, any shape.
        target: 0 to 1, of input's shape.
        weight: multiplies the losses; broadcasts.
        reduction: "none", "mean" or "sum".
        pos_weight: w above, by how much positives count more; broadcasts.

    Raises:
        ValueError: other shapes.
    """
    op = "binary_cross_entropy_with_logits"
    _check_reduction(op, reduction)
    input = as_float(input)
    target = astype(as_tensor(target, input), input.dtype)
    _same_shape(op, input, target)
    for factor in (weight, pos_weight):
        if factor is not None:
            check_broadcast(op, input, factor)
    loss = BinaryCrossEntropyWithLogits.apply(input, target)
    if pos_weight is not None:
        # -log s is the loss for the target 1; it counts w - 1 times more, for the share t.
        ones = wrap(of(input.data).xp.ones_like(input.data))
        positive = BinaryCrossEntropyWithLogits.apply(input, ones)
        loss = add(loss, mul(mul(positive, target), sub(pos_weight, 1)))
    return _reduce(loss if weight is None else mul(loss, weight), reduction)


@autocasts
def sigmoid_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross entropy of each class by itself, with labels that may be ignored.

    One sigmoid for each class, for classes that do not exclude each other (Mask R-CNN's masks, He
    et al. 2017, section 3). Targets are integers, as in `cross_entropy`; for shares between 0 and 1
    there is `binary_cross_entropy_with_logits`.

    Args:
        input: scores, (N, C, ...).
        target: integers: the class of each position, (N, ...); or of input's shape, 0 or 1 for each
            class.
        weight: (C,), a constant: how much each class counts.
        ignore_index: targets of this value count nothing; in (N, ...), for all classes.
        reduction: "none", "mean" (weighted, over what counts) or "sum".

    Returns:
        0-d, or with "none" of input's shape.

    Raises:
        ValueError: shapes that do not fit.
        TypeError: a target that is not of integers.
        IndexError: a target that is no class (on the CPU; elsewhere the loss is NaN).
    """
    op = "sigmoid_cross_entropy"
    _check_reduction(op, reduction)
    input, target = as_float(input), as_tensor(target)
    check_devices(op, input, target)
    if input.ndim < 2:
        raise ValueError(f"{op}: input must be (N, C, ...), got shape {input.shape}")
    _check_weight(op, input, weight)
    backend = of(input.data)
    classes, tail = input.shape[1], (1,) * (input.ndim - 2)
    if target.shape == input.shape:
        if target.data.dtype.kind not in "iu":
            raise TypeError(f"{op}: target {target.shape} must hold integers, got {target.dtype}")
        backend.check_classes(op, target.data, 2, ignore_index)
        t, limit, own = target.data.astype(np.int64, copy=False), 2, 1
    else:
        _, labels, _ = _classes(op, input, target, ignore_index)
        t, limit = labels.data[:, None], classes
        own = backend.xp.arange(classes).reshape(1, classes, *tail)
    counted = t != ignore_index
    x = masked(input, counted)
    truth = ((t == own) & counted).astype(x.dtype)
    no_class = counted & ((t < 0) | (t >= limit))
    truth = backend.where(no_class, x.dtype.type(np.nan), truth)
    loss = masked(BinaryCrossEntropyWithLogits.apply(x, wrap(truth)), counted)
    counts = backend.xp.broadcast_to(counted, x.shape).astype(wide_dtype(x.dtype))
    if weight is not None:
        weight = reshape(astype(weight, x.dtype), (1, classes, *tail))
        loss, counts = mul(loss, weight), counts * weight.data
    if reduction == "none":
        return loss
    total = sum(loss)
    if reduction == "mean":
        total = div(total, wrap(backend.xp.asarray(counts.sum()).astype(x.dtype, copy=False)))
    return total


@autocasts
def sigmoid_focal_loss(
    inputs: Tensor,
    targets: Tensor,
    alpha: float = 0.25,
    gamma: float = 2,
    reduction: str = "none",
) -> Tensor:
    """-alpha_t (1 - p_t)^gamma log p_t: easy examples count less (Lin et al. 2017, equation 5).

    p_t is the probability sigmoid(inputs) gives to the truth; alpha_t is alpha for positives and
    1 - alpha for negatives. Arguments as in torchvision.

    Args:
        inputs: scores, any shape.
        targets: 0 or 1, of the same shape.
        alpha: the weight of positives, 0 to 1; negative: no weights.
        gamma: how much less easy examples count.
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: other shapes, or alpha above 1.
    """
    op = "sigmoid_focal_loss"
    _check_reduction(op, reduction)
    if alpha > 1:
        raise ValueError(f"{op}: alpha must be between 0 and 1, or negative for none; got {alpha}")
    inputs = as_float(inputs)
    targets = astype(as_tensor(targets, inputs), inputs.dtype)
    _same_shape(op, inputs, targets)
    p = sigmoid(inputs)
    loss = BinaryCrossEntropyWithLogits.apply(inputs, targets)
    wrong = sub(add(p, targets), mul(mul(p, targets), 2))  # 1 - p_t
    loss = mul(loss, pow(wrong, gamma))
    if alpha >= 0:
        loss = mul(loss, add(mul(targets, 2 * alpha - 1), 1 - alpha))
    return _reduce(loss, reduction)


@autocasts
def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target input)) for targets 1 and -1: the logistic loss.

    Args:
        input: scores, any shape.
        target: 1 or -1, broadcasts to the shape of input.
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: a target that does not broadcast to input's shape.
    """
    _check_reduction("soft_margin_loss", reduction)
    input, target = as_float(input), as_tensor(target, input)
    check_broadcast("soft_margin_loss", input, target)
    if np.broadcast_shapes(input.shape, target.shape) != input.shape:
        raise ValueError(
            f"soft_margin_loss: target {target.shape} does not broadcast to input {input.shape}"
        )
    score = mul(input, target)
    ones = wrap(of(score.data).xp.ones_like(score.data))
    return _reduce(BinaryCrossEntropyWithLogits.apply(score, ones), reduction)


# -- distances -------------------------------------------------------------------------------------


@autocasts
def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input - target)^2.

    Args:
        input, target: one shape; others broadcast with a warning.
        reduction: "none", "mean" or "sum".
    """
    input, target = _pair("mse_loss", input, target, reduction)
    return _reduce(square(sub(input, target)), reduction)


@autocasts
def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|input - target|.

    Args:
        input, target: one shape; others broadcast with a warning.
        reduction: "none", "mean" or "sum".
    """
    input, target = _pair("l1_loss", input, target, reduction)
    return _reduce(abs(sub(input, target)), reduction)


class SmoothL1(Function):
    """d^2 / (2 beta) for |d| < beta, else |d| - beta / 2.    d/dd = d / beta between -1 and 1"""

    def forward(self, d: Any, beta: float) -> Any:
        self.beta = beta
        self.save_for_backward(d)
        xp = of(d).xp
        size = xp.abs(d)
        near = xp.minimum(size, beta)
        return near * near * (0.5 / beta) + (size - near)

    def backward(self, grad: Tensor) -> Any:
        (d,) = self.saved_tensors
        return mul(grad, clamp(div(d, self.beta), -1.0, 1.0))


@autocasts
def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """d^2 / (2 beta) for |d| < beta, else |d| - beta / 2, with d = input - target.

    Girshick 2015, equation 3.

    Args:
        input, target: one shape; others broadcast with a warning.
        reduction: "none", "mean" or "sum".
        beta: where the parabola becomes a line; 0 gives `l1_loss`.

    Raises:
        ValueError: a negative beta.
    """
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    input, target = _pair("smooth_l1_loss", input, target, reduction)
    d = sub(input, target)
    return _reduce(abs(d) if beta == 0 else SmoothL1.apply(d, beta=beta), reduction)


@autocasts
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """d^2 / 2 for |d| < delta, else delta (|d| - delta / 2), with d = input - target.

    Huber 1964; delta times `smooth_l1_loss` with beta = delta.

    Args:
        input, target: one shape; others broadcast with a warning.
        reduction: "none", "mean" or "sum".
        delta: where the parabola becomes a line.

    Raises:
        ValueError: a delta that is not positive.
    """
    if delta <= 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    input, target = _pair("huber_loss", input, target, reduction)
    return _reduce(mul(SmoothL1.apply(sub(input, target), beta=delta), delta), reduction)


# -- margins ---------------------------------------------------------------------------------------


@autocasts
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """input where target is 1, max(0, margin - input) where it is -1.

    Args:
        input: distances, any shape.
        target: 1 or -1, broadcasts.
        margin: how far apart what does not belong together should be.
        reduction: "none", "mean" or "sum".
    """
    _check_reduction("hinge_embedding_loss", reduction)
    input, target = as_float(input), as_tensor(target, input)
    check_devices("hinge_embedding_loss", input, target)
    check_broadcast("hinge_embedding_loss", input, target)
    shape = np.broadcast_shapes(input.shape, target.shape)
    x = broadcast_to(input, shape)
    close = masked(x, target.data != -1)
    apart = masked(clamp(sub(margin, x), min=0), target.data != 1)
    return _reduce(add(close, apart), reduction)


@autocasts
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, reduction: str = "mean"
) -> Tensor:
    """max(0, margin - target (input1 - input2)): 1 wants input1 larger, -1 input2.

    Args:
        input1, input2: scores that broadcast.
        target: 1 or -1, with as many dimensions.
        margin: by how much.
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: other numbers of dimensions.
    """
    _check_reduction("margin_ranking_loss", reduction)
    input1, input2 = as_float(input1), as_float(input2)
    target = astype(as_tensor(target, input1), input1.dtype)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ValueError(
            "margin_ranking_loss: inputs and target must have the same number of dimensions, got "
            f"{input1.shape}, {input2.shape} and {target.shape}"
        )
    check_broadcast("margin_ranking_loss", input1, input2, target)
    gap = mul(sub(input1, input2), neg(target))
    return _reduce(clamp(add(gap, margin), min=0), reduction)


# -- distributions ---------------------------------------------------------------------------------


class LiftTo(Function):
    """max(x, low), whose gradient passes everywhere: a guard that does not count as part of x."""

    def forward(self, x: Any, low: float) -> Any:
        return of(x).xp.maximum(x, low)

    def backward(self, grad: Tensor) -> Any:
        return grad


@autocasts
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log var + (input - target)^2 / var) / 2: a normal distribution with predicted variance.

    Nix and Weigend 1994.

    Args:
        input: predicted means, any shape.
        target: observed values, broadcast with input.
        var: predicted variances, of input's shape; or with one dimension of 1, or without the
            last dimension (one variance for all along it); or a number.
        full: whether to add the constant log(2 pi) / 2.
        eps: the smallest variance; the gradient passes as if there were no limit.
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: shapes that do not fit, or a negative variance (seen on the CPU).
    """
    op = "gaussian_nll_loss"
    _check_reduction(op, reduction)
    input = as_float(input)
    if isinstance(var, (int, float)):
        var = wrap(of(input.data).xp.full(input.shape, var, input.dtype))
    var = as_float(var)
    if var.shape != input.shape:
        if var.shape == input.shape[:-1]:
            var = unsqueeze(var, -1)
        elif var.ndim != input.ndim or [
            n for n, m in zip(var.shape, input.shape, strict=True) if n != m
        ] != [1]:
            raise ValueError(
                f"{op}: var of shape {var.shape} does not fit input {input.shape}: give it this "
                "shape, or one dimension of 1"
            )
    target = as_tensor(target, input)
    check_broadcast(op, input, target)
    of(var.data).check_range(op, var.data, 0.0, math.inf)
    var = LiftTo.apply(var, low=eps)
    loss = mul(add(log(var), div(square(sub(input, target)), var)), 0.5)
    if full:
        loss = add(loss, 0.5 * math.log(2 * math.pi))
    return _reduce(loss, reduction)


class XLogX(Function):
    """x log x, 0 at 0.    d/dx = log x + 1, taken as 0 at 0"""

    @quiet
    def forward(self, x: Any) -> Any:
        backend = of(x)
        self.save_for_backward(x)
        return backend.where(x == 0, x.dtype.type(0), x * backend.xp.log(x))

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        positive = x.data != 0
        logarithm = log(masked(x, positive) + wrap((~positive).astype(x.dtype)))
        return masked(mul(grad, add(logarithm, 1)), positive)


@autocasts
def kl_div(
    input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """target (log target - input): the Kullback-Leibler divergence of elements.

    Args:
        input: log-probabilities, any shape.
        target: probabilities, or with `log_target` their logarithms; broadcasts.
        reduction: "none", "sum", "batchmean" (the divergence: the sum, divided by the length of the
            first dimension) or "mean" (over all elements, which is not the divergence).
        log_target: whether `target` holds logarithms.

    Raises:
        ValueError: shapes that do not broadcast, or another reduction.
    """
    if reduction not in ("none", "sum", "mean", "batchmean"):
        raise ValueError(
            f"kl_div: reduction must be 'none', 'mean', 'sum' or 'batchmean', got {reduction!r}"
        )
    if reduction == "mean":
        warnings.warn(
            "kl_div: reduction 'mean' divides by the number of elements; 'batchmean' gives the "
            "mean divergence of a sample",
            stacklevel=3,
        )
    input = as_float(input)
    target = astype(as_tensor(target, input), input.dtype)
    check_broadcast("kl_div", input, target)
    if log_target:
        loss = mul(exp(target), sub(target, input))
    else:
        loss = sub(XLogX.apply(target), mul(target, input))
    if reduction == "batchmean":
        return div(sum(loss), input.shape[0] if input.ndim else 1)
    return _reduce(loss, reduction)
