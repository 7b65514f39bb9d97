"""Normalisation: batch, layer, group, instance, local response, and to unit length.

Batch normalisation: Ioffe and Szegedy 2015. Layer: Ba, Kiros and Hinton 2016. Instance: Ulyanov,
Vedaldi and Lempitsky 2016. Group: Wu and He 2018. The last three are one function (`GroupNorm`
below), which differs from batch normalisation only in which numbers share a mean and a variance:

    batch_norm      (N, C, L)            each channel over samples and positions
    layer_norm      (N, C L, 1), G = 1   each sample over channels and positions
    instance_norm   (N, C, L),   G = C   each channel of each sample over positions
    group_norm      (N, C, L)            each group of C / G channels of each sample
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import Function, Tensor
from ..autograd.tensor import wrap
from ..backend import of
from ..backend.plain.norm import wide_dtype
from .activation import hardtanh, relu
from .arithmetic import div, mul, neg, pow
from .autocast import autocasts
from .common import as_float, astype, broadcast_to, check_devices, check_dim, masked, quiet
from .elementwise import abs, clamp, rsqrt, sqrt
from .reduction import amax, sum
from .shape import reshape

__all__ = [
    "batch_norm",
    "batch_norm_relu",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_norm",
    "normalize",
]


# -- one scale and one shift for each channel ------------------------------------------------------


class ChannelAffine(Function):
    """y = scale x + shift.    d/dx = scale, d/dscale = x, d/dshift = 1

    x is (N, C, L); scale and shift are (C,), and may be None: 1 and 0.
    """

    def forward(self, x: Any, scale: Any, shift: Any) -> Any:
        need_scale = self.needs_input_grad[1]
        self.dtypes = [None if v is None else v.dtype for v in (scale, shift)]
        self.save_for_backward(x if need_scale else None, scale)
        return of(x).channel_affine(x, scale, shift)

    def backward(self, grad: Tensor) -> Any:
        x, scale = self.saved_tensors
        need_x, need_scale, need_shift = self.needs_input_grad
        return (
            ChannelAffine.apply(grad, scale, None) if need_x else None,
            ChannelDot.apply(grad, x, dtype=self.dtypes[0]) if need_scale else None,
            ChannelSum.apply(grad, dtype=self.dtypes[1]) if need_shift else None,
        )


class ChannelDot(Function):
    """The sum of a b over each channel, (N, C, L) to (C,).    d/da = b, d/db = a"""

    def forward(self, a: Any, b: Any, dtype: Any) -> Any:
        self.save_for_backward(a, b)
        return of(a).channel_dot(a, b).astype(dtype, copy=False)

    def backward(self, grad: Tensor) -> Any:
        a, b = self.saved_tensors
        need_a, need_b = self.needs_input_grad
        return (
            ChannelAffine.apply(b, grad, None) if need_a else None,
            ChannelAffine.apply(a, grad, None) if need_b else None,
        )


class ChannelSum(Function):
    """The sum over each channel, (N, C, L) to (C,).    d/dx = 1"""

    def forward(self, x: Any, dtype: Any) -> Any:
        self.shape, self.dtype = x.shape, x.dtype
        return of(x).channel_sum(x).astype(dtype, copy=False)

    def backward(self, grad: Tensor) -> Any:
        grad = reshape(astype(grad, self.dtype), (1, -1, 1))
        return broadcast_to(grad, self.shape)


# -- normalisation of channels by their own statistics ---------------------------------------------


class BatchNorm(Function):
    """y = weight x^ + bias with x^ = (x - mean) / sqrt(var + eps) of each channel.

    With a ceiling, min(max(y, 0), ceiling) instead. x is (N, C, L); weight and bias are (C,) or
    None. The gradient is `BatchNormGrad`.
    """

    @quiet
    def forward(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        eps: float,
        ceiling: float | None = None,
        observe: Callable[[Any, Any], None] | None = None,
    ) -> Any:
        y, mean, var = of(x).batch_norm(x, weight, bias, eps, ceiling)
        if observe is not None:
            observe(mean, var)
        self.eps, self.ceiling = eps, ceiling
        self.bias_dtype = None if bias is None else bias.dtype
        invstd = 1 / of(x).xp.sqrt(var + eps)
        self.save_for_backward(x, weight, mean, invstd, None if ceiling is None else y)
        return y

    def backward(self, grad: Tensor) -> Any:
        x, weight, mean, invstd, y = self.saved_tensors
        dx, dweight, dbias = BatchNormGrad.apply(
            grad,
            x,
            weight,
            mean=mean.data,
            invstd=invstd.data,
            rectified=None if y is None else y.data,
            ceiling=self.ceiling,
            eps=self.eps,
            bias_dtype=self.bias_dtype,
        )
        return dx, None if weight is None else dweight, None if self.bias_dtype is None else dbias


class BatchNormGrad(Function):
    """The gradients of `BatchNorm`, and the gradients of these.

    With averages <.> over a channel, r = 1 / sqrt(var + eps) and P(g) = g - <g> - x^ <g x^>,

        dx = weight r P(grad),    dweight = sum grad x^,    dbias = sum grad.

    Let v, p, q be the gradients with respect to these three. P is symmetric, so the quantity to
    differentiate is weight r A + sum (p x^ + q) grad with A = sum v P(grad) = sum P(v) grad:

        d/dgrad   = weight r P(v) + p x^ + q
        d/dweight = r A
        d/dx      = r P(u) - weight A r^2 x^ / M,    M = the number of elements of a channel,
              u   = p grad - weight r (v <grad x^> + grad <v x^>),

    where u is the gradient with respect to x^ and the last term comes from dr = -r^2 x^ dx / M.
    """

    def forward(
        self,
        grad: Any,
        x: Any,
        weight: Any,
        mean: Any,
        invstd: Any,
        rectified: Any,
        ceiling: float | None,
        eps: float,
        bias_dtype: Any,
    ) -> Any:
        self.mean, self.invstd, self.eps, self.ceiling = mean, invstd, eps, ceiling
        self.save_for_backward(grad, x, weight, rectified)
        dx, dweight, dbias = of(x).batch_norm_grad(
            grad, x, weight, mean, invstd, rectified, ceiling
        )
        dweight = dweight.astype(x.dtype if weight is None else weight.dtype, copy=False)
        return dx, dweight, dbias.astype(bias_dtype or x.dtype, copy=False)

    def backward(self, v: Tensor, p: Tensor, q: Tensor) -> Any:
        grad, x, weight, rectified = self.saved_tensors
        need_grad, need_x, need_weight = self.needs_input_grad
        wide = wide_dtype(x.dtype)
        count = x.shape[0] * x.shape[2]
        if rectified is not None:
            passed = (rectified.data > 0) & (rectified.data < self.ceiling)
            grad = masked(grad, passed)

        mean = div(ChannelSum.apply(x, dtype=wide), count)
        centred = ChannelAffine.apply(x, None, neg(mean))
        r = rsqrt(div(ChannelDot.apply(centred, centred, dtype=wide), count) + self.eps)
        normalised = ChannelAffine.apply(centred, r, None)

        dv, v_x, _ = self._gradients(v, x, weight)  # weight r P(v), sum v x^
        by_grad = by_x = by_weight = None
        if need_grad:
            by_grad = dv + ChannelAffine.apply(normalised, p, q)
            if rectified is not None:
                by_grad = masked(by_grad, passed)
        if need_x or need_weight:
            unit, grad_x, _ = self._gradients(grad, x, None)  # r P(grad), sum grad x^
            r_a = ChannelDot.apply(v, unit, dtype=wide)
            by_weight = astype(r_a, weight.dtype) if need_weight else None
        if need_x:
            scale = div(r if weight is None else mul(r, weight), -count)
            u = ChannelAffine.apply(v, mul(scale, grad_x), None)
            u = u + ChannelAffine.apply(grad, p + mul(scale, v_x), None)
            by_x = self._gradients(u, x, None)[0]
            by_x = by_x + ChannelAffine.apply(normalised, mul(scale, r_a), None)
        return by_grad, by_x, by_weight

    def _gradients(self, grad: Tensor, x: Tensor, weight: Tensor | None) -> Any:
        return BatchNormGrad.apply(
            grad,
            x,
            weight,
            mean=self.mean,
            invstd=self.invstd,
            rectified=None,
            ceiling=None,
            eps=self.eps,
            bias_dtype=None,
        )


class GroupNorm(Function):
    """y = weight x^ + bias with x^ = (x - mean) / sqrt(var + eps) of each group of each sample.

    x is (N, C, L); groups divides C; weight and bias are (C,) or None. The gradient is
    `GroupNormGrad`.
    """

    @quiet
    def forward(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        groups: int,
        eps: float,
        observe: Callable[[Any, Any], None] | None = None,
    ) -> Any:
        y, mean, var = of(x).group_norm(x, groups, weight, bias, eps)
        if observe is not None:
            observe(mean, var)
        self.groups, self.eps = groups, eps
        self.bias_dtype = None if bias is None else bias.dtype
        self.save_for_backward(x, weight, mean, 1 / of(x).xp.sqrt(var + eps))
        return y

    def backward(self, grad: Tensor) -> Any:
        x, weight, mean, invstd = self.saved_tensors
        dx, dweight, dbias = GroupNormGrad.apply(
            grad,
            x,
            weight,
            groups=self.groups,
            mean=mean.data,
            invstd=invstd.data,
            eps=self.eps,
            bias_dtype=self.bias_dtype,
        )
        return dx, None if weight is None else dweight, None if self.bias_dtype is None else dbias


class GroupNormGrad(Function):
    """The gradients of `GroupNorm`, and the gradients of these.

    With averages <.> over a group of M numbers, r = 1 / sqrt(var + eps) of a group, h = weight grad
    and P(h) = h - <h> - x^ <h x^>,

        dx = r P(h),    dweight = sum grad x^,    dbias = sum grad.

    Let v, p, q be the gradients with respect to these three, and A = sum v P(h) over a group. As in
    `BatchNormGrad`, where the weight is the same number for all of a group:

        d/dgrad   = weight r P(v) + p x^ + q
        d/dweight = sum grad r P(v)
        d/dx      = r P(u) - A r^2 x^ / M,    u = p grad - r (v <h x^> + h <v x^>)
    """

    def forward(
        self,
        grad: Any,
        x: Any,
        weight: Any,
        groups: int,
        mean: Any,
        invstd: Any,
        eps: float,
        bias_dtype: Any,
    ) -> Any:
        self.groups, self.mean, self.invstd, self.eps = groups, mean, invstd, eps
        self.save_for_backward(grad, x, weight)
        dx, dweight, dbias = of(x).group_norm_grad(grad, x, groups, weight, mean, invstd)
        dweight = dweight.astype(x.dtype if weight is None else weight.dtype, copy=False)
        return dx, dweight, dbias.astype(bias_dtype or x.dtype, copy=False)

    def backward(self, v: Tensor, p: Tensor, q: Tensor) -> Any:
        grad, x, weight = self.saved_tensors
        need_grad, need_x, need_weight = self.needs_input_grad
        wide = wide_dtype(x.dtype)
        count = x.data.size // self.mean.size

        mean = div(self._total(x), count)
        centred = ChannelAffine.apply(self._rows(x), None, neg(mean))
        r = rsqrt(div(ChannelDot.apply(centred, centred, dtype=wide), count) + self.eps)
        normalised = ChannelAffine.apply(centred, r, None)  # (1, N G, M)
        h = grad if weight is None else ChannelAffine.apply(grad, weight, None)

        by_grad = by_x = by_weight = None
        if need_grad or need_weight:
            unit = self._projected(v, x)  # r P(v)
            by_weight = ChannelDot.apply(grad, unit, dtype=weight.dtype) if need_weight else None
            if weight is not None:
                unit = ChannelAffine.apply(unit, weight, None)
            by_grad = unit + ChannelAffine.apply(reshape(normalised, x.shape), p, q)
        if need_x:
            v_rows, h_rows = self._rows(v), self._rows(h)
            scale = div(r, -count)
            v_x, h_x = (ChannelDot.apply(t, normalised, dtype=wide) for t in (v_rows, h_rows))
            u = ChannelAffine.apply(v_rows, mul(scale, h_x), None)
            u = u + ChannelAffine.apply(h_rows, mul(scale, v_x), None)
            u = reshape(u, x.shape) + ChannelAffine.apply(grad, p, None)
            r_a = ChannelDot.apply(v_rows, self._rows(self._projected(h, x)), dtype=wide)
            last = ChannelAffine.apply(normalised, mul(scale, r_a), None)
            by_x = self._projected(u, x) + reshape(last, x.shape)
        return by_grad, by_x, by_weight

    def _rows(self, x: Tensor) -> Tensor:
        """Each group as a channel: (1, N G, M)."""
        return reshape(x, (1, self.mean.size, x.data.size // self.mean.size))

    def _total(self, x: Tensor) -> Tensor:
        return ChannelSum.apply(self._rows(x), dtype=wide_dtype(x.dtype))

    def _projected(self, h: Tensor, x: Tensor) -> Tensor:
        """r P(h)."""
        dx, _, _ = GroupNormGrad.apply(
            h,
            x,
            None,
            groups=self.groups,
            mean=self.mean,
            invstd=self.invstd,
            eps=self.eps,
            bias_dtype=None,
        )
        return dx


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel normalised: weight (x - mean) / sqrt(var + eps) + bias (Ioffe and Szegedy 2015).

    In training, mean and (biased) variance are the batch's own, and the running statistics, if
    given, move towards them in place: running = (1 - momentum) running + momentum batch, where the
    variance is the unbiased one. Otherwise the running statistics take their place.

    Args:
        input: (N, C), (N, C, L), (N, C, H, W) or with more dimensions.
        running_mean, running_var: (C,); both or neither. Needed when not training.
        weight, bias: (C,).
        momentum: the share of the new batch in the running statistics.
        eps: added to the variance.

    Returns:
        of the shape and dtype of `input`.

    Raises:
        ValueError: shapes that do not fit; one value per channel in training.
    """
    return _batch_norm(
        "batch_norm",
        input,
        running_mean,
        running_var,
        weight,
        bias,
        training,
        momentum,
        eps,
        None,
    )


