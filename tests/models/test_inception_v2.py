"""Inception-v2 (BN-Inception)."""

import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.inception_v2 import FIGURE_5, inception


def counted(**arguments):
    with nn.init.skip_init():
        return models.inception_v2(**arguments)


def test_stages_have_the_sizes_of_figure_5():
    found = nn.summary(counted(), (1, 3, 224, 224), depth=1)
    rows = {row.path: row.shapes for row in found.rows}
    expected = {
        "3a": (256, 28, 28),
        "3b": (320, 28, 28),
        "3c": (576, 14, 14),
        "4a": (576, 14, 14),
        "4b": (576, 14, 14),
        # The figure prints 576, 576 and 1024, but the branches it lists add up to
        "4c": (160 + 160 + 160 + 128, 14, 14),
        "4d": (96 + 192 + 192 + 128, 14, 14),
        "4e": (192 + 256 + 608, 7, 7),
        "5a": (1024, 7, 7),
        "5b": (1024, 7, 7),
    }
    assert list(FIGURE_5) == list(expected)
    for name, shape in expected.items():
        assert rows[f"inception{name}"] == [(1, *shape)]
    assert rows["maxpool2"] == [(1, 192, 28, 28)]


def test_it_costs_three_tenths_more_than_googlenet():
    # The appendix: "the computational cost is increased by about 30%"
    with nn.init.skip_init():
        before = models.googlenet(variant="2014", aux_logits=False)
    shape = (1, 3, 224, 224)
    ratio = nn.summary(counted(), shape).multiply_adds / nn.summary(before, shape).multiply_adds
    assert ratio == pytest.approx(1.3, abs=0.03)


def test_without_biases_before_batch_norm_it_has_one_number_less_a_map():
    biased, plain = counted(), counted(bias=False)
    maps = sum(m.out_channels for m in biased.modules() if isinstance(m, nn.Conv2d))
    more = sum(p.numel() for p in biased.parameters()) - sum(p.numel() for p in plain.parameters())
    assert more == maps == 10_016


def test_a_module_of_stride_two_passes_its_pooled_input_on():
    module = inception(6, (0, 2, 3, 2, 4, "max", 0)).eval()
    for size in (8, 9):  # even and odd
        x = md.randn(1, 6, size, size)
        y = module(x)
        half = (size + 1) // 2
        assert y.shape == (1, 3 + 4 + 6, half, half)
        pooled = nn.functional.max_pool2d(x, 3, 2, 1)
        assert (y.data[:, 7:] == pooled.data).all()


def test_the_last_pooling_is_a_maximum_and_the_others_are_means():
    net = counted()
    pools = {name: getattr(net, f"inception{name}").branch_pool for name in FIGURE_5}
    passing = [name for name, pool in pools.items() if not isinstance(pool, nn.Sequential)]
    assert passing == ["3c", "4e"]
    assert all(isinstance(pools[name], nn.MaxPool2d) for name in passing)
    projected = {name: pools[name][0] for name in FIGURE_5 if name not in passing}
    maxima = [name for name, pool in projected.items() if isinstance(pool, nn.MaxPool2d)]
    assert maxima == ["5b"]
    assert sum(isinstance(pool, nn.AvgPool2d) for pool in projected.values()) == 7
