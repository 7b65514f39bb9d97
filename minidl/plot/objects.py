"""One image with its objects drawn, as a part of a figure.

The picture is made at its final size in pixels: a small image is enlarged, so that names can be
read beside objects of ten pixels, a large one is reduced. Masks are painted into it; lines and
names are drawn above, those of the best objects last, so that they are on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from typing import Any, Literal, NamedTuple

import numpy as np

from ..data.moves import Resize
from .segmentation import GOLDEN

__all__ = [
    "DPI",
    "ColourBy",
    "Picture",
    "colour_of",
    "draw_picture",
    "free_place",
    "new_figure",
    "read_picture",
    "write",
]

DPI = 100  # every length below is in pixels of the picture; matplotlib counts in 1/72 inches
POINT = 72 / DPI
OPACITY = 0.45  # of masks

ColourBy = Literal["class", "instance"]


class Picture(NamedTuple):
    """Everything in pixels of the picture; objects from the one with the highest score on."""

    pixels: np.ndarray  # (h, w, 3) in [0, 1], masks painted
    boxes: np.ndarray  # (R, 4)
    names: list[str]
    colours: np.ndarray  # (R, 3)
    dashed: np.ndarray  # (R,) bool
    keypoints: np.ndarray  # (R, K, 3); visible: 2 filled, 1 hollow, 0 none


def read_picture(
    op: str,
    image: Any,
    objects: Mapping[str, Any],
    classes: Sequence[str],
    threshold: float,
    colour_by: ColourBy | None,
    side: int,
) -> Picture:
    """An image and its objects, checked and brought to the picture's size.

    Args:
        op: the function that is named in errors; the others are those of `draw_detections`.

    Raises:
        ValueError: shapes that do not fit, a label that is no class, a box that is not finite.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"{op}: needs an image (3, H, W) or (1, H, W), got {image.shape}")
    if colour_by not in (None, "class", "instance"):
        raise ValueError(f"{op}: colour_by must be 'class' or 'instance', got {colour_by!r}")
    if side < 32:
        raise ValueError(f"{op}: side must be at least 32 pixels, got {side}")
    height, width = size = image.shape[1:]
    parts = _arrays(op, objects, size, len(classes))
    scores = parts.get("scores")
    order = np.arange(len(parts["boxes"]))
    if scores is not None:
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= threshold]
    shown = {key: value[order] for key, value in parts.items()}
    labels, count = shown["labels"], len(order)
    if colour_by is None:
        colour_by = "instance" if "masks" in parts or "keypoints" in parts else "class"
    colours = np.array(
        [colour_of(i) for i in (labels.tolist() if colour_by == "class" else range(count))]
    ).reshape(-1, 3)
    h, w = _picture_size(height, width, side)
    resize, scale = Resize(height, width, h, w), [w / width, h / height]
    keypoints = shown.get("keypoints", np.zeros((count, 0, 3))).astype(np.float64)
    keypoints[..., :2] *= scale
    if scores is not None:  # of a prediction it is known where all are, not which can be seen
        keypoints[..., 2] = np.where(keypoints[..., 2] > 0, 2, 0)
    nothing = np.zeros(count, bool)
    crowd, difficult = (shown.get(key, nothing) for key in ("iscrowd", "difficult"))
    names = [classes[label] for label in labels]
    if scores is not None:
        names = [f"{n} {s:.2f}" for n, s in zip(names, shown["scores"], strict=True)]
    return Picture(
        _paint(image, shown.get("masks"), colours, resize),
        shown["boxes"] * np.array(scale * 2),
        names,
        colours,
        (crowd != 0) | (difficult != 0),
        keypoints,
    )


