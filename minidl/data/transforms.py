"""Random changes to images that leave their class as it is. Names and meanings of torchvision.

Each transform takes a whole batch, a NumPy array (N, C, H, W) of floats, and a NumPy generator, and
gives a new array of the same dtype; every image draws its own chance. Without a generator it draws
from `batch_generator()`. The input is never changed. For colours, values lie in [0, 1], so those
come before `Normalize`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from .dataset import batch_generator

__all__ = [
    "ColorJitter",
    "Compose",
    "Normalize",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomVerticalFlip",
    "RandomZoom",
    "ToFloat",
    "Transform",
]

Range = tuple[float, float]


class Transform:
    """The base class: a transform defines `apply(batch, rng)`.

    Its constructor's arguments are attributes of the same names, which `repr` shows.
    """

    def __call__(self, batch: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """The transformed batch (N, C, H', W').

        Raises:
            TypeError: not a NumPy array of floats.
            ValueError: not of four dimensions, or a number of channels that does not fit.
        """
        name = type(self).__name__
        if not isinstance(batch, np.ndarray) or batch.dtype.kind != "f":
            got = batch.dtype if isinstance(batch, np.ndarray) else type(batch).__name__
            raise TypeError(f"{name}: needs a NumPy array of floats, got {got}; see ToFloat")
        if batch.ndim != 4:
            raise ValueError(f"{name}: needs images (N, C, H, W), got shape {batch.shape}")
        return self.apply(batch, rng or batch_generator())

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


class Compose(Transform):
    """Several transforms, one after the other.

    Args:
        transforms: each a callable of (batch, generator).
    """

    def __init__(self, transforms: Sequence[Callable[..., np.ndarray]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, batch: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        rng = rng or batch_generator()
        for transform in self.transforms:
            batch = transform(batch, rng)
        return batch


class ToFloat(Transform):
    """uint8 in 0..255 to float32 in [0, 1]; floats stay as they are."""

    def __call__(self, batch: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        if batch.dtype == np.uint8:
            return batch / np.float32(255)
        if batch.dtype.kind == "f":
            return batch
        raise TypeError(f"ToFloat: needs uint8 or floats, got {batch.dtype}")


class Normalize(Transform):
    """(x - mean) / std, channel by channel.

    Args:
        mean, std: a number, or one for each channel; every std above 0.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        if np.min(std) <= 0:
            raise ValueError(f"Normalize: std must be above 0, got {std}")
        self.mean = mean
        self.std = std

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mean, std = (np.asarray(v, batch.dtype).reshape(-1, 1, 1) for v in (self.mean, self.std))
        if any(len(value) not in (1, batch.shape[1]) for value in (mean, std)):
            raise ValueError(
                f"Normalize: {len(mean)} means and {len(std)} stds for images of "
                f"{batch.shape[1]} channels (batch {batch.shape})"
            )
        result = batch - mean
        result /= std
        return result


# -- geometry -----------------------------------------------------------------------------------


class RandomHorizontalFlip(Transform):
    """Mirror left to right, each image with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability("RandomHorizontalFlip", p)

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.random(len(batch)) < self.p
        result = batch.copy()
        result[chosen] = batch[chosen][:, :, :, ::-1]
        return result


class RandomVerticalFlip(Transform):
    """Mirror top to bottom, each image with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability("RandomVerticalFlip", p)

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.random(len(batch)) < self.p
        result = batch.copy()
        result[chosen] = batch[chosen][:, :, ::-1]
        return result


