"""The page: what was recorded as JSON, and the files of page/ around it, in one HTML file."""

from __future__ import annotations

import base64
import html
import json
import linecache
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...backend.geometry import ConvGeometry
from ...backend.roi_grid import RoiGrid
from .formulas import EACH, argument_name, formula_of, title_of
from .layout import layout
from .relations import relation_of
from .sample import CAPTURED, Sample
from .tape import Operation, Step, Value

__all__ = ["page"]

FOLDER = Path(__file__).with_name("page")
SCRIPTS = (
    *("numbers.js", "relations.js", "formula.js", "heatmap.js", "graph.js", "cards.js"),
    "stepper.js",
)
SMALLEST = 16  # numbers of an array: with fewer a page shows nothing
UNSAID = ("return_indices", "nan_shares", "unique", "dtype")  # parameters of no interest
BYTES = 16 / 3  # of the page for a float32: four thirds of four


def page(steps: Sequence[Step], title: str, limit: int) -> str:
    """The text of the page.

    Args:
        steps: what happened, in this order.
        title: of the page.
        limit: bytes that the text stays below; arrays are sampled accordingly.

    Raises:
        ValueError: there are too many steps for that.
    """
    writer = _Writer(steps)
    template = (FOLDER / "page.html").read_text("utf-8")
    template = template.replace("{{title}}", html.escape(title))
    template = template.replace("{{style}}", (FOLDER / "page.css").read_text("utf-8"))
    scripts = [(FOLDER / name).read_text("utf-8") for name in SCRIPTS]
    template = template.replace("{{script}}", "\n".join(scripts))
    budget = CAPTURED
    while budget >= SMALLEST:
        if writer.numbers(budget) * BYTES < limit:
            # (In a script element only "<" could end it.)
            data = json.dumps(writer.written(budget), separators=(",", ":"), ensure_ascii=False)
            text = template.replace("{{tape}}", data.replace("<", "\\u003c"))
            if len(text.encode()) < limit:
                return text
        budget //= 2
    raise ValueError(
        f"html: {len(steps)} steps do not fit into {limit} bytes, even with {SMALLEST} numbers of "
        "each array; record a part of the computation, or fewer repetitions of it"
    )


