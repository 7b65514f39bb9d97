"""`minidl assign release`: the handout of an assignment, made from its solution.

Each region from `# BEGIN SOLUTION` to `# END SOLUTION` becomes one line that raises
NotImplementedError; all else stays as it is. The markers are found among the file's tokens, so that
a string that speaks of them is none.
"""

from __future__ import annotations

import ast
import io
import os
import shutil
import tokenize
from pathlib import Path

from .assignment import Assignment

__all__ = ["release", "stripped"]

BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"
KEPT = ("README.md", "assignment.py", "calls.py", "public.py")


def stripped(text: str, name: str) -> str:
    """A solution without its solutions.

    Args:
        text: of a Python file with marked regions.
        name: the file's name, for messages.

    Raises:
        ValueError: a region is nested, not closed, or shares its line with code; there is none;
            or what is left is no Python.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ValueError(f"{name} is no Python: {error}") from None
    lines = io.StringIO(text).readlines()
    functions = [
        node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for first, last, indent in reversed(_regions(text, name)):
        around = [f for f in functions if f.lineno <= first <= (f.end_lineno or 0)]
        if not around:
            raise ValueError(f"{name}:{first}: a solution stands outside of any function")
        for node in ast.walk(tree):
            if not isinstance(node, ast.stmt) or not first < node.lineno < last:
                continue
            if node.col_offset < len(indent):
                raise ValueError(
                    f"{name}:{node.lineno}: code that does not belong to the solution of "
                    f"line {first}: is an {END} missing before it?"
                )
        inner = max(around, key=lambda f: f.lineno)
        owner = [node for node in classes if inner in node.body]
        what = ".".join([node.name for node in (*owner, inner)])
        lines[first - 1 : last] = [f'{indent}raise NotImplementedError("write {what} here")\n']
    result = "".join(lines)
    try:
        ast.parse(result)
    except SyntaxError as error:
        raise ValueError(f"{name} without its solutions is no Python: {error}") from None
    return result


def _regions(text: str, name: str) -> list[tuple[int, int, str]]:
    """(first line, last line, indentation) of each region, the markers included."""
    regions: list[tuple[int, int, str]] = []
    begun: tuple[int, str] | None = None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        words = " ".join(token.string.replace("#", " ").split()).upper()
        if words not in (BEGIN[2:], END[2:]):
            continue
        row, column = token.start
        if token.string.strip() not in (BEGIN, END):
            raise ValueError(f"{name}:{row}: write # {words} so, not {token.string}")
        indent = token.line[:column]
        if indent.strip():
            raise ValueError(f"{name}:{row}: {token.string} must have its line for itself")
        if token.string.strip() == BEGIN:
            if begun is not None:
                raise ValueError(f"{name}:{row}: {BEGIN} within the one of line {begun[0]}")
            begun = row, indent
        else:
            if begun is None:
                raise ValueError(f"{name}:{row}: {END} without {BEGIN}")
            regions.append((begun[0], row, begun[1]))
            begun = None
    if begun is not None:
        raise ValueError(f"{name}:{begun[0]}: {BEGIN} without {END}")
    if not regions:
        raise ValueError(f"{name}: there is no {BEGIN}")
    return regions


def release(assignment: Assignment, folder: str | Path, force: bool = False) -> list[str]:
    """Write the handout of an assignment.

    Args:
        assignment: it, with its solution.
        folder: where to, a folder that is empty or not there.
        force: write into a folder that is not empty; files of the handout are replaced.

    Returns:
        The names of the files written.

    Raises:
        FileExistsError: the folder is not empty.
        ValueError: a solution's regions are not well-formed.
    """
    out = Path(folder)
    if out.exists() and any(out.iterdir()) and not force:
        raise FileExistsError(f"{out} is not empty; choose another folder, or --force")
    stubs = {
        name: stripped((assignment.folder / name).read_text(encoding="utf-8"), name)
        for name in assignment.files
    }
    os.makedirs(out, exist_ok=True)
    kept = [name for name in KEPT if (assignment.folder / name).is_file()]
    for name in kept:
        shutil.copyfile(assignment.folder / name, out / name)
    for name, text in stubs.items():
        (out / name).write_text(text, encoding="utf-8")
    return [*kept, *stubs]
