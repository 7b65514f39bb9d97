"""The formulas of the page.

In those of EACH, which hold for each element by itself, the page puts numbers in the place of
{names}: the operation's arguments, its result {y}, and {dy}, the gradient of the result. [a > b] is
1 where it is true, else 0. The others are only shown; their numbers page/formula.js puts together
from the cells of the relation. ∂x is short for the gradient of the loss with respect to x.
"""

from __future__ import annotations

from typing import NamedTuple

from .tape import Operation

__all__ = ["EACH", "argument_name", "formula_of", "title_of"]


class Formula(NamedTuple):
    """What an operation computes, and the gradients of its arguments by their names."""

    forward: str
    backward: dict[str, str]


def _of_x(forward: str, slope: str) -> Formula:
    """A function of x alone, with its derivative."""
    return Formula(forward, {"x": f"{{dy}} · {slope}" if slope else "{dy}"})


EACH = {
    # arithmetic
    "Add": Formula("{a} + {b}", {"a": "{dy}", "b": "{dy}"}),
    "Sub": Formula("{a} − {b}", {"a": "{dy}", "b": "−{dy}"}),
    "Mul": Formula("{a} · {b}", {"a": "{dy} · {b}", "b": "{dy} · {a}"}),
    "Div": Formula("{a} / {b}", {"a": "{dy} / {b}", "b": "−{dy} · {y} / {b}"}),
    "Neg": Formula("−{a}", {"a": "−{dy}"}),
    "Square": _of_x("{x}²", "2 · {x}"),
    "Reciprocal": _of_x("1 / {x}", "(−{y}²)"),
    "PowScalar": _of_x("{x}^{n}", "{n} · {x}^({n} − 1)"),
    "Pow": Formula("{a}^{b}", {"a": "{dy} · {b} · {a}^({b} − 1)", "b": "{dy} · {y} · log {a}"}),
    "Remainder": Formula("{a} − {b} · ⌊{a} / {b}⌋", {"a": "{dy}", "b": "−{dy} · ⌊{a} / {b}⌋"}),
    # functions of one number
    "Exp": _of_x("e^{x}", "{y}"),
    "Expm1": _of_x("e^{x} − 1", "({y} + 1)"),
    "Log": _of_x("log {x}", "1 / {x}"),
    "Log2": _of_x("log₂ {x}", "1 / ({x} · log 2)"),
    "Log10": _of_x("log₁₀ {x}", "1 / ({x} · log 10)"),
    "Log1p": _of_x("log(1 + {x})", "1 / (1 + {x})"),
    "Sqrt": _of_x("√{x}", "1 / (2 · {y})"),
    "Rsqrt": _of_x("1 / √{x}", "(−{y}³ / 2)"),
    "Abs": _of_x("|{x}|", "sign({x})"),
    "Sin": _of_x("sin({x})", "cos({x})"),
    "Cos": _of_x("cos({x})", "(−sin({x}))"),
    "Tan": _of_x("tan({x})", "(1 + {y}²)"),
    "Tanh": _of_x("tanh({x})", "(1 − {y}²)"),
    "Sigmoid": _of_x("1 / (1 + e^(−{x}))", "{y} · (1 − {y})"),
    "LogSigmoid": _of_x("−log(1 + e^(−{x}))", "1 / (1 + e^{x})"),
    "Erf": _of_x("erf({x})", "2 / √π · e^(−{x}²)"),
    "Step": _of_x("step({x})", "0"),
    # activations
    "Relu": _of_x("max({x}, 0)", "[{x} > 0]"),
    "LeakyRelu": _of_x("max({x}, 0) + {slope} · min({x}, 0)", "([{x} > 0] + {slope} · [{x} ≤ 0])"),
    "PRelu": Formula(
        "max({x}, 0) + {w} · min({x}, 0)",
        {"x": "{dy} · ([{x} > 0] + {w} · [{x} ≤ 0])", "w": "{dy} · min({x}, 0)"},
    ),
    "Elu": _of_x(
        "{scale} · (max({x}, 0) + {alpha} · (e^min({x}, 0) − 1))",
        "{scale} · ([{x} > 0] + {alpha} · e^{x} · [{x} ≤ 0])",
    ),
    "Gelu": _of_x("{x} · Φ({x})", "(Φ({x}) + {x} · φ({x}))"),
    "Silu": _of_x("{x} · σ({x})", "σ({x}) · (1 + {x} · (1 − σ({x})))"),
    "Softplus": _of_x("log(1 + e^({beta} · {x})) / {beta}", "σ({beta} · {x})"),
    "Hardtanh": _of_x("min(max({x}, {low}), {high})", "[{low} < {x} < {high}]"),
    "Hardsigmoid": _of_x("min(max({x} + 3, 0), 6) / 6", "[−3 < {x} < 3] / 6"),
    "Hardswish": _of_x(
        "{x} · min(max({x} + 3, 0), 6) / 6", "([{x} ≥ 3] + ({x} / 3 + 1/2) · [−3 < {x} < 3])"
    ),
    "Mish": _of_x(
        "{x} · tanh(log(1 + e^{x}))",
        "(tanh(log(1 + e^{x})) + {x} · (1 − tanh(log(1 + e^{x}))²) · σ({x}))",
    ),
    "Clamp": _of_x("min(max({x}, {low}), {high})", "[{low} ≤ {x} ≤ {high}]"),
    # choice
    "Maximum": Formula(
        "max({a}, {b})",
        {
            "a": "{dy} · ([{a} > {b}] + [{a} = {b}] / 2)",
            "b": "{dy} · ([{b} > {a}] + [{a} = {b}] / 2)",
        },
    ),
    "Minimum": Formula(
        "min({a}, {b})",
        {
            "a": "{dy} · ([{a} < {b}] + [{a} = {b}] / 2)",
            "b": "{dy} · ([{b} < {a}] + [{a} = {b}] / 2)",
        },
    ),
    "Where": Formula(
        "{mask} · {a} + (1 − {mask}) · {b}", {"a": "{dy} · {mask}", "b": "{dy} · (1 − {mask})"}
    ),
    "Masked": Formula("{x} · {mask}", {"x": "{dy} · {mask}"}),
    "Clone": _of_x("{x}", ""),
    "Cast": _of_x("{x}", ""),
    "Move": _of_x("{x}", ""),
    # losses, before they are averaged
    "SmoothL1": Formula(
        "[|{d}| < {beta}] · {d}² / (2 · {beta}) + [|{d}| ≥ {beta}] · (|{d}| − {beta} / 2)",
        {"d": "{dy} · min(max({d} / {beta}, −1), 1)"},
    ),
    "BinaryCrossEntropy": Formula(
        "−({t} · log {x} + (1 − {t}) · log(1 − {x}))",
        {"x": "{dy} · ({x} − {t}) / ({x} · (1 − {x}))"},
    ),
    "BinaryCrossEntropyWithLogits": Formula(
        "max({x}, 0) − {x} · {t} + log(1 + e^(−|{x}|))",
        {"x": "{dy} · (σ({x}) − {t})", "t": "{dy} · (−{x})"},
    ),
}

