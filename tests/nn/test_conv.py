"""Convolution layers against torch's."""

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor

from .compare import compare

FORWARD = [
    ((3, 4, 3), {}),
    ((3, 4, (3, 2)), {"stride": (2, 1), "padding": (1, 0)}),
    ((4, 6, 3), {"groups": 2, "bias": False}),
    ((4, 4, 3), {"groups": 4, "padding": 1}),
    ((3, 4, 3), {"dilation": 2, "padding": 2}),
    ((3, 4, 4), {"padding": "same"}),
    ((3, 4, 3), {"padding": "valid"}),
    ((3, 4, 3), {"padding": 1, "padding_mode": "reflect"}),
    ((3, 4, 3), {"padding": (2, 1), "padding_mode": "replicate"}),
    ((3, 4, 4), {"padding": "same", "padding_mode": "circular"}),
    ((3, 4, 1), {}),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's
@pytest.mark.parametrize(("args", "kwargs"), FORWARD)
def test_conv2d_is_torchs(args, kwargs):
    compare("Conv2d", args, kwargs, (2, args[0], 8, 7))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((3, 4, 3), {}),
        ((4, 6, 3), {"stride": 2, "padding": 1, "groups": 2, "dilation": 2}),
        ((3, 4, 4), {"padding": "same", "bias": False}),
        ((3, 4, 3), {"padding": 2, "padding_mode": "circular"}),
    ],
)
def test_conv1d_is_torchs(args, kwargs):
    compare("Conv1d", args, kwargs, (2, args[0], 9))


TRANSPOSED = [
    ((3, 4, 3), {}),
    ((3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((4, 6, (2, 3)), {"stride": (2, 3), "groups": 2, "bias": False}),
    ((3, 4, 3), {"dilation": 2, "stride": 2}),
]


@pytest.mark.parametrize(("args", "kwargs"), TRANSPOSED)
def test_conv_transpose2d_is_torchs(args, kwargs):
    compare("ConvTranspose2d", args, kwargs, (2, args[0], 4, 5))


@pytest.mark.parametrize(("args", "kwargs"), [TRANSPOSED[0], TRANSPOSED[1], TRANSPOSED[3]])
def test_conv_transpose1d_is_torchs(args, kwargs):
    compare("ConvTranspose1d", args, kwargs, (2, args[0], 5))


def test_the_size_of_a_transposed_convolution_can_be_chosen():
    for size in ((9, 7), (10, 8)):
        compare(
            "ConvTranspose2d",
            (3, 4, 3),
            {"stride": 2, "padding": 1},
            (2, 3, 5, 4),
            extra=(size,),
        )
    layer = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1)
    with pytest.raises(ValueError, match="dimension 0 can be 9 to 10"):
        layer(Tensor(np.zeros((2, 3, 5, 4), np.float32)), (12, 8))


@pytest.mark.parametrize("make", [nn.Conv2d, nn.ConvTranspose2d])
def test_initial_values_are_torchs_in_distribution(make):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    ours = make(64, 32, 3, groups=2)
    theirs = getattr(torch.nn, make.__name__)(64, 32, 3, groups=2)
    for mine, other in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        other = other.detach().numpy()
        assert mine.shape == other.shape
        assert np.abs(mine.data).max() == pytest.approx(np.abs(other).max(), rel=0.2)
    assert ours.weight.data.std() == pytest.approx(theirs.weight.std().item(), rel=0.05)


def test_impossible_layers_are_refused():
    with pytest.raises(ValueError, match=r"Conv2d: 3 input and 4 output channels .* 2 groups"):
        nn.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="'same' or 'valid', not 'full'"):
        nn.Conv2d(3, 4, 3, padding="full")
    with pytest.raises(ValueError, match="needs stride 1"):
        nn.Conv2d(3, 4, 3, padding="same", stride=2)
    with pytest.raises(ValueError, match="padding_mode"):
        nn.Conv2d(3, 4, 3, padding_mode="mirror")
    with pytest.raises(ValueError, match="zeros only"):
        nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect")