class RandomCrop(Transform):
    """Cut a window at a random place, after padding; (32, padding=4) is CIFAR's usual shift.

    Args:
        size: of the window in pixels, (H, W) or one number.
        padding: pixels to add before: one number for all sides, (left and right, top and bottom)
            or (left, top, right, bottom).
        fill: the value of added pixels in mode "constant".
        padding_mode: as `numpy.pad`: "constant", "edge", "reflect", "symmetric".
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        padding: int | Sequence[int] | None = None,
        fill: float = 0.0,
        padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant",
    ) -> None:
        if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
            raise ValueError(f"RandomCrop: unknown padding_mode {padding_mode!r}")
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.padding = _sides(padding or 0)
        self.fill = fill
        self.padding_mode = padding_mode

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        left, top, right, bottom = self.padding
        how: dict[str, Any] = {"mode": self.padding_mode}
        if self.padding_mode == "constant":
            how["constant_values"] = self.fill
        padded = np.pad(batch, ((0, 0), (0, 0), (top, bottom), (left, right)), **how)
        (height, width), (h, w) = padded.shape[2:], self.size
        if h > height or w > width:
            raise ValueError(
                f"RandomCrop: a window of {self.size} does not fit into images of "
                f"{batch.shape[2:]}, {(height, width)} with the padding"
            )
        count = len(batch)
        y = rng.integers(height - h + 1, size=count)
        x = rng.integers(width - w + 1, size=count)
        # A view of all windows, (N, C, height - h + 1, width - w + 1, h, w), of which N are copied.
        windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
        return np.ascontiguousarray(windows[np.arange(count), :, y, x])


class RandomRotation(Transform):
    """Rotate about the centre, bilinear.

    Args:
        degrees: counter-clockwise, uniform in the range (low, high); a number d means (-d, d).
        fill: the value outside the image.
    """

    def __init__(self, degrees: float | Range, fill: float = 0.0) -> None:
        self.degrees = _range_around_zero(degrees)
        self.fill = fill

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        angle = np.deg2rad(_uniform(rng, self.degrees, len(batch)))
        return _warp(batch, angle, np.ones(len(batch)), np.zeros((2, len(batch))), self.fill)


class RandomZoom(Transform):
    """Enlarge or shrink about the centre, keeping the size of the picture, bilinear.

    Args:
        scale: factor, uniform in (low, high); 2 makes things twice as large.
        fill: the value outside the image.
    """

    def __init__(self, scale: Range = (0.8, 1.2), fill: float = 0.0) -> None:
        self.scale = _scale("RandomZoom", scale)
        self.fill = fill

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        zoom = _uniform(rng, self.scale, len(batch))
        return _warp(batch, np.zeros(len(batch)), zoom, np.zeros((2, len(batch))), self.fill)


class RandomAffine(Transform):
    """Rotate and zoom about the centre, then shift: one bilinear interpolation for all three.

    Args:
        degrees: clockwise (as torchvision's), uniform in (low, high); a number d means (-d, d).
        translate: the largest shift to either side as a fraction of (width, height).
        scale: the zoom, uniform in (low, high).
        fill: the value outside the image.
    """

    def __init__(
        self,
        degrees: float | Range,
        translate: tuple[float, float] | None = None,
        scale: Range | None = None,
        fill: float = 0.0,
    ) -> None:
        self.degrees = _range_around_zero(degrees)
        for fraction in translate or ():
            _probability("RandomAffine: translate", fraction)
        self.translate = translate
        self.scale = None if scale is None else _scale("RandomAffine", scale)
        self.fill = fill

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        count, _, height, width = batch.shape
        angle = -np.deg2rad(_uniform(rng, self.degrees, count))
        zoom = _uniform(rng, self.scale or (1.0, 1.0), count)
        reach = np.multiply(self.translate or (0.0, 0.0), (width, height))
        # Whole pixels, as torchvision's.
        shift = np.round(rng.uniform(-1.0, 1.0, size=(2, count)) * reach[:, None])
        return _warp(batch, angle, zoom, shift, self.fill)


def _warp(
    batch: np.ndarray, angle: np.ndarray, zoom: np.ndarray, shift: np.ndarray, fill: float
) -> np.ndarray:
    """Each image turned counter-clockwise by `angle` (N,) radians, enlarged `zoom` (N,) times, and
    moved by `shift` (2, N) pixels to the right and down.

    For each pixel of the result, the place in the source where it comes from, and the mean of the
    four pixels around that place weighted by nearness.
    """
    count, channels, height, width = batch.shape
    kind = np.promote_types(batch.dtype, np.float32)  # float16 is too coarse for places
    cx, cy = (width - 1) / 2, (height - 1) / 2
    cos, sin = ((f(angle) / zoom).astype(kind)[:, None, None] for f in (np.cos, np.sin))
    dx, dy = shift.astype(kind)[:, :, None, None]
    x = np.arange(width, dtype=kind) - cx - dx  # (N, 1, W)
    y = np.arange(height, dtype=kind)[:, None] - cy - dy  # (N, H, 1)
    # The inverse map: turn back, shrink back. y points down, so counter-clockwise is -sin.
    from_x = x * cos - y * sin + cx
    from_y = x * sin + y * cos + cy

    # A frame of `fill`, so that a place outside is read from the frame instead of tested for. The
    # place -1 needs one row before; the place `height`, with its lower neighbour, two rows after.
    framed = np.pad(batch, ((0, 0), (0, 0), (1, 2), (1, 2)), constant_values=fill)
    from_x = np.clip(from_x, -1.0, float(width)) + 1.0
    from_y = np.clip(from_y, -1.0, float(height)) + 1.0
    left, top = np.floor(from_x), np.floor(from_y)
    wx, wy = (from_x - left)[:, None], (from_y - top)[:, None]  # (N, 1, H, W)

    row = framed.shape[3]
    place = top.astype(np.intp) * row + left.astype(np.intp)  # within one channel, (N, H, W)
    planes = np.arange(count * channels).reshape(count, channels, 1, 1) * (framed.shape[2] * row)
    place = planes + place[:, None]  # (N, C, H, W), into the flat array
    flat = framed.reshape(-1)
    upper = flat[place]
    upper += (flat[place + 1] - upper) * wx
    place += row
    lower = flat[place]
    lower += (flat[place + 1] - lower) * wx
    lower -= upper
    lower *= wy
    upper += lower
    return upper


# -- colour and occlusion -----------------------------------------------------------------------


class ColorJitter(Transform):
    """Change brightness, contrast and saturation, in random order, and clip to [0, 1].

    Args:
        brightness, contrast, saturation: the factor's range (low, high), 1 leaving the image as it
            is; a number v means (max(0, 1 - v), 1 + v). 0 brightness is black, 0 contrast the mean
            grey, 0 saturation the grey picture.
    """

    def __init__(
        self,
        brightness: float | Range = 0.0,
        contrast: float | Range = 0.0,
        saturation: float | Range = 0.0,
    ) -> None:
        self.brightness = _range_around_one("brightness", brightness)
        self.contrast = _range_around_one("contrast", contrast)
        self.saturation = _range_around_one("saturation", saturation)

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if batch.shape[1] not in (1, 3):
            raise ValueError(f"ColorJitter: needs 1 or 3 channels, got a batch {batch.shape}")
        result = batch.copy()
        for step in rng.permutation(3):
            bounds = (self.brightness, self.contrast, self.saturation)[step]
            if bounds == (1.0, 1.0):
                continue
            factor = _uniform(rng, bounds, (len(batch), 1, 1, 1)).astype(batch.dtype)
            if step == 0:
                result *= factor
            else:  # towards grey, or away from it: the image's mean grey, or each pixel's own
                grey = _grey(result)
                if step == 1:
                    grey = grey.mean(axis=(2, 3), keepdims=True)
                result = grey + (result - grey) * factor
            np.clip(result, 0.0, 1.0, out=result)
        return result


def _grey(batch: np.ndarray) -> np.ndarray:
    """Luma (N, 1, H, W), ITU-R recommendation BT.601."""
    if batch.shape[1] == 1:
        return batch
    red, green, blue = batch[:, 0:1], batch[:, 1:2], batch[:, 2:3]
    return 0.2989 * red + 0.587 * green + 0.114 * blue


class RandomErasing(Transform):
    """Overwrite a random rectangle (Zhong 2017, algorithm 1), each image with probability p.

    Args:
        p: the probability.
        scale: the rectangle's share of the area, uniform in (low, high).
        ratio: its height / width, log-uniform in (low, high).
        value: what to write: a number, one for each channel, or "random" for standard normal noise.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Range = (0.02, 0.33),
        ratio: Range = (0.3, 3.3),
        value: float | Sequence[float] | Literal["random"] = 0.0,
    ) -> None:
        self.p = _probability("RandomErasing", p)
        self.scale = _scale("RandomErasing", scale)
        self.ratio = _scale("RandomErasing", ratio)
        if isinstance(value, str) and value != "random":
            raise ValueError(f'RandomErasing: value must be numbers or "random", got {value!r}')
        self.value = value

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        count, channels, height, width = batch.shape
        tries = 10  # as torchvision: of ten rectangles, the first that fits; else none
        area = _uniform(rng, self.scale, (tries, count)) * (height * width)
        ratio = np.exp(
            _uniform(rng, (math.log(self.ratio[0]), math.log(self.ratio[1])), (tries, count))
        )
        h, w = np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))
        fits = (h < height) & (w < width)
        first = np.argmax(fits, axis=0), np.arange(count)
        h, w = h[first][:, None], w[first][:, None]  # (N, 1)
        top = np.floor(rng.random((count, 1)) * (height - h + 1))
        left = np.floor(rng.random((count, 1)) * (width - w + 1))
        chosen = (rng.random((count, 1)) < self.p) & fits[first][:, None]
        rows = (np.arange(height) >= top) & (np.arange(height) < top + h) & chosen  # (N, H)
        columns = (np.arange(width) >= left) & (np.arange(width) < left + w)  # (N, W)
        erased = rows[:, None, :, None] & columns[:, None, None, :]
        if isinstance(self.value, str):
            value = rng.standard_normal(batch.shape, dtype=np.float32).astype(batch.dtype)
        else:
            value = np.asarray(self.value, batch.dtype).reshape(-1, 1, 1)
            if len(value) not in (1, channels):
                raise ValueError(
                    f"RandomErasing: {len(value)} values for {channels} channels "
                    f"(batch {batch.shape})"
                )
        return np.where(erased, value, batch)


