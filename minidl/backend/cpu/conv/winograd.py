"""Convolution with 3 x 3 kernels by Winograd's minimal filtering, F(4 x 4, 3 x 3).

Winograd, "Arithmetic Complexity of Computations", 1980; Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", 2016, equations 8 and 9 and appendix.

A tile of 4 x 4 outputs sees 6 x 6 pixels d and takes 144 multiplications for each pair of channels.
With the transforms below, 36 are enough:

    Y = A^T [ (G w G^T) * (B^T d B) ] A        (* elementwise, summed over input channels)

Seen over all tiles and channels, the transform of a tile is a product with a constant matrix, and
the elementwise products with their sum over channels are 36 ordinary products:

    D (36, C T)   the pixels of the T tiles
    V = kron(B^T, B^T) @ D,   U = kron(G, G) @ w   (36, O, C)
    M[k] = U[k] @ V[k]    for each k of 36
    Y = kron(A^T, A^T) @ M    (16, O T)

The expression is linear in w, so that the gradient to w is the same chain read backwards.

The numbers 4, 5 and 8 in the transforms cost accuracy: about 1e-5 of the largest result in float32,
against 5e-7 for a sum of products.
"""

from __future__ import annotations

import numpy as np

from ...geometry import ConvGeometry, windows_on_image
from ..workspace import scratch, scratch_with_zeros
from .phases import input_grad_by_phases
from .pieces import Piece, cut, each_piece, sum_of_pieces

__all__ = ["forward", "input_grad", "supports", "weight_grad"]

TILE = 4  # outputs of a tile, each way

# Tiles of a piece: enough columns for 36 good products, few enough for the cache. Measured.
TILES = 256

# Lavin and Gray's transforms; interpolation at 0, 1, -1, 2, -2 and infinity.
B_T = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
G = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
A_T = np.array(
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ]
)
OF_PIXELS, OF_KERNEL, TO_OUTPUT = np.kron(B_T, B_T), np.kron(G, G), np.kron(A_T, A_T)


def supports(face: str, geometry: ConvGeometry, channels: int) -> bool:
    unit = (1, 1)
    return (
        geometry.kernel == (3, 3)
        and geometry.stride == unit
        and geometry.dilation == unit
        and geometry.groups == 1
    )


