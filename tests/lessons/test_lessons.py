"""The lessons: each has its parts, runs as it is, and becomes a notebook and a page."""

import ast
import functools
import os
import pathlib
import re
import subprocess
import sys

import pytest

import minidl as md
from minidl.teach.lessons.links import missing_links
from minidl.teach.lessons.source import cells_of, find_lessons

from ..teach.browser import Browser, find_browser

ROOT = pathlib.Path(md.__file__).parents[1]
PATHS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
STEMS = [path.stem for path in PATHS]
ALLOWED = {"numpy", "matplotlib", "mpl_toolkits", "minidl"} | sys.stdlib_module_names
LINK = re.compile(r"\]\(([^)\s]+)\)")

each_lesson = pytest.mark.parametrize("path", PATHS, ids=STEMS)


@functools.cache
def cells(path):
    return cells_of(path.read_text(encoding="utf-8"))


def prose(path):
    return "\n\n".join(cell.text for cell in cells(path) if cell.kind == "markdown")


def step_pages(path):
    """The names of the pages of steps that a lesson writes."""
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "step_through"
    ]
    return [ast.literal_eval(call.args[1]) for call in calls]


# -- what is in them -------------------------------------------------------------------------------


def test_the_lessons_are_numbered_from_one_without_a_gap():
    assert [int(stem[:2]) for stem in STEMS] == list(range(1, len(STEMS) + 1))


@each_lesson
def test_a_lesson_is_short_cells_of_prose_and_of_code_that_parses(path):
    assert cells(path)[0].line == 1, "the file begins with a marker"
    for cell in cells(path):
        assert cell.text, f"an empty cell at line {cell.line}"
        lines = [line for line in cell.text.splitlines() if line]
        if cell.kind == "code":
            compile(cell.text, f"{path.name}:{cell.line}", "exec")
            assert len(lines) <= 45, f"the cell at line {cell.line} is long: {len(lines)}"
    text = path.read_text(encoding="utf-8")
    for cell in cells(path):
        if cell.kind == "markdown":
            after = text.splitlines()[cell.line :]
            for line in after[: cell.text.count("\n") + 1]:
                assert line.startswith("#"), f"code within prose: {line!r}"


@each_lesson
def test_a_lesson_begins_with_what_one_can_do_after_it(path):
    (lesson,) = [x for x in find_lessons_of_the_repository() if x.stem == path.stem]
    assert re.fullmatch(rf"{path.stem[:2]}\. \S.+", lesson.title)
    assert 3 <= len(lesson.abilities) <= 6
    first = cells(path)[0].text
    assert "After this lesson you can" in first
    needs = re.search(r"^Needs: (.+)", first, re.MULTILINE)
    assert needs, "a line that says which lessons it needs"
    earlier = [int(n) for n in re.findall(r"\d+", needs.group(1))]
    assert all(0 < n < int(path.stem[:2]) for n in earlier)


def find_lessons_of_the_repository():
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        return find_lessons()
    finally:
        os.chdir(before)


@each_lesson
def test_a_lesson_ends_with_recall_one_thing_to_change_and_where_it_lives(path):
    headings = re.findall(r"^## (.+)$", prose(path), re.MULTILINE)
    assert headings[-3:] == ["Recall", "Change one thing", "Where this lives"]
    recall = prose(path).split("\n## Recall")[1].split("\n## Change")[0]
    answers = recall.count("<details>")
    assert 4 <= answers <= 7
    assert answers == recall.count("</details>") == recall.count("<summary>Answer</summary>")


