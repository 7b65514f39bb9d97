"""`python -m benchmarks`: prints one table and writes RESULTS.md and results.json beside this file.

python -m benchmarks                   everything on the CPU, one pinned thread and all threads
python -m benchmarks --quick           a tenth of the time, nothing written
python -m benchmarks --device cuda     on the first GPU
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

from . import gpu as on_gpu
from .convolutions import SHAPES
from .detection import ROWS as DETECTION
from .faster_rcnn import ROWS as DETECTORS
from .networks import NETWORKS

HERE = pathlib.Path(__file__).parent
HELD_BACK = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # variables that halve the speed of BLAS


def run(**job: Any) -> dict[str, Any]:
    """A job in a process of its own, with the environment a user has."""
    environment = {k: v for k, v in os.environ.items() if k not in HELD_BACK}
    if job["threads"] == 1:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = "1"
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(job)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        raise RuntimeError(f"{job} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    import numpy
    import torch

    cpu = platform.processor() or "unknown processor"
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        cpu = f"{names[0]}, {len(names)} processors" if names else cpu
    return {
        "cpu": cpu,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "torch": torch.__version__,
    }


def gpu() -> str:
    """Name of the first GPU and versions; asked in a process of its own."""
    code = (
        "import torch, cupy; print(torch.cuda.get_device_name(0) + ', CUDA '"
        " + str(torch.version.cuda) + ', CuPy ' + cupy.__version__)"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def mean(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def measure_gpu(seconds: float) -> dict[str, Any]:
    """The record of `--device cuda`."""
    everything = {**machine(), "gpu": gpu()}
    record: dict[str, Any] = {"machine": everything, "device": "cuda", "rows": []}
    common = {"device": "cuda", "threads": os.cpu_count() or 1, "seconds": seconds}
    for row in on_gpu.ROWS:
        job = {**common, "row": list(row)}
        found = {"what": row.what, "kind": row.kind, "precision": row.precision}
        found["seconds"] = run(kind="gpu", **job)
        if row.kind == "step":
            found["memory"] = {
                library: run(kind="gpu memory", library=library, **job)["peak"]
                for library in ("minidl", "torch")
            }
        record["rows"].append(found)
        show(found)
    return record


def measure(device: str, seconds: float) -> dict[str, Any]:
    if device == "cuda":
        return measure_gpu(seconds)
    record: dict[str, Any] = {"machine": machine(), "device": device, "rows": []}
    threads = [1, len(os.sched_getaffinity(0))]
    for count in dict.fromkeys(threads):
        common = {"device": device, "threads": count, "seconds": seconds}
        for index, shape in enumerate(SHAPES):
            times = run(kind="convolution", index=index, **common)
            row = {"what": str(shape), "kind": "convolution", "threads": count, "seconds": times}
            record["rows"].append(row)
            show(row)
        for phase in ("forward", "backward"):
            times = run(kind="overhead", phase=phase, **common)
            what = f"1,000 products of one number, {phase}"
            row = {"what": what, "kind": "overhead", "threads": count, "seconds": times}
            record["rows"].append(row)
            show(row)
        for kind, names in (("detection", DETECTION), ("detector", DETECTORS)):
            for name, what in names.items():
                times = run(kind=kind, name=name, **common)
                row = {"what": what, "kind": kind, "threads": count, "seconds": times}
                record["rows"].append(row)
                show(row)
        for name, (batch, *_) in NETWORKS.items():
            times = run(kind="step", name=name, **common)
            memory = {
                library: run(kind="memory", name=name, library=library, **common)["peak"]
                for library in ("minidl", "torch")
            }
            what = f"training step, {name}, batch {batch}"
            row = {
                "what": what,
                "kind": "step",
                "threads": count,
                "seconds": times,
                "memory": memory,
            }
            record["rows"].append(row)
            show(row)
    return record


def show(row: dict[str, Any]) -> None:
    print(line(row), flush=True)


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    if "precision" in row:
        return on_gpu.line(row)
    times = row["seconds"]
    theirs = ratio = "-"  # where torchvision does not load
    if "torch" in times:
        theirs = f"{times['torch'] * 1e3:.2f}"
        ratio = f"**{times['minidl'] / times['torch']:.2f}**"
    classic = f"{times['classic'] / times['minidl']:.1f}" if "classic" in times else ""
    memory = ""
    if "memory" in row:
        peaks = row["memory"]["minidl"] / 1e6, row["memory"]["torch"] / 1e6
        memory = f"{peaks[0]:.0f} / {peaks[1]:.0f} MB"
    return (
        f"| {row['what']} | {row['threads']} | {times['minidl'] * 1e3:.2f} | "
        f"{theirs} | {ratio} | {classic} | {memory} |"
    )


HEAD = (
    "| what | threads | minidl ms | torch ms | minidl / torch | classic / minidl | "
    "peak memory minidl / torch |\n|---|---|---|---|---|---|---|"
)


def report(record: dict[str, Any]) -> str:
    """The section of RESULTS.md for one device."""
    machine = ", ".join(f"{k} {v}" for k, v in record["machine"].items())
    on_cuda = record["device"] == "cuda"
    head = on_gpu.HEAD if on_cuda else HEAD
    lines = [f"## {record['device']}", "", f"Machine: {machine}.", "", head]
    lines += [line(row) for row in record["rows"]]
    lines += ["", "Geometric means of minidl / torch:", ""]
    if on_cuda:
        return "\n".join(lines + means_on_gpu(record["rows"]))
    for count in dict.fromkeys(row["threads"] for row in record["rows"]):
        for kind, name in (("convolution", "convolutions"), ("step", "training steps")):
            ratios = [
                row["seconds"]["minidl"] / row["seconds"]["torch"]
                for row in record["rows"]
                if row["threads"] == count and row["kind"] == kind
            ]
            lines.append(f"- {name}, {count} thread(s): **{mean(ratios):.2f}**")
    return "\n".join(lines)


def means_on_gpu(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each precision and kind of work."""
    lines = []
    for kind, words in (("convolution", "convolutions"), ("step", "training steps")):
        for precision in on_gpu.PRECISIONS:
            times = [
                row["seconds"]
                for row in rows
                if (row["kind"], row["precision"]) == (kind, precision)
            ]
            with_it, without = (mean([t[n] / t["torch"] for t in times]) for n in on_gpu.COUNTED)
            lines.append(
                f"- {words}, {precision}: **{with_it:.2f}**, without cuDNN **{without:.2f}**"
            )
    return lines


