"""Convolution by im2col and cuBLAS: im2col.cu executed on the CPU, cuBLAS by its model."""

import numpy as np
import pytest

from minidl import backend
from minidl.backend.cuda import columns
from minidl.backend.geometry import ConvGeometry

from ... import strict_cupy
from ...cuda_on_cpu import CudaOnStrict
from .common import PLAIN, assert_near, each_way, needs_compiler
from .test_kernels import random_conv

pytestmark = needs_compiler


def check(kernels, rng, dtype, rtol):
    """The two kernels, against the plain columns and by adjointness."""
    geometry, x, _, g, _ = random_conv(rng)
    x, size = x.astype(dtype), g.shape[2:]
    # (N, groups, C / groups kh kw, Ho Wo)
    plain = PLAIN._columns(x, geometry, size).astype(dtype)
    expected = plain.transpose(1, 2, 0, 3).reshape(geometry.groups, plain.shape[2], -1)
    found = kernels._columns(np.ascontiguousarray(x), geometry, size)
    assert_near(found, expected, 0.0)
    v = rng.standard_normal(found.shape).astype(dtype)
    back = np.empty_like(x)
    kernels._fold(v, back, geometry, size)
    left = (found.astype(np.float64) * v).sum()
    right = (x.astype(np.float64) * back).sum()
    scale = np.sqrt((found.astype(np.float64) ** 2).sum() * (v.astype(np.float64) ** 2).sum())
    assert abs(left - right) <= rtol * scale


def test_im2col_and_its_adjoint():
    each_way(check)


@pytest.fixture
def tf32():
    backend.cudnn.allow_tf32 = True
    yield
    backend.cudnn.allow_tf32 = False


POINTWISE = ConvGeometry((1, 1))


def faces(kernels, arrays, geometry, move=lambda a: a):
    x, w, g, bias = (move(a) for a in arrays)
    return [
        kernels.conv_forward(x, w, geometry),
        kernels.conv_forward(x, w, geometry, bias),
        kernels.conv_input_grad(g, w, geometry, x.shape[2:]),
        kernels.conv_weight_grad(x, g, geometry),
    ]


def compare(geometry, arrays, dtype, rtol):
    arrays = [a.astype(dtype) for a in arrays]
    kernels = CudaOnStrict()
    with strict_cupy.forbid_sync():
        found = faces(kernels, arrays, geometry, strict_cupy.asarray)
    used = {file for _, file, _ in kernels._modules}
    assert "conv.cu" not in used
    for mine, expected in zip(found, faces(PLAIN, arrays, geometry), strict=True):
        assert_near(mine.get(), expected, rtol)


@pytest.mark.parametrize("seed", range(6))
def test_half_precision_goes_to_cublas(seed):
    geometry, *arrays = random_conv(np.random.default_rng(seed))
    compare(geometry, arrays, np.float16, 1e-2)


@pytest.mark.usefixtures("tf32")
@pytest.mark.parametrize("seed", range(6))
def test_float32_goes_to_cublas_where_tf32_is_allowed(seed):
    geometry, *arrays = random_conv(np.random.default_rng(seed))
    compare(geometry, arrays, np.float32, 5e-3)


def problem(rng, geometry=POINTWISE, batch=5):
    x = rng.standard_normal((batch, 4, 6, 7))
    w = rng.standard_normal((3, 4, *geometry.kernel))
    g = rng.standard_normal((batch, 3, *geometry.output_size((6, 7))))
    return x, w, g, rng.standard_normal(3)


def test_a_pointwise_convolution_makes_no_columns(monkeypatch):
    arrays = problem(np.random.default_rng(0))
    monkeypatch.setattr(columns.ColumnKernels, "_fold", None)
    compare(POINTWISE, arrays, np.float16, 1e-2)


def test_a_large_batch_is_done_in_parts(monkeypatch):
    geometry = ConvGeometry((3, 3), padding=((1, 1), (1, 1)))
    monkeypatch.setattr(columns, "COLUMN_BYTES", 2 * 4 * 9 * 42 * 2)  # of two images
    compare(geometry, problem(np.random.default_rng(0), geometry), np.float16, 1e-2)


def test_float32_as_it_is_and_float64_stay_with_our_own_kernel():
    kernels = CudaOnStrict()
    assert not kernels.by_columns(np.dtype(np.float32))
    assert not kernels.by_columns(np.dtype(np.float64))
    assert kernels.by_columns(np.dtype(np.float16))
