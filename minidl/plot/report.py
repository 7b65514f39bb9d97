"""A run on one page: its curves, what it says to some test images, and its mistakes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..io import replace_file
from .curves import History, draw_curves
from .grid import draw_grid

__all__ = ["report"]

COLUMNS, ROWS = 10, 3  # of each of the two grids


def report(
    history: History,
    images: np.ndarray,
    labels: np.ndarray,
    answers: np.ndarray,
    classes: Sequence[str],
    path: str | os.PathLike[str],
    title: str = "",
) -> None:
    """Draw learning curves beside test images with a classifier's answers, mistakes marked.

    Args:
        history: rows of `fit`.
        images: (N, C, H, W) in [0, 1], all the test images.
        labels, answers: (N,) what each is, and what the classifier says it is.
        classes: names of the classes.
        path: the PNG to write.
        title: stands above.

    Raises:
        ValueError: the history is empty, there are no images, or lengths differ.
    """
    if not len(images) == len(labels) == len(answers):
        raise ValueError(
            f"report: {len(images)} images, {len(labels)} labels, {len(answers)} answers"
        )
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(12.5, 6.6), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 2.3))
    panels = left.subplots(2, 1, sharex=True)
    draw_curves(panels, history)
    panels[0].set_xlabel("")

    wrong = np.flatnonzero(labels != answers)
    shown = wrong[: COLUMNS * ROWS]
    some = np.linspace(0, len(images) - 1, COLUMNS * ROWS).astype(int)
    above, below = right.subfigures(2, 1)
    above.suptitle("some test images, and the network's answers", fontsize=10)
    draw_grid(
        above,
        images[some],
        [classes[i] for i in answers[some]],
        COLUMNS,
        rows=ROWS,
        marked=list(labels[some] != answers[some]),
    )
    number = (
        f"all {len(wrong):,}" if len(shown) == len(wrong) else f"{len(shown)} of {len(wrong):,}"
    )
    below.suptitle(f"{number} mistakes on {len(images):,} test images", fontsize=10)
    if len(shown):
        between = " " if max(map(len, classes)) < 3 else "\n"
        captions = [f"{classes[answers[i]]}{between}(is {classes[labels[i]]})" for i in shown]
        draw_grid(below, images[shown], captions, COLUMNS, rows=ROWS, marked=[True] * len(shown))
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
