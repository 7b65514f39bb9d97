"""Class maps as pictures: laid over an image with a legend, and side by side with the truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from colorsys import hsv_to_rgb
from typing import Any

import numpy as np

from ..io import replace_file

__all__ = ["class_colours", "mask_overlay", "paint_mask", "segmentation_grid"]

GOLDEN = (5**0.5 - 1) / 2  # of the circle
VOID = (224 / 255, 224 / 255, 192 / 255)  # pixels that do not count: as in Pascal VOC's maps


def class_colours(classes: Sequence[str]) -> np.ndarray:
    """A bright colour for each class, (C, 3) in [0, 1]; black for one called "background".

    Hues are a golden angle apart, so that any number of them is spread evenly and neighbours are
    far from each other; every other one is paler, every third one darker.
    """
    colours = [
        (0.0, 0.0, 0.0)
        if name == "background"
        else hsv_to_rgb((0.02 + GOLDEN * i) % 1.0, (0.95, 0.55)[i % 2], (1.0, 0.9, 0.7)[i % 3])
        for i, name in enumerate(classes)
    ]
    return np.array(colours).reshape(-1, 3)


def paint_mask(
    mask: np.ndarray,
    colours: np.ndarray,
    image: np.ndarray | None = None,
    *,
    opacity: float = 0.6,
    clear: Sequence[int] = (),
) -> np.ndarray:
    """A class map in colours, over an image or by itself.

    Args:
        mask: (H, W) integers; those that are no class are not painted over an image, and pale by
            themselves.
        colours: (C, 3) in [0, 1].
        image: (3, H, W) or (1, H, W) in [0, 1].
        opacity: of the colours over an image, from 0 to 1.
        clear: classes that are not painted over an image.

    Returns:
        (3, H, W) in [0, 1].

    Raises:
        ValueError: shapes that do not fit.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "iu":
        raise ValueError(
            f"paint_mask: needs a class map (H, W) of integers, got {mask.dtype} {mask.shape}"
        )
    known = (mask >= 0) & (mask < len(colours))
    painted = np.where(known[..., None], colours[np.where(known, mask, 0)], VOID)
    painted = painted.transpose(2, 0, 1)
    if image is None:
        return painted
    image = np.asarray(image)
    if image.shape not in ((3, *mask.shape), (1, *mask.shape)):
        raise ValueError(
            f"paint_mask: needs an image (3, H, W) or (1, H, W) of the class map's size "
            f"{mask.shape}, got {image.shape}"
        )
    image = np.clip(np.broadcast_to(image, painted.shape), 0.0, 1.0)
    share = np.where(known & ~np.isin(mask, list(clear)), opacity, 0.0)
    return image + share * (painted - image)


