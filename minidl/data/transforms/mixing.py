"""Two images in one: transforms of a batch's images and labels together.

The label of a mixed image is a mixture, too: a row of class probabilities, which `cross_entropy`
takes in place of a class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dataset import Dataset, batch_generator

__all__ = ["CutMix", "MixUp", "Mixed", "RandomChoice"]

Batch = tuple[np.ndarray, np.ndarray]


class _Mix:
    """The base: a mix defines `apply(images, partners, share, rng)`.

    Args:
        alpha: of the beta distribution that the first image's share is drawn from; 1: uniform;
            below 1: mostly near 0 or 1.
        num_classes: how many classes there are.
    """

    def __init__(self, *, alpha: float = 1.0, num_classes: int) -> None:
        if not alpha > 0:
            raise ValueError(f"{type(self).__name__}: alpha must be above 0, got {alpha}")
        self.alpha = alpha
        self.num_classes = num_classes

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator | None = None
    ) -> Batch:
        """Every image mixed with another of the batch; one share for the whole batch.

        Args:
            images: (N, C, H, W) floats.
            labels: (N,) integer classes, or (N, num_classes) probabilities.
            rng: default: `batch_generator()`.

        Returns:
            images of the same shape and dtype, and probabilities (N, num_classes), float32.

        Raises:
            TypeError: images that are not floats, or labels that are neither.
            ValueError: shapes that do not fit, or a label that is no class.
        """
        name = type(self).__name__
        if images.dtype.kind != "f":
            raise TypeError(f"{name}: needs images of floats, got {images.dtype}; see ToFloat")
        if images.ndim != 4 or len(labels) != len(images):
            raise ValueError(
                f"{name}: needs images (N, C, H, W) and N labels, got {images.shape} and "
                f"{labels.shape}"
            )
        targets = self._probabilities(labels)
        rng = rng or batch_generator()
        share = float(rng.beta(self.alpha, self.alpha))
        order = rng.permutation(len(images))
        images, share = self.apply(images, images[order], share, rng)
        targets = np.float32(share) * targets + np.float32(1.0 - share) * targets[order]
        return images, targets

    def apply(
        self, images: np.ndarray, partners: np.ndarray, share: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, float]:
        """The mixed images, and the share that the first ones really have in them."""
        raise NotImplementedError

    def _probabilities(self, labels: np.ndarray) -> np.ndarray:
        name, classes = type(self).__name__, self.num_classes
        if labels.dtype.kind == "f" and labels.shape[1:] == (classes,):
            return labels.astype(np.float32, copy=False)
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise TypeError(
                f"{name}: labels are integers (N,) or probabilities (N, {classes}), got "
                f"{labels.dtype} {labels.shape}"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(
                f"{name}: labels from {labels.min()} to {labels.max()} with {classes} classes"
            )
        return np.eye(classes, dtype=np.float32)[labels]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(alpha={self.alpha}, num_classes={self.num_classes})"


class MixUp(_Mix):
    """Each image is share * itself + (1 - share) * another; so is its label (Zhang et al. 2017).

    The paper's alpha: 1 on CIFAR-10, 0.2 on ImageNet.
    """

    def apply(
        self, images: np.ndarray, partners: np.ndarray, share: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, float]:
        first, second = np.asarray([share, 1.0 - share], images.dtype)
        return first * images + second * partners, share


class CutMix(_Mix):
    """A rectangle of each image is that of another (Yun et al. 2019, algorithm A1).

    The rectangle has the image's shape and 1 - share of its area; its centre is any pixel, so that
    a part of it may lie outside. Labels are mixed by the areas that are left inside.
    """

    def apply(
        self, images: np.ndarray, partners: np.ndarray, share: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, float]:
        height, width = images.shape[2:]
        side = (1.0 - share) ** 0.5
        h, w = int(height * side), int(width * side)
        y, x = int(rng.integers(height)), int(rng.integers(width))
        top, bottom = max(y - h // 2, 0), min(y + h // 2, height)
        left, right = max(x - w // 2, 0), min(x + w // 2, width)
        result = images.copy()
        result[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
        return result, 1.0 - (bottom - top) * (right - left) / (height * width)


class RandomChoice:
    """One of several mixes for each batch, all alike likely.

    Args:
        transforms: callables of (images, labels, generator).
    """

    def __init__(self, transforms: Sequence[Callable[..., Batch]]) -> None:
        self.transforms = list(transforms)

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator | None = None
    ) -> Batch:
        rng = rng or batch_generator()
        return self.transforms[int(rng.integers(len(self.transforms)))](images, labels, rng)

    def __repr__(self) -> str:
        return f"RandomChoice({self.transforms!r})"


class Mixed(Dataset):
    """A data set whose batches are mixed; single samples are those of the data set below.

    Args:
        dataset: has `get_batch(indices)` that gives (images, labels), as an `ArrayDataset`.
        mix: a callable of (images, labels, generator), as `MixUp`.

    Raises:
        TypeError: the data set cannot give batches.
    """

    def __init__(self, dataset: Any, mix: Callable[..., Batch]) -> None:
        if getattr(dataset, "get_batch", None) is None:
            raise TypeError(f"Mixed: {type(dataset).__name__} has no get_batch(indices)")
        self.dataset = dataset
        self.mix = mix

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def get_batch(self, indices: np.ndarray) -> Batch:
        """Images (B, C, H, W) and class probabilities (B, K) float32."""
        images, labels = self.dataset.get_batch(indices)
        return self.mix(images, labels, batch_generator())
