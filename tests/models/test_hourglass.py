"""Stacked hourglass: sizes, supervision of every stack, number of parameters, and torch."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.segmentation.hourglass import StackedHourglass

from .segmentation import assert_as_in_torch, shake


def narrow(**options):
    return shake(StackedHourglass(3, stacks=2, depth=2, channels=8, stem=2, **options))


def test_heat_maps_have_a_quarter_of_the_size_and_the_middle_is_4x4():
    net = StackedHourglass(stacks=1, channels=4, stem=1).eval()
    sizes = []
    inner = net.hourglass[0]
    while not isinstance(inner.inner, type(net.stem[3])):  # to the smallest
        inner = inner.inner
    inner.inner.register_forward_hook(lambda m, args, out: sizes.append(out.shape[2:]))
    with md.no_grad():
        assert net(md.zeros(1, 3, 256, 256)).shape == (1, 16, 64, 64)
    assert sizes == [(4, 4)]


def test_training_gives_one_output_a_stack_the_last_first():
    net = narrow().train()
    found = []
    for heat in net.heat:
        heat.register_forward_hook(lambda m, args, out: found.append(out.data))
    outputs = net(md.randn(2, 3, 40, 48))
    assert len(outputs) == 2
    assert all(output.shape == (2, 3, 10, 12) for output in outputs)
    np.testing.assert_array_equal(outputs[0].data, found[1])
    np.testing.assert_array_equal(outputs[1].data, found[0])


def test_evaluation_gives_the_last_stacks_heat_maps():
    net = narrow().eval()
    found = []
    net.heat[1].register_forward_hook(lambda m, args, out: found.append(out.data))
    with md.no_grad():
        np.testing.assert_array_equal(net(md.randn(1, 3, 32, 32)).data, found[0])


@pytest.mark.parametrize("size", [(64, 64), (33, 50), (18, 17)])
def test_heat_maps_are_enlarged_to_any_size(size):
    with md.no_grad():
        assert narrow(enlarge=True).eval()(md.zeros(1, 3, *size)).shape == (1, 3, *size)


def test_a_stack_sees_what_the_stack_before_it_found():
    net = narrow().train()
    net(md.randn(1, 3, 32, 32))[0].sum().backward()
    assert net.heat[0].weight.grad is not None
    assert net.heat_back[0].weight.grad.data.any()


def test_eight_stacks_have_the_parameters_of_the_authors_network():
    def conv(i, o, k):
        return i * o * k * k + o

    def residual(i, o):
        h = o // 2
        body = 2 * i + conv(i, h, 1) + 2 * h + conv(h, h, 3) + 2 * h + conv(h, o, 1)
        return body + (conv(i, o, 1) if i != o else 0)

    stem = conv(3, 64, 7) + 128 + residual(64, 128) + residual(128, 128) + residual(128, 256)
    hourglass = (3 * 4 + 1) * residual(256, 256)
    head = residual(256, 256) + conv(256, 256, 1) + 512 + conv(256, 16, 1)
    back = conv(256, 256, 1) + conv(16, 256, 1)
    with nn.init.skip_init():
        net = models.stacked_hourglass()
        two = models.stacked_hourglass(stacks=2)
    counts = [sum(p.numel() for p in n.parameters()) for n in (net, two)]
    assert counts == [stem + n * (hourglass + head) + (n - 1) * back for n in (8, 2)]
    assert counts[0] == 25434112


def in_torch(t, x):
    def residual(name, x):
        found = x
        for i, padding in ((0, 0), (3, 1), (6, 0)):
            found = t.norm(f"{name}.residual.{i}", found).relu()
            found = t.conv(f"{name}.residual.{i + 2}", found, padding=padding)
        if f"{name}.shortcut.weight" in t.values:
            x = t.conv(f"{name}.shortcut", x)
        return x + found

    def hourglass(name, x, depth):
        low = residual(f"{name}.down", t.F.max_pool2d(x, 2))
        inner = f"{name}.inner"
        low = hourglass(inner, low, depth - 1) if depth > 1 else residual(inner, low)
        low = residual(f"{name}.up", low)
        return residual(f"{name}.across", x) + t.F.interpolate(low, scale_factor=2)

    size = x.shape[2:]
    x = t.norm("stem.1", t.conv("stem.0", x, stride=2, padding=3)).relu()
    x = t.F.max_pool2d(residual("stem.3", x), 2)
    x = residual("stem.6", residual("stem.5", x))
    outputs = []
    for i in range(2):
        found = residual(f"features.{i}.0", hourglass(f"hourglass.{i}", x, 2))
        found = t.norm(f"features.{i}.2", t.conv(f"features.{i}.1", found)).relu()
        heat = t.conv(f"heat.{i}", found)
        outputs.insert(0, t.F.interpolate(heat, size, mode="bilinear"))
        if i == 0:
            x = x + t.conv("features_back.0", found) + t.conv("heat_back.0", heat)
    return tuple(outputs) if t.training else outputs[0]


def test_outputs_are_those_of_torch():
    net = narrow(enlarge=True)
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 48)).astype(np.float32)
    for training in (False, True):
        assert_as_in_torch(net.train(training), images, in_torch)
