"""Highway networks."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.autograd import gradcheck
from minidl.models.classification.highway import HighwayCIFAR, HighwayLayer, HighwayMLP

from .overfit import overfit


def count(module):
    return sum(p.numel() for p in module.parameters())


def layer_of(width=5, gate_bias=-2.0):
    return HighwayLayer(nn.Linear(width, width), nn.Linear(width, width), gate_bias, nn.ReLU())


# -- equation 3 ------------------------------------------------------------------------------------


def test_a_layer_mixes_its_transform_and_its_input():
    layer = layer_of().double()
    x = np.random.default_rng(0).normal(size=(3, 5))
    h = np.maximum(x @ layer.transform.weight.data.T + layer.transform.bias.data, 0)
    t = 1 / (1 + np.exp(-(x @ layer.gate.weight.data.T + layer.gate.bias.data)))
    np.testing.assert_allclose(layer(md.tensor(x)).data, h * t + x * (1 - t), rtol=1e-12)
    assert gradcheck(layer, (md.tensor(x, requires_grad=True),))


def test_a_closed_gate_carries_and_an_open_one_transforms():
    # equation 4: y = x where T = 0, y = H(x) where T = 1
    x = md.tensor(np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32))
    layer = layer_of(gate_bias=-200.0)
    np.testing.assert_array_equal(layer(x).data, x.data)
    layer = layer_of(gate_bias=200.0)
    expected = np.maximum(layer.transform(x).data, 0)
    np.testing.assert_allclose(layer(x).data, expected, atol=1e-6)


@pytest.mark.parametrize("bias", [-1.0, -4.0])
def test_every_gate_starts_with_the_given_bias(bias):
    for net in (models.highway_mlp(gate_bias=bias), models.highway19(gate_bias=bias)):
        gates = [m.gate for m in net.modules() if isinstance(m, HighwayLayer)]
        assert len(gates) == (49 if isinstance(net, HighwayMLP) else 14)
        for gate in gates:
            np.testing.assert_array_equal(gate.bias.data, np.float32(bias))


# -- convolutional: what each layer is followed by -------------------------------------------------


def test_the_convolutional_network_computes_what_its_table_says():
    """A plain convolution and highway layers a stage, maxima between stages, 1x1, ReLU, means."""
    torch = pytest.importorskip("torch")
    conv, relu = torch.nn.functional.conv2d, torch.relu
    net = HighwayCIFAR((3, 4, 5), (2, 3, 2), reduced=6, gate_bias=-0.5).double().eval()
    state = {name: torch.tensor(value.data) for name, value in net.state_dict().items()}

    def layer(name, x, padding=1):
        return conv(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    x = np.random.default_rng(0).normal(size=(2, 3, 16, 16))
    y = torch.tensor(x)
    for stage, depth in enumerate((2, 3, 2)):
        if stage > 0:
            y = torch.nn.functional.max_pool2d(y, 2)
        y = relu(layer(f"stages.{stage}.0", y))
        for i in range(2, depth + 1):
            h = relu(layer(f"stages.{stage}.{i}.transform", y))
            t = torch.sigmoid(layer(f"stages.{stage}.{i}.gate", y))
            y = h * t + y * (1 - t)
    y = relu(layer("reduce", y, padding=0)).mean((2, 3))
    expected = y @ state["linear.weight"].T + state["linear.bias"]
    with md.no_grad():
        actual = net(md.tensor(x)).data
    assert np.abs(actual).max() > 1e-3
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-9, atol=1e-12)


# -- fully connected -------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [10, 20, 50, 100])
def test_plain_and_highway_layers_cost_about_5000_parameters(depth):
    for variant, cost in (("highway", 5100), ("plain", 5112)):
        net = models.highway_mlp(depth=depth, variant=variant)
        assert count(net.layers) == cost * (depth - 1)
        width = 50 if variant == "highway" else 71
        assert count(net.first) == (784 + 1) * width
        assert count(net.linear) == (width + 1) * 10


@pytest.mark.parametrize("variant", ["highway", "plain"])
def test_fifty_layers_learn_with_gates_and_not_without(variant):
    # figure 1 in small
    score = overfit(models.highway_mlp(variant=variant), (16, 1, 28, 28), steps=60, lr=0.02)
    assert score == 1.0 if variant == "highway" else score < 0.8


def test_what_a_fully_connected_network_cannot_be_is_refused():
    with pytest.raises(ValueError, match="'highway' or 'plain', not 'residual'"):
        models.highway_mlp(variant="residual")
    with pytest.raises(ValueError, match="'relu' or 'tanh', not 'gelu'"):
        models.highway_mlp(activation="gelu")
    with pytest.raises(ValueError, match="depth=0"):
        models.highway_mlp(depth=0)


# -- convolutional ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "depth", "million", "exact"),
    [(models.highway19, 19, 2.3, 2_256_838), (models.highway32, 32, 1.25, 1_255_270)],
)
def test_depth_and_size_are_those_of_table_two(build, depth, million, exact):
    with nn.init.skip_init():
        net = build()
    plain = 3 + 1 + 1  # the first of each stage, the 1x1 convolution, the linear layer
    assert sum(isinstance(m, HighwayLayer) for m in net.modules()) + plain == depth
    assert count(net) == exact
    assert round(exact / 1e6, 2 if depth == 32 else 1) == pytest.approx(million, abs=0.011)


def test_stages_have_the_sizes_of_the_table():
    with nn.init.skip_init():
        net = models.highway19().eval()
    shapes = []
    for stage in (*net.stages, net.reduce):
        stage.register_forward_hook(lambda module, args, out: shapes.append(out.shape[1:]))
    net(md.tensor(np.zeros((1, 3, 32, 32), np.float32)))
    assert shapes == [(32, 32, 32), (80, 16, 16), (128, 8, 8), (100, 8, 8)]


def test_parameters_of_the_layers_are_those_the_authors_program_reports():
    # 896 for conv1, 18,496 for each highway convolution of 32 maps
    net = models.highway19()
    assert count(net.stages[0][0]) == 896
    assert {count(layer) for layer in net.stages[0] if isinstance(layer, HighwayLayer)} == {18_496}


def test_dropout_acts_in_four_places_and_in_training_only():
    net = HighwayCIFAR((4, 5, 6), (2, 2, 2), 7, 3, drop_rate=0.5)
    calls = []
    net.dropout.register_forward_hook(lambda module, args, out: calls.append(args[0].shape[1:]))
    x = md.tensor(np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32))
    assert np.abs(net(x).data - net(x).data).max() > 1e-6
    assert calls[:4] == [(3, 8, 8), (4, 4, 4), (5, 2, 2), (7,)]
    net.eval()
    np.testing.assert_array_equal(net(x).data, net(x).data)


def test_convolutions_start_with_variance_one_over_fan_in():
    net = models.highway19()
    layer = net.stages[2][3]
    for conv in (layer.transform, layer.gate):
        weight = conv.weight.data
        assert weight.std() == pytest.approx(np.sqrt(1 / (128 * 9)), rel=0.02)
        assert np.abs(weight).max() <= np.sqrt(3 / (128 * 9))
    assert not layer.transform.bias.data.any()
