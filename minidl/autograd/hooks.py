"""The handle that takes a hook off again: hooks of tensors here, of modules on floor 3."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

__all__ = ["RemovableHandle"]

_count = itertools.count().__next__


class RemovableHandle:
    """Takes a hook off again: by `remove()`, or at the end of a `with` block.

    Args:
        hooks: the hooks in the order in which they are called; the new one is put last.
        hook: what will be called.
    """

    def __init__(self, hooks: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> None:
        self._hooks = hooks
        self._key = _count()
        hooks[self._key] = hook

    def remove(self) -> None:
        self._hooks.pop(self._key, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()