def mask_overlay(
    image: np.ndarray,
    mask: np.ndarray,
    classes: Sequence[str],
    path: str | os.PathLike[str],
    *,
    colours: np.ndarray | None = None,
    opacity: float = 0.6,
) -> None:
    """Draw an image with a class map laid over it, and a legend of the classes in it.

    Args:
        image: (3, H, W) or (1, H, W) in [0, 1].
        mask: (H, W) integers.
        classes: names of the classes; one called "background" is not painted.
        path: the PNG to write; replaced in one step.
        colours: (C, 3) in [0, 1]; default: `class_colours`.
        opacity: of the colours, from 0 to 1.

    Raises:
        ValueError: shapes that do not fit.
    """
    from matplotlib.figure import Figure

    colours = _colours(classes, colours)
    painted = paint_mask(mask, colours, image, opacity=opacity, clear=_clear(classes))
    height, width = np.asarray(mask).shape
    handles = _legend([np.asarray(mask)], classes, colours, clear=[*_clear(classes), None])
    # Small pictures are enlarged, so that the legend does not dwarf them.
    scale = max(3.2 / max(height, width), 1 / 110)
    w, h = scale * width, scale * height
    figure = Figure(figsize=(w + 1.7, max(h, 0.24 * len(handles) + 0.2)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(painted.transpose(1, 2, 0), interpolation="nearest")
    axes.axis("off")
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def segmentation_grid(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    classes: Sequence[str],
    path: str | os.PathLike[str],
    *,
    captions: Sequence[str] | None = None,
    colours: np.ndarray | None = None,
) -> None:
    """Draw a row for each image: the image, its true class map, the predicted one; and a legend.

    Args:
        images: each (3, H, W) or (1, H, W) in [0, 1]; sizes may differ.
        truths, predictions: class maps (H, W), integers; pixels that do not count are pale.
        classes: names of the classes.
        path: the PNG to write; replaced in one step.
        captions: a text for each row, as its score.
        colours: (C, 3) in [0, 1]; default: `class_colours`.

    Raises:
        ValueError: no images, other numbers of them, or shapes that do not fit.
    """
    from matplotlib.figure import Figure

    counts = [len(part) for part in (images, truths, predictions, captions or images)]
    if not counts[0] or len(set(counts)) > 1:
        raise ValueError(
            f"segmentation_grid: needs as many images as truths, predictions and captions, at "
            f"least one, got {counts}"
        )
    colours = _colours(classes, colours)
    handles = _legend([*truths, *predictions], classes, colours)
    shapes = [np.asarray(image).shape[1:] for image in images]
    columns = 4
    lines = -(-len(handles) // columns)
    heights = [2.2 * h / w for h, w in shapes]
    titles = 0.25 + (0.2 * len(images) if captions else 0.0)
    figure = Figure(
        figsize=(6.8, sum(heights) + 0.08 * len(images) + titles + 0.2 * lines),
        layout="constrained",
    )
    panels = figure.subplots(len(images), 3, squeeze=False, height_ratios=heights)
    for row, (image, truth, prediction) in enumerate(zip(images, truths, predictions, strict=True)):
        truth = np.asarray(truth)
        plain = paint_mask(truth, colours, image, opacity=0.0)  # checks the shapes
        for axes, picture in zip(
            panels[row],
            (plain, paint_mask(truth, colours), paint_mask(prediction, colours)),
            strict=True,
        ):
            axes.imshow(picture.transpose(1, 2, 0), interpolation="nearest")
            axes.axis("off")
        if captions is not None:
            panels[row, 2].text(
                *(0.5, -0.02, captions[row]),
                transform=panels[row, 2].transAxes,
                ha="center",
                va="top",
                fontsize=8,
            )
    for axes, title in zip(panels[0], ("image", "truth", "prediction"), strict=True):
        axes.set_title(title, fontsize=10)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _colours(classes: Sequence[str], colours: np.ndarray | None) -> np.ndarray:
    colours = class_colours(classes) if colours is None else np.asarray(colours)
    if colours.shape != (len(classes), 3):
        raise ValueError(
            f"colours must be (C, 3), one for each of {len(classes)} classes, got {colours.shape}"
        )
    return colours


def _clear(classes: Sequence[str]) -> list[int]:
    return [i for i, name in enumerate(classes) if name == "background"]


def _legend(
    masks: Sequence[np.ndarray],
    classes: Sequence[str],
    colours: np.ndarray,
    clear: Sequence[int | None] = (),
) -> list[Any]:
    """For each class that occurs a patch of its colour, its name and its share of the pixels.

    The patch is empty for `clear` classes; None stands for what is no class.
    """
    from matplotlib.patches import Patch

    labels = np.concatenate([np.asarray(mask).reshape(-1) for mask in masks])
    found, counts = np.unique(labels, return_counts=True)
    entries: list[tuple[int | None, Any, str, float]] = []
    others = 0.0
    for label, count in zip(found.tolist(), counts / max(labels.size, 1), strict=True):
        if 0 <= label < len(classes):
            entries.append((label, tuple(colours[label]), classes[label], count))
        else:
            others += count
    if others:
        entries.append((None, VOID, "not counted", others))
    return [
        Patch(
            facecolor="none" if label in clear else colour,
            edgecolor="0.4",
            label=f"{name} {share:.1%}",
        )
        for label, colour, name, share in entries
    ]
