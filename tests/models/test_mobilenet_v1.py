"""MobileNet, the first."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.mobilenet_v1 import TABLE_1, MobileNetV1

from ..torchvision_oracle import timm


def cost(size=224, **arguments):
    """(multiply-adds, parameters) in millions."""
    with nn.init.skip_init():
        found = md.summary(MobileNetV1(**arguments), (1, 3, size, size))
    return found.multiply_adds / 1e6, found.trainable / 1e6


def test_stages_have_the_sizes_of_table_1():
    with nn.init.skip_init():
        rows = md.summary(models.mobilenet_v1(), (1, 3, 224, 224)).rows
    found = [row.shapes[0][1:] for row in rows if row.path.count(".") == 1]
    expected = [(32, 112, 112), (64, 112, 112)] + [(128, 56, 56)] * 2 + [(256, 28, 28)] * 2
    assert found == expected + [(512, 14, 14)] * 6 + [(1024, 7, 7)] * 2


# Numbers as printed: a unit in the last place is allowed.
def test_full_convolutions_cost_what_table_4_says():
    assert cost() == (pytest.approx(569, abs=1), pytest.approx(4.2, abs=0.05))
    # 4867.3 with the linear layer, 4866.3 without
    assert cost(variant="full") == (pytest.approx(4866, abs=1.5), pytest.approx(29.3, abs=0.05))


def test_a_shallow_network_costs_what_table_5_says():
    shallow = [row for i, row in enumerate(TABLE_1) if i not in range(6, 11)]
    assert cost(setting=shallow) == (pytest.approx(307, abs=1), pytest.approx(2.9, abs=0.05))


@pytest.mark.parametrize(
    ("width", "multiply_adds", "parameters"), [(0.75, 325, 2.6), (0.5, 149, 1.3), (0.25, 41, 0.5)]
)
def test_narrow_networks_cost_what_table_6_says(width, multiply_adds, parameters):
    expected = (pytest.approx(multiply_adds, abs=1), pytest.approx(parameters, abs=0.05))
    assert cost(width_mult=width) == expected


@pytest.mark.parametrize(("size", "multiply_adds"), [(192, 418), (160, 290), (128, 186)])
def test_smaller_pictures_cost_what_table_7_says(size, multiply_adds):
    assert cost(size)[0] == pytest.approx(multiply_adds, abs=1)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="'separable' or 'full', not 'half'"):
        models.mobilenet_v1(variant="half")


def test_it_computes_what_timms_network_with_relu_computes():
    create = timm().create_model
    import torch

    torch.manual_seed(0)
    theirs = create("mobilenetv1_100", act_layer=torch.nn.ReLU).eval()
    with nn.init.skip_init():
        ours = models.mobilenet_v1().eval()
    # its parameters have other names, but come in the same order
    state = theirs.state_dict()
    names = [name for name in ours.state_dict() if "num_batches_tracked" not in name]
    values = [x for name, x in state.items() if "num_batches_tracked" not in name]
    for name, x in zip(names, values, strict=True):
        if "running_mean" in name:
            x.normal_(0, 0.1)
        if "running_var" in name:
            x.uniform_(0.5, 1.5)
    ours.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    pictures = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    with md.no_grad(), torch.no_grad():
        actual = ours(md.tensor(pictures)).data
        expected = theirs(torch.tensor(pictures)).numpy()
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()
