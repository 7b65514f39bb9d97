"""Floor 1: the Tensor, the Function, the backward pass, and those who watch it."""

from .anomaly import detect_anomaly
from .engine import backward, grad
from .events import Event, listen
from .function import Function
from .gradcheck import GradcheckError, NonDifferentiableError, gradcheck, gradgradcheck
from .modes import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .profiler import profile
from .recorder import record
from .tensor import Tensor, as_tensor, from_dlpack, from_numpy, is_tensor, tensor, wrap

__all__ = [
    "Event",
    "Function",
    "GradcheckError",
    "NonDifferentiableError",
    "Tensor",
    "as_tensor",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "from_dlpack",
    "from_numpy",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "is_grad_enabled",
    "is_tensor",
    "listen",
    "no_grad",
    "profile",
    "record",
    "set_grad_enabled",
    "tensor",
    "wrap",
]
