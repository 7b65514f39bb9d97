"""Class activation maps."""

import numpy as np
import pytest
import torch

import minidl as md
from minidl import nn
from minidl.explain import cam, grad_cam
from minidl.models.classification.resnet import resnet18

from .small import pictures, pooled, some_digits, traces, trained


def test_the_mean_of_the_map_and_the_bias_are_the_score():
    net, x = pooled().eval(), pictures()
    for target in range(3):
        found = cam(net, x, "2", "6", target)
        scores = net(x).data[:, target] - net[6].bias.data[target]
        np.testing.assert_allclose(found.data.mean((1, 2)), scores, rtol=1e-4, atol=1e-6)


def test_grad_cam_of_a_pooled_network_is_its_cam_over_the_number_of_cells():
    net, x = pooled(), pictures()
    target = [0, 2, 1, 1]
    expected = cam(net, x, "2", "6", target).data / (8 * 9)
    found = grad_cam(net, x, "2", target, relu=False)
    np.testing.assert_allclose(found.data, expected, rtol=1e-4, atol=1e-7)
    found = grad_cam(net, x, "2", target)
    np.testing.assert_allclose(found.data, np.maximum(expected, 0), rtol=1e-4, atol=1e-7)
    assert (found.data > 0).any()


def test_both_agree_on_a_resnet():
    md.manual_seed(0)
    net = resnet18(num_classes=5)
    x = pictures(2, 3, (64, 64))
    expected = cam(net, x, "layer4", "fc").data / 4
    assert expected.shape == (2, 2, 2)
    np.testing.assert_allclose(
        grad_cam(net, x, "layer4", relu=False).data, expected, rtol=1e-3, atol=1e-6
    )


def test_a_layer_before_a_relu_that_works_in_place_is_seen_as_it_was():
    net, x = pooled(), pictures()
    expected = [f(net, x, "1", 1).data for f in (grad_cam, lambda *a: cam(*a[:3], "6", a[3]))]
    net[2] = nn.ReLU(inplace=True)
    found = [f(net, x, "1", 1).data for f in (grad_cam, lambda *a: cam(*a[:3], "6", a[3]))]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (cam(net, x, "1", "6", 1).data != cam(net, x, "2", "6", 1).data).any()


def test_grad_cam_equals_torch_in_the_middle_of_a_network():
    md.manual_seed(2)
    ours = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 2), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    first = torch.nn.Sequential(torch.nn.Conv2d(2, 6, 3), torch.nn.ReLU())
    rest = torch.nn.Sequential(
        torch.nn.MaxPool2d(2), torch.nn.Conv2d(6, 4, 2), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(16, 3),
    )  # fmt: skip
    state = {k: torch.tensor(v.data) for k, v in ours.state_dict().items()}
    torch.nn.Sequential(*first, *rest).load_state_dict(state)
    x = pictures()
    maps = first(torch.tensor(x.data)).detach().requires_grad_()
    rest(maps)[:, 1].sum().backward()
    expected = (maps * maps.grad.mean((2, 3), keepdim=True)).sum(1).relu()
    found = grad_cam(ours, x, "1", 1)
    assert found.shape == (4, 6, 7)
    np.testing.assert_allclose(found.data, expected.detach(), rtol=1e-4, atol=1e-6)
    large = torch.nn.functional.interpolate(expected[:, None], (8, 9), mode="bilinear")[:, 0]
    found = grad_cam(ours, x, "1", 1, size=x.shape[2:])
    np.testing.assert_allclose(found.data, large.detach(), rtol=1e-4, atol=1e-6)


def test_the_map_of_a_trained_digit_lies_on_the_digit_more_than_chance():
    net, (x, y) = trained(), some_digits()
    maps = grad_cam(net, x, "conv1", y, size=(28, 28)).data
    ink = x.data[:, 0] > 0.3
    share = (maps * ink).sum((1, 2)) / maps.sum((1, 2))
    chance = ink.mean((1, 2))
    assert share.mean() > 2 * chance.mean(), (share.mean(), chance.mean())
    assert (share > chance).mean() > 0.75


def test_a_map_shows_which_of_two_things_speaks_for_a_class():
    """Class 0 looks for the first channel, class 1 for the second: each is in one corner."""
    net = pooled(2, 2)
    net[0].weight.data[...] = 0
    net[0].weight.data[[0, 1], [0, 1], 1, 1] = 1  # the identity
    net[0].bias.data[...] = 0
    net[6].weight.data[...] = [[1, 0], [0, 1]]
    x = np.zeros((1, 2, 8, 8), np.float32)
    x[0, 0, :3, :3], x[0, 1, 5:, 5:] = 1, 1
    for method in (
        lambda k: cam(net, md.tensor(x), "2", "6", k),
        lambda k: grad_cam(net, md.tensor(x), "2", k),
    ):
        for k in (0, 1):
            np.testing.assert_array_equal(method(k).data[0] > 0, x[0, k] > 0)


@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_a_look_changes_nothing(device):
    net, x = pooled(), pictures().to(device)
    net[1].eval()
    before = traces(net)
    net.to(device)
    with md.no_grad():
        found = [cam(net, x, "2", "6", size=(16, 18)), grad_cam(net, x, "2", size=(16, 18))]
    for maps in found:
        assert (maps.shape, maps.dtype, maps.device) == ((4, 16, 18), x.dtype, x.device)
        assert not maps.requires_grad
    assert traces(net.cpu()) == before


def test_frozen_networks_are_explained_too():
    net, x = pooled(), pictures()
    expected = grad_cam(net, x, "2").data
    for p in net.parameters():
        p.requires_grad_(False)
    np.testing.assert_array_equal(grad_cam(net, x, "2").data, expected)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.twice, self.never, self.aside = (nn.Conv2d(2, 2, 1) for _ in range(3))
        self.pair, self.fc = Pair(), nn.Linear(2, 3)

    def forward(self, x):
        self.aside(x)
        return self.fc(self.pair(self.twice(self.twice(x)))[0].mean((2, 3)))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def test_wrong_layers_are_errors_and_leave_no_hooks():
    net, x = Odd(), pictures()
    before = traces(net)
    for call, error, message in [
        (lambda: grad_cam(net, x, "layer9"), AttributeError, "no module 'layer9'"),
        (lambda: cam(net, x, "layer9", "fc"), AttributeError, "no module 'layer9'"),
        (lambda: cam(net, x, "twice", "head"), AttributeError, "no module 'head'"),
        (lambda: cam(net, x, "twice", "pair"), TypeError, "'pair' is a Pair, not a Linear"),
        (lambda: grad_cam(net, x, "twice"), ValueError, "'twice' ran 2 times for a batch"),
        (lambda: grad_cam(net, x, "never"), ValueError, "'never' ran 0 times for a batch"),
        (lambda: grad_cam(net, x, "pair"), TypeError, "'pair' is a tuple, not a tensor"),
        (lambda: grad_cam(net, x, "fc"), ValueError, r"'fc' gives \(4, 3\), not maps"),
        (lambda: grad_cam(net, x, "aside"), RuntimeError, "was not used to compute"),
        (lambda: cam(pooled(), x, "2", "6", 3), ValueError, "classes are from 0 to 2, got 3"),
        (lambda: cam(pooled(), x, "", "6"), ValueError, r"'' gives \(4, 3\), not maps"),
    ]:
        with pytest.raises(error, match=message):
            call()
    wide = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Flatten(), nn.Linear(4 * 72, 3))
    with pytest.raises(ValueError, match="'0' gives 4 maps but '2' weights 288"):
        cam(wide, x, "0", "2")
    assert traces(net) == before
