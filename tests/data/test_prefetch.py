"""Batches on a device: the same ones, copied ahead, and counted when they are handed out."""

from typing import NamedTuple

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.data import DataLoader
from minidl.data.prefetch import pin, prefetch
from minidl.nn import functional as F

from .. import strict_cupy, strict_streams
from ..backend.cuda.test_transfer import device  # noqa: F401  (the fixture)


class Numbers:
    """Sample i is (a picture of i, i)."""

    def __init__(self, count=20):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return np.full((1, 4, 4), i, np.float32), i


class Pair(NamedTuple):
    image: md.Tensor
    more: dict


def values(x):
    return md.backend.of(x.data).to_host(x.data)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("place", ["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_an_epoch_on_a_device_is_that_on_the_cpu(place, workers):
    expected = list(DataLoader(Numbers(), 6, shuffle=True, seed=3))
    loader = DataLoader(Numbers(), 6, shuffle=True, seed=3, num_workers=workers)
    found = list(loader.on(place))
    assert len(found) == len(expected) == 4
    for (x, y), (u, v) in zip(found, expected, strict=True):
        assert x.device.type == y.device.type == place
        assert np.array_equal(values(x), u.numpy())
        assert np.array_equal(values(y), v.numpy())


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_not_overwritten_while_they_are_copied(workers):
    """With copies as late as CUDA allows."""
    loader = DataLoader(Numbers(40), 4, num_workers=workers)
    for k, (x, y) in enumerate(loader.on("strict")):
        assert np.array_equal(y.data._a, np.arange(4 * k, 4 * k + 4))
        assert np.array_equal(x.data._a[:, 0, 0, 0], np.arange(4 * k, 4 * k + 4))


@pytest.mark.usefixtures("device")
def test_the_next_batch_is_on_its_way_while_one_is_worked_on():
    strict_streams.order.clear()
    batches = prefetch(iter([md.ones(2), md.ones(3), md.ones(4)]), "strict")
    assert next(batches).shape == (2,)
    assert strict_streams.order.count("copies: copy") == 2
    assert strict_streams.order[-1] == "compute: wait"
    batches.close()  # what is under way is received, before its memory is given back
    assert strict_streams.order.count("compute: wait") == 2


@pytest.mark.usefixtures("device")
def test_an_epoch_of_training_has_no_hidden_wait():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 40)).to("strict")
    optimizer = optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    loader = DataLoader(Numbers(40), 4, num_workers=2)
    with strict_cupy.forbid_sync():
        for x, y in loader.on("strict"):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@pytest.mark.usefixtures("device")
def test_a_batch_counts_when_it_is_handed_out_not_when_it_is_sent():
    loader = DataLoader(Numbers(), 4, shuffle=True, seed=1)
    whole = [y.numpy() for _, y in DataLoader(Numbers(), 4, shuffle=True, seed=1)]
    for k, _ in enumerate(loader.on("strict")):
        assert loader.batch == k + 1
        if k == 1:
            break
    other = DataLoader(Numbers(), 4, shuffle=True, seed=9)
    other.load_state_dict(loader.state_dict())
    rest = [values(y) for _, y in other.on("strict")]
    assert np.array_equal(np.concatenate(rest), np.concatenate(whole[2:]))


@pytest.mark.usefixtures("device")
def test_the_structure_of_a_batch_stays():
    batch = Pair(md.ones(2), {"boxes": [md.zeros(1), md.zeros(3)], "name": "a"})
    (moved,) = prefetch(iter([batch]), "strict")
    assert isinstance(moved, Pair)
    assert moved.image.device.type == "strict"
    assert [x.shape for x in moved.more["boxes"]] == [(1,), (3,)]
    assert moved.more["name"] == "a"
    pinned = pin(batch, "strict")
    assert pinned.image.is_pinned("strict")
    assert pinned.image.device.type == "cpu"
    assert pin(moved, "strict").image is moved.image


def test_pin_memory_without_a_gpu_changes_nothing():
    if md.cuda.is_available():
        pytest.skip("there is a GPU")
    (batch,) = DataLoader(Numbers(3), 3, pin_memory=True)
    assert not batch[0].is_pinned()


@pytest.mark.gpu
def test_pin_memory_pins_on_a_machine_with_a_gpu():
    (batch,) = DataLoader(Numbers(3), 3, pin_memory=True)
    assert batch[0].is_pinned()
