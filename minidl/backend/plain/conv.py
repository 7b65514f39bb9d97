"""Convolution in plain array operations: im2col, a product, and its adjoint col2im.

Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document
Processing", 2006. Every window of the image becomes a column of C kh kw numbers, copied tap by tap
by slices; a filter is a row of a matrix. Grouped convolution is a product for each group.

The columns take kh kw times the memory of the image, so they are made for a few images at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..geometry import ConvGeometry

__all__ = ["ConvKernels"]

COLUMN_BYTES = 1 << 28  # of columns at a time: 256 MB


class ConvKernels:
    """The three faces of convolution; N images, C and O channels, sizes (H, W) and (Ho, Wo)."""

    xp: Any

    def conv_forward(self, x: Any, w: Any, geometry: ConvGeometry, bias: Any = None) -> Any:
        """The convolution of x with w, plus a bias for each filter.

        Args:
            x: (N, C, H, W).
            w: (O, C / groups, kh, kw).
            geometry: of the kernel's way over the image.
            bias: (O,) or None.

        Returns:
            (N, O, Ho, Wo).
        """
        size = geometry.output_size(x.shape[2:])
        y = self.xp.empty((x.shape[0], w.shape[0], *size), x.dtype)
        matrix = self._matrix(w, geometry)
        for images in self._chunks(x, geometry, size):
            product = matrix @ self._columns(x[images], geometry, size)
            if bias is not None:
                product += self._wide(bias).reshape(geometry.groups, -1, 1)
            y[images] = product.reshape(-1, *y.shape[1:])
        return y

    def conv_input_grad(self, g: Any, w: Any, geometry: ConvGeometry, size: tuple[int, int]) -> Any:
        """The gradient to the input of a convolution, which is also transposed convolution.

        Args:
            g: (N, O, Ho, Wo), the gradient to the output.
            w: (O, C / groups, kh, kw).
            size: of the input, (H, W).

        Returns:
            (N, C, H, W).
        """
        n, o, ho, wo = g.shape
        (kh, kw), groups = geometry.kernel, geometry.groups
        dx = self.xp.zeros((n, groups * w.shape[1], *size), g.dtype)
        matrix = self._matrix(w, geometry).transpose(0, 2, 1)
        for images in self._chunks(dx, geometry, (ho, wo)):
            part = self._wide(g[images]).reshape(-1, groups, o // groups, ho * wo)
            columns = (matrix @ part).reshape(-1, dx.shape[1], kh, kw, ho, wo)
            total = self._wide(dx[images])
            for windows, pixels in _meetings(geometry, size, (ho, wo)):
                total[pixels] += columns[windows]
            dx[images] = total
        return dx

    def conv_weight_grad(self, x: Any, g: Any, geometry: ConvGeometry) -> Any:
        """The gradient to the weight of a convolution.

        Args:
            x: (N, C, H, W), the input.
            g: (N, O, Ho, Wo), the gradient to the output.

        Returns:
            (O, C / groups, kh, kw).
        """
        _, o, ho, wo = g.shape
        groups, channels = geometry.groups, x.shape[1]
        shape = (groups, o // groups, channels // groups * geometry.kernel[0] * geometry.kernel[1])
        total = self._wide(self.xp.zeros(shape, g.dtype))
        for images in self._chunks(x, geometry, (ho, wo)):
            part = self._wide(g[images]).reshape(-1, groups, o // groups, ho * wo)
            columns = self._columns(x[images], geometry, (ho, wo))
            total += (part @ columns.transpose(0, 1, 3, 2)).sum(axis=0)
        return total.reshape(o, channels // groups, *geometry.kernel).astype(x.dtype, copy=False)

    def conv_bias_grad(self, g: Any) -> Any:
        """The gradient to the bias: g (N, O, Ho, Wo) summed over images and pixels, (O,)."""
        return self._wide(g).sum(axis=(0, 2, 3)).astype(g.dtype, copy=False)

    def _wide(self, array: Any) -> Any:
        """Half precision as float32, in which products and sums are taken; others as they are."""
        return array.astype(self.xp.float32) if array.dtype.itemsize < 4 else array

    def _matrix(self, w: Any, geometry: ConvGeometry) -> Any:
        groups = geometry.groups
        return self._wide(w).reshape(groups, w.shape[0] // groups, -1)

    def _chunks(self, x: Any, geometry: ConvGeometry, size: tuple[int, int]) -> Iterator[slice]:
        """Slices of the batch whose columns fit into COLUMN_BYTES."""
        taps = geometry.kernel[0] * geometry.kernel[1]
        each = x.shape[1] * taps * size[0] * size[1] * max(4, x.dtype.itemsize)
        count = max(1, COLUMN_BYTES // each)
        return (slice(first, first + count) for first in range(0, x.shape[0], count))

    def _columns(self, x: Any, geometry: ConvGeometry, size: tuple[int, int]) -> Any:
        """im2col: (N, groups, C / groups kh kw, Ho Wo); windows find zeros in the padding."""
        x = self._wide(x)
        n, c = x.shape[:2]
        columns = self.xp.zeros((n, c, *geometry.kernel, *size), x.dtype)
        for windows, pixels in _meetings(geometry, x.shape[2:], size):
            columns[windows] = x[pixels]
        return columns.reshape(n, geometry.groups, -1, size[0] * size[1])


def _meetings(
    geometry: ConvGeometry, image: tuple[int, int], output: tuple[int, int]
) -> Iterator[tuple[tuple, tuple]]:
    """For each tap, where its pixels stand in (N, C, kh, kw, Ho, Wo) and in (N, C, H, W)."""
    every = slice(None)
    for a in range(geometry.kernel[0]):
        rows, pixel_rows = geometry.tap(0, a, image[0], output[0])
        for b in range(geometry.kernel[1]):
            columns, pixel_columns = geometry.tap(1, b, image[1], output[1])
            yield (
                (every, every, a, b, rows, columns),
                (every, every, pixel_rows, pixel_columns),
            )
