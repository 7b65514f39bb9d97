"""Ablation: what each part of a recipe contributes, over several seeds.

Of a base X with the parts Y and Z are trained X + Y + Z, X + Z without Y, X + Y without Z, and X
alone. A score is that of the last epoch: the best epoch on the test data would be chosen by the
test data. Each is the mean over seeds, with its standard deviation, without which a difference of
a few tenths says nothing.

Every run has a folder of its own, and a run that is there is not made again: what was interrupted
goes on when it is called again.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import combinations
from typing import Any

from ..io import replace_file
from .augment import AUGMENTS
from .log import read_log
from .machine import describe_machine
from .recipe import Recipe, read_recipe, write_recipe
from .recipes import TASKS, build

__all__ = ["Trial", "ablate", "table", "train_once", "variations"]

Row = dict[str, float]

# The fields of a recipe that are parts one can leave out, and what they are then.
OFF: dict[str, Any] = {
    "augment": "none",
    "mixup": 0.0,
    "cutmix": 0.0,
    "scale_lr": False,
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": 0.0,
    "decay": "all",
    "schedule": "constant",
    "warmup": 0,
    "warmup_epochs": 0,
    "clip_norm": 0.0,
    "label_smoothing": 0.0,
    "auxiliary": 0.0,
    "ema": 0.0,
}


# -- what to train --------------------------------------------------------------------------------


def variations(
    recipe: Recipe,
    without: Sequence[str] = (),
    added: Mapping[str, Any] | None = None,
    every: bool = False,
) -> list[tuple[str, Recipe]]:
    """The recipe with all of its parts, without each of them, and without all.

    Args:
        recipe: with the parts named by `without`, and not yet those of `added`.
        without: parts of the recipe: fields in `OFF`, changes in its `augment`, or options of its
            network.
        added: further parts and their values: fields of a recipe, or options of the network.
        every: every combination of the parts instead.

    Returns:
        [(name, recipe), ...]: the names of the parts that are in it, joined by " + "; "base" where
        there are none.

    Raises:
        ValueError: no parts, a part twice, one to leave out that the recipe does not have, or one
            to add that it has.
    """
    added = dict(added or {})
    parts = [*without, *added]
    if not parts:
        raise ValueError("an ablation needs parts to leave out, or to add")
    twice = sorted({part for part in parts if parts.count(part) > 1})
    if twice:
        raise ValueError(f"a part is named twice: {', '.join(twice)}")
    for part, value in added.items():
        if _with(recipe, part, value) == recipe:
            raise ValueError(
                f"the recipe of {recipe.model} has {part}={value!r} already; leave it out "
                "instead, or add another value"
            )
    if every:
        chosen = [set(c) for n in range(len(parts), -1, -1) for c in combinations(parts, n)]
    else:
        chosen = [set(parts), *({*parts} - {part} for part in parts), set()]
    found: dict[str, Recipe] = {}
    for kept in chosen:
        variation = recipe
        for part in without:
            if part not in kept:
                variation = _without(variation, part)
        for part, value in added.items():
            if part in kept:
                variation = _with(variation, part, value)
        found[" + ".join(part for part in parts if part in kept) or "base"] = variation
    return list(found.items())


def _with(recipe: Recipe, part: str, value: Any) -> Recipe:
    if part in {f.name for f in fields(Recipe)}:
        return replace(recipe, **{part: value})
    return recipe.with_options(**{part: value})


def _without(recipe: Recipe, part: str) -> Recipe:
    if part in OFF and getattr(recipe, part) != OFF[part]:
        # Nesterov's is a kind of momentum.
        also = {"nesterov": False} if part == "momentum" else {}
        return replace(recipe, **{part: OFF[part], **also})
    if part in recipe.options:
        return replace(recipe, options={k: v for k, v in recipe.options.items() if k != part})
    changes = recipe.augment.split("+")
    kept = [change for change in changes if change.partition(":")[0] != part]
    if part in AUGMENTS and len(kept) < len(changes):
        return replace(recipe, augment="+".join(kept) or "none")
    has = [name for name, off in OFF.items() if getattr(recipe, name) != off]
    has += [change.partition(":")[0] for change in changes if change != "none"]
    raise ValueError(
        f"the recipe of {recipe.model} has no {part!r} to leave out; it has "
        f"{', '.join([*has, *recipe.options])}. Other parts are added with a value ({part}=...)"
    )


# -- training -------------------------------------------------------------------------------------


@dataclass
class Trial:
    """A variation and its runs.

    Attributes:
        name, recipe: of the variation; the recipe's seed is that of the first run.
        runs: seed -> the history of that run, one row an epoch.
    """

    name: str
    recipe: Recipe
    runs: dict[int, list[Row]] = field(default_factory=dict)

    @property
    def value(self) -> str:
        """The column of a history that is compared, as test_accuracy."""
        return f"test_{TASKS[self.recipe.task].score}"

    def scores(self, value: str = "") -> list[float]:
        """The value of each run's last epoch; default: that which is compared."""
        return [history[-1][value or self.value] for history in self.runs.values()]

    @property
    def seconds(self) -> float:
        """Of training, all runs together."""
        return sum(row["seconds"] for history in self.runs.values() for row in history)

    def mean(self, value: str = "") -> float:
        """The mean over seeds; NaN without runs."""
        scores = self.scores(value)
        return sum(scores) / len(scores) if scores else math.nan

    def std(self, value: str = "") -> float:
        """The standard deviation of one run, estimated from all (n - 1); NaN below two."""
        scores, mean = self.scores(value), self.mean(value)
        if len(scores) < 2:
            return math.nan
        return math.sqrt(sum((score - mean) ** 2 for score in scores) / (len(scores) - 1))


