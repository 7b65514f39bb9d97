"""Batches on a device, copied there while the batch before is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..autograd import Tensor, wrap
from ..backend import by_name, of
from ..backend import device as device_of

__all__ = ["mapped", "pin", "prefetch"]


def mapped(function: Callable[[Tensor], Any], batch: Any) -> Any:
    """`batch` with `function` of each tensor in its tuples, lists and dicts."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: mapped(function, value) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        parts = [mapped(function, part) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def pin(batch: Any, device: Any = "cuda") -> Any:
    """`batch` with its CPU tensors in memory that `device` can copy from by itself."""
    return mapped(lambda x: x.pin_memory(device) if of(x.data).name == "cpu" else x, batch)


def prefetch(batches: Iterator[Any], device: Any, ahead: int = 1) -> Iterator[Any]:
    """`batches` with their tensors on `device`; those that follow are on their way.

    Args:
        batches: tensors, or tuples, lists and dicts of them.
        device: where to; on the CPU nothing is fetched ahead.
        ahead: how many batches are under way while one is worked on.
    """
    target = device_of(device)
    if target.type == "cpu":
        yield from (mapped(lambda x: x.to(target), batch) for batch in batches)
        return
    backend = by_name(target)

    def send(x: Tensor) -> Any:
        if of(x.data).name == "cpu":
            return _OnItsWay(backend.send(x.data, target.index))
        return x.to(target)

    waiting: deque[Any] = deque()
    try:
        for batch in batches:
            waiting.append(mapped(send, batch))
            if len(waiting) > ahead:
                yield _received(waiting.popleft())
        while waiting:
            yield _received(waiting.popleft())
    finally:
        while waiting:  # the loop was left: memory may be given back only where it has arrived
            _received(waiting.popleft())


class _OnItsWay:
    def __init__(self, sent: Any) -> None:
        self.sent = sent


def _received(batch: Any) -> Any:
    if isinstance(batch, _OnItsWay):
        return wrap(batch.sent.receive())
    if isinstance(batch, Mapping):
        return {key: _received(value) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        parts = [_received(part) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch
