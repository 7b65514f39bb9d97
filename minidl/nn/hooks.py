"""Hooks of modules: the gates that see a module's gradients.

A gate is the identity. One stands before a module's inputs and one behind its outputs, so that in
the backward pass the second sees the gradients of all outputs at once and the first, when
everything between them has run, the gradients of all inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import Function, Tensor

__all__ = ["gate_inputs", "gate_outputs"]


class Gate(Function):
    """x, y, ...    The gradients pass through `seen`, which may return others in their place."""

    def forward(self, *arrays: Any, seen: Callable[..., Any]) -> Any:
        self.seen = seen
        return arrays

    def backward(self, *grads: Tensor) -> Any:
        return self.seen(grads)


class _Passage:
    """One call of a module, between its two gates."""

    def __init__(self, call_hooks: Callable[..., Any]) -> None:
        self.call_hooks = call_hooks
        self.count = 0  # tensor arguments
        self.gated: list[int] = []  # those that require a gradient
        self.grad_output: tuple[Any, ...] = ()

    def inputs_seen(self, grads: tuple[Tensor, ...]) -> tuple[Any, ...]:
        full: list[Any] = [None] * self.count
        for position, grad in zip(self.gated, grads, strict=True):
            full[position] = grad
        changed = self.call_hooks(tuple(full), self.grad_output)
        if len(changed) != self.count:
            raise RuntimeError(
                f"backward hook: returned {len(changed)} gradients for {self.count} tensors"
            )
        return tuple(changed[position] for position in self.gated)

    def outputs_seen(self, grads: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        self.grad_output = grads
        if not self.gated:  # no gradient will reach the inputs
            self.call_hooks((None,) * self.count, grads)
        return grads


def gate_inputs(
    args: tuple[Any, ...], call_hooks: Callable[..., Any]
) -> tuple[tuple[Any, ...], Any]:
    """(`args` with a gate behind the tensors that require gradients, what `gate_outputs` needs)."""
    passage = _Passage(call_hooks)
    places = [i for i, arg in enumerate(args) if isinstance(arg, Tensor)]
    passage.count = len(places)
    passage.gated = [i for i, place in enumerate(places) if args[place].requires_grad]
    if not passage.gated:
        return args, passage
    wanted = [places[i] for i in passage.gated]
    gated = Gate.apply(*[args[place] for place in wanted], seen=passage.inputs_seen)
    result = list(args)
    for place, tensor in zip(wanted, gated, strict=True):
        result[place] = tensor
    return tuple(result), passage


def gate_outputs(result: Any, passage: Any) -> Any:
    """`result` (a tensor, or a tuple or list of tensors) with a gate behind it."""
    single = isinstance(result, Tensor)
    outputs = [result] if single else list(result)
    if not all(isinstance(x, Tensor) for x in outputs):
        raise TypeError("backward hook: the module must return a tensor or a sequence of tensors")
    gated = Gate.apply(*outputs, seen=passage.outputs_seen)
    return gated[0] if single else type(result)(gated)
