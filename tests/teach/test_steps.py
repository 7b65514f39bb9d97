"""A lesson's page of steps: where it is written, and how a notebook links it."""

import os

import pytest

import minidl as md
from minidl.teach import step_through


@pytest.fixture
def tape():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    with md.record() as tape:
        (x * x).sum().backward()
    return tape


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIDL_LESSONS_OUT", raising=False)


def test_a_page_is_written_within_the_current_folder_and_its_place_printed(tape, tmp_path, capsys):
    page = step_through(tape, "01_product", "A product")
    path = tmp_path / "runs" / "lessons" / "01_product.html"
    assert page.path == path
    assert "<title>A product</title>" in path.read_text()
    assert capsys.readouterr().out == f"steps: {os.path.join('runs', 'lessons', path.name)}\n"


def test_a_build_says_where_pages_go(tape, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_LESSONS_OUT", str(tmp_path / "a" / "b"))
    assert step_through(tape, "x", "X").path == tmp_path / "a" / "b" / "x.html"
    assert (tmp_path / "a" / "b" / "x.html").exists()
    assert not (tmp_path / "runs").exists()


def test_the_link_starts_from_the_folder_the_notebook_runs_in(tape, tmp_path, monkeypatch):
    page = step_through(tape, "x", "Rows < columns & more")
    html = page._repr_html_()
    assert 'href="runs/lessons/x.html"' in html
    assert "Rows &lt; columns &amp; more" in html
    monkeypatch.chdir(tmp_path / "runs" / "lessons")
    assert 'href="x.html"' in page._repr_html_()
    (tmp_path / "my notes").mkdir()
    monkeypatch.chdir(tmp_path / "my notes")
    assert 'href="../runs/lessons/x.html"' in page._repr_html_()
    monkeypatch.setenv("MINIDL_LESSONS_OUT", str(tmp_path / "a b"))
    assert 'href="../a%20b/y.html"' in step_through(tape, "y", "Y")._repr_html_()


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a.html", "with space", "é"])
def test_a_name_that_is_no_plain_name_is_refused(tape, tmp_path, name):
    with pytest.raises(ValueError, match="letters, digits and underscores only, not '"):
        step_through(tape, name, "Title")
    assert not (tmp_path / "runs").exists()


def test_nothing_recorded_is_an_error():
    with md.record() as tape:
        pass
    with pytest.raises(ValueError, match="nothing was recorded"):
        step_through(tape, "x", "X")
