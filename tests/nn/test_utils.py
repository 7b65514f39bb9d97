"""Clipping of gradients against torch's."""

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor
from minidl.backend import of


def parameters(device=None, scale=1.0, shapes=((3, 4), (5,), (), (0, 2))):
    rng = np.random.default_rng(0)
    made = []
    for shape in shapes:
        p = nn.Parameter(Tensor(np.zeros(shape, np.float32), device=device))
        p.grad = Tensor((scale * rng.normal(size=shape)).astype(np.float32), device=device)
        made.append(p)
    made.append(nn.Parameter(Tensor(np.zeros(2, np.float32), device=device)))  # no gradient
    return made


def twins(torch, params):
    made = []
    for p in params:
        q = torch.nn.Parameter(torch.zeros(p.shape))
        q.grad = None if p.grad is None else torch.tensor(p.grad.data.copy())
        made.append(q)
    return made


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_by_norm_is_torchs(norm_type, max_norm):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    # torch finds no largest element in an empty gradient
    shapes = ((3, 4), (5,), ()) if norm_type == float("inf") else ((3, 4), (5,), (), (0, 2))
    params = parameters(shapes=shapes)
    others = twins(torch, params)
    norm = nn.utils.clip_grad_norm_(params, max_norm, norm_type)
    other = torch.nn.utils.clip_grad_norm_(others, max_norm, norm_type)
    assert norm.shape == ()
    assert norm.dtype == np.float32
    assert norm.item() == pytest.approx(other.item(), rel=1e-6)
    for p, q in zip(params, others, strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            assert p.grad.dtype == np.float32
            np.testing.assert_allclose(p.grad.data, q.grad.numpy(), rtol=1e-6)


def test_clipping_by_value_is_torchs():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    params = parameters()
    others = twins(torch, params)
    nn.utils.clip_grad_value_(params, 0.3)
    torch.nn.utils.clip_grad_value_(others, 0.3)
    for p, q in zip(params, others, strict=True):
        if p.grad is not None:
            np.testing.assert_array_equal(p.grad.data, q.grad.numpy())


def test_one_tensor_and_no_gradients_will_do():
    p = parameters()[0]
    norm = nn.utils.clip_grad_norm_(p, 1.0)
    assert norm.item() > 1
    assert np.linalg.norm(p.grad.data) == pytest.approx(1.0, rel=1e-5)
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0
    assert nn.utils.clip_grad_norm_(parameters()[3:], 1.0).item() == 0
    nn.utils.clip_grad_value_(p, 0.01)
    assert np.abs(p.grad.data).max() <= np.float32(0.01)


def test_a_norm_that_is_not_finite_is_an_error_on_request_only():
    params = parameters()
    params[0].grad.data[0, 0] = np.nan
    before = params[1].grad.data.copy()
    with pytest.raises(RuntimeError, match="the norm of the gradients is nan"):
        nn.utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(params[1].grad.data, before)
    assert np.isnan(nn.utils.clip_grad_norm_(params, 1.0).item())


def test_arrays_that_others_hold_are_not_changed():
    params = parameters(scale=100.0)
    held = params[0].grad.data
    before = held.copy()
    nn.utils.clip_grad_norm_(params, 1.0)
    nn.utils.clip_grad_value_(params, 1e-3)
    np.testing.assert_array_equal(held, before)


def test_half_precision_gradients_are_summed_in_single_precision():
    p = nn.Parameter(Tensor(np.zeros(10000, np.float16)))
    p.grad = Tensor(np.full(10000, 10.0, np.float16))
    norm = nn.utils.clip_grad_norm_(p, 1.0)
    assert norm.item() == pytest.approx(1000.0)
    assert p.grad.dtype == np.float16


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_clipping_does_not_wait_for_the_device(norm_type):
    there, here = parameters("strict"), parameters()
    norm = nn.utils.clip_grad_norm_(there, 0.5, norm_type)
    nn.utils.clip_grad_norm_(here, 0.5, norm_type)
    nn.utils.clip_grad_value_(there, 0.05)
    nn.utils.clip_grad_value_(here, 0.05)
    assert norm.device == "strict"
    for p, q in zip(there, here, strict=True):
        if q.grad is not None:
            host = of(p.grad.data).to_host(p.grad.data)
            np.testing.assert_allclose(host, q.grad.data, rtol=1e-6)
