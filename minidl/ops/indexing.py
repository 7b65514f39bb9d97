"""Indexing: x[key], assignment to x[key], and torch's gather and scatter family.

A key is taken apart first. Integers, slices, None and Ellipsis select a view (Slice, in shape.py).
Integer arrays then pick elements out of this view: Take. As an element may be picked more than
once, its gradient is a sum over all its picks: TakeAdjoint, a scatter-add. Boolean masks become
the indices of their true elements. IndexPut is assignment or addition into a copy.

Gather, scatter, index_select and masked_select are these three under other names.

Where NumPy and torch differ the result is torch's: in x[0, :, [1, 2]] the integer selects first,
then the list picks columns.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import Function, Tensor, wrap
from ..autograd.modes import mode
from ..backend import of
from .common import astype, broadcast_to, check_broadcast, check_dim, sum_to
from .shape import RepeatInterleave, Slice, broadcast_tensors, flatten, reshape

__all__ = [
    "gather",
    "index_put",
    "index_select",
    "masked_select",
    "one_hot",
    "repeat_interleave",
    "scatter",
    "scatter_add",
    "take_along_dim",
]


class Take(Function):
    """x[i_0, i_1, ...] with integer arrays at some dimensions. The adjoint adds up.

    Adjacent index arrays put their common (broadcast) dimensions in their place; others first.
    """

    def forward(self, x: Any, *indices: Any, dims: tuple[int, ...], unique: bool = False) -> Any:
        self.dims, self.unique, self.shape = dims, unique, x.shape
        self.save_for_backward(*indices)
        if len(indices) == 1:
            return of(x).xp.take(x, indices[0], axis=dims[0])
        return x[_array_key(dims, indices)]

    def backward(self, grad: Tensor) -> Any:
        return TakeAdjoint.apply(
            grad, *self.saved_tensors, dims=self.dims, unique=self.unique, shape=self.shape
        )


class TakeAdjoint(Function):
    """Zeros of `shape`, to which g is added at [i_0, i_1, ...], as often as a place is named."""

    def forward(
        self, g: Any, *indices: Any, dims: tuple[int, ...], unique: bool, shape: tuple[int, ...]
    ) -> Any:
        self.dims, self.unique = dims, unique
        self.save_for_backward(*indices)
        out = of(g).xp.zeros(shape, g.dtype)
        if unique:
            out[_array_key(dims, indices)] = g
        else:
            of(g).scatter_add(out, _array_key(dims, indices), g)
        return out

    def backward(self, grad: Tensor) -> Any:
        return Take.apply(grad, *self.saved_tensors, dims=self.dims, unique=self.unique)


class IndexPut(Function):
    """A copy of x in which x[key] is `value`, or x[key] + value (accumulate).

    The gradient of x is that of the result, with zeros where values were overwritten; that of the
    value is taken from its places. If a place is assigned twice, which value stays is undefined.
    """

    def forward(
        self,
        x: Any,
        value: Any,
        *indices: Any,
        basic: tuple[Any, ...],
        dims: tuple[int, ...],
        unique: bool,
        accumulate: bool,
    ) -> Any:
        self.basic, self.dims, self.unique, self.accumulate = basic, dims, unique, accumulate
        self.value_shape = np.shape(value)
        self.save_for_backward(*indices)
        out = x.copy()
        _write(out, value, indices, basic, dims, unique, accumulate)
        return out

    def backward(self, grad: Tensor) -> Any:
        need_x, need_value = self.needs_input_grad[:2]
        indices = self.saved_tensors
        grad_x = grad_value = None
        if need_x:
            grad_x = grad
            if not self.accumulate:
                grad_x = IndexPut.apply(
                    grad,
                    0,
                    *indices,
                    basic=self.basic,
                    dims=self.dims,
                    unique=self.unique,
                    accumulate=False,
                )
        if need_value:
            part = Slice.apply(grad, key=self.basic)
            if indices:
                part = Take.apply(part, *indices, dims=self.dims, unique=self.unique)
            grad_value = sum_to(part, self.value_shape)
        return grad_x, grad_value


def _array_key(dims: tuple[int, ...], indices: Sequence[Any]) -> tuple[Any, ...]:
    key = [slice(None)] * (dims[-1] + 1)
    for dim, index in zip(dims, indices, strict=True):
        key[dim] = index
    return tuple(key)


def _write(
    out: Any,
    value: Any,
    indices: Sequence[Any],
    basic: tuple[Any, ...],
    dims: tuple[int, ...],
    unique: bool,
    accumulate: bool,
) -> None:
    """out[basic][indices at dims] = value, or += value."""
    part = out[basic + (...,)]
    if not indices:
        part[...] = part + value if accumulate else value
        return
    key = _array_key(dims, indices)
    if not accumulate:
        part[key] = value
    elif unique:
        part[key] += value
    else:
        xp = of(out).xp
        shape = _taken_shape(part.shape, [i.shape for i in indices], dims)
        of(out).scatter_add(part, key, xp.broadcast_to(xp.asarray(value, out.dtype), shape))


def _taken_shape(
    shape: tuple[int, ...], index_shapes: Sequence[tuple[int, ...]], dims: tuple[int, ...]
) -> tuple[int, ...]:
    """The shape of x[indices at dims] for x of `shape`."""
    picked = np.broadcast_shapes(*index_shapes)
    adjacent = dims[-1] - dims[0] == len(dims) - 1
    at = dims[0] if adjacent else 0
    rest = [n for d, n in enumerate(shape) if d not in dims]
    return (*rest[:at], *picked, *rest[at:])


# -- keys -----------------------------------------------------------------------------------------


class _Key:
    """A key taken apart.

    Attributes:
        basic: an integer, a slice or None for each dimension: the view.
        picks: dimension of the view -> index tensor of integers.
        unique: whether no element can be picked twice (only masks do the picking).
    """

    def __init__(self, x: Tensor, key: Any, op: str) -> None:
        parts = [_part(p, x, op) for p in (key if isinstance(key, tuple) else (key,))]
        parts = _without_ellipsis(parts, x.shape, op)
        self.basic: list[Any] = []
        self.picks: dict[int, Tensor] = {}
        self.unique = True
        dim = axis = 0  # of the view, and of x
        for part in parts:
            size = x.shape[axis] if axis < x.ndim else 0
            if isinstance(part, int):
                if not -size <= part < size:
                    raise IndexError(
                        f"{op}: index {part} is out of range for dimension {axis} of shape "
                        f"{x.shape}"
                    )
                self.basic.append(part)
                axis += 1
            elif part is None:
                self.basic.append(None)
                dim += 1
            elif isinstance(part, slice):
                self.basic.append(part)
                dim, axis = dim + 1, axis + 1
            elif part.dtype == np.bool_:
                covered = x.shape[axis : axis + part.ndim]
                if part.shape != covered:
                    raise IndexError(
                        f"{op}: a mask of shape {part.shape} does not fit dimensions {axis} to "
                        f"{axis + part.ndim - 1} of shape {x.shape}"
                    )
                # A 0-d mask is one for a new dimension of length 1.
                self.basic += [slice(None)] * part.ndim or [None]
                for index in _true_places(part):
                    self.picks[dim] = index
                    dim += 1
                axis += part.ndim
            else:
                of(part.data).check_index(op, part.data, size, axis, negative=True)
                self.basic.append(slice(None))
                self.picks[dim] = part
                self.unique = False
                dim, axis = dim + 1, axis + 1
        try:
            np.broadcast_shapes(*[i.shape for i in self.picks.values()])
        except ValueError:
            shapes = ", ".join(str(i.shape) for i in self.picks.values())
            raise IndexError(f"{op}: index arrays of shapes {shapes} do not broadcast") from None

    @property
    def is_whole(self) -> bool:
        """Whether the view is all of the tensor."""
        return all(type(p) is slice and p == slice(None) for p in self.basic)

    def scalars(self) -> dict[int, Tensor]:
        """The 0-d picks, where there are others beside them: they select first, as integers do."""
        chosen = {d: i for d, i in self.picks.items() if i.ndim == 0}
        return chosen if len(chosen) < len(self.picks) else {}


def _part(part: Any, x: Tensor, op: str) -> Any:
    """One part of a key: an int, a slice of ints, None, Ellipsis, or a Tensor on x's device."""
    if part is None or part is Ellipsis:
        return part
    if isinstance(part, slice):
        ends = (part.start, part.stop, part.step)
        return slice(*[None if n is None else operator.index(n) for n in ends])
    if isinstance(part, (bool, np.bool_)):
        return Tensor(np.asarray(part), device=x.device)
    if isinstance(part, (int, np.integer)):
        return int(part)
    if isinstance(part, (list, tuple, range)) and len(part) == 0:
        part = np.zeros(0, np.int64)
    if isinstance(part, (str, bytes, float)):
        raise IndexError(f"{op}: {part!r} is not an index; use integers, slices, masks or None")
    if isinstance(part, np.ndarray) and part.ndim == 0 and part.dtype.kind in "iu":
        return int(part)
    index = part if isinstance(part, Tensor) else Tensor(part, device=x.device)
    if index.dtype.kind == "u":
        raise IndexError(
            f"{op}: an index of dtype {index.dtype} may be meant as a mask or as positions; use "
            ".bool() or .long()"
        )
    if index.dtype.kind not in "ib":
        raise IndexError(f"{op}: index tensors hold integers or booleans, not {index.dtype}")
    return index if index.device == x.device else index.detach().to(x.device)


