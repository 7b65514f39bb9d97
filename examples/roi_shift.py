"""RoIPool against RoIAlign under shifts of less than a cell: He, Gkioxari, Dollar, Girshick, "Mask
R-CNN", 2017, section 3.

RoIPool rounds a box to whole cells of the feature map, and its bins again; RoIAlign rounds nothing.
What that costs is measured on feature maps that are known everywhere, not only in their cells: sums
of plane waves, 4 to 16 cells long. Two shifts of 0 to 1 cells, along both axes:

1. The picture and the box move together, as when an object stands a few pixels further: the map has
   the moved waves. What is pooled should stay as it is. Measured: its relative change,
   |pooled(s) - pooled(0)| / |pooled(0)|, Euclidean norms over the 7 x 7 bins and all channels, a
   mean over the boxes.
2. The box alone moves. What is pooled should follow the waves. Measured: the relative error against
   the ideal, |pooled(s) - ideal(s)| / |ideal(s)|, which is, of 8 x 8 places in each bin of the true
   box, the largest wave for RoIPool and the mean for the others.

The third in the comparison is RoIAlign of a rounded box: it differs from RoIAlign by the rounding
of the box and from RoIPool by that of the bins and by means for maxima, so that it says which of
them breaks the equivariance.

    python examples/roi_shift.py                   five seeds: half a minute on one core
    python examples/roi_shift.py --quick           does it run?

It needs no data (MINIDL_DATA is not read), and draws `roi_shift.png` beside its table.
"""

import argparse
import os
from typing import NamedTuple

import numpy as np

import minidl as md
from minidl.io import replace_file
from minidl.nn import functional as F

BINS = 7
CELLS = 40  # of the map along each axis
WAVES = 6  # in each channel

# Told apart by colour-blind readers, too.
COLOURS = {"RoIPool": "#d55e00", "RoIAlign, rounded box": "#999999", "RoIAlign": "#0072b2"}


class Waves(NamedTuple):
    """Feature maps that are known at every place: each channel a sum of plane waves."""

    x: np.ndarray  # (C, W) radians by cell
    y: np.ndarray
    phase: np.ndarray  # (C, W)

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Their values (..., C, P, Q) on the grid of places y (..., P) and x (..., Q), cells."""
        # cos(a + b) is the real part of a product, by which a grid of places is a matrix product.
        rows = np.exp(1j * (self.y[..., None] * y[..., None, None, :] + self.phase[..., None]))
        columns = np.exp(1j * self.x[..., None] * x[..., None, None, :])
        return (rows.swapaxes(-1, -2) @ columns).real / np.sqrt(WAVES / 2)


def draw_waves(channels: int, rng: np.random.Generator) -> Waves:
    length = np.exp(rng.uniform(np.log(4), np.log(16), (channels, WAVES)))
    direction = rng.uniform(0, 2 * np.pi, (channels, WAVES))
    k = 2 * np.pi / length
    phase = rng.uniform(0, 2 * np.pi, (channels, WAVES))
    return Waves(k * np.cos(direction), k * np.sin(direction), phase)


def draw_boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """(K, 4) x1, y1, x2, y2 in cells, 7 to 20 long, more than two cells within the map."""
    sides = rng.uniform(7, 20, (count, 2))
    corner = rng.uniform(2, CELLS - 3 - sides)
    return np.concatenate([corner, corner + sides], axis=1)


def pool(name: str, waves: Waves, boxes: np.ndarray, moved: float) -> np.ndarray:
    """(K, C, 7, 7) of boxes on the map whose waves have moved right and down by so many cells."""
    middles = np.arange(CELLS) + 0.5 - moved
    features = md.Tensor(waves.at(middles, middles)[None])
    if name == "RoIAlign, rounded box":
        boxes = np.round(boxes)
    rois = np.concatenate([np.zeros((len(boxes), 1)), boxes], axis=1)
    if name == "RoIPool":
        return F.roi_pool(features, rois, BINS).numpy()
    return F.roi_align(features, rois, BINS, sampling_ratio=2, aligned=True).numpy()


def ideal(name: str, waves: Waves, boxes: np.ndarray, density: int = 8) -> np.ndarray:
    """(K, C, 7, 7): the largest value or the mean in each bin of the box, rounding nothing."""
    share = (np.arange(BINS * density) + 0.5) / (BINS * density)
    x, y = (
        boxes[:, axis, None] + share * (boxes[:, axis + 2] - boxes[:, axis])[:, None]
        for axis in (0, 1)
    )
    values = waves.at(x, y)
    values = values.reshape(*values.shape[:2], BINS, density, BINS, density)
    return values.max(axis=(3, 5)) if name == "RoIPool" else values.mean(axis=(3, 5))


def relative(difference: np.ndarray, to: np.ndarray) -> float:
    """The norm of each box's difference over that of what it is compared with; their mean."""
    norms = [np.sqrt((v**2).sum(axis=(1, 2, 3))) for v in (difference, to)]
    return float((norms[0] / norms[1]).mean())


