"""The ladder from a residual network of 2015 to one of 2021: one change of the recipe a step.

Bello, Fedus, Du, Cubuk, Srinivas, Lin, Shlens, Zoph, "Revisiting ResNets", 2021, table 1: the same
ResNet-200 on ImageNet, each step added to those before it.

    step                        top-1 accuracy, %     what it is
    ResNet-200                  79.0
    cosine schedule             79.3                  Loshchilov, Hutter 2016
    more epochs                 78.8                  350 in place of 90
    averaged weights            79.1                  EMA; Polyak, Juditsky 1992
    label smoothing             80.4                  Szegedy et al. 2015
    stochastic depth            80.6                  Huang et al. 2016
    RandAugment                 81.0                  Cubuk et al. 2019
    dropout                     80.7                  before the last layer
    less weight decay           82.2                  regularised otherwise by now
    squeeze-and-excitation      82.9                  Hu et al. 2017
    ResNet-D                    83.4                  He T. et al. 2018

More epochs, and dropout, cost accuracy where they stand: the first overfits until something
regularises, the second regularises too much until the weight decay is lowered.
"""

from __future__ import annotations

import inspect
from typing import Any

from .. import models
from .recipes import Recipe

__all__ = ["LADDER", "walk"]

Changes = dict[str, Any]

# Names are those of `Recipe`; "options" are the network's, and added to those it has. The fourfold
# epochs of the paper are a factor here, so that a short run stays in proportion.
LADDER: list[tuple[str, Changes]] = [
    ("cosine schedule", {"schedule": "cosine"}),
    ("more epochs", {"epochs": 4}),
    ("averaged weights", {"ema": 0.9999}),
    ("label smoothing", {"label_smoothing": 0.1}),
    ("stochastic depth", {"options": {"stochastic_depth_prob": 0.2}}),
    ("RandAugment", {"augment": "+randaugment:2,15"}),
    ("dropout", {"options": {"dropout": 0.25}}),
    ("less weight decay", {"weight_decay": 4e-5}),
    ("squeeze-and-excitation", {"options": {"se": True}}),
    ("ResNet-D", {"options": {"shortcut": "D", "deep_stem": True}}),
]


def walk(
    recipe: Recipe, ladder: list[tuple[str, Changes]] | None = None
) -> tuple[list[tuple[str, Recipe]], list[str]]:
    """A recipe, and what becomes of it step by step.

    Args:
        recipe: to start from, with its schedule "step".
        ladder: (name of the step, changes); default: `LADDER`. "epochs" is a factor, and an
            "augment" that begins with "+" is added to the recipe's.

    Returns:
        [(name, recipe), ...], the first being the recipe itself, and the names of steps that were
        left out because the network has no such options.
    """
    known = inspect.signature(getattr(models, recipe.model)).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in known.values())
    steps, left_out = [(recipe.model, recipe)], []
    for name, changes in LADDER if ladder is None else ladder:
        options = changes.get("options", {})
        if not takes_all and not set(options) <= set(known):
            left_out.append(name)
            continue
        recipe = _apply(recipe, changes)
        steps.append((name, recipe))
    return steps, left_out


def _apply(recipe: Recipe, changes: Changes) -> Recipe:
    changes = dict(changes)
    recipe = recipe.with_options(**changes.pop("options", {}))
    if "epochs" in changes:
        changes["epochs"] *= recipe.epochs
    if changes.get("augment", "").startswith("+"):
        added = changes["augment"]
        changes["augment"] = added[1:] if recipe.augment == "none" else recipe.augment + added
    return recipe.changed(**changes)
