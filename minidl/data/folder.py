"""Pictures sorted into folders, one for each class: root/cat/1.jpg, root/dog/2.png, ..."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..autograd import Tensor
from .dataset import Dataset, batch_generator

__all__ = ["ImageFolder", "read_image"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def read_image(path: str | Path, size: int | tuple[int, int] | None = None) -> np.ndarray:
    """Read a picture file, upright, as RGB in [0, 1]; what is transparent becomes white.

    Args:
        path: a file that Pillow reads.
        size: None: as it is; (H, W): resized to that, bilinear; one number s: resized so that the
            shorter side is s, and the middle s x s cut out.

    Returns:
        (3, H, W) float32.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, or one with more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            if file.mode.startswith(("I", "F")):
                raise ValueError(
                    f"{path} has more than 8 bits a channel (mode {file.mode}); convert it first"
                )
            picture = ImageOps.exif_transpose(file)
            if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                page = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(page, picture)
            picture = picture.convert("RGB")
    except FileNotFoundError:
        raise
    # SyntaxError: Pillow's for a broken PNG; the last one: for a picture of absurd size
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a picture that can be read: {error}") from error
    if isinstance(size, int):
        width, height = picture.size
        shorter = min(width, height)
        width, height = round(width * size / shorter), round(height * size / shorter)
        left, top = (width - size) // 2, (height - size) // 2
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        picture = picture.crop((left, top, left + size, top + size))
    elif size is not None:
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1)) / np.float32(255)


class ImageFolder(Dataset):
    """Labelled pictures from a folder that has one sub-folder for each class.

    Classes are the names of the sub-folders in alphabetical order; pictures are found at any depth
    below them. Names that begin with a dot are passed over.

    Args:
        root: the folder.
        transform: None, or a callable of (a batch (1, 3, H, W) of float32 images in [0, 1], a NumPy
            generator) that returns such a batch, as those of `minidl.data.transforms`.
        size: see `read_image`; needed for batches when the pictures differ in size.

    Attributes:
        classes: names of the classes.
        class_to_idx: name -> label.
        samples: list of (path, label).

    Raises:
        FileNotFoundError: no such folder, no sub-folders, or one without pictures.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Callable[..., np.ndarray] | None = None,
        size: int | tuple[int, int] | None = None,
    ) -> None:
        self.root = Path(root)
        self.transform = transform
        self.size = size
        if not self.root.is_dir():
            raise FileNotFoundError(f"ImageFolder: no folder {self.root}")
        folders = sorted(
            d for d in self.root.iterdir() if d.is_dir() and not d.name.startswith(".")
        )
        if not folders:
            raise FileNotFoundError(
                f"ImageFolder: {self.root} has no sub-folders; it needs one for each class"
            )
        self.classes = [folder.name for folder in folders]
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        self.samples: list[tuple[Path, int]] = []
        for label, folder in enumerate(folders):
            paths = sorted(
                path
                for path in folder.rglob("*")
                if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
            )
            if not paths:
                raise FileNotFoundError(
                    f"ImageFolder: no pictures in {folder} ({', '.join(SUFFIXES)})"
                )
            self.samples += [(path, label) for path in paths]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Sample `index`: the image (3, H, W), a float32 CPU tensor, and its label."""
        path, label = self.samples[index]
        image = read_image(path, self.size)
        if self.transform is not None:
            image = self.transform(image[None], batch_generator())[0]
        return Tensor(image, device="cpu"), label

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.root)!r}, size={self.size})"
