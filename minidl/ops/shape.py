"""Shapes: the same numbers in other places.

Every operation here is linear: each result element is one input element (or a constant), so the
gradient goes back the way the numbers came. Adjoint pairs differentiate into each other: Slice and
SliceAdjoint, Cat and Split, Stack and Unbind, Diagonal and DiagonalAdjoint; the others are pairs of
an operation with itself (Permute by the inverse, Pad by the negative widths ...).

Names, arguments and defaults are torch's. Results that can be a view of the input's memory are one.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import Function, Tensor
from ..backend import of
from .common import _CATEGORY, as_tensor, astype, broadcast_to, check_dim, sum_to

__all__ = [
    "broadcast_tensors",
    "cat",
    "channel_shuffle",
    "chunk",
    "clone",
    "contiguous",
    "diagonal",
    "expand",
    "expand_as",
    "flatten",
    "flip",
    "meshgrid",
    "movedim",
    "narrow",
    "pad",
    "permute",
    "repeat",
    "reshape",
    "roll",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "t",
    "tile",
    "transpose",
    "tril",
    "triu",
    "unbind",
    "unflatten",
    "unsqueeze",
    "view",
]


# -- the same elements under other indices --------------------------------------------------------


class Reshape(Function):
    """The same elements in the same (row-major) order. A view where the memory allows it."""

    def forward(self, x: Any, shape: tuple[int, ...]) -> Any:
        self.shape = x.shape
        y = x.reshape(shape)
        self.view = of(x).xp.may_share_memory(x, y)
        return y

    def backward(self, grad: Tensor) -> Any:
        return _reshape(grad, self.shape)


class Permute(Function):
    """y[i_dims[0], i_dims[1], ...] = x[i_0, i_1, ...]. Undone by the inverse permutation."""

    view = True

    def forward(self, x: Any, dims: tuple[int, ...]) -> Any:
        self.dims = dims
        return x.transpose(dims)

    def backward(self, grad: Tensor) -> Any:
        return Permute.apply(grad, dims=tuple([self.dims.index(i) for i in range(len(self.dims))]))


def _reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x if x.data.shape == shape else Reshape.apply(x, shape=shape)


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The elements of `input`, in row-major order, in another shape.

    Args:
        input: any shape.
        shape: integers or one tuple; one may be -1: what remains.

    Returns:
        a view where the memory order of `input` allows it, else a copy.

    Raises:
        ValueError: the number of elements does not fit.
    """
    sizes = _sizes(shape)
    return Reshape.apply(input, shape=_infer("reshape", input.data.size, sizes))


def view(input: Tensor, *shape: Any) -> Tensor:
    """As `reshape`; where torch refuses because memory is not contiguous, the result is a copy."""
    return Reshape.apply(input, shape=_infer("view", input.data.size, _sizes(shape)))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim (inclusive) made one: (N, C, H, W) -> (N, C H W) from 1."""
    start = check_dim("flatten", start_dim, input.ndim)
    end = check_dim("flatten", end_dim, input.ndim)
    if start > end:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    shape = input.shape
    merged = math.prod(shape[start : end + 1])
    return _reshape(input, (*shape[:start], merged, *shape[end + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Dimension `dim` divided into several of `sizes`, one of which may be -1."""
    dim = check_dim("unflatten", dim, input.ndim)
    shape = input.shape
    parts = _infer("unflatten", shape[dim], _sizes((sizes,)))
    return Reshape.apply(input, shape=(*shape[:dim], *parts, *shape[dim + 1 :]))


def permute(input: Tensor, *dims: Any) -> Tensor:
    """Dimensions in another order: dimension i of the result is `dims[i]` of the input. A view."""
    order = tuple([check_dim("permute", d, input.ndim) for d in _sizes(dims)])
    if sorted(order) != list(range(input.ndim)):
        raise ValueError(
            f"permute: {_sizes(dims)} does not name each dimension of {input.shape} once"
        )
    return Permute.apply(input, dims=order)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged. A view."""
    i, j = check_dim("transpose", dim0, input.ndim), check_dim("transpose", dim1, input.ndim)
    order = list(range(input.ndim))
    if order:
        order[i], order[j] = order[j], order[i]
    return Permute.apply(input, dims=tuple(order))


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two dimensions exchanged: NumPy's name for `transpose`. A view."""
    return transpose(input, axis0, axis1)


