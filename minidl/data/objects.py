"""Pictures with the objects in them: what the readers of VOC's, COCO's and YOLO's files share.

Real annotations have mistakes: boxes without area, boxes beyond the picture, classes that nobody
knows. Trained on, they give a loss of NaN hours later. So everything is looked at when a data set
is made, and a mistake is an error that names the file and the object; or, with `invalid="drop"`, it
is left out and counted.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..autograd import Tensor
from ..masks import RLE, decode
from .dataset import Dataset, batch_generator
from .folder import read_image

__all__ = [
    "MARGIN",
    "Annotated",
    "Invalid",
    "ObjectImages",
    "Problems",
    "list_collate",
    "picture_size",
    "stacked",
]

Invalid = Literal["error", "drop"]
MARGIN = 1.0  # pixels: rounding that a box may reach beyond the picture, and is cut off


def list_collate(samples: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """A batch for detectors: pictures of any size cannot be stacked, so lists.

    Args:
        samples: pairs (image, target).

    Returns:
        the list of images and the list of targets.

    Example:
        >>> loader = DataLoader(dataset, batch_size=4, collate_fn=list_collate)
    """
    return [image for image, _ in samples], [target for _, target in samples]


class Problems:
    """What happens to bad annotations: an error, or dropped and counted.

    Args:
        name: of the data set.
        invalid: "error" or "drop".

    Attributes:
        dropped: how many were dropped for each reason.
    """

    def __init__(self, name: str, invalid: Invalid) -> None:
        if invalid not in ("error", "drop"):
            raise ValueError(f"{name}: invalid must be 'error' or 'drop', got {invalid!r}")
        self.name = name
        self.invalid = invalid
        self.dropped: Counter[str] = Counter()

    def found(self, reason: str, where: str, detail: str) -> None:
        """Raise ValueError, or count."""
        if self.invalid == "error":
            raise ValueError(
                f"{self.name}: {where}: {reason}: {detail}; correct it, or leave it out by "
                "invalid='drop'"
            )
        self.dropped[reason] += 1

    def box(self, where: str, box: Sequence[float], size: tuple[int, int]) -> np.ndarray | None:
        """A box (4,) float32 that has an area within the picture; None: it was dropped."""
        corners = np.asarray(box, dtype=np.float64)
        height, width = size
        shown = f"({', '.join(f'{v:g}' for v in corners)}) in a picture of {width} x {height}"
        limits = np.array([width, height, width, height])
        cut = np.clip(corners, 0, limits)
        if not np.isfinite(corners).all():
            self.found("not finite", where, f"box {shown}")
        elif (corners[2:] <= corners[:2]).any():
            self.found("no area", where, f"box {shown}")
        elif (np.abs(cut - corners) > MARGIN).any() or (cut[2:] <= cut[:2]).any():
            self.found("outside the image", where, f"box {shown}")
        else:
            rounded = cut.astype(np.float32)
            if (rounded[2:] > rounded[:2]).all():
                return rounded
            self.found("no area", where, f"box {shown}, in float32")
        return None


@dataclass
class Annotated:
    """A picture and what is in it.

    Args:
        path: of the picture.
        image_id: an int or text.
        size: (H, W), pixels, according to the annotation; None: it does not say.
        boxes: (R, 4) float32 x1, y1, x2, y2; with `relative` in shares of width and height.
        labels: (R,) int64.
        more: what else a target has, arrays.
        outlines: for each object a function that draws its mask; None: there are none.
        relative: see boxes.
    """

    path: Path
    image_id: Any
    size: tuple[int, int] | None
    boxes: np.ndarray
    labels: np.ndarray
    more: dict[str, np.ndarray] = field(default_factory=dict)
    outlines: list[Callable[[], RLE]] | None = None
    relative: bool = False


class ObjectImages(Dataset):
    """Pictures and targets for detection: the base of the readers.

    A picture is read, and masks are drawn, when a sample is asked for.

    Args:
        samples: the pictures.
        classes: names of the classes.
        transform: None, or a callable of (image (3, H, W) float32 in [0, 1], target, a NumPy
            generator) that returns such a pair, as those of `minidl.data.joint`; the target is the
            dictionary below, of arrays.
        dropped: how many annotations were left out for each reason.

    Attributes:
        classes, class_to_idx, samples, transform, dropped.

    A target is a dictionary of CPU tensors, for R objects: "boxes" (R, 4) float32 x1, y1, x2, y2 in
    pixels, half-open; "labels" (R,) int64 from 0; and what the files say beside these. "image_id"
    is an int or text.
    """

    def __init__(
        self,
        samples: list[Annotated],
        classes: Sequence[str],
        transform: Callable[..., Any] | None,
        dropped: Mapping[str, int],
    ) -> None:
        self.samples = samples
        self.classes = list(classes)
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        self.transform = transform
        self.dropped = dict(dropped)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        """Sample `index`: the image (3, H, W), a float32 CPU tensor, and its target.

        Raises:
            FileNotFoundError, ValueError: the picture is not there any more, cannot be read, or has
                another size than its annotation says.
        """
        sample = self.samples[operator.index(index)]
        image = read_image(sample.path)
        size = image.shape[1:]
        if sample.size is not None and size != sample.size:
            raise ValueError(
                f"{type(self).__name__}: {sample.path} has {size[1]} x {size[0]} pixels, its "
                f"annotation is of {sample.size[1]} x {sample.size[0]}"
            )
        boxes = sample.boxes.copy()
        if sample.relative:
            boxes *= np.array([size[1], size[0]] * 2, np.float32)
        target = {"boxes": boxes, "labels": sample.labels.copy()}
        target |= {key: value.copy() for key, value in sample.more.items()}
        if sample.outlines is not None:
            drawn = [decode(draw()) for draw in sample.outlines]
            target["masks"] = np.array(drawn, bool).reshape(-1, *size)
        if self.transform is not None:
            image, target = self.transform(image, target, batch_generator())
        result: dict[str, Any] = {k: Tensor(v, device="cpu") for k, v in target.items()}
        return Tensor(image, device="cpu"), result | {"image_id": sample.image_id}

    def __repr__(self) -> str:
        left = ", ".join(f"{n} {reason}" for reason, n in self.dropped.items())
        note = f", dropped: {left}" if left else ""
        return f"{type(self).__name__}: {len(self)} images, {len(self.classes)} classes{note}"


def picture_size(path: str | Path) -> tuple[int, int]:
    """(H, W) of a picture as `read_image` gives it, without reading its pixels.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(0x0112, 1) >= 5  # the tag "orientation", by 90 degrees
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a picture that can be read: {error}") from error
    return (width, height) if turned else (height, width)


def stacked(rows: Sequence[Any], tail: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Rows of objects as an array (R, *tail), also where there are none."""
    return np.array(rows, dtype).reshape(len(rows), *tail)
