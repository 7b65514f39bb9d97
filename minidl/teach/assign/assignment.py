"""The folder of an assignment: found by its short name, read, its checks collected.

A folder a2_layers/ holds README.md, assignment.py (TITLE, FILES, IMPORTS, SECONDS, MEGABYTES), the
submitted files (the solution, or in a handout its stubs), calls.py and public.py; the instructor's
also hidden.py, bugs.py and alternatives/.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
import types
from dataclasses import dataclass, replace
from pathlib import Path

from .checks import Check

__all__ = ["Assignment", "find", "known", "load"]

REQUIRED = ("assignment.py", "calls.py", "public.py")
_numbers = itertools.count()


@dataclass(frozen=True)
class Assignment:
    """An assignment, loaded.

    Attributes:
        folder: where it lies.
        key: its short name, "A2".
        title: what it is called.
        files: the names of the files that are submitted.
        imports: third-party packages that a submission may import.
        seconds, megabytes: limits of each call in the sandbox.
        calls: the text of calls.py.
        public, hidden: the checks, in the order of their files.
    """

    folder: Path
    key: str
    title: str
    files: tuple[str, ...]
    imports: tuple[str, ...]
    seconds: float
    megabytes: float
    calls: bytes
    public: tuple[Check, ...]
    hidden: tuple[Check, ...]

    @property
    def checks(self) -> tuple[Check, ...]:
        """All checks, part by part, public ones first within a part."""
        parts = list(dict.fromkeys(check.part for check in (*self.public, *self.hidden)))
        return tuple(
            sorted((*self.public, *self.hidden), key=lambda check: parts.index(check.part))
        )


def roots() -> list[Path]:
    """Folders in which assignments are looked for: the working folder's, the repository's."""
    here = [Path.cwd() / "lessons" / "assignments", Path.cwd()]
    return [*here, Path(__file__).resolve().parents[3] / "lessons" / "assignments"]


def known() -> dict[str, Path]:
    """The folders of all assignments that are found, by short name."""
    found: dict[str, Path] = {}
    for root in roots():
        for path in sorted(root.glob("a[0-9]*_*")):
            if (path / "assignment.py").is_file():
                found.setdefault(path.name.partition("_")[0].upper(), path)
    return found


def find(name: str) -> Path:
    """The folder of an assignment, by its short name ("A2"), its folder's name or a path.

    Raises:
        FileNotFoundError: there is none.
    """
    if os.path.isfile(os.path.join(name, "assignment.py")):
        return Path(name).resolve()
    found = known()
    for key, path in found.items():
        if name.upper() == key or name == path.name:
            return path
    there = ", ".join(found) or "none here (run it where the folder lessons/assignments is)"
    raise FileNotFoundError(f"no assignment {name!r}; there are: {there}")


def load(name: str | Path) -> Assignment:
    """Read an assignment.

    Args:
        name: what `find` takes.

    Raises:
        FileNotFoundError: there is none, or one of its files is missing.
        ValueError: what its files say makes no assignment.
    """
    folder = find(str(name))
    for file in REQUIRED:
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder} has no {file}")
    # The files are modules of a package of their own, so that hidden.py can use what public.py
    # has (`from .public import oracle`) and two assignments never meet.
    package = types.ModuleType(f"_minidl_assignment_{next(_numbers)}_{folder.name}")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    facts = _module(package.__name__, folder / "assignment.py")
    public = _checks(_module(package.__name__, folder / "public.py"), hidden=False)
    has_hidden = (folder / "hidden.py").is_file()
    hidden = _checks(_module(package.__name__, folder / "hidden.py"), True) if has_hidden else ()
    names = [check.name for check in (*public, *hidden)]
    for check in {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{folder.name} has two checks named {check!r}")
    if not names:
        raise ValueError(f"{folder.name} has no checks")
    return Assignment(
        folder,
        folder.name.partition("_")[0].upper(),
        facts.TITLE,
        tuple(facts.FILES),
        tuple(getattr(facts, "IMPORTS", ("numpy",))),
        float(getattr(facts, "SECONDS", 20)),
        float(getattr(facts, "MEGABYTES", 512)),
        (folder / "calls.py").read_bytes(),
        public,
        hidden,
    )


def module_of(folder: Path, file: str) -> types.ModuleType:
    """Another file of an assignment (bugs.py), as a module."""
    package = types.ModuleType(f"_minidl_assignment_{next(_numbers)}_{folder.name}")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    return _module(package.__name__, folder / file)


def _module(package: str, path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"{package}.{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _checks(module: types.ModuleType, hidden: bool) -> tuple[Check, ...]:
    """The checks defined in a module: those it imports from another are not counted again."""
    return tuple(
        replace(value, hidden=hidden)
        for value in vars(module).values()
        if isinstance(value, Check) and value.function.__module__ == module.__name__
    )
