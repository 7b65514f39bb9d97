"""The checkpoint of a run: one file with all that the rest of the run depends on."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from ..backend import random
from ..io import load, remove_leftovers, save
from .nonfinite import HINT, first_nonfinite

__all__ = ["FILE", "Checkpoint", "load_weights"]

FILE = "checkpoint.safetensors"


class Checkpoint:
    """Saves and restores the parts of a run together, the random state among them.

    The file is replaced in one step: whenever a process ends, even by `kill -9` while it writes,
    the file is the last whole one.

    Args:
        run: the run's folder; None: nothing is written.
        model: the network.
        parts: other objects with `state_dict` and `load_state_dict`; those that are None are left
            out.

    Attributes:
        path: of the file; None without a folder.
    """

    def __init__(self, run: str | os.PathLike[str] | None, model: Any, **parts: Any) -> None:
        self.path = None if run is None else os.path.join(run, FILE)
        parts = {"model": model, **parts, "random": _Random()}
        self.parts = {name: part for name, part in parts.items() if part is not None}
        self._saved = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the file was written by this process, or the process began."""
        return time.monotonic() - self._saved

    def save(self) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written; the one before is untouched.
            FloatingPointError: a weight is not finite; the one before is untouched.
        """
        if self.path is not None:
            state = {name: part.state_dict() for name, part in self.parts.items()}
            bad = first_nonfinite(state["model"])
            if bad is not None:
                raise FloatingPointError(
                    f"{bad} is not finite, so {self.path} was left as it was before; {HINT}"
                )
            save(state, self.path)
        self._saved = time.monotonic()

    def restore(self) -> bool:
        """Put all parts into the state of the file; False if there is none.

        Raises:
            ValueError: the file is damaged, or of another run: the message names it and the part.
                Parts named before that one have been restored then.
        """
        if self.path is None:
            return False
        remove_leftovers(os.path.dirname(self.path))
        if not os.path.exists(self.path):
            return False
        state = load(self.path, device="cpu")
        if not isinstance(state, dict) or set(state) != set(self.parts):
            held = ", ".join(state) if isinstance(state, dict) else type(state).__name__
            raise ValueError(
                f"{self.path} is not of this run: it holds {held}; this run has "
                f"{', '.join(self.parts)}"
            )
        for name, part in self.parts.items():
            try:
                part.load_state_dict(state[name])
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise ValueError(_misfit(self.path, name, error)) from error
        return True


def load_weights(model: Any, run: str | os.PathLike[str]) -> None:
    """Give a model the weights of a run's checkpoint: the averaged ones, if the run has them.

    Raises:
        FileNotFoundError: the run has no checkpoint.
        ValueError: the file is damaged, or of another network.
    """
    path = os.path.join(run, FILE)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{os.fspath(run)} has no {FILE}: nothing has been trained there")
    state = load(path, device="cpu")
    try:
        weights = dict(state["model"])
        if "ema" in state:
            average = state["ema"]["average"]
            weights = {name: average.get(name, value) for name, value in weights.items()}
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(_misfit(path, "model", error)) from error


def _misfit(path: str, name: str, error: Exception) -> str:
    # A module's error lists every path that does not fit; in full it is this error's cause.
    lines = str(error).splitlines() or [type(error).__name__]
    details = "; ".join(line.strip() for line in lines[:4])
    details = details if len(details) <= 300 else f"{details[:300]} ..."
    return f"{path} is of another run or network, its {name} does not fit: {details}"


class _Random:
    """All of the library's random state, as a part of a run."""

    def state_dict(self) -> dict[str, Any]:
        return random.get_state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        random.set_state(dict(state))
