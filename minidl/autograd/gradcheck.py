"""Gradients checked against differences, to first and second order.

The gradient of an operation f is a promise about every small step: for any direction v and any
cotangent u, <u, f(x + h v) - f(x - h v)> / 2h must equal <v, J^T u>, where J^T u is what `backward`
returns. Both v and u are random here. An all-ones u would prove nothing for softmax or
BatchNorm, whose outputs have a constant sum: its derivative is 0, and so is that of a backward that
returns zeros.

Each input is checked along its own direction, so that errors in two inputs cannot cancel. Only
when a check fails is the gradient compared entry by entry, for the report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend import of
from .engine import grad
from .modes import enable_grad, no_grad
from .tensor import Tensor, wrap

__all__ = ["GradcheckError", "NonDifferentiableError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """The analytic gradient is not the derivative; the message holds the report."""


class NonDifferentiableError(GradcheckError):
    """The function has a kink or a jump at the point of the check: choose another point."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-7,
    rtol: float = 1e-5,
    trials: int = 2,
    seed: int = 0,
    raise_exception: bool = True,
) -> bool:
    """Check the gradients of `func` at `inputs` against central differences.

    Args:
        func: takes `inputs`, returns a Tensor or a sequence of them; must give the same result
            each time (seed its random numbers inside).
        inputs: arguments; those that are Tensors with `requires_grad` are checked, in float64.
        eps: the length of a step, in units of the input.
        atol, rtol: the difference allowed, relative to the size of the terms that are added up.
        trials: how many random directions and cotangents are tried for each input.
        seed: where the random directions come from.
        raise_exception: raise, or return False.

    Returns:
        True if every check holds.

    Raises:
        GradcheckError: a gradient is wrong. The report says which input, which index, the analytic
            and the numeric value and their ratio.
        NonDifferentiableError: the point is on (or within `eps` of) a kink.
        ValueError: an input is not float64, or nothing requires a gradient.
    """
    try:
        _check(func, _as_list(inputs), eps, atol, rtol, trials, seed, "gradcheck")
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-7,
    rtol: float = 1e-5,
    trials: int = 2,
    seed: int = 0,
    raise_exception: bool = True,
) -> bool:
    """Check the second derivatives: `gradcheck` of the gradient itself.

    The gradient is a function of the inputs and of the cotangents; it is checked in both.

    Args:
        grad_outputs: the cotangents at which to check; default: random ones.

    Other arguments, result and errors are those of `gradcheck`.
    """
    arguments = _as_list(inputs)
    outputs = [out for out in _as_list(func(*arguments)) if out.requires_grad]
    if not outputs:
        raise ValueError("gradgradcheck: no output requires a gradient")
    rng = np.random.default_rng(seed + 1)
    if grad_outputs is None:
        cotangents = [_random_like(out, rng) for out in outputs]
    else:
        cotangents = [g.detach() for g in _as_list(grad_outputs)]
    for g in cotangents:
        g.requires_grad_()
    count = len(arguments)

    def gradient(*everything: Any) -> tuple[Tensor, ...]:
        arguments, cotangents = everything[:count], everything[count:]
        wanted = [x for x in arguments if _is_variable(x)]
        with enable_grad():
            results = [out for out in _as_list(func(*arguments)) if out.requires_grad]
            found = grad(results, wanted, list(cotangents), create_graph=True, allow_unused=True)
        return tuple([g for g in found if g is not None])

    try:
        _check(gradient, [*arguments, *cotangents], eps, atol, rtol, trials, seed, "gradgradcheck")
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(
    func: Callable[..., Any],
    inputs: list[Any],
    eps: float,
    atol: float,
    rtol: float,
    trials: int,
    seed: int,
    title: str,
) -> None:
    variables = [i for i, x in enumerate(inputs) if _is_variable(x)]
    if not variables:
        raise ValueError(f"{title}: no input is a tensor with requires_grad=True")
    for i in variables:
        if inputs[i].dtype != np.float64:
            raise ValueError(
                f"{title}: input {i} is {inputs[i].dtype}; differences of steps as small as {eps} "
                "need float64"
            )
    rng = np.random.default_rng(seed)

    with enable_grad():
        outputs = _as_list(func(*inputs))
    smooth = [k for k, out in enumerate(outputs) if isinstance(out, Tensor) and out.requires_grad]
    if not smooth:
        # Nothing claims to depend on the inputs: legal only if nothing does.
        smooth = [k for k, out in enumerate(outputs) if isinstance(out, Tensor)]
    _check_repeatable(func, inputs, outputs, smooth, title)

    for _ in range(trials):
        cotangents = [_random_like(outputs[k], rng) for k in smooth]

        def along(points: list[Any], u: list[Tensor] = cotangents) -> float:
            """<u, f(points)>"""
            with no_grad():
                results = _as_list(func(*points))
            return sum(_dot(g, results[k]) for g, k in zip(u, smooth, strict=True))

        differentiable = [
            (k, g) for k, g in zip(smooth, cotangents, strict=True) if outputs[k].requires_grad
        ]
        analytic: Sequence[Tensor | None] = [None] * len(variables)
        if differentiable:
            analytic = grad(
                [outputs[k] for k, _ in differentiable],
                [inputs[i] for i in variables],
                [g for _, g in differentiable],
                retain_graph=True,
                allow_unused=True,
            )
        for i, a in zip(variables, analytic, strict=True):
            if a is None:
                a = wrap(of(inputs[i].data).xp.zeros_like(inputs[i].data))
            if a.shape != inputs[i].shape:
                raise GradcheckError(
                    f"{title}: the gradient of input {i} has shape {a.shape}, not {inputs[i].shape}"
                )
            direction = _random_like(inputs[i], rng)
            expected, size = _slope(along, inputs, i, direction, eps, title)
            found = _dot(a, direction)
            if not abs(found - expected) <= atol * max(size, 1.0) + rtol * size:
                report = _report(along, inputs, i, a, eps, found, expected, title)
                raise GradcheckError(report)


