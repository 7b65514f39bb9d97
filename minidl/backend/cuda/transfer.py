"""Copies from the host to the GPU that run beside its other work.

A GPU copies by itself from host memory that is pinned: the system may not move it. Such a copy on a
stream of its own overlaps with kernels on the stream of computation, and two events keep the order:

    computation   ... work before | event `free`          wait for `arrived` | kernels read it
    copies                          wait for `free` | the copy | event `arrived`

`free` is needed because CuPy hands out device memory again as soon as its last array is gone, while
kernels that read that array may still be waiting in the stream of computation. The host waits for
nothing, unless it is so far ahead that FLYING copies are under way.
"""

from __future__ import annotations

import ctypes
from collections import deque
from typing import Any

import numpy as np

from ..base import Array, Backend, Sent

__all__ = ["Transfers"]

FLYING = 8  # copies under way at most: what they hold of pinned memory cannot be used again


class Transfers(Backend):
    """A mixin of backends on CuPy: `pinned`, `is_pinned`, `send` of `minidl/backend/base.py`."""

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        dtype = np.dtype(dtype)
        count = int(np.prod(shape))
        if not count:
            return np.empty(shape, dtype)
        memory = self.xp.cuda.alloc_pinned_memory(count * dtype.itemsize)
        return np.frombuffer(memory, dtype, count).reshape(shape)

    def is_pinned(self, array: Array) -> bool:
        owner: Any = array
        while isinstance(owner, np.ndarray):
            owner = owner.base
        if isinstance(owner, memoryview):  # what frombuffer puts between
            owner = owner.obj
        return isinstance(owner, self.xp.cuda.PinnedMemoryPointer)

    def send(self, host: np.ndarray, index: int | None = None) -> Sent:
        number = self.current_device() if index is None else index
        lanes: dict[int, _Lane] = self.__dict__.setdefault("_lanes", {})
        with self.xp.cuda.Device(number):
            if number not in lanes:
                lanes[number] = _Lane(self.xp)
            if not (self.is_pinned(host) and host.flags.c_contiguous):
                copy = self.pinned(host.shape, host.dtype)
                np.copyto(copy, host)
                host = copy
            return lanes[number].send(host)


class _Lane:
    """The stream of copies to one GPU, and the host arrays that are being copied."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.stream = xp.cuda.Stream(non_blocking=True)
        self.flying: deque[tuple[Any, np.ndarray]] = deque()  # (event `arrived`, its source)

    def send(self, host: np.ndarray) -> Sent:
        """Copy a pinned array in C order."""
        cuda = self.xp.cuda
        self._land()
        array = self.xp.empty(host.shape, host.dtype)  # from the memory of the present stream
        free, arrived = (cuda.Event(disable_timing=True) for _ in range(2))
        cuda.get_current_stream().record(free)
        self.stream.wait_event(free)
        if host.nbytes:
            source = ctypes.c_void_p(host.ctypes.data)
            array.data.copy_from_host_async(source, host.nbytes, self.stream)
        self.stream.record(arrived)
        self.flying.append((arrived, host))
        return _Flying(array, arrived, cuda)

    def _land(self) -> None:
        """Let go of the host arrays whose copy is over: their memory may be used again."""
        while self.flying and self.flying[0][0].done:
            self.flying.popleft()
        if len(self.flying) == FLYING:
            self.flying[0][0].synchronize()  # before its source may go
            self.flying.popleft()


class _Flying(Sent):
    def __init__(self, array: Array, arrived: Any, cuda: Any) -> None:
        super().__init__(array)
        self.arrived, self.cuda = arrived, cuda

    def receive(self) -> Array:
        """The array; kernels launched from now on find its numbers there."""
        with self.array.device:
            self.cuda.get_current_stream().wait_event(self.arrived)
        return self.array
