"""Chance and arguments: the small checks that transforms share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = [
    "Range",
    "probability",
    "range_around_one",
    "range_around_zero",
    "scale_range",
    "sides",
    "uniform",
]

Range = tuple[float, float]


def uniform(rng: np.random.Generator, bounds: Range, size: int | tuple[int, ...]) -> np.ndarray:
    low, high = bounds
    return rng.uniform(low, high, size=size)


def probability(name: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: must be in [0, 1], got {p}")
    return p


def range_around_zero(value: float | Range) -> Range:
    if isinstance(value, (int, float)):
        value = (-abs(value), abs(value))
    low, high = value
    return low, high


def range_around_one(name: str, value: float | Range) -> Range:
    if isinstance(value, (int, float)):
        value = (max(0.0, 1.0 - value), 1.0 + value)
    low, high = value
    if not 0 <= low <= high:
        raise ValueError(f"{name} must be a range of factors >= 0, got {value}")
    return low, high


def scale_range(name: str, value: Range) -> Range:
    low, high = value
    if not (0 < low <= high and math.isfinite(high)):
        raise ValueError(f"{name}: needs a range (low, high) with 0 < low <= high, got {value}")
    return low, high


def sides(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    sides = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(sides) not in (1, 2, 4) or min(sides) < 0:
        raise ValueError(f"RandomCrop: padding must be 1, 2 or 4 numbers >= 0, got {padding}")
    left, top, right, bottom = (sides * 4)[:4]
    return left, top, right, bottom
