"""One seed for everything random.

Initialisation, shuffling and augmentation draw from a NumPy `Generator` on the host. Dropout and
stochastic depth draw from Philox, a counter-based generator: its bits are a function of (seed,
offset), the same on every backend, and its whole state is these two numbers.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

__all__ = ["get_state", "host_generator", "manual_seed", "next_offset", "set_state"]


class _State:
    generator: np.random.Generator = np.random.default_rng()
    seed: int = int(generator.integers(2**63))
    offset: int = 0
    lock = threading.Lock()


def manual_seed(seed: int) -> np.random.Generator:
    """Seed all of minidl's randomness; returns the host generator."""
    if not 0 <= int(seed) < 2**64:
        raise ValueError(f"manual_seed: seed must be in [0, 2**64), got {seed}")
    _State.generator = np.random.default_rng(int(seed))
    _State.seed = int(seed)
    _State.offset = 0
    return _State.generator


def host_generator() -> np.random.Generator:
    """The generator from which initialisers, shuffling and augmentation draw."""
    return _State.generator


def next_offset(count: int) -> tuple[int, int]:
    """Reserve `count` Philox numbers: (seed, offset of the first); 4 come from one counter."""
    with _State.lock:
        offset = _State.offset
        _State.offset += -(-count // 4)
        return _State.seed, offset


def get_state() -> dict[str, Any]:
    """All random state, as plain values that a checkpoint can hold."""
    return {
        "host": _State.generator.bit_generator.state,
        "seed": _State.seed,
        "offset": _State.offset,
    }


def set_state(state: dict[str, Any]) -> None:
    """Continue exactly where `get_state()` was taken."""
    name = state["host"]["bit_generator"]
    bits = getattr(np.random, name)()
    bits.state = state["host"]
    _State.generator = np.random.Generator(bits)
    _State.seed, _State.offset = int(state["seed"]), int(state["offset"])
