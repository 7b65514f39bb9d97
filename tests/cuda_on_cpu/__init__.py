"""A backend that runs minidl's CUDA C kernels on the CPU: g++ and shim.h in place of NVRTC.

`CpuModule` has the call form of CuPy's RawModule, on NumPy arrays. `CudaOnCpu` is a Backend whose
kernels are those of the GPU, so that whole operations can be tested with them.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import pathlib
import re
import shutil
import subprocess
import tempfile

import numpy as np

from minidl.backend.cuda import CudaKernels
from minidl.backend.cuda.launcher import signatures

from .. import strict_cupy
from .cublas import ColumnMajor

HERE = pathlib.Path(__file__).parent
COMPILER = shutil.which("g++")
_FOLDER = tempfile.TemporaryDirectory(prefix="cuda_on_cpu")
_LIBRARIES: dict[str, ctypes.CDLL] = {}


class CpuModule:
    """Kernels compiled for the CPU.

    Args:
        text: the source, as it goes to NVRTC.
        order: 0: threads run by rising number, -1: falling, else shuffled with that seed.
        sanitize: "address" or "undefined", for a process that has that sanitizer's library loaded.
    """

    def __init__(self, text: str, order: int = 0, sanitize: str | None = None) -> None:
        self.order = order
        self.kernels = signatures(text)
        barriers = "true" if "__syncthreads" in text else "false"
        parts = ['#include "shim.h"', text]
        for name, parameters in self.kernels.items():
            declared = "".join(f", {t}{'*' if p else ''} {n}" for t, p, n in parameters)
            called = ", ".join(n for _, _, n in parameters)
            parts.append(
                f'extern "C" int cpu_{name}(const unsigned* shape_, int order_{declared}) {{ '
                f"return shim::launch(shape_, order_, {barriers}, [=] {{ {name}({called}); }}); }}"
            )
        # Kernels count with int and unsigned in CUDA's way; nothing else may be warned about.
        flags = ["-std=c++17", "-fPIC", "-ffp-contract=off", "-Wall", "-Werror"]
        flags += ["-Wno-unknown-pragmas", "-Wno-sign-compare"]
        if sanitize:
            flags += ["-O0", "-g", f"-fsanitize={sanitize}", "-fno-sanitize-recover=all"]
        else:
            flags += ["-O1"]
        code = "\n".join(parts)
        key = hashlib.sha256((code + " ".join(flags)).encode()).hexdigest()[:16]
        if key not in _LIBRARIES:
            library = f"{_FOLDER.name}/{key}.so"
            how = [f"-I{_shim(tuple(flags))}", "-shared", "-x", "c++", "-"]
            _compile([*flags, *how, "-o", library], code)
            _LIBRARIES[key] = ctypes.CDLL(library)
        self.library = _LIBRARIES[key]

    def get_function(self, name: str):
        """The kernel as a function of (grid, block, args)."""
        entry = getattr(self.library, f"cpu_{name}")
        pointers = [pointer for _, pointer, _ in self.kernels[name]]

        def call(grid, block, args):
            shape = (ctypes.c_uint * 6)(*(*grid, 1, 1)[:3], *(*block, 1, 1)[:3])
            values = [_argument(a, p) for a, p in zip(args, pointers, strict=True)]
            result = entry(shape, ctypes.c_int(self.order), *values)
            if result == 1:
                raise ValueError(f"{name}: a GPU would refuse grid {grid}, block {block}")
            if result == 2:
                raise RuntimeError(f"{name}: not all threads of a block reach the same barrier")

        return call


def _compile(arguments, code=""):
    done = subprocess.run([COMPILER, *arguments], input=code, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(done.stderr)


@functools.cache
def _shim(flags: tuple[str, ...]) -> str:
    """A folder with shim.h as the compiler keeps it when read: half of a kernel's compilation."""
    folder = tempfile.mkdtemp(dir=_FOLDER.name)
    _compile([*flags, "-x", "c++-header", str(HERE / "shim.h"), "-o", f"{folder}/shim.h.gch"])
    return folder


def _argument(value, pointer):
    if not pointer:
        return np.ctypeslib.as_ctypes_type(value.dtype)(value.item())
    if isinstance(value, np.generic):  # a null pointer
        return ctypes.c_void_p(int(value))
    return ctypes.c_void_p(value.ctypes.data if isinstance(value, np.ndarray) else value.data.ptr)


class CudaOnCpu(CudaKernels):
    """The GPU's backend with NumPy for CuPy and g++ for NVRTC."""

    name = "cuda_on_cpu"
    xp = np

    def __init__(self, order: int = 0, sanitize: str | None = None) -> None:
        self.order, self.sanitize = order, sanitize

    def asarray(self, data, dtype=None, index=None):
        return np.asarray(data, dtype)

    def product(self, a, b, tf32):
        """For NumPy arrays; `CudaOnStrict` asks a model of cuBLAS."""
        if a.dtype.itemsize > 2:
            return np.matmul(a, b)
        return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)

    def module(self, text):
        text = re.sub(r"#include <cuda_(fp|bf)16.h>\n", "", text)
        return CpuModule(text, self.order, self.sanitize)


class CudaOnStrict(CudaOnCpu):
    """The same with the strict stand-in for CuPy, and a model of cuBLAS."""

    name = "strict"
    xp = strict_cupy

    def asarray(self, data, dtype=None, index=None):
        return strict_cupy.asarray(data, dtype)

    def to_host(self, array):
        return strict_cupy.asnumpy(array)

    product = CudaKernels.product

    def cublas(self):
        return ColumnMajor(), 0