def _slope(
    along: Callable[[list[Any]], float],
    inputs: list[Any],
    i: int,
    direction: Tensor,
    eps: float,
    title: str,
) -> tuple[float, float]:
    """The derivative of `along` in `direction` of input i by differences, and its scale."""
    here = along(inputs)
    ahead = along(_moved(inputs, i, direction, eps))
    behind = along(_moved(inputs, i, direction, -eps))
    right, left = (ahead - here) / eps, (here - behind) / eps
    size = max(abs(right), abs(left))
    if abs(right - left) > 1e-4 * max(size, 1e-3):
        # Curvature, or a kink? Slopes on both sides of a smooth point differ in proportion to the
        # step; beyond a kink they differ by the same amount whatever the step.
        gaps = []
        for step in (8 * eps, 64 * eps):
            ahead_far = along(_moved(inputs, i, direction, step))
            behind_far = along(_moved(inputs, i, direction, -step))
            gaps.append(abs((ahead_far - here) - (here - behind_far)) / step)
        if gaps[1] < 3 * gaps[0]:
            raise NonDifferentiableError(_kink_report(along, inputs, i, eps, right, left, title))
    return (ahead - behind) / (2 * eps), size


def _moved(inputs: list[Any], i: int, direction: Tensor, step: float) -> list[Any]:
    moved = wrap(inputs[i].data + direction.data * step)
    moved.requires_grad = True  # a gradient taken inside `func` must see it as a variable
    return [*inputs[:i], moved, *inputs[i + 1 :]]


def _entries(
    along: Callable[[list[Any]], float], inputs: list[Any], i: int, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """The slopes to the right and to the left for every entry of input i, on the host."""
    x = inputs[i]
    host = np.array(of(x.data).to_host(x.data))
    right, left = np.empty_like(host), np.empty_like(host)
    here = along(inputs)
    unit = np.zeros_like(host)
    for index in np.ndindex(host.shape):
        unit[index] = 1.0
        step = Tensor(unit, device=x.device)
        right[index] = (along(_moved(inputs, i, step, eps)) - here) / eps
        left[index] = (here - along(_moved(inputs, i, step, -eps))) / eps
        unit[index] = 0.0
    return right, left


def _report(
    along: Callable[[list[Any]], float],
    inputs: list[Any],
    i: int,
    analytic: Tensor,
    eps: float,
    found: float,
    expected: float,
    title: str,
) -> str:
    right, left = _entries(along, inputs, i, eps)
    numeric = (right + left) / 2
    values = of(analytic.data).to_host(analytic.data)
    error = np.abs(values - numeric)
    error = np.where(np.isnan(error), np.inf, error)
    lines = [
        f"{title}: the gradient of input {i}, shape {inputs[i].shape}, is wrong: along a random "
        f"direction it is {found:.6g}, differences give {expected:.6g}"
    ]
    if error.size == 0:
        return lines[0]
    wrong = int((error > 1e-4 * max(float(np.abs(numeric).max()), 1e-3)).sum())
    lines.append(f"{wrong} of {error.size} entries differ; the worst:")
    lines.append(f"{'index':>16} {'analytic':>14} {'numeric':>14} {'ratio':>10}")
    for flat in np.argsort(-error, axis=None)[: min(5, max(wrong, 1))]:
        index = tuple(int(k) for k in np.unravel_index(flat, error.shape))
        a, n = float(values[index]), float(numeric[index])
        ratio = f"{a / n:10.4f}" if abs(n) > 1e-12 else "         -"
        lines.append(f"{index!s:>16} {a:14.6g} {n:14.6g} {ratio}")
    return "\n".join(lines)


def _kink_report(
    along: Callable[[list[Any]], float],
    inputs: list[Any],
    i: int,
    eps: float,
    right: float,
    left: float,
    title: str,
) -> str:
    message = (
        f"{title}: not differentiable at this point in input {i}, shape {inputs[i].shape}: the "
        f"slope is {right:.6g} to one side and {left:.6g} to the other"
    )
    rights, lefts = _entries(along, inputs, i, eps)
    gap = np.abs(rights - lefts)
    if gap.size and float(gap.max()) > 1e-4:
        index = tuple(int(k) for k in np.unravel_index(int(gap.argmax()), gap.shape))
        value = float(of(inputs[i].data).to_host(inputs[i].data)[index])
        message += f"; largest at index {index}, where the value is {value:.6g}"
    return message + "; choose inputs away from ties and kinks"


def _check_repeatable(
    func: Callable[..., Any], inputs: list[Any], outputs: list[Any], smooth: list[int], title: str
) -> None:
    with enable_grad():
        again = _as_list(func(*inputs))
    for k in smooth:
        first, second = outputs[k].data, again[k].data
        same = first.shape == second.shape
        # (NaN is not equal to itself)
        if not same or not bool(((first == second) | (first != first)).all()):
            raise GradcheckError(
                f"{title}: output {k} differs between two calls with the same inputs; seed the "
                "random numbers inside the function"
            )


def _random_like(x: Tensor, rng: np.random.Generator) -> Tensor:
    return Tensor(rng.standard_normal(x.shape), device=x.device)


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a.data * b.data).sum())


def _is_variable(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _as_list(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (list, tuple)) else [x]
