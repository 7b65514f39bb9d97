"""Mixed images have labels mixed in the same proportion."""

import numpy as np
import pytest

import minidl as md
from minidl.data import ArrayDataset, DataLoader
from minidl.data.transforms import CutMix, Mixed, MixUp, RandomChoice


def rng(seed=5):
    return np.random.default_rng(seed)


def batch(count=12, classes=4, size=(7, 10)):
    images = rng(0).random((count, 3, *size)).astype(np.float32)
    return images, np.arange(count) % classes


def test_mixup_is_a_weighted_mean_of_two_images_and_of_their_labels():
    images, labels = batch()
    mixed, targets = MixUp(alpha=0.7, num_classes=4)(images, labels, rng())
    chance = rng()
    share, order = chance.beta(0.7, 0.7), chance.permutation(12)
    hot = np.eye(4)[labels]
    for i, partner in enumerate(order):
        image = share * images[i].astype(float) + (1 - share) * images[partner].astype(float)
        np.testing.assert_allclose(mixed[i], image, rtol=0, atol=1e-6)
        target = share * hot[i] + (1 - share) * hot[partner]
        np.testing.assert_allclose(targets[i], target, rtol=0, atol=1e-6)
    assert mixed.dtype == targets.dtype == np.float32


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_is_a_rectangle_of_another_image_and_its_share_of_the_label(seed):
    images, labels = batch()
    images = images + 1.0
    mixed, targets = CutMix(num_classes=4)(images, labels, rng(seed))
    chance = rng(seed)
    chance.beta(1.0, 1.0)
    order = chance.permutation(12)
    shares = set()
    for i, partner in enumerate(order):
        theirs = (mixed[i] != images[i]).any(axis=0)
        np.testing.assert_array_equal(mixed[i], np.where(theirs, images[partner], images[i]))
        if partner != i:
            rows, columns = theirs.any(axis=1), theirs.any(axis=0)
            assert (theirs == rows[:, None] & columns).all()
            share = 1 - theirs.mean()
            shares.add(round(share, 9))
            target = share * np.eye(4)[labels[i]] + (1 - share) * np.eye(4)[labels[partner]]
            np.testing.assert_allclose(targets[i], target, rtol=0, atol=1e-6)
    assert len(shares) == 1, "one rectangle for the whole batch"


def test_a_small_alpha_leaves_most_images_almost_alone():
    images, labels = batch()
    largest = [
        np.sort(MixUp(alpha=0.1, num_classes=4)(images, labels, rng(s))[1])[:, -1].min()
        for s in range(200)
    ]
    assert np.mean(np.array(largest) > 0.95) > 0.5
    assert np.min(largest) < 0.6


def test_labels_may_be_probabilities_already():
    images, labels = batch()
    soft = np.eye(4, dtype=np.float32)[labels]
    for mix in (MixUp(num_classes=4), CutMix(num_classes=4)):
        first, second = mix(images, labels, rng()), mix(images, soft, rng())
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("mix", [MixUp(num_classes=4), CutMix(num_classes=4)], ids=repr)
def test_the_dtype_stays_and_the_input_too(mix, dtype):
    images, labels = batch()
    images = images.astype(dtype)
    images.setflags(write=False)
    labels.setflags(write=False)
    mixed, targets = mix(images, labels, rng())
    assert mixed.dtype == dtype
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, rtol=0, atol=1e-6)
    empty, none = mix(images[:0], labels[:0], rng())
    assert (empty.shape, none.shape) == ((0, 3, 7, 10), (0, 4))


def test_of_several_mixes_each_takes_its_turn():
    images, labels = batch()
    first, second = MixUp(num_classes=4), CutMix(num_classes=4)
    choice = RandomChoice([first, second])
    turns = []
    for seed in range(40):
        found = choice(images, labels, rng(seed))[0]
        chance = rng(seed)
        turn = int(chance.integers(2))
        np.testing.assert_array_equal(found, (first, second)[turn](images, labels, chance)[0])
        turns.append(turn)
    assert 10 < sum(turns) < 30
    assert repr(choice) == (
        "RandomChoice([MixUp(alpha=1.0, num_classes=4), CutMix(alpha=1.0, num_classes=4)])"
    )


def loaders(workers):
    images, labels = batch(50)
    data = Mixed(ArrayDataset(images, labels), MixUp(num_classes=4))
    return DataLoader(data, 8, shuffle=True, seed=3, num_workers=workers)


def test_batches_are_the_same_for_any_number_of_workers_and_after_resuming():
    alone = [(x.data, y.data) for loader in [loaders(0)] for _ in range(2) for x, y in loader]
    several = [(x.data, y.data) for loader in [loaders(3)] for _ in range(2) for x, y in loader]
    assert len(alone) == 14
    for (x, y), (other, target) in zip(alone, several, strict=True):
        np.testing.assert_array_equal(x, other)
        np.testing.assert_array_equal(y, target)
    first = loaders(2)
    begun = iter(first)
    for _ in range(3):
        next(begun)
    state = first.state_dict()
    again = loaders(0)
    again.load_state_dict(state)
    for (x, y), (other, target) in zip(alone[3:7], again, strict=True):
        np.testing.assert_array_equal(x, other.data)
        np.testing.assert_array_equal(y, target.data)


def test_the_samples_of_a_mixed_data_set_are_those_below():
    images, labels = batch()
    data = Mixed(ArrayDataset(images, labels), MixUp(num_classes=4))
    assert len(data) == 12
    image, label = data[5]
    np.testing.assert_array_equal(image.data, images[5])
    assert label == labels[5]


def test_the_loss_of_a_mixed_label_is_the_mean_of_the_losses():
    _, labels = batch()
    _, targets = MixUp(num_classes=4)(*batch(), rng())
    scores = md.Tensor(rng(1).standard_normal((12, 4)).astype(np.float32))
    chance = rng()
    share, order = float(chance.beta(1, 1)), chance.permutation(12)
    loss = md.nn.functional.cross_entropy(scores, md.Tensor(targets)).item()
    first = md.nn.functional.cross_entropy(scores, md.Tensor(labels)).item()
    second = md.nn.functional.cross_entropy(scores, md.Tensor(labels[order])).item()
    assert loss == pytest.approx(share * first + (1 - share) * second, rel=1e-5)


def test_what_cannot_be_mixed_is_refused():
    images, labels = batch()
    mix = MixUp(num_classes=4)
    with pytest.raises(ValueError, match="alpha must be above 0"):
        CutMix(alpha=0.0, num_classes=4)
    with pytest.raises(TypeError, match="MixUp: needs images of floats, got uint8"):
        mix(images.astype(np.uint8), labels)
    with pytest.raises(ValueError, match=r"\(12, 3, 7, 10\) and \(5,\)"):
        mix(images, labels[:5])
    with pytest.raises(ValueError, match="labels from 0 to 3 with 3 classes"):
        MixUp(num_classes=3)(images, labels)
    with pytest.raises(TypeError, match=r"integers \(N,\) or probabilities \(N, 4\)"):
        mix(images, labels.astype(np.float32))
    with pytest.raises(TypeError, match="list has no get_batch"):
        Mixed([1, 2], mix)
