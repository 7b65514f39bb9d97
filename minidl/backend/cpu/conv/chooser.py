"""Which algorithm computes a convolution: one table, and a way to overrule it."""

from __future__ import annotations

import threading
from types import ModuleType

from ...geometry import ConvGeometry
from . import depthwise, direct, im2col, pointwise, rows, winograd

__all__ = ["ALGORITHMS", "choose", "conv_algorithm"]

ALGORITHMS: dict[str, ModuleType] = {
    "direct": direct,
    "im2col": im2col,
    "rows": rows,
    "pointwise": pointwise,
    "depthwise": depthwise,
    "winograd": winograd,
}


class _Forced(threading.local):
    name: str | None = None


_forced = _Forced()


class conv_algorithm:
    """Compute convolutions on the CPU by one algorithm within a `with` block, where it can.

    Args:
        name: "direct", "im2col", "rows", "pointwise", "depthwise", "winograd" or "shift".
            A convolution that the algorithm cannot do is computed as if nothing were said.

    Raises:
        ValueError: unknown name.

    Example:
        >>> with conv_algorithm("im2col"):
        ...     y = conv2d(x, w)
    """

    def __init__(self, name: str) -> None:
        if name not in ALGORITHMS:
            raise ValueError(
                f"conv_algorithm: unknown algorithm {name!r}; known are {', '.join(ALGORITHMS)}"
            )
        self._name = name

    def __enter__(self) -> conv_algorithm:
        self._before, _forced.name = _forced.name, self._name
        return self

    def __exit__(self, *exception: object) -> None:
        _forced.name = self._before


def choose(
    face: str, geometry: ConvGeometry, channels: int, filters: int, size: tuple[int, int]
) -> ModuleType:
    """The algorithm for one face of a convolution.

    Args:
        face: "forward", "input_grad" or "weight_grad".
        channels, filters: of input and output (C, O).
        size: of the output, (Ho, Wo).
    """
    if _forced.name is not None:
        algorithm = ALGORITHMS[_forced.name]
        if algorithm.supports(face, geometry, channels):
            return algorithm
    windows = size[0] * size[1]
    if depthwise.supports(face, geometry, channels):
        return depthwise
    if pointwise.supports(face, geometry, channels):
        return pointwise
    return rows
