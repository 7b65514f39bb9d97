"""Training and evaluation mode of a model whose parts may differ, as where BatchNorm is frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..nn.modes import eval_mode

__all__ = ["eval_mode", "trainer"]


def trainer(model: Any) -> Callable[[], None]:
    """A function that puts the model into training mode, without what is frozen now.

    What is in evaluation mode inside of a model in training mode was put there by somebody, and
    stays. (A model in evaluation mode altogether was only evaluated: all of it is trained.)
    """
    frozen = [m for m in model.modules() if not m.training] if model.training else []

    def train() -> None:
        model.train()
        for module in frozen:
            module.eval()

    return train
