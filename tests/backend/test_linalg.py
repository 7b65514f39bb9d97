"""The kernel of matrix products."""

import numpy as np
import pytest

from minidl import backend as backends
from minidl.backend.cpu import threads


@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_bmm_multiplies_batches_that_broadcast_in_every_dtype(device):
    backend = backends.by_name(device)
    rng = np.random.default_rng(0)
    for a_shape, b_shape in [((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 1, 2, 3), (3, 3, 2))]:
        a, b = rng.standard_normal(a_shape), rng.standard_normal(b_shape)
        for dtype, error in (("float64", 1e-14), ("float32", 1e-6), ("float16", 1e-2)):
            out = backend.bmm(backend.asarray(a.astype(dtype)), backend.asarray(b.astype(dtype)))
            assert out.dtype == dtype
            np.testing.assert_allclose(backend.to_host(out), a @ b, rtol=error, atol=5 * error)


def test_half_precision_is_added_up_in_single_precision_on_the_cpu():
    ones = np.ones((1, 4096), np.float16)
    assert backends.by_name("cpu").bmm(ones, ones.T)[0, 0] == 4096  # in float16: 2048 + 1 = 2048


@pytest.mark.parametrize("shapes", [((600, 500), (500, 400)), ((300, 500), (500, 700))])
@pytest.mark.parametrize("turned", [False, True])
def test_a_large_product_is_the_same_whichever_thread_computes_which_piece(shapes, turned):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    if turned:  # columns contiguous
        a, b = np.asfortranarray(a), np.asfortranarray(b)
    backend, before = backends.by_name("cpu"), threads.get_num_threads()
    try:
        for count in (1, 2, 3, 7):
            threads.set_num_threads(count)
            out = backend.bmm(a, b)
            assert all(np.array_equal(backend.bmm(a, b), out) for _ in range(3))
            np.testing.assert_allclose(out, a.astype(float) @ b, rtol=1e-4, atol=1e-4)
    finally:
        threads.set_num_threads(before)