WHOLE = {
    "Conv": Formula(
        "y[n, o, i, j] = {b[o]}Σ over c, k, l of w[o, c, k, l] · x[n, c, {row}, {column}]",
        {
            "x": "∂x = Σ of ∂y · w over the windows that x lies in",
            "w": "∂w = Σ of ∂y · x over all windows: what this tap found there",
            "b": "∂b = Σ of ∂y over images and pixels",
        },
    ),
    "ConvInputGrad": Formula(
        "y = {b}Σ of copies of the kernel w, each times one x; that of x[i, j] goes to "
        "rows {row} and columns {column}",
        {
            "x": "∂x = Σ of ∂y · w over the window that x was written to",
            "w": "∂w = Σ of ∂y · x over all copies of the kernel",
            "b": "∂b = Σ of ∂y over images and pixels",
        },
    ),
    "MaxPool": Formula(
        "y[n, c, i, j] = the largest x[n, c, {row}, {column}] over the window's k, l",
        {"x": "∂x = Σ of ∂y of the windows whose largest it was"},
    ),
    "PoolScatter": Formula(
        "y[indices] = x: each element goes back to where it was found, zeros elsewhere",
        {"x": "∂x = ∂y[indices]"},
    ),
    "PoolGather": Formula("y = x[indices]", {"x": "∂x[indices] = ∂y, zeros elsewhere"}),
    "Resample": Formula(
        "y = A x Bᵀ for each plane: Σ of weights times x over the rows and columns of a window",
        {"x": "∂x = Aᵀ ∂y B: the same weights, the other way"},
    ),
    "RoIAlign": Formula(
        "y[k, c, i, j] = the mean of samples in bin (i, j) of box k, interpolated between pixels",
        {"x": "∂x = Σ of ∂y · weight over all bins that x lies near"},
    ),
    "RoIPool": Formula(
        "y[k, c, i, j] = the largest x in bin (i, j) of box k",
        {"x": "∂x = Σ of ∂y of the bins whose largest it was"},
    ),
    "MatMul": Formula(
        "y[i, j] = Σ over k of a[i, k] · b[k, j]", {"a": "∂a = ∂y bᵀ", "b": "∂b = aᵀ ∂y"}
    ),
    "Linear": Formula(
        "y[n, o] = {bias[o]}Σ over k of x[n, k] · weight[o, k]",
        {"x": "∂x = ∂y weight", "weight": "∂weight = ∂yᵀ x", "bias": "∂bias = Σ of ∂y over n"},
    ),
    "Sum": Formula("y = Σ of x over {axes}", {"x": "∂x = ∂y, everywhere"}),
    "Mean": Formula("y = Σ of x over {axes}, divided by their number n", {"x": "∂x = ∂y / n"}),
    "Extreme": Formula(
        "y = the {name} of x over {axes}", {"x": "∂x = ∂y where x = y (equals share it), else 0"}
    ),
    "SumOverPixels": Formula("y[c] = Σ of x over images and pixels", {"x": "∂x = ∂y"}),
    "Softmax": Formula("{softmax}", {"x": "{softmax gradient}"}),
    "CrossEntropy": Formula(
        "y = the {reduction} over n of −log p[n, target[n]], with p = softmax(x)",
        {"x": "∂x[n, c] = (p[n, c] − [c = target[n]]) · ∂y{rows}"},
    ),
    "BatchNorm": Formula(
        "y = weight · x̂ + bias,  x̂ = (x − mean) / deviation of each channel{ceiling}",
        {
            "x": "∂x = weight / deviation · (∂y − mean of ∂y − x̂ · mean of ∂y x̂)",
            "weight": "∂weight = Σ of ∂y · x̂",
            "bias": "∂bias = Σ of ∂y",
        },
    ),
    "GroupNorm": Formula(
        "y = weight · x̂ + bias,  x̂ = (x − mean) / deviation of each group of channels",
        {
            "x": "∂x = (h − mean of h − x̂ · mean of h x̂) / deviation,  h = weight · ∂y",
            "weight": "∂weight = Σ of ∂y · x̂",
            "bias": "∂bias = Σ of ∂y",
        },
    ),
    "ChannelAffine": Formula(
        "y[n, c, l] = scale[c] · x[n, c, l] + shift[c]",
        {"x": "∂x = scale · ∂y", "scale": "∂scale = Σ of x · ∂y", "shift": "∂shift = Σ of ∂y"},
    ),
    "Dropout": Formula(
        "y = {scale} · x where the mask is true, else 0", {"x": "∂x = the same of ∂y"}
    ),
    "Reshape": Formula(
        "y = the elements of x, row by row, in another shape", {"x": "∂x = ∂y, back"}
    ),
    "Permute": Formula("y = x with its axes in the order {dims}", {"x": "∂x = ∂y, back"}),
    "Slice": Formula("y = a part of x", {"x": "∂x = ∂y in that part, 0 elsewhere"}),
    "Pad": Formula("y = x with margins around it", {"x": "∂x = ∂y without the margins"}),
    "Cat": Formula("y = the inputs, one after another", {}),
    "Stack": Formula("y = the inputs, side by side along a new axis", {}),
}

