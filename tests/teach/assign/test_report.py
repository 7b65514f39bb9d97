"""Reports as students, programs, spreadsheets and Gradescope read them."""

import csv
import io
import json

from minidl.teach.assign.checks import Wrong
from minidl.teach.assign.grade import Outcome, Report
from minidl.teach.assign.report import as_csv, as_gradescope, as_json, clean, feedback, text, write
from minidl.teach.assign.student import UNWRITTEN


def made():
    long = "Cross-correlation, not convolution: the kernel is not flipped. " * 3
    wrong = Wrong(
        "grad_weight: float64 of shape (4, 3, 3, 3)",
        "float64 of shape (4, 3, 3, 3); 81 of 108 elements differ; largest error 3.2 "
        "(relative: 1.4)\nfirst at [0, 0, 0, 1]: expected 1.5, got 3.25",
        "kernel flipped",
        long.strip(),
        "One element by hand.",
    )
    shown = "debug\n" * 7 + "\x1b[31mred"
    return Report(
        "ada",
        [
            Outcome("forward", "1. Convolution", 2, "conv2d_forward.", False, 2),
            Outcome("backward", "1. Convolution", 3, "The gradient.", True, 0, wrong, "", shown),
            Outcome("pool", "2. Pooling", 5, "Pooling.", True, 5),
        ],
        ["layer.py is taken as layers.py"],
        1.5,
        3,
    )


def test_the_same_again_takes_a_line():
    wrong = Wrong("an answer", "SyntaxError", "syntax error", "", "layers.py:7.")
    outcomes = [
        Outcome(name, part, 2, "Pooling.", False, 0, wrong)
        for name, part in (("pool", "1. Pool"), ("unpool", "1. Pool"), ("norm", "2. Norm"))
    ]
    lines = text(Report("ada", outcomes, [], 1.0, 1)).splitlines()
    assert sum("SyntaxError" in line for line in lines) == 1
    again = "As above: syntax error."
    assert lines[-4:] == [
        f"  FAIL  0/2  unpool. {again}",
        "",
        "2. Norm  (0 of 2)",
        f"  FAIL  0/2  norm. {again}",
    ]


def test_what_is_not_written_yet_takes_a_line():
    wrong = Wrong("an answer", "NotImplementedError", UNWRITTEN, "", "Write it: layers.py:7.")
    outcomes = [Outcome("pool", "2. Pooling", 5, "Pooling.", True, 0, wrong)]
    assert text(Report("ada", outcomes, [], 1.0, 1)).splitlines()[-1] == (
        "  todo  0/5  pool. Write it: layers.py:7."
    )


def test_text_is_as_a_student_reads_it():
    assert (
        text(made())
        == """\
ada: 7 of 10 points
layer.py is taken as layers.py

1. Convolution  (2 of 5)
  ok    2/2  forward
  FAIL  0/3  backward
        Tested     The gradient.
        Expected   grad_weight: float64 of shape (4, 3, 3, 3)
        Got        float64 of shape (4, 3, 3, 3); 81 of 108 elements differ; largest error 3.2
                   (relative: 1.4)
                   first at [0, 0, 0, 1]: expected 1.5, got 3.25
        Cause      kernel flipped: Cross-correlation, not convolution: the kernel is not flipped.
                   Cross-correlation, not convolution: the kernel is not flipped. Cross-correlation,
                   not convolution: the kernel is not flipped.
        Look at    One element by hand.
        Printed    debug
                   debug
                   debug
                   debug
                   debug
                   ...

2. Pooling  (5 of 5)
  ok    5/5  pool"""
    )


def test_no_line_is_wider_than_a_hundred_signs():
    report = made()
    report.outcomes[1].wrong.got = "x" * 500 + " " + "word " * 100
    assert max(map(len, text(report).splitlines())) <= 100
    assert max(map(len, feedback(report.outcomes[1], 60).splitlines())) <= 60


def test_an_unknown_cause_is_said_to_be_unknown():
    outcome = Outcome("a", "1", 1, "t", False, 0, Wrong("x", "y"))
    assert "Cause      not recognised" in feedback(outcome)


def test_public_checks_are_not_taken_for_all():
    assert "Hidden ones with other inputs will be run too." in text(made(), hidden=False)


def test_control_signs_are_taken_out():
    assert clean("a\x1b[2Jb\x07\r\nc\u202ed\tä→") == "a?[2Jb??\nc?d ä→"
    assert "\x1b" not in text(made()) + as_gradescope(made()) + as_csv([made()])


def test_json_has_everything():
    facts = json.loads(as_json([made()], "A2", 7, "protected"))
    assert (facts["assignment"], facts["seed"], facts["protection"]) == ("A2", 7, "protected")
    [one] = facts["submissions"]
    assert (one["submission"], one["score"], one["points"], one["calls"]) == ("ada", 7, 10, 3)
    assert one["notes"] == ["layer.py is taken as layers.py"]
    assert [check["passed"] for check in one["checks"]] == [True, False, True]
    assert one["checks"][1]["cause"] == "kernel flipped"
    assert one["checks"][1]["hidden"] is True


def test_csv_is_a_table_and_holds_no_formulas():
    other = Report("=HYPERLINK(1)", [], [], failure="OSError: full")
    rows = list(csv.reader(io.StringIO(as_csv([made(), other]))))
    assert rows[0] == ["submission", "score", "points", "notes", "forward", "backward", "pool"]
    assert rows[1] == ["ada", "7", "10", "layer.py is taken as layers.py", "2", "0", "5"]
    assert rows[2] == ["'=HYPERLINK(1)", "", "0", "OSError: full", "", "", ""]


def test_gradescope_gets_its_format():
    facts = json.loads(as_gradescope(made()))
    assert "score" not in facts, "Gradescope adds the tests' scores up"
    assert facts["output"].splitlines() == [
        "layer.py is taken as layers.py",
        "There are 2 hidden checks, shown when the grades are published.",
    ]
    assert facts["stdout_visibility"] == "hidden"
    tests = facts["tests"]
    assert [test["number"] for test in tests] == ["1.1", "1.2", "2.1"]
    assert [test["status"] for test in tests] == ["passed", "failed", "passed"]
    assert [test["visibility"] for test in tests] == ["visible"] + ["after_published"] * 2
    assert (sum(t["score"] for t in tests), sum(t["max_score"] for t in tests)) == (7, 10)
    assert {"name", "score", "max_score", "status", "output", "output_format"} <= set(tests[0])
    assert "Cause      kernel flipped" in tests[1]["output"]


def test_the_graders_failure_is_not_a_students_zero_without_a_word():
    failed = Report("ada", failure="OSError: the disk is full")
    assert text(failed) == "ada: NOT GRADED, the grader failed: OSError: the disk is full"
    assert "the instructor has been told" not in as_json([failed], "A2", 0)
    assert json.loads(as_json([failed], "A2", 0))["submissions"][0]["score"] is None
    assert "The grader failed" in json.loads(as_gradescope(failed))["output"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "r.json"
    write(path, "old")
    write(path, "new ä")
    assert path.read_text("utf-8") == "new ä"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
