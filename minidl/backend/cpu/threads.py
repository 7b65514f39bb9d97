"""Threads over pieces of a batch.

NumPy lets go of the interpreter lock inside large copies, ufuncs and products, so that Python
threads run them at the same time. Each thread takes whole pieces of the work and BLAS is held to
one thread meanwhile: threads inside a small product would spend their time waiting for each other.

The helping threads start with the first piece of work that needs them; importing this module starts
nothing.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["get_num_threads", "one_blas_thread", "parallel", "set_num_threads"]


class _State:
    threads: int | None = None  # None: not set by the user
    calls: SimpleQueue[_Call | None] | None = None  # None: no helpers yet
    helpers = 0  # threads that take calls
    lock = threading.Lock()


class _Here(threading.local):
    working = False  # whether this thread is in the middle of a parallel() of its own


_here = _Here()


def get_num_threads() -> int:
    """The number of threads that CPU kernels use.

    Until `set_num_threads` is called: OMP_NUM_THREADS where it is set, else the number of
    processors this process may run on, as found when first asked.
    """
    return _State.threads or _usual_number()


@functools.cache  # asked for in every kernel
def _usual_number() -> int:
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_num_threads(n: int) -> None:
    """Let CPU kernels use `n` threads from now on.

    Raises:
        ValueError: n is less than 1.
    """
    if n < 1:
        raise ValueError(f"set_num_threads: the number of threads must be at least 1, got {n}")
    with _State.lock:
        _State.threads = int(n)
        calls, _State.calls = _State.calls, None
    if calls is not None:
        for _ in range(_State.helpers):
            calls.put(None)


def parallel(work: Callable[[int], None], count: int) -> None:
    """Call `work(0)`, ..., `work(count - 1)`, spread over the threads; returns when all are done.

    The calling thread takes part. Which thread runs which index is not determined, so `work` must
    write to a place of its own for each index. If a call raises, indices not yet begun are left
    out and the first exception is raised here.
    """
    threads = min(get_num_threads(), count)
    with one_blas_thread:
        if threads <= 1 or _here.working:
            for index in range(count):
                work(index)
            return
        _spread(work, count, threads)


def _spread(work: Callable[[int], None], count: int, threads: int) -> None:
    lock = threading.Lock()
    upcoming = iter(range(count))
    failures: list[BaseException] = []

    def run() -> None:
        _here.working = True
        try:
            while not failures:
                with lock:
                    index = next(upcoming, None)
                if index is None:
                    return
                work(index)
        except BaseException as failure:
            failures.append(failure)
        finally:
            _here.working = False

    # In a copy of the caller's context: NumPy's error state is the same in every thread.
    calls = [_Call(copy_context().run, run) for _ in range(threads - 1)]
    helpers = _helpers()
    for call in calls:
        helpers.put(call)
    run()
    for call in calls:
        call.withdraw_or_wait()
    if failures:
        raise failures[0]


class _Call:
    """A function that some helper is to call, unless it is withdrawn before one has begun.

    Two locks do what a `Future` does, in a fifth of its time: small work is handed over often.
    """

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._function, self._args = function, args
        self._claim, self._running = threading.Lock(), threading.Lock()
        self._running.acquire()

    def make(self) -> None:
        """Call the function. It must not raise."""
        if self._claim.acquire(blocking=False):
            self._function(*self._args)
            self._running.release()

    def withdraw_or_wait(self) -> None:
        """Return when the function has returned, or will never be called."""
        if not self._claim.acquire(blocking=False):
            self._running.acquire()


def _helpers() -> SimpleQueue[_Call | None]:
    """The queue that the helping threads take calls from; they start when it is first asked for."""
    with _State.lock:
        if _State.calls is None:
            if hasattr(os, "register_at_fork") and not _forks_watched:
                os.register_at_fork(after_in_child=_forget)
                _forks_watched.append(True)
            _State.calls = SimpleQueue()
            _State.helpers = max(1, get_num_threads() - 1)
            for number in range(_State.helpers):
                name = f"minidl_{number}"
                threading.Thread(target=_help, args=(_State.calls,), name=name, daemon=True).start()
        return _State.calls


def _help(calls: SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        call.make()
        del call  # or its arrays would live until the next one


_forks_watched: list[bool] = []


def _forget() -> None:
    """In a forked child: threads do not survive a fork, so begin anew."""
    _State.calls = None
    _State.lock = threading.Lock()
    _here.working = False
    one_blas_thread.reset()


class _OneBlasThread:
    """A context in which BLAS runs on one thread, for as long as anybody is inside.

    The number of BLAS threads belongs to the process, so entries are counted: the first one in
    changes it and the last one out restores it, whichever threads these are.
    """

    def __init__(self) -> None:
        self._libraries: list[Any] | None = None  # not looked for yet
        self.reset()

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[tuple[Any, int]] = []  # libraries and their number of threads

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                if self._libraries is None:
                    self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
                self._before = [(lib, lib.get_num_threads()) for lib in self._libraries]
                for library, threads in self._before:
                    if threads != 1:
                        library.set_num_threads(1)
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for library, threads in self._before:
                    if threads != 1:
                        library.set_num_threads(threads)


one_blas_thread = _OneBlasThread()
