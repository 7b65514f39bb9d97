"""Transforms that change colours, of values in [0, 1]: they come before `Normalize`."""

from __future__ import annotations

import numpy as np

from .arguments import Range, probability, range_around_one, range_around_zero, uniform
from .base import Transform

__all__ = ["ColorJitter", "RandomPhotometricDistort"]

# Brightness, contrast, saturation and hue that leave an image as it is.
NEUTRAL = ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (0.0, 0.0))


class ColorJitter(Transform):
    """Change brightness, contrast, saturation and hue, in random order, and clip to [0, 1].

    Args:
        brightness, contrast, saturation: the factor's range (low, high), 1 leaving the image as it
            is; a number v means (max(0, 1 - v), 1 + v). 0 brightness is black, 0 contrast the mean
            grey, 0 saturation the grey picture.
        hue: the turn's range (low, high) as a part of the colour circle, within (-0.5, 0.5); a
            number v means (-v, v).
    """

    def __init__(
        self,
        brightness: float | Range = 0.0,
        contrast: float | Range = 0.0,
        saturation: float | Range = 0.0,
        hue: float | Range = 0.0,
    ) -> None:
        self.brightness = range_around_one("ColorJitter: brightness", brightness)
        self.contrast = range_around_one("ColorJitter: contrast", contrast)
        self.saturation = range_around_one("ColorJitter: saturation", saturation)
        self.hue = _hue("ColorJitter", hue)

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _check_channels("ColorJitter", batch)
        result = batch.copy()
        for step in rng.permutation(4):
            bounds = (self.brightness, self.contrast, self.saturation, self.hue)[step]
            if bounds != NEUTRAL[step]:
                result = _change(result, int(step), bounds, rng)
        return result


class RandomPhotometricDistort(Transform):
    """Change brightness, contrast, saturation, hue and the order of channels, each by chance.

    As SSD does (Liu et al. 2016, section 2.2), after Howard 2013, "Some improvements on deep
    convolutional neural network based image classification", section 2.2, whose random order of the
    first four it takes; the channels come last.

    Args:
        brightness, contrast, saturation: the factor's range (low, high), as in `ColorJitter`.
        hue: the turn's range (low, high), as in `ColorJitter`.
        p: the probability of each change.
    """

    def __init__(
        self,
        brightness: Range = (0.875, 1.125),
        contrast: Range = (0.5, 1.5),
        saturation: Range = (0.5, 1.5),
        hue: Range = (-0.05, 0.05),
        p: float = 0.5,
    ) -> None:
        name = "RandomPhotometricDistort"
        self.brightness = range_around_one(f"{name}: brightness", brightness)
        self.contrast = range_around_one(f"{name}: contrast", contrast)
        self.saturation = range_around_one(f"{name}: saturation", saturation)
        self.hue = _hue(name, hue)
        self.p = probability(name, p)

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _check_channels("RandomPhotometricDistort", batch)
        result = batch.copy()
        for step in rng.permutation(4):
            bounds = (self.brightness, self.contrast, self.saturation, self.hue)[step]
            chosen = rng.random(len(batch)) < self.p
            result[chosen] = _change(result[chosen], int(step), bounds, rng)
        for i in np.flatnonzero(rng.random(len(batch)) < self.p):
            result[i] = result[i, rng.permutation(batch.shape[1])]
        return result


def _check_channels(name: str, batch: np.ndarray) -> None:
    if batch.shape[1] not in (1, 3):
        raise ValueError(f"{name}: needs 1 or 3 channels, got a batch {batch.shape}")


def _hue(name: str, hue: float | Range) -> Range:
    low, high = range_around_zero(hue)
    if not -0.5 <= low <= high <= 0.5:
        raise ValueError(f"{name}: hue must be a range within (-0.5, 0.5), got {hue}")
    return low, high


def _change(batch: np.ndarray, step: int, bounds: Range, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, saturation or hue (step 0 to 3) changed by an amount for each image."""
    amount = uniform(rng, bounds, (len(batch), 1, 1, 1)).astype(batch.dtype)
    if step == 0:
        result = batch * amount
    elif step == 3:
        result = _turn_hue(batch, amount)
    else:  # towards grey, or away from it: the image's mean grey, or each pixel's own
        grey = _grey(batch)
        if step == 1:
            grey = grey.mean(axis=(2, 3), keepdims=True)
        result = grey + (batch - grey) * amount
    return np.clip(result, 0.0, 1.0)


def _turn_hue(batch: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """The colours (N, 3, H, W) turned on the circle by `turn` (N, 1, 1, 1), 1 being all of it.

    In HSV (Smith 1978): the hue says where on the circle red, yellow, green, cyan, blue, magenta a
    colour lies; its largest and smallest channel stay what they are.
    """
    if batch.shape[1] == 1:
        return batch
    high, low = batch.max(axis=1, keepdims=True), batch.min(axis=1, keepdims=True)
    spread = high - low
    red, green, blue = batch[:, 0:1], batch[:, 1:2], batch[:, 2:3]
    grey = spread == 0.0
    unit = np.where(grey, np.ones_like(spread), spread)
    hue = np.where(
        high == red,
        (green - blue) / unit,
        np.where(high == green, 2.0 + (blue - red) / unit, 4.0 + (red - green) / unit),
    )  # in sixths of the circle, from red
    # A channel is high within one sixth of its own colour, low from two sixths on, linear between.
    own = np.asarray([0.0, 2.0, 4.0], batch.dtype).reshape(1, 3, 1, 1)
    apart = np.abs((hue + 6.0 * turn - own + 3.0) % 6.0 - 3.0)
    return low + spread * np.clip(2.0 - apart, 0.0, 1.0)


def _grey(batch: np.ndarray) -> np.ndarray:
    """Luma (N, 1, H, W), ITU-R recommendation BT.601."""
    if batch.shape[1] == 1:
        return batch
    red, green, blue = batch[:, 0:1], batch[:, 1:2], batch[:, 2:3]
    return 0.2989 * red + 0.587 * green + 0.114 * blue
