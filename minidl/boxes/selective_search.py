"""Where objects may be, without learning: regions that look alike grow together.

Uijlings et al. 2013, "Selective search for object recognition". A picture is cut into small regions
(`felzenszwalb`); then the two neighbours that are most alike are joined, again and again, until one
region is left. The box around every region that ever was is a proposal, so there are proposals of
all sizes. As no single measure of likeness is right for all objects, this is done with several, and
in several colour spaces.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..backend.random import host_generator
from .segments import blur, check_image, felzenszwalb

__all__ = ["hierarchical_grouping", "selective_search"]

COLOUR_BINS, TEXTURE_BINS, DIRECTIONS = 25, 10, 8  # Uijlings et al. 2013, section 3.2


def selective_search(
    image: np.ndarray,
    colour_spaces: Sequence[str] = ("hsv", "lab"),
    scales: Sequence[float] = (50.0, 100.0),
    measures: Sequence[str] = ("ctsf", "tsf"),
    sigma: float = 0.8,
    min_box: float = 20.0,
) -> np.ndarray:
    """Boxes in which there may be objects, of any kind.

    The defaults are the eight strategies of the paper's "fast" setting (table 5): about 2,000 boxes
    for a photograph of 500 x 375.

    Args:
        image: (3, H, W) RGB, numbers from 0 to 1, on the host.
        colour_spaces: of "rgb", "hsv", "lab".
        scales: of the first regions, `scale` of `felzenszwalb`; their least size is the same number
            of pixels.
        measures: for each strategy which likenesses are added: letters of "c" (colour), "t"
            (texture), "s" (size: the small ones first), "f" (how well the two fill their box).
        sigma: of the blur before, pixels.
        min_box: boxes with a shorter side are left out, pixels.

    Returns:
        (R, 4) float32 x1, y1, x2, y2 in pixels, none twice. Large regions, which are more often
        objects, tend to come first, with some chance in it (section 4.1), by `manual_seed`: to have
        fewer proposals, take the first.

    Raises:
        TypeError: not a NumPy array.
        ValueError: not (3, H, W), numbers that are not from 0 to 1, or an unknown colour space or
            measure.
    """
    image = check_image("selective_search", image)
    if len(image) != 3:
        raise ValueError(f"selective_search: image must be (3, H, W), RGB, got {image.shape}")
    for space in colour_spaces:
        if space not in SPACES:
            raise ValueError(f"selective_search: {space!r} is unknown; use one of {list(SPACES)}")
    for measure in measures:
        _check_measure("selective_search", measure)
    boxes, ranks = [np.zeros((0, 4), np.float32)], [np.zeros(0)]
    for space in colour_spaces:
        colours = SPACES[space](image)
        for scale in scales:
            labels = felzenszwalb(colours, scale, sigma, int(scale))
            regions = _Regions.of(colours, labels)
            for measure in measures:
                found = _grow(copy.deepcopy(regions), measure)
                # The last region, the whole picture, has rank 1.
                rank = np.arange(len(found), 0, -1.0) * host_generator().random(len(found))
                boxes.append(found)
                ranks.append(rank)
    ordered = np.concatenate(boxes)[np.argsort(np.concatenate(ranks), kind="stable")]
    ordered = ordered[(ordered[:, 2:] - ordered[:, :2] >= min_box).all(axis=1)]
    _, first = np.unique(ordered, axis=0, return_index=True)
    return ordered[np.sort(first)]


def hierarchical_grouping(
    image: np.ndarray, labels: np.ndarray, measure: str = "ctsf"
) -> np.ndarray:
    """The boxes around regions, and around all that they grow into. Uijlings et al., algorithm 1.

    Args:
        image: (C, H, W), numbers from 0 to 1, on the host.
        labels: (H, W) integers: the region of each pixel, from 0 on without gaps.
        measure: as in `selective_search`.

    Returns:
        (2 R - 1, 4) float32 x1, y1, x2, y2 in pixels, for R connected regions: theirs, then those
        of the joined regions in the order in which they came about. The last is the whole picture.

    Raises:
        TypeError: not NumPy arrays.
        ValueError: sizes that do not fit, labels with gaps, or another measure.
    """
    op = "hierarchical_grouping"
    image = check_image(op, image)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        raise TypeError(f"{op}: labels must be a NumPy array of integers")
    if labels.shape != image.shape[1:]:
        raise ValueError(f"{op}: labels {labels.shape} do not fit image {image.shape}")
    if labels.min() < 0 or not np.bincount(labels.ravel()).all():
        raise ValueError(f"{op}: labels {labels.shape} must count regions from 0 without gaps")
    _check_measure(op, measure)
    return _grow(_Regions.of(image, labels), measure)


def _check_measure(op: str, measure: str) -> None:
    if not measure or not set(measure) <= set("ctsf"):
        raise ValueError(f"{op}: a measure is made of letters of 'ctsf', got {measure!r}")


def _grow(regions: _Regions, measure: str) -> np.ndarray:
    """The boxes of `hierarchical_grouping`; the regions are joined in place."""
    count = len(regions.size)
    likeness = np.full((count, count), -np.inf)
    for i in range(count):
        near = np.flatnonzero(regions.near[i])
        likeness[i, near] = regions.likeness(i, near, measure)
    boxes = [regions.box.copy()]
    best = likeness.max(axis=1)
    while best.max() > -np.inf:
        i = int(best.argmax())
        j = int(likeness[i].argmax())
        regions.join(i, j)  # the new one takes the place of i
        boxes.append(regions.box[i : i + 1].copy())
        near = np.flatnonzero(regions.near[i])
        likeness[[i, j]] = likeness[:, [i, j]] = -np.inf
        likeness[i, near] = likeness[near, i] = regions.likeness(i, near, measure)
        changed = np.concatenate([[i, j], near])
        best[changed] = likeness[changed].max(axis=1)
    return np.concatenate(boxes).astype(np.float32)


@dataclass
class _Regions:
    """What the likeness of R regions needs. All of it follows from that of the parts of a region.

    Attributes:
        size: (R,) shares of the picture.
        colour, texture: (R, bins) histograms that sum to 1.
        box: (R, 4) x1, y1, x2, y2.
        near: (R, R) whether two regions touch.
        area: of the picture, pixels.
    """

    size: np.ndarray
    colour: np.ndarray
    texture: np.ndarray
    box: np.ndarray
    near: np.ndarray
    area: int

    @classmethod
    def of(cls, image: np.ndarray, labels: np.ndarray) -> _Regions:
        count, (height, width) = int(labels.max()) + 1, labels.shape
        near = np.zeros((count, count), np.bool_)
        for a, b in (  # the neighbours that `felzenszwalb` knows: right, below and diagonal
            (labels[:, :-1], labels[:, 1:]),
            (labels[:-1], labels[1:]),
            (labels[:-1, :-1], labels[1:, 1:]),
            (labels[:-1, 1:], labels[1:, :-1]),
        ):
            near[a, b] = near[b, a] = True
        np.fill_diagonal(near, False)
        y, x = [axis.ravel() for axis in np.indices((height, width))]
        flat = labels.ravel()
        box = np.empty((count, 4))
        box[:, :2], box[:, 2:] = math.inf, -math.inf
        for side, places in ((0, x), (1, y)):
            np.minimum.at(box[:, side], flat, places)
            np.maximum.at(box[:, 2 + side], flat, places + 1)
        return cls(
            np.bincount(flat) / labels.size,
            _histograms(image, flat, COLOUR_BINS),
            _histograms(_texture(image), flat, TEXTURE_BINS),
            box,
            near,
            labels.size,
        )

    def likeness(self, i: int, others: np.ndarray, measure: str) -> np.ndarray:
        """How like region i the `others` are: one number each. Section 3.2, equations 1 to 5."""
        total = np.zeros(len(others))
        if "c" in measure:
            total += np.minimum(self.colour[i], self.colour[others]).sum(axis=1)
        if "t" in measure:
            total += np.minimum(self.texture[i], self.texture[others]).sum(axis=1)
        both = self.size[i] + self.size[others]
        if "s" in measure:
            total += 1.0 - both
        if "f" in measure:
            sides = np.maximum(self.box[i, 2:], self.box[others, 2:])
            sides -= np.minimum(self.box[i, :2], self.box[others, :2])
            total += 1.0 - (sides.prod(axis=1) / self.area - both)
        return total

    def join(self, i: int, j: int) -> None:
        """Put region j into region i."""
        share = self.size[i] / (self.size[i] + self.size[j])
        for histogram in (self.colour, self.texture):
            histogram[i] = share * histogram[i] + (1.0 - share) * histogram[j]
        self.size[i] += self.size[j]
        self.box[i, :2] = np.minimum(self.box[i, :2], self.box[j, :2])
        self.box[i, 2:] = np.maximum(self.box[i, 2:], self.box[j, 2:])
        self.near[i] |= self.near[j]
        self.near[i, [i, j]] = False
        self.near[:, i] = self.near[i]
        self.near[j] = self.near[:, j] = False


def _texture(image: np.ndarray) -> np.ndarray:
    """(8 C, H, W): for each channel how fast it rises in eight directions, the steepest being 1."""
    by_y, by_x = blur(image, 1.0, (1, 0)), blur(image, 1.0, (0, 1))
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    rises = [np.maximum(np.cos(a) * by_x + np.sin(a) * by_y, 0.0) for a in angles]
    slopes = np.concatenate(rises)
    return slopes / max(slopes.max(), 1e-12)


def _histograms(maps: np.ndarray, labels: np.ndarray, bins: int) -> np.ndarray:
    """(R, M bins): for each region the histograms of M maps of numbers from 0 to 1, side by side.

    They sum to 1 together.
    """
    count = int(labels.max()) + 1
    found = []
    for numbers in maps.reshape(len(maps), -1):
        bin = np.minimum((numbers * bins).astype(np.int64), bins - 1)
        found.append(np.bincount(labels * bins + bin, minlength=count * bins).reshape(count, bins))
    histograms = np.concatenate(found, axis=1).astype(np.float64)
    return histograms / histograms.sum(axis=1, keepdims=True)


# -- colour spaces: (3, H, W) RGB from 0 to 1, to three maps from 0 to 1 ---------------------------


def _rgb(image: np.ndarray) -> np.ndarray:
    return image


def _hsv(image: np.ndarray) -> np.ndarray:
    """Hue (0 red, 1/3 green, 2/3 blue), saturation, value. Smith 1978."""
    red, green, blue = image
    value = image.max(axis=0)
    spread = value - image.min(axis=0)
    safe = np.where(spread == 0, 1.0, spread)
    hue = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    hue = np.where(spread == 0, 0.0, hue / 6.0 % 1.0)
    return np.stack([hue, spread / np.where(value == 0, 1.0, value), value])


def _lab(image: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of sRGB, white D65; L / 100, and a and b from -128..127 to 0..1."""
    linear = np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    # IEC 61966-2-1: from linear sRGB to XYZ, of which white is then 1, 1, 1
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = np.tensordot(to_xyz / to_xyz.sum(axis=1, keepdims=True), linear, 1)
    small = 6 / 29
    f = np.where(xyz > small**3, np.cbrt(xyz), xyz / (3 * small**2) + 4 / 29)
    lab = np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
    lab = (lab + np.array([0.0, 128.0, 128.0])[:, None, None]) / np.array([100, 255, 255])[
        :, None, None
    ]
    return np.clip(lab, 0.0, 1.0)


SPACES = {"rgb": _rgb, "hsv": _hsv, "lab": _lab}
