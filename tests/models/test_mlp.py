"""The 784-300-100-10 network."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn

from .overfit import overfit


def test_it_has_the_parameters_of_its_description():
    net = models.mlp()
    assert sum(p.numel() for p in net.parameters()) == 268_978
    statistics = [b for b in net.buffers() if b.is_floating_point()]
    assert sum(b.numel() for b in statistics) == 2_368
    assert [m.num_features for m in net if isinstance(m, nn.BatchNorm1d)] == [784, 300, 100]


def test_sizes_and_batch_norm_can_be_chosen():
    net = models.mlp((4, 3, 2), batch_norm=False)
    assert [type(m).__name__ for m in net] == ["Flatten", "Linear", "ReLU", "Linear"]
    with pytest.raises(ValueError, match="at least"):
        models.mlp((4,))


def test_it_learns_a_handful_of_pictures_by_heart():
    assert overfit(models.mlp(), (16, 1, 28, 28), steps=30, lr=0.05) == 1.0


def test_the_last_layer_has_no_activation():
    x = np.random.default_rng(0).normal(size=(8, 784)).astype(np.float32)
    assert models.mlp()(md.tensor(x)).data.min() < 0
