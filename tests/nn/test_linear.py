"""Linear against torch's."""

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor

from .compare import compare


@pytest.mark.parametrize(
    ("args", "shape"),
    [((3, 4), (5, 3)), ((3, 4, False), (2, 5, 3)), ((1, 1), (1,)), ((6, 2), (0, 6))],
)
def test_linear_is_torchs(args, shape):
    compare("Linear", args, {}, shape)


def test_initial_values_are_uniform_within_one_over_the_root_of_the_inputs():
    layer = nn.Linear(400, 300)
    bound = 1 / 20
    for values in (layer.weight.data, layer.bias.data):
        assert values.dtype == np.float32
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.95 * bound
    assert layer.weight.data.std() == pytest.approx(bound / np.sqrt(3), rel=0.01)


def test_a_layer_can_be_made_on_a_device_and_in_a_dtype():
    layer = nn.Linear(2, 3, device="strict", dtype=np.float64)
    assert layer.weight.device == "strict"
    assert layer.bias.dtype == np.float64


def test_a_wrong_width_is_refused():
    with pytest.raises(ValueError, match="linear"):
        nn.Linear(3, 4)(Tensor(np.zeros((2, 5), np.float32)))
