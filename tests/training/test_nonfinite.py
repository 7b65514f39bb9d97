"""Where a NaN came from (whole runs that meet one are in test_fit.py)."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.backend import random
from minidl.training.batches import Batch
from minidl.training.nonfinite import first_nonfinite, require_finite


def step(model, x, y, criterion=None):
    """A forward and backward pass, and the look at it."""
    criterion = criterion or nn.MSELoss()
    before = random.get_state()
    loss = criterion(model(x), y)
    loss.backward()
    require_finite(model, criterion, Batch.of((x, y), "cpu"), loss, before)


def batch(value=1.0):
    return md.Tensor(np.full((3, 4), value, np.float32)), md.Tensor(np.zeros((3, 2), np.float32))


def test_a_finite_step_passes():
    step(nn.Linear(4, 2), *batch())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_input_target_and_weights_are_named(value):
    x, y = batch()
    x.data[1, 2] = value
    with pytest.raises(FloatingPointError, match="the input of this batch is not finite already"):
        step(nn.Linear(4, 2), x, y)
    x, y = batch()
    y.data[0, 0] = value
    with pytest.raises(FloatingPointError, match="the target of this batch"):
        step(nn.Linear(4, 2), x, y)
    model = nn.Linear(4, 2)
    model.bias.data[1] = value
    with pytest.raises(FloatingPointError, match=r"bias is not finite already.*earlier step"):
        step(model, *batch())


def test_the_operation_is_named_also_behind_dropout():
    class Net(nn.Module):
        """Divides by 0 where dropout drops: only the same mask finds the same place."""

        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.drop = nn.Dropout(0.2)

        def forward(self, x):
            kept = self.drop(x * 0.0 + 1.0)
            return (self.fc(x) / kept)[:, :2]

    found = 0
    for seed in range(6):
        md.manual_seed(seed)
        try:
            step(Net(), *batch())
        except FloatingPointError as error:
            assert "began in Div: infinity in output 0" in str(error)  # noqa: PT017
            found += 1
    assert found > 0


def test_a_large_finite_gradient_is_not_an_error():
    big = np.full(4, 3e38, np.float32)
    assert first_nonfinite({"big": md.Tensor(big)}) is None
    big[2] = np.inf
    assert first_nonfinite({"small": md.tensor([1.0]), "big": md.Tensor(big)}) == "big"


def test_integers_and_missing_gradients_are_finite():
    assert first_nonfinite({"i": md.Tensor(np.arange(3)), "none": None}) is None


@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_both_signs_of_infinity_at_once_are_found(device):
    values = md.Tensor(np.float32([np.inf, -np.inf, 1.0]), device=device)
    assert first_nonfinite({"x": values}) == "x"