def ablate(
    variations: Iterable[tuple[str, Recipe]],
    seeds: int,
    folder: str | os.PathLike[str],
    *,
    on_run: Callable[[Trial, int, list[Trial]], None] | None = None,
    **how: Any,
) -> list[Trial]:
    """Train every variation once for each seed; those runs that are in the folder are not repeated.

    Args:
        variations: [(name, recipe), ...].
        seeds: how many; they count from the recipe's own.
        folder: where the runs go, `folder/name/seed0`, and what came of them: `results.csv`, a row
            for each run, and `results.json`, with the recipes, means and standard deviations.
        on_run: called after every run with its variation, its seed, and all of them.
        how: see `train_once`.

    Returns:
        a Trial for each variation.

    Raises:
        ValueError: a run in the folder is of another recipe.
    """
    trials = [Trial(name, recipe) for name, recipe in variations]
    for number in range(seeds):  # each variation once, before any is trained again
        for trial in trials:
            seed = trial.recipe.seed + number
            name = trial.name.replace(" + ", "+").replace(" ", "-")
            run = os.path.join(folder, name, f"seed{seed}")
            trial.runs[seed] = train_once(trial.recipe.changed(seed=seed), run, **how)
            write_results(trials, folder, how.get("device", "cpu"))
            if on_run is not None:
                on_run(trial, seed, trials)
    return trials


def train_once(
    recipe: Recipe,
    run: str | os.PathLike[str],
    *,
    root: str | None = None,
    device: Any = "cpu",
    workers: int = 1,
    download: bool = False,
    **fit_arguments: Any,
) -> list[Row]:
    """Train by a recipe in the folder `run`, go on with what is there, or read it if it is done.

    Args:
        root, device, workers, download: see `recipes.build`.
        fit_arguments: see `training.fit`.

    Returns:
        one row an epoch, see `training.fit`.

    Raises:
        ValueError: the folder is of another recipe.
    """
    log = os.path.join(run, "log.csv")
    if os.path.exists(os.path.join(run, "recipe.json")):
        if read_recipe(run) != Recipe(**json.loads(json.dumps(asdict(recipe)))):
            raise ValueError(
                f"{os.fspath(run)} holds a run of another recipe; choose another folder for these "
                "runs, or remove that one"
            )
        if os.path.exists(log) and len(history := read_log(log)) >= recipe.epochs:
            return history
    parts = build(recipe, root=root, device=device, workers=workers, download=download)
    write_recipe(recipe, run)
    return parts.fit(run=run, resume=True, **fit_arguments)


# -- what came of it ------------------------------------------------------------------------------


def table(trials: Sequence[Trial], value: str = "") -> str:
    """Mean and standard deviation of each variation, and how far it lies from the first, as text.

    A difference is given with its standard error, made of both spreads.
    """
    width = max(len(trial.name) for trial in trials)
    heads = ("mean", "std", "against the first")
    lines = [f"{'':{width}}  {heads[0]:>8}  {heads[1]:>6}  {heads[2]:>17}  each run"]
    first = trials[0]
    for trial in trials:
        each = " ".join(f"{100 * score:.2f}" for score in trial.scores(value))
        lines.append(
            f"{trial.name:{width}}  {_percent(trial.mean(value), '6.2f'):>8}  "
            f"{_percent(trial.std(value), '.2f', ''):>6}  "
            f"{'' if trial is first else _difference(trial, first, value):>17}  {each}"
        )
    runs = len(first.runs)
    if runs > 1:
        lines.append(f"std: of one run, from {runs}; ±: standard error of the difference of means")
    return "\n".join(line.rstrip() for line in lines)


def _percent(share: float, form: str, unit: str = " %") -> str:
    return "-" if math.isnan(share) else f"{100 * share:{form}}{unit}"


def _difference(trial: Trial, first: Trial, value: str) -> str:
    difference = trial.mean(value) - first.mean(value)
    if math.isnan(difference):
        return "-"
    error = math.sqrt(
        trial.std(value) ** 2 / len(trial.runs) + first.std(value) ** 2 / len(first.runs)
    )
    return f"{100 * difference:+.2f}" + ("" if math.isnan(error) else f" ± {100 * error:.2f}")


def write_results(trials: Sequence[Trial], folder: str | os.PathLike[str], device: Any) -> None:
    """Write results.csv and results.json of all runs so far, each in one step."""
    with (
        replace_file(os.path.join(folder, "results.csv")) as temporary,
        open(temporary, "w", newline="") as file,
    ):
        writer = csv.writer(file)
        score = trials[0].value
        names = [score, "test_loss", score.replace("test_", "train_"), "train_loss"]
        writer.writerow(["variation", "seed", "epochs", *names, "seconds"])
        for trial in trials:
            for seed, history in trial.runs.items():
                seconds = sum(row["seconds"] for row in history)
                values = [history[-1].get(name, "") for name in names]
                writer.writerow([trial.name, seed, len(history), *values, round(seconds, 1)])
    found = {
        "machine": describe_machine(device),
        "trials": [
            {
                "name": trial.name,
                "mean": _number(trial.mean()),
                "std": _number(trial.std()),
                "seeds": list(trial.runs),
                trial.value: trial.scores(),
                "seconds": round(trial.seconds, 1),
                "recipe": asdict(trial.recipe),
            }
            for trial in trials
        ],
    }
    with (
        replace_file(os.path.join(folder, "results.json")) as temporary,
        open(temporary, "w") as file,
    ):
        json.dump(found, file, indent=2)
        file.write("\n")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value  # JSON has no NaN
