"""Convolution as a product of spectra, by the fast Fourier transform.

Cooley and Tukey, "An Algorithm for the Machine Calculation of Complex Fourier Series", 1965;
Mathieu, Henaff and LeCun, "Fast Training of Convolutional Networks through FFTs", 2014.

The spectrum of a sum of shifted images is a product of two spectra: the convolution theorem. What
networks call a convolution reads the kernel forwards, which conjugates its spectrum. So at each
frequency the three faces are three products of small complex matrices:

    Y  = conj W (O, C)  @  X (C, N)
    dX = W^T (C, O)     @  G (O, N)
    dW = conj G (O, N)  @  X^T (N, C)

The size of the kernel plays no part: it is filled up with zeros to the size of the image. That is
the strength of the method, 31 x 31 taps cost no more than 3 x 3, and its weakness, 3 x 3 taps cost
as much as 31 x 31, and in complex numbers.

A transform sees its image as a ring, where the first pixel follows on the last. On a ring as long
as the padded image nothing meets across that seam. A stride is zeros between the pixels of g, and
results that are computed and dropped; dilation is zeros between the taps.

High images go in bands, with the rows that these see. In `forward` the results of bands lie side by
side (overlap-save), in `input_grad` they are added up where they overlap (overlap-add).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby

import numpy as np

from ...geometry import ConvGeometry, windows_on_image
from ..threads import parallel
from .pieces import Piece, cut, each_piece, rows_that_fit, sum_of_pieces

__all__ = ["forward", "input_grad", "supports", "weight_grad"]

# Pieces are larger than those of other algorithms: each of them reads the whole spectrum of w.
LARGER = 8

Pair = tuple[int, int]


def supports(face: str, geometry: ConvGeometry, channels: int) -> bool:
    return True


def forward(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, y: np.ndarray
) -> None:
    """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, C/G, kh, kw), y (N, O, Ho, Wo)."""
    pieces, ring = _cut(x, y, geometry)
    sh, sw = geometry.stride
    of_kernel = np.conj(_spectrum_of_kernel(w, geometry, ring))

    def work(piece: Piece) -> None:
        out = y[piece.images, :, piece.rows]
        found = _images(of_kernel @ _spectrum_of_input(x, piece, ring), ring)
        out[...] = found[:, :, ::sh, ::sw][:, :, : out.shape[2], : out.shape[3]]
        if bias is not None:
            out += bias[:, None, None]

    each_piece(pieces, work)


def input_grad(g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray) -> None:
    """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, C/G, kh, kw)."""
    pieces, ring = _cut(dx, g, geometry)
    of_kernel = _spectrum_of_kernel(w, geometry, ring).swapaxes(2, 3).copy()
    # Bands of the same image overlap in dx, so one thread takes them all, in order.
    images = [list(bands) for _, bands in groupby(pieces, lambda piece: piece.images)]

    def work(index: int) -> None:
        dx[images[index][0].images] = 0
        for piece in images[index]:
            found = _images(of_kernel @ _spectrum_of_gradient(g, piece, ring), ring)
            part = dx[piece.images, :, piece.seen]
            (top, _), (left, _) = piece.geometry.padding
            rows, from_rows = windows_on_image(top, 1, ring[0], part.shape[2])
            columns, from_columns = windows_on_image(left, 1, ring[1], part.shape[3])
            part[:, :, rows, columns] += found[:, :, from_rows, from_columns]

    parallel(work, len(images))


def weight_grad(x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray) -> None:
    """Write the gradient to the weight into dw, of w's shape. x (N, C, H, W), g (N, O, Ho, Wo)."""
    pieces, ring = _cut(x, g, geometry)
    groups, (dh, dv) = geometry.groups, geometry.dilation
    o, c, kh, kw = dw.shape
    frequencies = ring[0] * (ring[1] // 2 + 1)

    def work(piece: Piece, total: np.ndarray) -> None:
        of_input = _spectrum_of_input(x, piece, ring)
        of_gradient = _spectrum_of_gradient(g, piece, ring)
        total += np.conj(of_gradient) @ of_input.swapaxes(2, 3)

    shape = (frequencies, groups, o // groups, c)
    total = sum_of_pieces(pieces, shape, np.result_type(x.dtype, np.complex64), work)
    kernels = _inverse(total.transpose(1, 2, 3, 0).reshape(o, c, frequencies), ring)
    dw[...] = kernels[:, :, ::dh, ::dv][:, :, :kh, :kw]


def _cut(x: np.ndarray, y: np.ndarray, geometry: ConvGeometry) -> tuple[list[Piece], Pair]:
    """The pieces, and a size that holds the padded image of each of them."""
    row = (x.shape[1] * geometry.stride[0] + y.shape[1]) * geometry.padded_size(x.shape[2:])[1]
    fitting = LARGER * rows_that_fit(2 * row * x.itemsize)
    pieces = cut(len(x), x.shape[2], y.shape[2], geometry, fitting)
    sizes = [p.geometry.padded_size((p.seen.stop - p.seen.start, x.shape[3])) for p in pieces]
    return pieces, (_quick_length(max(s[0] for s in sizes)), _quick_length(sizes[0][1]))


@lru_cache(maxsize=256)
def _quick_length(least: int) -> int:
    """The next length without a prime factor above 5: such transforms are quick."""
    length = least
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def _spectrum_of_input(x: np.ndarray, piece: Piece, ring: Pair) -> np.ndarray:
    """X (F, G, C/G, N) of a piece."""
    (top, _), (left, _) = piece.geometry.padding
    spectrum = _spectrum(x[piece.images, :, piece.seen], (top, left), (1, 1), ring)
    return _by_frequency(spectrum, piece.geometry.groups)


def _spectrum_of_gradient(g: np.ndarray, piece: Piece, ring: Pair) -> np.ndarray:
    """G (F, G, O/G, N) of a piece."""
    spectrum = _spectrum(g[piece.images, :, piece.rows], (0, 0), piece.geometry.stride, ring)
    return _by_frequency(spectrum, piece.geometry.groups)


def _spectrum_of_kernel(w: np.ndarray, geometry: ConvGeometry, ring: Pair) -> np.ndarray:
    """W (F, G, O/G, C/G)."""
    spectrum = _spectrum(w, (0, 0), geometry.dilation, ring)
    o, c, frequencies = spectrum.shape
    spectrum = spectrum.reshape(geometry.groups, o // geometry.groups, c, frequencies)
    return np.ascontiguousarray(spectrum.transpose(3, 0, 1, 2))


def _spectrum(x: np.ndarray, start: Pair, step: Pair, ring: Pair) -> np.ndarray:
    """The spectra (A, B, F) of x (A, B, H, W), with its pixels at start, start + step, ..."""
    spread = np.zeros((*x.shape[:2], *ring), x.dtype)
    rows, to_rows = windows_on_image(start[0], step[0], ring[0], x.shape[2])
    columns, to_columns = windows_on_image(start[1], step[1], ring[1], x.shape[3])
    spread[:, :, to_rows, to_columns] = x[:, :, rows, columns]
    return np.fft.rfft2(spread).reshape(*x.shape[:2], -1)


def _inverse(spectrum: np.ndarray, ring: Pair) -> np.ndarray:
    """The images (A, B, *ring) with the spectra (A, B, F)."""
    return np.fft.irfft2(spectrum.reshape(*spectrum.shape[:2], ring[0], -1), s=ring)


def _by_frequency(spectrum: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, F) as matrices (F, G, C/G, N)."""
    n, c, frequencies = spectrum.shape
    by_group = spectrum.reshape(n, groups, c // groups, frequencies)
    return np.ascontiguousarray(by_group.transpose(3, 1, 2, 0))


def _images(product: np.ndarray, ring: Pair) -> np.ndarray:
    """The images (N, C, *ring) with the spectra (F, G, C/G, N)."""
    frequencies, groups, c, n = product.shape
    return _inverse(product.transpose(3, 1, 2, 0).reshape(n, groups * c, frequencies), ring)
