"""Learning curves: what `fit` returns, as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..io import replace_file

__all__ = ["curves"]

TRAIN, TEST, RATE = "#2f6fb5", "#d1662b", "#7a7a7a"


def curves(history: Sequence[dict[str, float]], path: str | os.PathLike[str]) -> None:
    """Draw loss, metrics and learning rate over the epochs, one panel each.

    Args:
        history: rows of `fit` or of a run's log: epoch, lr, train_<name>, test_<name>.
        path: the PNG to write; replaced in one step.

    Raises:
        ValueError: the history is empty.
    """
    if not history:
        raise ValueError("curves: the history is empty; train for an epoch first")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = [key.removeprefix("train_") for key in history[0] if key.startswith("train_")]
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(4.2 * (len(names) + 1), 3.4), layout="constrained")
    panels = figure.subplots(1, len(names) + 1)
    marker = "o" if len(history) < 40 else None
    for axes, name in zip(panels, names, strict=False):
        for part, colour in (("train", TRAIN), ("test", TEST)):
            values = [row.get(f"{part}_{name}", float("nan")) for row in history]
            if any(v == v for v in values):
                label = f"{part}: {values[-1]:.4f}"
                axes.plot(epochs, values, color=colour, marker=marker, markersize=3, label=label)
        axes.set_title(name)
        axes.legend(title="last epoch", frameon=False)
    panels[-1].plot(
        epochs, [row["lr"] for row in history], color=RATE, marker=marker, markersize=3
    )
    panels[-1].set_title("learning rate")
    panels[-1].set_ylim(bottom=0.0)
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
