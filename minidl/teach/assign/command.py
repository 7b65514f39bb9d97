"""`minidl assign`: list, release, check, grade, verify; what each prints and how it ends.

Exit status of `grade`: 0 when every submission was graded, whatever the scores; 3 when the grader
itself failed on one, or a file of results could not be written; 130 after Ctrl-C. Of `check` and
`verify`: 0 when all is well, else 1.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path

from .assignment import Assignment, known, load
from .grade import MINUTES, Report, grade
from .many import Task, cores, grade_many
from .release import KEPT, release
from .report import as_csv, as_gradescope, as_json, text, write
from .sandbox import Sandbox
from .submissions import Submission, collect, read_one
from .verify import Verdict, verify

__all__ = ["add_arguments", "run"]

EVERY = 2.0  # seconds between two writings of the results of many


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `minidl assign` takes."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="ACTION", help="what to do; each has a --help"
    )

    def action(name: str, help: str, described: bool = True) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=help, description=help)
        if described:
            sub.add_argument("assignment", metavar="ASSIGNMENT", help="as A2, or its folder")
        return sub

    def add_seed(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--seed", type=int, default=0, help="of the checks' inputs (default: 0)")

    def add_jobs(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--jobs", type=_count, metavar="N", help="at the same time (default: one a processor)"
        )

    action("list", "the assignments there are", described=False)

    sub = action("release", "write the handout: stubs, README, public checks")
    sub.add_argument("--out", required=True, metavar="DIR", help="an empty folder, or a new one")
    sub.add_argument("--force", action="store_true", help="replace files of an earlier handout")

    sub = action("check", "run the public checks on your own work", described=False)
    sub.add_argument("folder", nargs="?", default=".", metavar="DIR", help="the handout's folder")
    add_seed(sub)

    sub = action("grade", "run public and hidden checks on submissions")
    sub.add_argument(
        "submissions",
        nargs="+",
        metavar="SUBMISSION",
        help="a file, a folder, a zip, or a folder or zip of many",
    )
    sub.add_argument("--json", metavar="FILE", help="write everything, for programs")
    sub.add_argument("--csv", metavar="FILE", help="write a table of points")
    sub.add_argument("--feedback", metavar="DIR", help="write a text a submission, for students")
    sub.add_argument("--gradescope", metavar="FILE", help="write results.json of one submission")
    sub.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"for a submission (default: {MINUTES:g})"
    )
    add_jobs(sub)
    add_seed(sub)

    sub = action("verify", "prove an assignment's checks: solution, handout, bugs, alternatives")
    sub.add_argument("--quick", action="store_true", help="only the solution and the handout")
    add_jobs(sub)
    add_seed(sub)


def run(args: argparse.Namespace) -> int:
    """Run one action; its exit status."""
    return ACTIONS[args.action](args)


def _list(args: argparse.Namespace) -> int:
    found = known()
    if not found:
        print("no assignments here; run this where the folder lessons/assignments is")
    for key, path in found.items():
        assignment = load(path)
        hidden = f", {len(assignment.hidden)} hidden" if assignment.hidden else ""
        print(f"{key}  {assignment.title}  ({len(assignment.public)} public checks{hidden})")
    return 0


def _release(args: argparse.Namespace) -> int:
    assignment = load(args.assignment)
    names = release(assignment, args.out, args.force)
    print(f"{args.out}: {', '.join(names)}")
    print(f"Students write {', '.join(assignment.files)} and try it with: minidl assign check")
    return 0


def _check(args: argparse.Namespace) -> int:
    if not os.path.isfile(os.path.join(args.folder, "assignment.py")):
        raise FileNotFoundError(
            f"{os.path.abspath(args.folder)} is no handout (it has no assignment.py): run this in "
            "the handout's folder, or name it"
        )
    assignment = load(args.folder)
    submission = read_one(assignment.folder, assignment)
    report = grade(
        assignment, submission.files, assignment.title, seed=args.seed, checks=assignment.public
    )
    report.notes = submission.notes
    print(text(report, hidden=False))
    return 0 if report.full else 1


def _grade(args: argparse.Namespace) -> int:
    assignment = load(args.assignment)
    if args.gradescope and len(args.submissions) != 1:
        raise ValueError("--gradescope takes one submission")
    if not assignment.hidden:
        print(f"{assignment.key} has no hidden.py here: only its public checks are run")
    submissions: list[Submission] = []
    for path in args.submissions:
        submissions += collect(path, assignment, single=bool(args.gradescope))
    sandbox = Sandbox({}, assignment.calls, assignment.imports)
    protection = str(sandbox.protection(_secrets(assignment)))
    print(protection, flush=True)
    tasks = [Task(s.name, s.files, tuple(s.notes)) for s in submissions]
    results = _Results(args, assignment, len(tasks), protection)
    start = time.monotonic()
    try:
        from tqdm import tqdm

        with tqdm(total=len(tasks), unit="submission", disable=len(tasks) == 1) as bar:
            for number, report in grade_many(
                assignment,
                tasks,
                jobs=args.jobs or cores(),
                seed=args.seed,
                minutes=args.minutes,
            ):
                results.add(number, report)
                line = text(report) if len(tasks) == 1 else text(report).partition("\n")[0]
                bar.write(("\n" if len(tasks) == 1 else "") + line)
                bar.update()
    finally:
        results.write()
    reports = list(results.reports.values())
    if len(tasks) > 1:
        seconds = time.monotonic() - start
        print(f"{len(reports)} submissions in {seconds:.0f} s ({seconds / len(tasks):.1f} s each)")
    failed = [report.submission for report in reports if report.failure]
    if failed:
        print(f"NOT GRADED, by the grader's fault: {', '.join(failed)}", file=sys.stderr)
    if results.problem:
        print(f"RESULTS NOT WRITTEN: {results.problem}", file=sys.stderr)
    return 3 if failed or results.problem else 0


def _secrets(assignment: Assignment) -> list[Path]:
    """The files that no submission may read: hidden checks, bugs, solutions, what they import."""
    found = [path for path in sorted(assignment.folder.glob("*.py")) if path.name not in KEPT]
    return found + sorted((assignment.folder / "alternatives").glob("*.py"))


class _Results:
    """The files of results, written as the reports come; each one is always whole."""

    def __init__(
        self, args: argparse.Namespace, assignment: Assignment, count: int, protection: str
    ) -> None:
        self.reports: dict[int, Report] = {}
        self.problem = ""
        self._args, self._key, self._count = args, assignment.key, count
        self._protection = protection
        self._written = 0.0

    def add(self, number: int, report: Report) -> None:
        self.reports[number] = report
        if self._args.feedback:
            # The number keeps apart two names that differ only in signs a file's name cannot have.
            name = re.sub(r"[^\w.-]+", "_", report.submission).strip("._")[-80:]
            self._try(
                os.path.join(self._args.feedback, f"{number + 1:03}_{name}.txt"), text(report)
            )
        if time.monotonic() - self._written > EVERY:
            self.write()

    def write(self) -> None:
        """Write what there is; a full disk leaves the files as they were and is tried again."""
        self.problem = ""
        reports = [self.reports[number] for number in sorted(self.reports)]
        if self._args.json:
            content = as_json(reports, self._key, self._args.seed, self._protection)
            self._try(self._args.json, content)
        if self._args.csv:
            self._try(self._args.csv, as_csv(reports))
        if self._args.gradescope and reports:
            self._try(self._args.gradescope, as_gradescope(reports[0]))
        self._written = time.monotonic()

    def _try(self, path: str, content: str) -> None:
        try:
            write(path, content)
        except OSError as error:
            self.problem = f"{path}: {error.strerror or error}"


def _verify(args: argparse.Namespace) -> int:
    assignment = load(args.assignment)
    start = time.monotonic()
    from tqdm import tqdm

    with tqdm(unit="graded", desc=assignment.key) as bar:

        def done(number: int, count: int, report: Report) -> None:
            bar.total = count
            bar.update()

        verdict = verify(
            assignment,
            jobs=args.jobs or cores(),
            seed=args.seed,
            parts="quick" if args.quick else "all",
            done=done,
        )
    print(_verdict(verdict, assignment))
    calls = sum(report.calls for report in verdict.reports)
    seconds = time.monotonic() - start
    busy = sum(report.seconds for report in verdict.reports)
    print(f"{calls} calls in {seconds:.0f} s; {busy / max(1, calls):.3f} s a call and its check")
    return 1 if verdict.problems else 0


def _verdict(verdict: Verdict, assignment: Assignment) -> str:
    """What verifying found, as a table."""
    points = sum(check.points for check in assignment.checks)
    lines = [
        f"{assignment.key}  {assignment.title}",
        f"{len(assignment.public)} public and {len(assignment.hidden)} hidden checks, "
        f"{points:g} points",
        f"handout        {verdict.handout.score:g} of {points:g}",
        f"solution       {verdict.solution.score:g} of {points:g}",
    ]
    if verdict.bugs or verdict.alternatives:
        full = sum(report.full for report in verdict.alternatives.values())
        caught = len(verdict.bugs) - len(verdict.survived)
        named = caught - len(verdict.unnamed)
        lines += [
            f"alternatives   {full} of {len(verdict.alternatives)} get full marks",
            f"bugs           {caught} of {len(verdict.bugs)} lose points; the planted cause is "
            f"named for {named}",
        ]
    for bug in verdict.survived:
        lines.append(f"  SURVIVED     {bug.name}")
    for bug, report in verdict.unnamed:
        causes = dict.fromkeys(report.causes)
        named_instead = ", ".join(map(repr, causes)) or "none"
        failed = ", ".join(o.check for o in report.outcomes if not o.passed)
        lines.append(f"  NOT NAMED    {bug.name}: planted {bug.cause!r}, named {named_instead}")
        lines.append(f"               (failed: {failed})")
    for name, report in {"solution": verdict.solution, **verdict.alternatives}.items():
        if not report.full:
            lines += ["", f"LOST POINTS: {name}", text(_only_failed(report))]
    lines += [f"WRONG: {problem}" for problem in verdict.problems]
    return "\n".join(lines)


def _only_failed(report: Report) -> Report:
    failed = [outcome for outcome in report.outcomes if not outcome.passed]
    return Report(report.submission, failed, report.notes, failure=report.failure)


def _count(value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1, not {value!r}")
    return int(value)


ACTIONS = {
    "list": _list,
    "release": _release,
    "check": _check,
    "grade": _grade,
    "verify": _verify,
}
