"""Links of pages: those that lead nowhere are found, those that lead somewhere are left alone."""

import pytest

from minidl.teach.lessons.links import missing_links


@pytest.fixture
def page(tmp_path):
    (tmp_path / "clean").mkdir()
    (tmp_path / "there.html").write_text("")
    (tmp_path / "a b.html").write_text("")

    def write(body):
        path = tmp_path / "page.html"
        path.write_text(f"<!DOCTYPE html><html><body>{body}</body></html>")
        return [link for _, link in missing_links(path)]

    return write


@pytest.mark.parametrize(
    "link",
    [
        *("there.html", "there.html#part", "a%20b.html", "clean"),
        *("https://example.org/x.html", "mailto:a@b.c"),
    ],
)
def test_a_link_to_a_file_or_the_web_is_right(page, link):
    assert page(f'<a href="{link}">x</a>') == []


def test_a_link_to_a_file_that_is_not_there_is_missing(page):
    assert page('<a href="gone.html#part">x</a><a href="clean/gone.ipynb">y</a>') == [
        "gone.html",
        "clean/gone.ipynb",
    ]


def test_a_link_within_the_page_needs_a_heading_of_that_name(page):
    assert page('<h2 id="one">One</h2><a href="#one">x</a>') == []
    assert page('<h2 id="one">One</h2><a href="#two">x</a>') == ["#two"]


def test_what_a_page_loads_must_be_in_it_or_beside_it(page):
    assert page('<img src="data:image/png;base64,AAAA"><img src="there.html">') == []
    far = "https://example.org/x.png"
    assert page(f'<img src="{far}">') == [far]
    assert page('<script src="//cdn.example.org/x.js"></script>') == ["//cdn.example.org/x.js"]
    assert page('<link rel="stylesheet" href="https://example.org/x.css">') == [
        "https://example.org/x.css"
    ]
    assert page('<img src="gone.png">') == ["gone.png"]
