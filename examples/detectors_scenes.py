"""All small detectors on the same scenes: how accurate each becomes in the same time, and how fast
it is. One table of what lectures say in one sentence: one stage is fast, two stages are accurate
(Huang et al., "Speed/accuracy trade-offs for modern convolutional object detectors", 2017).

Each is trained on 1,000 generated scenes of 64 x 64 pixels, with one to four objects of 13 classes
(the ten digits, disc, rectangle, triangle), and tested on 200 others with digits that were in none
of the first. Each has the same number of minutes on one core, into which come the drawing of random
changes, selective search where regions come from there, and the later stages of R-CNN and SPP-net
(SVMs and box regressors). How many epochs fit is found from the time of a few steps before; over
these the rate falls along a cosine. Rates and random changes are those of `minidl train`, see
`minidl.training.recipes`. The localiser, which finds one object in a picture, has scenes of one
object, and compares with the others only in speed.

    python examples/detectors_scenes.py                    14 x 4 minutes on one core
    python examples/detectors_scenes.py --minutes 15       more for each
    python examples/detectors_scenes.py --only ssd_small yolo_v2_small
    python examples/detectors_scenes.py --quick            does it run?

It needs no data (MINIDL_DATA is not read). Into the folder of the runs it writes the table as
`detectors.csv` and `detectors.md`, and `detectors.png`: AP50 over pictures a second. Each system is
kept in a folder of its own there: what was interrupted goes on with the same command, and what is
done is not trained again. Times count only where nothing else runs on the machine.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import minidl as md
from minidl.data import DataLoader, Dataset, Scenes, batch_generator, list_collate
from minidl.io import replace_file
from minidl.models.detection.rcnn import StagedDetector, extract, train_boxes, train_svms
from minidl.training.machine import describe_machine, duration
from minidl.training.modes import eval_mode
from minidl.training.recipe import Recipe, read_recipe, write_recipe
from minidl.training.recipes import Run, build, default

SIZE = 64
TRAINING, TESTS = 1000, 200
BATCH = 8  # of test pictures

# Told apart by colour-blind readers, too, and by their shapes.
KINDS = {
    "one object": ("#999999", "P"),
    "sliding window": ("#cc79a7", "v"),
    "regions from outside": ("#e69f00", "s"),
    "one stage": ("#0072b2", "o"),
    "two stages": ("#d55e00", "^"),
}


class System(NamedTuple):
    """A detector: what the table calls it, and how it finds objects."""

    title: str
    kind: str


SYSTEMS = {
    "localization_small": System("Localisation", "one object"),
    "sliding_window_detector": System("Sliding window", "sliding window"),
    "overfeat_detector_small": System("OverFeat", "sliding window"),
    "rcnn_small": System("R-CNN", "regions from outside"),
    "spp_net_small": System("SPP-net", "regions from outside"),
    "fast_rcnn_small": System("Fast R-CNN", "regions from outside"),
    "fasterrcnn_small": System("Faster R-CNN", "two stages"),
    "rfcn_small": System("R-FCN", "two stages"),
    "maskrcnn_small": System("Mask R-CNN", "two stages"),
    "keypointrcnn_small": System("Keypoint R-CNN", "two stages"),
    "yolo_v1_small": System("YOLO v1", "one stage"),
    "yolo_v2_small": System("YOLO v2", "one stage"),
    "ssd_small": System("SSD", "one stage"),
    "retinanet_small": System("RetinaNet", "one stage"),
}

Row = dict[str, Any]


# -- scenes ---------------------------------------------------------------------------------------


class Kept(Dataset):
    """Scenes that are drawn once, and changed by chance each time they are asked for.

    Args:
        samples: (image, target) of `Scenes`.
        transform: None, or one of `minidl.data.joint`.
    """

    def __init__(self, samples: Sequence[Any], transform: Any = None) -> None:
        self.samples = samples
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        image, target = self.samples[index]
        if self.transform is None:
            return image, target
        arrays = {name: value.numpy() for name, value in target.items()}
        image, arrays = self.transform(image.numpy(), arrays, batch_generator())
        return md.tensor(image), {name: md.tensor(value) for name, value in arrays.items()}


@functools.cache
def draw_scenes(count: int, objects: tuple[int, int], train: bool) -> list[Any]:
    """So many scenes as (image, target)."""
    scenes = Scenes(count, SIZE, task="instances", objects=objects, train=train)
    return [scenes[i] for i in range(count)]


def scenes_for(name: str, train: bool, quick: bool) -> list[Any]:
    """The scenes from which a system learns, or with which it is tested."""
    count = (16 if train else 8) if quick else (TRAINING if train else TESTS)
    return draw_scenes(count, (1, 1) if SYSTEMS[name].kind == "one object" else (1, 4), train)


# -- training and testing -------------------------------------------------------------------------


def prepare(recipe: Recipe, quick: bool) -> Run:
    """The recipe's network and optimiser, with the scenes of this page."""
    parts = build(recipe)
    scenes = Kept(scenes_for(recipe.model, True, quick), parts.task.changes())
    tests = Kept(scenes_for(recipe.model, False, quick))
    parts.train = parts.task.batches(scenes, workers=0)
    parts.test = DataLoader(tests, BATCH, collate_fn=list_collate)
    return parts


