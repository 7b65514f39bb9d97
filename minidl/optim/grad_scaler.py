"""GradScaler: a loss so large that its gradients survive float16.

Micikevicius et al., "Mixed precision training", ICLR 2018, section 3.2. Gradients are often smaller
than 6e-8, the smallest float16; multiplied by a large scale they are not. The loss is multiplied,
so that by the chain rule every gradient is, and before the update the gradients are divided again.
Too large a scale makes infinities: that step is left out, and the scale is halved. After
`growth_interval` steps without it is doubled.

Only gradients that flow through float16 need it; bfloat16 has the exponents of float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..autograd import Tensor, wrap
from ..backend import by_name, of, quietly
from ..backend import device as device_of
from .optimizer import Optimizer

__all__ = ["GradScaler"]

READY, UNSCALED, STEPPED = "ready", "unscaled", "stepped"


class _Progress:
    """How far an optimiser has come since the last `update`.

    Attributes:
        stage: READY, UNSCALED or STEPPED.
        found: for each device, whether gradients there were not finite: (1,) float32.
    """

    def __init__(self) -> None:
        self.stage = READY
        self.found: list[Tensor] = []


class GradScaler:
    """Scales losses up and gradients down again, by a factor that finds itself.

    Args:
        device: where the scale is kept.
        init_scale: the first scale.
        growth_factor: what the scale is multiplied by after `growth_interval` good steps.
        backoff_factor: what it is multiplied by after a step with infinities or NaNs.
        growth_interval: good steps in a row before it grows.
        enabled: False: every method does nothing, and `step` is the optimiser's own.

    Raises:
        ValueError: a growth factor that does not grow, or a backoff factor that does not shrink.

    Example:
        >>> scaler.scale(loss).backward()
        >>> scaler.step(optimizer)
        >>> scaler.update()
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if growth_factor <= 1:
            raise ValueError(f"GradScaler: growth_factor must be above 1, got {growth_factor}")
        if not 0 < backoff_factor < 1:
            raise ValueError(f"GradScaler: backoff_factor is between 0 and 1, not {backoff_factor}")
        if growth_interval < 1:
            raise ValueError(f"GradScaler: growth_interval must be >= 1, got {growth_interval}")
        self._device = device_of(device)
        self._enabled = bool(enabled)
        self._growth_factor = float(growth_factor)
        self._backoff_factor = float(backoff_factor)
        self._growth_interval = int(growth_interval)
        self._scale: Tensor | None = None  # (1,) each, made at the first use
        self._tracker: Tensor | None = None
        self._start = float(init_scale), 0
        self._progress: dict[int, tuple[Optimizer, _Progress]] = {}

    # -- one step of training ---------------------------------------------------------------------

    def scale(self, outputs: Any) -> Any:
        """`outputs` times the scale: a tensor, or tensors in lists and tuples."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            scale, _ = self._state()
            return outputs * scale.to(outputs.device).reshape(())
        if isinstance(outputs, (list, tuple)):
            return type(outputs)([self.scale(x) for x in outputs])
        if isinstance(outputs, Iterable):
            return [self.scale(x) for x in outputs]
        raise TypeError(
            f"GradScaler.scale: expected tensors or lists of them, not a {type(outputs).__name__}"
        )

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of an optimiser's parameters by the scale, in place.

        Needed only before something else looks at them, as clipping does; else `step` does it.

        Raises:
            RuntimeError: a second time before `update`, or after `step`.
            ValueError: gradients in half precision: parameters belong in float32.
        """
        if not self._enabled:
            return
        progress = self._of(optimizer)
        if progress.stage != READY:
            what = "unscale_() has" if progress.stage == UNSCALED else "step() has"
            raise RuntimeError(f"GradScaler.unscale_: {what} been called since the last update()")
        scale, _ = self._state()
        found: dict[str, tuple[Tensor, Tensor]] = {}  # device -> (1 / scale, flag)
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.grad.dtype.itemsize < 4 and not optimizer.master_weights:
                    raise ValueError(
                        f"GradScaler.unscale_: a gradient of {p.grad.dtype}; keep parameters in "
                        "float32 under autocast, or give the optimiser master_weights=True"
                    )
                name = str(p.grad.device)
                if name not in found:
                    there = scale.to(p.grad.device).data
                    found[name] = wrap(1 / there), wrap(of(there).xp.zeros_like(there))
                inverse, flag = found[name]
                quietly(of(p.grad.data).unscale, p.grad.data, inverse.data, flag.data)
                p.grad.bump_version()
        progress.found = [flag for _, flag in found.values()]
        progress.stage = UNSCALED

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(...)`, unless its gradients are not finite.

        Waits for the device: whether to step is decided here.

        Returns:
            what the optimiser's step returns; None where it is left out.

        Raises:
            RuntimeError: a second time before `update`; no gradients; a closure.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if args or "closure" in kwargs:
            raise RuntimeError("GradScaler.step: a closure cannot be used with gradient scaling")
        progress = self._of(optimizer)
        if progress.stage == STEPPED:
            raise RuntimeError("GradScaler.step: step() has been called since the last update()")
        if progress.stage == READY:
            self.unscale_(optimizer)
        if not progress.found:
            raise RuntimeError("GradScaler.step: no parameter of this optimiser has a gradient")
        progress.stage = STEPPED
        if any(flag.item() for flag in progress.found):
            return None
        return optimizer.step(**kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Choose the scale of the next step.

        Args:
            new_scale: the scale itself, a number or a tensor of one element.

        Raises:
            RuntimeError: no optimiser has been stepped since the last update.
        """
        if not self._enabled:
            return
        scale, tracker = self._state()
        if new_scale is not None:
            if isinstance(new_scale, Tensor):
                given = new_scale.detach().to(scale.device).to(scale.dtype)
                self._scale = wrap(given.data.reshape(1).copy())
            else:
                self._scale = self._number(float(new_scale), np.float32)
        else:
            flags = [f for _, progress in self._progress.values() for f in progress.found]
            if not flags:
                raise RuntimeError("GradScaler.update: no step() since the last update()")
            backend = of(scale.data)
            found = backend.xp.zeros_like(scale.data)
            for flag in flags:
                found = found + flag.to(scale.device).data
            new, steps = quietly(
                backend.update_scale,
                scale.data,
                tracker.data,
                found,
                self._growth_factor,
                self._backoff_factor,
                self._growth_interval,
            )
            self._scale, self._tracker = wrap(new), wrap(steps)
        self._progress.clear()

    # -- what it stands at ------------------------------------------------------------------------

    def get_scale(self) -> float:
        """The scale, 1 if not enabled; waits for the device."""
        if not self._enabled:
            return 1.0
        return self._start[0] if self._scale is None else float(self._scale.item())

    def is_enabled(self) -> bool:
        return self._enabled

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = float(new_factor)

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = float(new_factor)

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = int(new_interval)

    def state_dict(self) -> dict[str, Any]:
        """Numbers, under torch's names; empty if not enabled. Waits for the device."""
        if not self._enabled:
            return {}
        tracker = self._start[1] if self._tracker is None else int(self._tracker.item())
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": tracker,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where `state_dict()` was taken.

        Raises:
            RuntimeError: the state of a scaler that was not enabled.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("GradScaler.load_state_dict: the state of a scaler not enabled")
        self._start = float(state_dict["scale"]), int(state_dict["_growth_tracker"])
        self._scale = self._tracker = None
        self._growth_factor = float(state_dict["growth_factor"])
        self._backoff_factor = float(state_dict["backoff_factor"])
        self._growth_interval = int(state_dict["growth_interval"])

    # -- helpers ----------------------------------------------------------------------------------

    def _state(self) -> tuple[Tensor, Tensor]:
        if self._scale is None or self._tracker is None:
            self._scale = self._number(self._start[0], np.float32)
            self._tracker = self._number(self._start[1], np.int32)
        return self._scale, self._tracker

    def _number(self, value: float, dtype: Any) -> Tensor:
        backend = by_name(self._device)
        return wrap(backend.asarray(np.full(1, value, dtype), None, self._device.index))

    def _of(self, optimizer: Optimizer) -> _Progress:
        entry = self._progress.get(id(optimizer))
        if entry is None:
            entry = self._progress[id(optimizer)] = optimizer, _Progress()
        return entry[1]
