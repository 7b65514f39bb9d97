"""The gradient checker, itself checked: right backwards pass, planted errors do not.

The errors are those students make. Each is a full backward, written in NumPy beside the right one.
"""

from __future__ import annotations

import numpy as np
import pytest

import minidl as md
from minidl.autograd import (
    Function,
    GradcheckError,
    NonDifferentiableError,
    gradcheck,
    gradgradcheck,
    no_grad,
)

EPS = 1e-5


# -- the operations: name -> (inputs, forward, right backward, {error: wrong backward}) -----------
# forward(*arrays) -> (output, cache); backward(u, cache) -> a gradient for each input


def linear_forward(x, w, b):
    return x @ w.T + b, (x, w)


def linear_backward(u, cache):
    x, w = cache
    return u @ w, u.T @ x, u.sum(0)


LINEAR_ERRORS = {
    "weight gradient averaged over the batch": lambda u, c: (u @ c[1], u.T @ c[0] / 3, u.sum(0)),
    "bias gradient averaged over the batch": lambda u, c: (u @ c[1], u.T @ c[0], u.mean(0)),
    "bias gradient of the first sample only": lambda u, c: (u @ c[1], u.T @ c[0], u[0]),
    "bias gradient missing": lambda u, c: (u @ c[1], u.T @ c[0], 0 * u[0]),
    "weight gradient with the wrong sign": lambda u, c: (u @ c[1], -(u.T @ c[0]), u.sum(0)),
    "input gradient zero": lambda u, c: (0 * (u @ c[1]), u.T @ c[0], u.sum(0)),
    "input gradient twice as large": lambda u, c: (2 * (u @ c[1]), u.T @ c[0], u.sum(0)),
    "weight gradient from another sample": lambda u, c: (u @ c[1], u.T @ c[0][::-1], u.sum(0)),
}


def square_forward(x, w):
    """A square weight: a transposed one has the same shape."""
    return x @ w, (x, w)


SQUARE_ERRORS = {
    "weight not transposed for the input": lambda u, c: (u @ c[1], c[0].T @ u),
    "weight gradient transposed": lambda u, c: (u @ c[1].T, (c[0].T @ u).T),
}


def broadcast_forward(x, row, column):
    return x * row + column, (x, row)


BROADCAST_ERRORS = {
    "row gradient not summed but taken from the first": lambda u, c: (
        u * c[1],
        (u * c[0])[0],
        u.sum(1, keepdims=True),
    ),
    "row gradient averaged": lambda u, c: (u * c[1], (u * c[0]).mean(0), u.sum(1, keepdims=True)),
    "column gradient summed over the wrong axis": lambda u, c: (
        u * c[1],
        (u * c[0]).sum(0),
        u.sum(0)[:, None],
    ),
    "factor of the product forgotten": lambda u, c: (
        u,
        (u * c[0]).sum(0),
        u.sum(1, keepdims=True),
    ),
    "operands of the product exchanged": lambda u, c: (
        u * c[0],
        (u * c[1]).sum(0),
        u.sum(1, keepdims=True),
    ),
}


def softmax_forward(x):
    e = np.exp(x - x.max(1, keepdims=True))
    y = e / e.sum(1, keepdims=True)
    return y, y


SOFTMAX_ERRORS = {
    "gradient zero (an all-ones cotangent would not notice)": lambda u, y: (0 * u,),
    "only the diagonal of the Jacobian": lambda u, y: (u * y * (1 - y),),
    "sum over the wrong axis": lambda u, y: (y * (u - (u * y).sum(0, keepdims=True)),),
    "sum over everything": lambda u, y: (y * (u - (u * y).sum()),),
    "subtracted term not weighted": lambda u, y: (y * (u - u.sum(1, keepdims=True)),),
}


def cross_entropy_forward(x):
    p, _ = softmax_forward(x)
    rows, labels = np.arange(len(x)), np.arange(len(x)) % x.shape[1]
    hot = np.zeros_like(p)
    hot[rows, labels] = 1.0
    return -np.log(p[rows, labels]).mean(), (p, hot)


