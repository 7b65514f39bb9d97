"""A layer beside torch's: text, names and shapes of the state, values, gradients, state after."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor

TOLERANCE = {np.float32: 2e-5, np.float64: 1e-10}


def random_state(module, rng):
    """Values for all parameters and buffers, such that none is special."""
    state = {}
    for name, x in module.state_dict().items():
        if x.dtype.kind != "f":
            state[name] = np.array(3)
        elif name.endswith("running_var"):
            state[name] = rng.uniform(0.5, 2.0, x.shape)
        else:
            state[name] = rng.normal(size=x.shape)
    return state


def assert_close(actual, expected, rtol, what):
    assert actual.shape == expected.shape, what
    assert actual.dtype == expected.dtype, what
    scale = max(np.abs(expected).max(initial=0.0), 1e-3)
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol * scale, err_msg=what)


def as_list(x):
    return list(x) if isinstance(x, (tuple, list)) else [x]


def compare(
    name, args, kwargs, inputs, *, modes=("train", "eval"), wrt=(0, 1, 2), extra=(), rtol=None
):
    """Compare `nn.<name>(*args, **kwargs)` with torch's.

    Args:
        name: of the class.
        args, kwargs: of its constructor; tensors are given as NumPy arrays.
        inputs: a shape, or a function from rng to a list of NumPy arrays (integers stay constant).
        modes: the modes it is run in, one after the other.
        wrt: numbers of the inputs that gradients are compared of, if they are floats.
        extra: further arguments of the call that are no tensors.
        rtol: dtype -> error allowed, where TOLERANCE is too tight.
    """
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")

    def build(library, tensor, dtype):
        def cast(v):
            return tensor(v.astype(dtype)) if isinstance(v, np.ndarray) else v

        return getattr(library, name)(*map(cast, args), **{k: cast(v) for k, v in kwargs.items()})

    for dtype, tolerance in {**TOLERANCE, **(rtol or {})}.items():
        rng = np.random.default_rng(0)
        ours, theirs = build(nn, Tensor, dtype), build(torch.nn, torch.tensor, dtype)
        assert repr(ours) == repr(theirs)
        if dtype == np.float64:
            ours.double()
            theirs.double()
        mine, other = ours.state_dict(), theirs.state_dict()
        assert list(mine) == list(other)
        for path, x in mine.items():
            assert x.shape == tuple(other[path].shape), path
            assert x.dtype == other[path].numpy().dtype, path
        state = random_state(ours, rng)
        ours.load_state_dict(state)
        theirs.load_state_dict({path: torch.tensor(v) for path, v in state.items()})
        for mode in modes:
            ours.train(mode == "train")
            theirs.train(mode == "train")
            arrays = inputs(rng) if callable(inputs) else [rng.normal(size=inputs)]
            arrays = [v.astype(dtype) if v.dtype.kind == "f" else v for v in arrays]
            needs = [v.dtype.kind == "f" and i in wrt for i, v in enumerate(arrays)]
            xs = [Tensor(v.copy(), requires_grad=n) for v, n in zip(arrays, needs, strict=True)]
            ts = [torch.tensor(v, requires_grad=n) for v, n in zip(arrays, needs, strict=True)]
            ys, us = as_list(ours(*xs, *extra)), as_list(theirs(*ts, *extra))
            assert len(ys) == len(us)
            loss, twin = None, None
            for y, u in zip(ys, us, strict=True):
                assert_close(y.detach().numpy(), u.detach().numpy(), tolerance, f"{mode}: output")
                if y.requires_grad:
                    weights = rng.normal(size=y.shape).astype(dtype)
                    part, twin_part = (y * Tensor(weights)).sum(), (u * torch.tensor(weights)).sum()
                    loss = part if loss is None else loss + part
                    twin = twin_part if twin is None else twin + twin_part
            ours.zero_grad()
            theirs.zero_grad()
            loss.backward()
            twin.backward()
            for i, (x, t) in enumerate(zip(xs, ts, strict=True)):
                if t.requires_grad:
                    assert_close(x.grad.numpy(), t.grad.numpy(), tolerance, f"{mode}: input {i}")
            grads = dict(ours.named_parameters())
            for path, p in theirs.named_parameters():
                what = f"{mode}: gradient of {path}"
                assert_close(grads[path].grad.numpy(), p.grad.numpy(), tolerance, what)
            for path, x in ours.state_dict().items():
                what = f"{mode}: {path} afterwards"
                assert_close(x.numpy(), theirs.state_dict()[path].numpy(), tolerance, what)
