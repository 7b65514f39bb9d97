"""The summary: known networks, the rule for multiply-adds, and nothing left changed."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.autograd import Tensor
from minidl.nn.summary import summary


def test_the_network_with_batch_norm_prints_the_numbers_keras_prints():
    text = str(summary(models.mlp(), (1, 784)))
    assert "Total parameters:         271,346" in text
    assert "Trainable parameters:     268,978" in text
    assert "Non-trainable parameters: 2,368" in text
    assert "Multiply-adds:            266,200" in text
    assert "1 (BatchNorm1d)" in text
    assert "(1, 300)" in text


def test_rows_have_paths_shapes_and_counts():
    net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2, bias=False)))
    found = summary(net, (5, 3))
    table = [(r.path, r.kind, r.shapes, r.parameters, r.multiply_adds) for r in found.rows]
    assert table == [
        ("", "Sequential", [(5, 2)], 0, 0),
        ("0", "Linear", [(5, 4)], 16, 5 * 12),
        ("1", "Sequential", [(5, 2)], 0, 0),
        ("1.0", "ReLU", [(5, 4)], 0, 0),
        ("1.1", "Linear", [(5, 2)], 8, 5 * 8),
    ]
    assert (found.parameters, found.trainable, found.non_trainable) == (24, 24, 0)
    shallow = summary(net, (5, 3), depth=1)
    assert [(r.path, r.parameters, r.multiply_adds) for r in shallow.rows] == [
        ("", 0, 0),
        ("0", 16, 60),
        ("1", 8, 40),
    ]
    assert shallow.rows[2].shapes == [(5, 2)]


def test_frozen_parameters_are_not_trainable_and_shared_ones_count_once():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    net[1].bias.requires_grad_(False)
    found = summary(net, (1, 3))
    assert (found.parameters, found.trainable) == (15, 12)
    assert found.gradient_bytes == 48


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (lambda: nn.Conv2d(3, 8, 3, padding=1), (2, 3, 10, 12), 2 * 8 * 120 * 27),
        (lambda: nn.Conv2d(4, 8, (3, 2), stride=2, groups=2), (1, 4, 9, 8), 8 * 16 * 2 * 6),
        (lambda: nn.Conv2d(6, 6, 3, groups=6), (1, 6, 5, 5), 6 * 9 * 9),
        (lambda: nn.Conv1d(3, 5, 4), (2, 3, 9), 2 * 5 * 6 * 12),
        (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (1, 4, 5, 5), 4 * 25 * 6 * 9),
        (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 5, 5), 4 * 25 * 3 * 9),
        (lambda: nn.Linear(7, 5), (2, 3, 7), 6 * 35),
        (lambda: nn.BatchNorm2d(3), (2, 3, 4, 4), 0),
    ],
)
def test_multiply_adds_follow_the_rule(layer, shape, expected):
    assert summary(layer(), shape).multiply_adds == expected


def test_products_in_forward_belong_to_the_module_that_runs():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.key = nn.Linear(4, 4)

        def forward(self, x):
            return x @ self.key(x).transpose(1, 2)

    rows = summary(Attention(), (2, 3, 4)).rows
    assert rows[0].multiply_adds == 2 * 3 * 3 * 4
    assert rows[1].multiply_adds == 6 * 16


def test_memory_counts_each_kept_block_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(10, 10, bias=False)

        def forward(self, x):
            y = self.fc(x)
            return y * y  # keeps y, twice

    found = summary(Twice(), (4, 10))
    assert found.input_bytes == 160
    assert found.parameter_bytes == found.gradient_bytes == 400
    assert found.activation_bytes == 160
    assert found.memory == 160 + 400 + 400 + 160


class Restless(nn.Module):
    """Draws random numbers, changes and replaces its buffers whatever its mode, then may fail."""

    def __init__(self, fail):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("seen", Tensor(np.zeros(1, np.float32)))
        self.register_buffer("last", Tensor(np.zeros(1, np.float32)))
        self.fail = fail

    def forward(self, x):
        md.backend.random.host_generator().random()
        nn.functional.dropout(x, 0.5)
        self.seen.data += 1
        self.seen.bump_version()
        self.last = Tensor(np.ones(1, np.float32))
        x = self.drop(self.norm(x))
        if self.fail:
            raise RuntimeError("no")
        return x


@pytest.mark.parametrize("fail", [False, True])
def test_everything_is_as_before_afterwards_also_after_an_error(fail):
    net = Restless(fail)
    net.drop.eval()
    before = {name: x.data.copy() for name, x in net.state_dict().items()}
    state = md.backend.random.get_state()
    if fail:
        with pytest.raises(RuntimeError, match="no"):
            summary(net, (4, 3))
    else:
        summary(net, (4, 3))
    for name, x in net.state_dict().items():
        np.testing.assert_array_equal(x.data, before[name])
    assert md.backend.random.get_state() == state
    assert [m.training for m in (net, net.norm, net.drop)] == [True, True, False]
    assert not net._forward_hooks
    assert not net.norm._forward_pre_hooks
    assert all(p.grad is None for p in net.parameters())


def test_it_works_under_no_grad_and_with_several_inputs_and_outputs():
    class Both(nn.Module):
        def forward(self, a, b):
            return {"sum": a + b, "parts": (a, b)}

    with md.no_grad():
        found = summary(Both(), [(2, 3), Tensor(np.ones((2, 1), np.float32))])
    assert found.rows[0].shapes == [(2, 3), (2, 3), (2, 1)]
    assert "(2, 3), (2, 3), (2, 1)" in str(found)


def test_the_input_made_of_a_shape_has_the_models_dtype_and_device():
    seen = []
    net = nn.Linear(3, 2, device="strict", dtype=np.float64)
    net.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    summary(net, (2, 3))
    assert seen[0].device == "strict"
    assert seen[0].dtype == np.float64


def test_a_module_that_is_never_called_has_no_shape():
    net = nn.Module()
    net.unused = nn.Linear(2, 2)
    net.forward = lambda x: x
    assert "unused (Linear)  -" in str(summary(net, (1, 2)))


def test_networks_of_the_paper_have_the_multiply_adds_they_are_known_for():
    # He et al. 2015, section 4.2: ResNet-20 is 0.0408e9 for a CIFAR picture
    found = summary(models.resnet20(), (1, 3, 32, 32))
    assert found.trainable == 269_722
    assert found.multiply_adds == pytest.approx(40.8e6, rel=0.01)
