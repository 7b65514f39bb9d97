"""What a network saves that is applied to the whole picture in place of each window: Long,
Shelhamer, Darrell, "Fully convolutional networks for semantic segmentation", 2015, section 3.1: a
10 x 10 grid of AlexNet's scores "more than 5 times faster than the naive approach" on a GPU.

Twice the same network answers for the same windows, once one window after the other and once for
all of them together, where what windows share is computed only once. The answers are compared, and
the times (of the processors, so that other work on the machine does not count):

1. AlexNet without zeros around its maps. A window is then 355 x 355 pixels, and the next one begins
   32 pixels on. Its fully connected layers become convolutions (`convolutionalize`).
2. Ciresan et al. 2012, network N4: the window of 95 x 95 around each pixel of a picture, against
   each layer once for the whole picture (`SlidingWindow.dense`).

Beside them stands what it costs to give a score to each pixel of a picture of 512 x 512, in
multiply-adds: so, by convolutions at full resolution, and by U-Net.

    python examples/sliding_window.py              half a minute on one core
    python examples/sliding_window.py --quick      narrow networks: does it run?

It needs no data (MINIDL_DATA is not read): weights and pictures are random, each of the --seeds
other ones, and what is measured does not depend on them.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import minidl as md
from minidl import nn
from minidl.models.classification.alexnet import AlexNet
from minidl.models.segmentation.baselines import SlidingWindow, multiply_adds
from minidl.models.segmentation.fcn import convolutionalize
from minidl.training.machine import describe_machine

STEP = 32  # pixels between AlexNet's windows
WINDOW = 355  # 6 -> 13 -> 19 -> 39 -> 43 -> 87 -> 355, from fc6 back to the picture


class Measured(NamedTuple):
    """Processor time of both ways in seconds, their multiply-adds, and how far scores are apart."""

    windows: float
    at_once: float
    windows_adds: int
    at_once_adds: int
    difference: float  # the largest, over the largest score

    def __str__(self) -> str:
        return (
            f"{self.windows:8.2f} s{self.at_once:10.3f} s{self.windows / self.at_once:9.1f} x"
            f"{self.windows_adds / self.at_once_adds:12.1f} x{self.difference:14.1e}"
        )


def best(call: Callable[[], np.ndarray], times: int) -> tuple[float, np.ndarray]:
    """The shortest processor time of several calls, in seconds, and the last result."""
    seconds = []
    for _ in range(times):
        began = time.process_time()
        result = call()
        seconds.append(time.process_time() - began)
    return min(seconds), result


@md.no_grad()
def alexnet(grid: int, narrow: bool) -> Measured:
    """A grid x grid of AlexNet's scores."""
    net = AlexNet(10, widths=(4,) * 5, hidden=8) if narrow else AlexNet(1000)
    net.eval()
    for layer in net.classifier:
        if isinstance(layer, nn.Linear):  # so that scores do not fade from layer to layer
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    sliding = convolutionalize(net, padding=False)
    side = WINDOW + STEP * (grid - 1)
    picture = md.randn(1, 3, side, side)

    def one_by_one() -> np.ndarray:
        rows = []
        for top in range(0, side - WINDOW + 1, STEP):
            row = []
            for left in range(0, side - WINDOW + 1, STEP):
                window = picture[:, :, top : top + WINDOW, left : left + WINDOW]
                row.append(sliding(window).data[0, :, 0, 0])
            rows.append(row)
        return np.array(rows).transpose(2, 0, 1)

    at_once, heat = best(lambda: sliding(picture).data[0], 3)
    windows, scores = best(one_by_one, 1)
    return Measured(
        windows,
        at_once,
        grid**2 * nn.summary(sliding, (1, 3, WINDOW, WINDOW)).multiply_adds,
        nn.summary(sliding, picture.shape).multiply_adds,
        apart(heat, scores),
    )


@md.no_grad()
def n4(side: int, narrow: bool) -> Measured:
    """Scores of each pixel of a picture of side x side."""
    net = SlidingWindow(2, 1, width=4, hidden=8) if narrow else SlidingWindow(2, 1)
    picture = md.randn(1, 1, side, side)
    at_once, dense = best(lambda: net.dense(picture).data, 3)
    windows, scores = best(lambda: net(picture).data, 1)

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: md.Tensor) -> md.Tensor:
            return self.net.dense(x)

    one = nn.summary(net.classifier, (1, 1, net.window, net.window)).multiply_adds
    whole = nn.summary(Dense(), picture.shape).multiply_adds
    return Measured(windows, at_once, one * side**2, whole, apart(dense, scores))


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1, help="other weights (default: 1)")
    parser.add_argument("--quick", action="store_true", help="narrow networks, few windows")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error(f"--seeds must be 1 at least, not {args.seeds}")
    print("The sliding window, one by one and at once (Long et al. 2015, section 3.1)\n")
    print(f"{'':34} one by one     at once  speed-up  multiply-adds  scores apart by")
    grid, side = (3, 16) if args.quick else (10, 32)
    cases = {
        f"AlexNet, a grid of {grid} x {grid}": lambda: alexnet(grid, args.quick),
        f"N4, each pixel of {side} x {side}": lambda: n4(side, args.quick),
    }
    for name, measure in cases.items():
        speed_ups = []
        for seed in range(args.seeds):
            md.manual_seed(seed)
            found = measure()
            speed_ups.append(found.windows / found.at_once)
            print(f"{name:34}{found}", flush=True)
        if args.seeds > 1:
            spread = f"{statistics.mean(speed_ups):.1f} ± {statistics.stdev(speed_ups):.1f}"
            print(f"  speed-up over {args.seeds} seeds: {spread}")
    print("published for AlexNet's grid of 10 x 10, on a GPU: more than 5 x")
    print("\nmultiply-adds for a picture of 512 x 512, two classes:")
    for name, count in multiply_adds(512, 512).items():
        print(f"  {name:26}{count:>22,}")
    print(f"\ncommand: {shlex.join(['python', *sys.argv])}\nmachine: {describe_machine()}")
