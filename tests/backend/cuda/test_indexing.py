"""The GPU's scatter-add, executed on the CPU against NumPy's add.at."""

import numpy as np

from minidl.backend.cuda import deterministic
from minidl.backend.cuda.indexing import sums

from .common import PLAIN, assert_near, each_way, needs_compiler

pytestmark = needs_compiler

every = slice(None)


def cases(rng):
    """(shape of out, index) with index arrays first, in the middle, last, several, and apart."""
    i, j = rng.integers(-4, 4, 9), rng.integers(-3, 3, (2, 9))
    yield (4,), (i,)
    yield (4, 5), (i,)
    yield (3, 4), (every, i)
    yield (2, 4, 3), (every, i)
    yield (4, 3, 2), (i, j)
    yield (2, 4, 3), (every, i, j)
    yield (4, 2, 3), (i, every, j)  # not adjacent: NumPy puts what they name first
    yield (4, 5), (i[:0],)


def check(backend, rng, dtype, rtol):
    for shape, index in cases(rng):
        out = rng.standard_normal(shape).astype(dtype)
        values = rng.standard_normal(out[index].shape).astype(dtype)
        expected = out.copy()
        PLAIN.scatter_add(expected, index, values)
        for mode in (False, True):
            mine = out.copy()
            with deterministic(mode):
                backend.scatter_add(mine, index, values)
            assert_near(mine, expected, rtol)


def test_scatter_add_equals_the_plain_kernel():
    each_way(check, seeds=3)


def test_a_strided_target_is_changed_in_place():
    from .common import BACKENDS

    out = np.zeros((4, 6))
    BACKENDS[0].scatter_add(out[:, ::2], (np.array([1, 1]),), np.ones((2, 3)))
    assert out.sum() == 6
    assert (out[1, ::2] == 2).all()


def test_the_switch_is_set_back_after_its_block():
    with deterministic():
        assert sums.deterministic
        with deterministic(False):
            assert not sums.deterministic
        assert sums.deterministic
    assert not sums.deterministic
