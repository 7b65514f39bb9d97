"""The random changes that a recipe can name: words for `minidl.data.transforms`.

For pictures with ground truth in them, which has to change with them, `minidl.data.joint`'s.

`"crop-flip+randaugment:2,15+cutout"` is three changes, one after the other; numbers after a colon
are the arguments of the functions below, in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..data import joint, transforms

__all__ = ["AUGMENTS", "JOINT_AUGMENTS", "OBJECT_AUGMENTS", "make_augment", "make_joint_augment"]

Size = tuple[int, int]


def flip(size: Size) -> list[Any]:
    """Mirrored left to right, every other image."""
    return [transforms.RandomHorizontalFlip()]


def crop_flip(size: Size, padding: float = 4) -> list[Any]:
    """Shifted by up to `padding` pixels, and flipped: CIFAR's usual (He 2015, section 4.2)."""
    return [transforms.RandomCrop(size, padding=_whole(padding)), *flip(size)]


def resized_crop(size: Size, least: float = 0.08) -> list[Any]:
    """A window of at least that share of the area, resized, and flipped: ImageNet's usual."""
    return [transforms.RandomResizedCrop(size, (least, 1.0)), *flip(size)]


def affine(size: Size) -> list[Any]:
    """Up to 10 degrees, 2 pixels and 10 percent of size: for digits."""
    shift = 2.0 / size[1], 2.0 / size[0]
    return [transforms.RandomAffine(10.0, translate=shift, scale=(0.9, 1.1))]


def rotation(size: Size, degrees: float = 15.0) -> list[Any]:
    """Turned by up to `degrees` to either side."""
    return [transforms.RandomRotation(degrees)]


def zoom(size: Size, part: float = 0.2) -> list[Any]:
    """Enlarged or shrunk by up to that part."""
    return [transforms.RandomZoom((1.0 - part, 1.0 + part))]


def colour(size: Size, amount: float = 0.4) -> list[Any]:
    """Brightness, contrast and saturation changed by up to that part."""
    return [transforms.ColorJitter(amount, amount, amount)]


def randaugment(size: Size, changes: float = 2, magnitude: float = 9) -> list[Any]:
    """That many of RandAugment's 14 changes, of a magnitude of 0 to 30."""
    return [transforms.RandAugment(_whole(changes), _whole(magnitude))]


def cutout(size: Size, side: float = 0.0) -> list[Any]:
    """A grey square of `side` pixels; 0: half of the image's height."""
    return [transforms.Cutout(_whole(side) or size[0] // 2)]


def erasing(size: Size, p: float = 0.25) -> list[Any]:
    """A grey rectangle in that share of the images."""
    return [transforms.RandomErasing(p)]


def _whole(number: float) -> int:
    if number != int(number):
        raise ValueError(f"{number} is not a whole number")
    return int(number)


# Those that write grey, which is 0 once an image is normalised, come after that.
BEFORE: dict[str, Callable[..., list[Any]]] = {
    "flip": flip,
    "crop-flip": crop_flip,
    "resized-crop": resized_crop,
    "affine": affine,
    "rotation": rotation,
    "zoom": zoom,
    "colour": colour,
    "randaugment": randaugment,
}
AFTER: dict[str, Callable[..., list[Any]]] = {"cutout": cutout, "erasing": erasing}
AUGMENTS = {**BEFORE, **AFTER}


def make_augment(text: str, size: Size, normalize: Any) -> transforms.Compose:
    """The transform of training images of that size (H, W): what `text` names, and `normalize`.

    Raises:
        ValueError: a name that is not known, or numbers that do not fit it.
    """
    before: list[Any] = []
    after: list[Any] = []
    for name, made in _made(text, AUGMENTS, size):
        (after if name in AFTER else before).extend(made)
    return transforms.Compose([*before, normalize, *after])


def _made(text: str, known: dict[str, Callable[..., Any]], first: Any) -> list[tuple[str, Any]]:
    """Each change that `text` names, and what its function makes of `first` and the numbers."""
    made = []
    for part in text.split("+") if text != "none" else []:
        name, _, numbers = part.strip().partition(":")
        if name not in known:
            names = ", ".join(["none", *known])
            raise ValueError(f"unknown augment {name!r}; known are {names}, joined by +")
        try:
            made.append((name, known[name](first, *(float(n) for n in numbers.split(",") if n))))
        except (TypeError, ValueError) as error:
            raise ValueError(f"augment {part!r}: {error}") from None
    return made


# -- with ground truth in the picture --------------------------------------------------------------

# Functions of what lies beyond a picture's border, and of the numbers after the colon.
JOINT_AUGMENTS: dict[str, Callable[..., Any]] = {
    "flip": lambda border: joint.RandomHorizontalFlip(),
    "flip-vertical": lambda border: joint.RandomVerticalFlip(),
    "scale": lambda border, low=0.5, high=2.0: joint.RandomScale((low, high)),
    "rotation": lambda border, degrees=15.0: joint.RandomRotation(degrees, border=border),
    "elastic": lambda border, sigma=10.0: joint.RandomElastic(sigma, border=border),
    "colour": lambda border, amount=0.4: joint.ImageOnly(
        transforms.ColorJitter(amount, amount, amount)
    ),
}

# Those of SSD (Liu et al. 2016, section 2.2), for pictures with boxes.
OBJECT_AUGMENTS: dict[str, Callable[..., Any]] = {
    **JOINT_AUGMENTS,
    "distort": lambda border: joint.ImageOnly(transforms.RandomPhotometricDistort()),
    "zoom-out": lambda border, most=4.0: joint.RandomZoomOut(side_range=(1.0, most)),
    "iou-crop": lambda border: joint.RandomIoUCrop(),
}


def make_joint_augment(text: str, objects: bool) -> list[Any]:
    """The transforms of training images with their ground truth that `text` names.

    Args:
        text: names of `JOINT_AUGMENTS`, joined by "+"; "none".
        objects: whether the truth is objects, for which there are `OBJECT_AUGMENTS`; what a turned
            or bent picture lacks is black then. Else it is a class map: the picture is mirrored at
            its border, and its class map too.

    Raises:
        ValueError: a name that is not known, or numbers that do not fit it.
    """
    known, border = (OBJECT_AUGMENTS, "constant") if objects else (JOINT_AUGMENTS, "reflect")
    return [change for _, change in _made(text, known, border)]
