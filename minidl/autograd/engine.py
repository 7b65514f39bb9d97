"""The backward pass: from outputs back to leaves, each operation once.

Every operation has a sequence number higher than those of the operations it depends on. Taking
the highest number that waits is therefore a reverse topological order, with no recursion and no
search beforehand: when an operation's turn comes, all its consumers have handed in their gradients.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from ..backend import of, quietly
from . import events
from .function import Function, freed_message
from .modes import mode
from .tensor import Tensor, wrap

__all__ = ["backward", "grad"]

_accumulating = threading.RLock()  # two threads may hand a gradient to the same leaf


class _Sum:
    """A gradient being added up: first borrowed, then copied, from the third on added in place."""

    __slots__ = ("owned", "value")

    def __init__(self, value: Tensor, owned: bool) -> None:
        self.value = value
        self.owned = owned  # whether nobody else holds its array

    def add(self, other: Tensor) -> None:
        if mode.recording:
            self.value = self.value + other
        elif self.owned:
            self.value.data += other.data
        else:
            self.value = wrap(self.value.data + other.data)
        self.owned = True


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of `tensors` to the `.grad` of the leaves. See `Tensor.backward`."""
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if inputs is None:
        _run(tensors, grad_tensors, retain_graph, create_graph, None)
        return
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    found = _run(tensors, grad_tensors, retain_graph, create_graph, inputs)
    for x, g in zip(inputs, found, strict=True):
        if g is not None:
            _accumulate(x, g, False, create_graph)


def tensor_backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradient of this tensor to the `.grad` of every leaf it was computed from.

    `Tensor.backward`: put there by the table in `minidl/ops/__init__.py`.

    Args:
        gradient: the gradient with respect to this tensor, of its shape; may be left out for
            a tensor with one element: 1.
        retain_graph: keep the graph for another backward. Default: `create_graph`.
        create_graph: record the backward pass itself, so that gradients can be differentiated.
        inputs: add only to the `.grad` of these, leaves or results of operations.

    Raises:
        RuntimeError: no graph, a graph that was freed, or a missing `gradient`.
    """
    backward(self, [gradient], retain_graph, create_graph, inputs)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`; no `.grad` is touched.

    Args:
        outputs: one tensor or several, whose gradients add up.
        inputs: leaves or results of operations.
        grad_outputs: the gradient with respect to each output; None: 1, for one-element outputs.
        retain_graph: keep the graph for another pass. Default: `create_graph`.
        create_graph: record this pass, so that the result can be differentiated again.
        only_inputs: for torch's sake: gradients are never accumulated anywhere.
        allow_unused: return None for an input the outputs do not depend on, instead of an error.

    Returns:
        one tensor for each input, of its shape. Two of them may share memory: copy before writing.

    Raises:
        RuntimeError: no graph, a freed graph, or an unused input.
    """
    if not only_inputs:
        raise ValueError("grad: only_inputs=False is not known; use backward")
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
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
    gradients: Tensor | Sequence[Tensor | None] | None,
    retain_graph: bool | None,
    create_graph: bool,
    inputs: Sequence[Tensor] | None,
) -> list[Tensor | None]:
    """The pass itself. `inputs` None: into leaves' `.grad`; else only to these, and returned."""
    retain = create_graph if retain_graph is None else retain_graph
    if gradients is None or isinstance(gradients, Tensor):
        gradients = [gradients] * len(tensors)
    if len(gradients) != len(tensors):
        raise RuntimeError(f"backward: {len(gradients)} gradients for {len(tensors)} tensors")
    wanted: set[tuple[int, int]] = set()
    needed: set[int] | None = None
    partly: set[int] = set()
    if inputs is not None:
        for i, x in enumerate(inputs):
            if not x.requires_grad:
                raise RuntimeError(f"grad: input {i} does not require a gradient")
        wanted = {_place(x) for x in inputs}
        needed, partly = _on_the_way(tensors, inputs)
    starts = [_start(t, g) for t, g in zip(tensors, gradients, strict=True)]

    before = mode.recording, mode.autocast
    mode.recording, mode.autocast = create_graph, None
    try:
        captured = quietly(
            _propagate, tensors, starts, retain, create_graph, wanted, needed, partly
        )
    finally:
        mode.recording, mode.autocast = before
    return [] if inputs is None else [captured.get(_place(x)) for x in inputs]


def _place(x: Tensor) -> tuple[int, int]:
    """A tensor's place in the graph: its operation (a leaf: itself) by id, and which output."""
    return id(x if x._node is None else x._node), x._output


