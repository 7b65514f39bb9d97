"""The two baselines: that each does what it says, and what it costs."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.segmentation.baselines import (
    FullResolution,
    SlidingWindow,
    multiply_adds,
)
from minidl.models.segmentation.unet import UNet

from .segmentation import assert_as_in_torch, shake


def narrow():
    return shake(SlidingWindow(3, 2, kernels=(2, 3), width=4, hidden=5, last=2)).eval()


def test_maps_have_the_sizes_of_the_papers_table():
    net = models.sliding_window()
    assert net.window == 95
    sizes, x = [], md.zeros(1, 1, 95, 95)
    with md.no_grad():
        for layer in net.classifier:
            x = layer(x)
            if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
                sizes.append(x.shape[1:])
    assert sizes == [(48, n, n) for n in (92, 46, 42, 21, 18, 9, 6, 3)]
    assert x.shape == (1, 2)
    weights = 48 * (16 + 48 * (25 + 16 + 16)) + 200 * 48 * 9 + 2 * 200
    assert sum(p.numel() for p in net.parameters()) == weights + 4 * 48 + 200 + 2 == 219290


def test_each_score_is_what_the_classifier_says_of_the_window_around_its_pixel():
    net = narrow()
    assert net.window == 13
    x = np.random.default_rng(0).normal(size=(2, 2, 9, 8)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (6, 6), (6, 6)), mode="reflect")
    with md.no_grad():
        scores = net(md.tensor(x)).data
        assert scores.shape == (2, 3, 9, 8)
        for i, j in [(0, 0), (0, 7), (4, 3), (8, 7)]:
            window = padded[:, :, i : i + 13, j : j + 13]
            assert (window[:, :, 6, 6] == x[:, :, i, j]).all()
            expected = net.classifier(md.tensor(window)).data
            np.testing.assert_allclose(scores[:, :, i, j], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "net",
    [
        narrow(),
        shake(SlidingWindow(3, 2, kernels=(2, 3, 2), width=3, hidden=4, last=1)),
        shake(SlidingWindow(3, 2, kernels=(3,), width=3, hidden=27, last=3)),
    ],
)
def test_computed_for_the_whole_picture_at_once_scores_are_the_same(net):
    x = md.randn(2, 2, 11, 9)
    with md.no_grad():
        np.testing.assert_allclose(net.dense(x).data, net(x).data, rtol=1e-4, atol=1e-5)


def test_a_picture_may_be_smaller_than_a_window():
    with md.no_grad():
        assert narrow()(md.randn(1, 2, 3, 1)).shape == (1, 3, 3, 1)


def test_what_is_full_resolution_stays_it():
    net = models.full_resolution(3, depth=4, width=2)
    with md.no_grad():
        for layer in net:
            assert not isinstance(layer, nn.MaxPool2d)
        assert net(md.zeros(1, 1, 7, 9)).shape == (1, 3, 7, 9)
    assert sum(isinstance(layer, nn.Conv2d) for layer in net) == 4


class Dense(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net.dense(x)


def test_multiply_adds_are_those_of_the_networks():
    height, width = 16, 32
    found = multiply_adds(height, width, 5, 2)
    with nn.init.skip_init():
        shape = (1, 2, height, width)
        dense = nn.summary(Dense(SlidingWindow(5, 2)), shape).multiply_adds
        full = nn.summary(FullResolution(5, 2), shape).multiply_adds
        unet = nn.summary(UNet(5, 2, padding="same"), shape).multiply_adds
        one_row = nn.summary(SlidingWindow(5, 2), (1, 2, 1, 4)).multiply_adds
    assert found["sliding window"] == one_row * (height * width // 4)
    assert found["sliding window, dense"] == dense
    assert found["full resolution"] == full
    assert found["U-Net"] == unet


def test_sharing_the_work_of_windows_saves_more_than_a_factor_of_400():
    cost = multiply_adds(512, 512)
    for name, count in cost.items():
        print(f"{name:<30}{count:>22,}")
    assert cost["sliding window"] == 31_841_214_005_248
    assert cost["sliding window"] > 400 * cost["sliding window, dense"]
    # Maxima save U-Net 97 % of what its convolutions would cost without them.
    assert cost["U-Net at full resolution"] > 35 * cost["U-Net"]


def test_a_picture_that_unet_cannot_halve_counts_as_one_that_it_can():
    assert multiply_adds(17, 16)["U-Net"] == multiply_adds(32, 16)["U-Net"]


def sliding_in_torch(t, x):
    x = t.F.pad(x, (6, 6, 6, 6), mode="reflect")
    rows = x.unfold(2, 13, 1).unfold(3, 13, 1)  # (N, C, H, W, 13, 13)
    n, c, h, w = rows.shape[:4]
    x = rows.permute(0, 2, 3, 1, 4, 5).reshape(n * h * w, c, 13, 13)
    for i in (0, 3):
        x = t.F.max_pool2d(t.conv(f"classifier.{i}", x).relu(), 2)
    v = t.values
    x = t.F.linear(x.flatten(1), v["classifier.7.weight"], v["classifier.7.bias"]).relu()
    x = t.F.linear(x, v["classifier.9.weight"], v["classifier.9.bias"])
    return x.reshape(n, h, w, 3).permute(0, 3, 1, 2)


def full_in_torch(t, x):
    for i in (0, 2, 4):
        x = t.conv(str(i), x, padding=1)
        x = x.relu() if i < 4 else x
    return x


@pytest.mark.parametrize(
    ("net", "forward"),
    [
        (narrow, sliding_in_torch),
        (lambda: shake(FullResolution(3, 2, depth=3, width=5)), full_in_torch),
    ],
    ids=["sliding_window", "full_resolution"],
)
def test_outputs_are_those_of_torch(net, forward):
    images = np.random.default_rng(0).normal(size=(2, 2, 9, 10)).astype(np.float32)
    assert_as_in_torch(net(), images, forward)