def t(input: Tensor) -> Tensor:
    """The transposed matrix; a vector or 0-d tensor as it is. A view."""
    if input.ndim > 2:
        raise ValueError(
            f"t: expected at most 2 dimensions, got {input.shape}; use transpose(i, j)"
        )
    return T(input)


def T(input: Tensor) -> Tensor:
    """`x.T`: the dimensions in reverse order. A view."""
    return Permute.apply(input, dims=tuple(range(input.ndim))[::-1])


def mT(input: Tensor) -> Tensor:
    """`x.mT`: the last two dimensions exchanged, (..., M, N) -> (..., N, M). A view."""
    if input.ndim < 2:
        raise ValueError(f"mT: expected matrices or batches of them, got shape {input.shape}")
    return transpose(input, -2, -1)


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions `source` moved to `destination` (ints or tuples); the others keep their order."""
    sources = [check_dim("movedim", d, input.ndim) for d in _tuple(source)]
    targets = [check_dim("movedim", d, input.ndim) for d in _tuple(destination)]
    if len(sources) != len(targets):
        raise ValueError(f"movedim: {len(sources)} sources for {len(targets)} destinations")
    if len(set(sources)) != len(sources) or len(set(targets)) != len(targets):
        raise ValueError(f"movedim: a dimension is named twice in {source} or {destination}")
    order = [d for d in range(input.ndim) if d not in sources]
    for target, moved in sorted(zip(targets, sources, strict=True)):
        order.insert(target, moved)
    return Permute.apply(input, dims=tuple(order))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of `groups` equal groups in turn: 0 1 2 | 3 4 5 become 0 3 1 4 2 5.

    Zhang et al. 2017, "ShuffleNet", figure 1: channels written row by row, read column by column.

    Args:
        input: (N, C, ...) with at least one dimension after the channels.
        groups: divides C.

    Raises:
        ValueError: too few dimensions, or groups that do not divide the channels.
    """
    shape = input.shape
    if len(shape) < 3:
        raise ValueError(f"channel_shuffle: input must be (N, C, ...), got {shape}")
    if groups < 1 or shape[1] % groups:
        raise ValueError(
            f"channel_shuffle: {shape[1]} channels cannot be divided into {groups} groups (input "
            f"{shape})"
        )
    table = _reshape(input, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return _reshape(transpose(table, 1, 2), shape)


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Dimensions of length 1 left out: all of them, or those in `dim` (int or tuple). A view."""
    if dim is None:
        dropped = set(range(input.ndim))
    else:
        dropped = {check_dim("squeeze", d, input.ndim) for d in _tuple(dim)}
    shape = [n for i, n in enumerate(input.shape) if i not in dropped or n != 1]
    return Reshape.apply(input, shape=tuple(shape))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new dimension of length 1 at `dim` of the result. A view."""
    dim = check_dim("unsqueeze", dim, input.ndim + 1)
    return Reshape.apply(input, shape=(*input.shape[:dim], 1, *input.shape[dim:]))


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Dimensions of length 1, and new leading ones, repeated without a copy.

    Args:
        sizes: integers or one tuple, at least as many as `input` has dimensions; -1 keeps one.

    Returns:
        a view in which many elements share one place in memory: `clone()` before writing into it.
    """
    wanted = _sizes(sizes)
    lead = len(wanted) - input.ndim
    if lead >= 0:
        own = (-1,) * lead + input.shape  # -1: a new dimension
        shape = tuple([m if n == -1 else n for n, m in zip(wanted, own, strict=True)])
        if all(n >= 0 and m in (-1, 1, n) for n, m in zip(shape, own, strict=True)):
            return broadcast_to(input, shape)
    raise ValueError(
        f"expand: {input.shape} cannot be expanded to {wanted}; only dimensions of length 1 "
        "and new leading ones can be repeated, and -1 keeps an existing one"
    )


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` expanded to the shape of `other`."""
    return expand(input, other.shape)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All tensors expanded to the shape they have together under broadcasting. Views."""
    arrays = _list(tensors)
    try:
        shape = np.broadcast_shapes(*[x.shape for x in arrays])
    except ValueError:
        shapes = ", ".join(str(x.shape) for x in arrays)
        raise ValueError(f"broadcast_tensors: shapes {shapes} do not broadcast") from None
    return tuple([broadcast_to(x, shape) for x in arrays])


def meshgrid(*tensors: Tensor, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid: output k holds the values of tensor k along dimension k.

    Args:
        tensors: 1-d or 0-d, K of them.
        indexing: "ij": dimensions in the order of the tensors; "xy": the first two exchanged.

    Returns:
        K views of one shape, (len(t0), len(t1), ...), under "xy" (len(t1), len(t0), ...).
    """
    axes = _list(tensors)
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: indexing must be 'ij' or 'xy', got {indexing!r}")
    if any(x.ndim > 1 for x in axes):
        raise ValueError(f"meshgrid: expected 1-d tensors, got {[x.shape for x in axes]}")
    if indexing == "xy":
        axes[:2] = axes[:2][::-1]
    shape = tuple([x.data.size for x in axes])
    grids = []
    for k, x in enumerate(axes):
        along_k = [1] * len(axes)
        along_k[k] = x.data.size
        grids.append(broadcast_to(_reshape(x, tuple(along_k)), shape))
    if indexing == "xy":
        grids[:2] = grids[:2][::-1]
    return tuple(grids)


# -- a part of the elements, and its adjoint ------------------------------------------------------


class Slice(Function):
    """x[key] with integers, slices and None only: a view. Its adjoint fills the rest with zeros."""

    view = True

    def forward(self, x: Any, key: tuple[Any, ...]) -> Any:
        self.key, self.shape = key, x.shape
        return x[key + (...,)]  # with an Ellipsis even a single element is a 0-d view

    def backward(self, grad: Tensor) -> Any:
        return SliceAdjoint.apply(grad, key=self.key, shape=self.shape)


class SliceAdjoint(Function):
    """Zeros of `shape`, with g at [key]."""

    def forward(self, g: Any, key: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
        self.key = key
        out = of(g).xp.zeros(shape, g.dtype)
        out[key + (...,)] = g
        return out

    def backward(self, grad: Tensor) -> Any:
        return Slice.apply(grad, key=self.key)


def _cut(x: Tensor, dim: int, start: int, stop: int) -> Tensor:
    return Slice.apply(x, key=(slice(None),) * dim + (slice(start, stop),))


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` elements from `start` on along `dim`. A view."""
    dim = check_dim("narrow", dim, input.ndim)
    if input.ndim == 0:
        raise ValueError("narrow: a 0-d tensor has no dimension to narrow")
    size = input.shape[dim]
    first = start + size if start < 0 else start
    if not (0 <= first <= size and 0 <= length <= size - first):
        raise IndexError(
            f"narrow: start {start} and length {length} do not lie within dimension {dim} of "
            f"{input.shape}"
        )
    return _cut(input, dim, first, first + length)


class Diagonal(Function):
    """The elements x[..., i, i + offset] of the last two dimensions: a view."""

    view = True

    def forward(self, x: Any, offset: int) -> Any:
        self.offset, self.shape = offset, x.shape
        return _diagonal(x, offset)

    def backward(self, grad: Tensor) -> Any:
        return DiagonalAdjoint.apply(grad, offset=self.offset, shape=self.shape)


class DiagonalAdjoint(Function):
    """Zeros of `shape`, with g on the diagonal of the last two dimensions."""

    def forward(self, g: Any, offset: int, shape: tuple[int, ...]) -> Any:
        self.offset = offset
        out = of(g).xp.zeros(shape, g.dtype)
        _diagonal(out, offset)[...] = g
        return out

    def backward(self, grad: Tensor) -> Any:
        return Diagonal.apply(grad, offset=self.offset)


def _diagonal(x: Any, offset: int) -> Any:
    """A view that can be written to, as numpy.diagonal's cannot."""
    corner = x[..., max(-offset, 0) :, max(offset, 0) :]
    *lead, rows, columns = corner.shape
    *steps, down, right = corner.strides
    as_strided = of(x).xp.lib.stride_tricks.as_strided
    return as_strided(corner, (*lead, min(rows, columns)), (*steps, down + right))


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonals of the matrices in dimensions dim1 and dim2, as a new last dimension. A view.

    Args:
        offset: 0: the main diagonal; k > 0: k columns to the right of it; k < 0: below it.
    """
    i, j = check_dim("diagonal", dim1, input.ndim), check_dim("diagonal", dim2, input.ndim)
    if input.ndim < 2 or i == j:
        raise ValueError(
            f"diagonal: dim1 {dim1} and dim2 {dim2} must be two dimensions of {input.shape}"
        )
    rest = [d for d in range(input.ndim) if d not in (i, j)]
    return Diagonal.apply(Permute.apply(input, dims=(*rest, i, j)), offset=offset)


class Triangle(Function):
    """x below (lower) or above the diagonal, zero elsewhere: its own adjoint."""

    def forward(self, x: Any, diagonal: int, lower: bool) -> Any:
        self.diagonal, self.lower = diagonal, lower
        xp = of(x).xp
        return xp.tril(x, diagonal) if lower else xp.triu(x, diagonal)

    def backward(self, grad: Tensor) -> Any:
        return Triangle.apply(grad, diagonal=self.diagonal, lower=self.lower)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of matrices (..., M, N), up to and with `diagonal`; zeros above."""
    _check_matrices("tril", input)
    return Triangle.apply(input, diagonal=diagonal, lower=True)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of matrices (..., M, N), from `diagonal` on; zeros below."""
    _check_matrices("triu", input)
    return Triangle.apply(input, diagonal=diagonal, lower=False)


def _check_matrices(op: str, input: Tensor) -> None:
    if input.ndim < 2:
        raise ValueError(f"{op}: expected matrices or batches of them, got shape {input.shape}")


# -- taken together, taken apart ------------------------------------------------------------------


class Cat(Function):
    """Tensors one after another along a dimension; the gradient is split the same way."""

    def forward(self, *arrays: Any, dim: int) -> Any:
        self.dim = dim
        self.sizes = [x.shape[dim] for x in arrays]
        return of(arrays[0]).xp.concatenate(arrays, axis=dim)

    def backward(self, grad: Tensor) -> Any:
        return Split.apply(grad, sizes=self.sizes, dim=self.dim)


class Split(Function):
    """Consecutive pieces of a tensor along a dimension: views. The adjoint of Cat."""

    view = True

    def forward(self, x: Any, sizes: Sequence[int], dim: int) -> Any:
        self.dim = dim
        pieces, start = [], 0
        for size in sizes:
            pieces.append(x[(slice(None),) * dim + (slice(start, start + size),)])
            start += size
        return tuple(pieces)

    def backward(self, *grads: Tensor) -> Any:
        return Cat.apply(*grads, dim=self.dim)


class Stack(Function):
    """Tensors side by side along a new dimension. The adjoint of Unbind."""

    def forward(self, *arrays: Any, dim: int) -> Any:
        self.dim = dim
        return of(arrays[0]).xp.stack(arrays, axis=dim)

    def backward(self, grad: Tensor) -> Any:
        return Unbind.apply(grad, dim=self.dim)


class Unbind(Function):
    """x[..., i, ...] for each i of a dimension: views. The adjoint of Stack."""

    view = True

    def forward(self, x: Any, dim: int) -> Any:
        self.dim = dim
        lead = (slice(None),) * dim
        return tuple([x[lead + (i, ...)] for i in range(x.shape[dim])])

    def backward(self, *grads: Tensor) -> Any:
        return Stack.apply(*grads, dim=self.dim)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after another along an existing dimension.

    Args:
        tensors: at least one; shapes equal except in `dim`. A 1-d tensor without elements may
            stand among others and is left out.
        dim: the dimension along which they are joined.

    Returns:
        their joint dtype is that of the highest category (bool, integer, float) and widest type.

    Raises:
        ValueError: no tensors, or shapes that differ elsewhere.
    """
    parts = _joined("cat", tensors)
    full = [x for x in parts if x.shape != (0,)] or parts[:1]
    dim = check_dim("cat", dim, full[0].ndim)
    first = full[0].shape
    for k, x in enumerate(full):
        if x.ndim != len(first) or x.ndim == 0 or _without(x.shape, dim) != _without(first, dim):
            shapes = ", ".join(str(x.shape) for x in full)
            raise ValueError(
                f"cat: tensor {k} of shape {x.shape} cannot follow one of shape {first} along "
                f"dimension {dim}: all other dimensions must be equal (shapes {shapes}); to join "
                "along a new dimension use stack"
            )
    return Cat.apply(*full, dim=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new dimension `dim` of the result."""
    parts = _joined("stack", tensors)
    dim = check_dim("stack", dim, parts[0].ndim + 1)
    for k, x in enumerate(parts):
        if x.shape != parts[0].shape:
            raise ValueError(
                f"stack: tensor {k} has shape {x.shape}, tensor 0 {parts[0].shape}; all must be "
                "equal"
            )
    return Stack.apply(*parts, dim=dim)


def _joined(op: str, tensors: Sequence[Any]) -> list[Tensor]:
    """At least one tensor, in their joint dtype."""
    if isinstance(tensors, Tensor):
        raise TypeError(f"{op}: expected a sequence of tensors, got one of shape {tensors.shape}")
    parts = [as_tensor(x) for x in tensors]
    if not parts:
        raise ValueError(f"{op}: expected at least one tensor")
    highest = max(_CATEGORY[x.dtype.kind] for x in parts)
    among = [x.dtype for x in parts if _CATEGORY[x.dtype.kind] == highest]
    dtype = functools.reduce(np.promote_types, among)
    return [astype(x, dtype) for x in parts]


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive pieces along `dim`.

    Args:
        split_size_or_sections: an int: the length of each piece (the last one may be shorter); or
            a list: the length of each, together the length of the dimension.

    Returns:
        views.
    """
    dim = check_dim("split", dim, tensor.ndim)
    if tensor.ndim == 0:
        raise ValueError("split: a 0-d tensor has no dimension to split")
    size = tensor.shape[dim]
    if isinstance(split_size_or_sections, (list, tuple)):
        sizes = list(_sizes((split_size_or_sections,)))
        if sum(sizes) != size or any(n < 0 for n in sizes):
            raise ValueError(
                f"split: pieces {sizes} do not add up to dimension {dim} of {tensor.shape}"
            )
    else:
        step = operator.index(split_size_or_sections)
        if step < 0 or (step == 0 and size):
            raise ValueError(f"split: the length of a piece must be positive, got {step}")
        sizes = [min(step, size - start) for start in range(0, size, step or 1)] or [0]
    return Split.apply(tensor, sizes=sizes, dim=dim)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal length along `dim`; the last may be shorter. Views."""
    if chunks < 1:
        raise ValueError(f"chunk: the number of pieces must be positive, got {chunks}")
    dim = check_dim("chunk", dim, input.ndim)
    if input.ndim == 0:
        raise ValueError("chunk: a 0-d tensor has no dimension to divide")
    size = input.shape[dim]
    if size == 0:
        return split(input, [0] * chunks, dim)
    return split(input, -(-size // chunks), dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices of `input` along `dim`, without that dimension. Views."""
    dim = check_dim("unbind", dim, input.ndim)
    if input.ndim == 0:
        raise ValueError("unbind: a 0-d tensor has no dimension to unbind")
    return Unbind.apply(input, dim=dim)


# -- more, or in another order --------------------------------------------------------------------


class Clone(Function):
    """A copy in memory of its own, in row-major order."""

    def forward(self, x: Any) -> Any:
        return x.copy()

    def backward(self, grad: Tensor) -> Any:
        return grad


def clone(input: Tensor) -> Tensor:
    """A copy; gradients flow through it. For a copy outside the graph: `.detach().clone()`."""
    return Clone.apply(input)


def contiguous(input: Tensor) -> Tensor:
    """`input` in row-major order in memory: itself, or a copy."""
    return input if input.data.flags.c_contiguous else Clone.apply(input)


class Flip(Function):
    """The order of elements reversed along dimensions: its own inverse and adjoint."""

    def forward(self, x: Any, dims: tuple[int, ...]) -> Any:
        self.dims = dims
        reverse, keep = slice(None, None, -1), slice(None)
        turned = tuple([reverse if d in dims else keep for d in range(x.ndim)])
        return x[turned + (...,)].copy()

    def backward(self, grad: Tensor) -> Any:
        return Flip.apply(grad, dims=self.dims)


def flip(input: Tensor, *dims: Any) -> Tensor:
    """The order of elements reversed along `dims` (ints or one tuple). A copy."""
    chosen = tuple([check_dim("flip", d, input.ndim) for d in _sizes(dims)])
    if len(set(chosen)) != len(chosen):
        raise ValueError(f"flip: a dimension appears twice in {_sizes(dims)}")
    return Flip.apply(input, dims=chosen)


class Roll(Function):
    """Elements moved along dimensions: what goes out at one end comes in at the other. Undone by
    the negative shifts."""

    def forward(self, x: Any, shifts: tuple[int, ...], dims: tuple[int, ...]) -> Any:
        self.shifts, self.dims = shifts, dims
        return of(x).xp.roll(x, shifts, dims)

    def backward(self, grad: Tensor) -> Any:
        return Roll.apply(grad, shifts=tuple([-s for s in self.shifts]), dims=self.dims)


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved by `shifts` along `dims` (ints or tuples of one length), cyclically.

    Without `dims` the tensor is rolled as if it were flat.
    """
    steps = _tuple(shifts)
    if dims is None:
        if len(steps) != 1:
            raise ValueError(f"roll: without dims there is one shift, not {len(steps)}")
        flat = _reshape(input, (input.data.size,))
        return _reshape(Roll.apply(flat, shifts=steps, dims=(0,)), input.shape)
    axes = tuple([check_dim("roll", d, input.ndim) for d in _tuple(dims)])
    if len(axes) != len(steps):
        raise ValueError(f"roll: {len(steps)} shift(s) for {len(axes)} dimension(s)")
    if input.ndim == 0:
        raise IndexError(f"roll: dims {dims} given, but a 0-d tensor has none")
    return Roll.apply(input, shifts=steps, dims=axes)


class Repeat(Function):
    """The whole tensor `counts[i]` times along each dimension; the gradient is their sum."""

    def forward(self, x: Any, counts: tuple[int, ...]) -> Any:
        self.counts, self.shape = counts, x.shape
        return of(x).xp.tile(x, counts)

    def backward(self, grad: Tensor) -> Any:
        lead = len(self.counts) - len(self.shape)
        shape = (1,) * lead + self.shape
        # (r0 n0, r1 n1) -> (r0, n0, r1, n1) -> (1, n0, 1, n1) -> (n0, n1)
        apart = tuple([m for pair in zip(self.counts, shape, strict=True) for m in pair])
        once = tuple([m for n in shape for m in (1, n)])
        return _reshape(sum_to(_reshape(grad, apart), once), self.shape)


class RepeatInterleave(Function):
    """Each element `count` times in a row along a dimension; the gradient is their sum."""

    def forward(self, x: Any, count: int, dim: int) -> Any:
        self.count, self.dim, self.shape = count, dim, x.shape
        return of(x).xp.repeat(x, count, axis=dim)

    def backward(self, grad: Tensor) -> Any:
        before, after = self.shape[: self.dim + 1], self.shape[self.dim + 1 :]
        apart = _reshape(grad, (*before, self.count, *after))
        return _reshape(sum_to(apart, (*before, 1, *after)), self.shape)


def repeat(input: Tensor, *sizes: Any) -> Tensor:
    """The whole tensor `sizes[i]` times along dimension i; surplus sizes make new leading ones."""
    counts = _sizes(sizes)
    if len(counts) < input.ndim or any(n < 0 for n in counts):
        raise ValueError(
            f"repeat: expected a count of at least 0 for each dimension of {input.shape}, "
            f"got {counts}"
        )
    return Repeat.apply(input, counts=counts)


def tile(input: Tensor, *dims: Any) -> Tensor:
    """As `repeat`; if there are fewer counts than dimensions, they count for the last ones."""
    counts = _sizes(dims)
    return repeat(input, (1,) * (input.ndim - len(counts)) + counts)


class Pad(Function):
    """Constant margins added, or taken away (negative widths): undone by the negative widths."""

    def forward(self, x: Any, widths: tuple[tuple[int, int], ...], value: Any = 0) -> Any:
        self.widths = widths
        xp = of(x).xp
        shape = tuple([n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)])
        out = xp.full(shape, value, x.dtype) if value else xp.zeros(shape, x.dtype)
        to, origin = [], []
        for n, (a, b) in zip(x.shape, widths, strict=True):
            to.append(slice(max(a, 0), max(a, 0) + n - max(-a, 0) - max(-b, 0)))
            origin.append(slice(max(-a, 0), n - max(-b, 0)))
        out[tuple(to)] = x[tuple(origin)]
        return out

    def backward(self, grad: Tensor) -> Any:
        return Pad.apply(grad, widths=tuple([(-a, -b) for a, b in self.widths]))


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Margins around the last dimensions.

    Args:
        input: any shape.
        pad: the widths in elements, from the last dimension backwards: (left, right, top, bottom)
            for images. Negative widths cut away.
        mode: "constant": filled with `value`; "reflect": mirrored at the edge element, which is not
            repeated (3 2 | 1 2 3 | 2 1); "replicate": the edge element repeated; "circular": the
            other end comes round.
        value: of constant margins; default 0.

    Raises:
        ValueError: an odd number of widths, more than dimensions, or margins wider than the mode
            can fill.
    """
    amounts = [operator.index(n) for n in pad]
    if len(amounts) % 2 or len(amounts) > 2 * input.ndim:
        raise ValueError(
            f"pad: expected a pair of widths for each of the last dimensions of {input.shape}, got "
            f"{tuple(amounts)}"
        )
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
    widths = [(0, 0)] * (input.ndim - len(pairs)) + pairs
    for n, (a, b) in zip(input.shape, widths, strict=True):
        if n + a + b < 0 or n + min(a, 0) + min(b, 0) < 0:
            raise ValueError(f"pad: widths {tuple(amounts)} cut away more than {input.shape} has")
    if mode == "constant":
        return Pad.apply(input, widths=tuple(widths), value=0 if value is None else value)
    if mode not in _MARGINS:
        known = ", ".join(["constant", *_MARGINS])
        raise ValueError(f"pad: unknown mode {mode!r}; known are {known}")
    if value is not None:
        raise ValueError(f"pad: mode {mode!r} takes no value")
    if input.ndim - len(pairs) not in (1, 2) or 0 in input.shape[input.ndim - len(pairs) - 1 :]:
        raise ValueError(
            f"pad: mode {mode!r} with {len(pairs)} pair(s) of widths needs an input (N, C, ...) or "
            f"(C, ...) of as many axes, of which only the batch may be empty; got {input.shape}"
        )
    for dim, (a, b) in enumerate(widths):
        if a or b:
            input = _MARGINS[mode](input, dim, a, b)
    return input


def _reflect(x: Tensor, dim: int, a: int, b: int) -> Tensor:
    n = x.shape[dim]
    if max(a, b) >= n:
        raise ValueError(
            f"pad: mode 'reflect' needs widths below the size of the dimension: ({a}, {b}) for "
            f"dimension {dim} of {x.shape}"
        )
    parts = [x]
    if a > 0:
        parts.insert(0, Flip.apply(_cut(x, dim, 1, a + 1), dims=(dim,)))
    if b > 0:
        parts.append(Flip.apply(_cut(x, dim, n - 1 - b, n - 1), dims=(dim,)))
    return _crop(Cat.apply(*parts, dim=dim), dim, a, b)


def _replicate(x: Tensor, dim: int, a: int, b: int) -> Tensor:
    n = x.shape[dim]
    if n == 0:
        raise ValueError(f"pad: mode 'replicate' has no edge in dimension {dim} of {x.shape}")
    parts = [x]
    if a > 0:
        parts.insert(0, _repeated(_cut(x, dim, 0, 1), dim, a))
    if b > 0:
        parts.append(_repeated(_cut(x, dim, n - 1, n), dim, b))
    return _crop(Cat.apply(*parts, dim=dim), dim, a, b)


def _repeated(x: Tensor, dim: int, count: int) -> Tensor:
    return broadcast_to(x, (*x.shape[:dim], count, *x.shape[dim + 1 :]))


def _circular(x: Tensor, dim: int, a: int, b: int) -> Tensor:
    x = _crop(x, dim, a, b)
    n = x.shape[dim]
    if max(a, b) > n:
        raise ValueError(
            f"pad: mode 'circular' goes round once at most: ({a}, {b}) for dimension {dim} of "
            f"{x.shape}"
        )
    parts = [x]
    if a > 0:
        parts.insert(0, _cut(x, dim, n - a, n))
    if b > 0:
        parts.append(_cut(x, dim, 0, b))
    return Cat.apply(*parts, dim=dim)


def _crop(x: Tensor, dim: int, a: int, b: int) -> Tensor:
    """`x` without what negative widths cut away."""
    if a >= 0 and b >= 0:
        return x
    return _cut(x, dim, max(-a, 0), x.shape[dim] - max(-b, 0))


_MARGINS = {"reflect": _reflect, "replicate": _replicate, "circular": _circular}


# -- arguments ------------------------------------------------------------------------------------


def _sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """The integers of `f(2, 3)` or `f((2, 3))`."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    return tuple([operator.index(n) for n in args])


def _tuple(value: Any) -> tuple[int, ...]:
    return _sizes(tuple(value) if isinstance(value, (tuple, list)) else (value,))


def _list(tensors: tuple[Any, ...]) -> list[Tensor]:
    """The tensors of `f(a, b)` or `f([a, b])`."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    return [as_tensor(x) for x in tensors]


def _without(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return shape[:dim] + shape[dim + 1 :]


def _infer(op: str, count: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """`sizes` with -1 replaced by what remains of `count` elements."""
    known = math.prod([n for n in sizes if n != -1])
    open_ = sizes.count(-1)
    if open_ > 1 or any(n < -1 for n in sizes):
        raise ValueError(f"{op}: sizes must not be negative, but for one -1; got {sizes}")
    if open_ and known == 0:
        raise ValueError(f"{op}: what -1 stands for in {sizes} is ambiguous for {count} elements")
    shape = tuple([count // known if n == -1 else n for n in sizes])
    if math.prod(shape) != count:
        raise ValueError(f"{op}: {count} elements do not fit into shape {sizes}")
    return shape
