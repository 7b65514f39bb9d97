"""Parameters laid end to end: order, views, runs."""

import numpy as np
import pytest

from minidl.autograd import Tensor
from minidl.optim.flat import lay_out

SHAPES = [(3, 4), (5,), (), (0, 2), (2, 2)]


def parameters(dtype=np.float32):
    rng = np.random.default_rng(0)
    return [Tensor(rng.normal(size=s).astype(dtype), requires_grad=True) for s in SHAPES]


def test_values_order_and_shapes_stay():
    params = parameters()
    before = [p.data.copy() for p in params]
    (flat,) = lay_out(params)
    np.testing.assert_array_equal(flat.data, np.concatenate([x.ravel() for x in before]))
    for p, x in zip(params, before, strict=True):
        np.testing.assert_array_equal(p.data, x)
        assert p.numel() == 0 or np.shares_memory(p.data, flat.data)


def test_a_replaced_array_is_noticed():
    params = parameters()
    (flat,) = lay_out(params)
    assert flat.intact
    params[1].data = params[1].data.copy()
    assert not flat.intact


def test_arrays_in_another_memory_order_are_laid_out_by_their_indices():
    values = np.arange(6.0).reshape(2, 3)
    p = Tensor(np.asfortranarray(values), requires_grad=True)
    (flat,) = lay_out([p])
    np.testing.assert_array_equal(flat.data, np.arange(6.0))
    p.grad = Tensor(np.asfortranarray(10 * values))
    (run,) = flat.runs((), lambda p: 0)
    np.testing.assert_array_equal(run.grad, 10 * np.arange(6.0))


def test_each_dtype_and_device_has_an_array_of_its_own():
    mixed = [*parameters(np.float32), *parameters(np.float64)]
    mixed += [Tensor(p.data, device="strict", requires_grad=True) for p in parameters()]
    flats = lay_out(mixed)
    assert [str(flat.params[0].dtype) for flat in flats] == ["float32", "float64", "float32"]
    assert [len(flat.params) for flat in flats] == [5, 5, 5]


@pytest.mark.parametrize(
    ("missing", "ages", "expected"),
    [
        ((), (0, 0, 0, 0, 0), [(0, 5, 0)]),
        ((1,), (2, 2, 2, 2, 2), [(0, 1, 2), (2, 5, 2)]),
        ((), (3, 3, 1, 1, 3), [(0, 2, 3), (2, 4, 1), (4, 5, 3)]),
        ((0, 4), (0, 0, 0, 5, 0), [(1, 3, 0), (3, 4, 5)]),
        ((0, 1, 2, 3, 4), (0, 0, 0, 0, 0), []),
    ],
)
def test_runs_are_neighbours_with_gradients_and_of_one_age(missing, ages, expected):
    params = parameters()
    (flat,) = lay_out(params)
    for i, p in enumerate(params):
        p.grad = None if i in missing else Tensor(np.full(p.shape, i, np.float32))
    age_of = dict(zip(map(id, params), ages, strict=True))
    runs = flat.runs((), lambda p: age_of[id(p)])
    found = [([p is r.params[0] for p in params].index(True), len(r.params), r.age) for r in runs]
    assert found == [(first, stop - first, age) for first, stop, age in expected]
    for run in runs:
        np.testing.assert_array_equal(
            run.param, np.concatenate([p.data.ravel() for p in run.params])
        )
        for p, place in zip(run.params, run.places, strict=True):
            np.testing.assert_array_equal(run.grad[place], p.grad.data.ravel())


def test_state_goes_along_into_new_arrays():
    params = parameters()
    (flat,) = lay_out(params)
    state = {params[0]: {"m": Tensor(np.full((3, 4), 7.0, np.float32))}}
    flat.prepare(("m",), state)
    assert flat.states["m"].sum() == 7 * 12
    assert np.shares_memory(state[params[0]]["m"].data, flat.states["m"])
