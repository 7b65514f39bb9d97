"""Convolution layers, and transposed ones. Arguments, names and initial values as in torch.nn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd import Tensor
from . import functional as F
from .init import reset_linear
from .module import Module, Parameter, new_tensor, parameter_if

__all__ = ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"]


def tuple_of(value: Any, count: int) -> tuple[int, ...]:
    """`value` for each of `count` dimensions, if it is one number."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * count


class _Conv(Module):
    """What convolutions of all kinds share. `count`: the number of spatial dimensions."""

    count: int
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        output_padding: Any,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: {in_channels} input and {out_channels} output channels cannot both be "
                f"divided into {groups} groups"
            )
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"{name}: padding is numbers, 'same' or 'valid', not {padding!r}")
            if padding == "same" and any(s != 1 for s in tuple_of(stride, self.count)):
                raise ValueError(f"{name}: padding='same' needs stride 1, not {stride}")
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(
                f"{name}: padding_mode is 'zeros', 'reflect', 'replicate' or 'circular', "
                f"not {padding_mode!r}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = tuple_of(kernel_size, self.count)
        self.stride = tuple_of(stride, self.count)
        self.padding = padding if isinstance(padding, str) else tuple_of(padding, self.count)
        self.dilation = tuple_of(dilation, self.count)
        self.output_padding = tuple_of(output_padding, self.count)
        self.groups = groups
        self.padding_mode = padding_mode
        channels = (
            (in_channels, out_channels // groups)
            if self.transposed
            else (out_channels, in_channels // groups)
        )
        self.weight = Parameter(new_tensor(channels + self.kernel_size, 0, device, dtype))
        self.register_parameter("bias", parameter_if(bias, (out_channels,), 0, device, dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        reset_linear(self.weight, self.bias)

    def _padded(self, input: Tensor) -> tuple[Tensor, Any]:
        """The input padded by other than zeros, and the padding left to the convolution."""
        if self.padding_mode == "zeros":
            return input, self.padding
        sides: list[int] = []  # (left, right) of the last dimension first, as F.pad wants them
        for i in reversed(range(self.count)):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                sides += [total // 2, total - total // 2]
            elif self.padding == "valid":
                sides += [0, 0]
            else:
                sides += tuple_of(self.padding[i], 2)
        return F.pad(input, sides, mode=self.padding_mode), 0

    def extra_repr(self) -> str:
        zeros, ones = (0,) * self.count, (1,) * self.count
        parts = [
            f"{self.in_channels}, {self.out_channels}",
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        if self.padding != zeros:
            parts.append(f"padding={self.padding}")
        if self.dilation != ones:
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != zeros:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class _Forward(_Conv):
    """Convolution proper."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            0,
            device,
            dtype,
        )


class _Transposed(_Conv):
    """Transposed convolution: the adjoint of a convolution with the same arguments."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros" or isinstance(padding, str):
            raise ValueError(f"{type(self).__name__}: can be padded with numbers of zeros only")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            output_padding,
            device,
            dtype,
        )

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """The output padding that makes an output of `output_size`; several sizes are possible."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)[-self.count :]
        found = []
        for i, size in enumerate(input.shape[-self.count :]):
            span = self.dilation[i] * (self.kernel_size[i] - 1) + 1
            least = (size - 1) * self.stride[i] - 2 * self.padding[i] + span  # type: ignore
            if not least <= wanted[i] < least + self.stride[i]:
                raise ValueError(
                    f"{type(self).__name__}: output_size {wanted} is impossible for input "
                    f"{input.shape}: dimension {i} can be {least} to {least + self.stride[i] - 1}"
                )
            found.append(wanted[i] - least)
        return tuple(found)


class Conv1d(_Forward):
    """Convolution of (N, C_in, L) to (N, C_out, L_out).

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: taps.
        stride: step between windows.
        padding: zeros added on both sides, or "same" or "valid".
        dilation: distance between taps.
        groups: into how many independent parts the channels are divided.
        bias: whether a number is added to each output channel.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        device: where the parameters are made.
        dtype: their dtype; default float32.

    Attributes:
        weight: (C_out, C_in / groups, kernel_size), at first uniform within 1 / sqrt(fan_in).
        bias: (C_out,), likewise; or None.
    """

    count = 1

    def forward(self, input: Tensor) -> Tensor:
        x, padding = self._padded(input)
        return F.conv1d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv2d(_Forward):
    """Convolution of (N, C_in, H, W) to (N, C_out, H_out, W_out).

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: taps, one number or (vertical, horizontal); so the next three.
        stride: step between windows.
        padding: zeros added on both sides, or "same" or "valid".
        dilation: distance between taps.
        groups: into how many independent parts the channels are divided; C_in: depthwise.
        bias: whether a number is added to each output channel.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        device: where the parameters are made.
        dtype: their dtype; default float32.

    Attributes:
        weight: (C_out, C_in / groups, KH, KW), at first uniform within 1 / sqrt(fan_in).
        bias: (C_out,), likewise; or None.
    """

    count = 2

    def forward(self, input: Tensor) -> Tensor:
        x, padding = self._padded(input)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class ConvTranspose1d(_Transposed):
    """Transposed convolution of (N, C_in, L) to (N, C_out, L_out); arguments as ConvTranspose2d."""

    count = 1

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        extra = self._output_padding(input, output_size)
        return F.conv_transpose1d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            extra,
            self.groups,
            self.dilation,
        )


class ConvTranspose2d(_Transposed):
    """Transposed convolution of (N, C_in, H, W) to (N, C_out, H_out, W_out): learned upsampling.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: taps, one number or (vertical, horizontal).
        stride: by how much the output grows.
        padding: taken off the output on both sides.
        output_padding: added to the output at the bottom and right, less than `stride`.
        groups: into how many independent parts the channels are divided.
        bias: whether a number is added to each output channel.
        dilation: distance between taps.
        padding_mode: "zeros", there is no other.
        device: where the parameters are made.
        dtype: their dtype; default float32.

    Attributes:
        weight: (C_in, C_out / groups, KH, KW), at first uniform within 1 / sqrt(fan_in), where
            fan_in is counted as torch does, C_out / groups * KH * KW.
        bias: (C_out,), likewise; or None.
    """

    count = 2

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """`output_size`: the wanted (H_out, W_out), where the stride leaves a choice."""
        extra = self._output_padding(input, output_size)
        return F.conv_transpose2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            extra,
            self.groups,
            self.dilation,
        )
