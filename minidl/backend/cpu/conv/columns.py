"""Copying what the windows see: the step that im2col and its relatives share.

Over all windows (i, j), tap (a, b) of the kernel meets the pixels

    u = i * stride + a * dilation - padding   (vertically; v from j and b horizontally).

`shifted_rows` copies the image once for each b, shifted and thinned out horizontally. What tap
(a, b) meets is then one unbroken run of that copy, since moving down by a row moves by a whole
number of rows in memory. Padding costs nothing: it is the zeros between the copied parts.
"""

from __future__ import annotations

import numpy as np

from ...geometry import ConvGeometry, windows_on_image
from ..workspace import scratch_with_zeros

__all__ = ["has_whole_rows", "kernel_matrices", "run_of_tap", "shifted_rows"]


def shifted_rows(x: np.ndarray, geometry: ConvGeometry, height: int, width: int) -> np.ndarray:
    """The image shifted horizontally by each tap, at the windows' columns only.

    With a vertical stride s the padded rows are sorted by their phase: 0, s, 2s, ... then
    1, s + 1, 2s + 1, ..., so that the rows that a tap meets lie next to each other.

    Args:
        x: (N, C, H, W).
        height, width: the output's size.

    Returns:
        scratch of shape (N, G, kw * C/G, phases * rows * width).
    """
    n, c, h, w = x.shape
    kw, sh, top = geometry.kernel[1], geometry.stride[0], geometry.padding[0][0]
    groups = geometry.groups
    phases, rows = _phases(geometry, height)
    shape = (n, groups, kw, c // groups, phases, rows, width)
    columns = scratch_with_zeros("columns", shape, x.dtype, (geometry, h, w))
    x = x.reshape(n, groups, c // groups, h, w)
    for phase in range(phases):
        to_rows, from_rows = windows_on_image(phase - top, sh, h, rows)
        for b in range(kw):
            to_columns, from_columns = geometry.tap(1, b, w, width)
            columns[:, :, b, :, phase, to_rows, to_columns] = x[..., from_rows, from_columns]
    return columns.reshape(n, groups, kw * c // groups, -1)


def run_of_tap(geometry: ConvGeometry, a: int, height: int, width: int) -> slice:
    """Where vertical tap `a` finds its pixels in the last axis of `shifted_rows`."""
    _, rows = _phases(geometry, height)
    steps, phase = divmod(a * geometry.dilation[0], geometry.stride[0])
    start = (phase * rows + steps) * width
    return slice(start, start + height * width)


def _phases(geometry: ConvGeometry, height: int) -> tuple[int, int]:
    """How many phases of rows the taps meet, and how many rows of each are needed."""
    kh, sh, dh = geometry.kernel[0], geometry.stride[0], geometry.dilation[0]
    if sh == 1:
        return 1, (kh - 1) * dh + height
    phases = max(a * dh % sh for a in range(kh)) + 1
    return phases, (kh - 1) * dh // sh + height


def has_whole_rows(array: np.ndarray) -> bool:
    """Whether each plane of (N, C, H, W), or band of it, is one run of memory.

    BLAS can then read and write it as a matrix (C, H W). Every other pixel of a map is not.
    """
    step, pixel = array.strides[2:]
    return pixel == array.itemsize and step == pixel * array.shape[3]


def kernel_matrices(w: np.ndarray, groups: int) -> np.ndarray:
    """The kernel (O, C/G, kh, kw) as matrices (kh, G, O/G, kw * C/G), one for each vertical tap.

    In a gradient, w is a view with inputs and outputs exchanged. The copy then keeps the order of
    its memory, and the result is a view: BLAS reads a transposed matrix as fast as any other, while
    transposing a large one in NumPy takes longer than multiplying with it.
    """
    o, c, kh, kw = w.shape
    w = w.reshape(groups, o // groups, c, kh, kw)
    if w.strides[1] < w.strides[2]:
        exchanged = w.transpose(3, 0, 4, 2, 1).reshape(kh, groups, kw * c, o // groups)
        return exchanged.swapaxes(2, 3)
    return w.transpose(3, 0, 1, 4, 2).reshape(kh, groups, o // groups, kw * c)
