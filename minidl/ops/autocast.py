"""autocast: products in half precision, everything delicate in float32.

Micikevicius et al., "Mixed precision training", ICLR 2018. A product of matrices reads and writes
half as many bytes in 16 bits, and a GPU's tensor cores take 16-bit factors only; its sums are kept
in float32 all the same. Parameters stay float32, since an update of 1e-4 of a weight is lost in
float16; they are cast for each product, and the gradient is cast back. What sums many numbers or
takes an exponential is computed, and returned, in float32.

The words are those of torch.autocast. The table below is torch's for CUDA, and the other reductions
(mean, var, std, logsumexp) with it; it holds on every device.
float16 has 5 bits for the exponent, and small gradients become zero: see `minidl.amp.GradScaler`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..autograd import Tensor
from ..autograd.modes import mode
from ..backend import device, of
from .common import Cast, astype

__all__ = ["autocast", "autocasts", "get_autocast_dtype", "is_autocast_enabled"]

F = TypeVar("F", bound=Callable[..., Any])


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Operations that take their floating-point arguments in the half precision of the region. All
# others, batch normalisation among them (16 bits in and out, its sums, its parameters and its
# statistics in float32), compute in the dtypes that they are given.
HALF = _words(
    """
    conv1d conv2d conv_transpose1d conv_transpose2d
    linear matmul mm bmm dot outer einsum scaled_dot_product_attention
    """
)
# Operations that take 16-bit arguments as float32, and return float32.
FLOAT32 = _words(
    """
    softmax softmin log_softmax
    sum mean var std prod cumsum norm logsumexp
    layer_norm group_norm instance_norm local_response_norm normalize
    exp expm1 log log2 log10 log1p pow reciprocal rsqrt tan softplus
    cross_entropy nll_loss multi_margin_loss binary_cross_entropy binary_cross_entropy_with_logits
    sigmoid_focal_loss soft_margin_loss mse_loss l1_loss smooth_l1_loss huber_loss
    hinge_embedding_loss margin_ranking_loss gaussian_nll_loss kl_div
    dice_loss generalized_dice_loss sigmoid_cross_entropy
    """
)


class _Rule(NamedTuple):
    """What holds on one type of device: the dtype of products, and weights cast to it already."""

    dtype: np.dtype
    weights: dict[Any, Any] | None  # None: weights are cast at each use


class autocast:
    """Within a `with` block, or the function it decorates, operations choose their precision.

    Backward passes are not concerned: each operation's backward runs in the dtype of its forward.
    Call `backward` after the block.

    Args:
        device_type: of the tensors concerned: "cpu", "cuda".
        dtype: float16 or bfloat16 (the package `ml_dtypes`); default: float16.
        enabled: False: not within this block, even if it stands within another one.
        cache_enabled: whether a weight that is used several times is cast once. Its memory is
            given back at the end of the outermost block.

    Raises:
        ValueError: an unknown device, or a dtype that is not a 16-bit float.

    Example:
        >>> with minidl.autocast("cuda"):
        ...     loss = criterion(model(x), y)
        >>> loss.backward()
    """

    def __init__(
        self,
        device_type: str,
        dtype: Any = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        self.device_type = device(device_type).type
        self.dtype = np.dtype(np.float16 if dtype is None else dtype)
        if self.dtype.itemsize != 2 or self.dtype.kind not in "fV":
            raise ValueError(f"autocast: dtype must be float16 or bfloat16, not {self.dtype}")
        self.enabled = bool(enabled)
        self.cache_enabled = cache_enabled is None or bool(cache_enabled)
        self._before: list[Any] = []  # a stack: the same object may be entered again within

    def __enter__(self) -> autocast:
        self._before.append(mode.autocast)
        rules = dict(mode.autocast or {})
        before = rules.pop(self.device_type, None)
        # A region in which it is off keeps the weights for those within.
        weights = {} if before is None or before.weights is None else before.weights
        if self.enabled:
            rules[self.device_type] = _Rule(self.dtype, weights if self.cache_enabled else None)
        mode.autocast = rules or None
        return self

    def __exit__(self, *exception: object) -> None:
        mode.autocast = self._before.pop()

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"autocast({self.device_type!r}, dtype={self.dtype}, enabled={self.enabled})"


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether operations on tensors of that type of device choose their precision now."""
    return device(device_type).type in (mode.autocast or {})


def get_autocast_dtype(device_type: str = "cuda") -> np.dtype:
    """The dtype of products on that type of device within `autocast`: float16 unless it is set."""
    rule = (mode.autocast or {}).get(device(device_type).type)
    return np.dtype(np.float16) if rule is None else rule.dtype


def autocasts(function: F) -> F:
    """Decorate an operation of the table above: within `autocast`, it casts its arguments."""
    name = function.__name__
    if name not in HALF | FLOAT32:
        raise ValueError(f"autocasts: {name} is missing in the table of minidl/ops/autocast.py")
    cast = _to_half if name in HALF else _to_float32

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        rules = mode.autocast
        if rules is None:
            return function(*args, **kwargs)
        args = tuple([_each(cast, x, rules) for x in args])
        kwargs = {name: _each(cast, x, rules) for name, x in kwargs.items()}
        mode.autocast = None  # what it is made of computes as it is told
        try:
            return function(*args, **kwargs)
        finally:
            mode.autocast = rules

    return wrapped  # type: ignore[return-value]


def _each(cast: Callable[..., Tensor], x: Any, rules: dict[str, _Rule]) -> Any:
    """`cast` of a tensor, or of those in a list; anything else as it is."""
    if isinstance(x, (list, tuple)):  # of einsum
        return [_each(cast, part, rules) for part in x] if _has_tensor(x) else x
    rule = rules.get(of(x.data).name) if isinstance(x, Tensor) else None
    # float64 is there on purpose.
    if rule is None or x.data.dtype.kind not in "fV" or x.data.dtype.itemsize > 4:
        return x
    return cast(x, rule)


def _has_tensor(parts: Any) -> bool:
    return any(isinstance(part, Tensor) for part in parts)


def _to_float32(x: Tensor, rule: _Rule) -> Tensor:
    return astype(x, np.float32)


def _to_half(x: Tensor, rule: _Rule) -> Tensor:
    """`x` in half precision; the weights of a network, as leaves of the graph, once."""
    if rule.weights is None or not x.requires_grad or not x.is_leaf or x.dtype == rule.dtype:
        return astype(x, rule.dtype)
    # Cast under no_grad, it would have no way back to the weight.
    key = id(x), rule.dtype, mode.recording
    found = rule.weights.get(key)
    if found is not None:
        _, data, version, result = found
        if data is x.data and version == x._version[0]:
            return result
    result = astype(x, rule.dtype)
    if isinstance(result.grad_fn, Cast):
        result.grad_fn.shared = True
    rule.weights[key] = x, x.data, x._version[0], result  # (x kept, so that its id stays its own)
    return result
