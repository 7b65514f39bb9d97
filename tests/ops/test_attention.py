"""What is special about attention: masks that leave nothing, dropout, shapes that do not fit."""

import numpy as np
import pytest

import minidl as md
from minidl.nn import functional as F


def _qkv(*lead, dtype="f8"):
    rng = np.random.default_rng(0)
    shapes = (*lead, 3, 2), (*lead, 4, 2), (*lead, 4, 5)
    return [md.tensor(rng.standard_normal(s).astype(dtype), requires_grad=True) for s in shapes]


@pytest.mark.parametrize("kind", ["bools", "numbers"])
def test_a_query_that_may_look_nowhere_gets_zeros_and_gives_no_gradient(kind):
    q, k, v = _qkv(2)
    allowed = np.ones((2, 3, 4), bool)
    allowed[0, 1] = False
    mask = md.tensor(allowed if kind == "bools" else np.where(allowed, 0.0, -np.inf))
    y = F.scaled_dot_product_attention(q, k, v, mask)
    assert not y.data[0, 1].any()
    others = F.scaled_dot_product_attention(q, k, v)
    np.testing.assert_allclose(y.data[allowed.any(-1)], others.data[allowed.any(-1)])
    (y * md.tensor(np.random.default_rng(1).standard_normal(y.shape))).sum().backward()
    assert not q.grad.data[0, 1].any()
    assert q.grad.data[0, 0].all()
    for x in (q, k, v):
        assert np.isfinite(x.grad.data).all()


def test_scores_far_apart_do_not_overflow():
    q, k, v = (x.detach() * 1e4 for x in _qkv(dtype="f4"))
    y = F.scaled_dot_product_attention(q, k, v)
    best = (q.data @ k.data.T).argmax(1)
    np.testing.assert_allclose(y.data, v.data[best], rtol=1e-5)


def test_a_mask_of_numbers_is_differentiated_too():
    q, k, v = _qkv(2)
    bias = md.tensor(np.random.default_rng(2).standard_normal((3, 4)), requires_grad=True)
    assert md.autograd.gradcheck(F.scaled_dot_product_attention, (q, k, v, bias))


def test_dropout_takes_weights_away_and_raises_the_others():
    md.manual_seed(0)
    q, k = md.zeros(1, 2), md.zeros(2000, 2)
    y = F.scaled_dot_product_attention(q, k, md.ones(2000, 1), dropout_p=0.25)
    assert 0.9 < y.item() < 1.1
    assert y.item() != 1.0
    nothing = F.scaled_dot_product_attention(q, k, md.ones(2000, 1), dropout_p=1.0)
    assert nothing.item() == 0.0


@pytest.mark.parametrize(
    ("shapes", "arguments", "message"),
    [
        (((3, 2), (4, 3), (4, 5)), {}, "vectors of one length"),
        (((3, 2), (4, 2), (5, 5)), {}, "as many of them"),
        (((2,), (4, 2), (4, 5)), {}, "at least 2 dimensions"),
        (((3, 3, 2), (2, 4, 2), (2, 4, 5)), {"enable_gqa": True}, "cannot be divided"),
        (((3, 2), (4, 2), (4, 5)), {"attn_mask": md.zeros(3, 5)}, "do not broadcast"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, arguments, message):
    with pytest.raises(ValueError, match=message):
        F.scaled_dot_product_attention(*[md.zeros(s) for s in shapes], **arguments)


def test_a_mask_and_is_causal_exclude_each_other_and_integers_are_no_mask():
    q, k, v = _qkv()
    with pytest.raises(ValueError, match="not both"):
        F.scaled_dot_product_attention(q, k, v, md.zeros(3, 4), is_causal=True)
    with pytest.raises(TypeError, match="bools or floats, got int64"):
        F.scaled_dot_product_attention(q, k, v, md.tensor(np.ones((3, 4), np.int64)))
