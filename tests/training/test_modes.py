"""Training and evaluation mode where parts of a model are frozen."""

import pytest

from minidl.training.modes import eval_mode, trainer

from .small import network


def modes(model):
    return [module.training for module in model.modules()]


def test_what_is_frozen_stays_so_and_the_rest_is_trained():
    model = network()
    model[1].eval()
    train = trainer(model)
    before = modes(model)
    assert before.count(False) == 1
    model.eval()
    train()
    assert modes(model) == before
    model[5].eval()  # afterwards: somebody's evaluation
    train()
    assert modes(model) == before


def test_a_model_that_was_only_evaluated_is_trained_altogether():
    model = network().eval()
    trainer(model)()
    assert all(modes(model))


def test_after_an_evaluation_each_part_is_as_it_was():
    model = network()
    model[1].eval()
    before = modes(model)
    with eval_mode(model):
        assert not any(modes(model))
    assert modes(model) == before
    with pytest.raises(ZeroDivisionError), eval_mode(model):
        raise ZeroDivisionError
    assert modes(model) == before
