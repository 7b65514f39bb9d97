"""What runs in the sandbox: one call of an assignment's calls.py on a submission.

Started as `python -I -B child.py`, in a folder that holds the submission and calls.py and nothing
else. A request comes through standard input; the answer goes to what was standard output, and what
the student's code prints goes to standard error, so that nothing printed is taken for an answer.
This process never holds an expected value: there is nothing in it worth stealing, and whoever takes
it over can only send wrong numbers.

On Linux `child.py serve MODULE...` imports NumPy and the assignment's packages once and then forks
a process for every request, which saves each of them the import. The server itself never sees a
submission.

This file stands alone: it is run by its path, without minidl.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import os
import random
import select
import signal
import sys
import types
import zlib
from typing import Any

import numpy as np


def beside(name: str) -> Any:
    """A module of this folder, without importing the package around it."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_sandbox_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


exchange = beside("exchange")
fences = beside("confine")

TEXT = 500  # characters of an exception's message that are kept


# -- one call -------------------------------------------------------------------------------------


def main() -> None:
    """Answer the one request that standard input holds."""
    with open(0, "rb", closefd=False) as source:
        request = json.loads(source.readline())
        body = source.read(request["bytes"])
    answers = os.dup(1)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):  # what is printed before a crash is seen
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    folder = os.getcwd()
    if "minidl" in request["allowed"]:
        ready(["minidl"])
    files = {}
    for name in [*request["files"], "calls.py"]:
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
            files[name] = file.read()
    sys.path.insert(0, folder)
    seed = zlib.crc32(body)  # what draws from global generators draws the same every time
    random.seed(seed)
    np.random.seed(seed)
    readable = (*request["readable"], folder)
    confinement = fences.Confinement(
        readable,
        tuple(request["closed"]),
        request["seconds"],
        request["megabytes"],
        request["user"],
        request["same_user"],
    )
    up = fences.confine(confinement)
    if "probe" in request:
        message = framed({"fences": up, "open": [p for p in request["probe"] if can_open(p)]})
    else:
        modules = [name.removesuffix(".py") for name in request["files"]]
        allowed = frozenset([*request["allowed"], *modules, "calls"])
        fences.fence_python(confinement, allowed, request["named"])
        message = answer(request, body, files, folder)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):  # closed or replaced by the student's code
            stream.flush()
    while message:
        message = message[os.write(answers, message) :]
    os._exit(0)  # neither threads nor atexit functions of the student's are waited for


def ready(modules: list[str]) -> None:
    """Import packages before the fences go up, with all that they in turn import and read."""
    for name in modules:
        with contextlib.suppress(Exception):  # then what needs it fails, and says so
            importlib.import_module(name)
    threads = sys.modules.get("minidl.backend.cpu.threads")
    if threads is not None:
        with threads.one_blas_thread:  # it looks for the library in /proc when first entered
            pass


def can_open(path: str) -> bool:
    """Whether the kernel lets this process read a file."""
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True


class Submission:
    """What calls.py gets as `student`: the submitted modules as attributes."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def __getattr__(self, name: str) -> types.ModuleType:
        """Import a module when it is first used: one that fails harms only what needs it."""
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"{name}.py was not submitted", name=name, obj=self)
        module = importlib.import_module(name)
        self.__dict__[name] = module
        return module


def answer(request: dict[str, Any], body: bytes, files: dict[str, str], folder: str) -> bytes:
    """Run the call that is asked for and write what answers it."""
    status: dict[str, Any] = {"ok": False}
    try:
        calls = types.ModuleType("calls")
        calls.__file__ = os.path.join(folder, "calls.py")
        sys.modules["calls"] = calls
        exec(compile(files["calls.py"], calls.__file__, "exec"), calls.__dict__)
        function = getattr(calls, request["function"])
        inputs, before = exchange.decode(body), exchange.decode(body)
        student = Submission([name.removesuffix(".py") for name in request["files"]])
        result = function(student, **inputs)
        if not isinstance(result, dict):
            raise TypeError(f"calls.{request['function']} must return a dict")
        values = exchange.encode(result)
        status["changed"] = [name for name in before if not same(before[name], inputs[name])]
        return framed({**status, "ok": True}, values)
    except BaseException as error:  # SystemExit and KeyboardInterrupt too
        try:
            status["error"] = told(error, folder, files)
        except BaseException:  # an exception that will not be looked at
            status["error"] = {"type": "an exception", "message": "(it cannot be shown)"}
        return framed(status)


def framed(status: dict[str, Any], body: bytes = b"") -> bytes:
    """An answer: a line of JSON, and a message of values."""
    return json.dumps(status).encode() + b"\n" + body


def same(a: Any, b: Any) -> bool:
    """Whether an input still is what it was: equal bits, NaN included."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
            return False
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b or (a != a and b != b))


