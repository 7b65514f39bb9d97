"""Training and evaluation mode where parts of a model are frozen."""

from minidl.training.modes import trainer

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
