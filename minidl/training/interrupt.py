"""Ctrl-C between two steps, never within one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["note_interrupts"]


@contextmanager
def note_interrupts() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a note; the second one interrupts at once.

    Yields a function that says whether Ctrl-C was pressed. Signals reach only the main thread of
    a program; in any other, the block changes nothing.
    """
    pressed = False

    def note(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        with suppress(OSError):  # nobody may be there to read it
            # Past Python's buffers, which the interrupted line may be writing to.
            os.write(2, b"\nfinishing this step; Ctrl-C again to stop at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
