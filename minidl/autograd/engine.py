"""The backward pass: from outputs back to leaves, each operation once.

Every operation has a sequence number higher than those of the operations it depends on. Taking
the highest number that waits is therefore a reverse topological order, with no recursion and no
search beforehand: when an operation's turn comes, all its consumers have handed in their gradients.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from ..backend import of
from . import events
from .function import Function, _freed_message
from .modes import mode
from .tensor import Tensor, wrap

__all__ = ["backward", "grad"]


class _Sum:
    """A gradient being added up: first borrowed, then copied, from the third on added in place."""

    __slots__ = ("owned", "value")

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self.owned = False

    def add(self, other: Tensor) -> None:
        if mode.recording:
            self.value = self.value + other
        elif self.owned:
            self.value.data += other.data
        else:
            self.value = wrap(self.value.data + other.data)
            self.owned = True


def backward(
    tensors: Sequence[Tensor],
    gradients: Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradients of `tensors` to the `.grad` of the leaves. See `Tensor.backward`."""
    _run(tensors, gradients, retain_graph, create_graph, None)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`; no `.grad` is touched.

    Args:
        outputs: one tensor or several, whose gradients add up.
        inputs: leaves or results of operations.
        grad_outputs: the gradient with respect to each output; None: 1, for one-element outputs.
        retain_graph: keep the graph for another pass. Default: `create_graph`.
        create_graph: record this pass, so that the result can be differentiated again.
        allow_unused: return None for an input the outputs do not depend on, instead of an error.

    Returns:
        one tensor for each input, of its shape.

    Raises:
        RuntimeError: no graph, a freed graph, or an unused input.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if grad_outputs is None or isinstance(grad_outputs, Tensor):
        grad_outputs = [grad_outputs] * len(outputs)
    for i, x in enumerate(inputs):
        if not x.requires_grad:
            raise RuntimeError(f"grad: input {i} does not require a gradient")
    found = _run(outputs, grad_outputs, retain_graph, create_graph, inputs)
    for i, g in enumerate(found):
        if g is None and not allow_unused:
            raise RuntimeError(
                f"grad: input {i} of shape {inputs[i].shape} was not used to compute the outputs; "
                "pass allow_unused=True to get None for it"
            )
    return tuple(found)


def _run(
    tensors: Sequence[Tensor],
    gradients: Sequence[Tensor | None] | None,
    retain_graph: bool | None,
    create_graph: bool,
    inputs: Sequence[Tensor] | None,
) -> list[Tensor | None]:
    """The pass itself. `inputs` None: into leaves' `.grad`; else only to these, and returned."""
    retain = create_graph if retain_graph is None else retain_graph
    if gradients is None:
        gradients = [None] * len(tensors)
    if len(gradients) != len(tensors):
        raise RuntimeError(f"backward: {len(gradients)} gradients for {len(tensors)} tensors")

    wanted = None if inputs is None else {(id(x._node or x), x._output) for x in inputs}
    captured: dict[tuple[int, int], Tensor] = {}
    needed = None if inputs is None else _on_the_way(tensors, inputs)

    pending: dict[int, dict[int, _Sum]] = {}  # id(node) -> output -> gradient so far
    leaves: dict[int, tuple[Tensor, _Sum, bool]] = {}  # id(leaf) -> leaf, gradient, is it its own
    queue: list[tuple[int, Function]] = []

    def hand_in(source: Any, output: int, gradient: Tensor, fresh: bool) -> None:
        if isinstance(source, Tensor):
            entry = leaves.get(id(source))
            if entry is None:
                leaves[id(source)] = (source, _Sum(gradient), fresh)
            else:
                entry[1].add(gradient)
                leaves[id(source)] = (source, entry[1], True)
            return
        sums = pending.get(id(source))
        if sums is None:
            sums = pending[id(source)] = {}
            heapq.heappush(queue, (-source.sequence, source))
        if output in sums:
            sums[output].add(gradient)
        else:
            sums[output] = _Sum(gradient)

    before = mode.recording
    mode.recording = create_graph
    try:
        for t, g in zip(tensors, gradients, strict=True):
            hand_in(t._node or t, t._output, _start(t, g), False)

        while queue:
            _, node = heapq.heappop(queue)
            sums = pending.pop(id(node))
            grads = _finish(node, sums)
            if wanted is not None:
                for output, g in zip(range(len(grads)), grads, strict=True):
                    if (id(node), output) in wanted and output in sums:
                        captured[(id(node), output)] = g
                if node not in needed:  # type: ignore[operator]
                    continue
            if node.freed:
                raise RuntimeError(_freed_message(node.name))
            for edge, g, fresh in _backward_of(node, grads):
                source, output = edge[0], edge[1]
                if needed is None or source in needed or (id(source), output) in wanted:  # type: ignore[operator]
                    hand_in(source, output, g, fresh)
            if not retain:
                node.free()

        for leaf, total, fresh in leaves.values():
            g = total.value
            if leaf._hooks:
                for hook in list(leaf._hooks):
                    replaced = hook(g)
                    if replaced is not None:
                        _check_hook(leaf, replaced)
                        g, fresh = replaced, False
            if wanted is not None:
                if (id(leaf), leaf._output) in wanted:
                    captured[(id(leaf), leaf._output)] = g
            else:
                _accumulate(leaf, g, fresh, create_graph)
    finally:
        mode.recording = before

    if inputs is None:
        return []
    return [captured.get((id(x._node or x), x._output)) for x in inputs]


def _start(t: Tensor, g: Tensor | None) -> Tensor:
    """The gradient a pass starts with, checked."""
    if not t.requires_grad:
        raise RuntimeError(
            "backward: this tensor does not require a gradient: no leaf with requires_grad=True "
            "went into it, or it was computed under no_grad or detached"
        )
    if g is None:
        if t.data.size != 1:
            raise RuntimeError(
                f"backward: a tensor of shape {t.shape} is not one number; pass its gradient, "
                "or reduce it first (.sum(), .mean())"
            )
        return wrap(of(t.data).xp.ones_like(t.data))
    if not isinstance(g, Tensor):
        g = Tensor(g, device=t.device)
    if g.shape != t.shape:
        raise RuntimeError(f"backward: gradient of shape {g.shape} for a tensor of shape {t.shape}")
    if g.dtype != t.dtype:
        raise RuntimeError(f"backward: gradient of dtype {g.dtype} for a tensor of dtype {t.dtype}")
    return g


def _finish(node: Function, sums: dict[int, _Sum]) -> list[Tensor]:
    """The complete gradients of a node's outputs: zeros where none came, hooks applied."""
    grads = []
    for output, (shape, dtype, backend) in enumerate(node.results):
        entry = sums.get(output)
        if entry is None:
            grads.append(wrap(backend.xp.zeros(shape, dtype)))
            continue
        g = entry.value
        if node.hooks:
            for hook in list(node.hooks.get(output, ())):
                replaced = hook(g)
                if replaced is not None:
                    if replaced.shape != shape:
                        raise RuntimeError(
                            f"hook: gradient of shape {replaced.shape} for {node.name}'s output of "
                            f"shape {shape}"
                        )
                    g = replaced
        if node.retained and output in node.retained:
            tensor = node.retained[output]()
            if tensor is not None:
                _accumulate(tensor, g, False, mode.recording)
        grads.append(g)
    return grads


def _backward_of(node: Function, grads: list[Tensor]) -> list[tuple[Any, Tensor, bool]]:
    """Run one backward; a list of (edge, gradient, whether nobody else holds its array)."""
    if events.listeners:
        result = _watched(node, grads)
    else:
        result = type(node).backward(node, *grads)
    if type(result) is not tuple:
        result = (result,)
    handed = []
    edges = node.edges
    for i, edge in enumerate(edges):
        if edge is None:
            continue
        if i >= len(result):
            raise RuntimeError(
                f"{node.name}.backward returned {len(result)} gradients for {len(edges)} inputs"
            )
        g = result[i]
        if g is None:
            continue
        if g.data.shape != edge[2] or g.data.dtype != edge[3]:
            raise RuntimeError(
                f"{node.name}.backward returned a gradient of shape {g.shape} and dtype {g.dtype} "
                f"for input {i} of shape {tuple(edge[2])} and dtype {edge[3]}"
            )
        fresh = isinstance(edge[0], Tensor) and _is_fresh(i, result, grads, node)
        handed.append((edge, g, fresh))
    return handed


def _watched(node: Function, grads: list[Tensor]) -> Any:
    """`node.backward`, with its event."""
    start = perf_counter()
    events.running_backward.append(node.name)
    try:
        result = type(node).backward(node, *grads)
    finally:
        events.running_backward.pop()
    outputs = result if type(result) is tuple else (result,)
    events.emit("backward", node, grads, outputs, node.saved_bytes, perf_counter() - start)
    return result


def _is_fresh(i: int, result: tuple[Any, ...], grads: list[Tensor], node: Function) -> bool:
    """Whether the array of gradient i was made by this backward and nobody else holds it."""
    array = result[i].data
    if array.base is not None or result[i]._node is not None:
        return False
    others = [g.data for j, g in enumerate(result) if g is not None and j != i]
    others += [g.data for g in grads]
    others += [s.array for s in node._saved if s is not None]
    return not any(array is other for other in others)


def _accumulate(leaf: Tensor, g: Tensor, fresh: bool, create_graph: bool) -> None:
    if create_graph:
        leaf.grad = g if leaf.grad is None else leaf.grad + g
        leaf._grad_owned = False
    elif leaf.grad is None:
        leaf.grad = wrap(g.data if fresh else g.data.copy())
        leaf._grad_owned = True
    elif leaf._grad_owned and leaf.grad._node is None:
        leaf.grad.data += g.data
        leaf.grad.bump_version()
    else:
        leaf.grad = wrap(leaf.grad.data + g.data)
        leaf._grad_owned = True


def _check_hook(leaf: Tensor, g: Tensor) -> None:
    if g.shape != leaf.shape:
        raise RuntimeError(f"hook: gradient of shape {g.shape} for a leaf of shape {leaf.shape}")


def _on_the_way(tensors: Sequence[Tensor], inputs: Sequence[Tensor]) -> set[Any]:
    """The nodes from which one of `inputs` can be reached: only these need to run."""
    targets = {id(x) for x in inputs if x._node is None}
    nodes = {id(x._node) for x in inputs if x._node is not None}
    # Depth first without recursion; a node is decided when all it depends on are.
    leads: dict[int, bool] = {}
    result: set[Any] = set()
    stack: list[tuple[Any, bool]] = [(t._node, False) for t in tensors if t._node is not None]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            reaches = False
            for edge in node.edges:
                if edge is not None:
                    source = edge[0]
                    reaches |= id(source) in targets or id(source) in nodes
                    reaches |= leads.get(id(source), False)
            leads[id(node)] = reaches
            if reaches:
                result.add(node)
            continue
        if id(node) in leads:
            continue
        if node.freed:
            raise RuntimeError(_freed_message(node.name))
        leads[id(node)] = False
        stack.append((node, True))
        stack.extend(
            (edge[0], False)
            for edge in node.edges
            if edge is not None and isinstance(edge[0], Function) and id(edge[0]) not in leads
        )
    return result
