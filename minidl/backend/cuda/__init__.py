"""The GPU: CuPy. Imported and tried at the first use, so that `import minidl` needs neither."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import Array, Backend
from .activation import ActivationKernels
from .conv import ConvKernels
from .cudnn import CudnnKernels
from .indexing import IndexingKernels, deterministic
from .linalg import LinalgKernels
from .losses import LossKernels
from .nms import NmsKernels
from .norm import NormKernels
from .optim import OptimKernels
from .pool import PoolKernels
from .random import RandomKernels
from .resample import ResampleKernels
from .roi import RoiKernels
from .scaling import ScalingKernels
from .softmax import SoftmaxKernels
from .transfer import Transfers

__all__ = ["CudaKernels", "CupyBackend", "deterministic", "is_available", "probe"]


class CudaKernels(
    ActivationKernels,
    ConvKernels,
    IndexingKernels,
    LinalgKernels,
    LossKernels,
    NmsKernels,
    NormKernels,
    OptimKernels,
    PoolKernels,
    RandomKernels,
    ResampleKernels,
    RoiKernels,
    ScalingKernels,
    SoftmaxKernels,
    Backend,
):
    """The kernels of this folder, whatever compiles and launches them."""


class CupyBackend(Transfers, CudnnKernels, CudaKernels):
    """CuPy arrays in the memory of an NVIDIA GPU, with the kernels of this folder, and cuDNN's."""

    name = "cuda"

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> Array:
        if index is None:
            array = self.xp.asarray(data, dtype)
        else:
            with self.xp.cuda.Device(index):
                array = self.xp.asarray(data, dtype)
                # asarray leaves an array where it is: one on another GPU is copied over
                array = array if array.device.id == index else array.copy()
        if isinstance(data, np.ndarray) and self.is_pinned(data):
            # CuPy copies it as it is, not a copy of it: the caller may change it afterwards. `send`
            # does not wait.
            with array.device:
                self.synchronize()
        return array

    def to_host(self, array: Array) -> np.ndarray:
        return self.xp.asnumpy(array)

    def index_of(self, array: Array) -> int | None:
        return array.device.id

    def module(self, text: str) -> Any:
        return self.xp.RawModule(code=text, options=("--std=c++17",))

    def current_device(self) -> int:
        return self.xp.cuda.runtime.getDevice()

    def cublas(self) -> tuple[Any, int]:
        from cupy.cuda import cublas, device

        return cublas, device.get_cublas_handle()

    def synchronize(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()

    def select(self, index: int | None) -> None:
        """Make GPU number `index` (default: the first) the one on which work is launched."""
        count = self.xp.cuda.runtime.getDeviceCount()
        if (index or 0) >= count:
            raise RuntimeError(f"device cuda:{index} does not exist: CUDA sees {count} device(s)")
        self.xp.cuda.Device(index or 0).use()


def probe() -> tuple[bool, str]:
    """Try the first GPU with a small product: (usable, its name or why not).

    A driver without cuBLAS or NVRTC answers that a device is available and fails later,
    therefore something is computed and copied back. Touches CUDA: never call it before a fork.
    """
    try:
        import cupy
    except Exception as error:  # not installed, or an installation that fails on import
        return False, f"CuPy cannot be imported ({error}); install minidl[cuda13] or minidl[cuda12]"
    try:
        if not cupy.cuda.runtime.getDeviceCount():
            return False, "CUDA sees no device; check nvidia-smi and CUDA_VISIBLE_DEVICES"
        ones = cupy.ones((2, 2), cupy.float32)
        float((ones @ ones + 1.0).sum())
        return True, cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except Exception as error:
        return False, f"the GPU does not answer ({type(error).__name__}: {error}); try nvidia-smi"


def is_available() -> bool:
    """Whether `device="cuda"` can be used."""
    return probe()[0]


def device_count() -> int:
    """How many GPUs CuPy sees; 0 without CuPy or driver."""
    if not is_available():
        return 0
    import cupy

    return cupy.cuda.runtime.getDeviceCount()


def synchronize() -> None:
    """Wait until the current GPU has done everything asked of it."""
    import cupy

    cupy.cuda.get_current_stream().synchronize()


def make() -> tuple[Backend, type]:
    usable, reason = probe()
    if not usable:
        raise RuntimeError(f"device cuda cannot be used: {reason}")
    import cupy

    return CupyBackend(cupy), cupy.ndarray
