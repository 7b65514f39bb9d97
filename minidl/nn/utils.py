"""Gradients kept within bounds; and from files beside this one, what is done to whole networks.

Names as in torch.nn.utils, which lacks the freezing and `fold_batchnorm`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..autograd import Tensor, wrap
from ..backend import Array, of, quiet
from .freezing import blocks, fine_tune, freeze, unfreeze
from .fusion import (
    fold_batchnorm,
    fuse_conv_bn_eval,
    fuse_conv_bn_weights,
    fuse_linear_bn_eval,
    fuse_linear_bn_weights,
)

__all__ = [
    "blocks",
    "clip_grad_norm_",
    "clip_grad_value_",
    "fine_tune",
    "fold_batchnorm",
    "freeze",
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
    "unfreeze",
]


@quiet
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients together so that their common norm is at most `max_norm`.

    Pascanu, Mikolov and Bengio 2013. Does not wait for a GPU, unless `error_if_nonfinite`.

    Args:
        parameters: tensors; those without gradient are passed over.
        max_norm: the bound.
        norm_type: p of the p-norm over all elements; `float("inf")` for the largest.
        error_if_nonfinite: raise if the norm is NaN or infinite, before anything is changed.

    Returns:
        the norm before, a 0-d tensor.

    Raises:
        RuntimeError: the norm is not finite and `error_if_nonfinite`.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    owners = [p for p in parameters if p.grad is not None]
    if not owners:
        return wrap(np.zeros((), np.float32))
    gradients = [p.grad.data for p in owners if p.grad is not None]
    total = _norm(gradients, float(norm_type))
    if error_if_nonfinite and not np.isfinite(float(total)):
        raise RuntimeError(
            f"clip_grad_norm_: the norm of the gradients is {float(total)}; find its origin with "
            "detect_anomaly, or pass error_if_nonfinite=False"
        )
    xp = of(total).xp
    # torch's 1e-6: no division by zero
    scale = xp.minimum(float(max_norm) / (total + 1e-6), 1.0)
    for p, g in zip(owners, gradients, strict=True):
        _replace(p, g * scale.astype(g.dtype))
    return wrap(total)


def _norm(gradients: list[Array], p: float) -> Array:
    """The norm of all elements together, a 0-d array; float32 at least."""
    xp = of(gradients[0]).xp
    wide = [g if g.dtype.itemsize >= 4 else g.astype(np.float32) for g in gradients if g.size]
    if not wide:
        return xp.zeros((), np.float32)
    if p == float("inf"):
        return xp.asarray(xp.stack([xp.asarray(abs(g).max()) for g in wide]).max())
    if p == 2.0:
        parts = [xp.vdot(g.reshape(-1), g.reshape(-1)) for g in wide]
    else:
        parts = [(abs(g) ** p).sum() for g in wide]
    return xp.asarray(xp.stack([xp.asarray(part) for part in parts]).sum() ** (1.0 / p))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Every element of every gradient into [-clip_value, clip_value].

    Args:
        parameters: tensors; those without gradient are passed over.
        clip_value: the bound.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    bound = float(clip_value)
    for p in parameters:
        if p.grad is not None:
            _replace(p, of(p.grad.data).xp.clip(p.grad.data, -bound, bound))


def _replace(p: Tensor, gradient: Array) -> None:
    """Give a parameter a gradient of its own: the array it had may be shared."""
    p.grad = wrap(gradient)
