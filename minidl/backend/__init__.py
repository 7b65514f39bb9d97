"""Floor 0: which array library, and the kernels where libraries differ.

`of(array)` is the one door: it gives the backend of an array, with its namespace `xp` and its
kernels. Nothing outside this package asks whether it runs on a GPU.
"""

from . import cpu, cuda, random
from .base import Array, Backend
from .device import _Default, by_name, default_device, device, of, register, use

__all__ = [
    "Array",
    "Backend",
    "by_name",
    "cuda",
    "default_device",
    "device",
    "of",
    "random",
    "register",
    "use",
]

register("cpu", cpu.make)
register("cuda", cuda.make)
by_name("cpu")
_Default.device = device("cpu")