def epochs_within(seconds: float, recipe: Recipe, quick: bool, steps: int = 8) -> int:
    """How many epochs take that long, from the time of a few steps; one at least.

    What is done for a picture once, selective search, is in the first step with it only, so that
    each batch goes through the network twice. For R-CNN and SPP-net time is left for the stages
    after fine-tuning: for the features of all scenes, and a half of that for what they teach.
    """
    parts = prepare(recipe, quick)
    parts.model.train()
    began = time.perf_counter()
    batches = [batch for _, batch in zip(range(steps), parts.train, strict=False)]
    make = (time.perf_counter() - began) / len(batches)
    first, again = [], []
    for images, targets in batches:
        for times in (first, again):
            began = time.perf_counter()
            parts.optimizer.zero_grad()
            sum(parts.model.losses(images, targets).values()).backward()
            parts.optimizer.step()
            times.append(time.perf_counter() - began)
    step = statistics.median(again)
    # A median, as the very first step takes longer than others.
    once = max(statistics.median(first) - step, 0.0)
    if isinstance(parts.model, StagedDetector):
        began = time.perf_counter()
        for images, targets in batches:
            list(extract(parts.model, images, targets))
        seconds -= 1.5 * (time.perf_counter() - began) / len(batches) * len(parts.train)
    return max(1, int((seconds / len(parts.train) - once) / (step + make)))


def train_system(name: str, minutes: float, seed: int, folder: str, quick: bool) -> Row:
    """Train in the folder, or go on there; then the later stages, if any, and the test."""
    if os.path.exists(os.path.join(folder, "recipe.json")):
        recipe = read_recipe(folder)
    else:
        recipe = default(name, "scenes").changed(size=SIZE, seed=seed)
        if quick:
            recipe = recipe.changed(images=16, epochs=1)
        else:
            recipe = recipe.changed(epochs=epochs_within(60 * minutes, recipe, quick))
        os.makedirs(folder, exist_ok=True)
        write_recipe(recipe, folder)
    parts = prepare(recipe, quick)
    tests, parts.test = parts.test, None  # once, at the end
    history = parts.fit(run=folder, resume=True, progress=False)
    seconds = sum(row["seconds"] for row in history)
    trained = len(parts.train.dataset) * len(history)
    row = {
        "system": name,
        "seed": seed,
        "epochs": recipe.epochs,
        "lr": recipe.lr,
        "loss": history[-1]["train_loss"],
        "images_per_second_training": trained / seconds,
    }
    if isinstance(parts.model, StagedDetector):
        seconds += train_later_stages(parts.model, scenes_for(name, True, quick))
    row |= test(parts, tests)
    row |= {"minutes": seconds / 60, "parameters": count_parameters(parts.model)}
    with replace_file(os.path.join(folder, "result.json")) as path, open(path, "w") as file:
        json.dump(row, file, indent=2)
        file.write("\n")
    return row


