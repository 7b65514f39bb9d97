"""What all transforms share, and those that only convert."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..dataset import batch_generator

__all__ = ["Compose", "Normalize", "ToFloat", "Transform"]


class Transform:
    """The base class: a transform defines `apply(batch, rng)`.

    Its constructor's arguments are attributes of the same names, which `repr` shows.
    """

    def __call__(self, batch: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """The transformed batch (N, C, H', W').

        Raises:
            TypeError: not a NumPy array of floats.
            ValueError: not of four dimensions, or a number of channels that does not fit.
        """
        name = type(self).__name__
        if not isinstance(batch, np.ndarray) or batch.dtype.kind != "f":
            got = batch.dtype if isinstance(batch, np.ndarray) else type(batch).__name__
            raise TypeError(f"{name}: needs a NumPy array of floats, got {got}; see ToFloat")
        if batch.ndim != 4:
            raise ValueError(f"{name}: needs images (N, C, H, W), got shape {batch.shape}")
        return self.apply(batch, rng or batch_generator())

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


class Compose(Transform):
    """Several transforms, one after the other.

    Args:
        transforms: each a callable of (batch, generator).
    """

    def __init__(self, transforms: Sequence[Callable[..., np.ndarray]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, batch: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        rng = rng or batch_generator()
        for transform in self.transforms:
            batch = transform(batch, rng)
        return batch


class ToFloat(Transform):
    """uint8 in 0..255 to float32 in [0, 1]; floats stay as they are."""

    def __call__(self, batch: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        if batch.dtype == np.uint8:
            return batch / np.float32(255)
        if batch.dtype.kind == "f":
            return batch
        raise TypeError(f"ToFloat: needs uint8 or floats, got {batch.dtype}")


class Normalize(Transform):
    """(x - mean) / std, channel by channel.

    Args:
        mean, std: a number, or one for each channel; every std above 0.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        if np.min(std) <= 0:
            raise ValueError(f"Normalize: std must be above 0, got {std}")
        self.mean = mean
        self.std = std

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mean, std = (np.asarray(v, batch.dtype).reshape(-1, 1, 1) for v in (self.mean, self.std))
        if any(len(value) not in (1, batch.shape[1]) for value in (mean, std)):
            raise ValueError(
                f"Normalize: {len(mean)} means and {len(std)} stds for images of "
                f"{batch.shape[1]} channels (batch {batch.shape})"
            )
        result = batch - mean
        result /= std
        return result
