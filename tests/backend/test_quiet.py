import threading
import warnings

import numpy as np
import pytest

from minidl.backend import quiet, quietly

ZEROS = np.zeros(2)


def test_nothing_is_said_inside_and_everything_outside():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(quietly(np.divide, ZEROS, ZEROS)).all()
    with pytest.warns(RuntimeWarning, match="invalid value"):
        ZEROS / ZEROS


def test_quiet_functions_may_call_each_other():
    @quiet
    def inner(x):
        return x / 0.0

    @quiet
    def outer(x, factor=1.0):
        return inner(x) * factor

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(outer(ZEROS, factor=2.0)).all()
    assert outer.__name__ == "outer"


def test_an_error_inside_leaves_the_state_as_it_was():
    with pytest.raises(ZeroDivisionError):
        quietly(lambda: 1 / 0)
    with pytest.warns(RuntimeWarning):
        ZEROS / ZEROS
    quietly(np.divide, ZEROS, ZEROS)


def test_every_thread_is_quiet_on_its_own():
    failures = []

    def work():
        try:
            with np.errstate(all="raise"):
                for _ in range(50):
                    quietly(np.divide, ZEROS, ZEROS)
        except FloatingPointError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


def test_the_users_error_state_holds_outside():
    with np.errstate(divide="raise"):
        assert np.isinf(quietly(np.divide, np.ones(1), np.zeros(1))).all()
        with pytest.raises(FloatingPointError):
            np.ones(1) / np.zeros(1)
