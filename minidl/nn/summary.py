"""`summary(model, input)`: shapes, parameters, multiply-adds and memory, layer by layer.

The model runs once, forward. Hooks tell where in it we are, the engine's events what is computed
there.

Multiply-adds are those of products: for a convolution output elements * C_in / groups * taps, for
a transposed one input elements * C_out / groups * taps, for linear layers and matrix products
output elements * length of the inner dimension. Biases, activations, pooling and normalisation do
not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..autograd import Event, Tensor, enable_grad, listen
from ..autograd.tensor import DEFAULT_FLOAT
from ..backend import Array, random
from .module import Module, new_tensor

__all__ = ["Row", "Summary", "summary"]


@dataclass
class Row:
    """One module.

    Attributes:
        path: its place in the model; "" is the model itself.
        kind: its class.
        shapes: of the tensors it returned when it was last called; empty if it never was.
        parameters: numbers of its own, not of modules in it: parameters and running statistics,
            each counted where it comes first.
        trainable: those of them that are trained.
        multiply_adds: done by it, not by modules in it, for the whole batch.
    """

    path: str
    kind: str
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    parameters: int = 0
    trainable: int = 0
    multiply_adds: int = 0


@dataclass
class Summary:
    """What `summary` found; its text is the table.

    Attributes:
        rows: one for each module, in the order of definition.
        input_bytes: memory of the input.
        parameter_bytes: memory of parameters and buffers.
        activation_bytes: memory kept from forward to backward, beside these two.
        gradient_bytes: memory of the gradients of the trained parameters.
    """

    rows: list[Row]
    input_bytes: int = 0
    parameter_bytes: int = 0
    activation_bytes: int = 0
    gradient_bytes: int = 0

    @property
    def parameters(self) -> int:
        """All parameters and running statistics, as Keras counts them."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        """The parameters that are trained."""
        return sum(row.trainable for row in self.rows)

    @property
    def non_trainable(self) -> int:
        """Frozen parameters and running statistics."""
        return self.parameters - self.trainable

    @property
    def multiply_adds(self) -> int:
        """All multiply-adds, for the whole batch."""
        return sum(row.multiply_adds for row in self.rows)

    def __str__(self) -> str:
        head = ("Layer", "Output shape", "Parameters", "Trainable", "Multiply-adds")
        table = [head] + [
            (
                f"{row.path} ({row.kind})".lstrip(),
                ", ".join(str(shape) for shape in row.shapes) or "-",
                f"{row.parameters:,}" if row.parameters else "-",
                f"{row.trainable:,}" if row.parameters else "-",
                f"{row.multiply_adds:,}" if row.multiply_adds else "-",
            )
            for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = []
        for cells in table:
            left = [cell.ljust(width) for cell, width in zip(cells[:2], widths, strict=False)]
            right = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
            lines.append("  ".join(left + right))
        rule = "-" * len(lines[0])
        notes = [
            f"Total parameters:         {self.parameters:,}",
            f"Trainable parameters:     {self.trainable:,}",
            f"Non-trainable parameters: {self.non_trainable:,}",
            f"Multiply-adds:            {self.multiply_adds:,}",
            f"Memory of a training step, estimated: {_size(self.memory)}",
            f"  input {_size(self.input_bytes)}, parameters {_size(self.parameter_bytes)}, "
            f"forward/backward pass {_size(self.activation_bytes)}, "
            f"gradients {_size(self.gradient_bytes)}",
        ]
        return "\n".join([lines[0], rule, *lines[1:], rule, *notes])

    @property
    def memory(self) -> int:
        """Bytes that a training step needs, without the optimiser's state and passing buffers."""
        return self.input_bytes + self.parameter_bytes + self.activation_bytes + self.gradient_bytes


