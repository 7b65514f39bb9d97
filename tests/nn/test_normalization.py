"""Normalisation layers against torch's, statistics included."""

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor

from .. import strict_cupy
from ..torchvision_oracle import torchvision
from .compare import compare

OPTIONS = [
    {},
    {"momentum": 0.3, "eps": 1e-3},
    {"momentum": None},
    {"affine": False},
    {"track_running_stats": False},
    {"bias": False},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_batch_norms_are_torchs(options):
    modes = ("train", "train", "eval", "train")
    compare("BatchNorm2d", (3,), options, (4, 3, 5, 2), modes=modes)
    compare("BatchNorm1d", (3,), options, (6, 3), modes=modes)
    compare("BatchNorm1d", (3,), options, (2, 3, 5), modes=modes)


@pytest.mark.parametrize(
    "options", [{}, {"affine": True}, {"affine": True, "track_running_stats": True}]
)
def test_instance_norms_are_torchs(options):
    compare("InstanceNorm2d", (3,), options, (2, 3, 5, 4))
    compare("InstanceNorm2d", (3,), options, (3, 5, 4))
    compare("InstanceNorm1d", (3,), options, (2, 3, 5))


def test_layer_norm_is_torchs():
    compare("LayerNorm", (4,), {}, (2, 3, 4))
    compare("LayerNorm", ([3, 4],), {"eps": 1e-3}, (2, 3, 4))
    compare("LayerNorm", (4,), {"bias": False}, (2, 4))
    compare("LayerNorm", (4,), {"elementwise_affine": False}, (2, 4))


def test_group_norm_is_torchs():
    compare("GroupNorm", (2, 6), {}, (2, 6, 3, 4))
    compare("GroupNorm", (1, 6), {"affine": False}, (2, 6, 5))
    compare("GroupNorm", (3, 6), {"bias": False}, (2, 6, 5))
    with pytest.raises(ValueError, match="6 channels cannot be divided into 4 groups"):
        nn.GroupNorm(4, 6)


def test_local_response_norm_is_torchs():
    compare("LocalResponseNorm", (5,), {}, (2, 7, 3, 4))
    compare("LocalResponseNorm", (2,), {"alpha": 1e-2, "beta": 0.5, "k": 2.0}, (2, 7, 3))


def test_a_wrong_rank_is_refused():
    with pytest.raises(
        ValueError, match=r"BatchNorm2d: input must have 4 dimensions, got \(2, 3\)"
    ):
        nn.BatchNorm2d(3)(Tensor(np.zeros((2, 3), np.float32)))
    with pytest.raises(ValueError, match="2 or 3 dimensions"):
        nn.BatchNorm1d(3)(Tensor(np.zeros((2, 3, 4, 4), np.float32)))


def test_a_state_without_the_number_of_batches_loads_as_in_torch():
    norm = nn.BatchNorm2d(3)
    state = norm.state_dict()
    del state["num_batches_tracked"]
    norm.num_batches_tracked.data += 7
    norm.load_state_dict(state)
    assert norm.num_batches_tracked.item() == 7
    del state["running_mean"]
    with pytest.raises(RuntimeError, match=r"missing in the state \(1\): running_mean"):
        norm.load_state_dict(state)


def test_reset_forgets_what_was_seen_and_learned():
    norm = nn.BatchNorm2d(3)
    norm(Tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32) + 5))
    norm.weight.data += np.float32(1)
    norm.reset_parameters()
    for name, x in nn.BatchNorm2d(3).state_dict().items():
        np.testing.assert_array_equal(norm.state_dict()[name].data, x.data)
    layer = nn.LayerNorm(3)
    layer.weight.data += np.float32(1)
    layer.reset_parameters()
    np.testing.assert_array_equal(layer.weight.data, np.ones(3))


def test_evaluation_leaves_the_statistics_alone():
    norm = nn.BatchNorm2d(3).eval()
    before = {name: x.data.copy() for name, x in norm.state_dict().items()}
    norm(Tensor(np.ones((2, 3, 4, 4), np.float32)))
    for name, x in norm.state_dict().items():
        np.testing.assert_array_equal(x.data, before[name])


def test_a_training_step_of_batch_norm_does_not_wait_for_the_device():
    norm = nn.BatchNorm2d(3, device="strict")
    x = Tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32))
    x = Tensor(x.data, device="strict", requires_grad=True)
    with strict_cupy.forbid_sync():
        norm(x).sum().backward()


def test_frozen_batch_norm_is_torchvisions():
    tv = torchvision()
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    state = {name: rng.uniform(0.5, 2, 3).astype(np.float32) for name in FROZEN}
    ours, theirs = nn.FrozenBatchNorm2d(3, 1e-3), tv.ops.FrozenBatchNorm2d(3, 1e-3)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert not list(ours.parameters())
    ours.load_state_dict(state)
    theirs.load_state_dict({name: torch.tensor(values) for name, values in state.items()})
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours.train()(a), theirs.train()(b)
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-5, atol=1e-6)
    cotangent = rng.normal(size=x.shape).astype(np.float32)
    (y * Tensor(cotangent)).sum().backward()
    (z * torch.tensor(cotangent)).sum().backward()
    np.testing.assert_allclose(a.grad.data, b.grad.numpy(), rtol=1e-5, atol=1e-6)
    for name, values in state.items():  # training mode or not
        np.testing.assert_array_equal(ours.state_dict()[name].data, values)


FROZEN = ("weight", "bias", "running_mean", "running_var")


def test_frozen_batch_norm_takes_the_weights_of_a_batch_norm():
    norm = nn.BatchNorm2d(3)
    norm(Tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32) + 5))
    frozen = nn.FrozenBatchNorm2d(3)
    result = frozen.load_state_dict(norm.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    for name in FROZEN:
        np.testing.assert_array_equal(getattr(frozen, name).data, getattr(norm, name).data)
    with pytest.raises(RuntimeError, match=r"unexpected in the state \(1\): other"):
        frozen.load_state_dict({**norm.state_dict(), "other": np.zeros(3)})
    network = nn.Sequential(nn.Conv2d(1, 3, 1), frozen)
    twin = nn.Sequential(nn.Conv2d(1, 3, 1), norm)
    network.load_state_dict(twin.state_dict())


def test_frozen_batch_norm_wants_pictures():
    with pytest.raises(ValueError, match=r"FrozenBatchNorm2d: input must have 4 dim.*\(2, 3\)"):
        nn.FrozenBatchNorm2d(3)(Tensor(np.zeros((2, 3), np.float32)))