def _without_ellipsis(parts: list[Any], shape: tuple[int, ...], op: str) -> list[Any]:
    """The parts of a key with one part for each dimension: what is left out is a full slice."""
    used = sum(0 if p is None or p is Ellipsis else p.ndim if _is_mask(p) else 1 for p in parts)
    if used > len(shape):
        raise IndexError(f"{op}: {used} indices for a tensor of shape {shape}")
    places = [k for k, p in enumerate(parts) if p is Ellipsis]
    if len(places) > 1:
        raise IndexError(f"{op}: only one ellipsis (...) may stand in a key")
    at = places[0] if places else len(parts)
    return [*parts[:at], *[slice(None)] * (len(shape) - used), *parts[at + 1 :]]


def _is_mask(part: Any) -> bool:
    return isinstance(part, Tensor) and part.dtype == np.bool_


def _true_places(mask: Tensor) -> list[Tensor]:
    """The indices of the true elements, one tensor for each dimension (waits for a GPU)."""
    array = mask.data.reshape(mask.shape or (1,))
    return [wrap(i) for i in of(array).xp.nonzero(array)]


# -- x[key] ---------------------------------------------------------------------------------------


def getitem(self: Tensor, key: Any) -> Tensor:
    """`x[key]`: a view for integers, slices, None and Ellipsis; a copy where index arrays or masks
    pick elements.

    Raises:
        IndexError: more indices than dimensions, one out of range (on the CPU), a mask or index of
            the wrong shape or dtype.
    """
    parsed = _Key(self, key, "x[key]")
    if not (parsed.picks and parsed.is_whole):
        self = Slice.apply(self, key=tuple(parsed.basic))
    scalars = parsed.scalars()
    if scalars:
        self = _take(self, scalars, False)
        return _take(self, _renumbered(parsed.picks, scalars), parsed.unique)
    return _take(self, parsed.picks, parsed.unique) if parsed.picks else self


