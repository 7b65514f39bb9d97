import math

import numpy as np
import pytest

import minidl as md
from minidl.ops import reduction as op

from .parity import assert_like_torch

NAN, INF = math.nan, math.inf
EMPTY = np.zeros((2, 0))


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin"])
def test_ties_and_nan_share_the_gradient_as_in_torch(name):
    ours = getattr(op, name)
    for x in ([1.0, 3.0, 3.0, 1.0], [1.0, NAN, NAN], [INF, INF, 0.0], [[2.0, 2.0], [2.0, 1.0]]):
        assert_like_torch(ours, lambda torch, x: getattr(torch, name)(x), x)


@pytest.mark.parametrize("name", ["max", "min"])
def test_the_first_of_equals_gets_the_gradient_along_a_dimension(name):
    x = [[1.0, 3.0, 3.0, NAN], [3.0, 1.0, 1.0, 2.0]]
    for dim in (0, 1):
        for keepdim in (False, True):
            assert_like_torch(
                lambda x, d=dim, k=keepdim: getattr(op, name)(x, d, k),
                lambda torch, x, d=dim, k=keepdim: tuple(getattr(torch, name)(x, d, k)),
                x,
            )


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")  # torch's
@pytest.mark.parametrize("name", ["sum", "mean", "var", "logsumexp", "any", "all", "norm"])
def test_reductions_of_nothing_are_torchs(name):
    for dim in (0, 1, (0, 1)):
        assert_like_torch(
            lambda x, d=dim: getattr(op, name)(x, dim=d),
            lambda torch, x, d=dim: (
                getattr(torch, name)(x, dim=d)
                if name != "norm"
                else torch.linalg.vector_norm(x, dim=d)
            ),
            EMPTY,
            grad=False,
        )


def test_products_of_nothing_are_one():
    for dim in (0, 1):
        assert_like_torch(
            lambda x, d=dim: op.prod(x, d), lambda torch, x, d=dim: torch.prod(x, d), EMPTY
        )
    assert_like_torch(op.prod, lambda torch, x: torch.prod(x), EMPTY)


def test_the_gradient_of_an_empty_sum_is_empty():
    x = md.tensor(EMPTY, requires_grad=True)
    op.mean(x).backward()
    assert x.grad.shape == (2, 0)


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin"])
def test_an_extreme_of_nothing_raises(name):
    with pytest.raises(IndexError, match=f"{name}: .*no element"):
        getattr(op, name)(md.tensor(EMPTY))
    with pytest.raises(IndexError, match=f"{name}: .*no element"):
        getattr(op, name)(md.tensor(EMPTY), 1)
    result = getattr(op, name)(md.tensor(EMPTY), 0)
    assert (result[0] if isinstance(result, tuple) else result).shape == (0,)


def test_an_infinite_norm_of_nothing_raises():
    with pytest.raises(IndexError, match="no element"):
        op.norm(md.tensor(EMPTY), INF)


@pytest.mark.parametrize("name", ["sum", "prod", "amax", "amin", "any", "all", "logsumexp"])
def test_integers_and_bools_reduce_as_in_torch(name):
    cases = [np.array([1, 2, 3]), np.array([True, False])]
    if name not in ("any", "all"):  # torch: uint8 there, for old programs' masks
        cases.append(np.array([250, 9], np.uint8))
    for values in cases:
        assert_like_torch(
            lambda x: getattr(op, name)(x),
            lambda torch, x: getattr(torch, name)(x, *([0] if name == "logsumexp" else [])),
            values,
            grad=False,
            rtol=1e-6,
        )


@pytest.mark.parametrize("name", ["mean", "var", "std", "norm"])
def test_statistics_of_integers_raise_as_in_torch(name):
    with pytest.raises(TypeError, match=rf"{name}: needs a floating-point tensor, got int64"):
        getattr(op, name)(md.tensor([1, 2]))


@pytest.mark.parametrize("name", ["sum", "mean", "var", "amax", "any", "logsumexp", "norm", "prod"])
def test_wrong_dimensions_raise(name):
    x = md.tensor(np.ones((2, 3)))
    with pytest.raises(IndexError, match=f"{name}: dimension 2 is out of range"):
        getattr(op, name)(x, dim=2)
    if name != "prod":
        with pytest.raises(ValueError, match=f"{name}: a dimension is named twice"):
            getattr(op, name)(x, dim=(0, -2))
    with pytest.raises(TypeError, match=f"{name}: dim and axis"):
        getattr(op, name)(x, dim=0, axis=0)


