"""Half-precision parameters with float32 masters: small updates add up."""

import numpy as np
import pytest

import minidl as md
from minidl import optim

from .. import strict_cupy

RULES = {
    "SGD": lambda p: optim.SGD(p, lr=1e-4, momentum=0.5),
    "Adam": lambda p: optim.Adam(p, lr=1e-4),
    "AdamW": lambda p: optim.AdamW(p, lr=1e-4),
    "RMSprop": lambda p: optim.RMSprop(p, lr=1e-4),
}
DEVICES = ["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)]


def pair(make, device="cpu"):
    """The same parameters in half precision with masters, and in single precision."""
    values = [np.array([1.0, 2.0, -0.5]), np.array([[4.0]])]
    half, single = (
        [md.tensor(v.astype(t), device=device, requires_grad=True) for v in values]
        for t in (np.float16, np.float32)
    )
    with_masters = make(half)
    with_masters.master_weights = True
    return (half, with_masters), (single, make(single))


def steps(params, optimizer, count):
    for _ in range(count):
        optimizer.zero_grad()
        for k, p in enumerate(params):
            p.grad = md.ones_like(p) * (k + 1.0)
        optimizer.step()


def host(x):
    return md.backend.of(x.data).to_host(x.data)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", RULES)
def test_updates_are_those_of_single_precision_rounded(rule, device):
    (half, optimizer), (single, exact) = pair(RULES[rule], device)
    with strict_cupy.forbid_sync():
        steps(half, optimizer, 20)
        steps(single, exact, 20)
    for p, q in zip(half, single, strict=True):
        assert p.dtype == np.float16
        np.testing.assert_array_equal(host(p), host(q).astype(np.float16))
        np.testing.assert_array_equal(host(optimizer.state[p]["master"]), host(q))


def test_without_masters_small_updates_are_lost():
    p = md.ones(1, dtype=md.float16).requires_grad_()
    steps([p], optim.SGD([p], lr=1e-4), 20)
    assert p.item() == 1.0
    steps([p], masters := optim.SGD([p], lr=1e-4), 0)
    masters.master_weights = True
    steps([p], masters, 20)
    assert p.item() == np.float16(0.998)


def test_a_run_continues_from_its_state():
    (half, optimizer), (single, exact) = pair(RULES["Adam"])
    steps(half, optimizer, 7)
    again = [md.tensor(p.numpy(), requires_grad=True) for p in (q.detach() for q in half)]
    other = RULES["Adam"](again)
    other.master_weights = True
    other.load_state_dict(optimizer.state_dict())
    steps(again, other, 7)
    steps(single, exact, 14)
    for p, q in zip(again, single, strict=True):
        np.testing.assert_array_equal(other.state[p]["master"].numpy(), q.detach().numpy())
    plain = RULES["Adam"](half)
    with pytest.raises(ValueError, match="unknown state 'master'"):
        plain.load_state_dict(optimizer.state_dict())


def test_weights_changed_or_replaced_by_others_are_taken_over():
    (half, optimizer), _ = pair(RULES["SGD"])
    steps(half, optimizer, 2)
    with md.no_grad():
        half[0].copy_(md.tensor([8.0, 8.0, 8.0]))
    half[1].data = np.array([[16.0]], np.float16)
    optimizer.zero_grad()
    steps(half, optimizer, 1)
    np.testing.assert_allclose(half[0].detach().numpy(), 8.0, rtol=1e-3)
    np.testing.assert_allclose(half[1].detach().numpy(), 16.0, rtol=1e-3)
    np.testing.assert_allclose(optimizer.state[half[1]]["master"].numpy(), 16.0, rtol=1e-4)


def test_single_precision_parameters_have_no_master():
    p = md.ones(1).requires_grad_()
    optimizer = optim.SGD([p], lr=1.0)
    optimizer.master_weights = True
    steps([p], optimizer, 1)
    assert p.item() == 0.0
    assert "master" not in optimizer.state_dict()["state"].get(0, {})
