"""`minidl assign verify`: is a grader right? Its handout, solution, planted bugs, alternatives.

The handout must score 0, the solution and every alternative full marks. Of the bugs, 99 in 100 must
lose points, and for 80 in 100 the feedback of some check must name the cause that was planted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .assignment import Assignment, module_of
from .bugs import Bug
from .grade import Report
from .many import Task, grade_many
from .release import stripped
from .submissions import read_one

__all__ = ["Verdict", "verify"]

LOSE, NAMED = 0.99, 0.80


@dataclass
class Verdict:
    """What verifying found.

    Attributes:
        handout, solution: the reports on these.
        bugs: each planted bug and its report, which ends where the bug's cause was named.
        alternatives: by name, the report on each correct but different implementation.
    """

    handout: Report
    solution: Report
    bugs: list[tuple[Bug, Report]] = field(default_factory=list)
    alternatives: dict[str, Report] = field(default_factory=dict)

    @property
    def reports(self) -> list[Report]:
        reports = [self.handout, self.solution, *self.alternatives.values()]
        return reports + [report for _, report in self.bugs]

    @property
    def survived(self) -> list[Bug]:
        """The bugs that no check caught."""
        return [bug for bug, report in self.bugs if report.full]

    @property
    def unnamed(self) -> list[tuple[Bug, Report]]:
        """The bugs that lost points, but not for the cause that was planted."""
        caught = [(bug, report) for bug, report in self.bugs if not report.full]
        return [(bug, report) for bug, report in caught if bug.cause not in report.causes]

    @property
    def problems(self) -> list[str]:
        """Why the assignment is not as it must be; empty where it is."""
        found = [f"not graded: {r.submission}: {r.failure}" for r in self.reports if r.failure]
        if self.handout.score != 0:
            found.append(f"the untouched handout scores {self.handout.score:g}, not 0")
        for name, report in {"solution": self.solution, **self.alternatives}.items():
            if not report.full:
                found.append(f"{name} scores {report.score:g} of {report.points:g}")
        count = len(self.bugs)
        caught = count - len(self.survived)
        if caught < LOSE * count:
            found.append(f"{caught} of {count} bugs lose points, fewer than {LOSE:.0%}")
        named = caught - len(self.unnamed)
        if named < NAMED * count:
            found.append(f"the cause is named for {named} of {count} bugs, fewer than {NAMED:.0%}")
        return found


def verify(
    assignment: Assignment,
    *,
    jobs: int = 1,
    seed: int = 0,
    parts: str = "all",
    done: Callable[[int, int, Report], None] = lambda number, count, report: None,
) -> Verdict:
    """Grade an assignment's handout, solution, alternatives and bugs.

    Args:
        assignment: it, with solution, bugs.py and alternatives/.
        jobs: how many at the same time.
        seed: of the checks' random inputs.
        parts: "all", or "quick": only handout and solution.
        done: called with each report, its number and their count, as they come.

    Raises:
        ValueError: a file is missing, a bug cannot be planted, two bugs are the same.
    """
    folder = assignment.folder
    solution = read_one(folder, assignment).files
    missing = [name for name in assignment.files if name not in solution]
    if missing:
        raise ValueError(f"{folder} has no {', '.join(missing)}")
    stubs = {name: stripped(text.decode(), name).encode() for name, text in solution.items()}
    bugs = _bugs(folder) if parts == "all" else []
    others = _alternatives(folder, assignment) if parts == "all" else {}
    tasks = [Task("handout", stubs), Task("solution", solution)]
    tasks += [Task(f"alternative: {name}", files) for name, files in others.items()]
    seen: dict[tuple[tuple[str, bytes], ...], str] = {}
    for bug in bugs:
        files = bug.planted(solution)
        key = tuple(sorted(files.items()))
        if key in seen:
            raise ValueError(f"bugs {seen[key]!r} and {bug.name!r} are the same")
        seen[key] = bug.name
        tasks.append(Task(f"bug: {bug.name}", files, (), bug.cause))
    reports: dict[int, Report] = {}
    for number, report in grade_many(assignment, tasks, jobs=jobs, seed=seed):
        reports[number] = report
        done(len(reports), len(tasks), report)
    verdict = Verdict(reports[0], reports[1])
    verdict.alternatives = {name: reports[2 + i] for i, name in enumerate(others)}
    verdict.bugs = [(bug, reports[2 + len(others) + i]) for i, bug in enumerate(bugs)]
    return verdict


def _bugs(folder: Path) -> list[Bug]:
    if not (folder / "bugs.py").is_file():
        return []
    return list(module_of(folder, "bugs.py").BUGS)


def _alternatives(folder: Path, assignment: Assignment) -> dict[str, dict[str, bytes]]:
    """The files of each alternative, by its name."""
    found: dict[str, dict[str, bytes]] = {}
    root = folder / "alternatives"
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if path.name.startswith((".", "__")):
            continue
        files = read_one(path, assignment).files
        missing = [name for name in assignment.files if name not in files]
        if missing:
            raise ValueError(f"{path} has no {', '.join(missing)}")
        found[path.name] = files
    return found
