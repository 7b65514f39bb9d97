"""Frozen parts of a network."""

import copy

import numpy as np
import pytest

import minidl as md
from minidl import models, nn, optim

F = nn.functional


def network():
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1), nn.InstanceNorm2d(4, track_running_stats=True)
        ),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(64, 3),
    )


def bits(module):
    return {name: x.data.tobytes() for name, x in module.state_dict().items()}


def train(net, steps=3):
    """With everything that could change a parameter: momentum, weight decay, and a gradient."""
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        net.train()
        x = md.tensor(rng.normal(3, 2, size=(5, 1, 4, 4)).astype(np.float32))
        loss = F.cross_entropy(net(x), md.tensor(rng.integers(0, 3, 5)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_training_leaves_a_frozen_part_as_it_is_bit_by_bit():
    net = network()
    train(net)  # there are gradients and momenta by now
    assert nn.utils.freeze(net[:2]) is not net
    frozen, rest = bits(net[:2]), bits(net[4])
    train(net)
    assert bits(net[:2]) == frozen
    assert bits(net[4]) != rest
    assert all(p.grad is None for p in net[:2].parameters())


def test_gradients_from_before_are_not_used_on_a_frozen_part():
    net = network()
    train(net)
    assert net[0][0].weight.grad is not None
    nn.utils.freeze(net[:2])
    frozen, rest = bits(net[:2]), bits(net[4])
    optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1).step()
    assert bits(net[:2]) == frozen
    assert bits(net[4]) != rest


def test_without_freezing_running_statistics_move_though_parameters_do_not():
    net = network()
    net[0].requires_grad_(False)
    before = bits(net[0])
    train(net)
    changed = {name for name, content in bits(net[0]).items() if content != before[name]}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_frozen_norms_compute_in_training_mode_as_in_evaluation():
    net = network()[:2]
    train(nn.Sequential(net, nn.Flatten(), nn.Linear(64, 3)))
    x = md.tensor(np.random.default_rng(1).normal(size=(2, 1, 4, 4)).astype(np.float32))
    expected = net.eval()(x).data
    nn.utils.freeze(net)
    np.testing.assert_array_equal(net.train()(x).data, expected)
    assert net[0][1].training
    assert "frozen=True" in repr(net)
    nn.utils.unfreeze(net)
    assert not np.allclose(net(x).data, expected)
    assert "frozen" not in repr(net)


def test_dropout_follows_the_mode_of_a_frozen_network():
    net = nn.utils.freeze(network())
    x = md.tensor(np.ones((2, 1, 4, 4), np.float32))
    assert not np.array_equal(net.train()(x).data, net(x).data)
    assert np.array_equal(net.eval()(x).data, net(x).data)


def test_gradients_pass_through_a_frozen_part():
    net = network()
    nn.utils.freeze(net[1:])
    net.train()(md.tensor(np.ones((2, 1, 4, 4), np.float32))).sum().backward()
    assert net[0][0].weight.grad is not None
    assert net[4].weight.grad is None
    x = md.tensor(np.ones((2, 1, 4, 4), np.float32), requires_grad=True)
    nn.utils.freeze(net)(x).sum().backward()
    assert x.grad is not None


def test_unfreezing_undoes_freezing():
    net = network()
    nn.utils.unfreeze(nn.utils.freeze(net))
    before = bits(net)
    train(net)
    after = bits(net)
    same = [name for name in before if before[name] == after[name]]
    assert same == ["1.1.num_batches_tracked"]  # as in torch, InstanceNorm does not count


def test_freezing_survives_copies_and_loading():
    net = nn.utils.freeze(network())
    twin = copy.deepcopy(net)
    assert twin[0][1].frozen
    assert not any(p.requires_grad for p in twin.parameters())
    assert list(net.state_dict()) == list(network().state_dict())
    net.load_state_dict(network().state_dict())
    assert net[0][1].frozen


def test_norms_without_running_statistics_keep_to_the_batch():
    bn = nn.utils.freeze(nn.BatchNorm1d(2, track_running_stats=False))
    assert not bn.frozen
    assert bn(md.tensor([[1.0, 2.0], [3.0, 4.0]])).data[0, 0] == pytest.approx(-1, abs=1e-4)


def test_blocks_of_a_transformer_are_those_of_its_encoder():
    with nn.init.skip_init():
        net = models.vit_ti_16(image_size=32)
    found = nn.utils.blocks(net)
    layers = [f"encoder.layers.encoder_layer_{i}" for i in range(12)]
    assert found[:-2] == [["conv_proj"], *([layer] for layer in layers[:-1])]
    assert found[-2:] == [[layers[-1], "encoder.ln"], ["heads.head"]]
    nn.utils.fine_tune(net, 2)
    trained = {name.partition(".mlp")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert all(name.startswith((layers[-1], "encoder.ln", "heads.head")) for name in trained)
    assert not net.encoder.pos_embedding.requires_grad


def test_the_blocks_of_a_residual_network_are_its_units():
    found = nn.utils.blocks(models.resnet20())
    assert found[0] == ["conv1", "bn1"]
    units = [[f"layer{stage}.{i}"] for stage in (1, 2, 3) for i in range(3)]
    assert found[1:-1] == units
    assert found[-1] == ["linear"]


def test_blocks_are_opened_where_they_are_lists():
    with nn.init.skip_init():
        found = nn.utils.blocks(models.mobilenet_v2())
    assert found[0] == ["features.0"]
    assert found[-2:] == [["features.18"], ["classifier.1"]]
    assert len(found) == 20
    net = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU())
    assert nn.utils.blocks(net) == [["0"], ["1", "2"]]


@pytest.mark.parametrize("last", [1, 2, 4])
def test_fine_tuning_trains_the_last_blocks_only(last):
    net = nn.utils.fine_tune(models.resnet20(), last)
    trained = {name.rpartition(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    units = ("linear", "layer3.2.", "layer3.1.", "layer3.0.")[:last]
    assert all(name.startswith(units) for name in trained)
    assert len(trained) == 1 + 4 * (last - 1)
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.frozen == (not name.startswith(units))


def test_fine_tuning_everything_is_training_as_usual():
    net = nn.utils.fine_tune(models.resnet20(), 1)
    assert nn.utils.fine_tune(net) is net
    assert all(p.requires_grad for p in net.parameters())
    assert not net.bn1.frozen


@pytest.mark.parametrize("last", [0, -1, 12])
def test_a_number_of_blocks_that_is_not_there_is_an_error(last):
    with pytest.raises(ValueError, match=r"ResNetCIFAR has 11 blocks; the last .* linear"):
        nn.utils.fine_tune(models.resnet20(), last)
