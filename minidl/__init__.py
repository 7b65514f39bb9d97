"""minidl: deep learning for computer vision, from scratch, on NumPy and CuPy.

The names are PyTorch's. The rooms of the house, from the ground up: `backend` (NumPy or CuPy),
`autograd` (Tensor, Function, backward), `ops` (differentiable operations), `nn`, `optim`, `data`,
`metrics`, `io`, `models`, `training`, `plot`, and the command `minidl`.
"""

from . import ops
from .autograd import (
    Function,
    Tensor,
    enable_grad,
    from_dlpack,
    grad,
    gradcheck,
    gradgradcheck,
    is_grad_enabled,
    no_grad,
    profile,
    record,
    set_grad_enabled,
    tensor,
)
from .autograd.anomaly import detect_anomaly
from .backend import cuda, default_device, device, use
from .backend.random import manual_seed
from .io import load, save

__version__ = "0.1.0"

__all__ = [
    "Function",
    "Tensor",
    "cuda",
    "default_device",
    "detect_anomaly",
    "device",
    "enable_grad",
    "from_dlpack",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "is_grad_enabled",
    "load",
    "manual_seed",
    "no_grad",
    "ops",
    "profile",
    "record",
    "save",
    "set_grad_enabled",
    "tensor",
    "use",
]
