"""minidl/data/dataset.py: data sets have torch's behaviour, and a fast path that agrees with it."""

import threading

import numpy as np
import pytest

import minidl as md
from minidl.data import (
    ArrayDataset,
    ConcatDataset,
    Dataset,
    Subset,
    TensorDataset,
    batch_generator,
    random_split,
)
from minidl.data.dataset import use_batch_generator


class Squares(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        return index**2


def test_a_dataset_that_defines_nothing_says_what_is_missing():
    with pytest.raises(NotImplementedError, match="Dataset does not define __getitem__"):
        Dataset()[0]
    with pytest.raises(TypeError, match="len"):
        len(Dataset())


def test_a_dataset_is_iterated_by_its_indices():
    assert list(Squares(4)) == [0, 1, 4, 9]


def test_tensor_dataset_gives_tuples_of_rows_of_tensors_and_arrays():
    x, y = md.tensor(np.arange(12.0, dtype=np.float32).reshape(4, 3)), np.array([5, 6, 7, 8])
    data = TensorDataset(x, y)
    assert len(data) == 4
    images, labels = data.get_batch(np.array([3, 0, 3]))
    np.testing.assert_array_equal(images.data, x.data[[3, 0, 3]])
    np.testing.assert_array_equal(labels, [8, 5, 8])
    assert TensorDataset(x.data, y)[2][1] == 7
    np.testing.assert_array_equal(TensorDataset(x.data, y)[2][0], [6, 7, 8])


def test_tensor_dataset_takes_batches_where_its_tensors_are():
    x = md.Tensor(np.arange(6.0, dtype=np.float32), device="strict")
    (batch,) = TensorDataset(x).get_batch(np.array([4, 1]))
    assert batch.device == "strict"
    assert batch.tolist() == [4.0, 1.0]


@pytest.mark.parametrize("tensors", [(), (np.zeros(3), np.zeros(4)), (np.float32(1),)])
def test_tensor_dataset_refuses_lengths_that_differ(tensors):
    with pytest.raises(ValueError, match="TensorDataset: needs at least one tensor, all of one"):
        TensorDataset(*tensors)


def test_array_dataset_gives_float32_in_0_to_1_and_int64_labels():
    images = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    data = ArrayDataset(images, np.array([1, 0], dtype=np.uint8), classes=["a", "b"])
    batch, labels = data.get_batch(np.array([1, 0]))
    assert (batch.dtype, labels.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(batch, images[::-1].astype(np.float32) / np.float32(255))
    image, label = data[1]
    assert image.shape == (3, 4, 5)
    assert (label, type(label)) == (0, int)
    np.testing.assert_array_equal(image.data, batch[0])
    np.testing.assert_array_equal(data[-1][0].data, batch[0])
    with pytest.raises(IndexError):
        data[2]


def test_array_dataset_hands_the_transform_a_batch_and_the_generator_of_the_batch():
    seen = []

    def transform(batch, rng):
        seen.append((batch.shape, batch.dtype, rng))
        return batch + rng.standard_normal(batch.shape, dtype=np.float32)

    images = np.ones((5, 1, 2, 2), np.float32)
    data = ArrayDataset(images, np.zeros(5, int), transform)
    generator = np.random.default_rng(3)
    with use_batch_generator(generator):
        data.get_batch(np.arange(4))
    assert seen == [((4, 1, 2, 2), np.float32, generator)]
    assert data[0][0].shape == (1, 2, 2)
    assert seen[1][2] is md.backend.random.host_generator()
    assert (images == 1).all()


@pytest.mark.parametrize(
    ("images", "labels"), [((3, 4, 5), (3,)), ((3, 1, 4, 5), (4,)), ((3, 1, 4, 5), (3, 1))]
)
def test_array_dataset_refuses_shapes_that_do_not_fit(images, labels):
    with pytest.raises(ValueError, match=r"ArrayDataset: needs images \(N, C, H, W\)"):
        ArrayDataset(np.zeros(images), np.zeros(labels, int))


def test_a_subset_has_the_chosen_samples_in_the_given_order():
    part = Subset(Squares(10), [7, 2, 2])
    assert len(part) == 3
    assert [part[i] for i in range(3)] == [49, 4, 4]
    assert part[-1] == 4
    assert part.get_batch is None
    with pytest.raises(IndexError):
        part[3]


def test_a_subset_keeps_the_fast_path_of_the_dataset_below():
    data = TensorDataset(np.arange(10) * 10)
    part = Subset(Subset(data, range(2, 9)), [5, 0, 3])
    (batch,) = part.get_batch(np.array([0, 2]))
    assert batch.tolist() == [70, 50]


def test_a_subset_refuses_a_mask():
    with pytest.raises(TypeError, match="Subset: indices must be a sequence of integers, got bool"):
        Subset(Squares(2), np.array([True, False]))


def test_concatenated_datasets_follow_each_other():
    data = Squares(3) + Squares(0) + Squares(4)
    assert len(data) == 7
    assert list(data) == [0, 1, 4, 0, 1, 4, 9]
    assert data[-1] == 9
    assert data[-7] == 0
    assert ConcatDataset([Squares(3), Squares(4)]).cumulative_sizes == [3, 7]
    for index in (7, -8):
        with pytest.raises(IndexError, match="out of range, length 7"):
            data[index]
    with pytest.raises(ValueError, match="at least one dataset"):
        ConcatDataset([])


def test_random_split_makes_parts_that_cover_everything_once():
    parts = random_split(Squares(100), [70, 20, 10])
    assert [len(p) for p in parts] == [70, 20, 10]
    everything = np.concatenate([p.indices for p in parts])
    assert sorted(everything) == list(range(100))
    assert everything.tolist() != list(range(100))


def test_random_split_follows_the_seed_and_the_generator():
    def split(generator=None):
        return [p.indices.tolist() for p in random_split(Squares(20), [12, 8], generator)]

    first = split()
    assert split() != first
    md.manual_seed(0)
    assert split() == first
    assert split(np.random.default_rng(5)) == split(np.random.default_rng(5))


@pytest.mark.parametrize(
    ("total", "fractions"),
    [
        (10, [0.5, 0.5]),
        (11, [0.5, 0.5]),
        (10, [0.35, 0.35, 0.3]),
        (7, [1 / 3] * 3),
        (103, [0.9, 0.1]),
    ],
)
def test_random_split_rounds_fractions_as_torch_does(total, fractions):
    torch = pytest.importorskip("torch")
    theirs = torch.utils.data.random_split(range(total), fractions)
    ours = random_split(Squares(total), fractions)
    assert [len(p) for p in ours] == [len(p) for p in theirs]


@pytest.mark.parametrize("lengths", [[5, 4], [12, -2], [0.5, 0.4], [1.5, -0.5], []])
def test_random_split_refuses_sizes_that_do_not_sum_up(lengths):
    with pytest.raises(ValueError, match="random_split"):
        random_split(Squares(10), lengths)


def test_the_generator_of_a_batch_belongs_to_one_thread_and_one_block():
    outer, inner = np.random.default_rng(1), np.random.default_rng(2)
    elsewhere = []
    with use_batch_generator(outer):
        with use_batch_generator(inner):
            assert batch_generator() is inner
        assert batch_generator() is outer
        thread = threading.Thread(target=lambda: elsewhere.append(batch_generator()))
        thread.start()
        thread.join()
    assert elsewhere == [md.backend.random.host_generator()]
    assert batch_generator() is md.backend.random.host_generator()
