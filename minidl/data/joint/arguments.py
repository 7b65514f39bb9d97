"""The small checks of arguments that joint transforms share."""

from __future__ import annotations

from ..moves import Border
from .base import Fill

__all__ = ["image_size", "known_border", "known_fill", "probability"]


def probability(name: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be in [0, 1], got {p}")
    return p


def image_size(name: str, size: int | tuple[int, int]) -> tuple[int, int]:
    h, w = (size, size) if isinstance(size, int) else size
    if h < 1 or w < 1:
        raise ValueError(f"{name}: size must be positive, got {size}")
    return h, w


def known_border(name: str, border: Border) -> Border:
    if border not in ("constant", "reflect"):
        raise ValueError(f"{name}: border must be 'constant' or 'reflect', got {border!r}")
    return border


def known_fill(name: str, fill: Fill) -> Fill:
    if isinstance(fill, str) and fill != "mean":
        raise ValueError(f"{name}: fill must be numbers or 'mean', got {fill!r}")
    return fill