class _Writer:
    """What was recorded, as JSON. Each array is written once, wherever it appears."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._operations = list(dict.fromkeys(step.operation for step in steps))
        self._samples: list[Sample] = []
        self._numbers: dict[Any, int] = {}  # by content
        self._data = self._tape()

    def numbers(self, budget: int) -> int:
        """How many numbers the arrays have, with at most `budget` of each."""
        return sum(min(sample.values.size, budget) for sample in self._samples)

    def written(self, budget: int) -> dict[str, Any]:
        arrays = [_array(sample.thinned(budget)) for sample in self._samples]
        return {**self._data, "arrays": arrays}

    def _sample(self, sample: Sample | None) -> int | None:
        """The number of an array; one that has the same content has the same number."""
        if sample is None:
            return None
        content = sample.shape, sample.dtype, sample.values.tobytes()
        if content not in self._numbers:
            self._numbers[content] = len(self._samples)
            self._samples.append(sample)
        return self._numbers[content]

    def _tape(self) -> dict[str, Any]:
        number = {id(operation): i for i, operation in enumerate(self._operations)}
        return {
            "operations": [self._operation(operation) for operation in self._operations],
            "steps": [
                {
                    "phase": step.phase,
                    "operation": number[id(step.operation)],
                    "given": [self._sample(g) for g in step.given],
                    "made": [self._sample(g) for g in step.made],
                    "sums": [self._sample(g) for g in step.sums],
                    "facts": {name: self._sample(fact) for name, fact in step.facts.items()},
                }
                for step in self._steps
            ],
            "graph": _graph(self._operations),
        }

    def _operation(self, operation: Operation) -> dict[str, Any]:
        formula = formula_of(operation)
        file, line, source = _place(operation.line)
        return {
            "name": operation.name,
            "title": title_of(operation),
            "within": operation.within,
            "place": f"{file}:{line}",
            "source": source,
            "saved": operation.saved,
            "inputs": [
                {
                    "name": argument_name(operation, argument.name),
                    "called": argument.value.name if argument.value else "",
                    "array": self._sample(argument.value.sample) if argument.value else None,
                }
                for argument in operation.inputs
            ],
            "outputs": [
                {
                    "name": _output_name(operation, port),
                    "called": value.name,
                    "array": self._sample(value.sample),
                }
                for port, value in enumerate(operation.outputs)
            ],
            "parameters": _described(operation.parameters),
            "numbers": _plain_numbers(operation.parameters),
            "facts": {name: self._sample(fact) for name, fact in operation.facts.items()},
            "forward": formula.forward,
            "backward": {
                argument_name(operation, name): text for name, text in formula.backward.items()
            },
            "each": operation.name in EACH,
            "relation": self._with_arrays(relation_of(operation)),
        }

    def _with_arrays(self, relation: Any) -> Any:
        """A relation with numbers of arrays in the place of samples."""
        if isinstance(relation, Sample):
            return self._sample(relation)
        if isinstance(relation, dict):
            return {name: self._with_arrays(value) for name, value in relation.items()}
        if isinstance(relation, list):
            return [self._with_arrays(value) for value in relation]
        return relation


def _output_name(operation: Operation, port: int) -> str:
    if len(operation.outputs) == 1:
        return "y"
    return ("y", "indices")[port] if operation.name == "MaxPool" else f"y[{port}]"


def _place(line: str) -> tuple[str, str, str]:
    """(file without its folder, line number, text of the line) of "folder/file.py:12"."""
    file, _, number = line.rpartition(":")
    source = linecache.getline(file, int(number)).strip()
    *folders, name = file.replace("\\", "/").split("/")
    if folders and folders[-1].startswith("ipykernel_"):  # a notebook's cell, under a number
        name = "cell"
    return name, number, source


def _described(parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """Parameters as text: those that say something to a reader."""
    found: list[tuple[str, str]] = []
    for name, value in parameters.items():
        if name in UNSAID:
            continue
        if isinstance(value, ConvGeometry):
            found += _described(
                {
                    "kernel": value.kernel,
                    "stride": value.stride,
                    "padding": tuple(value.padding),
                    "dilation": value.dilation,
                    "groups": value.groups,
                }
            )
        elif isinstance(value, RoiGrid):
            found += _described(value._asdict())
        elif isinstance(value, (bool, int, float, str, np.generic)):
            found.append((name, str(value)))
        elif isinstance(value, tuple) and value and len(str(value)) < 80:
            found.append((name, str(_short(value))))
    return found


def _short(value: tuple[Any, ...]) -> Any:
    """A tuple of equal things as one of them."""
    if len(value) > 1 and all(v == value[0] for v in value):
        return _short(value[0]) if isinstance(value[0], tuple) else value[0]
    return value


def _plain_numbers(parameters: dict[str, Any]) -> dict[str, float | str]:
    """The parameters that a formula can show as numbers."""
    infinite = {"low": "−∞", "high": "∞"}
    found: dict[str, float | str] = {}
    for name, value in parameters.items():
        if value is None and name in infinite:
            found[name] = infinite[name]
        elif isinstance(value, (int, float, np.generic)) and np.isfinite(value):
            found[name] = float(value)
    return found


def _array(sample: Sample) -> dict[str, Any]:
    values = sample.values
    kind = values.dtype.kind
    if kind == "b":
        code, data = "u1", values.astype(np.uint8)
    elif kind in "iu":
        small = not values.size or (values.min() >= -(2**31) and values.max() < 2**31)
        code, data = ("i4", values.astype("<i4")) if small else ("f8", values.astype("<f8"))
    elif values.dtype == np.float64:
        code, data = "f8", values.astype("<f8")
    else:
        code, data = "f4", values.astype("<f4")
    return {
        "shape": sample.shape,
        "dtype": sample.dtype,
        "places": [(len(p), p.step) for p in sample.places],
        "code": code,
        "data": base64.b64encode(np.ascontiguousarray(data).tobytes()).decode(),
    }


# -- the graph -------------------------------------------------------------------------------------


def _graph(operations: Sequence[Operation]) -> dict[str, Any]:
    """The picture of the graph: nodes are operations and the values that none of them made."""
    nodes: list[dict[str, Any]] = []
    edges: list[tuple[int, int]] = []
    place: dict[int, int] = {}  # id of an operation or value -> its node

    def add(key: Any, node: dict[str, Any]) -> None:
        place[id(key)] = len(nodes)
        nodes.append(node)

    for number, operation in enumerate(operations):
        for argument in operation.inputs:
            value = argument.value
            if value is not None and value.maker is None and id(value) not in place:
                label = _end_of(value.name) or argument_name(operation, argument.name)
                add(value, {"label": label, "detail": _shape(value), "operation": None})
        detail = _shape(operation.outputs[0]) if operation.outputs else "backward only"
        add(operation, {"label": operation.name, "detail": detail, "operation": number})
        for argument in operation.inputs:
            if argument.value is not None:
                source = argument.value.maker or argument.value
                edges.append((place[id(source)], place[id(operation)]))
    widths = [_width(node) for node in nodes]
    picture = layout(widths, edges)
    for node, width, (x, y) in zip(nodes, widths, picture.places, strict=True):
        node |= {"x": round(x, 1), "y": round(y, 1), "width": round(width, 1)}
    return {
        "width": round(picture.width, 1),
        "height": round(picture.height, 1),
        "nodes": nodes,
        "edges": [
            {
                "from": start,
                "to": end,
                "route": [(round(x, 1), round(y, 1)) for x, y in route],
            }
            for (start, end), route in zip(edges, picture.routes, strict=True)
        ],
    }


def _end_of(name: str) -> str:
    """A name, of a long path its last two parts."""
    return name if len(name) < 20 else "…" + ".".join(name.split(".")[-2:])


def _shape(value: Value) -> str:
    return " × ".join(map(str, value.sample.shape)) or "a number"


def _width(node: dict[str, Any]) -> float:
    """Wide enough for the node's two lines of text."""
    return max(64.0, 7.6 * len(node["label"]) + 22, 6.0 * len(node["detail"]) + 18)
