"""The loss of a network with auxiliary classifiers."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.training import AuxiliaryLoss
from minidl.training.auxiliary import loss_of


def scores(seed):
    rng = np.random.default_rng(seed)
    return md.Tensor(rng.standard_normal((6, 4)).astype(np.float32), requires_grad=True)


LABELS = md.Tensor(np.arange(6) % 4)


def alone(output):
    return nn.functional.cross_entropy(output, LABELS).item()


def test_the_loss_is_the_main_one_and_the_weighted_others():
    main, second, first = scores(0), scores(1), scores(2)
    criterion = AuxiliaryLoss(nn.CrossEntropyLoss(), 0.3)
    expected = alone(main) + 0.3 * (alone(second) + alone(first))
    assert criterion((main, second, first), LABELS).item() == pytest.approx(expected, rel=1e-6)
    criterion = AuxiliaryLoss(nn.CrossEntropyLoss(), [0.5, 0.25])
    expected = alone(main) + 0.5 * alone(second) + 0.25 * alone(first)
    assert criterion((main, second, first), LABELS).item() == pytest.approx(expected, rel=1e-6)
    assert repr(criterion).startswith("AuxiliaryLoss(")
    assert "weights=[0.5, 0.25]" in repr(criterion)


def test_without_auxiliary_outputs_it_is_the_criterion_itself():
    for criterion in (AuxiliaryLoss(nn.CrossEntropyLoss(), w) for w in (0.3, [0.5, 0.25])):
        assert criterion(scores(0), LABELS).item() == alone(scores(0))


def test_every_output_gets_its_gradient():
    outputs = scores(0), scores(1)
    AuxiliaryLoss(nn.CrossEntropyLoss(), 0.3)(outputs, LABELS).backward()
    for output, weight in zip(outputs, (1.0, 0.3), strict=True):
        again = md.Tensor(output.data.copy(), requires_grad=True)
        nn.functional.cross_entropy(again, LABELS).backward()
        np.testing.assert_allclose(output.grad.data, weight * again.grad.data, rtol=1e-6)


def test_more_outputs_than_weights_are_refused():
    with pytest.raises(ValueError, match="2 weights for 1 auxiliary outputs"):
        AuxiliaryLoss(nn.CrossEntropyLoss(), [0.5, 0.25])((scores(0), scores(1)), LABELS)


def test_its_criterion_moves_with_it():
    criterion = AuxiliaryLoss(nn.CrossEntropyLoss(md.Tensor(np.ones(4, np.float32))), 0.3)
    assert criterion.to("strict").criterion.weight.device == "strict"


def test_a_criterion_for_one_output_is_named_when_there_are_more():
    outputs, plain = (scores(0), scores(1)), nn.CrossEntropyLoss()
    with pytest.raises(ValueError, match="2 outputs, which CrossEntropyLoss does not take"):
        loss_of(plain, outputs, LABELS)
    with pytest.raises(ValueError, match=r"AuxiliaryLoss\(criterion, weights\)"):
        loss_of(lambda output, target: output.mean(), outputs, LABELS)
    with pytest.raises(ValueError, match=r"^cross_entropy: "):  # its own error, of one output
        loss_of(plain, scores(0), LABELS[:3])
    assert loss_of(plain, scores(0), LABELS).item() == alone(scores(0))
