"""Cases of minidl/ops/comparison.py."""

import math

import numpy as np

from minidl.ops import comparison as op

from ..case import Case
from .oracles import away, each

SPECIAL = np.array([1.5, -2.0, 0.0, math.nan, math.inf, -math.inf])


def _pairs(rng):
    """Some equal, some not, broadcast."""
    return rng.integers(-1, 2, (3, 4)).astype(float), np.array([-1.0, 0.0, 1.0, 0.5])


def _masks(rng):
    return rng.random((3, 4)) > 0.5, rng.random((2, 1, 4)) > 0.5


def _integers(rng):
    return rng.integers(0, 16, (3, 4)), rng.integers(0, 16, (4,))


def _special(rng):
    return (SPECIAL,)


def _compare(name, python):
    return [
        Case(
            f"{name} of tensors",
            getattr(op, name),
            _pairs,
            each(python),
            torch=lambda torch, a, b: getattr(torch, name)(a, b),
            order=0,
        ),
        Case(
            f"{name} with a number",
            lambda a: getattr(op, name)(a, 0.0),
            lambda rng: _pairs(rng)[:1],
            each(lambda a: python(a, 0.0)),
            torch=lambda torch, a: getattr(torch, name)(a, 0.0),
            order=0,
        ),
    ]


def _rounding(name, python, **arguments):
    return Case(
        f"{name} {arguments or ''}".strip(),
        lambda x: getattr(op, name)(x, **arguments),
        away([k / 2 for k in range(-12, 13)], (3, 4), distance=0.1),
        each(python),
        torch=lambda torch, x: getattr(torch, name)(x, **arguments),
        order=1,
    )


CASES = [
    *_compare("eq", lambda a, b: a == b),
    *_compare("ne", lambda a, b: a != b),
    *_compare("lt", lambda a, b: a < b),
    *_compare("le", lambda a, b: a <= b),
    *_compare("gt", lambda a, b: a > b),
    *_compare("ge", lambda a, b: a >= b),
    Case(
        "isclose, NaN equal",
        lambda a, b: op.isclose(a, b, rtol=0.1, atol=0.01, equal_nan=True),
        lambda rng: (SPECIAL, np.array([1.6, -2.5, 0.005, math.nan, math.inf, math.inf])),
        lambda a, b: np.array([True, False, True, True, True, False]),
        torch=lambda torch, a, b: torch.isclose(a, b, rtol=0.1, atol=0.01, equal_nan=True),
        order=0,
    ),
    Case(
        "isnan",
        op.isnan,
        _special,
        each(math.isnan),
        torch=lambda torch, x: torch.isnan(x),
        order=0,
    ),
    Case(
        "isinf",
        op.isinf,
        _special,
        each(math.isinf),
        torch=lambda torch, x: torch.isinf(x),
        order=0,
    ),
    Case(
        "isfinite",
        op.isfinite,
        _special,
        each(math.isfinite),
        torch=lambda torch, x: torch.isfinite(x),
        order=0,
    ),
    *[
        Case(
            f"{name} of numbers",
            getattr(op, name),
            _pairs,
            each(python),
            torch=lambda torch, a, b, name=name: getattr(torch, name)(a, b),
            order=0,
        )
        for name, python in [
            ("logical_and", lambda a, b: bool(a) and bool(b)),
            ("logical_or", lambda a, b: bool(a) or bool(b)),
            ("logical_xor", lambda a, b: bool(a) != bool(b)),
        ]
    ],
    Case(
        "logical_not",
        op.logical_not,
        lambda rng: _pairs(rng)[:1],
        each(lambda a: not a),
        torch=lambda torch, a: torch.logical_not(a),
        order=0,
    ),
    *[
        Case(
            f"{symbol} of {kind}",
            python,
            inputs,
            each(python),
            torch=lambda torch, a, b, python=python: python(a, b),
            order=0,
        )
        for symbol, python in [
            ("&", lambda a, b: a & b),
            ("|", lambda a, b: a | b),
            ("^", lambda a, b: a ^ b),
        ]
        for kind, inputs in [("masks", _masks), ("integers", _integers)]
    ],
    Case(
        "~ of a mask",
        lambda a: ~a,
        lambda rng: _masks(rng)[:1],
        each(lambda a: not a),
        torch=lambda torch, a: ~a,
        order=0,
    ),
    Case(
        "~ of integers",
        lambda a: ~a,
        lambda rng: _integers(rng)[:1],
        each(lambda a: ~a),
        torch=lambda torch, a: ~a,
        order=0,
    ),
    _rounding("sign", lambda x: math.copysign(1.0, x)),
    _rounding("floor", lambda x: float(math.floor(x))),
    _rounding("ceil", lambda x: float(math.ceil(x))),
    _rounding("trunc", lambda x: float(math.trunc(x))),
    _rounding("round", lambda x: float(round(x))),
    Case(
        "round to one decimal",
        lambda x: op.round(x, decimals=1),
        lambda rng: (rng.integers(-30, 30, (3, 4)) / 10 + rng.uniform(-0.03, 0.03, (3, 4)),),
        each(lambda x: round(x, 1)),
        torch=lambda torch, x: torch.round(x, decimals=1),
        order=1,
    ),
    Case(
        "round halves to even",
        op.round,
        lambda rng: (np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]),),
        lambda x: np.array([-2.0, -2.0, 0.0, 0.0, 2.0, 2.0]),
        torch=lambda torch, x: torch.round(x),
        order=0,
    ),
]
