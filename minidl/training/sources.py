"""The data sets that a recipe can name, by task, and what is known of them without their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data import (
    CIFAR10,
    MNIST,
    CamVid,
    CocoDetection,
    Digits,
    ImageMaskFolder,
    ISBIMembranes,
    Scenes,
    VOCDetection,
    VOCSegmentation,
    YOLODetection,
)
from ..data.scenes import NAMES

__all__ = ["SOURCES", "Source", "find_source"]


@dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        words: what it is.
        shape: (C, H, W) of an image; H = W = 0 where each has a size of its own.
        classes: names of the classes; () where only the files say them.
        mean, std: of the training images in [0, 1], by channel, for normalising.
        training_images: how many there are where all of the files are; 0 where that depends.
        reader: function of (folder, train, download) that returns the data set; of those with
            objects also of `drop` and `needs`.
        ignore_index: of class maps, the label that does not count.
        drawn: whether images are drawn, of any size: the reader takes `size`, too.
        parts: of objects, what is known of them.
        sigmas: of keypoints, how far off they may be, for their score; (): COCO's.
    """

    words: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: Any
    std: Any
    training_images: int
    reader: Callable[..., Any]
    ignore_index: int = 255
    drawn: bool = False
    parts: tuple[str, ...] = ()
    sigmas: tuple[float, ...] = ()

    def read(
        self,
        root: str | None = None,
        train: bool = True,
        download: bool = False,
        size: int = 0,
        **how: Any,
    ) -> Any:
        """The training or the test images.

        Args:
            root: the folder of the files; default: the environment variable MINIDL_DATA, else
                "data".
            train: the training images, or else the test images.
            download: fetch files that are missing.
            size: of images that are drawn; 0: their usual one.
            how: of objects, "drop": whether bad annotations are left out, or else (by default) an
                error; and "needs": parts that are asked for beside boxes, "masks" or "keypoints".

        Raises:
            FileNotFoundError: files are missing; the message says where to put them.
            ConnectionError: the download failed.
            ValueError: a file is damaged; or the classes of the files are others than these.
        """
        if self.drawn:
            how["size"] = size or self.shape[1]
        if self.parts:
            how = {"drop": False, "needs": (), **how}
        try:
            images = self.reader(_folder(root), train, download, **how)
        except (FileNotFoundError, ValueError) as error:  # it speaks to a programmer
            text = str(error).replace("pass download=True", "--download fetches it")
            text = text.replace("leave it out by invalid='drop'", "leave such out by --drop")
            raise type(error)(text) from None
        found = tuple(getattr(images, "classes", None) or ())
        if self.from_files and self.classes and found != self.classes:
            raise ValueError(
                f"the classes in {_folder(root)} are {', '.join(found)}; the network was made for "
                f"{', '.join(self.classes)}"
            )
        return images

    @property
    def from_files(self) -> bool:
        """Whether only the files say what the classes are."""
        return self.training_images == 0

    def opened(self, root: str | None = None) -> Source:
        """This with its classes, which may be in the files."""
        if self.classes:
            return self
        how = {"drop": True} if self.parts else {}
        return replace(self, classes=tuple(self.read(root, **how).classes))


def _folder(root: str | None) -> str:
    return root or os.environ.get("MINIDL_DATA", "data")


def find_source(name: str, task: str = "classification") -> Source:
    """The data set of a name.

    Raises:
        ValueError: there is none of that name for that task.
    """
    known = SOURCES[task]
    if name not in known:
        others = [other for other in SOURCES if name in SOURCES[other]]
        what = f"{name} is data for {others[0]}" if others else f"unknown data set {name!r}"
        raise ValueError(f"{what}; known for {task} are {', '.join(known)}")
    return known[name]


# -- classification --------------------------------------------------------------------------------


def _read_cifar10(root: str, train: bool, download: bool) -> CIFAR10:
    """CIFAR-10, or those of its five training files that are there."""
    folders = (root, os.path.join(root, "cifar-10-batches-bin"), os.path.join(root, "cifar10"))
    found = [
        number
        for number in range(1, 6)
        if any(os.path.isfile(os.path.join(d, f"data_batch_{number}.bin")) for d in folders)
    ]
    if download or not found:
        return CIFAR10(root, train, download=download)
    return CIFAR10(root, train, batches=found)


# -- segmentation ----------------------------------------------------------------------------------


