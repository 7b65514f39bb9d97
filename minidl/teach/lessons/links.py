"""The links of built pages: each must lead to something that is there."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["Missing", "missing_links"]

Missing = tuple[str, str]  # (page, link)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []  # by the page itself, not on a click
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id":
                self.names.add(value)
            elif name == "src" or (name == "href" and tag == "link"):
                self.loaded.append(value)
            elif name == "href":
                self.links.append(value)


def missing_links(page: Path) -> list[Missing]:
    """The links of a page that lead to no file or no heading, and what it would load from afar."""
    found = _Links()
    found.feed(page.read_text(encoding="utf-8"))
    missing = []
    for link in found.links + found.loaded:
        parts = urlsplit(link)
        if parts.scheme == "data" or (parts.scheme and link in found.links):
            continue
        if parts.scheme or parts.netloc:
            missing.append((page.name, link))
        elif parts.path and not (page.parent / unquote(parts.path)).exists():
            missing.append((page.name, parts.path))
        elif not parts.path and parts.fragment and parts.fragment not in found.names:
            missing.append((page.name, link))
    return missing
