"""Kernels of normalisation, in operations that NumPy and CuPy share.

Each sees its array as (N, C, L): samples, channels, positions; what belongs to a channel is a
vector (C,). Batch normalisation takes its mean and variance over N and L (Ioffe and Szegedy 2015,
algorithm 1). Layer, group and instance normalisation are the same on another view: the numbers
that are normalised together form one "channel", and there is one "sample".
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["NormKernels", "quiet", "wide_dtype"]

Array = Any

# Decorates kernels: infinities and NaNs pass through NumPy in silence, as they do through CuPy.
quiet = np.errstate(all="ignore")


def wide_dtype(dtype: Any) -> np.dtype:
    """The dtype in which numbers of `dtype` are summed: float32, or float64 for float64."""
    return np.dtype(dtype) if np.dtype(dtype).itemsize >= 4 else np.dtype(np.float32)


class NormKernels:
    xp: Any

    @quiet
    def batch_norm(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        eps: float,
        ceiling: float | None = None,
    ) -> tuple[Array, Array, Array]:
        """y = weight (x - mean) / sqrt(var + eps) + bias, with the statistics of x itself.

        Args:
            x: (N, C, L), with at least one element.
            weight: (C,), or None for 1.
            bias: (C,), or None for 0.
            eps: added to the variance.
            ceiling: rectify the result, as ReLU does (infinity) or ReLU6 (6): min(max(y, 0),
                ceiling). None: leave it as it is.

        Returns:
            y, of x's shape and dtype; the mean and the biased variance of each channel, (C,), in
            float32 or wider.
        """
        xp = self.xp
        wide = x.astype(wide_dtype(x.dtype), copy=False)
        mean = wide.mean(axis=(0, 2))
        y = wide - mean[:, None]
        var = (y * y).mean(axis=(0, 2))
        scale = 1 / xp.sqrt(var + eps)
        y *= (scale if weight is None else scale * weight)[:, None]
        if bias is not None:
            y += bias[:, None]
        if ceiling is not None:
            y = y.clip(0.0, ceiling)
        return y.astype(x.dtype, copy=False), mean, var

    @quiet
    def batch_norm_grad(
        self,
        grad: Array,
        x: Array,
        weight: Array | None,
        mean: Array,
        invstd: Array,
        rectified: Array | None = None,
        ceiling: float | None = None,
    ) -> tuple[Array, Array, Array]:
        """The gradients of `batch_norm` (Ioffe and Szegedy 2015, section 3).

        With x^ = (x - mean) invstd and averages <.> over a channel:
        dx = weight invstd (grad - <grad> - x^ <grad x^>).

        Args:
            grad: (N, C, L), the gradient with respect to y.
            x: (N, C, L), the input.
            weight: (C,), or None for 1.
            mean: (C,), as `batch_norm` returned it.
            invstd: (C,), 1 / sqrt(var + eps).
            rectified, ceiling: the rectified result, and what it was cut off at: only where it is
                between 0 and that, grad counts. None, None: nothing was rectified.

        Returns:
            dx of x's shape and dtype; the gradients of weight and bias, (C,), in mean's dtype.
        """
        wide = wide_dtype(x.dtype)
        grad = grad.astype(wide, copy=False)
        if rectified is not None:
            grad = grad * ((rectified > 0) & (rectified < ceiling))
        mean, invstd = mean.astype(wide, copy=False), invstd.astype(wide, copy=False)
        normalised = (x.astype(wide, copy=False) - mean[:, None]) * invstd[:, None]
        count = x.shape[0] * x.shape[2]
        grad_bias = grad.sum(axis=(0, 2))
        grad_weight = (grad * normalised).sum(axis=(0, 2))
        dx = grad - (grad_bias / count)[:, None] - normalised * (grad_weight / count)[:, None]
        dx *= (invstd if weight is None else invstd * weight)[:, None]
        return dx.astype(x.dtype, copy=False), grad_weight, grad_bias

    @quiet
    def group_norm(
        self, x: Array, groups: int, weight: Array | None, bias: Array | None, eps: float
    ) -> tuple[Array, Array, Array]:
        """`batch_norm` of each sample alone, and of groups of channels together.

        Args:
            x: (N, C, L), with at least one element.
            groups: G, divides C; a group has the channels i C / G to (i + 1) C / G.
            weight, bias, eps: as in `batch_norm`.

        Returns:
            y, of x's shape and dtype; the mean and the biased variance of each group of each
            sample, (N G,), in float32 or wider.
        """
        rows = x.reshape(1, x.shape[0] * groups, -1)
        y, mean, var = self.batch_norm(rows, None, None, eps)
        y = y.reshape(x.shape)
        if weight is not None or bias is not None:
            y = self.channel_affine(y, weight, bias)
        return y, mean, var

    @quiet
    def group_norm_grad(
        self,
        grad: Array,
        x: Array,
        groups: int,
        weight: Array | None,
        mean: Array,
        invstd: Array,
    ) -> tuple[Array, Array, Array]:
        """The gradients of `group_norm`: arguments and results as those of `batch_norm_grad`,
        but for mean and invstd, which are (N G,)."""
        rows = 1, x.shape[0] * groups, -1
        normalised = self.channel_affine(x.reshape(rows), invstd, -mean * invstd)
        grad_weight = self.channel_dot(grad, normalised.reshape(x.shape))
        grad_bias = self.channel_sum(grad)
        if weight is not None:
            grad = self.channel_affine(grad, weight, None)
        dx, _, _ = self.batch_norm_grad(grad.reshape(rows), x.reshape(rows), None, mean, invstd)
        return dx.reshape(x.shape), grad_weight, grad_bias

    @quiet
    def channel_affine(self, x: Array, scale: Array | None, shift: Array | None) -> Array:
        """scale x + shift, with one scale and one shift (C,) for each channel of x (N, C, L)."""
        y = x.copy() if scale is None else x * scale[:, None]
        if shift is not None:
            y = y + shift[:, None]
        return y.astype(x.dtype, copy=False)

    @quiet
    def channel_sum(self, x: Array) -> Array:
        """The sum of x (N, C, L) over each channel: (C,), in float32 or wider."""
        return x.astype(wide_dtype(x.dtype), copy=False).sum(axis=(0, 2))

    @quiet
    def channel_dot(self, a: Array, b: Array) -> Array:
        """The sum of a b (N, C, L) over each channel: (C,), in float32 or wider."""
        wide = wide_dtype(a.dtype)
        return (a.astype(wide, copy=False) * b.astype(wide, copy=False)).sum(axis=(0, 2))
