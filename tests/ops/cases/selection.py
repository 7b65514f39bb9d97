"""Cases of minidl/ops/selection.py."""

import numpy as np

from minidl.ops import selection as op

from ..case import Case
from .oracles import each, normal


def _distinct(*size):
    """One array whose elements are at least 0.1 apart, in random order."""
    count = int(np.prod(size))
    return lambda rng: ((rng.permutation(count) - count / 2).reshape(size) / 8,)


def _ties(*size):
    return lambda rng: (rng.integers(0, 3, size).astype(float),)


def _columns(function, axis):
    """An oracle: `function` of each column along `axis`, as lists."""

    def oracle(x):
        return np.apply_along_axis(lambda column: np.array(function(column.tolist())), axis, x)

    return oracle


def _ranked(descending, part=slice(None)):
    def order(column):
        return sorted(range(len(column)), key=lambda i: column[i], reverse=descending)[part]

    return order


def _values_and_indices(order, axis):
    def oracle(x):
        return (
            _columns(lambda column: [column[i] for i in order(column)], axis)(x),
            _columns(order, axis)(x).astype(np.int64),
        )

    return oracle


def _masked(*sizes):
    """A mask of the first size, normal arrays of the others."""
    return lambda rng: (rng.random(sizes[0]) > 0.4, *normal(*sizes[1:])(rng))


