"""Floor 6: what minidl is learned with: pages on which one steps through a computation."""

from .stepper import record
from .steps import step_through

__all__ = ["record", "step_through"]
