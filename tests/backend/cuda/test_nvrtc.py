"""Every CUDA C kernel compiles with NVRTC, CUDA's own compiler, for each generation of GPU.

Needs no GPU and no driver, only the library, and for 16-bit floats CUDA's headers: `pip install
nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl`. The stand-in's g++
lets pass what CUDA does not know (macros of host headers, above all); this does not.
"""

from __future__ import annotations

import ctypes
import importlib.util
import pathlib

import pytest

from minidl.backend.cuda.conv import tile
from minidl.backend.cuda.launcher import FOLDER, HEADERS, source

ARCHITECTURES = ["sm_75", "sm_80", "sm_90"]  # Turing, Ampere, Hopper
REAL = [
    ("float", "float"),
    ("double", "double"),
    ("__half", "float"),
    ("__nv_bfloat16", "float"),
]
COUNT = {"count_t": "unsigned int"}


def variants():
    """(file, defines) of what the launchers ask for."""
    yield "random.cu", COUNT
    yield "nms_reduce.cu", {}
    for real, wide in REAL:
        types = {"real": real, "wide": wide}
        for file in ("norm.cu", "lars.cu"):
            yield file, types
        for file in ("activation", "cross_entropy_grad", "im2col", "optim", "resample"):
            yield f"{file}.cu", {**types, **COUNT}
        for file in ("scaling", "scatter"):
            yield f"{file}.cu", {**types, **COUNT}
        for place in ("int", "long long") if real == "float" else ("int",):
            for file in ("pool.cu", "roi.cu"):
                yield file, {**types, "place_t": place, **COUNT}
        if real in ("float", "double"):  # boxes
            yield "nms.cu", {"real": real, **COUNT}
        for lanes in (1, 32):
            yield "cross_entropy.cu", {**types, "LANES": lanes}
        for lanes in (1, 256):
            yield "softmax.cu", {**types, "LANES": lanes}
        yield "depthwise.cu", {**types, "KH": 3, "KW": 3, **COUNT}
        yield "depthwise_weight.cu", {**types, "KH": 7, "KW": 7}
        for rows in (16, 32, 64, 128) if real == "float" else (64,):
            names = dict(zip(("BM", "BN", "BK", "TM", "TN"), tile(rows), strict=True))
            yield "conv.cu", {**types, **names}


def roots():
    """The folders of NVIDIA's wheels."""
    spec = importlib.util.find_spec("nvidia")
    return [pathlib.Path(root) for root in spec.submodule_search_locations] if spec else []


def headers():
    """The folders with <cuda_fp16.h> and what it includes."""
    return [path.parent for root in roots() for path in root.glob("*/include/cuda_fp16.h")]


def load():
    """libnvrtc of the installed wheel, or None."""
    for root in roots():
        for pattern in ("libnvrtc-builtins.so.*", "libnvrtc.so.*[0-9]"):
            for path in sorted(root.glob(f"*/lib/{pattern}")):
                library = ctypes.CDLL(str(path))  # the built-ins first: it does not look for them
        if "library" in locals():
            return library
    return None


NVRTC = load()


def compiled(text: str, architecture: str) -> bytes:
    """Machine code of `text`, or a RuntimeError with the compiler's messages."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    NVRTC.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    # CuPy adds -ftz to all it compiles.
    flags = [f"-arch={architecture}", "--std=c++17", "-ftz=true"]
    flags += [f"-I{folder}" for folder in headers()]
    texts = (ctypes.c_char_p * len(flags))(*[flag.encode() for flag in flags])
    try:
        failed = NVRTC.nvrtcCompileProgram(program, len(flags), texts)
        what = "ProgramLog" if failed else "CUBIN"
        getattr(NVRTC, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(NVRTC, f"nvrtcGet{what}")(program, buffer)
        if failed:
            raise RuntimeError(buffer.value.decode())
        return buffer.raw
    finally:
        NVRTC.nvrtcDestroyProgram(ctypes.byref(program))


needs_nvrtc = pytest.mark.skipif(NVRTC is None, reason="needs the package nvidia-cuda-nvrtc")


def test_every_file_is_compiled():
    assert {file for file, _ in variants()} == {path.name for path in FOLDER.glob("*.cu")}


@needs_nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("file", "defines"), list(variants()), ids=str)
def test_kernels_compile(file, defines, architecture):
    if defines.get("real") in HEADERS and not headers():
        pytest.skip("needs the packages nvidia-cuda-runtime, nvidia-cuda-crt, nvidia-cuda-cccl")
    assert compiled(source(file, tuple(defines.items())), architecture).startswith(b"\x7fELF")


@needs_nvrtc
def test_what_cuda_does_not_know_is_refused():
    with pytest.raises(RuntimeError, match="INFINITY"):
        compiled('extern "C" __global__ void f(float* a) { *a = INFINITY; }', "sm_90")
