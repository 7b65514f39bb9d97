"""Dropout: elements, whole channels or whole samples set to zero at random.

Srivastava et al. 2014; for channels Tompson et al. 2015; for residual branches ("stochastic depth")
Huang et al. 2016. What remains is divided by the probability of remaining, so that the expectation
does not change and evaluation needs no correction.

The random bits come from Philox (minidl/backend/plain/random.py): the same on every device, and
their whole state is the pair (seed, offset) of `minidl.backend.random`.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..autograd import Function, Tensor
from ..autograd.modes import mode
from ..backend import of
from ..backend.random import next_offset
from .common import as_float
from .inplace import copy_

__all__ = [
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "stochastic_depth",
]


class Dropout(Function):
    """y = scale m x + shift (1 - m) + constant with a mask m of bools.    d/dx = scale m

    The mask broadcasts to the shape of x: one bool for each element, channel or sample.
    """

    def forward(
        self, x: Any, mask: Any, scale: float, shift: float = 0.0, constant: float = 0.0
    ) -> Any:
        self.scale = scale
        self.save_for_backward(mask)
        y = x * mask
        y *= scale
        if shift:
            y += shift * (~mask).astype(x.dtype)
        if constant:
            y += constant
        return y

    def backward(self, grad: Tensor) -> Any:
        (mask,) = self.saved_tensors
        return Dropout.apply(grad, mask=mask.data, scale=self.scale)


def _mask(x: Any, shape: tuple[int, ...], p: float) -> Any:
    """Fresh bools of `shape` on the device of x, False with probability p."""
    backend = of(x)
    if p == 1:
        return backend.xp.zeros(shape, bool)
    seed, offset = next_offset(math.prod(shape))
    return backend.philox_mask(shape, p, seed, offset)


def _drop(op: str, input: Tensor, shape: Any, p: float, training: bool, inplace: bool) -> Tensor:
    """`input` times a fresh mask of `shape` (None: one bool for each element)."""
    _check_probability(op, p)
    x = as_float(input)
    if not training or p == 0:
        return x
    mask = _mask(x.data, x.shape if shape is None else shape, p)
    result = Dropout.apply(x, mask=mask, scale=1 / (1 - p) if p < 1 else 1.0)
    return _deliver(input, result, inplace)


def _deliver(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    if not inplace:
        return result
    if mode.recording and input.requires_grad:
        input.check_change()
        return input.adopt(result)
    return copy_(input, result)


def _check_probability(op: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{op}: the probability p must be between 0 and 1, got {p}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each element 0 with probability p, else divided by 1 - p (Srivastava et al. 2014).

    Args:
        input: any shape.
        p: the probability of zero.
        training: if False, `input` is returned as it is.
        inplace: whether to change `input` itself.

    Raises:
        ValueError: p is not between 0 and 1.
    """
    return _drop("dropout", input, None, p, training, inplace)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Each channel 0 with probability p, else divided by 1 - p (Tompson et al. 2015).

    Args:
        input: (N, C, L) or (C, L).
        p, training, inplace: as in `dropout`.

    Raises:
        ValueError: p is not between 0 and 1, or another number of dimensions.
    """
    if input.ndim not in (2, 3):
        raise ValueError(f"dropout1d: input must be (N, C, L) or (C, L), got {input.shape}")
    shape = (*input.shape[:-1], 1)
    return _drop("dropout1d", input, shape, p, training, inplace)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Each channel 0 with probability p, else divided by 1 - p (Tompson et al. 2015).

    Args:
        input: (N, C, H, W). As in torch, other shapes give a warning: (N, C, L), and anything that
            starts with (N, C).
        p, training, inplace: as in `dropout`.

    Raises:
        ValueError: p is not between 0 and 1, or less than 2 dimensions.
    """
    return _drop_channels("dropout2d", 4, input, p, training, inplace)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """As `dropout2d`, for (N, C, D, H, W)."""
    return _drop_channels("dropout3d", 5, input, p, training, inplace)


def _drop_channels(
    op: str, rank: int, input: Tensor, p: float, training: bool, inplace: bool
) -> Tensor:
    if input.ndim < 2:
        raise ValueError(f"{op}: input must be at least (N, C), got {input.shape}")
    if input.ndim != rank:
        warnings.warn(
            f"{op}: input {input.shape} has {input.ndim} dimensions, not {rank}; its first two are "
            "taken as samples and channels",
            stacklevel=3,
        )
    shape = input.shape[:2] + (1,) * (input.ndim - 2)
    return _drop(op, input, shape, p, training, inplace)


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout for SELU: mean 0 and variance 1 are kept (Klambauer et al. 2017, section 3).

    Elements are set to -alpha' = -1.7581, SELU's lower limit, instead of 0; then an affine map
    restores mean and variance.

    Args:
        input: any shape, with mean 0 and variance 1.
        p, training, inplace: as in `dropout`, but `training` is off unless asked for, as in torch.
    """
    _check_probability("alpha_dropout", p)
    x = as_float(input)
    if not training or p == 0:
        return x
    limit = -1.7580993408473766  # -scale alpha of SELU
    scale = 1 / math.sqrt((1 - p) * (1 + p * limit**2)) if p < 1 else 0.0
    mask = _mask(x.data, x.shape, p)
    shift = limit * scale
    result = Dropout.apply(x, mask=mask, scale=scale, shift=shift, constant=-shift * p)
    return _deliver(input, result, inplace)


def stochastic_depth(input: Tensor, p: float, mode: str, training: bool = True) -> Tensor:
    """Whole samples, or the whole batch, 0 with probability p, else divided by 1 - p.

    For the residual branch of a block (Huang et al. 2016). Names as in torchvision.

    Args:
        input: (N, ...).
        p: the probability of zero.
        mode: "row": each sample for itself; "batch": all or none.
        training: if False, `input` is returned as it is.

    Raises:
        ValueError: p is not between 0 and 1, or an unknown mode.
    """
    if mode not in ("row", "batch"):
        raise ValueError(f"stochastic_depth: mode must be 'row' or 'batch', got {mode!r}")
    shape = (1,) * input.ndim
    if mode == "row":
        shape = (*input.shape[:1], *shape[1:])
    return _drop("stochastic_depth", input, shape, p, training, False)
