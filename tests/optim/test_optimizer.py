"""Optimisers against torch's, step by step, and what they do to parameters and state."""

import copy
import pickle

import numpy as np
import pytest

from minidl import optim
from minidl.autograd import Tensor
from minidl.backend import of

SHAPES = [(3, 4), (5,), (2, 3, 2, 2), (), (1,)]

# Options of minidl and torch alike; LARS, which torch has not, has its own file.
RULES = {
    "sgd": (optim.SGD, {"lr": 0.1}),
    "sgd momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "sgd dampening": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.4}),
    "sgd nesterov decay": (
        optim.SGD,
        {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    ),
    "sgd maximize": (
        optim.SGD,
        {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1, "maximize": True},
    ),
    "adam": (optim.Adam, {}),
    "adam options": (
        optim.Adam,
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "adam amsgrad": (optim.Adam, {"lr": 0.01, "amsgrad": True}),
    "adam maximize": (optim.Adam, {"lr": 0.01, "maximize": True, "weight_decay": 0.1}),
    "adamw": (optim.AdamW, {"lr": 0.01}),
    "adamw amsgrad": (optim.AdamW, {"lr": 0.01, "weight_decay": 0.2, "amsgrad": True}),
    "rmsprop": (optim.RMSprop, {}),
    "rmsprop momentum": (optim.RMSprop, {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}),
    "rmsprop centered": (optim.RMSprop, {"lr": 0.01, "centered": True, "alpha": 0.9}),
    "rmsprop all": (
        optim.RMSprop,
        {"lr": 0.01, "centered": True, "momentum": 0.5, "maximize": True},
    ),
}


def parameters(dtype=np.float32, shapes=SHAPES, seed=0):
    rng = np.random.default_rng(seed)
    return [Tensor(rng.normal(size=s).astype(dtype), requires_grad=True) for s in shapes]


def set_gradients(params, rng, skip=()):
    for i, p in enumerate(params):
        g = rng.normal(size=p.shape).astype(p.dtype)
        p.grad = None if i in skip else Tensor(g)


def torch_twins(torch, params):
    return [torch.nn.Parameter(torch.tensor(p.data.copy())) for p in params]


def same_gradients(torch, params, twins):
    for p, q in zip(params, twins, strict=True):
        q.grad = None if p.grad is None else torch.tensor(p.grad.data.copy())


def assert_same(params, twins, rtol):
    for p, q in zip(params, twins, strict=True):
        expected = q.detach().numpy()
        scale = np.abs(expected).max(initial=1e-3)
        np.testing.assert_allclose(p.data, expected, rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-6), (np.float64, 1e-13)])
@pytest.mark.parametrize("rule", RULES)
def test_every_step_equals_torchs(rule, dtype, rtol):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    make, options = RULES[rule]
    params = parameters(dtype)
    twins = torch_twins(torch, params)
    ours = make(params, **options)
    theirs = getattr(torch.optim, make.__name__)(twins, **options)
    rng = np.random.default_rng(1)
    for _ in range(12):
        set_gradients(params, rng)
        same_gradients(torch, params, twins)
        ours.step()
        theirs.step()
        assert_same(params, twins, rtol)
        assert all(p.dtype == dtype for p in params)


@pytest.mark.parametrize("rule", RULES)
def test_a_parameter_without_gradient_is_left_out_as_in_torch(rule):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    make, options = RULES[rule]
    params = parameters(np.float64)
    twins = torch_twins(torch, params)
    ours = make(params, **options)
    theirs = getattr(torch.optim, make.__name__)(twins, **options)
    rng = np.random.default_rng(2)
    for skip in [(1,), (), (0, 4), (0, 1, 2, 3, 4), (2,), ()]:
        set_gradients(params, rng, skip)
        same_gradients(torch, params, twins)
        ours.step()
        theirs.step()
        assert_same(params, twins, 1e-13)


