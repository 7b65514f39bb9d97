"""What the tests of the CUDA C kernels share."""

from __future__ import annotations

import numpy as np
import pytest

from minidl.backend.base import Backend

from ...cuda_on_cpu import COMPILER, CudaOnCpu

needs_compiler = pytest.mark.skipif(
    COMPILER is None, reason="needs g++ to compile kernels for the CPU"
)

# dtype, and how far a result may be from that of the plain kernel, relative to the largest. Sums
# have another order; float16 is rounded once here, in the plain form after every operation.
PRECISIONS = [(np.float64, 1e-12), (np.float32, 1e-5), (np.float16, 1e-2)]
ORDERS = [0, -1, 7]  # of the threads


class Plain(Backend):
    """The plain kernels on NumPy: what the CUDA C kernels are held against."""

    name = "plain"
    xp = np

    def asarray(self, data, dtype=None, index=None):
        return np.asarray(data, dtype)


PLAIN = Plain()


def assert_near(a, b, rtol):
    """Same shape and dtype, same places of NaN and infinity, and numbers within rtol."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    if a.dtype.kind != "f":
        assert np.array_equal(a, b)
        return
    finite = np.isfinite(b)
    assert np.array_equal(a[~finite], b[~finite], equal_nan=True)
    a, b = a[finite].astype(np.float64), b[finite].astype(np.float64)
    scale = max(float(np.abs(b).max(initial=0.0)), 1e-30)
    assert float(np.abs(a - b).max(initial=0.0)) <= rtol * scale


def assert_all_near(a, b, rtol):
    for mine, theirs in zip(a, b, strict=True):
        assert_near(mine, theirs, rtol)


def each_way(check, seeds=8):
    """Run `check(backend, rng, dtype, rtol)` in every precision and with every order of threads."""
    for seed in range(seeds):
        for dtype, rtol in PRECISIONS:
            backend = BACKENDS[ORDERS[seed % len(ORDERS)]]
            check(backend, np.random.default_rng(seed), dtype, rtol)


BACKENDS = {order: CudaOnCpu(order) for order in ORDERS}
