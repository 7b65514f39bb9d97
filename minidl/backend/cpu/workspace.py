"""Scratch memory that is kept from one call to the next.

Fresh memory costs more than the copy that fills it: the system hands it out page by page. A
kernel that works in pieces writes to the same few hundred kilobytes again and again, which also
stay in the processor's cache. Each thread has scratch memory of its own.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

__all__ = ["scratch", "scratch_with_zeros"]

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.bytes: dict[str, np.ndarray] = {}
        self.layout: dict[str, Any] = {}


_buffers = _Buffers()


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array with arbitrary content, valid until this thread asks for the same name again."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    buffer = _buffers.bytes.get(name)
    if buffer is None or buffer.size < size:
        whole = np.empty(size + ALIGNMENT, np.uint8)
        start = -whole.ctypes.data % ALIGNMENT
        buffer = _buffers.bytes[name] = whole[start : start + size]
    _buffers.layout.pop(name, None)
    return buffer[:size].view(dtype).reshape(shape)


def scratch_with_zeros(name: str, shape: tuple[int, ...], dtype: Any, layout: Any) -> np.ndarray:
    """Like `scratch`, but what the caller never writes to is zero.

    Args:
        layout: a value that determines, with the shape, which elements the caller writes. As long
            as it stays the same, the zeros around them are still there and are not written again.
    """
    layout = (shape, np.dtype(dtype), layout)
    known = _buffers.layout.get(name)
    array = scratch(name, shape, dtype)
    if known != layout:
        array.fill(0)
    _buffers.layout[name] = layout
    return array
