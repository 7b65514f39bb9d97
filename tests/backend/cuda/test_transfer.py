"""Copies beside computation: in order, from memory that nobody overwrites, without a wait."""

import gc
import weakref

import numpy as np
import pytest

import minidl as md
from minidl import backend
from minidl.backend.cuda.transfer import FLYING, Transfers

from ... import strict_cupy, strict_streams
from ...conftest import StrictBackend


class WithStreams(Transfers, StrictBackend):
    """The device "strict" with streams whose copies are as late as CUDA allows."""

    xp = strict_streams.Namespace()


@pytest.fixture
def device():
    strict_streams.order.clear()
    backend.register("strict", lambda: (WithStreams(), strict_cupy.ndarray))
    yield backend.by_name("strict")
    backend.register("strict", lambda: (StrictBackend(), strict_cupy.ndarray))
    backend.by_name("strict")


def host(array):
    return array._a  # as a kernel would see it: without waiting


def test_numbers_are_there_after_receive_and_not_before(device):
    sent = device.send(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert np.isnan(host(sent.array)).all()
    array = sent.receive()
    assert np.array_equal(host(array), np.arange(6).reshape(2, 3))


def test_a_copy_waits_for_the_memory_and_computation_for_the_copy(device):
    with strict_cupy.forbid_sync():
        device.send(np.ones(3)).receive()
    asked = ["compute: record", "copies: wait", "copies: copy", "copies: record", "compute: wait"]
    assert strict_streams.order == asked


def test_memory_that_is_not_pinned_may_be_changed_at_once(device):
    ones = np.ones((4, 6), np.float32)
    for x in (ones[0], ones[1, ::2], ones[2:].T):
        sent = device.send(x)
        x[...] = 7
        assert (host(sent.receive()) == 1).all()


def test_pinned_memory_is_copied_as_it_lies(device):
    source = device.pinned((4,), np.float32)
    source[...] = 1
    assert device.is_pinned(source)
    assert device.is_pinned(source[1:].reshape(3, 1))
    assert not device.is_pinned(np.ones(4))
    sent = device.send(source)
    source[...] = 7  # what must not be done: the stand-in shows that it would be seen
    assert (host(sent.receive()) == 7).all()


def test_a_source_is_held_until_its_copy_is_over(device):
    """Pinned memory goes back to a pool when its last array is gone, and is handed out again."""
    source = device.pinned((4,), np.float32)
    source[...] = 3
    held = weakref.ref(source)
    sent = device.send(source)
    del source
    gc.collect()
    assert held() is not None
    assert (host(sent.receive()) == 3).all()
    device.send(np.zeros(1))  # lets go of what has arrived
    gc.collect()
    assert held() is None


def test_the_host_waits_only_when_far_ahead(device):
    with strict_cupy.forbid_sync():
        sent = [device.send(np.full(2, float(i))) for i in range(FLYING)]
    waits = pytest.raises(strict_cupy.DeviceSynchronized, match=r"event.synchronize\(\)")
    with waits, strict_cupy.forbid_sync():
        sent.append(device.send(np.full(2, float(FLYING))))
    assert [host(s.receive())[0] for s in sent] == list(range(FLYING + 1))
    with strict_cupy.forbid_sync():  # and never if batches are received as they come
        for i in range(3 * FLYING):
            assert host(device.send(np.full(2, float(i))).receive())[0] == i


def test_empty_arrays_travel_too(device):
    assert device.send(np.empty((0, 3), np.int64)).receive().shape == (0, 3)
    assert device.pinned((0, 3), np.int64).shape == (0, 3)


def test_to_with_non_blocking_copies_pinned_memory_without_waiting(device):
    x = md.arange(4, dtype=md.float32).requires_grad_()
    pinned = x.detach().pin_memory("strict").requires_grad_()
    assert pinned.is_pinned("strict")
    assert not x.is_pinned("strict")
    assert pinned.pin_memory("strict") is pinned
    with strict_cupy.forbid_sync():
        y = pinned.to("strict", non_blocking=True)
        assert np.array_equal(host(y.data), [0, 1, 2, 3])
    (y * 2).sum().backward()
    assert np.array_equal(pinned.grad.numpy(), [2, 2, 2, 2])
    with pytest.raises(RuntimeError, match="only CPU tensors can be pinned"):
        y.pin_memory("strict")


def test_without_a_gpu_nothing_is_pinned():
    if md.cuda.is_available():
        pytest.skip("there is a GPU")
    assert not md.ones(2).is_pinned()
    with pytest.raises(RuntimeError, match="device cuda cannot be used"):
        md.ones(2).pin_memory()


def test_the_names_and_arguments_are_cupys():
    """On a machine without a GPU the classes are there, and say what their methods take."""
    cuda = pytest.importorskip("cupy", reason="looks names up in CuPy").cuda
    for name in ("Stream", "Event", "Device", "PinnedMemoryPointer", "MemoryPointer"):
        assert isinstance(getattr(cuda, name), type)
    for function, text in [
        (cuda.MemoryPointer.copy_from_host_async, "(self, mem, size_t size, stream=None)"),
        (cuda.alloc_pinned_memory, "(size_t size)"),
        (cuda.Stream.record, "(self, event=None)"),
        (cuda.Stream.wait_event, "(self, event)"),
        (cuda.Event.synchronize, "(self)"),
    ]:
        assert text in function.__doc__
    assert "disable_timing" in cuda.Event.__doc__
    assert "non_blocking" in cuda.Stream.__doc__
    assert hasattr(cuda.Event, "done")


@pytest.mark.gpu
def test_batches_on_a_real_gpu_are_the_hosts():
    cuda = backend.by_name("cuda")
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((64, 1000)).astype(np.float32) for _ in range(30)]
    heavy = md.ones(2000, 2000, device="cuda")
    sums = []
    for batch in batches:
        sent = cuda.send(batch)
        for _ in range(5):
            heavy = (heavy @ heavy) * 0.0005
        sums.append(md.Tensor(sent.receive()).sum())
    for total, batch in zip(sums, batches, strict=True):
        assert total.item() == pytest.approx(float(batch.sum()), abs=0.5)
    pinned = cuda.pinned((3, 4), np.float32)
    assert cuda.is_pinned(pinned)
    assert not cuda.is_pinned(np.ones(3))