CASES = [
    Case(
        "where, all broadcast",
        op.where,
        _masked((3, 1), (3, 4), (2, 1, 1)),
        each(lambda mask, a, b: a if mask else b),
        torch=lambda torch, mask, a, b: torch.where(mask, a, b),
    ),
    Case(
        "where with a number for other",
        lambda mask, a: op.where(mask, a, -1.5),
        _masked((3, 4), (3, 4)),
        each(lambda mask, a: a if mask else -1.5),
        torch=lambda torch, mask, a: torch.where(mask, a, -1.5),
    ),
    Case(
        "where with a number for input",
        lambda mask, b: op.where(mask, 2, b),
        _masked((2, 3, 4), (4,)),
        each(lambda mask, b: 2.0 if mask else b),
        torch=lambda torch, mask, b: torch.where(mask, 2, b),
    ),
    Case(
        "where of many elements",
        op.where,
        lambda rng: (rng.random((50, 60)) > 0.5, *normal((50, 60), (60,))(rng)),
        each(lambda mask, a, b: a if mask else b),
        torch=lambda torch, mask, a, b: torch.where(mask, a, b),
    ),
    Case(
        "where of integers",
        op.where,
        lambda rng: (rng.random(4) > 0.5, rng.integers(0, 9, 4), rng.integers(0, 9, (3, 1))),
        each(lambda mask, a, b: a if mask else b),
        torch=lambda torch, mask, a, b: torch.where(mask, a, b),
        order=0,
    ),
    Case(
        "masked_fill with a number",
        lambda mask, x: op.masked_fill(x, mask, -0.7),
        _masked((4,), (3, 4)),
        each(lambda mask, x: -0.7 if mask else x),
        torch=lambda torch, mask, x: x.masked_fill(mask, -0.7),
    ),
    Case(
        "masked_fill with a 0-d tensor",
        lambda mask, x, value: op.masked_fill(x, mask, value),
        _masked((3, 4), (3, 4), ()),
        each(lambda mask, x, value: value if mask else x),
        torch=lambda torch, mask, x, value: x.masked_fill(mask, value),
    ),
    Case(
        "maximum, broadcast",
        op.maximum,
        normal((3, 1), (2, 1, 4)),
        each(max),
        torch=lambda torch, a, b: torch.maximum(a, b),
    ),
    Case(
        "minimum, broadcast",
        op.minimum,
        normal((3, 4), (4,)),
        each(min),
        torch=lambda torch, a, b: torch.minimum(a, b),
    ),
    Case(
        "maximum of equals shares the gradient",
        lambda a: op.maximum(a, a * 1.0),
        normal((3, 4)),
        each(lambda a: a),
        torch=lambda torch, a: torch.maximum(a, a * 1.0),
    ),
    Case(
        "minimum with a number",
        lambda a: op.minimum(a, 0.25),
        normal((3, 4)),
        each(lambda a: min(a, 0.25)),
        torch=lambda torch, a: torch.minimum(a, torch.tensor(0.25, dtype=a.dtype)),
    ),
    Case(
        "sort",
        op.sort,
        _distinct(3, 5),
        _values_and_indices(_ranked(False), 1),
        torch=lambda torch, x: torch.sort(x),
    ),
    Case(
        "sort, descending, along dimension 0",
        lambda x: op.sort(x, 0, descending=True),
        _distinct(4, 3, 2),
        _values_and_indices(_ranked(True), 0),
        torch=lambda torch, x: torch.sort(x, 0, descending=True),
    ),
    Case(
        "sort with ties, stable",
        lambda x: op.sort(x, stable=True)[1],
        _ties(3, 7),
        lambda x: _values_and_indices(_ranked(False), 1)(x)[1],
        torch=lambda torch, x: torch.sort(x, stable=True)[1],
        order=0,
    ),
    Case(
        "argsort with ties, descending and stable",
        lambda x: op.argsort(x, descending=True, stable=True),
        _ties(3, 7),
        lambda x: _values_and_indices(_ranked(True), 1)(x)[1],
        torch=lambda torch, x: torch.argsort(x, descending=True, stable=True),
        order=0,
    ),
    Case(
        "topk",
        lambda x: op.topk(x, 3),
        _distinct(3, 7),
        _values_and_indices(_ranked(True, slice(3)), 1),
        torch=lambda torch, x: torch.topk(x, 3),
    ),
    Case(
        "topk, the smallest along dimension 1",
        lambda x: op.topk(x, 2, dim=1, largest=False),
        _distinct(2, 5, 3),
        _values_and_indices(_ranked(False, slice(2)), 1),
        torch=lambda torch, x: torch.topk(x, 2, dim=1, largest=False),
    ),
    Case(
        "topk of all",
        lambda x: op.topk(x, 5),
        _distinct(3, 5),
        _values_and_indices(_ranked(True), 1),
        torch=lambda torch, x: torch.topk(x, 5),
    ),
    Case(
        "topk in any order, summed",
        lambda x: op.topk(x, 4, sorted=False).values.sum(-1),
        _distinct(3, 9),
        lambda x: np.array([sum(sorted(row)[-4:]) for row in x.tolist()]),
        torch=lambda torch, x: torch.topk(x, 4, sorted=False).values.sum(-1),
    ),
    Case(
        "argmax of all, with ties",
        op.argmax,
        _ties(3, 4),
        lambda x: np.array(x.ravel().tolist().index(x.max())),
        torch=lambda torch, x: torch.argmax(x),
        order=0,
    ),
    Case(
        "argmax along a dimension, kept",
        lambda x: op.argmax(x, 0, keepdim=True),
        _distinct(3, 4),
        lambda x: np.array([[max(range(3), key=lambda i: x[i, j]) for j in range(4)]]),
        torch=lambda torch, x: torch.argmax(x, 0, keepdim=True),
        order=0,
    ),
    Case(
        "argmin under NumPy's name of the dimension",
        lambda x: op.argmin(x, axis=-1),
        _distinct(3, 4),
        lambda x: np.array([min(range(4), key=lambda j: x[i, j]) for i in range(3)]),
        torch=lambda torch, x: torch.argmin(x, -1),
        order=0,
    ),
    Case(
        "nonzero",
        op.nonzero,
        _ties(3, 4),
        lambda x: np.array([(i, j) for i in range(3) for j in range(4) if x[i, j]]),
        torch=lambda torch, x: torch.nonzero(x),
        order=0,
        strict=False,  # the number of results is only known once the device has answered
    ),
    Case(
        "nonzero as a tuple, from where",
        op.where,
        lambda rng: (rng.random((3, 4)) > 0.5,),
        lambda mask: tuple(
            np.array(
                [index for i in range(3) for j in range(4) if mask[i, j] for index in [(i, j)[k]]]
            )
            for k in range(2)
        ),
        torch=lambda torch, mask: torch.where(mask),
        order=0,
        strict=False,
    ),
]
