"""The progress bar of training: tqdm, and when it is worth waiting for the device."""

from __future__ import annotations

import time
from typing import Any

from ..autograd import Tensor

__all__ = ["Bar"]


class Bar:
    """tqdm, asked to show losses only when it redraws."""

    def __init__(self, loader: Any, title: str, visible: bool) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm(
            total=len(loader),
            initial=loader.batch,
            desc=title,
            unit="batch",
            disable=not visible,
            leave=False,
            dynamic_ncols=True,
        )
        self._next = 0.0

    def due(self, loss: Tensor) -> bool:
        """Whether to look at the loss: on the CPU always, on a GPU (a wait) 4 times a second."""
        if loss.device.type == "cpu":
            return True
        return time.monotonic() >= self._next

    def show(self, **values: float) -> None:
        if time.monotonic() >= self._next and not self._tqdm.disable:
            self._next = time.monotonic() + 0.25
            self._tqdm.set_postfix({k: f"{v:.4f}" for k, v in values.items()}, refresh=False)

    def advance(self) -> None:
        self._tqdm.update()

    def close(self) -> None:
        self._tqdm.close()

    def summary(self, row: dict[str, float]) -> None:
        if not self._tqdm.disable:
            shown = [f"{k} {v:.4f}" for k, v in row.items() if k.startswith(("train_", "test_"))]
            rate = f"{row['seconds']:.1f} s, {row['samples_per_second']:.0f} samples/s"
            self._tqdm.write(f"epoch {row['epoch']:>3}  {'  '.join(shown)}  ({rate})")
