"""Fresh processes in which a submission runs: started, fed, limited, ended, swept away.

The grader gives a process a request and takes bytes from it, which it reads as data (exchange.py).
What the process may do it gives up itself before it imports the submission (confine.py); from here
come the limits by the clock and of the size of what it sends and prints. Every call has a folder
of its own with a copy of the submission, gone afterwards.

On Linux the processes are forked from a server that has imported NumPy (child.py); elsewhere each
one is started anew.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

__all__ = ["Ended", "Limits", "Protection", "Sandbox"]

ANSWER_BYTES = 64 * 2**20
PRINTED_BYTES = 4000
CHILD = Path(__file__).with_name("child.py")
Streams = tuple[IO[bytes], IO[bytes], IO[bytes]]  # a process's standard input, output and error
Reply = dict[str, Any]  # how a process ended: its status, whether it was late, its seconds
# One thread each: what a submission takes does not depend on how many cores there are.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Limits:
    """What a call may take.

    Attributes:
        seconds: of processor time; by the clock it may be twice as long, for busy machines.
        megabytes: of memory, beyond Python's and NumPy's own.
    """

    seconds: float = 20.0
    megabytes: float = 512.0

    @property
    def clock(self) -> float:
        """Seconds by the clock."""
        return 2 * self.seconds + 1


@dataclass
class Ended:
    """How a process ended.

    Attributes:
        why: what is wrong with the process as a whole, or None.
        cause: that, in two words.
        look: what to look at then.
        slow: whether it went over a limit of time.
        status: how the call went, as the process says.
        body: the values it sent, not yet read.
        printed: the beginning of what it printed.
        seconds: how long it took, by the clock.
    """

    why: str | None = None
    cause: str = ""
    look: str = ""
    slow: bool = False
    status: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""
    printed: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Protection:
    """What keeps a submission in.

    Attributes:
        fences: of the kernel: by name, "on" or why it is not.
        exposed: secret files that a process in the sandbox could open if it got round Python's own
            fences.
    """

    fences: dict[str, str]
    exposed: list[str]

    def __str__(self) -> str:
        up = [name for name, state in self.fences.items() if state == "on"]
        down = [f"{name} ({state})" for name, state in self.fences.items() if state != "on"]
        lines = [f"protection: {', '.join(['fresh processes', 'audit hook of Python', *up])}"]
        if down:
            lines.append(f"not active: {'; '.join(down)}")
        if self.exposed:
            lines.append(
                "WARNING: only Python's audit hook keeps a submission from reading "
                f"{', '.join(self.exposed)}; see docs/grading.md"
            )
        return "\n".join(lines)


class Sandbox:
    """Where one submission runs.

    Args:
        files: the submitted files, by name.
        calls: the assignment's calls.py.
        imports: third-party packages that the submission may import.
        fork: whether processes are forked from a server (default: on Linux).
    """

    def __init__(
        self,
        files: dict[str, bytes],
        calls: bytes,
        imports: tuple[str, ...] = ("numpy",),
        fork: bool | None = None,
    ) -> None:
        self._files = {**files, "calls.py": calls}
        self._fork = sys.platform == "linux" if fork is None else fork
        surroundings = _surroundings(imports)
        self._preload = surroundings.preload
        self._user = surroundings.user
        self._request = {
            "files": list(files),
            "allowed": sorted(surroundings.modules),
            "named": " and ".join(["NumPy", *(name for name in imports if name != "numpy")]),
            "readable": surroundings.readable,
            "closed": surroundings.closed,
            "user": surroundings.user,
            "same_user": surroundings.same_user,
        }

    def run(self, function: str, body: bytes, limits: Limits) -> Ended:
        """Call a function of calls.py in a fresh process.

        Args:
            function: its name.
            body: its arguments, encoded.
            limits: of time and memory.
        """
        return self._run({"function": function}, body, limits)

    def protection(self, secrets: Iterable[str | Path] = ()) -> Protection:
        """What keeps a submission in, tried out.

        Args:
            secrets: files that it must not be able to read.
        """
        paths = [str(path) for path in secrets]
        ended = self._run({"probe": paths}, b"", Limits())
        if ended.why is not None or "fences" not in ended.status:
            raise OSError(f"the sandbox does not work here: {ended.why} {ended.printed}")
        return Protection(ended.status["fences"], ended.status["open"])

    def _run(self, what: dict[str, Any], body: bytes, limits: Limits) -> Ended:
        request = {**self._request, **what, "bytes": len(body)}
        request |= {"seconds": limits.seconds, "megabytes": limits.megabytes}
        start = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="minidl-sandbox-"))
        try:
            for name, content in self._files.items():
                (folder / name).write_bytes(content)
            if self._user is not None:
                _give(folder, self._user)
            # Files without a name: unlike pipes, they need nobody who reads at the same time.
            with TemporaryFile() as asked, TemporaryFile() as answer, TemporaryFile() as printed:
                asked.write(json.dumps(request).encode() + b"\n" + body)
                asked.seek(0)
                run = _forked if self._fork else _started
                reply = run(self._preload, folder, (asked, answer, printed), limits)
                answer.seek(0)
                printed.seek(0)
                ended = _verdict(answer.read(ANSWER_BYTES + 1), reply, limits)
                ended.printed = printed.read(PRINTED_BYTES).decode("utf-8", "replace")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        ended.seconds = time.monotonic() - start
        return ended


# -- one process ----------------------------------------------------------------------------------


def _started(preload: tuple[str, ...], folder: Path, streams: Streams, limits: Limits) -> Reply:
    """Run a process started anew; how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", str(CHILD)],
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        cwd=folder,
        env=_environment(),
        start_new_session=os.name == "posix",
    )
    late = False
    try:
        process.wait(limits.clock)
    except subprocess.TimeoutExpired:
        late = True
    finally:
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        code = process.wait()
    return {"code": code, "late": late, "cpu": 0.0}


