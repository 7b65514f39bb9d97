"""Metrics that are averaged, and metrics that count."""

import numpy as np
import pytest

from minidl.metrics import COCOAveragePrecision, ConfusionMatrix, VOCAveragePrecision, accuracy
from minidl.training.scoring import Accumulators, split_metrics


class Count:
    """How many batches there were, under a name."""

    def __init__(self, name):
        self.name = name
        self.reset()

    def reset(self):
        self.seen = 0

    def update(self, output, target):
        self.seen += 1

    def scores(self):
        return {self.name: self.seen}


def test_functions_and_accumulators_are_told_apart():
    metrics = {
        "accuracy": accuracy,
        "pixels": ConfusionMatrix(2),
        "voc": VOCAveragePrecision(2),
        "coco": COCOAveragePrecision(2),
    }
    functions, counting = split_metrics(metrics)
    assert functions == {"accuracy": accuracy}
    assert list(counting.metrics) == ["pixels", "voc", "coco"]
    assert split_metrics(None)[0] == {}
    assert split_metrics(None)[1].scores() == {}


def test_what_is_neither_is_named():
    with pytest.raises(TypeError, match="the metric 'odd' is neither a function"):
        split_metrics({"odd": 3})


def test_scores_have_their_own_names_unless_an_earlier_metric_has_that():
    counting = Accumulators({"a": Count("n"), "b": Count("n"), "c": Count("m")})
    counting.update(None, None)
    counting.update(None, None)
    assert counting.scores() == {"n": 2.0, "b_n": 2.0, "m": 2.0}
    assert {type(v) for v in counting.scores().values()} == {float}
    counting.reset()
    assert counting.scores() == {"n": 0.0, "b_n": 0.0, "m": 0.0}


def test_those_with_a_state_can_be_kept_in_a_checkpoint():
    counting = Accumulators({"a": Count("n"), "pixels": ConfusionMatrix(2)})
    assert list(counting.resumable().metrics) == ["pixels"]


def test_counts_go_on_where_they_were_and_others_are_refused():
    first, second = (Accumulators({"pixels": ConfusionMatrix(2)}) for _ in range(2))
    first.update(np.array([[0, 1, 1]]), np.array([[0, 1, 0]]))
    second.load_state_dict(first.state_dict())
    assert second.scores() == first.scores()
    assert second.scores()["pixel_accuracy"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="the counts are of pixels; this run has nothing"):
        Accumulators({}).load_state_dict(first.state_dict())
