"""Floor 0: which array library, and the kernels where libraries differ.

`of(array)` is the one door: it gives the backend of an array, with its namespace `xp` and its
kernels. Nothing outside this package asks whether it runs on a GPU.
"""

from . import cpu, cuda, random
from .base import Array, Backend
from .cpu.allocator import keep_memory
from .cpu.conv import conv_algorithm
from .cpu.threads import get_num_threads, set_num_threads
from .device import _Default, by_name, default_device, device, of, register, use
from .precision import (
    cudnn,
    get_float32_matmul_precision,
    matmul,
    set_float32_matmul_precision,
)
from .quiet import quiet, quietly

__all__ = [
    "Array",
    "Backend",
    "by_name",
    "conv_algorithm",
    "cuda",
    "cudnn",
    "default_device",
    "device",
    "get_float32_matmul_precision",
    "get_num_threads",
    "keep_memory",
    "matmul",
    "of",
    "quiet",
    "quietly",
    "random",
    "register",
    "set_float32_matmul_precision",
    "set_num_threads",
    "use",
]

register("cpu", cpu.make)
register("cuda", cuda.make)
by_name("cpu")
_Default.device = device("cpu")