# -- chance and arguments ------------------------------------------------------------------------


def _uniform(rng: np.random.Generator, bounds: Range, size: int | tuple[int, ...]) -> np.ndarray:
    low, high = bounds
    return rng.uniform(low, high, size=size)


def _probability(name: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: must be in [0, 1], got {p}")
    return p


def _range_around_zero(value: float | Range) -> Range:
    if isinstance(value, (int, float)):
        value = (-abs(value), abs(value))
    low, high = value
    return low, high


def _range_around_one(name: str, value: float | Range) -> Range:
    if isinstance(value, (int, float)):
        value = (max(0.0, 1.0 - value), 1.0 + value)
    low, high = value
    if not 0 <= low <= high:
        raise ValueError(f"ColorJitter: {name} must be a range of factors >= 0, got {value}")
    return low, high


def _scale(name: str, value: Range) -> Range:
    low, high = value
    if not (0 < low <= high and math.isfinite(high)):
        raise ValueError(f"{name}: needs a range (low, high) with 0 < low <= high, got {value}")
    return low, high


def _sides(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    sides = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(sides) not in (1, 2, 4) or min(sides) < 0:
        raise ValueError(f"RandomCrop: padding must be 1, 2 or 4 numbers >= 0, got {padding}")
    left, top, right, bottom = (sides * 4)[:4]
    return left, top, right, bottom
