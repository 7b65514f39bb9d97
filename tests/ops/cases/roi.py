"""Cases of RoIAlign, RoIPool and position-sensitive RoIPool. The oracles are loops over pixels.

Boxes are whole numbers of eighths of a pixel of the map: integers need no gradient, and no sample
or corner lies on a limit.
"""

import math

import numpy as np

from minidl.backend.roi_grid import RoiGrid
from minidl.ops.roi import RoIAlignAdjoint, ps_roi_pool, roi_align, roi_pool

from ..case import Case

SCALE = 0.125
# (image, x1, y1, x2, y2): inside, over the edges, wholly outside, thin, tiny, twice the same
BOXES = np.array(
    [
        [0, 9, 7, 33, 29],
        [1, -21, -13, 19, 21],
        [1, 23, 19, 77, 65],
        [0, 100, 100, 131, 117],
        [0, 11, 3, 15, 43],
        [1, 17, 18, 19, 21],
        [1, 17, 18, 19, 21],
    ]
)


def rounded(a):
    """To the nearest whole number, halves away from zero."""
    return int(math.copysign(math.floor(abs(a) + 0.5), a))


# -- the oracles ----------------------------------------------------------------------------------


def interpolated(plane, y, x):
    """The value at a point between pixel centres 0, 1, 2 ...; 0 beyond -1 or the size."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    total = 0.0
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            share = (1 - abs(y - i)) * (1 - abs(x - j))
            if share:
                total += share * plane[i, j]
    return total


def align(x, boxes, size, scale=SCALE, ratio=-1, aligned=False):
    out = np.zeros((len(boxes), x.shape[1], *size))
    for k, (n, *corners) in enumerate(boxes):
        x1, y1, x2, y2 = [c * scale - (0.5 if aligned else 0) for c in corners]
        lengths = [y2 - y1, x2 - x1]
        if not aligned:
            lengths = [max(length, 1.0) for length in lengths]
        bins = [length / count for length, count in zip(lengths, size, strict=True)]
        samples = [ratio if ratio > 0 else math.ceil(bin) for bin in bins]
        for c in range(x.shape[1]):
            for i in range(size[0]):
                for j in range(size[1]):
                    points = [
                        interpolated(
                            x[int(n), c],
                            y1 + (i + (a + 0.5) / samples[0]) * bins[0],
                            x1 + (j + (b + 0.5) / samples[1]) * bins[1],
                        )
                        for a in range(samples[0])
                        for b in range(samples[1])
                    ]
                    out[k, c, i, j] = sum(points) / max(len(points), 1)
    return out


def adjoint(g, size, ratio):
    """Every bin spread over the pixels that it is the mean of: one pixel of the map at a time."""
    shape = (2, g.shape[1], *size)
    out = np.zeros(shape)
    for place in np.ndindex(shape):
        one = np.zeros(shape)
        one[place] = 1
        out[place] = (align(one, BOXES, g.shape[2:], ratio=ratio) * g).sum()
    return out


def windows(x, boxes, size, inclusive):
    """(index of the output without channel, the pixels [rows, columns] of its bin)."""
    for k, (n, *corners) in enumerate(boxes):
        x1, y1, x2, y2 = [rounded(c * SCALE) for c in corners]
        high, wide = [max(b - a + inclusive, 1) for a, b in ((y1, y2), (x1, x2))]
        for i in range(size[0]):
            for j in range(size[1]):
                rows = range(
                    y1 + math.floor(i * high / size[0]), y1 + math.ceil((i + 1) * high / size[0])
                )
                columns = range(
                    x1 + math.floor(j * wide / size[1]), x1 + math.ceil((j + 1) * wide / size[1])
                )
                pixels = [
                    (r, s)
                    for r in rows
                    for s in columns
                    if 0 <= r < x.shape[2] and 0 <= s < x.shape[3]
                ]
                yield k, int(n), i, j, pixels


def pooled(x, boxes, size):
    out = np.zeros((len(boxes), x.shape[1], *size))
    for k, n, i, j, pixels in windows(x, boxes, size, True):
        for c in range(x.shape[1]):
            out[k, c, i, j] = np.max([x[n, c, r, s] for r, s in pixels] or [0.0])
    return out


def position_sensitive(x, boxes, size):
    channels = x.shape[1] // (size[0] * size[1])
    out = np.zeros((len(boxes), channels, *size))
    for k, n, i, j, pixels in windows(x, boxes, size, False):
        for c in range(channels):
            plane = x[n, (c * size[0] + i) * size[1] + j]
            out[k, c, i, j] = sum(plane[p] for p in pixels) / max(len(pixels), 1)
    return out


# -- the cases ------------------------------------------------------------------------------------


def normal(*shape, boxes=BOXES):
    return lambda rng: (rng.standard_normal(shape), boxes)


def distinct(*shape):
    """Different numbers, far enough apart for differences not to change their order."""

    def make(rng):
        size = math.prod(shape)
        return (rng.permutation(size).reshape(shape) - size / 2) / 20.0, BOXES

    return make


def align_case(name, size, ratio, aligned):
    return Case(
        name=f"roi_align, {name}",
        function=lambda x, b: roi_align(x, b, size, SCALE, ratio, aligned),
        inputs=normal(2, 2, 5, 6),
        oracle=lambda x, b: align(x, b, size, ratio=ratio, aligned=aligned),
    )


def spread(g, boxes):
    """The adjoint by itself, of gradients g for a map of 5 x 6."""
    rois = boxes.data.astype(np.float64 if g.dtype == np.float64 else np.float32)
    return RoIAlignAdjoint.apply(g, rois, RoiGrid((2, 3), SCALE, 2), (2, 2, 5, 6))


def split(x, boxes):
    """The same boxes as a list with one array for each image, image 0 first."""
    first = [0, 3, 4]
    return roi_align(x, [boxes[first, 1:], boxes[[1, 2, 5, 6], 1:]], (2, 2), SCALE, 2)


CASES = [
    align_case("two samples a bin", (2, 3), 2, False),
    align_case("one sample a bin, aligned", (3, 2), 1, True),
    align_case("as many samples as needed", (2, 2), -1, False),
    align_case("as many samples as needed, aligned", (1, 2), 0, True),
    Case(
        name="roi_align, one list of boxes for each image",
        function=split,
        inputs=normal(2, 2, 5, 6),
        oracle=lambda x, b: align(x, b[[0, 3, 4, 1, 2, 5, 6]], (2, 2), ratio=2),
    ),
    Case(
        name="the adjoint of roi_align",
        function=spread,
        inputs=normal(len(BOXES), 2, 2, 3),
        oracle=lambda g, b: adjoint(g, (5, 6), 2),
    ),
    Case(
        name="roi_pool",
        function=lambda x, b: roi_pool(x, b, (2, 3), SCALE),
        inputs=distinct(2, 2, 5, 6),
        oracle=lambda x, b: pooled(x, b, (2, 3)),
    ),
    Case(
        name="ps_roi_pool",
        function=lambda x, b: ps_roi_pool(x, b, (3, 2), SCALE),
        inputs=normal(2, 12, 5, 6),
        oracle=lambda x, b: position_sensitive(x, b, (3, 2)),
    ),
]
