"""A number with a reason is a number."""

import copy
import math
import pickle

from minidl.metrics import Score


def test_a_score_is_a_float_that_keeps_its_reason():
    score = Score(math.nan, "no pixel is car")
    assert math.isnan(score)
    assert (score.reason, repr(score)) == ("no pixel is car", "nan (no pixel is car)")
    assert Score(0.5) + 0.25 == 0.75
    assert (repr(Score(0.5)), Score(0.5).reason, f"{Score(0.5):.2%}") == ("0.5", "", "50.00%")
    for twin in (copy.deepcopy(score), pickle.loads(pickle.dumps(score))):
        assert twin.reason == score.reason
