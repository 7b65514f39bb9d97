"""Handouts: the regions go, all else stays, and nothing of the instructor's is among it."""

import ast

import pytest

from minidl.teach.assign.assignment import load
from minidl.teach.assign.grade import grade
from minidl.teach.assign.release import release, stripped

from .conftest import write_assignment

SOLUTION = '''"""It speaks of # BEGIN SOLUTION."""

import numpy as np  # stays


class Layer:
    """A layer."""

    def forward(self, x):
        """Forward."""
        scale = 2
        # BEGIN SOLUTION
        text = """
# END SOLUTION
"""
        if x:
            return text
        return scale
        # END SOLUTION

    def backward(self, x):
        def inner(y):
            # BEGIN SOLUTION
            return y
            # END SOLUTION

        return inner(x)
'''


def test_regions_become_stubs_and_the_rest_stays():
    text = stripped(SOLUTION, "layer.py")
    assert (
        text
        == '''"""It speaks of # BEGIN SOLUTION."""

import numpy as np  # stays


class Layer:
    """A layer."""

    def forward(self, x):
        """Forward."""
        scale = 2
        raise NotImplementedError("write Layer.forward here")

    def backward(self, x):
        def inner(y):
            raise NotImplementedError("write inner here")

        return inner(x)
'''
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f():\n    return 1\n", "there is no # BEGIN SOLUTION"),
        ("def f():\n    # BEGIN SOLUTION\n    return 1\n", "x.py:2: # BEGIN SOLUTION without"),
        ("def f():\n    return 1\n    # END SOLUTION\n", "x.py:3: # END SOLUTION without"),
        (
            "def f():\n    # BEGIN SOLUTION\n    # BEGIN SOLUTION\n    return 1\n",
            "x.py:3: # BEGIN SOLUTION within the one of line 2",
        ),
        ("def f():\n    x = 1  # BEGIN SOLUTION\n", "x.py:2: # BEGIN SOLUTION must have its line"),
        ("# BEGIN SOLUTION\nx = 1\n# END SOLUTION\n", "x.py:1: a solution stands outside"),
        (
            "def f():\n    # BEGIN SOLUTION\n    return 1\n\n"
            "def g():\n    pass\n    # END SOLUTION\n",
            "x.py:5: code that does not belong to the solution of line 2",
        ),
        (
            "def f(x):\n    if x:\n        y = 1\n    # BEGIN SOLUTION\n    else:\n"
            "        y = 2\n    # END SOLUTION\n    return y\n",
            "",
        ),
        ("def f(x):\n    # begin solution\n    return 1\n", "x.py:2: write # BEGIN SOLUTION"),
        ("def f(x)\n", "x.py is no Python"),
    ],
)
def test_regions_that_are_not_well_formed_are_errors(text, message):
    if not message:  # the stub takes an else from its if: what is left still parses
        ast.parse(stripped(text, "x.py"))
        return
    with pytest.raises(ValueError, match=message):
        stripped(text, "x.py")


def test_a_handout_holds_nothing_of_the_instructors(tiny, tmp_path):
    out = tmp_path / "new" / "handout"
    names = release(tiny, out)
    assert sorted(path.name for path in out.rglob("*")) == sorted(names)
    assert sorted(names) == ["README.md", "assignment.py", "calls.py", "public.py", "tiny.py"]
    everything = "".join(path.read_text() for path in out.iterdir())
    for secret in ("mean of rows", "squares", "SOLUTION", "x.sum(0)"):
        assert secret not in everything
    handout = load(out)
    assert handout.hidden == ()
    report = grade(tiny, {"tiny.py": (out / "tiny.py").read_bytes()})
    assert report.score == 0
    assert report.causes == ["not written yet"] * 3


def test_a_folder_with_something_in_it_is_refused(tiny, tmp_path):
    (tmp_path / "tiny.py").write_text("a night's work")
    with pytest.raises(FileExistsError, match="is not empty"):
        release(tiny, tmp_path)
    assert (tmp_path / "tiny.py").read_text() == "a night's work"
    release(tiny, tmp_path, force=True)
    assert "NotImplementedError" in (tmp_path / "tiny.py").read_text()


def test_a_solution_without_regions_is_not_released(tmp_path):
    text = {"tiny.py": "def double(x):\n    return 2 * x\n"}
    with pytest.raises(ValueError, match="there is no # BEGIN SOLUTION"):
        release(load(write_assignment(tmp_path / "a9_tiny", **text)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
