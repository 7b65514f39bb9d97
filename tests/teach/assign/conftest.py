"""An assignment small enough to grade a hundred times: three functions, three checks."""

import textwrap

import pytest

from minidl.teach.assign.assignment import load
from minidl.teach.assign.grade import grade

FILES = {
    "README.md": "# A9\n",
    "assignment.py": """
        TITLE = "Three sums"
        FILES = ("tiny.py",)
        IMPORTS = ("numpy",)
        SECONDS = 1
        MEGABYTES = 200
        """,
    "tiny.py": '''
        """Sums."""

        import numpy as np


        def double(x):
            """Twice x."""
            # BEGIN SOLUTION
            return 2 * x
            # END SOLUTION


        def mean(x):
            """The mean over the first axis."""
            # BEGIN SOLUTION
            return x.sum(0) / len(x)
            # END SOLUTION


        def total(x):
            """The sum of all."""
            # BEGIN SOLUTION
            return np.sum(x)
            # END SOLUTION
        ''',
    "calls.py": """
        def double(student, x):
            return {"y": student.tiny.double(x)}


        def mean(student, x):
            return {"y": student.tiny.mean(x)}


        def total(student, x):
            return {"y": student.tiny.total(x)}
        """,
    "public.py": '''
        from minidl.teach.assign import Cause, check, compare


        def expected_double(x):
            return x + x


        @check(points=4, part="1. Products")
        def twice_a_matrix(student, rng):
            """double: a matrix of random numbers."""
            x = rng.standard_normal((3, 4))
            got = student.call("double", x=x)
            squared = Cause("squared", x * x, "Twice, not to the power of two.")
            compare("y", got["y"], expected_double(x), causes=[squared], look="x + x is it.")
        ''',
    "hidden.py": '''
        from minidl.teach.assign import Cause, check, compare, require

        from .public import expected_double


        @check(points=3, part="2. Sums")
        def mean_of_rows(student, rng):
            """mean: of the rows of a matrix."""
            x = rng.standard_normal((5, 3))
            causes = [Cause("over all elements", x.mean(), "Only over the first axis.")]
            compare("y", student.call("mean", x=x)["y"], x.mean(0), causes=causes)


        @check(points=3, part="2. Sums")
        def sum_of_all(student, rng):
            """total: a cube."""
            x = rng.standard_normal((2, 3, 4))
            got = student.call("total", x=x)
            compare("y", got["y"], expected_double(x).sum() / 2)
            require(not got.changed, "x was changed", cause="changed: leave it.", look="total")
        ''',
    "bugs.py": """
        from minidl.teach.assign import Bug

        BUGS = [
            Bug("squares", cause="squared", old="2 * x", new="x * x"),
            Bug("mean of all", cause="over all elements", old="x.sum(0) / len(x)", new="x.mean()"),
            Bug("minus", cause="wrong sign", old="np.sum(x)", new="-np.sum(x)"),
        ]
        """,
    "alternatives/01_add.py": """
        def double(x):
            return x + x


        def mean(x):
            return x.mean(axis=0)


        def total(x):
            return float(sum(x.ravel()))
        """,
}

# A submission that is right; the tests spoil parts of it.
RIGHT = textwrap.dedent(FILES["alternatives/01_add.py"])


def write_assignment(folder, **changed):
    """Write the assignment into a folder; `changed` are files' other content, or None."""
    for name, content in {**FILES, **changed}.items():
        if content is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(content).lstrip("\n"), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The assignment's folder; not to be changed."""
    return write_assignment(tmp_path_factory.mktemp("assignments") / "a9_tiny")


@pytest.fixture(scope="session")
def tiny(folder):
    """The assignment, loaded."""
    return load(folder)


def graded(tiny, double, before="", **options):
    """The report on a right submission whose `double` is another one."""
    code = textwrap.dedent(double).strip("\n")
    if not code.startswith("def "):
        code = "def double(x):\n" + textwrap.indent(code, "    ")
    return grade_text(tiny, f"{before}\n{RIGHT}\n{code}\n", **options)


def grade_text(tiny, text, **options):
    """The report on the text of a submission."""
    return grade(tiny, {"tiny.py": text.encode()}, **options)
