"""Xception."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.xception import Block


@pytest.mark.slow  # 8.4 billion multiply-adds
def test_flows_have_the_sizes_of_figure_5():
    with nn.init.skip_init():
        found = md.summary(models.xception(), (1, 3, 299, 299), depth=1)
    rows = {row.path: row.shapes[0][1:] for row in found.rows if row.shapes}
    assert rows["conv2"] == (64, 147, 147)
    assert rows["block1"] == (128, 74, 74)
    assert rows["block2"] == (256, 37, 37)
    for i in range(3, 12):
        assert rows[f"block{i}"] == (728, 19, 19)
    assert rows["block12"] == (1024, 10, 10)
    assert rows["conv3"] == (1536, 10, 10)
    assert rows["conv4"] == (2048, 10, 10)
    # as Tan and Le 2019, table 2, count them
    assert found.multiply_adds / 1e9 == pytest.approx(8.4, abs=0.05)


def test_relu_stands_before_each_convolution_but_the_very_first():
    kinds = [[type(m).__name__ for m in Block(8, (8, 8), 2, start).rep] for start in (True, False)]
    one = ["ReLU", "SeparableConv2d", "BatchNorm2d"]
    assert kinds == [one * 2 + ["MaxPool2d"], [*one[1:], *one, "MaxPool2d"]]
    with nn.init.skip_init():
        net = models.xception(num_classes=2)
    first = [type(getattr(net, f"block{i}").rep[0]).__name__ for i in range(1, 13)]
    assert first == ["SeparableConv2d"] + ["ReLU"] * 11


def test_a_shortcut_is_the_input_itself_where_shapes_agree():
    x = md.randn(2, 8, 6, 6)
    block = Block(8, (8, 8, 8)).eval()
    np.testing.assert_array_equal(block(x).data, (x + block.rep(x)).data)
    assert not any("skip" in name for name, _ in block.named_parameters())
    block = Block(8, (8, 12)).eval()
    np.testing.assert_array_equal(block(x).data, (block.rep(x) + block.skipbn(block.skip(x))).data)
