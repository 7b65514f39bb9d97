"""All lessons, or some of them, built side by side: notebooks, pages, the list of them."""

from __future__ import annotations

import asyncio
import importlib
import os
import threading
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from ...io import replace_file
from .links import Missing, missing_links
from .source import Lesson, choose, find_lessons

__all__ = ["build_lessons"]

# Module and what it is for.
LIBRARIES = ("jupytext", "nbclient", "ipykernel", "matplotlib_inline")
PAGE_LIBRARIES = ("mistune", "pygments", "latex2mathml")


def build_lessons(
    names: Sequence[str] = (),
    out: str | os.PathLike[str] = "runs/lessons",
    jobs: int | None = None,
    notebooks_only: bool = False,
) -> None:
    """Run lessons and make a notebook and a page of each, and a page that lists all.

    In `out`: NN_name.ipynb and NN_name.html with what the code printed and drew, the pages of
    steps, index.html, and clean/NN_name.ipynb without results, to work through. A lesson that
    fails leaves no page, and does not keep the others from being built.

    Args:
        names: of the lessons, as "3", "03_scalar_autograd" or a path; none: all.
        out: the folder.
        jobs: lessons that run at a time; by default as many as there are processors. If several
            do, each computes with one thread.
        notebooks_only: run nothing; write the notebooks without results only.

    Raises:
        FileNotFoundError, ValueError: there are no lessons, or none of a name.
        RuntimeError: the extra `notebook` is not installed; lessons failed; links lead nowhere.
    """
    lessons = find_lessons()
    chosen = choose(lessons, names)
    _need(("jupytext",) if notebooks_only else LIBRARIES + PAGE_LIBRARIES)
    folder = Path(out)
    (folder / "clean").mkdir(parents=True, exist_ok=True)
    if notebooks_only:
        _write_clean(lessons, chosen, folder)
        return
    jobs = max(1, min(jobs or os.cpu_count() or 1, len(chosen)))
    failures: dict[str, str] = {}
    stopping = threading.Event()
    _in_a_thread(_build(lessons, chosen, folder, jobs, failures, stopping), stopping)

    from .page import index_page

    _write(folder / "index.html", index_page(lessons, folder))
    # Pages of steps have no links.
    pages = [folder / "index.html"]
    pages += [folder / f"{x.stem}.html" for x in chosen if x.stem not in failures]
    missing = [link for page in pages for link in missing_links(page)]
    broken, not_built = _sorted_out(missing, lessons, chosen, failures)
    print(f"{len(chosen) - len(failures)} of {len(chosen)} lessons: {folder / 'index.html'}")
    if not_built:
        print(f"linked, but not built: {', '.join(sorted(not_built))}")
    problems = [f"{page} links to {link}, which is not there" for page, link in broken]
    if failures:
        problems.append(f"{len(failures)} failed: {', '.join(sorted(failures))}")
    if problems:
        raise RuntimeError("\n  ".join(problems))


def _need(libraries: Sequence[str]) -> None:
    for name in libraries:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise RuntimeError(
                f"building lessons needs {error.name}, which is not installed: "
                "pip install 'minidl[notebook]', or pip install -e '.[notebook]' in a clone"
            ) from None


def _write(path: Path, text: str) -> None:
    with replace_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)


def _write_clean(lessons: Sequence[Lesson], chosen: Sequence[Lesson], folder: Path) -> None:
    import nbformat

    from .notebook import clean_copy, notebook_of

    stems = [x.stem for x in lessons]
    for lesson in chosen:
        path = folder / "clean" / f"{lesson.stem}.ipynb"
        _write(path, nbformat.writes(clean_copy(notebook_of(lesson, stems))))
        print(path)


# -- side by side ----------------------------------------------------------------------------------


async def _build(
    lessons: Sequence[Lesson],
    chosen: Sequence[Lesson],
    folder: Path,
    jobs: int,
    failures: dict[str, str],
    stopping: threading.Event,
) -> None:
    """Build the chosen lessons, some at a time; {stem: what went wrong} goes into failures."""
    import nbformat

    from .notebook import clean_copy, execute, notebook_of
    from .page import lesson_page

    free = asyncio.Semaphore(jobs)
    stems = [x.stem for x in lessons]
    neighbours = dict(
        zip(stems, zip([None, *lessons], [*lessons[1:], None], strict=False), strict=True)
    )

    async def build(lesson: Lesson) -> None:
        async with free:
            start = time.monotonic()
            for old in (*folder.glob(f"{lesson.stem}*.html"), folder / f"{lesson.stem}.ipynb"):
                old.unlink(missing_ok=True)
            notebook = notebook_of(lesson, stems)
            clean = folder / "clean" / f"{lesson.stem}.ipynb"
            _write(clean, nbformat.writes(clean_copy(notebook)))
            try:
                await execute(notebook, lesson, folder, 1 if jobs > 1 else None)
                page = lesson_page(lesson, notebook, *neighbours[lesson.stem])
            except (RuntimeError, ValueError) as error:
                if stopping.is_set():  # its process was ended: no failure of the lesson
                    return
                failures[lesson.stem] = str(error)
                print(f"FAILED {lesson.path.name}, {error}", flush=True)
                return
            _write(folder / f"{lesson.stem}.ipynb", nbformat.writes(notebook))
            _write(folder / f"{lesson.stem}.html", page)
            print(f"{lesson.stem}  {time.monotonic() - start:.0f} s", flush=True)

    await asyncio.gather(*map(build, chosen))


def _in_a_thread(work: Coroutine[Any, Any, None], stopping: threading.Event) -> None:
    """Run asynchronous work to its end; on Ctrl-C stop it, and its processes with it.

    It has a thread of its own because nbclient takes Ctrl-C for itself in the main one, for one
    notebook only.
    """
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []
    errors: list[BaseException] = []
    # Not thread.join: interrupted, it can take the thread for ended.
    ended = threading.Event()

    async def main() -> None:
        task = asyncio.ensure_future(work)
        running.append((asyncio.get_running_loop(), task))
        await task

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # raised again below, in the main thread
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not ended.wait(0.2):
            pass
    except KeyboardInterrupt:
        stopping.set()
        for loop, task in running:
            loop.call_soon_threadsafe(task.cancel)
        while not ended.wait(0.2):
            pass
        raise
    thread.join()
    if errors:
        raise errors[0]


def _sorted_out(
    missing: Sequence[Missing],
    lessons: Sequence[Lesson],
    chosen: Sequence[Lesson],
    failures: dict[str, str],
) -> tuple[list[Missing], set[str]]:
    """(links that are broken, stems of lessons that links lead to and that were left out)."""
    absent = {x.stem for x in lessons if x not in chosen} | set(failures)
    broken, not_built = [], set()
    for page, link in missing:
        stem = next((x for x in absent if Path(link).stem.startswith(x)), None)
        if stem is None:
            broken.append((page, link))
        elif stem not in failures:
            not_built.add(stem)
    return broken, not_built
