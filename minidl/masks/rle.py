"""Run-length encoded masks: Lin et al., "Microsoft COCO: common objects in context", 2014, and the
form of its annotation files.

Pixels are numbered down the columns: (y, x) is number x H + y. `counts` are the lengths of the
runs: so many pixels outside, then so many inside, then outside, ... The mask

    0 1 1
    0 1 0      has counts 2, 3, 1: it is 0 0 | 1 1 1 | 0 when read down the columns.

In a file the counts are a list, or a string in which each takes few characters (`to_json`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "RLE",
    "area",
    "bounding_boxes",
    "decode",
    "encode",
    "from_edges",
    "from_json",
    "iou",
    "merge",
    "to_json",
]


@dataclass(frozen=True, eq=False)
class RLE:
    """A mask as runs.

    Args:
        size: (H, W), pixels.
        counts: (n,) int64, the lengths of the runs, first one outside; only the first may be 0.
    """

    size: tuple[int, int]
    counts: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        """(2 k,) int64: the first pixel inside, the first outside again, ... of its k runs."""
        ends = np.cumsum(self.counts)
        return ends[: len(ends) // 2 * 2]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RLE):
            return NotImplemented
        return self.size == other.size and np.array_equal(self.counts, other.counts)


def from_edges(edges: np.ndarray, size: tuple[int, int]) -> RLE:
    """The mask that changes between inside and outside before each of these pixels.

    Args:
        edges: (n,) int64, rising, each once; after an odd number of them it is inside to the end.
        size: (H, W).
    """
    pixels = size[0] * size[1]
    if len(edges) and edges[-1] == pixels:
        edges = edges[:-1]
    return RLE(size, np.diff(edges, prepend=0, append=pixels))


def encode(mask: np.ndarray) -> RLE:
    """The runs of a mask.

    Args:
        mask: (H, W); what is not 0 is inside.

    Raises:
        ValueError: not (H, W).
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"encode: a mask must be (H, W), got {mask.shape}; encode them one by one")
    height, width = mask.shape
    inside = mask.astype(bool, copy=False)
    columns = np.flatnonzero(inside.any(axis=0))
    if not columns.size:
        return RLE((height, width), np.array([height * width], np.int64))
    first, last = columns[0], columns[-1] + 1
    line = np.zeros((last - first) * height + 2, bool)  # outside before and after
    line[1:-1].reshape(last - first, height)[:] = inside[:, first:last].T
    edges = np.flatnonzero(line[1:] != line[:-1]) + first * height
    return from_edges(edges, (height, width))


def decode(rle: RLE) -> np.ndarray:
    """The pixels (H, W) bool of a mask."""
    inside = np.zeros(len(rle.counts), bool)
    inside[1::2] = True
    height, width = rle.size
    return np.ascontiguousarray(np.repeat(inside, rle.counts).reshape(width, height).T)


def area(rle: RLE) -> int:
    """How many pixels are inside."""
    return int(rle.counts[1::2].sum())


def merge(rles: Sequence[RLE], intersect: bool = False) -> RLE:
    """The union of masks of one size, or what all of them share.

    Args:
        rles: at least one.
        intersect: False: the union; True: the intersection.

    Raises:
        ValueError: no masks, or sizes that differ.
    """
    if len({rle.size for rle in rles}) != 1:
        raise ValueError(
            f"merge: needs masks of one size, got sizes {sorted({rle.size for rle in rles})}"
        )
    edges = np.concatenate([rle.edges for rle in rles])
    steps = np.concatenate([_steps(rle) for rle in rles])
    order = np.argsort(edges, kind="stable")
    edges, depth = edges[order], np.cumsum(steps[order])
    # Several edges at one pixel: what counts is how many masks there are after the last of them.
    last = np.append(edges[1:] != edges[:-1], True)[: len(edges)]
    edges, inside = edges[last], depth[last] >= (len(rles) if intersect else 1)
    changes = inside != np.append(False, inside[:-1])[: len(inside)]
    return from_edges(edges[changes], rles[0].size)


