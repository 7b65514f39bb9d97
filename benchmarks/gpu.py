"""The GPU: single convolutions and training steps, minidl beside PyTorch's eager mode.

Both compute in the same precision, each row in a process of its own, and the contenders take turns.
A turn is a burst of runs between two events on the GPU's stream; the host waits after the burst,
never within it, so that what it needs to launch a step counts only where the GPU would idle.

Precisions: "float32" (TF32 off in both libraries), "tf32" (allowed in both), "float16" (autocast in
both). minidl runs with cuDNN where that is installed, and without it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .convolutions import SHAPES

__all__ = ["PRECISIONS", "ROWS", "Row", "measure", "peak", "why_not"]

PRECISIONS = ("float32", "tf32", "float16")
# name -> (batch size, shape of an image, options of the builder, number of classes)
NETWORKS: dict[str, tuple[int, tuple[int, int, int], dict[str, Any], int]] = {
    "resnet20": (128, (3, 32, 32), {}, 10),
    "resnet18": (64, (3, 224, 224), {}, 1000),
    "unet": (4, (3, 128, 128), {"in_channels": 3, "padding": "same"}, 2),
}
BURST = 0.05  # seconds of work between two events, at least
PAUSE = 0.05  # seconds between turns


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        kind: "convolution" or "step".
        name: number of the shape, or name of the network.
        precision: one of PRECISIONS.
    """

    kind: str
    name: str
    precision: str

    @property
    def what(self) -> str:
        if self.kind == "convolution":
            return f"{SHAPES[int(self.name)]}, {self.precision}"
        size, shape, *_ = NETWORKS[self.name]
        return f"training step, {self.name} at {shape[1]}, batch {size}, {self.precision}"


ROWS = [
    *(Row("convolution", str(i), p) for i in range(len(SHAPES)) for p in PRECISIONS),
    *(Row("step", name, p) for name in NETWORKS for p in PRECISIONS),
]


def why_not() -> str | None:
    """Why nothing can be measured on this machine; None where it can."""
    from minidl.backend import cuda

    usable, reason = cuda.probe()
    if not usable:
        return f"minidl cannot use a GPU: {reason}"
    try:
        import torch
    except ImportError:
        return "PyTorch is not installed, and the table is a comparison; install it with CUDA"
    if not torch.cuda.is_available():
        return f"this PyTorch ({torch.__version__}) has no CUDA, and the table is a comparison"
    return None


# -- what is timed ---------------------------------------------------------------------------------


def contenders(row: Row) -> dict[str, Callable[[], None]]:
    """Name -> a function that launches the work of a row once, and does not wait."""
    ours, theirs = (_convolutions if row.kind == "convolution" else _steps)(row)

    def with_cudnn(enabled: bool) -> Callable[[], None]:
        def run() -> None:
            from minidl import backend

            backend.cudnn.enabled = enabled
            ours()

        return run

    return {"minidl": with_cudnn(True), "minidl without cuDNN": with_cudnn(False), "torch": theirs}


