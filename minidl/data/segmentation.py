"""Pictures with a class for each pixel: CamVid, Pascal VOC, the ISBI membranes, and any folder.

Class maps are kept in picture files, grey or with a palette: a pixel's number is its class. A
palette only says how it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..autograd import Tensor
from .dataset import Dataset, batch_generator
from .folder import SUFFIXES, read_image

__all__ = [
    "CamVid",
    "ISBIMembranes",
    "ImageMaskFolder",
    "MaskedImages",
    "VOCSegmentation",
    "median_frequency_weights",
    "read_mask",
]

Transform = Callable[..., Any]


def read_mask(path: str | Path) -> np.ndarray:
    """Read a picture file of class numbers: grey (8 or 16 bits), black and white, or a palette's.

    Returns:
        (H, W) int64; of a palette's picture the numbers, not the colours; of a black and white one
        0 and 1.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, or one of colours.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            file.load()
            if file.mode not in ("1", "L", "P", "I", "I;16"):
                raise ValueError(
                    f"{path} has colours (mode {file.mode}), not one class number for each pixel; "
                    "convert each colour to the number of its class first"
                )
            return np.asarray(file).astype(np.int64)
    except FileNotFoundError:
        raise
    # SyntaxError: Pillow's for a broken PNG; the last one: for a picture of absurd size
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a picture that can be read: {error}") from error


class MaskedImages(Dataset):
    """Pairs of picture files, an image and its class map: the base of the readers below.

    Args:
        samples: pairs of paths (image, class map).
        classes: names of the classes.
        transform: None, or a callable of (image (C, H, W) float32 in [0, 1], class map (H, W) int64
            and a NumPy generator) that returns such a pair, as those of `minidl.data.joint`.
        values: which number in a file is which class; default: the numbers are the classes.
        ignore_index: the label of pixels that do not count; a file may have it beside the classes
            (unless `values` says what it means there).
        grey: whether images have one channel instead of three.

    Attributes:
        samples, classes, transform, values, ignore_index, grey: as given.

    Raises:
        FileNotFoundError: no samples.
    """

    def __init__(
        self,
        samples: Sequence[tuple[Path, Path]],
        classes: Sequence[str],
        transform: Transform | None = None,
        values: Mapping[int, int] | None = None,
        ignore_index: int = 255,
        grey: bool = False,
    ) -> None:
        self.samples = list(samples)
        self.classes = list(classes)
        self.transform = transform
        self.values = None if values is None else dict(values)
        self.ignore_index = ignore_index
        self.grey = grey
        if not self.samples:
            raise FileNotFoundError(f"{type(self).__name__}: no pictures")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Sample `index`: the image (C, H, W) float32 and its class map (H, W) int64.

        Raises:
            FileNotFoundError, ValueError: the file is not there, or cannot be read; class map and
                image differ in size; a number that is no class. The message names the file.
        """
        image_path, mask_path = self.samples[index]
        image, mask = read_image(image_path), self.mask(index)
        if image.shape[1:] != mask.shape:
            raise ValueError(
                f"{mask_path} is {mask.shape[0]} x {mask.shape[1]} pixels (H x W), but its image "
                f"{image_path} is {image.shape[1]} x {image.shape[2]}"
            )
        if self.grey:
            image = np.ascontiguousarray(image[:1])  # all three are the same
        if self.transform is not None:
            image, mask = self.transform(image, mask, batch_generator())
        return Tensor(image, device="cpu"), Tensor(mask, device="cpu")

    def mask(self, index: int) -> np.ndarray:
        """The class map (H, W) int64 of sample `index`, as it is, without the transform."""
        path = self.samples[index][1]
        mask = read_mask(path)
        found = np.unique(mask)
        known = range(len(self.classes)) if self.values is None else self.values
        wrong = [int(v) for v in found if v not in known and v != self.ignore_index]
        if wrong:
            raise ValueError(
                f"{path} has pixels of number {wrong[0]}, which is no class; classes are "
                f"{', '.join(map(str, known))}, and {self.ignore_index} does not count"
            )
        if self.values is None:
            return mask
        places = np.searchsorted(found, mask)
        return np.array([self.values.get(int(v), self.ignore_index) for v in found])[places]

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {len(self)} pictures of {len(self.classes)} classes"


def _folder(name: str, root: str | Path, candidates: Iterable[str], needs: str) -> Path:
    """The first of some folders below `root` that has what it needs."""
    places = [Path(root) / candidate for candidate in candidates]
    for place in places:
        if (place / needs).exists():
            return place
    looked = " or ".join(str(place / needs) for place in places)
    raise FileNotFoundError(f"{name}: there is no {looked}")


def _pairs(name: str, images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Pictures and class maps of the same name (up to the suffix), in the order of the names."""
    for folder in (images, masks):
        if not folder.is_dir():
            raise FileNotFoundError(f"{name}: no folder {folder}")

    def pictures(folder: Path) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                if path.stem in found:
                    raise ValueError(f"{name}: {found[path.stem]} and {path} have one name")
                found[path.stem] = path
        return found

    theirs, ours = pictures(images), pictures(masks)
    if not theirs:
        raise FileNotFoundError(f"{name}: no pictures in {images} ({', '.join(SUFFIXES)})")
    for here, there, folder in ((theirs, ours, masks), (ours, theirs, images)):
        alone = [path for stem, path in here.items() if stem not in there]
        if alone:
            raise FileNotFoundError(
                f"{name}: {alone[0]} has no partner of its name in {folder} "
                f"({len(alone)} of {len(here)} are without)"
            )
    return [(theirs[stem], ours[stem]) for stem in sorted(theirs, key=_by_number)]


