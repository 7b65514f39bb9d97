"""A recipe: all that decides a training run, as one small value that a run's folder keeps."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from .. import models
from ..io import replace_file

__all__ = ["Recipe", "read_recipe", "write_recipe"]


# The annotations of a recipe's fields: what a value is an instance of, and what a message calls it.
_TYPES: dict[Any, tuple[Any, str]] = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a finite number"),
    "bool": (bool, "true or false"),
    "dict[str, Any]": (dict, "names with values"),
    "list[str]": (list, "a list of names"),
}


@dataclass(frozen=True)
class Recipe:
    """A training run. Every switch is off by default, but for momentum and auxiliary classifiers.

    Attributes:
        model, options: the builder in `minidl.models`, and its keyword arguments: there are the
            switches that belong to a network, as `stochastic_depth_prob`, `dropout`,
            `zero_init_residual`, `se`.
        data: a name in `SOURCES`, of its task.
        classes: names of the classes, where only the files of the data say them.
        images: how many of its training images are used, and of its test images at most; chosen at
            random, the same for every seed; 0: all.
        size: height and width of the pictures that are trained on: scenes are drawn of that size,
            of others a window is cut at random; 0: the data's own.
        drop: whether bad annotations of objects are left out; else they are an error.
        augment: random changes to the training images, names of `AUGMENTS` joined by "+" (for
            segmentation of `JOINT_AUGMENTS`, for detection of `OBJECT_AUGMENTS`); "none".
        mixup, cutmix: alpha of `MixUp` and of `CutMix`, the mixtures of two training images; 0:
            none. With both, each batch has one of them.
        optimizer: "sgd" (with `momentum`, `nesterov`), "adam" or "adamw".
        lr: the learning rate.
        scale_lr: whether that is meant for batches of 256, and multiplied by batch_size / 256
            (Goyal et al. 2017, section 2.1).
        weight_decay: of the optimiser.
        decay: which parameters that acts on: "all", or "weights", which leaves out biases and the
            parameters of normalisation.
        schedule: "cosine" to zero over the run, "step" (a tenth after 1/2 and 3/4 of it) or
            "constant".
        warmup, warmup_epochs: in how many batches, and epochs, at first the rate is lower
            (Goyal et al. 2017, section 2.2).
        warmup_kind: "gradual": it rises linearly, to `lr` from the first batch's share of it, or
            with `scale_lr` from the rate that is not scaled up; "constant": it is a tenth.
        clip_norm: the largest norm of the gradient; 0: any.
        label_smoothing: of the cross entropy.
        loss: of a segmentation: "cross-entropy", "dice" or "cross-entropy+dice", their sum.
        balance: whether rare classes of a segmentation count more, by median frequency
            (Eigen and Fergus 2015, section 4.3).
        auxiliary: how much the loss of an auxiliary classifier counts, where a network has some.
        ema: decay of the averaged weights, which are evaluated in place of the last; 0: none.
        epochs, batch_size, seed: as they say.

    Raises:
        ValueError: a value of another type, or a number that is not finite.
    """

    model: str
    data: str
    options: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    images: int = 0
    size: int = 0
    drop: bool = False
    augment: str = "none"
    mixup: float = 0.0
    cutmix: float = 0.0
    optimizer: str = "sgd"
    lr: float = 0.1
    scale_lr: bool = False
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    decay: str = "all"
    schedule: str = "cosine"
    warmup: int = 0
    warmup_epochs: int = 0
    warmup_kind: str = "gradual"
    clip_norm: float = 0.0
    label_smoothing: float = 0.0
    loss: str = "cross-entropy"
    balance: bool = False
    auxiliary: float = 0.3
    ema: float = 0.0
    epochs: int = 10
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        # Recipes come from files and command lines, too.
        for part in fields(self):
            value = getattr(self, part.name)
            kind, words = _TYPES[part.type]
            right = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
            if not right or (isinstance(value, float) and not math.isfinite(value)):
                raise ValueError(f"{part.name} must be {words}, got {value!r}")

    def changed(self, **values: Any) -> Recipe:
        """A copy with the values that are not None in place of its own."""
        return replace(self, **{k: v for k, v in values.items() if v is not None})

    def with_options(self, **options: Any) -> Recipe:
        """A copy with these options of the network beside, or in place of, its own."""
        return replace(self, options={**self.options, **options})

    @property
    def task(self) -> str:
        """What the network is for: "classification", "segmentation" or "detection"."""
        if self.model in models.detection.__all__:
            return "detection"
        return "segmentation" if self.model in models.segmentation.__all__ else "classification"

    @property
    def rate(self) -> float:
        """The learning rate after the warm-up, scaled if that is asked for."""
        return self.lr * self.batch_size / 256 if self.scale_lr else self.lr


def write_recipe(recipe: Recipe, run: str | os.PathLike[str]) -> None:
    """Keep the recipe in the run's folder, as recipe.json."""
    path = os.path.join(run, "recipe.json")
    with replace_file(path) as temporary, open(temporary, "w") as file:
        json.dump(asdict(recipe), file, indent=2)
        file.write("\n")


def read_recipe(run: str | os.PathLike[str]) -> Recipe:
    """The recipe of a run's folder.

    Raises:
        FileNotFoundError: the folder is not that of a run.
        ValueError: its recipe.json is damaged.
    """
    path = os.path.join(run, "recipe.json")
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{os.fspath(run)} is not the folder of a run: it has no recipe.json"
        )
    with open(path) as file:
        try:
            return Recipe(**json.load(file))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is not a recipe: {error}") from None
