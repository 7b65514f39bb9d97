"""Detections as pictures: boxes, names and scores, masks and keypoints over an image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..io import replace_file
from .objects import DPI, ColourBy, draw_picture, new_figure, read_picture, write

__all__ = ["detection_grid", "draw_detections"]

GAP, HEAD = 8, 22  # pixels between the pictures of a grid; for its titles


def draw_detections(
    image: Any,
    objects: Mapping[str, Any],
    classes: Sequence[str],
    path: str | os.PathLike[str],
    *,
    threshold: float = 0.5,
    skeleton: Any = (),
    colour_by: ColourBy | None = None,
    side: int = 800,
) -> None:
    """Draw what a detector found in an image, or what there is to find.

    Boxes of crowds and of difficult objects are dashed, hidden keypoints (of a target) hollow. A
    name never leaves the picture; where there is no room for it without hiding another one, it is
    left out.

    Args:
        image: (3, H, W) or (1, H, W) in [0, 1], an array or a CPU tensor.
        objects: a prediction or a target: "boxes" (R, 4) x1, y1, x2, y2, pixels of the image;
            "labels" (R,) integers; and perhaps "scores" (R,), "masks" (R, H, W) or (R, 1, H, W),
            bool or probabilities, "keypoints" (R, K, 3) x, y, visible, "iscrowd" and "difficult"
            (R,). Others do not count.
        classes: names of the classes.
        path: the PNG to write; replaced in one step.
        threshold: objects with lower scores are left out.
        skeleton: (B, 2) pairs of numbers of keypoints, from 0, with a line between.
        colour_by: a colour for each "class", or for each "instance"; default: by instance where
            there are masks or keypoints.
        side: pixels of the picture's longer side; an image that is smaller is enlarged by the
            whole number that comes closest from below.

    Raises:
        ValueError: shapes that do not fit, or a label that is no class.

    Example:
        >>> draw_detections(image, model.predict([image])[0], data.classes, "found.png")
    """
    picture = read_picture("draw_detections", image, objects, classes, threshold, colour_by, side)
    height, width = picture.pixels.shape[:2]
    figure = new_figure(height, width)
    draw_picture(figure, picture, skeleton, left=0, top=0)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def detection_grid(
    images: Sequence[Any],
    truths: Sequence[Mapping[str, Any]],
    predictions: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    path: str | os.PathLike[str],
    *,
    captions: Sequence[str] | None = None,
    pairs: int = 2,
    threshold: float = 0.5,
    skeleton: Any = (),
    colour_by: ColourBy | None = "class",
    side: int = 360,
) -> None:
    """Draw for each image what there is to find beside what was found.

    Args:
        images: each as in `draw_detections`; sizes may differ.
        truths, predictions: for each image, as the objects in `draw_detections`.
        classes: names of the classes.
        path: the PNG to write; replaced in one step.
        captions: a text for each image, as its score.
        pairs: images in a row, each two pictures wide.
        threshold, skeleton, colour_by, side: as in `draw_detections`, for each picture.

    Raises:
        ValueError: no images, other numbers of them, and as `draw_detections`.
    """
    counts = [len(part) for part in (images, truths, predictions, captions or images)]
    if not counts[0] or len(set(counts)) > 1:
        raise ValueError(
            f"detection_grid: needs as many images as truths, predictions and captions, at least "
            f"one, got {counts}"
        )
    cells = [
        [
            read_picture("detection_grid", image, objects, classes, threshold, colour_by, side)
            for objects in both
        ]
        for image, *both in zip(images, truths, predictions, strict=True)
    ]
    pairs = max(1, min(pairs, len(cells)))
    lines = [cells[i : i + pairs] for i in range(0, len(cells), pairs)]
    shapes = [[pair[0].pixels.shape for pair in line] for line in lines]
    widths = [
        max(line[column][1] for line in shapes if column < len(line)) for column in range(pairs)
    ]
    below = GAP if captions is None else HEAD
    heights = [max(shape[0] for shape in line) + below for line in shapes]
    lefts = np.cumsum([GAP] + [2 * width + 3 * GAP for width in widths]).tolist()
    tops = np.cumsum([HEAD, *heights]).tolist()
    figure = new_figure(tops[-1], lefts[-1] - GAP)
    for column, width in enumerate(widths):
        for part, title in enumerate(("truth", "prediction")):
            middle = lefts[column] + part * (width + GAP) + width / 2
            write(figure, middle, HEAD / 2, title, size=13)
    for number, (truth, prediction) in enumerate(cells):
        row, column = divmod(number, pairs)
        for part, picture in enumerate((truth, prediction)):
            left = lefts[column] + part * (widths[column] + GAP)
            left += (widths[column] - picture.pixels.shape[1]) // 2
            draw_picture(figure, picture, skeleton, left, tops[row])
        if captions is not None:
            middle = lefts[column] + widths[column] + GAP / 2
            y = tops[row] + truth.pixels.shape[0] + HEAD / 2
            write(figure, middle, y, captions[number], size=12)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
