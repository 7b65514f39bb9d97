"""A lesson's page of steps: written where the built lessons lie, and linked from the notebook."""

from __future__ import annotations

import html
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .stepper import record

__all__ = ["FOLDER_VARIABLE", "StepsPage", "step_through"]

FOLDER_VARIABLE = "MINIDL_LESSONS_OUT"
FOLDER = os.path.join("runs", "lessons")


@dataclass(frozen=True)
class StepsPage:
    """A page on which one steps through a computation; a notebook shows it as a link.

    Attributes:
        path: the HTML file.
        title: of the page.
    """

    path: Path
    title: str

    def _repr_html_(self) -> str:
        # A notebook's links start from its own folder, and that is where its kernel runs.
        link = html.escape(quote(Path(os.path.relpath(self.path)).as_posix()))
        title = html.escape(self.title)
        return f'<a class="steps" href="{link}" target="_blank">Step through: {title}</a>'


def step_through(tape: record, name: str, title: str) -> StepsPage:
    """Write a page on which one steps through a recorded computation, and show where it lies.

    The folder is the one that the environment variable MINIDL_LESSONS_OUT names, as
    `minidl lessons build` does; otherwise runs/lessons within the current one.

    Args:
        tape: what `minidl.record()` wrote down.
        name: of the file, without ".html": letters, digits and underscores.
        title: of the page.

    Returns:
        The page. As the last value of a notebook's cell it becomes a link.

    Raises:
        ValueError: the name has other characters, or nothing was recorded.

    Example:
        >>> with minidl.record() as tape:
        ...     (x * w).sum().backward()
        >>> step_through(tape, "product", "A product and its gradients")
        steps: runs/lessons/product.html
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise ValueError(
            f"step_through: a page's name has letters, digits and underscores only, not {name!r}"
        )
    folder = Path(os.environ.get(FOLDER_VARIABLE) or FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.html"
    tape.html(path, title)
    print(f"steps: {path}")
    return StepsPage(path.absolute(), title)
