"""The lessons' source: percent-format Python files, where they lie and what is in them.

`# %%` begins a cell of code and `# %% [markdown]` one of prose, whose lines are comments. This is
read here as far as a list of the lessons needs it; the conversion to notebooks is jupytext's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cell", "Lesson", "cells_of", "choose", "find_lessons"]

BESIDE_THE_PACKAGE = Path(__file__).parents[3] / "lessons"


@dataclass(frozen=True)
class Cell:
    """One cell of a lesson.

    Attributes:
        kind: "code" or "markdown".
        line: of the file on which its marker stands, from 1.
        text: what is in it; of prose without the comment signs.
    """

    kind: str
    line: int
    text: str


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    Attributes:
        path: its file.
        title: "03. A scalar autograd".
        abilities: what one can do after it, in Markdown.
    """

    path: Path
    title: str
    abilities: tuple[str, ...]

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def number(self) -> str:
        return self.stem[:2]


def cells_of(text: str) -> list[Cell]:
    """The cells of a percent-format file; what stands before the first marker is code."""
    starts: list[tuple[str, int]] = [("code", 0)]
    lines = text.splitlines()
    for i, line in enumerate(lines, 1):
        if re.match(r"# %%( |$)", line):
            starts.append(("markdown" if "[markdown]" in line else "code", i))
    found = []
    ends = [line - 1 for _, line in starts[1:]] + [len(lines)]
    for (kind, start), end in zip(starts, ends, strict=True):
        content = lines[start:end]
        if kind == "markdown":
            content = [re.sub(r"^# ?", "", line) for line in content]
        inside = "\n".join(content).strip()
        if inside or start:
            found.append(Cell(kind, start, inside))
    return found


def find_lessons() -> list[Lesson]:
    """All lessons, by number: those in ./lessons, else those beside the package.

    Raises:
        FileNotFoundError: there are none; an installed package comes without them.
        ValueError: a lesson does not begin with a heading.
    """
    for folder in (Path("lessons"), BESIDE_THE_PACKAGE):
        paths = sorted(folder.glob("[0-9][0-9]_*.py"))
        if paths:
            return [_read(path) for path in paths]
    raise FileNotFoundError(
        f"no lessons: neither {Path('lessons').absolute()} nor {BESIDE_THE_PACKAGE} has any. They "
        "are in minidl's repository, not in the installed package: clone it and run this there"
    )


def _read(path: Path) -> Lesson:
    cells = cells_of(path.read_text(encoding="utf-8"))
    first = cells[0].text.splitlines() if cells and cells[0].kind == "markdown" else []
    if not first or not first[0].startswith("# "):
        raise ValueError(
            f"{path}: a lesson begins with a cell of prose whose first line is # Title"
        )
    # A list's item may go on over several lines.
    items = re.findall(
        r"^[-*] (.+?)(?=\n[-*] |\n\n|\Z)", "\n".join(first), re.MULTILINE | re.DOTALL
    )
    return Lesson(path, first[0][2:].strip(), tuple(" ".join(item.split()) for item in items))


def choose(lessons: Sequence[Lesson], names: Sequence[str]) -> list[Lesson]:
    """The lessons that are named by number, by file or by its stem; all for no names.

    Raises:
        ValueError: there is no such lesson.
    """
    chosen = []
    for name in names:
        stem = Path(name).name.removesuffix(".py")
        fits = [x for x in lessons if stem in (x.stem, x.number, x.number.lstrip("0"))]
        if not fits:
            known = ", ".join(x.stem for x in lessons)
            raise ValueError(f"there is no lesson {name!r}; there are {known}")
        chosen += fits
    return [x for x in lessons if x in chosen] if names else list(lessons)
