"""Floor 1: the Tensor, the Function, the backward pass, and those who watch it."""

from .anomaly import detect_anomaly
from .engine import backward, grad
from .events import Event, listen
from .function import Function
from .gradcheck import GradcheckError, NonDifferentiableError, gradcheck, gradgradcheck
from .modes import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .profiler import profile
from .recorder import record
from .tensor import Tensor, from_dlpack, tensor, wrap

__all__ = [
    "Event",
    "Function",
    "GradcheckError",
    "NonDifferentiableError",
    "Tensor",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "from_dlpack",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "is_grad_enabled",
    "listen",
    "no_grad",
    "profile",
    "record",
    "set_grad_enabled",
    "tensor",
    "wrap",
]
