"""What a process gives up before it runs a submission: files, processes, network, rights.

Several fences stand one behind the other, and each one that the system lacks is named, not passed
over in silence. The kernel's: another user id (where the grader is root), no capabilities, Landlock
(which files may be read; nothing may be written), a seccomp filter (no new process, no signal to
another one, no socket), limits of resources. Python's: an audit hook and a guard of imports, which
give sentences a student understands, work everywhere, and keep out the curious but not the skilled.

Numbers are those of Linux's headers (linux/landlock.h, linux/seccomp.h, linux/filter.h,
asm/unistd.h) and manual pages landlock(7), seccomp(2), prctl(2), capset(2).

This file stands alone: the sandbox runs it without minidl.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Confinement", "adopt_orphans", "confine", "fence_python"]


FILE_BYTES = 65 * 2**20  # of what a process sends, and of what it prints; other files it has none


@dataclass(frozen=True)
class Confinement:
    """What a process may do.

    Attributes:
        readable: folders and files that may be read; nothing else may, nothing may be written.
        closed: folders among these of which only the names may be listed, but for what `readable`
            names within them: where packages are installed.
        seconds: of processor time.
        megabytes: of memory, beyond what the process has when it is confined.
        user: the user id to change to, or None.
        same_user: why there is none.
    """

    readable: tuple[str, ...]
    closed: tuple[str, ...]
    seconds: float
    megabytes: float
    user: int | None = None
    same_user: str = ""


def confine(confinement: Confinement) -> dict[str, str]:
    """Raise the kernel's fences around this process; there is no way back.

    Returns:
        By fence, "on" or why it is not.
    """
    fences: dict[str, str] = {"limits": _limits(confinement)}
    linux = sys.platform == "linux"
    steps: dict[str, Callable[[], None]] = {
        "other user": lambda: _other_user(confinement),
        "no capabilities": _no_capabilities,
        "Landlock": lambda: _landlock(confinement),
        "seccomp": _seccomp,
    }
    for name, step in steps.items():
        if not linux:
            fences[name] = f"not on {platform.system()}"
            continue
        try:
            step()
            fences[name] = "on"
        except (OSError, AttributeError) as error:
            fences[name] = str(error)
    return fences


def adopt_orphans() -> None:
    """Become the parent of what a child of this process starts and leaves behind."""
    _call("prctl", 36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


# -- limits of resources --------------------------------------------------------------------------


def _limits(confinement: Confinement) -> str:
    try:
        import resource
    except ImportError:
        return f"not on {platform.system()}: time by the clock only"
    memory = int(confinement.megabytes * 2**20)
    seconds = max(1, int(confinement.seconds + 0.999))
    limits = {
        "RLIMIT_CPU": seconds,
        "RLIMIT_DATA": memory + _held("VmData"),
        "RLIMIT_AS": memory + _held("VmSize"),
        "RLIMIT_FSIZE": FILE_BYTES,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 64,
    }
    if confinement.user is not None:  # counted by user, and this one has no other processes
        limits["RLIMIT_NPROC"] = 64
    refused = []
    for name, limit in limits.items():
        # At the soft limit of time a process is ended by SIGXCPU, which says why; who ignores that
        # is killed a second later.
        hard = limit + (name == "RLIMIT_CPU")
        if sys.platform == "darwin" and name in ("RLIMIT_DATA", "RLIMIT_AS"):
            refused.append(name)  # it can be set there, and is not heeded
            continue
        try:
            resource.setrlimit(getattr(resource, name), (limit, hard))
        except (AttributeError, ValueError, OSError):
            refused.append(name)
    return f"without {', '.join(refused)}" if refused else "on"


def _held(what: str) -> int:
    """Bytes of address space the process has already; 0 where that is not to be learned."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(f"{what}:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 2**28 if sys.platform != "linux" else 0


# -- other rights ---------------------------------------------------------------------------------


