"""What the engine tells a listener about each operation it runs.

One mechanism for everything that looks on: the profiler, the anomaly detector, `record`, `summary`
and the pages of the stepper. With no listener the engine only tests an empty list.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .function import Function

__all__ = ["Event", "listen"]


@dataclass(frozen=True)
class Event:
    """One operation that has just run.

    Attributes:
        phase: "forward" or "backward".
        op: the operation's name, e.g. "Conv".
        node: the Function; its attributes hold the operation's parameters.
        inputs: forward: the positional arguments (Tensors and others); backward: the gradients of
            the outputs.
        outputs: forward: the result tensors; backward: the gradients of the inputs (or None).
        saved: the number of bytes the operation keeps for its backward (0 if not recorded).
        seconds: time it took on the host. A GPU may still be working on it.
        within: for the operations that a backward is made of: the name of the operation whose
            backward runs; "" otherwise. Their time is part of that operation's own event.
    """

    phase: str
    op: str
    node: Function
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    saved: int
    seconds: float
    within: str


listeners: list[Callable[[Event], None]] = []


class _Here(threading.local):
    """What runs in this thread."""

    backward = ""  # the operation whose backward runs, the innermost of several; else ""


here = _Here()


class listen:
    """Call `listener(event)` for every operation within a `with` block."""

    def __init__(self, listener: Callable[[Event], None]) -> None:
        self._listener = listener

    def __enter__(self) -> listen:
        listeners.append(self._listener)
        return self

    def __exit__(self, *exception: object) -> None:
        listeners.remove(self._listener)


class within:
    """While in a `with` block, `op`'s backward runs in this thread."""

    def __init__(self, op: str) -> None:
        self._op = op

    def __enter__(self) -> None:
        self._before, here.backward = here.backward, self._op

    def __exit__(self, *exception: object) -> None:
        here.backward = self._before


def emit(phase: str, node: Function, inputs: Any, outputs: Any, saved: int, seconds: float) -> None:
    """Tell every listener; called by the engine only if there is one."""
    values = tuple(inputs), tuple(outputs)
    event = Event(phase, node.name, node, *values, saved, seconds, here.backward)
    for listener in list(listeners):
        listener(event)
