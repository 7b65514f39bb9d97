"""Features of a trained network, and simple classifiers of them."""

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.data import ArrayDataset, DataLoader
from minidl.training import features, fit, linear_probe, nearest_neighbours

from .small import Images, bits, network

RNG = np.random.default_rng(0)


def loader(samples=40, seed=0, batch=16):
    data = Images(samples, seed=seed)
    return DataLoader(ArrayDataset(data.images, data.labels), batch)


@pytest.fixture(scope="module")
def trained():
    """A network that tells four stripes apart, trained for two seconds at most."""
    md.manual_seed(0)
    net = network()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    train = DataLoader(Images(), 8, shuffle=True, seed=0)
    fit(net, optimizer, nn.CrossEntropyLoss(), train, epochs=10, progress=False)
    return net


# -- features -------------------------------------------------------------------------------------


def test_features_are_the_output_of_the_layer_in_evaluation_mode(trained):
    x, y = features(trained.train(), loader(), "4")
    assert x.shape == (40, 64)
    assert x.dtype == np.float32
    data = Images(40)
    np.testing.assert_array_equal(y, data.labels)
    with md.no_grad():
        expected = trained[:5].eval()(md.tensor(data.images)).data
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)


def test_maps_become_the_mean_of_each(trained):
    x, _ = features(trained, loader(), "2")
    with md.no_grad():
        expected = trained[:3].eval()(md.tensor(Images(40).images)).data.mean((2, 3))
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)


def test_features_of_the_network_are_its_scores(trained):
    x, _ = features(trained, loader())
    assert x.shape == (40, 4)


def test_looking_at_features_leaves_the_network_as_it_was(trained):
    trained.train()
    trained[1].eval()
    before = bits(trained)
    features(trained, loader(), "4")
    assert bits(trained) == before
    assert trained.training
    assert not trained[1].training
    assert not any(m._forward_hooks for m in trained.modules())
    assert all(p.requires_grad for p in trained.parameters())


def test_features_come_from_the_device_of_the_network(trained):
    expected, _ = features(trained, loader(), "4")
    x, y = features(trained.to("strict"), loader(), "4")
    trained.to("cpu")
    assert isinstance(x, np.ndarray)
    assert isinstance(y, np.ndarray)
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)


def test_layers_without_features_are_errors(trained):
    with pytest.raises(AttributeError, match="no module '9'"):
        features(trained, loader(), "9")

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice, self.never, self.pair = nn.Linear(8, 8), nn.Linear(8, 8), Pair()

        def forward(self, x):
            return self.pair(self.twice(self.twice(x)))[0]

    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    for layer, message in [("twice", "ran 2 times"), ("never", "ran 0 times")]:
        with pytest.raises(ValueError, match=message):
            features(Odd(), loader(), layer)
    with pytest.raises(TypeError, match="'pair' is a tuple"):
        features(Odd(), loader(), "pair")
    with pytest.raises(ValueError, match="no batches"):
        features(trained, [])


# -- a linear classifier --------------------------------------------------------------------------


