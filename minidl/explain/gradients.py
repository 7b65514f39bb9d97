"""Which pixels count: the gradient of a class's score with respect to the picture, and relatives.

    saliency               dS/dx                                    Simonyan et al. 2013
    input_x_gradient       x dS/dx                                  Shrikumar et al. 2016
    smoothgrad             mean of dS/dx over noisy copies of x     Smilkov et al. 2017
    integrated_gradients   (x - x') mean of dS/dx from x' to x      Sundararajan et al. 2017
    deconvnet              dS/dx, ReLUs pass dy where dy > 0        Zeiler and Fergus 2014
    guided_backprop        dS/dx, ... where dy > 0 and y > 0        Springenberg et al. 2015

S is the score before softmax. The last two are no gradients of anything: they show what the network
saw, but hardly depend on the class (Adebayo et al., "Sanity checks for saliency maps", 2018).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, enable_grad, grad
from ..autograd.tensor import wrap
from ..backend import of
from ..backend.random import host_generator
from ..nn import Module
from ..nn.modes import eval_mode
from ..ops.activation import Relu
from ..ops.creation import zeros_like
from .common import Target, as_input, class_scores, classes_of, graph

__all__ = [
    "deconvnet",
    "guided_backprop",
    "input_x_gradient",
    "integrated_gradients",
    "saliency",
    "smoothgrad",
]


def saliency(model: Module, x: Tensor, target: Target = None) -> Tensor:
    """How a class's score changes with each pixel. Simonyan, Vedaldi and Zisserman 2013.

    Args:
        model: a network from x to scores (N, classes).
        x: (N, ...), floating point; pictures are (N, C, H, W).
        target: a class, or (N,) one for each input; None: the class with the best score.

    Returns:
        of the shape of x. The paper's picture is `.abs().amax(1)`, (N, H, W).

    Raises:
        TypeError: x is not a tensor of floating-point numbers.
        ValueError: x is no batch, the model's output no scores, or the target no class of theirs.
    """
    return _explain("saliency", model, x, target)


def input_x_gradient(model: Module, x: Tensor, target: Target = None) -> Tensor:
    """The gradient times the input: of a linear network, what each pixel adds to the score.

    Shrikumar, Greenside, Shcherbina and Kundaje, "Not just a black box", 2016. Arguments, result
    and errors as `saliency`.
    """
    return _explain("input_x_gradient", model, x, target) * x.detach()


def smoothgrad(
    model: Module,
    x: Tensor,
    target: Target = None,
    *,
    samples: int = 50,
    noise: float = 0.15,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """The mean gradient over copies of the input with noise. Smilkov et al. 2017.

    Args:
        model, x, target: as `saliency`; the best score is that without noise.
        samples: copies.
        noise: standard deviation, in parts of the range from each input's smallest number to its
            largest (section 3.2).
        generator: draws the noise; default: minidl's own.

    Returns:
        of the shape of x.

    Raises:
        TypeError, ValueError: as `saliency`, or no samples.
    """
    _at_least_one("smoothgrad", "samples", samples)
    rng = host_generator() if generator is None else generator
    clean = as_input("smoothgrad", x).detach()
    with eval_mode(model):
        classes = classes_of("smoothgrad", model, clean, target)
        axes = tuple(range(1, x.ndim))
        deviation = (clean.amax(axes, keepdim=True) - clean.amin(axes, keepdim=True)) * noise
        total = zeros_like(clean)
        for _ in range(samples):
            drawn = Tensor(rng.standard_normal(x.shape, np.float32), device=x.device).to(x.dtype)
            total = total + _gradient("smoothgrad", model, clean + drawn * deviation, classes)
    return total / samples


def integrated_gradients(
    model: Module,
    x: Tensor,
    target: Target = None,
    *,
    baseline: Tensor | float = 0.0,
    steps: int = 50,
) -> Tensor:
    """The gradients on the straight way from a baseline, summed. Sundararajan et al. 2017.

    Complete: over all pixels they add up to the score of x less that of the baseline (proposition
    1), as exactly as so many steps tell; they are taken in the middle of each.

    Args:
        model, x, target: as `saliency`.
        baseline: a picture without anything to see: a number, or a tensor that broadcasts to x.
            (Black is not 0 where pictures are normalised.)
        steps: gradients.

    Returns:
        of the shape of x.

    Raises:
        TypeError, ValueError: as `saliency`, no steps, or a baseline that does not fit.
    """
    _at_least_one("integrated_gradients", "steps", steps)
    end = as_input("integrated_gradients", x).detach()
    way = end - baseline
    if way.shape != end.shape:
        raise ValueError(
            f"integrated_gradients: the baseline does not broadcast to the input {end.shape}: "
            f"their difference is {way.shape}"
        )
    with eval_mode(model):
        classes = classes_of("integrated_gradients", model, end, target)
        total = zeros_like(end)
        for step in range(steps):
            point = end - way * (1.0 - (step + 0.5) / steps)
            total = total + _gradient("integrated_gradients", model, point, classes)
    return way * total / steps


class _DeconvRelu(Relu):
    """Backward: the ReLU of what comes from above, whatever the forward pass saw."""

    def backward(self, grad: Tensor) -> Any:
        return wrap(of(grad.data).relu(grad.data))


class _GuidedRelu(Relu):
    """Backward: the ReLU of what comes from above, where the forward pass gave y > 0."""

    def backward(self, grad: Tensor) -> Any:
        return super().backward(wrap(of(grad.data).relu(grad.data)))


def deconvnet(model: Module, x: Tensor, target: Target = None) -> Tensor:
    """The score sent back down through a "deconvolutional network". Zeiler and Fergus 2014.

    That network is the backward pass (transposed convolutions; unpooling to where the maxima were)
    but at the ReLUs, which rectify what comes down. Arguments and result as `saliency`.

    Raises:
        TypeError, ValueError: as `saliency`, or no ReLU between input and score.
    """
    return _explain("deconvnet", model, x, target, _DeconvRelu)


def guided_backprop(model: Module, x: Tensor, target: Target = None) -> Tensor:
    """The backward pass without what would lower the units. Springenberg et al. 2015, figure 1.

    A ReLU passes what a gradient and what a deconvnet would both pass. Times an enlarged `grad_cam`
    it is "Guided Grad-CAM". Arguments, result and errors as `deconvnet`.
    """
    return _explain("guided_backprop", model, x, target, _GuidedRelu)


def _explain(
    name: str, model: Module, x: Tensor, target: Target, rule: type[Relu] | None = None
) -> Tensor:
    leaf = as_input(name, x)
    with eval_mode(model):
        classes = classes_of(name, model, leaf.detach(), target)
        return _gradient(name, model, leaf, classes, rule)


def _gradient(
    name: str, model: Module, x: Tensor, classes: np.ndarray, rule: type[Relu] | None = None
) -> Tensor:
    """The gradient of the classes' scores; a sum over the batch, whose inputs do not mix."""
    leaf = x.detach().requires_grad_()
    with enable_grad():
        total = class_scores(name, model, leaf, classes).sum()
    if rule is not None:
        relus = [node for node in graph(total) if type(node) is Relu]
        if not relus:
            raise ValueError(f"{name}: there is no ReLU in the model: it would be the gradient")
        for node in relus:
            node.__class__ = rule  # of this pass only: a node lives for one
    (found,) = grad(total, leaf)
    assert found is not None
    return found


def _at_least_one(name: str, what: str, count: int) -> None:
    if count < 1:
        raise ValueError(f"{name}: {what} must be at least 1, got {count}")
