"""Losses at their edges: torch's conventions, warnings and errors.

Values and gradients of ordinary input are in cases/losses.py.
"""

import math
import warnings

import numpy as np
import pytest

import minidl as md
from minidl.ops import losses

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4))


def _t(values, **options):
    return md.tensor(np.asarray(values), **options)


def _torch():
    return pytest.importorskip("torch", reason="parity needs the extra `reference`")


# -- classes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.nll_loss])
def test_without_a_target_that_counts_the_mean_is_nan_and_the_sum_zero(loss):
    ignored = _t([-100, -100, -100])
    x = _t(X, requires_grad=True)
    assert math.isnan(loss(x, ignored).item())
    assert loss(x, ignored, reduction="sum").item() == 0
    assert math.isnan(loss(_t(np.zeros((0, 4))), _t(np.zeros(0, int))).item())
    assert loss(_t(np.zeros((0, 4))), _t(np.zeros(0, int)), reduction="none").shape == (0,)
    loss(x, ignored, reduction="sum").backward()
    assert np.array_equal(x.grad.numpy(), np.zeros((3, 4)))


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.nll_loss])
def test_another_ignore_index_and_other_integer_types(loss):
    expected = loss(_t(X[:2]), _t([1, 2])).item()
    assert np.isclose(loss(_t(X), _t([1, 2, 3]), ignore_index=3).item(), expected)
    assert np.isclose(
        loss(_t(X), _t([1, 2, 255], dtype="uint8"), ignore_index=255).item(), expected
    )
    assert np.isclose(loss(_t(X[:2]), _t([1, 2], dtype="int32")).item(), expected)


def test_an_ignored_row_may_hold_anything():
    x = X.copy()
    x[1] = [math.inf, math.nan, 0, 0]
    loss = losses.cross_entropy(_t(x), _t([0, -100, 3]), label_smoothing=0.1)
    assert np.isclose(
        loss.item(), losses.cross_entropy(_t(X[[0, 2]]), _t([0, 3]), label_smoothing=0.1).item()
    )


def test_large_scores_keep_their_digits():
    x = _t(np.float32([[10_000, 10_001, 9_990]]), requires_grad=True)
    loss = losses.cross_entropy(x, _t([0]))
    assert np.isclose(loss.item(), math.log(1 + math.e + math.exp(-10)), rtol=1e-6)
    loss.backward()
    assert np.isclose(x.grad.numpy()[0, 1], 1 / (1 + math.exp(-1) + math.exp(-11)), rtol=1e-6)


def test_infinite_scores_give_torchs_infinities_without_a_warning():
    x = _t([[-math.inf, 0.0], [0.0, -math.inf]])
    assert losses.cross_entropy(x, _t([0, 0]), reduction="none").tolist() == [math.inf, 0]
    smoothed = losses.cross_entropy(x, _t([1, 0]), reduction="none", label_smoothing=0.1)
    assert smoothed.tolist() == [math.inf, math.inf]


def test_probabilities_of_one_class_equal_the_class():
    labels = np.array([3, 0, 2])
    hot = np.eye(4)[labels]
    for options in ({}, {"label_smoothing": 0.2}, {"reduction": "sum"}):
        a = losses.cross_entropy(_t(X), _t(hot), **options).item()
        assert np.isclose(a, losses.cross_entropy(_t(X), _t(labels), **options).item())


def test_the_target_of_a_loss_is_watched_for_changes():
    x, target = _t(X, requires_grad=True), _t([0, 1, 2])
    loss = losses.cross_entropy(x, target)
    target[0] = 3
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_many_pieces_equal_one(monkeypatch):
    from minidl.backend.cpu import losses as kernels

    x, labels = RNG.standard_normal((9, 5, 7)), RNG.integers(0, 5, (9, 7))
    labels[2, 3] = -100
    weight = _t(RNG.uniform(0.5, 2, 5))
    results = []
    for piece in (kernels.PIECE, 600):
        monkeypatch.setattr(kernels, "PIECE", piece)
        t = _t(x, requires_grad=True)
        loss = losses.cross_entropy(t, _t(labels), weight, label_smoothing=0.1)
        loss.backward()
        results.append((loss.item(), t.grad.numpy()))
    assert np.isclose(results[0][0], results[1][0], rtol=1e-14)
    assert np.allclose(results[0][1], results[1][1], rtol=1e-13, atol=1e-18)