def _by_number(stem: str) -> tuple[int, int, str]:
    """Numbers in their order, 2 before 10, and before words."""
    return (0, int(stem), stem) if stem.isdecimal() else (1, 0, stem)


class ImageMaskFolder(MaskedImages):
    """A folder of images and a folder of their class maps, paired by name.

    root/images/frog.jpg belongs to root/masks/frog.png. All of `MaskedImages`'s numbers are
    checked as they are read.

    Args:
        root: the folder that has both.
        classes: names of the classes.
        images, masks: names of the two folders below `root`.
        transform, values, ignore_index, grey: see `MaskedImages`; `values={0: 0, 255: 1}` for maps
            in black and white.

    Raises:
        FileNotFoundError: a folder is missing or empty, or a picture has no partner.
        ValueError: two pictures of one name.
    """

    def __init__(
        self,
        root: str | Path,
        classes: Sequence[str],
        images: str = "images",
        masks: str = "masks",
        transform: Transform | None = None,
        values: Mapping[int, int] | None = None,
        ignore_index: int = 255,
        grey: bool = False,
    ) -> None:
        pairs = _pairs("ImageMaskFolder", Path(root) / images, Path(root) / masks)
        super().__init__(pairs, classes, transform, values, ignore_index, grey)
        self.root = Path(root)


class CamVid(MaskedImages):
    """Street scenes from a car: Brostow, Fauqueur, Cipolla 2009, as SegNet's authors prepared them.

    480 x 360 pixels, 11 classes, and 11 for void (Badrinarayanan, Kendall, Cipolla 2017).

    Args:
        root: the folder with train/, trainannot/, val/, valannot/, test/, testannot/; also found in
            `root/camvid` and `root/CamVid`.
        split: "train", "val" or "test".
        transform: see `MaskedImages`; its `ignore_index` should be 11, too.

    Attributes:
        classes: names of the 11 classes.
        ignore_index: 11.

    Raises:
        FileNotFoundError: a folder is missing, or a picture without its map.
        ValueError: no such split.
    """

    class_names = (
        *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car"),
        *("pedestrian", "bicyclist"),
    )

    def __init__(
        self, root: str | Path, split: str = "train", transform: Transform | None = None
    ) -> None:
        if split not in ("train", "val", "test"):
            raise ValueError(f"CamVid: split must be 'train', 'val' or 'test', got {split!r}")
        self.root = _folder("CamVid", root, (".", "camvid", "CamVid"), split)
        self.split = split
        pairs = _pairs("CamVid", self.root / split, self.root / f"{split}annot")
        super().__init__(pairs, self.class_names, transform, ignore_index=11)


