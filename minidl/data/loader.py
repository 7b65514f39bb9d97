"""DataLoader: batches of a dataset, in a seeded order, made ahead of time by worker threads.

Everything random about a batch is a function of (seed, epoch, number of the batch): the order of
the samples comes from (seed, epoch), random transforms draw from a generator made of all three. So
batches are the same for any number of workers, and two counters say where a training run stands.

Workers are threads, not processes: NumPy and Pillow release the interpreter lock where they spend
their time, nothing has to be copied between processes, and a GPU in use is not disturbed by a fork.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import device as device_of
from ..backend import of
from ..backend.cuda import is_available
from ..backend.random import host_generator
from .dataset import use_batch_generator
from .prefetch import pin, prefetch

__all__ = ["DataLoader", "default_collate"]


class DataLoader:
    """Iterate over a dataset in batches; each `for` loop over it is one epoch.

    Args:
        dataset: has `len()` and `[index]`; if it has `get_batch(indices)`, that is used instead.
        batch_size: samples in a batch.
        shuffle: a new random order each epoch.
        sampler: an iterable with a length that gives the indices of an epoch; excludes `shuffle`.
        num_workers: threads that make batches ahead; 0: the caller's thread makes them.
        collate_fn: makes a batch of a list of samples; default: `default_collate`. When given,
            samples are fetched one by one.
        drop_last: leave out a last batch smaller than `batch_size`.
        generator: a NumPy generator to draw the seed from; default: the library's, which
            `minidl.manual_seed` seeds.
        seed: the seed itself, an int >= 0, instead of `generator`.
        prefetch_factor: batches that each worker may be ahead; default: 2.
        pin_memory: make batches in memory that a GPU can copy from by itself; without a GPU of no
            effect. `on("cuda")` does so anyway.
        persistent_workers: torch's; accepted so that its scripts run, and of no effect.

    Attributes:
        seed: the int that decides, with the epoch, every order and random transform. It is fixed
            when the loader is made, so seed the library before that.
        epoch: the number of the epoch under way; between epochs, of the next one.
        batch: how many batches of that epoch have been handed out.

    Raises:
        ValueError: arguments out of range or that exclude each other.

    Example:
        >>> loader = DataLoader(Digits(train=True), batch_size=64, shuffle=True, num_workers=2)
        >>> for images, labels in loader:  # CPU tensors (64, 1, 28, 28) and (64,)
        ...     ...
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Iterable[int] | None = None,
        *,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
        generator: np.random.Generator | None = None,
        seed: int | None = None,
        prefetch_factor: int | None = None,
        pin_memory: bool = False,
        persistent_workers: bool = False,
    ) -> None:
        del persistent_workers
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("prefetch_factor", 2 if prefetch_factor is None else prefetch_factor, 1),
            ("seed", 0 if seed is None else seed, 0),
        ):
            if not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f"DataLoader: {name} must be an int >= {least}, got {value!r}")
        if shuffle and sampler is not None:
            raise ValueError("DataLoader: a sampler decides the order, so shuffle must be False")
        if generator is not None and seed is not None:
            raise ValueError("DataLoader: give a generator or a seed, not both")
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = bool(shuffle)
        self.sampler = sampler
        self.num_workers = int(num_workers)
        self.collate_fn = collate_fn
        self.drop_last = bool(drop_last)
        self.prefetch_factor = 2 if prefetch_factor is None else int(prefetch_factor)
        self.pin_memory = bool(pin_memory)
        if seed is None:
            seed = int((generator or host_generator()).integers(2**63))
        self.seed = int(seed)
        self.epoch = 0
        self.batch = 0
        self._begun = False  # whether a `for` loop has taken the epoch named by `self.epoch`
        self._order: np.ndarray | None = None  # that epoch's indices, where a sampler chose them

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return self._count(self._samples())

    def _samples(self) -> int:
        return len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]

    def _count(self, samples: int) -> int:
        if self.drop_last:
            return samples // self.batch_size
        return -(-samples // self.batch_size)

    # -- one epoch -------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        return self._epoch_on(None)

    def on(self, device: Any) -> Iterator[Any]:
        """An epoch, as `for` gives it, with every tensor on `device`.

        Where that is a GPU, batches are made in pinned memory, and each is copied while the one
        before is worked on.

        Example:
            >>> for images, labels in loader.on("cuda"):
            ...     ...
        """
        return self._epoch_on(device_of(device))

    def _epoch_on(self, device: device_of | None) -> Iterator[Any]:
        pins = None if device is None or device.type == "cpu" else device
        if pins is None and self.pin_memory and is_available():
            pins = device_of("cuda")
        if self._begun:  # the loop before this one was left early: its epoch is over
            self._next_epoch()
        self._begun = True
        seed, epoch, size = self.seed, self.epoch, self.batch_size
        order = self._order
        if order is None:
            order = self._choose_order(seed, epoch)
        if self.sampler is not None:
            self._order = order

        def make(number: int) -> Any:
            batch = self._make(seed, epoch, number, order[number * size : (number + 1) * size])
            return batch if pins is None else pin(batch, pins)

        numbers = iter(range(self.batch, self._count(len(order))))
        batches: Iterator[Any] = map(make, numbers)
        if self.num_workers:
            depth = self.num_workers * self.prefetch_factor
            batches = _ahead(make, numbers, self.num_workers, depth)
        if device is not None:
            batches = prefetch(batches, device)
        return self._hand_out(epoch, batches)

    def _next_epoch(self) -> None:
        self.epoch, self.batch, self._begun, self._order = self.epoch + 1, 0, False, None

    def _choose_order(self, seed: int, epoch: int) -> np.ndarray:
        if self.sampler is not None:
            return np.array([int(i) for i in self.sampler], dtype=np.int64)
        if not self.shuffle:
            return np.arange(len(self.dataset))
        chance = np.random.SeedSequence(seed, spawn_key=(epoch,))
        return np.random.default_rng(chance).permutation(len(self.dataset))

    def _make(self, seed: int, epoch: int, number: int, indices: np.ndarray) -> Any:
        chance = np.random.SeedSequence(seed, spawn_key=(epoch, number))
        get_batch = None if self.collate_fn else getattr(self.dataset, "get_batch", None)
        try:
            with use_batch_generator(np.random.default_rng(chance)):
                if get_batch is not None:
                    return _as_tensors(get_batch(indices))
                samples = [self.dataset[i] for i in indices.tolist()]
                return (self.collate_fn or default_collate)(samples)
        except Exception as error:
            if hasattr(error, "add_note"):  # Python >= 3.11
                error.add_note(f"DataLoader: in batch {number} of epoch {epoch}, samples {indices}")
            raise

    def _hand_out(self, epoch: int, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            if self.epoch == epoch:  # else another loop has begun while this one still runs
                self.batch += 1
            yield batch
        if self.epoch == epoch:
            self._next_epoch()

    # -- where it stands -------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, so that another run can hand out just the batches that follow.

        Batches count as handed out, not as trained on: take the state between training steps. Taken
        after the last batch but inside the loop, the next loop has no batch left to give.

        Returns:
            plain ints, and under "order" the indices of an epoch under way, a list, if they came
            from a sampler, whose chance is its own; else None.
        """
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "batch": self.batch,
            "batch_size": self.batch_size,
            "samples": self._samples(),
            "shuffle": int(self.shuffle),
            "order": None if self._order is None else self._order.tolist(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict()` was taken: the next `for` loop gives what follows there.

        Raises:
            ValueError: the state is from the middle of an epoch of other data or other batches.
        """
        mine = {"batch_size": self.batch_size, "shuffle": int(self.shuffle)}
        mine["samples"] = self._samples()
        changed = [
            f"{name} {state[name]}, now {mine[name]}" for name in mine if state[name] != mine[name]
        ]
        if state["batch"] and changed:
            raise ValueError(
                f"DataLoader: cannot resume after batch {state['batch']} of epoch "
                f"{state['epoch']}: it was made with {'; '.join(changed)}"
            )
        self.seed, self.epoch, self.batch = (int(state[k]) for k in ("seed", "epoch", "batch"))
        self._order = None if state["order"] is None else np.array(state["order"], dtype=np.int64)
        self._begun = False

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.dataset!r}, batch_size={self.batch_size}, shuffle={self.shuffle}, "
            f"num_workers={self.num_workers}, drop_last={self.drop_last}, seed={self.seed})"
        )


