"""Many at a time: in workers as without."""

import pytest

from minidl.teach.assign.many import Task, cores, grade_many

from .conftest import RIGHT

TASKS = [
    Task("right", {"tiny.py": RIGHT.encode()}, ("a note",)),
    Task("wrong", {"tiny.py": RIGHT.replace("x + x", "x").encode()}),
    Task("empty", {}),
    Task("ends", {"tiny.py": b"import os; os._exit(1)"}),
]


def summary(tiny, jobs):
    found = dict(grade_many(tiny, TASKS, jobs=jobs))
    return [(found[n].submission, found[n].score, found[n].notes) for n in range(len(TASKS))]


EXPECTED = [("right", 10, ["a note"]), ("wrong", 6, []), ("empty", 0, []), ("ends", 0, [])]


def test_every_task_has_its_report(tiny):
    assert summary(tiny, 1) == EXPECTED


@pytest.mark.slow
def test_workers_give_the_same_reports(tiny):
    assert summary(tiny, 2) == EXPECTED


def test_a_task_with_a_cause_ends_where_it_is_named(tiny):
    code = RIGHT.replace("x + x", "x * x").encode()
    [(_, report)] = grade_many(tiny, [Task("bug", {"tiny.py": code}, (), "squared")])
    assert len(report.outcomes) == 1


def test_a_server_that_ended_is_no_students_fault(tiny, monkeypatch):
    from minidl.teach.assign import many

    whole, count = many.grade, []

    def once(*args, **options):
        count.append(1)
        if len(count) == 1:
            raise ConnectionError("the server of the sandbox has ended")
        return whole(*args, **options)

    monkeypatch.setattr(many, "grade", once)
    [(_, report)] = grade_many(tiny, TASKS[:1])
    assert (report.score, report.failure) == (10, "")


def test_there_is_a_core():
    assert cores() >= 1
