"""Residual units in five orders and with six shortcuts, pre-activation networks for CIFAR."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.preact_resnet_cifar import (
    ORDERS,
    Merge,
    PreActResNetCIFAR,
    ResidualUnit,
)
from minidl.models.classification.resnet_cifar import ResNetCIFAR

KINDS = {"Conv2d": "conv", "BatchNorm2d": "bn", "ReLU": "relu"}


def words(module):
    """The layers of a module as the table of the file names them."""
    return " ".join(KINDS[type(m).__name__] for m in module.modules() if type(m).__name__ in KINDS)


def picture(channels=3, size=8, dtype=np.float32):
    rng = np.random.default_rng(0)
    return md.tensor(rng.normal(size=(2, channels, size, size)).astype(dtype))


# -- figure 4 --------------------------------------------------------------------------------------

FIGURE_4 = {
    "original": ("conv bn relu conv bn", "relu"),
    "bn_after_addition": ("conv bn relu conv", "bn relu"),
    "relu_before_addition": ("conv bn relu conv bn relu", ""),
    "relu_only": ("relu conv bn relu conv bn", ""),
    "full": ("bn relu conv bn relu conv", ""),
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_unit_has_its_layers_in_the_order_of_figure_four(order):
    unit = ResidualUnit(4, 4, 1, ORDERS[order])
    branch = f"{words(unit.before)} {words(unit.residual)}".strip()
    assert (branch, words(unit.after)) == FIGURE_4[order]
    assert isinstance(unit.shortcut, nn.Identity)


@pytest.mark.parametrize("order", ORDERS)
def test_a_unit_computes_what_its_order_says(order):
    unit = ResidualUnit(3, 3, 1, ORDERS[order]).double()
    norms = [m for m in unit.modules() if isinstance(m, nn.BatchNorm2d)]
    convs = [m for m in unit.modules() if isinstance(m, nn.Conv2d)]
    rng = np.random.default_rng(1)
    for norm in norms:
        norm.weight.data[...] = rng.normal(size=3)
        norm.bias.data[...] = rng.normal(size=3)
    x = picture(dtype=np.float64)

    def run(y, steps, norms, convs):
        for word in steps.split():
            if word == "relu":
                y = np.maximum(y, 0)
            elif word == "conv":
                y = nn.functional.conv2d(md.tensor(y), convs.pop(0).weight, padding=1).data
            else:
                norm = norms.pop(0)
                mean, var = y.mean((0, 2, 3), keepdims=True), y.var((0, 2, 3), keepdims=True)
                y = (y - mean) / np.sqrt(var + 1e-5)
                y = y * norm.weight.data[:, None, None] + norm.bias.data[:, None, None]
        return y

    branch, end = FIGURE_4[order]
    y = run(x.data, branch, norms, convs) + x.data
    expected = run(y, end, norms, convs)
    assert not norms
    assert not convs
    np.testing.assert_allclose(unit(x).data, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_ends_of_the_network_fit_its_units(order):
    net = PreActResNetCIFAR(1, order=order, width=4)
    expected = {
        "original": ("bn relu", ""),
        "bn_after_addition": ("bn relu", ""),
        "relu_before_addition": ("bn relu", ""),
        "relu_only": ("bn", "relu"),
        "full": ("", "bn relu"),
    }
    assert (words(net.after1), words(net.before_linear)) == expected[order]


@pytest.mark.parametrize("order", ORDERS)
def test_all_orders_of_110_layers_have_the_parameters_of_the_network_of_2015(order):
    with nn.init.skip_init():
        net = models.preact_resnet110(order=order)
    assert sum(p.numel() for p in net.parameters()) == 1_727_962


def test_the_original_order_is_the_network_of_2015():
    net, old = PreActResNetCIFAR(2, order="original").eval(), ResNetCIFAR(2).eval()
    rng = np.random.default_rng(0)
    for b in old.buffers():
        if b.is_floating_point():
            b.data[...] = rng.uniform(0.5, 1.5, b.shape)
    # Both define their layers in the order in which they are used.
    values = list(old.state_dict().values())
    names = list(net.state_dict())
    net.load_state_dict(dict(zip(names, values, strict=True)))
    np.testing.assert_allclose(net(picture()).data, old(picture()).data, rtol=1e-5, atol=1e-6)


# -- section 4.1: ends, shortcuts ------------------------------------------------------------------


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("order", ["full", "relu_only", "relu_before_addition"])
def test_nothing_stands_on_the_way_from_unit_to_unit(order, bottleneck):
    net = PreActResNetCIFAR(3, order=order, bottleneck=bottleneck, width=4).eval()
    last = "conv3" if bottleneck else "conv2"
    for unit in net.layer1:
        getattr(unit.residual, last).weight.data[...] = 0
    x = picture(16 if bottleneck else 4)
    np.testing.assert_array_equal(net.layer1[1:](x).data, x.data)  # negative values, too


@pytest.mark.parametrize("order", ["original", "bn_after_addition"])
def test_a_relu_after_the_addition_stands_on_the_way(order):
    net = PreActResNetCIFAR(3, order=order, width=4).eval()
    for unit in net.layer1:
        unit.residual.conv2.weight.data[...] = 0
    x = picture(4)
    np.testing.assert_allclose(net.layer1[1:](x).data, np.maximum(x.data, 0), rtol=1e-4)


@pytest.mark.parametrize("order", ["full", "relu_only"])
def test_both_paths_of_the_first_unit_start_from_the_activation(order):
    net = PreActResNetCIFAR(1, order=order, width=4).eval()
    unit = net.layer1[0]
    unit.residual.conv2.weight.data[...] = 0
    x = picture(4)
    expected = np.maximum(x.data, 0)
    np.testing.assert_allclose(unit(x).data, expected, rtol=1e-4)


def test_a_projection_starts_from_the_activation():
    unit = ResidualUnit(8, 16, 2, ORDERS["full"], bottleneck=True).eval()
    unit.residual.conv3.weight.data[...] = 0
    activated = np.maximum(picture(8).data, 0)[:, :, ::2, ::2]
    expected = np.einsum("nchw,oc->nohw", activated, unit.shortcut.conv.weight.data[:, :, 0, 0])
    np.testing.assert_allclose(unit(picture(8)).data, expected, rtol=1e-3, atol=1e-4)


def test_a_projection_is_normalised_as_what_it_is_added_to():
    shortcuts = {
        order: words(ResidualUnit(4, 8, 1, row, bottleneck=True).shortcut)
        for order, row in ORDERS.items()
    }
    assert shortcuts == {
        "original": "conv bn",
        "bn_after_addition": "conv",
        "relu_before_addition": "conv bn",
        "relu_only": "conv bn",
        "full": "conv",
    }


# -- table 1 ---------------------------------------------------------------------------------------


def test_shortcut_and_residual_have_the_factors_of_table_one():
    rng = np.random.default_rng(0)
    x, s, f = (md.tensor(rng.normal(size=(2, 3, 4, 4))) for _ in range(3))
    merges = {kind: Merge(3, 3, 1, kind, -1.5).double() for kind in Merge.KINDS}

    def gate(kind):
        z = np.einsum("nchw,oc->nohw", x.data, merges[kind].gate.weight.data[:, :, 0, 0])
        return 1 / (1 + np.exp(-(z + merges[kind].gate.bias.data[:, None, None])))

    g, h = gate("exclusive_gating"), gate("shortcut_gating")
    expected = {
        "identity": s.data + f.data,
        "scaling": 0.5 * s.data + 0.5 * f.data,
        "exclusive_gating": (1 - g) * s.data + g * f.data,
        "shortcut_gating": (1 - h) * s.data + f.data,
        "dropout": s.data + f.data,
    }
    for kind, merge in merges.items():
        actual = merge.eval()(x, s, f).data
        np.testing.assert_allclose(actual, expected[kind], rtol=1e-12, err_msg=kind)


def test_half_of_a_shortcut_with_dropout_is_left_out_in_training():
    s = md.tensor(np.ones((2, 3, 32, 32), np.float32))
    y = Merge(3, 3, 1, "dropout", 0.0)(s, s, md.tensor(np.zeros(s.shape, np.float32))).data
    assert set(np.unique(y)) == {0.0, 2.0}
    assert y.mean() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("shortcut", ["exclusive_gating", "shortcut_gating"])
def test_every_unit_has_a_gate_with_the_given_bias(shortcut):
    net = models.preact_resnet110(order="original", shortcut=shortcut, gate_bias=-7.0)
    gates = [m.gate for m in net.modules() if isinstance(m, Merge)]
    assert len(gates) == 54
    assert [gate.stride for gate in gates if gate.stride != (1, 1)] == [(2, 2)] * 2
    for gate in gates:
        np.testing.assert_array_equal(gate.bias.data, np.float32(-7))


def test_an_unknown_shortcut_is_refused():
    with pytest.raises(ValueError, match=r"\['identity', .*'dropout'\], not 'gating'"):
        models.preact_resnet110(shortcut="gating")


# -- the networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "depth", "projections"),
    [
        (models.preact_resnet110, 110, 0),
        (models.preact_resnet164, 164, 3),
        (models.preact_resnet1001, 1001, 3),
    ],
)
def test_the_number_in_the_name_counts_layers_without_projections(build, depth, projections):
    with nn.init.skip_init():
        layers = [m for m in build().modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == depth + projections


@pytest.mark.parametrize(
    ("bottleneck", "channels"), [(False, (16, 32, 64)), (True, (64, 128, 256))]
)
def test_stages_have_their_sizes(bottleneck, channels):
    net = PreActResNetCIFAR(1, bottleneck=bottleneck).eval()
    shapes = []
    for stage in (net.layer1, net.layer2, net.layer3):
        stage.register_forward_hook(lambda module, args, out: shapes.append(out.shape[1:]))
    net(picture(size=32))
    sizes = [(32, 32), (16, 16), (8, 8)]
    assert shapes == [(c, *size) for c, size in zip(channels, sizes, strict=True)]


def test_a_bottleneck_network_computes_what_the_same_in_torch_computes():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    f = torch.nn.functional
    net = PreActResNetCIFAR(2, bottleneck=True).eval()
    rng = np.random.default_rng(0)
    for b in net.buffers():
        if b.is_floating_point():
            b.data[...] = rng.uniform(0.5, 1.5, b.shape)
    state = {name: torch.tensor(x.data) for name, x in net.state_dict().items()}

    def bn_relu(x, path):
        keys = ("running_mean", "running_var", "weight", "bias")
        return f.relu(f.batch_norm(x, *[state[f"{path}.{key}"] for key in keys]))

    x = picture(size=32)
    y = f.conv2d(torch.tensor(x.data), state["conv1.weight"], padding=1)
    for stage in (1, 2, 3):
        for i in range(2):
            path = f"layer{stage}.{i}"
            stride = 2 if stage > 1 and i == 0 else 1
            a = bn_relu(y, f"{path}.before.bn1")
            z = f.conv2d(a, state[f"{path}.residual.conv1.weight"], stride=stride)
            z = bn_relu(z, f"{path}.residual.bn2")
            z = f.conv2d(z, state[f"{path}.residual.conv2.weight"], padding=1)
            z = bn_relu(z, f"{path}.residual.bn3")
            z = f.conv2d(z, state[f"{path}.residual.conv3.weight"])
            if i == 0:
                y = f.conv2d(a, state[f"{path}.shortcut.conv.weight"], stride=stride)
            y = y + z
    y = bn_relu(y, "before_linear.bn").mean((2, 3))
    expected = f.linear(y, state["linear.weight"], state["linear.bias"]).numpy()
    actual = net(x).data
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match=r"\['original', .*'full'\], not 'post'"):
        models.preact_resnet110(order="post")


def test_a_gradient_reaches_every_one_of_1001_layers():
    net = models.preact_resnet1001()
    scores = net(picture())
    assert scores.shape == (2, 10)
    nn.functional.cross_entropy(scores, md.tensor(np.array([3, 5]))).backward()
    gradients = {name: p.grad.data for name, p in net.named_parameters() if p.ndim == 4}
    assert len(gradients) == 1 + 3 * 333 + 3
    assert [name for name, g in gradients.items() if not np.isfinite(g).all()] == []
    assert [name for name, g in gradients.items() if not g.any()] == []