PREFACE = """# Measured speed

Written by `python -m benchmarks` (`--device cuda` for the GPU). Convolutions: forward and the
gradients of input and weight, float32. Training steps: forward, backward, SGD with momentum. Each
row is one process in which minidl and PyTorch take turns; the shortest time of each counts. One
thread means a process pinned to one processor. Variables that hold BLAS back are removed from the
environment. Memory is what ten training steps add to the peak of a process that does nothing else.
"classic" is the usual first way: convolutions as im2col of the whole batch, RoIAlign and NMS as
loops over boxes. Faster R-CNN stands beside torchvision's; where torchvision's compiled operations
do not load, it is lent minidl's RoIAlign and NMS, and their own rows stay empty.

On the GPU the times are the GPU's own, between two events around many runs in a row, and memory is
what the libraries' pools hold after ten steps; TF32 is off or on in both libraries alike.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, nothing written")
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="folder of the results")
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        reason = on_gpu.why_not()
        if reason is not None:
            parser.error(reason)
    print(on_gpu.HEAD if arguments.device == "cuda" else HEAD)
    record = measure(arguments.device, 0.2 if arguments.quick else 2.0)
    print(report(record).split("\n\n", 3)[-1])
    if arguments.quick:
        return
    path = arguments.out / "results.json"
    everything = json.loads(path.read_text()) if path.exists() else {}
    everything[arguments.device] = record
    path.write_text(json.dumps(everything, indent=1) + "\n")
    sections = [report(everything[device]) for device in sorted(everything)]
    if "cuda" not in everything:
        sections.append("## cuda\n\nNot measured yet: minidl has not been run on a GPU.")
    (arguments.out / "RESULTS.md").write_text("\n\n".join([PREFACE, *sections]) + "\n")


if __name__ == "__main__":
    main()
