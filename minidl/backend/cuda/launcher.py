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

__all__ = ["KernelLauncher", "source"]

FOLDER = pathlib.Path(__file__).parent / "kernels"

_KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\(\w+\)\s*)?(\w+)\s*\(([^)]*)\)'
)
_TYPES = {
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
C_TYPES = {dtype: name for name, dtype in _TYPES.items()}

Signature = list[tuple[str, bool, str]]  # (C type, is it a pointer, name) of each parameter


def source(file: str, defines: tuple[tuple[str, Any], ...]) -> str:
    """The text of a kernel file with `#define`s in front, as it goes to the compiler."""
    text = (FOLDER / file).read_text()
    include = "#include <cuda_fp16.h>\n" if any(v == "__half" for _, v in defines) else ""
    lines = "".join(f"#define {name} {value}\n" for name, value in defines)
    return f'{include}{lines}#line 1 "{file}"\n{text}'


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
        key = (file, tuple(sorted(defines.items())))
        cache: dict[Any, Any] = self.__dict__.setdefault("_modules", {})
        entry = cache.get(key)
        if entry is None:
            text = source(file, key[1])
            entry = cache[key] = (self.module(text), signatures(text), {})
        module, known, functions = entry
        function = functions.get(kernel)
        if function is None:
            function = functions[kernel] = module.get_function(kernel)
        parameters = known[kernel]
        if len(args) != len(parameters):
            raise TypeError(f"{kernel}: {len(args)} arguments for {len(parameters)} parameters")
        if min(grid) < 1 or max(grid[1:], default=1) > 65535 or grid[0] > 2**31 - 1:
            raise ValueError(f"{kernel}: a grid of {grid} blocks cannot be launched")
        converted = [_convert(kernel, p, a, defines) for p, a in zip(parameters, args, strict=True)]
        function(grid, block, tuple(converted))


def _convert(kernel: str, parameter: tuple[str, bool, str], arg: Any, defines: Any) -> Any:
    c_type, pointer, name = parameter
    dtype = _TYPES[defines.get(c_type, c_type)]
    if not pointer:
        if isinstance(arg, float) and dtype.kind != "f":
            raise TypeError(f"{kernel}: {name} must be an integer, got {arg}")
        if dtype.kind in "iu" and not np.iinfo(dtype).min <= arg <= np.iinfo(dtype).max:
            raise ValueError(f"{kernel}: {name} = {arg} does not fit {dtype}")
        return dtype.type(arg)
    if arg is None:
        return np.uint64(0)
    if getattr(arg, "dtype", None) != dtype or not getattr(arg, "shape", None):
        found = f"{arg.dtype} array" if hasattr(arg, "dtype") else type(arg).__name__
        raise TypeError(f"{kernel}: {name} must be an array of {dtype}, got {found}")
    if not arg.flags.c_contiguous:
        raise ValueError(f"{kernel}: {name} of shape {arg.shape} is not contiguous")
    return arg


def contiguous(xp: Any, array: Array) -> Array:
    """`array` in C order: a kernel sees no strides."""
    return array if array.flags.c_contiguous else xp.ascontiguousarray(array)