def _propagate(
    tensors: Sequence[Tensor],
    starts: Sequence[Tensor],
    retain: bool,
    create_graph: bool,
    wanted: set[tuple[int, int]],
    needed: set[int] | None,
    partly: set[int],
) -> dict[tuple[int, int], Tensor]:
    """Send gradients back through the graph.

    Args:
        starts: the gradients of `tensors`.
        wanted: the places whose gradients are returned.
        needed: the nodes (by id) that lead to these; None: all, and leaves' `.grad` is added to.
        partly: those of them of which some input does not lead there.
    """
    captured: dict[tuple[int, int], Tensor] = {}
    leaves: dict[int, tuple[Tensor, _Sum]] = {}
    pending: dict[int, dict[int, _Sum]] = {}  # id(node) -> output -> gradient so far
    queue: list[tuple[int, Function]] = []

    def hand_in(source: Any, output: int, gradient: Tensor, owned: bool = False) -> None:
        """Add `gradient` to that of `source`, a leaf, or of an output of `source`, a node."""
        key = id(source)
        if isinstance(source, Tensor):
            entry = leaves.get(key)
            if entry is None:
                leaves[key] = source, _Sum(gradient, owned)
            else:
                entry[1].add(gradient)
            return
        sums = pending.get(key)
        if sums is None:
            pending[key] = {output: _Sum(gradient, False)}
            heapq.heappush(queue, (-source.sequence, source))
        elif output in sums:
            sums[output].add(gradient)
        else:
            sums[output] = _Sum(gradient, False)

    for t, g in zip(tensors, starts, strict=True):
        hand_in(t if t._node is None else t._node, t._output, g)

    while queue:
        node = heapq.heappop(queue)[1]
        sums = pending.pop(id(node))
        grads = _finish(node, sums)
        if needed is not None:
            for output in sums:
                if (id(node), output) in wanted:
                    captured[id(node), output] = grads[output]
            if id(node) not in needed:
                continue
        if node.freed:
            raise RuntimeError(freed_message(node.name))
        if needed is not None and id(node) in partly:
            handed = _backward_towards(node, grads, needed, wanted)
        else:
            handed = _backward_of(node, grads)
        for source, output, g in handed:
            first = isinstance(source, Tensor) and id(source) not in leaves
            hand_in(source, output, g, first and _is_new(g, handed, grads, node))
        if not retain:
            node.free()

    for leaf, total in leaves.values():
        g = total.value
        for hook in list((leaf._hooks or {}).values()):
            g = _replaced(hook, g, "a leaf", leaf.shape, leaf.dtype)
        if needed is not None:
            captured[_place(leaf)] = g
        elif leaf.requires_grad:
            # Those who look on may have kept the array.
            watched = leaf._hooks or events.listeners
            _accumulate(leaf, g, total.owned and not watched, create_graph)
    return captured


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
    if g.device != t.device:
        raise RuntimeError(f"backward: gradient on {g.device} for a tensor on {t.device}")
    return g


def _finish(node: Function, sums: dict[int, _Sum]) -> list[Tensor]:
    """The complete gradients of a node's outputs: zeros where none came, hooks applied."""
    grads = []
    for output, (shape, dtype) in enumerate(node.results):
        entry = sums.get(output)
        if entry is None:
            xp = of(next(iter(sums.values())).value.data).xp
            grads.append(wrap(xp.zeros(shape, dtype)))
            continue
        g = entry.value
        if node.hooks is not None:
            for hook in list(node.hooks.get(output, {}).values()):
                g = _replaced(hook, g, f"{node.name}'s output", shape, dtype)
        if node.retained is not None and output in node.retained:
            tensor = node.retained[output]()
            if tensor is not None:
                _accumulate(tensor, g, False, mode.recording)
        grads.append(g)
    return grads


def _replaced(
    hook: Callable[[Tensor], Tensor | None], g: Tensor, what: str, shape: Any, dtype: Any
) -> Tensor:
    """What a hook puts in the place of `g`, the gradient of `what`: often `g` itself."""
    result = hook(g)
    if result is None:
        return g
    if not isinstance(result, Tensor):
        raise TypeError(f"hook: returned a {type(result).__name__}, not a Tensor or None")
    if result.shape != shape or result.dtype != dtype:
        raise RuntimeError(
            f"hook: returned a gradient of shape {result.shape} and dtype {result.dtype} for "
            f"{what} of shape {shape} and dtype {dtype}"
        )
    return result