def change_when_all_moves(name: str, waves: Waves, boxes: np.ndarray, shift: float) -> float:
    before = pool(name, waves, boxes, moved=0.0)
    return relative(pool(name, waves, boxes + shift, moved=shift) - before, before)


def error_when_the_box_moves(name: str, waves: Waves, boxes: np.ndarray, shift: float) -> float:
    expected = ideal(name, waves, boxes + shift)
    return relative(pool(name, waves, boxes + shift, moved=0.0) - expected, expected)


def measure(seeds: int, boxes: int, channels: int, shifts: np.ndarray) -> dict[str, np.ndarray]:
    """For each way to pool (2, seeds, S): the change and the error at each shift."""
    found: dict[str, np.ndarray] = {name: np.zeros((2, seeds, len(shifts))) for name in COLOURS}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        waves, places = draw_waves(channels, rng), draw_boxes(boxes, rng)
        for name, values in found.items():
            for i, shift in enumerate(shifts):
                values[0, seed, i] = change_when_all_moves(name, waves, places, shift)
                values[1, seed, i] = error_when_the_box_moves(name, waves, places, shift)
    return found


def report(found: dict[str, np.ndarray]) -> None:
    """Print both measures: means over shifts, with the standard deviation over seeds."""
    seeds = next(iter(found.values())).shape[1]
    print(f"shifts of 0 to 1 cells, {seeds} seeds (mean ± standard deviation; at most)\n")
    print("                        all moves: change          the box moves: error")
    for name, values in found.items():
        shown = []
        for part in values:
            means = 100 * part.mean(axis=1)
            spread = f" ± {means.std(ddof=1):.1f}" if seeds > 1 else ""
            shown.append(f"{means.mean():5.1f}{spread} % (at most {100 * part.max():.1f} %)")
        print(f"{name:22}  {shown[0]:26} {shown[1]}")


def draw(found: dict[str, np.ndarray], shifts: np.ndarray, path: str) -> None:
    """The first measure over the shift, and one bin's value while its box moves, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    panels = figure.subplots(1, 2)
    for name, values in found.items():
        mean = 100 * values[0].mean(axis=0)
        panels[0].plot(shifts, mean, color=COLOURS[name], label=f"{name}, mean {mean.mean():.1f} %")
    panels[0].set(title="picture and box move together", ylim=(0, None))
    panels[0].set_ylabel("relative change of what is pooled, %")
    rng = np.random.default_rng(0)
    waves, boxes = draw_waves(1, rng), draw_boxes(1, rng)
    steps = np.linspace(0, 3, 121)
    for name in ("RoIPool", "RoIAlign"):
        values, true = (
            [float(f(b)[0, 0, 3, 3]) for b in (boxes + step for step in steps)]
            for f in (
                lambda b, name=name: pool(name, waves, b, moved=0.0),
                lambda b, name=name: ideal(name, waves, b),
            )
        )
        panels[1].plot(steps, values, color=COLOURS[name], label=name)
        what = "largest" if name == "RoIPool" else "mean"
        panels[1].plot(steps, true, ":", color=COLOURS[name], label=f"{what} of the true bin")
    panels[1].set(title="the box moves: its middle bin", ylabel="pooled value")
    for panel in panels:
        panel.title.set_fontsize(10)
        panel.set_xlabel("shift, cells of the feature map")
        panel.grid(color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="other waves and boxes (default: 5)")
    parser.add_argument("--quick", action="store_true", help="few boxes, channels and shifts")
    parser.add_argument("--out", metavar="FOLDER", default="runs/roi_shift", help="of the picture")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error("--seeds must be at least 1")
    size = (8, 4, np.linspace(0, 1, 5)) if args.quick else (64, 16, np.linspace(0, 1, 33))
    found = measure(args.seeds, *size)
    report(found)
    os.makedirs(args.out, exist_ok=True)
    picture = os.path.join(args.out, "roi_shift.png")
    draw(found, size[2], picture)
    print(f"\ndrawn: {picture}")
