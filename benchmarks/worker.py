"""One measurement in a process of its own: `python -m benchmarks.worker JSON`, prints JSON.

Affinity and thread counts are set before any library is loaded, so that each sees only the
processors it may use.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def _peak() -> int:
    """The most memory this process has had, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def work(job: dict[str, Any]) -> dict[str, Any]:
    device, kind = job["device"], job["kind"]
    if kind == "convolution":
        from .convolutions import SHAPES, measure

        return measure(SHAPES[job["index"]], device, job["seconds"])
    if kind == "step":
        from .classic import classic_convolutions
        from .networks import CLASSIC, minidl_step, torch_step
        from .timing import race

        ours = minidl_step(job["name"], device)
        steps = {"minidl": ours, "torch": torch_step(job["name"], device)}
        if device == "cpu" and job["name"] in CLASSIC:

            def classic() -> None:
                with classic_convolutions():
                    ours()

            steps["classic"] = classic
        return race(steps, job["seconds"])
    if kind == "overhead":
        from .overhead import measure as measure_overhead

        return measure_overhead(job["phase"], device, job["seconds"])
    if kind == "detection":
        from .detection import measure as measure_detection

        return measure_detection(job["name"], job["seconds"])
    if kind == "detector":
        from .faster_rcnn import measure as measure_detector

        return measure_detector(job["name"], job["seconds"])
    if kind.startswith("gpu"):
        from . import gpu

        row = gpu.Row(*job["row"])
        if kind == "gpu memory":
            return {"peak": gpu.peak(row, job["library"])}
        return gpu.measure(row, job["seconds"])
    if kind == "memory":
        # What ten steps add to the process with all its libraries loaded and the model built.
        from . import networks

        step = getattr(networks, f"{job['library']}_step")(job["name"], device)
        before = _peak()
        for _ in range(10):
            step()
        return {"peak": _peak() - before}
    raise ValueError(f"unknown kind of work: {kind}")


def main() -> None:
    job = json.loads(sys.argv[1])
    threads = job["threads"]
    if threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if job["device"] == "cpu":
        import torch

        torch.set_num_threads(threads)

        from minidl.backend import keep_memory

        keep_memory()  # as `fit` does; it holds for torch, too
    print(json.dumps(work(job)))


if __name__ == "__main__":
    main()
