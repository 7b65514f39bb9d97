"""Averages over a data set."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.data import DataLoader, TensorDataset
from minidl.metrics import accuracy
from minidl.training import evaluate
from minidl.training.evaluate import Sums

from .small import Images, bits, network


def loader(samples=12, batch=5):
    images = Images(samples)
    return DataLoader(TensorDataset(images.images, images.labels), batch)


def test_averages_are_those_of_all_samples_at_once():
    model = network()
    model(md.Tensor(Images(20).images))  # running statistics that are not the initial ones
    images, criterion = Images(12), nn.CrossEntropyLoss()
    scores = evaluate(model, loader(), criterion, {"accuracy": accuracy})
    output = model.eval()(md.Tensor(images.images))
    labels = md.Tensor(images.labels)
    assert scores["loss"] == pytest.approx(criterion(output, labels).item(), rel=1e-6)
    assert scores["accuracy"] == pytest.approx(accuracy(output, labels).item(), rel=1e-6)


def test_the_model_is_left_as_it_was():
    for training in (True, False):
        model = network().train(training)
        before = bits(model)
        evaluate(model, loader(), nn.CrossEntropyLoss())
        assert bits(model) == before
        assert all(module.training == training for module in model.modules())


def test_the_mode_comes_back_after_an_error():
    model = network()
    with pytest.raises(ZeroDivisionError):
        evaluate(model, loader(), metrics={"odd": lambda output, target: 1 / 0})
    assert model.training


def test_nothing_is_recorded():
    seen = []
    evaluate(network(), loader(), lambda output, target: seen.append(output) or output.mean())
    assert not any(output.requires_grad for output in seen)


def test_averaged_weights_can_take_the_place_of_the_others():
    model = network()
    ema = optim.EMA(model, 1.0)
    with_first = evaluate(model, loader(), nn.CrossEntropyLoss())
    with md.no_grad():
        for p in model.parameters():
            p.data += 1.0
    after = bits(model)
    assert evaluate(model, loader(), nn.CrossEntropyLoss(), ema=ema) == with_first
    assert evaluate(model, loader(), nn.CrossEntropyLoss()) != with_first
    assert bits(model) == after


def test_no_samples_give_no_number():
    assert math.isnan(evaluate(network(), [], nn.CrossEntropyLoss())["loss"])


def test_float32_averages_are_summed_in_float64():
    sums = Sums(["x"])
    for _ in range(1000):
        sums.add(100_000, {"x": md.Tensor(np.float32(0.1))})
    assert sums.means()["x"] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_sums_go_on_where_they_were():
    values = np.random.default_rng(0).random(10, dtype=np.float32)
    whole, first, second = Sums(["x"]), Sums(["x"]), Sums(["x"])
    for i, value in enumerate(values):
        whole.add(i, {"x": md.Tensor(value)})
        (first if i < 4 else second).add(i, {"x": md.Tensor(value)})
        if i == 3:
            second.load_state_dict(first.state_dict())
    assert second.means() == whole.means()
    assert second.count == whole.count == 45
    assert second.seconds >= first.state_dict()["seconds"] - first.seconds


def test_sums_of_other_values_are_refused():
    with pytest.raises(ValueError, match="the sums are of y; this run has x"):
        Sums(["x"]).load_state_dict(Sums(["y"]).state_dict())


def test_adding_does_not_wait_for_the_device():
    from .. import strict_cupy

    sums = Sums(["x"])
    value = md.Tensor(np.float32(2.0), device="strict")
    with strict_cupy.forbid_sync():
        for _ in range(3):
            sums.add(2, {"x": value})
    assert sums.means() == {"x": 2.0}


class Squares(nn.Module):
    """A model that brings its losses: how far weight * x lies from the target."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(md.tensor(3.0))

    def losses(self, x, target):
        off = self.weight * x - target
        return {"square": (off**2).mean(), "line": off.mean()}

    def predict(self, x):
        return self.weight * x


def pairs():
    x, y = (np.random.default_rng(i).random(12, dtype=np.float32) for i in (0, 1))
    return x, y, DataLoader(TensorDataset(x, y), 5)


def test_a_model_s_own_losses_are_averaged_and_metrics_get_its_predictions():
    x, y, loader = pairs()
    found = evaluate(Squares(), loader, None, {"mean": lambda output, target: output.mean()})
    off = 3 * x - y
    assert found == pytest.approx(
        {
            "loss": np.mean(off**2) + np.mean(off),
            "square": np.mean(off**2),
            "line": np.mean(off),
            "mean": np.mean(3 * x),
        },
        rel=1e-5,
    )
    assert set(evaluate(Squares(), loader)) == {"loss", "square", "line"}
    assert math.isnan(evaluate(Squares(), [])["loss"])


def test_a_metric_that_counts_sees_all_batches_and_starts_anew():
    images, model = Images(12), network()
    counts = md.metrics.ConfusionMatrix(4)
    found = evaluate(model, loader(), nn.CrossEntropyLoss(), {"counts": counts})
    with md.no_grad():
        answers = model.eval()(md.Tensor(images.images)).data.argmax(1)
    assert found["pixel_accuracy"] == pytest.approx(np.mean(answers == images.labels))
    assert counts.matrix.sum() == 12
    again = evaluate(model, loader(), nn.CrossEntropyLoss(), {"counts": counts})
    assert again == found
    assert {type(value) for value in found.values()} == {float}


def test_without_a_criterion_a_plain_model_has_no_loss():
    found = evaluate(network(), loader(), metrics={"accuracy": accuracy})
    assert set(found) == {"accuracy"}


def test_sums_that_take_other_names_go_on_with_them():
    first, second = Sums(["loss"], more=True), Sums(["loss"], more=True)
    first.add(2, {"loss": md.Tensor(np.float32(1.0)), "part": md.Tensor(np.float32(3.0))})
    second.load_state_dict(first.state_dict())
    assert second.means() == {"loss": 1.0, "part": 3.0}
    first.reset()
    assert list(first.totals) == ["loss"]
    with pytest.raises(ValueError, match="the sums are of x; this run has loss"):
        second.load_state_dict(Sums(["x"]).state_dict())
