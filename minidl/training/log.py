"""The log of a run: one line an epoch, as CSV."""

from __future__ import annotations

import csv
import os

from ..io import replace_file

__all__ = ["read_log", "write_log"]


def write_log(history: list[dict[str, float]], path: str | os.PathLike[str]) -> None:
    """Write the history that `fit` returns to the file `path`, replacing it in one step."""
    with replace_file(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list(history[-1]))
        writer.writeheader()
        writer.writerows(history)


def read_log(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Read what `write_log` wrote."""
    with open(path, newline="") as file:
        return [{name: float(v) for name, v in row.items()} for row in csv.DictReader(file)]
