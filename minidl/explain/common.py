"""What all ways of looking share: a class's score, a layer's output, the operations in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..autograd import Function, Tensor, no_grad
from ..backend import of
from ..nn import Module

__all__ = [
    "Target",
    "as_input",
    "class_scores",
    "classes_of",
    "graph",
    "on_host",
    "outputs_of",
    "the_output",
]

Target = int | Sequence[int] | np.ndarray | Tensor | None


def on_host(values: Any) -> np.ndarray:
    """A tensor's array, wherever it is, or anything else as an array."""
    return (
        of(values.data).to_host(values.data) if isinstance(values, Tensor) else np.asarray(values)
    )


def as_input(name: str, x: Any, *, pictures: bool = False) -> Tensor:
    """`x` as a leaf of its own, with a gradient to ask for."""
    if not isinstance(x, Tensor) or x.dtype.kind not in "fV":
        raise TypeError(
            f"{name}: the input is a floating-point Tensor, got "
            f"{x.dtype if isinstance(x, Tensor) else type(x).__name__}"
        )
    if x.ndim < 2 or (pictures and x.ndim != 4):
        shape = "pictures (N, C, H, W)" if pictures else "a batch (N, ...)"
        raise ValueError(f"{name}: the input is {shape}, got {x.shape}")
    return x.detach().requires_grad_()


def classes_of(name: str, model: Module, x: Tensor, target: Target) -> np.ndarray:
    """(N,) int64 on the host: the classes asked for, or those with the best scores."""
    with no_grad():
        scores = _scores(name, model, x)
    count, classes = scores.shape
    if target is None:
        return on_host(scores).argmax(1).astype(np.int64)
    chosen = on_host(target)
    if chosen.dtype.kind not in "iu" or chosen.shape not in ((), (count,)):
        raise ValueError(
            f"{name}: target is a class or ({count},) integers, one for each input; got "
            f"{chosen.dtype} {chosen.shape}"
        )
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < classes:
        raise ValueError(
            f"{name}: classes are from 0 to {classes - 1}, got {chosen.min()} to {chosen.max()}"
        )
    return np.broadcast_to(chosen, (count,)).astype(np.int64)


def class_scores(name: str, model: Module, x: Tensor, classes: np.ndarray) -> Tensor:
    """(N,): of each input the score of its class."""
    scores = _scores(name, model, x)
    return scores.gather(1, Tensor(classes[:, None], device=scores.device)).squeeze(1)


def _scores(name: str, model: Module, x: Tensor) -> Tensor:
    scores = model(x)
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        got = f"shape {scores.shape}" if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(
            f"{name}: the model gives scores (N, classes), not {got}; put it into a module that "
            "makes such scores of what it gives"
        )
    return scores


@contextmanager
def outputs_of(model: Module, *layers: str) -> Iterator[dict[str, list[Any]]]:
    """What the modules at these paths give within a `with` block, call after call."""
    found: dict[str, list[Any]] = {layer: [] for layer in layers}

    def hook_for(layer: str) -> Any:
        def note(module: Any, args: Any, output: Any) -> Any:
            found[layer].append(output)
            # A copy goes on: the next layer may be a ReLU that works in place.
            return output.clone() if isinstance(output, Tensor) else None

        return note

    modules = [model.get_submodule(layer) for layer in found]
    handles = [
        m.register_forward_hook(hook_for(layer)) for m, layer in zip(modules, found, strict=True)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def the_output(name: str, layer: str, outputs: list[Any]) -> Tensor:
    """The one tensor that a layer gave."""
    if len(outputs) != 1:
        raise ValueError(f"{name}: {layer!r} ran {len(outputs)} times for a batch, not once")
    if not isinstance(outputs[0], Tensor):
        raise TypeError(
            f"{name}: the output of {layer!r} is a {type(outputs[0]).__name__}, not a tensor; "
            "choose a layer within it"
        )
    return outputs[0]


def graph(result: Tensor) -> list[Function]:
    """The recorded operations that `result` was made by, each before those it depends on."""
    found: dict[int, Function] = {}
    waiting = [result._node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function) and id(node) not in found:
            found[id(node)] = node
            waiting += [edge[0] for edge in node.edges if edge is not None]
    return sorted(found.values(), key=lambda node: -node.sequence)