def test_float16_scores_of_many_pixels_have_a_finite_mean():
    x = md.tensor(np.zeros((2, 3, 200, 200), "float16"), requires_grad=True)
    loss = losses.cross_entropy(x, _t(np.zeros((2, 200, 200), int)))
    assert loss.dtype == np.float16
    assert abs(loss.item() - math.log(3)) < 1e-3
    loss.backward()
    assert x.grad.dtype == np.float16


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.nll_loss, losses.multi_margin_loss])
def test_a_target_that_is_no_class_is_nan_where_looking_would_wait(loss, device):
    x, target = md.tensor(X, device=device), md.tensor(np.array([0, 4, 3]), device=device)
    values = loss(x, target, reduction="none").cpu().numpy()
    assert np.isnan(values).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: losses.cross_entropy(_t(X), _t([0, 4, 1])),
            IndexError,
            r"cross_entropy: target 4 at \(1,\) is out of bounds for 4 classes",
        ),
        (lambda: losses.nll_loss(_t(X), _t([0, 1, -1])), IndexError, "nll_loss: target -1"),
        (lambda: losses.multi_margin_loss(_t(X), _t([0, 1, -1])), IndexError, "target -1"),
        (
            lambda: losses.cross_entropy(_t(X), _t([0, 1])),
            ValueError,
            r"cross_entropy: target \(2,\) does not fit input \(3, 4\); .* shape \(3,\)",
        ),
        (
            lambda: losses.cross_entropy(_t(np.zeros((2, 4, 3))), _t(np.zeros((2, 2), int))),
            ValueError,
            r"expected classes of shape \(2, 3\)",
        ),
        (lambda: losses.cross_entropy(_t(X), _t([0.0, 1, 2])), TypeError, "integer classes"),
        (
            lambda: losses.cross_entropy(_t(X), _t(np.zeros((3, 4), int))),
            TypeError,
            "probabilities and must be floating-point",
        ),
        (
            lambda: losses.cross_entropy(_t(X), _t(X), ignore_index=1),
            ValueError,
            "ignore_index has no meaning",
        ),
        (lambda: losses.cross_entropy(_t(X), _t([0] * 3), _t([1.0] * 3)), ValueError, "weight of"),
        (
            lambda: losses.cross_entropy(_t(X), _t([0] * 3), _t([1.0] * 4, requires_grad=True)),
            ValueError,
            "weight is a constant",
        ),
        (
            lambda: losses.cross_entropy(_t(X), _t([0] * 3), label_smoothing=1.1),
            ValueError,
            "label_smoothing must be between 0 and 1, got 1.1",
        ),
        (lambda: losses.cross_entropy(_t(1.0), _t(0)), ValueError, "0-d"),
        (lambda: losses.cross_entropy(_t(np.zeros((3, 0))), _t([0] * 3)), ValueError, "no classes"),
        (lambda: losses.nll_loss(_t(1.0), _t(0)), ValueError, "0-d"),
        (lambda: losses.multi_margin_loss(_t(X), _t([0] * 3), p=3), ValueError, "p must be 1 or 2"),
        (
            lambda: losses.multi_margin_loss(_t(np.zeros((2, 3, 4))), _t([0] * 2)),
            ValueError,
            r"multi_margin_loss: input must be \(N, C\)",
        ),
    ],
)
def test_wrong_classes_are_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", [n for n in losses.__all__ if n != "kl_div"])
def test_an_unknown_reduction_is_an_error(name):
    arguments = [_t(X), _t(np.array([0, 1, 2])), _t(X)]
    needed = {"gaussian_nll_loss": 3, "margin_ranking_loss": 3}.get(name, 2)
    with pytest.raises(ValueError, match=f"{name}: reduction must be .* got 'average'"):
        getattr(losses, name)(*arguments[:needed], reduction="average")
    with pytest.raises(ValueError, match="kl_div: reduction"):
        losses.kl_div(_t(X), _t(X), "average")