def _arrays(
    op: str, objects: Mapping[str, Any], size: tuple[int, int], classes: int
) -> dict[str, np.ndarray]:
    """What is drawn of the objects, as arrays that fit each other and the image."""
    known = ("boxes", "labels", "scores", "masks", "keypoints", "iscrowd", "difficult")
    parts = {key: np.asarray(objects[key]) for key in known if key in objects}
    if "boxes" not in parts or "labels" not in parts:
        raise ValueError(f"{op}: objects need boxes and labels, got {', '.join(objects)}")
    if "masks" in parts:
        masks = parts["masks"]
        masks = masks[:, 0] if masks.ndim == 4 and masks.shape[1] == 1 else masks
        parts["masks"] = np.asarray(masks if masks.dtype == bool else masks >= 0.5, bool)
    count = len(parts["boxes"])
    for key, value in parts.items():
        tail: tuple[Any, ...] = {"boxes": (4,), "masks": size, "keypoints": (..., 3)}.get(key, ())
        fits = value.shape[2:] == (3,) if key == "keypoints" else value.shape[1:] == tail
        if len(value) != count or not fits:
            form = ", ".join("K" if n is ... else str(n) for n in (count, *tail))
            raise ValueError(f"{op}: {key} must be ({form}), got {value.shape}")
    for i, (label, box) in enumerate(zip(parts["labels"], parts["boxes"], strict=True)):
        if not 0 <= label < classes:
            raise ValueError(f"{op}: object {i} has label {label} of {classes} classes")
        if not np.isfinite(box).all():
            raise ValueError(f"{op}: object {i} has a box that is not finite: {box}")
    return parts


