"""What the scripts in examples/ share is imported as they import it."""

import pathlib

import pytest

import minidl as md

EXAMPLES = pathlib.Path(md.__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def beside_the_scripts(monkeypatch):
    """A script finds modules in its own folder."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
