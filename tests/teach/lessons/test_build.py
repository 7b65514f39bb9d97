"""The builder: some lessons fail, some links are broken, someone presses Ctrl-C."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import minidl as md
from minidl.cli import main
from minidl.teach.lessons import source

from ..ctrl_c import heed_ctrl_c

GOOD = """\
# %% [markdown]
# # {number}. Good
#
# After this lesson you can
#
# - add.
#
# See [lesson 02](02_other.html).

# %%
import matplotlib.pyplot as plt

import minidl as md
from minidl.teach import step_through

x = md.tensor([1.0], requires_grad=True)
with md.record() as tape:
    (x * x).sum().backward()
fig, ax = plt.subplots()
ax.plot([1, 2])
plt.show()
step_through(tape, "{number}_steps", "A square")
"""
BAD = "# %% [markdown]\n# # 02. Other\n\n# %%\n1 / 0\n"
BROKEN = "# %% [markdown]\n# # 03. Broken\n# [picture](../docs/x.png), [01](01_good.html)\n"
PLACE = {**os.environ, "PYTHONPATH": str(pathlib.Path(md.__file__).parents[1])}

libraries = pytest.mark.skipif(
    any(
        __import__("importlib.util").util.find_spec(name) is None
        for name in ("jupytext", "nbclient", "ipykernel", "mistune", "latex2mathml")
    ),
    reason="needs the extra notebook",
)


@pytest.fixture
def lessons(tmp_path, monkeypatch):
    """A folder with three lessons, which is the current one."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "lessons"
    folder.mkdir()
    (folder / "01_good.py").write_text(GOOD.replace("{number}", "01"))
    (folder / "02_other.py").write_text(BAD)
    (folder / "03_broken.py").write_text(BROKEN)
    return folder


def build(*arguments):
    command = [sys.executable, "-m", "minidl", "lessons", "build", *arguments]
    return subprocess.run(command, env=PLACE, capture_output=True, text=True, timeout=300)


def test_lessons_are_listed_with_their_titles(lessons, capsys):
    assert main(["lessons", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        ["01_good", "01. Good"],
        ["02_other", "02. Other"],
        ["03_broken", "03. Broken"],
    ]


def test_a_missing_library_is_an_error_that_names_the_extra(lessons, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jupytext", None)  # as if it were not installed
    assert main(["lessons", "build"]) == 1
    error = capsys.readouterr().err
    assert "needs jupytext, which is not installed: pip install 'minidl[notebook]'" in error
    assert not pathlib.Path("runs").exists()


def test_without_lessons_the_command_says_where_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(source, "BESIDE_THE_PACKAGE", tmp_path / "none")
    for action in ("list", "build"):
        assert main(["lessons", action]) == 1
        assert "clone it" in capsys.readouterr().err


@libraries
def test_notebooks_to_work_through_are_written_without_running_anything(lessons, capsys):
    assert main(["lessons", "build", "1", "2", "--notebooks-only", "--out", "out"]) == 0
    written = sorted(p.name for p in pathlib.Path("out").rglob("*") if p.is_file())
    assert written == ["01_good.ipynb", "02_other.ipynb"]
    assert not list(pathlib.Path("out").glob("*.html"))


@libraries
@pytest.mark.slow
def test_a_failing_lesson_is_named_and_the_others_are_built(lessons):
    pathlib.Path("out").mkdir()
    pathlib.Path("out", "02_other.html").write_text("of an earlier build")
    done = build("1", "2", "--out", "out", "--jobs", "2")
    assert done.returncode == 1
    assert "FAILED 02_other.py, cell 2 (line 4)" in done.stdout
    assert "ZeroDivisionError: division by zero" in done.stdout
    assert done.stderr == "minidl lessons: 1 failed: 02_other\n"
    names = sorted(str(p.relative_to("out")) for p in pathlib.Path("out").rglob("*.*"))
    clean = [os.path.join("clean", x) for x in ("01_good.ipynb", "02_other.ipynb")]
    assert names == ["01_good.html", "01_good.ipynb", "01_steps.html", *clean, "index.html"]
    page = pathlib.Path("out", "01_good.html").read_text()
    assert 'src="data:image/png;base64,' in page
    assert 'href="01_steps.html"' in page
    assert 'href="02_other.html"' not in pathlib.Path("out", "index.html").read_text()


@libraries
@pytest.mark.slow
def test_a_broken_link_is_an_error_and_a_lesson_that_was_left_out_is_a_remark(lessons):
    done = build("03_broken", "--out", "out")
    assert done.returncode == 1
    assert "linked, but not built: 01_good, 02_other" in done.stdout
    assert done.stderr == (
        "minidl lessons: 03_broken.html links to ../docs/x.png, which is not there\n"
    )


@libraries
@pytest.mark.slow
def test_a_formula_that_cannot_be_converted_fails_its_lesson(lessons):
    (lessons / "02_other.py").write_text("# %% [markdown]\n# # 02. Other\n# $\\unheard$\n")
    done = build("2", "--out", "out")
    assert done.returncode == 1
    assert "FAILED 02_other.py, formula not understood: \\unheard" in done.stdout


@libraries
@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a process")
def test_ctrl_c_ends_the_build_and_its_processes(lessons, tmp_path):
    (lessons / "02_other.py").write_text(
        "# %% [markdown]\n# # 02. Other\n\n# %%\nimport os, time\n"
        "open('pid', 'w').write(str(os.getpid()))\ntime.sleep(300)\n"
    )
    command = [sys.executable, "-m", "minidl", "lessons", "build", "2", "--out", "out"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=PLACE, text=True, preexec_fn=heed_ctrl_c, **pipes)
    file = pathlib.Path("out", "pid")
    end = time.monotonic() + 120
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.1)
    kernel = int(file.read_text())
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)
