"""Attention with several heads, against torch's."""

import itertools

import numpy as np
import pytest

import minidl as md
from minidl import nn

N, L, S, E, HEADS = 3, 4, 5, 8, 2
OPTIONS = {
    "plain": {},
    "without bias": {"bias": False},
    "other lengths of keys and values": {"kdim": 5, "vdim": 7},
    "one more key, learned": {"add_bias_kv": True},
    "one more key, zero": {"add_zero_attn": True},
    "both": {"add_bias_kv": True, "add_zero_attn": True, "kdim": 6},
}


def masks(kind, rng):
    """attn_mask and key_padding_mask; no query is left without a key."""
    if kind is None:
        return None, None
    if kind == "bools":
        pairs, padding = rng.random((L, S)) < 0.3, rng.random((N, S)) < 0.3
    elif kind == "bools for each head":
        pairs, padding = rng.random((N * HEADS, L, S)) < 0.3, rng.random((N, S)) < 0.3
    else:
        return rng.standard_normal((L, S)), rng.standard_normal((N, S))
    pairs[..., 0] = padding[:, 0] = False
    return pairs, padding


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", [None, "bools", "bools for each head", "numbers"])
def test_outputs_weights_and_gradients_are_torchs(options, kind):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    for batch_first, need_weights in itertools.product((False, True), (False, True)):
        rng = np.random.default_rng(0)
        arguments = {"batch_first": batch_first, **options}
        theirs = torch.nn.MultiheadAttention(E, HEADS, **arguments).double()
        ours = nn.MultiheadAttention(E, HEADS, **arguments).double()
        with torch.no_grad():
            for p in theirs.parameters():
                p.copy_(torch.tensor(rng.standard_normal(tuple(p.shape))))
        ours.load_state_dict(theirs.state_dict())
        lengths = (L, E), (S, options.get("kdim", E)), (S, options.get("vdim", E))
        arrays = [rng.standard_normal((N, n, e) if batch_first else (n, N, e)) for n, e in lengths]
        pairs, padding = masks(kind, rng)

        def call(layer, library, arrays=arrays, pairs=pairs, padding=padding, need=need_weights):
            inputs = [library.tensor(a, requires_grad=True) for a in arrays]
            out, weights = layer(
                *inputs,
                key_padding_mask=None if padding is None else library.tensor(padding),
                attn_mask=None if pairs is None else library.tensor(pairs),
                need_weights=need,
            )
            cotangent = np.random.default_rng(1).standard_normal(tuple(out.shape))
            out.backward(library.tensor(cotangent))
            named = dict(layer.named_parameters())
            grads = [x.grad for x in inputs] + [named[name].grad for name in sorted(named)]
            return out, weights, [np.asarray(g) for g in grads], sorted(named)

        out, weights, grads, names = call(ours, md)
        expected, expected_weights, expected_grads, expected_names = call(theirs, torch)
        np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), atol=1e-12)
        if need_weights:
            np.testing.assert_allclose(
                weights.detach().numpy(), expected_weights.detach().numpy(), atol=1e-12
            )
        else:
            assert weights is None
        assert names == expected_names
        for g, e in zip(grads, expected_grads, strict=True):
            np.testing.assert_allclose(g, e, atol=1e-11)


def test_one_tensor_for_all_three_gives_what_three_equal_ones_give():
    layer = nn.MultiheadAttention(E, HEADS, batch_first=True).double()
    x = md.tensor(np.random.default_rng(0).standard_normal((N, L, E)))
    one, weights = layer(x, x, x)
    three, same = layer(x, x.clone(), x.clone())
    np.testing.assert_allclose(one.data, three.data, rtol=1e-12)
    np.testing.assert_allclose(weights.data, same.data, rtol=1e-12)
    np.testing.assert_allclose(weights.data.sum(-1), 1.0)


def test_sequences_need_no_batch_and_weights_can_be_had_for_each_head():
    layer = nn.MultiheadAttention(E, HEADS)
    x = md.randn(L, E)
    out, weights = layer(x, x, x, average_attn_weights=False)
    assert (out.shape, weights.shape) == ((L, E), (HEADS, L, L))
    batched, mean = layer(*[x.unsqueeze(1)] * 3)
    np.testing.assert_allclose(out.data, batched.data[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weights.data.mean(0), mean.data[0], rtol=1e-5)


def test_a_query_whose_keys_are_all_masked_gets_the_bias_alone():
    layer = nn.MultiheadAttention(E, HEADS, batch_first=True)
    nn.init.ones_(layer.out_proj.bias)
    x = md.randn(2, L, E)
    padding = np.zeros((2, L), bool)
    padding[1] = True
    out, weights = layer(x, x, x, key_padding_mask=md.tensor(padding))
    np.testing.assert_array_equal(out.data[1], 1.0)
    assert not weights.data[1].any()
    assert np.isfinite(out.data).all()


def test_weights_are_dropped_in_training_only():
    layer = nn.MultiheadAttention(E, HEADS, dropout=1.0, bias=False)
    x = md.randn(L, N, E)
    assert not layer(x, x, x)[0].data.any()
    layer.eval()
    assert layer(x, x, x)[0].data.all()


def test_gradients_are_right_to_second_order():
    layer = nn.MultiheadAttention(4, 2, batch_first=True).double()
    rng = np.random.default_rng(0)
    x = md.tensor(rng.standard_normal((2, 3, 4)), requires_grad=True)
    weight = md.tensor(rng.standard_normal((12, 4)), requires_grad=True)

    def call(x, weight):
        layer._parameters["in_proj_weight"] = weight
        return layer(x, x, x, need_weights=False)[0]

    assert md.autograd.gradcheck(call, (x, weight))
    assert md.autograd.gradgradcheck(call, (x, weight))


def test_initial_values_are_torchs_distribution():
    layer = nn.MultiheadAttention(64, 4, add_bias_kv=True)
    bound = (6 / (64 + 3 * 64)) ** 0.5
    assert 0.95 * bound < np.abs(layer.in_proj_weight.data).max() <= bound
    assert not layer.in_proj_bias.data.any()
    assert not layer.out_proj.bias.data.any()
    assert layer.bias_k.data.any()


def test_shapes_that_do_not_fit_are_refused():
    layer = nn.MultiheadAttention(E, HEADS, batch_first=True)
    x = md.zeros(N, L, E)
    for others in ((md.zeros(N, S, E), md.zeros(N, L, E)), (md.zeros(2, S, E), md.zeros(2, S, E))):
        with pytest.raises(ValueError, match=r"must be \(N, length, features\)"):
            layer(x, *others)
    with pytest.raises(ValueError, match="8 features"):
        layer(md.zeros(N, L, 7), x, x)
    with pytest.raises(ValueError, match=r"attn_mask \(4, 3\) must have the shape \(4, 4\)"):
        layer(x, x, x, attn_mask=md.zeros(4, 3))
    with pytest.raises(ValueError, match=r"key_padding_mask \(4,\) must have the shape \(3, 4\)"):
        layer(x, x, x, key_padding_mask=md.zeros(4))
    with pytest.raises(TypeError, match="attn_mask holds bools or floats, got int64"):
        layer(x, x, x, attn_mask=md.tensor(np.zeros((4, 4), np.int64)))
    with pytest.raises(ValueError, match="is_causal is a hint"):
        layer(x, x, x, is_causal=True)
    with pytest.raises(ValueError, match="must be a multiple of num_heads"):
        nn.MultiheadAttention(8, 3)
