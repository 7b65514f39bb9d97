"""Checks: what makes one, and the feedback they raise."""

import pickle

import numpy as np
import pytest

from minidl.teach.assign import Wrong, check, require


def test_a_check_is_made_of_a_function():
    @check(points=3, part="1. Sums", seconds=5)
    def gradient_of_the_weight(student, rng):
        """The gradient,
        to the weight.

        Not this.
        """

    assert gradient_of_the_weight.name == "gradient of the weight"
    assert gradient_of_the_weight.tested == "The gradient, to the weight."
    assert (gradient_of_the_weight.points, gradient_of_the_weight.part) == (3, "1. Sums")
    assert (gradient_of_the_weight.seconds, gradient_of_the_weight.megabytes) == (5, None)


def test_a_check_needs_a_docstring_and_points():
    with pytest.raises(ValueError, match="docstring must say what is tested"):

        @check(points=1, part="1")
        def nothing(student, rng):
            pass

    with pytest.raises(ValueError, match="points must be above 0"):

        @check(points=0, part="1")
        def worthless(student, rng):
            """Something."""


def test_random_numbers_depend_on_name_and_seed_only():
    def made(name):
        def function(student, rng):
            """Something."""

        function.__name__ = name
        return check(points=1, part="1")(function)

    draws = {
        (name, seed): made(name).rng(seed).standard_normal() for name in "ab" for seed in (0, 1)
    }
    assert len(set(draws.values())) == 4
    assert made("a").rng(1).standard_normal() == draws["a", 1]


def test_require_raises_the_feedback():
    require(np.True_, "not seen")
    with pytest.raises(Wrong) as caught:
        require(1 > 2, "1 is not above 2", cause="order: Exchange them.", look="The sign.")
    error = caught.value
    assert (error.got, error.cause, error.why) == ("1 is not above 2", "order", "Exchange them.")
    assert error.look == "The sign."
    with pytest.raises(Wrong) as caught:
        require(False, "no")
    assert caught.value.cause is None


def test_feedback_travels_between_processes():
    error = Wrong("a", "b", "c", "d", "e")
    again = pickle.loads(pickle.dumps(error))
    assert vars(again) == vars(error)
