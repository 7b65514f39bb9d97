"""`minidl.record`: every operation written down, with the numbers it saw."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ...autograd import Event, Function
from ...autograd.recorder import record as plain_record
from ...io import replace_file
from ...nn import Module
from .facts import facts_of, gradient_facts_of
from .page import page
from .sample import Sample
from .tape import Argument, Operation, Step, Value, array_of

__all__ = ["record"]


class record(plain_record):
    """Write down every operation within a `with` block, in the order in which it ran.

    `print(tape)` lists them; `tape.html(path)` writes a page on which one steps through them. Of
    every array a sample is kept as it was at that moment (small arrays whole), so that later
    changes in place do not show.

    Attributes:
        events: an `Event` for each operation; those a backward is made of are left out unless
            `inside` was asked for.
        lines: for each event, the line of the program that caused it.

    Args:
        inside: whether to write down also the operations that backward passes are made of.

    Example:
        >>> with minidl.record() as tape:
        ...     loss = (x * w).sum()
        ...     loss.backward()
        >>> tape.html("product.html")
    """

    def __init__(self, inside: bool = False) -> None:
        super().__init__(inside)
        self._steps: list[Step] = []
        self._values: dict[int, Value] = {}  # by id of the array
        self._operations: dict[int, Operation] = {}  # by id of the node
        self._held: list[Any] = []  # arrays: as long as one is held, no other has its id
        self._sums: dict[int, Sample] = {}  # gradients so far, by id of the array they are of
        self._passed: set[int] = set()  # ids of the nodes whose backward ran in this pass

    def __enter__(self) -> record:
        super().__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        frame = sys._getframe(1)
        for variables in (frame.f_globals, frame.f_locals):
            for array, name in _names(variables):
                if id(array) in self._values:
                    self._values[id(array)].name = name

    def html(
        self, path: str | os.PathLike[str], title: str = "Step by step", limit: int = 2_000_000
    ) -> None:
        """Write one page, with links to nothing else, on which one steps through the computation.

        Variables of the function that recorded, and parameters of its modules, are shown by their
        names. Arrays are sampled so that the page stays below the limit.

        Args:
            path: the HTML file.
            title: of the page.
            limit: bytes that the file stays below.

        Raises:
            ValueError: nothing was recorded, or so many operations that they do not fit.
        """
        if not self._steps:
            raise ValueError("html: nothing was recorded; run operations inside `with record()`")
        text = page(self._steps, title, limit)
        with replace_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(text)

    # -- listening ---------------------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        before = len(self.events)
        super()._note(event)
        if len(self.events) == before:
            return  # part of a backward
        if event.phase == "forward":
            if not event.within:
                self._passed.clear()
                self._sums.clear()
            self._steps.append(Step("forward", self._forward(event)))
        else:
            self._steps.append(self._backward(event))

    def _forward(self, event: Event) -> Operation:
        operation = Operation(type(event.node), self.lines[-1], event.within, [], [])
        for name, (position, value) in _arguments(event.node, event.inputs).items():
            array = array_of(value)
            if position < 0:
                operation.keywords[name] = value
            if array is None:
                operation.parameters[name] = value
            else:
                operation.inputs.append(Argument(name, position, self._value(array)))
        operation.outputs = [
            self._value(x.data, operation, port) for port, x in enumerate(event.outputs)
        ]
        operation.arguments = event.inputs
        operation.facts = facts_of(event.node, event.inputs)
        operation.saved = event.saved
        self._operations[id(event.node)] = operation
        return operation

    def _value(self, array: Any, maker: Operation | None = None, port: int = 0) -> Value:
        """What the array holds: what it held when last seen, unless it was changed."""
        sample, known = Sample.of(array), self._values.get(id(array))
        if known is not None and maker is None and known.sample.equals(sample):
            return known
        value = self._values[id(array)] = Value(sample, maker, port)
        self._held.append(array)
        return value

    def _backward(self, event: Event) -> Step:
        node, made = event.node, event.outputs
        if id(node) in self._passed:  # a second pass through the same graph
            self._passed.clear()
            self._sums.clear()
        self._passed.add(id(node))
        operation = self._operations.get(id(node))
        if operation is None:  # it ran before the recording
            names = _arguments(node, (None,) * len(made))
            arguments = [Argument(name, i, None) for i, name in enumerate(names)]
            operation = Operation(type(node), self.lines[-1], event.within, arguments, [])
            self._operations[id(node)] = operation
        step = Step("backward", operation, [Sample.of(g.data) for g in event.inputs])
        for argument in operation.inputs:
            # (A backward may leave out trailing Nones.)
            g = made[argument.position] if 0 <= argument.position < len(made) else None
            step.made.append(None if g is None else Sample.of(g.data))
            step.sums.append(self._sum(argument.value, step.made[-1]))
        step.facts = gradient_facts_of(node, event.inputs)
        return step

    def _sum(self, value: Value | None, gradient: Sample | None) -> Sample | None:
        """The contributions to a value's gradient so far, added up; None if this is the first."""
        if value is None or gradient is None:
            return None
        before = self._sums.get(id(value))
        self._sums[id(value)] = total = gradient if before is None else before.plus(gradient)
        return None if before is None else total


def _arguments(node: Function, inputs: tuple[Any, ...]) -> dict[str, tuple[int, Any]]:
    """What an operation was called with: (position, argument) by the names `forward` gives them.

    The parameters that were passed by name are where `forward` put them: on the node.
    """
    found: dict[str, tuple[int, Any]] = {}
    parameters = [*inspect.signature(type(node).forward).parameters.values()][1:]
    position = 0
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            for i, value in enumerate(inputs[position:]):
                found[f"{parameter.name}[{i}]"] = position + i, value
            position = len(inputs)
        elif position < len(inputs) and parameter.kind is not parameter.KEYWORD_ONLY:
            found[parameter.name] = position, inputs[position]
            position += 1
        elif parameter.name in vars(node):
            found[parameter.name] = -1, vars(node)[parameter.name]
    return found


def _names(variables: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """(array, name) of the tensors and arrays among variables and of the modules' parameters."""
    for name, value in variables.items():
        if name.startswith("_"):
            continue
        if isinstance(value, Module):
            for path, tensor in (*value.named_parameters(), *value.named_buffers()):
                yield tensor.data, f"{name}.{path}"
        elif array_of(value) is not None:
            yield array_of(value), name
