"""Many submissions: graded side by side in worker processes, each with its own sandboxes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from .assignment import Assignment, load
from .grade import MINUTES, Outcome, Report, grade

__all__ = ["Task", "cores", "grade_many"]


@dataclass(frozen=True)
class Task:
    """One submission to grade.

    Attributes:
        name: of it.
        files: their content, by name.
        notes: what is known of it before.
        cause: stop when a check that fails names this cause; None: run all checks.
    """

    name: str
    files: dict[str, bytes]
    notes: tuple[str, ...] = ()
    cause: str | None = None


def cores() -> int:
    """How many processes can run at the same time."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def grade_many(
    assignment: Assignment,
    tasks: Iterable[Task],
    *,
    jobs: int = 1,
    seed: int = 0,
    minutes: float = MINUTES,
) -> Iterator[tuple[int, Report]]:
    """Grade submissions, yielding (its number, report) as each one is ready.

    Args:
        assignment: what they are submissions of.
        tasks: the submissions.
        jobs: how many at the same time.
        seed: of the checks' random inputs.
        minutes: for all checks of one submission.
    """
    tasks = list(tasks)
    if jobs <= 1 or len(tasks) <= 1:
        for number, task in enumerate(tasks):
            yield number, _graded(assignment, task, seed, minutes)
        return
    pool = ProcessPoolExecutor(
        min(jobs, len(tasks)),
        multiprocessing.get_context("spawn"),
        _begin,
        (str(assignment.folder),),
    )
    try:
        waiting: dict[Future[Report], int] = {}
        upcoming = iter(enumerate(tasks))
        while True:
            for number, task in upcoming:
                waiting[pool.submit(_in_worker, task, seed, minutes)] = number
                if len(waiting) > 2 * jobs:
                    break
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()
    finally:
        # After Ctrl-C or an error nothing that waits is begun.
        pool.shutdown(wait=True, cancel_futures=True)


_assignment: Assignment | None = None


def _begin(folder: str) -> None:
    """Prepare a worker."""
    global _assignment
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits for it
    _assignment = load(Path(folder))


def _in_worker(task: Task, seed: int, minutes: float) -> Report:
    assert _assignment is not None
    return _graded(_assignment, task, seed, minutes)


def _graded(assignment: Assignment, task: Task, seed: int, minutes: float) -> Report:
    def enough(outcome: Outcome) -> bool:
        return (
            task.cause is not None
            and outcome.wrong is not None
            and (outcome.wrong.cause == task.cause)
        )

    for attempt in (1, 2):
        try:
            report = grade(
                assignment, task.files, task.name, seed=seed, minutes=minutes, enough=enough
            )
            break
        except OSError as error:  # a server that the system has ended: once more
            if attempt == 2:
                report = Report(task.name, failure=f"{type(error).__name__}: {error}")
    report.notes = [*task.notes, *report.notes]
    return report
