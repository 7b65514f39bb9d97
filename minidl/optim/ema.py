"""Exponential moving averages of a model's weights (Polyak and Juditsky 1992), to evaluate with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..autograd import Tensor, wrap
from ..backend import of

__all__ = ["EMA"]


class EMA:
    """average <- decay average + (1 - decay) weight, after each step of the optimiser.

    Floating-point buffers (running statistics) are averaged like weights, other buffers copied.

    Args:
        model: a module.
        decay: how much of the average is kept each time.
        warmup: with (1 + t) / (10 + t) in place of `decay` while that is less, so that the random
            weights of the start are soon forgotten (t: the number of updates so far).

    Example:
        >>> ema = EMA(model, decay=0.999)
        >>> for images, labels in loader:
        ...     ...
        ...     optimizer.step()
        ...     ema.update()
        >>> with ema.averages():
        ...     evaluate(model)
    """

    def __init__(self, model: Any, decay: float = 0.999, warmup: bool = False) -> None:
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"EMA: decay must be in [0, 1], got {decay}")
        self.model = model
        self.decay = decay
        self.warmup = warmup
        self.updates = 0
        self.swapped = False
        self.average = {name: wrap(x.data.copy()) for name, x in self._tensors()}

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.named_parameters()
        yield from self.model.named_buffers()

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(average, tensor of the model), the average on the model's device."""
        for name, x in self._tensors():
            mean = self.average[name]
            backend, index = of(x.data), of(x.data).index_of(x.data)
            mean.data = backend.asarray(mean.data, x.dtype, index)
            yield mean, x

    def update(self) -> None:
        """Take in the model's present weights.

        Raises:
            RuntimeError: the averages are in the model: swap back first.
        """
        if self.swapped:
            raise RuntimeError("EMA.update: the model holds the averages; call swap() first")
        decay = self.decay
        if self.warmup:
            decay = min(decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for mean, x in self._pairs():
            if x.is_floating_point():
                mean.data += (1.0 - decay) * (x.data - mean.data)
            else:
                mean.data[...] = x.data

    def swap(self) -> None:
        """Exchange the model's values and the averages; a second call undoes the first."""
        for mean, x in self._pairs():
            values = x.data.copy()
            x.data[...] = mean.data
            x.bump_version()
            mean.data[...] = values
        self.swapped = not self.swapped

    @contextmanager
    def averages(self) -> Iterator[Any]:
        """The model with the averages, within a `with` block."""
        self.swap()
        try:
            yield self.model
        finally:
            self.swap()

    def state_dict(self) -> dict[str, Any]:
        """{"updates": number, "average": {path: tensor}}; the tensors share the averages' memory.

        Raises:
            RuntimeError: the averages are in the model: swap back first.
        """
        if self.swapped:
            raise RuntimeError("EMA.state_dict: the model holds the averages; call swap() first")
        average = {name: mean.detach() for name, mean in self.average.items()}
        return {"updates": self.updates, "average": average}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`.

        Raises:
            ValueError: paths or shapes that are not the model's; nothing is changed then.
        """
        saved = state_dict["average"]
        if set(saved) != set(self.average):
            wrong = sorted(set(saved) ^ set(self.average))
            raise ValueError(f"EMA.load_state_dict: paths in only one of state and model: {wrong}")
        new = {}
        for name, mean in self.average.items():
            array = saved[name].data if isinstance(saved[name], Tensor) else saved[name]
            if tuple(array.shape) != mean.shape:
                raise ValueError(
                    f"EMA.load_state_dict: {name} has shape {tuple(array.shape)} in the state, "
                    f"{mean.shape} in the model"
                )
            backend, index = of(mean.data), of(mean.data).index_of(mean.data)
            new[name] = wrap(backend.asarray(array, mean.dtype, index).copy())
        self.average = new
        self.updates = int(state_dict["updates"])
