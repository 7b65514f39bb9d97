"""Polygons to masks, pixel for pixel as COCO's tools draw them.

Their rule: corners are rounded to fifths of a pixel, and every side becomes a chain of points on
that finer grid, one for each step along its longer direction. In a column of pixels, the mask
changes between inside and outside where the outline crosses the middle of that column; the crossing
belongs to the first pixel whose middle is not above it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .rle import RLE, from_edges, merge

__all__ = ["as_polygons", "from_polygons"]

FINER = 5  # points of the fine grid a pixel, as in COCO's tools
FARTHEST = 100_000  # pixels; it bounds how many points a side can have


def from_polygons(polygons: Sequence[Sequence[float] | np.ndarray], size: tuple[int, int]) -> RLE:
    """The union of polygons as a mask.

    Args:
        polygons: at least one, each x, y, x, y, ... of its corners in turn, at least three, pixels;
            closed by itself, from the last to the first.
        size: (H, W) of the image, pixels; what lies outside of it is cut off.

    Raises:
        ValueError: no polygon, fewer than three corners, an odd number of values, NaN or infinity,
            a corner farther than 100,000 pixels.
    """
    return merge([_fill(corners, size) for corners in as_polygons(polygons)])


def as_polygons(polygons: Sequence[Sequence[float] | np.ndarray]) -> list[np.ndarray]:
    """Polygons checked: each (n, 2) float64 x, y.

    Raises:
        ValueError: as `from_polygons`.
    """
    if not len(polygons):
        raise ValueError("from_polygons: needs at least one polygon")
    checked = []
    for number, polygon in enumerate(polygons):
        try:
            flat = np.array(polygon, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError):
            raise ValueError(f"from_polygons: polygon {number} holds what is no number") from None
        if len(flat) < 6 or len(flat) % 2 or not np.isfinite(flat).all():
            raise ValueError(
                f"from_polygons: polygon {number} must be x, y of three corners or more, all "
                f"finite, got {len(flat)} values, {int((~np.isfinite(flat)).sum())} of them not "
                "finite"
            )
        if np.abs(flat).max() > FARTHEST:
            raise ValueError(
                f"from_polygons: polygon {number} has a corner at {np.abs(flat).max():g} pixels; "
                f"corners must be within {FARTHEST}"
            )
        checked.append(flat.reshape(-1, 2))
    return checked


def _fill(polygon: np.ndarray, size: tuple[int, int]) -> RLE:
    height, width = size
    corners = np.trunc(FINER * polygon + 0.5).astype(np.int64)
    x, y = _outline(corners)
    # Between points j - 1 and j the outline crosses from one fine column to the next.
    crosses = np.flatnonzero(x[1:] != x[:-1])
    left = np.minimum(x[crosses], x[crosses + 1])
    column, rest = np.divmod(left - FINER // 2, FINER)
    middle = (rest == 0) & (column >= 0) & (column < width)
    above = np.minimum(y[crosses], y[crosses + 1])[middle]
    row = np.ceil(np.clip((above + 0.5) / FINER - 0.5, 0, height)).astype(np.int64)
    edges, times = np.unique(column[middle] * height + row, return_counts=True)
    return from_edges(edges[times % 2 == 1], size)


def _outline(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points x, y along the sides, on the fine grid, in the order of the corners."""
    start, end = corners, np.roll(corners, -1, axis=0)
    step = np.abs(end - start)
    flat = step[:, 0] >= step[:, 1]  # a point for each x; else for each y
    length = np.where(flat, step[:, 0], step[:, 1])
    along, across = np.where(flat, 0, 1), np.where(flat, 1, 0)
    side = np.arange(len(corners))
    # Every side is drawn in the rising direction, so that it is the same one both ways.
    back = start[side, along] > end[side, along]
    low, high = np.where(back[:, None], end, start), np.where(back[:, None], start, end)
    rise = high[side, across] - low[side, across]
    slope = rise / np.maximum(length, 1)

    points = length + 1
    owner = np.repeat(side, points)
    number = np.arange(points.sum()) - np.repeat(np.cumsum(points) - points, points)
    number = np.where(back[owner], length[owner] - number, number)
    first = low[side, along][owner] + number
    second = np.trunc(low[side, across][owner] + slope[owner] * number + 0.5).astype(np.int64)
    return np.where(flat[owner], first, second), np.where(flat[owner], second, first)
