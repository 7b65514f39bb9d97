import numpy as np
import pytest

import minidl as md
from minidl.ops import selection as op

from .parity import assert_like_torch

NAN, INF = float("nan"), float("inf")
TIES = np.array([[1.0, 3.0, 3.0, NAN, 2.0], [3.0, 1.0, 1.0, 2.0, 3.0]])


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_ties_and_nan_share_the_gradient_as_in_torch(name):
    assert_like_torch(
        getattr(op, name),
        lambda torch, a, b: getattr(torch, name)(a, b),
        [1.0, 2.0, NAN, 1.0, INF, -INF, 0.0],
        [1.0, 3.0, 1.0, NAN, INF, 2.0, -0.0],
    )


@pytest.mark.parametrize("descending", [False, True])
def test_nan_sorts_as_the_greatest(descending):
    x = [1.0, NAN, 3.0, -INF, INF]
    assert_like_torch(
        lambda x: op.sort(x, descending=descending),
        lambda torch, x: tuple(torch.sort(x, descending=descending)),
        x,
    )
    assert_like_torch(
        lambda x: op.topk(x, 3, largest=descending),
        lambda torch, x: tuple(torch.topk(x, 3, largest=descending)),
        x,
    )


@pytest.mark.parametrize("descending", [False, True])
def test_a_stable_sort_keeps_equals_in_order(descending):
    x = np.random.default_rng(0).integers(0, 5, (4, 200)).astype(np.float32)
    assert_like_torch(
        lambda x: op.sort(x, 1, descending, True),
        lambda torch, x: tuple(torch.sort(x, dim=1, descending=descending, stable=True)),
        x,
        dtype="float32",
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_topk_of_many_elements_finds_what_a_full_sort_finds(dtype):
    x = (np.random.default_rng(1).permutation(3000).reshape(3, 1000) % 251).astype(dtype)
    for largest in (True, False):
        for k in (0, 1, 7, 999, 1000):
            values, indices = op.topk(md.tensor(x), k, largest=largest)
            expected = np.sort(x, axis=1)
            expected = expected[:, ::-1][:, :k] if largest else expected[:, :k]
            np.testing.assert_array_equal(values.numpy(), expected)
            np.testing.assert_array_equal(np.take_along_axis(x, indices.numpy(), 1), expected)


def test_results_have_names():
    result = op.sort(md.tensor([2.0, 1.0]))
    assert result.values.tolist() == [1.0, 2.0]
    assert result.indices.tolist() == [1, 0]
    assert result.indices.dtype == np.int64


def test_0d_tensors_sort_and_choose_as_in_torch():
    assert_like_torch(op.sort, lambda torch, x: tuple(torch.sort(x)), 2.5)
    assert_like_torch(lambda x: op.topk(x, 1), lambda torch, x: tuple(torch.topk(x, 1)), 2.5)
    assert_like_torch(
        lambda x: op.argmax(x, 0), lambda torch, x: torch.argmax(x, 0), 2.5, grad=False
    )
    assert_like_torch(op.nonzero, lambda torch, x: torch.nonzero(x), 2.5, grad=False)
    assert op.nonzero(md.tensor(2.5), as_tuple=True)[0].tolist() == [0]


def test_empty_dimensions_sort_to_nothing():
    assert_like_torch(
        lambda x: op.sort(x, 1), lambda torch, x: tuple(torch.sort(x, dim=1)), np.zeros((2, 0))
    )
    assert_like_torch(
        lambda x: op.topk(x, 0, 1), lambda torch, x: tuple(torch.topk(x, 0, 1)), np.zeros((2, 3))
    )


@pytest.mark.parametrize("k", [-1, 4])
def test_topk_of_more_than_there_are_raises(k):
    with pytest.raises(ValueError, match=f"topk: k = {k} is out of range"):
        op.topk(md.tensor([1.0, 2.0, 3.0]), k)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_the_first_of_equals_and_the_first_nan_are_found(name):
    for dim in (None, 0, 1, -1):
        for keepdim in (False, True):
            assert_like_torch(
                lambda x, d=dim, k=keepdim: getattr(op, name)(x, d, k),
                lambda torch, x, d=dim, k=keepdim: getattr(torch, name)(x, d, k),
                TIES,
                grad=False,
            )


def test_an_extreme_of_nothing_raises():
    with pytest.raises(IndexError, match="argmax: an empty tensor"):
        op.argmax(md.tensor(np.zeros((2, 0))))
    with pytest.raises(IndexError, match="argmin: dimension 1"):
        op.argmin(md.tensor(np.zeros((2, 0))), 1)
    assert op.argmax(md.tensor(np.zeros((0, 2))), 1).shape == (0,)


def test_dimensions_out_of_range_raise():
    x = md.tensor([1.0])
    for function in (lambda: op.sort(x, 1), lambda: op.topk(x, 1, -2), lambda: op.argmax(x, 3)):
        with pytest.raises(IndexError, match="out of range"):
            function()


def test_dim_and_axis_together_raise():
    with pytest.raises(TypeError, match="argmax: dim and axis"):
        op.argmax(md.tensor([1.0]), 0, axis=0)


@pytest.mark.parametrize(
    ("a", "b"), [(1.0, 0.0), (1, 0), (1, 0.5), (True, False)], ids=["ff", "ii", "if", "bb"]
)
def test_where_of_two_numbers_is_torchs(a, b):
    assert_like_torch(
        lambda mask: op.where(mask, a, b),
        lambda torch, mask: torch.where(mask, a, b),
        np.array([True, False]),
        grad=False,
        rtol=1e-6,
    )


def test_where_mixes_types_as_torch():
    mask, i, f = np.array([True, False, True]), np.array([1, 2, 3]), np.array([0.5, 1.5, 2.5])
    for a, b in [(i, f), (f, i)]:
        assert_like_torch(
            op.where, lambda torch, *t: torch.where(*t), mask, a, b, dtype="float32", grad=False
        )
    assert op.where(md.tensor(mask), md.tensor(i), 0.5).dtype == np.float32


def test_where_does_not_let_nan_through_from_the_other_branch():
    x = md.tensor(np.array([0.0, 4.0]), requires_grad=True)
    y = op.where(x > 0, x, 1.0).sqrt()
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 0.25]


