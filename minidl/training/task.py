"""What is particular to a kind of task: its pictures, its loss, its scores.

A `Task` is what `build` (recipes.py) asks about all that depends on what a network is for. This
file has the base and classification, `segmentation.py` and `detection.py` the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import nn
from ..autograd import Tensor, no_grad
from ..data import DataLoader, Subset, transforms
from ..metrics import accuracy
from .augment import make_augment
from .auxiliary import AuxiliaryLoss
from .recipe import Recipe
from .scoring import Metrics
from .sources import Source

__all__ = ["Classification", "Task"]


class Task:
    """The base class.

    Args:
        recipe: of the run.
        source: its data.
        model: the network, on the device where it is used.

    Attributes:
        recipe, source, model: as given.
        score: the name of the score that stands for all.
        words: what a message calls that.
        unused: fields of a recipe that are not for this task.
    """

    score: str
    words: str
    unused: tuple[str, ...] = ()

    def __init__(self, recipe: Recipe, source: Source, model: Any) -> None:
        self.recipe = recipe
        self.source = source
        self.model = model
        plain = Recipe(recipe.model, recipe.data)
        for name in self.unused:
            if getattr(recipe, name) != getattr(plain, name):
                raise ValueError(f"{name} is not for {recipe.task}, which {recipe.model} is for")

    @property
    def device(self) -> Any:
        """Where the model is."""
        return next(iter(self.model.parameters())).device

    def try_out(self) -> None:
        """Refuse a network that cannot take the pictures or lacks classes.

        Raises:
            ValueError: says what does not fit.
        """
        raise NotImplementedError

    def read(self, root: str | None, train: bool, download: bool = False) -> Any:
        """The data set, with the transform of training or test images."""
        raise NotImplementedError

    def criterion(self, root: str | None) -> Any:
        """The loss, a function of (output, target); None: the network brings its own."""
        raise NotImplementedError

    def metrics(self) -> Metrics:
        """What `fit` and `evaluate` score."""
        raise NotImplementedError

    def details(self, metrics: Metrics) -> list[str]:
        """Lines of text on what was scored, beside the score that stands for all."""
        return []

    def batches_of_tests(self, images: Any, workers: int) -> DataLoader:
        """The loader of test images."""
        return DataLoader(images, batch_size=500, num_workers=workers)

    def batches(self, images: Any, workers: int) -> DataLoader:
        """The loader of training images."""
        size = self.recipe.batch_size
        return DataLoader(
            images,
            batch_size=size,
            shuffle=True,
            drop_last=len(images) % size == 1,  # BatchNorm needs two samples
            num_workers=workers,
            seed=self.recipe.seed,
        )

    @no_grad()
    def _scores(self, shape: tuple[int, ...]) -> Tensor:
        """What the model gives for a black picture (C, H, W), in eval mode."""
        images = Tensor(np.zeros((1, *shape), np.float32), device=self.device)
        try:
            scores = self.model.eval()(images)
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"{self.recipe.model} does not take the images of {self.recipe.data}, {shape}: "
                f"{error}"
            ) from error
        self.model.train()
        return scores

    def _chosen(self, count: int) -> np.ndarray | None:
        """Which of `count` images are used; None: all."""
        if not 0 < self.recipe.images < count:
            return None
        return np.random.default_rng(0).permutation(count)[: self.recipe.images]


class Classification(Task):
    """What is in a picture."""

    score = "accuracy"
    words = "accuracy"
    unused = ("size", "loss", "balance", "drop")

    def try_out(self) -> None:
        scores = self._scores(self.source.shape)
        if scores.shape != (1, len(self.source.classes)):
            raise ValueError(
                f"{self.recipe.model} gives scores {scores.shape}; {self.recipe.data} has "
                f"{len(self.source.classes)} classes"
            )

    def read(self, root: str | None, train: bool, download: bool = False) -> Any:
        normalize = transforms.Normalize(self.source.mean, self.source.std)
        augment = make_augment(self.recipe.augment, self.source.shape[1:], normalize)
        images = self.source.read(root, train=train, download=download)
        chosen = self._chosen(len(images))
        if chosen is not None:
            images.images, images.labels = images.images[chosen], images.labels[chosen]
        images.transform = augment if train else normalize
        return self._mixed(images) if train else images

    def _mixed(self, images: Any) -> Any:
        """The training images, two of them in one where the recipe has it so."""
        classes = len(self.source.classes)
        mixes: list[Any] = []
        if self.recipe.mixup:
            mixes.append(transforms.MixUp(alpha=self.recipe.mixup, num_classes=classes))
        if self.recipe.cutmix:
            mixes.append(transforms.CutMix(alpha=self.recipe.cutmix, num_classes=classes))
        if not mixes:
            return images
        mix = mixes[0] if len(mixes) == 1 else transforms.RandomChoice(mixes)
        return transforms.Mixed(images, mix)

    def criterion(self, root: str | None) -> Any:
        smoothing = self.recipe.label_smoothing
        return AuxiliaryLoss(nn.CrossEntropyLoss(label_smoothing=smoothing), self.recipe.auxiliary)

    def metrics(self) -> Metrics:
        return {"accuracy": accuracy}


def some(images: Any, chosen: np.ndarray | None) -> Any:
    """A part of a data set that is read picture by picture."""
    return images if chosen is None else Subset(images, chosen)
