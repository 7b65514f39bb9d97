"""Covering parts of a picture."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.explain import occlusion

from .small import pictures, pooled, some_digits, traces, trained


class OnePixel(nn.Module):
    """Class 0 is pixel (3, 5), class 1 the sum of all."""

    def forward(self, x):
        return md.stack([x[:, 0, 3, 5], x.sum((1, 2, 3))], 1)


def test_covering_the_one_pixel_that_counts_takes_all_of_the_score():
    x = pictures(3, 1, (7, 8))
    found = occlusion(OnePixel(), x, 0, size=1, stride=1).data
    expected = np.zeros((3, 7, 8), np.float32)
    expected[:, 3, 5] = x.data[:, 0, 3, 5]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(
        occlusion(OnePixel(), x, 1, size=1, stride=1).data, x.data[:, 0], atol=1e-5
    )
    raised = occlusion(OnePixel(), x, 0, size=1, stride=1, value=2.0).data
    np.testing.assert_allclose(raised[:, 3, 5], x.data[:, 0, 3, 5] - 2.0, atol=1e-6)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (4, 3), (2, 5), (7, 1)])
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_each_pixel_has_the_mean_of_the_squares_over_it(size, stride, batch_size):
    net, x = pooled().eval(), pictures(2, 2, (7, 9))
    fall, covered = np.zeros((2, 7, 9)), np.zeros((7, 9))
    for i in [*range(0, 7 - size, stride), 7 - size]:
        for j in [*range(0, 9 - size, stride), 9 - size]:
            changed = x.data.copy()
            changed[:, :, i : i + size, j : j + size] = 0.5
            lost = (net(x) - net(md.tensor(changed))).data[[0, 1], [2, 1]]
            fall[:, i : i + size, j : j + size] += lost[:, None, None]
            covered[i : i + size, j : j + size] += 1
    options = {"size": size, "stride": stride, "value": 0.5, "batch_size": batch_size}
    found = occlusion(net, x, [2, 1], **options)
    np.testing.assert_allclose(found.data, fall / np.maximum(covered, 1), atol=1e-5)
    assert found.dtype == np.float32


def test_covering_the_ink_of_a_digit_costs_more_than_covering_the_background():
    net, (x, y) = trained(), some_digits(20)
    found = occlusion(net, x, y, size=5, stride=2).data
    ink = x.data[:, 0] > 0.5
    assert found[ink].mean() > 4 * found[~ink].mean() > 0


@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_covering_changes_nothing(device):
    net, x = pooled(), pictures().to(device)
    net[1].eval()
    before, bits = traces(net), x.cpu().data.tobytes()
    found = occlusion(net.to(device), x, size=4)
    assert (found.shape, found.device) == ((4, 8, 9), x.device)
    assert traces(net.cpu()) == before
    assert x.cpu().data.tobytes() == bits


def test_squares_that_do_not_fit_are_refused():
    for options in ({"size": 9}, {"size": 0}, {"stride": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=r"do not do for pictures of \(8, 9\)"):
            occlusion(pooled(), pictures(), **{"size": 4, **options})
    with pytest.raises(ValueError, match=r"pictures \(N, C, H, W\), got \(4, 6\)"):
        occlusion(nn.Linear(6, 2), md.ones(4, 6))
