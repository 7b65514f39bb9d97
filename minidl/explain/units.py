"""What single units answer to: a layer's outputs, and the patches of pictures that excite a unit.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014, figure 2, show for
a unit the nine patches that excite it most; a patch is all that the unit sees, its receptive field.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..autograd import Function, Tensor, enable_grad, no_grad
from ..backend.axis_map import AxisMap
from ..nn import Module
from ..nn.modes import eval_mode
from ..ops.common import Cast
from ..ops.conv import Conv
from ..ops.norm import ChannelAffine, ChannelWindow
from ..ops.pool import MaxPool
from ..ops.resize import Resample
from ..ops.shape import Cat, Clone, Pad, Permute, Reshape, Slice, Split
from .common import as_input, graph, on_host, outputs_of, the_output

__all__ = ["TopPatches", "activations", "receptive_windows", "top_patches"]


def activations(
    model: Module, x: Any, layers: Sequence[str], *, batch_size: int = 128
) -> dict[str, np.ndarray]:
    """What layers of a network give for pictures, in evaluation mode.

    For a whole data set, and maps as their means, see `training.features`.

    Args:
        model: the network.
        x: (N, ...), a tensor or an array.
        layers: paths of modules; "": the network's own output.
        batch_size: inputs that go through the network together.

    Returns:
        for each layer its outputs, (N, ...), on the host.

    Raises:
        AttributeError: the model has no such module.
        TypeError: its output is not a tensor.
        ValueError: it does not run once, or there are no inputs.
    """
    if not len(x):
        raise ValueError("activations: there are no inputs")
    device = next(iter(model.parameters())).device
    rows: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    with eval_mode(model), no_grad():
        for first in range(0, len(x), batch_size):
            part = x[first : first + batch_size]
            part = part.to(device) if isinstance(part, Tensor) else Tensor(part, device=device)
            with outputs_of(model, *layers) as outputs:
                model(part)
            for layer, found in outputs.items():
                rows[layer].append(on_host(the_output("activations", layer, found)))
    return {layer: np.concatenate(parts) for layer, parts in rows.items()}


class TopPatches(NamedTuple):
    """The patches that excite a unit most, the best first.

    Attributes:
        patches: (count, C, h, w); black (0) where the unit looks beyond the border.
        values: (count,), the unit's answers.
        indices: (count,) int64, which pictures of the data set they are from.
        boxes: (count, 4) int64, where: `(x1, y1, x2, y2)`, half-open; may reach beyond the border.
    """

    patches: np.ndarray
    values: np.ndarray
    indices: np.ndarray
    boxes: np.ndarray


def top_patches(
    model: Module, loader: Iterable[Any], layer: str, unit: int, count: int = 9
) -> TopPatches:
    """The patches of a data set's pictures that excite a unit of a layer most, one of a picture.

    Args:
        model: the network.
        loader: batches: pictures (N, C, H, W) of one size, or tuples that begin with them.
        layer: the path of a module that gives (N, K) or maps (N, K, h, w).
        unit: k.
        count: how many patches.

    Returns:
        at most `count` patches, of the size of the layer's (largest) receptive field.

    Raises:
        AttributeError: the model has no such module.
        TypeError: it does not give a tensor, or a batch no pictures.
        ValueError: it has no such unit or does not run once, or the loader is empty.
    """
    best: list[tuple[float, int, Any]] = []  # (answer, which picture, its pixels, rows, columns)
    windows = None
    seen = 0
    for batch in loader:
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        x = as_input("top_patches", x, pictures=True).detach()
        answers = activations(model, x, [layer], batch_size=max(1, len(x)))[layer]
        if answers.ndim not in (2, 4) or not 0 <= unit < answers.shape[1]:
            raise ValueError(f"top_patches: {layer!r} gives {answers.shape}: no unit {unit}")
        if windows is None:
            # Of one size, also where those of adaptive pooling differ by a pixel.
            windows = [
                np.stack([first, first + (end - first).max()], 1)
                for first, end in (w.T for w in receptive_windows(model, layer, x.shape[1:]))
            ]
        rows, columns = windows
        maps = answers[:, unit].reshape(len(x), len(rows), len(columns))
        pictures = on_host(x)
        for n, plane in enumerate(maps):
            i, j = np.unravel_index(plane.argmax(), plane.shape)
            best.append((float(plane[i, j]), seen + n, (pictures[n], rows[i], columns[j])))
        # Sorting is stable: of equal answers the first picture's comes first.
        best = sorted(best, key=lambda entry: -entry[0])[:count]
        seen += len(x)
    if not best:
        raise ValueError("top_patches: the loader has no batches")
    boxes = [[columns[0], rows[0], columns[1], rows[1]] for _, _, (_, rows, columns) in best]
    return TopPatches(
        np.stack([_cut(*place) for _, _, place in best]),
        np.array([value for value, _, _ in best], answers.dtype),
        np.array([index for _, index, _ in best], np.int64),
        np.array(boxes, np.int64),
    )


def _cut(picture: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A part of a picture (C, H, W), black beyond its border."""
    (top, bottom), (left, right) = rows.tolist(), columns.tolist()
    patch = np.zeros((len(picture), bottom - top, right - left), picture.dtype)
    inside = picture[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    i, j = max(-top, 0), max(-left, 0)
    patch[:, i : i + inside.shape[1], j : j + inside.shape[2]] = inside
    return patch


def receptive_windows(
    model: Module, layer: str, shape: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels the units of a layer see: their receptive fields.

    The operations between the picture and the layer are followed back: windows of convolutions and
    pooling, resizing, margins; branches are united. Behind any other operation that moves pixels
    (a flattening, attention) a unit counts as seeing everything. Araujo et al., "Computing
    receptive fields of convolutional neural networks", 2019.

    Args:
        model: the network.
        layer: the path of a module that gives (N, K) or maps (N, K, h, w).
        shape: (C, H, W) of a picture.

    Returns:
        rows (h, 2) and columns (w, 2) int64, from the first pixel to behind the last: unit (i, j)
        sees rows `rows[i]` and columns `columns[j]`, which may reach beyond the border. h = w = 1
        for (N, K).

    Raises:
        AttributeError: the model has no such module.
        TypeError: its output is not a tensor.
        ValueError: it does not run once, or does not depend on the picture.

    Example:
        >>> rows, columns = receptive_windows(lenet5(), "conv2", (1, 28, 28))
        >>> rows[0], rows[1]  # 14 pixels; the first two are LeNet's margin
        (array([-2, 12]), array([ 0, 14]))
    """
    like = next(iter(model.parameters()))
    x = Tensor(np.zeros((1, *shape)), device=like.device).to(like.dtype)
    x = as_input("receptive_windows", x, pictures=True)
    with eval_mode(model), enable_grad(), outputs_of(model, layer) as outputs:
        model(x)
    output = the_output("receptive_windows", layer, outputs[layer])
    rows, columns = (np.tile(np.arange(n)[:, None], 2) for n in output.shape[-2:])
    fields: dict[int, _Field] = {
        id(output if output._node is None else output._node): _Field(
            rows, columns, output.shape[2:]
        )
        if output.ndim == 4
        else _everything((1, 1), output.shape)
    }
    for node in graph(output):
        for argument, edge in enumerate(node.edges):
            if edge is None or (isinstance(edge[0], Tensor) and edge[0] is not x):
                continue  # a parameter
            source, index = edge
            before = source.shape if isinstance(source, Tensor) else source.results[index][0]
            field = _behind(node, argument, fields[id(node)], before)
            other = fields.get(id(source))
            fields[id(source)] = field if other is None else _united(field, other)
    if id(x) not in fields:
        raise ValueError(f"receptive_windows: {layer!r} does not depend on the picture")
    return fields[id(x)].rows + [0, 1], fields[id(x)].columns + [0, 1]


class _Field(NamedTuple):
    """What the units depend on in the result of an operation.

    Attributes:
        rows, columns: (h, 2) and (w, 2), of each unit the first and the last.
        grid: (H, W) of the result's maps, which may lie flat in it, as (N, C, H W); None: no maps.
    """

    rows: np.ndarray
    columns: np.ndarray
    grid: tuple[int, ...] | None

    def lies_in(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape can hold these maps."""
        if self.grid is None or len(shape) < 3:
            return False
        return shape[-2:] == self.grid or shape[-1] == self.grid[0] * self.grid[1]


def _behind(node: Function, argument: int, field: _Field, before: tuple[int, ...]) -> _Field:
    """The field in one argument, of shape `before`, of an operation whose result has `field`."""
    sides, grid = (field.rows, field.columns), before[-2:]
    if len(before) >= 4 and argument == 0:
        if isinstance(node, (Conv, MaxPool)):
            g = node.geometry
            reach = [(-p[0], s - 1 - p[0]) for p, s in zip(g.padding, g.span, strict=True)]
            rows, columns = (f * s + r for f, s, r in zip(sides, g.stride, reach, strict=True))
            return _Field(rows, columns, grid)
        if isinstance(node, Resample):
            rows, columns = (_resampled(f, map) for f, map in zip(sides, node.maps, strict=True))
            return _Field(rows, columns, grid)
        if isinstance(node, Pad):
            rows, columns = (f - a for f, (a, _) in zip(sides, node.widths[-2:], strict=True))
            return _Field(rows, columns, grid)
    fits = field.lies_in(before) and field.lies_in(node.results[0][0])
    if fits and _keeps_pixels(node, len(before)):
        return field
    return _everything((len(field.rows), len(field.columns)), before)


def _keeps_pixels(node: Function, rank: int) -> bool:
    """Whether pixels stay where they are, and do not see each other, if maps keep their size."""
    if isinstance(node, Permute):
        return node.dims[-2:] == (rank - 2, rank - 1)
    if isinstance(node, (Cast, Cat, ChannelAffine, ChannelWindow, Clone, Reshape, Slice, Split)):
        return True
    room = type(node).__module__.rpartition(".")[2]
    return room in ("activation", "arithmetic", "elementwise")


def _resampled(field: np.ndarray, map: AxisMap | None) -> np.ndarray:
    if map is None:
        return field
    inside = np.clip(field, 0, map.output_size - 1)
    return np.stack([map.indices[:, inside[:, 0]].min(0), map.indices[:, inside[:, 1]].max(0)], 1)


def _everything(units: tuple[int, int], shape: tuple[int, ...]) -> _Field:
    """The field of so many rows and columns of units that see all of an array."""
    grid = shape[-2:] if len(shape) >= 4 else None
    rows, columns = (
        np.tile([[0, n - 1]], (count, 1)) for count, n in zip(units, grid or (1, 1), strict=True)
    )
    return _Field(rows, columns, grid)


def _united(a: _Field, b: _Field) -> _Field:
    rows, columns = (
        np.stack([np.minimum(p[:, 0], q[:, 0]), np.maximum(p[:, 1], q[:, 1])], 1)
        for p, q in zip(a[:2], b[:2], strict=True)
    )
    return _Field(rows, columns, a.grid)
