"""Scenes: pictures of digits and shapes, drawn by chance, with everything known about them.

A data set for segmentation and detection that needs no download: handwritten digits (those that
come with minidl), discs, rectangles and triangles in random colours, sizes and places before
textured backgrounds, hiding parts of each other. Scene i of a seed is always the same one.

Everything follows from how a scene is drawn. Objects are drawn one after the other; each has an
opacity from 0 to 1 in every pixel, softened at its edge, and belongs to the pixels where that is at
least one half, until a later object takes them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from ..autograd import Tensor
from .dataset import Dataset, batch_generator
from .joint import boxes_of_masks
from .mnist import Digits

__all__ = ["Scenes"]

SHAPES = ("disc", "rectangle", "triangle")
NAMES = (*"0123456789", *SHAPES)
TRIES = 20  # places tried for an object before it is left out
POINTS = 5  # keypoints of an object
TILT = 25.0  # degrees by which objects are turned at most, so that "upper left" keeps its meaning


class Scenes(Dataset):
    """`n` scenes, each a function of (seed, index).

    Args:
        n: how many.
        size: of the pictures in pixels, (H, W) or one number.
        seed: another number gives other scenes.
        task: "semantic": samples are (image, class map), 0 being the background and c + 1 class c;
            "instances": (image, target), see below.
        classes: names of the classes to draw from, in the order of their labels; by default the ten
            digits "0" to "9", "disc", "rectangle" and "triangle".
        objects: how many objects a scene has, uniform in (low, high); fewer where there is no room.
        scale: the longer side of an object as a share of the picture's shorter one, uniform in
            (low, high).
        overlap: the largest share of an object that later ones may hide, from 0 to 1.
        difficulty: from 0 (plain backgrounds, strong colours) to 1 (strong textures and noise,
            colours close to the background's, shading on objects).
        train: digits of the training set, or else of the test set, and other scenes.
        dtype: "float32", values in [0, 1], or "uint8", 0 to 255.
        transform: None, or a callable of (image, target, a NumPy generator) as those of
            `minidl.data.joint`; for float32.

    Attributes:
        classes: names of the classes; those of the class map have "background" before them.
        labels: the names of the class map's numbers.
        n, size, seed, task, objects, scale, overlap, difficulty, train, dtype, transform: as given.

    A target of "instances" is a dictionary of CPU tensors, for R objects from back to front:
    "boxes" (R, 4) float32 x1, y1, x2, y2, pixels, half-open, around what is seen of the object;
    "labels" (R,) int64 from 0; "masks" (R, H, W) bool, what is seen of it; "keypoints" (R, 5, 3)
    float32 x, y, visible (2: seen, 1: hidden or outside of what is drawn of it, 0: none);
    "mask" (H, W) int64, the class map; "image_id" int64, the index.

    Keypoints: of digits and discs the leftmost, uppermost, rightmost, lowest point and the centre;
    of rectangles the corners from the upper left on, clockwise, and the centre; of triangles the
    top, the lower right and left corner, none, and the centre.

    Raises:
        ValueError: arguments out of range.

    Example:
        >>> image, mask = Scenes(100, size=64)[0]  # (3, 64, 64) float32, (64, 64) int64
    """

    def __init__(
        self,
        n: int,
        size: int | tuple[int, int] = 64,
        seed: int = 0,
        task: Literal["semantic", "instances"] = "semantic",
        classes: Sequence[str] = NAMES,
        objects: tuple[int, int] = (1, 4),
        scale: tuple[float, float] = (0.25, 0.6),
        overlap: float = 0.2,
        difficulty: float = 0.5,
        train: bool = True,
        dtype: Literal["float32", "uint8"] = "float32",
        transform: Callable[..., Any] | None = None,
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        unknown = [name for name in classes if name not in NAMES]
        for wrong, message in (
            (n < 0 or seed < 0, f"n and seed must not be negative, got {n} and {seed}"),
            (min(self.size) < 16, f"pictures have at least 16 x 16 pixels, got {self.size}"),
            (task not in ("semantic", "instances"), f"unknown task {task!r}"),
            (unknown, f"unknown classes {unknown}; known are {', '.join(NAMES)}"),
            (not classes, "needs at least one class"),
            (not 0 <= objects[0] <= objects[1], f"objects must be (low, high), got {objects}"),
            (not 0 < scale[0] <= scale[1] <= 1, f"scale must be within (0, 1], got {scale}"),
            (not 0 <= overlap <= 1, f"overlap must be from 0 to 1, got {overlap}"),
            (not 0 <= difficulty <= 1, f"difficulty must be from 0 to 1, got {difficulty}"),
            (dtype not in ("float32", "uint8"), f"dtype is float32 or uint8, got {dtype!r}"),
            (transform is not None and dtype == "uint8", "transforms need dtype float32"),
        ):
            if wrong:
                raise ValueError(f"Scenes: {message}")
        self.n = n
        self.seed = seed
        self.task = task
        self.classes = list(classes)
        self.labels = ["background", *self.classes]
        self.objects = objects
        self.scale = scale
        self.overlap = overlap
        self.difficulty = difficulty
        self.train = train
        self.dtype = dtype
        self.transform = transform
        digits = Digits(train)
        self._digits = [digits.images[digits.labels == d, 0] for d in range(10)]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        """Scene `index`: the image (3, H, W), and its class map or target."""
        index = operator.index(index)
        if not -self.n <= index < self.n:
            raise IndexError(f"Scenes: index {index} is out of range, there are {self.n}")
        index %= self.n
        image, target = self._draw(index)
        truth: Any = target if self.task == "instances" else target["mask"]
        if self.transform is not None:
            image, truth = self.transform(image, truth, batch_generator())
        if self.dtype == "uint8":
            image = np.round(image * 255).astype(np.uint8)
        tensor = Tensor(image, device="cpu")
        if self.task == "semantic":
            return tensor, Tensor(truth, device="cpu")
        return tensor, {key: Tensor(value, device="cpu") for key, value in truth.items()}

    def __repr__(self) -> str:
        return (
            f"Scenes({self.n}, size={self.size}, seed={self.seed}, task={self.task!r}, "
            f"difficulty={self.difficulty}, train={self.train})"
        )

    # -- drawing ---------------------------------------------------------------------------------

    def _draw(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        chance = np.random.SeedSequence(self.seed, spawn_key=(int(self.train), index))
        rng = np.random.default_rng(chance)
        height, width = self.size
        image = _background(height, width, self.difficulty, rng)
        labels: list[int] = []
        seen: list[np.ndarray] = []
        areas: list[int] = []
        keypoints: list[np.ndarray] = []
        for _ in range(int(rng.integers(self.objects[0], self.objects[1] + 1))):
            label = int(rng.integers(len(self.classes)))
            found = self._place(self.classes[label], seen, areas, rng)
            if found is None:
                continue
            opacity, points = found
            mask = opacity >= 0.5
            for other in seen:
                other &= ~mask
            colour = _colour(image[:, mask].mean(axis=1), self.difficulty, rng)
            paint = colour[:, None, None] * _shading(height, width, self.difficulty, rng)
            image += opacity * (paint - image)
            labels.append(label)
            seen.append(mask)
            areas.append(int(mask.sum()))
            keypoints.append(points)
        image += rng.normal(0.0, 0.01 + 0.05 * self.difficulty, image.shape)
        return (
            np.clip(image, 0.0, 1.0).astype(np.float32),
            _target(index, labels, seen, keypoints, self.size),
        )

    def _place(
        self,
        name: str,
        seen: list[np.ndarray],
        areas: list[int],
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Opacity (H, W) and keypoints of a new object, where it hides no other one too much."""
        height, width = self.size
        for _ in range(TRIES):
            side = rng.uniform(*self.scale) * min(height, width)
            figure = self._figure(name, side, rng)
            h, w = figure.opacity.shape
            if h > height or w > width:
                continue
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            opacity = np.zeros((height, width))
            opacity[top : top + h, left : left + w] = figure.opacity
            mask = opacity >= 0.5
            rest = [int((other & ~mask).sum()) for other in seen]
            if all(r >= max(1, (1 - self.overlap) * a) for r, a in zip(rest, areas, strict=True)):
                return opacity, figure.points + np.array([left, top, 0.0])
        return None

    def _figure(self, name: str, side: float, rng: np.random.Generator) -> _Figure:
        if name in SHAPES:
            return _shape(name, side, rng)
        digits = self._digits[int(name)]
        return _digit(digits[rng.integers(len(digits))], side, rng)


class _Figure(NamedTuple):
    """An object by itself: opacity (h, w) from 0 to 1, and keypoints (5, 3) within it."""

    opacity: np.ndarray
    points: np.ndarray


def _digit(pixels: np.ndarray, side: float, rng: np.random.Generator) -> _Figure:
    """A handwritten digit, its ink `side` pixels high or wide, turned a little."""
    rows, columns = (np.flatnonzero(pixels.max(axis=axis) > 127) for axis in (1, 0))
    ink = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / 255.0
    scale = side / max(ink.shape)
    # One pixel of paper around the ink, into which its edge fades.
    ink = np.pad(ink, 1)
    angle = np.deg2rad(rng.uniform(-TILT, TILT) / 2)
    y, x = _grid(scale * ink.shape[0], scale * ink.shape[1], angle)
    opacity = _sample(ink, y / scale + ink.shape[0] / 2, x / scale + ink.shape[1] / 2)
    # Ink is grey within strokes, too: stretched, they are filled.
    opacity = _trim(np.clip(1.6 * opacity - 0.3, 0.0, 1.0))
    return _Figure(opacity, _extremes(opacity >= 0.5))


def _shape(name: str, side: float, rng: np.random.Generator) -> _Figure:
    """A disc, rectangle or triangle whose longer side is about `side` pixels, turned a little."""
    angle = np.deg2rad(rng.uniform(-TILT, TILT))
    half = side / 2
    if name == "disc":
        y, x = _grid(side, side, 0.0)
        opacity = _trim(_soft(half - np.hypot(x, y)))
        return _Figure(opacity, _extremes(opacity >= 0.5))
    if name == "rectangle":
        other = half * rng.uniform(0.4, 1.0)
        a, b = (half, other) if rng.random() < 0.5 else (other, half)
        corners = np.array([[-a, -b], [a, -b], [a, b], [-a, b]])  # x, y
    else:
        b = half * rng.uniform(0.5, 1.0)
        corners = np.array([[rng.uniform(-b, b) / 2, -half], [b, half], [-b, half]])
    cos, sin = np.cos(angle), np.sin(angle)
    corners = corners @ np.array([[cos, sin], [-sin, cos]])
    low, high = corners.min(axis=0), corners.max(axis=0)
    w, h = np.ceil(high - low).astype(int) + 2
    y, x = np.arange(h)[:, None] + 0.5, np.arange(w)[None] + 0.5
    corners = corners - (low + high) / 2 + np.array([w, h]) / 2
    # Distance to the inner side of the nearest edge; corners are clockwise on the screen.
    distance = np.full((h, w), np.inf)
    for p, q in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        dx, dy = (q - p) / np.hypot(*(q - p))
        distance = np.minimum(distance, dx * (y - p[1]) - dy * (x - p[0]))
    points = np.zeros((POINTS, 3))
    points[: len(corners), :2], points[: len(corners), 2] = corners, 2
    points[-1] = *corners.mean(axis=0), 2
    return _Figure(_soft(distance), points)


def _grid(height: float, width: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Places y, x (h, w) in a figure of that size, from its middle, that is turned by `angle`."""
    cos, sin = np.cos(angle), np.sin(angle)
    h = int(np.ceil(abs(height * cos) + abs(width * sin))) + 2
    w = int(np.ceil(abs(width * cos) + abs(height * sin))) + 2
    y, x = np.arange(h)[:, None] + 0.5 - h / 2, np.arange(w)[None] + 0.5 - w / 2
    return y * cos - x * sin, x * cos + y * sin


def _soft(distance: np.ndarray) -> np.ndarray:
    """Opacity by the distance to the edge, positive inside: it fades over one pixel."""
    return np.clip(distance + 0.5, 0.0, 1.0)


def _sample(picture: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`picture` at places y, x (pixel 0 from 0 to 1), bilinear, 0 outside."""
    framed = np.pad(picture, ((1, 2), (1, 2)))
    y = np.clip(y - 0.5, -1, picture.shape[0]) + 1
    x = np.clip(x - 0.5, -1, picture.shape[1]) + 1
    i, j = np.floor(y).astype(int), np.floor(x).astype(int)
    y, x = y - i, x - j
    upper = framed[i, j] * (1 - x) + framed[i, j + 1] * x
    lower = framed[i + 1, j] * (1 - x) + framed[i + 1, j + 1] * x
    return upper * (1 - y) + lower * y


def _trim(opacity: np.ndarray) -> np.ndarray:
    """Without empty rows and columns around it."""
    rows, columns = (np.flatnonzero(opacity.any(axis=axis)) for axis in (1, 0))
    return opacity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _extremes(mask: np.ndarray) -> np.ndarray:
    """Keypoints (5, 3): the leftmost, uppermost, rightmost, lowest pixel and the centre."""
    y, x = np.nonzero(mask)
    points = np.full((POINTS, 3), 2.0)
    # Where several pixels lie as far out, the middle one.
    for k, (far, along) in enumerate(((-x, y), (-y, x), (x, y), (y, x))):
        out = np.flatnonzero(far == far.max())
        chosen = out[np.argsort(along[out])[len(out) // 2]]
        points[k, :2] = x[chosen] + 0.5, y[chosen] + 0.5
    points[-1, :2] = (x.min() + x.max() + 1) / 2, (y.min() + y.max() + 1) / 2
    return points


def _background(height: int, width: int, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """(3, H, W): two colours that waves of random length and direction mix."""
    y, x = np.mgrid[:height, :width] / min(height, width)
    mixture = np.zeros((height, width))
    for _ in range(4):
        direction, length = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(np.log(0.1), np.log(1.5)))
        along = x * np.cos(direction) + y * np.sin(direction)
        wave = np.sin(2 * np.pi * along / length + rng.uniform(0, 2 * np.pi))
        mixture += rng.uniform(0.3, 1.0) * wave
    mixture /= np.abs(mixture).max() + 1e-9
    base, other = rng.uniform(0.15, 0.85, (2, 3, 1, 1))
    return base + (other - base) * (0.5 + 0.5 * mixture) * (0.15 + 0.65 * difficulty)


def _colour(behind: np.ndarray, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A colour (3,) that differs from the one behind it, less where it is difficult."""
    colours = rng.uniform(0.0, 1.0, (TRIES, 3))
    apart = np.abs(colours - behind).max(axis=1)
    # The first one that is far enough, else the farthest.
    enough = apart >= min(0.5 - 0.35 * difficulty, apart.max())
    return colours[enough.argmax()]


def _shading(height: int, width: int, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W): light from one side, by which an object's colour is multiplied."""
    y, x = np.mgrid[:height, :width] / max(height, width) - 0.5
    direction = rng.uniform(0, 2 * np.pi)
    return 1.0 + difficulty * (x * np.cos(direction) + y * np.sin(direction))


def _target(
    index: int,
    labels: list[int],
    seen: list[np.ndarray],
    keypoints: list[np.ndarray],
    size: tuple[int, ...],
) -> dict[str, np.ndarray]:
    masks = np.zeros((len(seen), *size), bool)
    points = np.zeros((len(seen), POINTS, 3), np.float32)
    mask = np.zeros(size, np.int64)
    for k, own in enumerate(seen):
        masks[k], points[k] = own, keypoints[k]
        mask[own] = labels[k] + 1
        for point in points[k]:
            # Hidden: no pixel of the object's own is near. A corner lies between pixels.
            x, y = (int(np.clip(v, 0, n - 1)) for v, n in zip(point, size[::-1], strict=False))
            near = own[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if point[2] and not near.any():
                point[2] = 1
    return {
        "boxes": boxes_of_masks(masks),
        "labels": np.array(labels, np.int64),
        "masks": masks,
        "keypoints": points,
        "mask": mask,
        "image_id": np.array(index),
    }
