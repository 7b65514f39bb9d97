"""Lessons: percent-format Python files, built into notebooks and pages to read.

The files are in lessons/ of the repository, and run as they are. source.py finds and reads them,
notebook.py converts and executes, page.py writes HTML with page/, links.py looks where links lead,
build.py does all of it for many lessons side by side. Formats are the work of well-kept libraries,
which the extra `notebook` brings: jupytext, nbclient, mistune, pygments, latex2mathml.
"""

from .build import build_lessons
from .source import choose, find_lessons

__all__ = ["build_lessons", "choose", "find_lessons"]
