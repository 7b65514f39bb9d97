"""A linear map along one axis of an image: what average pooling and resizing are made of.

Each output is a weighted sum of a few inputs. Average pooling weighs the pixels of a window
equally, nearest-neighbour resizing picks one, bilinear resizing mixes two. As a matrix A the map is
sparse; along both axes it makes Y = A_y X A_x^T of a plane X, and the gradient of that is
A_y^T G A_x: the same thing with the transposed maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

__all__ = ["AxisMap"]


@dataclass(frozen=True, eq=False)
class AxisMap:
    """output[o] = sum over k of weights[k, o] * input[indices[k, o]].

    Outputs that need fewer than K inputs name any of them again, with weight 0.

    Attributes:
        size: the length of the input.
        indices: (K, outputs) integers in [0, size), on the host.
        weights: (K, outputs) float64, on the host.
    """

    size: int
    indices: np.ndarray
    weights: np.ndarray
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def output_size(self) -> int:
        return self.indices.shape[1]

    @cached_property
    def T(self) -> AxisMap:
        """The transposed map, from outputs back to inputs."""
        taps, outputs = np.nonzero(self.weights)
        inputs = self.indices[taps, outputs]
        order = np.argsort(inputs, kind="stable")
        inputs = inputs[order]
        count = np.bincount(inputs, minlength=self.size)
        # The how-manieth entry of its input each one is: its row in the transposed tables.
        rows = np.arange(inputs.size) - (np.cumsum(count) - count)[inputs]
        indices = np.zeros((max(1, int(count.max(initial=0))), self.size), np.int64)
        weights = np.zeros(indices.shape)
        indices[rows, inputs] = outputs[order]
        weights[rows, inputs] = self.weights[taps, outputs][order]
        # An unused entry repeats the first of its own column: a stray infinity stays where it is.
        unused = np.arange(len(indices))[:, None] >= count
        indices[unused] = np.broadcast_to(indices[0], indices.shape)[unused]
        result = AxisMap(self.output_size, indices, weights)
        result.__dict__["T"] = self
        return result

    @cached_property
    def selects(self) -> bool:
        """Whether every output is a copy of one input."""
        return len(self.indices) == 1 and bool((self.weights == 1).all())

    @cached_property
    def ragged(self) -> bool:
        """Whether some weights are 0."""
        return not self.weights.all()

    @cached_property
    def tile(self) -> int:
        """k, if output o is a multiple, the same for all o, of the sum of inputs ko to ko + k - 1.

        So it is with windows that lie side by side without padding. Otherwise 0.
        """
        k = len(self.indices)
        side_by_side = k * self.output_size == self.size and bool(
            (self.indices == np.arange(self.size).reshape(-1, k).T).all()
        )
        return k if side_by_side and bool((self.weights == self.weights[0, 0]).all()) else 0

    def matrix(self) -> np.ndarray:
        """The map as a dense matrix (outputs, size), float64."""
        dense = np.zeros((self.output_size, self.size))
        np.add.at(dense, (np.arange(self.output_size), self.indices), self.weights)
        return dense

    def keep(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make()` returned the first time it was called for `key`.

        For what a kernel derives from the map: tables on a device, matrices in a dtype.
        """
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]
