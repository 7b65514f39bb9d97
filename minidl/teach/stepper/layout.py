"""Where the graph's nodes lie in its picture: layers from top to bottom, few crossings.

After Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system
structures", 1981: every node gets a layer; an edge that skips layers gets a bend in each of them;
the nodes of a layer are ordered by the mean place of their neighbours; then they are moved towards
these as far as their neighbours leave room.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Layout", "layout"]

SWEEPS = 12
BEND = 18.0  # the width of an edge that passes through a layer


@dataclass(frozen=True)
class Layout:
    """A picture of a graph, in pixels.

    Attributes:
        width, height: of the picture.
        places: the centre (x, y) of each node.
        routes: for each edge the points it goes through, its ends included.
    """

    width: float
    height: float
    places: list[tuple[float, float]]
    routes: list[list[tuple[float, float]]]


def layout(
    widths: Sequence[float],
    edges: Sequence[tuple[int, int]],
    row: float = 62.0,
    gap: float = 14.0,
) -> Layout:
    """Lay out a graph without circles.

    Args:
        widths: of the nodes, in an order in which every edge leads forward.
        edges: (from, to), numbers of nodes.
        row: pixels from one layer to the next.
        gap: pixels between neighbours in a layer.
    """
    layers_of = _layers(len(widths), edges)
    sizes = list(widths)
    links: list[tuple[int, int]] = []  # between nodes of neighbouring layers
    chains: list[list[int]] = []  # for each edge the nodes and bends it goes through
    for start, end in edges:
        chain = [start]
        for layer in range(layers_of[start] + 1, layers_of[end]):
            chain.append(len(sizes))
            sizes.append(BEND)
            layers_of.append(layer)
        chain.append(end)
        chains.append(chain)
        links += itertools.pairwise(chain)

    layers: list[list[int]] = [[] for _ in range(max(layers_of, default=-1) + 1)]
    for node, layer in enumerate(layers_of):
        layers[layer].append(node)
    above: list[list[int]] = [[] for _ in sizes]
    below: list[list[int]] = [[] for _ in sizes]
    for start, end in links:
        above[end].append(start)
        below[start].append(end)
    _order(layers, above, below)
    x = _place(layers, above, below, sizes, gap)

    left = min((x[n] - sizes[n] / 2 for n in range(len(sizes))), default=0.0) - gap
    right = max((x[n] + sizes[n] / 2 for n in range(len(sizes))), default=0.0) + gap
    points = [(x[n] - left, (layers_of[n] + 0.5) * row) for n in range(len(sizes))]
    return Layout(
        right - left,
        len(layers) * row,
        points[: len(widths)],
        [[points[n] for n in chain] for chain in chains],
    )


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The layer of each node: one below its lowest source; a source just above its first target."""
    layers = [0] * count
    for start, end in sorted(edges, key=lambda edge: edge[1]):
        layers[end] = max(layers[end], layers[start] + 1)
    targets: dict[int, list[int]] = {}
    for start, end in edges:
        targets.setdefault(start, []).append(end)
    has_source = {end for _, end in edges}
    for node, following in targets.items():
        if node not in has_source:
            layers[node] = min(layers[n] for n in following) - 1
    return layers


def _order(layers: list[list[int]], above: list[list[int]], below: list[list[int]]) -> None:
    """Sort each layer by the mean place of the neighbours above, then below, and so on."""
    place = {n: float(i) for layer in layers for i, n in enumerate(layer)}
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else layers[::-1]:
            means = {
                n: _mean([place[m] for m in (above if down else below)[n]], place[n]) for n in layer
            }
            layer.sort(key=means.__getitem__)
            for i, n in enumerate(layer):
                place[n] = float(i)


def _place(
    layers: list[list[int]],
    above: list[list[int]],
    below: list[list[int]],
    sizes: list[float],
    gap: float,
) -> dict[int, float]:
    """The x of each node: near its neighbours, in the order of its layer."""
    x: dict[int, float] = {}
    for layer in layers:
        end = 0.0
        for n in layer:
            x[n] = end + sizes[n] / 2
            end += sizes[n] + gap
        for n in layer:
            x[n] -= end / 2
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else layers[::-1]:
            wished = [_mean([x[m] for m in (above[n] if down else below[n])], x[n]) for n in layer]
            _settle(layer, wished, x, sizes, gap)
    return x


def _settle(
    layer: list[int], wished: list[float], x: dict[int, float], sizes: list[float], gap: float
) -> None:
    """Give nodes the places nearest to the wished ones that keep their order and distance.

    Nodes that would overlap are joined to a block, which lies where its nodes wish on average.
    """
    blocks: list[list[float]] = []  # [sum of the wishes for its start, nodes, width]
    for n, wish in zip(layer, wished, strict=True):
        width = sizes[n] + gap
        blocks.append([wish - width / 2, 1, width])
        while len(blocks) > 1:
            (first, many, long), (second, more, wide) = blocks[-2:]
            if first / many + long <= second / more:
                break
            blocks[-2:] = [[first + second - more * long, many + more, long + wide]]
    nodes = iter(layer)
    for total, count, _ in blocks:
        start = total / count
        for _ in range(int(count)):
            n = next(nodes)
            x[n] = start + (sizes[n] + gap) / 2
            start += sizes[n] + gap


def _mean(numbers: list[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise
