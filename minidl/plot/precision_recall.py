"""Precision over recall of a detector, a panel for each class."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..io import replace_file

__all__ = ["precision_recall"]

BLUE, GREY = "#0072b2", "#999999"


def precision_recall(
    result: Mapping[str, Any],
    path: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
    columns: int = 5,
) -> None:
    """Draw the curves of a detector: grey as they are, blue the best at that recall or above.

    Args:
        result: what `compute()` of `VOCAveragePrecision` or `COCOAveragePrecision` returned.
        path: the PNG to write; replaced in one step.
        classes: which ones; default: those that have a score, or all where none has.
        columns: panels in a row.

    Raises:
        ValueError: a class that the result does not have.
    """
    from matplotlib.figure import Figure

    curves, rows = result["curves"], result["per_class"]
    # COCO's AP is a mean over thresholds; the curves are those of the first.
    score = "AP50" if "AP50" in result else "AP"
    if classes is None:
        scored = [name for name in curves if not math.isnan(rows[name][score])]
        classes = scored or list(curves)
    unknown = [name for name in classes if name not in curves]
    if unknown or not classes:
        raise ValueError(
            f"precision_recall: unknown classes {unknown}; the result has {', '.join(curves)}"
        )
    columns = max(1, min(columns, len(classes)))
    lines = -(-len(classes) // columns)
    figure = Figure(figsize=(2.4 * columns + 0.5, 2.4 * lines + 0.3), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for number, axes in enumerate(panels.reshape(-1)):
        if number >= len(classes):
            axes.axis("off")
            continue
        name = classes[number]
        _draw(axes, curves[name])
        value = rows[name][score]
        shown = "no objects" if math.isnan(value) else f"{score} {value:.3f}"
        axes.set_title(f"{name}   {shown}", fontsize=9)
        if number + columns >= len(classes):
            axes.set_xlabel("recall", fontsize=9)
            axes.tick_params(labelbottom=True)
        if number % columns == 0:
            axes.set_ylabel("precision", fontsize=9)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _draw(axes: Any, curve: Mapping[str, np.ndarray]) -> None:
    recall, precision = curve["recall"], curve["precision"]
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.tick_params(labelsize=8)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if not len(recall) or np.isnan(recall).any():
        return
    best = np.maximum.accumulate(precision[::-1])[::-1]
    # From one recall to the next, the area is as high as the precision had at the latter.
    x, y = np.append(0.0, recall), np.append(best[0], best)
    axes.fill_between(x, y, step="pre", color=BLUE, alpha=0.15, linewidth=0)
    axes.step(x, y, where="pre", color=BLUE, linewidth=1.4)
    axes.plot(recall, precision, color=GREY, linewidth=0.8)
