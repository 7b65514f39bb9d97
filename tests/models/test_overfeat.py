"""OverFeat, fast and accurate."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.overfeat import ACCURATE, FAST, Layer, OverFeat


def narrow(layers, window, **arguments):
    thin = tuple(layer._replace(maps=2) for layer in layers)
    return OverFeat(3, thin, window, (4, 4), **arguments).eval()


@pytest.mark.parametrize(
    ("layers", "window", "size", "expected"),
    [
        # tables 1 and 3, "spatial input size" of each layer but the first
        (FAST, 6, 231, [28, 12, 12, 12, 6, 1, 1, 1]),
        (ACCURATE, 5, 221, [36, 15, 15, 15, 15, 5, 1, 1, 1]),
    ],
)
def test_maps_have_the_sizes_of_the_tables(layers, window, size, expected):
    net = narrow(layers, window)
    sizes = []
    x = md.zeros(1, 3, size, size)
    with md.no_grad():
        for stage in (net.features, net.classifier):
            for module in stage:
                if isinstance(module, nn.Conv2d) and len(sizes) < len(expected):
                    sizes.append(x.shape[2])
                x = module(x)
    assert sizes == [size, *expected[:-1]]
    assert x.shape == (1, 3, 1, 1)


def test_the_builders_make_the_networks_of_the_tables():
    for variant, layers in (("fast", FAST), ("accurate", ACCURATE)):
        with nn.init.skip_init():
            net = models.overfeat(variant=variant)
        convolutions = [m for m in net.features if isinstance(m, nn.Conv2d)]
        assert [m.out_channels for m in convolutions] == [layer.maps for layer in layers]
        assert not any(isinstance(m, nn.LocalResponseNorm) for m in net.modules())
    with pytest.raises(ValueError, match="'fast' or 'accurate', not 'slow'"):
        models.overfeat(variant="slow")


def test_scanning_a_larger_picture_is_looking_at_each_part_of_it():
    layers = (Layer(4, 5, 2, 0, 2), Layer(4, 3, 1, 0, 2))
    net = OverFeat(3, layers, 2, (6, 5)).eval()
    for parameter in net.parameters():
        parameter.data[...] = np.random.default_rng(1).normal(size=parameter.shape)
    window, step = 27, 8  # what one score sees, and the product of the strides
    x = np.random.default_rng(0).normal(size=(2, 3, window + step, window + 2 * step))
    x = x.astype(np.float32)
    with md.no_grad():
        scores = net.dense(md.tensor(x)).data
        assert scores.shape == (2, 3, 2, 3)
        for i in range(2):
            for j in range(3):
                part = x[:, :, step * i : step * i + window, step * j : step * j + window]
                alone = net(md.tensor(part)).data
                np.testing.assert_allclose(scores[:, :, i, j], alone, rtol=1e-4, atol=1e-3)
        best = net(md.tensor(x)).data
    np.testing.assert_array_equal(best, scores.max((2, 3)))


def test_it_starts_from_weights_of_a_hundredth():
    net = OverFeat(10, (Layer(32, 5, 1, 0, 1),), 3, (32, 32))
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.weight.data.std() == pytest.approx(0.01, rel=0.15) for m in layers)
    assert not any(m.bias.data.any() for m in layers)
