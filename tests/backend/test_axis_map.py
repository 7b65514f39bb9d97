"""Linear maps along an axis, against the dense matrices they stand for."""

import numpy as np
import pytest

from minidl.backend.axis_map import AxisMap


def some_map(rng, size, outputs, taps):
    """With repeated inputs, inputs that nobody uses, and zero weights."""
    indices = rng.integers(0, size, (taps, outputs))
    weights = rng.standard_normal((taps, outputs)) * (rng.random((taps, outputs)) < 0.7)
    return AxisMap(size, indices, weights)


def by_definition(map, x):
    return np.array(
        [
            sum(w * x[i] for i, w in zip(map.indices[:, o], map.weights[:, o], strict=True))
            for o in range(map.output_size)
        ]
    )


@pytest.mark.parametrize(("size", "outputs", "taps"), [(5, 7, 3), (7, 2, 4), (1, 4, 1), (6, 6, 1)])
def test_the_matrix_and_the_transposed_map_are_those_of_the_definition(size, outputs, taps):
    rng = np.random.default_rng(size)
    map = some_map(rng, size, outputs, taps)
    x, y = rng.standard_normal(size), rng.standard_normal(outputs)
    assert map.matrix().shape == (outputs, size)
    assert np.allclose(map.matrix() @ x, by_definition(map, x))
    assert np.allclose(map.T.matrix(), map.matrix().T)
    assert np.allclose(by_definition(map.T, y), map.matrix().T @ y)


def test_transposing_twice_gives_the_map_itself():
    map = some_map(np.random.default_rng(0), 5, 3, 2)
    assert map.T.T is map
    assert map.T.T.T is map.T


def test_unused_entries_stay_within_the_inputs_of_their_output():
    # A stray infinity at input 0 must not reach outputs that do not read it.
    map = AxisMap(4, np.array([[0, 1, 1, 3, 3, 3]]), np.ones((1, 6))).T
    for o in (1, 3):
        assert set(map.indices[:, o]) <= set(np.flatnonzero(map.matrix()[o]))


def test_windows_side_by_side_are_recognised_as_tiles():
    tiles = AxisMap(6, np.array([[0, 2, 4], [1, 3, 5]]), np.full((2, 3), 0.5))
    assert tiles.tile == 2
    assert AxisMap(6, np.array([[0, 2, 4], [1, 3, 5]]), np.arange(6.0).reshape(2, 3)).tile == 0
    assert AxisMap(7, np.array([[0, 2, 4], [1, 3, 5]]), np.full((2, 3), 0.5)).tile == 0
    assert AxisMap(4, np.array([[0, 1, 2], [1, 2, 3]]), np.full((2, 3), 0.5)).tile == 0


def test_copies_are_recognised():
    assert AxisMap(3, np.array([[2, 2, 0]]), np.ones((1, 3))).selects
    assert not AxisMap(3, np.array([[2, 2, 0]]), np.array([[1.0, 0.0, 1.0]])).selects
    assert AxisMap(3, np.array([[2, 2, 0]]), np.array([[1.0, 0.0, 1.0]])).ragged


def test_what_is_kept_is_made_once():
    map = AxisMap(1, np.zeros((1, 1), np.int64), np.ones((1, 1)))
    made = []
    for _ in range(2):
        map.keep("key", lambda: made.append(1))
    assert map.keep("other", lambda: 7) == 7
    assert made == [1]