def told(error: BaseException, folder: str, files: dict[str, str]) -> dict[str, Any]:
    """What is said of an exception: type, message and the student's own line, no traceback."""
    kind = type.__getattribute__(type(error), "__name__")
    try:
        text = str(error)[:TEXT]
    except BaseException:  # a hostile __str__
        text = "(its message cannot be shown)"
    own = calls = None  # (file, line) of the innermost frame in the submission, in calls.py
    trace = BaseException.__getattribute__(error, "__traceback__")
    while trace is not None:
        name = os.path.relpath(trace.tb_frame.f_code.co_filename, folder)
        if name == "calls.py":
            calls = name, trace.tb_lineno
        elif name in files:
            own = name, trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and isinstance(error.filename, str):
        name = os.path.relpath(error.filename, folder)
        if name in files:
            own, text = (name, int(error.lineno or 1)), str(error.msg)[:TEXT]
    found = {"type": str(kind)[:TEXT], "message": text, "own": own is not None}
    place = own or calls
    if place is not None:
        file, line = place
        lines = files[file].splitlines()
        source = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        found |= {"file": file, "line": line, "source": source[:TEXT]}
    if isinstance(error, (NameError, AttributeError, ImportError)):
        missing = getattr(error, "name", None)
        found["name"] = missing if isinstance(missing, str) else ""
    return found


# -- a server of calls ----------------------------------------------------------------------------


def serve(modules: list[str]) -> None:
    """Fork a process for each request that comes through the socket that standard input is.

    A request is a line of JSON ({"folder", "seconds"}: where to run, and how long by the clock) and
    three open files, the process's standard input, output and error. The reply tells how it ended.
    """
    import socket

    ready(["numpy.fft", "numpy.linalg", "numpy.random", "numpy.lib.stride_tricks", *modules])
    with contextlib.suppress(OSError):
        fences.adopt_orphans()
    gc.freeze()
    door = socket.socket(fileno=0)
    while True:
        line, handles, _, _ = socket.recv_fds(door, 1 << 16, 3)
        if not line:
            return
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                for number, handle in enumerate(handles):
                    os.dup2(handle, number)
                os.closerange(3, 256)  # the door too
                os.chdir(request["folder"])
                main()
            finally:
                os._exit(70)
        for handle in handles:
            os.close(handle)
        reply = waited(child, door, request["seconds"])
        if reply is None:
            return
        door.sendall(json.dumps(reply).encode() + b"\n")


def waited(child: int, door: Any, seconds: float) -> dict[str, Any] | None:
    """Wait for a child, kill it when its time is over, and whatever it left; None: nobody asks."""
    handle = os.pidfd_open(child)
    ready, _, _ = select.select([handle, door], [], [], seconds)
    late = not ready
    os.close(handle)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # it is not reaped yet: the number is its own
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, code, used = os.wait4(child, 0)
    for _ in range(1000):
        left = children()
        if not left:
            break
        for orphan in left:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(orphan, signal.SIGKILL)
                os.waitpid(orphan, 0)
    if door in ready:
        return None
    return {
        "code": os.waitstatus_to_exitcode(code),
        "late": late,
        "cpu": used.ru_utime + used.ru_stime,
        "megabytes": used.ru_maxrss / 1024,
    }


def children() -> list[int]:
    """The processes that this one is the parent of, where the kernel tells."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(number) for number in file.read().split()]
    except OSError:
        return []


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2:])
    else:
        main()
