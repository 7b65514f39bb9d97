"""Cases of minidl/ops/activation.py."""

import math

from minidl.ops import activation as op

from ..case import Case
from .oracles import away, each, normal


def _sigmoid(x):
    return 1 / (1 + math.exp(-x))


def _chance(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def _gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _elu(x, alpha=1.0, scale=1.0):
    return scale * (x if x > 0 else alpha * math.expm1(x))


def _softplus(x, beta=1.0):
    return math.log1p(math.exp(beta * x)) / beta


def _relu6(x):
    return min(max(x, 0.0), 6.0)


def _case(name, python, *arguments, kinks=(), function=None, **keywords):
    text = ", ".join([name, *map(str, arguments), *[f"{k}={v}" for k, v in keywords.items()]])

    def reference(torch, x):
        return getattr(torch.nn.functional, name)(x, *arguments, **keywords)

    return Case(
        text,
        lambda x: getattr(op, name)(x, *arguments, **keywords),
        away(kinks, (5, 6), scale=3.0),
        each(python),
        torch=reference,
    )


CASES = [
    _case("relu", lambda x: max(x, 0.0), kinks=[0.0]),
    Case(
        "relu of a 0-d tensor",
        op.relu,
        away([0.0], ()),
        each(lambda x: max(x, 0.0)),
        torch=lambda torch, x: torch.relu(x),
    ),
    _case("leaky_relu", lambda x: x if x > 0 else 0.01 * x, kinks=[0.0]),
    _case("leaky_relu", lambda x: x if x > 0 else 0.3 * x, 0.3, kinks=[0.0]),
    _case("leaky_relu", lambda x: x if x > 0 else 2.0 * x, 2.0, kinks=[0.0]),
    _case("leaky_relu", lambda x: x if x > 0 else -x, -1.0, kinks=[0.0]),
    _case("leaky_relu", lambda x: max(x, 0.0), 0.0, kinks=[0.0]),
    _case("elu", _elu, kinks=[0.0]),
    _case("elu", lambda x: _elu(x, 0.4), 0.4, kinks=[0.0]),
    _case("elu", lambda x: _elu(x, -0.4), -0.4, kinks=[0.0]),
    _case("selu", lambda x: _elu(x, op.SELU_ALPHA, op.SELU_SCALE), kinks=[0.0]),
    _case("gelu", lambda x: x * _chance(x)),
    _case("gelu", _gelu_tanh, approximate="tanh"),
    _case("silu", lambda x: x * _sigmoid(x)),
    _case("softplus", _softplus, kinks=[0.0]),
    _case("softplus", lambda x: _softplus(x, 2.0), 2.0, kinks=[0.0]),
    _case(
        "softplus",
        lambda x: x if 0.5 * x > 1.0 else _softplus(x, 0.5),
        0.5,
        1.0,
        kinks=[0.0, 2.0],
    ),
    _case("hardtanh", lambda x: min(max(x, -1.0), 1.0), kinks=[-1.0, 1.0]),
    _case("hardtanh", lambda x: min(max(x, -0.5), 2.0), -0.5, 2.0, kinks=[-0.5, 2.0]),
    _case("relu6", _relu6, kinks=[0.0, 6.0]),
    Case(
        # torch rounds its 1/6 to float32 in the backward of float64.
        "hardsigmoid",
        op.hardsigmoid,
        away([-3.0, 3.0], (5, 6), scale=3.0),
        each(lambda x: _relu6(x + 3) / 6),
    ),
    _case("hardswish", lambda x: x * _relu6(x + 3) / 6, kinks=[-3.0, 3.0]),
    _case("mish", lambda x: x * math.tanh(_softplus(x)), kinks=[0.0]),
    Case(
        "prelu, one weight",
        op.prelu,
        away([0.0], (3, 4), (1,)),
        each(lambda x, w: x if x > 0 else w * x),
        torch=lambda torch, x, w: torch.nn.functional.prelu(x, w),
    ),
    Case(
        "prelu, a weight for each channel",
        op.prelu,
        away([0.0], (2, 3, 2, 2), (3,)),
        lambda x, w: each(lambda x, w: x if x > 0 else w * x)(x, w.reshape(3, 1, 1)),
        torch=lambda torch, x, w: torch.nn.functional.prelu(x, w),
    ),
    Case(
        "prelu of rows, a weight for each column",
        op.prelu,
        away([0.0], (2, 3), (3,)),
        each(lambda x, w: x if x > 0 else w * x),
        torch=lambda torch, x, w: torch.nn.functional.prelu(x, w),
    ),
    *[
        Case(
            f"{name} in place",
            lambda x, name=name: getattr(op, name)(x * 1.0, inplace=True),
            away([-3.0, -1.0, 0.0, 1.0, 3.0, 6.0], (4, 5), scale=3.0),
            each(python),
            torch=lambda torch, x, name=name: getattr(torch.nn.functional, name)(x),
            order=2,
        )
        for name, python in [
            ("relu", lambda x: max(x, 0.0)),
            ("leaky_relu", lambda x: x if x > 0 else 0.01 * x),
            ("elu", _elu),
            ("selu", lambda x: _elu(x, op.SELU_ALPHA, op.SELU_SCALE)),
            ("silu", lambda x: x * _sigmoid(x)),
            ("hardtanh", lambda x: min(max(x, -1.0), 1.0)),
            ("relu6", _relu6),
            ("hardswish", lambda x: x * _relu6(x + 3) / 6),
            ("mish", lambda x: x * math.tanh(_softplus(x))),
        ]
    ],
    Case(
        "gelu of a 0-d tensor, twice",
        lambda x: op.gelu(op.gelu(x), approximate="tanh"),
        normal(()),
        each(lambda x: _gelu_tanh(x * _chance(x))),
        torch=lambda torch, x: torch.nn.functional.gelu(
            torch.nn.functional.gelu(x), approximate="tanh"
        ),
    ),
]
