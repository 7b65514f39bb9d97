"""The first NaN or infinity: which operation made it, and on which line."""

from __future__ import annotations

import math
import os
import sys
from typing import Any

from ..backend import of
from .events import Event, listeners
from .tensor import Tensor

__all__ = ["detect_anomaly"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class detect_anomaly:
    """Stop at the operation that first produces a NaN or an infinity, forward or backward.

    Within the block every result is looked at, which waits for the device and costs about a pass
    over memory for each operation: for finding an error, not for training. A NaN that is in the
    data already is not reported: nothing produced it. `minidl.training.fit` stops at such a batch.

    Args:
        check_inf: whether infinities count, too. Switch it off where they are meant (a mask of
            minus infinity before a softmax).

    Raises:
        FloatingPointError: with the operation, the shapes and ranges of its inputs, and the line
            of the program that called it.

    Example:
        >>> with minidl.detect_anomaly():
        ...     loss = criterion(model(x), y)
        ...     loss.backward()
    """

    def __init__(self, check_inf: bool = True) -> None:
        self._check_inf = check_inf

    def __enter__(self) -> detect_anomaly:
        listeners.append(self._look)
        return self

    def __exit__(self, *exception: object) -> None:
        listeners.remove(self._look)

    def _look(self, event: Event) -> None:
        if event.phase == "forward":
            event.node.line = calling_line()  # type: ignore[attr-defined]
        if event.within:
            return  # judged by what comes out of the backward that it is part of
        faults = [self._fault(x) for x in event.outputs]
        if not any(faults):
            return
        given = [self._fault(x) for x in (*event.inputs, *_saved(event))]
        for k, fault in enumerate(faults):
            # What came in bad was reported where it was made, or is the user's own. But a NaN may
            # be made of infinities that were meant.
            if fault is None or fault in given or "NaN" in given:
                continue
            if event.phase == "forward":
                op, which, source = event.op, f"output {k}", "inputs"
            else:
                op, which, source = f"{event.op}.backward", f"input {k}'s gradient", "gradients"
            came = ", ".join(_describe(x) for x in event.inputs if isinstance(x, Tensor))
            line = getattr(event.node, "line", "a line that ran before detect_anomaly")
            raise FloatingPointError(
                f"{op}: {fault} in {which} of shape {event.outputs[k].shape}, from {source} "
                f"{came or 'none'}; called at {line}"
            )

    def _fault(self, x: Any) -> str | None:
        if isinstance(x, float):
            if math.isnan(x):
                return "NaN"
            return "infinity" if self._check_inf and math.isinf(x) else None
        if not isinstance(x, Tensor) or not x.is_floating_point() or not x.numel():
            return None
        xp = of(x.data).xp
        if bool(xp.isnan(x.data).any()):
            return "NaN"
        if self._check_inf and bool(xp.isinf(x.data).any()):
            return "infinity"
        return None


def _saved(event: Event) -> tuple[Tensor, ...]:
    """What the backward of an event used beside the incoming gradients."""
    if event.phase == "forward" or event.node.freed:
        return ()
    return tuple(x for x in event.node.saved_tensors if x is not None)


def _describe(x: Tensor) -> str:
    if not x.numel():
        return f"{x.shape} empty"
    host = of(x.data).to_host(x.data)
    return f"{tuple(x.shape)} in [{host.min():.4g}, {host.max():.4g}]"


def calling_line() -> str:
    """The place "file.py:12" of the innermost frame outside minidl."""
    frame = sys._getframe(1)
    while frame is not None and os.path.abspath(frame.f_code.co_filename).startswith(_PACKAGE):
        if frame.f_back is None:
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
