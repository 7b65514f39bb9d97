"""Floor 6: what minidl is learned with: pages on which one steps through a computation."""

from .stepper import record

__all__ = ["record"]
