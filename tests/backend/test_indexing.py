"""The indexing kernels: scatter-add and the check of indices."""

import numpy as np
import pytest

from minidl import backend as backends


@pytest.mark.parametrize("device", ["cpu", "strict"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64"])
def test_scatter_add_kernels_equal_add_at_in_every_way_they_take(device, dtype):
    rng = np.random.default_rng(0)
    backend = backends.by_name(device)
    rows, pairs = np.array([2, 0, 2, -1]), np.array([[1, 0, 1], [2, 2, 0]])
    everything = slice(None)
    for shape, key in [
        ((3,), (rows,)),
        ((3, 5), (rows,)),
        ((3, 600), (rows,)),  # long rows
        ((3, 3, 600), (rows, rows)),
        ((2, 3, 300), (everything, pairs)),  # long planes
        ((2, 3, 4), (everything, pairs)),
        ((3, 2, 3), (rows, everything, rows)),
        ((3, 3, 3), (everything, rows[:2, None], rows)),
    ]:
        expected = rng.integers(-3, 4, shape).astype(dtype)
        values = rng.integers(-3, 4, expected[key].shape).astype(dtype)
        out = backend.asarray(expected.copy())
        on_device = tuple(k if isinstance(k, slice) else backend.asarray(k) for k in key)
        np.add.at(expected, key, values)
        backend.scatter_add(out, on_device, backend.asarray(values))
        assert np.array_equal(backend.to_host(out), expected), (shape, key)
    # Into memory that is not contiguous:
    expected = np.zeros((4, 3), dtype)
    out = backend.asarray(np.zeros((3, 4), dtype)).T
    backend.scatter_add(out, (backend.asarray(rows),), backend.asarray(np.ones((4, 3), dtype)))
    np.add.at(expected, (rows,), np.ones((4, 3), dtype))
    assert np.array_equal(backend.to_host(out), expected)


def test_indices_are_checked_on_the_cpu():
    check = backends.by_name("cpu").check_index
    check("op", np.array([0, 2]), 3, 1, negative=False)
    check("op", np.array([-3, 2]), 3, 1, negative=True)
    check("op", np.zeros(0, np.int64), 0, 1, negative=False)
    for bad, negative in ((3, False), (-1, False), (-4, True), (3, True)):
        with pytest.raises(IndexError, match=f"op: index {bad} is out of range for dimension 1"):
            check("op", np.array([0, bad]), 3, 1, negative=negative)
