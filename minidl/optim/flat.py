"""Parameters laid end to end, so that an update is a few operations on one long array.

A network has dozens of parameters, most of them small; updating them one by one costs more in
calls (on a GPU: in launches) than in arithmetic. Here the parameters of a group that share dtype
and device move into one flat array, and every `p.data` becomes a view of its part. Gradients are
gathered by one concatenation, and the optimiser's state (momentum and the like) is flat, too.

With master weights, parameters in half precision have a float32 twin: the flat array that is
updated, with state in float32, and then rounded into the array that the parameters are views of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from ..autograd import Tensor, wrap
from ..backend import Array, of
from ..backend.plain.norm import wide_dtype

__all__ = ["Run", "lay_out"]

State = dict[Tensor, dict[str, Any]]


class Run:
    """Neighbours in a flat array that are updated together.

    Attributes:
        backend: has the update rules.
        params: the parameters.
        param: their values, one flat array; a change shows in the parameters.
        grad: their gradients; a copy that the update may overwrite.
        states: name -> flat array, of the state.
        age: how often they have been updated before, all the same number of times.
        places: where each parameter lies in these flat arrays.
    """

    def __init__(self, flat: Flat, first: int, stop: int, age: int, names: Sequence[str]) -> None:
        self.backend = flat.backend
        self.params = flat.params[first:stop]
        start, end = flat.bounds[first], flat.bounds[stop]
        bounds = [bound - start for bound in flat.bounds[first : stop + 1]]
        self.places = [slice(a, b) for a, b in pairwise(bounds)]
        self.param = flat.data[start:end]
        self.grad = flat.grad[start:end]
        gradients = [p.grad.data.reshape(-1) for p in self.params if p.grad is not None]
        self.backend.xp.concatenate(gradients, out=self.grad)
        self.states = {name: flat.states[name][start:end] for name in names}
        self.state_views = {name: flat.state_views[name][first:stop] for name in names}
        self.age = age


class Flat:
    """The flat arrays of parameters of one dtype and device.

    Args:
        params: the parameters.
        master_weights: whether half-precision parameters get a float32 twin.
    """

    def __init__(self, params: Sequence[Tensor], master_weights: bool = False) -> None:
        self.params = list(params)
        self.backend = of(params[0].data)
        self.bounds = [0]
        for p in self.params:
            self.bounds.append(self.bounds[-1] + p.numel())
        stored = self.backend.xp.concatenate([p.data.reshape(-1) for p in self.params])
        self.views = self._views(stored)
        self.data = stored
        self.stored: Array | None = None  # the parameters, where they are not `data` itself
        if master_weights and stored.dtype.itemsize < 4:
            self.data, self.stored = stored.astype(wide_dtype(stored.dtype)), stored
            self.masters = self._views(self.data)
            self.versions = [p._version[0] for p in self.params]
        self.grad = self.backend.xp.empty_like(self.data)
        self.states: dict[str, Array] = {}
        self.state_views: dict[str, list[Array]] = {}
        for p, view in zip(self.params, self.views, strict=True):
            p.data = view

    def _views(self, flat: Array) -> list[Array]:
        shaped = zip(pairwise(self.bounds), self.params, strict=True)
        return [flat[a:b].reshape(p.shape) for (a, b), p in shaped]

    @property
    def intact(self) -> bool:
        """Whether the parameters still live here: `p.data` may have been replaced."""
        return all(p.data is view for p, view in zip(self.params, self.views, strict=True))

    def prepare(self, names: Sequence[str], state: State) -> None:
        """Make flat arrays for the state of these names, with what `state` holds already."""
        if self.stored is not None:
            self._follow(state)
        for name in names:
            if name in self.states:
                continue
            flat = self.backend.xp.zeros_like(self.data)
            views = self._views(flat)
            for p, view in zip(self.params, views, strict=True):
                before = state[p].get(name) if p in state else None
                if before is not None:
                    index = self.backend.index_of(view)
                    view[...] = self.backend.asarray(before.data, view.dtype, index)
                    state[p][name] = wrap(view)
            self.states[name], self.state_views[name] = flat, views

    def _follow(self, state: State) -> None:
        """Take master weights from `state`, and those of parameters that others have changed."""
        for i, (p, master) in enumerate(zip(self.params, self.masters, strict=True)):
            before = state[p].get("master") if p in state else None
            if p._version[0] != self.versions[i]:
                master[...] = p.data
            elif before is not None and before.data is not master:
                index = self.backend.index_of(master)
                master[...] = self.backend.asarray(before.data, master.dtype, index)
            else:
                continue
            self.versions[i] = p._version[0]
            state[p]["master"] = wrap(master)

    def forget(self, state: State) -> None:
        """Drop the master weights of parameters that others have changed or replaced."""
        if self.stored is None:
            return
        for p, view, version in zip(self.params, self.views, self.versions, strict=True):
            if (p.data is not view or p._version[0] != version) and p in state:
                state[p].pop("master", None)

    def finish(self, state: State) -> None:
        """Round the master weights of a step into the parameters."""
        if self.stored is None:
            return
        self.stored[...] = self.data
        for i, (p, master) in enumerate(zip(self.params, self.masters, strict=True)):
            self.versions[i] = p._version[0]
            if "master" not in state[p]:
                state[p]["master"] = wrap(master)

    def runs(self, names: Sequence[str], age_of: Callable[[Tensor], int]) -> list[Run]:
        """The longest runs of neighbours that have gradients and have the same age.

        A parameter without gradient is left out altogether: no decay, no momentum, no ageing.
        """
        found: list[list[int]] = []  # first, last, age
        for i, p in enumerate(self.params):
            if p.grad is None:
                continue
            if p.grad.shape != p.shape:
                raise RuntimeError(
                    f"step: a parameter of shape {p.shape} has a gradient of shape {p.grad.shape}"
                )
            age = age_of(p)
            if found and found[-1][1] == i - 1 and found[-1][2] == age:
                found[-1][1] = i
            else:
                found.append([i, i, age])
        return [Run(self, first, last + 1, age, names) for first, last, age in found]


def lay_out(params: Sequence[Tensor], master_weights: bool = False) -> list[Flat]:
    """Flat arrays for `params`, one for each dtype and device among them."""
    kinds: dict[Any, list[Tensor]] = {}
    for p in params:
        backend = of(p.data)
        kinds.setdefault((p.dtype, backend, backend.index_of(p.data)), []).append(p)
    return [Flat(group, master_weights) for group in kinds.values()]
