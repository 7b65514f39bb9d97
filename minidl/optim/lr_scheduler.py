"""Learning-rate schedules, with the names, arguments and sequences of torch.optim.lr_scheduler.

A schedule sets `group["lr"]` of every group when it is made and at each `step()`, to be called
after the optimiser's. Most multiply the present rate, so that several can act on one optimiser.

Warm-up: `ConstantLR` holds a fraction of the rate for a while, `LinearLR` raises it gradually
(Goyal et al. 2017, section 2.2); `SequentialLR` then hands over:

    warm = LinearLR(optimizer, start_factor=0.1, total_iters=5)
    rest = CosineAnnealingLR(optimizer, T_max=85)
    schedule = SequentialLR(optimizer, [warm, rest], milestones=[5])
"""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .optimizer import Optimizer

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


class LRScheduler:
    """Base of the schedules: one derives from it and writes `_rate`.

    Args:
        optimizer: whose rates are set.
        last_epoch: the number of steps done before, to take up a schedule; the groups then need
            "initial_lr", as an optimiser's state_dict restores it. -1: from the start.

    Attributes:
        base_lrs: the rate of each group before any schedule.
        last_epoch: the number of steps done.
    """

    # Whether a rate is made from the one before it, which then holds the whole past.
    _recursive = True

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: {type(optimizer).__name__} is not an Optimizer"
            )
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__}: group {i} has no 'initial_lr', which last_epoch="
                    f"{last_epoch} needs; load the optimiser's state first"
                )
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._start()

    def _rate(self, i: int, lr: float) -> float:
        """The rate of group `i` at `last_epoch`.

        Args:
            i: the number of the group.
            lr: the rate before; at epoch 0 the one to start from.
        """
        raise NotImplementedError(f"{type(self).__name__}._rate is not written")

    def _start(self) -> None:
        self.last_epoch += 1
        if self.last_epoch == 0 or not self._recursive:
            self._set()

    def _restart(self) -> None:
        """Begin at the base rates, whatever the present ones: a schedule's turn in SequentialLR."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._rewind()
        self._start()

    def _rewind(self) -> None:
        self.last_epoch = -1

    def _set(self) -> None:
        groups = self.optimizer.param_groups
        rates = [self._rate(i, float(group["lr"])) for i, group in enumerate(groups)]
        for group, lr in zip(groups, rates, strict=True):
            group["lr"] = lr

    def step(self) -> None:
        """Go on by one epoch (or iteration: whatever the schedule counts)."""
        if self.last_epoch == 0 and not self.optimizer.steps_taken:
            warnings.warn(
                f"{type(self).__name__}.step() before the first optimizer.step() skips the first "
                "rate of the schedule; call the optimiser's first",
                stacklevel=2,
            )
        self.last_epoch += 1
        self._set()

    def get_last_lr(self) -> list[float]:
        """The rate of each group now."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands: plain values. Functions are not among them."""
        return {
            name: value
            for name, value in self.__dict__.items()
            if name != "optimizer" and name not in self._not_state
        }

    _not_state: tuple[str, ...] = ()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`; the rates themselves are in the optimiser's."""
        unknown = sorted(set(state_dict) - set(self.state_dict()))
        if unknown:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: unknown entries {unknown}; "
                "is it the state of another schedule?"
            )
        self.__dict__.update(state_dict)


class LambdaLR(LRScheduler):
    """base rate * lr_lambda(epoch).

    Args:
        optimizer: whose rates are set.
        lr_lambda: a function of the epoch, or a list of one for each group.
        last_epoch: see LRScheduler.
    """

    _recursive = False
    _not_state = ("lr_lambdas",)

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = _for_groups("LambdaLR", "lr_lambda", lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def _rate(self, i: int, lr: float) -> float:
        return self.base_lrs[i] * self.lr_lambdas[i](self.last_epoch)


class StepLR(LRScheduler):
    """The rate times `gamma` every `step_size` epochs."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, i: int, lr: float) -> float:
        falls = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return lr * self.gamma if falls else lr


class MultiStepLR(LRScheduler):
    """The rate times `gamma` at each of the epochs in `milestones`."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, i: int, lr: float) -> float:
        times = self.milestones.count(self.last_epoch)
        return lr * self.gamma**times if times else lr


class ConstantLR(LRScheduler):
    """The rate times `factor` until epoch `total_iters`: constant warm-up."""

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0.0 < factor <= 1.0:
            raise ValueError(f"ConstantLR: factor must be in (0, 1], got {factor}")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _rate(self, i: int, lr: float) -> float:
        if self.last_epoch == 0:
            return lr * self.factor
        return lr * (1.0 / self.factor) if self.last_epoch == self.total_iters else lr


class LinearLR(LRScheduler):
    """The rate times a factor that goes from `start_factor` to `end_factor`: gradual warm-up.

    Args:
        optimizer: whose rates are set.
        start_factor: at epoch 0, in (0, 1].
        end_factor: from epoch `total_iters` on, in [0, 1].
        total_iters: the number of steps in between.
        last_epoch: see LRScheduler.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0.0 < start_factor <= 1.0:
            raise ValueError(f"LinearLR: start_factor must be in (0, 1], got {start_factor}")
        if not 0.0 <= end_factor <= 1.0:
            raise ValueError(f"LinearLR: end_factor must be in [0, 1], got {end_factor}")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _rate(self, i: int, lr: float) -> float:
        if self.last_epoch == 0:
            return lr * self.start_factor
        if self.last_epoch > self.total_iters:
            return lr
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return lr * (1.0 + rise / before)


class ExponentialLR(LRScheduler):
    """The rate times `gamma` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, i: int, lr: float) -> float:
        return lr * self.gamma if self.last_epoch > 0 else lr


class PolynomialLR(LRScheduler):
    """base rate * (1 - epoch / total_iters)^power, then 0: "poly", usual in segmentation."""

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def _rate(self, i: int, lr: float) -> float:
        if self.last_epoch == 0 or self.last_epoch > self.total_iters:
            return lr
        left = 1.0 - self.last_epoch / self.total_iters
        left_before = 1.0 - (self.last_epoch - 1) / self.total_iters
        return lr * (left / left_before) ** self.power


class CosineAnnealingLR(LRScheduler):
    """From the base rate to `eta_min` along half a cosine of `T_max` epochs, and back.

    Loshchilov and Hutter 2017, equation 5, without restarts.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def _rate(self, i: int, lr: float) -> float:
        epoch, period = self.last_epoch, self.T_max
        if epoch == 0:
            return lr
        if (epoch - 1 - period) % (2 * period) == 0:  # the first step up: the quotient below is 0/0
            return lr + (self.base_lrs[i] - self.eta_min) * (1 - math.cos(math.pi / period)) / 2
        now = 1 + math.cos(math.pi * epoch / period)
        before = 1 + math.cos(math.pi * (epoch - 1) / period)
        return now / before * (lr - self.eta_min) + self.eta_min


class CosineAnnealingWarmRestarts(LRScheduler):
    """From the base rate to `eta_min` along half a cosine, again and again (SGDR).

    Args:
        optimizer: whose rates are set.
        T_0: the length of the first period, in epochs.
        T_mult: by how much every period is longer than the last.
        eta_min: the lowest rate.
        last_epoch: see LRScheduler.
    """

    _recursive = False

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_0 < 1 or T_mult < 1:
            raise ValueError(
                "CosineAnnealingWarmRestarts: T_0 and T_mult must be at least 1, "
                f"got {T_0} and {T_mult}"
            )
        self.T_0 = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def _rate(self, i: int, lr: float) -> float:
        since, period = self.last_epoch, self.T_0
        while since >= period:
            since -= period
            period *= self.T_mult
        height = (1 + math.cos(math.pi * since / period)) / 2
        return self.eta_min + (self.base_lrs[i] - self.eta_min) * height


class OneCycleLR(LRScheduler):
    """Up to `max_lr` and down to almost nothing, once, counted in iterations. Smith and Topin 2017.

    Momentum (or Adam's first beta) goes the other way.

    Args:
        optimizer: whose rates are set.
        max_lr: the highest rate, or a list of one for each group.
        total_steps: the length of the cycle; or give both of the next.
        epochs: their number ...
        steps_per_epoch: ... times the steps in each.
        pct_start: the part of the cycle in which the rate rises.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether momentum cycles, too, between the next two.
        base_momentum: its lowest value, where the rate is highest.
        max_momentum: its highest value.
        div_factor: max_lr / first rate.
        final_div_factor: first rate / last rate.
        three_phase: down to the first rate as fast as up, then down to the last.
        last_epoch: see LRScheduler.

    Raises:
        ValueError: no length, options out of range, or more steps than the cycle has.
    """

    _recursive = False

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None and epochs is not None and steps_per_epoch is not None:
            total_steps = epochs * steps_per_epoch
        if total_steps is None or total_steps < 1:
            raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch, above 0")
        if not 0.0 <= pct_start <= 1.0:
            raise ValueError(f"OneCycleLR: pct_start must be in [0, 1], got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: anneal_strategy is 'cos' or 'linear', not {anneal_strategy!r}"
            )
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(
                f"OneCycleLR: {type(optimizer).__name__} has no momentum; pass cycle_momentum=False"
            )
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        # (last step of the phase, rate at its start and end, momentum at its start and end)
        rise = float(pct_start * total_steps) - 1
        end = total_steps - 1
        self.phases = [(rise, "initial_lr", "max_lr", "max_momentum", "base_momentum")]
        if three_phase:
            fall = float(2 * pct_start * total_steps) - 2
            self.phases.append((fall, "max_lr", "initial_lr", "base_momentum", "max_momentum"))
            self.phases.append((end, "initial_lr", "min_lr", "max_momentum", "max_momentum"))
        else:
            self.phases.append((end, "max_lr", "min_lr", "base_momentum", "max_momentum"))
        if last_epoch == -1:
            highest = _for_groups("OneCycleLR", "max_lr", max_lr, optimizer)
            low = _for_groups("OneCycleLR", "base_momentum", base_momentum, optimizer)
            high = _for_groups("OneCycleLR", "max_momentum", max_momentum, optimizer)
            for i, group in enumerate(optimizer.param_groups):
                group["max_lr"] = highest[i]
                group["initial_lr"] = highest[i] / div_factor
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    group["base_momentum"], group["max_momentum"] = low[i], high[i]
        super().__init__(optimizer, last_epoch)

    def _rate(self, i: int, lr: float) -> float:
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(f"OneCycleLR: step {step} of a cycle of {self.total_steps} steps")
        group = self.optimizer.param_groups[i]
        start = 0.0
        for phase in self.phases[:-1]:
            if step <= phase[0]:
                break
            start = phase[0]
        else:
            phase = self.phases[-1]
        end, from_lr, to_lr, from_momentum, to_momentum = phase
        part = (step - start) / (end - start)
        if self.cycle_momentum:
            momentum = self._between(group[from_momentum], group[to_momentum], part)
            if "betas" in self.optimizer.defaults:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum
        return self._between(group[from_lr], group[to_lr], part)

    def _between(self, start: float, end: float, part: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)


class ReduceLROnPlateau(LRScheduler):
    """The rate times `factor` when a measure has not improved for more than `patience` epochs.

    Args:
        optimizer: whose rates are set.
        mode: "min" if less is better (a loss), "max" if more is (an accuracy).
        factor: below 1.
        patience: epochs without improvement that are let pass.
        threshold: what counts as an improvement ...
        threshold_mode: ... relative to the best so far ("rel"), or absolute ("abs").
        cooldown: epochs after a reduction in which nothing is counted.
        min_lr: the lowest rate, or a list of one for each group.
        eps: smaller changes of the rate are not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode is 'min' or 'max', not {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: threshold_mode is 'rel' or 'abs', not {threshold_mode!r}"
            )
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = _for_groups("ReduceLROnPlateau", "min_lr", min_lr, optimizer)
        self.eps = eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        super().__init__(optimizer)

    def _rate(self, i: int, lr: float) -> float:
        if self.num_bad_epochs <= self.patience:
            return lr
        lower = max(lr * self.factor, self.min_lrs[i])
        return lower if lr - lower > self.eps else lr

    def step(self, metrics: Any = None) -> None:
        """Count one epoch; `metrics` is the measure at its end, a number or one-element tensor."""
        if metrics is None:
            raise TypeError("ReduceLROnPlateau.step: pass the measure, step(loss)")
        current = float(metrics)
        self.last_epoch += 1
        if self._improves(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        self._set()
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def _improves(self, current: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "abs":
            return sign * current > sign * self.best + self.threshold
        return sign * current > sign * (self.best * (1.0 + sign * self.threshold))


class _Several(LRScheduler):
    """Schedules that act together on one optimiser."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> None:
        name = type(self).__name__
        if not schedulers:
            raise ValueError(f"{name}: there are no schedulers")
        self.optimizer = optimizer or schedulers[0].optimizer
        for i, scheduler in enumerate(schedulers):
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(f"{name}: ReduceLROnPlateau needs a measure; step it yourself")
            if scheduler.optimizer is not self.optimizer:
                raise ValueError(f"{name}: scheduler {i} belongs to another optimizer")
        self.schedulers = list(schedulers)

    _not_state = ("schedulers",)

    def _rewind(self) -> None:
        for scheduler in self.schedulers:
            scheduler._rewind()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self.schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        own = dict(state_dict)
        states = own.pop("schedulers")
        super().load_state_dict(own)
        for scheduler, state in zip(self.schedulers, states, strict=True):
            scheduler.load_state_dict(state)


class ChainedScheduler(_Several):
    """All schedules at each step, one after the other."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        super().__init__(schedulers, optimizer)

    def _start(self) -> None:
        for scheduler in self.schedulers:
            scheduler._start()

    def step(self) -> None:
        for scheduler in self.schedulers:
            scheduler.step()


class SequentialLR(_Several):
    """One schedule until the first of `milestones`, the next from there, and so on.

    Args:
        optimizer: whose rates are set.
        schedulers: each starts from the base rates, at its own epoch 0.
        milestones: the epochs at which the next takes over; one less than schedulers.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
    ) -> None:
        super().__init__(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: {len(schedulers)} schedulers need one milestone less, "
                f"got {len(milestones)}"
            )
        self.milestones = list(milestones)
        # Each took its first step when it was made: undo them all, repeat the first one's.
        self._restart()

    def _rewind(self) -> None:
        super()._rewind()
        self.last_epoch = -1

    def _start(self) -> None:
        self.last_epoch += 1
        self.schedulers[bisect_right(self.milestones, 0)]._start()

    def step(self) -> None:
        self.last_epoch += 1
        turn = bisect_right(self.milestones, self.last_epoch)
        if turn > 0 and self.milestones[turn - 1] == self.last_epoch:
            self.schedulers[turn]._restart()
        else:
            self.schedulers[turn].step()


def _for_groups(name: str, option: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """One value for each group."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name}: {len(value)} values of {option} for {count} parameter groups")
    return list(value)
