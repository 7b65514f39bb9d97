"""Mixed precision under torch's name for it, `torch.amp`: `autocast` and `GradScaler`."""

from .ops.autocast import autocast, get_autocast_dtype, is_autocast_enabled
from .optim.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "get_autocast_dtype", "is_autocast_enabled"]