@pytest.mark.parametrize("name", ["sum", "mean", "var", "amax", "norm"])
def test_no_dimension_named_means_all(name):
    x = np.arange(6.0).reshape(2, 3)
    assert_like_torch(
        lambda x: getattr(op, name)(x, dim=()),
        lambda torch, x: getattr(torch, name)(x, dim=(0, 1)),
        x,
    )


@pytest.mark.parametrize("name", ["sum", "mean", "var", "amax", "norm", "max", "prod"])
def test_numpys_names_of_the_arguments_are_understood(name):
    x = md.tensor(np.random.default_rng(0).standard_normal((2, 3)))
    a = getattr(op, name)(x, axis=1, keepdims=True)
    b = getattr(op, name)(x, dim=1, keepdim=True)
    for p, q in zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]:
        np.testing.assert_array_equal(p.numpy(), q.numpy())


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "any", "logsumexp", "norm"])
def test_0d_tensors_reduce_along_dimension_0(name):
    assert_like_torch(
        lambda x: getattr(op, name)(x, dim=0),
        lambda torch, x: getattr(torch, name)(x, dim=0),
        1.5,
        grad=name != "any",
    )


def test_0d_tensors_have_extremes_products_and_running_sums():
    assert_like_torch(lambda x: op.max(x, 0), lambda torch, x: tuple(torch.max(x, 0)), 1.5)
    assert_like_torch(op.prod, lambda torch, x: torch.prod(x), 1.5)
    assert_like_torch(lambda x: op.prod(x, 0), lambda torch, x: torch.prod(x, 0), 1.5)
    assert_like_torch(lambda x: op.cumsum(x, 0), lambda torch, x: torch.cumsum(x, 0), 1.5)


def test_several_dimensions_of_max_point_to_amax():
    with pytest.raises(TypeError, match=r"max: dim must be one dimension.*use amax"):
        op.max(md.tensor(np.ones((2, 3))), (0, 1))


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")  # torch's
@pytest.mark.parametrize("name", ["var", "std"])
def test_spread_of_constants_and_single_numbers_is_torchs(name):
    for x in ([1.0, 1.0, 1.0], [4.0]):
        assert_like_torch(getattr(op, name), lambda torch, x: getattr(torch, name)(x), x)
    for correction in (0, 1):
        assert_like_torch(
            lambda x, c=correction: getattr(op, name)(x, 1, correction=c),
            lambda torch, x, c=correction: getattr(torch, name)(x, 1, correction=c),
            [[2.0, 2.0], [1.0, 3.0]],
        )


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")  # torch's
def test_more_correction_than_numbers_gives_an_infinite_variance():
    assert_like_torch(
        lambda x: op.var(x, correction=3),
        lambda torch, x: torch.var(x, correction=3),
        [1.0, 2.0],
        grad=False,
    )


def test_two_names_of_the_correction_raise():
    with pytest.raises(TypeError, match="var: unbiased and correction"):
        op.var(md.tensor([1.0, 2.0]), 0, unbiased=True, correction=1)


def test_the_variance_of_numbers_far_from_zero_keeps_its_digits():
    x = (np.random.default_rng(0).standard_normal((3, 500)) + 4096).astype(np.float32)
    expected = x.astype(np.float64).var(1, ddof=1)
    np.testing.assert_allclose(op.var(md.tensor(x), 1).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("x", [[-INF, -INF], [INF, 1.0], [-INF, 1.0], [NAN, 1.0], [1e4, -1e4]])
def test_logsumexp_of_special_numbers_is_torchs(x):
    assert_like_torch(lambda x: op.logsumexp(x, 0), lambda torch, x: torch.logsumexp(x, 0), x)


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, INF, -INF, -1])
def test_norms_where_elements_or_all_are_zero_are_torchs(p):
    for x in ([0.0, 3.0, -4.0, 4.0], [0.0, 0.0]):
        assert_like_torch(lambda x: op.norm(x, p), lambda torch, x: torch.norm(x, p), x)