def test_where_refuses_what_is_not_a_mask():
    x = md.tensor([1.0, 2.0])
    with pytest.raises(TypeError, match="where: condition must be a bool tensor"):
        op.where(md.tensor([1, 0]), x, x)
    with pytest.raises(TypeError, match="where: give both"):
        op.where(x > 1, x)
    with pytest.raises(ValueError, match="where: shapes"):
        op.where(x > 1, md.tensor([1.0, 2.0, 3.0]), x)


def test_masked_fill_keeps_the_dtype_of_its_input():
    mask, i = np.array([True, False]), np.array([3, 4])
    assert_like_torch(
        lambda m, x: op.masked_fill(x, m, 0.5),
        lambda torch, m, x: x.masked_fill(m, 0.5),
        mask,
        i,
        grad=False,
    )
    assert_like_torch(
        lambda m, x: op.masked_fill(x, m, -INF),
        lambda torch, m, x: x.masked_fill(m, -INF),
        np.array([[True], [False]]),
        [1.0, 2.0],
    )


def test_masked_fill_refuses_wrong_masks_and_values():
    x = md.tensor([1.0, 2.0])
    with pytest.raises(TypeError, match="masked_fill: mask must be a bool tensor"):
        op.masked_fill(x, md.tensor([1, 0]), 0.0)
    with pytest.raises(ValueError, match="masked_fill: value must be a number or a 0-d tensor"):
        op.masked_fill(x, x > 1, x)
    with pytest.raises(ValueError, match="masked_fill: shapes"):
        op.masked_fill(x, md.tensor([True, False, True]), 0.0)


def test_choices_of_large_arrays_are_those_of_small_ones():
    rng = np.random.default_rng(2)
    mask = rng.random((60, 70)) > 0.5
    a, b = rng.standard_normal((2, 60, 70))
    a[0, :5] = [NAN, INF, -INF, -0.0, 5e-324]
    for dtype in ("float64", "float32"):
        assert_like_torch(
            op.where, lambda torch, m, a, b: torch.where(m, a, b), mask, a, b, dtype=dtype
        )


def test_tensors_on_different_devices_are_named():
    x, mask = md.tensor([1.0]), md.tensor([True], device="strict")
    for function in (lambda: op.where(mask, x, x), lambda: op.masked_fill(x, mask, 0.0)):
        with pytest.raises(RuntimeError, match="different devices"):
            function()
    with pytest.raises(RuntimeError, match="different devices"):
        op.maximum(x, md.tensor([1.0], device="strict"))
