"""Where the time goes: calls, time and saved memory of each operation."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from ..backend import by_name, default_device
from .events import Event, listeners

__all__ = ["OpProfile", "profile"]


@dataclass
class OpProfile:
    """What one kind of operation cost, summed over its calls.

    Attributes:
        op: the operation's name.
        calls: how often it ran forward.
        forward, backward: seconds.
        saved: bytes kept for backward.
    """

    op: str
    calls: int = 0
    forward: float = 0.0
    backward: float = 0.0
    saved: int = 0


class profile:
    """Measure every operation within a `with` block.

    On a GPU the times are those of the host, which only launches the work; `total` is measured
    with the device waited for.

    Attributes:
        ops: an `OpProfile` for each kind of operation, the most expensive first.
        total: seconds from entering the block to leaving it.

    Example:
        >>> with minidl.profile() as p:
        ...     model(x).sum().backward()
        >>> print(p)
    """

    def __init__(self) -> None:
        self._ops: dict[str, OpProfile] = {}
        self.total = 0.0

    def __enter__(self) -> profile:
        by_name(default_device()).synchronize()
        self._start = perf_counter()
        listeners.append(self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        listeners.remove(self._note)
        by_name(default_device()).synchronize()
        self.total = perf_counter() - self._start

    def _note(self, event: Event) -> None:
        if event.within:
            return  # counted with the operation whose backward it is part of
        entry = self._ops.setdefault(event.op, OpProfile(event.op))
        if event.phase == "forward":
            entry.calls += 1
            entry.forward += event.seconds
            entry.saved += event.saved
        else:
            entry.backward += event.seconds

    @property
    def ops(self) -> list[OpProfile]:
        return sorted(self._ops.values(), key=lambda e: -(e.forward + e.backward))

    def __str__(self) -> str:
        lines = [
            f"{'operation':<24}{'calls':>7}{'forward ms':>13}{'backward ms':>13}"
            f"{'share':>8}{'saved MB':>11}"
        ]
        busy = sum(e.forward + e.backward for e in self.ops) or 1.0
        for e in self.ops:
            share = (e.forward + e.backward) / busy
            lines.append(
                f"{e.op:<24}{e.calls:>7}{e.forward * 1e3:>13.3f}{e.backward * 1e3:>13.3f}"
                f"{share:>8.1%}{e.saved / 1e6:>11.2f}"
            )
        lines.append(f"total {self.total * 1e3:.3f} ms, of which {busy * 1e3:.3f} ms in operations")
        return "\n".join(lines)
