"""What training shows: a bar of the whole run with its remaining time, and a line an epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

__all__ = ["Bar"]

PERIOD = 0.25  # seconds between two looks at the loss, each of which waits for a GPU


class Bar:
    """A tqdm that counts samples over all epochs; shown only where stderr is a terminal.

    Args:
        loader: of the training data.
        epochs: in the whole run.
        visible: whether anything is shown at all.
    """

    def __init__(self, loader: Any, epochs: int, visible: bool) -> None:
        from tqdm import tqdm

        self.visible = visible
        self.epochs = epochs
        self.batch_size = loader.batch_size
        self.per_epoch = len(loader) * loader.batch_size  # a last small batch counts as a whole one
        self._tqdm = tqdm(
            total=epochs * self.per_epoch,
            unit=" img",
            unit_scale=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {rate_fmt}{postfix}",
            disable=None if visible else True,  # None: unless stderr is a terminal
            leave=False,
            dynamic_ncols=True,
            delay=1e-6,  # not before `begin` says where it starts
        )
        self._next = 0.0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._tqdm.close()

    def begin(self, epoch: int, batch: int) -> None:
        """Go to a batch of an epoch, both counted from 0."""
        self._tqdm.set_description_str(f"epoch {epoch + 1}/{self.epochs}", refresh=False)
        place = epoch * self.per_epoch + batch * self.batch_size
        if self._tqdm.n == 0:  # a resumed run: what was done before is no part of the rate
            self._tqdm.initial = place
        self._tqdm.n = place
        self._tqdm.refresh()

    def due(self) -> bool:
        """Whether it is time to look at the loss again."""
        return time.monotonic() >= self._next

    def advance(self, count: int) -> None:
        """Count samples."""
        self._tqdm.update(count)

    def show(self, values: Mapping[str, float]) -> None:
        """Put averages behind the bar."""
        self._next = time.monotonic() + PERIOD
        self._tqdm.set_postfix({name: f"{v:.4f}" for name, v in values.items()}, refresh=False)

    def line(self, row: Mapping[str, float]) -> None:
        """Write the line of a finished epoch above the bar."""
        if not self.visible:
            return
        parts = []
        for part in ("train", "test"):
            shown = [
                f"{name.removeprefix(part + '_')} {value:.4f}"
                for name, value in row.items()
                if name.startswith(f"{part}_")
            ]
            if shown:
                parts.append(f"{part}: {' '.join(shown)}")
        number = f"{row['epoch']:>{len(str(self.epochs))}}/{self.epochs}"
        rate = f"{row['seconds']:.1f} s, {row['samples_per_second']:.0f} img/s"
        self._tqdm.write(f"epoch {number}  {'  '.join(parts)}  ({rate})")
