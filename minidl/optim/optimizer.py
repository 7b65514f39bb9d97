"""Optimizer: the base of all update rules, with torch.optim's groups, options and state_dict."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..autograd import Tensor, enable_grad, wrap
from ..backend import of, quietly
from ..backend.plain.norm import wide_dtype
from .flat import Flat, Run, lay_out

__all__ = ["Optimizer"]


class Optimizer:
    """Holds parameters in groups and updates them from their gradients.

    A rule derives from it, names its state in `_states` and calls its kernel in `_update`.

    Args:
        params: tensors, or dictionaries {"params": tensors, option: value ...}, one for each group.
        defaults: the options of a group that does not set them itself.

    Attributes:
        param_groups: one dictionary for each group; its options may be changed at any time.
        state: parameter -> what the rule remembers about it.
        master_weights: set to True before the first step, parameters in half precision are updated
            in float32 copies, which are kept in `state`, too; an update too small for 16 bits is
            not lost. Parameters in float32 under `autocast` do not need it.

    Raises:
        ValueError: no parameters, or one that is in two groups.
        TypeError: something that is not a tensor, or a set, whose order is not defined.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(f"{self._name}: params is one tensor; pass a list of tensors")
        if hasattr(params, "parameters"):
            raise TypeError(
                f"{self._name}: params is a {type(params).__name__}; pass its .parameters()"
            )
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self.steps_taken = 0
        self._flat: dict[int, list[Flat]] = {}  # number of a group -> where its parameters live
        groups = list(params)
        if not groups:
            raise ValueError(f"{self._name}: there are no parameters to train")
        if not isinstance(groups[0], Mapping):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    # -- to be written by a rule ------------------------------------------------------------------

    def _states(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The names of the arrays that the rule keeps for each parameter of a group."""
        raise NotImplementedError(f"{self._name}._states is not written")

    def _update(self, run: Run, group: dict[str, Any]) -> None:
        """Change the parameters and states of a run."""
        raise NotImplementedError(f"{self._name}._update is not written")

    def _age(self, p: Tensor) -> int:
        """How often a parameter has been updated."""
        return self.state[p].get("step", 0) if p in self.state else 0

    def _check(self, group: dict[str, Any]) -> None:
        """Refuse options that make no sense."""
        for option in ("lr", "weight_decay", "eps"):
            if option in group and not float(group[option]) >= 0.0:
                raise ValueError(
                    f"{self._name}: {option} must not be negative, got {group[option]}"
                )

    master_weights = False
    _counts_steps = True  # whether the state of a parameter has its number of updates, "step"

    # -- groups -----------------------------------------------------------------------------------

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own: {"params": tensors, "lr": 0.01 ...}."""
        group = dict(param_group)
        params = group["params"]
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"{self._name}: a set of parameters has no fixed order; pass a list")
        params = [params] if isinstance(params, Tensor) else list(params)
        known = {id(p) for other in self.param_groups for p in other["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{self._name}: can train tensors, not a {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(
                    f"{self._name}: can train leaf tensors, not the result of {p.grad_fn}"
                )
            if not p.is_floating_point():
                raise ValueError(f"{self._name}: can train floating-point tensors, not {p.dtype}")
            if id(p) in known:
                raise ValueError(f"{self._name}: a parameter of shape {p.shape} is listed twice")
            known.add(id(p))
        for option in set(group) - set(self.defaults) - {"params"}:
            meant = difflib.get_close_matches(option, self.defaults, cutoff=0.85)
            if meant:  # other keys are the user's own notes
                raise ValueError(f"{self._name}: unknown option {option!r}; is {meant[0]!r} meant?")
        group = {
            "params": params,
            **self.defaults,
            **{k: v for k, v in group.items() if k != "params"},
        }
        self._check(group)
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, or (`set_to_none=False`) fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    p.grad = wrap(of(p.data).xp.zeros_like(p.data))

    # -- the update -------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: computes the loss and its gradients again; called first.

        Returns:
            what `closure` returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for number, group in enumerate(self.param_groups):
            names = self._states(group)
            for flat in self._laid_out(number, group["params"]):
                flat.prepare(names, self.state)
                for run in flat.runs(names, self._age):
                    quietly(self._update, run, group)
                    self._note(run)
                flat.finish(self.state)
        self.steps_taken += 1
        return loss

    def _laid_out(self, number: int, params: list[Tensor]) -> list[Flat]:
        """The flat arrays of a group, made anew if a parameter was added or its array replaced."""
        flats = self._flat.get(number)
        if (
            flats is None
            or sum(len(flat.params) for flat in flats) != len(params)
            or not all(flat.intact for flat in flats)
        ):
            for flat in flats or []:
                flat.forget(self.state)
            flats = self._flat[number] = lay_out(params, self.master_weights)
        return flats

    def _note(self, run: Run) -> None:
        """Record an update in `state` and in the versions of the parameters."""
        for i, p in enumerate(run.params):
            p.bump_version()
            entries = self.state[p] if self._counts_steps or run.states else {}
            if self._counts_steps:
                entries["step"] = run.age + 1
            for name, views in run.state_views.items():
                if name not in entries:
                    entries[name] = wrap(views[i])

    # -- state ------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state and the options, in torch's layout: parameters are numbers, in order.

        Returns:
            {"state": {number: {name: tensor}}, "param_groups": [{option: value ..., "params":
            numbers}]}; the tensors share the optimiser's memory.
        """
        numbers = {id(p): i for i, p in enumerate(self._params())}
        state = {
            numbers[id(p)]: {name: _packed(value) for name, value in entries.items()}
            for p, entries in self.state.items()
            if entries
        }
        groups = [
            {**group, "params": [numbers[id(p)] for p in group["params"]]}
            for group in self.param_groups
        ]
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`; nothing is changed if it does not fit.

        Raises:
            ValueError: other groups, other numbers of parameters, state of other names or shapes.
        """
        saved_groups = state_dict["param_groups"]
        here = [len(group["params"]) for group in self.param_groups]
        there = [len(group["params"]) for group in saved_groups]
        if here != there:
            raise ValueError(
                f"{self._name}.load_state_dict: the state has groups of {there} parameters, "
                f"the optimiser has groups of {here}"
            )
        params = dict(
            zip((n for group in saved_groups for n in group["params"]), self._params(), strict=True)
        )
        groups = [
            {**self.defaults, **saved, "params": group["params"]}
            for saved, group in zip(saved_groups, self.param_groups, strict=True)
        ]
        known = {n for group in groups for n in self._states(group)} | {"step"}
        known |= {"master"} if self.master_weights else set()
        state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, entries in state_dict["state"].items():
            p = params[number]
            for name, value in entries.items():
                if name not in known:
                    raise ValueError(
                        f"{self._name}.load_state_dict: unknown state {name!r} of parameter "
                        f"{number}; this optimiser has {sorted(known)}"
                    )
                if value is None:
                    continue
                if name == "step":
                    state[p]["step"] = int(_host(value))
                    continue
                array = value.data if isinstance(value, Tensor) else np.asarray(value)
                if tuple(array.shape) != p.shape:
                    raise ValueError(
                        f"{self._name}.load_state_dict: {name} of parameter {number} has shape "
                        f"{tuple(array.shape)}, the parameter has {p.shape}"
                    )
                backend = of(p.data)
                dtype = wide_dtype(p.dtype) if self.master_weights else p.dtype
                copied = backend.asarray(array, dtype, backend.index_of(p.data)).copy()
                state[p][name] = wrap(copied)
        self.state = state
        self.param_groups = groups
        self._flat = {}

    def _params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def __getstate__(self) -> dict[str, Any]:
        # A copy has arrays of its own, which are laid out anew at its first step.
        return {**self.__dict__, "_flat": {}}

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def _packed(value: Any) -> Any:
    """A value of the state as a tensor: the count of steps becomes a float32, as in torch."""
    if isinstance(value, Tensor):
        return value.detach()
    return wrap(np.asarray(value, np.float32))


def _host(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
