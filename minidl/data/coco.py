"""COCO's annotations, one json file for all pictures: Lin et al., "Microsoft COCO", ECCV 2014.

The file has three lists, joined by ids: "images" (file_name, height, width), "categories" (name,
and of people the names of their keypoints) and "annotations", one for each object: its image_id and
category_id, "bbox" [x, y, width, height] from the upper left corner of the picture, "segmentation"
(polygons, or runs of pixels), "area" of that, "iscrowd" (1: many objects in one) and "keypoints"
[x, y, v, ...], v being 0 for one that is not labelled, 1 for hidden, 2 for seen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import of
from ..masks import RLE, as_polygons, encode, from_json, from_polygons, to_json
from .objects import MARGIN, Annotated, Invalid, ObjectImages, Problems, picture_size, stacked

__all__ = ["CocoDetection", "write_coco_results"]

# COCO names the pixel in which a keypoint lies; minidl's places are continuous, and the middle of
# pixel 3 is at 3.5.
MIDDLE = 0.5


class CocoDetection(ObjectImages):
    """Pictures and objects of COCO, or of any file of that form.

    Args:
        root: the folder of the pictures.
        annFile: the json file.
        transform: see `ObjectImages`.
        masks: whether targets have "masks" (R, H, W) bool.
        keypoints: whether targets have "keypoints" (R, K, 3) float32 x, y, visible (0, 1, 2).
        crowds: False: objects marked "iscrowd" are left out.
        invalid: what happens to bad annotations: "error", or "drop": left out and counted in
            `dropped`. They are objects of an unknown category or picture, without a box or area,
            outside the picture, with a bad outline, bad keypoints or a bad area; and pictures that
            are missing.

    Attributes:
        category_ids: for each label the file's id of the category; labels are in their order.
        keypoint_names: names of the K keypoints.
        keypoint_pairs: pairs of numbers of keypoints that change places in a mirror, for
            `minidl.data.joint`: those called left_... and right_....
        skeleton: (B, 2) pairs of numbers of keypoints to draw a line between.

    Targets also have "area" (R,) float32, square pixels, and "iscrowd" (R,) int64; "image_id" is
    the file's id of the picture.

    Raises:
        FileNotFoundError: no such folder or file.
        ValueError: not such a file, or cut off; a bad annotation.

    Example:
        >>> dataset = CocoDetection("val2017", "annotations/instances_val2017.json", masks=True)
        >>> image, target = dataset[0]
    """

    def __init__(
        self,
        root: str | Path,
        annFile: str | Path,
        transform: Callable[..., Any] | None = None,
        *,
        masks: bool = False,
        keypoints: bool = False,
        crowds: bool = True,
        invalid: Invalid = "error",
    ) -> None:
        problems = Problems("CocoDetection", invalid)
        self.root = Path(root)
        self.file = Path(annFile)
        if not self.root.is_dir():
            raise FileNotFoundError(f"CocoDetection: no folder {self.root}")
        content = _load(self.file)
        categories = sorted(content["categories"], key=lambda c: c["id"])
        self.category_ids = [c["id"] for c in categories]
        self._numbers = {number: label for label, number in enumerate(self.category_ids)}
        self._set_keypoints(categories)
        if keypoints and not self.keypoint_names:
            raise ValueError(f"CocoDetection: no category of {self.file} has keypoints")

        of_image: dict[Any, list[dict[str, Any]]] = {entry["id"]: [] for entry in content["images"]}
        for entry in content["annotations"]:
            if entry.get("image_id") in of_image:
                of_image[entry["image_id"]].append(entry)
            else:
                where = f"{self.file}, annotation {entry.get('id')}"
                detail = f"image_id {entry.get('image_id')!r} is none of its images"
                problems.found("unknown image", where, detail)
        there = {path.name for path in self.root.iterdir()}
        samples = []
        for entry in content["images"]:
            path = self.root / entry["file_name"]
            if path.name not in there and not path.is_file():  # the name may have folders in it
                where = f"{self.file}, image {entry['id']}"
                problems.found("missing image", where, f"there is no {path}")
                continue
            rows = of_image[entry["id"]]
            if not crowds:
                rows = [row for row in rows if not row.get("iscrowd")]
            samples.append(self._read(path, entry, rows, masks, keypoints, problems))
        super().__init__(samples, [c["name"] for c in categories], transform, problems.dropped)

    def _set_keypoints(self, categories: Sequence[Mapping[str, Any]]) -> None:
        described = next((c for c in categories if c.get("keypoints")), {})
        names = self.keypoint_names = list(described.get("keypoints", []))
        skeleton = np.array(described.get("skeleton", []), np.int64).reshape(-1, 2)
        self.skeleton = skeleton - 1  # the file counts from 1
        self.keypoint_pairs = [
            (names.index(name), names.index(name.replace("left_", "right_")))
            for name in names
            if name.startswith("left_") and name.replace("left_", "right_") in names
        ]

    def _read(
        self,
        path: Path,
        entry: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        masks: bool,
        keypoints: bool,
        problems: Problems,
    ) -> Annotated:
        if entry.get("height") and entry.get("width"):
            size = int(entry["height"]), int(entry["width"])
        else:
            size = picture_size(path)
        boxes, labels, areas, crowds, points = [], [], [], [], []
        outlines: list[Callable[[], RLE]] = []
        for row in rows:
            where = f"{self.file}, annotation {row.get('id')} (of image {entry['id']}, {path.name})"
            box = self._box(where, row, size, problems)
            if box is None:
                continue
            try:
                outline = _outline(row.get("segmentation"), size) if masks else None
                marks = self._marks(row.get("keypoints"), size) if keypoints else None
            except ValueError as error:
                problems.found("bad outline or keypoints", where, str(error))
                continue
            area = row.get("area")
            if area is None:
                area = (box[2] - box[0]) * (box[3] - box[1])
            elif not isinstance(area, (int, float)) or not 0 <= area < np.inf:
                problems.found("bad area", where, f"{area!r} is no area in square pixels")
                continue
            boxes.append(box)
            labels.append(self._numbers[row["category_id"]])
            areas.append(area)
            crowds.append(int(row.get("iscrowd") or 0))
            points.append(marks)
            if outline is not None:
                outlines.append(outline)
        more = {
            "area": stacked(areas, (), np.float32),
            "iscrowd": stacked(crowds, (), np.int64),
        }
        if keypoints:
            more["keypoints"] = stacked(points, (len(self.keypoint_names), 3), np.float32)
        arrays = stacked(boxes, (4,), np.float32), stacked(labels, (), np.int64)
        return Annotated(path, entry["id"], size, *arrays, more, outlines if masks else None)

    def _box(
        self, where: str, row: Mapping[str, Any], size: tuple[int, int], problems: Problems
    ) -> np.ndarray | None:
        if row.get("category_id") not in self._numbers:
            detail = f"category_id {row.get('category_id')!r} is none of its categories"
            problems.found("unknown class", where, detail)
            return None
        try:
            x, y, width, height = (float(v) for v in row["bbox"])
        except (KeyError, TypeError, ValueError):
            detail = f"bbox {row.get('bbox')!r} is not [x, y, width, height]"
            problems.found("no box", where, detail)
            return None
        return problems.box(where, (x, y, x + width, y + height), size)

    def _marks(self, values: Any, size: tuple[int, int]) -> np.ndarray:
        """Keypoints (K, 3) of what a file has."""
        count = len(self.keypoint_names)
        if values is None:
            return np.zeros((count, 3))
        try:
            marks = np.array(values, np.float64)
        except (TypeError, ValueError):
            marks = np.zeros(0)
        if marks.shape != (3 * count,) or not np.isfinite(marks).all():
            raise ValueError(f"keypoints must be {count} times x, y, visible, all finite")
        marks = marks.reshape(count, 3)
        labelled = marks[:, 2] > 0
        marks[:, :2] = np.where(labelled[:, None], marks[:, :2] + MIDDLE, 0.0)
        marks[~labelled] = 0.0
        height, width = size
        beyond = (marks[:, :2] < -MARGIN) | (marks[:, :2] > np.array([width, height]) + MARGIN)
        if beyond.any():
            name = self.keypoint_names[int(beyond.any(axis=1).argmax())]
            raise ValueError(f"keypoint {name} lies outside a picture of {width} x {height}")
        return marks


def _load(file: Path) -> dict[str, Any]:
    """The content of a file, with its three lists."""
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"CocoDetection: {file} is not json, or cut off: {error}") from error
    needed = {"images": ("id", "file_name"), "annotations": (), "categories": ("id", "name")}
    for key, fields in needed.items():
        rows = content.get(key) if isinstance(content, dict) else None
        if not isinstance(rows, list):
            raise ValueError(f"CocoDetection: {file} has no list {key!r}")
        for number, row in enumerate(rows):
            if not isinstance(row, dict) or any(field not in row for field in fields):
                raise ValueError(
                    f"CocoDetection: {file}: {key} {number} must have {', '.join(fields) or 'keys'}"
                )
    return content


def _outline(segmentation: Any, size: tuple[int, int]) -> Callable[[], RLE]:
    """A function that draws the mask of an annotation, which is looked at now.

    Raises:
        ValueError: it cannot be drawn.
    """
    if isinstance(segmentation, dict):
        rle = from_json(segmentation)
        if rle.size != size:
            raise ValueError(f"segmentation of size {rle.size} in a picture of size {size}")
        return lambda: rle
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("has no segmentation (polygons, or size and counts)")
    return partial(from_polygons, as_polygons(segmentation), size)


def write_coco_results(
    path: str | os.PathLike[str],
    predictions: Sequence[Mapping[str, Any]],
    image_ids: Sequence[Any],
    category_ids: Sequence[int],
) -> None:
    """Write detections as COCO's tools read them.

    Args:
        path: the json file.
        predictions: for each image a dictionary of "boxes" (D, 4) x1, y1, x2, y2, "labels" (D,) and
            "scores" (D,), and perhaps "masks" (D, H, W) bool and "keypoints" (D, K, 3), arrays or
            tensors.
        image_ids: of each image.
        category_ids: of each label, as in `CocoDetection`.

    Raises:
        ValueError: other numbers of predictions and ids.
    """
    if len(predictions) != len(image_ids):
        raise ValueError(
            f"write_coco_results: {len(predictions)} predictions for {len(image_ids)} image ids"
        )
    rows = []
    for prediction, image_id in zip(predictions, image_ids, strict=True):
        parts = {key: _host(value) for key, value in prediction.items()}
        for i, (label, score) in enumerate(zip(parts["labels"], parts["scores"], strict=True)):
            row = {"image_id": image_id, "category_id": category_ids[int(label)]}
            row["score"] = float(score)
            if "boxes" in parts:
                x1, y1, x2, y2 = (float(v) for v in parts["boxes"][i])
                row["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            if "masks" in parts:
                row["segmentation"] = to_json(encode(parts["masks"][i]))
            if "keypoints" in parts:
                marks = parts["keypoints"][i].astype(np.float64)
                marks[:, :2] -= MIDDLE
                row["keypoints"] = marks.reshape(-1).tolist()
            rows.append(row)
    Path(path).write_text(json.dumps(rows))


def _host(value: Any) -> np.ndarray:
    array = value.data if isinstance(value, Tensor) else np.asarray(value)
    return of(array).to_host(array)