def train_later_stages(model: StagedDetector, scenes: Sequence[Any]) -> float:
    """Stages two to four of R-CNN and SPP-net, of scenes that nothing changes; the seconds."""
    began = time.perf_counter()
    images, targets = zip(*scenes, strict=True)
    features = list(extract(model, images, targets))
    train_svms(model, features)
    train_boxes(model, features)
    return time.perf_counter() - began


def test(parts: Run, tests: DataLoader) -> Row:
    """The scores on scenes that were not trained on, and how many are answered in a second."""
    for metric in parts.metrics.values():
        metric.reset()
    times, counts = [], []
    with eval_mode(parts.model):
        for images, targets in tests:
            began = time.perf_counter()
            found = parts.model.predict(images)
            times.append(time.perf_counter() - began)
            counts.append(len(images))
            for metric in parts.metrics.values():
                metric.update(found, targets)
    if len(times) > 1:  # the first takes longer than others
        times, counts = times[1:], counts[1:]
    row: Row = {"images_per_second_test": sum(counts) / sum(times)}
    for kind, metric in parts.metrics.items():
        prefix = "" if kind == "boxes" else f"{kind}_"
        row |= {prefix + score: float(value) for score, value in metric.scores().items()}
    return row


def count_parameters(model: Any) -> int:
    """All numbers that are learned, those of SVMs and box regressors included."""
    learned = list(model.parameters())
    if isinstance(model, StagedDetector):
        learned += [model.svm_weight, model.svm_bias, model.box_weight, model.box_bias]
    return sum(values.numel() for values in learned)


# -- the table ------------------------------------------------------------------------------------

NUMBERS = (
    "AP50",
    "AP",
    "parameters",
    "images_per_second_training",
    "images_per_second_test",
    "minutes",
)


def means_of(rows: Sequence[Row]) -> dict[str, Row]:
    """For each system the means over its seeds, and `spread`, the standard deviation of AP50."""
    found: dict[str, Row] = {}
    for name in dict.fromkeys(row["system"] for row in rows):
        mine = [row for row in rows if row["system"] == name]
        found[name] = {n: statistics.mean(row[n] for row in mine) for n in NUMBERS}
        found[name]["epochs"] = mine[0]["epochs"]
        if len(mine) > 1:
            found[name]["spread"] = statistics.stdev(row["AP50"] for row in mine)
    return found