def _forked(preload: tuple[str, ...], folder: Path, streams: Streams, limits: Limits) -> Reply:
    """Run a process forked from the server; how it ended."""
    handles = [stream.fileno() for stream in streams]
    try:
        server = _server(preload)
        server.ask(folder, limits.clock, handles)
    except OSError:  # it was ended by something; a new one is started
        server.close()
        server = _server(preload)
        server.ask(folder, limits.clock, handles)
    try:
        return server.reply(limits.clock + 30)
    except BaseException:  # Ctrl-C too: what runs must not go on
        server.close()
        raise


def _verdict(answer: bytes, reply: Reply, limits: Limits) -> Ended:
    """What became of a process, from how it ended and what it sent."""
    code = reply["code"]
    killed = -code if code < 0 else 0
    if reply["late"]:
        return Ended(
            f"no answer within {limits.clock:g} s by the clock (an endless loop, or much too slow)",
            "too slow",
            "Look for a loop that does not end, and for what waits or sleeps.",
            slow=True,
        )
    if killed in _signals("SIGXCPU") or (killed == 9 and reply["cpu"] > limits.seconds):
        return Ended(
            f"no answer within {limits.seconds:g} s of processor time",
            "too slow",
            "Look for a loop that does not end, or for loops where one array operation would do.",
            slow=True,
        )
    if len(answer) > ANSWER_BYTES:
        return Ended(
            f"more than {ANSWER_BYTES >> 20} MB came back",
            "result too large",
            "Compare the shapes of what you return with the contract's.",
        )
    line, newline, body = answer.partition(b"\n")
    try:
        status = json.loads(line) if newline else None
    except (ValueError, RecursionError):
        status = None
    if isinstance(status, dict):
        return Ended(status=status, body=body)
    if killed in _signals("SIGSEGV", "SIGBUS", "SIGABRT"):
        return Ended(
            f"Python crashed (signal {killed})",
            "crash",
            "Mostly a recursion without end, or memory that ran out.",
        )
    how = f"was ended by signal {killed}" if killed else f"ended with status {code}"
    return Ended(
        f"the process {how} before it gave an answer",
        "process ended",
        "Your code must not end the process (os._exit, signals), nor close what is not its own.",
    )


def _signals(*names: str) -> set[int]:
    return {int(getattr(signal, name)) for name in names if hasattr(signal, name)}


