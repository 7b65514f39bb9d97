"""Pascal VOC's annotations of objects, one xml file a picture: Everingham et al. 2010.

VOC2012/Annotations/<name>.xml
        ImageSets/Main/<image_set>.txt      names, one a line
        JPEGImages/<name>.jpg
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from .objects import Annotated, Invalid, ObjectImages, Problems, picture_size, stacked
from .segmentation import VOCSegmentation

__all__ = ["VOCDetection", "read_xml"]


class VOCDetection(ObjectImages):
    """Pictures and objects of Pascal VOC, or of any folder of that layout.

    Args:
        root: the folder with VOCdevkit/, or one of VOCdevkit, VOC2012 or whatever has JPEGImages.
        year: "2007" to "2012".
        image_set: "train", "val", "trainval" or "test": the names in ImageSets/Main.
        transform: see `ObjectImages`.
        classes: names of the classes; default: VOC's 20.
        inclusive: True: the files count pixels from 1 on, first and last one of a box, as VOC's do:
            a box from xmin to xmax becomes x1 = xmin - 1, x2 = xmax. False: they have corners from
            0 on, as many annotation tools write them.
        keep_difficult: False: objects marked "difficult" are left out.
        invalid: what happens to bad annotations: "error", or "drop": left out and counted in
            `dropped`. They are objects of an unknown class, without a box or area, outside the
            picture; and pictures that are missing, or whose xml is missing or broken.

    Targets also have "difficult" (R,) int64, 1 for objects that do not count in VOC's score;
    "image_id" is the name.

    Raises:
        FileNotFoundError: a folder or list of names is missing.
        ValueError: a bad annotation.

    Example:
        >>> dataset = VOCDetection("VOCdevkit", "2007", "trainval")
        >>> image, target = dataset[0]
    """

    def __init__(
        self,
        root: str | Path,
        year: str = "2012",
        image_set: str = "train",
        transform: Callable[..., Any] | None = None,
        *,
        classes: Sequence[str] = VOCSegmentation.class_names[1:],
        inclusive: bool = True,
        keep_difficult: bool = True,
        invalid: Invalid = "error",
    ) -> None:
        problems = Problems("VOCDetection", invalid)
        places = [Path(root) / f"VOCdevkit/VOC{year}", Path(root) / f"VOC{year}", Path(root)]
        found = [place for place in places if (place / "JPEGImages").is_dir()]
        if not found:
            raise FileNotFoundError(
                f"VOCDetection: no folder JPEGImages in {', '.join(map(str, places))}"
            )
        self.root = found[0]
        self.year = year
        self.image_set = image_set
        self.inclusive = inclusive
        names = self.root / "ImageSets" / "Main" / f"{image_set}.txt"
        if not names.is_file():
            raise FileNotFoundError(f"VOCDetection: there is no {names}")
        numbers = {name: label for label, name in enumerate(classes)}
        pictures = {path.name for path in (self.root / "JPEGImages").iterdir()}
        samples = []
        for name in names.read_text().split():
            if f"{name}.jpg" not in pictures:
                path = self.root / "JPEGImages" / f"{name}.jpg"
                problems.found("missing image", str(names), f"there is no {path}")
                continue
            sample = self._read(name, numbers, problems, keep_difficult)
            if sample is not None:
                samples.append(sample)
        super().__init__(samples, classes, transform, problems.dropped)

    def _read(
        self, name: str, numbers: dict[str, int], problems: Problems, keep_difficult: bool
    ) -> Annotated | None:
        file = self.root / "Annotations" / f"{name}.xml"
        picture = self.root / "JPEGImages" / f"{name}.jpg"
        try:
            tree = read_xml(file)
        except FileNotFoundError:
            problems.found("missing annotation", str(file), "there is no such file")
            return None
        except ValueError as error:
            problems.found("broken annotation", str(file), str(error))
            return None
        try:
            size = _number(tree, "size/height"), _number(tree, "size/width")
        except ValueError:
            size = (0, 0)
        height, width = (int(n) for n in size) if min(size) >= 1 else picture_size(picture)

        boxes, labels, difficult = [], [], []
        for number, element in enumerate(tree.findall("object")):
            called = (element.findtext("name") or "").strip()
            where = f"{file}, object {number} ({called})"
            if called not in numbers:
                known = ", ".join(numbers)
                problems.found("unknown class", where, f"{called!r} is none of {known}")
                continue
            try:
                corners = [
                    _number(element, f"bndbox/{k}") for k in ("xmin", "ymin", "xmax", "ymax")
                ]
            except ValueError as error:
                problems.found("no box", where, str(error))
                continue
            if self.inclusive:
                corners[:2] = corners[0] - 1, corners[1] - 1
            box = problems.box(where, corners, (height, width))
            hard = (element.findtext("difficult") or "0").strip() == "1"
            if box is not None and (keep_difficult or not hard):
                boxes.append(box)
                labels.append(numbers[called])
                difficult.append(hard)
        return Annotated(
            picture,
            name,
            (height, width),
            stacked(boxes, (4,), np.float32),
            stacked(labels, (), np.int64),
            {"difficult": stacked(difficult, (), np.int64)},
        )


def read_xml(path: str | Path) -> Element:
    """The root of a small xml file from who knows where.

    A document type is refused: with it, a few lines can unfold to gigabytes, or name other files.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not xml, or with a document type.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise ValueError("has a document type (<!DOCTYPE ...>), which annotations do not need")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(Path(path).read_bytes(), True)
    except expat.ExpatError as error:
        raise ValueError(f"is not xml, or cut off: {error}") from error
    return builder.close()


def _number(element: Element, path: str) -> float:
    text = element.findtext(path)
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"{path} is {text!r}, not a number") from None
