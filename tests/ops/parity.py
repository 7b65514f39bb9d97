"""The same function here and in torch, at the same numbers: values, dtypes and gradients."""

import numpy as np
import pytest

import minidl as md


def assert_like_torch(ours, theirs, *arrays, dtype="float64", grad=True, rtol=1e-10):
    """Compare `ours(*tensors)` with `theirs(torch, *tensors)`, NaN and infinities included.

    Args:
        arrays: the arguments; floats are cast to `dtype`.
        grad: whether the gradients of the sum of the result are compared, too.
    """
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    arrays = [np.asarray(a) for a in arrays]
    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]
    mine = [md.tensor(a) for a in arrays]
    other = [torch.tensor(a) for a in arrays]
    for x, t in zip(mine, other, strict=True):
        if grad and x.is_floating_point():
            x.requires_grad_()
            t.requires_grad_()
    result, expected = ours(*mine), theirs(torch, *other)
    result = result if isinstance(result, tuple) else (result,)
    expected = expected if isinstance(expected, tuple) else (expected,)
    assert len(result) == len(expected)
    for r, e in zip(result, expected, strict=True):
        assert str(r.dtype) == str(e.dtype).removeprefix("torch.")
        assert r.shape == tuple(e.shape)
        np.testing.assert_allclose(r.detach().numpy(), e.detach().numpy(), rtol=rtol, atol=rtol)
    if not grad:
        return
    mine = [x for x in mine if x.requires_grad]
    other = [t for t in other if t.requires_grad]
    if not result[0].requires_grad:
        assert not expected[0].requires_grad
        return
    got = md.grad(result[0].sum(), mine, allow_unused=True)
    wanted = torch.autograd.grad(expected[0].sum(), other, allow_unused=True)
    for x, g, w in zip(mine, got, wanted, strict=True):
        g = np.zeros(x.shape) if g is None else g.numpy()
        w = np.zeros(x.shape) if w is None else w.numpy()
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol)