def test_multi_margin_loss_of_single_samples_and_empty_batches():
    torch = _torch()
    expected = torch.nn.functional.multi_margin_loss(torch.tensor(X[0]), torch.tensor(2))
    assert np.isclose(losses.multi_margin_loss(_t(X[0]), _t(2)).item(), expected.item())
    empty = losses.multi_margin_loss(_t(np.zeros((0, 4))), _t(np.zeros(0, int)), reduction="sum")
    assert empty.item() == 0


# -- two outcomes ----------------------------------------------------------------------------------


def test_binary_cross_entropy_is_at_most_100_and_its_gradient_finite():
    x = _t([0.0, 1.0, 0.5], requires_grad=True)
    loss = losses.binary_cross_entropy(x, _t([1.0, 0.0, 0.3]), reduction="none")
    assert np.allclose(loss.tolist(), [100, 100, math.log(2)])
    loss.sum().backward()
    assert np.allclose(x.grad.tolist(), [-1e12, 1e12, 0.8])


def test_binary_cross_entropy_with_logits_of_large_scores():
    x = _t([1e4, -1e4, 50.0, -50.0], requires_grad=True)
    target = _t([0.0, 1.0, 1.0, 0.0])
    for pos_weight in (None, _t([2.0])):
        loss = losses.binary_cross_entropy_with_logits(
            x, target, reduction="none", pos_weight=pos_weight
        )
        w = 1 if pos_weight is None else 2
        expected = [1e4, w * 1e4, w * math.exp(-50), math.exp(-50)]
        assert np.allclose(loss.tolist(), expected, rtol=1e-12)


def test_focal_loss_with_gamma_zero_is_half_the_cross_entropy():
    t = _t(RNG.integers(0, 2, (3, 4)) * 1.0)
    focal = losses.sigmoid_focal_loss(_t(X), t, alpha=0.5, gamma=0)
    plain = losses.binary_cross_entropy_with_logits(_t(X), t, reduction="none")
    assert np.allclose(focal.numpy(), plain.numpy() / 2)


