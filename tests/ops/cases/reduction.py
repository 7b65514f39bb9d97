"""Cases of minidl/ops/reduction.py."""

import math
import statistics

import numpy as np

from minidl.ops import reduction as op

from ..case import Case
from .oracles import away, between, normal, reduced


def _distinct(*size):
    count = int(np.prod(size))
    return lambda rng: ((rng.permutation(count) - count / 2).reshape(size) / 8,)


def _shifted(*size):
    """Numbers round 3, whose sums do not cancel."""
    return lambda rng: (rng.standard_normal(size) + 3,)


def _variance(correction):
    def variance(values):
        mean = sum(values) / len(values)
        return sum((v - mean) ** 2 for v in values) / (len(values) - correction)

    return variance


def _logsumexp(values):
    return math.log(sum(math.exp(v) for v in values))


def _norm(p):
    return lambda values: sum(abs(v) ** p for v in values) ** (1 / p)


def _with_zeros(*places):
    """A (3, 4) array with zeros at some places."""

    def inputs(rng):
        x = rng.uniform(0.5, 1.5, (3, 4)) * rng.choice([-1, 1], (3, 4))
        for place in places:
            x[place] = 0
        return (x,)

    return inputs


def _cumulated(x, axis):
    out = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        until = list(index)
        for i in range(index[axis] + 1):
            until[axis] = i
            out[index] += x[tuple(until)]
    return out


def _extreme_and_index(choose, axis, keepdim):
    def oracle(x):
        return (
            reduced(choose, axis, keepdim)(x),
            reduced(lambda values: values.index(choose(values)), axis, keepdim)(x),
        )

    return oracle


def _dims(name, python, inputs, **more):
    """Over all dimensions, one, two, and with the dimensions kept."""
    cases = []
    for dim, keepdim in [(None, False), (1, False), ((0, -1), False), (-1, True), ((1, 2), True)]:

        def reference(torch, x, dim=dim, keepdim=keepdim):
            return getattr(torch, name)(x, dim, keepdim=keepdim)

        cases.append(
            Case(
                f"{name} over {'all' if dim is None else dim}{', kept' * keepdim}",
                lambda x, dim=dim, keepdim=keepdim: getattr(op, name)(x, dim, keepdim=keepdim),
                inputs,
                reduced(python, dim, keepdim),
                torch=None if name == "logsumexp" and dim is None else reference,
                **more,
            )
        )
    return cases


