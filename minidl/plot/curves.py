"""Learning curves: what `fit` returns, as a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from ..io import replace_file

__all__ = ["curves", "draw_curves"]

History = Sequence[dict[str, float]]

# Told apart by colour-blind readers, too (Wong, "Points of view", Nature Methods 8, 2011).
COLOURS = {"train": "#0072b2", "test": "#d55e00"}
GREY = "#777777"
COLUMNS = 4  # panels in a row


def curves(history: History, path: str | os.PathLike[str]) -> None:
    """Draw loss, metrics and learning rate over the epochs, one panel each.

    Args:
        history: rows of `fit` or of a run's log: epoch, lr, train_<name>, test_<name>.
        path: the PNG to write; replaced in one step.

    Raises:
        ValueError: the history is empty.
    """
    from matplotlib.figure import Figure

    count = len(_names(history)) + 1
    columns, rows = min(count, COLUMNS), -(-count // COLUMNS)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in panels[count:]:
        unused.remove()
    draw_curves(panels[:count], history)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def draw_curves(panels: Sequence[Any], history: History) -> None:
    """Draw into matplotlib axes: loss and metrics, and the learning rate if there is one more."""
    from matplotlib.ticker import MaxNLocator

    names = _names(history)
    for axes, name in zip(panels, names, strict=False):
        _draw_value(axes, history, name)
    if len(panels) > len(names):
        _line(panels[-1], history, [row.get("lr", math.nan) for row in history], GREY, "")
        panels[-1].set_title("learning rate, at the end of the epoch", fontsize=10)
        panels[-1].set_ylim(bottom=0.0)
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def _names(history: History) -> list[str]:
    """What the rows hold of either part: "loss" and the metrics."""
    if not history:
        raise ValueError("curves: the history is empty; train for an epoch first")
    names = [
        key.removeprefix(f"{part}_")
        for part in COLOURS
        for row in history
        for key in row
        if key.startswith(f"{part}_")
    ]
    return list(dict.fromkeys(names))


def _draw_value(axes: Any, history: History, name: str) -> None:
    kind = name.rpartition("_")[2]
    shares = kind in ("accuracy", "iou") or kind.startswith(("AP", "mAP"))
    seen: list[float] = []
    for part, colour in COLOURS.items():
        values = [row.get(f"{part}_{name}", math.nan) for row in history]
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            last = f"{values[-1]:.2%}" if shares else f"{values[-1]:.4f}"
            _line(axes, history, values, colour, f"{part}, last {last}")
            seen += finite
    seen.sort()
    if shares and seen:
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
        # The first epochs may lie below the panel, so that the last ones can be told apart.
        common = 1.0 - 5.0 * (1.0 - seen[len(seen) // 2])
        if seen[0] < common < seen[-1]:
            axes.set_ylim(common, seen[-1] + 0.05 * (seen[-1] - common))
    elif seen and seen[-1] > 10 * seen[0] > 0:
        # A loss falls by factors: on a linear scale its last epochs all look alike.
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda loss, _: f"{loss:g}")
    axes.set_title(name.replace("_", " "), fontsize=10)
    if seen:
        axes.legend(frameon=False, fontsize=9, loc="lower right" if shares else "upper right")


def _line(axes: Any, history: History, values: list[float], colour: str, label: str) -> None:
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(history) <= 40 else None
    axes.plot(epochs, values, color=colour, marker=marker, markersize=3, linewidth=1.4, label=label)
