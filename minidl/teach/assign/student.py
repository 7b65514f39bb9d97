"""The submission as a check sees it: `student.call` sends numbers to the sandbox and gets some."""

from __future__ import annotations

from typing import Any

from .checks import Wrong, last_call
from .exchange import Broken, decode, encode
from .sandbox import Limits, Sandbox

__all__ = ["UNWRITTEN", "Result", "Student"]

PATIENCE = 2  # how often a function may be too slow before its limit is cut
CUT = 5


class Result(dict[str, Any]):
    """What a call gave back, by name.

    Attributes:
        inputs: what it was called with.
        changed: the names of the inputs that the call changed in place.
    """

    def __init__(
        self, values: dict[str, Any], inputs: dict[str, Any], changed: tuple[str, ...]
    ) -> None:
        super().__init__(values)
        self.inputs, self.changed = inputs, changed

    def __missing__(self, name: str) -> Any:
        raise Wrong(f"a value {name}", f"only {', '.join(self) or 'nothing'} came back")


class Student:
    """A submission whose functions are called in a sandbox, a fresh process each time.

    Args:
        sandbox: where it runs.
        limits: time and memory of a call.
        slow: how often each function was too slow so far; shared by the checks of a submission.
            From the third time on a function gets a fifth of its time, so that one endless loop
            does not use up the time of all other checks.

    Attributes:
        printed: what the submission has printed.
        calls: how many calls there were.
        seconds: how long they took.
    """

    def __init__(
        self, sandbox: Sandbox, limits: Limits, slow: dict[str, int] | None = None
    ) -> None:
        self.printed = ""
        self.calls = 0
        self.seconds = 0.0
        self._sandbox, self._limits = sandbox, limits
        self._slow = {} if slow is None else slow

    def call(self, function: str, /, **inputs: Any) -> Result:
        """Call a function of the assignment's calls.py with the submission.

        Args:
            function: its name.
            inputs: arrays, numbers, bools, strings, None, or flat lists or tuples of these.

        Returns:
            What it returned: a dict of the same kinds of values.

        Raises:
            Wrong: the submission raised an exception, went over a limit, ended, or gave back
                something that is no number; the feedback says which.
        """
        last_call.set(None)
        limits = self._limits
        if self._slow.get(function, 0) >= PATIENCE:
            limits = Limits(max(1.0, limits.seconds / CUT), limits.megabytes)
        ended = self._sandbox.run(function, encode(inputs), limits)
        self.printed += ended.printed
        self.calls += 1
        self.seconds += ended.seconds
        if ended.why is not None:
            self._slow[function] = self._slow.get(function, 0) + ended.slow
            raise Wrong(AN_ANSWER, ended.why, ended.cause, look=ended.look)
        if ended.status.get("ok") is not True:
            raise _exception(ended.status.get("error"), limits)
        try:
            values = decode(ended.body)
        except Broken as error:
            why = "What your code returns must be what the contract says; it may not be sent apart."
            raise Wrong("numbers", f"bytes that are none: {error}", "broken answer", why) from None
        changed = ended.status.get("changed")
        named = tuple(n for n in inputs if isinstance(changed, list) and n in changed)
        result = Result(values, inputs, named)
        last_call.set(result)
        return result


AN_ANSWER = "an answer"
UNWRITTEN = "not written yet"
# What a student is told of the exceptions that have a typical reason.
REASONS = {
    "NotImplementedError": (UNWRITTEN, ""),
    "MemoryError": (
        "too much memory",
        "The limit is {megabytes:g} MB: look for an array that is far larger than it must be.",
    ),
    "RecursionError": ("endless recursion", "A function calls itself, and never stops."),
    "SyntaxError": ("syntax error", "The file is no Python: nothing in it can be run."),
    "IndentationError": ("syntax error", "The file is no Python: see the indentation."),
    "TabError": ("syntax error", "The file is no Python: tabs and spaces are mixed."),
    "PermissionError": (
        "not allowed",
        "A submission works on what it is given: no files, processes, network.",
    ),
    "ZeroDivisionError": ("division by zero", ""),
    "SystemExit": ("exit", "A submission must not end the program (exit, sys.exit)."),
}


def _exception(error: Any, limits: Limits) -> Wrong:
    """The feedback on an exception; what is known of it came from the submission's process."""
    told = error if isinstance(error, dict) else {}
    facts = {n: v for n, v in told.items() if isinstance(v, (str, int))}
    kind, text = str(facts.get("type", "an exception")), str(facts.get("message", ""))
    name = str(facts.get("name", ""))
    lines = [f"{kind}: {text}" if text else kind]
    place = ""
    if facts.get("file"):
        place = f"{facts['file']}:{facts.get('line')}"
        lines.append(f"{place}:  {facts.get('source', '')}")
    cause, why = REASONS.get(kind, (kind, ""))
    look = f"{place}, with the shapes of what stands there printed." if place else ""
    if kind == "NotImplementedError":
        look = f"Write it: {place}." if place else ""
    elif kind in ("SyntaxError", "IndentationError", "TabError"):
        look = f"{place}, and the line before it." if place else ""
    elif kind in ("ImportError", "ModuleNotFoundError") and "may not be imported" in text:
        cause, look = "import not allowed", "The README says which packages may be used."
    elif kind == "AttributeError" and not facts.get("own") and "was not submitted" in text:
        cause, look = "file missing", f"Is there a file {name}.py in what you submitted?"
    elif kind == "AttributeError" and not facts.get("own") and text.startswith("module "):
        cause, look = "name missing", f"Is {name} defined, and spelled as in the README?"
    elif kind == "TypeError" and not facts.get("own"):
        if "NoneType" in text:
            cause, why = "nothing returned", "None came back: is a return statement missing?"
        elif "argument" in text:
            cause, why = "other arguments", "The arguments must be those of the contract."
        look = "The contract in the README and the docstring: arguments and what is returned."
    elif kind == "Broken":
        lines[0] = text
        cause, why = "no array", "What is returned must be NumPy arrays and numbers."
        look = "The contract: what is to be returned?"
    return Wrong(AN_ANSWER, "\n".join(lines), cause, why.format(megabytes=limits.megabytes), look)