CROSS_ENTROPY_ERRORS = {
    "not divided by the batch": lambda u, c: (u * (c[0] - c[1]),),
    "divided by the classes": lambda u, c: (u * (c[0] - c[1]) / c[0].shape[1],),
    "one-hot forgotten": lambda u, c: (u * c[0] / len(c[0]),),
    "sign": lambda u, c: (u * (c[1] - c[0]) / len(c[0]),),
    "incoming gradient ignored": lambda u, c: ((c[0] - c[1]) / len(c[0]),),
}


def norm_forward(x, gamma, beta):
    """BatchNorm of (N, C)."""
    mean, var = x.mean(0), x.var(0)
    inv = 1 / np.sqrt(var + EPS)
    hat = (x - mean) * inv
    return hat * gamma + beta, (x, hat, inv, gamma)


def norm_backward(u, cache):
    x, hat, inv, gamma = cache
    n, g = len(x), u * gamma
    dx = inv * (g - g.mean(0) - hat * (g * hat).mean(0))
    del n
    return dx, (u * hat).sum(0), u.sum(0)


def _norm_error(dx=None, dgamma=None, dbeta=None):
    def backward(u, c):
        right = norm_backward(u, c)
        _, hat, inv, gamma = c
        values = (u, hat, inv, gamma)
        return tuple(
            r if f is None else f(*values) for r, f in zip(right, (dx, dgamma, dbeta), strict=True)
        )

    return backward


NORM_ERRORS = {
    "statistics taken for constants": _norm_error(lambda u, hat, inv, g: inv * g * u),
    "variance taken for a constant": _norm_error(
        lambda u, hat, inv, g: inv * (u * g - (u * g).mean(0))
    ),
    "mean taken for a constant": _norm_error(
        lambda u, hat, inv, g: inv * (u * g - hat * (u * g * hat).mean(0))
    ),
    "input gradient zero (an all-ones cotangent would not notice)": _norm_error(
        lambda u, hat, inv, g: 0 * u
    ),
    "gamma forgotten": _norm_error(
        lambda u, hat, inv, g: inv * (u - u.mean(0) - hat * (u * hat).mean(0))
    ),
    "variance divided by N - 1": _norm_error(
        lambda u, hat, inv, g: (
            inv * (u * g - (u * g).mean(0) - hat * (u * g * hat).sum(0) / (len(u) - 1))
        )
    ),
    "gamma's gradient from the output, not the normalised input": _norm_error(
        dgamma=lambda u, hat, inv, g: (u * hat * g).sum(0)
    ),
    "beta's gradient averaged": _norm_error(dbeta=lambda u, hat, inv, g: u.mean(0)),
    "statistics over the wrong axis": _norm_error(
        lambda u, hat, inv, g: (
            inv
            * (u * g - (u * g).mean(1, keepdims=True) - hat * (u * g * hat).mean(1, keepdims=True))
        )
    ),
    "stale statistics (of the step before)": _norm_error(
        lambda u, hat, inv, g: (
            0.9 * inv * (u * g - (u * g).mean(0) - (hat + 0.1) * (u * g * (hat + 0.1)).mean(0))
        )
    ),
}


