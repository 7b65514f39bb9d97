import operator

import numpy as np
import pytest

import minidl as md
from minidl.ops import comparison as op

from .parity import assert_like_torch

NAN, INF = float("nan"), float("inf")


def test_a_tensor_is_neither_none_nor_a_string():
    x = md.tensor([1.0, 2.0])
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert (x == "a") is False
    assert x in [None, x]
    assert hash(x) == hash(x)


def test_an_order_with_none_is_an_error():
    with pytest.raises(TypeError):
        md.tensor([1.0]) < None  # noqa: B015


def test_comparisons_are_not_recorded():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    for result in (x == 1, x < x, x.isnan(), op.logical_not(x)):
        assert result.dtype == np.bool_
        assert not result.requires_grad


@pytest.mark.parametrize(
    "function", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
)
def test_types_are_mixed_before_comparing_as_in_torch(function):
    f = np.array([0.1, 1.0, NAN], np.float32)
    i = np.array([0, 1, 2])
    for a, b in [(f, i), (i, f), (f, f.astype(np.float64)), (i, i > 0)]:
        mine = function(md.tensor(a), md.tensor(b))
        torch = pytest.importorskip("torch")
        expected = function(torch.tensor(a), torch.tensor(b))
        np.testing.assert_array_equal(mine.numpy(), expected.numpy())
    assert (md.tensor(i) < 1.5).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("a", "b", "close"),
    [
        ([1.0, 2.0], [1.0, 2.0 + 1e-6], True),
        ([1.0, 2.0], [1.0, 2.1], False),
        ([INF, -INF], [INF, -INF], True),
        ([INF], [-INF], False),
        ([1.0], [INF], False),
        ([NAN], [NAN], False),
    ],
)
def test_allclose_is_torchs(a, b, close):
    torch = pytest.importorskip("torch")
    assert torch.allclose(torch.tensor(a), torch.tensor(b)) is close
    assert op.allclose(md.tensor(a), md.tensor(b)) is close


def test_nan_is_close_to_nan_only_on_request():
    x = md.tensor([1.0, NAN])
    assert op.allclose(x, x, equal_nan=True)
    assert not op.allclose(x, x)


def test_integers_can_be_close():
    assert op.allclose(md.tensor([1, 2]), md.tensor([1, 2]))
    assert not op.allclose(md.tensor([1, 2]), md.tensor([1, 3]))
    assert op.allclose(md.tensor([1, 2]), md.tensor([1, 3]), atol=1)


def test_allclose_of_different_dtypes_raises():
    with pytest.raises(TypeError, match="allclose: both tensors must have one dtype"):
        op.allclose(md.tensor(np.ones(2, np.float32)), md.tensor(np.ones(2)))


def test_equal_compares_shapes_and_values():
    x = md.tensor([1.0, 2.0])
    assert op.equal(x, md.tensor([1, 2]))
    assert not op.equal(x, md.tensor([1.0]))
    assert not op.equal(x, md.tensor([1.0, 3.0]))
    assert not op.equal(md.tensor([NAN]), md.tensor([NAN]))
    assert op.equal(md.tensor(np.zeros((0, 2))), md.tensor(np.zeros((0, 2))))


def test_bits_of_floats_are_an_error():
    x = md.tensor([1.0])
    for function in (lambda: x & x, lambda: x | 1, lambda: ~x, lambda: md.tensor([1]) ^ 0.5):
        with pytest.raises(TypeError, match=r"bitwise_\w+: needs bool or integer tensors"):
            function()


def test_masks_combine_with_bools_and_integers_as_in_torch():
    mask, i = np.array([True, False, True]), np.array([1, 2, 3])
    for function in (operator.and_, operator.or_, operator.xor):
        for a, b in [(mask, i), (i, i), (mask, mask)]:
            assert_like_torch(function, lambda torch, a, b, f=function: f(a, b), a, b, grad=False)
        assert_like_torch(
            lambda a, f=function: f(True, a),
            lambda torch, a, f=function: f(torch.tensor(True), a),
            mask,
            grad=False,
        )


@pytest.mark.parametrize("name", ["sign", "floor", "ceil", "round", "trunc"])
def test_rounding_of_special_numbers_and_integers_is_torchs(name):
    ours = getattr(op, name)
    special = [0.0, -0.5, 0.5, NAN, INF, -INF]
    assert_like_torch(ours, lambda torch, x: getattr(torch, name)(x), special)
    assert_like_torch(ours, lambda torch, x: getattr(torch, name)(x), [3, -4, 0], grad=False)


def test_rounding_of_bools_raises():
    for function in (op.floor, op.ceil, op.round, op.trunc):
        with pytest.raises(TypeError, match="needs numbers, got a bool tensor"):
            function(md.tensor([True]))


def test_round_to_tens_is_torchs():
    assert_like_torch(
        lambda x: op.round(x, decimals=-1),
        lambda torch, x: torch.round(x, decimals=-1),
        [123.4, -56.0, 5.0],
    )


def test_a_training_step_through_a_step_function_learns_nothing_but_runs():
    x = md.tensor([0.3, 1.7], requires_grad=True)
    op.round(x).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_shapes_that_do_not_broadcast_are_named():
    with pytest.raises(ValueError, match=r"lt: shapes \(3,\) and \(2,\) do not broadcast"):
        op.lt(md.tensor([1, 2, 3]), md.tensor([1, 2]))


def test_tensors_on_different_devices_are_named():
    here, there = md.tensor([1.0]), md.tensor([1.0], device="strict")
    for function in (op.eq, op.lt, op.logical_and, op.allclose):
        with pytest.raises(RuntimeError, match="different devices"):
            function(here, there)