def _take(x: Tensor, picks: dict[int, Tensor], unique: bool) -> Tensor:
    return Take.apply(x, *picks.values(), dims=tuple(picks), unique=unique)


def _renumbered(picks: dict[int, Tensor], taken: dict[int, Tensor]) -> dict[int, Tensor]:
    """The other picks, with dimensions counted without those that are `taken`."""
    return {d - sum(t < d for t in taken): i for d, i in picks.items() if d not in taken}


def index_put(input: Tensor, indices: Any, values: Any, accumulate: bool = False) -> Tensor:
    """A copy of `input` in which the elements at a key are replaced by, or increased by, `values`.

    Args:
        indices: a key as in x[key].
        values: a tensor that broadcasts to the shape of input[indices], or a number.
        accumulate: add to the elements; one that is named several times receives every value.
            Without it the value that stays there is undefined.

    Raises:
        IndexError: as x[key].
        ValueError: `values` do not broadcast to the places.
    """
    parsed = _Key(input, indices, "index_put")
    scalars = parsed.scalars()
    basic = tuple(parsed.basic)
    if scalars:
        part = _take(Slice.apply(input, key=basic), scalars, False)
        others = _renumbered(parsed.picks, scalars)
        value = _fitting(values, part.shape, others, input, "index_put")
        part = _put(part, value, others, (), parsed.unique, accumulate)
        return _put(input, part, scalars, basic, True, False)
    view_shape = input.data[basic + (...,)].shape
    value = _fitting(values, view_shape, parsed.picks, input, "index_put")
    return _put(input, value, parsed.picks, basic, parsed.unique, accumulate)


