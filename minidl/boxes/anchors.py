"""Boxes laid over a picture in advance, of which a detector says what they contain.

- Anchors (Ren et al. 2015, "Faster R-CNN", section 3.1.1): at each position of a feature map, boxes
  of several sizes and shapes, in pixels of the picture, rounded.
- Default boxes (Liu et al. 2016, "SSD", section 2.2): the same by other rules, in shares of the
  picture, centred in the cells of the map.

Positions go row by row, and at each position its boxes follow one another: an order that the
channels of a detector's head must have too. The arithmetic is torchvision's, to the last bit, so
that its weights fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import Array, Backend, of

__all__ = [
    "AnchorGenerator",
    "DefaultBoxGenerator",
    "fpn_anchors",
    "retinanet_anchors",
    "rpn_anchors",
    "ssd300_boxes",
]


class AnchorGenerator:
    """Anchors for one or more feature maps.

    Args:
        sizes: for each map the square roots of the areas of its anchors, in pixels; or one number.
        aspect_ratios: for each map the ratios height / width; or those of all maps.

    Raises:
        ValueError: not as many sizes as ratios, or one that is not positive.
    """

    def __init__(
        self,
        sizes: Sequence[Any] = ((128, 256, 512),),
        aspect_ratios: Sequence[Any] = ((0.5, 1.0, 2.0),),
    ) -> None:
        self.sizes = _levels(sizes)
        if aspect_ratios and not isinstance(aspect_ratios[0], (tuple, list)):
            aspect_ratios = (aspect_ratios,) * len(self.sizes)
        self.aspect_ratios = _levels(aspect_ratios)
        if len(self.sizes) != len(self.aspect_ratios):
            raise ValueError(
                f"AnchorGenerator: {len(self.sizes)} maps have sizes, {len(self.aspect_ratios)} "
                "have aspect_ratios; give one tuple of each for every map"
            )
        if not all(n > 0 for level in (*self.sizes, *self.aspect_ratios) for n in level):
            raise ValueError(
                f"AnchorGenerator: sizes and ratios must be positive, got {sizes}, {aspect_ratios}"
            )
        self.cell_anchors = [
            _cell_anchors(level, ratios)
            for level, ratios in zip(self.sizes, self.aspect_ratios, strict=True)
        ]
        self._there: dict[Any, list[Array]] = {}

    def num_anchors_per_location(self) -> list[int]:
        """How many anchors a position has, for each map."""
        return [len(anchors) for anchors in self.cell_anchors]

    def __call__(self, image_size: tuple[int, int], feature_maps: Sequence[Any]) -> list[Array]:
        """The anchors of each map.

        Args:
            image_size: (H, W) of the (padded) picture that the network saw, pixels.
            feature_maps: arrays or Tensors (..., h, w), one for each of `sizes`: only their
                sizes, dtype and device count.

        Returns:
            for each map (h w A, 4) x1, y1, x2, y2 in pixels, on its device; float64 for a map of
            float64, else float32. They may reach out of the picture.

        Raises:
            ValueError: the number of maps is not that of sizes, or a map is larger than the
                picture.
        """
        backend, dtype, grids = _of_maps("AnchorGenerator", feature_maps, len(self.sizes))
        xp, result = backend.xp, []
        cells = _on_device(self._there, self.cell_anchors, backend, feature_maps[0])
        for (h, w), cell in zip(grids, cells, strict=True):
            strides = image_size[0] // max(h, 1), image_size[1] // max(w, 1)
            if 0 in strides:
                raise ValueError(
                    f"AnchorGenerator: a map of {h} x {w} is larger than the picture {image_size}"
                )
            y, x = [
                (xp.arange(count) * stride).astype(dtype)
                for count, stride in zip((h, w), strides, strict=True)
            ]
            result.append(_at_positions(xp, y, x, cell.astype(dtype, copy=False)))
        return result

    def __repr__(self) -> str:
        return f"AnchorGenerator(sizes={self.sizes}, aspect_ratios={self.aspect_ratios})"


class DefaultBoxGenerator:
    """SSD's default boxes.

    Map k has boxes of scale s_k with the ratios 1, r and 1 / r for each of its aspect ratios, and
    one of ratio 1 between this scale and the next, sqrt(s_k s_k+1).

    Args:
        aspect_ratios: for each map its ratios r other than 1.
        min_ratio, max_ratio: the scales of the first and the last map where `scales` is not given;
            those between are at equal distances.
        scales: one for each map and one more, as shares of the picture.
        steps: for each map the pixels between the centres of neighbouring boxes; default: the
            picture divided by the map.
        clip: whether no box is wider or higher than the picture.

    Raises:
        ValueError: numbers of scales or steps that do not fit.
    """

    def __init__(
        self,
        aspect_ratios: Sequence[Sequence[float]],
        min_ratio: float = 0.15,
        max_ratio: float = 0.9,
        scales: Sequence[float] | None = None,
        steps: Sequence[int] | None = None,
        clip: bool = True,
    ) -> None:
        maps = len(aspect_ratios)
        if scales is None:
            # Liu et al. 2016, equation 4; beyond the last map the whole picture
            between = max(maps - 1, 1)
            rise = max_ratio - min_ratio
            scales = [min_ratio + rise * k / between for k in range(maps)]
            scales.append(1.0 if maps > 1 else max_ratio)
        if len(scales) != maps + 1 or (steps is not None and len(steps) != maps):
            raise ValueError(
                f"DefaultBoxGenerator: {maps} maps need {maps + 1} scales and {maps} steps, got "
                f"scales {scales}, steps {steps}"
            )
        self.aspect_ratios = [list(ratios) for ratios in aspect_ratios]
        self.scales, self.steps, self.clip = list(scales), steps, clip
        self.sizes = [self._sizes(k) for k in range(maps)]
        self._there: dict[Any, list[Array]] = {}

    def _sizes(self, k: int) -> np.ndarray:
        """(A, 2) widths and heights of the boxes of map k, as shares of the picture."""
        scale, next_scale = self.scales[k : k + 2]
        between = math.sqrt(scale * next_scale)
        sizes = [(scale, scale), (between, between)]
        for ratio in self.aspect_ratios[k]:
            wide, narrow = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            sizes += [(wide, narrow), (narrow, wide)]
        array = np.array(sizes, np.float32)
        return np.clip(array, 0.0, 1.0) if self.clip else array

    def num_anchors_per_location(self) -> list[int]:
        """How many boxes a position has, for each map."""
        return [len(sizes) for sizes in self.sizes]

    def __call__(self, image_size: tuple[int, int], feature_maps: Sequence[Any]) -> list[Array]:
        """The default boxes of each map.

        Args:
            image_size: (H, W) of the picture that the network saw, pixels.
            feature_maps: arrays or Tensors (..., h, w), one for each of `aspect_ratios`: only
                their sizes, dtype and device count.

        Returns:
            for each map (h w A, 4) x1, y1, x2, y2 in pixels, on its device; float64 for a map of
            float64, else float32. They may reach out of the picture.

        Raises:
            ValueError: the number of maps is not that of aspect_ratios.
        """
        backend, dtype, grids = _of_maps("DefaultBoxGenerator", feature_maps, len(self.sizes))
        xp, result = backend.xp, []
        height, width = [float(n) for n in image_size]
        there = _on_device(self._there, self.sizes, backend, feature_maps[0])
        for k, ((h, w), sizes) in enumerate(zip(grids, there, strict=True)):
            cells = (float(h), float(w))
            if self.steps is not None:
                cells = (height / self.steps[k], width / self.steps[k])
            y = (xp.arange(h).astype(dtype) + 0.5) / cells[0]
            x = (xp.arange(w).astype(dtype) + 0.5) / cells[1]
            half = 0.5 * sizes.astype(dtype, copy=False)
            boxes = _at_positions(xp, y, x, xp.concatenate([-half, half], axis=1))
            boxes[:, 0::2] *= width
            boxes[:, 1::2] *= height
            result.append(boxes)
        return result

    def __repr__(self) -> str:
        return (
            f"DefaultBoxGenerator(aspect_ratios={self.aspect_ratios}, scales={self.scales}, "
            f"steps={self.steps}, clip={self.clip})"
        )


# -- the settings of published detectors ----------------------------------------------------------


def rpn_anchors() -> AnchorGenerator:
    """Faster R-CNN's nine anchors on one map. Ren et al. 2015, section 3.3."""
    return AnchorGenerator(((128, 256, 512),), ((0.5, 1.0, 2.0),))


