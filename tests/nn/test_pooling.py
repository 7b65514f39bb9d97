"""Pooling layers against torch's."""

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor

from .compare import compare


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((2,), {}),
        ((3, 2), {"padding": 1}),
        (((3, 2),), {"stride": (1, 2), "dilation": (2, 1)}),
        ((3, 2), {"ceil_mode": True}),
        ((2,), {"return_indices": True}),
    ],
)
def test_max_pool2d_is_torchs(args, kwargs):
    compare("MaxPool2d", args, kwargs, (2, 3, 7, 8))


@pytest.mark.parametrize(("args", "kwargs"), [((2,), {}), ((3, 2, 1), {"ceil_mode": True})])
def test_max_pool1d_is_torchs(args, kwargs):
    compare("MaxPool1d", args, kwargs, (2, 3, 9))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((2,), {}),
        ((3, 2, 1), {}),
        ((3, 2, 1), {"count_include_pad": False, "ceil_mode": True}),
        (((2, 3),), {"divisor_override": 5}),
    ],
)
def test_avg_pool2d_is_torchs(args, kwargs):
    compare("AvgPool2d", args, kwargs, (2, 3, 7, 8))


@pytest.mark.parametrize(("args", "kwargs"), [((2,), {}), ((3, 2, 1), {"ceil_mode": True})])
def test_avg_pool1d_is_torchs(args, kwargs):
    compare("AvgPool1d", args, kwargs, (2, 3, 9))


@pytest.mark.parametrize("size", [1, (2, 3), (None, 2), 5])
def test_adaptive_pools_are_torchs(size):
    compare("AdaptiveAvgPool2d", (size,), {}, (2, 3, 7, 8))
    compare("AdaptiveMaxPool2d", (size,), {}, (2, 3, 7, 8))
    if isinstance(size, int):
        compare("AdaptiveAvgPool1d", (size,), {}, (2, 3, 7))
        compare("AdaptiveMaxPool1d", (size,), {"return_indices": True}, (2, 3, 7))


def test_unpooling_puts_the_maxima_back():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
    for name, sample in (("2d", x), ("1d", x[:, :, 0])):
        results = []
        for library, make in ((nn, Tensor), (torch.nn, torch.tensor)):
            pool = getattr(library, f"MaxPool{name}")(2, return_indices=True)
            unpool = getattr(library, f"MaxUnpool{name}")(2)
            values, indices = pool(make(sample))
            results.append((unpool(values, indices), unpool(values, indices, sample.shape)))
            results.append(repr(unpool))
        for mine, other in zip(results[0], results[2], strict=True):
            np.testing.assert_array_equal(mine.numpy(), other.numpy())
        assert results[1] == results[3]