@pytest.mark.parametrize("rule", RULES)
def test_a_run_continues_exactly_from_a_state_dict(rule):
    make, options = RULES[rule]
    params, again = parameters(), parameters()
    one = make(params, **options)
    rng = np.random.default_rng(3)
    gradients = [[rng.normal(size=s).astype(np.float32) for s in SHAPES] for _ in range(6)]

    def steps(optimizer, tensors, some):
        for arrays in some:
            for p, g in zip(tensors, arrays, strict=True):
                p.grad = Tensor(g)
            optimizer.step()

    steps(one, params, gradients[:3])
    state = copy.deepcopy(one.state_dict())
    for p, q in zip(params, again, strict=True):
        q.data = p.data.copy()
    two = make(again, lr=123.0)
    two.load_state_dict(state)
    steps(one, params, gradients[3:])
    steps(two, again, gradients[3:])
    for p, q in zip(params, again, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


@pytest.mark.parametrize("rule", RULES)
def test_state_dicts_have_torchs_layout_and_exchange_with_it(rule):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    make, options = RULES[rule]
    params = parameters(np.float64)
    twins = torch_twins(torch, params)
    ours = make(params, **options)
    theirs = getattr(torch.optim, make.__name__)(twins, **options)
    rng = np.random.default_rng(4)
    for _ in range(2):
        set_gradients(params, rng)
        same_gradients(torch, params, twins)
        theirs.step()
    # torch's state goes on in minidl
    for p, q in zip(params, twins, strict=True):
        p.data = q.detach().numpy().copy()
    ours.load_state_dict(theirs.state_dict())
    set_gradients(params, rng)
    same_gradients(torch, params, twins)
    ours.step()
    theirs.step()
    assert_same(params, twins, 1e-13)
    mine, other = ours.state_dict(), theirs.state_dict()
    assert mine.keys() == other.keys()
    assert mine["state"].keys() == other["state"].keys()
    for number, entries in other["state"].items():
        wanted = {name for name, value in entries.items() if value is not None}
        assert set(mine["state"][number]) == wanted
        for name in wanted:
            np.testing.assert_allclose(
                mine["state"][number][name].data, entries[name].numpy(), rtol=1e-12
            )
    assert mine["param_groups"][0]["params"] == other["param_groups"][0]["params"]


def test_groups_have_options_of_their_own():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    params = parameters(np.float64)
    twins = torch_twins(torch, params)

    def groups(tensors):
        return [
            {"params": tensors[:2], "weight_decay": 0.5, "name": "head"},
            {"params": tensors[2:], "lr": 0.01, "momentum": 0.0},
        ]

    ours = optim.SGD(groups(params), lr=0.1, momentum=0.9)
    theirs = torch.optim.SGD(groups(twins), lr=0.1, momentum=0.9)
    rng = np.random.default_rng(5)
    for step in range(5):
        if step == 3:
            extra = parameters(np.float64, [(4,)], seed=9)
            params = params + extra
            twins = twins + torch_twins(torch, extra)
            ours.add_param_group({"params": params[-1], "lr": 1.0})
            theirs.add_param_group({"params": twins[-1], "lr": 1.0})
        set_gradients(params, rng)
        same_gradients(torch, params, twins)
        ours.step()
        theirs.step()
        assert_same(params, twins, 1e-13)


def test_parameters_of_a_group_become_views_of_one_array_for_each_dtype():
    params = [*parameters(np.float32), *parameters(np.float64, [(2, 2), (3,)])]
    optimizer = optim.SGD(params, lr=0.1)
    before = [p.data.copy() for p in params]
    optimizer.step()  # no gradients yet: nothing changes but the place
    for p, values in zip(params, before, strict=True):
        np.testing.assert_array_equal(p.data, values)
    bases = {id(p.data.base if p.data.base is not None else p.data) for p in params}
    assert len(bases) == 2
    rng = np.random.default_rng(6)
    set_gradients(params, rng)
    optimizer.step()
    for p, values in zip(params, before, strict=True):
        np.testing.assert_allclose(p.data, values - 0.1 * p.grad.data, rtol=1e-6)


def test_replaced_data_is_laid_out_again_with_its_momentum():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    params = parameters(np.float64)
    twins = torch_twins(torch, params)
    ours = optim.SGD(params, lr=0.1, momentum=0.9)
    theirs = torch.optim.SGD(twins, lr=0.1, momentum=0.9)
    rng = np.random.default_rng(7)
    for step in range(4):
        if step == 2:
            new = rng.normal(size=params[0].shape)
            params[0].data = new.copy()
            twins[0].data = torch.tensor(new)
        set_gradients(params, rng)
        same_gradients(torch, params, twins)
        ours.step()
        theirs.step()
        assert_same(params, twins, 1e-13)


def test_a_cast_of_the_parameters_takes_the_state_along():
    params = parameters(np.float32)
    optimizer = optim.Adam(params, lr=0.1)
    rng = np.random.default_rng(8)
    set_gradients(params, rng)
    optimizer.step()
    for p in params:
        p.data = p.data.astype(np.float64)
    set_gradients(params, rng)
    optimizer.step()
    for p in params:
        assert p.dtype == np.float64
        assert optimizer.state[p]["exp_avg"].dtype == np.float64
        assert optimizer.state[p]["step"] == 2


def test_gradients_are_not_changed_and_versions_rise():
    params = parameters()
    optimizer = optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)
    set_gradients(params, np.random.default_rng(9))
    before = [p.grad.data.copy() for p in params]
    versions = [p._version[0] for p in params]
    optimizer.step()
    for p, g, v in zip(params, before, versions, strict=True):
        np.testing.assert_array_equal(p.grad.data, g)
        assert p._version[0] == v + 1