def _picture_size(height: int, width: int, side: int) -> tuple[int, int]:
    longer = max(height, width)
    if longer <= side:
        return height * (side // longer), width * (side // longer)
    return max(1, round(height * side / longer)), max(1, round(width * side / longer))


def _paint(
    image: np.ndarray, masks: np.ndarray | None, colours: np.ndarray, resize: Resize
) -> np.ndarray:
    """(h, w, 3): the image with translucent masks that have a line around."""
    larger = resize.size[0] > image.shape[1]
    # Enlarged, pixels stay the squares that they are.
    pixels = resize.labels(image, 0) if larger else resize.image(image.astype(np.float32), 0.0)
    pixels = np.clip(np.broadcast_to(pixels, (3, *resize.size)), 0.0, 1.0).copy()
    if masks is not None:
        for mask, colour in reversed(list(zip(masks, colours, strict=True))):
            mask = resize.labels(mask, 0)
            edge = mask & ~_eroded(mask, _line(resize.size) - 1)
            share = OPACITY * mask + (1 - OPACITY) * edge
            pixels += share * (colour[:, None, None] - pixels)
    return pixels.transpose(1, 2, 0)


def _eroded(mask: np.ndarray, by: int) -> np.ndarray:
    """Without the pixels that have one outside of the mask within `by` pixels along an axis."""
    result = mask
    for axis in (0, 1):
        padded = np.pad(result, [(by, by) if axis == a else (0, 0) for a in (0, 1)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * by + 1, axis)
        result = np.logical_and.reduce(windows, axis=-1)
    return result


def _line(size: tuple[int, ...]) -> int:
    """The width of a box's lines."""
    return 3 if max(size) >= 600 else 2


def new_figure(height: int, width: int) -> Any:
    """A matplotlib figure of so many pixels, that can measure texts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def write(figure: Any, x: float, y: float, text: str, size: float) -> None:
    """A text with its middle at x, y from the upper left corner of the figure."""
    width, height = figure.get_size_inches() * DPI
    figure.text(
        x / width, 1 - y / height, text, fontsize=size * POINT, ha="center", va="center_baseline"
    )


def draw_picture(figure: Any, picture: Picture, skeleton: Any, left: int, top: int) -> None:
    """Draw into the part of a figure that is as large as the picture, pixel by pixel."""
    height, width = picture.pixels.shape[:2]
    total_width, total_height = figure.get_size_inches() * DPI
    axes = figure.add_axes(
        (
            left / total_width,
            1 - (top + height) / total_height,
            width / total_width,
            height / total_height,
        )
    )
    axes.axis("off")
    axes.imshow(picture.pixels, extent=(0, width, height, 0), interpolation="nearest")
    axes.set(xlim=(0, width), ylim=(height, 0))
    taken: list[tuple[float, float, float, float]] = []
    objects = list(zip(picture.boxes, picture.colours, picture.dashed, strict=True))
    for box, colour, dashed in reversed(objects):
        _draw_box(axes, box, colour, dashed, (height, width))
    for points, colour in reversed(list(zip(picture.keypoints, picture.colours, strict=True))):
        _draw_keypoints(axes, points, skeleton, colour, max(height, width))
    for box, name, colour in zip(picture.boxes, picture.names, picture.colours, strict=True):
        _draw_name(axes, box, name, colour, (height, width), taken)


def colour_of(number: int) -> tuple[float, float, float]:
    """A colour that is seen as a thin line: as bright as there are, hues a golden angle apart."""
    return hsv_to_rgb((0.02 + GOLDEN * number) % 1.0, (0.9, 0.55)[number % 2], 1.0)


def _contrast(colour: np.ndarray) -> str:
    """Black on bright colours, white on dark ones."""
    return "black" if colour @ [0.299, 0.587, 0.114] > 0.45 else "white"


def _halo(colour: np.ndarray, width: float) -> list[Any]:
    """A darker or brighter line below a line, by which it is seen before any image."""
    from matplotlib.patheffects import Normal, Stroke

    stroke = Stroke(linewidth=(width + 1.6) * POINT, foreground=_contrast(colour), alpha=0.55)
    return [stroke, Normal()]


def _draw_box(
    axes: Any, box: np.ndarray, colour: np.ndarray, dashed: bool, size: tuple[int, int]
) -> None:
    from matplotlib.patches import Rectangle

    line = _line(size)
    # On whole pixels a line is sharp. At the picture's border half of it would be cut off.
    half = line / 2
    corners = np.round(box.reshape(2, 2) - half % 1) + half % 1
    (x1, y1), (x2, y2) = np.clip(corners, half, np.array(size[::-1]) - half)
    axes.add_patch(
        Rectangle(
            (x1, y1),
            x2 - x1,
            y2 - y1,
            fill=False,
            edgecolor=colour,
            linewidth=line * POINT,
            linestyle=(0, (4, 3)) if dashed else "solid",
            snap=False,
            path_effects=_halo(colour, line),
        )
    )


def _draw_keypoints(
    axes: Any, points: np.ndarray, skeleton: Any, colour: np.ndarray, side: int
) -> None:
    line = _line((side,))
    for a, b in np.asarray(skeleton, np.int64).reshape(-1, 2):
        if points[a, 2] > 0 and points[b, 2] > 0:
            x, y = points[[a, b], :2].T
            axes.plot(x, y, color=colour, linewidth=line * POINT, path_effects=_halo(colour, line))
    for visible, face in ((2, colour), (1, "none")):
        x, y = points[points[:, 2] == visible, :2].T
        axes.plot(
            x,
            y,
            "o",
            markersize=(3 * line + 1) * POINT,
            markerfacecolor=face,
            markeredgecolor=_contrast(colour) if visible == 2 else colour,
            markeredgewidth=(1.0 if visible == 2 else 1.5) * POINT,
        )


def _draw_name(
    axes: Any,
    box: np.ndarray,
    name: str,
    colour: np.ndarray,
    size: tuple[int, int],
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Write a name on its colour, beside or into its box, where no other one is."""
    from matplotlib.patches import Rectangle

    height, width = size
    font = min(max(max(size) / 55, 10.0), 15.0)
    text = axes.text(0, 0, name, fontsize=font * POINT, color=_contrast(colour), va="center")
    renderer = axes.figure.canvas.get_renderer()
    wide = text.get_window_extent(renderer).width + 4
    if wide > width:  # a long name in a small picture
        text.set_fontsize(text.get_fontsize() * width / wide)
        wide = width
    high = 1.4 * font
    place = free_place(box, wide, high, (height, width), taken)
    if place is None:
        text.remove()
        return
    x, y = place
    taken.append((x, y, x + wide, y + high))
    axes.add_patch(Rectangle((x, y), wide, high, facecolor=colour, linewidth=0, zorder=3))
    text.set(x=x + 2, y=y + high / 2, verticalalignment="center_baseline", zorder=4)


def free_place(
    box: np.ndarray,
    wide: float,
    high: float,
    size: tuple[int, int],
    taken: Sequence[tuple[float, float, float, float]],
) -> tuple[float, float] | None:
    """The upper left corner of a name within the picture, where it hides no other; or None."""
    height, width = size
    x1, y1, x2, y2 = box.tolist()
    for y in (y1 - high, y1, y2, y2 - high):
        for x in (x1, x2 - wide, (x1 + x2 - wide) / 2):
            x = min(max(x, 0.0), width - wide)
            if 0 <= y <= height - high and not any(
                x < b and a < x + wide and y < d and c < y + high for a, c, b, d in taken
            ):
                return x, y
    return None
