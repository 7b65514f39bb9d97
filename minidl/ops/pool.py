"""Pooling and unpooling.

Max-pooling keeps the largest element of every window and remembers where it was. Everything that
follows is reading and writing by these indices: the gradient of max-pooling *scatters* (adds each
window's gradient where its maximum was), and the gradient of that *gathers*. Max-unpooling is the
same scatter in the forward direction (Zeiler and Fergus 2014; Badrinarayanan et al. 2017).

Average pooling is linear and separable: rows and columns each have a sparse matrix with the weights
of their windows, as in resizing (`resize.py`), and the gradient applies the transposed matrices.
So have the unpoolings that need no indices: nearest (each value over its whole window) and bed of
nails (each value in its window's first pixel, zeros around it).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..autograd import Function, Tensor
from ..autograd.tensor import wrap
from ..backend import of
from ..backend.axis_map import AxisMap
from ..backend.geometry import ConvGeometry
from .common import as_float, as_tensor
from .resize import adaptive_windows, area_map, as_planes, resample, window_map

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "global_avg_pool2d",
    "global_max_pool2d",
    "max_pool1d",
    "max_pool2d",
    "max_unpool1d",
    "max_unpool2d",
    "unpool_nails",
    "unpool_nearest",
]

Size = int | Sequence[int]


class MaxPool(Function):
    """y[o] = x[argmax over window o].    dx = dy scattered to these places"""

    def forward(self, x: Any, geometry: ConvGeometry, dims: int, return_indices: bool) -> Any:
        planes = as_planes(x, dims)
        values, indices = of(x).max_pool(planes, geometry, self.recording or return_indices)
        self.shape, self.geometry = x.shape, geometry
        self.save_for_backward(indices)
        shape = x.shape[:-dims] + values.shape[-dims:]
        values = values.reshape(shape)
        return (values, indices.astype(np.int64).reshape(shape)) if return_indices else values

    def backward(self, grad: Tensor, *_: Tensor) -> Any:
        (indices,) = self.saved_tensors
        return PoolScatter.apply(grad, indices, self.shape)


class PoolScatter(Function):
    """Zeros of `shape`, with x[o] added at place indices[o] of its plane.    dx = gather(dy)"""

    def forward(self, x: Any, indices: Any, shape: tuple[int, ...]) -> Any:
        self.shape = x.shape
        self.save_for_backward(indices)
        planes, each = len(indices), math.prod(indices.shape[1:])
        size = math.prod(shape) // planes if planes else 0
        flat = x.reshape(planes, each), indices.reshape(planes, each)
        return of(x).pool_scatter(*flat, size).reshape(shape)

    def backward(self, grad: Tensor) -> Any:
        (indices,) = self.saved_tensors
        return PoolGather.apply(grad, indices, self.shape)


class PoolGather(Function):
    """y[o] = x[indices[o]] in each plane; 0 where the index is -1.    dx = scatter(dy)"""

    def forward(self, x: Any, indices: Any, shape: tuple[int, ...]) -> Any:
        self.shape = x.shape
        self.save_for_backward(indices)
        planes, each = len(indices), math.prod(indices.shape[1:])
        size = x.size // planes if planes else 0
        flat = x.reshape(planes, size), indices.reshape(planes, each)
        return of(x).pool_gather(*flat).reshape(shape)

    def backward(self, grad: Tensor) -> Any:
        (indices,) = self.saved_tensors
        return PoolScatter.apply(grad, indices, self.shape)


# -- max-pooling ----------------------------------------------------------------------------------


def max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of every window.

    Args:
        input: (N, C, H, W) or (C, H, W), floating point or integers.
        kernel_size, stride, padding, dilation: numbers, or pairs (vertical, horizontal), of
            pixels. stride: default: kernel_size. padding: at most half of kernel_size, at both
            ends; it never is the largest.
        ceil_mode: also take windows that begin inside the image or its padding before it and
            reach beyond its end.
        return_indices: return where the elements were, too.

    Returns:
        (N, C, Ho, Wo); with `return_indices` also int64 of that shape, indices into the flat
        plane (H W): of equal elements the first, of several NaNs the last.

    Raises:
        TypeError: boolean input.
        ValueError: wrong rank or sizes, or no window fits.
    """
    return _max_pool(
        "max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of every window of a sequence (N, C, L) or (C, L); see `max_pool2d`."""
    return _max_pool(
        "max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def _max_pool(
    op: str,
    dims: int,
    input: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    x = _checked(op, input, dims)
    if x.dtype.kind == "b":
        raise TypeError(f"{op}: input must be floating point or integers, got {x.dtype}")
    geometry = _geometry(op, x, dims, kernel_size, stride, padding, dilation, ceil_mode)
    return MaxPool.apply(x, geometry, dims, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest element in each of `output_size` windows that cover the image evenly.

    Args:
        input: (N, C, H, W) or (C, H, W).
        output_size: a number or a pair (Ho, Wo); None leaves an axis as it is. Windows are
            [floor(o H / Ho), ceil((o + 1) H / Ho)), so neighbours may share a row.
        return_indices: return where the elements were, too, as in `max_pool2d`.

    Returns:
        (N, C, Ho, Wo); with `return_indices` also int64 of that shape.

    Raises:
        TypeError: boolean input.
        ValueError: wrong rank or sizes.
    """
    return _adaptive_max_pool("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool2d` for sequences (N, C, L) or (C, L)."""
    return _adaptive_max_pool("adaptive_max_pool1d", 1, input, output_size, return_indices)


def _adaptive_max_pool(
    op: str, dims: int, input: Tensor, output_size: Any, return_indices: bool
) -> Any:
    x = _checked(op, input, dims)
    if x.dtype.kind == "b":
        raise TypeError(f"{op}: input must be floating point or integers, got {x.dtype}")
    sizes = _output_size(op, x, dims, output_size)
    if 0 in sizes:  # nothing to choose from
        pairs = zip(x.shape[-dims:], sizes, strict=True)
        values = resample(x, tuple(area_map(n, out) for n, out in pairs))
        indices = wrap(of(x.data).xp.zeros(values.shape, np.int64))
        return (values, indices) if return_indices else values

    # Windows of one size lie side by side in an image in which shared pixels are written twice.
    maps, kernel = [], []
    for n, out in zip(x.shape[-dims:], sizes, strict=True):
        map = _laid_out(n, out)
        maps.append(None if map.output_size == n else map)
        kernel.append(map.output_size // out)
    wider = resample(x, tuple(maps)) if any(maps) else x
    geometry = _geometry(op, wider, dims, kernel, None, 0, 1, False)
    result = MaxPool.apply(wider, geometry, dims, return_indices)
    if not return_indices or wider is x:
        return result
    values, places = result
    return values, wrap(_original_places(places.data, maps, wider.shape[-1], x.shape[-1]))


@lru_cache(maxsize=256)
def _laid_out(n: int, out: int) -> AxisMap:
    """The map that writes `out` adaptive windows of n pixels one after the other, all equally long.

    Shorter windows repeat their last pixel, which changes neither the maximum nor its place.
    """
    windows = window_map(n, *adaptive_windows(n, out), weights=np.ones_like)
    indices = windows.indices.T.reshape(1, -1)
    return AxisMap(n, indices, np.ones(indices.shape))


def _original_places(
    places: Any, maps: list[AxisMap | None], width: int, original_width: int
) -> Any:
    """Indices into the laid-out plane as indices into the original one."""
    backend = of(places)
    device = backend.index_of(places)
    position = [places // width, places % width][-len(maps) :]
    for axis, map in enumerate(maps):
        if map is not None:
            table = backend.asarray(map.indices[0], np.int64, device)
            position[axis] = backend.xp.take(table, position[axis])
    return position[-1] if len(maps) == 1 else position[0] * original_width + position[1]


def global_max_pool2d(input: Tensor) -> Tensor:
    """The largest element of every channel: (N, C, H, W) to (N, C, 1, 1)."""
    return _adaptive_max_pool("global_max_pool2d", 2, input, 1, False)


# -- average pooling ------------------------------------------------------------------------------


def avg_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of every window.

    Args:
        input: (N, C, H, W) or (C, H, W); integers become float32.
        kernel_size, stride, padding: numbers, or pairs (vertical, horizontal), of pixels. stride:
            default: kernel_size. padding: zeros, at most half of kernel_size, at both ends.
        ceil_mode: also take windows that begin inside the image or its padding before it and
            reach beyond its end; what lies beyond the padding is never counted.
        count_include_pad: whether padding counts as pixels in the mean.
        divisor_override: divide the sum by this number instead.

    Returns:
        (N, C, Ho, Wo).

    Raises:
        ValueError: wrong rank or sizes, or no window fits.
    """
    return _avg_pool(
        "avg_pool2d",
        2,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


def avg_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of every window of a sequence (N, C, L) or (C, L); see `avg_pool2d`."""
    return _avg_pool(
        "avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None
    )


def _avg_pool(
    op: str,
    dims: int,
    input: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    x = as_float(_checked(op, input, dims))
    if divisor_override == 0:
        raise ValueError(f"{op}: divisor_override must not be 0")
    geometry = _geometry(op, x, dims, kernel_size, stride, padding, 1, ceil_mode)
    # The divisor of a window is that of its rows times that of its columns.
    divisors = (None, None) if divisor_override is None else (1, divisor_override)
    maps = []
    for axis in range(2 - dims, 2):
        n = x.shape[axis - 2]
        kernel, stride, padding = (
            geometry.kernel[axis],
            geometry.stride[axis],
            geometry.padding[axis][0],
        )
        out = geometry.output_size((n, n))[axis]
        maps.append(_mean_map(n, out, kernel, stride, padding, count_include_pad, divisors[axis]))
    return resample(x, tuple(maps))


@lru_cache(maxsize=256)
def _mean_map(
    n: int,
    out: int,
    kernel: int,
    stride: int,
    padding: int,
    count_include_pad: bool,
    divisor: int | None,
) -> AxisMap:
    """The means of windows along an axis, or their sums divided by `divisor`."""
    first = np.arange(out) * stride - padding
    start, stop = np.maximum(first, 0), np.minimum(first + kernel, n)
    if divisor is not None:
        count = np.full(out, divisor)
    elif count_include_pad:
        count = np.minimum(first + kernel, n + padding) - first
    else:
        count = stop - start
    return window_map(n, start, stop, lambda taps: np.broadcast_to(1 / count, taps.shape))


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The mean of each of `output_size` windows that cover the image evenly.

    Args:
        input: (N, C, H, W) or (C, H, W); integers become float32.
        output_size: a number or a pair (Ho, Wo); None leaves an axis as it is. Windows are
            [floor(o H / Ho), ceil((o + 1) H / Ho)), so neighbours may share a row.

    Returns:
        (N, C, Ho, Wo).

    Raises:
        ValueError: wrong rank or sizes.
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """`adaptive_avg_pool2d` for sequences (N, C, L) or (C, L)."""
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, input, output_size)


def _adaptive_avg_pool(op: str, dims: int, input: Tensor, output_size: Any) -> Tensor:
    x = as_float(_checked(op, input, dims))
    sizes = _output_size(op, x, dims, output_size)
    pairs = zip(x.shape[-dims:], sizes, strict=True)
    return resample(x, tuple(None if n == out else area_map(n, out) for n, out in pairs))


def global_avg_pool2d(input: Tensor) -> Tensor:
    """The mean of every channel: (N, C, H, W) to (N, C, 1, 1). Lin et al. 2013, section 3.2."""
    return _adaptive_avg_pool("global_avg_pool2d", 2, input, 1)


# -- unpooling ------------------------------------------------------------------------------------


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Each element back where `max_pool2d(..., return_indices=True)` found it, zeros elsewhere.

    Where windows overlapped, several elements may go to one place; they came from there and are
    equal. One of them is written, and that one alone receives the gradient. (torch gives it to all
    of them, which is not the derivative of what it computed.)

    Args:
        input: (N, C, Ho, Wo) or (C, Ho, Wo).
        indices: int64 of that shape: places in the flat plane (H W) of the output.
        kernel_size, stride, padding: of the pooling that is undone.
        output_size: (H, W), or the whole shape, of the output, where several input sizes pool to
            the same size. Default: the smallest image with these windows.

    Returns:
        (N, C, H, W).

    Raises:
        TypeError: indices are not int64.
        ValueError: shapes or sizes that do not fit.
        IndexError: an index points outside of the plane (not found on a GPU).
    """
    return _max_unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """`max_unpool2d` for sequences (N, C, Lo) or (C, Lo)."""
    return _max_unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


def _max_unpool(
    op: str,
    dims: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    output_size: Sequence[int] | None,
) -> Tensor:
    x, indices = _checked(op, input, dims), as_tensor(indices)
    if indices.dtype != np.int64:
        raise TypeError(f"{op}: indices must be int64, got {indices.dtype}")
    if indices.shape != x.shape:
        raise ValueError(f"{op}: indices {indices.shape} must have the shape of input {x.shape}")
    kernel = _per_axis(op, "kernel_size", kernel_size, dims, 1)
    step = kernel if _absent(stride) else _per_axis(op, "stride", stride, dims, 1)
    pad = _per_axis(op, "padding", padding, dims, 0)
    least = [
        (n - 1) * s - 2 * p + k
        for n, s, p, k in zip(x.shape[-dims:], step, pad, kernel, strict=True)
    ]
    sizes = least if output_size is None else [int(n) for n in output_size][-dims:]
    if output_size is not None and (
        len(output_size) not in (dims, x.ndim)
        or not all(abs(n - d) < s for n, d, s in zip(sizes, least, step, strict=True))
    ):
        raise ValueError(
            f"{op}: output_size {tuple(output_size)} does not fit input {x.shape}: it must be less "
            f"than the stride {step} away from {tuple(least)}"
        )
    if min(sizes) < 1:
        raise ValueError(f"{op}: output would be {tuple(sizes)} for input {x.shape}")
    backend, size = of(indices.data), math.prod(sizes)
    flat = indices.data.reshape(math.prod(x.shape[:-dims]), math.prod(x.shape[-dims:]))
    try:
        backend.check_index(op, flat, size, 1, False)
    except IndexError as error:
        raise IndexError(
            f"{op}: indices point outside of the output's plane {tuple(sizes)} of {size} elements; "
            "take them from max_pool with return_indices=True and give its input's size as "
            f"output_size ({error})"
        ) from error
    places = backend.unique_indices(flat, size)
    return PoolScatter.apply(x, wrap(places), (*x.shape[:-dims], *sizes))


def unpool_nearest(input: Tensor, kernel_size: Size) -> Tensor:
    """Each element repeated over a window of its own: the adjoint of summing windows.

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size: a number, or a pair (kh, kw), of pixels.

    Returns:
        (N, C, kh H, kw W).

    Raises:
        ValueError: wrong rank or sizes.
    """
    x = _checked("unpool_nearest", input, 2)
    kernel = _per_axis("unpool_nearest", "kernel_size", kernel_size, 2, 1)
    pairs = zip(x.shape[-2:], kernel, strict=True)
    return resample(x, tuple(_spread_map(n, k, False) for n, k in pairs))


def unpool_nails(input: Tensor, kernel_size: Size) -> Tensor:
    """Each element in the first pixel of a window of its own, zeros around: a bed of nails.

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size: a number, or a pair (kh, kw), of pixels.

    Returns:
        (N, C, kh H, kw W).

    Raises:
        ValueError: wrong rank or sizes.
    """
    x = _checked("unpool_nails", input, 2)
    kernel = _per_axis("unpool_nails", "kernel_size", kernel_size, 2, 1)
    pairs = zip(x.shape[-2:], kernel, strict=True)
    return resample(x, tuple(_spread_map(n, k, True) for n, k in pairs))


@lru_cache(maxsize=256)
def _spread_map(n: int, kernel: int, nails: bool) -> AxisMap:
    o = np.arange(n * kernel)
    weights = (o % kernel == 0).astype(np.float64) if nails else np.ones(o.size)
    return AxisMap(n, (o // kernel)[None], weights[None])


# -- arguments ------------------------------------------------------------------------------------


def _checked(op: str, input: Any, dims: int) -> Tensor:
    """`input` as a tensor (N, C, H, W), (C, H, W) or with one axis less, with something in it."""
    x = as_tensor(input)
    axes = ("L",) if dims == 1 else ("H", "W")
    if x.ndim not in (dims + 1, dims + 2):
        raise ValueError(
            f"{op}: input must be (N, C, {', '.join(axes)}) or (C, {', '.join(axes)}), got "
            f"{x.ndim} dimensions {x.shape}"
        )
    if 0 in x.shape[-dims - 1 :]:
        raise ValueError(f"{op}: only the batch may be empty, got input {x.shape}")
    return x


def _absent(stride: Any) -> bool:
    """Whether `stride` stands for kernel_size: None, or torch's empty list."""
    return stride is None or (isinstance(stride, Sequence) and not stride)


def _per_axis(op: str, name: str, value: Any, dims: int, least: int) -> tuple[int, ...]:
    """One integer for each axis, from one for all or one for each."""
    values = list(value) if isinstance(value, Sequence) else [value]
    if len(values) == 1:
        values *= dims
    if len(values) != dims:
        raise ValueError(f"{op}: {name} must be an integer or {dims} of them, got {value}")
    try:
        values = [operator.index(v) for v in values]
    except TypeError:
        raise TypeError(f"{op}: {name} must be an integer or {dims} of them, got {value}") from None
    if min(values) < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {value}")
    return tuple(values)


def _output_size(op: str, x: Tensor, dims: int, output_size: Any) -> tuple[int, ...]:
    """The output size of an adaptive pooling, None replaced by the input's."""
    values = list(output_size) if isinstance(output_size, Sequence) else [output_size] * dims
    if len(values) != dims:
        raise ValueError(f"{op}: output_size must have {dims} numbers, got {output_size}")
    sizes = [n if v is None else v for n, v in zip(x.shape[-dims:], values, strict=True)]
    return _per_axis(op, "output_size", sizes, dims, 0)


def _geometry(
    op: str,
    x: Tensor,
    dims: int,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
) -> ConvGeometry:
    """The windows on x's last axes; of a sequence, on an image of one row."""
    kernel = _per_axis(op, "kernel_size", kernel_size, dims, 1)
    step = kernel if _absent(stride) else _per_axis(op, "stride", stride, dims, 1)
    pad = _per_axis(op, "padding", padding, dims, 0)
    apart = _per_axis(op, "dilation", dilation, dims, 1)
    if any(2 * p > k for p, k in zip(pad, kernel, strict=True)):
        raise ValueError(
            f"{op}: padding {padding} is more than half of kernel_size {kernel_size}; a window "
            "could lie in the padding altogether"
        )
    ends = []
    for n, k, s, p, d in zip(x.shape[-dims:], kernel, step, pad, apart, strict=True):
        span = d * (k - 1) + 1
        out = (n + 2 * p - span + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (out - 1) * s >= n + p:
            out -= 1  # the last window would begin in the padding at the end
        if out < 1:
            raise ValueError(
                f"{op}: a window of {span} pixels (kernel_size {kernel_size}, dilation {dilation}) "
                f"does not fit input {x.shape} with padding {padding}"
            )
        # What the last window lacks is padding at the end.
        ends.append((p, p + max(0, (out - 1) * s + span - (n + 2 * p))))
    one = (1,) * (2 - dims)
    none = ((0, 0),) * (2 - dims)
    return ConvGeometry((*one, *kernel), (*one, *step), (*none, *ends), (*one, *apart))  # type: ignore[arg-type]
