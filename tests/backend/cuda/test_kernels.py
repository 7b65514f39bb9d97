"""The CUDA C kernels, executed on the CPU against the plain NumPy kernels."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from minidl.backend.cuda import conv as cuda_conv
from minidl.backend.cuda.launcher import KernelLauncher
from minidl.backend.geometry import ConvGeometry
from minidl.backend.plain.conv import ConvKernels
from minidl.backend.plain.norm import NormKernels

from ...cuda_on_cpu import COMPILER, CpuModule, CudaOnCpu

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs g++ to compile kernels for the CPU")


class Plain(ConvKernels, NormKernels):
    xp = np


def assert_near(a, b, rtol):
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    scale = max(float(np.abs(b).max()), 1e-30) if b.size else 1.0
    assert float(np.abs(a - b).max(initial=0.0)) <= rtol * scale


def random_conv(rng, rows=None):
    groups = int(rng.integers(1, 4))
    # One channel a group would be depthwise convolution, which has kernels of its own.
    channels = groups * int(rng.integers(1 if groups == 1 else 2, 4))
    out = groups * int(rng.integers(1, 4)) if rows is None else rows * groups
    pads = rng.integers(0, 3, (2, 2))
    geometry = ConvGeometry(
        kernel=tuple(int(k) for k in rng.integers(1, 4, 2)),
        stride=tuple(int(k) for k in rng.integers(1, 4, 2)),
        padding=tuple((int(a), int(b)) for a, b in pads),
        dilation=tuple(int(k) for k in rng.integers(1, 3, 2)),
        groups=groups,
    )
    size = tuple(int(k) for k in rng.integers(6, 10, 2))
    x = rng.standard_normal((int(rng.integers(1, 4)), channels, *size))
    w = rng.standard_normal((out, channels // groups, *geometry.kernel))
    g = rng.standard_normal((len(x), out, *geometry.output_size(size)))
    return geometry, x, w, g, rng.standard_normal(out)


def check_conv(backend, rng, dtype, rtol, rows=None):
    geometry, *arrays = random_conv(rng, rows)
    x, w, g, bias = (a.astype(dtype) for a in arrays)
    plain = Plain()
    assert_near(
        backend.conv_forward(x, w, geometry, bias), plain.conv_forward(x, w, geometry, bias), rtol
    )
    assert_near(backend.conv_forward(x, w, geometry), plain.conv_forward(x, w, geometry), rtol)
    size = x.shape[2:]
    assert_near(
        backend.conv_input_grad(g, w, geometry, size),
        plain.conv_input_grad(g, w, geometry, size),
        rtol,
    )
    assert_near(
        backend.conv_weight_grad(x, g, geometry), plain.conv_weight_grad(x, g, geometry), rtol
    )


@pytest.mark.parametrize("seed", range(25))
def test_convolution_equals_the_plain_kernels(seed):
    check_conv(CudaOnCpu(), np.random.default_rng(seed), np.float64, 1e-12)


@pytest.mark.parametrize("rows", [20, 40, 130])
def test_every_tile_of_the_matrix_product_is_right(rows):
    """More rows than a tile has, and not a multiple of it."""
    check_conv(CudaOnCpu(), np.random.default_rng(rows), np.float32, 1e-5, rows)


@pytest.mark.parametrize("order", [-1, 7])
def test_the_order_of_threads_does_not_matter(order):
    rng = np.random.default_rng(3)
    check_conv(CudaOnCpu(order), rng, np.float64, 1e-12)
    check_norm(CudaOnCpu(order), rng, (3, 2, 300), np.inf, np.float64, 1e-10)


def test_the_weight_gradient_is_summed_in_several_parts():
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((3, 2, 30, 30)), rng.standard_normal((3, 3, 30, 30))
    geometry = ConvGeometry((3, 3), padding=((1, 1), (1, 1)))
    assert 3 * 30 * 30 // (16 * 16) > 1  # as conv_weight_grad divides it
    assert_near(
        CudaOnCpu().conv_weight_grad(x, g, geometry),
        Plain().conv_weight_grad(x, g, geometry),
        1e-12,
    )


def test_an_empty_batch_launches_nothing():
    geometry = ConvGeometry((3, 3))
    x, w = np.zeros((0, 2, 5, 5), np.float32), np.ones((4, 2, 3, 3), np.float32)
    backend = CudaOnCpu()
    y = backend.conv_forward(x, w, geometry)
    assert y.shape == (0, 4, 3, 3)
    assert not backend.conv_weight_grad(x, y, geometry).any()
    assert backend.conv_input_grad(y, w, geometry, (5, 5)).shape == x.shape


def test_strided_arrays_are_made_contiguous():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 7, 3)).transpose(0, 3, 1, 2)
    w = np.asfortranarray(rng.standard_normal((4, 3, 3, 3)))
    geometry = ConvGeometry((3, 3))
    assert_near(
        CudaOnCpu().conv_forward(x, w, geometry), Plain().conv_forward(x, w, geometry), 1e-12
    )


def check_norm(backend, rng, shape, ceiling, dtype, rtol, affine=True):
    x = (rng.standard_normal(shape) * 3 + 10).astype(dtype)
    g = rng.standard_normal(shape).astype(dtype)
    w, b = (rng.standard_normal(shape[1]).astype(dtype) if affine else None for _ in range(2))
    plain = Plain()
    expected = plain.batch_norm(x, w, b, 1e-5, ceiling)
    for mine, theirs in zip(backend.batch_norm(x, w, b, 1e-5, ceiling), expected, strict=True):
        assert_near(mine, theirs, rtol)
    y, mean, var = expected
    args = (g, x, w, mean, 1 / np.sqrt(var + 1e-5), None if ceiling is None else y, ceiling)
    for mine, theirs in zip(
        backend.batch_norm_grad(*args), plain.batch_norm_grad(*args), strict=True
    ):
        assert_near(mine, theirs, rtol)


@pytest.mark.parametrize("ceiling", [None, np.inf, 0.75])
@pytest.mark.parametrize("shape", [(4, 3, 5), (2, 1, 1), (1, 2, 3), (70, 2, 33), (5, 7, 1)])
def test_batch_norm_equals_the_plain_kernels(shape, ceiling):
    rng = np.random.default_rng(0)
    check_norm(CudaOnCpu(), rng, shape, ceiling, np.float64, 1e-10)
    check_norm(CudaOnCpu(), rng, shape, ceiling, np.float32, 1e-4)
    check_norm(CudaOnCpu(), rng, shape, ceiling, np.float64, 1e-10, affine=False)


@pytest.mark.parametrize("shape", [(0, 3, 5), (4, 0, 5), (4, 3, 0)])
@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_batch_norm_of_nothing_launches_nothing(shape, monkeypatch):
    backend = CudaOnCpu()
    monkeypatch.setattr(backend, "launch", None)
    x, channel = np.zeros(shape, np.float32), np.ones(shape[1], np.float32)
    y, mean, var = backend.batch_norm(x, None, None, 1e-5)
    assert (y.shape, mean.shape, var.shape) == (shape, channel.shape, channel.shape)
    dx, weight_grad, bias_grad = backend.batch_norm_grad(x, x, None, channel, channel)
    assert dx.shape == shape
    assert not weight_grad.any()
    assert not bias_grad.any()


def test_tables_of_taps_are_kept_but_not_without_end(monkeypatch):
    monkeypatch.setattr(cuda_conv, "TABLES", 3)
    backend = CudaOnCpu()
    w = np.ones((2, 2, 1, 1), np.float32)
    for size in (2, 3, 4, 5, 5):
        backend.conv_forward(np.ones((1, 2, size, size), np.float32), w, ConvGeometry((1, 1)))
    assert len(backend._tables) == 1


def test_batch_norm_keeps_its_digits_far_from_zero():
    """Differences of squares lose them where the mean is large: the sums are taken off a shift."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((8, 2, 400)) * 0.01 + 1000).astype(np.float32)
    _, _, var = CudaOnCpu().batch_norm(x, None, None, 1e-5)
    assert np.allclose(var, x.astype(np.float64).var((0, 2)), rtol=1e-3)