def test_changing_weights_between_forward_and_backward_is_reported():
    p = Tensor(np.ones(3, np.float32), requires_grad=True)
    optimizer = optim.SGD([p], lr=0.1)
    (p * p).backward(Tensor(np.ones(3, np.float32)))
    optimizer.step()
    y = p * p
    optimizer.step()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward(Tensor(np.ones(3, np.float32)))


@pytest.mark.parametrize("scalar", [np.float64(0.1), 0.1, np.float32(0.1)])
def test_numpy_scalars_as_options_do_not_change_the_dtype(scalar):
    for make in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.LARS):
        params = parameters(np.float32)
        optimizer = make(params, lr=scalar, weight_decay=scalar)
        set_gradients(params, np.random.default_rng(10))
        optimizer.step()
        for p in params:
            assert p.dtype == np.float32
            state = optimizer.state[p].values()
            assert all(x.dtype == np.float32 for x in state if isinstance(x, Tensor))


def test_float16_parameters_stay_float16():
    params = parameters(np.float16)
    optimizer = optim.SGD(params, lr=0.1, momentum=0.9)
    set_gradients(params, np.random.default_rng(10))
    optimizer.step()
    assert all(p.dtype == np.float16 for p in params)


def test_long_arrays_are_updated_piece_by_piece_with_the_same_result():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    from minidl.backend.cpu.optim import PIECE

    shapes = [(PIECE + 5,), (3, PIECE // 2), (7,)]
    for rule in ("sgd nesterov decay", "adam amsgrad", "rmsprop all"):
        make, options = RULES[rule]
        params = parameters(np.float32, shapes)
        twins = torch_twins(torch, params)
        ours = make(params, **options)
        theirs = getattr(torch.optim, make.__name__)(twins, **options)
        rng = np.random.default_rng(11)
        for _ in range(2):
            set_gradients(params, rng)
            same_gradients(torch, params, twins)
            ours.step()
            theirs.step()
        assert_same(params, twins, 2e-6 if "rmsprop" in rule else 1e-6)


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.LARS])
def test_a_step_runs_on_the_stand_in_without_waiting_for_the_device(make):
    params = [Tensor(p.data, device="strict", requires_grad=True) for p in parameters()]
    host = parameters()
    options = {"momentum": 0.9} if make in (optim.SGD, optim.RMSprop) else {}
    there, here = make(params, lr=0.1, **options), make(host, lr=0.1, **options)
    rng = np.random.default_rng(12)
    for _ in range(3):
        set_gradients(host, rng)
        for p, q in zip(params, host, strict=True):
            p.grad = Tensor(q.grad.data, device="strict")
        there.step()
        here.step()
    for p, q in zip(params, host, strict=True):
        assert p.device == "strict"
        np.testing.assert_allclose(of(p.data).to_host(p.data), q.data, rtol=1e-5, atol=1e-6)


