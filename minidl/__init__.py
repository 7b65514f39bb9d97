"""minidl: deep learning for computer vision, from scratch, on NumPy and CuPy.

The names are PyTorch's: what torch has at its top level and minidl has too is here. The rooms of
the house, from the ground up: `backend` (NumPy or CuPy), `autograd` (Tensor, Function, backward),
`ops` (differentiable operations), `nn`, `optim`, `data`, `metrics`, `io`, `models`, `training`,
`explain`, `plot`, `teach`, and the command `minidl`.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

import numpy as _np

from . import amp, autograd, backend, io, nn, ops, optim
from .autograd import (
    Function,
    Tensor,
    as_tensor,
    detect_anomaly,
    enable_grad,
    from_dlpack,
    from_numpy,
    grad,
    gradcheck,
    gradgradcheck,
    inference_mode,
    is_grad_enabled,
    is_tensor,
    no_grad,
    profile,
    set_grad_enabled,
    tensor,
)
from .backend import cuda, default_device, device, use
from .backend.cpu.threads import get_num_threads, set_num_threads
from .backend.precision import get_float32_matmul_precision, set_float32_matmul_precision
from .backend.random import manual_seed
from .io import load, save
from .nn import summary
from .ops.autocast import autocast, get_autocast_dtype, is_autocast_enabled

# Operations, a line of names for each file. Those of torch.nn.functional alone are in `nn`.
# fmt: off
# isort: off
from .ops.activation import relu
from .ops.arithmetic import (
    add, div, divide, floor_divide, mul, multiply, neg, negative, pow, reciprocal, remainder,
    square, sub, subtract, true_divide,
)
from .ops.comparison import (
    allclose, bitwise_and, bitwise_not, bitwise_or, bitwise_xor, ceil, eq, equal, floor, ge,
    greater, greater_equal, gt, isclose, isfinite, isinf, isnan, le, less, less_equal,
    logical_and, logical_not, logical_or, logical_xor, lt, ne, not_equal, round, sign, trunc,
)
from .ops.creation import (
    arange, bernoulli, empty, empty_like, eye, full, full_like, linspace, ones, ones_like, rand,
    rand_like, randint, randint_like, randn, randn_like, randperm, zeros, zeros_like,
)
from .ops.elementwise import (
    abs, absolute, clamp, clip, cos, erf, exp, expm1, log, log1p, log2, log10, rsqrt, sigmoid,
    sin, sqrt, tan, tanh,
)
from .ops.indexing import (
    gather, index_put, index_select, masked_select, repeat_interleave, scatter, scatter_add,
    take_along_dim,
)
from .ops.matmul import bmm, dot, einsum, matmul, mm, outer
from .ops.reduction import (
    all, amax, amin, any, cumsum, logsumexp, max, mean, min, norm, prod, std, sum, var,
)
from .ops.selection import (
    argmax, argmin, argsort, masked_fill, maximum, minimum, nonzero, sort, topk, where,
)
from .ops.shape import (
    broadcast_tensors, cat, channel_shuffle, chunk, clone, diagonal, flatten, flip, meshgrid,
    movedim, narrow, permute, reshape, roll, split, squeeze, stack, swapaxes, t, tile, transpose,
    tril, triu, unbind, unflatten, unsqueeze,
)
from .ops.softmax import log_softmax, softmax
# isort: on
# fmt: on

__version__ = "0.1.0"

# The dtypes of tensors are NumPy's.
float16 = half = _np.dtype("float16")
float32 = float = _np.dtype("float32")
float64 = double = _np.dtype("float64")
int8 = _np.dtype("int8")
int16 = short = _np.dtype("int16")
int32 = int = _np.dtype("int32")
int64 = long = _np.dtype("int64")
uint8 = _np.dtype("uint8")
bool = _np.dtype("bool")

# Rooms that are imported when they are first asked for: reading data and training take more of the
# standard library than computing does.
if TYPE_CHECKING:
    from . import boxes, data, explain, masks, metrics, models, plot, teach, training
    from .teach import record

_ROOMS = ("boxes", "data", "explain", "masks", "metrics", "models", "plot", "teach", "training")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return _import_module(f"{__name__}.{name}")
    if name == "record":  # of floor 6: what it writes down can become a page
        return _import_module(f"{__name__}.teach").record
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# fmt: off
__all__ = [
    "Function", "Tensor", "abs", "absolute", "add", "all", "allclose", "amax", "amin", "amp", "any",
    "arange", "argmax", "argmin", "argsort", "as_tensor", "autocast", "autograd", "backend",
    "bernoulli", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "bmm", "bool", "boxes",
    "broadcast_tensors", "cat", "ceil", "channel_shuffle", "chunk", "clamp", "clip", "clone", "cos",
    "cuda", "cumsum", "data", "default_device", "detect_anomaly", "device", "diagonal", "div",
    "divide", "dot", "double", "einsum", "empty", "empty_like", "enable_grad", "eq", "equal", "erf",
    "exp", "explain", "expm1", "eye", "flatten", "flip", "float", "float16", "float32", "float64",
    "floor", "floor_divide", "from_dlpack", "from_numpy", "full", "full_like", "gather", "ge",
    "get_autocast_dtype", "get_float32_matmul_precision", "get_num_threads", "grad", "gradcheck",
    "gradgradcheck", "greater", "greater_equal", "gt", "half", "index_put", "index_select",
    "inference_mode", "int", "int8", "int16", "int32", "int64", "io", "is_autocast_enabled",
    "is_grad_enabled", "is_tensor", "isclose", "isfinite", "isinf", "isnan", "le", "less",
    "less_equal", "linspace", "load", "log", "log1p", "log2", "log10", "log_softmax", "logical_and",
    "logical_not", "logical_or", "logical_xor", "logsumexp", "long", "lt", "manual_seed",
    "masked_fill", "masked_select", "masks", "matmul", "max", "maximum", "mean", "meshgrid",
    "metrics", "min", "minimum", "mm", "models", "movedim", "mul", "multiply", "narrow", "ne",
    "neg", "negative", "nn", "no_grad", "nonzero", "norm", "not_equal", "ones", "ones_like", "ops",
    "optim", "outer", "permute", "plot", "pow", "prod", "profile", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "randperm", "reciprocal", "record", "relu", "remainder",
    "repeat_interleave", "reshape", "roll", "round", "rsqrt", "save", "scatter", "scatter_add",
    "set_float32_matmul_precision", "set_grad_enabled", "set_num_threads", "short", "sigmoid",
    "sign", "sin", "softmax", "sort", "split", "sqrt", "square", "squeeze", "stack", "std", "sub",
    "subtract", "sum", "summary", "swapaxes", "t", "take_along_dim", "tan", "tanh", "teach",
    "tensor", "tile", "topk", "training", "transpose", "tril", "triu", "true_divide", "trunc",
    "uint8", "unbind", "unflatten", "unsqueeze", "use", "var", "where", "zeros", "zeros_like",
]
# fmt: on
