"""The random changes that a recipe can name: words for `minidl.data.transforms`.

`"crop-flip+randaugment:2,15+cutout"` is three changes, one after the other; numbers after a colon
are the arguments of the functions below, in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..data import transforms

__all__ = ["AUGMENTS", "make_augment"]

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
    for part in text.split("+") if text != "none" else []:
        name, _, numbers = part.strip().partition(":")
        if name not in AUGMENTS:
            known = ", ".join(["none", *AUGMENTS])
            raise ValueError(f"unknown augment {name!r}; known are {known}, joined by +")
        try:
            made = AUGMENTS[name](size, *(float(n) for n in numbers.split(",") if n))
        except (TypeError, ValueError) as error:
            raise ValueError(f"augment {part!r}: {error}") from None
        (after if name in AFTER else before).extend(made)
    return transforms.Compose([*before, normalize, *after])
