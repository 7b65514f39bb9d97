"""Batched products by cuBLAS, with a model of it in NumPy: operands, leading sizes, strides."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from minidl import backend
from minidl.backend.cuda.linalg import CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_TYPES, Operand

from ... import strict_cupy
from ...cuda_on_cpu import CudaOnStrict
from ...cuda_on_cpu.cublas import ColumnMajor
from .common import assert_near

RTOL = {np.float64: 1e-12, np.float32: 1e-5, np.float16: 1e-2}


def product(a, b, single=None):
    """a @ b through the backend, and the calls of cuBLAS' batched product; those of the product of
    two matrices go to the list `single`."""
    device = CudaOnStrict()
    library, handle = device.cublas()
    calls = []
    single = [] if single is None else single
    one, many = library.gemmEx, library.gemmStridedBatchedEx
    library.gemmEx = lambda *args: (
        single.append(args),
        one(*args),
        calls.pop(),  # the model computes the one by the other
    )
    library.gemmStridedBatchedEx = lambda *args: (calls.append(args), many(*args))
    device.cublas = lambda: (library, handle)
    with strict_cupy.forbid_sync():
        result = device.bmm(a, b)
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
    single = []
    result, calls = product(strict_cupy.asarray(a), strict_cupy.asarray(b), single)
    assert_near(result, a @ b, 1e-12)
    assert (len(calls), len(single)) == (0, 1)


def test_two_matrices_in_any_layout_are_multiplied_without_a_copy():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 5)), rng.standard_normal((5, 2))
    for left in (strict_cupy.asarray(a), strict_cupy.asarray(a.T.copy()).T):
        for right in (strict_cupy.asarray(b), strict_cupy.asarray(b.T.copy()).T):
            single = []
            result, _ = product(left, right, single)
            assert_near(result, a @ b, 1e-12)
            assert {single[0][7], single[0][10]} == {left.data.ptr, right.data.ptr}


@pytest.mark.parametrize("shapes", [((3, 40), (40, 2)), ((4, 3, 40), (4, 40, 2))])
def test_tf32_is_used_when_it_is_allowed_and_for_float32_only(shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    exact = a.astype(np.float64) @ b

    def error(dtype=np.float32):
        left, right = (strict_cupy.asarray(x.astype(dtype)) for x in (a, b))
        return np.abs(product(left, right)[0] - exact).max() / np.abs(exact).max()

    assert error() < 1e-6
    assert backend.get_float32_matmul_precision() == "highest"
    backend.set_float32_matmul_precision("high")
    try:
        assert backend.matmul.allow_tf32
        assert 1e-5 < error() < 1e-3
        assert error(np.float64) < 1e-6
        error(np.float16)  # (the model refuses TF32 there)
    finally:
        backend.matmul.allow_tf32 = False
    assert error() < 1e-6
    with pytest.raises(ValueError, match="'highest', 'high' or 'medium', not 'low'"):
        backend.set_float32_matmul_precision("low")


def test_a_switch_that_does_not_exist_is_refused():
    with pytest.raises(AttributeError, match="no switch 'allow_tf23'; there are allow_tf32"):
        backend.matmul.allow_tf23 = True
    assert repr(backend.matmul) == "Matmul(allow_tf32=False)"


def test_bfloat16_is_multiplied_in_float32():
    reason = "bfloat16 comes from ml_dtypes"
    dtype = pytest.importorskip("ml_dtypes", reason=reason).bfloat16
    rng = np.random.default_rng(0)
    for batch in ((2,), ()):
        a = rng.standard_normal((*batch, 3, 300)).astype(dtype)
        b = rng.standard_normal((*batch, 300, 4)).astype(dtype)
        out = np.empty((*batch, 3, 4), dtype)
        left, right = (Operand(Pointer(x), False, x.shape[-1], x[0].size) for x in (a, b))
        CudaOnStrict()._ask(left, right, Pointer(out), 300, False)
        expected = (a.astype(np.float32) @ b.astype(np.float32)).astype(dtype)
        assert np.array_equal(out.view(np.uint16), expected.view(np.uint16))


class Pointer:
    """What a product asks of an array; the stand-in for CuPy has no bfloat16."""

    def __init__(self, array):
        self.dtype, self.shape = array.dtype, array.shape
        self.data = SimpleNamespace(ptr=array.ctypes.data)


def test_the_numbers_of_cublas_types_are_cupys():
    runtime = pytest.importorskip("cupy").cuda.runtime
    names = {"e": runtime.CUDA_R_16F, "f": runtime.CUDA_R_32F, "d": runtime.CUDA_R_64F}
    names["E"] = runtime.CUDA_R_16BF
    assert {char: kind for char, (kind, _, _) in CUBLAS_TYPES.items()} == names


def test_the_calls_fit_cupys_signatures():
    """They are in its documentation strings: (handle, transa, transb, m, n, k, ...)."""
    cublas = pytest.importorskip(
        "cupy_backends.cuda.libs.cublas",
        exc_type=ImportError,
        reason="needs libcublas: nvidia-cublas",
    )
    assert cublas.CUBLAS_COMPUTE_32F_FAST_TF32 == CUBLAS_COMPUTE_32F_FAST_TF32
    for name in ("gemmEx", "gemmStridedBatchedEx"):
        text = getattr(cublas, name).__doc__
        theirs = [part.split()[-1] for part in text[text.index("(") + 1 : -1].split(",")]
        mine = list(inspect.signature(getattr(ColumnMajor, name)).parameters)[1:]
        assert theirs == mine


def test_sizes_that_do_not_meet_are_an_error():
    a, b = strict_cupy.zeros((2, 3, 4)), strict_cupy.zeros((2, 5, 6))
    with pytest.raises(ValueError, match="bmm: 4 columns do not meet 5 rows"):
        product(a, b)