def test_the_frobenius_norm_is_the_default():
    x = np.arange(6.0).reshape(2, 3)
    assert_like_torch(op.norm, lambda torch, x: torch.norm(x), x)
    assert_like_torch(
        lambda x: op.norm(x, "fro", (0, 1)), lambda torch, x: torch.norm(x, "fro", (0, 1)), x
    )
    with pytest.raises(ValueError, match="norm: p must be a number or 'fro'"):
        op.norm(md.tensor(x), "nuc")


def test_dtypes_are_cast_before_reducing():
    x = md.tensor(np.array([1, 2, 3]))
    assert op.sum(x, dtype="float64").dtype == np.float64
    assert op.mean(x, dtype="float32").item() == 2.0
    assert op.prod(x, dtype="float32").dtype == np.float32
    assert op.cumsum(x, 0, dtype="float32").dtype == np.float32
    assert op.norm(x, dtype="float64").dtype == np.float64


def test_float16_is_added_up_in_float32():
    x = md.tensor(np.ones((2, 3000), np.float16), requires_grad=True)
    total = op.sum(x, 1)
    assert total.dtype == np.float16
    assert total.tolist() == [3000.0, 3000.0]
    assert op.mean(x).item() == 1.0
    assert op.cumsum(x, 1).data[0, -1] == 3000.0
    assert op.norm(x * 200).item() == pytest.approx(200 * math.sqrt(6000), rel=1e-3)
    assert op.var(x * md.tensor(np.float16(300)), 1).tolist() == [0.0, 0.0]
    wide = md.tensor(np.array([-400, 400], np.float16))  # a variance that float16 cannot hold
    assert op.std(wide, correction=0).item() == 400.0


def test_cumsum_needs_a_dimension():
    with pytest.raises(TypeError, match="cumsum: dim is missing"):
        op.cumsum(md.tensor([1.0]))


def test_a_reduction_of_a_dimension_of_one_does_not_share_memory():
    x = md.tensor(np.ones((3, 1)))
    for name in ("sum", "mean", "prod", "amax", "logsumexp", "norm"):
        result = getattr(op, name)(x, dim=1)
        assert not np.shares_memory(result.data, x.data), name


def test_the_second_derivative_of_a_product_with_zeros_is_right():
    x = md.tensor(np.array([0.0, 2.0, 0.0, 3.0]), requires_grad=True)
    (g,) = md.grad(op.prod(x), [x], create_graph=True)
    assert g.tolist() == [0.0, 0.0, 0.0, 0.0]
    (h,) = md.grad(g[0], [x])
    assert h.tolist() == [0.0, 0.0, 6.0, 0.0]  # d2 (abcd) / da dc = bd


def test_reductions_of_many_elements_agree_with_double_precision():
    x = np.random.default_rng(0).standard_normal((5, 7, 3000)).astype(np.float32)
    wide = x.astype(np.float64)
    for dim in (None, 0, 2, (0, 2), (1, 2)):
        for name, expected in [("sum", np.sum), ("mean", np.mean), ("amax", np.max)]:
            value = getattr(op, name)(md.tensor(x), dim).numpy()
            np.testing.assert_allclose(value, expected(wide, axis=dim), rtol=1e-4, atol=2e-3)


def test_random_shapes_and_dimensions_give_torchs_values_and_gradients():
    rng = np.random.default_rng(0)
    names = ["sum", "mean", "var", "std", "amax", "amin", "logsumexp", "prod", "max", "cumsum"]
    for trial in range(300):
        name = names[trial % len(names)]
        shape = tuple(rng.integers(1, 5, rng.integers(1, 5)).tolist())
        x = rng.standard_normal(shape)
        keepdim = bool(rng.integers(2))
        dims = rng.permutation(len(shape))[: rng.integers(1, len(shape) + 1)]
        dim = tuple((dims - len(shape) * rng.integers(2)).tolist())
        if name in ("prod", "max", "cumsum"):
            dim = dim[0]
        arguments = {"dim": dim} if name == "cumsum" else {"dim": dim, "keepdim": keepdim}
        if name in ("var", "std"):
            arguments["correction"] = 0

        def theirs(torch, x, name=name, arguments=arguments):
            result = getattr(torch, name)(x, **arguments)
            return tuple(result) if name == "max" else result

        assert_like_torch(
            lambda x, name=name, arguments=arguments: getattr(op, name)(x, **arguments), theirs, x
        )
