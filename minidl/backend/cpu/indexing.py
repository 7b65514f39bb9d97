"""Indexing kernels for NumPy: indices are checked, and scatter-add avoids the slow forms of add.at.

`np.add.at` has a fast path (about 1 ns an element) for one flat index into a 1-D array; with rows
or several index arrays it is 5 to 40 times slower. So short rows become flat indices, and long rows
are added one after the other as whole rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["CpuIndexingKernels"]

# From this many elements on a row is added as one: the interpreter's share is small then.
LONG_ROW = 512


class CpuIndexingKernels:
    """Scatter-add and the check of indices on the CPU."""

    def check_index(self, op: str, index: Any, size: int, dim: int, negative: bool) -> None:
        if not index.size:
            return
        lowest = -size if negative else 0
        for extreme in (int(index.min()), int(index.max())):
            if not lowest <= extreme < size:
                raise IndexError(
                    f"{op}: index {extreme} is out of range for dimension {dim} with size {size}"
                )

    def scatter_add(self, out: Any, index: tuple[Any, ...], values: Any) -> None:
        axes = [axis for axis, i in enumerate(index) if not isinstance(i, slice)]
        contiguous = out.flags.c_contiguous
        if contiguous and len(axes) == len(index):  # leading axes: number the rows
            leading, row_shape = out.shape[: len(axes)], out.shape[len(axes) :]
            width = math.prod(row_shape)
            rows = np.ravel_multi_index(np.broadcast_arrays(*index), leading, mode="wrap")
            if width >= LONG_ROW:
                _add_rows(out.reshape(-1, width), 0, rows, values.reshape(-1, width))
            else:
                flat = rows.reshape(-1, 1) * width + np.arange(width)
                np.add.at(out.reshape(-1), flat.ravel(), values.ravel())
        elif len(axes) == 1 and out.size >= LONG_ROW * out.shape[axes[0]]:
            axis, rows = axes[0], index[axes[0]]
            shape = (*out.shape[:axis], rows.size, *out.shape[axis + 1 :])
            _add_rows(out, axis, rows, values.reshape(shape))
        elif contiguous:  # number all elements
            flat = np.arange(out.size).reshape(out.shape)[index]
            np.add.at(out.reshape(-1), flat.ravel(), values.ravel())
        else:
            np.add.at(out, index, values)


def _add_rows(out: np.ndarray, axis: int, rows: np.ndarray, values: np.ndarray) -> None:
    """out[:, ..., rows[k]] += values[:, ..., k] for each k, at `axis`."""
    out, values = np.moveaxis(out, axis, 0), np.moveaxis(values, axis, 0)
    for k, row in enumerate(rows.ravel().tolist()):
        out[row] += values[k]
