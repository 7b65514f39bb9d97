"""Convolution with 3 x 3 kernels by Winograd's minimal filtering, F(m x m, 3 x 3) for m = 2 and 4.

Winograd, "Arithmetic Complexity of Computations", 1980; Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", 2016, equations 8 and 9 and appendix.

A tile of m x m outputs sees n x n pixels d, n = m + 2, and takes 9 m^2 multiplications for each
pair of channels. With the transforms below, n^2 are enough: 36 instead of 144 for m = 4, and 16
instead of 36 for m = 2.

    Y = A^T [ (G w G^T) * (B^T d B) ] A        (* elementwise, summed over input channels)

Seen over all tiles and channels, the transform of a tile is a product with a constant matrix, and
the elementwise products with their sum over channels are n^2 ordinary products:

    D (n^2, C T)   the pixels of the T tiles
    V = kron(B^T, B^T) @ D,   U = kron(G, G) @ w   (n^2, O, C)
    M[k] = U[k] @ V[k]    for each k of n^2
    Y = kron(A^T, A^T) @ M    (m^2, O T)

The expression is linear in w, so that the gradient to w is the same chain read backwards.

Larger tiles save more multiplications and cost accuracy, as the numbers in the transforms grow:
with m = 4 the error is about 1e-5 of the largest result in float32, with m = 2 about 1e-6, against
5e-7 for a sum of products.
"""

from __future__ import annotations

import numpy as np

from ...geometry import ConvGeometry, windows_on_image
from ..workspace import scratch, scratch_with_zeros
from .phases import input_grad_by_phases
from .pieces import Piece, cut, each_piece, sum_of_pieces

__all__ = ["F2X2", "F4X4", "Winograd", "transforms"]

# Pixels under the tiles of a piece, each way overlapping: enough columns for n^2 good products, few
# enough for the cache. Measured.
PIXELS = 256 * 36

Matrices = tuple[np.ndarray, np.ndarray, np.ndarray]


def transforms(points: tuple[int, ...]) -> Matrices:
    """The matrices A^T (m, n), G (n, 3) and B^T (n, n) for n - 1 points, by Toom and Cook.

    Three taps times m numbers, as polynomials, are a polynomial with n = m + 2 coefficients. It is
    known by its values at n points, where two polynomials are multiplied number by number. G
    evaluates the taps at the points and at infinity (where only the highest coefficient counts),
    and divides by what Lagrange's interpolation divides by. Filtering is the transpose of that
    multiplication: A^T evaluates the m numbers, and the rows of B^T hold the coefficients of
    Lagrange's polynomials, the products of (x - p) over all points p but one, and over all points.

    Args:
        points: different numbers, small ones for accuracy.
    """
    n = len(points) + 1
    a_t, g, b_t = np.zeros((n - 2, n)), np.zeros((n, 3)), np.zeros((n, n))
    for j, point in enumerate(points):
        others = points[:j] + points[j + 1 :]
        a_t[:, j] = [point**i for i in range(n - 2)]
        g[j] = [point**i / np.prod([point - p for p in others]) for i in range(3)]
        b_t[j, : n - 1] = np.poly(others)[::-1]
    a_t[-1, -1] = g[-1, -1] = 1
    b_t[-1] = np.poly(points)[::-1]
    return a_t, g, b_t


