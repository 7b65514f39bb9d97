"""Mixed operands: which dtype wins, and how gradients find the way back."""

import itertools

import numpy as np
import pytest

import minidl as md
from minidl.ops.common import as_float, astype

DTYPES = ["bool", "uint8", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize(("a", "b"), list(itertools.product(DTYPES, DTYPES)))
@pytest.mark.parametrize("shapes", [((2,), (2,)), ((2,), ()), ((), (2,))])
def test_result_dtypes_are_those_of_torch(a, b, shapes):
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    x, y = np.ones(shapes[0], a), np.ones(shapes[1], b)
    expected = (torch.tensor(x) * torch.tensor(y)).numpy().dtype
    assert (md.tensor(x) * md.tensor(y)).dtype == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scalar", [2, 2.0, np.float64(2.0), np.float32(2.0), np.int64(2)])
def test_a_scalar_never_widens_a_tensor(dtype, scalar):
    x = md.tensor(np.ones(3, dtype))
    for result in (x * scalar, scalar * x, x + scalar, scalar - x):
        if x.is_floating_point():
            assert result.dtype == x.dtype
        elif isinstance(scalar, (float, np.floating)):
            assert result.dtype == np.float32


def test_the_gradient_of_a_cast_operand_has_the_operands_own_dtype():
    x = md.tensor([1.0, 2.0], dtype="float32", requires_grad=True)
    w = md.tensor([3.0, 4.0], dtype="float64", requires_grad=True)
    (x * w).backward(md.tensor([1.0, 1.0], dtype="float64"))
    assert x.grad.dtype == np.float32
    assert w.grad.dtype == np.float64
    assert np.array_equal(x.grad.data, [3.0, 4.0])
    assert np.array_equal(w.grad.data, [1.0, 2.0])


def test_a_cast_to_the_same_dtype_is_the_tensor_itself():
    x = md.tensor([1.0])
    assert astype(x, np.float32) is x


def test_integers_become_the_default_float():
    assert as_float(md.tensor([1, 2])).dtype == np.float32
    assert as_float(md.tensor([1.0], dtype="float64")).dtype == np.float64


def test_an_array_is_an_operand():
    x = md.tensor([1.0, 2.0])
    assert np.array_equal((np.array([1.0, 1.0], np.float32) + x).data, [2.0, 3.0])
    assert isinstance(np.array([1.0, 1.0], np.float32) + x, md.Tensor)


def test_shapes_that_do_not_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        md.tensor([1.0, 2.0]) + md.tensor([1.0, 2.0, 3.0])
