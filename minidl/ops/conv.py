"""Convolution and transposed convolution, in one and two dimensions.

With w fixed, convolution is linear in x; with x fixed, it is linear in w. Together with any g of
the output's shape it makes one number, <g, x * w>, that is linear in each of the three (* is
convolution, <a, b> the sum of all products of two elements in the same place):

    <g, Conv(x, w)>  =  <x, ConvInputGrad(g, w)>  =  <w, ConvWeightGrad(x, g)>

Each face is the gradient of this number to the argument that it lacks, so that differentiating any
of them leads to the other two: the three Functions below are closed under differentiation, to
any order. Transposed convolution is ConvInputGrad under another name.

Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from ..autograd import Function, Tensor
from ..backend import of
from ..backend.geometry import ConvGeometry
from .autocast import autocasts
from .common import as_tensor, broadcast_to
from .shape import reshape, squeeze, unsqueeze

__all__ = ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"]

Size = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]
Pair = tuple[int, int]


class Conv(Function):
    """x * w + b.    dx = ConvInputGrad(dy, w), dw = ConvWeightGrad(x, dy), db = sum of dy"""

    def forward(self, x: Any, w: Any, b: Any, geometry: ConvGeometry) -> Any:
        self.geometry, self.size = geometry, x.shape[2:]
        need_x, need_w, _ = self.needs_input_grad
        self.save_for_backward(x if need_w else None, w if need_x else None)
        return of(x).conv_forward(x, w, geometry, b)

    def backward(self, grad: Tensor) -> Any:
        x, w = self.saved_tensors
        need_x, need_w, need_b = self.needs_input_grad
        return (
            _input_grad(grad, w, self.geometry, self.size) if need_x else None,
            _weight_grad(x, grad, self.geometry) if need_w else None,
            SumOverPixels.apply(grad) if need_b else None,
        )


class ConvInputGrad(Function):
    """The x-gradient of <g, x * w>, plus b.    dg = Conv(dy, w), dw = ConvWeightGrad(dy, g)"""

    def forward(self, g: Any, w: Any, b: Any, geometry: ConvGeometry, size: Pair) -> Any:
        self.geometry = geometry
        need_g, need_w, _ = self.needs_input_grad
        self.save_for_backward(g if need_w else None, w if need_g else None)
        x = of(g).conv_input_grad(g, w, geometry, size)
        if b is not None:
            x += b[:, None, None]
        return x

    def backward(self, grad: Tensor) -> Any:
        g, w = self.saved_tensors
        need_g, need_w, need_b = self.needs_input_grad
        return (
            _conv(grad, w, self.geometry) if need_g else None,
            _weight_grad(grad, g, self.geometry) if need_w else None,
            SumOverPixels.apply(grad) if need_b else None,
        )


class ConvWeightGrad(Function):
    """The w-gradient of <g, x * w>.    dx = ConvInputGrad(g, dy), dg = Conv(x, dy)"""

    def forward(self, x: Any, g: Any, geometry: ConvGeometry) -> Any:
        self.geometry, self.size = geometry, x.shape[2:]
        need_x, need_g = self.needs_input_grad
        self.save_for_backward(x if need_g else None, g if need_x else None)
        return of(x).conv_weight_grad(x, g, geometry)

    def backward(self, grad: Tensor) -> Any:
        x, g = self.saved_tensors
        need_x, need_g = self.needs_input_grad
        return (
            _input_grad(g, grad, self.geometry, self.size) if need_x else None,
            _conv(x, grad, self.geometry) if need_g else None,
        )


def _conv(x: Tensor, w: Tensor, geometry: ConvGeometry) -> Tensor:
    return Conv.apply(x, w, None, geometry=geometry)


def _input_grad(g: Tensor, w: Tensor, geometry: ConvGeometry, size: Pair) -> Tensor:
    return ConvInputGrad.apply(g, w, None, geometry=geometry, size=size)


def _weight_grad(x: Tensor, g: Tensor, geometry: ConvGeometry) -> Tensor:
    return ConvWeightGrad.apply(x, g, geometry=geometry)


class SumOverPixels(Function):
    """The sum of each channel over images and pixels.    dx = dy at every pixel"""

    def forward(self, x: Any) -> Any:
        self.shape = x.shape
        return of(x).conv_bias_grad(x)

    def backward(self, grad: Tensor) -> Any:
        return broadcast_to(reshape(grad, (-1, 1, 1)), self.shape)


@autocasts
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter over a signal and take the inner product at every step.

    Args:
        input: (N, C, L), or (C, L) for a single signal.
        weight: (O, C / groups, k).
        bias: (O,) or None.
        stride: samples from one window to the next.
        padding: zeros added at both ends; ((left, right),) for different ones; "valid": none;
            "same": as many as keep the length, for stride 1.
        dilation: samples from one tap of the kernel to the next.
        groups: output channels of group k see the input channels of group k only.

    Returns:
        (N, O, Lo) or (O, Lo), Lo = (L + padding - dilation (k - 1) - 1) // stride + 1.

    Raises:
        ValueError: shapes or parameters that do not go together; a kernel longer than the signal.
        TypeError: dtypes that are not floating-point or differ.
    """
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@autocasts
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter over an image and take the inner product at every step.

    Strictly a correlation: the kernel is not flipped, as everywhere in deep learning.

    Args:
        input: (N, C, H, W), or (C, H, W) for a single image.
        weight: (O, C / groups, kh, kw).
        bias: (O,) or None.
        stride: pixels from one window to the next; one number or (vertical, horizontal).
        padding: zeros added around the image: one number, (vertical, horizontal), or
            ((top, bottom), (left, right)); "valid": none; "same": as many as keep the size, for
            stride 1, the odd one at the bottom and right.
        dilation: pixels from one tap of the kernel to the next.
        groups: output channels of group k see the input channels of group k only; groups = C is
            depthwise convolution, with O / C filters to a channel.

    Returns:
        (N, O, Ho, Wo) or (O, Ho, Wo), Ho = (H + padding - dilation (kh - 1) - 1) // stride + 1.

    Raises:
        ValueError: shapes or parameters that do not go together; a kernel larger than the image.
        TypeError: dtypes that are not floating-point or differ.

    Example:
        >>> sobel = minidl.tensor([[[[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]]])
        >>> conv2d(minidl.rand(1, 28, 28), sobel, padding="same").shape
        (1, 28, 28)
    """
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@autocasts
def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The adjoint of conv1d with the same weight; see `conv_transpose2d`.

    Args:
        input: (N, C, L) or (C, L).
        weight: (C, O / groups, k).

    Returns:
        (N, O, Lo) or (O, Lo),
        Lo = (L - 1) stride - padding + dilation (k - 1) + output_padding + 1.
    """
    op = "conv_transpose1d"
    return _transpose(op, 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@autocasts
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """Put copies of the filters, scaled by the input, at every step of a larger image, and add up.

    The adjoint of `conv2d` with the same weight and arguments: where that reads, this writes.

    Args:
        input: (N, C, H, W), or (C, H, W) for a single image.
        weight: (C, O / groups, kh, kw): inputs first, as the convolution it is the adjoint of.
        bias: (O,) or None.
        stride: pixels of the output from one input to the next.
        padding: pixels cut off around the output: what conv2d's padding had added. One number,
            (vertical, horizontal), or ((top, bottom), (left, right)).
        output_padding: rows added at the bottom and columns at the right: which of the sizes that
            conv2d maps to (H, W) to return. Smaller than stride or dilation.
        groups: output channels of group k come from the input channels of group k only.
        dilation: pixels of the output from one tap of the kernel to the next.

    Returns:
        (N, O, Ho, Wo) or (O, Ho, Wo),
        Ho = (H - 1) stride - padding + dilation (kh - 1) + output_padding + 1.

    Raises:
        ValueError: shapes or parameters that do not go together; nothing left after cutting.
        TypeError: dtypes that are not floating-point or differ.
    """
    op = "conv_transpose2d"
    return _transpose(op, 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _convolve(
    op: str,
    dims: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
) -> Tensor:
    x, w, b = _checked(op, dims, input, weight, bias)
    filters, channels = w.shape[:2]
    if groups < 1 or x.shape[1] != channels * groups:
        raise ValueError(
            f"{op}: input has {x.shape[1]} channels but weight expects {channels} per group x "
            f"{groups} group{'s' * (groups != 1)} {_shapes(input, weight)}{_read_as(dims, input)}"
        )
    if filters % groups:
        raise ValueError(
            f"{op}: {filters} filters cannot be divided into {groups} groups "
            f"{_shapes(input, weight)}"
        )
    _check_bias(op, b, filters)
    geometry = _geometry(op, dims, w, stride, padding, dilation, groups)
    size = (x.shape[2], x.shape[3])
    if min(geometry.output_size(size)) < 1:
        raise ValueError(
            f"{op}: the kernel covers {_sized(geometry.span, dims)} pixels (dilation included) but "
            f"the padded input has only {_sized(geometry.padded_size(size), dims)}; pad more or "
            f"use a smaller kernel {_shapes(input, weight)}"
        )
    return _restored(Conv.apply(x, w, b, geometry=geometry), input, dims)


def _transpose(
    op: str,
    dims: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Size,
    padding: Padding,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> Tensor:
    x, w, b = _checked(op, dims, input, weight, bias)
    channels, filters = w.shape[:2]
    if x.shape[1] != channels:
        raise ValueError(
            f"{op}: input has {x.shape[1]} channels but weight expects {channels}: its shape is "
            f"(in, out / groups, ...) {_shapes(input, weight)}{_read_as(dims, input)}"
        )
    if groups < 1 or channels % groups:
        raise ValueError(
            f"{op}: {channels} input channels cannot be divided into {groups} groups "
            f"{_shapes(input, weight)}"
        )
    _check_bias(op, b, filters * groups)
    if isinstance(padding, str):
        raise ValueError(f"{op}: padding is a number of pixels here, not {padding!r}")
    geometry = _geometry(op, dims, w, stride, padding, dilation, groups)
    extra = _pair(op, "output_padding", output_padding, dims)
    for more, s, d in zip(extra, geometry.stride, geometry.dilation, strict=True):
        if not 0 <= more < max(s, d, 1):
            raise ValueError(
                f"{op}: output_padding {output_padding} must be smaller than stride or dilation "
                f"(stride {stride}, dilation {dilation})"
            )
    # Rows at the bottom are cut off by padding: less of it leaves more of them.
    (top, bottom), (left, right) = geometry.padding
    geometry = ConvGeometry(
        geometry.kernel,
        geometry.stride,
        ((top, bottom - extra[0]), (left, right - extra[1])),
        geometry.dilation,
        groups,
    )
    size = geometry.input_size((x.shape[2], x.shape[3]))
    if min(size) < 1:
        raise ValueError(
            f"{op}: padding {padding} cuts off the whole output: {_sized(size, dims)} pixels are "
            f"left {_shapes(input, weight)}"
        )
    return _restored(ConvInputGrad.apply(x, w, b, geometry=geometry, size=size), input, dims)


def _checked(
    op: str, dims: int, input: Any, weight: Any, bias: Any
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The arguments as tensors (N, C, H, W), (O, C, kh, kw) and (O,), ranks and dtypes checked."""
    x = as_tensor(input)
    w = as_tensor(weight, x)
    b = None if bias is None else as_tensor(bias, x)
    space = "L" if dims == 1 else "H, W"
    if x.ndim not in (dims + 1, dims + 2) or w.ndim != dims + 2:
        raise ValueError(
            f"{op}: input is (N, C, {space}) or (C, {space}) and weight has {dims + 2} dimensions "
            f"{_shapes(x, w)}"
        )
    if 0 in x.shape[-dims - 1 :] or 0 in w.shape:
        raise ValueError(f"{op}: only the batch may be empty {_shapes(x, w)}")
    for tensor in (x, w) if b is None else (x, w, b):
        if not tensor.is_floating_point() or tensor.dtype != x.dtype:
            dtypes = f"input {x.dtype}, weight {w.dtype}" + (
                "" if b is None else f", bias {b.dtype}"
            )
            raise TypeError(
                f"{op}: input, weight and bias must have one floating-point dtype, not {dtypes}; "
                "convert with .to(dtype)"
            )
    if x.ndim == dims + 1:
        x = unsqueeze(x, 0)
    if dims == 1:
        x, w = unsqueeze(x, 2), unsqueeze(w, 2)
    return x, w, b


def _restored(y: Tensor, input: Any, dims: int) -> Tensor:
    """The result without the dimensions that `_checked` added."""
    if dims == 1:
        y = squeeze(y, 2)
    return squeeze(y, 0) if len(input.shape) == dims + 1 else y


def _check_bias(op: str, bias: Tensor | None, filters: int) -> None:
    if bias is not None and bias.shape != (filters,):
        raise ValueError(f"{op}: bias must be of shape ({filters},), not {bias.shape}")


def _geometry(
    op: str,
    dims: int,
    w: Tensor,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
) -> ConvGeometry:
    kernel = (w.shape[2], w.shape[3])
    steps, spread = _pair(op, "stride", stride, dims), _pair(op, "dilation", dilation, dims)
    if min(steps) < 1 or min(spread) < 1:
        raise ValueError(
            f"{op}: stride and dilation must be at least 1, got stride {stride} and dilation "
            f"{dilation}"
        )
    if padding == "same" and max(steps) > 1:
        raise ValueError(f"{op}: padding='same' needs stride 1, got {stride}")
    return ConvGeometry(kernel, steps, _padding(op, dims, padding, kernel, spread), spread, groups)


def _padding(
    op: str, dims: int, padding: Padding, kernel: tuple[int, ...], dilation: Pair
) -> tuple[Pair, Pair]:
    """Any of the forms that padding has, as ((top, bottom), (left, right))."""
    none = ((0, 0),) * (2 - dims)  # above and below a signal
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0), (0, 0))
        if padding != "same":
            raise ValueError(f"{op}: padding is numbers, 'same' or 'valid', not {padding!r}")
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return ((totals[0] // 2, -(-totals[0] // 2)), (totals[1] // 2, -(-totals[1] // 2)))
    if isinstance(padding, Sequence) and any(isinstance(p, Sequence) for p in padding):
        pairs = [p for p in padding if isinstance(p, Sequence) and len(p) == 2]
        if not len(pairs) == len(padding) == dims:
            form = "((left, right),)" if dims == 1 else "((top, bottom), (left, right))"
            raise ValueError(f"{op}: asymmetric padding is {form}, not {padding}")
        sides = none + tuple(
            (_whole(op, "padding", p[0]), _whole(op, "padding", p[1])) for p in pairs
        )
    else:
        sides = tuple((p, p) for p in _pair(op, "padding", padding, dims))  # type: ignore[arg-type]
    if min(min(side) for side in sides) < 0:
        raise ValueError(f"{op}: padding must not be negative, got {padding}")
    return sides[0], sides[1]


def _pair(op: str, name: str, value: Size, dims: int) -> Pair:
    """A parameter as (vertical, horizontal); a signal is an image of height 1."""
    if isinstance(value, Sequence) and len(value) == 1:
        value = value[0]
    neutral = 0 if "padding" in name else 1
    if isinstance(value, int):
        return (neutral if dims == 1 else value, value)
    if not isinstance(value, Sequence) or dims == 1 or len(value) != 2:
        numbers = "one number" if dims == 1 else "one number or (vertical, horizontal)"
        raise ValueError(f"{op}: {name} is {numbers}, not {value!r}")
    return (_whole(op, name, value[0]), _whole(op, name, value[1]))


def _whole(op: str, name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{op}: {name} counts pixels and must be whole, got {value!r}") from None


def _shapes(input: Any, weight: Any) -> str:
    return f"(input {tuple(input.shape)}, weight {tuple(weight.shape)})"


def _read_as(dims: int, input: Any) -> str:
    """A hint for those who left out the dimension of a single channel."""
    if len(input.shape) != dims + 1:
        return ""
    space = "L" if dims == 1 else "H, W"
    return (
        f"; an input of {dims + 1} dimensions is (C, {space}): for a batch of one channel use "
        ".unsqueeze(1)"
    )


def _sized(size: tuple[int, ...], dims: int) -> str:
    return " x ".join(str(n) for n in size[-dims:])
