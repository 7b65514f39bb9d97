"""Images side by side, each with a caption."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from ..io import replace_file

__all__ = ["image_grid"]


def image_grid(
    images: np.ndarray,
    path: str | os.PathLike[str],
    captions: Sequence[str] | None = None,
    columns: int = 8,
) -> None:
    """Draw a contact sheet.

    Args:
        images: (N, C, H, W) or (N, H, W) in [0, 1]; C is 1 (grey) or 3 (RGB).
        path: the PNG to write.
        captions: a text for each image.
        columns: images in a row.

    Raises:
        ValueError: no images, or a shape that is not of images.
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or not len(images) or images.shape[1] not in (1, 3):
        raise ValueError(f"image_grid: needs images (N, 1 or 3, H, W), got {images.shape}")
    from matplotlib.figure import Figure

    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.3 * columns, 1.5 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns)).reshape(-1)
    for i, axes in enumerate(panels):
        axes.axis("off")
        if i < len(images):
            picture = np.clip(images[i].transpose(1, 2, 0), 0.0, 1.0)
            axes.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray")
            if captions is not None:
                axes.set_title(captions[i], fontsize=8)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
