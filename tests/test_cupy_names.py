"""Each name that the package takes from `xp` exists in the installed CuPy, with its keywords.

A kernel written with NumPy's names runs on the CPU for years before somebody tries it on a GPU. The
source is therefore read as a syntax tree, and what it asks of the array library is looked up there.
"""

import ast
import inspect
import operator
import pathlib
from typing import NamedTuple

import numpy as np
import pytest

import minidl

from . import strict_cupy

PACKAGE = pathlib.Path(minidl.__file__).parent


class Use(NamedTuple):
    """One mention of `xp.path`, with the keywords if it is called."""

    path: str
    keywords: tuple[str, ...]
    where: str


def is_namespace(node, aliases):
    """Whether an expression is an array library: `xp`, `anything.xp`, or an alias of these."""
    if isinstance(node, ast.Name):
        return node.id in aliases
    return isinstance(node, ast.Attribute) and node.attr == "xp"


def uses(source, file="<source>"):
    """Every `xp.name` and `xp.name.name` in a source text."""
    tree = ast.parse(source)
    aliases = {"xp"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and is_namespace(node.value, aliases):
            aliases |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = set()  # attributes that are part of a longer chain
    found = []
    for node in ast.walk(tree):  # outer nodes come before inner ones
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        names, value = [node.attr], node.value
        while isinstance(value, ast.Attribute) and not is_namespace(value, aliases):
            inner.add(id(value))
            names.append(value.attr)
            value = value.value
        if is_namespace(value, aliases):
            call = calls.get(id(node))
            keywords = tuple(k.arg for k in call.keywords if k.arg) if call else ()
            found.append(Use(".".join(reversed(names)), keywords, f"{file}:{node.lineno}"))
    return found


def all_uses():
    return [
        use
        for file in sorted(PACKAGE.rglob("*.py"))
        for use in uses(file.read_text(encoding="utf-8"), str(file.relative_to(PACKAGE.parent)))
    ]


def exists(namespace, path):
    """Whether there is an attribute at a dotted path."""
    for name in path.split("."):
        if not hasattr(namespace, name):
            return False
        namespace = getattr(namespace, name)
    return True


def lacking_keywords(cupy, use):
    """The keywords of a call that CuPy's function does not have."""
    function = operator.attrgetter(use.path)(cupy)
    if isinstance(function, cupy.ufunc):
        allowed = {"out", "dtype", "casting"}
    else:
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):  # written in C: it does not say
            return set()
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return set()
        allowed = set(parameters)
    return set(use.keywords) - allowed


@pytest.fixture(scope="module")
def cupy():
    return pytest.importorskip(
        "cupy", reason="looks names up in the installed CuPy: pip install cupy-cuda12x or -cuda13x"
    )


def test_each_name_that_the_package_takes_from_xp_exists_in_cupy(cupy):
    found = all_uses()
    assert len(found) > 10, "the search is blind"
    missing = [f"{use.where}: xp.{use.path}" for use in found if not exists(cupy, use.path)]
    assert not missing, "CuPy lacks\n" + "\n".join(missing)


def test_each_keyword_that_the_package_passes_exists_in_cupy(cupy):
    wrong = [
        f"{use.where}: xp.{use.path}({keyword}=)"
        for use in all_uses()
        if exists(cupy, use.path)
        for keyword in sorted(lacking_keywords(cupy, use))
    ]
    assert not wrong, "CuPy lacks\n" + "\n".join(wrong)


def test_the_stand_in_offers_each_name_that_the_package_takes_from_xp():
    missing = [
        f"{use.where}: xp.{use.path}"
        for use in all_uses()
        # what NumPy has not is for the GPU alone: streams, kernels
        if exists(np, use.path) and not exists(strict_cupy, use.path)
    ]
    assert not missing, "strict_cupy lacks\n" + "\n".join(missing)


def test_the_search_finds_every_way_of_writing_a_name():
    source = """
def f(x, xp, self):
    y = xp.linalg.norm(xp.asarray(x), axis=1)
    backend.of(x).xp.insert(y, 0, 1)
    lib = self.backend.xp
    lib.add.at(y, 0, 1)
    name = xp
    z = name.sum(x, keepdims=True, where=y).reshape(-1)
    return other.insert(z), lib.float32, x.xp_like.insert
"""
    assert {use.path: use.keywords for use in uses(source)} == {
        "linalg.norm": ("axis",),
        "asarray": (),
        "insert": (),
        "add.at": (),
        "sum": ("keepdims", "where"),
        "float32": (),
    }


@pytest.mark.parametrize(
    "code", ["xp.insert(x, 0, 1)", "a.xp.linalg.vector_norm(x)", "xp.add.identity", "xp.errstate()"]
)
def test_a_name_that_cupy_lacks_would_be_noticed(cupy, code):
    (use,) = uses(code)
    assert not exists(cupy, use.path)


@pytest.mark.parametrize(
    "code", ["xp.sum(x, where=m)", "xp.exp(x, where=m)", "xp.clip(x, min=0)", "xp.zeros(2, like=x)"]
)
def test_a_keyword_that_cupy_lacks_would_be_noticed(cupy, code):
    (use,) = uses(code)
    assert lacking_keywords(cupy, use)
