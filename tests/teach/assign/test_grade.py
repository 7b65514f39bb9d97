"""What a student gets: points by check, feedback, and no surprises."""

import pytest

from minidl.teach.assign import Wrong, check
from minidl.teach.assign.grade import grade

from .conftest import RIGHT, grade_text, graded


def test_a_right_submission_gets_all(tiny):
    report = grade_text(tiny, RIGHT)
    assert (report.score, report.points, report.full) == (10, 10, True)
    assert report.calls == 3
    assert report.causes == []


def test_each_check_counts_for_itself(tiny):
    report = graded(tiny, "return x * x")
    assert [outcome.score for outcome in report.outcomes] == [0, 3, 3]
    wrong = report.outcomes[0].wrong
    assert (wrong.cause, wrong.look) == ("squared", "x + x is it.")
    assert wrong.why == "Twice, not to the power of two."


@pytest.mark.parametrize(
    ("double", "cause", "got"),
    [
        ("raise NotImplementedError('write it')", "not written yet", "tiny.py:15:  raise"),
        ("y = 2 * x", "nothing returned", "None"),
        ("return 2 * z", "NameError", "name 'z' is not defined\ntiny.py:15:  return 2 * z"),
        ("def double(x, y): return x", "other arguments", "missing 1 required positional"),
        ("return [2 * x]", "no array", "a list of 1"),
        ("return {'y': x}", "no array", "y is of type dict"),
        ("return (lambda x: x[7])(x)", "IndexError", "tiny.py:15:  return (lambda x: x[7])(x)"),
        ("import numpy as np; return np.zeros((2, 2)) + x", "ValueError", "could not be broadcast"),
        ("x *= 2; return x - 1", "constant offset", "12 of 12"),
        ("x[:] = 0; return x + 0.1 * x.shape[0] ** x", "input changed in place", "12 of 12"),
        ("assert False, 'never'", "AssertionError", "never"),
        ("return 1 / 0", "division by zero", "ZeroDivisionError"),
    ],
)
def test_mistakes_are_told_with_the_students_own_line(tiny, double, cause, got):
    first = graded(tiny, double).outcomes[0]
    assert first.score == 0
    assert first.wrong.cause == cause
    assert got in first.wrong.got
    assert "child.py" not in first.wrong.got


def test_missing_names_and_files_are_told(tiny):
    report = grade_text(tiny, "def total(x): return x.sum()")
    assert [outcome.score for outcome in report.outcomes] == [0, 0, 3]
    assert report.outcomes[0].wrong.cause == "name missing"
    assert report.outcomes[0].wrong.look == ("Is double defined, and spelled as in the README?")
    report = grade(tiny, {})
    assert report.score == 0
    assert report.causes == ["file missing"] * 3


def test_a_syntax_error_is_told_with_its_line(tiny):
    report = grade_text(tiny, "def double(x):\n    return 2 x\n")
    wrong = report.outcomes[0].wrong
    assert report.score == 0
    assert wrong.cause == "syntax error"
    assert "tiny.py:2:  return 2 x" in wrong.got


def test_warnings_and_prints_cost_nothing(tiny):
    body = """
        import sys, warnings, numpy as np
        warnings.warn("careful")
        np.log(np.zeros(1))
        print("hello")
        print("oh", file=sys.stderr)
        return 2 * x
        """
    report = graded(tiny, body)
    assert report.full
    assert "hello" in report.outcomes[0].printed
    assert "oh" in report.outcomes[0].printed


def test_usual_modules_may_be_used(tiny):
    before = """
import collections, dataclasses, enum, functools, itertools, math, random, time, typing
from collections import namedtuple
import numpy.testing, numpy.fft, numpy.random
from numpy.lib.stride_tricks import sliding_window_view, as_strided
Pair = namedtuple("Pair", "a b")
@dataclasses.dataclass
class Held:
    x: object
"""
    body = """
        import unittest, inspect, copy, heapq, operator, statistics, decimal, threading, queue
        from concurrent.futures import ThreadPoolExecutor
        np = numpy
        assert np.linalg.norm(np.fft.fft(np.ones(4))) == 4
        np.einsum("ij,jk", np.ones((2, 2)), np.ones((2, 2)), optimize=True)
        with open("/dev/null" if __import__("os").name == "posix" else "nul", "w") as null:
            print(time.time(), time.localtime(), random.random(), file=null)
        with ThreadPoolExecutor(2) as pool:
            return sum(pool.map(lambda part: part, [x, x]))
        """
    report = graded(tiny, body, before)
    assert report.outcomes[0].wrong is None


def test_grading_is_the_same_every_time(tiny):
    body = "import random, numpy as np; return x * random.random() + np.random.rand()"
    first, second = (graded(tiny, body).outcomes[0].wrong for _ in range(2))
    assert first.got == second.got
    assert graded(tiny, body, seed=1).outcomes[0].wrong.got != first.got


def test_a_check_that_cannot_work_with_an_answer_fails_it(tiny):
    @check(points=1, part="1")
    def fragile(student, rng):
        """Something."""
        student.call("double", x=1.0)["y"].reshape(3)

    @check(points=1, part="1")
    def asks_for_more(student, rng):
        """Something."""
        raise Wrong("x", "y") if student.call("double", x=1.0)["z"] else AssertionError

    report = grade_text(tiny, RIGHT, checks=[fragile, asks_for_more])
    assert report.score == 0
    assert report.outcomes[0].fault.startswith("AttributeError")
    assert report.outcomes[0].wrong.cause == "unusable values"
    assert (report.outcomes[1].fault, report.outcomes[1].wrong.expected) == ("", "a value z")


def test_the_graders_own_failure_is_no_zero(tiny):
    @check(points=1, part="1")
    def broken(student, rng):
        """Something."""
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        grade_text(tiny, RIGHT, checks=[broken])


def test_checks_after_the_time_of_all_say_so(tiny):
    report = grade_text(tiny, RIGHT, minutes=1e-9)
    assert report.score == 0
    assert report.causes == ["time used up"] * 3
    assert report.calls == 0


def test_inputs_that_were_changed_are_known(tiny):
    report = grade_text(
        tiny, RIGHT.replace("def total(x):", "def total(x):\n    x += 0 * x + 1; x -= 1")
    )
    assert report.outcomes[2].wrong.cause in ("changed", "precision")