def batch_norm_relu(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    ceiling: float = math.inf,
) -> Tensor:
    """`relu(batch_norm(...))`, in training as one operation that keeps one array less.

    Arguments, result and errors as `batch_norm`, and

    Args:
        ceiling: what the result is cut off at: 6 for ReLU6.
    """
    return _batch_norm(
        "batch_norm_relu",
        input,
        running_mean,
        running_var,
        weight,
        bias,
        training,
        momentum,
        eps,
        ceiling,
    )


def _batch_norm(
    op: str,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    ceiling: float | None,
) -> Tensor:
    input = as_float(input)
    _check_channels(op, input, 2, running_mean, running_var, weight, bias)
    if not training and running_mean is None:
        raise ValueError(
            f"{op}: running_mean and running_var must be given unless training; "
            "or pass training=True to use the statistics of the batch"
        )
    x = _as_channels(input)
    count = x.shape[0] * x.shape[2]
    if training and count == 1:
        raise ValueError(
            f"{op}: expected more than 1 value per channel in training, got input {input.shape}; "
            "use a larger batch, or eval mode"
        )
    if training and x.data.size:

        def observe(mean: Any, var: Any) -> None:
            _update(running_mean, mean, momentum)
            _update(running_var, var * (count / (count - 1)), momentum)

        y = BatchNorm.apply(x, weight, bias, eps=eps, ceiling=ceiling, observe=observe)
        return reshape(y, input.shape)
    if training:  # an empty batch: there are no statistics, and no elements to normalise
        y = ChannelAffine.apply(x, weight, bias)
    else:
        y = _with_running_statistics(x, running_mean, running_var, weight, bias, eps)
    if ceiling is not None:
        y = relu(y) if ceiling == math.inf else hardtanh(y, 0.0, ceiling)
    return reshape(y, input.shape)


