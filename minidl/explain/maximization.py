"""Activation maximisation: the picture a unit would most like to see.

Erhan, Bengio, Courville and Vincent, "Visualizing higher-layer features of a deep network", 2009:
gradient ascent on the picture. By itself it finds noise; what makes pictures of it is regularised
here as by Yosinski et al., "Understanding neural networks through deep visualization", 2015 (decay
towards grey, and blur), and by moving the picture a little before each step (Mordvintsev, Olah and
Tyka, "Inceptionism", 2015).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import Tensor, enable_grad, grad, no_grad
from ..backend.random import host_generator
from ..nn import Module
from ..nn import functional as F
from ..nn.modes import eval_mode
from ..ops.shape import roll
from .common import outputs_of, the_output

__all__ = ["activation_maximization"]

Unit = int | tuple[int, int, int]


def activation_maximization(
    model: Module,
    layer: str,
    units: Unit | Sequence[Unit],
    shape: Sequence[int],
    *,
    steps: int = 200,
    lr: float = 0.1,
    decay: float = 0.01,
    blur: float = 0.5,
    blur_every: int = 4,
    jitter: int = 2,
    bounds: tuple[float, float] | None = None,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """Pictures that excite units of a layer, by gradient ascent from faint noise.

    Args:
        model: the network; 0 should be its grey, as where pictures are normalised.
        layer: the path of a module that gives (N, K) or maps (N, K, h, w); "": the scores.
        units: one or several: k, of maps the mean of map k; or (k, i, j), its unit in row i and
            column j.
        shape: (C, H, W) of a picture.
        steps: of ascent.
        lr: the root of the mean square by which a step changes a picture.
        decay: the part of a picture that each step takes away.
        blur: standard deviation of the Gaussian, in pixels; 0: none.
        blur_every: steps from one blur to the next.
        jitter: the most pixels by which a picture is moved, in each direction, before a step.
        bounds: the smallest and largest pixel allowed; None: any.
        generator: draws noise and movements; default: minidl's own.

    Returns:
        (units, C, H, W), on the model's device.

    Raises:
        AttributeError: the model has no such module.
        TypeError: it does not give a tensor.
        ValueError: it has no such unit, or does not run once.
    """
    chosen: list[Any] = [units] if isinstance(units, int) or _is_place(units) else [*units]
    if not chosen or len(shape) != 3:
        raise ValueError(
            f"activation_maximization: needs units and the shape (C, H, W) of a picture, got "
            f"{units} and {tuple(shape)}"
        )
    rng = host_generator() if generator is None else generator
    like = next(iter(model.parameters()))
    noise = 0.01 * rng.standard_normal((len(chosen), *shape), np.float32)
    x = Tensor(noise, device=like.device).to(like.dtype)
    with eval_mode(model):
        for step in range(steps):
            move = tuple(int(n) for n in rng.integers(-jitter, jitter + 1, 2))
            leaf = roll(x, move, (2, 3)).requires_grad_()
            with enable_grad(), outputs_of(model, layer) as outputs:
                model(leaf)
                answer = the_output("activation_maximization", layer, outputs[layer])
                goals = [_answer(answer[n], unit, layer) for n, unit in enumerate(chosen)]
                (slope,) = grad(goals, leaf)
            assert slope is not None
            with no_grad():
                slope = roll(slope, (-move[0], -move[1]), (2, 3))
                length = (slope**2).mean((1, 2, 3), keepdim=True).sqrt()
                x = (1.0 - decay) * x + lr * slope / length.clamp(min=1e-12)
                if blur and (step + 1) % blur_every == 0:
                    x = _blurred(x, blur)
                if bounds is not None:
                    x = x.clamp(*bounds)
    return x


def _is_place(units: object) -> bool:
    return isinstance(units, tuple) and len(units) == 3 and all(isinstance(n, int) for n in units)


def _answer(output: Tensor, unit: Unit, layer: str) -> Tensor:
    """What a unit answers; `output` is what its layer gives for one picture, (K,) or (K, h, w)."""
    place = (unit,) if isinstance(unit, int) else unit
    sizes = output.shape[: len(place)]
    if output.ndim not in (1, 3) or len(place) not in (1, output.ndim):
        sizes = ()
    if not sizes or not all(0 <= i < n for i, n in zip(place, sizes, strict=True)):
        raise ValueError(
            f"activation_maximization: {layer!r} gives {output.shape} for a picture, which has no "
            f"unit {unit}"
        )
    return output[place].mean()


def _blurred(x: Tensor, deviation: float) -> Tensor:
    """Gaussian blur, along the columns and then along the rows; the border is repeated."""
    radius = max(1, math.ceil(3 * deviation))
    bell = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    kernel = Tensor(bell / bell.sum(), device=x.device).to(x.dtype)
    channels = x.shape[1]
    down = kernel.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1)
    x = F.pad(x, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(x, down, groups=channels), down.transpose(2, 3), groups=channels)
