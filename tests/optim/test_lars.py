"""LARS against the paper's formula written out, and what its options mean."""

import numpy as np
import pytest

from minidl import optim
from minidl.autograd import Tensor


def by_the_paper(params, gradients, *, lr, momentum, decay, trust, eps, adapt, nesterov=False):
    """You et al. 2017, algorithm 1, one layer at a time."""
    values = [p.copy() for p in params]
    velocity = [np.zeros_like(p) for p in params]
    for step in gradients:
        for w, v, g in zip(values, velocity, step, strict=True):
            ratio = 1.0
            if adapt or w.ndim > 1:
                norm, slope = np.linalg.norm(w), np.linalg.norm(g)
                if norm > 0 and slope > 0:
                    ratio = trust * norm / (slope + decay * norm + eps)
            update = lr * ratio * (g + decay * w)
            v *= momentum
            v += update
            w -= update + momentum * v if nesterov else v
    return values


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("adapt", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_follow_the_algorithm_of_the_paper(adapt, decay, nesterov):
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (4,), (2, 3, 2, 2)]
    start = [rng.normal(size=s) for s in shapes]
    gradients = [[rng.normal(size=s) for s in shapes] for _ in range(5)]
    params = [Tensor(x.copy(), requires_grad=True) for x in start]
    optimizer = optim.LARS(
        params,
        lr=0.5,
        momentum=0.9,
        weight_decay=decay,
        trust_coefficient=0.02,
        adapt_vectors=adapt,
        nesterov=nesterov,
    )
    for step in gradients:
        for p, g in zip(params, step, strict=True):
            p.grad = Tensor(g)
        optimizer.step()
    expected = by_the_paper(
        start,
        gradients,
        lr=0.5,
        momentum=0.9,
        decay=decay,
        trust=0.02,
        eps=1e-8,
        adapt=adapt,
        nesterov=nesterov,
    )
    for p, w in zip(params, expected, strict=True):
        np.testing.assert_allclose(p.data, w, rtol=1e-12)


def test_a_weight_of_zeros_and_a_gradient_of_zeros_take_the_global_rate():
    zero = Tensor(np.zeros((2, 2), np.float32), requires_grad=True)
    still = Tensor(np.ones((2, 2), np.float32), requires_grad=True)
    optimizer = optim.LARS([zero, still], lr=0.5, momentum=0.0)
    zero.grad = Tensor(np.ones((2, 2), np.float32))
    still.grad = Tensor(np.zeros((2, 2), np.float32))
    optimizer.step()
    np.testing.assert_array_equal(zero.data, np.full((2, 2), -0.5, np.float32))
    np.testing.assert_array_equal(still.data, np.ones((2, 2), np.float32))


def test_scaling_the_gradient_of_a_layer_does_not_change_its_step():
    steps = []
    for scale in (1.0, 1000.0):
        p = Tensor(np.ones((3, 3)), requires_grad=True)
        optimizer = optim.LARS([p], lr=1.0)
        p.grad = Tensor(scale * np.arange(9.0).reshape(3, 3))
        optimizer.step()
        steps.append(p.data.copy())
    np.testing.assert_allclose(*steps, rtol=1e-7)