@each_lesson
def test_a_lesson_imports_only_what_every_learner_has(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.split(".")[0] in ALLOWED, f"line {node.lineno} imports {name}"


@each_lesson
def test_a_lesson_asserts_draws_and_is_the_same_every_time(path):
    code = "\n".join(cell.text for cell in cells(path) if cell.kind == "code")
    assert code.count("assert ") >= 8
    assert code.count("plt.show()") >= 1
    assert not re.search(r"default_rng\(\)|np\.random\.(rand|randn|normal|uniform)\(", code)
    assert "MINIDL_DATA" not in code


def test_each_lesson_has_pages_of_steps_with_names_of_its_own():
    names = {}
    for path in PATHS:
        found = step_pages(path)
        assert found, f"{path.name} calls step_through nowhere"
        for name in found:
            assert name.startswith(f"{path.stem}_"), f"{path.name}: {name}"
            assert name not in names, f"{path.name} and {names[name]} both write {name}"
            names[name] = path.name


@each_lesson
def test_links_in_prose_lead_to_lessons_or_pages_of_steps_or_the_web(path):
    # Files of the repository are not beside the built pages: their names are given as text.
    pages = {f"{stem}.html" for stem in STEMS} | {f"{name}.html" for name in step_pages(path)}
    for link in LINK.findall(prose(path)):
        assert link in pages or link.startswith("https://"), link


@each_lesson
def test_formulas_are_understood_by_the_converter(path):
    for library in ("jupytext", "nbclient", "mistune", "latex2mathml"):
        pytest.importorskip(library, reason=f"needs the extra notebook: {library}")
    from minidl.teach.lessons.notebook import _with_open_details
    from minidl.teach.lessons.page import _html

    html = _html(_with_open_details(prose(path)))
    text = re.sub(r"<(code|pre)>.*?</\1>", "", html, flags=re.DOTALL)
    assert "$" not in text, text[max(0, text.index("$") - 80) : text.index("$") + 80]


# -- running them ----------------------------------------------------------------------------------

RUN = """
import runpy, sys, warnings
warnings.filterwarnings("error", module=r"(minidl|__main__)($|\\.)")
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.slow
@each_lesson
def test_a_lesson_runs_from_any_folder_without_a_warning(path, tmp_path):
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    environment.pop("MINIDL_LESSONS_OUT", None)
    environment.pop("MINIDL_DATA", None)
    done = subprocess.run(
        [sys.executable, "-c", RUN, path],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    written = sorted(x.relative_to(tmp_path) for x in tmp_path.rglob("*") if x.is_file())
    folder = pathlib.Path("runs", "lessons")
    assert written == sorted(folder / f"{name}.html" for name in step_pages(path))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the pages of two short lessons."""
    for library in ("jupytext", "nbclient", "ipykernel", "mistune", "latex2mathml"):
        pytest.importorskip(library, reason=f"needs the extra notebook: {library}")
    folder = tmp_path_factory.mktemp("built")
    done = subprocess.run(
        [sys.executable, "-m", "minidl", "lessons", "build", "1", "3", "--out", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return folder


BUILT = [stem for stem in STEMS if stem[:2] in ("01", "03")]


@pytest.mark.slow
def test_a_built_lesson_has_page_notebooks_and_steps_and_no_link_of_it_is_broken(built):
    for stem in BUILT:
        pages = step_pages(ROOT / "lessons" / f"{stem}.py")
        for name in (f"{stem}.html", f"{stem}.ipynb", f"clean/{stem}.ipynb", "index.html"):
            assert (built / name).stat().st_size > 1000
        assert all((built / f"{name}.html").exists() for name in pages)
        # Lessons that were left out of this build are the only ones that may be missing.
        others = {f"{x}.html" for x in STEMS if x not in BUILT}
        assert {link for _, link in missing_links(built / f"{stem}.html")} <= others


@pytest.mark.slow
@pytest.mark.skipif(
    find_browser() is None,
    reason="needs a Chromium: apt-get install chromium, or name one in MINIDL_BROWSER",
)
@pytest.mark.parametrize("stem", BUILT)
def test_a_built_lesson_is_readable_in_a_browser_without_a_network(built, stem):
    browser = Browser(find_browser())
    try:
        for width, dark in ((1200, False), (400, True)):
            browser.resize(width, 900, dark)
            browser.open(built / f"{stem}.html")
            assert browser.complaints == []
            # Nothing sticks out to the side, and every picture is there.
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            sizes = browser.evaluate(
                "[...document.querySelectorAll('figure img')].map((x) => x.naturalWidth)"
            )
            assert sizes
            assert min(sizes) > 100
            paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
            light = [int(n) for n in re.findall(r"\d+", paper)][:3]
            assert (sum(light) < 200) == dark
        # An answer is hidden until one asks for it.
        shown = "document.querySelector('details p').checkVisibility()"
        assert not browser.evaluate(shown)
        browser.click("summary")
        assert browser.evaluate(shown)
        # No formula and no Markdown is left as it was written.
        text = browser.evaluate("document.querySelector('main').innerText")
        assert "](" not in re.sub(r"`.*?`", "", text)
        formulas = browser.evaluate("document.querySelectorAll('math').length")
        assert formulas == 0 or browser.evaluate(
            "Math.min(...[...document.querySelectorAll('.prose math')]"
            ".filter((x) => x.checkVisibility()).map((x) => x.getBoundingClientRect().width))"
        )
        link = browser.evaluate("document.querySelector('a.steps').getAttribute('href')")
        browser.open(built / link)
        assert browser.evaluate("document.querySelector('#counter').textContent") != ""
        assert browser.complaints == []
    finally:
        browser.close()