def fpn_anchors() -> AnchorGenerator:
    """One size for each of the levels 2 to 6 of a pyramid. Lin et al. 2017, "FPN", section 4.1."""
    return AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), (0.5, 1.0, 2.0))


def retinanet_anchors() -> AnchorGenerator:
    """Nine anchors on each of the levels 3 to 7. Lin et al. 2017, "Focal loss", section 4.

    Sizes between those of two levels are cut to whole pixels, as in torchvision.
    """
    thirds = [tuple([int(n * 2 ** (k / 3)) for k in range(3)]) for n in (32, 64, 128, 256, 512)]
    return AnchorGenerator(thirds, (0.5, 1.0, 2.0))


def ssd300_boxes() -> DefaultBoxGenerator:
    """The 8,732 boxes of SSD300. Liu et al. 2016, sections 3.1 and 3.3: COCO's, from 0.07 on."""
    return DefaultBoxGenerator(
        [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05],
        steps=[8, 16, 32, 64, 100, 300],
    )


# -- helpers --------------------------------------------------------------------------------------


def _levels(values: Sequence[Any]) -> tuple[tuple[float, ...], ...]:
    return tuple([tuple(v) if isinstance(v, (tuple, list)) else (v,) for v in values])


def _cell_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """(A, 4) anchors about the origin, ratio after ratio; in float32, as a tie depends on it."""
    heights = np.sqrt(np.array(ratios, np.float32))
    widths = 1.0 / heights
    half = [(side[:, None] * np.array(sizes, np.float32)).reshape(-1) for side in (widths, heights)]
    return np.round(np.stack([-half[0], -half[1], half[0], half[1]], axis=1) / 2)