def summary(model: Module, input: Any, depth: int | None = None) -> Summary:
    """What a model consists of and what it computes for an input.

    It runs in evaluation mode and leaves everything as it was: modes, buffers, random state; also
    after an error. Print the result to see the table.

    Args:
        model: any module.
        input: a tensor, or a shape with the batch dimension, (N, C, H, W), of which zeros are
            made; or a list of these, for a model with several arguments.
        depth: how many levels of modules are shown; what is below is added to those above.

    Returns:
        a Summary: numbers as attributes, a table as text.

    Example:
        >>> print(summary(models.mlp(), (1, 784)))
    """
    inputs = [_as_input(model, x) for x in _list_of(input)]
    rows = _count_parameters(model, depth)
    result = Summary(list(rows.values()))
    kept = _Kept([*inputs, *model.parameters(), *model.buffers()])
    where = [rows[""]]  # the modules that are running, innermost last

    def note(event: Event) -> None:
        if event.phase == "forward":
            where[-1].multiply_adds += _multiply_adds(event)
            kept.add(event.node.saved_arrays)

    def entering(row: Row) -> Any:
        return lambda module, args: where.append(row)

    def leaving(row: Row, own: bool) -> Any:
        def hook(module: Module, args: Any, output: Any) -> None:
            where.pop()
            if own:
                row.shapes = [x.shape for x in _tensors_in(output)]

        return hook

    with ExitStack() as stack:
        stack.enter_context(_undisturbed(model))
        for path, module in model.named_modules():
            row = rows[_shown(path, depth)]
            stack.enter_context(module.register_forward_pre_hook(entering(row)))
            stack.enter_context(module.register_forward_hook(leaving(row, row.path == path)))
        stack.enter_context(listen(note))
        stack.enter_context(enable_grad())
        model(*inputs)

    result.input_bytes = sum(x.nbytes for x in inputs)
    result.parameter_bytes = sum(x.nbytes for x in [*model.parameters(), *model.buffers()])
    result.gradient_bytes = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    result.activation_bytes = kept.total
    return result


def _count_parameters(model: Module, depth: int | None) -> dict[str, Row]:
    """Path -> row, with the parameters counted."""
    rows: dict[str, Row] = {}
    seen: set[int] = set()
    for path, module in model.named_modules():
        shown = _shown(path, depth)
        row = rows.setdefault(shown, Row(path, type(module).__name__))
        for p in module._parameters.values():
            if p is not None and id(p) not in seen:
                seen.add(id(p))
                row.parameters += p.numel()
                row.trainable += p.numel() if p.requires_grad else 0
        for name, buffer in module._buffers.items():
            if buffer is None or id(buffer) in seen or name in module._non_persistent:
                continue
            if buffer.is_floating_point():  # not counters
                seen.add(id(buffer))
                row.parameters += buffer.numel()
    return rows


def _shown(path: str, depth: int | None) -> str:
    """The path of the row to which a module belongs."""
    return path if depth is None else ".".join(path.split(".")[:depth])


def _multiply_adds(event: Event) -> int:
    """The multiply-adds of one operation; see the module's text."""
    if event.op in ("Linear", "MatMul"):
        return event.outputs[0].numel() * event.inputs[0].shape[-1]
    if event.op == "Conv":
        weight, output = event.inputs[1], event.outputs[0]
        return output.numel() * (weight.numel() // weight.shape[0])
    if event.op == "ConvInputGrad":  # transposed
        input, weight = event.inputs[0], event.inputs[1]
        return input.numel() * (weight.numel() // weight.shape[0])
    return 0


class _Kept:
    """The memory of the arrays that operations keep, each block counted once.

    Args:
        others: tensors whose memory is not counted.
    """

    def __init__(self, others: list[Tensor]) -> None:
        # The blocks are held, so that no other is put in the place of one that is freed.
        self._blocks = {id(block): block for block in (_block(x.data) for x in others)}
        self.total = 0

    def add(self, arrays: list[Array]) -> None:
        for array in arrays:
            block = _block(array)
            if id(block) not in self._blocks:
                self._blocks[id(block)] = block
                self.total += block.nbytes


def _block(array: Array) -> Array:
    """The array that owns the memory of a view."""
    while isinstance(array.base, type(array)):
        array = array.base
    return array


@contextmanager
def _undisturbed(model: Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards modes, buffers and random state as before."""
    modes = [(module, module.training, dict(module._buffers)) for module in model.modules()]
    buffers = [(x, x.data.copy(), x._version[0]) for x in model.buffers()]
    state = random.get_state()
    model.eval()
    try:
        yield
    finally:
        for module, training, registered in modes:
            module.training = training
            module._buffers = registered
        for x, values, version in buffers:
            if x._version[0] != version:
                x.data[...] = values
                x.bump_version()
        random.set_state(state)


def _list_of(input: Any) -> list[Any]:
    if isinstance(input, Tensor) or all(isinstance(n, int) for n in input):
        return [input]
    return list(input)


def _as_input(model: Module, input: Any) -> Tensor:
    """A tensor as it is; for a shape, zeros on the model's device and in its dtype."""
    if isinstance(input, Tensor):
        return input
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    device, dtype = (None, DEFAULT_FLOAT) if like is None else (like.device, like.dtype)
    return new_tensor(tuple(input), 0, device, dtype)


def _tensors_in(output: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = output.values()
    elif not isinstance(output, (tuple, list)):
        return []
    return [x for part in output for x in _tensors_in(part)]


def _size(count: float) -> str:
    """Bytes in the unit that reads best."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
