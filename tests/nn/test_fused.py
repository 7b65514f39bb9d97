"""BatchNorm and ReLU as one operation."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.autograd import Event, listen
from minidl.nn.fused import norm_relu


def operations(function):
    """The names of the operations that a call runs forward."""
    names = []

    def note(event: Event):
        if event.phase == "forward":
            names.append(event.node.name)

    with listen(note):
        function()
    return names


def x():
    return md.tensor(np.random.default_rng(0).normal(size=(4, 3, 5, 5)).astype(np.float32) * 3)


@pytest.mark.parametrize("act", [nn.ReLU, nn.ReLU6])
def test_a_sequence_of_batch_norm_and_relu_gives_the_results_of_its_parts(act):
    norm, rectifier = nn.BatchNorm2d(3), act()
    md.manual_seed(1)
    nn.init.uniform_(norm.weight, 4.0, 8.0)  # some results are above 6
    twin = nn.BatchNorm2d(3)
    twin.load_state_dict(norm.state_dict())
    a, b = (x().requires_grad_() for _ in range(2))
    together = nn.Sequential(nn.Identity(), norm, rectifier, nn.Identity())
    seed = md.randn(4, 3, 5, 5)
    y, z = together(a), rectifier(twin(b))
    (y * seed).sum().backward()
    (z * seed).sum().backward()
    np.testing.assert_allclose(y.data, z.data, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(a.grad.data, b.grad.data, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.weight.grad.data, twin.weight.grad.data, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(norm.running_var.data, twin.running_var.data)
    assert norm.num_batches_tracked.item() == 1


def test_it_is_one_operation_in_training_unless_somebody_watches_a_layer():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    assert operations(lambda: net(x())).count("Relu") == 0
    net.eval()
    assert operations(lambda: net(x())).count("Relu") == 1
    net.train()
    seen = []
    handle = net[1].register_forward_hook(lambda module, args, result: seen.append(result.shape))
    assert operations(lambda: net(x())).count("Relu") == 1
    handle.remove()
    net[0].register_forward_hook(lambda module, args, result: seen.append(result.shape))
    assert operations(lambda: net(x())).count("Relu") == 1
    assert seen == [(4, 3, 5, 5)] * 2


def test_other_modules_are_called_one_by_one():
    y = norm_relu(nn.Identity(), x())
    np.testing.assert_array_equal(y.data, np.maximum(x().data, 0))
    y = norm_relu(nn.Identity(), x(), nn.ReLU6())
    np.testing.assert_array_equal(y.data, x().data.clip(0, 6))
    y = norm_relu(nn.BatchNorm2d(3), x(), nn.Hardsigmoid())
    expected = nn.Hardsigmoid()(nn.BatchNorm2d(3)(x()))
    np.testing.assert_array_equal(y.data, expected.data)
    y = norm_relu(nn.BatchNorm2d(3), x())
    np.testing.assert_allclose(y.data, nn.ReLU()(nn.BatchNorm2d(3)(x())).data, rtol=1e-6)
    twice = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    np.testing.assert_allclose(
        twice(x()).data, nn.BatchNorm2d(3)(nn.BatchNorm2d(3)(x())).data, rtol=1e-6
    )
