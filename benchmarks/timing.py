"""How a ratio is measured.

The two contenders take turns, so that a busy moment of the machine hits both, and the minimum over
the turns counts: what else runs can only add time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["race"]


def race(
    contenders: dict[str, Callable[[], None]], seconds: float = 2.0, least: int = 5
) -> dict[str, float]:
    """The shortest time of each contender, in seconds.

    Args:
        contenders: name -> a function that does the work once and waits until it is done.
        seconds: how long to go on.
        least: how often each runs at the least, after two runs that do not count.
    """
    for run in contenders.values():
        run()
        run()
    best = dict.fromkeys(contenders, float("inf"))
    rounds, end = 0, time.perf_counter() + seconds
    while rounds < least or time.perf_counter() < end:
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
        rounds += 1
    return best