def markdown(means: Mapping[str, Row]) -> str:
    """The table for people."""
    lines = [
        "| system | how | AP50 | AP | parameters | images/s, training | images/s, test | epochs "
        "| minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in means.items():
        spread = f" ± {100 * row['spread']:.1f}" if "spread" in row else ""
        cells = (
            SYSTEMS[name].title,
            SYSTEMS[name].kind,
            f"{100 * row['AP50']:.1f}{spread} %",
            f"{100 * row['AP']:.1f} %",
            f"{round(row['parameters']):,}",
            f"{row['images_per_second_training']:.0f}",
            f"{row['images_per_second_test']:.0f}",
            f"{row['epochs']}",
            f"{row['minutes']:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def compare_kinds(means: Mapping[str, Row]) -> list[str]:
    """For each way to find objects the means over its systems (so many), as lines of text."""
    lines = []
    for kind in KINDS:
        mine = [row for name, row in means.items() if SYSTEMS[name].kind == kind]
        if mine:
            ap50, speed = (
                statistics.mean(row[n] for row in mine) for n in ("AP50", "images_per_second_test")
            )
            lines.append(f"{kind} ({len(mine)}): AP50 {100 * ap50:.1f} %, {speed:.0f} images/s")
    return lines


def other_scores(rows: Sequence[Row]) -> list[str]:
    """What was scored beside boxes, as lines of text."""
    return [
        f"{SYSTEMS[row['system']].title}, seed {row['seed']}: {kind} AP50 "
        f"{100 * row[f'{kind}_AP50']:.1f} %, AP {100 * row[f'{kind}_AP']:.1f} %"
        for row in rows
        for kind in ("masks", "keypoints")
        if f"{kind}_AP50" in row
    ]


def write_table(rows: Sequence[Row], path: str) -> None:
    """All runs with all their numbers, as CSV."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replace_file(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def draw(means: Mapping[str, Row], path: str) -> None:
    """AP50 over pictures a second, as a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    for kind, (colour, shape) in KINDS.items():
        mine = [row for name, row in means.items() if SYSTEMS[name].kind == kind]
        if mine:
            speeds = [row["images_per_second_test"] for row in mine]
            scores = [100 * row["AP50"] for row in mine]
            axes.scatter(speeds, scores, s=46, color=colour, marker=shape, label=kind, zorder=3)
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.1)
    axes.set_xlabel("test images a second, one core")
    axes.set_ylabel("AP50 on new scenes, %")
    axes.grid(color="0.9", which="both")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=len(KINDS))
    figure.draw_without_rendering()  # from here on places are final
    places = {
        name: (row["images_per_second_test"], 100 * row["AP50"]) for name, row in means.items()
    }
    taken = []
    for place in places.values():
        x, y = axes.transData.transform(place)
        taken.append(Bbox.from_bounds(x - 4, y - 4, 8, 8))
    for name, place in places.items():
        label = None
        # Right of the mark, left of it, above or below: where there is room.
        for dx, dy, side in (
            (7, 0, "left"),
            (-7, 0, "right"),
            (0, 10, "center"),
            (0, -10, "center"),
        ):
            if label is not None:
                label.remove()
            label = axes.annotate(
                SYSTEMS[name].title,
                place,
                xytext=(dx, dy),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=8,
            )
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--minutes", type=float, default=4.0, help="of one core for each system (default: 4)")
    add("--only", nargs="+", choices=SYSTEMS, metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}")
    add("--seeds", type=int, default=1, help="runs of each system (default: 1)")
    add("--quick", action="store_true", help="one epoch on 16 scenes: whether it works at all")
    add("--out", metavar="FOLDER", help="for the runs; what is there is not trained again")
    args = parser.parse_args()
    if args.seeds < 1 or not args.minutes > 0:
        parser.error("--seeds must be 1 at least, and --minutes above 0")
    out = args.out or os.path.join("runs", "detectors_scenes" + ("-quick" if args.quick else ""))
    md.set_num_threads(1)
    each = "one epoch on 16 scenes" if args.quick else f"{args.minutes:g} minutes"
    print(
        f"{len(args.only or SYSTEMS)} x {args.seeds} detectors, {each} each, in {out}", flush=True
    )
    rows = []
    for name in args.only or SYSTEMS:
        for seed in range(args.seeds):
            budget = "quick" if args.quick else f"{args.minutes:g}min"
            folder = os.path.join(out, f"{name}-{budget}-{seed}")
            done = os.path.join(folder, "result.json")
            if os.path.exists(done):
                with open(done) as file:
                    row = json.load(file)
            else:
                row = train_system(name, args.minutes, seed, folder, args.quick)
            rows.append(row)
            print(
                f"  {name}, seed {seed}: AP50 {row['AP50']:.1%}, "
                f"{row['images_per_second_test']:.0f} images/s, {row['epochs']} epochs in "
                f"{duration(60 * row['minutes'])}",
                flush=True,
            )
    means = means_of(rows)
    picture = os.path.join(out, "detectors.png")
    text = "\n".join(
        [
            markdown(means),
            "",
            "Means, tests:",
            *compare_kinds(means),
            *other_scores(rows),
            f"command: {shlex.join(['python', *sys.argv])}",
            f"machine: {describe_machine()}",
        ]
    )
    write_table(rows, os.path.join(out, "detectors.csv"))
    with replace_file(os.path.join(out, "detectors.md")) as path, open(path, "w") as file:
        file.write(text + "\n")
    draw(means, picture)
    print(f"{text}\ndrawn: {picture}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on from there") from None
