"""BatchNorm folded into the layer before it, against torch's functions and the unfolded network."""

import copy

import numpy as np
import pytest

import minidl as md
from minidl import nn

F = nn.functional


def draw(module, seed=0):
    """Weights and running statistics as after training."""
    rng = np.random.default_rng(seed)
    for layer in module.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d, nn.FrozenBatchNorm2d)):
            count = layer.num_features
            if layer.running_mean is not None:
                layer.running_mean.data[...] = rng.normal(size=count)
                layer.running_var.data[...] = rng.uniform(0.5, 2, count)
            if layer.weight is not None:
                layer.weight.data[...] = rng.uniform(0.5, 2, count)
                layer.bias.data[...] = rng.normal(size=count)
    return module


def norms(module):
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.FrozenBatchNorm2d)
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def inputs(*shape):
    return md.tensor(np.random.default_rng(9).normal(size=shape).astype(np.float32))


def assert_equal_outputs(folded, net, *given):
    expected = net.eval()(*given).data
    actual = folded(*given).data
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


PAIRS = {
    "conv2d": (lambda: (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)), (2, 4, 5, 7)),
    "without bias": (lambda: (nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)), (2, 4, 5, 7)),
    "groups": (lambda: (nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), (2, 4, 5, 7)),
    "depthwise": (lambda: (nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8)), (2, 4, 5, 7)),
    "not affine": (lambda: (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, affine=False)), (2, 4, 5, 7)),
    "eps": (lambda: (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, eps=0.1)), (2, 4, 5, 7)),
    "conv1d": (lambda: (nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)), (2, 4, 5)),
    "transposed": (lambda: (nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6)), (2, 4, 5, 7)),
    "transposed 1d": (lambda: (nn.ConvTranspose1d(4, 6, 3), nn.BatchNorm1d(6)), (2, 4, 5)),
    "linear": (lambda: (nn.Linear(4, 6), nn.BatchNorm1d(6)), (3, 4)),
    "linear without bias": (lambda: (nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6)), (3, 4)),
}


def torch_or_skip():
    return pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")


