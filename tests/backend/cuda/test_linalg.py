"""Batched products by cuBLAS, with a model of it in NumPy: operands, leading sizes, strides."""

import numpy as np
import pytest

from ... import strict_cupy
from ...cuda_on_cpu import CudaOnStrict
from .common import assert_near

RTOL = {np.float64: 1e-12, np.float32: 1e-5, np.float16: 1e-2}


def product(a, b):
    """a @ b through the backend; and whether cuBLAS' batched product was asked."""
    backend = CudaOnStrict()
    library, handle = backend.cublas()
    calls = []
    asked = library.gemmStridedBatchedEx
    library.gemmStridedBatchedEx = lambda *args: (calls.append(args), asked(*args))
    backend.cublas = lambda: (library, handle)
    with strict_cupy.forbid_sync():
        result = backend.bmm(a, b)
    return result.get(), calls


def layouts(x):
    """The same batch of matrices in several layouts: as device arrays."""
    on_device = strict_cupy.asarray
    yield on_device(np.ascontiguousarray(x))
    yield on_device(np.ascontiguousarray(x.swapaxes(-1, -2))).swapaxes(-1, -2)
    wide = np.zeros((*x.shape[:-1], x.shape[-1] + 3), x.dtype)
    wide[..., 1:-2] = x
    yield on_device(wide)[..., 1:-2]  # rows apart
    sparse = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    sparse[..., ::2] = x
    yield on_device(sparse)[..., ::2]  # neither rows nor columns in one piece
    yield on_device(np.ascontiguousarray(x.swapaxes(0, -2))).swapaxes(0, -2)  # the batch inside


@pytest.mark.parametrize("dtype", list(RTOL))
def test_every_layout_of_both_operands_is_right(dtype):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4, 3, 5)).astype(dtype)
    b = rng.standard_normal((4, 5, 2)).astype(dtype)
    expected = (a.astype(np.float64) @ b.astype(np.float64)).astype(dtype)
    for left in layouts(a):
        for right in layouts(b):
            result, calls = product(left, right)
            assert_near(result, expected, RTOL[dtype])
            assert len(calls) == 1


SHAPES = [
    ((2, 3, 4, 5), (2, 3, 5, 6)),
    ((3, 4, 5), (2, 3, 5, 6)),
    ((2, 1, 4, 5), (2, 3, 5, 6)),
    ((1, 4, 5), (7, 5, 6)),
    ((7, 1, 5), (7, 5, 1)),
    ((7, 4, 1), (7, 1, 6)),
    ((4, 5), (7, 5, 6)),
    ((1, 1, 1), (1, 1, 1)),
    ((0, 4, 5), (0, 5, 6)),
    ((3, 4, 0), (3, 0, 6)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_batches_broadcast(left, right):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(left), rng.standard_normal(right)
    result, _ = product(strict_cupy.asarray(a), strict_cupy.asarray(b))
    assert_near(result, a @ b, 1e-12)


def test_a_matrix_for_the_whole_batch_is_not_copied():
    rng = np.random.default_rng(0)
    a, b = (strict_cupy.asarray(rng.standard_normal(s)) for s in ((4, 5), (7, 5, 6)))
    _, (call,) = product(a, b)
    assert call[11] == a.data.ptr
    assert call[14] == 0
    assert call[7] == b.data.ptr
    assert call[10] == 30
    view = strict_cupy.broadcast_to(b[0], b.shape)  # a view that repeats one matrix
    _, (call,) = product(a[None], view)
    assert (call[7], call[10]) == (b.data.ptr, 0)


def test_transposed_batches_are_not_copied():
    rng = np.random.default_rng(0)
    a, b = (strict_cupy.asarray(rng.standard_normal(s)) for s in ((7, 5, 4), (7, 6, 5)))
    _, (call,) = product(a.swapaxes(1, 2), b.swapaxes(1, 2))
    assert call[1:3] == (1, 1)
    assert (call[7], call[11]) == (b.data.ptr, a.data.ptr)


def test_one_matrix_on_the_right_is_one_product_of_all_rows():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((7, 3, 5)), rng.standard_normal((5, 2))
    result, calls = product(strict_cupy.asarray(a), strict_cupy.asarray(b))
    assert_near(result, a @ b, 1e-12)
    assert not calls


def test_the_numbers_of_cublas_types_are_cupys():
    runtime = pytest.importorskip("cupy").cuda.runtime
    from minidl.backend.cuda.linalg import CUBLAS_TYPES

    names = {"e": runtime.CUDA_R_16F, "f": runtime.CUDA_R_32F, "d": runtime.CUDA_R_64F}
    assert {char: kind for char, (kind, _, _) in CUBLAS_TYPES.items()} == names


def test_sizes_that_do_not_meet_are_an_error():
    a, b = strict_cupy.zeros((2, 3, 4)), strict_cupy.zeros((2, 5, 6))
    with pytest.raises(ValueError, match="bmm: 4 columns do not meet 5 rows"):
        product(a, b)
