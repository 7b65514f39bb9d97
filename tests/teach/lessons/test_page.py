"""A notebook's page: formulas, code, answers, what was printed and drawn, ways to other pages."""

import pathlib
import re

import pytest

for library in ("mistune", "pygments", "latex2mathml", "nbformat"):
    pytest.importorskip(library, reason=f"needs the extra notebook: {library}")

from nbformat import v4  # noqa: E402

from minidl.teach.lessons.page import _formula, _html, index_page, lesson_page  # noqa: E402
from minidl.teach.lessons.source import Lesson  # noqa: E402

LESSONS = [
    Lesson(pathlib.Path(f"lessons/{stem}.py"), title, abilities)
    for stem, title, abilities in (
        ("01_first", "01. First & foremost", ("count to `two`", "*really*")),
        ("02_second", "02. Second", ("know $x^2$",)),
        ("03_third", "03. Third", ()),
    )
]


def page_of(*cells):
    return lesson_page(LESSONS[1], v4.new_notebook(cells=list(cells)), LESSONS[0], LESSONS[2])


def code(source, *outputs):
    return v4.new_code_cell(source, outputs=list(outputs))


# -- formulas --------------------------------------------------------------------------------------


def test_formulas_in_a_line_and_on_lines_of_their_own_become_mathml():
    html = _html("Let $x_i < 2$ be.\n\n$$y = \\frac{a}{b}$$\n\n$$\nz = 1\n$$\n")
    assert html.count('display="inline"') == 1
    assert html.count('display="block"') == 2
    assert "<mfrac>" in html
    assert "$" not in html
    assert "&lt;" in html or "&#x0003C;" in html


def test_a_formula_may_go_on_over_the_end_of_a_line():
    html = _html("Let $a =\nb$ and $c\\$1$ be, `$x$` not.\n\n$$x = y\n+ z$$\n")
    assert html.count("<math") == 3
    assert "<li>" not in html
    assert "<code>$x$</code>" in html


def test_signs_of_markdown_within_a_formula_are_part_of_it():
    html = _html("$a_1 * b_1 * c$ and *this*")
    assert html.count("<em>") == 1
    assert html.count("<msub>") == 2


def test_aligned_lines_become_a_table():
    html = _formula(r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "block")
    assert html.count("<mtr>") == 2
    assert html.count('columnalign="right"') == 2


def test_a_prime_is_not_raised_twice():
    assert "<msup>" not in _formula("f''(x)", "inline")
    assert "&#x02033;" in _formula("f''(x)", "inline")


@pytest.mark.parametrize("text", [r"\unheard x", r"a & b", r"\left( x"])
def test_a_formula_that_is_not_understood_is_an_error(text):
    with pytest.raises(ValueError, match="formula not understood"):
        _formula(text, "inline")


# -- prose -----------------------------------------------------------------------------------------


def test_an_answer_has_its_markdown_and_formulas_read():
    html = _html("1. Why?\n\n<details><summary>Answer</summary>\n\n`x` is $2$.\n\n</details>")
    inside = re.search(r"<details>(.*)</details>", html, re.DOTALL).group(1)
    assert "<code>x</code>" in inside
    assert "<math" in inside


def test_tables_and_headings_and_code_in_prose():
    html = _html("## What a *loss* is\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n    x < 1\n")
    assert '<h2 id="what-a-loss-is">' in html
    assert "<table>" in html
    assert "x &lt; 1" in html


# -- the page --------------------------------------------------------------------------------------


def test_a_page_leads_to_the_lessons_beside_it_the_list_and_the_notebooks():
    html = page_of(v4.new_markdown_cell("# 02. Second\n\nSee [lesson 01](01_first.ipynb)."))
    for link in (
        *("01_first.html", "03_third.html", "index.html"),
        *("02_second.ipynb", "clean/02_second.ipynb"),
    ):
        assert f'href="{link}"' in html
    assert 'href="01_first.ipynb"' not in html
    assert "01. First &amp; foremost" in html
    assert "<title>02. Second</title>" in html


def test_what_was_printed_is_shown_as_text_and_errors_in_another_colour():
    html = page_of(
        code(
            "print(1)",
            v4.new_output("stream", name="stdout", text="a < b\nsteps: 02_x.html\n"),
            v4.new_output("stream", name="stderr", text="oh"),
        )
    )
    assert '<pre class="stdout">a &lt; b\n</pre>' in html
    assert '<pre class="stderr">oh</pre>' in html
    assert "steps: " not in html  # the link says so


def test_a_result_is_shown_as_html_where_it_has_that_and_else_as_text():
    link = '<a class="steps" href="02_x.html">go</a>'
    shown = {"text/html": link, "text/plain": "StepsPage"}
    html = page_of(code("page", v4.new_output("execute_result", data=shown)))
    assert link in html
    assert "StepsPage" not in html
    html = page_of(code("x", v4.new_output("execute_result", data={"text/plain": "<Mul>"})))
    assert "<pre>&lt;Mul&gt;</pre>" in html


def test_a_picture_is_within_the_page_at_half_its_pixels():
    data = {"image/png": "QUJD\nREVG\n", "text/plain": "<Figure>"}
    size = {"image/png": {"width": 320, "height": 200}}
    html = page_of(code("plt.show()", v4.new_output("display_data", data=data, metadata=size)))
    assert 'width="320"' in html
    assert 'src="data:image/png;base64,QUJDREVG"' in html
    assert "Figure" not in html


def test_code_has_colours_for_light_and_for_dark():
    html = page_of(code("def f(x):\n    return '{{title}}'"))
    assert '<span class="k">def</span>' in html
    assert html.count(".code .k ") >= 2
    assert "{{title}}" in html  # a lesson's own braces stay


def test_an_empty_cell_leaves_no_frame():
    assert '<div class="cell">' not in page_of(code("  \n"))


def test_the_list_links_what_is_built_and_names_what_is_not(tmp_path):
    (tmp_path / "02_second.html").write_text("")
    (tmp_path / "02_second_steps.html").write_text("<title>Two &amp; two</title>")
    html = index_page(LESSONS, tmp_path)
    assert 'href="02_second.html"' in html
    assert '<a href="02_second_steps.html">steps: Two &amp; two</a>' in html
    assert 'href="clean/02_second.ipynb"' in html
    assert "01. First &amp; foremost" in html
    assert 'href="01_first.html"' not in html
    assert "<li>count to <code>two</code></li>" in html
    assert "<math" in html