def _with_running_statistics(
    x: Tensor, mean: Any, var: Any, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Batch normalisation by constants: one scale and one shift for each channel."""
    wide = wide_dtype(x.dtype)
    invstd = rsqrt(wrap(var.data.astype(wide)) + eps)
    scale = invstd if weight is None else mul(weight, invstd)
    shift = neg(mul(scale, wrap(mean.data.astype(wide))))
    return ChannelAffine.apply(x, scale, shift if bias is None else shift + bias)


def _update(running: Tensor | None, batch: Any, momentum: float) -> None:
    """running = (1 - momentum) running + momentum batch, in place."""
    if running is None:
        return
    running.data *= 1 - momentum
    running.data += (momentum * batch).astype(running.dtype, copy=False)
    running.bump_version()


def _as_channels(x: Tensor) -> Tensor:
    """(N, C, ...) as (N, C, L)."""
    return reshape(x, (x.shape[0], x.shape[1], math.prod(x.shape[2:])))


def _check_channels(
    op: str,
    input: Tensor,
    rank: int,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
) -> None:
    """Raise unless input is (N, C, ...) with `rank` dimensions or more, and the others (C,)."""
    if input.ndim < rank:
        raise ValueError(
            f"{op}: input must have at least {rank} dimensions (N, C, ...), got {input.shape}"
        )
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{op}: give both running_mean and running_var, or neither")
    check_devices(op, input, running_mean, running_var, weight, bias)
    channels = input.shape[1]
    vectors = {
        "running_mean": running_mean,
        "running_var": running_var,
        "weight": weight,
        "bias": bias,
    }
    for name, vector in vectors.items():
        if vector is not None and vector.shape != (channels,):
            raise ValueError(
                f"{op}: {name} of shape {vector.shape} does not fit the {channels} channels of "
                f"input {input.shape}"
            )
        if name.startswith("running") and vector is not None and not vector.is_floating_point():
            raise TypeError(f"{op}: {name} must be floating-point, got {vector.dtype}")


@autocasts
def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int] | int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Each sample normalised over its last dimensions (Ba, Kiros and Hinton 2016).

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the lengths of the last dimensions, which are normalised together.
        weight, bias: of shape `normalized_shape`.
        eps: added to the (biased) variance.

    Raises:
        ValueError: shapes that do not fit.
    """
    input = as_float(input)
    single = isinstance(normalized_shape, int)
    shape: tuple[int, ...] = (normalized_shape,) if single else tuple(normalized_shape)  # type: ignore
    if not shape or input.shape[-len(shape) :] != shape:
        raise ValueError(
            f"layer_norm: input {input.shape} must end in normalized_shape {shape}, which has at "
            "least one dimension"
        )
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and vector.shape != shape:
            raise ValueError(
                f"layer_norm: {name} of shape {vector.shape} must have normalized_shape {shape}"
            )
    size = math.prod(shape)
    rows = math.prod(input.shape[: -len(shape)])
    # Weight and bias belong to the elements of a row: rows are samples, elements channels.
    y = _group_norm(reshape(input, (rows, size, 1)), 1, weight, bias, eps)
    return reshape(y, input.shape)


@autocasts
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Each sample normalised over groups of neighbouring channels (Wu and He 2018).

    Args:
        input: (N, C, ...).
        num_groups: divides C.
        weight, bias: (C,).
        eps: added to the (biased) variance.

    Raises:
        ValueError: C is not a multiple of `num_groups`, shapes that do not fit, or a single value.
    """
    input = as_float(input)
    _check_channels("group_norm", input, 2, None, None, weight, bias)
    n, channels = input.shape[:2]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(
            f"group_norm: the {channels} channels of input {input.shape} cannot be divided into "
            f"num_groups {num_groups}"
        )
    size = channels // num_groups * math.prod(input.shape[2:])
    if n * size == 1:
        raise ValueError(
            f"group_norm: expected more than 1 value per channel, got input {input.shape} in "
            f"{num_groups} groups"
        )
    return reshape(_group_norm(_as_channels(input), num_groups, weight, bias, eps), input.shape)


@autocasts
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel of each sample normalised over its positions (Ulyanov et al. 2016).

    Args:
        input: (N, C, L), (N, C, H, W) or with more dimensions.
        running_mean, running_var: (C,), or None. With `use_input_stats` they move towards the
            averages over the batch; without, they are what the input is normalised by.
        weight, bias: (C,).
        momentum, eps: as in `batch_norm`.

    Raises:
        ValueError: shapes that do not fit, or one position only.
    """
    input = as_float(input)
    _check_channels("instance_norm", input, 2, running_mean, running_var, weight, bias)
    x = _as_channels(input)
    n, channels, length = x.shape
    if not use_input_stats:
        if running_mean is None:
            raise ValueError(
                "instance_norm: running_mean and running_var must be given unless use_input_stats"
            )
        y = _with_running_statistics(x, running_mean, running_var, weight, bias, eps)
        return reshape(y, input.shape)
    if length == 1:
        raise ValueError(
            f"instance_norm: expected more than 1 position in training, got input {input.shape}"
        )

    def observe(mean: Any, var: Any) -> None:
        var = var * (length / (length - 1))
        _update(running_mean, mean.reshape(n, channels).mean(axis=0), momentum)
        _update(running_var, var.reshape(n, channels).mean(axis=0), momentum)

    return reshape(_group_norm(x, channels, weight, bias, eps, observe), input.shape)


def _group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    observe: Callable[[Any, Any], None] | None = None,
) -> Tensor:
    """`GroupNorm` of x (N, C, L), and any shape of weight and bias with C elements."""
    scale, shift = (None if v is None else reshape(v, (-1,)) for v in (weight, bias))
    if not x.data.size:  # there are no statistics, and no elements to normalise
        return x if scale is None and shift is None else ChannelAffine.apply(x, scale, shift)
    return GroupNorm.apply(x, scale, shift, groups=groups, eps=eps, observe=observe)


