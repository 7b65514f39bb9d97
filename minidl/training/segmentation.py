"""Segmentation as a task: what each pixel of a picture shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from ..autograd import Tensor, no_grad
from ..backend import of
from ..data import DataLoader, joint, median_frequency_weights, transforms
from ..metrics import ConfusionMatrix
from .augment import make_joint_augment
from .auxiliary import AuxiliaryLoss
from .modes import eval_mode
from .scoring import Metrics
from .sources import Source
from .task import Task, some
from .tiles import predict_tiles
from .windows import Window, mirrored, seen_for

__all__ = ["Example", "PixelLoss", "Segmentation", "segment"]

LARGE = 800**2  # pixels: a larger picture is answered for tile by tile
TILE, CONTEXT = 512, 128  # a score of U-Net sees 92 pixels to each side, VGG-16's 200


class Segmentation(Task):
    """What each pixel of a picture shows."""

    score = "mean_iou"
    words = "mean IoU"
    unused = ("mixup", "cutmix", "drop")

    def try_out(self) -> None:
        recipe, source = self.recipe, self.source
        if recipe.model == "sliding_window":
            raise ValueError(
                "sliding_window learns from windows, not from pictures, in which it would keep the "
                "maps of every window: train its `classifier` on windows of 95x95 with `fit`"
            )
        sides = source.shape[1:]
        if recipe.size:
            sides = (recipe.size, recipe.size)
        elif not all(sides):
            raise ValueError(
                f"the pictures of {recipe.data} differ in size: choose windows that are cut out of "
                "them for training with --size"
            )
        (seen_h, h), (seen_w, w) = (seen_for(self.model, n) for n in sides)
        scores = self._scores((source.shape[0], seen_h, seen_w))
        expected = (1, len(source.classes), h, w)
        if scores.shape != expected:
            raise ValueError(
                f"{recipe.model} gives scores {scores.shape} for a picture of {recipe.data}; "
                f"needed are {expected}, one for each of its {len(source.classes)} classes in each "
                "pixel"
            )

    def read(self, root: str | None, train: bool, download: bool = False) -> Any:
        recipe, source = self.recipe, self.source
        images = source.read(root, train, download, recipe.size)
        cut = recipe.size if train and recipe.size and not source.drawn else None
        changes = make_joint_augment(recipe.augment, objects=False)
        images.transform = joint.Compose(
            [
                *(changes if train else []),
                Window(self.model, cut, source.ignore_index),
                joint.ImageOnly(transforms.Normalize(source.mean, source.std)),
            ]
        )
        return some(images, self._chosen(len(images)))

    def criterion(self, root: str | None) -> Any:
        weight = None
        if self.recipe.balance:
            classes, ignored = len(self.source.classes), self.source.ignore_index
            weight = median_frequency_weights(self._masks(root), classes, ignored).to(self.device)
        loss = PixelLoss(
            self.recipe.loss, weight, self.source.ignore_index, self.recipe.label_smoothing
        )
        return AuxiliaryLoss(loss, self.recipe.auxiliary)

    def _masks(self, root: str | None) -> Iterator[np.ndarray]:
        """The class maps of the training images that are used, as they are."""
        images = self.source.read(root, size=self.recipe.size)
        chosen = self._chosen(len(images))
        for i in range(len(images)) if chosen is None else chosen.tolist():
            yield images.mask(i) if hasattr(images, "mask") else images[i][1].data

    def metrics(self) -> Metrics:
        return {"pixels": ConfusionMatrix(self.source.classes, self.source.ignore_index)}

    def batches_of_tests(self, images: Any, workers: int) -> DataLoader:
        together = self.recipe.batch_size if all(self.source.shape) else 1
        return DataLoader(images, batch_size=together, num_workers=workers)

    def details(self, metrics: Metrics) -> list[str]:
        counts = metrics["pixels"]
        width = max(map(len, counts.classes))
        lines = [
            f"{name.replace('_', ' ').replace('iou', 'IoU')} {value:.2%}"
            for name, value in counts.scores().items()
        ]
        rows = zip(counts.classes, counts.class_iou(), counts.class_accuracy(), strict=True)
        return [
            ", ".join(lines),
            f"{'':{width}}      IoU  accuracy",
            *(f"{name:{width}}  {iou:7.2%}   {recall:7.2%}" for name, iou, recall in rows),
        ]

    def examples(self, root: str | None, count: int = 6) -> list[Example]:
        """Some of the test images, with what the network says."""
        images = self.source.read(root, train=False, size=self.recipe.size)
        found = []
        for i in np.unique(np.linspace(0, len(images) - 1, count).astype(int)).tolist():
            image, truth = (part.numpy() for part in images[i])
            found.append(Example(image, truth, segment(self.model, image, self.source)))
        return found


class Example(NamedTuple):
    """An image (C, H, W) in [0, 1], its true class map (H, W), and the predicted one."""

    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray


class PixelLoss(nn.Module):
    """The sum of losses, of scores (N, C, H, W) and class maps (N, H, W).

    Args:
        names: "cross-entropy", "dice", or several joined by "+".
        weight: (C,), how much each class counts.
        ignore_index: a label that does not count.
        label_smoothing: of the cross entropy.

    Raises:
        ValueError: an unknown name.
    """

    def __init__(
        self,
        names: str,
        weight: Tensor | None = None,
        ignore_index: int = 255,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.names = names
        self.parts = nn.ModuleList()
        for name in names.split("+"):
            if name == "cross-entropy":
                self.parts.append(
                    nn.CrossEntropyLoss(
                        weight, ignore_index=ignore_index, label_smoothing=label_smoothing
                    )
                )
            elif name == "dice":
                self.parts.append(nn.DiceLoss(weight, ignore_index=ignore_index))
            else:
                raise ValueError(
                    f"unknown loss {name!r}; known are cross-entropy, dice, joined by +"
                )

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        first, *others = (part(output, target) for part in self.parts)
        return sum(others, first)

    def extra_repr(self) -> str:
        return self.names


@no_grad()
def segment(model: Any, image: np.ndarray, source: Source) -> np.ndarray:
    """The class map that a network gives a picture of any size; a large one by overlapping tiles.

    Args:
        model: a segmentation network.
        image: (C, H, W) float32 in [0, 1].
        source: the data that it learned from.

    Returns:
        (H, W) int64.
    """
    device = next(iter(model.parameters())).device
    mean, std = (np.reshape(np.float32(v), (-1, 1, 1)) for v in (source.mean, source.std))
    image = (image - mean) / std
    height, width = image.shape[1:]
    with eval_mode(model):
        if height * width > LARGE:
            tile, context = TILE, CONTEXT
            seen, answered = seen_for(model, tile)
            if seen > answered:  # without padding: tiles are whole strides, of 16
                tile = answered // 16 * 16
                context = (seen - tile) // 2
            scores = predict_tiles(model, Tensor(image[None], device=device), tile, context)
        else:
            (seen_h, h), (seen_w, w) = seen_for(model, height), seen_for(model, width)
            top, left = (h - height) // 2, (w - width) // 2
            rows = mirrored(-top - (seen_h - h) // 2, seen_h, height)
            columns = mirrored(-left - (seen_w - w) // 2, seen_w, width)
            scores = model(Tensor(image[None, :, rows[:, None], columns], device=device))
            scores = scores[:, :, top : top + height, left : left + width]
    classes = scores.data.argmax(axis=1)[0]
    return of(classes).to_host(classes)
