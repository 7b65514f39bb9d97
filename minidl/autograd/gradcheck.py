"""Gradients checked against differences, to first and second order.

The gradient of an operation f is a promise about every small step: for any direction v and any
cotangent u, <u, f(x + h v) - f(x - h v)> / 2h must equal <v, J^T u>, where J^T u is what `backward`
returns. Both v and u are random here. An all-ones u would prove nothing for softmax or
BatchNorm, whose outputs have a constant sum: its derivative is 0, and so is that of a backward that
returns zeros.

Each input is checked along its own direction and each output with its own cotangent, so that errors
in two cannot cancel and a small one is not lost beside a large one. Only when a check fails is the
gradient compared entry by entry, for the report.

How good is a difference? With a step h it is off by about h^2 where f curves, and by about
1e-16 f / h because f is rounded. A step of 1e-6 suits numbers near 1. Where the two slopes do not
agree at once, differences are taken with many steps: the right one is where neighbours agree best,
and how far they disagree there is how far it can be trusted (after Ridders, "Accurate computation
of F'(x) and F'(x) F''(x)", 1982).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import of
from .engine import grad
from .modes import enable_grad, no_grad
from .tensor import Tensor, wrap

__all__ = ["GradcheckError", "NonDifferentiableError", "gradcheck", "gradgradcheck"]

EPSILON = 2.0**-52  # of float64
EXAMINED = 256  # entries of an input that a report looks at: each costs two evaluations


class GradcheckError(RuntimeError):
    """The analytic gradient is not the derivative; the message holds the report."""


class NonDifferentiableError(GradcheckError):
    """The function has a kink or a jump at the point of the check: choose another point."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 0.0,
    rtol: float = 1e-5,
    trials: int = 2,
    seed: int = 0,
    raise_exception: bool = True,
) -> bool:
    """Check the gradients of `func` at `inputs` against central differences.

    Args:
        func: takes `inputs`, returns a Tensor or a sequence of them; must give the same result
            each time (seed its random numbers inside). Outputs without a gradient are passed over.
        inputs: arguments; those that are Tensors with `requires_grad` are checked, in float64.
        eps: the length of the first step, in units of the input.
        atol, rtol: how far the two slopes may differ, absolutely and relative to the larger of the
            slopes ahead and behind; beyond that only by what the differences themselves are off.
        trials: how many random directions and cotangents are tried for each input and output.
        seed: where the random directions come from.
        raise_exception: raise, or return False.

    Returns:
        True if every check holds.

    Raises:
        GradcheckError: a gradient is wrong. The report says which input, which index, the analytic
            and the numeric value and their ratio.
        NonDifferentiableError: the point is on (or within `eps` of) a kink, or on a jump.
        ValueError: an input or output is not float64, or nothing requires a gradient.
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
    atol: float = 0.0,
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
    outputs = [out for out in _as_list(func(*arguments)) if _is_variable(out)]
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
            results = [out for out in _as_list(func(*arguments)) if _is_variable(out)]
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
    smooth = [k for k, out in enumerate(outputs) if _is_variable(out)]
    for k in smooth:
        if outputs[k].dtype != np.float64:
            raise ValueError(f"{title}: output {k} is {outputs[k].dtype}, not float64 as the input")
    if not smooth:
        # Nothing claims to depend on the inputs: legal only if nothing does.
        smooth = [k for k, out in enumerate(outputs) if isinstance(out, Tensor)]
    _check_repeatable(func, inputs, outputs, smooth, title)

    for _ in range(trials):
        cotangents = {k: _random_like(outputs[k], rng) for k in smooth}

        def project(points: list[Any], u: dict[int, Tensor] = cotangents) -> dict[int, float]:
            """<u, f(points)> for each output."""
            with no_grad():
                results = _as_list(func(*points))
            return {k: _dot(g, results[k]) for k, g in u.items()}

        here = project(inputs)
        analytic = {k: _gradients(outputs[k], inputs, variables, cotangents[k]) for k in smooth}
        for i in variables:
            ray = _Ray(project, inputs, i, _random_like(inputs[i], rng))
            ahead, behind = ray(eps), ray(-eps)
            for k in smooth:
                a = analytic[k][i]
                if a.shape != inputs[i].shape:
                    raise GradcheckError(
                        f"{title}: the gradient of input {i} has shape {a.shape}, not "
                        f"{inputs[i].shape}"
                    )
                found = _dot(a, ray.direction)
                right, left = (ahead[k] - here[k]) / eps, (here[k] - behind[k]) / eps
                size = max(abs(right), abs(left))
                straight = abs(right - left) <= 1e-4 * size
                if straight and abs(found - (right + left) / 2) <= atol + rtol * size:
                    continue
                terms = _norm(cotangents[k], outputs[k])
                slope = _slope(ray, k, here[k], terms, eps, title)
                if not abs(found - slope.value) <= atol + rtol * slope.size + 4 * slope.error:
                    which = "the gradient of" if len(smooth) == 1 else f"output {k}'s gradient in"
                    which = f"{title}: {which} input {i}"
                    raise GradcheckError(_report(ray, k, a, slope, found, which))


def _gradients(
    output: Tensor, inputs: list[Any], variables: list[int], cotangent: Tensor
) -> dict[int, Tensor]:
    """J^T u of one output for each variable; zeros where it does not depend on it."""
    found: Sequence[Tensor | None] = [None] * len(variables)
    if output.requires_grad:
        wanted = [inputs[i] for i in variables]
        found = grad(output, wanted, cotangent, retain_graph=True, allow_unused=True)
    return {
        i: wrap(of(inputs[i].data).xp.zeros_like(inputs[i].data)) if a is None else a
        for i, a in zip(variables, found, strict=True)
    }


class _Ray:
    """The projected outputs as a function of one number: how far input i is moved along v."""

    def __init__(
        self,
        project: Callable[[list[Any]], dict[int, float]],
        inputs: list[Any],
        i: int,
        direction: Tensor,
    ) -> None:
        self.project, self.inputs, self.i, self.direction = project, inputs, i, direction
        self.input: Tensor = inputs[i]

    def __call__(self, step: float) -> dict[int, float]:
        moved = wrap(self.input.data + self.direction.data * step)
        moved.requires_grad = True  # a gradient taken inside `func` must see it as a variable
        # A tensor that is given twice moves in both places: its gradient is the sum.
        return self.project([moved if x is self.input else x for x in self.inputs])

    def along(self, direction: np.ndarray) -> _Ray:
        """The ray in another direction."""
        moved = Tensor(direction, device=self.input.device)
        return _Ray(self.project, self.inputs, self.i, moved)


@dataclass
class _Slope:
    """The derivative along a ray by differences with one step.

    Attributes:
        step: its length.
        right, left: the slopes ahead and behind.
        noise: how far the rounding of f and of x + h v may put each of them off.
        error: how far `value` may be off.
    """

    step: float
    right: float
    left: float
    noise: float
    error: float = math.inf

    @property
    def value(self) -> float:
        """The central difference."""
        return (self.right + self.left) / 2

    @property
    def size(self) -> float:
        return max(abs(self.right), abs(self.left))

    @property
    def gap(self) -> float:
        return abs(self.right - self.left)


def _slope(ray: _Ray, k: int, here: float, terms: float, eps: float, title: str) -> _Slope:
    """The derivative of output k's projection along the ray, from differences with many steps.

    Args:
        here: the projection at the point itself.
        terms: the length of the vector of terms it is a sum of.

    Raises:
        NonDifferentiableError: the slopes ahead and behind do not approach each other.
    """
    host = of(ray.input.data).to_host(ray.input.data)
    scale = float(np.abs(host).max(initial=0.0))
    power = math.log(scale, 8) if 0 < scale < math.inf else 0.0
    slopes = []
    for n in range(-3 + min(0, math.floor(power)), 5 + max(0, math.ceil(power))):
        step = eps * 8.0**n
        slope = _Slope(step, (ray(step)[k] - here) / step, (here - ray(-step)[k]) / step, 0.0)
        slope.noise = 4 * EPSILON * (terms + slope.size * scale) / step
        slopes.append(slope)
    kink = _kink(slopes, eps)
    if kink is not None:
        raise NonDifferentiableError(_kink_report(ray, k, kink, title))

    for n, slope in enumerate(slopes):
        neighbours = slopes[max(0, n - 1) : n] + slopes[n + 1 : n + 2]
        slope.error = max(abs(slope.value - other.value) for other in neighbours) + slope.noise

    def unsure(slope: _Slope) -> tuple[float, float]:
        relative = _ratio(slope.error, slope.size)
        # A slope of 0 is nowhere certain to a part of itself: the smallest error decides.
        return (relative if relative < 1e-3 else 1.0), _ratio(slope.error, 1.0)

    return min(slopes, key=unsure)


def _kink(slopes: list[_Slope], eps: float) -> float | None:
    """A step that shows that the function has no derivative here; None if it seems to have one."""
    # Beyond a kink the slopes differ by the same amount whatever the step. Where f curves they
    # differ in proportion to it, and by rounding in inverse proportion.
    beyond = [s for s in slopes if eps < s.step < 1000 * eps]
    if all(s.gap > max(1e-4 * s.size, 10 * s.noise) for s in beyond):
        gaps = [s.gap for s in beyond]
        if max(gaps) < 2 * min(gaps):
            return eps
    straightest = min(slopes, key=lambda s: _ratio(s.gap, s.size))
    if not straightest.gap > max(1e-3 * straightest.size, 10 * straightest.noise):
        return None
    # At the bottom of a parabola the slopes are never alike, but vanish with the step.
    smallest = min(slopes, key=lambda s: _ratio(s.gap, 1.0))
    larger = max(s.size for s in slopes if s.step >= smallest.step)
    return straightest.step if smallest.gap > 1e-3 * larger else None


def _ratio(part: float, whole: float) -> float:
    """part / whole; what is not a number is the last in any order."""
    if part == 0:
        return 0.0
    return math.inf if math.isnan(part) or math.isnan(whole) or whole == 0 else part / whole


def _suspects(score: Callable[[np.ndarray], float], shape: tuple[int, ...]) -> np.ndarray:
    """Up to `EXAMINED` entries (flat indices) of an input among which the worst is likely to be.

    `score` says of a direction how wrong the slope along it is. Of two halves of the entries the
    worse is halved again.
    """
    rng = np.random.default_rng(0)
    entries = np.arange(math.prod(shape))
    while len(entries) > EXAMINED:
        halves = np.array_split(entries, 2)
        scores = []
        for half in halves:
            direction = np.zeros(math.prod(shape))
            direction[half] = rng.standard_normal(len(half))
            scores.append(score(direction.reshape(shape)))
        entries = halves[int(scores[1] > scores[0])]
    return entries


def _entries(ray: _Ray, k: int, entries: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """The slopes ahead and behind for some entries (flat indices) of the input."""
    ahead, behind = np.empty(len(entries)), np.empty(len(entries))
    here = ray(0.0)[k]
    unit = np.zeros(ray.input.shape)
    for n, flat in enumerate(entries):
        index = np.unravel_index(flat, unit.shape)
        unit[index] = 1.0
        along = ray.along(unit)
        ahead[n] = (along(step)[k] - here) / step
        behind[n] = (here - along(-step)[k]) / step
        unit[index] = 0.0
    return ahead, behind


def _report(ray: _Ray, k: int, analytic: Tensor, slope: _Slope, found: float, what: str) -> str:
    values = of(analytic.data).to_host(analytic.data)
    lines = [
        f"{what}, shape {ray.input.shape}, is wrong: along a random direction it is {found:.6g}, "
        f"differences give {slope.value:.6g}"
    ]
    if values.size == 0:
        return lines[0]

    def score(direction: np.ndarray) -> float:
        along, step = ray.along(direction), slope.step
        numeric = (along(step)[k] - along(-step)[k]) / (2 * step)
        return _ratio(abs(float((values * direction).sum()) - numeric), 1.0)

    entries = _suspects(score, values.shape)
    ahead, behind = _entries(ray, k, entries, slope.step)
    numeric = (ahead + behind) / 2
    error = np.abs(values.reshape(-1)[entries] - numeric)
    error = np.where(np.isnan(error), np.inf, error)
    wrong = int((error > 1e-4 * np.abs(numeric).max() + 4 * slope.error).sum())
    among = "" if len(entries) == values.size else f" {len(entries)} examined of the"
    lines.append(f"{wrong} of{among} {values.size} entries differ; the worst:")
    lines.append(f"{'index':>16} {'analytic':>14} {'numeric':>14} {'ratio':>10}")
    for n in np.argsort(-error)[: min(5, max(wrong, 1))]:
        index = tuple(int(x) for x in np.unravel_index(entries[n], values.shape))
        a, d = float(values[index]), float(numeric[n])
        ratio = f"{a / d:10.4f}" if d else "         -"
        lines.append(f"{index!s:>16} {a:14.6g} {d:14.6g} {ratio}")
    return "\n".join(lines)


def _kink_report(ray: _Ray, k: int, step: float, title: str) -> str:
    here = ray(0.0)[k]

    def sides(along: _Ray) -> tuple[float, float]:
        return (along(step)[k] - here) / step, (here - along(-step)[k]) / step

    def score(direction: np.ndarray) -> float:
        right, left = sides(ray.along(direction))
        return _ratio(abs(right - left), 1.0)

    right, left = sides(ray)
    message = (
        f"{title}: not differentiable at this point in input {ray.i}, shape {ray.input.shape}: the "
        f"slope is {right:.6g} to one side and {left:.6g} to the other"
    )
    entries = _suspects(score, ray.input.shape)
    ahead, behind = _entries(ray, k, entries, step)
    worst = int(np.abs(ahead - behind).argmax())
    index = tuple(int(x) for x in np.unravel_index(entries[worst], ray.input.shape))
    value = float(of(ray.input.data).to_host(ray.input.data)[index])
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


def _norm(a: Tensor, b: Tensor) -> float:
    """The length of the vector of the products that `_dot` adds up."""
    terms = a.data * b.data
    return math.sqrt(float((terms * terms).sum()))


def _is_variable(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _as_list(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (list, tuple)) else [x]
