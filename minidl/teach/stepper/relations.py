"""How the cells of an operation's results hang together with the cells of its inputs.

The page lights the window, the kernel and the output cell that belong together, and writes the
formula with the numbers of just these. For this it needs the parameters that `relation_of` gathers;
page/relations.js says what each kind means.

An operation that only moves numbers is asked itself where they came from: it is run on an array
that holds each element's own place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend import of
from ...backend.axis_map import AxisMap
from ...backend.geometry import ConvGeometry
from ...backend.roi_grid import RoiGrid, align_span, align_weights, pool_windows
from ...ops import common, indexing, losses, matmul, norm, pool, reduction, resize, roi, selection
from ...ops import conv as convolution
from ...ops import shape as shape
from ...ops.softmax import Softmax
from .formulas import EACH
from .sample import Sample
from .tape import Operation, array_of

__all__ = ["relation_of"]

Relation = dict[str, Any]

LARGEST_MOVE = 1 << 20  # elements that are moved a second time to see where they go


def relation_of(operation: Operation) -> Relation | None:
    """The kind of relation and its parameters, JSON but for Samples; None if there is none."""
    if operation.name in EACH:
        return {"kind": "each"}
    if not operation.outputs:
        return None
    make = _RELATIONS.get(operation.function)
    return None if make is None else make(operation)


# -- sliding windows ------------------------------------------------------------------------------


def _geometry(geometry: ConvGeometry) -> Relation:
    return {
        "kernel": geometry.kernel,
        "stride": geometry.stride,
        "padding": geometry.padding,
        "dilation": geometry.dilation,
        "groups": geometry.groups,
    }


def _conv(operation: Operation) -> Relation:
    return {"kind": "conv", **_geometry(operation.parameters["geometry"])}


def _conv_transpose(operation: Operation) -> Relation:
    return {"kind": "conv_transpose", **_geometry(operation.parameters["geometry"])}


def _max_pool(operation: Operation) -> Relation:
    parameters = operation.parameters
    return {"kind": "max_pool", "dims": parameters["dims"], **_geometry(parameters["geometry"])}


# -- weights along each axis ----------------------------------------------------------------------


def _resample(operation: Operation) -> Relation:
    tables = [None if map is None else _table(map) for map in operation.parameters["maps"]]
    return {"kind": "weights", "tables": [[*[None] * (2 - len(tables)), *tables]], "boxes": None}


def _table(map: AxisMap) -> list[list[tuple[int, float]]]:
    """For each output the (input, weight) it is made of."""
    return [
        [(int(i), float(w)) for i, w in zip(indices, weights, strict=True) if w]
        for indices, weights in zip(map.indices.T, map.weights.T, strict=True)
    ]


def _roi_align(operation: Operation) -> Relation:
    grid, rois, size = _regions(operation)
    tables, spans, samples = [], [], []
    for axis in (0, 1):
        pixels = np.arange(size[axis], dtype=rois.dtype)
        weights = align_weights(np, rois, axis, grid, pixels, size[axis])
        tables.append([[_nonzero(bin) for bin in box] for box in weights])
        start, length = align_span(np, rois, axis, grid)
        # In units of cells, from the edge of the first one: its centre is 0 to `align_span`.
        edges = np.linspace(start + 0.5, start + length + 0.5, grid.bins[axis] + 1, axis=1)
        spans.append(np.stack([edges[:, :-1], edges[:, 1:]], 2).tolist())
        counts = [grid.samples or math.ceil(n / grid.bins[axis]) for n in length]
        samples.append([max(0, c) for c in counts])
    return {
        "kind": "weights",
        "tables": [list(pair) for pair in zip(*tables, strict=True)],
        "boxes": _boxes(rois, spans, samples),
    }


def _roi_pool(operation: Operation) -> Relation:
    grid, rois, size = _regions(operation)
    tables, spans = [], []
    for axis in (0, 1):
        start, stop = pool_windows(np, rois, axis, grid, size[axis], True)
        windows = np.stack([start, stop], 2)
        tables.append([[list(range(int(a), int(b))) for a, b in box] for box in windows])
        spans.append(windows.tolist())
    return {
        "kind": "max_regions",
        "tables": [list(pair) for pair in zip(*tables, strict=True)],
        "boxes": _boxes(rois, spans, None),
    }


def _regions(operation: Operation) -> tuple[RoiGrid, np.ndarray, tuple[int, int]]:
    """The grid, the boxes that are on the page, and the size of the map."""
    x, rois = [argument.value.sample for argument in operation.inputs if argument.value]
    return operation.parameters["grid"], rois.values.astype(np.float64), x.shape[2:]  # type: ignore


def _boxes(rois: np.ndarray, spans: Any, samples: Any) -> list[Relation]:
    """For each box its image, (start, stop) of each bin along both axes, and samples in a bin."""
    return [
        {
            "image": int(rois[k, 0]),
            "rows": spans[0][k],
            "columns": spans[1][k],
            "samples": samples and [samples[0][k], samples[1][k]],
        }
        for k in range(len(rois))
    ]


def _nonzero(weights: np.ndarray) -> list[tuple[int, float]]:
    return [(int(i), float(weights[i])) for i in np.flatnonzero(weights)]


# -- products, sums, and what takes all of an axis -------------------------------------------------


def _matmul(operation: Operation) -> Relation:
    return {"kind": "matmul"}


def _linear(operation: Operation) -> Relation:
    return {"kind": "linear"}


def _sum(operation: Operation) -> Relation:
    return _over_axes(operation, "sum")


def _mean(operation: Operation) -> Relation:
    relation = _over_axes(operation, "sum")
    count = math.prod(_shape_of(operation)[axis] for axis in relation["axes"])
    return {**relation, "factor": 1 / count if count else 0.0}


def _extreme(operation: Operation) -> Relation:
    return {**_over_axes(operation, "extreme"), "name": operation.parameters["name"]}


def _over_axes(operation: Operation, kind: str) -> Relation:
    axes = operation.parameters["axes"]
    return {"kind": kind, "axes": axes, "keepdim": operation.parameters["keepdim"], "factor": 1}


def _channel_sum(operation: Operation) -> Relation:
    axes = [axis for axis in range(len(_shape_of(operation))) if axis != 1]
    return {"kind": "sum", "axes": axes, "keepdim": False, "factor": 1}


def _softmax(operation: Operation) -> Relation:
    dim, log = operation.parameters["dim"], operation.parameters["log"]
    return {"kind": "softmax", "axis": dim % len(_shape_of(operation)), "log": log}


def _cross_entropy(operation: Operation) -> Relation:
    parameters = operation.parameters
    return {
        "kind": "cross_entropy",
        "reduction": parameters["reduction"],
        "plain": parameters["smoothing"] == 0 and parameters.get("weight") is None,
        "ignored": parameters["ignore_index"],
    }


def _batch_norm(operation: Operation) -> Relation:
    return {"kind": "norm", "groups": 0, "ceiling": _finite(operation.parameters["ceiling"])}


def _group_norm(operation: Operation) -> Relation:
    return {"kind": "norm", "groups": operation.parameters["groups"], "ceiling": None}


def _finite(ceiling: float | None) -> float | str | None:
    return "inf" if ceiling == math.inf else ceiling


def _channel_affine(operation: Operation) -> Relation:
    return {"kind": "channel_affine"}


def _shape_of(operation: Operation) -> tuple[int, ...]:
    value = operation.inputs[0].value
    assert value is not None
    return value.sample.shape


# -- numbers that only move ------------------------------------------------------------------------


def _move(operation: Operation) -> Relation | None:
    """For each output the places its elements came from, counted through all inputs; -1: none."""
    moved = operation.inputs if operation.function in _ALL_MOVE else operation.inputs[:1]
    shapes = [argument.value.sample.shape for argument in moved if argument.value is not None]
    sizes = [math.prod(each) for each in shapes]
    results = [value.sample for value in operation.outputs]
    if sum(sizes) + sum(math.prod(result.shape) for result in results) > LARGEST_MOVE:
        return None
    # Counted from 1, as what comes from nowhere is 0, and in float64, which all kernels take.
    starts = [0, *itertools.accumulate(sizes)]
    places = [
        np.arange(1.0 + start, 1.0 + start + size).reshape(shape)
        for start, size, shape in zip(starts[:-1], sizes, shapes, strict=True)
    ]
    sources = []
    for place, result in zip(_run_on(places, operation), results, strict=True):
        whole = np.asarray(place).reshape(result.shape).astype(np.int64) - 1
        sources.append(Sample.at(whole, result.places))
    return {"kind": "move", "starts": starts, "sources": sources}


def _run_on(places: list[np.ndarray], operation: Operation) -> list[Any]:
    """The results of an operation with its inputs replaced by `places`."""
    shapes = [value.sample.shape for value in operation.outputs]
    if operation.function is shape.Reshape:
        return [places[0].reshape(shapes[0])]
    if operation.function is shape.Split:
        dim = operation.keywords["dim"]
        ends = list(itertools.accumulate([each[dim] for each in shapes]))
        return np.split(places[0], ends[:-1], dim)
    arguments = [_on_host(value) for value in operation.arguments]
    arguments[: len(places)] = places
    keywords = {k: v for k, v in operation.keywords.items() if k != "value"}  # of margins: 0
    node = operation.function()
    node.recording, node.needs_input_grad = False, (False,) * len(arguments)
    result = node.forward(*arguments, **keywords)
    return list(result) if isinstance(result, tuple) else [result]


def _on_host(value: Any) -> Any:
    array = array_of(value)
    return value if array is None else of(array).to_host(array)


_ALL_MOVE = (shape.Cat, shape.Stack)

_MOVES = [
    *(shape.Reshape, shape.Permute, shape.Slice, shape.Diagonal, shape.Triangle, shape.Cat),
    *(shape.Split, shape.Stack, shape.Unbind, shape.Flip, shape.Roll, shape.Repeat),
    *(shape.RepeatInterleave, shape.Pad, common.BroadcastTo, reduction.Spread, indexing.Take),
    *(selection.TakeAlong, selection.PutAlong, pool.PoolScatter, pool.PoolGather),
]

_RELATIONS: dict[type, Callable[[Operation], Relation | None]] = {
    convolution.Conv: _conv,
    convolution.ConvInputGrad: _conv_transpose,
    convolution.SumOverPixels: _channel_sum,
    pool.MaxPool: _max_pool,
    resize.Resample: _resample,
    roi.RoIAlign: _roi_align,
    roi.RoIPool: _roi_pool,
    matmul.MatMul: _matmul,
    matmul.Linear: _linear,
    reduction.Sum: _sum,
    reduction.Mean: _mean,
    reduction.Extreme: _extreme,
    norm.ChannelSum: _channel_sum,
    norm.ChannelAffine: _channel_affine,
    norm.BatchNorm: _batch_norm,
    norm.GroupNorm: _group_norm,
    Softmax: _softmax,
    losses.CrossEntropy: _cross_entropy,
    **dict.fromkeys(_MOVES, _move),
}
