"""A lesson as a notebook: converted by jupytext, executed by nbclient.

Importing this file needs the extra `notebook`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from ..steps import FOLDER_VARIABLE
from .source import Lesson, cells_of

__all__ = ["clean_copy", "execute", "notebook_of"]

PACKAGE = Path(__file__).parents[3]
PATIENCE = 300  # seconds for a kernel to start, on a machine that does other things too


def notebook_of(lesson: Lesson, stems: Iterable[str]) -> Any:
    """The lesson as a notebook without outputs.

    Args:
        stems: of all lessons; links to their pages become links to their notebooks.
    """
    notebook = jupytext.reads(lesson.path.read_text(encoding="utf-8"), fmt="py:percent")
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"  # the same in every build
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "markdown":
            cell.source = _with_notebook_links(_with_open_details(cell.source), stems)
    return notebook


def _with_open_details(text: str) -> str:
    """The text with empty lines around <details> and </details>.

    Between them Markdown is read as such; without them it would be taken for HTML.
    """
    text = re.sub(r"<details>\s*<summary>", "<details><summary>", text)
    lines: list[str] = []
    for line in text.split("\n"):
        match = re.fullmatch(r"(\s*)(<details>.*?</summary>)?(.*?)(</details>)?\s*", line)
        assert match is not None  # each part may be empty
        indent, opening, middle, closing = match.groups()
        if opening or closing:
            parts = [part.strip() for part in (opening, middle, closing) if part and part.strip()]
            lines += [line for part in parts for line in ("", indent + part, "")]
        else:
            lines.append(line)
    return "\n".join(lines)


def _with_notebook_links(text: str, stems: Iterable[str]) -> str:
    for stem in stems:
        text = text.replace(f"]({stem}.html", f"]({stem}.ipynb")
    return text


def clean_copy(notebook: Any) -> Any:
    """The notebook without outputs, for a folder below that of the built one."""
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:  # the pages, unlike the notebooks, have no copy there
            cell.source = re.sub(r"\]\((\w+\.html)", r"](../\1", cell.source)
    return copy


class _ThisPython(KernelSpecManager):
    """Kernels of the interpreter that runs the build, whatever kernels the user has installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        arguments = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=arguments, display_name="Python 3", language="python")


async def execute(notebook: Any, lesson: Lesson, folder: Path, threads: int | None) -> None:
    """Run the notebook in a process of its own; outputs are put into it.

    Args:
        folder: where it runs and its pages of steps go.
        threads: for BLAS and the kernels; None: as many as there are.

    Raises:
        RuntimeError: a cell failed, or its process died. Names the cell and its line.
    """
    path = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, FOLDER_VARIABLE: ".", "PYTHONPATH": path}
    environment["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    running = [0]

    def begin(cell: Any, cell_index: int) -> None:
        running[0] = cell_index

    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisPython()),
        timeout=None,
        startup_timeout=PATIENCE,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--InlineBackend.figure_formats=retina", "--log-level=ERROR"],
        on_cell_start=begin,
        shutdown_kernel="immediate",
    )
    try:
        await client.async_execute(cwd=str(folder), env=environment, cleanup_kc=True)
    except CellExecutionError:
        told = _traceback(notebook.cells[running[0]])
        raise RuntimeError(f"{_place(lesson, running[0])}\n{told}") from None
    except DeadKernelError:
        raise RuntimeError(
            f"{_place(lesson, running[0])}\nits process died (killed, or out of memory)"
        ) from None


def _place(lesson: Lesson, cell: int) -> str:
    line = cells_of(lesson.path.read_text(encoding="utf-8"))[cell].line
    return f"cell {cell + 1} (line {line})"


def _traceback(cell: Any) -> str:
    """What the cell's exception printed, without the colours of a terminal."""
    lines = [x for o in cell.outputs if o.output_type == "error" for x in o.traceback]
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines)).strip()
