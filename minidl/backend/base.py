"""The array library of one kind of device, and the kernels written for it.

`Backend` itself is complete: every kernel, written in plain array operations that NumPy and CuPy
share. They are the readable form and run everywhere. A backend of one library derives from it and
replaces the kernels for which that library has something faster, under the same names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .plain.activation import ActivationKernels
from .plain.conv import ConvKernels
from .plain.indexing import IndexingKernels
from .plain.linalg import LinalgKernels
from .plain.losses import LossKernels
from .plain.nms import NmsKernels
from .plain.norm import NormKernels
from .plain.optim import OptimKernels
from .plain.pool import PoolKernels
from .plain.random import RandomKernels
from .plain.reduction import ReductionKernels
from .plain.resample import ResampleKernels
from .plain.roi import RoiKernels
from .plain.scaling import ScalingKernels
from .plain.softmax import SoftmaxKernels

__all__ = ["Array", "Backend", "Sent"]

Array = Any  # a numpy.ndarray or a cupy.ndarray: the two share no base class to name


class Sent:
    """Data on its way to a device: `receive()` gives the array, for work that is launched later.

    `receive` is to be called exactly once, on the stream that made it; it does not wait.
    """

    def __init__(self, array: Array) -> None:
        self.array = array

    def receive(self) -> Array:
        return self.array


class Backend(
    ConvKernels,
    ActivationKernels,
    IndexingKernels,
    LinalgKernels,
    OptimKernels,
    PoolKernels,
    ReductionKernels,
    ResampleKernels,
    RoiKernels,
    LossKernels,
    NmsKernels,
    NormKernels,
    RandomKernels,
    ScalingKernels,
    SoftmaxKernels,
):
    """What floor 2 and above know of an array library.

    Attributes:
        name: the device type, as in "cpu" or "cuda:0".
        xp: the namespace of the library, `numpy` or `cupy`.
    """

    name: str
    xp: Any

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> Array:
        """`data` (host or device) as an array of this backend on device number `index`."""
        raise NotImplementedError

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Host memory, not initialised, that the device can read while the host does other work.

        On the CPU any memory is.
        """
        return np.empty(shape, dtype)

    def is_pinned(self, array: Array) -> bool:
        """Whether the memory of a host array was made by `pinned`, for a device."""
        return False

    def send(self, host: np.ndarray, index: int | None = None) -> Sent:
        """Begin to copy a host array to device number `index`, beside work that goes on there.

        An array from `pinned` must not be changed until the copy is over: leave it alone. Of any
        other a copy is taken first.
        """
        return Sent(self.asarray(host, None, index))

    def to_host(self, array: Array) -> np.ndarray:
        """A NumPy array with the content of `array`; waits for the device."""
        raise NotImplementedError

    def index_of(self, array: Array) -> int | None:
        """The number of the device that holds `array`; None where there is only one."""
        return None

    def current_device(self) -> int:
        """The number of the device on which work is launched."""
        return 0

    def select(self, index: int | None) -> None:
        """Make device number `index` (default: the first) the one on which work is launched.

        Raises:
            ValueError, RuntimeError: there is no such device.
        """

    def synchronize(self) -> None:
        """Wait until everything asked of the device so far is done."""
