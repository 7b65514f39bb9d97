"""BatchNorm and the ReLU behind it, as one operation.

In training a rectified result is made while the normalised one is still in the cache, and one array
less is kept for the backward pass. `Sequential` does so by itself; a network that calls its layers
one by one says `norm_relu(self.bn1, x)` for `relu(self.bn1(x))`.
"""

from __future__ import annotations

import math

from ..autograd import Tensor
from . import functional as F
from .activation import ReLU, ReLU6
from .module import Module
from .normalization import BatchNorm1d, BatchNorm2d

__all__ = ["norm_relu"]

_CEILINGS: dict[type, float] = {ReLU: math.inf, ReLU6: 6.0}


def norm_relu(norm: Module, input: Tensor, act: Module | None = None) -> Tensor:
    """`act(norm(input))`, as one operation where that is a ReLU of a BatchNorm in training.

    Args:
        norm: any module. One with hooks is called as it is, and so is `act`.
        input: what `norm` is called with.
        act: what is called with its result; None: relu.
    """
    if (
        isinstance(norm, (BatchNorm1d, BatchNorm2d))
        and norm.training
        and not norm.frozen
        and not _is_watched(norm)
    ):
        if act is None:
            return norm.normalize(input, math.inf)
        ceiling = _CEILINGS.get(type(act))
        if ceiling is not None and not _is_watched(act):
            return norm.normalize(input, ceiling)
    output = norm(input)
    return F.relu(output) if act is None else act(output)


def _is_watched(module: Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
