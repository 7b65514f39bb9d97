"""The cross entropy of a small batch on the CPU against the plain kernel."""

import numpy as np
import pytest

from minidl.backend import by_name
from minidl.backend.plain.losses import LossKernels


class _Plain(LossKernels):
    xp = np


PLAIN, CPU = _Plain(), by_name("cpu")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("targets", "ignore_index"),
    [([0, 3, 2, 2], -100), ([0, -100, 2, 2], -100), ([0, 3, 2, 2], 2), ([-1, 3, 7, 0], -100)],
    ids=["all count", "one ignored", "a class ignored", "out of bounds"],
)
def test_small_batches_have_the_plain_loss_and_gradient(dtype, targets, ignore_index):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((4, 4, 1)) * 3).astype(dtype)
    target = np.array(targets)[:, None]
    grad = rng.standard_normal((4, 1)).astype("f4" if dtype == "float16" else dtype)
    found = CPU.cross_entropy(x, target, None, ignore_index, 0.0)
    sought = PLAIN.cross_entropy(x.astype("f8"), target, None, ignore_index, 0.0)
    for f, s in zip(found, sought, strict=True):
        assert f.dtype == grad.dtype
        np.testing.assert_allclose(f, s, rtol=2e-6, atol=1e-7)
    dx = CPU.cross_entropy_grad(found[1], grad, target, None, ignore_index, 0.0)
    exact = PLAIN.cross_entropy_grad(sought[1], grad, target, None, ignore_index, 0.0)
    np.testing.assert_allclose(dx, exact, rtol=2e-6, atol=1e-6)
