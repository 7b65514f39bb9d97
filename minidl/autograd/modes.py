"""Whether operations are recorded: `no_grad`, `enable_grad`, `set_grad_enabled`."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["enable_grad", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled"]

F = TypeVar("F", bound=Callable[..., Any])


class _Mode(threading.local):
    recording = True
    autocast: dict[str, Any] | None = None  # of `ops/autocast.py`: device type -> its rule


mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether operations on tensors with `requires_grad` are recorded in this thread."""
    return mode.recording


class set_grad_enabled:
    """Record operations, or do not, from now on or within a `with` block. Also a decorator."""

    def __init__(self, enabled: bool) -> None:
        self._before = mode.recording
        self._enabled = mode.recording = bool(enabled)

    def __enter__(self) -> set_grad_enabled:
        mode.recording = self._enabled
        return self

    def __exit__(self, *exception: object) -> None:
        mode.recording = self._before

    def __call__(self, function: F) -> F:
        mode.recording = self._before  # meant for the function only
        return (enable_grad if self._enabled else no_grad)()(function)


class _Switch:
    """A context manager and decorator that takes effect on entry."""

    _recording: bool

    def __new__(cls, function: Any = None) -> Any:
        switch = super().__new__(cls)
        return switch if function is None else switch(function)  # @no_grad without parentheses

    def __init__(self) -> None:
        self._before: list[bool] = []  # a stack: the same object may be entered again within

    def __enter__(self) -> _Switch:
        self._before.append(mode.recording)
        mode.recording = self._recording
        return self

    def __exit__(self, *exception: object) -> None:
        mode.recording = self._before.pop()

    def __call__(self, function: F) -> F:
        kind = type(self)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with kind():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(_Switch):
    """Do not record operations: results have no graph. Context manager or decorator."""

    _recording = False


class enable_grad(_Switch):
    """Record operations within a `no_grad` block. Context manager or decorator."""

    _recording = True


# torch's form is stricter: it also forbids the results' later use in a graph.
inference_mode = no_grad