def _backward_of(node: Function, grads: list[Tensor]) -> list[tuple[Any, int, Tensor]]:
    """Run one backward; the gradients that are wanted, each as (node or leaf, output, gradient)."""
    if events.listeners:
        result = _watched(node, grads)
    else:
        result = type(node).backward(node, *grads)
    if not isinstance(result, tuple):
        result = tuple(result) if isinstance(result, list) else (result,)
    edges = node.edges
    count = len(node.needs_input_grad)
    if len(result) < len(edges) or (
        len(result) > count and any(g is not None for g in result[count:])
    ):
        raise RuntimeError(
            f"{node.name}.backward returned {len(result)} gradients for {count} inputs"
        )
    handed = []
    for i, edge in enumerate(edges):
        g = result[i]
        if edge is None or g is None:
            continue
        if not isinstance(g, Tensor):
            raise TypeError(
                f"{node.name}.backward returned a {type(g).__name__} for input {i}, not a Tensor"
            )
        source, output = edge
        if isinstance(source, Tensor):
            shape, dtype = source.data.shape, source.data.dtype
        else:
            shape, dtype = source.results[output]
        if g.data.shape != shape or g.data.dtype != dtype:
            raise RuntimeError(
                f"{node.name}.backward returned a gradient of shape {g.shape} and dtype {g.dtype} "
                f"for input {i} of shape {tuple(shape)} and dtype {dtype}"
            )
        handed.append((source, output, g))
    return handed


def _backward_towards(
    node: Function, grads: list[Tensor], needed: set[int], wanted: set[tuple[int, int]]
) -> list[tuple[Any, int, Tensor]]:
    """`_backward_of`, where only gradients that lead to the inputs asked for are computed."""
    every = node.needs_input_grad
    leads = [
        edge is not None and (id(edge[0]) in needed or (id(edge[0]), edge[1]) in wanted)
        for edge in node.edges
    ]
    node.needs_input_grad = tuple(leads + [False] * (len(every) - len(leads)))
    try:
        handed = _backward_of(node, grads)
    finally:
        node.needs_input_grad = every  # the graph may be kept for another pass
    return [(s, i, g) for s, i, g in handed if id(s) in needed or (id(s), i) in wanted]


def _watched(node: Function, grads: list[Tensor]) -> Any:
    """`node.backward`, with its event."""
    start = perf_counter()
    with events.within(node.name):
        result = type(node).backward(node, *grads)
    outputs = result if isinstance(result, (tuple, list)) else (result,)
    events.emit("backward", node, grads, outputs, node.saved_bytes, perf_counter() - start)
    return result


def _is_new(
    g: Tensor, handed: list[tuple[Any, int, Tensor]], grads: list[Tensor], node: Function
) -> bool:
    """Whether the array of `g` was made by this backward and is held by nothing else."""
    array = g.data
    if array.base is not None or g._node is not None:
        return False
    for other in grads:
        if other.data is array:
            return False
    for saved in node.saved_arrays:
        if saved is array:
            return False
    times = 0
    for _, _, other in handed:
        times += other.data is array
    return times == 1


def _accumulate(leaf: Tensor, g: Tensor, owned: bool, create_graph: bool) -> None:
    """Add `g` to `leaf.grad`, whose array is never one that somebody else holds.

    Args:
        owned: whether nobody else holds the array of `g`.
    """
    with _accumulating:
        before = leaf.grad
        if create_graph:
            leaf.grad = g.clone() if before is None else before + g
        elif before is not None and before._owned:
            before.data += g.data
            before.bump_version()
        else:
            if before is not None:
                array = before.data + g.data
            else:
                array = g.data if owned else g.data.copy()
            leaf.grad = wrap(array)
            leaf.grad._owned = True


def _on_the_way(tensors: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[set[int], set[int]]:
    """The nodes, by id, from which one of `inputs` can be reached: only these need to run.

    And those of them of which not every gradient is needed.
    """
    targets = {id(x if x._node is None else x._node) for x in inputs}
    # A node depends on older ones only: behind one as old as the oldest input no input can be.
    oldest = min([-1 if x._node is None else x._node.sequence for x in inputs], default=0)
    # Depth first without recursion; a node is decided when all it depends on are.
    leads: dict[int, bool] = {}
    partly: set[int] = set()
    stack: list[tuple[Any, bool]] = [(t._node, False) for t in tensors if t._node is not None]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            for edge in node.edges:
                if edge is not None:
                    key = id(edge[0])
                    if key in targets or leads.get(key):
                        leads[id(node)] = True
                    else:
                        partly.add(id(node))
        elif id(node) not in leads and node.sequence > oldest:
            if node.freed:
                raise RuntimeError(freed_message(node.name))
            leads[id(node)] = False
            stack.append((node, True))
            for edge in node.edges:
                if edge is not None and isinstance(edge[0], Function):
                    stack.append((edge[0], False))
    return {key for key, found in leads.items() if found}, partly
