"""Initial values of parameters: names, arguments and distributions of torch.nn.init.

Everything is drawn on the host from the generator that `minidl.manual_seed` seeds, so that a seed
gives the same network on every device. All functions change the tensor in place and return it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import of
from ..backend.random import host_generator

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "skip_init",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


_skipping: ContextVar[bool] = ContextVar("skipping", default=False)


@contextmanager
def skip_init() -> Iterator[None]:
    """Within the block random initial values are not drawn: tensors stay as they are.

    For networks that are only counted, or whose weights are loaded afterwards: the parameters of
    new layers are zero there, and take no memory until they are written.
    """
    before = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(before)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Values from the uniform distribution on [a, b)."""
    if _skipping.get():
        return tensor
    draws = host_generator().random(tensor.shape, _precision(tensor))
    return _set(tensor, draws * (b - a) + a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Values from the normal distribution."""
    if _skipping.get():
        return tensor
    draws = host_generator().standard_normal(tensor.shape, _precision(tensor))
    return _set(tensor, draws * std + mean)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Values from the normal distribution, none outside [a, b] (bounds, not multiples of std).

    Raises:
        ValueError: an empty interval or a std that is not positive.
    """
    if std <= 0 or not a < b:
        raise ValueError(f"trunc_normal_: needs std > 0 and a < b, got std={std}, a={a}, b={b}")
    if _skipping.get():
        return tensor
    low, high = (a - mean) / std, (b - mean) / std
    values = _truncated(math.prod(tensor.shape), low, high) * std + mean
    return _set(tensor, np.clip(values, a, b).reshape(tensor.shape))


def _truncated(count: int, low: float, high: float) -> np.ndarray:
    """`count` standard normal values within [low, high]: proposals, until enough are inside."""
    generator = host_generator()
    inside = 0.5 * (math.erf(high / math.sqrt(2.0)) - math.erf(low / math.sqrt(2.0)))
    # The point of [low, high] where the density is highest, and how far from it it is negligible.
    peak = min(max(0.0, low), high)
    reach = math.sqrt(peak**2 + 80.0)  # exp(-40) of the peak
    low, high = max(low, -reach), min(high, reach)
    values = np.empty(count)
    have = 0
    while have < count:
        wanted = count - have
        if inside > 0.2:
            draws = generator.standard_normal(wanted)
            draws = draws[(draws >= low) & (draws <= high)]
        else:  # a narrow or far interval, which normal proposals would rarely hit
            draws = generator.uniform(low, high, wanted)
            draws = draws[generator.random(wanted) < np.exp(0.5 * (peak**2 - draws**2))]
        values[have : have + len(draws)] = draws
        have += len(draws)
    return values


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element `val`."""
    return _set(tensor, np.full(tensor.shape, val))


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: the tensor has 2 dimensions, not shape {tensor.shape}")
    return _set(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution weight that copies input channel i to output channel i.

    Args:
        tensor: (C_out, C_in / groups, kernel...) with one to three kernel dimensions.
        groups: each group of output channels copies its own input channels.
    """
    if not 3 <= tensor.ndim <= 5:
        raise ValueError(f"dirac_: the tensor has 3 to 5 dimensions, not shape {tensor.shape}")
    if tensor.shape[0] % groups:
        raise ValueError(f"dirac_: {tensor.shape[0]} output channels in {groups} groups")
    values = np.zeros(tensor.shape)
    centre = tuple(k // 2 for k in tensor.shape[2:])
    per_group = tensor.shape[0] // groups
    for group in range(groups):
        for i in range(min(per_group, tensor.shape[1])):
            values[(group * per_group + i, i) + centre] = 1.0
    return _set(tensor, values)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights make up for what an activation takes from the variance.

    Args:
        nonlinearity: "linear", "conv2d" ..., "sigmoid", "tanh", "relu", "leaky_relu" or "selu".
        param: the negative slope of leaky_relu; default 0.01.
    """
    if nonlinearity in _LINEAR or nonlinearity == "sigmoid":
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3.0
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1.0 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4.0
    raise ValueError(f"calculate_gain: no gain is known for {nonlinearity!r}")


_LINEAR = ("linear", "conv1d", "conv2d", "conv3d") + tuple(f"conv_transpose{n}d" for n in (1, 2, 3))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform with variance 2 / (fan_in + fan_out). Glorot and Bengio 2010."""
    fan_in, fan_out = fans(tensor)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with variance 2 / (fan_in + fan_out). Glorot and Bengio 2010."""
    fan_in, fan_out = fans(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Uniform with variance gain^2 / fan. He et al. 2015.

    Args:
        tensor: a weight of at least two dimensions.
        a: the negative slope, for leaky_relu.
        mode: "fan_in" keeps the variance in the forward pass, "fan_out" in the backward pass.
        nonlinearity: what follows; see `calculate_gain`.
    """
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Normal with variance gain^2 / fan; arguments as in `kaiming_uniform_`. He et al. 2015."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode is 'fan_in' or 'fan_out', not {mode!r}")
    fan = fans(tensor)[0 if mode == "fan_in" else 1]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def orthogonal_(tensor: Tensor, gain: float = 1) -> Tensor:
    """A (semi-)orthogonal matrix; dimensions after the first count as one. Saxe et al. 2013."""
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: needs at least 2 dimensions, not shape {tensor.shape}")
    count = math.prod(tensor.shape)
    if not count or _skipping.get():
        return tensor
    rows = tensor.shape[0]
    columns = count // rows
    draws = host_generator().standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(draws)
    q = q * np.sign(np.diag(r))  # QR alone is not uniform over the orthogonal matrices
    return _set(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, kernel...): inputs of an output, and the reverse."""
    if tensor.ndim < 2:
        raise ValueError(
            f"initialisation: fan_in and fan_out need a weight of 2 or more dimensions, not shape "
            f"{tensor.shape}"
        )
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps


def _precision(tensor: Tensor) -> Any:
    return np.float64 if tensor.dtype == np.float64 else np.float32


def _set(tensor: Tensor, values: np.ndarray) -> Tensor:
    if not isinstance(tensor, Tensor):  # torch's scripts pass weight.data, here an array
        tensor[...] = of(tensor).asarray(values, tensor.dtype, of(tensor).index_of(tensor))
        return tensor
    backend = of(tensor.data)
    tensor.data[...] = backend.asarray(values, tensor.dtype, backend.index_of(tensor.data))
    tensor.bump_version()
    return tensor


def reset_linear(weight: Tensor, bias: Tensor | None) -> None:
    """The initial values of linear and convolution layers: uniform within 1 / sqrt(fan_in).

    It is what kaiming_uniform_ gives with a = sqrt(5), torch's choice for both.
    """
    fan_in, _ = fans(weight)
    bound = 1.0 / math.sqrt(fan_in) if fan_in else 0.0
    uniform_(weight, -bound, bound)
    if bias is not None:
        uniform_(bias, -bound, bound)
