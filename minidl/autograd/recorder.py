"""A computation, written down: every operation with its inputs, outputs and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .anomaly import calling_line
from .events import Event, listeners
from .tensor import Tensor

__all__ = ["record"]


class record:
    """Write down every operation within a `with` block, in the order in which it ran.

    Attributes:
        events: an `Event` for each operation; those a backward is made of are left out unless
            `inside` was asked for.
        lines: for each event, the line of the program that caused it.

    Args:
        inside: whether to write down also the operations that backward passes are made of.

    Example:
        >>> with minidl.record() as r:
        ...     (x * w).sum().backward()
        >>> print(r)
          0  forward   Mul       (3,) (3,) -> (3,)       script.py:2
        ...
    """

    def __init__(self, inside: bool = False) -> None:
        self.events: list[Event] = []
        self.lines: list[str] = []
        self._inside = inside

    def __enter__(self) -> record:
        listeners.append(self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        listeners.remove(self._note)

    def _note(self, event: Event) -> None:
        if self._inside or not event.within:
            self.events.append(event)
            self.lines.append(calling_line())

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __str__(self) -> str:
        lines = []
        for i, (event, line) in enumerate(zip(self.events, self.lines, strict=True)):
            shapes = f"{_shapes(event.inputs)} -> {_shapes(event.outputs)}"
            place = line.replace("\\", "/").rsplit("/", 1)[-1]
            lines.append(f"{i:>4}  {event.phase:<9} {event.op:<20} {shapes:<48} {place}")
        return "\n".join(lines)


def _shapes(values: tuple[Any, ...]) -> str:
    return " ".join(str(tuple(x.shape)) for x in values if isinstance(x, Tensor)) or "()"