def _of_maps(op: str, maps: Sequence[Any], count: int) -> tuple[Backend, Any, list[Any]]:
    """The backend of feature maps, the dtype of their boxes, and their sizes (h, w)."""
    if len(maps) != count:
        raise ValueError(f"{op}: made for {count} feature maps, got {len(maps)}")
    first = maps[0].data if isinstance(maps[0], Tensor) else maps[0]
    dtype = np.float64 if first.dtype == np.float64 else np.float32
    return of(first), dtype, [tuple(m.shape[-2:]) for m in maps]


def _on_device(
    cache: dict[Any, list[Array]], host: list[np.ndarray], backend: Any, map: Any
) -> Any:
    """Copies of `host` where `map` is, sent there once."""
    index = backend.index_of(map.data if isinstance(map, Tensor) else map)
    if (backend.name, index) not in cache:
        cache[backend.name, index] = [backend.asarray(a, None, index) for a in host]
    return cache[backend.name, index]


def _at_positions(xp: Any, y: Array, x: Array, cell: Array) -> Array:
    """(h w A, 4): the boxes `cell` (A, 4) about each pair of y (h,) and x (w,)."""
    h, w = len(y), len(x)
    y, x = xp.broadcast_to(y[:, None], (h, w)), xp.broadcast_to(x, (h, w))
    return (xp.stack([x, y, x, y], axis=2)[:, :, None] + cell).reshape(-1, 4)
