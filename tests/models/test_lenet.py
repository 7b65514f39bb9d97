"""LeNet of 1989 and LeNet-5, the modern form and that of 1998."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.lenet import (
    C3_CONNECTIONS,
    H2_CONNECTIONS,
    SparseConv,
    Subsampling,
    codes,
)

from .overfit import overfit


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_form_of_1989_has_the_parameters_of_the_paper_layer_by_layer():
    # Section 3.3: 1,068, 2,592, 5,790 and 310 in all 9,760
    layers = {name: count(layer) for name, layer in models.lenet1989().named_children()}
    assert layers == {"h1": 1068, "h2": 2592, "h3": 5790, "output": 310}


def test_the_form_of_1989_has_the_connections_of_the_paper():
    # Section 3.3: 19,968 connections lead to H1, 38,592 to H2, 5,790 to H3 and 310 to the outputs,
    # a bias being one of them
    assert [len(set(c)) for c in H2_CONNECTIONS] == [8] * 12
    assert [sum(i in c for c in H2_CONNECTIONS) for i in range(12)] == [8] * 12
    assert 12 * 8 * 8 * (25 + 1) == 19_968
    assert 12 * 4 * 4 * (sum(len(c) for c in H2_CONNECTIONS) // 12 * 25 + 1) == 38_592


def test_units_of_1989_lie_two_pixels_apart_and_see_background_beyond_the_border():
    net = models.lenet1989()
    x = np.random.default_rng(0).normal(size=(1, 1, 16, 16)).astype(np.float32)
    padded = np.pad(x[0, 0], 2, constant_values=-1.0)
    actual = net.h1(md.tensor(x)).data[0]
    for c, i, j in ((0, 0, 0), (3, 7, 2), (11, 7, 7)):
        window = padded[2 * i : 2 * i + 5, 2 * j : 2 * j + 5]
        expected = (window * net.h1.conv.weight.data[c, 0]).sum() + net.h1.bias.data[c, i, j]
        assert actual[c, i, j] == pytest.approx(expected, rel=1e-4)
    maps = net.h2(net.h1(md.tensor(x)))
    assert maps.shape == (1, 12, 4, 4)


def test_the_form_of_1998_computes_what_section_2_says():
    torch = pytest.importorskip("torch")
    net = models.lenet5("1998", num_classes=3).double()
    state = {name: torch.tensor(value.data) for name, value in net.state_dict().items()}
    kernels = torch.zeros(16, 6, 5, 5, dtype=torch.float64)
    places = [(output, i) for output, inputs in enumerate(C3_CONNECTIONS) for i in inputs]
    for kernel, (output, i) in zip(state["c3.weight"], places, strict=True):
        kernels[output, i] = kernel
    state["c3.weight"] = kernels

    def squash(x):
        return 1.7159 * torch.tanh(2 / 3 * x)

    def conv(name, x):
        return squash(torch.nn.functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"]))

    def subsampling(name, x):
        sums = 4 * torch.nn.functional.avg_pool2d(x, 2)
        return squash(sums * state[f"{name}.weight"] + state[f"{name}.bias"])

    x = np.random.default_rng(0).normal(size=(2, 1, 32, 32))
    y = subsampling("s2", conv("c1", torch.tensor(x)))
    y = conv("c5", subsampling("s4", conv("c3", y))).flatten(1)
    y = squash(y @ state["f6.weight"].T + state["f6.bias"])
    expected = -((y[:, None] - state["codes"]) ** 2).sum(2)
    with md.no_grad():
        np.testing.assert_allclose(net(md.tensor(x)).data, expected.numpy(), rtol=1e-9)


def test_scores_of_1989_stay_within_the_range_of_its_squashing():
    x = 50 * np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype(np.float32)
    scores = models.lenet1989(num_classes=7, in_channels=3)(md.tensor(x))
    assert scores.shape == (4, 7)
    assert np.abs(scores.data).max() <= 1.7159
    with pytest.raises(ValueError, match=r"\(N, C, 16, 16\), got \(2, 1, 28, 28\)"):
        models.lenet1989()(md.tensor(np.zeros((2, 1, 28, 28), np.float32)))


def test_initial_values_lie_within_the_bound_of_their_fan_in():
    net = models.lenet1989()
    for parameter, fan_in in (
        (net.h1.conv.weight, 25),
        (net.h1.bias, 25),
        (net.h2.conv.weight, 200),
        (net.h2.bias, 200),
        (net.h3.weight, 192),
        (net.output.bias, 30),
    ):
        largest = np.abs(parameter.data).max()
        assert 0.5 * 2.4 / fan_in < largest <= 2.4 / fan_in
    sparse = models.lenet5("1998").c3
    first, last = np.abs(sparse.weight.data[:3]).max(), np.abs(sparse.weight.data[-6:]).max()
    assert 0.9 * 2.4 / 75 < first <= 2.4 / 75  # three inputs
    assert 0.9 * 2.4 / 150 < last <= 2.4 / 150  # six


def test_the_modern_form_has_61706_parameters():
    assert count(models.lenet5()) == 61_706


def test_the_form_of_1998_has_the_parameters_of_the_paper_layer_by_layer():
    net = models.lenet5(variant="1998")
    layers = {name: count(layer) for name, layer in net.named_children()}
    assert layers == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164}
    assert count(net) == 60_000


@pytest.mark.parametrize("variant", ["modern", "1998"])
def test_pictures_of_28_and_of_32_pixels_are_taken(variant):
    net = models.lenet5(variant)
    x = np.random.default_rng(0).normal(size=(2, 1, 28, 28)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    small, large = net(md.tensor(x)), net(md.tensor(padded))
    assert small.shape == (2, 10)
    assert small.dtype == np.float32
    np.testing.assert_array_equal(small.data, large.data)
    with pytest.raises(ValueError, match=r"got \(2, 1, 30, 30\)"):
        net(md.tensor(np.zeros((2, 1, 30, 30), np.float32)))
    other = models.lenet5(variant, num_classes=4, in_channels=3)
    assert other(md.tensor(np.zeros((2, 3, 32, 32), np.float32))).shape == (2, 4)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="'modern' or '1998', not '1989'"):
        models.lenet5("1989")


def test_table_one_connects_as_the_paper_says():
    # six maps see 3 neighbours, six see 4 neighbours, three see 4 others, one sees all
    assert [len(c) for c in C3_CONNECTIONS] == [3] * 6 + [4] * 9 + [6]
    assert len(set(C3_CONNECTIONS)) == 16
    seen = [sum(i in c for c in C3_CONNECTIONS) for i in range(6)]
    assert seen == [10] * 6


def test_a_sparse_convolution_is_a_full_one_with_zeros():
    layer = SparseConv(6, C3_CONNECTIONS, 5)
    full = nn.Conv2d(6, 16, 5)
    full.weight.data[...] = 0
    number = 0
    for output, inputs in enumerate(C3_CONNECTIONS):
        for i in inputs:
            full.weight.data[output, i] = layer.weight.data[number]
            number += 1
    full.bias.data[...] = layer.bias.data
    x = md.tensor(np.random.default_rng(0).normal(size=(2, 6, 14, 14)).astype(np.float32))
    np.testing.assert_allclose(layer(x).data, full(x).data, rtol=1e-4, atol=1e-5)
    layer(x).sum().backward()
    full(x).sum().backward()
    number = 0
    for output, inputs in enumerate(C3_CONNECTIONS):
        for i in inputs:
            expected = full.weight.grad.data[output, i]
            np.testing.assert_allclose(layer.weight.grad.data[number], expected, rtol=1e-4)
            number += 1


def test_subsampling_adds_scales_and_shifts():
    layer = Subsampling(2)
    x = np.arange(16, dtype=np.float32).reshape(1, 2, 2, 4)
    y = layer(md.tensor(x)).data
    for c in range(2):
        for j in range(2):
            four = x[0, c, :, 2 * j : 2 * j + 2].sum()
            expected = four * layer.weight.data[c, 0, 0] + layer.bias.data[c, 0, 0]
            assert y[0, c, 0, j] == pytest.approx(expected, rel=1e-5)


def test_scores_are_minus_the_distances_to_ten_different_figures():
    figures = codes(10)
    assert figures.shape == (10, 84)
    assert set(np.unique(figures)) == {-1.0, 1.0}
    distances = ((figures[:, None] - figures) ** 2).sum(2)
    assert distances[~np.eye(10, dtype=bool)].min() >= 4 * 5  # at least five pixels apart
    net = models.lenet5("1998")
    inside = []
    net.f6.register_forward_hook(lambda m, args, out: inside.append(out.data))
    scores = net(md.tensor(np.random.default_rng(0).normal(size=(3, 1, 32, 32)).astype("f4")))
    f6 = 1.7159 * np.tanh(inside[0] * 2 / 3)
    expected = -((f6[:, None] - figures) ** 2).sum(2)
    np.testing.assert_allclose(scores.data, expected, rtol=1e-4)


@pytest.mark.parametrize(("variant", "lr"), [("modern", 0.05), ("1998", 0.004)])
def test_it_learns_a_handful_of_pictures_by_heart(variant, lr):
    assert overfit(models.lenet5(variant), (16, 1, 28, 28), steps=80, lr=lr) == 1.0