def _convolutions(row: Row) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Forward and both gradients."""
    import torch

    import minidl as md
    from minidl.nn import functional as F

    s = SHAPES[int(row.name)]
    rng = np.random.default_rng(0)
    dtype = np.float16 if row.precision == "float16" else np.float32
    padding = (s.kernel - 1) // 2
    ho = (s.size + 2 * padding - s.kernel) // s.stride + 1
    shapes = [
        (s.batch, s.channels, s.size, s.size),
        (s.out, s.channels // s.groups, s.kernel, s.kernel),
        (s.batch, s.out, ho, ho),
    ]
    arrays = [rng.standard_normal(shape, dtype=np.float32).astype(dtype) for shape in shapes]
    options: dict[str, Any] = {"stride": s.stride, "padding": padding, "groups": s.groups}
    x, w = (md.tensor(a, device="cuda", requires_grad=True) for a in arrays[:2])
    u = md.tensor(arrays[2], device="cuda")
    a, b = (torch.tensor(v, device="cuda", requires_grad=True) for v in arrays[:2])
    c = torch.tensor(arrays[2], device="cuda")
    conv = torch.nn.functional.conv2d
    return (
        lambda: md.grad(F.conv2d(x, w, **options), [x, w], u),
        lambda: torch.autograd.grad(conv(a, b, **options), [a, b], c),
    )


def _steps(row: Row) -> tuple[Callable[[], Any], Callable[[], Any]]:
    return minidl_step(row), torch_step(row)


def _batch(name: str) -> tuple[np.ndarray, np.ndarray]:
    size, shape, _, classes = NETWORKS[name]
    rng = np.random.default_rng(0)
    images = rng.standard_normal((size, *shape), dtype=np.float32)
    # A class for each image, or for each of its pixels.
    return images, rng.integers(0, classes, (size, *shape[1:]) if name == "unet" else size)


def minidl_step(row: Row, device: str = "cuda") -> Callable[[], None]:
    """A function that launches one training step: forward, backward, SGD with momentum."""
    import minidl as md
    from minidl import models, nn, optim

    md.manual_seed(0)
    model = getattr(models, row.name)(**NETWORKS[row.name][2]).to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    x, y = (md.tensor(a, device=device) for a in _batch(row.name))
    half = row.precision == "float16"

    def step() -> None:
        with md.autocast(device, enabled=half):
            loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def torch_step(row: Row, device: str = "cuda") -> Callable[[], None]:
    """The same in PyTorch."""
    import torch

    from . import torch_networks

    torch.manual_seed(0)
    model = getattr(torch_networks, row.name)().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    criterion = torch.nn.CrossEntropyLoss()
    x, y = (torch.tensor(a, device=device) for a in _batch(row.name))
    half = row.precision == "float16"

    def step() -> None:
        with torch.autocast(device, torch.float16, enabled=half):
            loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


# -- how it is timed -------------------------------------------------------------------------------


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Both libraries' switches for float32 products."""
    import torch

    from minidl import backend

    allowed = name == "tf32"
    switches = [backend.matmul, backend.cudnn, torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = allowed
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


def stopwatch(name: str) -> Callable[[Callable[[], None], int], float]:
    """A function of (run, count): seconds that `count` runs take on the GPU, by its own clock."""
    if name == "torch":
        import torch

        def by_torch(run: Callable[[], None], count: int) -> float:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(count):
                run()
            end.record()
            end.synchronize()
            return begin.elapsed_time(end) / 1e3

        return by_torch
    import cupy

    def by_cupy(run: Callable[[], None], count: int) -> float:
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        for _ in range(count):
            run()
        end.record()
        end.synchronize()
        return cupy.cuda.get_elapsed_time(begin, end) / 1e3

    return by_cupy


def race(
    runs: dict[str, Callable[[], None]],
    seconds: float,
    watch: Callable[[str], Callable[[Callable[[], None], int], float]] = stopwatch,
) -> dict[str, float]:
    """The shortest time of a run of each contender, in seconds."""
    clocks = {name: watch(name) for name in runs}
    best, counts = {}, {}
    for name, run in runs.items():
        clocks[name](run, 3)  # plans are made, kernels compiled
        once = best[name] = clocks[name](run, 3) / 3
        counts[name] = max(1, round(BURST / max(once, 1e-6)))
    end = time.perf_counter() + seconds
    while True:
        for name, run in runs.items():
            time.sleep(PAUSE)
            best[name] = min(best[name], clocks[name](run, counts[name]) / counts[name])
        if time.perf_counter() >= end:
            return best


def measure(row: Row, seconds: float) -> dict[str, float]:
    """Seconds of each contender."""
    with precision(row.precision):
        return race(contenders(row), seconds)


def peak(row: Row, library: str) -> int:
    """Bytes of the GPU's memory that a library's pool holds after ten steps."""
    step = (minidl_step if library == "minidl" else torch_step)(row)
    with precision(row.precision):
        for _ in range(10):
            step()
    if library == "torch":
        import torch

        torch.cuda.synchronize()
        return torch.cuda.max_memory_reserved()
    import cupy

    cupy.cuda.get_current_stream().synchronize()
    return cupy.get_default_memory_pool().total_bytes()


# -- the table -------------------------------------------------------------------------------------

HEAD = (
    "| what | minidl ms | torch ms | minidl / torch | without cuDNN ms | without cuDNN / torch | "
    "peak memory minidl / torch |\n|---|---|---|---|---|---|---|"
)
COUNTED = "minidl", "minidl without cuDNN"


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    times = row["seconds"]
    torch, with_it, without = times["torch"], *(times[name] for name in COUNTED)
    memory = ""
    if "memory" in row:
        ours, theirs = row["memory"]["minidl"], row["memory"]["torch"]
        memory = f"{ours / 1e6:.0f} / {theirs / 1e6:.0f} MB"
    return (
        f"| {row['what']} | {with_it * 1e3:.3f} | {torch * 1e3:.3f} | **{with_it / torch:.2f}** | "
        f"{without * 1e3:.3f} | {without / torch:.2f} | {memory} |"
    )
