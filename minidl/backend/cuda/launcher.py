"""CUDA C kernels, launched with checked arguments.

CuPy passes arguments to a raw kernel as they are: a wrong dtype, a strided array or a missing
argument reads wild memory and says nothing. Here every launch is held against the kernel's own
signature, which is read from the source.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

import numpy as np

from ..base import Array

__all__ = ["C_TYPES", "KernelLauncher", "contiguous", "is_real", "source", "types"]

FOLDER = pathlib.Path(__file__).parent / "kernels"

_KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\(\w+\)\s*)?(\w+)\s*\(([^)]*)\)'
)
_TYPES: dict[str, np.dtype] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "__half": np.dtype(np.float16),
    "bool": np.dtype(np.bool_),
    "int": np.dtype(np.int32),
    "unsigned int": np.dtype(np.uint32),
    "long long": np.dtype(np.int64),
    "unsigned long long": np.dtype(np.uint64),
    "unsigned char": np.dtype(np.uint8),
    "signed char": np.dtype(np.int8),
}
C_TYPES: dict[np.dtype, str] = {dtype: name for name, dtype in _TYPES.items()}

# 16-bit floats: their C type, and the header that defines it. bfloat16 is not NumPy's own: it comes
# from ml_dtypes, and takes its place in the tables above when the first array of it does.
HEADERS = {"__half": "cuda_fp16.h", "__nv_bfloat16": "cuda_bf16.h"}

THREADS = 256  # in a block of a kernel that makes one result a thread
BLOCKS = 8192  # of such a kernel at most: enough to fill any GPU; they go on in steps of the grid

# In front of every file. The numbers 0 to count - 1, each for one thread of the grid.
EACH = """#define EACH(i, count) \\
  for (count_t i = (count_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; \\
       i += (count_t)gridDim.x * blockDim.x)
"""

Signature = list[tuple[str, bool, str]]  # (C type, is it a pointer, name) of each parameter


def source(file: str, defines: tuple[tuple[str, Any], ...]) -> str:
    """The text of a kernel file with `#define`s in front, as it goes to the compiler."""
    text = (FOLDER / file).read_text()
    needed = {HEADERS[v] for _, v in defines if v in HEADERS}
    include = "".join(f"#include <{header}>\n" for header in sorted(needed))
    lines = "".join(f"#define {name} {value}\n" for name, value in defines)
    return f'{include}{lines}{EACH}#line 1 "{file}"\n{text}'


def signatures(text: str) -> dict[str, Signature]:
    """The parameters of every kernel in a source text."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
    found: dict[str, Signature] = {}
    for name, parameters in _KERNEL.findall(text):
        found[name] = []
        for parameter in filter(str.strip, parameters.split(",")):
            words = re.sub(r"\b(const|__restrict__)\b|\*", " ", parameter).split()
            found[name].append((" ".join(words[:-1]), "*" in parameter, words[-1]))
    return found


class KernelLauncher:
    """A mixin of backends that run CUDA C; they say in `module` how source becomes code."""

    def module(self, text: str) -> Any:
        """Compiled source, with `get_function(name)`."""
        raise NotImplementedError

    def current_device(self) -> int:
        """The number of the device that code is loaded on and launched on."""
        return 0

    def launch(
        self,
        file: str,
        kernel: str,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[Any, ...],
        **defines: Any,
    ) -> None:
        """Launch `kernel` of `file`, compiled with `defines` at its first use.

        Args:
            grid, block: numbers of blocks and of threads in a block.
            args: for a pointer a C-contiguous array of its type, or None for a null pointer; for
                a scalar a Python number that its type can hold.

        Raises:
            TypeError: an argument does not fit the kernel's signature.
            ValueError: an array is not contiguous, a number too large, a grid too large.
        """
        key = (self.current_device(), file, kernel, tuple(defines.items()))
        cache: dict[Any, Kernel] = self.__dict__.setdefault("_kernels", {})
        found = cache.get(key)
        if found is None:
            found = cache[key] = self._load(file, kernel, key[3])
        found(grid, block, args)

    def launch_each(
        self, file: str, kernel: str, count: int, args: tuple[Any, ...], **defines: Any
    ) -> None:
        """Launch `kernel` with a thread for each of `count` results; none where there are none.

        The kernel's last parameter is the count, of the type `count_t`. It also counts the results
        in the kernel, in 32 bits where they do: a 64-bit division takes a GPU ten times as long.
        """
        if count == 0:
            return
        counting = "unsigned int" if count < 2**31 else "long long"
        grid = (min(-(-count // THREADS), BLOCKS),)
        self.launch(
            file, kernel, grid, (THREADS,), (*args, count), **defines, count_t=counting
        )  # fmt: skip

    def _load(self, file: str, kernel: str, defines: tuple[tuple[str, Any], ...]) -> Kernel:
        key = (self.current_device(), file, defines)
        modules: dict[Any, Any] = self.__dict__.setdefault("_modules", {})
        if key not in modules:
            text = source(file, defines)
            modules[key] = self.module(text), signatures(text)
        module, known = modules[key]
        return Kernel(kernel, module.get_function(kernel), known[kernel], dict(defines))


class Kernel:
    """A compiled kernel that checks what it is called with."""

    def __init__(
        self, name: str, function: Any, signature: Signature, defines: dict[str, Any]
    ) -> None:
        self.name = name
        self.function = function
        self.parameters = [
            (_TYPES[defines.get(c_type, c_type)], pointer, parameter)
            for c_type, pointer, parameter in signature
        ]

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]
    ) -> None:
        if len(args) != len(self.parameters):
            raise TypeError(
                f"{self.name}: {len(args)} arguments for {len(self.parameters)} parameters"
            )
        if min(grid) < 1 or max(grid[1:], default=1) > 65535 or grid[0] > 2**31 - 1:
            raise ValueError(f"{self.name}: a grid of {grid} blocks cannot be launched")
        values = [
            self._pointer(arg, dtype, name) if pointer else self._scalar(arg, dtype, name)
            for arg, (dtype, pointer, name) in zip(args, self.parameters, strict=True)
        ]
        self.function(grid, block, tuple(values))

    def _scalar(self, arg: Any, dtype: np.dtype, name: str) -> Any:
        if not is_real(dtype):
            if not isinstance(arg, (int, np.integer)):
                raise TypeError(f"{self.name}: {name} must be an integer, got {arg}")
            bits = 8 * dtype.itemsize
            low, high = (-1 << bits - 1, (1 << bits - 1) - 1)
            if dtype.kind == "u":
                low, high = 0, (1 << bits) - 1
            if not low <= arg <= high:
                raise ValueError(f"{self.name}: {name} = {arg} does not fit {dtype}")
        return dtype.type(arg)

    def _pointer(self, arg: Any, dtype: np.dtype, name: str) -> Any:
        if arg is None:
            return np.uint64(0)
        if getattr(arg, "dtype", None) != dtype or not getattr(arg, "shape", None):
            found = f"{arg.dtype} array" if hasattr(arg, "dtype") else type(arg).__name__
            raise TypeError(f"{self.name}: {name} must be an array of {dtype}, got {found}")
        if not arg.flags.c_contiguous:
            raise ValueError(f"{self.name}: {name} of shape {arg.shape} is not contiguous")
        return arg


def contiguous(xp: Any, array: Array) -> Array:
    """`array` in C order: a kernel sees no strides."""
    return array if array.flags.c_contiguous else xp.ascontiguousarray(array)


def is_real(dtype: Any) -> bool:
    """Whether kernels know numbers of this dtype as `real`: floats of 16, 32 or 64 bits."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def types(dtype: Any) -> tuple[dict[str, str], np.dtype]:
    """What a kernel for arrays of a float dtype is compiled with, and the dtype that it sums in.

    `real` is how numbers are stored, `wide` how they are computed with: 16 bits in float32.
    """
    dtype = np.dtype(dtype)
    if dtype.name == "bfloat16":
        _TYPES["__nv_bfloat16"], C_TYPES[dtype] = dtype, "__nv_bfloat16"
    real = C_TYPES[dtype]
    wide = "double" if real == "double" else "float"
    return {"real": real, "wide": wide}, _TYPES[wide]
