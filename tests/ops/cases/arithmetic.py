"""Cases of minidl/ops/arithmetic.py."""

import math

import numpy as np

from minidl.ops import arithmetic as op

from ..case import Case
from .oracles import away, between, each, normal


def _zero_free(*sizes):
    return away([0.0], *sizes, scale=1.5, distance=0.4)


def _positive_and_any(rng):
    return rng.uniform(0.3, 2.0, (3, 4)), rng.standard_normal((2, 1, 4))


def _off_steps(rng):
    """Dividends and divisors whose quotient is not near an integer."""
    quotient = rng.integers(-4, 5, (3, 4)) + rng.uniform(0.2, 0.8, (3, 4))
    divisor = np.array([1.5, -2.0, 0.7, -1.1])
    return quotient * divisor, divisor


def _integers(rng):
    return rng.integers(-9, 10, (3, 4)), np.array([3, -2, 4, -5])


CASES = [
    Case(
        "add, broadcast both ways",
        lambda a, b: a + b,
        normal((3, 1), (2, 1, 4)),
        each(lambda a, b: a + b),
        torch=lambda torch, a, b: a + b,
    ),
    Case(
        "add a tensor to itself",
        lambda a: a + a,
        normal((3,)),
        each(lambda a: 2 * a),
        torch=lambda torch, a: a + a,
    ),
    Case(
        "add with alpha",
        lambda a, b: op.add(a, b, alpha=-2.5),
        normal((3, 4), (4,)),
        each(lambda a, b: a - 2.5 * b),
        torch=lambda torch, a, b: torch.add(a, b, alpha=-2.5),
    ),
    Case(
        "add a number on either side",
        lambda a: 3 + (a + 0.25),
        normal((3, 4)),
        each(lambda a: a + 3.25),
        torch=lambda torch, a: 3 + (a + 0.25),
    ),
    Case(
        "sub, broadcast both ways",
        lambda a, b: a - b,
        normal((3, 1), (2, 1, 4)),
        each(lambda a, b: a - b),
        torch=lambda torch, a, b: a - b,
    ),
    Case(
        "sub with alpha",
        lambda a, b: op.sub(a, b, alpha=0.5),
        normal((3, 4), ()),
        each(lambda a, b: a - 0.5 * b),
        torch=lambda torch, a, b: torch.sub(a, b, alpha=0.5),
    ),
    Case(
        "a number minus a tensor",
        lambda a: 1 - a,
        normal((3, 4)),
        each(lambda a: 1 - a),
        torch=lambda torch, a: 1 - a,
    ),
    Case(
        "mul, broadcast both ways",
        lambda a, b: a * b,
        normal((3, 1), (2, 1, 4)),
        each(lambda a, b: a * b),
        torch=lambda torch, a, b: a * b,
    ),
    Case(
        "mul a tensor by itself",
        lambda a: a * a,
        normal((3, 4)),
        each(lambda a: a * a),
        torch=lambda torch, a: a * a,
    ),
    Case(
        "mul by numbers",
        lambda a: 2 * (a * -0.3),
        normal((3, 4)),
        each(lambda a: -0.6 * a),
        torch=lambda torch, a: 2 * (a * -0.3),
    ),
    Case(
        "mul of 0-d tensors",
        lambda a, b: a * b,
        normal((), ()),
        each(lambda a, b: a * b),
        torch=lambda torch, a, b: a * b,
    ),
    Case(
        "neg",
        lambda a: -a,
        normal((3, 4)),
        each(lambda a: -a),
        torch=lambda torch, a: -a,
    ),
    Case(
        "div, broadcast both ways",
        lambda a, b: a / b,
        _zero_free((3, 1), (2, 1, 4)),
        each(lambda a, b: a / b),
        torch=lambda torch, a, b: a / b,
    ),
    Case(
        "div by a number",
        lambda a: a / 3,
        normal((3, 4)),
        each(lambda a: a / 3),
        torch=lambda torch, a: a / 3,
    ),
    Case(
        "a number divided by a tensor",
        lambda a: 2 / a,
        _zero_free((3, 4)),
        each(lambda a: 2 / a),
        torch=lambda torch, a: 2 / a,
    ),
    Case(
        "div of integers is true division",
        lambda a, b: a / b,
        _integers,
        each(lambda a, b: a / b),
        torch=lambda torch, a, b: a / b,
        order=0,
        dtypes=("float32",),
    ),
    Case(
        "div rounded down has gradient zero",
        lambda a, b: op.div(a, b, rounding_mode="floor"),
        _off_steps,
        each(lambda a, b: float(math.floor(a / b))),
        torch=lambda torch, a, b: torch.div(a, b, rounding_mode="floor"),
        order=1,
    ),
    Case(
        "div rounded towards zero has gradient zero",
        lambda a, b: op.div(a, b, rounding_mode="trunc"),
        _off_steps,
        each(lambda a, b: float(math.trunc(a / b))),
        torch=lambda torch, a, b: torch.div(a, b, rounding_mode="trunc"),
        order=1,
    ),
    Case(
        "integers divided and rounded towards zero",
        lambda a, b: op.div(a, b, rounding_mode="trunc"),
        _integers,
        each(lambda a, b: int(a / b)),
        torch=lambda torch, a, b: torch.div(a, b, rounding_mode="trunc"),
        order=0,
    ),
    Case(
        "floor_divide of integers",
        lambda a, b: a // b,
        _integers,
        each(lambda a, b: a // b),
        torch=lambda torch, a, b: a // b,
        order=0,
    ),
    Case(
        "floor_divide of floats",
        lambda a, b: a // b,
        _off_steps,
        each(lambda a, b: float(math.floor(a / b))),
        torch=lambda torch, a, b: a // b,
        order=0,
    ),
    Case(
        "remainder has the sign of the divisor",
        lambda a, b: a % b,
        _off_steps,
        each(lambda a, b: a - b * math.floor(a / b)),
        torch=lambda torch, a, b: a % b,
        rtol={"float16": 3e-2, "float32": 3e-5},  # what is left of a quotient of up to 5
    ),
    Case(
        # torch has no derivative for a number as the dividend.
        "remainder of a number",
        lambda b: 5 % b,
        lambda rng: (np.array([1.5, -2.2, 0.7, -1.1]),),
        each(lambda b: 5 - b * math.floor(5 / b)),
        rtol={"float16": 3e-2},
    ),
    Case(
        "remainder of integers",
        lambda a, b: a % b,
        _integers,
        each(lambda a, b: a % b),
        torch=lambda torch, a, b: a % b,
        order=0,
    ),
    Case(
        "square",
        op.square,
        normal((3, 4)),
        each(lambda a: a * a),
        torch=lambda torch, a: torch.square(a),
    ),
    Case(
        "reciprocal",
        op.reciprocal,
        _zero_free((3, 4)),
        each(lambda a: 1 / a),
        torch=lambda torch, a: torch.reciprocal(a),
    ),
    *[
        Case(
            f"power {n}",
            lambda a, n=n: a**n,
            _zero_free((3, 4)),
            each(lambda a, n=n: a**n),
            torch=lambda torch, a, n=n: a**n,
        )
        for n in (0, 1, 2, 3, 4, 5, -1, -2, -3, 2.0)
    ],
    *[
        Case(
            f"power {n} of positive numbers",
            lambda a, n=n: a**n,
            between(0.3, 3.0, (3, 4)),
            each(lambda a, n=n: a**n),
            torch=lambda torch, a, n=n: a**n,
        )
        for n in (0.5, -0.5, 2.5, 1 / 3)
    ],
    Case(
        "a third power of many negative numbers",
        lambda a: a**7,
        between(-1.1, -0.9, (50, 4)),
        each(lambda a: a**7),
        torch=lambda torch, a: a**7,
        rtol={"float16": 2e-2},
    ),
    Case(
        "pow of two tensors, broadcast",
        lambda a, b: a**b,
        _positive_and_any,
        each(lambda a, b: a**b),
        torch=lambda torch, a, b: a**b,
    ),
    Case(
        "pow of a number and a tensor",
        lambda b: 1.7**b,
        normal((3, 4)),
        each(lambda b: 1.7**b),
        torch=lambda torch, b: 1.7**b,
    ),
    Case(
        "pow of integers",
        lambda a, b: a**b,
        lambda rng: (rng.integers(-4, 5, (3, 4)), np.array([0, 1, 2, 3])),
        each(lambda a, b: a**b),
        torch=lambda torch, a, b: a**b,
        order=0,
    ),
]
