"""Unscaling of gradients on the GPU, one launch each: the kernel of kernels/scaling.cu."""

from __future__ import annotations

from ..base import Array
from ..plain.scaling import ScalingKernels as PlainScalingKernels
from .launcher import KernelLauncher, is_real, types

__all__ = ["ScalingKernels"]


class ScalingKernels(KernelLauncher, PlainScalingKernels):
    """The arguments and results are those of `backend/plain/scaling.py`."""

    def unscale(self, grad: Array, inverse: Array, found: Array) -> None:
        if not is_real(grad.dtype) or not grad.ndim or not grad.flags.c_contiguous:
            super().unscale(grad, inverse, found)
            return
        defines = types(grad.dtype)[0]
        self.launch_each("scaling.cu", "mdl_unscale", grad.size, (grad, inverse, found), **defines)