def _environment() -> dict[str, str]:
    kept = ("SYSTEMROOT", "PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "TEMP", "TMP")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return {**environment, **dict.fromkeys(THREADS, "1"), "LC_ALL": "C.UTF-8"}


# -- the server of processes ----------------------------------------------------------------------


class _Server:
    """The process from which others are forked (child.py serve)."""

    def __init__(self, preload: tuple[str, ...]) -> None:
        ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(CHILD), "serve", *preload],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            cwd=os.sep,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the grader, which ends the server
        )
        theirs.close()
        self._door = ours

    def ask(self, folder: Path, seconds: float, handles: list[int]) -> None:
        line = json.dumps({"folder": str(folder), "seconds": seconds}).encode()
        socket.send_fds(self._door, [line], handles)

    def reply(self, patience: float) -> dict[str, Any]:
        self._door.settimeout(patience)
        line = self._door.recv(1 << 16)
        if not line:
            raise ConnectionError("the server of the sandbox has ended")
        return json.loads(line)

    def close(self) -> None:
        self._door.close()  # it ends when nobody is there
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        self._process.kill()
        self._process.wait()


_servers: dict[tuple[int, tuple[str, ...]], _Server] = {}


def _server(preload: tuple[str, ...]) -> _Server:
    """This process's server with some packages imported, started where there is none."""
    key = os.getpid(), preload
    server = _servers.get(key)
    if server is None or server._process.poll() is not None:
        if server is not None:
            server.close()
        server = _servers[key] = _Server(preload)
    return server


@atexit.register
def _close_servers() -> None:
    for (owner, _), server in _servers.items():
        if owner == os.getpid():
            server.close()
    _servers.clear()


# -- what a submission may see --------------------------------------------------------------------


@dataclass(frozen=True)
class _Surroundings:
    modules: frozenset[str]  # top-level modules that may be imported, beside the standard library's
    readable: list[str]
    closed: list[str]  # of which only what `readable` names may be read
    preload: tuple[str, ...]
    user: int | None
    same_user: str  # why there is none


@functools.lru_cache
def _surroundings(imports: tuple[str, ...]) -> _Surroundings:
    """What submissions that may import some packages may import and read."""
    packages = dict.fromkeys(["numpy", *imports])
    modules = _modules(tuple(packages))
    installed = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *sys.path]
    closed = [path for path in installed if path.endswith(("site-packages", "dist-packages"))]
    readable = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    readable += [os.path.join(sys.base_prefix, "lib"), "/lib", "/lib64", "/usr/lib", "/usr/lib64"]
    readable += ["/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom"]
    readable += [os.devnull]
    for name in sorted(modules):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            folders = list(spec.submodule_search_locations)
            readable += [*folders, *(f"{folder}.libs" for folder in folders)]
        elif spec is not None and spec.origin and os.path.isabs(spec.origin):
            readable.append(spec.origin)
    return _Surroundings(
        modules,
        [path for path in dict.fromkeys(readable) if os.path.exists(path)],
        [path for path in dict.fromkeys(closed) if os.path.isdir(path)],
        tuple(packages),
        *_other_user(),
    )


def _modules(packages: tuple[str, ...]) -> frozenset[str]:
    """The top-level modules of packages and of all that they need."""
    if packages == ("numpy",):
        return frozenset(packages)
    provided: dict[str, set[str]] = {}
    for module, owners in importlib.metadata.packages_distributions().items():
        for owner in owners:
            provided.setdefault(_canonical(owner), set()).add(module)
    found: set[str] = set()
    waiting, seen = [_canonical(name) for name in packages], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        found |= provided.get(name, {name})
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            needs = []
        for need in needs:
            if "extra ==" not in need:
                waiting.append(_canonical(re.match(r"[\w.-]+", need.strip())[0]))  # type: ignore[index]
    return frozenset(found | set(packages))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _other_user() -> tuple[int | None, str]:
    """A user id that nobody has, where the grader may change to it and it could read Python.

    Where not, None and the reason.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return None, "the grader is not root"
    user = 61000 + os.getpid() % 4000
    numpy = importlib.util.find_spec("numpy")
    assert numpy is not None
    needed = [os.__file__, str(numpy.origin), str(CHILD), tempfile.gettempdir()]
    for path in map(Path, needed):
        for part in (path, *path.parents):
            mode = part.stat().st_mode
            if not mode & (stat.S_IXOTH if part.is_dir() else stat.S_IROTH):
                return None, f"another user could not read {part}"
    return user, ""


def _give(folder: Path, user: int) -> None:
    """Let another user read a folder, and nobody else."""
    for path in (*folder.iterdir(), folder):
        os.chown(path, user, user)
        os.chmod(path, 0o500 if path.is_dir() else 0o400)
