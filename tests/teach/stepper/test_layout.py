"""Where the graph's nodes are drawn."""

import itertools
import time

import numpy as np
import pytest

from minidl.teach.stepper.layout import layout

GRAPHS = {
    "one node": (1, []),
    "a chain": (5, [(0, 1), (1, 2), (2, 3), (3, 4)]),
    "a residual": (5, [(0, 1), (1, 2), (2, 3), (0, 3), (3, 4)]),
    "four branches": (6, [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (2, 5), (3, 5), (4, 5)]),
    "a square": (2, [(0, 1), (0, 1)]),
    "two parts": (4, [(0, 1), (2, 3)]),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_edges_lead_down_and_nothing_overlaps(name):
    count, edges = GRAPHS[name]
    widths = [60.0 + 10 * i for i in range(count)]
    picture = layout(widths, edges, row=50, gap=10)
    assert len(picture.places) == count
    for (start, end), route in zip(edges, picture.routes, strict=True):
        assert route[0] == picture.places[start]
        assert route[-1] == picture.places[end]
        assert all(b[1] - a[1] == 50 for a, b in itertools.pairwise(route))
    for (i, (x, y)), (j, (v, w)) in itertools.combinations(enumerate(picture.places), 2):
        assert y != w or abs(x - v) >= (widths[i] + widths[j]) / 2 + 10 - 1e-6
    for (x, y), width in zip(picture.places, widths, strict=True):
        assert width / 2 <= x <= picture.width - width / 2
        assert 0 <= y <= picture.height


def test_a_value_lies_just_above_the_operation_that_uses_it():
    # The second operand of the last operation need not be drawn at the top.
    picture = layout([50.0] * 4, [(0, 1), (1, 3), (2, 3)])
    assert picture.places[2][1] == picture.places[1][1]


def test_a_ladder_has_no_crossings():
    # Two chains side by side, joined at the end.
    edges = [(0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6)]
    places = layout([50.0] * 7, edges).places
    signs = {np.sign(places[a][0] - places[b][0]) for a, b in ((0, 1), (2, 3), (4, 5))}
    assert len(signs) == 1


def test_a_network_of_a_thousand_operations_is_laid_out_in_a_moment():
    edges = [(i, i + 1) for i in range(1000)] + [(i, i + 3) for i in range(0, 997, 3)]
    start = time.process_time()
    layout([60.0] * 1001, edges)
    assert time.process_time() - start < 2
