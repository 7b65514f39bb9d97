"""A model in evaluation mode for a while."""

import pytest

from minidl import nn
from minidl.nn.modes import eval_mode


def modes(model):
    return [module.training for module in model.modules()]


def test_after_an_evaluation_each_part_is_as_it_was():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Sequential(nn.Dropout()))
    model[1].eval()
    before = modes(model)
    with eval_mode(model):
        assert not any(modes(model))
    assert modes(model) == before
    with pytest.raises(ZeroDivisionError), eval_mode(model):
        raise ZeroDivisionError
    assert modes(model) == before
