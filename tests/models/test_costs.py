"""The table of multiply-adds, counted again."""

import pytest

from minidl import models, nn
from minidl.models import MULTIPLY_ADDS

# Counting computes the network; the rest takes a minute or two in all.
QUICK = 100_000_000


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if MULTIPLY_ADDS.get(name, 0) < QUICK else pytest.mark.slow)
        for name in models.__all__
    ],
)
def test_a_network_costs_what_the_table_says(name):
    with nn.init.skip_init():
        net = getattr(models, name)()
    counted = nn.summary(net, (1, *models.INPUT_SHAPES[name]), depth=0).multiply_adds
    assert counted == MULTIPLY_ADDS[name]


def test_the_table_has_the_networks_in_their_order():
    assert list(MULTIPLY_ADDS) == models.__all__
