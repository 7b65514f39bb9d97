"""Degradation: He, Zhang, Ren, Sun, "Deep residual learning", 2015, figures 1 and 6.

More layers make a plain network worse, also on the images that it is trained on, so that it is no
overfitting: the deeper one is harder to train. With shortcuts the deeper one is better. Trained are
plain networks of 20 and 56 layers and ResNet-20 and ResNet-56 on CIFAR-10, with equal recipes.

The paper's schedule is 164 epochs. For two cores there is a reduced one: 10,000 of the images, 10
epochs, the rate divided by 10 after half and three quarters of them. What counts is not how low the
curves end but which lies above which.

    python examples/degradation.py                 the paper's on a GPU, the reduced one without
    python examples/degradation.py --short         the reduced one
    python examples/degradation.py --paper         the paper's
    python examples/degradation.py --quick         does it run?

Beside the table it draws `degradation.png` into the folder of the runs: the errors over the epochs,
left of the plain networks and right of the residual ones, as figure 6 does. The published errors of
the residual networks are those of table 6; for the plain ones the paper has the curves only.

The files of CIFAR-10 (binary version) are looked for in the folder MINIDL_DATA; --download fetches
them.
"""

import os
from collections.abc import Sequence

from minidl.io import replace_file
from minidl.training.ablation import Trial
from minidl.training.recipes import RECIPES
from minidl.training.reproduce import options, reproduce

NETWORKS = ("plain20", "plain56", "resnet20", "resnet56")
PUBLISHED = {"resnet20": 8.75, "resnet56": 6.97}

# Told apart by colour-blind readers, too.
COLOURS = {"20": "#0072b2", "56": "#d55e00"}


def draw(trials: Sequence[Trial], path: str) -> None:
    """Training (dashed) and test error of each epoch, means over seeds, as a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for trial in trials:
        panel = panels[0 if trial.name.startswith("plain") else 1]
        runs = list(trial.runs.values())
        epochs = [row["epoch"] for row in runs[0]]
        for part, style in (("train", "--"), ("test", "-")):
            errors = [
                100 * sum(1 - row[f"{part}_accuracy"] for row in rows) / len(rows)
                for rows in zip(*runs, strict=True)
            ]
            colour = COLOURS[trial.name[-2:]]
            label = f"{trial.name}, {part} {errors[-1]:.1f} %"
            marker = "o" if len(epochs) <= 20 else None
            panel.plot(
                epochs,
                errors,
                style,
                color=colour,
                marker=marker,
                markersize=3,
                linewidth=1.4,
                label=label,
            )
    for panel, title in zip(panels, ("plain", "residual"), strict=True):
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=9)
    panels[0].set_ylabel("error on CIFAR-10, %")
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


if __name__ == "__main__":
    args = options(__doc__, seeds=1, short="10 epochs on 10,000 images")
    recipes = [(name, RECIPES[name]) for name in NETWORKS]
    if args.short:
        recipes = [(name, r.changed(epochs=10, images=10_000)) for name, r in recipes]
    trials = reproduce(
        "Plain and residual networks on CIFAR-10 (He et al. 2015, figure 6), "
        + ("a reduced schedule" if args.short else "the paper's schedule"),
        recipes,
        PUBLISHED,
        args,
    )
    picture = os.path.join(args.out, "degradation.png")
    draw(trials, picture)
    print(f"drawn: {picture}")
