"""minidl/data/loader.py: the same batches whatever the workers, and no thread left behind."""

import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections import namedtuple

import numpy as np
import pytest

import minidl as md
from minidl.data import (
    ArrayDataset,
    DataLoader,
    Dataset,
    Digits,
    Subset,
    TensorDataset,
    batch_generator,
    default_collate,
)

Point = namedtuple("Point", "x y")


class Slow(Dataset):
    """Samples that take unequal times and draw from the generator of their batch."""

    def __init__(self, count, fail_at=None):
        self.count = count
        self.fail_at = fail_at
        self.asked = []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked.append(index)
        time.sleep(0.0003 * (index * 7 % 5))
        if index == self.fail_at:
            raise KeyError(f"sample {index} is bad")
        return np.float32(index), batch_generator().random(dtype=np.float32)


def noisy(batch, rng):
    return batch + rng.standard_normal(batch.shape, dtype=np.float32)


def arrays(count=25, transform=noisy):
    images = np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1)
    return ArrayDataset(images, np.arange(count), transform)


def values(loader):
    """Everything a loop over the loader gives, as bytes."""
    return [tuple(part.data.tobytes() for part in batch) for batch in loader]


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("minidl-loader")]


def wait_for_no_threads(seconds=5.0):
    end = time.monotonic() + seconds
    while threads() and time.monotonic() < end:
        time.sleep(0.005)
    assert threads() == []


