"""The max-pooling kernels of the CPU against the plain ones, in pieces and on threads."""

import numpy as np
import pytest

from minidl.backend import of
from minidl.backend.cpu import planes, pool, threads
from minidl.backend.geometry import ConvGeometry
from minidl.backend.plain.pool import PoolKernels

GEOMETRIES = {
    "2x2": ConvGeometry((2, 2), (2, 2)),
    "3x3, stride 2, padding 1": ConvGeometry((3, 3), (2, 2), ((1, 1), (1, 1))),
    "uneven padding": ConvGeometry((3, 2), (2, 1), ((1, 2), (0, 1))),
    "dilation": ConvGeometry((2, 3), (1, 2), ((0, 0), (1, 1)), (3, 2)),
    "1x1": ConvGeometry((1, 1), (2, 3)),
    "large tiles": ConvGeometry((6, 7), (6, 7)),
    "the whole plane": ConvGeometry((13, 17), (13, 17)),
    "more taps than a byte counts": ConvGeometry((13, 17), (1, 1), ((6, 6), (8, 8))),
    "one row": ConvGeometry((1, 5), (1, 2)),
}


class Plain(PoolKernels):
    xp = np

    def scatter_add(self, out, index, values):
        np.add.at(out, index, values)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def small_pieces(request, monkeypatch):
    monkeypatch.setattr(planes, "PIECE", 5000)
    monkeypatch.setattr(planes, "WORTH_THREADS", 0)
    before, count = threads._State.threads, threads.get_num_threads()
    threads.set_num_threads(request.param)
    yield
    threads.set_num_threads(count)
    threads._State.threads = before


def stack(rng, dtype, ties):
    shape = (23, 13, 17)
    if np.dtype(dtype).kind != "f":
        return rng.integers(0, 5, shape).astype(dtype)
    x = rng.integers(-2, 3, shape) if ties else rng.standard_normal(shape)
    return x.astype(dtype)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8"])
@pytest.mark.parametrize("ties", [False, True], ids=["", "ties"])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_values_and_places_are_those_of_the_plain_form(geometry, ties, dtype):
    x = stack(np.random.default_rng(0), dtype, ties)
    values, places = of(x).max_pool(x, geometry, True)
    expected, expected_places = Plain().max_pool(x, geometry, True)
    assert values.dtype == x.dtype
    assert places.dtype == np.int32
    assert np.array_equal(values, expected)
    assert np.array_equal(places, expected_places)
    alone, nothing = of(x).max_pool(x, geometry, False)
    assert np.array_equal(alone, expected)
    assert nothing is None
    assert Plain().max_pool(x, geometry, False)[1] is None


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_nan_and_infinities_take_the_careful_way(geometry):
    rng = np.random.default_rng(1)
    x = stack(rng, "float32", False)
    x[3, 2:5, 3:9] = np.nan
    x[10] = -np.inf
    x[21, 4, 4] = np.inf
    for mine, plain in zip(
        of(x).max_pool(x, geometry, True), Plain().max_pool(x, geometry, True), strict=True
    ):
        assert np.array_equal(mine, plain, equal_nan=True)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("kernels", [of(np.zeros(1)), Plain()], ids=["cpu", "plain"])
def test_gather_reads_and_scatter_adds_at_the_places(kernels):
    rng = np.random.default_rng(2)
    x, g = rng.standard_normal((23, 40)), rng.standard_normal((23, 30))
    indices = rng.integers(-1, 40, (23, 30)).astype(np.int32)  # with duplicates
    gathered, scattered = np.zeros((23, 30)), np.zeros((23, 40))
    for p, o in np.ndindex(23, 30):
        if indices[p, o] >= 0:
            gathered[p, o] = x[p, indices[p, o]]
            scattered[p, indices[p, o]] += g[p, o]
    before = g.copy()
    assert np.array_equal(kernels.pool_gather(x, indices), gathered)
    assert np.allclose(kernels.pool_scatter(g, indices, 40), scattered)
    assert np.array_equal(g, before)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("kernels", [of(np.zeros(1)), Plain()], ids=["cpu", "plain"])
def test_of_equal_indices_the_last_is_left(kernels):
    indices = np.random.default_rng(3).integers(0, 40, (23, 30))
    expected = indices.copy()
    for row in expected:
        for o in range(30):
            if row[o] in row[o + 1 :]:
                row[o] = -1
    assert np.array_equal(kernels.unique_indices(indices, 40), expected)


def test_a_window_without_a_pixel_has_no_place():
    x = np.ones((1, 2, 2), np.float32)
    geometry = ConvGeometry((2, 2), (1, 1), ((1, 1), (1, 1)), (3, 3))
    for kernels in (of(x), Plain()):
        values, places = kernels.max_pool(x, geometry, True)
        assert values.tolist() == [[[-np.inf]]]
        assert places.tolist() == [[[-1]]]


def test_large_planes_are_numbered_in_64_bits():
    assert pool.index_dtype(2**31 - 1) == np.int32
    assert pool.index_dtype(2**31) == np.int64