def test_focal_loss_of_certain_answers_has_a_finite_gradient():
    x = _t([200.0, -200.0, 200.0, -200.0], requires_grad=True)
    loss = losses.sigmoid_focal_loss(x, _t([1.0, 0.0, 0.0, 1.0]), reduction="sum")
    assert np.isclose(loss.item(), 0.75 * 200 + 0.25 * 200)
    loss.backward()
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.binary_cross_entropy(_t([0.5]), _t([1.0, 0])), "must have the shape"),
        (lambda: losses.binary_cross_entropy(_t([1.1]), _t([1.0])), "between 0.0 and 1.0"),
        (
            lambda: losses.binary_cross_entropy_with_logits(_t(X), _t(X[0])),
            r"binary_cross_entropy_with_logits: target \(4,\) must have the shape",
        ),
        (lambda: losses.sigmoid_focal_loss(_t(X), _t(X[0])), "must have the shape"),
        (lambda: losses.sigmoid_focal_loss(_t(X), _t(X), alpha=1.5), "alpha"),
        (lambda: losses.mse_loss(_t(X), _t([1.0] * 3)), r"mse_loss: shapes .* do not broadcast"),
        (lambda: losses.smooth_l1_loss(_t(X), _t(X), beta=-1), "beta"),
        (lambda: losses.huber_loss(_t(X), _t(X), delta=0), "delta"),
        (
            lambda: losses.margin_ranking_loss(_t(X), _t(X), _t([1, 1, 1, 1])),
            "same number of dimensions",
        ),
        (lambda: losses.hinge_embedding_loss(_t(X), _t([1, 1, 1])), "do not broadcast"),
        (lambda: losses.gaussian_nll_loss(_t(X), _t(X), _t([1.0] * 4)), "var of shape"),
        (lambda: losses.gaussian_nll_loss(_t(X), _t(X), _t(-np.ones((3, 4)))), "between 0.0"),
        (lambda: losses.kl_div(_t(X), _t([1.0] * 3), "sum"), "kl_div: shapes"),
    ],
)
def test_wrong_values_are_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- distances, distributions ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_a_target_that_is_broadcast_gives_a_warning(name):
    loss = getattr(losses, name)
    with pytest.warns(UserWarning, match=rf"{name}: target \(4,\) has another shape"):
        broadcast = loss(_t(X), _t(X[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = loss(_t(X), _t(np.broadcast_to(X[0], X.shape)))
        loss(_t(X), _t(np.ones((3, 4), int)))
        assert math.isnan(loss(_t(np.zeros((0, 3))), _t(np.zeros((0, 3)))).item())
    assert np.isclose(broadcast.item(), same.item())


def test_smooth_l1_loss_with_beta_zero_is_l1_loss():
    assert losses.smooth_l1_loss(_t(X), _t(X + 1), beta=0).item() == pytest.approx(1)


def test_hinge_embedding_loss_of_a_target_that_is_neither_counts_both_sides():
    x = _t([0.25, 3.0])
    assert losses.hinge_embedding_loss(x, _t([0.0, 0.0]), reduction="none").tolist() == [1, 3]


def test_gaussian_nll_loss_lifts_small_variances_and_passes_their_gradient():
    torch = _torch()
    var = np.array([[1e-9, 0.0, 2.0]])
    x, t = np.array([[0.1, 0.2, 0.3]]), np.array([[0.1, 0.3, 0.0]])
    mine, theirs = _t(var, requires_grad=True), torch.tensor(var, requires_grad=True)
    loss = losses.gaussian_nll_loss(_t(x), _t(t), mine, eps=1e-3)
    expected = torch.nn.functional.gaussian_nll_loss(
        torch.tensor(x), torch.tensor(t), theirs, eps=1e-3
    )
    assert np.isclose(loss.item(), expected.item(), rtol=1e-12)
    loss.backward()
    expected.backward()
    assert np.allclose(mine.grad.numpy(), theirs.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("var", [0.5, "row"])
def test_gaussian_nll_loss_takes_one_variance_for_all(var):
    v = 0.5 if var == 0.5 else _t([0.5, 0.5, 0.5])
    expected = losses.gaussian_nll_loss(_t(X), _t(X + 1), _t(np.full((3, 4), 0.5))).item()
    assert np.isclose(losses.gaussian_nll_loss(_t(X), _t(X + 1), v).item(), expected)


def test_kl_div_of_equal_distributions_is_zero_and_of_zero_probabilities_finite():
    p = np.array([[0.25, 0.75, 0.0]])
    log_p = _t(np.log([[0.25, 0.75, 0.5]]), requires_grad=True)
    target = _t(p, requires_grad=True)
    loss = losses.kl_div(log_p, target, "none")
    assert np.allclose(loss.tolist(), 0)
    loss.sum().backward()
    assert np.isfinite(target.grad.numpy()).all()
    assert np.array_equal(log_p.grad.numpy(), -p)


def test_kl_div_warns_of_its_mean():
    with pytest.warns(UserWarning, match="batchmean"):
        losses.kl_div(_t(X), _t(np.exp(X)))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_float_losses_keep_their_dtype(dtype):
    x = _t(np.abs(X) / 4, dtype=dtype)
    for name in losses.__all__:
        target = (
            _t([0, 1, 2])
            if name in (*CLASS_LOSSES, *MAP_LOSSES)
            else _t(np.sign(X) * 1.0, dtype=dtype)
        )
        extra = {"gaussian_nll_loss": (1.0,), "margin_ranking_loss": (target,)}.get(name, ())
        if name == "binary_cross_entropy":
            target = x
        if name == "kl_div":
            target, extra = x, ("sum",)
        assert getattr(losses, name)(x, target, *extra).dtype == np.dtype(dtype), name


CLASS_LOSSES = ("cross_entropy", "nll_loss", "multi_margin_loss")
MAP_LOSSES = ("dice_loss", "generalized_dice_loss", "sigmoid_cross_entropy")


# -- regions ---------------------------------------------------------------------------------------


def test_the_dice_loss_of_a_worked_example():
    """Three pixels, certain answers: one right, one wrong, one ignored."""
    scores = np.zeros((1, 2, 3))
    scores[0, [0, 0, 1], [0, 1, 2]] = 100.0  # predicted 0, 0, 1
    target = _t([[0, 1, -100]])
    # class 0: 2 * 1 / (2 + 1); class 1: 0 / (0 + 1)
    loss = losses.dice_loss(_t(scores), target, reduction="none", smooth=0.0)
    np.testing.assert_allclose(loss.data, [[1 / 3, 1.0]], atol=1e-12)
    # one pixel of each class, so equal weights: 1 - 2 (1 + 0) / (3 + 1)
    assert np.isclose(losses.generalized_dice_loss(_t(scores), target).item(), 0.5)
    right = losses.dice_loss(_t(scores), _t([[0, 0, 1]]), smooth=0.0).item()
    assert np.isclose(right, 0.0, atol=1e-12)


def test_a_class_that_is_nowhere_has_no_dice_loss():
    scores = np.full((1, 3, 4), -100.0)
    scores[:, 0] = 100.0
    loss = losses.dice_loss(_t(scores), _t([[0, 0, 0, 0]]), reduction="none")
    np.testing.assert_allclose(loss.data, np.zeros((1, 3)), atol=1e-12)


MAPS = [getattr(losses, name) for name in MAP_LOSSES]


@pytest.mark.parametrize("loss", MAPS)
def test_scores_at_ignored_places_of_a_map_may_be_anything_and_have_no_gradient(loss):
    rng = np.random.default_rng(2)
    scores, target = rng.standard_normal((2, 3, 4)), rng.integers(0, 3, (2, 4))
    target[0, 2] = 255
    spoiled = scores.copy()
    spoiled[0, :, 2] = [math.nan, math.inf, -math.inf]
    grads, values = [], []
    for values_of in (scores, spoiled):
        x = _t(values_of, requires_grad=True)
        value = loss(x, _t(target), ignore_index=255)
        value.backward()
        values.append(value.item())
        grads.append(x.grad.numpy())
    assert values[0] == values[1]
    np.testing.assert_array_equal(*grads)
    assert not grads[0][0, :, 2].any()
    assert grads[0].any()


@pytest.mark.parametrize("loss", MAPS)
def test_a_label_that_is_no_class_is_named_or_makes_the_loss_of_a_map_nan(loss):
    x = np.random.default_rng(0).standard_normal((1, 3, 2))
    with pytest.raises(IndexError, match="target 3 at"):
        loss(_t(x), _t([[0, 3]]))
    assert math.isnan(loss(_t(x, device="strict"), _t([[0, 3]], device="strict")).item())


def test_a_large_map_in_half_precision_has_a_dice_loss():
    """Sums over a million pixels are beyond the largest number of float16."""
    scores = np.zeros((1, 2, 1024, 1024), np.float16)
    target = np.zeros((1, 1024, 1024), np.uint8)
    loss = losses.dice_loss(_t(scores), _t(target), smooth=0.0)
    assert loss.dtype == np.float16
    # p is 1/2 everywhere: 1 - 2 (1/2) / (1/4 + 1) = 0.2 for class 0, and 1 for class 1
    assert np.isclose(loss.item(), 0.6, atol=1e-3)


def test_a_flag_that_is_neither_0_nor_1_is_refused():
    with pytest.raises(IndexError, match="target 2 at"):
        losses.sigmoid_cross_entropy(_t(X), _t(np.full((3, 4), 2)))
    with pytest.raises(TypeError, match="must hold integers"):
        losses.sigmoid_cross_entropy(_t(X), _t(np.zeros((3, 4))))
