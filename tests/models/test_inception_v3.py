"""Inception-v3: sizes, cost, factors and the auxiliary classifier."""

import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.inception_blocks import scaled_by
from minidl.models.classification.inception_v3 import Inception3, InceptionC, InceptionOutputs


def test_stages_have_the_sizes_of_table_1_and_the_cost_that_is_known():
    with nn.init.skip_init():
        found = nn.summary(models.inception_v3(), (1, 3, 299, 299), depth=1)
    rows = {row.path: row.shapes for row in found.rows}
    expected = {
        "Conv2d_1a_3x3": (32, 149, 149),
        "Conv2d_2a_3x3": (32, 147, 147),
        "Conv2d_2b_3x3": (64, 147, 147),
        "maxpool1": (64, 73, 73),
        "Conv2d_3b_1x1": (80, 73, 73),
        "Conv2d_4a_3x3": (192, 71, 71),
        "maxpool2": (192, 35, 35),
        "Mixed_5b": (256, 35, 35),
        "Mixed_5c": (288, 35, 35),
        "Mixed_5d": (288, 35, 35),
        "Mixed_6a": (768, 17, 17),
        "Mixed_6b": (768, 17, 17),
        "Mixed_6e": (768, 17, 17),
        "Mixed_7a": (1280, 8, 8),
        "Mixed_7b": (2048, 8, 8),
        "Mixed_7c": (2048, 8, 8),
    }
    for name, shape in expected.items():
        assert rows[name] == [(1, *shape)]
    # torchvision's documentation says 5.71 G, the paper's abstract 5 G
    assert found.multiply_adds == pytest.approx(5.713e9, rel=0.001)


def test_two_factors_see_as_far_as_seven_by_seven_with_two_sevenths_of_its_weights():
    # Section 3.2: n x 1 after 1 x n costs 2 / n of n x n
    module = InceptionC(8, 16, scaled_by(1.0))
    first, second = module.branch7x7_2.conv, module.branch7x7_3.conv
    assert first.kernel_size == (1, 7)
    assert second.kernel_size == (7, 1)
    factors = first.weight.numel() / (16 * 16) + second.weight.numel() / (192 * 16)
    assert factors / 49 == pytest.approx(2 / 7)
    # one pixel moves just the 7x7 around it
    x = md.zeros(1, 16, 15, 15, dtype=md.float64, requires_grad=True)
    module.double()
    nn.init.ones_(first.weight)
    nn.init.ones_(second.weight)
    second_of_first = nn.functional.conv2d(
        nn.functional.conv2d(x, first.weight, None, 1, (0, 3)), second.weight, None, 1, (3, 0)
    )
    second_of_first[0, 0, 7, 7].backward()
    reached = x.grad.data[0, 0] != 0
    assert reached[4:11, 4:11].all()
    assert reached.sum() == 49


def test_the_auxiliary_classifier_trains_and_vanishes_in_evaluation():
    net = Inception3(4, width=1 / 64, pool_features=(32,), channels_7x7=(128,), blocks_7=1)
    x = md.randn(2, 3, 299, 299)
    outputs = net(x)
    assert isinstance(outputs, InceptionOutputs)
    assert outputs._fields == ("logits", "aux_logits")
    assert [output.shape for output in outputs] == [(2, 4)] * 2
    (outputs.aux_logits * md.randn(2, 4)).sum().backward()
    reached = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert "AuxLogits" in reached
    assert "Mixed_6b" in reached
    assert not reached & {"Mixed_7a", "fc"}
    assert net.eval()(x).shape == (2, 4)


def test_the_classifier_stands_on_the_last_maps_of_17_by_17():
    with nn.init.skip_init():
        net = models.inception_v3()
    assert net.aux_after == "Mixed_6e"
    assert not any("Aux" in name for name, _ in Inception3(2, False, width=1 / 64).named_modules())


def test_initial_values_are_those_of_the_released_network():
    net = Inception3(50, width=0.25, pool_features=(), channels_7x7=(), blocks_7=0)
    # a normal distribution cut off at 20 standard deviations is not cut off
    assert net.Mixed_6a.branch3x3.conv.weight.data.std() == pytest.approx(0.1, rel=0.05)
    assert net.AuxLogits.conv1.conv.weight.data.std() == pytest.approx(0.01, rel=0.05)
    assert net.AuxLogits.fc.weight.data.std() == pytest.approx(0.001, rel=0.05)