class VOCSegmentation(MaskedImages):
    """Pascal VOC's segmentations: Everingham et al. 2010. 20 classes and background.

    Args:
        root: the folder with VOCdevkit/, or one of VOCdevkit, VOC2012 or whatever has JPEGImages.
        year: "2007" to "2012".
        image_set: "train", "val" or "trainval": the names in ImageSets/Segmentation.
        transform: see `MaskedImages`.

    Attributes:
        classes: names of the 21 classes; 0 is the background.
        ignore_index: 255, the border around objects.

    Raises:
        FileNotFoundError: a folder, a list or a picture is missing; the message names it.
    """

    class_names = (
        *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
        *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
        *("sheep", "sofa", "train", "tvmonitor"),
    )

    def __init__(
        self,
        root: str | Path,
        year: str = "2012",
        image_set: str = "train",
        transform: Transform | None = None,
    ) -> None:
        places = (f"VOCdevkit/VOC{year}", f"VOC{year}", ".")
        self.root = _folder("VOCSegmentation", root, places, "JPEGImages")
        self.year = year
        self.image_set = image_set
        names = self.root / "ImageSets" / "Segmentation" / f"{image_set}.txt"
        if not names.is_file():
            raise FileNotFoundError(f"VOCSegmentation: there is no {names}")
        pairs = []
        for name in names.read_text().split():
            pair = (
                self.root / "JPEGImages" / f"{name}.jpg",
                self.root / "SegmentationClass" / f"{name}.png",
            )
            for path in pair:
                if not path.is_file():
                    raise FileNotFoundError(f"VOCSegmentation: {names} names {path}, not there")
            pairs.append(pair)
        super().__init__(pairs, self.class_names, transform)


class ISBIMembranes(MaskedImages):
    """Cell membranes under an electron microscope: the data of U-Net's first experiment.

    Slices of a fly larva's nerve cord, 512 x 512 pixels, grey (Cardona et al. 2010; the ISBI
    challenge of 2012). Class 0 is membrane, 1 is cell.

    Args:
        root: the folder with image/ and label/ and files 0.png, 1.png, ...; also found in
            `root/isbi-membrane` and `root/membrane/train`.
        train: the first three quarters of the slices in the order of their numbers, or else the
            last quarter (the challenge's own test labels were never published).
        transform: see `MaskedImages`; images are (1, H, W).

    Attributes:
        classes: membrane, cell.
        ignore_index: 255, which only transforms bring in.
        mean, std: of the training images in [0, 1], for `Normalize`.

    Raises:
        FileNotFoundError: a folder is missing, or a picture without its map.
    """

    class_names = ("membrane", "cell")
    mean, std = 0.48292, 0.16465  # computed from the first 15 of the 20 slices

    def __init__(
        self, root: str | Path, train: bool = True, transform: Transform | None = None
    ) -> None:
        places = (".", "isbi-membrane", "membrane/train")
        self.root = _folder("ISBIMembranes", root, places, "image")
        self.train = train
        pairs = _pairs("ISBIMembranes", self.root / "image", self.root / "label")
        last = len(pairs) - len(pairs) // 4
        pairs = pairs[:last] if train else pairs[last:]
        super().__init__(pairs, self.class_names, transform, {0: 0, 255: 1}, grey=True)


def median_frequency_weights(
    masks: Iterable[Any], num_classes: int, ignore_index: int | None = 255
) -> Tensor:
    """Class weights that make up for rare classes: the median frequency over the class's own.

    Eigen and Fergus 2015, section 4.3, as SegNet uses it. The frequency of a class is its share of
    the labelled pixels of those images in which it occurs. For
    `CrossEntropyLoss(weight=..., ignore_index=...)`.

    Args:
        masks: a data set of `MaskedImages`, whose class maps are taken without their transform; or
            class maps (H, W), arrays or tensors.
        num_classes: C.
        ignore_index: the label of pixels that do not count; None: all do.

    Returns:
        (C,) float32, on the CPU; 0 for a class that never occurs.

    Raises:
        ValueError: a label that is no class, or no labelled pixel at all.
    """
    if isinstance(masks, MaskedImages):
        masks = map(masks.mask, range(len(masks)))
    pixels, around = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    for number, mask in enumerate(masks):
        labels = (mask.numpy() if isinstance(mask, Tensor) else np.asarray(mask)).reshape(-1)
        if ignore_index is not None:
            labels = labels[labels != ignore_index]
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(
                f"median_frequency_weights: class map {number} has labels {labels.min()} to "
                f"{labels.max()}; classes are 0 to {num_classes - 1}"
            )
        counts = np.bincount(labels, minlength=num_classes)
        pixels += counts
        around += labels.size * (counts > 0)
    there = pixels > 0
    if not there.any():
        raise ValueError("median_frequency_weights: no labelled pixel in any class map")
    frequency = pixels[there] / around[there]
    weights = np.zeros(num_classes, np.float32)
    weights[there] = np.median(frequency) / frequency
    return Tensor(weights, device="cpu")
