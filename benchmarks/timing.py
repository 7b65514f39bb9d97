"""How a ratio is measured.

The contenders take turns, so that a busy moment of the machine hits both, and the shortest time
counts: what else runs can only add time. Before each turn there is a pause: threads of PyTorch and
of BLAS go on spinning for a while after their work is done, and would take a processor away from
whoever comes next. A turn is of several runs, as the first one has to wake threads up.

Where the system says for how long something had to wait for a processor (Linux, /proc/pressure),
turns in which that happened do not count towards the least number of turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["race"]

PAUSE = 0.3  # seconds
RUNS = 3  # in a turn
PATIENCE = 4  # how many times longer than wanted to go on, where turns are disturbed


def race(
    contenders: dict[str, Callable[[], None]], seconds: float = 2.0, least: int = 3
) -> dict[str, float]:
    """The shortest time of each contender, in seconds.

    Args:
        contenders: name -> a function that does the work once and waits until it is done.
        seconds: how long to go on.
        least: how many undisturbed turns each has at the least, after one that does not count.
    """
    for run in contenders.values():
        run()
        run()
    best = dict.fromkeys(contenders, float("inf"))
    undisturbed = dict.fromkeys(contenders, 0)
    start = time.perf_counter()
    while True:
        for name, run in contenders.items():
            time.sleep(PAUSE)
            waited, begin = _waited(), time.perf_counter()
            for _ in range(RUNS):
                before = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - before)
            spent = time.perf_counter() - begin
            undisturbed[name] += _waited() - waited <= 0.02 * spent
        past = time.perf_counter() - start
        if past > PATIENCE * seconds or (
            past > seconds and min(undisturbed.values(), default=least) >= least
        ):
            return best


def _waited() -> float:
    """Seconds for which any task of this machine was ready and had no processor, so far."""
    try:
        with open("/proc/pressure/cpu") as file:
            return int(file.readline().rsplit("=", 1)[1]) * 1e-6  # some ... total=microseconds
    except OSError:
        return 0.0  # not known here
