import numpy as np
import pytest

import minidl as md
from minidl.ops import activation as op

from .parity import assert_like_torch

NAN, INF = float("nan"), float("inf")
SPECIAL = [-4.0, -3.0, -1.0, 0.0, 1.0, 3.0, 4.0, 6.0, 25.0, -200.0, NAN, INF, -INF]
CALLS = [
    ("relu", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.0}),
    ("leaky_relu", {"negative_slope": 2.0}),
    ("elu", {}),
    ("elu", {"alpha": 0.3}),
    ("selu", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("softplus", {}),
    ("softplus", {"beta": 2, "threshold": 6}),
    ("hardtanh", {}),
    ("relu6", {}),
    ("hardswish", {}),
    ("mish", {}),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kinks_and_special_numbers_give_torchs_values_and_gradients(name, arguments, dtype):
    numbers = SPECIAL
    if "negative_slope" in arguments and not arguments["negative_slope"]:
        numbers = [x for x in numbers if abs(x) != INF and x == x]  # torch: inf * 0, NaN * 0
    if name == "gelu" and dtype == "float32":
        numbers = [x for x in numbers if abs(x) != INF]  # torch: NaN at inf, but inf in float64
    if name == "hardswish":
        numbers = [x for x in numbers if x == x]  # torch: gradient 1 at NaN, here NaN
    assert_like_torch(
        lambda x: getattr(op, name)(x, **arguments),
        lambda torch, x: getattr(torch.nn.functional, name)(x, **arguments),
        numbers,
        dtype=dtype,
        rtol=1e-10 if dtype == "float64" else 3e-6,
    )


def test_hardsigmoid_at_kinks_and_special_numbers_is_torchs():
    assert_like_torch(
        op.hardsigmoid,
        lambda torch, x: torch.nn.functional.hardsigmoid(x),
        SPECIAL,
        rtol=1e-7,  # torch's 1/6 is rounded to float32
    )


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=str)
def test_large_arrays_take_the_same_values_as_small_ones(name, arguments):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((50, 60)) * 4).astype(np.float32)
    function = getattr(op, name)
    small = np.stack([function(md.tensor(row), **arguments).numpy() for row in x])
    assert_like_torch(
        lambda x: function(x, **arguments),
        lambda torch, x: getattr(torch.nn.functional, name)(x, **arguments),
        x,
        dtype="float32",
        rtol=2e-6,
    )
    large = function(md.tensor(x), **arguments).numpy()
    np.testing.assert_allclose(large, small, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=str)
def test_empty_batches_give_empty_results(name, arguments):
    assert_like_torch(
        lambda x: getattr(op, name)(x, **arguments),
        lambda torch, x: getattr(torch.nn.functional, name)(x, **arguments),
        np.zeros((0, 3, 2, 2)),
    )


def test_integers_stay_integers_where_torch_takes_them():
    for name in ("relu", "hardtanh", "relu6"):
        assert_like_torch(
            getattr(op, name),
            lambda torch, x, name=name: getattr(torch.nn.functional, name)(x),
            np.array([-3, 0, 2, 9]),
            grad=False,
        )


def test_integers_become_float32_elsewhere():
    for name in ("elu", "selu", "gelu", "silu", "softplus", "hardswish", "hardsigmoid", "mish"):
        assert getattr(op, name)(md.tensor([1, -2])).dtype == np.float32


def test_relu_of_bools_raises():
    with pytest.raises(TypeError, match="relu: needs numbers"):
        op.relu(md.tensor([True]))


INPLACE = [
    *("relu", "leaky_relu", "elu", "selu", "silu", "hardtanh", "relu6", "hardswish"),
    *("hardsigmoid", "mish"),
]


@pytest.mark.parametrize("name", INPLACE)
def test_in_place_without_gradient_writes_into_the_memory(name):
    function = getattr(op, name)
    x = md.tensor(np.array([-2.0, 0.5, 7.0], np.float32))
    memory, expected = x.data, function(x).numpy()
    assert function(x, inplace=True) is x
    assert x.data is memory
    np.testing.assert_array_equal(memory, expected)


@pytest.mark.parametrize("name", INPLACE)
def test_in_place_with_gradient_keeps_what_was_saved(name):
    function = getattr(op, name)
    x = md.tensor(np.array([-2.0, 0.5, 2.0]), requires_grad=True)
    y = x * x
    z = y * 3
    assert function(y, inplace=True) is y
    (y + z).sum().backward()
    again = md.tensor(x.detach().numpy(), requires_grad=True)
    (function(again * again) + again * again * 3).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), again.grad.numpy(), rtol=1e-12)


def test_in_place_on_a_leaf_that_requires_a_gradient_raises():
    with pytest.raises(RuntimeError, match="leaf"):
        op.relu(md.tensor([1.0], requires_grad=True), inplace=True)


def test_prelu_takes_torchs_shapes():
    for x, w in [((2, 3), (3,)), ((3,), (1,)), ((), (1,)), ((4,), ()), ((2, 3, 4), (3,))]:
        rng = np.random.default_rng(1)
        assert_like_torch(
            op.prelu,
            lambda torch, x, w: torch.nn.functional.prelu(x, w),
            rng.standard_normal(x),
            rng.standard_normal(w),
        )


def test_prelu_names_a_wrong_number_of_weights():
    with pytest.raises(ValueError, match=r"prelu: 2 weights for 3 channel\(s\)"):
        op.prelu(md.tensor(np.zeros((2, 3))), md.tensor(np.zeros(2)))
    with pytest.raises(ValueError, match="prelu: weight must have 0 or 1 dimensions"):
        op.prelu(md.tensor(np.zeros((2, 3))), md.tensor(np.zeros((3, 1))))


def test_wrong_arguments_are_named():
    x = md.tensor([1.0])
    with pytest.raises(ValueError, match="approximate must be 'none' or 'tanh'"):
        op.gelu(x, "erf")
    with pytest.raises(ValueError, match=r"min_val 1\.0 is greater than max_val 0\.0"):
        op.hardtanh(x, 1.0, 0.0)


def test_relu_stops_an_infinite_gradient():
    x = md.tensor(np.full(5000, -1.0, np.float32), requires_grad=True)
    op.relu(x).backward(md.tensor(np.full(5000, INF, np.float32)))
    assert not x.grad.numpy().any()


def test_relu_saves_only_its_result():
    x = md.tensor(np.ones((4, 4), np.float32), requires_grad=True)
    y = op.relu(x)
    assert y.grad_fn.saved_tensors[0].data is y.data
