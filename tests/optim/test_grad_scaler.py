"""GradScaler: gradients come back unscaled, steps with infinities are left out, the scale moves."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.amp import GradScaler
from minidl.nn import functional as F

from .. import strict_cupy

DEVICES = ["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)]


def parameter(*values, device="cpu"):
    return md.tensor(np.array(values, np.float32), device=device, requires_grad=True)


def host(x):
    return md.backend.of(x.data).to_host(x.data)


def step(scaler, optimizer, loss):
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_is_that_without_scaling(device):
    w = parameter(1.0, -2.0, device=device)
    optimizer = md.optim.SGD([w], lr=0.5)
    scaler = GradScaler(device)
    step(scaler, optimizer, (w * w).sum())
    assert np.array_equal(host(w), [0.0, 0.0])
    assert np.array_equal(host(w.grad), [2.0, -4.0])


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("device", DEVICES)
def test_a_step_with_infinities_is_left_out_and_halves_the_scale(device, bad):
    w, v = parameter(1.0, device=device), parameter(1.0, 3.0, device=device)
    optimizer = md.optim.SGD([w, v], lr=0.5)
    scaler = GradScaler(device, init_scale=8.0)
    factor = md.tensor(np.array([1.0, bad], np.float32), device=device)
    step(scaler, optimizer, w.sum() + (v * factor).sum())
    assert scaler.get_scale() == 4.0
    assert np.array_equal(host(w), [1.0])
    assert np.array_equal(host(v), [1.0, 3.0])
    assert optimizer.steps_taken == 0
    step(scaler, optimizer, w.sum())
    assert np.array_equal(host(w), [0.5])
    assert scaler.get_scale() == 4.0


def test_the_scale_grows_after_good_steps_in_a_row():
    w = parameter(1.0)
    optimizer = md.optim.SGD([w], lr=0.0)
    scaler = GradScaler("cpu", init_scale=4.0, growth_factor=3.0, growth_interval=2)
    scales = []
    for factor in (1.0, 1.0, 1.0, np.inf, 1.0, 1.0):
        step(scaler, optimizer, (w * factor).sum())
        scales.append(scaler.get_scale())
    assert scales == [4.0, 12.0, 12.0, 6.0, 6.0, 18.0]


def test_it_does_not_grow_beyond_float32():
    w = parameter(1e-20)
    optimizer = md.optim.SGD([w], lr=0.0)
    scaler = GradScaler("cpu", init_scale=2.0**127, growth_interval=1)
    step(scaler, optimizer, (w * 1e-20).sum())
    assert scaler.get_scale() == 2.0**127


def test_small_gradients_survive_half_precision():
    """1e-8 is 0 in float16, and so is all that flows back through such a number."""
    w = parameter(1.0, 1.0, 1.0, 1.0)
    optimizer = md.optim.SGD([w], lr=1.0)

    def gradient(scaler):
        optimizer.zero_grad()
        loss = (w.half() * 1e-4 * 1e-4).float().sum()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        return w.grad.numpy()

    assert not gradient(GradScaler("cpu", enabled=False)).any()
    assert np.allclose(gradient(GradScaler("cpu", init_scale=2.0**12)), 1e-8, rtol=1e-2)


def test_gradients_can_be_clipped_between_unscale_and_step():
    w = parameter(3.0, 4.0)
    optimizer = md.optim.SGD([w], lr=1.0)
    scaler = GradScaler("cpu")
    scaler.scale((w * md.tensor([3.0, 4.0])).sum()).backward()
    scaler.unscale_(optimizer)
    assert float(nn.utils.clip_grad_norm_([w], 1.0)) == pytest.approx(5.0)
    scaler.step(optimizer)
    scaler.update()
    np.testing.assert_allclose(w.detach().numpy(), [2.4, 3.2], rtol=1e-5)


def test_two_optimisers_share_a_scale_and_are_stepped_by_themselves():
    a, b = parameter(1.0), parameter(1.0)
    first, second = md.optim.SGD([a], lr=1.0), md.optim.SGD([b], lr=1.0)
    scaler = GradScaler("cpu", init_scale=2.0)
    one, two = scaler.scale([a.sum(), (b * np.inf).sum()])
    one.backward()
    two.backward()
    scaler.step(first)
    scaler.step(second)
    scaler.update()
    assert (a.item(), b.item(), scaler.get_scale()) == (0.0, 1.0, 1.0)


def test_a_step_waits_once_and_nothing_else_does():
    model = nn.Linear(3, 2).to("strict")
    optimizer = md.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = GradScaler("strict", growth_interval=1)
    x, y = md.randn(4, 3).to("strict"), md.tensor([0, 1, 0, 1], device="strict")
    step(scaler, optimizer, F.cross_entropy(model(x), y))  # makes the scale: an upload
    strict_cupy.syncs.clear()
    with strict_cupy.forbid_sync():
        with md.autocast("strict"):
            loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
    with pytest.raises(strict_cupy.DeviceSynchronized) as waits, strict_cupy.forbid_sync():
        scaler.step(optimizer)
    assert str(waits.value).startswith("1 hidden meeting")
    with strict_cupy.forbid_sync():
        scaler.update()


def test_half_precision_parameters_need_master_weights():
    w = md.ones(2, dtype=md.float16).requires_grad_()
    scaler = GradScaler("cpu", init_scale=4.0)
    optimizer = md.optim.SGD([w], lr=0.5)
    scaler.scale(w.float().sum()).backward()
    with pytest.raises(ValueError, match=r"a gradient of float16.*master_weights"):
        scaler.step(optimizer)
    optimizer.master_weights = True
    scaler.step(optimizer)
    assert np.array_equal(w.detach().numpy(), [0.5, 0.5])


def test_calls_out_of_order_are_refused():
    w = parameter(1.0)
    optimizer = md.optim.SGD([w], lr=1.0)
    scaler = GradScaler("cpu")
    with pytest.raises(RuntimeError, match=r"no step\(\) since"):
        scaler.update()
    with pytest.raises(RuntimeError, match="no parameter of this optimiser has a gradient"):
        scaler.step(optimizer)
    scaler.update(2.0)
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match=r"unscale_\(\) has been called"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="closure"):
        scaler.step(optimizer, lambda: None)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"step\(\) has been called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"step\(\) has been called"):
        scaler.unscale_(optimizer)
    with pytest.raises(TypeError, match="expected tensors"):
        scaler.scale(3.0)
    for arguments in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}, {"growth_interval": 0}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            GradScaler("cpu", **arguments)


def test_a_disabled_scaler_does_nothing():
    w = parameter(1.0)
    optimizer = md.optim.SGD([w], lr=1.0)
    scaler = GradScaler("cuda", enabled=False)  # the device is not asked for
    loss = w.sum()
    assert scaler.scale(loss) is loss
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert (w.item(), scaler.get_scale(), scaler.state_dict()) == (0.0, 1.0, {})
    assert not scaler.is_enabled()


def test_a_new_scale_can_be_given():
    scaler = GradScaler("cpu")
    scaler.update(16.0)
    assert scaler.get_scale() == 16.0
    scaler.update(md.tensor(32.0))
    assert scaler.get_scale() == 32.0


def test_it_does_what_torchs_scaler_does():
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    options = {"init_scale": 2.0**14, "growth_factor": 1.5, "growth_interval": 3}
    mine, theirs = GradScaler("cpu", **options), torch.amp.GradScaler("cpu", **options)
    w, u = parameter(1.0, 2.0), torch.tensor([1.0, 2.0], requires_grad=True)
    optimizers = md.optim.Adam([w], lr=0.1), torch.optim.Adam([u], lr=0.1)
    for factor in [1, 1, 1, 1, float("inf"), 1, 1, 1, 1, float("nan"), 1]:
        step(mine, optimizers[0], (w * w * factor).sum())
        step(theirs, optimizers[1], (u * u * factor).sum())
        assert mine.state_dict() == theirs.state_dict()
        np.testing.assert_allclose(w.detach().numpy(), u.detach().numpy(), rtol=1e-6)
    fresh = GradScaler("cpu")
    fresh.load_state_dict(theirs.state_dict())
    assert fresh.state_dict() == mine.state_dict()
    theirs.load_state_dict(mine.state_dict())
    with pytest.raises(RuntimeError, match="not enabled"):
        fresh.load_state_dict({})
    for name in ("growth_factor", "backoff_factor", "growth_interval"):
        for scaler in (fresh, theirs):
            getattr(scaler, f"set_{name}")(5)
            assert getattr(scaler, f"get_{name}")() == 5
