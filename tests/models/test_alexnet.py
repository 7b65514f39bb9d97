"""AlexNet, torchvision's form and that of 2012."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.alexnet import AlexNetOf2012, local_response_norm


def outputs_of_convolutions(net):
    rows = nn.summary(net, (1, 3, 224, 224)).rows
    return [row.shapes[0][1:] for row in rows if row.kind == "Conv2d"]


def test_maps_have_the_sizes_of_figure_2():
    with nn.init.skip_init():
        net = models.alexnet(variant="2012")
    assert outputs_of_convolutions(net) == [
        (96, 55, 55),
        (256, 27, 27),
        (384, 13, 13),
        (384, 13, 13),
        (256, 13, 13),
    ]
    x = md.tensor(np.zeros((1, 3, 224, 224), np.float32))
    with md.no_grad():
        assert net.features(x).shape == (1, 256, 6, 6)


def test_two_groups_halve_the_connections_of_three_layers():
    with nn.init.skip_init():
        net = models.alexnet(variant="2012")
    weights = [m.weight.shape for m in net.features if isinstance(m, nn.Conv2d)]
    assert weights == [
        (96, 3, 11, 11),
        (256, 48, 5, 5),
        (384, 256, 3, 3),
        (384, 192, 3, 3),
        (256, 192, 3, 3),
    ]
    layers = [type(m).__name__ for m in net.features]
    assert layers[:4] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert layers.count("LocalResponseNorm") == 2


@pytest.mark.parametrize(
    ("variant", "expected"), [("torchvision", 714_188_480), ("2012", 724_406_816)]
)
def test_multiply_adds_are_the_sum_over_the_layers_of_the_table(variant, expected):
    with nn.init.skip_init():
        net = models.alexnet(variant=variant)
    assert nn.summary(net, (1, 3, 224, 224)).multiply_adds == expected


def test_layers_of_2012_follow_each_other_as_in_section_3():
    # Sections 3.3 and 3.4: response normalisation after the ReLU of the first two, then maxima.
    normalised = ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    plain = ["Conv2d", "ReLU"]
    net = AlexNetOf2012(3, widths=(2, 2, 2, 2, 2), hidden=2)
    found = [type(m).__name__ for m in net.features]
    assert found == normalised * 2 + plain * 3 + ["MaxPool2d"]
    hidden = ["Linear", "ReLU", "Dropout"]  # section 4.2
    assert [type(m).__name__ for m in net.classifier] == hidden * 2 + ["Linear"]


def test_response_normalisation_is_that_of_section_3_3():
    # b_i = a_i / (2 + 0.0001 sum of the squares of 5 neighbours)^0.75
    a = 100 * np.random.default_rng(0).normal(size=(1, 8, 2, 2))
    actual = local_response_norm()(md.tensor(a)).data
    for i in range(8):
        squares = (a[:, max(0, i - 2) : i + 3] ** 2).sum(1)
        np.testing.assert_allclose(actual[:, i], a[:, i] / (2 + 1e-4 * squares) ** 0.75)


def test_initial_values_of_2012_are_those_of_section_5():
    net = AlexNetOf2012(10, hidden=128)
    layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert [float(m.bias.data.mean()) for m in layers] == [0, 1, 0, 1, 1, 1, 1, 0]
    assert all(m.weight.data.std() == pytest.approx(0.01, rel=0.05) for m in layers)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="'torchvision' or '2012', not 'one weird trick'"):
        models.alexnet(variant="one weird trick")
