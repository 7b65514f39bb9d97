"""Grading: every check of an assignment on a submission, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .assignment import Assignment
from .checks import Check, Wrong, last_call
from .sandbox import Limits, Sandbox
from .student import Student

__all__ = ["MINUTES", "Outcome", "Report", "grade"]

MINUTES = 8.0  # for all checks of a submission: Gradescope ends a grader after 10


@dataclass
class Outcome:
    """What one check found.

    Attributes:
        check: the check's name; part, points, tested and hidden are the check's too.
        score: its points, or 0.
        wrong: the feedback where it failed, else None.
        fault: the check's own exception, where it could not work with what came; else "".
        printed: the beginning of what the submission printed meanwhile.
        seconds: the time it took.
    """

    check: str
    part: str
    points: float
    tested: str
    hidden: bool
    score: float = 0.0
    wrong: Wrong | None = None
    fault: str = ""
    printed: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.wrong is None


@dataclass
class Report:
    """What grading a submission found.

    Attributes:
        submission: its name.
        outcomes: of each check.
        notes: what there is to say of the submission as a whole.
        seconds: the time it took; calls: of processes in the sandbox.
        failure: why the grader, not the submission, failed; then there is no score.
    """

    submission: str
    outcomes: list[Outcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    calls: int = 0
    failure: str = ""

    @property
    def score(self) -> float:
        return sum(outcome.score for outcome in self.outcomes)

    @property
    def points(self) -> float:
        return sum(outcome.points for outcome in self.outcomes)

    @property
    def full(self) -> bool:
        return not self.failure and all(outcome.passed for outcome in self.outcomes)

    @property
    def causes(self) -> list[str]:
        """The names of the causes that were recognised."""
        wrongs = [outcome.wrong for outcome in self.outcomes if outcome.wrong is not None]
        return [wrong.cause for wrong in wrongs if wrong.cause]


def grade(
    assignment: Assignment,
    files: dict[str, bytes],
    name: str = "submission",
    *,
    seed: int = 0,
    checks: Sequence[Check] | None = None,
    minutes: float = MINUTES,
    enough: Callable[[Outcome], bool] = lambda outcome: False,
) -> Report:
    """Run the checks of an assignment on a submission.

    Args:
        assignment: it.
        files: the submitted files' content, by name.
        name: of the submission.
        seed: of the checks' random inputs.
        checks: which ones (default: all).
        minutes: for all of them; the checks that are left then fail, and say so.
        enough: tells from an outcome whether the rest need not be run.

    Raises:
        OSError, RuntimeError: the grader itself failed: the disk is full, no process can be made.
    """
    start = time.monotonic()
    report = Report(name)
    sandbox = Sandbox(files, assignment.calls, assignment.imports)
    slow: dict[str, int] = {}
    for check in assignment.checks if checks is None else checks:
        limits = Limits(
            check.seconds or assignment.seconds, check.megabytes or assignment.megabytes
        )
        student = Student(sandbox, limits, slow)
        over = time.monotonic() - start > 60 * minutes
        outcome = _not_run(check, minutes) if over else _run(check, student, seed)
        report.outcomes.append(outcome)
        report.calls += student.calls
        if enough(outcome):
            break
    report.seconds = time.monotonic() - start
    return report


def _run(check: Check, student: Student, seed: int) -> Outcome:
    """Run a check; whatever a submission makes happen in it becomes its outcome."""
    outcome = Outcome(check.name, check.part, check.points, check.tested, check.hidden)
    start = time.monotonic()
    last_call.set(None)
    try:
        check(student, check.rng(seed))
        outcome.score = check.points
    except Wrong as wrong:
        outcome.wrong = wrong
    except OSError:  # the sandbox's: a check itself opens nothing
        raise
    except Exception as error:  # the check's own arithmetic fails on what came
        outcome.fault = f"{type(error).__name__}: {error!s:.300}"
        outcome.wrong = Wrong(
            "values of the contract's types and shapes",
            f"values on which the check cannot compute ({outcome.fault})",
            "unusable values",
            look="The types and shapes of what you return.",
        )
    outcome.printed = student.printed
    outcome.seconds = time.monotonic() - start
    return outcome


def _not_run(check: Check, minutes: float) -> Outcome:
    wrong = Wrong(
        "an answer",
        f"not run: the {minutes:g} minutes for all checks were used up before",
        "time used up",
        look="The checks above that were too slow: they used up the time.",
    )
    return Outcome(check.name, check.part, check.points, check.tested, check.hidden, 0.0, wrong)
