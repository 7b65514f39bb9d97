"""A batch as the training loop sees it: what goes into the model, and what its output is held to.

    (input, target)                 model(input)
    (input, another, ..., target)   model(input, another, ...)
    ({"a": a, "b": b}, target)      model(a=a, b=b)
    {"a": a, "b": b, "target": t}   model(a=a, b=b)

The criterion and the metrics are called with (output, target). Each part is a tensor, or tuples,
lists and dicts of tensors; in it, a list has an entry for each sample, as a detector's images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..autograd import Tensor
from ..data.prefetch import mapped

__all__ = ["Batch", "batches_on"]


def batches_on(loader: Any, device: Any) -> Iterator[Batch]:
    """The batches of an epoch on a device; from a DataLoader, copied there ahead of time."""
    for given in loader.on(device) if hasattr(loader, "on") else loader:
        yield Batch.of(given, device)


@dataclass(frozen=True)
class Batch:
    """A batch on the device where it is used.

    Attributes:
        args, kwargs: what the model is called with.
        target: what its output is held to.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: Any

    @classmethod
    def of(cls, batch: Any, device: Any) -> Batch:
        """Take apart what a loader gives, and move it to `device`.

        Raises:
            TypeError: it is neither of the above.
        """
        if isinstance(batch, Mapping) and "target" in batch:
            inputs: tuple[Any, ...] = ({k: v for k, v in batch.items() if k != "target"},)
            target = batch["target"]
        elif isinstance(batch, (tuple, list)) and len(batch) > 1:
            *parts, target = batch
            inputs = tuple(parts)
        else:
            got = type(batch).__name__
            if isinstance(batch, (tuple, list, Mapping)):
                names = ", ".join(map(str, batch)) if isinstance(batch, Mapping) else len(batch)
                got = f"{got} of {names}"
            raise TypeError(
                f"a batch is (input, ..., target) or a dict with a 'target', not a {got}; the "
                "loader's dataset or collate_fn decides that"
            )
        inputs, target = mapped(lambda x: x.to(device), (inputs, target))
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            return cls((), dict(inputs[0]), target)
        return cls(inputs, {}, target)

    def through(self, model: Any) -> Any:
        """The model's output."""
        return model(*self.args, **self.kwargs)

    @property
    def count(self) -> int:
        """How many samples there are."""
        for part in (self.target, *self.args, *self.kwargs.values()):
            length = _length(part)
            if length is not None:
                return length
        raise TypeError("this batch holds no tensor, so its number of samples is unknown")

    def tensors(self) -> dict[str, Tensor]:
        """Everything in it by name: "input", "target", "input 2", "target.masks" ..."""
        found: dict[str, Tensor] = {}
        for number, part in enumerate(self.args, 1):
            _name("input" if number == 1 else f"input {number}", part, found)
        for name, part in self.kwargs.items():
            _name(f"input {name}", part, found)
        _name("target", self.target, found)
        return found


def _length(part: Any) -> int | None:
    if isinstance(part, Tensor):
        return int(part.shape[0]) if part.ndim else None
    if isinstance(part, list):
        return len(part)
    values = part.values() if isinstance(part, Mapping) else part
    if isinstance(part, (tuple, Mapping)):
        return next((n for n in map(_length, values) if n is not None), None)
    return None


def _name(name: str, part: Any, found: dict[str, Tensor]) -> None:
    if isinstance(part, Tensor):
        found[name] = part
    elif isinstance(part, Mapping):
        for key, value in part.items():
            _name(f"{name}.{key}", value, found)
    elif isinstance(part, (tuple, list)):
        for number, value in enumerate(part):
            _name(f"{name}[{number}]", value, found)
