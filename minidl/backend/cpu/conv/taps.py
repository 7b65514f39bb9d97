"""Depthwise convolution of wide maps, tap by tap: multiply and add.

Each channel has a kernel of its own, so that there is no matrix product to be had, except with
matrices that are mostly zero (`depthwise.py`), the more so the wider the map. What is left is the
definition, for all windows of some planes at once. As in `shift.py`, tap (a, b) of all windows is
one run of the padded plane, read from another place:

    y        = sum over (a, b) of  w[a, b] * image (from (a, b) on)
    dw[a, b] = image (from (a, b) on) . g

A multiplication and an addition are two passes over the planes for every tap, in the cache.
"""

from __future__ import annotations

import numpy as np

from ...geometry import ConvGeometry
from ..threads import parallel
from ..workspace import scratch, scratch_with_zeros
from .phases import input_grad_by_phases
from .pieces import PIECE_BYTES
from .shift import flat_taps, padded_planes

__all__ = ["forward", "input_grad", "supports", "weight_grad"]


def supports(face: str, geometry: ConvGeometry, channels: int) -> bool:
    return geometry.groups == channels > 1 and (face == "input_grad" or geometry.stride == (1, 1))


def forward(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, y: np.ndarray
) -> None:
    """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, C/G, kh, kw), y (N, O, Ho, Wo).

    C/G is 1, but for `input_grad`: there the results of a channel's filters add up.
    """
    groups, (ho, wo) = geometry.groups, y.shape[2:]
    filters, inputs = len(w) // groups, w.shape[1]
    kernels = w.reshape(groups, filters, *w.shape[1:]).transpose(3, 4, 2, 0, 1)[..., None].copy()

    def work(n: int, chunk: slice) -> None:
        of_outputs = slice(chunk.start * filters, chunk.stop * filters)
        out = y[n : n + 1, of_outputs]
        shape = (1, chunk.stop - chunk.start, filters, ho)
        image, pitch = _planes(x[n : n + 1], chunk, inputs, geometry)
        length = (ho - 1) * pitch + wo
        rows = scratch("total", (*shape[:3], ho * pitch), y.dtype)
        total = rows[..., :length]
        product = scratch("product", total.shape, y.dtype)
        for a, b, start in flat_taps(geometry, pitch):
            for c in range(inputs):
                run = image[:, :, c : c + 1, start : start + length]
                if start == c == 0:
                    np.multiply(run, kernels[a, b, c, chunk], out=total)
                else:
                    total += np.multiply(run, kernels[a, b, c, chunk], out=product)
        found = rows.reshape(1, -1, ho, pitch)[..., :wo]
        if bias is None:
            out[...] = found
        else:
            np.add(found, bias[of_outputs, None, None], out=out)

    chunks = _chunks(x, y, groups)
    parallel(lambda i: work(i // len(chunks), chunks[i % len(chunks)]), len(x) * len(chunks))


def input_grad(g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray) -> None:
    """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, C/G, kh, kw)."""
    input_grad_by_phases(forward, g, w, geometry, dx)


def weight_grad(x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray) -> None:
    """Write the gradient to the weight into dw, of w's shape. x (N, C, H, W), g (N, O, Ho, Wo)."""
    groups, (ho, wo) = geometry.groups, g.shape[2:]
    filters = g.shape[1] // groups
    kernels = dw.reshape(groups, filters, *geometry.kernel)
    kernels[...] = 0

    def work(chunk: slice) -> None:
        for n in range(len(x)):
            image, pitch = _planes(x[n : n + 1], chunk, 1, geometry)
            part = g[n, chunk.start * filters : chunk.stop * filters]
            gradient = scratch_with_zeros("gradient", (*part.shape[:2], pitch), g.dtype, wo)
            gradient[..., :wo] = part
            length = (ho - 1) * pitch + wo
            runs = gradient.reshape(-1, filters, ho * pitch)[..., :length]
            for a, b, start in flat_taps(geometry, pitch):
                run = image[0, :, :, start : start + length]
                kernels[chunk, :, a, b] += np.vecdot(run, runs)

    chunks = _chunks(x, g, groups)
    parallel(lambda i: work(chunks[i]), len(chunks))


def _chunks(x: np.ndarray, y: np.ndarray, groups: int) -> list[slice]:
    """Ranges of the groups; what belongs to one, of one image, fits the cache."""
    each = (x[0].nbytes + 2 * y[0].nbytes) // groups
    size = max(1, PIECE_BYTES // max(1, each))
    count = -(-groups // size)
    size = -(-groups // count)
    return [slice(first, min(first + size, groups)) for first in range(0, groups, size)]


def _planes(
    x: np.ndarray, chunk: slice, inputs: int, geometry: ConvGeometry
) -> tuple[np.ndarray, int]:
    """The padded planes of some groups of an image, (1, G, C/G, H W), and their width."""
    part = x[:, chunk.start * inputs : chunk.stop * inputs]
    image, pitch = padded_planes(part, geometry)
    return image.reshape(1, -1, inputs, image.shape[2]), pitch
