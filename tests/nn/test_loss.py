"""Losses as modules against torch's."""

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor

from .compare import compare

F = nn.functional


def classes(rng):
    return [rng.normal(size=(4, 3)), rng.integers(0, 3, 4)]


def pixels(rng):
    return [rng.normal(size=(2, 3, 4, 4)), rng.integers(0, 3, (2, 4, 4))]


def pairs(rng):
    return [rng.normal(size=(4, 3)), rng.normal(size=(4, 3))]


def probabilities(rng):
    return [rng.uniform(0.1, 0.9, (4, 3)), rng.uniform(0.1, 0.9, (4, 3))]


def signs(rng):
    return [rng.normal(size=(4, 3)), rng.choice([-1.0, 1.0], (4, 3))]


WEIGHT = np.array([0.5, 2.0, 1.0])

LOSSES = [
    ("CrossEntropyLoss", {}, classes),
    ("CrossEntropyLoss", {"weight": WEIGHT, "label_smoothing": 0.1}, pixels),
    ("CrossEntropyLoss", {"ignore_index": 1, "reduction": "sum"}, pixels),
    ("CrossEntropyLoss", {"reduction": "none"}, pixels),
    ("NLLLoss", {}, classes),
    ("NLLLoss", {"weight": WEIGHT, "ignore_index": 0}, pixels),
    ("BCELoss", {}, probabilities),
    ("BCELoss", {"weight": WEIGHT, "reduction": "sum"}, probabilities),
    ("BCEWithLogitsLoss", {}, probabilities),
    ("BCEWithLogitsLoss", {"pos_weight": WEIGHT, "weight": WEIGHT}, probabilities),
    ("MSELoss", {}, pairs),
    ("MSELoss", {"reduction": "none"}, pairs),
    ("L1Loss", {"reduction": "sum"}, pairs),
    ("SmoothL1Loss", {}, pairs),
    ("SmoothL1Loss", {"beta": 0.3, "reduction": "sum"}, pairs),
    ("HuberLoss", {"delta": 0.4}, pairs),
    ("GaussianNLLLoss", {}, lambda rng: [*pairs(rng), rng.uniform(0.5, 2, (4, 3))]),
    (
        "GaussianNLLLoss",
        {"full": True, "reduction": "sum"},
        lambda rng: [*pairs(rng), rng.uniform(0.5, 2, (4, 1))],
    ),
    ("MultiMarginLoss", {}, classes),
    ("MultiMarginLoss", {"p": 2, "margin": 0.5, "weight": WEIGHT}, classes),
    ("HingeEmbeddingLoss", {"margin": 0.5}, signs),
    ("MarginRankingLoss", {"margin": 0.5}, lambda rng: [rng.normal(size=(4, 3)), *signs(rng)]),
    ("SoftMarginLoss", {}, signs),
    ("KLDivLoss", {"reduction": "batchmean"}, probabilities),
    ("KLDivLoss", {"log_target": True, "reduction": "sum"}, pairs),
]


@pytest.mark.parametrize(("name", "kwargs", "inputs"), LOSSES)
def test_losses_are_torchs(name, kwargs, inputs):
    wrt = (0, 1) if name == "MarginRankingLoss" else (0,)
    compare(name, (), kwargs, inputs, modes=("train",), wrt=wrt)


def test_the_focal_loss_takes_its_options():
    rng = np.random.default_rng(0)
    x, t = Tensor(rng.normal(size=5)), Tensor(np.array([0.0, 1, 1, 0, 1]))
    plain = nn.SigmoidFocalLoss(alpha=-1, gamma=0.0)(x, t)
    expected = nn.BCEWithLogitsLoss(reduction="none")(x, t)
    np.testing.assert_allclose(plain.data, expected.data, rtol=1e-12)
    p = 1 / (1 + np.exp(-x.data))
    focused = nn.SigmoidFocalLoss(0.25, 2.0, "sum")(x, t)
    q = np.where(t.data == 1, p, 1 - p)
    weight = np.where(t.data == 1, 0.25, 0.75)
    np.testing.assert_allclose(focused.item(), (-weight * (1 - q) ** 2 * np.log(q)).sum())


def test_the_losses_of_maps_take_their_options():
    rng = np.random.default_rng(1)
    x, t = Tensor(rng.normal(size=(2, 3, 4, 4))), Tensor(rng.integers(0, 3, (2, 4, 4)))
    weight = Tensor(WEIGHT)
    for name, function, options in [
        ("DiceLoss", F.dice_loss, {"weight": weight, "ignore_index": 1, "smooth": 0.1}),
        ("GeneralizedDiceLoss", F.generalized_dice_loss, {"ignore_index": 1}),
        ("SigmoidCrossEntropyLoss", F.sigmoid_cross_entropy, {"weight": weight, "ignore_index": 1}),
    ]:
        for reduction in ("none", "mean", "sum"):
            loss = getattr(nn, name)(**options, reduction=reduction)(x, t)
            np.testing.assert_array_equal(
                loss.data, function(x, t, **options, reduction=reduction).data
            )
            assert not np.array_equal(loss.data, function(x, t, reduction=reduction).data)


def test_impossible_losses_are_refused():
    with pytest.raises(ValueError, match="reduction is"):
        nn.MSELoss("average")
    with pytest.raises(ValueError, match="p is 1 or 2"):
        nn.MultiMarginLoss(p=3)