TITLES = {
    "Conv": "convolution",
    "ConvInputGrad": "transposed convolution",
    "MaxPool": "max-pooling",
    "PoolScatter": "max-unpooling",
    "Resample": "weighted windows: average pooling, unpooling, resizing",
    "Linear": "fully connected layer",
    "MatMul": "matrix product",
    "CrossEntropy": "loss of a classification",
    "Extreme": "largest or smallest",
}


def title_of(operation: Operation) -> str:
    """What the operation is called beside its name in the code; often nothing."""
    return TITLES.get(operation.name, "")


def argument_name(operation: Operation, name: str) -> str:
    """The name of an argument on the page: transposed convolution calls its input g in the code."""
    return "x" if operation.name == "ConvInputGrad" and name == "g" else name


def formula_of(operation: Operation) -> Formula:
    """The formulas of an operation; of one that is not known, what its class says of itself."""
    name = operation.name
    if name in EACH:
        return EACH[name]
    if name not in WHOLE:
        text = " ".join((operation.function.__doc__ or name).strip().split("\n\n")[0].split())
        return Formula(text, {})
    known = WHOLE[name]
    parts = _parts(operation)
    backward = {k: _filled(text, parts) for k, text in known.backward.items()}
    return Formula(_filled(known.forward, parts), backward)