@pytest.mark.parametrize("name", PAIRS)
def test_fused_layers_are_those_of_torch(name):
    torch = torch_or_skip()
    build, shape = PAIRS[name]
    layer, bn = (m.eval() for m in draw(nn.ModuleList(build())))
    twins = []
    for module in (layer, bn):
        twin = eval(f"torch.nn.{module!r}", {"torch": torch}).eval()
        twin.load_state_dict({k: torch.tensor(v.data) for k, v in module.state_dict().items()})
        twins.append(twin)
    if isinstance(layer, nn.Linear):
        fused = nn.utils.fuse_linear_bn_eval(layer, bn)
        expected = torch.nn.utils.fuse_linear_bn_eval(*twins)
    else:
        transpose = name.startswith("transposed")
        fused = nn.utils.fuse_conv_bn_eval(layer, bn, transpose)
        expected = torch.nn.utils.fuse_conv_bn_eval(*twins, transpose)
    for parameter in ("weight", "bias"):
        ours, theirs = getattr(fused, parameter), getattr(expected, parameter)
        assert isinstance(ours, nn.Parameter)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours.data, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    x = inputs(*shape)
    np.testing.assert_allclose(fused(x).data, bn(layer(x)).data, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("groups", [2, 4])
def test_transposed_convolutions_with_groups_are_folded_too(groups):
    """torch's function is for one group."""
    conv, bn = draw(nn.ModuleList([nn.ConvTranspose2d(4, 8, 3, groups=groups), nn.BatchNorm2d(8)]))
    x = inputs(2, 4, 5, 7)
    fused = nn.utils.fuse_conv_bn_eval(conv.eval(), bn.eval(), transpose=True)
    np.testing.assert_allclose(fused(x).data, bn(conv(x)).data, rtol=1e-5, atol=1e-5)


def test_functions_of_weights_take_what_torchs_take():
    torch = torch_or_skip()
    rng = np.random.default_rng(0)
    w, b, mean, var, scale, shift = (
        rng.uniform(0.5, 1.5, s).astype(np.float32) for s in ((6, 4, 3, 3), 6, 6, 6, 6, 6)
    )
    for args in (
        (w, b, mean, var, 1e-3, scale, shift),
        (w, None, mean, var, 1e-3, None, None),
    ):
        given = [md.tensor(a) if isinstance(a, np.ndarray) else a for a in args]
        theirs = [torch.tensor(a) if isinstance(a, np.ndarray) else a for a in args]
        made = nn.utils.fuse_conv_bn_weights(*given)
        expected = torch.nn.utils.fuse_conv_bn_weights(*theirs)
        for ours, other in zip(made, expected, strict=True):
            np.testing.assert_allclose(ours.data, other.detach().numpy(), rtol=1e-6)
    flat = md.tensor(w[:, :, 0, 0].copy())
    weight, bias = nn.utils.fuse_linear_bn_weights(flat, None, *given[2:])
    np.testing.assert_allclose(weight.data, made[0].data[:, :, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(bias.data, made[1].data, rtol=1e-6)


def test_what_cannot_be_fused_says_why():
    conv, bn = nn.Conv2d(4, 6, 3).eval(), nn.BatchNorm2d(6).eval()
    with pytest.raises(ValueError, match="call eval"):
        nn.utils.fuse_conv_bn_eval(conv.train(), bn)
    with pytest.raises(ValueError, match="no running statistics"):
        nn.utils.fuse_conv_bn_eval(conv.eval(), nn.BatchNorm2d(6, track_running_stats=False).eval())
    with pytest.raises(ValueError, match="a BatchNorm of 5 channels behind a Conv2d with 6"):
        nn.utils.fuse_conv_bn_eval(conv, nn.BatchNorm2d(5).eval())


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_in_a_network_becomes_one_layer(name):
    build, shape = PAIRS[name]
    net = draw(nn.Sequential(*build(), nn.ReLU()))
    before = {path: x.data.copy() for path, x in net.state_dict().items()}
    folded = nn.utils.fold_batchnorm(net, inputs(*shape))
    assert not norms(folded)
    assert [type(m) for m in folded] == [type(net[0]), nn.Identity, nn.ReLU]
    assert not folded.training
    assert_equal_outputs(folded, net, inputs(*shape))
    for path, x in net.state_dict().items():  # the network itself is as it was
        np.testing.assert_array_equal(x.data, before[path])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in folded.modules())


def test_frozen_batchnorm_is_folded_too():
    net = draw(nn.Sequential(nn.Conv2d(3, 5, 3), nn.FrozenBatchNorm2d(5)))
    folded = nn.utils.fold_batchnorm(net, inputs(1, 3, 6, 6))
    assert not norms(folded)
    assert_equal_outputs(folded, net, inputs(2, 3, 6, 6))


class Net(nn.Module):
    """Two convolutions with BatchNorm, joined in a way that the test gives."""

    def __init__(self, forward):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.conv2, self.bn2 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.how = forward

    def forward(self, x):
        return self.how(self, x)


def used_by_a_shortcut(net, x):
    y = net.conv1(x)
    return net.bn2(net.conv2(F.relu(net.bn1(y)))) + y


def used_by_a_view(net, x):
    y = net.conv1(x)
    return net.bn2(net.conv2(net.bn1(y))) * y[:, :1].mean()


def returned(net, x):
    y = net.conv1(x)
    return {"outputs": [net.bn2(net.conv2(net.bn1(y))), y]}["outputs"][0] + 0 * y


def normalised_twice(net, x):
    y = net.conv1(x)
    return net.bn1(y) + net.bn2(y)


def norm_called_twice(net, x):
    return net.bn1(net.conv2(net.bn1(net.conv1(x))))


def conv_called_twice(net, x):
    return net.bn1(net.conv1(net.conv1(x)))


def something_in_between(net, x):
    return net.bn2(net.conv2(net.bn1(F.relu(net.conv1(x)))))


@pytest.mark.parametrize(
    ("forward", "left"),
    [
        (used_by_a_shortcut, ["bn1"]),
        (used_by_a_view, ["bn1"]),
        (returned, ["bn1"]),
        (normalised_twice, ["bn1", "bn2"]),
        (norm_called_twice, ["bn1", "bn2"]),  # the second is never called
        (conv_called_twice, ["bn1", "bn2"]),
        (something_in_between, ["bn1"]),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_what_others_use_is_left_as_it_is(forward, left):
    net = draw(Net(forward))
    folded = nn.utils.fold_batchnorm(net, inputs(1, 3, 5, 5))
    kept = [name for name, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert kept == left
    assert_equal_outputs(folded, net, inputs(2, 3, 6, 4))


def test_an_output_that_the_network_returns_is_left_as_it_is():
    class Two(Net):
        def forward(self, x):
            y = self.conv1(x)
            return {"main": (self.bn1(y),), "features": [y]}

    net = draw(Two(None)).eval()
    x = inputs(1, 3, 5, 5)
    folded = nn.utils.fold_batchnorm(net, x)
    assert len(norms(folded)) == 2
    np.testing.assert_array_equal(folded(x)["features"][0].data, net(x)["features"][0].data)


def test_weights_that_are_shared_are_left_as_they_are():
    net = draw(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)))
    net[2].weight = net[0].weight
    folded = nn.utils.fold_batchnorm(net, inputs(1, 3, 4, 4))
    assert len(norms(folded)) == 1
    assert_equal_outputs(folded, net, inputs(1, 3, 4, 4))


def test_layers_that_change_their_weight_are_left_as_they_are():
    class Standardised(nn.Conv2d):
        def forward(self, input):
            return F.conv2d(input, self.weight / self.weight.std(), self.bias)

    net = draw(nn.Sequential(Standardised(3, 4, 1), nn.BatchNorm2d(4)))
    folded = nn.utils.fold_batchnorm(net, inputs(1, 3, 4, 4))
    assert len(norms(folded)) == 1
    assert_equal_outputs(folded, net, inputs(1, 3, 4, 4))


def test_channels_that_are_not_the_layers_outputs_are_left_alone():
    net = draw(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))  # (N, 3, 4) -> (N, 3, 3)
    folded = nn.utils.fold_batchnorm(net, inputs(2, 3, 4))
    assert len(norms(folded)) == 1
    assert_equal_outputs(folded, net, inputs(2, 3, 4))


def test_statistics_of_the_batch_cannot_be_folded():
    net = draw(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)))
    folded = nn.utils.fold_batchnorm(net, inputs(2, 3, 4, 4))
    assert len(norms(folded)) == 1
    assert_equal_outputs(folded, net, inputs(2, 3, 4, 4))