def _windows(x, k):
    """(N, C, Ho, Wo, k, k) windows of the image padded by 1."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return np.lib.stride_tricks.sliding_window_view(padded, (k, k), (2, 3))


def conv_forward(x, w, b):
    """3x3, stride 1, padding 1."""
    return np.einsum("nchwij,ocij->nohw", _windows(x, 3), w) + b[:, None, None], (x, w)


def conv_backward(u, cache, flip=True, shift=0, mean=False):
    x, w = cache
    turned = w[:, :, ::-1, ::-1] if flip else w
    dx = np.einsum("nohwij,ocij->nchw", _windows(np.roll(u, shift, 3), 3), turned)
    dw = np.einsum("nchwij,nohw->ocij", _windows(x, 3), u)
    db = u.mean((0, 2, 3)) if mean else u.sum((0, 2, 3))
    return dx, dw, db


CONV_ERRORS = {
    "kernel not turned by 180 degrees for the input": lambda u, c: conv_backward(u, c, flip=False),
    "padding off by one for the input": lambda u, c: conv_backward(u, c, shift=1),
    "kernel transposed in the weight gradient": lambda u, c: (
        conv_backward(u, c)[0],
        conv_backward(u, c)[1].transpose(0, 1, 3, 2),
        conv_backward(u, c)[2],
    ),
    "weight gradient without padding": lambda u, c: (
        conv_backward(u, c)[0],
        np.einsum(
            "nchwij,nohw->ocij",
            _windows(np.pad(c[0][:, :, 1:-1, 1:-1], ((0, 0), (0, 0), (1, 1), (1, 1))), 3),
            u,
        ),
        conv_backward(u, c)[2],
    ),
    "bias gradient averaged over the pixels": lambda u, c: conv_backward(u, c, mean=True),
    "bias gradient summed over the batch only": lambda u, c: (
        *conv_backward(u, c)[:2],
        u.sum(0)[:, 0, 0],
    ),
    "channels of input and output exchanged": lambda u, c: (
        conv_backward(u, (c[0], c[1].transpose(1, 0, 2, 3)))[0],
        *conv_backward(u, c)[1:],
    ),
    "last sample of the batch forgotten in the weight gradient": lambda u, c: (
        conv_backward(u, c)[0],
        conv_backward(u[:-1], (c[0][:-1], c[1]))[1],
        conv_backward(u, c)[2],
    ),
}


def pool_forward(x):
    """Max over 2 x 2."""
    n, c, h, w = x.shape
    tiles = x.reshape(n, c, h // 2, 2, w // 2, 2)
    y = tiles.max((3, 5))
    return y, tiles == y[:, :, :, None, :, None]


POOL_ERRORS = {
    "gradient to all four pixels": lambda u, m: (np.repeat(np.repeat(u, 2, 2), 2, 3),),
    "gradient divided as for the average": lambda u, m: (
        (m * u[:, :, :, None, :, None] / 4).reshape(2, 2, 4, 4),
    ),
    "mask from the first image": lambda u, m: (
        (m[:1] * u[:, :, :, None, :, None]).reshape(2, 2, 4, 4),
    ),
}


def sigmoid_forward(x):
    y = 1 / (1 + np.exp(-x))
    return y, (x, y)


SIGMOID_ERRORS = {
    "derivative from the input, not the output": lambda u, c: (u * c[0] * (1 - c[0]),),
    "second factor forgotten": lambda u, c: (u * c[1],),
}


def tanh_forward(x):
    y = np.tanh(x)
    return y, y


def mean_forward(x):
    return x.mean(1), x.shape


MEAN_ERRORS = {
    "not divided by the number": lambda u, s: (np.broadcast_to(u[:, None], s),),
    "divided by the number of all elements": lambda u, s: (
        np.broadcast_to(u[:, None], s) / np.prod(s),
    ),
}


def take_forward(x):
    return x[[0, 2, 0]], x


def _take_backward(u, x, accumulate=True):
    dx = np.zeros_like(x)
    if accumulate:
        np.add.at(dx, [0, 2, 0], u)
    else:
        dx[[0, 2, 0]] += u
    return (dx,)


def dropout_forward(x):
    mask = (np.arange(x.size).reshape(x.shape) % 3 > 0) / 0.7
    return x * mask, mask


OPS = {
    "linear": ([(3, 4), (5, 4), (5,)], linear_forward, linear_backward, LINEAR_ERRORS),
    "square matmul": (
        [(3, 3), (3, 3)],
        square_forward,
        lambda u, c: (u @ c[1].T, c[0].T @ u),
        SQUARE_ERRORS,
    ),
    "broadcast": (
        [(3, 3), (3,), (3, 1)],
        broadcast_forward,
        lambda u, c: (u * c[1], (u * c[0]).sum(0), u.sum(1, keepdims=True)),
        BROADCAST_ERRORS,
    ),
    "softmax": (
        [(4, 3)],
        softmax_forward,
        lambda u, y: (y * (u - (u * y).sum(1, keepdims=True)),),
        SOFTMAX_ERRORS,
    ),
    "cross entropy": (
        [(4, 3)],
        cross_entropy_forward,
        lambda u, c: (u * (c[0] - c[1]) / len(c[0]),),
        CROSS_ENTROPY_ERRORS,
    ),
    "batch norm": ([(4, 4), (4,), (4,)], norm_forward, norm_backward, NORM_ERRORS),
    "conv": ([(2, 3, 5, 5), (3, 3, 3, 3), (3,)], conv_forward, conv_backward, CONV_ERRORS),
    "max pool": (
        [(2, 2, 4, 4)],
        pool_forward,
        lambda u, m: ((m * u[:, :, :, None, :, None]).reshape(2, 2, 4, 4),),
        POOL_ERRORS,
    ),
    "sigmoid": ([(3, 4)], sigmoid_forward, lambda u, c: (u * c[1] * (1 - c[1]),), SIGMOID_ERRORS),
    "tanh": (
        [(3, 4)],
        tanh_forward,
        lambda u, y: (u * (1 - y * y),),
        {"square forgotten": lambda u, y: (u * (1 - y),)},
    ),
    "mean": (
        [(3, 4)],
        mean_forward,
        lambda u, s: (np.broadcast_to(u[:, None], s) / 4,),
        MEAN_ERRORS,
    ),
    "take with duplicates": (
        [(3, 2)],
        take_forward,
        _take_backward,
        {"the last of two duplicates wins": lambda u, x: _take_backward(u, x, False)},
    ),
    "dropout": (
        [(3, 4)],
        dropout_forward,
        lambda u, m: (u * m,),
        {"not scaled by 1 / (1 - p)": lambda u, m: (u * (m > 0),)},
    ),
}
ERRORS = [(op, error) for op, (_, _, _, errors) in OPS.items() for error in errors]


def build(forward, backward):
    class Op(Function):
        def forward(self, *arrays):
            y, self.cache = forward(*arrays)
            return y

        def backward(self, grad):
            return tuple(md.Tensor(np.array(g)) for g in backward(grad.data, self.cache))

    return Op.apply


def leaves(shapes, seed=3):
    rng = np.random.default_rng(seed)
    return [md.tensor(rng.standard_normal(s), requires_grad=True) for s in shapes]


@pytest.mark.parametrize("op", OPS)
def test_right_backwards_pass(op):
    shapes, forward, backward, _ = OPS[op]
    for seed in range(3):
        assert gradcheck(build(forward, backward), leaves(shapes, seed), seed=seed)


@pytest.mark.parametrize(("op", "error"), ERRORS, ids=[f"{a}: {b}" for a, b in ERRORS])
def test_planted_errors_are_caught_whatever_the_seed(op, error):
    shapes, forward, _, errors = OPS[op]
    for seed in range(5):
        inputs = leaves(shapes, seed)
        with pytest.raises(GradcheckError, match="is wrong"):
            gradcheck(build(forward, errors[error]), inputs, seed=seed)
        assert not gradcheck(
            build(forward, errors[error]), inputs, seed=seed, raise_exception=False
        )


def test_there_are_at_least_forty_planted_errors():
    assert len(ERRORS) >= 40


def test_an_all_ones_cotangent_would_miss_what_is_caught_here():
    """The reason for random cotangents, shown."""
    (x,) = leaves([(4, 3)])
    zero = build(softmax_forward, SOFTMAX_ERRORS[next(iter(SOFTMAX_ERRORS))])
    assert gradcheck(lambda x: zero(x) * md.Tensor(np.ones((4, 3))) * 0.0, x)  # a constant
    (g,) = md.grad(zero(x), x, md.Tensor(np.ones((4, 3))))
    p = x.data
    slope = (softmax_forward(p + 1e-6)[0].sum() - softmax_forward(p - 1e-6)[0].sum()) / 2e-6
    assert abs(slope - g.data.sum()) < 1e-8  # wrong, and yet equal


def test_the_report_says_which_input_which_index_and_the_ratio():
    def wrong(u, c):
        dx, dw, db = linear_backward(u, c)
        dw = dw.copy()
        dw[2, 1] *= 1.5
        return dx, dw, db

    with pytest.raises(GradcheckError) as info:
        gradcheck(build(linear_forward, wrong), leaves([(3, 4), (5, 4), (5,)]))
    text = str(info.value)
    assert "input 1, shape (5, 4)" in text
    assert "1 of 20 entries" in text
    assert "(2, 1)" in text
    assert "1.5000" in text


def test_one_wrong_entry_among_many_is_caught():
    def wrong(u, c):
        (dx,) = (u * 2.0,)
        dx = dx.copy()
        dx[50, 50] *= 1.01
        return (dx,)

    op = build(lambda x: (x * 2.0, None), wrong)
    with pytest.raises(GradcheckError, match=r"\(50, 50\)"):
        gradcheck(op, leaves([(100, 100)]))


def test_a_wrong_second_derivative_is_caught_by_gradgradcheck_only():
    class Frozen(Function):
        """x^3 whose saved slope is a constant to the second derivative."""

        def forward(self, x):
            self.save_for_backward(3.0 * x * x)
            return x * x * x

        def backward(self, grad):
            (slope,) = self.saved_tensors
            return grad * slope

    (x,) = leaves([(3,)])
    assert gradcheck(Frozen.apply, x)
    with pytest.raises(GradcheckError, match="gradgradcheck"):
        gradgradcheck(Frozen.apply, x)
    assert not gradgradcheck(Frozen.apply, x, raise_exception=False)


class Relu(Function):
    def forward(self, x):
        self.mask = (x > 0) * 1.0
        return x * self.mask

    def backward(self, grad):
        return grad * md.Tensor(self.mask)


@pytest.mark.parametrize("offset", [0.0, 3e-7, -3e-7])
def test_a_kink_within_a_step_is_named_not_tolerated(offset):
    x = md.tensor([[1.0, offset], [2.0, -1.0]], dtype="float64", requires_grad=True)
    with pytest.raises(NonDifferentiableError, match=r"\(0, 1\)"):
        gradcheck(Relu.apply, x)


def test_points_beside_a_kink_pass():
    x = md.tensor([[1.0, 1e-3], [-1e-3, -1.0]], dtype="float64", requires_grad=True)
    assert gradcheck(Relu.apply, x)


def test_strong_curvature_is_not_taken_for_a_kink():
    class Steep(Function):
        def forward(self, x):
            self.save_for_backward(x)
            return np.exp(300.0 * x)

        def backward(self, grad):
            (x,) = self.saved_tensors
            return grad * Steep.apply(x) * 300.0

    x = md.tensor([0.01, -0.02], dtype="float64", requires_grad=True)
    assert gradcheck(Steep.apply, x, rtol=1e-4)
    assert gradgradcheck(Steep.apply, x, rtol=1e-4)


def test_a_function_that_is_not_repeatable_is_named():
    rng = np.random.default_rng(0)
    with pytest.raises(GradcheckError, match="two calls"):
        gradcheck(lambda x: x * float(rng.random()), leaves([(3,)]))


def test_float32_is_refused():
    x = md.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match="float64"):
        gradcheck(lambda x: x * 2.0, x)


def test_nothing_to_check_is_an_error():
    with pytest.raises(ValueError, match="requires_grad"):
        gradcheck(lambda x: x * 2.0, md.tensor([1.0], dtype="float64"))


def test_a_graph_cut_by_detach_is_caught():
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: x * x.detach(), leaves([(3,)]))
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: (x * x).detach(), leaves([(3,)]))


def test_several_outputs_and_constants_are_handled():
    a, b = leaves([(2, 3), (3,)])
    constant = md.tensor([2.0, 3.0, 4.0], dtype="float64")

    def f(a, constant, b):
        return a * constant, b * 2.0 + a

    assert gradcheck(f, [a, constant, b])
    assert gradgradcheck(f, [a, constant, b])


def test_recording_and_inputs_are_left_as_they_were():
    (x,) = leaves([(3,)])
    before = x.data.copy()
    with no_grad():
        assert gradcheck(lambda x: x * x, x)
    assert np.array_equal(x.data, before)
    assert x.grad is None


# -- any scale ------------------------------------------------------------------------------------

SCALES = [1e-12, 1e-8, 1e-4, 1.0, 1e4, 1e8]


@pytest.mark.parametrize("scale", SCALES)
def test_right_gradients_pass_whatever_the_scale_of_input_and_output(scale):
    rng = np.random.default_rng(0)
    x = md.tensor(rng.uniform(0.5, 2.0, (3, 4)), requires_grad=True)
    big = md.tensor(x.data * scale, requires_grad=True)
    for seed in range(3):
        assert gradcheck(lambda x: (x * x).exp() * scale, x, seed=seed)
        assert gradcheck(lambda x: (x / scale).sin(), big, seed=seed)
        assert gradcheck(lambda x: x.log(), big, seed=seed)
        assert gradcheck(lambda x: x * x, big, seed=seed)
        assert gradgradcheck(lambda x: x.log(), big, seed=seed)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("factor", [0.0, 1.001])
def test_wrong_gradients_are_caught_whatever_the_scale(scale, factor):
    def wrong(u, x):
        return (u * 2.0 * x * scale * factor,)

    op = build(lambda x: (x * x * scale, x), wrong)
    with pytest.raises(GradcheckError, match="is wrong"):
        gradcheck(op, leaves([(3, 4)]))


def test_a_small_wrong_gradient_is_not_lost_beside_a_large_right_one():
    zero = build(lambda x: (x * x * 1e-8, None), lambda u, c: (0.0 * u,))
    a, b = leaves([(10,), (10,)])
    with pytest.raises(GradcheckError, match="output 1's gradient in input 0, shape"):
        gradcheck(lambda a: (a * a, zero(a)), a)
    with pytest.raises(GradcheckError, match="gradient of input 1, shape"):
        gradcheck(lambda a, b: a * a + zero(b), [a, b])


def test_a_small_slope_of_large_values_is_seen_with_larger_steps():
    (x,) = leaves([(3, 4)])
    assert gradcheck(lambda x: (x * x).sin() + 1e8, x)
    wrong = build(lambda x: (np.sin(x) + 1e8, x), lambda u, x: (1.01 * u * np.cos(x),))
    with pytest.raises(GradcheckError, match="is wrong"):
        gradcheck(wrong, x)


def test_rounding_within_a_function_is_not_taken_for_a_kink():
    rng = np.random.default_rng(0)
    x = md.tensor(rng.standard_normal(100) + 1e6, requires_grad=True)
    assert gradcheck(lambda x: x.var(), x)


def test_the_bottom_of_a_parabola_is_not_taken_for_a_kink():
    x = md.zeros(2, dtype="float64", requires_grad=True)
    assert gradcheck(lambda x: x * x, x)
    assert gradcheck(lambda x: x * x * x, x)


def test_a_jump_is_not_differentiable():
    jump = build(lambda x: (np.floor(x) + x, None), lambda u, c: (u,))
    x = md.tensor([1.0, 1.5], dtype="float64", requires_grad=True)
    with pytest.raises(NonDifferentiableError, match=r"index \(0,\), where the value is 1"):
        gradcheck(jump, x)


def test_a_tie_that_is_split_is_a_kink_though_the_central_difference_agrees():
    a, b = leaves([(3,), (3,)])
    b.data[1] = a.data[1]
    with pytest.raises(NonDifferentiableError, match=r"index \(1,\)"):
        gradcheck(md.maximum, [a, b])


def test_a_tensor_given_twice_has_the_sum_of_both_gradients():
    (x,) = leaves([(3,)])
    assert gradcheck(lambda a, b: a * b.exp(), [x, x])
    assert gradgradcheck(lambda a, b: a * b.exp(), [x, x])


def test_outputs_without_a_gradient_are_passed_over():
    (x,) = leaves([(5,)])

    def f(x):
        return x * x, x.argmax(), None, 3

    assert gradcheck(f, x)
    assert gradgradcheck(f, x)


def test_an_output_in_float32_is_refused():
    with pytest.raises(ValueError, match="output 0 is float32"):
        gradcheck(lambda x: x.float(), leaves([(3,)]))


def test_the_report_on_a_large_input_looks_at_few_entries():
    calls = []

    def forward(x):
        calls.append(1)
        return x * x, x

    def wrong(u, x):
        dx = 2.0 * u * x
        dx[123, 45] *= 2.0
        return (dx,)

    report = r"1 of 156 examined of the 40000 entries differ.*\n.*\n *\(123, 45\)"
    with pytest.raises(GradcheckError, match=report):
        gradcheck(build(forward, wrong), leaves([(200, 200)]))
    assert len(calls) < 1000