def check(backend, rng, dtype, rtol):
    check_conv(backend, rng, dtype, rtol)
    check_norm(backend, rng, (3, 2, 70), np.inf, dtype, 10 * rtol)


ADD = """
extern "C" __global__ void mdl_add(const float* a, float* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] += a[i];
}
extern "C" __global__ void mdl_reverse(float* a, int n) {
  __shared__ float copy[64];
  if ((int)threadIdx.x < n) copy[threadIdx.x] = a[threadIdx.x];
  BARRIER
  if ((int)threadIdx.x < n) a[threadIdx.x] = copy[n - 1 - threadIdx.x];
}
"""


class OneFile(KernelLauncher):
    """A launcher of the kernels above, whatever file is asked for."""

    def __init__(self, barrier="__syncthreads();", order=0):
        self.barrier, self.order = barrier, order

    def module(self, text):
        del text
        return CpuModule(ADD.replace("BARRIER", self.barrier), self.order)


@pytest.fixture
def launcher(monkeypatch):
    def make(**options):
        one = OneFile(**options)
        text = ADD.replace("BARRIER", one.barrier)
        monkeypatch.setattr("minidl.backend.cuda.launcher.source", lambda *args: text)
        return one

    return make


def test_a_launch_is_held_against_the_kernels_signature(launcher):
    a, out = np.ones(5, np.float32), np.zeros(5, np.float32)
    launch = launcher().launch
    launch("x.cu", "mdl_add", (1,), (8,), (a, out, 5))
    assert (out == 1).all()
    for args, error, message in [
        ((a, out), TypeError, "2 arguments for 3"),
        ((a.astype(np.float64), out, 5), TypeError, "a must be an array of float32"),
        ((a, 3.0, 5), TypeError, "out must be an array"),
        ((a[::2], out, 5), ValueError, "not contiguous"),
        ((a, out, 2.5), TypeError, "n must be an integer"),
        ((a, out, np.float32(2.5)), TypeError, "n must be an integer"),
        ((a, out, 2**40), ValueError, "does not fit int32"),
    ]:
        with pytest.raises(error, match=message):
            launch("x.cu", "mdl_add", (1,), (8,), args)
    for grid in [(0,), (1, 70000)]:
        with pytest.raises(ValueError, match="grid"):
            launch("x.cu", "mdl_add", grid, (8,), (a, out, 5))


