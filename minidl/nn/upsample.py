"""Layers that enlarge: by interpolation, or from channels to pixels."""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor
from . import functional as F
from .module import Module

__all__ = ["PixelShuffle", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]


class Upsample(Module):
    """Resizes images (N, C, H, W), or signals (N, C, L).

    Args:
        size: the output's size; or
        scale_factor: output size / input size.
        mode: "nearest", "bilinear" ... as in `functional.interpolate`.
        align_corners: whether corner pixels, not corners of corner pixels, stay in place.
        recompute_scale_factor: as in `functional.interpolate`.
    """

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        if isinstance(scale_factor, tuple):
            self.scale_factor: Any = tuple(float(factor) for factor in scale_factor)
        else:
            self.scale_factor = float(scale_factor) if scale_factor else None
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(
            input,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            recompute_scale_factor=self.recompute_scale_factor,
        )

    def extra_repr(self) -> str:
        if self.scale_factor is not None:
            return f"scale_factor={self.scale_factor!r}, mode={self.mode!r}"
        return f"size={self.size!r}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample by repeating pixels."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """Upsample by bilinear interpolation between corner pixels that stay in place."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", align_corners=True)


class PixelShuffle(Module):
    """(N, C r^2, H, W) to (N, C, H r, W r): channels become neighbouring pixels. Shi et al. 2016.

    Args:
        upscale_factor: r.
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        r = self.upscale_factor
        if input.ndim < 3:
            raise ValueError(f"PixelShuffle: input must be (..., C r^2, H, W), got {input.shape}")
        *lead, c, h, w = input.shape
        if c % (r * r):
            raise ValueError(
                f"PixelShuffle: {c} channels cannot be divided by upscale_factor^2 = {r * r} "
                f"(input {input.shape})"
            )
        x = input.reshape((*lead, c // (r * r), r, r, h, w))
        n = len(lead)
        # (C, r, r, H, W) to (C, H, r, W, r)
        x = x.permute(*range(n + 1), n + 3, n + 1, n + 4, n + 2)
        return x.reshape((*lead, c // (r * r), h * r, w * r))

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"
