"""BatchNorm folded into the convolution before it: one layer in place of two, for inference.

In evaluation BatchNorm is y = (x - mean) / sqrt(var + eps) * weight + bias, a scale and a shift of
each channel with constants, and a convolution has both already (Jacob et al., "Quantization and
training of neural networks for efficient integer-arithmetic-only inference", 2018, section 3.2):

    W' = W * scale          b' = (b - mean) * scale + bias          scale = weight / sqrt(var + eps)

The `fuse_` functions are those of torch.nn.utils; `fold_batchnorm` finds the pairs in a network.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any, TypeVar

import numpy as np

from ..autograd import Tensor, no_grad
from ..autograd.events import Event, listen
from ..backend import Array, of
from .containers import Identity
from .conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from .linear import Linear
from .module import Module, Parameter
from .normalization import BatchNorm1d, BatchNorm2d, FrozenBatchNorm2d

__all__ = [
    "fold_batchnorm",
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
]

M = TypeVar("M", bound=Module)

# By exact class: what inherits from these may compute something else of its weight.
_CONVOLUTIONS = (Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d)
_NORMS = (BatchNorm1d, BatchNorm2d, FrozenBatchNorm2d)


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """The weight and bias of a convolution that does what it and the BatchNorm behind it do.

    Args:
        conv_w: (C_out, C_in / groups, ...); transposed: (C_in, C_out / groups, ...).
        conv_b: (C_out,), or None.
        bn_rm, bn_rv: (C_out,), the running mean and variance.
        bn_eps: added to the variance.
        bn_w, bn_b: (C_out,), BatchNorm's weight and bias; None: 1 and 0.
        transpose: whether the convolution is a transposed one.

    Returns:
        (weight, bias), of the shapes and the dtype of `conv_w` and (C_out,).
    """
    xp = of(conv_w.data).xp
    # In double precision, so that the result is rounded only once.
    mean, var = bn_rm.data.astype(np.float64), bn_rv.data.astype(np.float64)
    scale = 1.0 / xp.sqrt(var + bn_eps)
    if bn_w is not None:
        scale = scale * bn_w.data
    shift = (0.0 if conv_b is None else conv_b.data) - mean
    bias = shift * scale + (0.0 if bn_b is None else bn_b.data)
    weight = _scaled(conv_w.data.astype(np.float64), scale, transpose)
    dtype = conv_w.dtype
    return (
        Parameter(Tensor(weight.astype(dtype)), conv_w.requires_grad),
        Parameter(Tensor(bias.astype(dtype)), conv_w.requires_grad),
    )


def _scaled(weight: Array, scale: Array, transpose: bool) -> Array:
    """`weight` with every output channel multiplied by its scale."""
    rest = (1,) * (weight.ndim - 2)
    if not transpose:
        return weight * scale.reshape(-1, 1, *rest)
    # (C_in, C_out / groups, ...): the first C_in / groups rows lead to the first group of outputs.
    outputs = weight.shape[1]
    groups = len(scale) // outputs
    parts = weight.reshape(groups, -1, *weight.shape[1:])
    return (parts * scale.reshape(groups, 1, outputs, *rest)).reshape(weight.shape)


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """As `fuse_conv_bn_weights`, for a linear layer's weight (C_out, C_in)."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def fuse_conv_bn_eval(conv: M, bn: Module, transpose: bool = False) -> M:
    """A copy of a convolution that does what it and the BatchNorm behind it do in evaluation mode.

    Args:
        conv: the convolution.
        bn: its BatchNorm, with running statistics.
        transpose: whether the convolution is a transposed one.

    Raises:
        ValueError: one of them is in training mode, or the BatchNorm has no running statistics or
            another number of channels.
    """
    if conv.training or bn.training:
        raise ValueError("fuse_conv_bn_eval: both must be in evaluation mode; call eval() first")
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError(
            "fuse_conv_bn_eval: the BatchNorm has no running statistics, so what it does depends "
            "on the batch; make it with track_running_stats=True"
        )
    channels = conv.out_features if isinstance(conv, Linear) else conv.out_channels
    if bn.running_mean.shape != (channels,):
        raise ValueError(
            f"fuse_conv_bn_eval: a BatchNorm of {bn.num_features} channels behind a "
            f"{type(conv).__name__} with {channels}"
        )
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        bn.running_mean,
        bn.running_var,
        bn.eps,
        bn.weight,
        bn.bias,
        transpose,
    )
    return fused


