"""The stepper: a computation written down, and a page on which one walks through it.

`record` (recorder.py) listens to the engine and keeps samples (sample.py) of every array it hears
of. Its `html` gathers what the page shows (page.py): the graph's picture (layout.py), each
operation's formula (formulas.py) and how its cells hang together (relations.py). What a browser
runs lies in page/, plain HTML, CSS and JavaScript, and is put into the one file that is written.
"""

from .recorder import record

__all__ = ["record"]
