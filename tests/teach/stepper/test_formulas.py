"""The formulas of the page are true: computed with numbers, they give what the operations give."""

import math
import re

import numpy as np
import pytest

import minidl as md
from minidl import ops
from minidl.nn import functional as F
from minidl.teach.stepper.formulas import EACH, formula_of
from minidl.teach.stepper.tape import Operation

RULES = [  # the formulas' signs in Python's
    (r"\[([^\]]*)\]", lambda m: f"float({m[1].replace(' = ', ' == ')})"),
    (r"\|([^|]+)\|", r"abs(\1)"),
    (r"⌊([^⌋]+)⌋", r"floor(\1)"),
    (r"√π", "sqrt(pi)"),
    (r"√", "sqrt"),
    (r"log₂", "log2"),
    (r"log₁₀", "log10"),
    (r"log ([\d.]+)", r"log(\1)"),
    (r"²", "**2"),
    (r"³", "**3"),
    (r"\^", "**"),
    (r"·", "*"),
    (r"−", "-"),
    (r"≤", "<="),
    (r"≥", ">="),
    (r"Φ\(", "normal("),
    (r"φ\(", "density("),
    (r"σ\(", "logistic("),
]

MEANING = {
    **{name: getattr(math, name) for name in ("log", "log2", "log10", "sqrt", "floor", "erf")},
    **{name: getattr(math, name) for name in ("sin", "cos", "tan", "tanh", "pi", "e")},
    "sign": np.sign,
    "normal": lambda x: (1 + math.erf(x / math.sqrt(2))) / 2,
    "density": lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "logistic": lambda x: 1 / (1 + math.exp(-x)),
    "step": math.floor,
}


def value_of(template, numbers):
    text = re.sub(r"\{(\w+)\}", lambda m: f"({numbers[m[1]]!r})", template)
    for pattern, sign in RULES:
        text = re.sub(pattern, sign, text)
    return eval(
        text, {"__builtins__": {"abs": abs, "min": min, "max": max, "float": float}}, MEANING
    )


# For each formula calls that run the operation; their tensors are named as in the formula.
CALLS = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Neg": lambda a: -a,
    "Square": lambda x: x.square(),
    "Reciprocal": lambda x: x.reciprocal(),
    "PowScalar": lambda x: x.abs() ** 3,
    "Pow": lambda a, b: a.abs() ** b,
    "Remainder": lambda a, b: md.remainder(a, b),
    "Exp": lambda x: x.exp(),
    "Expm1": lambda x: md.expm1(x),
    "Log": lambda x: x.abs().log(),
    "Log2": lambda x: x.abs().log2(),
    "Log10": lambda x: x.abs().log10(),
    "Log1p": lambda x: md.log1p(x.abs()),
    "Sqrt": lambda x: x.abs().sqrt(),
    "Rsqrt": lambda x: x.abs().rsqrt(),
    "Abs": lambda x: x.abs(),
    "Sin": lambda x: x.sin(),
    "Cos": lambda x: x.cos(),
    "Tan": lambda x: md.tan(x),
    "Tanh": lambda x: x.tanh(),
    "Sigmoid": lambda x: x.sigmoid(),
    "LogSigmoid": lambda x: F.logsigmoid(x),
    "Erf": lambda x: md.erf(x),
    "Step": lambda x: md.floor(x),
    "Relu": lambda x: F.relu(x),
    "LeakyRelu": lambda x: F.leaky_relu(x, 0.1),
    "PRelu": lambda x, w: ops.activation.PRelu.apply(x, w),
    "Elu": lambda x: F.elu(x, 0.7),
    "Gelu": lambda x: F.gelu(x),
    "Silu": lambda x: F.silu(x),
    "Softplus": lambda x: F.softplus(x, 2.0),
    "Hardtanh": lambda x: F.hardtanh(x, -0.5, 0.5),
    "Hardsigmoid": lambda x: F.hardsigmoid(x),
    "Hardswish": lambda x: F.hardswish(x),
    "Mish": lambda x: F.mish(x),
    "Clamp": lambda x: x.clamp(-0.5, 0.5),
    "Maximum": lambda a, b: md.maximum(a, b),
    "Minimum": lambda a, b: md.minimum(a, b),
    "Where": lambda a, b: md.where(a > 0, a, b),
    "Masked": lambda x: ops.common.masked(x, x.data > 0),
    "Clone": lambda x: x.clone(),
    "Cast": lambda x: x.to(md.float32),
    "Move": None,  # between devices
    "SmoothL1": lambda a, b: F.smooth_l1_loss(a, b, reduction="none", beta=0.5),
    "BinaryCrossEntropy": lambda x, t: F.binary_cross_entropy(
        x.sigmoid(), t.detach().sigmoid(), reduction="none"
    ),
    "BinaryCrossEntropyWithLogits": lambda x, t: F.binary_cross_entropy_with_logits(
        x, t.detach().sigmoid(), reduction="none"
    ),
}


def test_every_formula_has_a_call():
    assert set(CALLS) == set(EACH)


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call])
def test_a_formula_gives_the_operations_value_and_gradients(name):
    call = CALLS[name]
    count = call.__code__.co_argcount
    rng = np.random.default_rng(5)
    given = [md.tensor(rng.normal(size=9), requires_grad=True) for _ in range(count)]
    with md.record() as tape:
        y = call(*given)
        y.backward(md.tensor(rng.normal(size=9), dtype=y.dtype))
    steps = [s for s in tape._steps if s.operation.name == name]
    forward, backward = steps[0], steps[-1]
    operation = forward.operation
    tolerance = 1e-5 if name == "Cast" else 1e-9
    for i in range(9):
        numbers = {k: v for k, v in operation.parameters.items() if isinstance(v, (int, float))}
        for argument in operation.inputs:
            numbers[argument.name] = float(argument.value.sample.values[i])
        numbers["y"] = float(operation.outputs[0].sample.values[i])
        formula = EACH[name]
        assert value_of(formula.forward, numbers) == pytest.approx(numbers["y"], rel=tolerance)
        numbers["dy"] = float(backward.given[0].values[i])
        for argument, made in zip(operation.inputs, backward.made, strict=True):
            if made is not None:
                slope = value_of(formula.backward[argument.name], numbers)
                assert slope == pytest.approx(float(made.values[i]), rel=tolerance, abs=1e-12)


def test_an_unknown_operation_shows_what_it_says_of_itself():
    class Cube(md.Function):
        """x^3.    d/dx = 3 x^2

        Longer explanations are left out.
        """

    class Silent(md.Function):
        pass

    Silent.__doc__ = None
    assert formula_of(Operation(Cube, "", "", [], [])).forward == "x^3. d/dx = 3 x^2"
    assert formula_of(Operation(Silent, "", "", [], [])).forward == "Silent"


def test_strides_padding_and_dilation_are_put_into_the_formula():
    with md.record() as tape:
        F.conv2d(md.ones(1, 1, 9, 9), md.ones(1, 1, 3, 3), None, (2, 1), (1, 0), (1, 2))
    text = formula_of(tape._steps[0].operation).forward
    assert text == "y[n, o, i, j] = Σ over c, k, l of w[o, c, k, l] · x[n, c, 2·i + k − 1, j + 2·l]"
