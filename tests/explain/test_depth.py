"""From which layer on a network has made up its mind."""

import numpy as np
import pytest

import minidl as md
from minidl.data import Digits
from minidl.explain import activations, prediction_depth
from minidl.training import nearest_neighbours

from .small import trained


def test_the_depth_is_the_first_layer_from_which_on_all_agree():
    final = [1, 1, 1, 1, 1]
    answers = [
        [1, 0, 1, 0, 1],
        [1, 1, 0, 0, 1],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0],
    ]
    found = prediction_depth(answers, final)
    # All; from the second on; agreed, but not in between; only in between; not in the end.
    assert found.tolist() == [0, 1, 2, 4, 4]
    assert found.dtype == np.int64
    assert prediction_depth([md.tensor(a) for a in answers], md.tensor(final)).tolist() == [
        *(0, 1, 2, 4, 4),
    ]
    assert prediction_depth([[], []], []).shape == (0,)


def test_digits_that_the_network_gets_wrong_take_it_more_layers():
    net = trained()
    train, test = Digits(), Digits(train=False)
    known, asked = ((d.images[::2] / 255).astype(np.float32) for d in (train, test))
    layers = ["conv1", "conv2", "fc1", "fc2", "fc3"]
    known, asked = activations(net, known, layers), activations(net, asked, layers)
    answers = [
        nearest_neighbours(
            known[layer].reshape(2000, -1), train.labels[::2], asked[layer].reshape(500, -1), k=30
        )
        for layer in layers
    ]
    final = asked["fc3"].argmax(1)
    depth = prediction_depth(answers, final)
    right = final == test.labels[::2]
    assert 0.9 < right.mean() < 1
    assert depth[right].mean() < 1 < depth[~right].mean(), (depth[right].mean(), depth[~right])


def test_answers_that_do_not_fit_are_refused():
    for answers, final in [([], [1]), ([[1, 2]], [1]), ([[1], [1, 2]], [1]), ([[[1]]], [[1]])]:
        with pytest.raises(ValueError, match=r"needs \(M,\) answers of at least one layer"):
            prediction_depth(answers, final)
