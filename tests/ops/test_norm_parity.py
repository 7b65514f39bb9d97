"""Normalisation in random configurations gives torch's values, gradients and running statistics."""

import math

import numpy as np
import pytest

import minidl as md
from minidl.ops import norm

torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
F = torch.nn.functional

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}


def _near(actual, expected, dtype, what):
    expected = expected.detach().numpy()
    assert actual.shape == expected.shape, what
    assert actual.dtype == expected.dtype == np.dtype(dtype), what
    if expected.size:
        error = np.abs(actual.astype(np.float64) - expected).max()
        scale = max(np.abs(expected).max(), 1e-6)
        assert error <= TOLERANCE[dtype] * scale, f"{what}: {error / scale:.2g}"


def _vectors(rng, n):
    """Running mean and variance, weight and bias; the last two may be missing."""
    vectors = [rng.standard_normal(n), rng.uniform(0.5, 2, n), rng.standard_normal(n)]
    vectors.append(rng.standard_normal(n))
    for i in (2, 3):
        if rng.random() < 0.2:
            vectors[i] = None
    return vectors


def _sizes(rng):
    """(N, C, ...) with a product that is small, and now and then a long row or a large batch."""
    n, c = int(rng.integers(2, 12)), int(rng.integers(1, 9))
    positions = tuple(int(v) for v in rng.integers(1, 9, int(rng.integers(0, 4))))
    if rng.random() < 0.1:
        positions = (int(rng.integers(60, 400)),)
    return n, c, *positions


def _configuration(rng):
    """(name, minidl's call, torch's call, shape, the vectors).

    At least 4 values share their statistics: with one, the result is the bias and torch's rounding
    error; with two, gradients vanish but for eps and rounding.
    """
    while True:
        kind, ours, theirs, shape, vectors, count = _any_configuration(rng)
        if count >= 4:
            return kind, ours, theirs, shape, vectors


def _any_configuration(rng):
    kind = rng.choice(["batch", "frozen", "layer", "group", "instance"])
    shape, eps = _sizes(rng), float(10 ** rng.uniform(-6, -1))
    if kind in ("batch", "frozen"):
        training, momentum = kind == "batch", float(rng.random())

        def ours(x, m, v, w, b):
            return norm.batch_norm(x, m, v, w, b, training, momentum, eps)

        def theirs(x, m, v, w, b):
            return F.batch_norm(x, m, v, w, b, training, momentum, eps)

        count = shape[0] * math.prod(shape[2:])
        return kind, ours, theirs, shape, _vectors(rng, shape[1]), count
    if kind == "instance":
        own, momentum = bool(rng.random() < 0.7), float(rng.random())

        def ours(x, m, v, w, b):
            return norm.instance_norm(x, m, v, w, b, own, momentum, eps)

        def theirs(x, m, v, w, b):
            return F.instance_norm(x, m, v, w, b, own, momentum, eps)

        return kind, ours, theirs, shape, _vectors(rng, shape[1]), math.prod(shape[2:])
    if kind == "group":
        groups = int(rng.integers(1, 5))
        shape = (shape[0], groups * int(rng.integers(1, 4)), *shape[2:])

        def ours(x, m, v, w, b):
            return norm.group_norm(x, groups, w, b, eps)

        def theirs(x, m, v, w, b):
            return F.group_norm(x, groups, w, b, eps)

        vectors = _vectors(rng, shape[1])
        if vectors[2] is None:  # a bias alone makes torch's own backward fail
            vectors[3] = None
        count = shape[1] // groups * math.prod(shape[2:])
        return kind, ours, theirs, shape, vectors, count
    last = shape[int(rng.integers(1, len(shape))) :]
    vectors = [None if v is None else v.reshape(last) for v in _vectors(rng, math.prod(last))]
    return (
        kind,
        lambda x, m, v, w, b: norm.layer_norm(x, last, w, b, eps),
        lambda x, m, v, w, b: F.layer_norm(x, last, w, b, eps),
        shape,
        vectors,
        math.prod(last),
    )


def _compare(seed):
    rng = np.random.default_rng(seed)
    kind, ours, theirs, shape, vectors = _configuration(rng)
    values = rng.standard_normal(shape) * 3 + rng.standard_normal()
    cotangent = rng.standard_normal(shape)
    for dtype in ("float64", "float32"):
        arrays = [None if a is None else a.astype(dtype) for a in (values, *vectors)]
        mine = [None if a is None else md.tensor(a) for a in arrays]
        other = [None if a is None else torch.tensor(a) for a in arrays]
        for i in (0, 3, 4):
            for t in (mine[i], other[i]):
                if t is not None:
                    t.requires_grad_()
        y, e = ours(*mine), theirs(*other)
        y.backward(md.tensor(cotangent.astype(dtype)))
        e.backward(torch.tensor(cotangent.astype(dtype)))
        what = f"seed {seed}: {kind} {shape} {dtype}"
        _near(y.detach().numpy(), e, dtype, what)
        for i, name in ((1, "running mean"), (2, "running variance")):
            _near(mine[i].numpy(), other[i], dtype, f"{what}, {name}")
        # A gradient that is zero but for rounding is compared with the size of its terms.
        floor = np.abs(cotangent).max()
        for i, name in ((0, "input"), (3, "weight"), (4, "bias")):
            if mine[i] is not None:
                g, expected = mine[i].grad.numpy(), other[i].grad.numpy()
                scale = max(np.abs(expected).max(), floor)
                error = np.abs(g.astype(np.float64) - expected).max()
                assert error <= TOLERANCE[dtype] * scale, f"{what}, {name}: {error / scale:.2g}"


@pytest.mark.parametrize("block", range(8))
def test_random_configurations_agree_with_torch(block):
    for seed in range(50 * block, 50 * (block + 1)):
        _compare(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8, 60))
def test_many_more_random_configurations_agree_with_torch(block):
    test_random_configurations_agree_with_torch(block)