def test_a_network_of_several_inputs_is_given_them_all():
    class Sum(Net):
        def forward(self, x, y):
            return self.bn1(self.conv1(x)) + self.bn2(self.conv2(y))

    net = draw(Sum(None))
    given = inputs(1, 3, 4, 4), inputs(1, 3, 4, 4) * 2
    folded = nn.utils.fold_batchnorm(net, *given)
    assert not norms(folded)
    assert_equal_outputs(folded, net, *given)


def test_modules_that_stand_in_two_places_are_replaced_in_both():
    net = Net(lambda net, x: net.bn1(net.conv1(x)))
    net.again = nn.ModuleList([net.conv1, net.bn1])
    folded = nn.utils.fold_batchnorm(draw(net), inputs(1, 3, 4, 4))
    assert folded.again[0] is folded.conv1
    assert isinstance(folded.again[1], nn.Identity)
    assert isinstance(folded.bn1, nn.Identity)


def test_double_precision_and_other_devices_stay():
    net = draw(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    x = inputs(1, 3, 4, 4)
    wide = copy.deepcopy(net).double()
    folded = nn.utils.fold_batchnorm(wide, x.double())
    assert folded[0].weight.dtype == np.float64
    there = copy.deepcopy(net).to("strict")
    folded = nn.utils.fold_batchnorm(there, x.to("strict"))
    assert folded[0].bias.device == "strict"
    np.testing.assert_allclose(
        folded(x.to("strict")).cpu().data, net.eval()(x).data, rtol=1e-5, atol=1e-5
    )
