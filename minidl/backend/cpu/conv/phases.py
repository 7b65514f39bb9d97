"""The gradient to the input, as convolutions: one for each phase of the stride.

Window o finds under its tap a the pixel i = o * stride + a * dilation - padding. Read backwards:
pixel i receives, from each tap a for which the division leaves no rest,

    g[o] w[a]   with   o = (i + padding - a * dilation) / stride.

With stride 1 this is a convolution of g with the flipped kernel. With stride s, the pixels
i = m s + phase all see the same subset of the taps, and o grows by one from pixel to pixel: s
phases vertically times s horizontally, each an ordinary convolution of stride 1 with a smaller
kernel, and their results interleave. No product with an inserted zero is ever computed.

Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...geometry import ConvGeometry

__all__ = ["input_grad_by_phases"]

Forward = Callable[[np.ndarray, np.ndarray, None, ConvGeometry, np.ndarray], None]


class _Phase(NamedTuple):
    """Along one axis: a convolution of stride 1 that yields the pixels first, first + step, ..."""

    pixels: slice
    taps: slice  # in the order in which they meet growing o: backwards
    number: int  # of taps
    padding: tuple[int, int]
    dilation: int


def input_grad_by_phases(
    forward: Forward, g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray
) -> None:
    """Write the gradient to the input into dx, using an algorithm's `forward`.

    g (N, O, Ho, Wo), w (O, C/G, kh, kw), dx (N, C, H, W).
    """
    o, groups = g.shape[1], geometry.groups
    c = dx.shape[1]
    kernel = geometry.kernel
    # Inputs and outputs change places within each group: (C, O/G, kh, kw), without a copy of w if
    # there is one group.
    w = w.reshape(groups, o // groups, c // groups, *kernel).swapaxes(1, 2)
    w = w.reshape(c, o // groups, *kernel)
    for down in _phases(geometry, 0, g.shape[2], dx.shape[2]):
        for across in _phases(geometry, 1, g.shape[3], dx.shape[3]):
            pixels = dx[:, :, down.pixels, across.pixels]
            if not (down.number and across.number):
                pixels[...] = 0
                continue
            forward(
                g,
                w[:, :, down.taps, across.taps],
                None,
                ConvGeometry(
                    kernel=(down.number, across.number),
                    padding=(down.padding, across.padding),
                    dilation=(down.dilation, across.dilation),
                    groups=groups,
                ),
                pixels,
            )


def _phases(geometry: ConvGeometry, axis: int, windows: int, length: int) -> list[_Phase]:
    """The phases along an axis with `windows` windows on `length` pixels."""
    kernel, stride = geometry.kernel[axis], geometry.stride[axis]
    padding, dilation = geometry.padding[axis][0], geometry.dilation[axis]
    phases = []
    step = stride // math.gcd(stride, dilation)  # between the taps of a phase
    apart = dilation * step // stride  # between the windows that they meet
    for phase in range(min(stride, length)):
        shift = phase + padding
        taps = [a for a in range(kernel) if (shift - a * dilation) % stride == 0]
        last = taps[-1] if taps else 0
        low = (last * dilation - shift) // stride
        high = len(range(phase, length, stride)) - windows - low + apart * (len(taps) - 1)
        phases.append(
            _Phase(
                slice(phase, None, stride),
                slice(last, None, -step),
                len(taps),
                (low, high),
                apart,
            )
        )
    return phases
