"""`compare` accepts what is right and says how the rest differs."""

import numpy as np
import pytest

from minidl.teach.assign import Cause, Wrong, compare


def wrong(got, expected, **options):
    with pytest.raises(Wrong) as caught:
        compare("out", got, expected, **options)
    return caught.value


X = np.random.default_rng(0).standard_normal((2, 3, 4))


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (X, X),
        (X * (1 + 1e-7), X),
        (X.astype(np.float32), X.astype(np.float32).astype(np.float64)),
        (np.int32([1, 2]), np.int64([1, 2])),
        (np.uint8([1, 2]), np.int64([1, 2])),
        (np.array([True]), np.array([True])),
        (1.5, 1.5),
        (np.float64(1.5), np.array(1.5)),
        ([1, 2], np.array([1, 2])),
        (np.array([np.nan, np.inf]), np.array([np.nan, np.inf])),
        (np.zeros((0, 4)), np.zeros((0, 4))),
        (3, 3),
    ],
)
def test_right_answers_pass(got, expected):
    compare("out", got, expected)


def test_a_dtype_is_demanded_where_it_is_asked_for():
    compare("out", np.ones(2, np.float32), np.ones(2), dtype=np.float32)
    error = wrong(np.ones(2), np.ones(2), dtype=np.float32)
    assert error.expected == "out: float32 of shape (2,)"
    assert error.got == "float64 of shape (2,): the dtype is another one"
    assert error.cause == "wrong dtype"


def test_the_kind_of_number_counts():
    assert wrong(np.ones(2), np.array([1, 1])).cause == "wrong dtype"
    assert wrong(np.array([1, 0]), np.array([True, False])).cause == "wrong dtype"


def test_difference_is_told_in_numbers():
    got = X.copy()
    got[1, 0, 2] = X[1, 0, 2] + 0.5
    got[1, 2, 3] += 0.25
    error = wrong(got, X, look="There.")
    assert error.expected == "out: float64 of shape (2, 3, 4)"
    first, second = error.got.split("\n")
    relative = max(0.5 / abs(X[1, 0, 2]), 0.25 / abs(X[1, 2, 3]))
    assert first == (
        "float64 of shape (2, 3, 4); 2 of 24 elements differ; largest error 0.5 "
        f"(relative: {relative:.3g})"
    )
    assert second == (f"first at [1, 0, 2]: expected {X[1, 0, 2]:.6g}, got {X[1, 0, 2] + 0.5:.6g}")
    assert error.look == "There."
    assert error.cause is None


def test_shapes_and_single_numbers_are_told():
    assert wrong(np.ones((2, 2)), np.arange(3.0)).got == (
        "float64 of shape (2, 2): the shape is another one"
    )
    error = wrong(1.0, 2.5)
    assert error.expected == "out: one number (float64)"
    assert error.got == "one number (float64): expected 2.5, got 1; error 1.5 (relative: 0.6)"
    assert "expected True, got False" in wrong(np.array([False]), np.array([True])).got


def test_digits_are_as_many_as_show_a_difference():
    error = wrong(np.array([1.0000001234]), np.array([1.0]), rtol=1e-9)
    assert error.got.endswith("expected 1, got 1.0000001234")


@pytest.mark.parametrize(
    ("got", "cause"),
    [(None, "nothing returned"), ("text", "no array"), ([None], "no array"), ({}, "no array")],
)
def test_what_is_no_array_is_told(got, cause):
    assert wrong(got, X).cause == cause


def test_causes_are_tried_in_order_and_before_general_patterns():
    causes = [Cause("never", X + 1), Cause("minus", -X, "Why."), Cause("again", -X)]
    error = wrong(-X, X, causes=causes)
    assert (error.cause, error.why) == ("minus", "Why.")
    assert wrong(-X, X).cause == "wrong sign"


def test_a_cause_is_an_array_of_any_shape_several_or_a_function():
    assert wrong(X.sum(0), X, causes=[Cause("summed", X.sum(0))]).cause == "summed"
    assert wrong(X * X, X, causes=[Cause("one", [X + 5, X * X])]).cause == "one"
    large = Cause("large", lambda got: got.max() > 100)
    assert wrong(X * X + 1000, X, causes=[large]).cause == "large"
    assert wrong(X * X, X, causes=[large]).cause is None
    fails = Cause("fails", lambda got: got.reshape(7))
    assert wrong(X * X, X, causes=[fails]).cause is None


def test_integers_that_overflow_in_a_difference_are_told():
    big = np.array([2**63 - 1, 0])
    assert "1 of 2 elements differ" in wrong(np.array([-(2**63), 0]), big).got
    assert "1 of 2" in wrong(np.uint8([255, 3]), np.array([1, 3])).got
