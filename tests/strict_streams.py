"""Streams and events of CuPy, imitated so that hurry shows.

The stream of computation runs what it is given at once. A copy on any other stream is put off for
as long as CUDA may: until something waits for an event behind it. Meanwhile its source may be
overwritten (then the wrong numbers are copied) or its target read (then NaN is read); both are what
would happen now and then on a GPU. `Event.synchronize` is logged as a wait of the host.
"""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

from . import strict_cupy

order: list[str] = []  # what was asked of streams, in that order


class Stream:
    """A queue of work, put off. The null stream puts nothing off."""

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.null, self.work = null, deque()
        self.ptr = id(self)

    def run(self, work, name):
        order.append(f"{'compute' if self.null else 'copies'}: {name}")
        if self.null:
            work()
        else:
            self.work.append(work)

    def record(self, event=None):
        event = event or Event()
        event.done, event.stream = False, self

        def mark():
            event.done = True

        self.run(mark, "record")
        return event

    def wait_event(self, event):
        self.run(event.reach, "wait")

    def synchronize(self):
        strict_cupy._log("wait", "stream.synchronize()")
        self.drain()

    def drain(self):
        while self.work:
            self.work.popleft()()


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.done, self.stream = True, None

    def reach(self):
        """Run what comes before it in its stream."""
        while not self.done:
            self.stream.work.popleft()()

    def synchronize(self):
        strict_cupy._log("wait", "event.synchronize()")
        self.reach()


compute = Stream(null=True)
cuda = SimpleNamespace(
    Stream=Stream,
    Event=Event,
    Device=strict_cupy.Device,
    PinnedMemoryPointer=strict_cupy.PinnedMemoryPointer,
    alloc_pinned_memory=strict_cupy.PinnedMemoryPointer,
    get_current_stream=lambda: compute,
)


class Namespace:
    """strict_cupy with the names above."""

    cuda = cuda

    def __getattr__(self, name):
        return getattr(strict_cupy, name)