def _read_camvid(root: str, train: bool, download: bool) -> CamVid:
    """Its test pictures, or where these are not there its pictures for validation."""
    if train:
        return CamVid(root, "train")
    try:
        return CamVid(root, "test")
    except FileNotFoundError:
        return CamVid(root, "val")


def _read_voc(root: str, train: bool, download: bool) -> VOCSegmentation:
    return VOCSegmentation(root, voc_year(root), "train" if train else "val")


def voc_year(root: str) -> str:
    """The year of Pascal VOC that is there, preferably 2012."""
    there = Path(root, "VOCdevkit/VOC2007").is_dir() or Path(root, "VOC2007").is_dir()
    newer = Path(root, "VOCdevkit/VOC2012").is_dir() or Path(root, "VOC2012").is_dir()
    return "2007" if there and not newer else "2012"


def _read_masks(root: str, train: bool, download: bool) -> ImageMaskFolder:
    """Images and class maps: of folders train and test, or else every fifth one is a test image."""
    names = Path(root, "classes.txt")
    if not names.is_file():
        raise FileNotFoundError(
            f"{names} is missing: the names of the classes, one a line, in the order of their "
            "numbers in the masks; beside it stand the folders images and masks, or train and "
            "test with these two in each (--root names the folder of all this)"
        )
    classes = [line.strip() for line in names.read_text().splitlines() if line.strip()]
    split = Path(root, "train").is_dir()
    images = ImageMaskFolder(Path(root, "train" if train else "test") if split else root, classes)
    if not split:
        images.samples = every_fifth(images.samples, train)
    if len(classes) == 2 and _black_and_white(images):
        images.values = {0: 0, 255: 1}
    return images


def every_fifth(samples: list[Any], train: bool) -> list[Any]:
    """All but every fifth sample, or these.

    Raises:
        ValueError: there are not two.
    """
    if len(samples) < 2:
        raise ValueError("one picture cannot be split into training and test images; give more")
    last = min(4, len(samples) - 1)
    return [sample for i, sample in enumerate(samples) if (i % 5 == last) != train]


def _black_and_white(images: ImageMaskFolder) -> bool:
    """Whether masks have 255 for the second class: as far as the first five of them show."""
    from ..data import read_mask

    found = np.unique(np.concatenate([np.unique(read_mask(m)) for _, m in images.samples[:5]]))
    return found.tolist() in ([0, 255], [255])


# -- detection -------------------------------------------------------------------------------------

Needs = Sequence[str]


def _invalid(drop: bool) -> Any:
    return "drop" if drop else "error"


def _draw_objects(
    root: str, train: bool, download: bool, size: int, drop: bool, needs: Needs
) -> Scenes:
    count = TRAINING_SCENES if train else TEST_SCENES
    return Scenes(count, size, task="instances", train=train)


def _read_cells(root: str, train: bool, download: bool, drop: bool, needs: Needs) -> VOCDetection:
    """232 pictures for training and 60 for testing (the set's own lists are 205 and 87)."""
    folder = Path(root, "bccd")
    images = VOCDetection(
        folder if folder.is_dir() else root,
        image_set="trainval",
        classes=("RBC", "WBC", "Platelets"),
        inclusive=False,
        invalid=_invalid(drop),
    )
    # Every fifth one is 58, and two more.
    tests = set(range(4, len(images.samples), 5)) | {0, 1}
    images.samples = [s for i, s in enumerate(images.samples) if (i in tests) != train]
    return images


def _read_voc_objects(
    root: str, train: bool, download: bool, drop: bool, needs: Needs
) -> VOCDetection:
    part = "train" if train else "val"
    return VOCDetection(root, voc_year(root), part, invalid=_invalid(drop))


def _read_coco(root: str, train: bool, download: bool, drop: bool, needs: Needs) -> CocoDetection:
    """root/annotations/instances_train*.json of the pictures in root/train*, and likewise val*.

    For keypoints person_keypoints_*.json. Without val, every fifth picture is a test picture.
    """
    kind = "person_keypoints" if "keypoints" in needs else "instances"
    found = {
        part: sorted(Path(root, "annotations").glob(f"{kind}_{part}*.json"))
        for part in ("train", "val")
    }
    if not found["train"]:
        raise FileNotFoundError(
            f"there is no {Path(root, 'annotations', f'{kind}_train*.json')}; a folder of COCO's "
            "form has annotations and pictures in train* and val* (--root names it)"
        )
    file = (found["train" if train else "val"] or found["train"])[0]
    images = CocoDetection(
        Path(root, file.stem.removeprefix(f"{kind}_")),
        file,
        masks="masks" in needs,
        keypoints="keypoints" in needs,
        crowds=not train,
        invalid=_invalid(drop),
    )
    if not found["val"]:
        images.samples = every_fifth(images.samples, train)
    return images


