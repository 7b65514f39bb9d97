"""Objects in YOLO's text files, one a picture, a line an object: class x y width height.

x and y are the middle of the box; all four are shares of the picture's width and height.

    root/images/<split>/<name>.jpg
         labels/<split>/<name>.txt      no file, or an empty one: no objects
         classes.txt                    names of the classes, one a line
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .folder import SUFFIXES
from .objects import Annotated, Invalid, ObjectImages, Problems, stacked

__all__ = ["YOLODetection", "write_yolo"]

ROUNDING = 0.002  # shares of a side that a box may reach beyond the picture, and is cut off


class YOLODetection(ObjectImages):
    """Pictures and objects in the layout that YOLO's trainers read.

    Args:
        root: the folder with images/ and labels/.
        split: "train", "val", ...: the folder below these; "": none.
        classes: names of the classes; default: the lines of classes.txt.
        transform: see `ObjectImages`.
        invalid: what happens to bad annotations: "error", or "drop": left out and counted in
            `dropped`. They are lines that are not five numbers, of an unknown class, without area,
            outside the picture; and files whose picture is missing.

    "image_id" is the name of the picture.

    Raises:
        FileNotFoundError: a folder is missing, or has no pictures, or classes.txt is missing.
        ValueError: a bad annotation.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        classes: Sequence[str] | None = None,
        transform: Callable[..., Any] | None = None,
        *,
        invalid: Invalid = "error",
    ) -> None:
        problems = Problems("YOLODetection", invalid)
        self.root = Path(root)
        self.split = split
        images, labels = self.root / "images" / split, self.root / "labels" / split
        if classes is None:
            names = self.root / "classes.txt"
            if not names.is_file():
                raise FileNotFoundError(f"YOLODetection: there is no {names}; or give `classes`")
            classes = [line.strip() for line in names.read_text().splitlines() if line.strip()]
        for folder in (images, labels):
            if not folder.is_dir():
                raise FileNotFoundError(f"YOLODetection: no folder {folder}")
        pictures = [path for path in sorted(images.iterdir()) if path.suffix.lower() in SUFFIXES]
        if not pictures:
            raise FileNotFoundError(f"YOLODetection: no pictures in {images}")
        stems = {path.stem for path in pictures}
        for file in sorted(labels.glob("*.txt")):
            if file.stem not in stems and file.name != "classes.txt":
                problems.found("missing image", str(file), f"no picture {file.stem} in {images}")
        samples = [
            _read(path, labels / f"{path.stem}.txt", len(classes), problems) for path in pictures
        ]
        super().__init__(samples, classes, transform, problems.dropped)


def _read(picture: Path, file: Path, classes: int, problems: Problems) -> Annotated:
    boxes, labels = [], []
    lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            label, x, y, width, height = (float(word) for word in line.split())
        except ValueError:
            problems.found("no box", where, f"{line!r} is not: class x y width height")
            continue
        if not (label.is_integer() and 0 <= label < classes):
            detail = f"class {line.split()[0]} is none of 0 to {classes - 1}"
            problems.found("unknown class", where, detail)
            continue
        corners = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        cut = np.clip(corners, 0, 1)
        if not np.isfinite(corners).all():
            problems.found("not finite", where, repr(line))
        elif width <= 0 or height <= 0:
            problems.found("no area", where, repr(line))
        elif np.abs(cut - corners).max() > ROUNDING or (cut[2:] <= cut[:2]).any():
            detail = f"{line!r} spans {corners[0]:g} to {corners[2]:g}, {corners[1]:g} to "
            problems.found("outside the image", where, f"{detail}{corners[3]:g}, not 0 to 1")
        else:
            boxes.append(cut)
            labels.append(int(label))
    return Annotated(
        picture,
        picture.stem,
        None,
        stacked(boxes, (4,), np.float32),
        stacked(labels, (), np.int64),
        relative=True,
    )


def write_yolo(
    path: str | os.PathLike[str], boxes: np.ndarray, labels: np.ndarray, size: tuple[int, int]
) -> None:
    """Write the objects of one picture as a text file of YOLO's.

    Args:
        path: the file.
        boxes: (R, 4) x1, y1, x2, y2, pixels.
        labels: (R,) integers.
        size: (H, W) of the picture, pixels.

    Raises:
        ValueError: boxes and labels that do not fit.
    """
    boxes, labels = np.asarray(boxes, np.float64), np.asarray(labels)
    if boxes.shape != (len(labels), 4):
        raise ValueError(
            f"write_yolo: needs boxes (R, 4) and labels (R,), got {boxes.shape}, {labels.shape}"
        )
    scale = np.array([size[1], size[0]])
    middles, sides = (
        (boxes[:, :2] + boxes[:, 2:]) / 2 / scale,
        (boxes[:, 2:] - boxes[:, :2]) / scale,
    )
    lines = [
        f"{label} {x:.8g} {y:.8g} {w:.8g} {h:.8g}\n"
        for label, (x, y), (w, h) in zip(labels.tolist(), middles, sides, strict=True)
    ]
    Path(path).write_text("".join(lines))
