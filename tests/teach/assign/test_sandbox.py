"""Submissions that would rather have points than earn them: the affected checks give 0.

All others and the grader are unharmed. Each one is graded for real, in processes of its own; so
these are the tests of child.py and confine.py too.
"""

import json
import os
import sys
import time

import pytest

from minidl.teach.assign import sandbox
from minidl.teach.assign.checks import Wrong
from minidl.teach.assign.sandbox import Limits, Sandbox
from minidl.teach.assign.student import Student

from .conftest import RIGHT, grade_text, graded

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's fences")
EXIT = "the process ended with status 0 before it gave an answer"
FORGED = json.dumps({"ok": True, "changed": []})

# name: (body of double, what the feedback says)
CRIMES = {
    "os._exit": ("import os; os._exit(0)", EXIT),
    "sys.exit": ("import sys; sys.exit(0)", "SystemExit"),
    "raising KeyboardInterrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "abort": ("import os; os.abort()", "Python crashed (signal 6)"),
    "a memory bomb": (
        "import numpy as np\nheld = []\nwhile True: held.append(np.ones(10**6))",
        "too much memory",
    ),
    "one huge array": ("import numpy as np; return np.ones(10**11)", "too much memory"),
    "printing a forged answer": (f"print({FORGED!r}); return x", "12 of 12 elements differ"),
    "writing a forged answer everywhere": (
        f"""
        import os
        for handle in range(256):
            try:
                os.write(handle, {FORGED!r}.encode() + b"\\n")
            except OSError:
                pass
        os._exit(0)
        """,
        "the message has no beginning",
    ),
    "a broken answer": (
        f"""
        import os
        for handle in range(3, 64):
            try:
                os.write(handle, {FORGED!r}.encode() + b"\\nMDA1" + b"\\xff" * 100)
            except OSError:
                pass
        os._exit(0)
        """,
        "the message is cut off",
    ),
    "replacing NumPy's comparisons": (
        """
        import numpy as np
        always = lambda *a, **k: np.True_
        np.allclose = np.isclose = np.array_equal = np.testing.assert_allclose = always
        return 3 * x
        """,
        "12 of 12 elements differ",
    ),
    "replacing the runner": (
        """
        import sys
        runner = sys.modules["__main__"]
        runner.answer = runner.framed = runner.told = lambda *a, **k: b'{"ok": true}\\n'
        runner.exchange.encode = lambda values: b"all points, please"
        return x
        """,
        "broken answer",
    ),
    "replacing the grader's functions": (
        """
        import sys, types
        fake = types.ModuleType("minidl")
        fake.compare = lambda *a, **k: None
        sys.modules["minidl"] = sys.modules["minidl.teach.assign.compare"] = fake
        return x
        """,
        "12 of 12 elements differ",
    ),
    "closing every file": ("import os; os.closerange(0, 256); return 2 * x", EXIT[:17]),
    "deep recursion": (
        """
        import sys
        sys.setrecursionlimit(10**9)
        def deeper(n): return [deeper(n + 1)]
        return deeper(0)
        """,
        "",
    ),
    "endless recursion": ("return double(x)", "RecursionError"),
    "an exception that cannot be shown": (
        """
        class Evil(Exception):
            def __str__(self): raise SystemExit(0)
            __repr__ = __str__
        raise Evil()
        """,
        "Evil: (its message cannot be shown)",
    ),
    "an exception with a lying class": (
        """
        class Meta(type):
            def __getattribute__(cls, name): raise SystemExit(0)
        class Evil(Exception, metaclass=Meta):
            def __getattribute__(self, name): raise SystemExit(0)
        raise Evil()
        """,
        "",
    ),
    "an exception that commands the terminal": (
        'raise ValueError("\\x1b[2J\\x07all points")',
        "ValueError: ",
    ),
    "an array of objects": ("import numpy as np; return np.array([print])", "an array of object"),
    "a hostile array": (
        """
        import numpy as np
        class Evil(np.ndarray):
            def __array_finalize__(self, other): pass
            def __eq__(self, other): return True
            def tobytes(self, *a): return b""
        return x.view(Evil)
        """,
        "12 of 12 elements differ",
    ),
    "a generator": ("yield 1", "it must be a NumPy array"),
    "a result too large": (
        "import numpy as np; return np.zeros(9_000_000)",
        "",
    ),
    "text instead of numbers": ("return 'x' * 10**6", "a str"),
    "a number of a million digits": ("return 10**1_000_000", "bits; at most 63 fit"),
    "a thread that never ends": (
        """
        import threading
        def forever():
            while True: pass
        threading.Thread(target=forever).start()
        return 3 * x
        """,
        "12 of 12 elements differ",
    ),
    "a function for the end": (
        """
        import atexit, time
        atexit.register(time.sleep, 1000)
        return 3 * x
        """,
        "12 of 12 elements differ",
    ),
    "no standard output": (
        "import sys; sys.stdout = sys.stderr = None; return 3 * x",
        "12 of 12 elements differ",
    ),
    "an audit hook of its own": (
        """
        import sys
        def hook(event, args): raise RuntimeError("mine")
        sys.addaudithook(hook)
        return open("calls.py").read()
        """,
        "",
    ),
}

