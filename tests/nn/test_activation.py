"""Activation layers against torch's."""

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor

from .compare import compare

LAYERS = [
    ("ReLU", {}),
    ("ReLU6", {}),
    ("SiLU", {}),
    ("Mish", {}),
    ("SELU", {}),
    ("Hardswish", {}),
    ("Hardsigmoid", {}),
    ("LeakyReLU", {}),
    ("LeakyReLU", {"negative_slope": 0.2}),
    ("ELU", {}),
    ("ELU", {"alpha": 0.7}),
    ("Hardtanh", {}),
    ("Hardtanh", {"min_val": -0.5, "max_val": 2.0}),
    ("GELU", {}),
    ("GELU", {"approximate": "tanh"}),
    ("Softplus", {}),
    ("Softplus", {"beta": 2.0, "threshold": 1.0}),
    ("PReLU", {}),
    ("PReLU", {"num_parameters": 4, "init": 0.1}),
    ("Sigmoid", {}),
    ("LogSigmoid", {}),
    ("Tanh", {}),
    ("Softmax", {"dim": 1}),
    ("Softmin", {"dim": -1}),
    ("LogSoftmax", {"dim": 2}),
    ("Softmax2d", {}),
]


@pytest.mark.parametrize(("name", "kwargs"), LAYERS)
def test_activations_are_torchs(name, kwargs):
    # torch's gradient of hardsigmoid has float32's 1/6 in it, whatever the dtype
    rtol = {np.float64: 1e-7} if name == "Hardsigmoid" else None
    compare(name, (), kwargs, (3, 4, 2, 5), rtol=rtol)


@pytest.mark.parametrize(
    "name", ["ReLU", "ReLU6", "SiLU", "Mish", "SELU", "ELU", "LeakyReLU", "Hardtanh", "Hardswish"]
)
def test_activations_in_place_say_so_and_compute_the_same(name):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    layer = getattr(nn, name)(inplace=True)
    assert repr(layer) == repr(getattr(torch.nn, name)(inplace=True))
    x = np.linspace(-7, 7, 9, dtype=np.float32)
    leaf = Tensor(x, requires_grad=True)
    other = torch.tensor(x, requires_grad=True)
    y = layer(leaf * 1.0)
    u = getattr(torch.nn, name)(inplace=True)(other * 1.0)
    np.testing.assert_allclose(y.detach().numpy(), u.detach().numpy(), rtol=1e-5, atol=1e-6)
    y.sum().backward()
    u.sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), other.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_impossible_activations_are_refused():
    with pytest.raises(ValueError, match="min_val"):
        nn.Hardtanh(1.0, 1.0)
    with pytest.raises(ValueError, match="3 or 4 dimensions"):
        nn.Softmax2d()(Tensor(np.zeros((2, 3), np.float32)))