def forward(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, y: np.ndarray
) -> None:
    """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, C, 3, 3), y (N, O, Ho, Wo)."""
    o = len(w)
    kernels = _transformed_kernels(w)
    to_output = TO_OUTPUT.astype(y.dtype)

    def work(piece: Piece) -> None:
        out = y[piece.images, :, piece.rows]
        grid = _grid(out.shape)
        pixels = _transformed_pixels(x[piece.images, :, piece.seen], piece.geometry, grid)
        products = scratch("products", (36, o, pixels.shape[2]), y.dtype)
        np.matmul(kernels, pixels, out=products)
        outputs = scratch("outputs", (16, o, *grid), y.dtype)
        np.matmul(to_output, products.reshape(36, -1), out=outputs.reshape(16, -1))
        if bias is not None:
            outputs += bias[:, None, None, None]
        for k, plane in enumerate(outputs):
            part = out[:, :, k // TILE :: TILE, k % TILE :: TILE]
            part[...] = plane[:, :, : part.shape[2], : part.shape[3]].swapaxes(0, 1)

    each_piece(_cut(x, y, geometry), work)


def input_grad(g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray) -> None:
    """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, C, 3, 3)."""
    input_grad_by_phases(forward, g, w, geometry, dx)


def weight_grad(x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray) -> None:
    """Write the gradient to the weight into dw, of w's shape. x (N, C, H, W), g (N, O, Ho, Wo)."""
    c, o = x.shape[1], g.shape[1]
    of_output = TO_OUTPUT.T.astype(g.dtype)

    def work(piece: Piece, total: np.ndarray) -> None:
        part = g[piece.images, :, piece.rows]
        grid = _grid(part.shape)
        pixels = _transformed_pixels(x[piece.images, :, piece.seen], piece.geometry, grid)
        outputs = _sorted_by_phase("outputs", part, (0, 0), grid)
        gradients = scratch("products", (36, o, pixels.shape[2]), g.dtype)
        np.matmul(of_output, outputs.reshape(16, -1), out=gradients.reshape(36, -1))
        product = scratch("product", total.shape, total.dtype)
        total += np.matmul(pixels, gradients.swapaxes(1, 2), out=product)

    total = sum_of_pieces(_cut(x, g, geometry), (36, c, o), x.dtype, work)
    taps = OF_KERNEL.T.astype(x.dtype) @ total.reshape(36, c * o)
    dw[...] = taps.reshape(3, 3, c, o).transpose(3, 2, 0, 1)


def _cut(x: np.ndarray, y: np.ndarray, geometry: ConvGeometry) -> list[Piece]:
    ho, wo = y.shape[2:]
    fitting = TILE * max(1, TILES // (-(-wo // TILE) + 1))
    return cut(len(x), x.shape[2], ho, geometry, fitting, multiple=TILE)


def _grid(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The tiles over outputs (N, O, Ho, Wo), with one more below and to the right of an image.

    That margin lets a tile find its last two rows and columns of pixels, which it shares with the
    next tile, at a fixed distance in memory.
    """
    n, _, ho, wo = shape
    return n, -(-ho // TILE) + 1, -(-wo // TILE) + 1


def _transformed_kernels(w: np.ndarray) -> np.ndarray:
    """U (36, O, C) for w (O, C, 3, 3)."""
    if w.strides[0] < w.strides[1]:  # inputs and outputs exchanged: see kernel_matrices
        return _transformed_kernels(w.swapaxes(0, 1)).swapaxes(1, 2)
    o, c = w.shape[:2]
    return (OF_KERNEL.astype(w.dtype) @ w.reshape(o * c, 9).T).reshape(36, o, c)


def _sorted_by_phase(
    name: str, x: np.ndarray, start: tuple[int, int], grid: tuple[int, int, int]
) -> np.ndarray:
    """The pixels (i, j) of all tiles, for each i and j from 0 to 3: (16, C, *grid) of scratch.

    Args:
        x: (N, C, H, W); beyond its borders are zeros.
        start: the row and column of x at which the first tile begins.
    """
    c, h, w = x.shape[1:]
    planes = scratch_with_zeros(name, (16, c, *grid), x.dtype, (start, h, w))
    for k in range(16):
        to_rows, of_rows = windows_on_image(start[0] + k // TILE, TILE, h, grid[1])
        to_columns, of_columns = windows_on_image(start[1] + k % TILE, TILE, w, grid[2])
        planes[k, :, :, to_rows, to_columns] = x[:, :, of_rows, of_columns].swapaxes(0, 1)
    return planes


def _transformed_pixels(
    x: np.ndarray, geometry: ConvGeometry, grid: tuple[int, int, int]
) -> np.ndarray:
    """V (36, C, T): the 6 x 6 pixels under every tile, transformed. Scratch."""
    c = x.shape[1]
    (top, _), (left, _) = geometry.padding
    planes = _sorted_by_phase("planes", x, (-top, -left), grid).reshape(16, c, -1)
    tiles = planes.shape[2]
    # Pixels 4 and 5 of a tile are pixels 0 and 1 of the next: the same plane, read from further on.
    pixels = scratch_with_zeros("pixels", (36, c, tiles), x.dtype, None)
    for k in range(36):
        (down, i), (across, j) = divmod(k // 6, TILE), divmod(k % 6, TILE)
        further = down * grid[2] + across
        pixels[k, :, : tiles - further] = planes[TILE * i + j, :, further:]
    transformed = scratch("transformed", (36, c, tiles), x.dtype)
    np.matmul(OF_PIXELS.astype(x.dtype), pixels.reshape(36, -1), out=transformed.reshape(36, -1))
    return transformed
