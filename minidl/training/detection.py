"""Detection as a task: which objects are in a picture, and where."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autograd import Tensor, no_grad
from ..data import DataLoader, joint, list_collate
from ..metrics import COCOAveragePrecision
from ..metrics.matching import COCO_SIGMAS
from .augment import make_joint_augment
from .modes import eval_mode
from .scoring import Metrics
from .task import Task, some

__all__ = ["Detection", "Found", "detect"]


class Detection(Task):
    """Which objects are in a picture, and where. The network computes its losses itself."""

    score = "AP50"
    words = "AP50"
    unused = ("mixup", "cutmix", "label_smoothing", "loss", "balance", "auxiliary")

    @property
    def needs(self) -> tuple[str, ...]:
        """What the network has to be told of objects, beside boxes and labels."""
        return tuple(getattr(self.model, "needs", ()))

    def try_out(self) -> None:
        recipe, source = self.recipe, self.source
        lacking = [part for part in self.needs if part not in source.parts]
        if lacking:
            raise ValueError(
                f"{recipe.model} learns from {lacking[0]}, which {recipe.data} does not have"
            )
        if self.model.num_classes != len(source.classes):
            raise ValueError(
                f"{recipe.model} was made for {self.model.num_classes} kinds of objects; "
                f"{recipe.data} has {len(source.classes)}"
            )
        if recipe.size and not source.drawn:
            raise ValueError(
                f"size is of pictures that are drawn; those of {recipe.data} are resized by the "
                "network (see the options of its builder, as min_size or size)"
            )

    def read(self, root: str | None, train: bool, download: bool = False) -> Any:
        images = self._read(root, train, download)
        images.transform = self.changes(getattr(images, "keypoint_pairs", ())) if train else None
        return some(images, self._chosen(len(images)))

    def changes(self, keypoint_pairs: Any = ()) -> joint.Compose | None:
        """What changes the training pictures by chance, if anything does.

        Args:
            keypoint_pairs: (left, right) numbers of keypoints that change places in a mirror.
        """
        changes = make_joint_augment(self.recipe.augment, objects=True)
        for change in changes:
            if isinstance(change, joint.RandomHorizontalFlip):
                change.keypoint_pairs = keypoint_pairs
        if changes and self.recipe.size:
            # A batch is as large as its largest picture, and a window may be long and narrow.
            changes.append(joint.Resize(self.recipe.size))
        return joint.Compose(changes) if changes else None

    def _read(self, root: str | None, train: bool, download: bool = False) -> Any:
        recipe = self.recipe
        how = {"drop": recipe.drop, "needs": self.needs}
        return self.source.read(root, train, download, recipe.size, **how)

    def criterion(self, root: str | None) -> Any:
        return None

    def metrics(self) -> Metrics:
        metrics = {"boxes": COCOAveragePrecision(self.source.classes)}
        if "masks" in self.needs:
            metrics["masks"] = COCOAveragePrecision(self.source.classes, "masks")
        if "keypoints" in self.needs:
            sigmas = self.source.sigmas or COCO_SIGMAS
            metrics["keypoints"] = COCOAveragePrecision(
                self.source.classes, "keypoints", sigmas=sigmas
            )
        return metrics

    def batches(self, images: Any, workers: int) -> DataLoader:
        return DataLoader(
            images,
            batch_size=self.recipe.batch_size,
            shuffle=True,
            collate_fn=list_collate,
            num_workers=workers,
            seed=self.recipe.seed,
        )

    def batches_of_tests(self, images: Any, workers: int) -> DataLoader:
        size = self.recipe.batch_size
        return DataLoader(images, size, collate_fn=list_collate, num_workers=workers)

    def details(self, metrics: Metrics) -> list[str]:
        lines = []
        width = max(map(len, self.source.classes))
        for kind, metric in metrics.items():
            found = metric.compute()
            lines.append(
                f"{kind}: " + ", ".join(f"{key} {found[key]:.2%}" for key in metric.scores())
            )
            lines.append(f"{'':{width}}       AP     AP50  objects")
            for name, row in found["per_class"].items():
                lines.append(
                    f"{name:{width}}  {row['AP']:7.2%}  {row['AP50']:7.2%}  {row['objects']:7,}"
                )
        return lines

    def examples(self, root: str | None, count: int = 6) -> list[Found]:
        """Some of the test images, with what the network finds."""
        images = self._read(root, train=False)
        found = []
        for i in np.unique(np.linspace(0, len(images) - 1, count).astype(int)).tolist():
            image, target = images[i]
            truth = {k: v.numpy() for k, v in target.items() if isinstance(v, Tensor)}
            parts = {"boxes", "labels", "iscrowd", "difficult", *self.needs}
            truth = {key: value for key, value in truth.items() if key in parts}
            found.append(Found(image.numpy(), truth, detect(self.model, image.numpy())))
        return found


class Found(NamedTuple):
    """An image (3, H, W) in [0, 1], what there is to find, and what was found, as arrays."""

    image: np.ndarray
    truth: dict[str, np.ndarray]
    prediction: dict[str, np.ndarray]


@no_grad()
def detect(model: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """What a detector finds in a picture.

    Args:
        model: a detector.
        image: (3, H, W) float32 in [0, 1].

    Returns:
        "boxes" (R, 4) x1, y1, x2, y2, pixels; "labels" (R,), "scores" (R,) falling; with some
        networks "masks" or "keypoints".
    """
    device = next(iter(model.parameters())).device
    with eval_mode(model):
        found = model.predict([Tensor(image, device=device)])[0]
    return {name: value.cpu().numpy() for name, value in found.items()}