# -- normalisation by neighbours and by length -----------------------------------------------------


class ChannelWindow(Function):
    """y_c = x_(c - before) + ... + x_(c + after), x (N, C, ...). Its adjoint swaps the two."""

    def forward(self, x: Any, before: int, after: int) -> Any:
        self.before, self.after = before, after
        channels = x.shape[1]
        y = of(x).xp.zeros_like(x)
        for step in range(-min(before, channels), min(after, channels) + 1):
            first, last = max(0, -step), min(channels, channels - step)
            y[:, first:last] += x[:, first + step : last + step]
        return y

    def backward(self, grad: Tensor) -> Any:
        return ChannelWindow.apply(grad, before=self.after, after=self.before)


@autocasts
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha <x^2>)^beta with the average over `size` neighbouring channels.

    Krizhevsky, Sutskever and Hinton 2012, section 3.3, where alpha stands before the sum instead of
    the average; as in torch, missing neighbours count as 0 and `size` counts in full.

    Args:
        input: (N, C, ...) with at least 3 dimensions.
        size: the number of channels in the window.
        alpha, beta, k: the constants above.

    Raises:
        ValueError: fewer than 3 dimensions, or a size below 1.
    """
    input = as_float(input)
    if input.ndim < 3:
        raise ValueError(
            f"local_response_norm: input must have at least 3 dimensions, got {input.shape}"
        )
    if size < 1:
        raise ValueError(f"local_response_norm: size must be at least 1, got {size}")
    squares = ChannelWindow.apply(mul(input, input), before=size // 2, after=(size - 1) // 2)
    return div(input, pow(mul(squares, alpha / size) + k, beta))


@autocasts
def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(|x|_p, eps): vectors of length 1.

    Args:
        input: any shape.
        p: which norm; `float("inf")` for the largest absolute value.
        dim: the dimension along which a vector lies.
        eps: the smallest length that is divided by.
    """
    input = as_float(input)
    dim = check_dim("normalize", dim, input.ndim)
    x = astype(input, wide_dtype(input.dtype))  # the square of a float16 soon overflows
    if p == math.inf:
        length = amax(abs(x), dim, keepdim=True)
    elif p == 1:
        length = sum(abs(x), dim, keepdim=True)
    else:
        powers = sum(mul(x, x) if p == 2 else pow(abs(x), p), dim, keepdim=True)
        # The root has no derivative at 0, where `eps` decides anyway.
        powers = clamp(powers, min=float(np.finfo(x.dtype).tiny))
        length = sqrt(powers) if p == 2 else pow(powers, 1 / p)
    return astype(div(x, clamp(length, min=eps)), input.dtype)