def clouds(samples=200, classes=3, width=6, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(0, 2, (classes, width))
    y = rng.integers(0, classes, samples)
    x = 5 + centres[y] * np.arange(1, width + 1) + spread * rng.normal(size=(samples, width))
    return x.astype(np.float32), y


def test_a_linear_probe_of_trained_features_beats_chance_by_far(trained):
    known, answers = features(trained, loader(60), "4")
    others, truth = features(trained, loader(200, seed=5), "4")
    layer = linear_probe(known, answers)
    assert isinstance(layer, nn.Linear)
    accuracy = (layer(md.tensor(others)).data.argmax(1) == truth).mean()
    near = (nearest_neighbours(known, answers, others) == truth).mean()
    assert min(accuracy, near) > 0.9, (accuracy, near)  # chance is 0.25


def test_the_features_of_a_trained_network_tell_more_than_those_of_a_new_one(trained):
    md.manual_seed(1)
    accuracy = []
    for net in (trained, network()):
        known, answers = features(net, loader(60), "4")
        others, truth = features(net, loader(300, seed=5), "4")
        found = nearest_neighbours(known, answers, others)
        accuracy.append((found == truth).mean())
    assert accuracy[0] > accuracy[1]


def test_a_linear_probe_finds_the_minimum_of_its_loss():
    """Where the gradient is zero, computed here by hand; the loss is convex."""
    weight_decay = 1e-2
    x, y = clouds(spread=8.0)
    layer = linear_probe(x.astype(np.float64), y, weight_decay=weight_decay, steps=2000)
    z = (x - x.mean(0)) / x.std(0)
    scores = x.astype(np.float64) @ layer.weight.data.T + layer.bias.data
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    error = (p - np.eye(3)[y]) / len(x)
    slope = error.T @ z + weight_decay * layer.weight.data * x.std(0)
    assert np.abs(slope).max() < 1e-6
    assert np.abs(error.sum(0)).max() < 1e-6


def test_a_linear_probe_is_the_same_each_time_and_draws_nothing():
    x, y = clouds()
    md.manual_seed(3)
    expected = md.rand(2).tolist()
    md.manual_seed(3)
    one = linear_probe(x, y, steps=20)
    assert md.rand(2).tolist() == expected
    two = linear_probe(x, y, steps=20)
    assert bits(one) == bits(two)
    assert one.weight.dtype == np.float32
    assert one.weight.grad is None


def test_constant_features_and_absent_classes_do_no_harm():
    x, y = clouds()
    x = np.concatenate([x, np.full((len(x), 1), 1e6, np.float32), np.zeros_like(x[:, :1])], 1)
    layer = linear_probe(x, y, num_classes=5)
    assert layer.weight.shape == (5, 8)
    scores = layer(md.tensor(x)).data
    assert np.isfinite(scores).all()
    assert (scores.argmax(1) == y).mean() > 0.95


def test_a_probe_can_take_the_place_of_the_last_layer(trained):
    known, answers = features(trained, loader(60), "4")
    head, trained[6] = trained[6], linear_probe(known, answers)
    try:
        scores, labels = features(trained, loader(60))
    finally:
        trained[6] = head
    assert (scores.argmax(1) == labels).all()


def test_what_is_no_sample_is_refused():
    x, y = clouds(20)
    for known, labels, message in [
        (x[:, 0], y, r"features are \(N, D\)"),
        (x, y[:5], r"\(20, 6\) and \(5,\)"),
        (x[:0], y[:0], "N > 0"),
        (x.astype(int), y, "features are floats"),
        (x, y.astype(float), "labels integers"),
        (x, y - 1, "labels are from 0 to 1, got -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            linear_probe(known, labels)
    with pytest.raises(ValueError, match="labels are from 0 to 1, got 0 to 2"):
        linear_probe(x, y, num_classes=2)


# -- nearest neighbours ---------------------------------------------------------------------------


def slow_neighbours(x, y, queries, k, metric):
    found = []
    for q in queries.astype(np.float64):
        if metric == "euclidean":
            far = [np.linalg.norm(q - a) for a in x]
        else:
            far = [1 - q @ a / np.linalg.norm(q) / np.linalg.norm(a) for a in x.astype(np.float64)]
        votes = [y[i] for i in sorted(range(len(x)), key=far.__getitem__)[:k]]
        most = max(votes.count(c) for c in votes)
        found.append(next(c for c in votes if votes.count(c) == most))
    return found


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 2, 5, 60])
def test_neighbours_are_those_of_a_plain_search(k, metric):
    x, y = clouds(60, spread=10.0)
    queries, _ = clouds(30, spread=10.0, seed=1)
    found = nearest_neighbours(x, y, queries, k, metric=metric)
    assert found.tolist() == slow_neighbours(x, y, queries, k, metric)


def test_many_queries_are_answered_in_parts():
    x, y = clouds(30)
    queries, _ = clouds(2500, seed=1)
    whole = nearest_neighbours(x, y, queries)
    parts = [nearest_neighbours(x, y, queries[i : i + 100]) for i in range(0, 2500, 100)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_a_tie_goes_to_the_nearest():
    x = np.float32([[0.0], [1.0], [2.0], [3.0]])
    assert nearest_neighbours(x, [1, 0, 0, 1], np.float32([[-1.0], [1.4]]), 4).tolist() == [1, 0]


def test_questions_that_make_no_sense_are_refused():
    x, y = clouds(20)
    with pytest.raises(ValueError, match=r"queries \(20, 5\) do not fit features \(20, 6\)"):
        nearest_neighbours(x, y, x[:, :5])
    for k in (0, 21):
        with pytest.raises(ValueError, match=f"k is from 1 to 20, got {k}"):
            nearest_neighbours(x, y, x, k)
    with pytest.raises(ValueError, match="\"cosine\", not 'manhattan'"):
        nearest_neighbours(x, y, x, metric="manhattan")


# -- frozen parts in fit --------------------------------------------------------------------------


def test_a_frozen_part_stays_as_it_is_in_fit_and_the_rest_learns(trained):
    net = network()
    net.load_state_dict(trained.state_dict())
    net[6] = nn.Linear(64, 4)  # a new task
    nn.utils.fine_tune(net, 1)
    frozen, head = bits(net[:6]), bits(net[6])
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    train = DataLoader(Images(), 8, shuffle=True, seed=0)
    history = fit(net, optimizer, nn.CrossEntropyLoss(), train, epochs=4, progress=False)
    assert bits(net[:6]) == frozen, "parameters and the statistics of BatchNorm"
    assert bits(net[6]) != head
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]


def test_frozen_batchnorm_of_the_other_kind_stays_as_it_is_in_fit():
    md.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.FrozenBatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 4),
    )  # fmt: skip
    net[1].running_mean.data[...] = 0.5
    before = bits(net[1])
    optimizer = optim.SGD(net.parameters(), lr=0.01)
    fit(net, optimizer, nn.CrossEntropyLoss(), loader(), epochs=2, progress=False)
    assert bits(net[1]) == before
