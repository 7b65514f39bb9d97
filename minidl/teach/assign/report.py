"""Reports in words and in files: text for students, JSON, CSV, Gradescope's results.json.

The format of results.json is Gradescope's (its documentation, "Autograder specifications").
"""

from __future__ import annotations

import csv
import io
import json
import os
import textwrap
from collections.abc import Sequence
from typing import Any

from ...io.atomic import replace_file
from .grade import Outcome, Report
from .student import UNWRITTEN

__all__ = ["as_csv", "as_gradescope", "as_json", "feedback", "text", "write"]

WIDTH = 100
LABEL = 11
PRINTED_LINES = 5
PRINTED_CHARACTERS = 400


def text(report: Report, *, hidden: bool = True) -> str:
    """A whole report, as one reads it.

    Args:
        report: it.
        hidden: whether hidden checks were among those run; else a line says that there are more.
    """
    if report.failure:
        return f"{report.submission}: NOT GRADED, the grader failed: {clean(report.failure)}"
    lines = [f"{clean(report.submission)}: {report.score:g} of {report.points:g} points"]
    lines += [clean(note) for note in report.notes]
    part = said = None
    for outcome in report.outcomes:
        if outcome.part != part:
            part = outcome.part
            own = [o for o in report.outcomes if o.part == part]
            got, most = sum(o.score for o in own), sum(o.points for o in own)
            lines += [""] * bool(lines[-1]) + [f"{part}  ({got:g} of {most:g})"]
        wrong = outcome.wrong
        title = f"{outcome.score:g}/{outcome.points:g}  {outcome.check}"
        if wrong is not None and wrong.cause == UNWRITTEN:
            # Nothing to explain: a line, so that what is wrong is not lost among these.
            lines.append(f"  todo  {title}. {clean(wrong.look)}")
            continue
        if wrong is not None and wrong.cause and (wrong.cause, wrong.got) == said:
            del lines[len(lines) - (not lines[-1]) :]
            lines.append(f"  FAIL  {title}. As above: {clean(wrong.cause)}.")
            continue
        lines.append(f"  {'ok  ' if outcome.passed else 'FAIL'}  {title}")
        if wrong is not None:
            said = wrong.cause, wrong.got
        if not outcome.passed:
            lines += [textwrap.indent(feedback(outcome), " " * 8), ""]
    if not hidden:
        lines += [""] * bool(lines[-1])
        lines += ["These are the public checks. Hidden ones with other inputs will be run too."]
    return "\n".join(lines).rstrip()


def feedback(outcome: Outcome, width: int = WIDTH - 8) -> str:
    """What there is to say of a check: tested, expected and got, likely cause, where to look."""
    wrong = outcome.wrong
    lines = _part("Tested", outcome.tested, width)
    if wrong is not None:
        if wrong.expected:
            lines += _part("Expected", wrong.expected, width)
        lines += _part("Got", wrong.got, width)
        cause = ": ".join(part for part in (wrong.cause, wrong.why) if part)
        lines += _part("Cause", cause or "not recognised from the error's pattern", width)
        if wrong.look:
            lines += _part("Look at", wrong.look, width)
    printed = clean(outcome.printed[:PRINTED_CHARACTERS]).splitlines()
    if printed and wrong is not None:
        more = len(printed) > PRINTED_LINES or len(outcome.printed) > PRINTED_CHARACTERS
        shown = printed[:PRINTED_LINES] + ["..."] * more
        lines += _part("Printed", "\n".join(shown), width)
    return "\n".join(lines)


def _part(label: str, content: str, width: int) -> list[str]:
    lines: list[str] = []
    for paragraph in clean(content).split("\n"):
        lines += textwrap.wrap(paragraph, width - LABEL, break_on_hyphens=False) or [""]
    return [(label if not i else "").ljust(LABEL) + line for i, line in enumerate(lines)]


def clean(content: str) -> str:
    """Text without control characters: a submission must not command the reader's terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in content.expandtabs(4))


# -- files ----------------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], content: str) -> None:
    """Write a file whole or not at all."""
    with replace_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(content)


def as_json(reports: Sequence[Report], key: str, seed: int, protection: str = "") -> str:
    """All that is known, for programs."""
    facts = {
        "assignment": key,
        "seed": seed,
        "protection": protection,
        "submissions": [_submission(report) for report in reports],
    }
    return json.dumps(facts, indent=1) + "\n"


def _submission(report: Report) -> dict[str, Any]:
    return {
        "submission": report.submission,
        "score": None if report.failure else report.score,
        "points": report.points,
        "failure": report.failure,
        "notes": report.notes,
        "seconds": round(report.seconds, 3),
        "calls": report.calls,
        "checks": [_check(outcome) for outcome in report.outcomes],
    }


def _check(outcome: Outcome) -> dict[str, Any]:
    wrong = outcome.wrong
    facts: dict[str, Any] = {
        "name": outcome.check,
        "part": outcome.part,
        "hidden": outcome.hidden,
        "score": outcome.score,
        "points": outcome.points,
        "passed": outcome.passed,
        "seconds": round(outcome.seconds, 3),
    }
    if wrong is not None:
        facts |= {"tested": outcome.tested, "expected": wrong.expected, "got": wrong.got}
        facts |= {"cause": wrong.cause, "why": wrong.why, "look": wrong.look}
        facts["fault"] = outcome.fault
    if outcome.printed:
        facts["printed"] = outcome.printed
    return facts


def as_csv(reports: Sequence[Report]) -> str:
    """One line a submission: its points, in all and by check; empty where it was not graded."""
    names = list(dict.fromkeys(o.check for report in reports for o in report.outcomes))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["submission", "score", "points", "notes", *names])
    for report in reports:
        scores = {outcome.check: f"{outcome.score:g}" for outcome in report.outcomes}
        score = "" if report.failure else f"{report.score:g}"
        notes = "; ".join([report.failure] * bool(report.failure) + report.notes)
        row = [report.submission, score, f"{report.points:g}", notes]
        writer.writerow([_cell(v) for v in (*row, *(scores.get(name, "") for name in names))])
    return out.getvalue()


def _cell(value: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    value = clean(value).replace("\n", " ")
    return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value


def as_gradescope(report: Report) -> str:
    """The results.json of one submission.

    Public checks are visible at once; hidden ones, with their feedback, when the grades are
    published.
    """
    parts = list(dict.fromkeys(outcome.part for outcome in report.outcomes))
    tests: list[dict[str, Any]] = []
    for outcome in report.outcomes:
        number = parts.index(outcome.part) + 1
        place = sum(o.part == outcome.part for o in report.outcomes[: len(tests)]) + 1
        tests.append(
            {
                "name": f"{outcome.part}: {outcome.check}",
                "number": f"{number}.{place}",
                "score": outcome.score,
                "max_score": outcome.points,
                "status": "passed" if outcome.passed else "failed",
                "output": feedback(outcome, WIDTH),
                "output_format": "text",
                "visibility": "after_published" if outcome.hidden else "visible",
            }
        )
    count = sum(outcome.hidden for outcome in report.outcomes)
    notes = [clean(note) for note in report.notes]
    if count:
        notes.append(f"There are {count} hidden checks, shown when the grades are published.")
    facts: dict[str, Any] = {
        "execution_time": round(report.seconds),
        "output": "\n".join(notes),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
    }
    if report.failure:
        facts |= {"output": "The grader failed; the instructor has been told.", "score": 0}
    return json.dumps(facts, indent=1) + "\n"
