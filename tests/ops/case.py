"""One case of one operation: what the factory in test_all_ops.py checks in every way there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

RTOL = {"float64": 1e-10, "float32": 1e-5, "float16": 1e-2}


@dataclass
class Case:
    """An operation at one point.

    Attributes:
        name: a phrase, as in "conv2d, stride 2, two groups".
        function: minidl's, takes one Tensor for each array, returns a Tensor or a tuple of them.
        inputs: takes a NumPy Generator, returns a tuple of arrays (floats as float64), a few
            hundred elements at most, away from kinks.
        oracle: takes the same arrays, returns an array or a tuple: slow, obvious, independent.
        torch: takes torch and its tensors; the same function there, for parity of values and
            gradients.
        order: how many times it is differentiated: 2, 1 or 0.
        dtypes: the floating-point dtypes it is run in.
        rtol: the error allowed relative to the largest value, where RTOL is too tight.
        strict: whether it also runs on the stand-in for CuPy.
        view: whether the result may share memory with the first input.
    """

    name: str
    function: Callable[..., Any]
    inputs: Callable[..., tuple[Any, ...]]
    oracle: Callable[..., Any] | None
    torch: Callable[..., Any] | None = None
    order: int = 2
    dtypes: tuple[str, ...] = ("float64", "float32", "float16")
    rtol: dict[str, float] | None = None
    strict: bool = True
    view: bool = False

    def __str__(self) -> str:
        return self.name

    def tolerance(self, dtype: str) -> float:
        return (self.rtol or {}).get(dtype, RTOL[dtype])
