"""A segmentation network trained twice: with minidl, and the same with torch.

Both start from the same weights and see the same batches, changed by chance in the same way; loss,
optimiser (Adam) and schedule (a cosine to zero) are the same. What differs is rounding, and which
units dropout leaves out. So over a few seeds the scores should be equal but for noise: the mean of
their differences should be of the size of its standard error.

torch comes with `pip install minidl[reference]`; without it only minidl's half is done.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl import manual_seed, nn, no_grad, optim
from minidl.data import DataLoader, Dataset, batch_generator
from minidl.io import replace_file
from minidl.metrics import ConfusionMatrix
from minidl.training import evaluate, fit
from minidl.training.machine import describe_machine, duration

__all__ = ["Pictures", "Plan", "compare", "find_data", "options"]

SIDES = ("minidl", "torch")
SCORES = {"pixel_error": "pixel error", "mean_iou": "mean IoU"}


class Pictures(Dataset):
    """Images with class maps, kept in memory.

    Args:
        pairs: (image (C, H, W) float32, class map (H, W) int64), arrays.
        transform: None, or one of `minidl.data.joint`.
    """

    def __init__(self, pairs: Sequence[tuple[Any, Any]], transform: Any = None) -> None:
        self.pairs = list(pairs)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, mask = self.pairs[index]
        if self.transform is not None:
            image, mask = self.transform(image, mask, batch_generator())
        return image, mask


@dataclass
class Plan:
    """What is trained, and how.

    Attributes:
        name: of the network.
        how: its size, in words.
        build: makes minidl's network.
        twin: makes torch's, with parameters of the same names and shapes.
        train, test: pictures; those of the test may have other sizes.
        classes: names.
        ignore_index: a label that does not count.
        weight: (C,) how much each class counts in the loss, or None.
        epochs, batch_size, lr: of the training.
        published: name of a score in percent -> value.
    """

    name: str
    how: str
    build: Callable[[], Any]
    twin: Callable[[], Any]
    train: Pictures
    test: Pictures
    classes: Sequence[str]
    ignore_index: int
    weight: Any
    epochs: int
    batch_size: int
    lr: float
    published: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        rows, columns = self.train[0][1].shape
        return (
            f"{self.name}, {self.how}; {len(self.train)} training pictures of {rows} x {columns}, "
            f"{self.epochs} epochs, batches of {self.batch_size}, Adam, {self.lr:g}"
        )

    def batches(self, seed: int) -> DataLoader:
        """The training pictures: the same batches for both sides."""
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True, seed=seed)

    def counts(self) -> ConfusionMatrix:
        return ConfusionMatrix(self.classes, self.ignore_index)


def options(text: str, seeds: int) -> argparse.Namespace:
    """The arguments of a script that compares.

    Args:
        text: what it does.
        seeds: how many runs by default.
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=int, default=seeds, help=f"runs of each side (default: {seeds})")
    add("--quick", action="store_true", help="one epoch on a few pictures: does it work at all?")
    add("--out", metavar="FOLDER", help="for the results; what is there is not trained again")
    add("--root", help="folder of the data (default: $MINIDL_DATA, or data)")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error(f"--seeds must be 1 at least, not {args.seeds}")
    script = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    args.out = args.out or os.path.join("runs", script + ("-quick" if args.quick else ""))
    args.root = args.root or os.environ.get("MINIDL_DATA", "data")
    return args


def find_data(read: Callable[[], Any]) -> Any:
    """What `read` reads; where files are missing the program ends with a message."""
    try:
        return read()
    except FileNotFoundError as error:
        where = "--root or MINIDL_DATA names the folder of the data"
        raise SystemExit(f"{sys.argv[0]}: {error}; {where}") from None


def compare(title: str, plans: Sequence[Plan], args: argparse.Namespace) -> None:
    """Train each plan over the seeds on both sides, and print the scores side by side.

    Args:
        title: of the result.
        plans: what to train.
        args: of `options`.
    """
    sides = SIDES
    if importlib.util.find_spec("torch") is None:
        sides = SIDES[:1]
        print("torch is not installed (pip install minidl[reference]): minidl's half only")
    print(title + (": one epoch, which shows that it runs and no more" if args.quick else ""))
    os.makedirs(args.out, exist_ok=True)
    path = os.path.join(args.out, "results.json")
    results = _read(path)
    for plan in plans:
        print(f"\n{plan}")
        runs = {side: results.setdefault(str(plan), {}).setdefault(side, {}) for side in sides}
        for seed in range(args.seeds):
            for side in sides:
                if str(seed) not in runs[side]:
                    train = train_minidl if side == "minidl" else train_torch
                    runs[side][str(seed)] = train(plan, seed)
                    with replace_file(path) as temporary, open(temporary, "w") as file:
                        json.dump(results, file, indent=1)
                    print("  " + _line(side, seed, runs[side][str(seed)]), flush=True)
        chosen = {s: [runs[s][str(seed)] for seed in range(args.seeds)] for s in sides}
        print(report(plan, chosen))
    print(f"\ncommand: {shlex.join(['python', *sys.argv])}\nmachine: {describe_machine()}")


