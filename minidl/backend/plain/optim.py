"""The update rules of optimisers, on flat arrays, in place.

All arrays of a call are one-dimensional and of one length, dtype and device: many parameters laid
end to end. `grad` is a copy that belongs to the call: it may be overwritten. Hyper-parameters are
Python floats, which leave float32 as it is.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["OptimKernels"]

Array = Any


class OptimKernels:
    """One method a rule; each changes `param` and the state arrays."""

    xp: Any

    def sgd_step(
        self,
        param: Array,
        grad: Array,
        momentum_buffer: Array | None,
        *,
        lr: float,
        momentum: float,
        dampening: float,
        nesterov: bool,
        weight_decay: float,
        maximize: bool,
        first: bool,
    ) -> None:
        """Stochastic gradient descent; `first`: the momentum buffer starts as the gradient."""
        if maximize:
            self.xp.negative(grad, out=grad)
        if weight_decay:
            grad += weight_decay * param
        if momentum_buffer is not None:
            if first:
                momentum_buffer[...] = grad
            else:
                momentum_buffer *= momentum
                momentum_buffer += (1.0 - dampening) * grad if dampening else grad
            if nesterov:
                grad += momentum * momentum_buffer
        if momentum_buffer is None or nesterov:
            grad *= lr
        else:
            self.xp.multiply(momentum_buffer, lr, out=grad)
        param -= grad

    def adam_step(
        self,
        param: Array,
        grad: Array,
        exp_avg: Array,
        exp_avg_sq: Array,
        max_exp_avg_sq: Array | None,
        *,
        step: int,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        decoupled: bool,
        maximize: bool,
    ) -> None:
        """Adam (Kingma and Ba 2015, algorithm 1), and AdamW where the decay is `decoupled`.

        Args:
            step: the number of this update, from 1: the averages start at 0, which is made up for.
            max_exp_avg_sq: the largest `exp_avg_sq` so far, for AMSGrad (Reddi et al. 2018).
        """
        xp = self.xp
        beta1, beta2 = betas
        if maximize:
            xp.negative(grad, out=grad)
        if weight_decay and decoupled:
            param *= 1.0 - lr * weight_decay
        elif weight_decay:
            grad += weight_decay * param
        # m <- m + (1 - beta1) (g - m),   v <- beta2 v + (1 - beta2) g^2
        exp_avg += (1.0 - beta1) * (grad - exp_avg)
        exp_avg_sq *= beta2
        xp.multiply(grad, grad, out=grad)
        grad *= 1.0 - beta2
        exp_avg_sq += grad
        if max_exp_avg_sq is not None:
            xp.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
            exp_avg_sq = max_exp_avg_sq
        # p <- p - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
        xp.sqrt(exp_avg_sq, out=grad)
        grad /= math.sqrt(1.0 - beta2**step)
        grad += eps
        xp.divide(exp_avg, grad, out=grad)
        grad *= lr / (1.0 - beta1**step)
        param -= grad

    def rmsprop_step(
        self,
        param: Array,
        grad: Array,
        square_avg: Array,
        grad_avg: Array | None,
        momentum_buffer: Array | None,
        *,
        lr: float,
        alpha: float,
        eps: float,
        weight_decay: float,
        momentum: float,
        maximize: bool,
    ) -> None:
        """RMSprop (Tieleman and Hinton 2012); with `grad_avg` centred (Graves 2013)."""
        xp = self.xp
        if maximize:
            xp.negative(grad, out=grad)
        if weight_decay:
            grad += weight_decay * param
        square_avg *= alpha
        square_avg += (1.0 - alpha) * (grad * grad)
        if grad_avg is not None:
            grad_avg += (1.0 - alpha) * (grad - grad_avg)
            # Not below zero by rounding, as happens when a gradient hardly changes.
            scale = xp.sqrt(xp.maximum(square_avg - grad_avg * grad_avg, 0.0))
        else:
            scale = xp.sqrt(square_avg)
        scale += eps
        grad /= scale
        if momentum_buffer is not None:
            momentum_buffer *= momentum
            momentum_buffer += grad
            grad[...] = momentum_buffer
        grad *= lr
        param -= grad

    def lars_step(
        self,
        param: Array,
        grad: Array,
        momentum_buffer: Array,
        layers: list[slice],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        trust_coefficient: float,
        eps: float,
        nesterov: bool,
        maximize: bool,
    ) -> None:
        """Layer-wise adaptive rate scaling (You et al. 2017, algorithm 1).

        Args:
            layers: where each parameter with a rate of its own lies in the flat arrays.
        """
        xp = self.xp
        if maximize:
            xp.negative(grad, out=grad)
        norms = [(xp.vdot(param[at], param[at]), xp.vdot(grad[at], grad[at])) for at in layers]
        if weight_decay:
            grad += weight_decay * param
        for at, (p, g) in zip(layers, norms, strict=True):
            p, g = xp.sqrt(xp.asarray(p)), xp.sqrt(xp.asarray(g))
            ratio = trust_coefficient * p / (g + weight_decay * p + eps)
            # A parameter of zeros, or one without gradient, keeps the global rate.
            grad[at] *= xp.where((p > 0) & (g > 0), ratio, xp.ones_like(ratio))
        grad *= lr
        momentum_buffer *= momentum
        momentum_buffer += grad
        if nesterov:
            grad += momentum * momentum_buffer
            param -= grad
        else:
            param -= momentum_buffer
