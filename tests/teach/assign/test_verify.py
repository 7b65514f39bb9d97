"""Verifying: it is satisfied by a right assignment, and by nothing else."""

import pytest

from minidl.teach.assign.assignment import load
from minidl.teach.assign.verify import verify

from .conftest import FILES, write_assignment


def verdict(tmp_path, **changed):
    return verify(load(write_assignment(tmp_path / "a9_tiny", **changed)))


def test_a_right_assignment_is_right(tiny):
    seen = []
    found = verify(tiny, done=lambda number, count, report: seen.append((number, count)))
    assert found.problems == []
    assert seen == [(n, 6) for n in range(1, 7)]
    assert found.handout.causes == ["not written yet"] * 3
    assert found.survived == []
    assert [bug.name for bug, _ in found.unnamed] == []


def test_a_bugs_report_ends_where_its_cause_was_named(tiny):
    found = verify(tiny)
    lengths = [len(report.outcomes) for _, report in found.bugs]
    assert lengths == [1, 2, 3]


def test_quick_is_only_solution_and_handout(tiny):
    found = verify(tiny, parts="quick")
    assert (found.bugs, found.alternatives, found.problems) == ([], {}, [])


def test_a_surviving_bug_is_found(tmp_path):
    bugs = FILES["bugs.py"].replace('new="x * x"', 'new="x + x"')
    found = verdict(tmp_path, **{"bugs.py": bugs})
    assert [bug.name for bug in found.survived] == ["squares"]
    assert "2 of 3 bugs lose points, fewer than 99%" in found.problems


def test_an_unnamed_cause_is_found(tmp_path):
    bugs = FILES["bugs.py"].replace('cause="squared"', 'cause="cubed"')
    found = verdict(tmp_path, **{"bugs.py": bugs})
    [(bug, report)] = found.unnamed
    assert (bug.name, report.causes) == ("squares", ["squared"])
    assert "the cause is named for 2 of 3 bugs, fewer than 80%" in found.problems


def test_an_alternative_that_loses_points_is_found(tmp_path):
    wrong = FILES["alternatives/01_add.py"].replace("x + x", "x")
    found = verdict(tmp_path, **{"alternatives/02_wrong.py": wrong})
    assert found.problems == ["02_wrong.py scores 6 of 10"]


def test_a_handout_with_points_is_found(tmp_path):
    solution = FILES["tiny.py"].replace(
        "            # BEGIN SOLUTION\n            return 2 * x\n            # END SOLUTION",
        "            return 2 * x",
    )
    found = verdict(tmp_path, **{"tiny.py": solution, "bugs.py": None})
    assert found.problems == ["the untouched handout scores 4, not 0"]


def test_a_wrong_solution_is_found(tmp_path):
    solution = FILES["tiny.py"].replace("2 * x", "2.5 * x")
    found = verdict(tmp_path, **{"tiny.py": solution, "bugs.py": None})
    assert found.problems == ["solution scores 6 of 10"]


def test_two_bugs_that_are_one_are_refused(tmp_path):
    bugs = (
        FILES["bugs.py"]
        + """
        BUGS.append(Bug("again", cause="squared", old="return 2 * x", new="return x * x"))
        """
    )
    with pytest.raises(ValueError, match="'squares' and 'again' are the same"):
        verdict(tmp_path, **{"bugs.py": bugs})


@pytest.mark.slow
def test_workers_find_the_same(tiny):
    one, two = verify(tiny), verify(tiny, jobs=2)
    assert [r.score for r in one.reports] == [r.score for r in two.reports]
    assert [r.causes for r in one.reports] == [r.causes for r in two.reports]
