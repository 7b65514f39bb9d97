"""Cases of minidl/ops/elementwise.py."""

import math

from minidl.ops import elementwise as op

from ..case import Case
from .oracles import away, between, each, normal


def _sigmoid(x):
    return 1 / (1 + math.exp(-x))


def _simple(name, inputs, python, function=None, **more):
    return Case(
        name,
        getattr(op, name),
        inputs,
        each(python),
        torch=function or (lambda torch, x: getattr(torch, name)(x)),
        **more,
    )


POSITIVE = between(0.2, 4.0, (3, 4))

CASES = [
    _simple("exp", normal((3, 4)), math.exp),
    _simple("expm1", normal((3, 4)), math.expm1),
    _simple("log", POSITIVE, math.log),
    _simple("log2", POSITIVE, math.log2),
    _simple("log10", POSITIVE, math.log10),
    _simple("log1p", between(-0.8, 3.0, (3, 4)), math.log1p),
    _simple("sqrt", POSITIVE, math.sqrt),
    _simple("rsqrt", POSITIVE, lambda x: 1 / math.sqrt(x)),
    _simple("abs", away([0.0], (3, 4)), abs),
    _simple("sin", normal((3, 4)), math.sin),
    _simple("cos", normal((3, 4)), math.cos),
    _simple("tan", between(-1.2, 1.2, (3, 4)), math.tan),
    _simple("tanh", normal((3, 4)), math.tanh),
    _simple("sigmoid", normal((3, 4)), _sigmoid),
    _simple(
        "logsigmoid",
        away([0.0], (3, 4), scale=4.0),
        lambda x: math.log(_sigmoid(x)),
        lambda torch, x: torch.nn.functional.logsigmoid(x),
    ),
    _simple("erf", normal((5, 8)), math.erf),
    Case(
        "erf of large and tiny numbers",
        op.erf,
        lambda rng: (rng.uniform(-7, 7, (5, 8)) ** 3 / 50,),
        each(math.erf),
        torch=lambda torch, x: torch.erf(x),
    ),
    Case(
        "exp of a 0-d tensor",
        op.exp,
        normal(()),
        each(math.exp),
        torch=lambda torch, x: torch.exp(x),
    ),
    Case(
        "sigmoid and erf of 0-d tensors",
        lambda x: op.sigmoid(x) * op.erf(x),
        normal(()),
        each(lambda x: _sigmoid(x) * math.erf(x)),
        torch=lambda torch, x: torch.sigmoid(x) * torch.erf(x),
    ),
    *[
        Case(
            f"clamp, min {low}, max {high}",
            lambda x, low=low, high=high: op.clamp(x, low, high),
            away([-0.5, 1.0], (3, 4)),
            each(
                lambda x, low=low, high=high: min(
                    max(x, -math.inf if low is None else low), math.inf if high is None else high
                )
            ),
            torch=lambda torch, x, low=low, high=high: torch.clamp(x, low, high),
        )
        for low, high in [(-0.5, 1.0), (-0.5, None), (None, 1.0), (1.0, -0.5)]
    ],
    Case(
        "clamp of integers",
        lambda x: op.clamp(x, 2, 7),
        lambda rng: (rng.integers(0, 10, (3, 4)),),
        each(lambda x: min(max(x, 2), 7)),
        torch=lambda torch, x: torch.clamp(x, 2, 7),
        order=0,
    ),
    Case(
        "clamp between tensors, some bounds crossed",
        op.clamp,
        normal((2, 3, 4), (3, 1), (4,)),
        each(lambda x, low, high: min(max(x, low), high)),
        torch=lambda torch, x, low, high: torch.clamp(x, low, high),
    ),
    Case(
        "clamp from below by a tensor",
        lambda x, low: op.clamp(x, min=low),
        normal((3, 4), (2, 1, 4)),
        each(max),
        torch=lambda torch, x, low: torch.clamp(x, min=low),
    ),
    Case(
        "clamp from above by a tensor",
        lambda x, high: op.clamp(x, max=high),
        normal((3, 4), (4,)),
        each(min),
        torch=lambda torch, x, high: torch.clamp(x, max=high),
    ),
    Case(
        "clamp between a number and a tensor",
        lambda x, high: op.clamp(x, -0.3, high),
        away([-0.3], (3, 4), (4,), scale=1.0),
        each(lambda x, high: min(max(x, -0.3), high)),
        torch=lambda torch, x, high: torch.clamp(x, torch.tensor(-0.3, dtype=x.dtype), high),
    ),
    Case(
        "masked: a tensor where a mask holds",
        lambda x, mask: op.masked(x, mask.data),
        lambda rng: (rng.standard_normal((3, 4)), rng.random((3, 1)) > 0.5),
        each(lambda x, mask: x if mask else 0.0),
        torch=lambda torch, x, mask: torch.where(mask, x, 0),
    ),
]