def _read(path: str) -> dict[str, Any]:
    if not os.path.isfile(path):
        return {}
    with open(path) as file:
        return json.load(file)


def train_minidl(plan: Plan, seed: int) -> dict[str, Any]:
    """Train minidl's network; its scores on the test pictures after the last epoch."""
    manual_seed(seed)
    net = plan.build()
    train = plan.batches(seed)
    optimizer = optim.Adam([p for p in net.parameters() if p.requires_grad], lr=plan.lr)
    cosine = optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.epochs * len(train))
    loss = nn.CrossEntropyLoss(plan.weight, ignore_index=plan.ignore_index)
    history = fit(
        net,
        optimizer,
        loss,
        train,
        epochs=plan.epochs,
        scheduler=cosine,
        scheduler_every="batch",
        progress=False,
    )
    counts = plan.counts()
    evaluate(net, DataLoader(plan.test), metrics={"pixels": counts})
    return _scores(counts, sum(row["seconds"] for row in history), history[-1]["train_loss"])


def train_torch(plan: Plan, seed: int) -> dict[str, Any]:
    """The same with torch, from the same weights."""
    import torch

    manual_seed(seed)
    torch.manual_seed(seed)
    given = plan.build().state_dict()
    net = plan.twin()
    net.load_state_dict({name: torch.from_numpy(value.numpy()) for name, value in given.items()})
    train = plan.batches(seed)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=plan.lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.epochs * len(train))
    weight = None if plan.weight is None else torch.from_numpy(plan.weight.numpy())
    criterion = torch.nn.CrossEntropyLoss(weight, ignore_index=plan.ignore_index)
    net.train()
    began = time.monotonic()
    for _ in range(plan.epochs):
        total, samples = 0.0, 0
        for images, masks in train:
            loss = criterion(net(torch.from_numpy(images.numpy())), torch.from_numpy(masks.numpy()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cosine.step()
            total, samples = total + len(images) * loss.item(), samples + len(images)
    seconds = time.monotonic() - began
    counts = plan.counts()
    net.eval()
    with torch.no_grad():
        for images, masks in DataLoader(plan.test):
            counts.update(net(torch.from_numpy(images.numpy())).argmax(1).numpy(), masks.numpy())
    return _scores(counts, seconds, total / samples)


def _scores(counts: ConfusionMatrix, seconds: float, loss: float) -> dict[str, Any]:
    with no_grad():
        return {
            "pixel_error": 1.0 - float(counts.pixel_accuracy()),
            "mean_iou": float(counts.mean_iou()),
            "class_iou": [float(score) for score in counts.class_iou()],
            "train_loss": float(loss),
            "seconds": seconds,
        }


def _line(side: str, seed: int, run: Mapping[str, Any]) -> str:
    scores = ", ".join(f"{words} {run[name]:.2%}" for name, words in SCORES.items())
    return (
        f"{side}, seed {seed}: {scores}, loss {run['train_loss']:.4f} ({duration(run['seconds'])})"
    )


def report(plan: Plan, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The table of a plan: published, minidl's, torch's, and their difference.

    Args:
        plan: what was trained.
        runs: side -> results, one a seed.
    """
    seeds = len(runs["minidl"])
    over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    lines = [
        f"  test pictures after the last epoch, {over}",
        "  " + f"{'':20}" + "".join(f"{words:>18}" for words in SCORES.values()),
    ]

    def row(name: str, cells: Sequence[str]) -> str:
        return "  " + f"{name:20}" + "".join(f"{cell:>18}" for cell in cells)

    lines.append(
        row(
            "published",
            [f"{plan.published[s]:.2f} %" if s in plan.published else "-" for s in SCORES],
        )
    )
    for side, found in runs.items():
        lines.append(row(side, [_spread([100 * run[s] for run in found]) + " %" for s in SCORES]))
    if len(runs) == 2:
        cells = []
        for score in SCORES:
            # Of each pair of runs, as both have the same first weights and the same batches.
            apart = [
                100 * (ours[score] - theirs[score])
                for ours, theirs in zip(*runs.values(), strict=True)
            ]
            cell = f"{statistics.mean(apart):+.2f}"
            if seeds > 1:
                cell += f" (SE {statistics.stdev(apart) / math.sqrt(seeds):.2f})"
            cells.append(cell)
        lines.append(row("minidl - torch", cells))
    for side, found in runs.items():
        means = np.mean([run["class_iou"] for run in found], axis=0)
        named = zip(plan.classes, means, strict=True)
        lines.append(
            f"  IoU of classes, {side}: " + ", ".join(f"{name} {100 * v:.1f}" for name, v in named)
        )
        seconds = statistics.mean(run["seconds"] for run in found)
        lines.append(f"  time, {side}: {duration(seconds)} of training a run")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    text = f"{statistics.mean(values):.2f}"
    return text + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")