# What Python's own fences say, with a sentence.
REFUSED = {
    "a subprocess": ("import subprocess; subprocess.run(['true'])", "may not start programs"),
    "the shell": ("import os; os.system('true')", "may not start programs"),
    "a fork": ("import os; os.fork()", "may not start processes"),
    "a process pool": (
        "import multiprocessing as m; m.get_context('fork').Process(target=print).start()",
        "may not start processes",
    ),
    "a kill": ("import os; os.kill(os.getppid(), 9)", "may not send signals"),
    "a socket": ("import socket; socket.socket()", "has no network"),
    "a download": (
        "import urllib.request as r; r.urlopen('http://localhost:1')",
        "has no network",
    ),
    "ctypes": ("import ctypes; ctypes.CDLL(None)", "may not use ctypes"),
    "memory by its address": ("import ctypes; ctypes.string_at(id(x))", "may not use ctypes"),
    "all objects": ("import gc; gc.get_objects()", "may not look through the process's memory"),
    "its limits": (
        "import resource as r; r.setrlimit(r.RLIMIT_CPU, (100, 100))",
        "may not change its limits",
    ),
    "writing a file": ("open('note.txt', 'w')", "may not write files"),
    "removing the submission": ("import os; os.remove('tiny.py')", "may not change files"),
    "another package": ("import torch", "torch may not be imported in this assignment: only"),
    "a package of the grader": ("import minidl", "minidl may not be imported"),
    "a package whose guard was removed": (
        "import sys; sys.meta_path.pop(0); import matplotlib",
        "matplotlib",
    ),
}


@pytest.mark.parametrize("crime", CRIMES)
def test_crime_gives_no_points_and_harms_nothing_else(tiny, crime):
    body, said = CRIMES[crime]
    report = graded(tiny, body)
    first, *others = report.outcomes
    assert [outcome.score for outcome in report.outcomes] == [0, 3, 3]
    assert said in first.wrong.got or said in (first.wrong.cause or "")
    assert all(outcome.passed for outcome in others)


@pytest.mark.parametrize("crime", REFUSED)
def test_what_is_refused_says_so_in_a_sentence(tiny, crime):
    if sys.platform == "win32" and crime in ("a fork", "its limits", "a process pool"):
        pytest.skip("not on Windows")
    body, said = REFUSED[crime]
    report = graded(tiny, body)
    assert [outcome.score for outcome in report.outcomes] == [0, 3, 3]
    assert said in report.outcomes[0].wrong.got


SLOW = {
    "an endless loop": "while True: pass",
    "sleeping forever": "import time; time.sleep(10**6)",
    "sleeping with all signals caught": """
        import signal, time
        for number in range(1, 65):
            try:
                signal.signal(number, lambda *a: None)
            except (OSError, ValueError):
                pass
        while True: time.sleep(100)
        """,
    "an endless loop with all signals caught": """
        import signal
        for number in range(1, 65):
            try:
                signal.signal(number, lambda *a: None)
            except (OSError, ValueError):
                pass
        while True: pass
        """,
    "printing without end": "while True: print('x' * 1000)",
    "waiting for input": "import threading; threading.Event().wait()",
}


@pytest.mark.parametrize("crime", SLOW)
def test_what_never_ends_is_ended(tiny, crime):
    start = time.monotonic()
    report = graded(tiny, SLOW[crime])
    assert [outcome.score for outcome in report.outcomes] == [0, 3, 3]
    assert time.monotonic() - start < 30
    assert len(report.outcomes[0].printed) < 5000


def test_input_is_at_its_end(tiny):
    report = graded(tiny, "input()")
    assert report.outcomes[0].wrong.got.startswith("EOFError")


