"""Normalisation layers. Arguments, names in the state_dict and statistics as in torch.nn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import Tensor
from . import functional as F
from .init import ones_, zeros_
from .module import Module, new_tensor, parameter_if

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "FrozenBatchNorm2d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "LayerNorm",
    "LocalResponseNorm",
]


class _Norm(Module):
    """Normalisation with statistics of each channel.

    Attributes:
        frozen: whether the running statistics are used, and left as they are, in training mode
            too: `nn.utils.freeze` says so, and `train()` does not change it.
    """

    frozen = False

    # Files written before torch 0.4.1 do not have it.
    _optional_state = ("num_batches_tracked",)

    ranks: tuple[int, ...]  # of the input

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: Any,
        dtype: Any,
        bias: bool,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        shape = (num_features,)
        self.register_parameter("weight", parameter_if(affine, shape, 1, device, dtype))
        self.register_parameter("bias", parameter_if(affine and bias, shape, 0, device, dtype))
        mean = var = count = None
        if track_running_stats:
            mean, var = new_tensor(shape, 0, device, dtype), new_tensor(shape, 1, device, dtype)
            count = new_tensor((), 0, device, np.int64)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", count)

    def reset_running_stats(self) -> None:
        """Forget the running statistics."""
        if self.track_running_stats:
            zeros_(self.running_mean)
            ones_(self.running_var)
            zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Scale 1 and shift 0, and forget the running statistics."""
        self.reset_running_stats()
        _reset_affine(self)

    def _check_rank(self, input: Tensor) -> None:
        if input.ndim not in self.ranks:
            wanted = " or ".join(str(rank) for rank in self.ranks)
            raise ValueError(
                f"{type(self).__name__}: input must have {wanted} dimensions, got {input.shape}"
            )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
            f"{', frozen=True' if self.frozen else ''}"
        )


class _BatchNorm(_Norm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

    def forward(self, input: Tensor) -> Tensor:
        return self.normalize(input)

    def normalize(self, input: Tensor, ceiling: float | None = None) -> Tensor:
        """`forward`; with a ceiling, rectified, too: see `nn/fused.py`."""
        self._check_rank(input)
        factor = 0.0 if self.momentum is None else self.momentum
        training = self.training and not self.frozen
        if training and self.num_batches_tracked is not None:
            self.num_batches_tracked.data += 1
            self.num_batches_tracked.bump_version()
            if self.momentum is None:  # the mean of all batches; on a GPU this waits for it
                factor = 1.0 / int(self.num_batches_tracked)
        arguments = (
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training or self.running_mean is None,
            factor,
            self.eps,
        )
        if ceiling is None:
            return F.batch_norm(*arguments)
        return F.batch_norm_relu(*arguments, ceiling=ceiling)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L). Arguments as BatchNorm2d's."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W): mean 0, variance 1 for each channel of a batch.

    In evaluation the running statistics take the place of the batch's. Ioffe and Szegedy 2015.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: the share of each batch in the running statistics; None: the mean of all batches.
        affine: whether a trained scale and shift for each channel follow.
        track_running_stats: without, evaluation uses the batch's statistics, too.
        device: where parameters and buffers are made.
        dtype: their dtype; default float32.
        bias: whether there is a shift.

    Attributes:
        weight: (C,), the scale, at first 1; or None.
        bias: (C,), the shift, at first 0; or None.
        running_mean: (C,), a buffer, at first 0; or None.
        running_var: (C,), a buffer, at first 1; or None. Unbiased, unlike the batch's own.
        num_batches_tracked: a buffer, the number of batches seen; or None.
    """

    ranks = (4,)


class FrozenBatchNorm2d(Module):
    """Batch normalisation of (N, C, H, W) that never learns: all four numbers are buffers.

    For networks that are trained with batches too small for statistics of their own, as in
    detection; weights of a BatchNorm2d load as they are. Arguments and names as in torchvision.ops.

    Args:
        num_features: C.
        eps: added to the variance.

    Attributes:
        weight, bias, running_mean, running_var: (C,), buffers, at first 1, 0, 0 and 1.
    """

    _ignored_state = ("num_batches_tracked",)

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            self.register_buffer(name, new_tensor((num_features,), value))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise ValueError(f"FrozenBatchNorm2d: input must have 4 dimensions, got {x.shape}")
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


class _InstanceNorm(_Norm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

    def forward(self, input: Tensor) -> Tensor:
        self._check_rank(input)
        # A single sample may come without its batch dimension.
        single = input.ndim == self.ranks[0]
        x = input.unsqueeze(0) if single else input
        result = F.instance_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            (self.training and not self.frozen) or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return result.squeeze(0) if single else result


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (N, C, L) or (C, L). Arguments as InstanceNorm2d's."""

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of (N, C, H, W) or (C, H, W): each channel of each image by itself.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: the share of each batch in the running statistics.
        affine: whether a trained scale and shift for each channel follow.
        track_running_stats: whether running statistics are kept, and used in evaluation.
        device: where parameters and buffers are made.
        dtype: their dtype; default float32.
        bias: whether there is a shift.
    """

    ranks = (3, 4)


class LayerNorm(Module):
    """Mean 0, variance 1 over the last dimensions of each sample. Ba, Kiros and Hinton 2016.

    Args:
        normalized_shape: the lengths of these dimensions, or the length of the last one.
        eps: added to the variance.
        elementwise_affine: whether a trained scale and shift for each element follow.
        bias: whether there is a shift.
        device: where the parameters are made.
        dtype: their dtype; default float32.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        affine = elementwise_affine
        self.register_parameter("weight", parameter_if(affine, shape, 1, device, dtype))
        self.register_parameter("bias", parameter_if(affine and bias, shape, 0, device, dtype))

    def reset_parameters(self) -> None:
        """Scale 1 and shift 0."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class GroupNorm(Module):
    """Mean 0, variance 1 over groups of channels of each sample. Wu and He 2018.

    Args:
        num_groups: 1: all channels together; as many as channels: each by itself.
        num_channels: C of (N, C, ...).
        eps: added to the variance.
        affine: whether a trained scale and shift for each channel follow.
        device: where the parameters are made.
        dtype: their dtype; default float32.
        bias: whether there is a shift.

    Raises:
        ValueError: the channels cannot be divided into these groups.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: {num_channels} channels cannot be divided into {num_groups} groups"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        shape = (num_channels,)
        self.register_parameter("weight", parameter_if(affine, shape, 1, device, dtype))
        self.register_parameter("bias", parameter_if(affine and bias, shape, 0, device, dtype))

    def reset_parameters(self) -> None:
        """Scale 1 and shift 0."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """Divides by the activity of neighbouring channels. Krizhevsky et al. 2012, section 3.3.

    Args:
        size: how many channels are neighbours.
        alpha: weight of their mean square.
        beta: exponent.
        k: added.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _reset_affine(module: Module) -> None:
    if module.weight is not None:
        ones_(module.weight)
    if module.bias is not None:
        zeros_(module.bias)
