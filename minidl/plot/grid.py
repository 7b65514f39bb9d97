"""Images side by side, each with a caption."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..io import replace_file

__all__ = ["draw_grid", "image_grid"]


def image_grid(
    images: np.ndarray,
    path: str | os.PathLike[str],
    captions: Sequence[str] | None = None,
    columns: int = 8,
    *,
    marked: Sequence[bool] | None = None,
) -> None:
    """Draw a contact sheet.

    Args:
        images: (N, C, H, W) or (N, H, W) in [0, 1]; C is 1 (grey) or 3 (RGB).
        path: the PNG to write.
        captions: a text for each image.
        columns: images in a row.
        marked: for each image whether its caption is red.

    Raises:
        ValueError: no images, a shape that is not of images, or other numbers of captions or
            marks.
    """
    from matplotlib.figure import Figure

    count = len(_as_pictures(images))
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    figure = Figure(
        figsize=(1.2 * columns, (1.4 if captions else 1.2) * rows), layout="constrained"
    )
    draw_grid(figure, images, captions, columns, marked=marked)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def draw_grid(
    figure: Any,
    images: np.ndarray,
    captions: Sequence[str] | None = None,
    columns: int = 8,
    *,
    rows: int | None = None,
    marked: Sequence[bool] | None = None,
) -> None:
    """Draw into a matplotlib figure or part of one; arguments as `image_grid`.

    Args:
        rows: how many there is room for; default: as many as needed.
    """
    images = _as_pictures(images)
    count = len(images)
    for name, values in (("captions", captions), ("marked", marked)):
        if values is not None and len(values) != count:
            raise ValueError(f"image_grid: {len(values)} {name} for {count} images")
    rows = rows or -(-count // columns)
    panels = np.atleast_1d(figure.subplots(rows, columns)).reshape(-1)
    for i, axes in enumerate(panels):
        axes.axis("off")
        if i >= count:
            continue
        axes.imshow(images[i], cmap="gray", vmin=0.0, vmax=1.0)
        if captions is not None:
            red = marked is not None and marked[i]
            axes.set_title(captions[i], fontsize=9, pad=3, color="#c00000" if red else "black")


def _as_pictures(images: np.ndarray) -> np.ndarray:
    """(N, H, W) or (N, H, W, 3) in [0, 1], as matplotlib draws them."""
    images = np.asarray(images)
    grey_or_colour = images.ndim == 4 and images.shape[1] in (1, 3)
    if not len(images) or not (grey_or_colour or images.ndim == 3):
        raise ValueError(
            f"image_grid: needs images (N, 1, H, W), (N, 3, H, W) or (N, H, W), got {images.shape}"
        )
    if images.ndim == 4:
        images = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    return np.clip(images, 0.0, 1.0)
