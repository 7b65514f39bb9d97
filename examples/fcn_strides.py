"""FCN-32s, -16s and -8s on generated scenes: Long, Shelhamer, Darrell, "Fully convolutional
networks for semantic segmentation", 2015, section 4.2, table 2 and figure 4: mean IoU 59.4 %,
62.4 % and 62.7 % on VOC 2011. The finer the layer whose scores are added, the finer the answer.

As in the paper the networks are trained in stages: FCN-32s from random weights (the paper has a
trained VGG-16), FCN-16s from FCN-32s, FCN-8s from FCN-16s, what is new in each starting as zeros or
as interpolation. So that a finer network is not better only for having been trained longer,
FCN-32s goes on, too, for as many steps as the others had in all.

The scenes are minidl's: discs, rectangles and triangles of a quarter to half of the picture's 96
pixels, drawn by chance; asked is what is an object and what is background. The networks have one
convolution in each stage (VGG-16: 2 or 3), 8 to 64 maps (64 to 512) and 128 in fc6 and fc7 (4096),
so that two cores train them.

    python examples/fcn_strides.py                 three seeds: 5 minutes on one core
    python examples/fcn_strides.py --quick         does it run?

It needs no data (MINIDL_DATA is not read), and draws `fcn_strides.png` into the folder of the runs:
scenes, their truth, and what each network says.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
from typing import Any

import numpy as np

import minidl as md
from minidl import nn, optim
from minidl.data import DataLoader, Scenes, joint
from minidl.data.transforms import Normalize
from minidl.io import replace_file
from minidl.metrics import ConfusionMatrix
from minidl.models.segmentation.fcn import FCN
from minidl.plot import class_colours, paint_mask
from minidl.training import evaluate, fit
from minidl.training.machine import describe_machine, duration

PUBLISHED = {"FCN-32s": 59.4, "FCN-16s": 62.4, "FCN-8s": 62.7}
SHAPES = ("disc", "rectangle", "triangle")
MEAN, STD = (0.495, 0.490, 0.490), (0.185, 0.190, 0.193)
CLASSES = ("background", "object")
SIZE = 96
BATCH = 4
LR = 2e-3

# name: stride, which weights it starts from, epochs
STAGES: dict[str, tuple[int, str | None, int]] = {
    "FCN-32s": (32, None, 12),
    "FCN-16s": (16, "FCN-32s", 5),
    "FCN-8s": (8, "FCN-16s", 5),
    "FCN-32s, as long": (32, "FCN-32s", 10),
}


def scenes(count: int, train: bool) -> Scenes:
    return Scenes(
        count,
        SIZE,
        classes=SHAPES,
        objects=(2, 5),
        scale=(0.25, 0.5),
        difficulty=0.1,
        train=train,
        transform=joint.Compose([joint.ImageOnly(Normalize(MEAN, STD)), objects_of]),
    )


def objects_of(image: np.ndarray, mask: np.ndarray, rng: Any) -> tuple[np.ndarray, np.ndarray]:
    """1 for an object, of whichever class."""
    return image, (mask > 0).astype(np.int64)


def build(stride: int) -> FCN:
    return FCN(
        len(CLASSES), stride, dropout=0.0, convs=(1,) * 5, widths=(8, 16, 32, 64, 64), hidden=128
    )


def train(seed: int, count: int, most: int, tested: int) -> tuple[dict[str, FCN], dict[str, Any]]:
    """All stages, each for `most` epochs at most: the networks, and for each its scores."""
    md.manual_seed(seed)
    found: dict[str, FCN] = {}
    scores: dict[str, Any] = {}
    for name, (stride, before, epochs) in STAGES.items():
        net = build(stride)
        if before is not None:
            net.load_state_dict(found[before].state_dict(), strict=False)
        loader = DataLoader(scenes(count, train=True), BATCH, shuffle=True)
        epochs = min(epochs, most)
        optimizer = optim.Adam([p for p in net.parameters() if p.requires_grad], lr=LR)
        cosine = optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
        history = fit(
            net,
            optimizer,
            nn.CrossEntropyLoss(),
            loader,
            epochs=epochs,
            scheduler=cosine,
            scheduler_every="batch",
            progress=False,
        )
        found[name] = net
        scores[name] = score(net, tested) | {"seconds": sum(row["seconds"] for row in history)}
        loss, iou = history[-1]["train_loss"], scores[name]["mean_iou"]
        print(f"  seed {seed}, {name}: loss {loss:.4f}, mean IoU {iou:.2%}", flush=True)
    return found, scores


def score(net: FCN, count: int) -> dict[str, float]:
    """Pixel accuracy and mean IoU on scenes that were not trained on."""
    counts = ConfusionMatrix(CLASSES)
    evaluate(net, DataLoader(scenes(count, train=False), 8), metrics={"pixels": counts})
    return {name: float(value) for name, value in counts.scores().items()}


@md.no_grad()
def draw(nets: dict[str, FCN], path: str, rows: int = 3) -> None:
    """Scenes, their truth, and the answers of the three networks, as a PNG."""
    from matplotlib.figure import Figure

    names = list(PUBLISHED)
    colours = class_colours(CLASSES)
    figure = Figure(figsize=(7.6, 1.56 * rows + 0.2), layout="constrained")
    panels = figure.subplots(rows, 2 + len(names), squeeze=False)
    for i, line in enumerate(panels):
        image, truth = (part.numpy() for part in scenes(rows, train=False)[i])
        answers = [nets[name].eval()(md.tensor(image[None])).data[0].argmax(0) for name in names]
        mean, std = (np.reshape(v, (3, 1, 1)) for v in (MEAN, STD))
        pictures = [image * std + mean, *(paint_mask(m, colours) for m in (truth, *answers))]
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(np.clip(picture, 0, 1).transpose(1, 2, 0), interpolation="nearest")
            axes.axis("off")
    for axes, title in zip(panels[0], ("scene", "truth", *names), strict=True):
        axes.set_title(title, fontsize=10)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


def report(runs: list[dict[str, Any]]) -> str:
    """The table: published and ours.

    Args:
        runs: scores by the names of the stages, one dictionary a seed.
    """
    over = f"mean ± standard deviation over {len(runs)} seeds" if len(runs) > 1 else "one seed"
    lines = [
        f"new scenes after the last epoch, {over}",
        f"{'':18}  published, VOC  {'mean IoU':>18}  {'pixel accuracy':>18}  training",
    ]
    for name in STAGES:
        theirs = f"{PUBLISHED[name]:.1f} %" if name in PUBLISHED else "-"
        cells = []
        for part in ("mean_iou", "pixel_accuracy"):
            values = [100 * run[name][part] for run in runs]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread} %")
        seconds = statistics.mean(run[name]["seconds"] for run in runs)
        lines.append(
            f"{name:18}  {theirs:>14}  {cells[0]:>18}  {cells[1]:>18}  {duration(seconds)}"
        )
    for number, run in enumerate(runs):
        each = (f"{name} {100 * run[name]['mean_iou']:.2f}" for name in STAGES)
        lines.append(f"seed {number}: " + ", ".join(each))
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs (default: 3)")
    parser.add_argument("--scenes", type=int, default=100, help="to train on (default: 100)")
    parser.add_argument("--quick", action="store_true", help="one epoch on a few scenes")
    kept = "for the results; what is there is not trained again"
    parser.add_argument("--out", metavar="FOLDER", help=kept)
    args = parser.parse_args()
    for name in ("seeds", "scenes"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be 1 at least, not {getattr(args, name)}")
    out = args.out or "runs/fcn_strides" + ("-quick" if args.quick else "")
    os.makedirs(out, exist_ok=True)
    count, tested, most = (8, 4, 1) if args.quick else (args.scenes, 100, 100)
    print("FCN-32s, -16s and -8s on generated scenes (Long et al. 2015, table 2)")
    results = os.path.join(out, f"results-{count}.json")
    runs: list[dict[str, Any]] = []
    if os.path.isfile(results):
        with open(results) as file:
            runs = json.load(file)
    for seed in range(len(runs), args.seeds):
        nets, scores = train(seed, count, most, tested)
        if seed == 0:
            draw(nets, os.path.join(out, "fcn_strides.png"))
        runs.append(scores)
        with replace_file(results) as temporary, open(temporary, "w") as file:
            json.dump(runs, file, indent=1)
    print(report(runs[: args.seeds]))
    epochs = (min(number, most) for _, _, number in STAGES.values())
    print(f"{count} training scenes, {tested} new ones; epochs: {', '.join(map(str, epochs))}")
    print(f"command: {shlex.join(['python', *sys.argv])}\nmachine: {describe_machine()}")
    print(f"drawn: {os.path.join(out, 'fcn_strides.png')}")
