"""How a ratio is measured.

The contenders take turns, so that a busy moment of the machine hits both, and the minimum over the
turns counts: what else runs can only add time. Before each turn there is a pause: threads of
PyTorch and of BLAS go on spinning for a while after their work is done, and would take a processor
away from whoever comes next. A turn is of several runs, as the first one has to wake threads up.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["race"]

PAUSE = 0.3  # seconds
RUNS = 3  # in a turn


def race(
    contenders: dict[str, Callable[[], None]], seconds: float = 2.0, least: int = 3
) -> dict[str, float]:
    """The shortest time of each contender, in seconds.

    Args:
        contenders: name -> a function that does the work once and waits until it is done.
        seconds: how long to go on.
        least: how many turns each has at the least, after one that does not count.
    """
    for run in contenders.values():
        run()
        run()
    best = dict.fromkeys(contenders, float("inf"))
    turns, end = 0, time.perf_counter() + seconds
    while turns < least or time.perf_counter() < end:
        for name, run in contenders.items():
            time.sleep(PAUSE)
            for _ in range(RUNS):
                start = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - start)
        turns += 1
    return best
