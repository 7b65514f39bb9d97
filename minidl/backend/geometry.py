"""The geometry of a sliding window: what convolution, pooling and the receptive field share.

Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["ConvGeometry", "ReceptiveField", "receptive_field", "windows_on_image"]

Pair = tuple[int, int]


@dataclass(frozen=True)
class ConvGeometry:
    """How a kernel slides over an image. All pairs are (vertical, horizontal).

    Attributes:
        kernel: the window's size in taps.
        stride: the step between neighbouring windows, in pixels.
        padding: ((top, bottom), (left, right)), pixels added around the image; a negative number
            leaves out pixels at that side.
        dilation: the distance between neighbouring taps of a window, in pixels.
        groups: into how many independent parts the channels are divided.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "dilation"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.groups < 1:
            raise ValueError(f"groups must be at least 1, got {self.groups}")

    @property
    def span(self) -> Pair:
        """The pixels a window covers, from its first tap to its last."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return (dh * (kh - 1) + 1, dw * (kw - 1) + 1)

    def padded_size(self, size: Pair) -> Pair:
        """The size (H, W) of an image after padding."""
        (top, bottom), (left, right) = self.padding
        return (size[0] + top + bottom, size[1] + left + right)

    def output_size(self, size: Pair) -> Pair:
        """The number of windows, (H, W), on an image of `size`; less than 1 where none fits."""
        (hp, wp), (sh, sw) = self.padded_size(size), self.stride
        return ((hp - self.span[0]) // sh + 1, (wp - self.span[1]) // sw + 1)

    def input_size(self, size: Pair) -> Pair:
        """The smallest image, (H, W), on which there are `size` windows: transposed convolution."""
        (top, bottom), (left, right) = self.padding
        return (
            (size[0] - 1) * self.stride[0] + self.span[0] - top - bottom,
            (size[1] - 1) * self.stride[1] + self.span[1] - left - right,
        )

    def tap(self, axis: int, index: int, length: int, count: int) -> tuple[slice, slice]:
        """Where a tap meets the image, along one axis; elsewhere it meets padding.

        Args:
            axis: 0: vertical, 1: horizontal.
            index: which tap of the kernel.
            length: the image's number of pixels along the axis.
            count: the number of windows along the axis.

        Returns:
            a slice of the windows, and the slice of the pixels they find, of the same length.
        """
        offset = index * self.dilation[axis] - self.padding[axis][0]
        return windows_on_image(offset, self.stride[axis], length, count)


def windows_on_image(offset: int, stride: int, length: int, count: int) -> tuple[slice, slice]:
    """Which of `count` windows find a pixel at j * stride + offset, and which pixels these are.

    The image's pixels are [0, length). Returns slices of the windows and of the pixels.
    """
    first = max(0, -(offset // stride))
    end = min(count, (length - 1 - offset) // stride + 1)
    if end <= first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(first, end), slice(start, start + (end - first - 1) * stride + 1, stride)


class ReceptiveField(NamedTuple):
    """Which part of the input a result of several sliding windows sees; (vertical, horizontal).

    Attributes:
        size: pixels from the first to the last that one result can depend on.
        stride: pixels between the fields of neighbouring results (also called jump).
        start: the first pixel of the first result's field; negative: in the padding.
    """

    size: Pair
    stride: Pair
    start: Pair


def receptive_field(geometries: Iterable[ConvGeometry]) -> ReceptiveField:
    """The receptive field of sliding windows applied one after the other, first one first.

    A window of `span` results that lie `stride` pixels apart widens the field by (span - 1) *
    stride pixels; padding moves its start back by as many results. Araujo et al., "Computing
    receptive fields of convolutional neural networks", 2019, equations 2 to 5.

    Example:
        >>> receptive_field([ConvGeometry((7, 7), (2, 2), ((3, 3), (3, 3)))] * 2)
        ReceptiveField(size=(19, 19), stride=(4, 4), start=(-9, -9))
    """
    size, stride, start = [1, 1], [1, 1], [0, 0]
    for geometry in geometries:
        for axis in (0, 1):
            size[axis] += (geometry.span[axis] - 1) * stride[axis]
            start[axis] -= geometry.padding[axis][0] * stride[axis]
            stride[axis] *= geometry.stride[axis]
    return ReceptiveField((size[0], size[1]), (stride[0], stride[1]), (start[0], start[1]))
