"""The CPU: NumPy, with the kernels of this folder where they beat plain array operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import Array, Backend
from ..quiet import quietly
from .activation import CpuActivationKernels
from .conv import CpuConvKernels
from .elementwise import CpuElementwiseKernels
from .group_norm import CpuGroupNormKernels
from .indexing import CpuIndexingKernels
from .linalg import CpuLinalgKernels
from .losses import CpuLossKernels
from .nms import CpuNmsKernels
from .norm import CpuNormKernels
from .optim import CpuOptimKernels
from .pool import CpuPoolKernels
from .random import CpuRandomKernels
from .reduction import CpuReductionKernels
from .resample import CpuResampleKernels
from .roi import CpuRoiKernels
from .softmax import CpuSoftmaxKernels

__all__ = ["NumpyBackend"]


class NumpyBackend(
    CpuConvKernels,
    CpuElementwiseKernels,
    CpuActivationKernels,
    CpuGroupNormKernels,
    CpuIndexingKernels,
    CpuLinalgKernels,
    CpuLossKernels,
    CpuNmsKernels,
    CpuNormKernels,
    CpuRandomKernels,
    CpuReductionKernels,
    CpuOptimKernels,
    CpuPoolKernels,
    CpuResampleKernels,
    CpuRoiKernels,
    CpuSoftmaxKernels,
    Backend,
):
    """NumPy arrays in host memory."""

    name = "cpu"
    xp = np

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> Array:
        if index not in (None, 0):
            raise ValueError(f"device: there is one cpu, not cpu:{index}")
        if type(data) is not np.ndarray and hasattr(data, "get"):  # an array on a device
            data = data.get()
        return quietly(np.asarray, data, dtype)

    def select(self, index: int | None) -> None:
        if index:
            raise ValueError(f"device: there is one cpu, not cpu:{index}")

    def to_host(self, array: Array) -> np.ndarray:
        return np.asarray(array)


def make() -> tuple[Backend, type]:
    return NumpyBackend(), np.ndarray