def _put(
    x: Tensor,
    value: Any,
    picks: dict[int, Tensor],
    basic: tuple[Any, ...],
    unique: bool,
    accumulate: bool,
) -> Tensor:
    return IndexPut.apply(
        x,
        value,
        *picks.values(),
        basic=basic,
        dims=tuple(picks),
        unique=unique,
        accumulate=accumulate,
    )


def _fitting(
    value: Any, shape: tuple[int, ...], picks: dict[int, Tensor], x: Tensor, op: str
) -> Any:
    """`value` as a number, or as a Tensor of x's dtype and device that broadcasts to its places."""
    if isinstance(value, (bool, int, float, np.generic)):
        return value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, Tensor):
        value = Tensor(value, device=x.device)
    if value.device != x.device and value.ndim == 0:
        value = value.to(x.device)
    if picks:
        shape = _taken_shape(shape, [i.shape for i in picks.values()], tuple(picks))
    surplus = value.ndim - len(shape)
    if surplus > 0 and math.prod(value.shape[:surplus]) == 1:  # leading ones, as NumPy
        value = reshape(value, value.shape[surplus:])
    pairs = zip(value.shape[::-1], shape[::-1], strict=False)
    if value.ndim > len(shape) or any(n not in (1, m) for n, m in pairs):
        raise ValueError(
            f"{op}: values of shape {value.shape} do not broadcast to the places' shape {shape}"
        )
    return astype(value, x.dtype)


def setitem(self: Tensor, key: Any, value: Any) -> None:
    """`x[key] = value`: into the memory of x; where gradients flow, into a copy that x becomes.

    Raises:
        RuntimeError: x is a leaf that requires a gradient, or a view, while operations are
            recorded; or it was expanded.
        IndexError, ValueError: as `index_put`.
    """
    if mode.recording and (
        self.requires_grad or (isinstance(value, Tensor) and value.requires_grad)
    ):
        self.check_change()
        self.adopt(index_put(self, key, value))
        return
    check_writable(self, "x[key] = value")
    parsed = _Key(self, key, "x[key] = value")
    if parsed.scalars():
        changed = index_put(self.detach(), key, value)
        self.data[...] = changed.data
    else:
        basic = tuple(parsed.basic)
        view_shape = self.data[basic + (...,)].shape
        value = _fitting(value, view_shape, parsed.picks, self, "x[key] = value")
        array = value.data if isinstance(value, Tensor) else value
        indices = [i.data for i in parsed.picks.values()]
        _write(self.data, array, indices, basic, tuple(parsed.picks), parsed.unique, False)
    self.bump_version()


def check_writable(x: Tensor, op: str) -> None:
    """Refuse to write into expanded memory, where one place holds several elements."""
    if any(s == 0 and n > 1 for s, n in zip(x.data.strides, x.shape, strict=True)):
        raise RuntimeError(
            f"{op}: this tensor of shape {x.shape} was expanded: several of its elements share one "
            "place in memory; work on a copy (.clone())"
        )