# -- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_cpu_tensors_in_order(workers):
    loader = DataLoader(arrays(7, None), 3, num_workers=workers)
    batches = list(loader)
    assert len(batches) == len(loader) == 3
    assert [labels.tolist() for _, labels in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    for images, labels in batches:
        assert isinstance(images, md.Tensor)
        assert (images.dtype, labels.dtype) == (np.float32, np.int64)
        assert (images.device, labels.device) == ("cpu", "cpu")
        assert images.shape == (len(labels), 1, 1, 1)


def test_batches_stay_on_the_cpu_when_another_device_is_in_use():
    with md.use("strict"):
        (images, labels), *_ = DataLoader(arrays(3), 3)
        (numbers, _), *_ = DataLoader(Slow(3), 3)
    assert (images.device, labels.device, numbers.device) == ("cpu", "cpu", "cpu")


@pytest.mark.parametrize(("samples", "size"), [(0, 4), (1, 4), (4, 4), (9, 4), (12, 4)])
def test_length_and_drop_last_agree_with_what_comes(samples, size):
    for drop in (False, True):
        loader = DataLoader(arrays(samples), size, shuffle=True, drop_last=drop)
        sizes = [len(labels) for _, labels in loader]
        assert len(loader) == len(sizes)
        assert sum(sizes) == (samples - samples % size if drop else samples)
        assert not drop or set(sizes) <= {size}


def test_shuffling_gives_every_sample_once_and_another_order_each_epoch():
    loader = DataLoader(arrays(50), 8, shuffle=True, seed=1)
    epochs = [np.concatenate([labels.data for _, labels in loader]).tolist() for _ in range(3)]
    assert all(sorted(order) == list(range(50)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 3


def test_the_order_comes_from_the_library_seed_a_generator_or_a_seed():
    def run(**chance):
        loader = DataLoader(arrays(), 4, shuffle=True, **chance)
        return values(loader) + values(loader)

    first = run()
    assert run() != first
    md.manual_seed(0)
    assert run() == first
    assert run(seed=7) == run(seed=7) != run(seed=8)
    assert run(generator=np.random.default_rng(7)) == run(generator=np.random.default_rng(7))
    state = md.backend.random.get_state()
    run(seed=7)
    assert md.backend.random.get_state() == state, "a seeded loader leaves the library's chance be"


@pytest.mark.parametrize("make", [arrays, lambda: Slow(25)], ids=["arrays", "samples"])
def test_batches_are_the_same_bits_for_any_number_of_workers(make):
    def run(workers, factor=2):
        loader = DataLoader(
            make(), 4, shuffle=True, seed=3, num_workers=workers, prefetch_factor=factor
        )
        return values(loader) + values(loader)

    expected = run(0)
    for workers, factor in ((1, 1), (2, 2), (5, 3)):
        assert run(workers, factor) == expected


def test_augmentation_differs_between_batches_and_epochs():
    loader = DataLoader(arrays(8, lambda b, rng: b * 0 + rng.random(dtype=np.float32)), 4, seed=0)
    drawn = [float(images.data[0, 0, 0, 0]) for _ in range(3) for images, _ in loader]
    assert len(set(drawn)) == 6


def test_a_dataset_with_get_batch_is_asked_once_a_batch():
    class Rows(Dataset):
        calls = []

        def __len__(self):
            return 6

        def get_batch(self, indices):
            self.calls.append(indices.tolist())
            return {
                "x": indices * 2,
                "name": ["a"] * len(indices),
                "pair": [indices, Point(indices, 1)],
            }

    first, second = DataLoader(Rows(), 4)
    assert Rows.calls == [[0, 1, 2, 3], [4, 5]]
    assert first["x"].tolist() == [0, 2, 4, 6]
    assert second["name"] == ["a", "a"]
    assert second["pair"][1].x.tolist() == [4, 5]


def test_a_subset_of_arrays_takes_the_fast_path_and_other_subsets_do_not():
    data = Digits(train=False)
    picked = [5, 900, 17]
    ((images, labels),) = DataLoader(Subset(data, picked), 3)
    np.testing.assert_array_equal(images.data, data.images[picked] / np.float32(255))
    assert labels.tolist() == data.labels[picked].tolist()
    ((numbers, _),) = DataLoader(Subset(Slow(10), picked[:1]), 3)
    assert numbers.tolist() == [5.0]


def test_joined_datasets_give_the_batches_of_their_parts():
    data = Digits(train=False)
    ((images, labels),) = DataLoader(data + arrays(1, None), 1, sampler=[999])
    np.testing.assert_array_equal(images.data[0], data.images[999] / np.float32(255))
    assert labels.tolist() == [data.labels[999]]
    joined = DataLoader(arrays(6) + arrays(6), 4, shuffle=True, seed=1)
    threaded = DataLoader(arrays(6) + arrays(6), 4, shuffle=True, seed=1, num_workers=2)
    assert values(joined) == values(threaded)


def test_arguments_of_torch_scripts_are_accepted():
    loader = DataLoader(
        arrays(4, None), 2, True, pin_memory=True, persistent_workers=False, prefetch_factor=None
    )
    assert sum(len(labels) for _, labels in loader) == len(loader.dataset) == 4


def test_a_collate_function_gets_the_samples_themselves():
    loader = DataLoader(TensorDataset(np.arange(4)), 2, collate_fn=lambda samples: samples)
    assert list(loader) == [[(0,), (1,)], [(2,), (3,)]]


def test_a_sampler_decides_the_order_and_the_length():
    loader = DataLoader(arrays(10), 2, sampler=[9, 3, 3])
    assert len(loader) == 2
    assert [labels.tolist() for _, labels in loader] == [[9, 3], [3]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an int >= 1, got 0"),
        ({"batch_size": None}, "batch_size must be an int >= 1, got None"),
        ({"num_workers": -1}, "num_workers must be an int >= 0"),
        ({"prefetch_factor": 0}, "prefetch_factor must be an int >= 1"),
        ({"seed": -1}, "seed must be an int >= 0"),
        ({"shuffle": True, "sampler": [0]}, "a sampler decides the order"),
        ({"seed": 1, "generator": np.random.default_rng()}, "a generator or a seed, not both"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(arrays(), **arguments)


def test_a_loader_can_be_pickled_and_shown():
    loader = DataLoader(Digits(train=False), 100, shuffle=True, seed=5)
    assert values(pickle.loads(pickle.dumps(loader))) == values(loader)
    assert repr(loader).startswith("DataLoader(Digits(train=False), batch_size=100, shuffle=True")


# -- where it stands ------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("chosen", ["order", "shuffle", "sampler"])
def test_a_resumed_loader_gives_the_same_bits_from_any_point(workers, chosen):
    def loader(seed):
        how = {"shuffle": chosen == "shuffle"}
        if chosen == "sampler":  # with chance of its own, which the loader cannot know
            how = {"sampler": np.random.default_rng().permutation(25)}
        return DataLoader(arrays(), 4, num_workers=workers, seed=seed, **how)

    full = loader(11)
    states, stream = [json.dumps(full.state_dict())], []
    for _ in range(2):
        for batch in full:
            stream.append(tuple(part.data.tobytes() for part in batch))
            states.append(json.dumps(full.state_dict()))
    for taken in range(8):  # 7 batches an epoch
        resumed = loader(99)
        resumed.load_state_dict(json.loads(states[taken]))
        if taken == 0:
            resumed.sampler = full.sampler
        assert values(resumed) == stream[taken:7]
        resumed.sampler = full.sampler
        assert values(resumed) == stream[7:]


def test_the_state_between_epochs_names_the_next_epoch():
    loader = DataLoader(arrays(), 10, seed=2)
    assert (loader.epoch, loader.batch) == (0, 0)
    for number, _ in enumerate(loader, 1):
        assert (loader.epoch, loader.batch) == (0, number)
    assert (loader.epoch, loader.batch) == (1, 0)
    state = loader.state_dict()
    assert (state["seed"], state["epoch"], state["batch"]) == (2, 1, 0)


def test_leaving_a_loop_early_ends_its_epoch_but_the_state_still_continues_it():
    loader = DataLoader(arrays(), 4, shuffle=True, seed=2)
    whole = [values(DataLoader(arrays(), 4, shuffle=True, seed=2))]
    for number, _ in enumerate(loader):
        if number == 2:
            break
    state = loader.state_dict()
    assert (state["epoch"], state["batch"]) == (0, 3)
    after = values(loader)
    assert len(after) == 7
    assert after != whole[0]
    loader.load_state_dict(state)
    assert values(loader) == whole[0][3:]
    assert values(loader) == after


def test_two_loops_at_once_are_two_epochs():
    loader = DataLoader(arrays(), 5, seed=4)
    first, second = zip(*zip(loader, loader, strict=True), strict=True)
    fresh = DataLoader(arrays(), 5, seed=4)
    assert values(first) == values(fresh)
    assert values(second) == values(fresh)


def test_resuming_in_mid_epoch_with_other_batches_is_an_error_that_names_them():
    loader = DataLoader(arrays(), 4, shuffle=True)
    next(iter(loader))
    state = loader.state_dict()
    other = DataLoader(arrays(24), 5)
    with pytest.raises(
        ValueError, match="batch_size 4, now 5; shuffle 1, now 0; samples 25, now 24"
    ):
        other.load_state_dict(state)
    other.load_state_dict({**state, "batch": 0})  # between epochs it is nobody's harm
    assert other.seed == loader.seed


# -- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_sample_comes_out_with_its_traceback_and_place(workers):
    loader = DataLoader(Slow(20, fail_at=13), 4, num_workers=workers)
    iterator = iter(loader)
    got = [next(iterator)[0].tolist() for _ in range(3)]
    with pytest.raises(KeyError, match="sample 13 is bad") as caught:
        next(iterator)
    assert got == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    text = "".join(traceback.format_exception(caught.value))
    assert 'raise KeyError(f"sample {index} is bad")' in text
    if sys.version_info >= (3, 11):
        assert "in batch 3 of epoch 0, samples [12 13 14 15]" in text
    wait_for_no_threads()


def test_threads_end_with_the_epoch():
    loader = DataLoader(Slow(20), 2, num_workers=3)
    alive = [len(threads()) for _ in loader]
    assert max(alive) == 3
    wait_for_no_threads()


def test_threads_end_when_the_loop_is_left():
    data = Slow(4000)
    for numbers, _ in DataLoader(data, 2, num_workers=3, prefetch_factor=2):
        assert numbers.tolist() == [0.0, 1.0]
        break
    wait_for_no_threads()
    assert len(data.asked) <= 2 * (3 * 2 + 1), "begun beyond what may be ahead"


def test_work_that_is_not_begun_is_dropped_when_the_loop_is_left():
    data = Slow(4000)
    iterator = iter(DataLoader(data, 20, num_workers=1, prefetch_factor=100))
    next(iterator)
    iterator.close()
    wait_for_no_threads()
    assert len(data.asked) <= 20 * 3


def test_threads_end_when_the_iterator_is_collected_as_part_of_a_cycle():
    iterator = iter(DataLoader(Slow(4000), 2, num_workers=3))
    next(iterator)
    assert threads()
    ring = [iterator]
    ring.append(ring)
    del iterator, ring
    gc.collect()
    wait_for_no_threads()


def test_no_more_is_made_ahead_than_asked_for():
    data = Slow(4000)
    iterator = iter(DataLoader(data, 1, num_workers=2, prefetch_factor=3))
    next(iterator)
    time.sleep(0.1)
    assert len(data.asked) <= 1 + 2 * 3
    iterator.close()
    wait_for_no_threads()


SCRIPT = """
    import sys, threading, time
    from minidl.data import DataLoader, Dataset

    class Endless(Dataset):
        def __len__(self):
            return 10**6

        def __getitem__(self, index):
            time.sleep(0.01)
            return index

    iterator = iter(DataLoader(Endless(), 2, num_workers=2))
    next(iterator)
    print("ready", flush=True)
    {then}
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT, which POSIX systems have")
def test_ctrl_c_ends_a_program_at_once():
    script = textwrap.dedent(SCRIPT.format(then="for _ in iterator: pass"))
    program = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell has what it runs in the background ignore the signal, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert program.stdout.readline() == "ready\n"
    time.sleep(0.1)
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=10)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert program.returncode != 0


def test_a_program_that_ends_in_mid_epoch_ends():
    script = textwrap.dedent(SCRIPT.format(then=""))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")


# -- collating ------------------------------------------------------------------------------------


def test_collating_keeps_the_structure_and_stacks_the_leaves():
    samples = [
        {"image": np.full((2, 3), i, np.float32), "label": i, "box": (float(i), [True, "name"])}
        for i in range(4)
    ]
    batch = default_collate(samples)
    assert batch["image"].shape == (4, 2, 3)
    assert batch["image"].dtype == np.float32
    assert batch["label"].tolist() == [0, 1, 2, 3]
    assert batch["label"].dtype == np.int64
    number, (flag, name) = batch["box"]
    assert (number.dtype, number.tolist()) == (np.float32, [0.0, 1.0, 2.0, 3.0])
    assert flag.dtype == np.bool_
    assert name == ["name"] * 4
    point = default_collate([Point(1, md.tensor([1.0])), Point(2, md.tensor([5.0]))])
    assert isinstance(point, Point)
    assert point.x.tolist() == [1, 2]
    assert point.y.tolist() == [[1.0], [5.0]]


def test_collating_leaves_tensors_on_their_device():
    batch = default_collate([md.Tensor(np.float32([i]), device="strict") for i in range(2)])
    assert batch.device == "strict"


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, np.uint8, np.int64, np.bool_]
)
def test_collating_keeps_the_dtype_of_arrays(dtype):
    assert default_collate([np.zeros(2, dtype), np.ones(2, dtype)]).dtype == dtype


def test_collating_agrees_with_torch():
    torch = pytest.importorskip("torch")
    samples = [(np.full(3, i, np.float32), i, "s", {"k": bool(i % 2)}) for i in range(5)]
    theirs = torch.utils.data.default_collate(samples)
    ours = default_collate(samples)
    np.testing.assert_array_equal(ours[0].data, theirs[0].numpy())
    np.testing.assert_array_equal(ours[1].data, theirs[1].numpy())
    assert tuple(ours[2]) == tuple(theirs[2])
    np.testing.assert_array_equal(ours[3]["k"].data, theirs[3]["k"].numpy())
    assert ours[1].data.dtype == theirs[1].numpy().dtype


def test_what_cannot_be_collated_is_named():
    with pytest.raises(ValueError, match=r"shapes \(3, 4\) and \(3, 5\) cannot be stacked"):
        default_collate([np.zeros((3, 4)), np.zeros((3, 5))])
    with pytest.raises(ValueError, match="different numbers of parts"):
        default_collate([(1, 2), (1,)])
    with pytest.raises(TypeError, match="cannot make a batch of NoneType"):
        default_collate([None])
