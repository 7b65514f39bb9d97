"""Layers that bring regions of a feature map to one size. Names as in torchvision.ops.

`MultiScaleRoIAlign` takes each region from the level of a pyramid that suits its size. Lin et al.
2017, "Feature pyramid networks for object detection", section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import Array, of, quiet
from ..ops.indexing import index_select
from ..ops.roi import as_rois
from ..ops.shape import cat
from . import functional as F
from .module import Module

__all__ = ["MultiScaleRoIAlign", "PSRoIPool", "RoIAlign", "RoIPool"]

Size = int | Sequence[int]


class RoIAlign(Module):
    """Each box of a feature map resampled to `output_size`, without rounding.

    Args:
        output_size, spatial_scale, sampling_ratio, aligned: as in `functional.roi_align`.
    """

    def __init__(
        self, output_size: Size, spatial_scale: float, sampling_ratio: int, aligned: bool = False
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Any) -> Tensor:
        """(N, C, H, W) and boxes (K, 5), or a list of (K_i, 4), to (K, C, ph, pw)."""
        return F.roi_align(
            input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned
        )

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )


class _RoIPool(Module):
    def __init__(self, output_size: Size, spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, spatial_scale={self.spatial_scale}"


class RoIPool(_RoIPool):
    """The largest pixel in each of `output_size` bins of each box.

    Args:
        output_size, spatial_scale: as in `functional.roi_pool`.
    """

    def forward(self, input: Tensor, rois: Any) -> Tensor:
        """(N, C, H, W) and boxes (K, 5), or a list of (K_i, 4), to (K, C, ph, pw)."""
        return F.roi_pool(input, rois, self.output_size, self.spatial_scale)


class PSRoIPool(_RoIPool):
    """The mean of each bin, taken from the channel that belongs to the bin (R-FCN).

    Args:
        output_size, spatial_scale: as in `functional.ps_roi_pool`.
    """

    def forward(self, input: Tensor, rois: Any) -> Tensor:
        """(N, C ph pw, H, W) and boxes (K, 5), or a list of (K_i, 4), to (K, C, ph, pw)."""
        return F.ps_roi_pool(input, rois, self.output_size, self.spatial_scale)


class MultiScaleRoIAlign(Module):
    """RoIAlign, each box from the level of a pyramid that its size asks for.

    A box of w x h pixels belongs to level k = floor(k0 + log2(sqrt(w h) / s0)), where level k has
    one pixel for 2^k of the picture (equation 1 of the paper); beyond the finest and the coarsest
    map, to these.

    Args:
        featmap_names: the maps of the pyramid that are used.
        output_size: a number or a pair (ph, pw): of bins.
        sampling_ratio: samples a bin along each axis; if not positive, ceil(box / bins).
        canonical_scale: s0, pixels: 224, a picture of ImageNet.
        canonical_level: k0, the level of a box of that size.
    """

    def __init__(
        self,
        featmap_names: Sequence[str],
        output_size: Size,
        sampling_ratio: int,
        *,
        canonical_scale: int = 224,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        self.featmap_names = list(featmap_names)
        self.output_size = (
            (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
        )
        self.sampling_ratio = sampling_ratio
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level

    def forward(
        self,
        x: Mapping[str, Tensor],
        boxes: Sequence[Any],
        image_shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """The boxes of all images, in their order.

        Args:
            x: maps (N, C, H_k, W_k) by name, from fine to coarse, each of half the size of the one
                before; others than `featmap_names` are ignored.
            boxes: for each image (K_i, 4) x1, y1, x2, y2, pixels of the picture. Constants.
            image_shapes: (H, W) of each image before padding: the scale of a map is its size over
                the largest of these, rounded to a power of two.

        Returns:
            (K, C, ph, pw). On a GPU, with more than one map, this waits once: the host must learn
            how many boxes each level has.

        Raises:
            ValueError: no map, no image, maps that are no pyramid, and as `functional.roi_align`.
        """
        name = type(self).__name__
        maps = [m for key, m in x.items() if key in self.featmap_names]
        if not maps or not image_shapes:
            raise ValueError(
                f"{name}: needs one of the maps {self.featmap_names} and the shape of an image, "
                f"got maps {list(x)} and shapes {list(image_shapes)}"
            )
        first = maps[0].shape
        for m in maps:
            if m.ndim != 4 or 0 in m.shape[2:] or m.shape[:2] != first[:2]:
                raise ValueError(
                    f"{name}: maps must be (N, C, H, W), with pixels, of one N and C, got "
                    f"{[m.shape for m in maps]}"
                )
        tallest = max([shape[0] for shape in image_shapes])
        exponents = [round(math.log2(m.shape[2] / tallest)) for m in maps]
        if exponents != list(range(exponents[0], exponents[0] - len(maps), -1)):
            raise ValueError(
                f"{name}: each map must have half the size of the one before, got "
                f"{[m.shape for m in maps]} for images {list(image_shapes)}"
            )
        rois = as_rois(name, maps[0], boxes)
        if len(maps) == 1:
            return self._align(maps[0], rois, exponents[0])
        backend = of(rois)
        xp = backend.xp
        level = self._levels(rois, -exponents[0], -exponents[-1])
        order = xp.argsort(level, kind="stable")
        counts = backend.to_host((level[:, None] == xp.arange(len(maps))).sum(axis=0))
        parts, start = [], 0
        for m, exponent, count in zip(maps, exponents, counts.tolist(), strict=True):
            mine = order[start : start + count]
            parts.append(self._align(m, rois[mine], exponent))
            start += count
        return index_select(cat(parts), 0, Tensor(xp.argsort(order)))

    def _align(self, map: Tensor, rois: Array, exponent: int) -> Tensor:
        return F.roi_align(map, Tensor(rois), self.output_size, 2.0**exponent, self.sampling_ratio)

    @quiet
    def _levels(self, rois: Array, finest: int, coarsest: int) -> Array:
        """(K,) int64: 0 for the finest map."""
        xp = of(rois).xp
        side = xp.sqrt((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2]))
        # A box of exactly the canonical size must not fall to the level below by rounding.
        level = xp.floor(self.canonical_level + xp.log2(side / self.canonical_scale) + 1e-6)
        level = xp.where(level >= finest, xp.minimum(level, coarsest), finest)  # NaN: the finest
        return level.astype(np.int64) - finest

    def extra_repr(self) -> str:
        return (
            f"featmap_names={self.featmap_names}, output_size={self.output_size}, "
            f"sampling_ratio={self.sampling_ratio}"
        )