# -- along one dimension --------------------------------------------------------------------------


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """out[i][j][k] = input[i][index[i][j][k]][k] for dim = 1.

    Args:
        input: any shape with at least one dimension.
        dim: the dimension in which `index` counts.
        index: integers from 0, as many dimensions as `input`; not larger, except in `dim`.

    Returns:
        of the shape of `index`.

    Raises:
        IndexError: a negative index or one out of range (on the CPU).
        ValueError: shapes that do not fit.
    """
    key = _grid("gather", input, dim, index)
    return Take.apply(input, *key, dims=tuple(range(input.ndim)))


def scatter(input: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
    """A copy of `input` with out[i][index[i][j][k]][k] = src[i][j][k] for dim = 1.

    Args:
        index: integers from 0, as many dimensions as `input`; not larger, except in `dim`. Where a
            place is named twice, the value that stays is undefined.
        src: a tensor not smaller than `index`, of the dtype of `input`; or a number.
    """
    return _scatter("scatter", input, dim, index, src, False)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of `input` with src[i][j][k] added at [i][index[i][j][k]][k] for dim = 1.

    Args: as `scatter`; a place that is named several times receives every value.
    """
    return _scatter("scatter_add", input, dim, index, src, True)


def _scatter(op: str, input: Tensor, dim: int, index: Tensor, src: Any, accumulate: bool) -> Tensor:
    key = _grid(op, input, dim, index)
    if isinstance(src, Tensor):
        if src.dtype != input.dtype:
            raise TypeError(
                f"{op}: src is {src.dtype} but input {input.dtype}; cast one with .to(dtype)"
            )
        if src.ndim != index.ndim or any(
            n < m for n, m in zip(src.shape, index.shape, strict=False)
        ):
            raise ValueError(f"{op}: src {src.shape} is smaller than index {index.shape}")
        if src.shape != index.shape:
            src = Slice.apply(src, key=tuple([slice(0, n) for n in index.shape]))
    return IndexPut.apply(
        input,
        src,
        *key,
        basic=(slice(None),) * input.ndim,
        dims=tuple(range(input.ndim)),
        unique=False,
        accumulate=accumulate,
    )


def _grid(op: str, input: Tensor, dim: int, index: Tensor) -> list[Tensor]:
    """Index arrays for all dimensions: `index` for `dim`, the own position for the others."""
    dim = check_dim(op, dim, input.ndim)
    _check_integers(op, index)
    if input.ndim == 0 or index.ndim != input.ndim:
        raise ValueError(
            f"{op}: index {index.shape} must have as many dimensions as input {input.shape}, at "
            "least one"
        )
    for d, (n, size) in enumerate(zip(index.shape, input.shape, strict=True)):
        if d != dim and n > size:
            raise ValueError(
                f"{op}: index {index.shape} is larger than input {input.shape} in dimension {d}"
            )
    backend = of(index.data)
    backend.check_index(op, index.data, input.shape[dim], dim, negative=False)
    key = []
    for d, n in enumerate(index.shape):
        along_d = [1] * index.ndim
        along_d[d] = n
        key.append(index if d == dim else wrap(backend.xp.arange(n).reshape(along_d)))
    return key


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` with broadcasting: takes what argsort, argmax (keepdim) and topk point to.

    Args:
        indices: integers from 0; broadcast against `input` in all dimensions but `dim`.
        dim: None: both flattened.
    """
    if dim is None:
        return gather(flatten(input), 0, flatten(indices))
    dim = check_dim("take_along_dim", dim, input.ndim)
    _check_integers("take_along_dim", indices)
    if indices.ndim != input.ndim:
        raise ValueError(
            f"take_along_dim: indices {indices.shape} must have as many dimensions as input "
            f"{input.shape}"
        )

    def but_dim(shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:dim], 1, *shape[dim + 1 :])

    try:
        common = np.broadcast_shapes(but_dim(input.shape), but_dim(indices.shape))
    except ValueError:
        raise ValueError(
            f"take_along_dim: indices {indices.shape} do not broadcast with input {input.shape} "
            f"outside of dimension {dim}"
        ) from None

    def with_dim(n: int) -> tuple[int, ...]:
        return (*common[:dim], n, *common[dim + 1 :])

    input = broadcast_to(input, with_dim(input.shape[dim]))
    return gather(input, dim, broadcast_to(indices, with_dim(indices.shape[dim])))


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of `input` that `index` (integers from 0, 1-d) names along `dim`, in its order."""
    dim = check_dim("index_select", dim, input.ndim)
    _check_integers("index_select", index)
    if index.ndim > 1 or input.ndim == 0:
        raise ValueError(
            f"index_select: expected a 1-d index, got {index.shape} for input {input.shape}"
        )
    of(index.data).check_index("index_select", index.data, input.shape[dim], dim, negative=False)
    return Take.apply(input, reshape(index, -1) if index.ndim == 0 else index, dims=(dim,))


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where `mask` is true, 1-d; the two broadcast. Waits for a GPU."""
    if mask.dtype != np.bool_:
        raise TypeError(f"masked_select: the mask must be boolean, got {mask.dtype}")
    check_broadcast("masked_select", input, mask)
    input, mask = broadcast_tensors(input, mask)
    return input[mask]


