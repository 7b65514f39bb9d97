"""A part of an array that is small enough for a page, and still says where it comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...backend import of

__all__ = ["Sample", "kept_places"]

WIDEST = 32  # rows and columns of a picture on the page
LONGEST = 64  # of one that has few cells all the same
CAPTURED = 16384  # numbers kept of an array while recording


@dataclass(frozen=True, eq=False)
class Sample:
    """Some of the elements of an array, as they were when it was taken.

    Attributes:
        shape: of the whole array.
        dtype: its name.
        places: for each axis the indices that were kept.
        values: the elements at these, on the host.
    """

    shape: tuple[int, ...]
    dtype: str
    places: tuple[range, ...]
    values: np.ndarray

    @classmethod
    def of(cls, array: Any, budget: int = CAPTURED) -> Sample:
        """A sample of at most `budget` numbers of an array on any device."""
        return cls.at(array, kept_places(array.shape, budget))

    @classmethod
    def at(cls, array: Any, places: tuple[range, ...]) -> Sample:
        """The sample of an array at certain places."""
        host = of(array).to_host(array[_slices(places)])
        return cls(tuple(array.shape), str(array.dtype), places, np.array(host))

    def thinned(self, budget: int) -> Sample:
        """A sample of this sample, of at most `budget` numbers."""
        inner = kept_places([len(p) for p in self.places], budget)
        pairs = zip(self.places, inner, strict=True)
        places = tuple([outer[p.start : p.stop : p.step] for outer, p in pairs])
        return Sample(self.shape, self.dtype, places, self.values[_slices(inner)])

    def equals(self, other: Sample) -> bool:
        """Whether the other has the same numbers, NaN being equal to NaN."""
        if (self.shape, self.dtype) != (other.shape, other.dtype):
            return False
        a, b = self.values, other.values
        return bool(((a == b) | ((a != a) & (b != b))).all())

    def plus(self, other: Sample) -> Sample:
        """The sum of two arrays' samples, which is the sample of the sum."""
        return Sample(self.shape, self.dtype, self.places, self.values + other.values)


def kept_places(shape: Sequence[int], budget: int) -> tuple[range, ...]:
    """For each axis of an array which indices to keep, `budget` places in all.

    The last two axes are a picture's rows and columns: of long ones every second, third ... is
    kept, so that the whole picture stays in view. Of the others (images, channels) the first are
    kept, rather few of them than gaps in the pictures.
    """
    places = [range(n) for n in shape]
    worth = [1, *[2] * (len(places) - 1)]  # channels more than images
    plane = shape[-2:]
    most = LONGEST if math.prod(plane) <= WIDEST * WIDEST else WIDEST
    for axis in range(len(places))[-2:]:
        worth[axis] = WIDEST
        places[axis] = range(0, shape[axis], max(1, -(-shape[axis] // most)))
    while math.prod(map(len, places)) > budget:
        axis = max(
            [i for i, p in enumerate(places) if len(p) > 1],
            key=lambda i: len(places[i]) / worth[i],
        )
        whole = places[axis]
        if axis >= len(places) - 2:
            places[axis] = whole[::2]
        else:
            places[axis] = whole[: -(-len(whole) // 2)]
    return tuple(places)


def _slices(places: Sequence[range]) -> tuple[Any, ...]:
    # (With an Ellipsis the result of a 0-d array is an array, too.)
    return (*[slice(p.start, p.stop, p.step) for p in places], ...)
