"""The log of a run: one row an epoch, kept in the checkpoint and written as CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..io import replace_file
from .evaluate import Sums
from .scoring import Accumulators

__all__ = ["Log", "read_log", "write_log"]

Row = dict[str, float]


class Log:
    """How far a run has come.

    Args:
        names: of the values that each row has for the training data: "loss" and the metrics.
        more: whether there may be others, as the parts of a loss.
        counting: metrics that count for themselves.

    Attributes:
        history: the rows of the epochs that are finished.
        sums, counting: over the samples of the epoch under way.
    """

    def __init__(
        self, names: list[str], more: bool = False, counting: Accumulators | None = None
    ) -> None:
        self.history: list[Row] = []
        self.sums = Sums(names, more)
        self.counting = counting or Accumulators({})

    def begin_epoch(self) -> None:
        """Start the clock and the counts, unless an earlier process has begun this epoch."""
        if not self.sums.count:
            self.sums.reset()
            self.counting.reset()

    def means(self) -> dict[str, float]:
        """What a row has for the training data; waits for the device."""
        return self.sums.means() | self.counting.scores()

    def end_epoch(self, row: Row) -> None:
        """Add the row of an epoch that is finished."""
        self.history.append(row)
        self.sums.reset()

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history,
            "sums": self.sums.state_dict(),
            "counting": self.counting.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.history = list(state["history"])
        self.sums.load_state_dict(state["sums"])
        self.counting.load_state_dict(state.get("counting", {}))  # older runs had none


def write_log(history: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Write the rows that `fit` returns to the CSV file `path`, replacing it in one step."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    with replace_file(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)


def read_log(path: str | os.PathLike[str]) -> list[Row]:
    """Read what `write_log` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a log.
    """
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        return [{name: float(v) for name, v in row.items() if v != ""} for row in rows]
    except (TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{os.fspath(path)} is not the log of a run: {error}") from None