def _read_yolo(root: str, train: bool, download: bool, drop: bool, needs: Needs) -> YOLODetection:
    return YOLODetection(root, "train" if train else "val", invalid=_invalid(drop))


# -- all -------------------------------------------------------------------------------------------

PHOTOGRAPHS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std of ImageNet's
SCENES = ((0.495, 0.490, 0.490), (0.185, 0.190, 0.193))  # computed from 300 scenes
TRAINING_SCENES, TEST_SCENES = 1000, 200

SOURCES: dict[str, dict[str, Source]] = {
    "classification": {
        "digits": Source(
            "5,000 handwritten digits that come with minidl",
            (1, 28, 28),
            MNIST.class_names,
            Digits.mean,
            Digits.std,
            4_000,
            lambda root, train, download: Digits(train),
        ),
        "mnist": Source(
            "MNIST, 60,000 + 10,000 handwritten digits",
            (1, 28, 28),
            MNIST.class_names,
            MNIST.mean,
            MNIST.std,
            60_000,
            lambda root, train, download: MNIST(root, train, download=download),
        ),
        "cifar10": Source(
            "CIFAR-10, 50,000 + 10,000 small colour pictures of ten kinds of things",
            (3, 32, 32),
            CIFAR10.class_names,
            CIFAR10.mean,
            CIFAR10.std,
            50_000,
            _read_cifar10,
        ),
    },
    "segmentation": {
        "scenes": Source(
            "1,000 + 200 scenes of digits and shapes, drawn by minidl",
            (3, 64, 64),
            ("background", *NAMES),
            *SCENES,
            TRAINING_SCENES,
            lambda root, train, download, size: Scenes(
                TRAINING_SCENES if train else TEST_SCENES, size, train=train
            ),
            drawn=True,
        ),
        "isbi": Source(
            "cell membranes under an electron microscope, three quarters and one quarter",
            (1, 512, 512),
            ISBIMembranes.class_names,
            ISBIMembranes.mean,
            ISBIMembranes.std,
            15,
            lambda root, train, download: ISBIMembranes(root, train),
        ),
        "camvid": Source(
            "CamVid, street scenes from a car",
            (3, 360, 480),
            CamVid.class_names,
            (0.411, 0.425, 0.432),  # computed from 36 training images
            (0.307, 0.312, 0.308),
            367,
            _read_camvid,
            ignore_index=11,
        ),
        "voc": Source(
            "Pascal VOC, photographs of 20 kinds of things",
            (3, 0, 0),
            VOCSegmentation.class_names,
            *PHOTOGRAPHS,
            1_464,
            _read_voc,
        ),
        "folder": Source(
            "a folder with images, masks and classes.txt",
            (3, 0, 0),
            (),
            *PHOTOGRAPHS,
            0,
            _read_masks,
        ),
    },
    "detection": {
        "scenes": Source(
            "1,000 + 200 scenes of digits and shapes, drawn by minidl",
            (3, 64, 64),
            NAMES,
            *SCENES,
            TRAINING_SCENES,
            _draw_objects,
            drawn=True,
            parts=("boxes", "masks", "keypoints"),
            sigmas=(0.07,) * 5,  # between COCO's eyes and hips
        ),
        "bccd": Source(
            "blood cells under a microscope, 232 + 60 pictures",
            (3, 480, 640),
            ("RBC", "WBC", "Platelets"),
            *PHOTOGRAPHS,
            232,
            _read_cells,
            parts=("boxes",),
        ),
        "voc": Source(
            "Pascal VOC, photographs of 20 kinds of things",
            (3, 0, 0),
            VOCSegmentation.class_names[1:],
            *PHOTOGRAPHS,
            5_717,
            _read_voc_objects,
            parts=("boxes",),
        ),
        "coco": Source(
            "a folder of COCO's form",
            (3, 0, 0),
            (),
            *PHOTOGRAPHS,
            0,
            _read_coco,
            parts=("boxes", "masks", "keypoints"),
        ),
        "yolo": Source(
            "a folder of YOLO's form, images, labels and classes.txt",
            (3, 0, 0),
            (),
            *PHOTOGRAPHS,
            0,
            _read_yolo,
            parts=("boxes",),
        ),
    },
}
