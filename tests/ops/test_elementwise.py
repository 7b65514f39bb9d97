import numpy as np
import pytest

import minidl as md
from minidl.ops import elementwise as op

from .parity import assert_like_torch

NAN, INF = float("nan"), float("inf")
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, 100.0, -100.0, 1000.0, -1000.0, NAN, INF, -INF]
NAMES = [
    *("exp", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "abs", "sin", "cos"),
    *("tan", "tanh", "sigmoid", "erf"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_numbers_give_torchs_values_and_gradients_without_warnings(name, dtype):
    numbers = [x for x in SPECIAL if not (name in ("sin", "cos", "tan") and abs(x) == INF)]
    assert_like_torch(
        getattr(op, name),
        lambda torch, x: getattr(torch, name)(x),
        numbers,
        dtype=dtype,
        rtol=1e-10 if dtype == "float64" else 2e-6,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logsigmoid_of_special_numbers_is_torchs(dtype):
    assert_like_torch(
        op.logsigmoid,
        lambda torch, x: torch.nn.functional.logsigmoid(x),
        SPECIAL,
        dtype=dtype,
        rtol=1e-10 if dtype == "float64" else 1e-6,
    )


@pytest.mark.parametrize("name", [n for n in NAMES if n != "abs"])
def test_integers_and_bools_become_float32(name):
    for values in ([1, 2, 3], [True, False]):
        assert_like_torch(
            getattr(op, name),
            lambda torch, x: getattr(torch, name)(x),
            np.array(values),
            grad=False,
            rtol=1e-6,
        )


def test_abs_of_integers_stays_integer():
    assert_like_torch(op.abs, lambda torch, x: torch.abs(x), np.array([-3, 2]), grad=False)


@pytest.mark.parametrize("name", NAMES)
def test_empty_tensors_give_empty_results(name):
    assert_like_torch(getattr(op, name), lambda torch, x: getattr(torch, name)(x), np.zeros((0, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_float16_stays_float16(name):
    x = md.tensor(np.linspace(0.1, 1.2, 5).astype(np.float16), requires_grad=True)
    y = getattr(op, name)(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == np.float16


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (None, 1.0), (0.0, None), (2.0, 1.0), (-INF, 0.5)]
)
def test_clamp_of_special_numbers_is_torchs_at_the_bounds_too(low, high):
    assert_like_torch(
        lambda x: op.clamp(x, low, high),
        lambda torch, x: torch.clamp(x, low, high),
        [0.0, 1.0, 2.0, 0.5, NAN, INF, -INF],
    )


def test_clamp_between_special_tensors_is_torchs():
    assert_like_torch(
        op.clamp,
        lambda torch, x, low, high: torch.clamp(x, low, high),
        [0.0, 1.0, 2.0, -1.0, 5.0, NAN, 5.0, 1.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        [1.0, 1.0, 1.0, 1.0, -1.0, 1.0, NAN, 1.0],
    )


@pytest.mark.parametrize(
    ("x", "low", "high"),
    [([1, 2, 3], 2, None), ([1, 2, 3], None, 2), ([1, 2, 3], 1.5, 2.5), ([True, False], 0, 1)],
)
def test_clamp_mixes_types_as_torch(x, low, high):
    assert_like_torch(
        lambda x: op.clamp(x, low, high),
        lambda torch, x: torch.clamp(x, low, high),
        np.array(x),
        grad=False,
    )


def test_clamp_without_bounds_raises():
    with pytest.raises(ValueError, match="at least one of min and max"):
        op.clamp(md.tensor([1.0]))


def test_clamp_names_shapes_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"clamp: shapes \(2,\) and \(3,\) do not broadcast"):
        op.clamp(md.tensor([1.0, 2.0]), md.tensor([1.0, 2.0, 3.0]))


def test_sqrt_of_a_masked_zero_leaves_no_nan_behind():
    """A gradient of inf from sqrt(0) meets a mask of 0: the product would be NaN."""
    x = md.tensor(np.array([-1.0, 4.0]), requires_grad=True)
    op.sqrt(x.relu()).sum().backward()
    assert x.grad.tolist() == [0.0, 0.25]


def test_the_sigmoid_of_very_negative_numbers_keeps_its_digits():
    x = np.array([-30.0, -60.0], np.float32)
    np.testing.assert_allclose(op.sigmoid(md.tensor(x)).numpy(), np.exp(x), rtol=1e-5)