def _steps(rle: RLE) -> np.ndarray:
    """+1 where it enters the mask, -1 where it leaves."""
    steps = np.ones(len(rle.counts) // 2 * 2, np.int64)
    steps[1::2] = -1
    return steps


def bounding_boxes(rles: Sequence[RLE]) -> np.ndarray:
    """The smallest box around each mask.

    Returns:
        (R, 4) float64 x1, y1, x2, y2, pixels, half-open; 0, 0, 0, 0 for an empty mask.
    """
    boxes = np.zeros((len(rles), 4))
    full = [i for i, rle in enumerate(rles) if len(rle.counts) > 1]
    if not full:
        return boxes
    edges = [rles[i].edges for i in full]
    runs = np.array([len(e) // 2 for e in edges])
    height = np.repeat([rles[i].size[0] for i in full], runs)
    line = np.concatenate(edges)
    begin, end = line[0::2], line[1::2] - 1  # the first and the last pixel of each run
    wraps = begin // height != end // height  # it reaches the end of a column and the next one
    low = np.where(wraps, 0, begin % height)
    high = np.where(wraps, height - 1, end % height)
    at = np.cumsum(runs) - runs
    boxes[full, 0] = np.minimum.reduceat(begin // height, at)
    boxes[full, 1] = np.minimum.reduceat(low, at)
    boxes[full, 2] = np.maximum.reduceat(end // height, at) + 1
    boxes[full, 3] = np.maximum.reduceat(high, at) + 1
    return boxes


def iou(
    first: Sequence[RLE], second: Sequence[RLE], iscrowd: np.ndarray | None = None
) -> np.ndarray:
    """Intersection over union of each pair of masks.

    Args:
        first: N masks.
        second: M masks of the same size.
        iscrowd: (M,) bool; over a crowd, the intersection is divided by the area of the first: a
            mask anywhere within the crowd has 1. None: none is a crowd.

    Returns:
        (N, M) float64 from 0 to 1; 0 where both are empty.

    Raises:
        ValueError: sizes that differ.
    """
    sizes = {rle.size for rle in (*first, *second)}
    if len(sizes) > 1:
        raise ValueError(f"iou: needs masks of one size, got sizes {sorted(sizes)}")
    shared = np.zeros((len(first), len(second)))
    areas, others = (np.array([area(r) for r in rles], float) for rles in (first, second))
    a, b = bounding_boxes(first)[:, None], bounding_boxes(second)
    meet = (np.minimum(a[..., 2:], b[:, 2:]) > np.maximum(a[..., :2], b[:, :2])).all(axis=2)
    rows, columns = np.nonzero(meet)
    if rows.size:
        shared[rows, columns] = _intersections(first, second, rows, columns)
    whole = areas[:, None] + others - shared
    if iscrowd is not None:
        whole = np.where(np.asarray(iscrowd, bool), areas[:, None], whole)
    return shared / np.where(whole == 0, 1.0, whole)


def _intersections(
    first: Sequence[RLE], second: Sequence[RLE], rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Pixels that masks first[rows[i]] and second[columns[i]] share.

    How many pixels of a mask come before pixel p is a function of p that rises by 1 a pixel within
    a run and else not at all: straight between edges. So its value at the edges of the other mask
    is a linear interpolation, and what a run shares with the mask is the rise over the run.
    """
    pixels = first[0].size[0] * first[0].size[1]
    # All masks of `second` one behind the other, a gap between them so that no edges coincide.
    edges = [rle.edges + j * (pixels + 1) for j, rle in enumerate(second)]
    line = np.concatenate(edges)
    runs = np.zeros(len(line), np.int64)
    runs[1::2] = line[1::2] - line[0::2]
    before = np.cumsum(runs)

    pieces = [rle.edges for rle in first]
    count = np.array([len(piece) for piece in pieces])
    at = np.cumsum(count) - count
    length = count[rows]
    start = np.cumsum(length) - length
    take = np.arange(length.sum()) + np.repeat(at[rows] - start, length)
    where = np.concatenate(pieces)[take] + np.repeat(columns * (pixels + 1), length)
    value = np.interp(where, line, before)
    return np.add.reduceat(value[1::2] - value[0::2], start // 2)


# -- files -----------------------------------------------------------------------------------------


def to_json(rle: RLE) -> dict[str, Any]:
    """A mask as COCO's files have it: {"size": [H, W], "counts": text}.

    From the fourth on, a count is written as its difference to the one two before, which is small
    where neighbouring columns are alike. A number takes characters of five bits, the lowest first,
    the last one with its sign; a sixth bit says that more follow; 48 is added to make text of it.
    """
    numbers = rle.counts.astype(np.int64)
    numbers[3:] -= rle.counts[1:-2]
    shifts = 5 * np.arange(12)
    # How many characters: as many as leave nothing but copies of the sign bit behind.
    needed = 1 + ((numbers[:, None] >> (shifts + 4)) != (numbers < 0)[:, None] * -1).sum(axis=1)
    place = np.arange(12)
    bits = (numbers[:, None] >> shifts) & 31
    bits += np.where(place < needed[:, None] - 1, 32, 0)
    text = (bits[place < needed[:, None]] + 48).astype(np.uint8).tobytes().decode("ascii")
    return {"size": list(rle.size), "counts": text}


def from_json(entry: Any) -> RLE:
    """A mask as runs from {"size": [H, W], "counts": list, text or bytes}.

    Raises:
        ValueError: no such entry, or runs that do not fill the size.
    """
    try:
        height, width = (int(n) for n in entry["size"])
        counts = entry["counts"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"from_json: needs a dictionary with size [H, W] and counts, got {_short(entry)}"
        ) from None
    if isinstance(counts, (str, bytes)):
        counts = _from_text(counts)
    try:
        counts = np.asarray(counts, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"from_json: counts must be integers, got {_short(counts)}") from None
    if counts.ndim != 1 or (counts < 0).any() or counts.sum() != height * width:
        raise ValueError(
            f"from_json: runs of {counts.sum()} pixels, with {int((counts < 0).sum())} negative "
            f"ones, do not fill {height} x {width} = {height * width} pixels"
        )
    # Runs of no pixels join their neighbours: an edge that occurs twice is none.
    edges, times = np.unique(np.cumsum(counts)[:-1], return_counts=True)
    return from_edges(edges[times % 2 == 1], (height, width))


def _from_text(text: str | bytes) -> np.ndarray:
    data = text.encode("ascii", "replace") if isinstance(text, str) else text
    bits = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    more = bits & 32 != 0
    if not bits.size or more[-1] or (bits < 0).any() or (bits > 63).any():
        raise ValueError(f"from_json: {_short(text)} is not a mask as text, or its end is missing")
    last = np.flatnonzero(~more)
    first = np.append(0, last[:-1] + 1)
    length = last - first + 1
    if length.max() > 12:
        raise ValueError(f"from_json: {_short(text)} holds a number of {length.max()} characters")
    place = np.arange(len(bits)) - np.repeat(first, length)
    numbers = np.add.reduceat((bits & 31) << (5 * place), first)
    numbers -= np.where(bits[last] & 16, np.int64(1) << (5 * length), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
