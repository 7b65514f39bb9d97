"""Published results and ours, side by side: what the scripts in `examples/` share."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .. import backend
from .ablation import Trial, ablate
from .machine import describe_machine, duration
from .recipes import Recipe
from .sources import find_source

__all__ = ["options", "report", "reproduce"]


QUICK = 512  # images


def options(text: str, seeds: int, short: str = "") -> argparse.Namespace:
    """The arguments that every such script takes.

    Args:
        text: what it does.
        seeds: how many runs by default.
        short: of a script that has a short schedule beside the paper's: what that is.

    Returns:
        of the argument parser; where there is a short schedule, `short` says whether to take it.
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=_count, default=seeds, help=f"runs of each network (default: {seeds})")
    add("--quick", action="store_true", help="one epoch on a few images: whether it works at all")
    add("--verbose", action="store_true", help="show the epochs of each run")
    add("--out", metavar="FOLDER", help="for the runs; what is there is not trained again")
    add("--root", help="folder of the data set (default: $MINIDL_DATA, or data)")
    add("--download", action="store_true", help="fetch missing files to there")
    add("--device", default="auto", help="cpu, cuda, cuda:1 or auto (default)")
    add("--workers", type=int, default=1, help="threads that prepare batches (default: 1)")
    if short:
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--short", action="store_true", help=f"{short} (default without a GPU)")
        which.add_argument("--paper", action="store_true", help="the paper's (default on a GPU)")
    args = parser.parse_args()
    backend.use(args.device)
    script = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    args.out = args.out or os.path.join("runs", script + ("-quick" if args.quick else ""))
    if short:
        args.short = args.short or (not args.paper and backend.default_device() == "cpu")
    return args


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1, not {text!r}")
    return int(text)


def _require_images(recipe: Recipe, args: argparse.Namespace) -> None:
    """Refuse data of which files are missing: a result of fewer images would be another one."""
    source = find_source(recipe.data)
    needed = recipe.images or source.training_images
    found = len(source.read(args.root, train=True, download=args.download))
    if found < needed:
        raise ValueError(
            f"{recipe.data}: {found:,} of {needed:,} training images are there; --download "
            "fetches the others"
        )


def reproduce(
    title: str,
    recipes: Sequence[tuple[str, Recipe]],
    published: Mapping[str, float],
    args: argparse.Namespace,
) -> list[Trial]:
    """Train each recipe over the seeds, and print what was published beside what came out.

    Args:
        title: of the result.
        recipes: [(name, recipe), ...].
        published: name -> test error in percent.
        args: of `options`.

    Raises:
        SystemExit: data are missing, the folder holds another run, or Ctrl-C; with a message.
    """
    device = backend.default_device()
    if args.quick:
        title += f": one epoch on {QUICK} images, which shows that it runs and no more"
        recipes = [(name, recipe.changed(epochs=1, images=QUICK)) for name, recipe in recipes]
    print(f"{title}\n{len(recipes)} x {args.seeds} runs on {device}, in {args.out}")

    def say(trial: Trial, seed: int, trials: list[Trial]) -> None:
        history = trial.runs[seed]
        seconds = sum(row["seconds"] for row in history)
        error = 1.0 - history[-1]["test_accuracy"]
        print(f"  {trial.name}, seed {seed}: {error:.2%} ({duration(seconds)})", flush=True)

    try:
        for _, recipe in recipes:
            _require_images(recipe, args)
        trials = ablate(
            recipes,
            args.seeds,
            args.out,
            on_run=say,
            root=args.root,
            device=device,
            workers=args.workers,
            download=args.download,
            progress=args.verbose,
        )
    except (OSError, ValueError) as error:  # missing data, another run in the folder
        raise SystemExit(f"{sys.argv[0]}: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on from there") from None
    print(report(trials, published, device))
    return trials


def report(trials: Sequence[Trial], published: Mapping[str, float], device: Any) -> str:
    """The table of a result: test errors in percent after the last epoch.

    Args:
        trials: of `ablate`.
        published: name of a trial -> test error in percent.
        device: where they were trained.
    """
    width = max(len(trial.name) for trial in trials)
    seeds = len(trials[0].runs)
    lines = [
        "test error after the last epoch, "
        + (f"mean and standard deviation over {seeds} seeds" if seeds > 1 else "one seed"),
        f"{'':{width}}  published   minidl     std  each run",
    ]
    for trial in trials:
        errors = [100 * (1 - score) for score in trial.scores()]
        std = 100 * trial.std()
        theirs = f"{published[trial.name]:.2f} %" if trial.name in published else "-"
        lines.append(
            f"{trial.name:{width}}  {theirs:>9}  {100 * (1 - trial.mean()):5.2f} %  "
            f"{'-' if math.isnan(std) else f'{std:.2f}':>6}  "
            + " ".join(f"{error:.2f}" for error in errors)
        )
    epochs = sorted({trial.recipe.epochs for trial in trials})
    seconds = sum(trial.seconds for trial in trials)
    runs = sum(len(trial.runs) for trial in trials)
    lines += [
        f"epochs: {', '.join(map(str, epochs))}",
        f"command: {shlex.join(['python', *sys.argv])}",
        f"time: {duration(seconds / runs)} a run, {duration(seconds)} in all",
        f"machine: {describe_machine(device)}",
    ]
    return "\n".join(lines)