def _call(name: str, *arguments: object) -> int:
    """A function of libc; OSError where it returns -1."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = getattr(libc, name)(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)


def _other_user(confinement: Confinement) -> None:
    user = confinement.user
    if user is None:
        raise OSError(confinement.same_user)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _no_capabilities() -> None:
    header = struct.pack("<Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    _call("capset", header, bytes(24))


def _landlock(confinement: Confinement) -> None:
    abi = _syscall(444, None, 0, 1)  # landlock_create_ruleset: which version
    files, folders = 1 << 2, 1 << 3  # LANDLOCK_ACCESS_FS_READ_FILE, READ_DIR
    handled = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1  # every access there is
    network = 0b11 if abi >= 4 else 0  # bind, connect
    scoped = 0b11 if abi >= 6 else 0  # abstract sockets, signals
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    attributes = struct.pack("<QQQ", handled, network, scoped)[:size]
    ruleset = _syscall(444, attributes, size, 0)
    try:
        for path in (*confinement.readable, *confinement.closed):
            try:
                handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:  # a folder that this system does not have
                continue
            access = files | (folders if os.path.isdir(path) else 0)
            if path in confinement.closed:
                access = folders
            if path == os.devnull:
                access |= handled & (1 << 1 | 1 << 14)  # WRITE_FILE, TRUNCATE
            _syscall(445, ruleset, 1, struct.pack("<Qi", access, handle), 0)
            os.close(handle)
        _call("prctl", 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        _syscall(446, ruleset, 0)
    finally:
        os.close(ruleset)


def _syscall(number: int, *arguments: object) -> int:
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    try:
        return _call("syscall", ctypes.c_long(number), *values)
    except OSError as error:
        raise OSError(error.errno, f"the kernel has none ({error.strerror})") from None


# -- system calls ---------------------------------------------------------------------------------

# name: (x86_64, aarch64); None: it has no such call.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # new processes and programs
    **{"fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281)},
    # other processes
    **{"kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138)},
    **{"rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438)},
    **{"pidfd_send_signal": (424, 424), "ptrace": (101, 117), "kcmp": (312, 272)},
    **{"process_vm_readv": (310, 270), "process_vm_writev": (311, 271)},
    **{"process_madvise": (440, 440), "setsid": (112, 157), "setpgid": (109, 154)},
    **{"setpriority": (141, 140), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274)},
    # network, and what is left when a process has ended
    **{"socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200)},
    **{"shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190)},
    **{"mq_open": (240, 180), "memfd_create": (319, 279), "memfd_secret": (447, 447)},
    **{"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219)},
    # changes of files that Landlock does not control
    **{"chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452)},
    **{"chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54)},
    **{"utime": (132, None), "utimes": (235, None), "futimesat": (261, None)},
    **{"utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7)},
    **{"removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16)},
    # the system, and doors with a history
    **{"mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97), "setns": (308, 268)},
    **{"chroot": (161, 51), "pivot_root": (155, 41), "personality": (135, 92), "bpf": (321, 280)},
    **{"perf_event_open": (298, 241), "userfaultfd": (323, 282), "open_by_handle_at": (304, 265)},
    **{"io_uring_setup": (425, 425), "io_uring_enter": (426, 426)},
    **{"io_uring_register": (427, 427), "fanotify_init": (300, 262), "kexec_load": (246, 104)},
}
# (AUDIT_ARCH, column above, clone, clone3, tgkill, prlimit64, fcntl)
MACHINES = {
    "x86_64": (0xC000003E, 0, 56, 435, 234, 302, 72),
    "aarch64": (0xC00000B7, 1, 220, 435, 131, 261, 25),
}
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO, EPERM
NO_SUCH_CALL = 0x00050000 | 38  # ENOSYS: libc then takes clone, whose flags a filter can see
LOAD, RETURN = 0x20, 0x06  # BPF_LD + BPF_W + BPF_ABS; BPF_RET + BPF_K
EQUAL, FROM, BITS = 0x15, 0x35, 0x45  # BPF_JMP + BPF_K + BPF_JEQ, BPF_JGE, BPF_JSET
NUMBER, ARCHITECTURE, FIRST, SECOND = 0, 4, 16, 24  # offsets in struct seccomp_data


def _seccomp() -> None:
    machine = platform.machine()
    if machine not in MACHINES or sys.byteorder != "little" or sys.maxsize < 2**32:
        raise OSError(f"its system calls are not known here for {machine}")
    architecture, column, clone, clone3, tgkill, prlimit, fcntl = MACHINES[machine]
    thread = 0x10000  # CLONE_THREAD: a thread of this process is no new one
    program = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, REFUSE)]
    program += [(LOAD, 0, 0, NUMBER)]
    program += [(FROM, 0, 1, 0x40000000), (RETURN, 0, 0, REFUSE)]  # x32's numbers of the same
    for numbers in REFUSED.values():
        number = numbers[column]
        if number is not None:
            program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    program += [(EQUAL, 0, 1, clone3), (RETURN, 0, 0, NO_SUCH_CALL)]
    for number, place, test, value in (
        (clone, FIRST, BITS, thread),
        (tgkill, FIRST, EQUAL, os.getpid()),  # abort() and raise() of its own
        (prlimit, FIRST, EQUAL, 0),
    ):
        program += [(EQUAL, 0, 4, number), (LOAD, 0, 0, place), (test, 1, 0, value)]
        program += [(RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
    # F_SETOWN and F_SETOWN_EX let the kernel send a signal to another process.
    program += [(EQUAL, 0, 5, fcntl), (LOAD, 0, 0, SECOND), (EQUAL, 1, 0, 8), (EQUAL, 0, 1, 15)]
    program += [(RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
    program += [(RETURN, 0, 0, ALLOW)]
    code = b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
    held = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("@HP", len(program), ctypes.addressof(held))
    _call("prctl", 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    _call("prctl", 22, 2, described, 0, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


# -- Python's own fences --------------------------------------------------------------------------

# Audit events by their beginning, and what a student is told.
FORBIDDEN = {
    **dict.fromkeys(("os.fork", "os.forkpty", "pty."), "may not start processes"),
    **dict.fromkeys(("subprocess.", "os.system", "os.exec"), "may not start programs"),
    **dict.fromkeys(("os.posix_spawn", "os.spawn", "os.startfile"), "may not start programs"),
    **dict.fromkeys(("os.kill", "os.killpg", "signal.pthread_kill"), "may not send signals"),
    **dict.fromkeys(("socket.", "urllib.", "http.", "ftplib."), "has no network"),
    **dict.fromkeys(("smtplib.", "imaplib.", "poplib.", "nntplib."), "has no network"),
    **dict.fromkeys(("telnetlib.", "webbrowser.", "ssl."), "has no network"),
    **dict.fromkeys(("ctypes.dlopen", "ctypes.dlsym", "ctypes.call"), "may not use ctypes"),
    **dict.fromkeys(("ctypes.string_at", "ctypes.wstring_at"), "may not use ctypes"),
    **dict.fromkeys(("ctypes.cdata", "ctypes.seh", "ctypes.set_"), "may not use ctypes"),
    **dict.fromkeys(("gc.get_objects", "gc.get_ref"), "may not look through the process's memory"),
    "sys._current_": "may not look into other frames",
    **dict.fromkeys(("resource.setrlimit", "resource.prlimit"), "may not change its limits"),
    **dict.fromkeys(("os.remove", "os.rename", "os.mkdir", "os.rmdir"), "may not change files"),
    **dict.fromkeys(("os.link", "os.symlink", "os.truncate", "os.ch"), "may not change files"),
    **dict.fromkeys(("os.utime", "os.setxattr", "os.removexattr"), "may not change files"),
    **dict.fromkeys(("os.lchown", "os.lchmod", "os.fchmod"), "may not change files"),
    **dict.fromkeys(("shutil.", "tempfile.", "sqlite3."), "may not write files"),
    **dict.fromkeys(("syslog.", "winreg.", "msvcrt."), "may not change the system"),
}
READING = ("os.listdir", "os.scandir")


def fence_python(confinement: Confinement, allowed: frozenset[str], named: str) -> None:
    """Raise Python's fences: files, processes, network, imports.

    Args:
        confinement: what may be read.
        allowed: the names of the top-level modules that may be imported.
        named: how these are named to a student who imports another one.
    """
    sys.meta_path.insert(0, _Guard(allowed | frozenset(sys.stdlib_module_names), named))
    sys.addaudithook(_hook(confinement))


class _Guard:
    """Says no, as the first finder, to modules of packages that are not allowed."""

    def __init__(self, allowed: frozenset[str], named: str) -> None:
        self.allowed, self.named = allowed, named

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        top = name.partition(".")[0]
        if top not in self.allowed and not top.startswith("_sysconfigdata"):  # Python's own, built
            raise ImportError(
                f"{top} may not be imported in this assignment: only Python's standard library "
                f"and {self.named}",
                name=name,
            )


def _hook(confinement: Confinement) -> Callable[[str, tuple], None]:
    # What the hook needs is its own, so that a submission that replaces builtins changes naught.
    kind, integers, real, text = type, (int, bool), os.path.realpath, os.fsdecode
    listed = tuple(real(path) for path in confinement.closed)
    closed = tuple(path + os.sep for path in listed)
    roots = tuple(real(path) for path in confinement.readable)
    inside = tuple(root + os.sep for root in roots)
    within = tuple(path for path in inside if path.startswith(closed))
    forbidden = tuple(FORBIDDEN.items())
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    null, reading, refused = os.devnull, READING, PermissionError

    def check(path: Any) -> None:
        if kind(path) in integers or path is None:  # open already; the working folder
            return
        if kind(path) not in (str, bytes):
            raise refused(f"a submission may not open a {kind(path).__name__}; use a str")
        where = real(text(path))
        if where in roots or where in listed:
            return
        if not where.startswith(within if where.startswith(closed) else inside):
            raise refused(f"a submission may not read {path!r:.200}")

    def hook(event: str, args: tuple) -> None:
        if event == "open":
            path, _, flags = args
            if kind(path) in integers or (kind(path) is str and path == null):
                return
            if kind(flags) is int and flags & writing:
                raise refused(f"a submission may not write files ({path!r:.200})")
            check(path)
        elif event in reading:
            check(args[0] if args else None)
        else:
            for start, reason in forbidden:
                if event.startswith(start):
                    raise refused(f"a submission {reason} ({event})")

    return hook