def test_one_endless_loop_does_not_use_up_the_time_of_all(tiny):

    code = RIGHT + "\ndef double(x):\n    while True: pass\n"
    student = Student(Sandbox({"tiny.py": code.encode()}, tiny.calls), Limits(2, 200))
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        with pytest.raises(Wrong, match="no answer within"):
            student.call("double", x=1.0)
        seconds.append(time.monotonic() - start)
    assert seconds[2] < 0.9 * seconds[0]


# -- secrets --------------------------------------------------------------------------------------


def attempts(path):
    """Ways to the content of a file."""
    return {
        "open": f"return open({str(path)!r}).read()",
        "os.open": f"import os; return str(os.read(os.open({str(path)!r}, 0), 9999))",
        "a path of bytes": f"return open({os.fsencode(path)!r}).read()",
        "a lying path": f"""
            class Path(str):
                def __eq__(self, other): return True
                def startswith(self, *a): return True
                __hash__ = str.__hash__
            return open(Path({str(path)!r})).read()
            """,
        "NumPy": f"import numpy as np; return str(bytes(np.fromfile({str(path)!r}, 'u1')))",
        "a map": f"import numpy as np; return str(bytes(np.memmap({str(path)!r}, 'u1', 'r')))",
        "linecache": f"import linecache; return ''.join(linecache.getlines({str(path)!r}))",
        "an import": f"""
            import importlib.util as u
            spec = u.spec_from_file_location("secret", {str(path)!r})
            module = u.module_from_spec(spec)
            spec.loader.exec_module(module)
            return str(vars(module))
            """,
        "/proc": f"return open('/proc/self/root' + {str(path)!r}).read()",
        "a path that climbs": f"""
            import os
            return open(os.path.relpath({str(path)!r}, os.getcwd())).read()
            """,
        "builtins replaced": f"""
            import builtins, os
            builtins.isinstance = lambda *a: True
            builtins.type = builtins.str = lambda *a: int
            os.path.realpath = lambda p, **k: os.getcwd()
            return open({str(path)!r}).read()
            """,
        "frames": """
            import sys
            found, frame = [], sys._getframe()
            while frame is not None:
                found.append(repr(frame.f_locals) + repr(frame.f_globals))
                frame = frame.f_back
            return ''.join(found)
            """,
        "inspect": "import inspect; return repr([f.frame.f_locals for f in inspect.stack()])",
        "memory of the grader": """
            import os
            return open(f'/proc/{os.getppid()}/environ').read() + open(
                f'/proc/{os.getppid()}/cmdline').read()
            """,
    }


WAYS = list(attempts("x"))


@pytest.mark.parametrize("way", WAYS)
def test_hidden_checks_cannot_be_read(tiny, way):
    report = graded(tiny, attempts(tiny.folder / "hidden.py")[way])
    assert [outcome.score for outcome in report.outcomes] == [0, 3, 3]
    assert "expected_double" not in report.outcomes[0].wrong.got
    assert "over all elements" not in report.outcomes[0].wrong.got


@linux
@pytest.mark.parametrize("fork", [True, False])
def test_protection_is_tried_out_and_the_kernel_keeps_secrets(tiny, fork):
    secrets = [tiny.folder / name for name in ("hidden.py", "bugs.py", "tiny.py")]
    protection = Sandbox({}, tiny.calls, fork=fork).protection(secrets)
    if protection.fences["Landlock"] != "on" and protection.fences["other user"] != "on":
        pytest.skip(f"this kernel has none of the fences: {protection.fences}")
    assert protection.exposed == []
    assert "WARNING" not in str(protection)


def test_exposed_secrets_are_a_warning():
    protection = sandbox.Protection({"Landlock": "the kernel has none"}, ["/x/hidden.py"])
    assert "not active: Landlock (the kernel has none)" in str(protection)
    assert "WARNING: only Python's audit hook keeps" in str(protection)


def test_nothing_is_written_outside_and_results_stay_as_they_are(tiny, tmp_path):
    results = tmp_path / "results.json"
    results.write_text("graded")
    body = f"open({str(results)!r}, 'w').write('all points')"
    assert graded(tiny, body).score == 6
    body = f"import os; os.write(os.open({str(results)!r}, os.O_WRONLY), b'all'); return 2 * x"
    assert graded(tiny, body).score == 6
    assert results.read_text() == "graded"