CASES = [
    *_dims("sum", sum, _shifted(2, 3, 4)),
    *_dims("mean", statistics.fmean, _shifted(2, 3, 4)),
    *_dims("var", _variance(1), normal((2, 3, 4))),
    *_dims("std", lambda values: _variance(1)(values) ** 0.5, normal((2, 3, 4))),
    *_dims("logsumexp", _logsumexp, normal((2, 3, 4))),
    *[
        case
        for name, choose in [("amax", max), ("amin", min)]
        for case in _dims(name, choose, _distinct(2, 3, 4))
        if "all" not in case.name
    ],
    Case(
        "sum of many elements, under NumPy's names",
        lambda x: op.sum(x, axis=(0, 2), keepdims=True),
        _shifted(4, 3, 70),
        reduced(sum, (0, 2), True),
        torch=lambda torch, x: torch.sum(x, axis=(0, 2), keepdims=True),
    ),
    Case(
        "sum of integers",
        lambda x: op.sum(x, 1),
        lambda rng: (rng.integers(0, 200, (3, 4)).astype(np.uint8),),
        reduced(sum, 1),
        torch=lambda torch, x: torch.sum(x, 1),
        order=0,
    ),
    Case(
        "sum of a mask",
        op.sum,
        lambda rng: (rng.random((3, 4)) > 0.5,),
        reduced(sum, None),
        torch=lambda torch, x: torch.sum(x),
        order=0,
    ),
    Case(
        "sum of a 0-d tensor",
        lambda x: op.sum(x, 0) * op.mean(x),
        normal(()),
        lambda x: x * x,
        torch=lambda torch, x: torch.sum(x, 0) * torch.mean(x),
    ),
    Case(
        "mean of integers as floats",
        lambda x: op.mean(x, dtype="float32"),
        lambda rng: (rng.integers(0, 9, (3, 4)),),
        reduced(statistics.fmean, None),
        torch=lambda torch, x: torch.mean(x, dtype=torch.float32),
        order=0,
        dtypes=("float32",),
    ),
    *[
        Case(
            f"var of column means' deviations, correction {correction}",
            lambda x, c=correction: op.var(x, 0, correction=c),
            normal((5, 3)),
            reduced(_variance(correction), 0),
            torch=lambda torch, x, c=correction: torch.var(x, 0, correction=c),
        )
        for correction in (0, 1, 2.5)
    ],
    Case(
        "var, not unbiased",
        lambda x: op.var(x, 1, False),
        normal((3, 4)),
        reduced(_variance(0), 1),
        torch=lambda torch, x: torch.var(x, 1, False),
    ),
    Case(
        "std of all, not unbiased",
        lambda x: op.std(x, False),
        normal((3, 4)),
        lambda x: np.array(_variance(0)(x.ravel().tolist()) ** 0.5),
        torch=lambda torch, x: torch.std(x, False),
    ),
    Case(
        "max of all",
        op.max,
        _distinct(3, 4),
        reduced(max, None),
        torch=lambda torch, x: torch.max(x),
    ),
    Case(
        "min of all",
        op.min,
        _distinct(3, 4),
        reduced(min, None),
        torch=lambda torch, x: torch.min(x),
    ),
    Case(
        "amax of all",
        op.amax,
        _distinct(3, 4),
        reduced(max, None),
        torch=lambda torch, x: torch.amax(x),
    ),
    Case(
        "max along a dimension",
        lambda x: op.max(x, 1),
        _distinct(2, 4, 3),
        _extreme_and_index(max, 1, False),
        torch=lambda torch, x: torch.max(x, 1),
    ),
    Case(
        "min along a dimension, kept",
        lambda x: op.min(x, 0, keepdim=True),
        _distinct(4, 3),
        _extreme_and_index(min, 0, True),
        torch=lambda torch, x: torch.min(x, 0, keepdim=True),
    ),
    Case(
        "max of two tensors",
        op.max,
        normal((3, 4), (4,)),
        lambda a, b: np.array([[max(a[i, j], b[j]) for j in range(4)] for i in range(3)]),
        torch=lambda torch, a, b: torch.max(a, b.expand(3, 4)),
    ),
    Case(
        "max of a mask",
        op.max,
        lambda rng: (rng.random((3, 4)) > 0.5,),
        reduced(max, None),
        torch=lambda torch, x: torch.max(x),
        order=0,
    ),
    *[
        Case(
            f"prod with {name}",
            lambda x, dim=dim: op.prod(x, dim) if dim is not None else op.prod(x),
            _with_zeros(*places),
            reduced(math.prod, dim),
            torch=lambda torch, x, dim=dim: (
                torch.prod(x, dim) if dim is not None else torch.prod(x)
            ),
        )
        for name, places, dim in [
            ("no zero", [], None),
            ("one zero", [(1, 2)], None),
            ("two zeros", [(0, 0), (1, 2)], None),
            ("zeros, along dimension 0", [(0, 0), (1, 0), (1, 2)], 0),
            ("zeros, along the last dimension", [(0, 0), (1, 2), (1, 3)], -1),
        ]
    ],
    Case(
        "prod along a dimension of one, kept",
        lambda x: op.prod(x, 1, keepdim=True),
        normal((3, 1)),
        lambda x: x,
        torch=lambda torch, x: torch.prod(x, 1, keepdim=True),
    ),
    Case(
        "prod of integers",
        lambda x: op.prod(x, 0),
        lambda rng: (rng.integers(1, 9, (3, 4)),),
        reduced(math.prod, 0),
        torch=lambda torch, x: torch.prod(x, 0),
        order=0,
    ),
    Case(
        "cumsum along the last dimension",
        lambda x: op.cumsum(x, -1),
        _shifted(3, 4),
        lambda x: _cumulated(x, 1),
        torch=lambda torch, x: torch.cumsum(x, -1),
    ),
    Case(
        "cumsum along dimension 0",
        lambda x: op.cumsum(x, 0),
        _shifted(5, 2),
        lambda x: _cumulated(x, 0),
        torch=lambda torch, x: torch.cumsum(x, 0),
    ),
    Case(
        "cumsum of a mask",
        lambda x: op.cumsum(x, 0),
        lambda rng: (rng.random(6) > 0.5,),
        lambda x: _cumulated(x.astype(np.int64), 0),
        torch=lambda torch, x: torch.cumsum(x, 0),
        order=0,
    ),
    *[
        Case(
            f"norm, p {p}, over {dim}",
            lambda x, p=p, dim=dim: op.norm(x, p, dim),
            away([0.0], (2, 3, 4), scale=1.0),
            reduced(_norm(p), dim),
            torch=lambda torch, x, p=p, dim=dim: torch.linalg.vector_norm(x, p, dim),
        )
        for p, dim in [(2, None), (2, 1), (1, (0, 2)), (3, -1), (1.5, None), (0.5, 1), (-1, 2)]
    ],
    Case(
        "norm, p inf",
        lambda x: op.norm(x, math.inf, 1),
        _distinct(3, 4),
        reduced(lambda values: max(abs(v) for v in values), 1),
        torch=lambda torch, x: torch.norm(x, math.inf, 1),
        order=1,
    ),
    Case(
        "norm, p -inf",
        lambda x: op.norm(x, -math.inf, 1),
        between(0.1, 2.0, (3, 4)),
        reduced(lambda values: min(abs(v) for v in values), 1),
        torch=lambda torch, x: torch.norm(x, -math.inf, 1),
    ),
    Case(
        "norm, p 0, counts",
        lambda x: op.norm(x, 0, 1),
        _with_zeros((0, 0), (0, 1), (2, 3)),
        reduced(lambda values: float(sum(v != 0 for v in values)), 1),
        torch=lambda torch, x: torch.norm(x, 0, 1),
        order=0,
    ),
    Case(
        "any along a dimension",
        lambda x: op.any(x, 1),
        lambda rng: (rng.integers(0, 5, (8, 3)) == 0,),
        reduced(any, 1),
        torch=lambda torch, x: torch.any(x, 1),
        order=0,
    ),
    Case(
        "all of floats, over two dimensions",
        lambda x: op.all(x, (0, 2)),
        lambda rng: (rng.integers(0, 9, (2, 6, 2)).astype(float),),
        reduced(all, (0, 2)),
        torch=lambda torch, x: torch.all(x, (0, 2)),
        order=0,
    ),
]
