"""What a network sees, drawn: pictures beside the maps of `minidl.explain`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import of
from ..io import replace_file
from .grid import _as_pictures

__all__ = ["attribution_grid"]


def attribution_grid(
    images: Any,
    maps: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    captions: Sequence[str] | None = None,
) -> None:
    """Draw a row for each picture: the picture, and by each method what counts in it.

    Maps without negative numbers lie over the picture in grey, from clear (0) to yellow (each one's
    largest). Others are drawn by themselves, blue below 0, red above, white at 0. Smaller maps are
    stretched over the picture, bilinearly.

    Args:
        images: (N, C, H, W) or (N, H, W) in [0, 1]; C is 1 (grey) or 3 (RGB); arrays or tensors.
        maps: for each name (N, h, w), or (N, C, h, w), whose sum over C is drawn.
        path: the PNG to write; replaced in one step.
        captions: a text for each picture, as its class.

    Raises:
        ValueError: no pictures, no maps, or other numbers of maps or captions.
    """
    from matplotlib.figure import Figure

    pictures = _as_pictures(_on_host(images))
    drawn = {name: _on_host(values) for name, values in maps.items()}
    count = len(pictures)
    for name, values in drawn.items():
        if values.ndim not in (3, 4) or len(values) != count:
            raise ValueError(
                f"attribution_grid: {name!r} is {values.shape}; needs (N, h, w) or (N, C, h, w) "
                f"for {count} pictures"
            )
    if not drawn or (captions is not None and len(captions) != count):
        raise ValueError(
            f"attribution_grid: needs maps, and captions for {count} pictures or none, got "
            f"{len(drawn)} maps and {captions}"
        )
    height, width = pictures.shape[1:3]
    figure = Figure(
        figsize=(1.5 * (1 + len(drawn)), 1.5 * height / width * count + 0.4), layout="constrained"
    )
    panels = figure.subplots(count, 1 + len(drawn), squeeze=False)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    for n, row in enumerate(panels):
        for axes in row:
            axes.set(xticks=[], yticks=[])
        row[0].imshow(pictures[n], cmap="gray", vmin=0.0, vmax=1.0)
        if captions is not None:
            row[0].set_ylabel(captions[n], fontsize=9)
        for axes, values in zip(row[1:], drawn.values(), strict=True):
            plane = values[n].sum(0) if values.ndim == 4 else values[n]
            largest = float(np.abs(plane).max()) or 1.0
            same = plane.shape == (height, width)
            smooth: Any = {"extent": extent, "interpolation": "nearest" if same else "bilinear"}
            if plane.min() < 0:
                axes.imshow(plane, cmap="RdBu_r", vmin=-largest, vmax=largest, **smooth)
            else:
                grey = pictures[n] if pictures.ndim == 3 else pictures[n].mean(-1)
                axes.imshow(grey, cmap="gray", vmin=0.0, vmax=1.0)
                share = plane / largest
                axes.imshow(share, cmap="plasma", vmin=0.0, vmax=1.0, alpha=0.85 * share, **smooth)
    for axes, title in zip(panels[0], ("picture", *drawn), strict=True):
        axes.set_title(title, fontsize=9)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _on_host(values: Any) -> np.ndarray:
    return (
        of(values.data).to_host(values.data) if isinstance(values, Tensor) else np.asarray(values)
    )