@linux
def test_kernel_refuses_what_gets_round_pythons_fences(tiny, tmp_path):
    """What runs before the audit hook is there, calls.py say, meets the kernel's fences."""
    calls = f"""
import os, socket

def attempt(function):
    try:
        function()
        return "done"
    except OSError as error:
        return type(error).__name__

def double(student, x):
    return {{
        "fork": attempt(lambda: os.fork() or os._exit(0)),
        "exec": attempt(lambda: os.execv("/bin/true", ["true"])),
        "kill": attempt(lambda: os.kill(os.getppid(), 0)),
        "socket": attempt(lambda: socket.socket()),
        "read": attempt(lambda: os.open({str(tiny.folder / "hidden.py")!r}, 0)),
        "write": attempt(lambda: os.open({str(tmp_path / "new")!r}, os.O_CREAT | os.O_WRONLY)),
        "list": attempt(lambda: os.listdir({str(tmp_path)!r})),
        "chmod": attempt(lambda: os.chmod({str(tiny.folder / "hidden.py")!r}, 0o644)),
        "session": attempt(os.setsid),
    }}
"""

    program = f"""
import sys
sys.path.insert(0, {str(sandbox.CHILD.parent)!r})
import child
child.fences.fence_python = lambda *a: None
child.main()
"""
    altered = tmp_path / "altered.py"
    altered.write_text(program)
    held, sandbox.CHILD = sandbox.CHILD, altered
    try:
        student = Student(Sandbox({}, calls.encode(), fork=False), Limits(5, 200))
        protection = Sandbox({}, calls.encode(), fork=False).protection()
        got = dict(student.call("double", x=1.0))
    finally:
        sandbox.CHILD = held
    expected = {}
    if protection.fences["seccomp"] == "on":
        expected |= dict.fromkeys(("fork", "exec", "kill", "socket", "chmod", "session"))
    if protection.fences["Landlock"] == "on":
        expected |= dict.fromkeys(("read", "write", "list"))
    if not expected:
        pytest.skip(f"this kernel has none of the fences: {protection.fences}")
    assert {name: got[name] for name in expected} == dict.fromkeys(expected, "PermissionError")


# -- modules --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "import os; os._exit(0)",
        "raise SystemExit",
        "def double(:",
        "\0",
        "import torch",
        "open('/etc/passwd')",
        "import sys; sys.modules['tiny'] = None; raise ImportError",
        "def __getattr__(name): raise SystemExit",
        "",
        "\xff\xfe nothing",
        "import sys; sys.exit('x' * 10**6)",
    ],
)
def test_file_that_cannot_be_imported_scores_nothing(tiny, text):
    report = grade_text(tiny, text)
    assert report.score == 0
    assert len(report.outcomes) == 3
    assert all(outcome.wrong.got for outcome in report.outcomes)


@pytest.mark.parametrize("fork", [True, False] if sys.platform == "linux" else [False])
def test_processes_are_fresh_and_leave_nothing(tiny, fork, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))

    code = "count = [0]\ndef double(x):\n    count[0] += 1\n    return count[0]\n"
    student = Student(Sandbox({"tiny.py": code.encode()}, tiny.calls, fork=fork), Limits(5, 200))
    assert [student.call("double", x=1)["y"] for _ in range(3)] == [1, 1, 1]
    assert list(tmp_path.iterdir()) == []


@linux
def test_a_server_that_was_ended_is_replaced(tiny):
    box = Sandbox({"tiny.py": RIGHT.encode()}, tiny.calls)
    box.protection()
    server = sandbox._server(("numpy",))
    server._process.kill()
    server._process.wait()
    assert box.protection().fences


@linux
def test_left_processes_are_ended(tiny, tmp_path):
    """Where there is no seccomp a submission can fork; what it leaves is swept away."""
    calls = """
import os, time

def double(student, x):
    first = os.fork()
    if first == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    os.waitpid(first, 0)
    return {"y": 1}
"""
    program = f"""
import sys
sys.path.insert(0, {str(sandbox.CHILD.parent)!r})
import child
child.fences.fence_python = lambda *a: None
child.fences.confine = lambda *a: {{}}
child.serve(sys.argv[2:])
"""
    altered = tmp_path / "altered.py"
    altered.write_text(program)

    held, sandbox.CHILD = sandbox.CHILD, altered
    sandbox._close_servers()
    try:
        student = Student(Sandbox({}, calls.encode()), Limits(5, 200))
        assert student.call("double", x=1)["y"] == 1
        server = sandbox._server(("numpy",))._process.pid
        with open(f"/proc/{server}/task/{server}/children") as file:
            assert file.read().split() == []
        listed = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        assert [pid for pid in listed if _program(pid) == str(altered)] == [server]
    finally:
        sandbox.CHILD = held
        sandbox._close_servers()


def _program(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return next((a for a in file.read().split("\0") if a.endswith(".py")), "")
    except OSError:
        return ""
