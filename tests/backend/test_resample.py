"""Linear maps along both axes: the CPU's ways and the plain one, against dense matrices."""

import numpy as np
import pytest

from minidl.backend import of
from minidl.backend.axis_map import AxisMap
from minidl.backend.cpu import planes, threads
from minidl.backend.plain.resample import ResampleKernels
from minidl.ops.pool import _mean_map, _spread_map
from minidl.ops.resize import antialiased_map, area_map, linear_map, nearest_map


class Plain(ResampleKernels):
    xp = np

    def asarray(self, data, dtype=None, index=None):
        return np.asarray(data, dtype)

    def index_of(self, array):
        return None


# Of a vertical axis of 12 and a horizontal one of 15; each kind of each way to compute them.
MAPS = {
    "tiles": (_mean_map(12, 6, 2, 2, 0, True, None), _mean_map(15, 5, 3, 3, 0, True, None)),
    "large tiles": (_mean_map(12, 2, 6, 6, 0, True, None), _mean_map(15, 3, 5, 5, 0, True, None)),
    "overlapping windows": (
        _mean_map(12, 12, 3, 1, 1, False, None),
        _mean_map(15, 8, 3, 2, 1, True, None),
    ),
    "gaps": (_mean_map(12, 3, 2, 5, 0, True, None), _mean_map(15, 4, 1, 4, 0, True, None)),
    "whole planes": (area_map(12, 1), area_map(15, 1)),
    "rows only": (linear_map(12, 30, None, False), None),
    "columns only": (None, nearest_map(15, 7, None, False, np.float32)),
    "up and down": (linear_map(12, 40, None, False), antialiased_map(15, 4, None, False, False)),
    "copies": (
        nearest_map(12, 29, None, False, np.float32),
        nearest_map(15, 40, None, True, np.float32),
    ),
    "repeats": (_spread_map(12, 2, False), _spread_map(15, 3, False)),
    "nails": (_spread_map(12, 2, True), _spread_map(15, 3, True)),
    "far up": (linear_map(12, 100, None, True), linear_map(15, 200, None, False)),
    "neither": (None, None),
}


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def small_pieces(request, monkeypatch):
    monkeypatch.setattr(planes, "PIECE", 9000)
    monkeypatch.setattr(planes, "WORTH_THREADS", 0)
    before, count = threads._State.threads, threads.get_num_threads()
    threads.set_num_threads(request.param)
    yield
    threads.set_num_threads(count)
    threads._State.threads = before


def dense(x, maps):
    y = x.astype(np.float64)
    if maps[0] is not None:
        y = np.einsum("oh,phw->pow", maps[0].matrix(), y)
    if maps[1] is not None:
        y = np.einsum("ow,phw->pho", maps[1].matrix(), y)
    return y


def transposed(maps):
    return tuple(None if map is None else map.T for map in maps)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("kernels", [of(np.zeros(1)), Plain()], ids=["cpu", "plain"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("maps", MAPS.values(), ids=MAPS)
def test_maps_and_their_adjoints_are_products_with_their_matrices(maps, dtype, kernels):
    rng = np.random.default_rng(0)
    tolerance = {"float64": 1e-13, "float32": 1e-5, "float16": 2e-3}[dtype]
    x = rng.standard_normal((23, 12, 15)).astype(dtype)
    y = kernels.resample(x, maps)
    expected = dense(x, maps)
    assert y.dtype == x.dtype
    assert not np.shares_memory(x, y)
    assert y.shape == expected.shape
    assert abs(y - expected).max() <= tolerance * abs(expected).max()

    g = rng.standard_normal(y.shape).astype(dtype)
    expected = dense(g, transposed(maps))
    back = kernels.resample(g, transposed(maps))
    assert back.shape == x.shape
    assert abs(back - expected).max() <= tolerance * abs(expected).max()


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("maps", MAPS.values(), ids=MAPS)
def test_nan_and_infinity_reach_only_outputs_that_read_them(maps):
    x = np.random.default_rng(1).standard_normal((23, 12, 15)).astype(np.float32)
    x[3, 4, 5] = np.inf
    x[17, 0, 0] = np.nan
    for array, way in ((x, maps), (None, transposed(maps))):
        if array is None:
            array = np.ones(of(x).resample(x, maps).shape, np.float32)
            array[5, -1, 0] = np.nan
        with np.errstate(all="ignore"):
            found = ~np.isfinite(of(x).resample(array, way))
        marked = (~np.isfinite(array)).astype(np.float64)
        reads = tuple(
            None
            if map is None
            else AxisMap(map.size, map.indices, (map.weights != 0).astype(np.float64))
            for map in way
        )
        assert np.array_equal(found, dense(marked, reads) > 0)


@pytest.mark.parametrize("kernels", [of(np.zeros(1)), Plain()], ids=["cpu", "plain"])
@pytest.mark.parametrize("name", ["copies", "repeats", "nails"])
def test_integers_are_copied_as_they_are(name, kernels):
    x = np.random.default_rng(2).integers(0, 255, (4, 12, 15), dtype=np.uint8)
    y = kernels.resample(x, MAPS[name])
    assert y.dtype == np.uint8
    assert np.array_equal(y, dense(x, MAPS[name]))


def test_large_sums_in_float16_do_not_lose_digits():
    x = np.full((1, 64, 64), 0.1, np.float16)
    mean = of(x).resample(x, (area_map(64, 1), area_map(64, 1)))
    assert mean[0, 0, 0] == np.float16(0.1)
    assert Plain().resample(x, (area_map(64, 1), area_map(64, 1)))[0, 0, 0] == np.float16(0.1)
