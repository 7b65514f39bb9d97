"""Data sets: what has a length and a sample at each index. Names and rules of torch.utils.data.

A dataset whose samples lie in arrays may also offer `get_batch(indices)`: a DataLoader then indexes
the arrays once per batch instead of once per sample.

Random transforms need a source of chance that does not depend on which worker thread runs when.
`batch_generator()` is that source: while a DataLoader makes a batch, the generator of that batch.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import of
from ..backend.random import host_generator

__all__ = [
    "ArrayDataset",
    "ConcatDataset",
    "Dataset",
    "Subset",
    "TensorDataset",
    "batch_generator",
    "random_split",
    "use_batch_generator",
]

_CURRENT: ContextVar[np.random.Generator | None] = ContextVar("batch generator", default=None)


def batch_generator() -> np.random.Generator:
    """The NumPy generator that random transforms draw from.

    Inside a DataLoader it belongs to the batch being made, so a user's `__getitem__` that draws
    from it is reproducible with any number of workers; elsewhere it is the library's generator,
    which `minidl.manual_seed` seeds.
    """
    return _CURRENT.get() or host_generator()


@contextmanager
def use_batch_generator(generator: np.random.Generator) -> Iterator[None]:
    """Make `generator` the answer of `batch_generator()` in this thread, within a `with` block."""
    token = _CURRENT.set(generator)
    try:
        yield
    finally:
        _CURRENT.reset(token)


class Dataset:
    """The base class: derive from it and define `__getitem__(index)` and `__len__()`."""

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__(index)")

    # No __len__ here: len() of a dataset that does not define it is Python's own TypeError.

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class TensorDataset(Dataset):
    """Samples that are the rows of tensors or NumPy arrays.

    Args:
        tensors: each (N, ...), with one N. Sample i is the tuple of their i-th rows.

    Raises:
        ValueError: no tensors, or lengths that differ.
    """

    def __init__(self, *tensors: Tensor | np.ndarray) -> None:
        lengths = {t.shape[0] if t.ndim else None for t in tensors}
        if len(lengths) != 1 or None in lengths:
            raise ValueError(
                "TensorDataset: needs at least one tensor, all of one length, "
                f"got shapes {[tuple(t.shape) for t in tensors]}"
            )
        self.tensors = tensors

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def get_batch(self, indices: np.ndarray) -> tuple[Any, ...]:
        """The rows `indices` of every tensor, on the device where the tensor is."""
        return tuple(_take(tensor, indices) for tensor in self.tensors)


def _take(source: Tensor | np.ndarray, indices: np.ndarray) -> Any:
    if isinstance(source, Tensor):
        backend = of(source.data)
        place = backend.asarray(indices, None, backend.index_of(source.data))
        return Tensor(source.data[place], device=source.device)
    return source[indices]


class ArrayDataset(Dataset):
    """Labelled images in memory: the base of the MNIST and CIFAR readers.

    Args:
        images: (N, C, H, W), uint8 (delivered as float32 in [0, 1]) or float32 (as they are).
        labels: (N,) integers; kept as int64.
        transform: None, or a callable of (a batch of float32 images (B, C, H, W), a NumPy
            generator) that returns such a batch, as those of `minidl.data.transforms`.
        classes: names of the classes, in the order of the labels.

    Attributes:
        images, labels, transform, classes: as given.

    Raises:
        ValueError: shapes that do not fit together.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        transform: Callable[..., np.ndarray] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if images.ndim != 4 or labels.shape != images.shape[:1]:
            raise ValueError(
                "ArrayDataset: needs images (N, C, H, W) and labels (N,), "
                f"got {images.shape} and {labels.shape}"
            )
        self.images = images
        self.labels = labels.astype(np.int64, copy=False)
        self.transform = transform
        self.classes = list(classes) if classes is not None else None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Sample `index`: the image (C, H, W) as a float32 CPU tensor, and its label."""
        index = operator.index(index)
        label = int(self.labels[index])
        images, _ = self.get_batch(np.array([index]))
        return Tensor(images[0], device="cpu"), label

    def get_batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (B, C, H, W) float32, transformed, and labels (B,) int64."""
        images = self.images[indices]
        if images.dtype == np.uint8:
            images = images / np.float32(255)
        if self.transform is not None:
            images = self.transform(images, batch_generator())
        return images, self.labels[indices]


class Subset(Dataset):
    """Some samples of a dataset, in a given order.

    Args:
        dataset: where the samples are.
        indices: which ones: a list or 1-d array of integers.

    Raises:
        TypeError: indices that are not integers (a boolean mask: use `np.flatnonzero(mask)`).
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray) -> None:
        places = np.asarray(indices)
        if places.ndim != 1 or (places.size and places.dtype.kind not in "iu"):
            raise TypeError(
                "Subset: indices must be a sequence of integers, "
                f"got {places.dtype} of shape {places.shape}"
            )
        self.dataset = dataset
        self.indices = places.astype(np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    @property
    def get_batch(self) -> Callable[[np.ndarray], Any] | None:
        """The fast path of the dataset below; None where it has none."""
        below = getattr(self.dataset, "get_batch", None)
        if below is None:
            return None
        return lambda indices: below(self.indices[indices])


class ConcatDataset(Dataset):
    """The samples of several datasets, one after the other.

    Args:
        datasets: at least one; each must have a length.

    Attributes:
        cumulative_sizes: for each dataset the index after its last sample.

    Raises:
        ValueError: no datasets.
    """

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: needs at least one dataset, got none")
        self.cumulative_sizes = [int(n) for n in np.cumsum([len(d) for d in self.datasets])]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"ConcatDataset: index {index} is out of range, length {len(self)}")
        index = int(index) % len(self)
        which = bisect_right(self.cumulative_sizes, index)
        start = self.cumulative_sizes[which - 1] if which else 0
        return self.datasets[which][index - start]


def random_split(
    dataset: Any,
    lengths: Sequence[int | float],
    generator: np.random.Generator | None = None,
) -> list[Subset]:
    """Split a dataset at random into parts that do not overlap.

    Args:
        dataset: what to split.
        lengths: the size of each part, or fractions that sum to 1. Fractions are rounded down and
            what is left over goes to the first parts, one sample each.
        generator: the NumPy generator to shuffle with; default: the library's.

    Returns:
        one `Subset` for each entry of `lengths`.

    Raises:
        ValueError: sizes that do not sum to the length of the dataset, or bad fractions.
    """
    total = len(dataset)
    if math.isclose(sum(lengths), 1):
        if not all(0 <= part <= 1 for part in lengths):
            raise ValueError(f"random_split: fractions must be in [0, 1], got {list(lengths)}")
        sizes = [math.floor(total * part) for part in lengths]
        for i in range(total - sum(sizes)):
            sizes[i % len(sizes)] += 1
    else:
        sizes = [int(part) for part in lengths]
    if sum(sizes) != total or min(sizes, default=0) < 0:
        raise ValueError(
            f"random_split: lengths {list(lengths)} sum to {sum(lengths)}; needed are sizes that "
            f"sum to the dataset's {total} samples, or fractions that sum to 1"
        )
    order = (generator or host_generator()).permutation(total)
    return [Subset(dataset, part) for part in np.split(order, np.cumsum(sizes)[:-1])]