class Winograd:
    """The convolution algorithm for one size of tile.

    Args:
        points: where polynomials are evaluated, one more than a tile has outputs each way.
    """

    def __init__(self, points: tuple[int, ...]) -> None:
        self.tile = len(points) - 1  # m
        self.span = self.tile + 2  # n
        a_t, g, b_t = transforms(points)
        self.to_output = np.kron(a_t, a_t)
        self.of_kernel = np.kron(g, g)
        self.of_pixels = np.kron(b_t, b_t)

    def supports(self, face: str, geometry: ConvGeometry, channels: int) -> bool:
        unit = (1, 1)
        return (
            geometry.kernel == (3, 3)
            and geometry.stride == unit
            and geometry.dilation == unit
            and geometry.groups == 1
        )

    def forward(
        self,
        x: np.ndarray,
        w: np.ndarray,
        bias: np.ndarray | None,
        geometry: ConvGeometry,
        y: np.ndarray,
    ) -> None:
        """Write conv(x, w) + bias into y. x (N, C, H, W), w (O, C, 3, 3), y (N, O, Ho, Wo)."""
        o, m, places = len(w), self.tile, self.span**2
        kernels = self._transformed_kernels(w)
        to_output = self.to_output.astype(y.dtype)

        def work(piece: Piece) -> None:
            out = y[piece.images, :, piece.rows]
            grid = self._grid(out.shape)
            pixels = self._transformed_pixels(x[piece.images, :, piece.seen], piece.geometry, grid)
            products = scratch("products", (places, o, pixels.shape[2]), y.dtype)
            np.matmul(kernels, pixels, out=products)
            outputs = scratch("outputs", (m * m, o, *grid), y.dtype)
            np.matmul(to_output, products.reshape(places, -1), out=outputs.reshape(m * m, -1))
            if bias is not None:
                outputs += bias[:, None, None, None]
            for k, plane in enumerate(outputs):
                part = out[:, :, k // m :: m, k % m :: m]
                part[...] = plane[:, :, : part.shape[2], : part.shape[3]].swapaxes(0, 1)

        each_piece(self._cut(x, y, geometry), work)

    def input_grad(
        self, g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, dx: np.ndarray
    ) -> None:
        """Write the gradient to the input into dx. g (N, O, Ho, Wo), w (O, C, 3, 3)."""
        input_grad_by_phases(self.forward, g, w, geometry, dx)

    def weight_grad(
        self, x: np.ndarray, g: np.ndarray, geometry: ConvGeometry, dw: np.ndarray
    ) -> None:
        """Write the gradient to w into dw, of w's shape. x (N, C, H, W), g (N, O, Ho, Wo)."""
        c, o, m, places = x.shape[1], g.shape[1], self.tile, self.span**2
        of_output = self.to_output.T.astype(g.dtype)

        def work(piece: Piece, total: np.ndarray) -> None:
            part = g[piece.images, :, piece.rows]
            grid = self._grid(part.shape)
            pixels = self._transformed_pixels(x[piece.images, :, piece.seen], piece.geometry, grid)
            outputs = self._sorted_by_phase("outputs", part, (0, 0), grid)
            gradients = scratch("products", (places, o, pixels.shape[2]), g.dtype)
            np.matmul(of_output, outputs.reshape(m * m, -1), out=gradients.reshape(places, -1))
            product = scratch("product", total.shape, total.dtype)
            total += np.matmul(pixels, gradients.swapaxes(1, 2), out=product)

        total = sum_of_pieces(self._cut(x, g, geometry), (places, c, o), x.dtype, work)
        taps = self.of_kernel.T.astype(x.dtype) @ total.reshape(places, c * o)
        dw[...] = taps.reshape(3, 3, c, o).transpose(3, 2, 0, 1)

    def _cut(self, x: np.ndarray, y: np.ndarray, geometry: ConvGeometry) -> list[Piece]:
        ho, wo = y.shape[2:]
        tiles = PIXELS // self.span**2
        fitting = self.tile * max(1, tiles // (-(-wo // self.tile) + 1))
        return cut(len(x), x.shape[2], ho, geometry, fitting, multiple=self.tile)

    def _grid(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """The tiles over outputs (N, O, Ho, Wo), with one more below and right of an image.

        That margin lets a tile find its last two rows and columns of pixels, which it shares with
        the next tile, at a fixed distance in memory.
        """
        n, _, ho, wo = shape
        return n, -(-ho // self.tile) + 1, -(-wo // self.tile) + 1

    def _transformed_kernels(self, w: np.ndarray) -> np.ndarray:
        """U (n^2, O, C) for w (O, C, 3, 3)."""
        if w.strides[0] < w.strides[1]:  # inputs and outputs exchanged: see kernel_matrices
            return self._transformed_kernels(w.swapaxes(0, 1)).swapaxes(1, 2)
        o, c = w.shape[:2]
        return (self.of_kernel.astype(w.dtype) @ w.reshape(o * c, 9).T).reshape(-1, o, c)

    def _sorted_by_phase(
        self, name: str, x: np.ndarray, start: tuple[int, int], grid: tuple[int, int, int]
    ) -> np.ndarray:
        """The pixels (i, j) of all tiles, for each i and j below m: (m^2, C, *grid) of scratch.

        Args:
            x: (N, C, H, W); beyond its borders are zeros.
            start: the row and column of x at which the first tile begins.
        """
        m = self.tile
        c, h, w = x.shape[1:]
        planes = scratch_with_zeros(name, (m * m, c, *grid), x.dtype, (start, h, w))
        for k in range(m * m):
            to_rows, of_rows = windows_on_image(start[0] + k // m, m, h, grid[1])
            to_columns, of_columns = windows_on_image(start[1] + k % m, m, w, grid[2])
            planes[k, :, :, to_rows, to_columns] = x[:, :, of_rows, of_columns].swapaxes(0, 1)
        return planes

    def _transformed_pixels(
        self, x: np.ndarray, geometry: ConvGeometry, grid: tuple[int, int, int]
    ) -> np.ndarray:
        """V (n^2, C, T): the n x n pixels under every tile, transformed. Scratch."""
        c, m, n = x.shape[1], self.tile, self.span
        (top, _), (left, _) = geometry.padding
        planes = self._sorted_by_phase("planes", x, (-top, -left), grid).reshape(m * m, c, -1)
        tiles = planes.shape[2]
        # A tile's last two pixels are the first two of the next tile: the same plane, read from
        # further on.
        pixels = scratch_with_zeros("pixels", (n * n, c, tiles), x.dtype, None)
        for k in range(n * n):
            (down, i), (across, j) = divmod(k // n, m), divmod(k % n, m)
            further = down * grid[2] + across
            pixels[k, :, : tiles - further] = planes[m * i + j, :, further:]
        transformed = scratch("transformed", (n * n, c, tiles), x.dtype)
        of_pixels = self.of_pixels.astype(x.dtype)
        np.matmul(of_pixels, pixels.reshape(n * n, -1), out=transformed.reshape(n * n, -1))
        return transformed


F2X2 = Winograd((0, 1, -1))
F4X4 = Winograd((0, 1, -1, 2, -2))  # Lavin and Gray's matrices