def _filled(text: str, parts: dict[str, str]) -> str:
    for name, part in parts.items():
        text = text.replace("{" + name + "}", part)
    return text


def _parts(operation: Operation) -> dict[str, str]:
    """The parts of formulas that depend on an operation's parameters."""
    parameters = operation.parameters
    parts: dict[str, str] = {
        name: str(parameters[name])
        for name in ("scale", "dims", "name", "reduction")
        if name in parameters
    }
    if (geometry := parameters.get("geometry")) is not None:
        for word, axis, (o, k) in (("row", 0, "ik"), ("column", 1, "jl")):
            stride, dilation = geometry.stride[axis], geometry.dilation[axis]
            padding = geometry.padding[axis][0]
            text = f"{stride}·{o}" if stride > 1 else o
            text += f" + {dilation}·{k}" if dilation > 1 else f" + {k}"
            parts[word] = text + (f" − {padding}" if padding else "")
    if (axes := parameters.get("axes")) is not None:
        parts["axes"] = f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"
    # Of a layer without a bias the formula has none.
    for name in ("b", "bias"):
        there = any(argument.name == name for argument in operation.inputs)
        parts[name] = f"{name} + " if there else ""
        parts[f"{name}[o]"] = f"{name}[o] + " if there else ""
    if operation.name == "CrossEntropy":
        parts["rows"] = " / number of rows" if parameters["reduction"] == "mean" else ""
    if operation.name == "BatchNorm":
        ceiling = parameters["ceiling"]
        parts["ceiling"] = "" if ceiling is None else ";  then not below 0"
    if operation.name == "Softmax" and parameters["log"]:
        parts["softmax"] = "y_i = x_i − log Σ_j e^(x_j)"
        parts["softmax gradient"] = "∂x_i = ∂y_i − e^(y_i) · Σ_j ∂y_j"
    elif operation.name == "Softmax":
        parts["softmax"] = "y_i = e^(x_i) / Σ_j e^(x_j)"
        parts["softmax gradient"] = "∂x_i = y_i · (∂y_i − Σ_j y_j · ∂y_j)"
    return parts
