"""A lesson as a notebook: what is converted, and what a failing cell says."""

import asyncio
import threading

import pytest

for library in ("jupytext", "nbclient", "ipykernel"):
    pytest.importorskip(library, reason=f"needs the extra notebook: {library}")

from minidl.teach.lessons.notebook import clean_copy, execute, notebook_of  # noqa: E402
from minidl.teach.lessons.source import Lesson  # noqa: E402

STEMS = ["01_first", "02_second"]
TEXT = """\
# %% [markdown]
# # 02. Second
#
# See [lesson 01](01_first.html#part) and [the steps](02_second_steps.html).
#
# 1. Why?
#    <details><summary>Answer</summary>So that `x` is $2$.</details>

# %%
x = 1
x + 1

# %%
assert x == 2, "one is not two"
"""


@pytest.fixture
def lesson(tmp_path):
    path = tmp_path / "02_second.py"
    path.write_text(TEXT)
    return Lesson(path, "02. Second", ())


def test_cells_and_their_texts_are_the_files(lesson):
    notebook = notebook_of(lesson, STEMS)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "code"]
    assert notebook.cells[0].source.startswith("# 02. Second\n\nSee ")
    assert notebook.cells[1].source == "x = 1\nx + 1"
    assert notebook.metadata.kernelspec.name == "python3"


def test_two_conversions_are_alike(lesson):
    assert notebook_of(lesson, STEMS) == notebook_of(lesson, STEMS)


def test_links_to_lessons_lead_to_notebooks_and_those_to_steps_stay(lesson):
    text = notebook_of(lesson, STEMS).cells[0].source
    assert "(01_first.ipynb#part)" in text
    assert "(02_second_steps.html)" in text


def test_answers_get_empty_lines_around_them_so_that_their_markdown_is_read(lesson):
    text = notebook_of(lesson, STEMS).cells[0].source
    lines = [line.rstrip() for line in text.split("\n")]
    i = lines.index("   <details><summary>Answer</summary>")
    assert lines[i + 1] == ""
    assert "   So that `x` is $2$." in lines[i + 2 :]
    j = lines.index("   </details>")
    assert lines[j - 1] == ""


def test_a_clean_copy_has_no_results_and_leads_out_of_its_folder(lesson):
    notebook = notebook_of(lesson, STEMS)
    notebook.cells[1].execution_count = 7
    notebook.cells[1].outputs = [{"output_type": "stream", "name": "stdout", "text": "2"}]
    copy = clean_copy(notebook)
    assert copy.cells[1].outputs == []
    assert copy.cells[1].execution_count is None
    assert notebook.cells[1].outputs  # the other keeps its own
    assert "(../02_second_steps.html)" in copy.cells[0].source
    assert "(01_first.ipynb#part)" in copy.cells[0].source  # it has a clean copy beside


def run(notebook, lesson, folder):
    """Execute it as the builder does: not in the main thread, whose Ctrl-C nbclient would take."""
    errors = []

    def work():
        try:
            asyncio.run(execute(notebook, lesson, folder, 1))
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return errors


@pytest.mark.slow
def test_a_failing_cell_is_named_with_its_line_and_its_exception(lesson, tmp_path):
    notebook = notebook_of(lesson, STEMS)
    (error,) = run(notebook, lesson, tmp_path)
    assert str(error).startswith("cell 3 (line 13)\n")
    assert "AssertionError: one is not two" in str(error)
    assert "\x1b" not in str(error)
    assert notebook.cells[1].outputs[0]["data"]["text/plain"] == "2"


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_that_says_so(lesson, tmp_path):
    lesson.path.write_text("# %% [markdown]\n# # 02. Second\n\n# %%\nimport os\nos._exit(3)\n")
    (error,) = run(notebook_of(lesson, STEMS), lesson, tmp_path)
    assert str(error) == "cell 2 (line 4)\nits process died (killed, or out of memory)"


@pytest.mark.slow
def test_a_cell_runs_in_the_folder_of_the_pages_with_this_minidl(lesson, tmp_path):
    lesson.path.write_text(
        "# %%\nimport os, minidl\n(os.getcwd(), minidl.__file__, os.environ['MINIDL_LESSONS_OUT'])"
    )
    notebook = notebook_of(lesson, STEMS)
    assert run(notebook, lesson, tmp_path) == []
    import minidl

    text = notebook.cells[0].outputs[0]["data"]["text/plain"]
    assert eval(text) == (str(tmp_path), minidl.__file__, ".")
