"""A notebook as one HTML file: prose, formulas as MathML, coloured code, pictures; no network.

Importing this file needs the extra `notebook`.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import mistune
from latex2mathml.converter import convert
from mistune.plugins.math import math, math_in_list, math_in_quote
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from .source import Lesson

__all__ = ["index_page", "lesson_page"]

FOLDER = Path(__file__).with_name("page")
# Code, which is left alone, or a formula.
CODE_OR_FORMULA = re.compile(
    r"(?P<code>```.*?```|``.*?``|`[^`]*`)"
    r"|(?P<formula>\$\$(?:[^$\\]|\\.)+?\$\$|\$(?!\s)(?:[^$\\]|\\.)+?\$)",
    re.DOTALL,
)
LIGHT, DARK = "xcode", "github-dark"  # colours of code


class _Renderer(mistune.HTMLRenderer):
    """HTML with formulas as MathML and headings that can be linked."""

    def __init__(self) -> None:
        super().__init__(escape=False)

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        name = re.sub(r"\W+", "-", re.sub(r"<.*?>", "", text).lower()).strip("-")
        return f'<h{level} id="{name}">{text}</h{level}>\n'

    def block_code(self, code: str, info: str | None = None) -> str:
        return _coloured(code) if info == "python" else f"<pre>{html.escape(code)}</pre>\n"

    def table(self, text: str) -> str:
        return f'<div class="wide"><table>{text}</table></div>\n'

    def inline_math(self, text: str) -> str:
        return _formula(text, "inline")

    def block_math(self, text: str) -> str:
        return f'<div class="wide">{_formula(text, "block")}</div>\n'


def _formula(text: str, display: str) -> str:
    """LaTeX as MathML.

    Raises:
        ValueError: the converter does not understand it.
    """
    # The converter knows the same thing by its other name.
    text = re.sub(r"\\(begin|end)\{aligned\}", r"\\\1{split}", text.strip())
    try:
        mathml = convert(text, display=display)
    except Exception as error:  # it has a dozen, without a common base
        raise ValueError(f"formula not understood ({type(error).__name__}): {text}") from error
    if re.search(r">(\\[A-Za-z]+|&)<", mathml):  # what is unknown comes out as it went in
        raise ValueError(f"formula not understood: {text}")
    # As a superscript a prime would be raised twice: fonts draw it raised.
    return re.sub(
        r"<msup>(<mi>[^<]*</mi>)<mi>(&#x0203[234];)</mi></msup>",
        r'\1<mtext class="prime">\2</mtext>',
        mathml,
    )


def _html(text: str) -> str:
    """Markdown as HTML."""

    def on_one_line(match: re.Match[str]) -> str:
        return match["code"] or " ".join(match["formula"].split("\n"))

    # What follows a line's end within a formula ("+ b") is not Markdown's to read.
    return str(_markdown()(CODE_OR_FORMULA.sub(on_one_line, text)))


def _markdown() -> mistune.Markdown:
    plugins: list[Any] = ["table", "strikethrough", math, math_in_list, math_in_quote]
    renderer = _Renderer()
    markdown = mistune.Markdown(renderer=renderer)
    for plugin in plugins:
        (mistune.import_plugin(plugin) if isinstance(plugin, str) else plugin)(markdown)
    # The plugins bring methods of their own for what this renderer renders.
    for name in ("table", "inline_math", "block_math"):
        method = getattr(renderer, name)
        renderer.register(name, lambda _, text, method=method: method(text))
    return markdown


def _coloured(code: str) -> str:
    return highlight(code, PythonLexer(), HtmlFormatter(cssclass="code", wrapcode=True))


# -- a lesson --------------------------------------------------------------------------------------


def lesson_page(lesson: Lesson, notebook: Any, before: Lesson | None, after: Lesson | None) -> str:
    """The executed notebook as a page.

    Args:
        notebook: its links are to notebooks; the page's are to pages.
        before, after: the lessons that the page's ends link to.
    """
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"(\]\(\w+)\.ipynb", r"\1.html", cell.source)
            parts.append(f'<div class="prose">{_html(text)}</div>')
        elif cell.source.strip():
            outputs = "".join(map(_output, cell.outputs))
            shown = f'<div class="output">{outputs}</div>' if outputs else ""
            parts.append(f'<div class="cell">{_coloured(cell.source)}{shown}</div>')
    links = '<a href="index.html">All lessons</a>'
    if before is not None:
        links = f'<a rel="prev" href="{before.stem}.html">‹ {_short(before)}</a>' + links
    if after is not None:
        links += f'<a rel="next" href="{after.stem}.html">{_short(after)} ›</a>'
    notebooks = (
        f'<a href="{lesson.stem}.ipynb">This page as a notebook</a>'
        f'<a href="clean/{lesson.stem}.ipynb">The notebook without results, to work through</a>'
    )
    return _page(lesson.title, "\n".join(parts), links, notebooks)


def _short(lesson: Lesson) -> str:
    return html.escape(lesson.title)


def _output(output: Any) -> str:
    """What a cell printed, drew or returned."""
    if output.output_type == "stream":
        lines = output.text.splitlines(keepends=True)
        # Where a page of steps lies says a link beside it.
        text = "".join(line for line in lines if not line.startswith("steps: "))
        return f'<pre class="{output.name}">{html.escape(text)}</pre>' if text.strip() else ""
    data = output.get("data", {})
    if "text/html" in data:
        return f'<div class="wide">{data["text/html"]}</div>'
    if "image/svg+xml" in data:
        return f"<figure>{data['image/svg+xml']}</figure>"
    if "image/png" in data:
        size = output.metadata.get("image/png", {})
        width = f' width="{size["width"]}"' if "width" in size else ""
        picture = data["image/png"].replace("\n", "")
        return (
            f'<figure><img alt="Drawn by the code above"{width} '
            f'src="data:image/png;base64,{picture}"></figure>'
        )
    return f"<pre>{html.escape(data.get('text/plain', ''))}</pre>"


# -- the list of lessons ---------------------------------------------------------------------------


def index_page(lessons: list[Lesson], folder: Path) -> str:
    """The list of lessons, with what one can do after each; those not built have no links.

    Args:
        folder: where the pages are.
    """
    items = []
    for lesson in lessons:
        title = html.escape(lesson.title)
        links = ""
        if (folder / f"{lesson.stem}.html").exists():
            title = f'<a href="{lesson.stem}.html">{title}</a>'
            links = f'<a href="clean/{lesson.stem}.ipynb">notebook</a>'
            for path in sorted(folder.glob(f"{lesson.stem}_*.html")):
                links += f'<a href="{path.name}">steps: {_title_of(path)}</a>'
            links = f'<p class="links">{links}</p>'
        abilities = "".join(
            "<li>" + _html(x).removeprefix("<p>").strip().removesuffix("</p>") + "</li>"
            for x in lesson.abilities
        )
        items.append(f"<section><h2>{title}</h2><ul>{abilities}</ul>{links}</section>")
    text = "<h1>Lessons</h1><p>What you can do after each:</p>"
    return _page("Lessons", f'<div class="prose index">{text}{"".join(items)}</div>', "", "")


def _title_of(path: Path) -> str:
    match = re.search(r"<title>(.*?)</title>", path.read_text(encoding="utf-8"), re.DOTALL)
    return match.group(1).strip() if match else path.stem  # escaped already


def _page(title: str, body: str, links: str, notebooks: str) -> str:
    light = HtmlFormatter(style=LIGHT, cssclass="code").get_style_defs(".code")
    dark = HtmlFormatter(style=DARK, cssclass="code").get_style_defs(".code")
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    style += f"\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
    style += ".code, .code pre { background: none; }\n"
    text = (FOLDER / "page.html").read_text(encoding="utf-8")
    values = {"title": html.escape(title), "style": style, "links": links, "notebooks": notebooks}
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", value)
    return text.replace("{{body}}", body)  # last: a lesson may speak of {{title}}