def repeat_interleave(
    input: Tensor, repeats: Any, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each slice along `dim` several times in a row.

    Args:
        repeats: a number, or a 1-d tensor with one for each slice (read on the host).
        dim: None: the flattened tensor.
        output_size: the sum of `repeats`, checked if given.
    """
    if dim is None:
        input, dim = flatten(input), 0
    dim = check_dim("repeat_interleave", dim, input.ndim)
    if input.ndim == 0:
        input = reshape(input, 1)
    size = input.shape[dim]
    if isinstance(repeats, (int, np.integer)):
        counts = None
        total = size * int(repeats)
        negative = repeats < 0
    else:
        values = repeats.tolist() if isinstance(repeats, Tensor) else repeats
        counts = np.array(values, dtype=np.int64)
        if counts.ndim > 1 or counts.size not in (1, size):
            raise ValueError(
                f"repeat_interleave: {counts.shape} repeats for dimension {dim} of {input.shape}"
            )
        counts = np.broadcast_to(counts.reshape(-1), (size,))
        total = int(counts.sum())
        negative = bool((counts < 0).any())
    if negative:
        raise ValueError("repeat_interleave: repeats must not be negative")
    if output_size is not None and output_size != total:
        raise ValueError(
            f"repeat_interleave: output_size {output_size}, but repeats add to {total}"
        )
    if counts is None:
        return RepeatInterleave.apply(input, count=int(repeats), dim=dim)
    index = Tensor(np.repeat(np.arange(size), counts), device=input.device)
    return Take.apply(input, index, dims=(dim,))


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Class numbers as vectors with a 1 at the class.

    Args:
        tensor: integers from 0, any shape.
        num_classes: the length of the vectors; -1: one more than the largest number (waits for a
            GPU).

    Returns:
        int64, (*tensor.shape, num_classes).

    Raises:
        TypeError: not integers.
        IndexError: a class is negative or too large (on the CPU).
    """
    _check_integers("one_hot", tensor)
    if num_classes == -1:
        if not tensor.data.size:
            raise ValueError("one_hot: num_classes cannot be found from an empty tensor")
        num_classes = int(of(tensor.data).to_host(tensor.data).max()) + 1
    backend = of(tensor.data)
    backend.check_index("one_hot", tensor.data, num_classes, tensor.ndim, negative=False)
    classes = backend.xp.arange(num_classes)
    return wrap((tensor.data[..., None] == classes).astype(np.int64))


def _check_integers(op: str, index: Any) -> None:
    if not isinstance(index, Tensor) or index.dtype.kind not in "iu":
        kind = index.dtype if isinstance(index, Tensor) else type(index).__name__
        raise TypeError(f"{op}: expected a tensor of integers, got {kind}")
