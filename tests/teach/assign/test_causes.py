"""Each general pattern recognises its mistake, by its name, on arrays of random numbers."""

import numpy as np
import pytest

from minidl.teach.assign import Wrong, compare
from minidl.teach.assign.causes import PATTERNS
from minidl.teach.assign.checks import last_call
from minidl.teach.assign.student import Result

rng = np.random.default_rng(1)
X = rng.standard_normal((4, 3, 6, 5))
M = rng.standard_normal((4, 7))
V = rng.standard_normal(5)
WIDE = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)))
NOISE = rng.standard_normal((4, 3, 6, 5))


def with_(array, index, value):
    array = array.copy()
    array[index] = value
    return array


BORDER = np.ones((6, 5), bool)
BORDER[1:-1, 1:-1] = False

# name of the cause: (what comes, what is expected)
CASES = {
    "wrong dtype": [(np.arange(3.0), np.arange(3)), (np.array([0, 1]), np.array([False, True]))],
    "axes of length 1": [(M.sum(0, keepdims=True), M.sum(0)), (X[:1].squeeze(0), X[:1])],
    "transposed": [(M.T, M), (X.transpose(0, 2, 3, 1), X), (X.swapaxes(2, 3), X)],
    "wrong shape": [(X.reshape(4, -1), X), (M.ravel(), M)],
    "sum over the batch missing": [(M, M.sum(0)), (X, X.sum(0))],
    "mean over the batch missing": [(M, M.mean(0))],
    "sum over axis 1 missing": [(M, M.sum(1))],
    "sum over broadcast axes missing": [
        (X, X.sum((0, 2, 3), keepdims=True)),
        (X, X.sum((0, 1), keepdims=True)[0]),
    ],
    "padding not cropped": [(WIDE, X), (WIDE[:, :, 1:], X), (WIDE[:, :, :-1, :-1], X)],
    "border missing": [(X[:, :, 1:-1, 1:-1], X), (X[:, :, :-1], X)],
    "not a number": [(with_(M, (1, 2), np.nan), M)],
    "overflow": [(with_(M, (1, 2), np.inf), M)],
    "all zeros": [(np.zeros_like(M), M)],
    "inverted": [(M > 0, M <= 0)],
    "wrong sign": [(-M, M)],
    "too large by N": [(M * 4, M)],
    "too small by N*H*W": [(M / 120, M)],
    "constant factor": [(M * 0.3, M)],
    "truncated to integers": [(np.floor(M * 5), M * 5), (np.trunc(M * 5), M * 5)],
    "flipped": [(X[:, :, ::-1, ::-1], X), (V[::-1], V)],
    "shifted by one": [(np.roll(V, 1), V), (np.roll(X, -1, 2), X)],
    "sign lost": [(np.abs(M), M), (np.maximum(M, 0), M)],
    "constant offset": [(M + 0.5, M)],
    "precision": [(M.astype(np.float16).astype(float), M), (M + 1e-5 * NOISE[:, 0, :1, 0], M)],
    "another order": [(rng.permutation(M.ravel()).reshape(M.shape), M)],
    "only the first of the batch is right": [(with_(X, slice(1, None), NOISE[1:]), X)],
    "only the border is wrong": [(np.where(BORDER, NOISE, X), X)],
}


@pytest.mark.parametrize(
    ("name", "got", "expected"),
    [(name, *pair) for name, pairs in CASES.items() for pair in pairs],
)
def test_mistake_is_named(name, got, expected):
    last_call.set(None)
    with pytest.raises(Wrong) as caught:
        compare("out", got, expected, factors={"N": 4, "N*H*W": 120})
    assert caught.value.cause == name
    assert len(caught.value.why) > 20


def test_inputs_are_recognised():
    result = Result({}, {"x": M, "stride": 2}, ())
    last_call.set(result)
    with pytest.raises(Wrong) as caught:
        compare("out", M, M * NOISE[0, 0, 0, 0] + 1)
    assert caught.value.cause == "input came back"
    assert "the input x" in caught.value.why
    last_call.set(Result({}, {"x": M}, ("x",)))
    with pytest.raises(Wrong) as caught:
        compare("out", NOISE, X)
    assert caught.value.cause == "input changed in place"
    last_call.set(None)


def test_every_pattern_has_a_case():
    named = {*CASES, "input came back", "input changed in place"}
    shared = {"sum missing": "sum over the batch missing"}
    assert [name for name in PATTERNS if shared.get(name, name) not in named] == []


def test_noise_is_not_given_a_cause():
    last_call.set(None)
    for got, expected in ((NOISE, X), (NOISE[0], X), (NOISE[:, :2], X), (V, M), (1.5, 7.25)):
        with pytest.raises(Wrong) as caught:
            compare("out", got, expected)
        assert caught.value.cause is None


def test_strange_arrays_are_compared_without_warnings_or_errors():
    strange = [
        np.zeros((0, 3)),
        np.array([np.nan, np.inf, -np.inf]),
        np.ones((1,) * 12),
        np.zeros(3, complex),
        np.array([True, False, True]),
        np.full((2, 2), 1e308),
        np.uint8([1, 2, 3]),
        np.array(5),
    ]
    for got in strange:
        for expected in (*strange, M, V, X):
            try:
                compare("out", got, expected, factors={"N": 2.0})
            except Wrong as error:
                assert error.got  # noqa: PT017