def fuse_linear_bn_eval(linear: M, bn: Module) -> M:
    """As `fuse_conv_bn_eval`, for a linear layer and the BatchNorm1d behind it."""
    return fuse_conv_bn_eval(linear, bn)


def fold_batchnorm(model: M, *example: Any) -> M:
    """A copy of a network in evaluation mode, every BatchNorm folded into the layer before it.

    That is so where the input of a BatchNorm is the output of a convolution or a linear layer,
    which nothing else uses: this is seen by running the network once. The layer is given
    BatchNorm's part, and an Identity takes its place, so that the other paths of the state_dict
    stay. Where BatchNorm comes first, as in the units of a DenseNet, or the layer is called several
    times or shares its weight with another, nothing is changed. The outputs are the same but for
    rounding.

    Args:
        model: the network; left as it is.
        example: what it is called with: an input of any values, of a size that it takes.

    Returns:
        the copy.

    Example:
        >>> fast = fold_batchnorm(net, minidl.zeros(1, 3, 224, 224))
    """
    twin = copy.deepcopy(model).eval()
    for layer, bn in _Trace(twin).pairs(example):
        fused = fuse_conv_bn_eval(layer, bn, isinstance(layer, (ConvTranspose1d, ConvTranspose2d)))
        for module in list(twin.modules()):
            for name, child in module._modules.items():
                if child is layer:
                    module._modules[name] = fused
                elif child is bn:
                    module._modules[name] = Identity().eval()
    return twin


class _Trace:
    """One run of a network, in which every layer's output is followed to what uses it."""

    def __init__(self, model: Module) -> None:
        self._model = model
        self._calls: Counter[int] = Counter()  # of each module
        # Of the outputs of layers; that they are kept makes sure that an id is not given anew.
        self._makers: dict[int, tuple[Tensor, Module]] = {}
        self._uses: Counter[int] = Counter()  # of each of these outputs, outside of BatchNorm
        self._norms: list[tuple[Module, Tensor]] = []  # each BatchNorm with its input
        self._in_norm = False

    def pairs(self, example: tuple[Any, ...]) -> list[tuple[Module, Module]]:
        """(layer, BatchNorm) wherever the second can be folded into the first."""
        hooks = []
        for module in self._model.modules():
            if type(module) in (*_CONVOLUTIONS, Linear):
                hooks.append(module.register_forward_hook(self._after_layer))
            elif type(module) in _NORMS and module.running_mean is not None:
                hooks.append(module.register_forward_pre_hook(self._before_norm))
                hooks.append(module.register_forward_hook(self._after_norm))
        try:
            with no_grad(), listen(self._operation):
                output = self._model(*example)
        finally:
            for hook in hooks:
                hook.remove()
        self._use(output)

        owners = Counter(
            id(p) for m in self._model.modules() for p in m._parameters.values() if p is not None
        )
        behind = Counter(id(x) for _, x in self._norms)
        found = []
        for bn, x in self._norms:
            maker = self._makers.get(id(x))
            if maker is None or behind[id(x)] > 1 or self._uses[id(x)]:
                continue
            layer = maker[1]
            alone = all(owners[id(p)] == 1 for p in layer.parameters())
            # A linear layer's outputs are the last dimension, BatchNorm's channels the second.
            aligned = not isinstance(layer, Linear) or x.ndim == 2
            if self._calls[id(layer)] == self._calls[id(bn)] == 1 and alone and aligned:
                found.append((layer, bn))
        return found

    def _after_layer(self, layer: Module, args: Any, output: Tensor) -> None:
        self._calls[id(layer)] += 1
        self._makers[id(output)] = output, layer

    def _before_norm(self, bn: Module, args: Any) -> None:
        self._calls[id(bn)] += 1
        self._norms.append((bn, args[0]))
        self._in_norm = True

    def _after_norm(self, bn: Module, args: Any, output: Tensor) -> None:
        self._in_norm = False

    def _operation(self, event: Event) -> None:
        if not self._in_norm:
            self._use(event.inputs)

    def _use(self, value: Any) -> None:
        """Count the tensors in a value, whatever holds them."""
        if isinstance(value, Tensor):
            self._uses[id(value)] += id(value) in self._makers
        elif isinstance(value, dict):
            self._use(list(value.values()))
        elif isinstance(value, (tuple, list)):
            for part in value:
                self._use(part)
