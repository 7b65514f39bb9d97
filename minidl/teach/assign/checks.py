"""What a check is made of: `@check`, `require`, and `Wrong`, the feedback in four parts.

A check is a function of (student, rng) in an assignment's public.py or hidden.py. It draws inputs,
calls the submission in the sandbox and compares what comes back with what it knows; where the two
differ it raises `Wrong`. It runs in the grader's own process, which the submission never enters.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .student import Result, Student

__all__ = ["Check", "Wrong", "check", "last_call", "require"]

# The last call's result in the check that runs: its inputs help to recognise a mistake.
last_call: ContextVar[Result | None] = ContextVar("last_call", default=None)


class Wrong(Exception):
    """A check's verdict that an answer is wrong: the feedback a student reads.

    Attributes:
        expected: what the contract asks for, a line or several.
        got: what came instead.
        cause: the name of the most likely cause, or None.
        why: a sentence on that cause.
        look: what to look at next.
    """

    def __init__(
        self,
        expected: str,
        got: str,
        cause: str | None = None,
        why: str = "",
        look: str = "",
    ) -> None:
        self.expected, self.got = expected, got
        self.cause, self.why, self.look = cause, why, look
        super().__init__(f"expected {expected}; got {got}")

    def __reduce__(self) -> tuple[Any, ...]:  # reports travel between processes
        return type(self), (self.expected, self.got, self.cause, self.why, self.look)


@dataclass(frozen=True)
class Check:
    """One check of an assignment, worth all its points or none.

    Attributes:
        name: the function's name with spaces for underscores.
        tested: what it tests: the first paragraph of its docstring.
        points: what it is worth.
        part: the part of the assignment it belongs to.
        function: what runs, given (student, rng).
        seconds: limit of each call in the sandbox; None: the assignment's.
        megabytes: limit of memory likewise.
        hidden: whether it came from hidden.py.
    """

    name: str
    tested: str
    points: float
    part: str
    function: Callable[[Student, np.random.Generator], None]
    seconds: float | None = None
    megabytes: float | None = None
    hidden: bool = False

    def rng(self, seed: int) -> np.random.Generator:
        """The check's own random numbers, the same ones for everybody under one seed."""
        return np.random.default_rng([zlib.crc32(self.name.encode()), seed])

    def __call__(self, student: Any, rng: np.random.Generator) -> None:
        self.function(student, rng)


def check(
    points: float, part: str, seconds: float | None = None, megabytes: float | None = None
) -> Callable[[Callable[..., None]], Check]:
    """Make a check of a function of (student, rng).

    Args:
        points: what it is worth; a submission gets all of them or none.
        part: the part of the assignment it belongs to, as "1. Convolution".
        seconds: limit of processor time of each call in the sandbox (default: the assignment's).
        megabytes: limit of memory of each call (default: the assignment's).

    The function's docstring says what is tested; a student reads it.
    """

    def make(function: Callable[..., None]) -> Check:
        name = getattr(function, "__name__", "check")
        tested = " ".join((function.__doc__ or "").split("\n\n")[0].split())
        if not tested:
            raise ValueError(f"check {name}: its docstring must say what is tested")
        if not points > 0:
            raise ValueError(f"check {name}: points must be above 0, not {points}")
        return Check(name.replace("_", " "), tested, points, part, function, seconds, megabytes)

    return make


def require(condition: Any, message: str, cause: str | None = None, look: str = "") -> None:
    """Demand a fact that is no comparison of arrays.

    Args:
        condition: what must hold.
        message: what was expected and what came, a sentence a student reads.
        cause: the name of the most likely cause, or "name: sentence on it".
        look: what to look at next.

    Raises:
        Wrong: it does not hold.
    """
    if not condition:
        name, _, why = (cause or "").partition(": ")
        raise Wrong("", message, name or None, why, look)