def test_the_stand_in_shows_missing_and_divergent_barriers(launcher):
    def reverse(**options):
        a = np.arange(40, dtype=np.float32)
        launcher(**options).launch("x.cu", "mdl_reverse", (1,), (64,), (a, 40))
        return a

    right = np.arange(40, dtype=np.float32)[::-1]
    for order in (0, -1, 5):
        assert np.array_equal(reverse(order=order), right)
    assert not np.array_equal(reverse(barrier="", order=0), right)
    with pytest.raises(RuntimeError, match="barrier"):
        reverse(barrier="if (threadIdx.x < 32) __syncthreads();")


# Runs the `check(backend, rng, dtype, rtol)` of every test file of this folder that has one.
SANITIZED = """
import importlib, pathlib
import numpy as np
import pytest
from minidl.backend.cuda.launcher import FOLDER
from tests.cuda_on_cpu import CudaOnCpu, CpuModule
from tests.backend.cuda import test_kernels
backend, rng = CudaOnCpu(sanitize="address"), np.random.default_rng(0)
for path in sorted(pathlib.Path(test_kernels.__file__).parent.glob("test_*.py")):
    try:
        module = importlib.import_module(f"tests.backend.cuda.{path.stem}")
    except pytest.skip.Exception:  # a package that its tests need is not there
        continue
    if hasattr(module, "check"):
        module.check(backend, rng, np.float32, 1e-5)
ran = {file for _, file, _ in backend._modules}
print("not run:", sorted({path.name for path in FOLDER.glob("*.cu")} - ran))
print("clean", flush=True)
text = test_kernels.ADD.replace("BARRIER", "")
f = CpuModule(text, sanitize="address").get_function("mdl_add")
f((1,), (8,), (np.ones(5, np.float32), np.zeros(5, np.float32), np.int32(8)))
print("not caught")
"""


def test_kernels_stay_within_their_arrays():
    """Every file's kernels under AddressSanitizer, which is shown to see a write past the end."""
    found = subprocess.run(
        [COMPILER, "-print-file-name=libasan.so"], capture_output=True, text=True
    ).stdout.strip()
    if not os.path.isabs(found):
        pytest.skip("this g++ has no AddressSanitizer")
    options = "detect_leaks=0:detect_stack_use_after_return=0"
    environment = os.environ | {"LD_PRELOAD": found, "ASAN_OPTIONS": options}
    done = subprocess.run(
        [sys.executable, "-c", SANITIZED], env=environment, capture_output=True, text=True
    )
    assert "clean" in done.stdout, done.stderr[-3000:]
    assert "not run: []" in done.stdout
    assert "not caught" not in done.stdout
    assert "heap-buffer-overflow" in done.stderr


def test_tiles_fit_a_block_of_256_threads():
    for rows in (1, 16, 17, 32, 33, 64, 65, 1000):
        bm, bn, bk, tm, tn = cuda_conv.tile(rows)
        threads = bm // tm * (bn // tn)
        assert threads == 256
        assert threads % bn == 0 or bn % threads == 0
        assert threads % bk == 0