def test_a_deep_copy_and_a_pickle_go_their_own_way():
    for clone in (copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        params = parameters()
        optimizer = optim.Adam(params, lr=0.1)
        set_gradients(params, np.random.default_rng(13))
        optimizer.step()
        other_params, other = clone((params, optimizer))
        assert other.param_groups[0]["params"][0] is other_params[0]
        values = [p.data.copy() for p in params]
        set_gradients(other_params, np.random.default_rng(14))
        other.step()
        assert other.state[other_params[0]]["step"] == 2
        assert optimizer.state[params[0]]["step"] == 1
        for p, q, v in zip(params, other_params, values, strict=True):
            np.testing.assert_array_equal(p.data, v)
            assert (q.data != v).any()


def test_the_closure_is_called_with_recording_on_and_its_loss_returned():
    p = Tensor(np.array([2.0], np.float32), requires_grad=True)
    optimizer = optim.SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = p * p
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert loss.item() == 4.0
    assert p.item() == 1.0


def test_zero_grad_drops_gradients_or_fills_them_with_zeros():
    params = parameters()
    optimizer = optim.SGD(params)
    set_gradients(params, np.random.default_rng(15), skip=(1,))
    held = params[0].grad
    optimizer.zero_grad(set_to_none=False)
    assert params[1].grad is None
    assert not params[0].grad.data.any()
    assert held.data.any(), "a gradient that somebody holds must not be wiped"
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


def test_an_empty_parameter_and_one_that_is_frozen_do_no_harm():
    params = parameters(shapes=[(0, 3), (2,)])
    frozen = Tensor(np.ones(3, np.float32))
    optimizer = optim.Adam([*params, frozen])
    set_gradients(params, np.random.default_rng(16))
    optimizer.step()
    np.testing.assert_array_equal(frozen.data, np.ones(3))


def test_bad_arguments_are_refused_with_the_reason():
    params = parameters()
    with pytest.raises(ValueError, match="SGD: there are no parameters"):
        optim.SGD([])
    with pytest.raises(TypeError, match="pass a list"):
        optim.SGD(params[0])
    with pytest.raises(TypeError, match="no fixed order"):
        optim.SGD([{"params": set(params)}])
    with pytest.raises(TypeError, match="not a str"):
        optim.SGD(["weight"])
    with pytest.raises(ValueError, match="listed twice"):
        optim.SGD([params[0], params[0]])
    with pytest.raises(ValueError, match="listed twice"):
        optim.SGD([{"params": params[:2]}, {"params": params[1]}])
    with pytest.raises(ValueError, match="leaf"):
        optim.SGD([params[0] * 2.0])
    with pytest.raises(ValueError, match="floating-point"):
        optim.SGD([Tensor(np.arange(3))])
    with pytest.raises(ValueError, match="lr must not be negative, got -1"):
        optim.Adam(params, lr=-1)
    with pytest.raises(ValueError, match="lr must not be negative, got nan"):
        optim.Adam(params, lr=float("nan"))
    with pytest.raises(ValueError, match="betas"):
        optim.Adam(params, betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="momentum"):
        optim.SGD(params, momentum=-0.1)
    with pytest.raises(ValueError, match="nesterov needs"):
        optim.SGD(params, nesterov=True)
    with pytest.raises(ValueError, match="is 'weight_decay' meant"):
        optim.SGD([{"params": params, "weight_decy": 0.1}])
    with pytest.raises(ValueError, match="trust_coefficient"):
        optim.LARS(params, trust_coefficient=-1)
    with pytest.raises(ValueError, match="alpha"):
        optim.RMSprop(params, alpha=-1)


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    params = parameters()
    optimizer = optim.Adam(params, lr=0.1)
    set_gradients(params, np.random.default_rng(17))
    optimizer.step()
    good = optimizer.state_dict()
    other = optim.SGD(parameters(), lr=0.1, momentum=0.9)
    set_gradients(other.param_groups[0]["params"], np.random.default_rng(17))
    other.step()
    with pytest.raises(ValueError, match="unknown state 'momentum_buffer'"):
        optimizer.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters"):
        optimizer.load_state_dict(optim.Adam(parameters()[:2]).state_dict())
    wrong = copy.deepcopy(good)
    wrong["state"][0]["exp_avg"] = Tensor(np.zeros((4, 3), np.float32))
    with pytest.raises(ValueError, match=r"shape \(4, 3\), the parameter has \(3, 4\)"):
        optimizer.load_state_dict(wrong)
    assert optimizer.state_dict()["param_groups"][0]["lr"] == 0.1
    assert optimizer.state[params[0]]["step"] == 1


def test_a_gradient_of_another_shape_is_refused():
    p = Tensor(np.zeros((2, 3), np.float32), requires_grad=True)
    optimizer = optim.SGD([p])
    p.grad = Tensor(np.zeros((3, 2), np.float32))
    with pytest.raises(RuntimeError, match=r"shape \(2, 3\) has a gradient of shape \(3, 2\)"):
        optimizer.step()


def test_the_listing_shows_every_group():
    text = repr(optim.SGD([{"params": parameters()[:1], "lr": 0.5}]))
    assert "Parameter Group 0" in text
    assert "lr: 0.5" in text
