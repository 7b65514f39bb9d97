"""VGG, all columns of table 1."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.vgg import TABLE_1, VGG


def narrow(configuration, **arguments):
    return VGG(configuration, 3, widths=(2, 2, 2, 2, 2), hidden=4, **arguments)


@pytest.mark.parametrize(
    ("configuration", "layers"),
    [("A", 11), ("A-LRN", 11), ("B", 13), ("C", 16), ("D", 16), ("E", 19)],
)
def test_a_network_has_as_many_layers_with_weights_as_its_name_says(configuration, layers):
    net = narrow(configuration)
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in net.modules()) == layers
    x = md.zeros(1, 3, 224, 224)
    with md.no_grad():
        assert net.eval().features(x).shape == (1, 2, 7, 7)


@pytest.mark.parametrize("configuration", TABLE_1)
def test_parameters_are_those_of_table_2_in_millions(configuration):
    millions = {"A": 133, "A-LRN": 133, "B": 133, "C": 134, "D": 138, "E": 144}
    with nn.init.skip_init():
        net = VGG(configuration)
    count = sum(p.numel() for p in net.parameters())
    assert round(count / 1e6) == millions[configuration]


def test_variants_are_columns_of_the_table():
    windows = [m.kernel_size for m in narrow("C").features if isinstance(m, nn.Conv2d)]
    assert [i for i, k in enumerate(windows) if tuple(k) == (1, 1)] == [6, 9, 12]
    kinds = [type(m).__name__ for m in narrow("A-LRN").features][:4]
    assert kinds == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    with nn.init.skip_init():
        assert models.vgg16(variant="C").features[14].kernel_size == (1, 1)
        assert isinstance(models.vgg11(variant="A-LRN").features[2], nn.LocalResponseNorm)
    with pytest.raises(ValueError, match="'A' or 'A-LRN', not 'B'"):
        models.vgg11(variant="B")
    with pytest.raises(ValueError, match="'C' or 'D', not 'E'"):
        models.vgg16(variant="E")


def test_vgg16_does_fifteen_and_a_half_billion_multiply_adds():
    # Simonyan and Zisserman do not count them; 15.5 G is the figure that others give, 15.3 G
    # without the linear layers (He et al. 2015, section 3.3).
    with nn.init.skip_init():
        found = nn.summary(models.vgg16(), (1, 3, 224, 224))
    linear = 25088 * 4096 + 4096 * 4096 + 4096 * 1000
    convolutions = 0
    size, before = 224, 3
    for depth, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(depth):
            convolutions += size**2 * 9 * before * width
            before = width
        size //= 2
    assert found.multiply_adds == convolutions + linear
    assert found.multiply_adds == pytest.approx(15.5e9, rel=0.005)
    assert convolutions == pytest.approx(15.3e9, rel=0.005)


def test_convolutions_start_from_hes_values():
    net = VGG("A", 10, hidden=64, widths=(64, 64, 64, 64, 64))
    convolution = net.features[3].weight.data
    assert convolution.std() == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.03)
    assert net.classifier[0].weight.data.std() == pytest.approx(0.01, rel=0.03)
    assert not net.features[3].bias.data.any()