def _ahead(
    make: Callable[[int], Any], numbers: Iterator[int], workers: int, depth: int
) -> Iterator[Any]:
    """`map(make, numbers)` in that order, made by threads, at most `depth` results ahead.

    However the consumer leaves (an error, `break`, Ctrl-C, the iterator collected as garbage), the
    `finally` runs: what is not begun is dropped, and each thread ends after its present batch. It
    does not wait for them, since garbage may be collected in one of these very threads.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="minidl-loader")
    try:
        waiting = deque(pool.submit(make, n) for n in islice(numbers, depth))
        while waiting:
            batch = waiting.popleft().result()  # raises what `make` raised, with its traceback
            waiting.extend(pool.submit(make, n) for n in islice(numbers, 1))
            yield batch
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def default_collate(samples: list[Any]) -> Any:
    """Make one batch of samples, as torch does: stack what is alike, keep the structure around it.

    Args:
        samples: a non-empty list of samples of one structure: tensors or arrays of one shape,
            numbers, strings, or tuples, lists and dicts of these.

    Returns:
        that structure with tensors (B, ...) for tensors and arrays, (B,) for numbers (ints become
        int64, floats float32), and a list for strings.

    Raises:
        ValueError: shapes or lengths that differ.
        TypeError: samples of another type, such as PIL images or None.
    """
    first = samples[0]
    if isinstance(first, (Tensor, np.ndarray)):
        shapes = list(dict.fromkeys(tuple(sample.shape) for sample in samples))
        if len(shapes) > 1:
            raise ValueError(
                f"default_collate: samples of shapes {shapes[0]} and {shapes[1]} cannot be "
                "stacked; bring them to one size, or give the DataLoader a collate_fn"
            )
        if isinstance(first, Tensor):
            rows = [sample.data for sample in samples]
            return Tensor(of(first.data).xp.stack(rows), device=first.device)
        return Tensor(np.stack(samples), device="cpu")
    if isinstance(first, (int, float, np.generic)):
        return Tensor(samples, device="cpu")
    if isinstance(first, (str, bytes)):
        return samples
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, Sequence):
        if len({len(sample) for sample in samples}) > 1:
            raise ValueError("default_collate: samples have different numbers of parts")
        parts = [default_collate(list(part)) for part in zip(*samples, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)  # type: ignore[call-arg]
    raise TypeError(
        f"default_collate: cannot make a batch of {type(first).__name__}; samples are tensors, "
        "arrays, numbers, strings, or tuples, lists and dicts of these; else give a collate_fn"
    )


def _as_tensors(batch: Any) -> Any:
    """`batch` with a CPU tensor around each array in its tuples, lists and dicts."""
    if isinstance(batch, (np.ndarray, np.generic)):
        return Tensor(batch, device="cpu")
    if isinstance(batch, Mapping):
        return {key: _as_tensors(value) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        parts = [_as_tensors(part) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch
