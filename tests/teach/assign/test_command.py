"""`minidl assign`, as instructors and students type it."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import minidl as md
from minidl.cli import main
from minidl.teach.assign import command

from ..ctrl_c import heed_ctrl_c
from .conftest import FILES, RIGHT, write_assignment

PLACE = {**os.environ, "PYTHONPATH": str(pathlib.Path(md.__file__).parents[1])}


def run(*words):
    """The exit status of a command."""
    try:
        return main(["assign", *map(str, words)])
    except SystemExit as end:
        return end.code


def submission(path, text=RIGHT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_list_names_what_is_there(tmp_path, monkeypatch, capsys):
    write_assignment(tmp_path / "lessons" / "assignments" / "a9_tiny")
    monkeypatch.chdir(tmp_path)
    assert run("list") == 0
    assert "A9  Three sums  (1 public checks, 2 hidden)" in capsys.readouterr().out


def test_a_student_gets_a_handout_and_checks_his_work(folder, tmp_path, capsys, monkeypatch):
    out = tmp_path / "handout"
    assert run("release", folder, "--out", out) == 0
    assert "README.md, assignment.py, calls.py, public.py, tiny.py" in capsys.readouterr().out
    monkeypatch.chdir(out)
    assert run("check") == 1
    text = capsys.readouterr().out
    assert "Three sums: 0 of 4 points" in text
    assert "todo  0/4  twice a matrix. Write it: tiny.py:8." in text
    submission(out / "tiny.py")
    assert run("check") == 0
    text = capsys.readouterr().out
    assert "Three sums: 4 of 4 points" in text
    assert "Hidden ones with other inputs will be run too." in text


def test_one_submission_is_graded_with_feedback(folder, tmp_path, capsys):
    path = submission(tmp_path / "tiny.py", RIGHT.replace("x + x", "x * x"))
    files = [tmp_path / name for name in ("r.json", "r.csv", "results.json")]
    options = ["--json", files[0], "--csv", files[1], "--gradescope", files[2]]
    assert run("grade", folder, path, *options, "--feedback", tmp_path / "texts") == 0
    text = capsys.readouterr().out
    assert "protection: fresh processes, audit hook of Python" in text
    assert "6 of 10 points" in text
    assert "Cause      squared" in text
    facts = json.loads(files[0].read_text())
    assert facts["submissions"][0]["score"] == 6
    assert "protection" in facts["protection"]
    assert list(csv.reader(files[1].open()))[1][1] == "6"
    assert len(json.loads(files[2].read_text())["tests"]) == 3
    [feedback] = (tmp_path / "texts").iterdir()
    assert feedback.name.endswith("tiny.py.txt")
    assert "Cause      squared" in feedback.read_text()


def test_many_submissions_are_all_in_the_table(folder, tmp_path, capsys):
    submission(tmp_path / "all" / "ada" / "tiny.py")
    submission(tmp_path / "all" / "bob.py", "def double(x:\n")
    submission(tmp_path / "all" / "cleo" / "wrong_name.py")
    (tmp_path / "all" / "dan").mkdir()
    submission(tmp_path / "all" / "eve" / "tiny.py", "import os; os._exit(0)\n")
    table = tmp_path / "r.csv"
    assert run("grade", folder, tmp_path / "all", "--csv", table, "--jobs", 1) == 0
    rows = list(csv.DictReader(table.open()))
    scores = {row["submission"].rpartition(os.sep)[2]: row["score"] for row in rows}
    assert scores == {"ada": "10", "bob.py": "0", "cleo": "0", "dan": "0", "eve": "0"}
    assert "missing: tiny.py; there is: wrong_name.py" in rows[2]["notes"]
    assert "5 submissions in" in capsys.readouterr().out


def test_gradescope_takes_a_folder_as_one_submission(folder, tmp_path, capsys):
    submission(tmp_path / "submission" / "wrong_name.py")
    submission(tmp_path / "submission" / "other" / "notes.txt")
    results = tmp_path / "results.json"
    assert run("grade", folder, tmp_path / "submission", "--gradescope", results) == 0
    facts = json.loads(results.read_text())
    assert [test["score"] for test in facts["tests"]] == [0, 0, 0]
    assert "missing: tiny.py; there is: other/notes.txt, wrong_name.py" in facts["output"]


def test_verify_prints_what_it_found(folder, tmp_path, capsys):
    assert run("verify", folder, "--jobs", 1) == 0
    text = capsys.readouterr().out
    for line in (
        "1 public and 2 hidden checks, 10 points",
        "handout        0 of 10",
        "solution       10 of 10",
        "alternatives   1 of 1 get full marks",
        "bugs           3 of 3 lose points; the planted cause is named for 3",
    ):
        assert line in text
    assert "s a call" in text

    bugs = FILES["bugs.py"].replace('"x * x"', '"x + x"').replace('cause="over', 'cause="not over')
    wrong = FILES["alternatives/01_add.py"].replace("axis=0", "axis=1")
    changed = {"bugs.py": bugs, "alternatives/02_wrong.py": wrong}
    assert run("verify", write_assignment(tmp_path / "a9_tiny", **changed), "--jobs", 1) == 1
    text = capsys.readouterr().out
    assert "SURVIVED     squares" in text
    assert "NOT NAMED    mean of all: planted 'not over all elements', named 'over all el" in text
    assert "LOST POINTS: 02_wrong.py" in text
    assert "WRONG: 02_wrong.py scores 7 of 10" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grade", "A77", "x.py"], "no assignment 'A77'"),
        (["grade", "FOLDER", "nobody.py"], "there is no nobody.py"),
        (["grade", "FOLDER", "a", "b", "--gradescope", "r.json"], "takes one submission"),
        (["check", "."], "is no handout"),
    ],
)
def test_mistakes_of_the_user_are_one_line(folder, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run(*(str(folder) if word == "FOLDER" else word for word in words)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_graders_failure_ends_with_status_3(folder, tmp_path, capsys, monkeypatch):
    def fails(*args, **options):
        raise OSError(28, "No space left on device")

    path = submission(tmp_path / "tiny.py")
    monkeypatch.setattr("minidl.teach.assign.many.grade", fails)
    assert run("grade", folder, path, "--json", tmp_path / "r.json") == 3
    out, err = capsys.readouterr()
    assert "NOT GRADED, the grader failed" in out
    assert "NOT GRADED, by the grader's fault" in err
    facts = json.loads((tmp_path / "r.json").read_text())["submissions"]
    assert facts[0]["score"] is None
    assert "No space left" in facts[0]["failure"]


def test_a_full_disk_leaves_the_results_that_are_there(folder, tmp_path, capsys, monkeypatch):
    for name in ("ada", "bob", "cleo"):
        submission(tmp_path / "all" / f"{name}.py")
    results = tmp_path / "r.json"
    whole = command.write
    count = []

    def full(path, content):
        count.append(path)
        if len(count) > 1:
            raise OSError(28, "No space left on device")
        whole(path, content)

    monkeypatch.setattr(command, "write", full)
    monkeypatch.setattr(command, "EVERY", 0)
    assert run("grade", folder, tmp_path / "all", "--json", results, "--jobs", 1) == 3
    assert f"RESULTS NOT WRITTEN: {results}: No space left" in capsys.readouterr().err
    assert len(json.loads(results.read_text())["submissions"]) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals as Unix has them")
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_keeps_what_is_graded_and_leaves_no_process(folder, tmp_path, jobs):
    submission(tmp_path / "all" / "a.py")
    submission(tmp_path / "all" / "b.py")
    for number in range(8):
        body = "def double(x):\n    import time\n    time.sleep(1000)\n"
        submission(tmp_path / "all" / f"c{number}.py", RIGHT + body)
    results = tmp_path / "r.json"
    words = ["grade", str(folder), str(tmp_path / "all"), "--json", str(results)]
    process = subprocess.Popen(
        [sys.executable, "-m", "minidl.cli", "assign", *words, "--jobs", str(jobs)],
        env=PLACE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )
    end = time.monotonic() + 60
    while not results.exists() or len(json.loads(results.read_text())["submissions"]) < 3:
        assert time.monotonic() < end
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    facts = json.loads(results.read_text())["submissions"]
    assert [one["score"] for one in facts[:2]] == [10, 10]
    assert 3 <= len(facts) < 10
    if sys.platform == "linux":
        time.sleep(0.5)
        assert not [pid for pid in _processes() if str(folder) in _arguments(pid)]
        child = str(command.Sandbox.__module__).replace(".", "/").replace("sandbox", "child.py")
        parents = [pid for pid in _processes() if child in _arguments(pid) and _parent(pid) == 1]
        assert parents == []


def _processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _arguments(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _parent(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
