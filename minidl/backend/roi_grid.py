"""Where the bins of regions of interest lie: the arithmetic that RoIAlign and RoIPool start from.

A region of interest (RoI) is a box on a batch of feature maps: a row (n, x1, y1, x2, y2), with n
the image and the corners in pixels of the picture; times `scale` they are pixels of the map. It is
divided into `bins` rows and columns. Both axes are treated alike and apart, so everything here is
about one axis: 0 is y, 1 is x.

The functions take the array library as `xp` and ask nothing of the device, so that no result has to
be waited for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["RoiGrid", "align_span", "align_weights", "pool_windows"]

REACH = (
    5  # adaptive samples lie more than 1/2 pixel apart: at most 4 within 1 of a pixel; see below
)


class RoiGrid(NamedTuple):
    """How boxes are divided.

    Attributes:
        bins: (ph, pw), the numbers of rows and columns.
        scale: pixels of the map for one pixel of the picture that boxes are given in.
        samples: RoIAlign: points a bin along each axis; 0: so many that they are at most 1 apart.
        aligned: RoIAlign: whether pixel i of the map covers [i, i + 1), with its centre at i + 1/2.
            If not, its centre is taken to be at i, and boxes to be at least 1 long.
    """

    bins: tuple[int, int]
    scale: float
    samples: int = 0
    aligned: bool = False


def align_span(xp: Any, rois: Any, axis: int, grid: RoiGrid) -> tuple[Any, Any]:
    """(start, length) of each box on the map, counted in pixel centres: two arrays (K,)."""
    half = 0.5 if grid.aligned else 0.0
    start = rois[:, 2 - axis] * grid.scale - half
    length = rois[:, 4 - axis] * grid.scale - half - start
    return start, length if grid.aligned else xp.maximum(length, 1.0)


def align_weights(xp: Any, rois: Any, axis: int, grid: RoiGrid, pixels: Any, size: int) -> Any:
    """RoIAlign's matrix for one axis: the weight of each pixel in each bin's mean.

    A bin is the mean of `count` samples at equal distances, each interpolated linearly between the
    two pixels beside it. So the weight of pixel p is the mean of the hats max(0, 1 - |y - p|) over
    the samples y. A sample beyond -1 or `size` counts as 0; one between there and the outermost
    pixel as that pixel.

    Args:
        rois: (K, 5), floating point.
        pixels: positions, in rois' dtype, that broadcast with (K, 1, P). What is no pixel of the
            map gets weight 0.
        size: of the map along the axis.

    Returns:
        (K, bins, P). NaN for a box with a NaN.
    """
    start, length = align_span(xp, rois, axis, grid)
    bins = grid.bins[axis]
    bin = (length / bins)[:, None, None]
    count = bin * 0.0 + grid.samples if grid.samples else xp.ceil(bin)  # NaN stays NaN
    step = bin / xp.maximum(count, 1.0)
    index = xp.arange(bins, dtype=rois.dtype)[:, None]
    centre = start[:, None, None] + index * bin + step * 0.5  # of each bin's first sample

    if grid.samples:
        first, reach = 0.0, grid.samples
    else:
        # How many samples there are is known to the device only, but few of them are near a pixel:
        # bins longer than 1 have ceil(bin) samples, bin / ceil(bin) > 1/2 apart. floor begins one
        # sample too early rather than one too late.
        first = (pixels - 1.0 - centre) / xp.where(step == 0, 1.0, step)
        first = xp.maximum(xp.floor(first), 0.0)
        reach = REACH
    total = xp.zeros((1, 1, 1), rois.dtype)
    for k in range(reach):
        i = first + k
        y = centre + i * step
        hat = xp.maximum(1.0 - abs(xp.clip(y, 0.0, size - 1.0) - pixels), 0.0)
        total = total + xp.where((i >= count) | (y < -1.0) | (y > size), 0.0, hat)
    return total / xp.maximum(count, 1.0)


def pool_windows(
    xp: Any, rois: Any, axis: int, grid: RoiGrid, size: int, inclusive: bool
) -> tuple[Any, Any]:
    """RoIPool's bins along one axis: whole pixels [start, stop), neighbours may share one.

    Corners are rounded to pixels. A bin that lies outside of the map has stop <= start.

    Args:
        size: of the map along the axis.
        inclusive: whether the pixel of the second corner belongs to the box.

    Returns:
        start, stop: (K, bins), whole numbers in rois' dtype.
    """
    low, high = [_round(xp, rois[:, k - axis] * grid.scale)[:, None] for k in (2, 4)]
    bin = xp.maximum(high - low + (1.0 if inclusive else 0.0), 1.0) / grid.bins[axis]
    edges = xp.arange(grid.bins[axis] + 1, dtype=rois.dtype)
    start, stop = xp.floor(edges[:-1] * bin) + low, xp.ceil(edges[1:] * bin) + low
    return xp.clip(start, 0.0, size), xp.clip(stop, 0.0, size)


def _round(xp: Any, a: Any) -> Any:
    """The nearest whole number, halves away from zero as in C: `xp.round` takes the even one."""
    whole = xp.trunc(a)
    rest = a - whole
    return xp.where(rest >= 0.5, whole + 1.0, xp.where(rest <= -0.5, whole - 1.0, whole))
