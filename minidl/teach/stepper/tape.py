"""What is remembered of a computation: operations, the values between them, and the steps."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...autograd import Tensor
from .sample import Sample

__all__ = ["Argument", "Operation", "Step", "Value", "array_of"]


class Value:
    """What a tensor held when it went into an operation or came out of one.

    Attributes:
        sample: the numbers.
        maker: the operation it came out of; None for one that was there before.
        port: which of that operation's outputs it is.
        name: what the program calls it; "" if that is not known.
    """

    def __init__(self, sample: Sample, maker: Operation | None = None, port: int = 0) -> None:
        self.sample = sample
        # Weakly: the operation holds its results, and a circle would keep arrays alive.
        self._maker = None if maker is None else weakref.ref(maker)
        self.port = port
        self.name = ""

    @property
    def maker(self) -> Operation | None:
        return None if self._maker is None else self._maker()


class Argument(NamedTuple):
    """An array that went into an operation.

    Attributes:
        name: what the operation calls it.
        position: among the positional arguments.
        value: None where only the operation's backward was recorded.
    """

    name: str
    position: int
    value: Value | None


@dataclass(eq=False)
class Operation:
    """One operation.

    Attributes:
        function: the class of its Function.
        line: the place "file.py:12" in the program that called it.
        within: the operation whose backward it is part of, or "".
        inputs: its arguments that are arrays.
        outputs: its results.
        parameters: the arguments that are not arrays.
        arguments, keywords: all arguments as they were passed, by position and by name.
        facts: further arrays that its formula shows, by name.
        saved: bytes kept for backward.
    """

    function: type
    line: str
    within: str
    inputs: list[Argument]
    outputs: list[Value]
    parameters: dict[str, Any] = field(default_factory=dict)
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Sample] = field(default_factory=dict)
    saved: int = 0

    @property
    def name(self) -> str:
        return self.function.__name__


@dataclass(eq=False)
class Step:
    """One thing that happened: an operation ran forward or backward.

    Attributes:
        phase: "forward" or "backward".
        operation: the one that ran.
        given: backward: the gradient of each of its outputs.
        made: backward: the gradient of each of its inputs, as far as this operation contributes.
        sums: backward: for each input that had contributions before, the sum so far.
        facts: backward: further arrays that the formula shows, by name.
    """

    phase: str
    operation: Operation
    given: list[Sample | None] = field(default_factory=list)
    made: list[Sample | None] = field(default_factory=list)
    sums: list[Sample | None] = field(default_factory=list)
    facts: dict[str, Sample] = field(default_factory=dict)


def array_of(value: Any) -> Any:
    """The array of a tensor, an array itself; None for anything else, numbers included."""
    if isinstance(value, Tensor):
        return value.data
    if isinstance(value, np.generic):
        return None
    return value if all(hasattr(value, name) for name in ("shape", "dtype", "ndim")) else None
