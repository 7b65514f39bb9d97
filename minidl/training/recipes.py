"""Recipes: all that decides a training run, as one small value that a run's folder keeps.

`RECIPES[name]` is what `minidl train name` does by default, or else `DEFAULTS[data]`. `build` turns
a recipe into a model, loaders, an optimiser and a schedule, the same way for training, resuming and
evaluation.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from .. import models, nn, optim
from ..autograd import Tensor, no_grad
from ..backend.random import manual_seed
from ..data import DataLoader, transforms
from ..io import replace_file
from ..metrics import accuracy
from .augment import make_augment
from .auxiliary import AuxiliaryLoss
from .fit import fit
from .sources import Source, find_source

__all__ = [
    "DEFAULTS",
    "RECIPES",
    "Recipe",
    "Run",
    "build",
    "build_model",
    "read_recipe",
    "write_recipe",
]


# The annotations of a recipe's fields: what a value is an instance of, and what a message calls it.
_TYPES: dict[Any, tuple[Any, str]] = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a finite number"),
    "bool": (bool, "true or false"),
    "dict[str, Any]": (dict, "names with values"),
}


@dataclass(frozen=True)
class Recipe:
    """A training run. Every switch is off by default, but for momentum and auxiliary classifiers.

    Attributes:
        model, options: the builder in `minidl.models`, and its keyword arguments: there are the
            switches that belong to a network, as `stochastic_depth_prob`, `dropout`,
            `zero_init_residual`, `se`.
        data: a name in `SOURCES`.
        images: how many of its training images are used, and of its test images at most; chosen at
            random, the same for every seed; 0: all.
        augment: random changes to the training images, names of `AUGMENTS` joined by "+"; "none".
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
        auxiliary: how much the loss of an auxiliary classifier counts, where a network has some.
        ema: decay of the averaged weights, which are evaluated in place of the last; 0: none.
        epochs, batch_size, seed: as they say.

    Raises:
        ValueError: a value of another type, or a number that is not finite.
    """

    model: str
    data: str
    options: dict[str, Any] = field(default_factory=dict)
    images: int = 0
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
    def rate(self) -> float:
        """The learning rate after the warm-up, scaled if that is asked for."""
        return self.lr * self.batch_size / 256 if self.scale_lr else self.lr


_DIGITS: dict[str, Any] = {
    "augment": "affine",
    "lr": 0.03,
    "nesterov": True,
    "weight_decay": 5e-4,
    "warmup": 32,
    "epochs": 30,
    "batch_size": 64,
}

# He 2015, section 4.2: 64,000 iterations of 128; the rate falls at 32,000 and 48,000.
_CIFAR: dict[str, Any] = {
    "augment": "crop-flip",
    "weight_decay": 1e-4,
    "schedule": "step",
    "epochs": 164,
}

# What a network without a recipe of its own is trained with, by the name of the data.
DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": _DIGITS,
    "mnist": {**_DIGITS, "epochs": 10},
    "cifar10": _CIFAR,
}

RECIPES: dict[str, Recipe] = {
    "lenet5": Recipe("lenet5", "digits", **_DIGITS),
    "lenet5-mnist": Recipe("lenet5", "mnist", **{**_DIGITS, "epochs": 10}),
    "mlp": Recipe("mlp", "digits", **_DIGITS),
    "resnet20": Recipe("resnet20", "cifar10", **_CIFAR),
    "resnet32": Recipe("resnet32", "cifar10", **_CIFAR),
    "resnet44": Recipe("resnet44", "cifar10", **_CIFAR),
    "resnet56": Recipe("resnet56", "cifar10", **_CIFAR),
    # The same section: a rate of 0.01 until the training error is below 80 %, about 400 iterations.
    "resnet110": Recipe("resnet110", "cifar10", warmup=400, warmup_kind="constant", **_CIFAR),
    "plain20": Recipe("plain20", "cifar10", **_CIFAR),
    "plain56": Recipe("plain56", "cifar10", **_CIFAR),
}


@dataclass
class Run:
    """What `build` makes of a recipe. `train` and `scheduler` are None where only an evaluation
    was asked for, `ema` where the recipe has none.
    """

    recipe: Recipe
    model: Any
    optimizer: Any
    scheduler: Any
    criterion: Any
    ema: Any
    train: DataLoader | None
    test: DataLoader
    source: Source

    def fit(self, **arguments: Any) -> list[dict[str, float]]:
        """Train, and return the history.

        Args:
            arguments: of `minidl.training.fit`, beside those that the recipe decides.
        """
        return fit(
            self.model,
            self.optimizer,
            self.criterion,
            self.train,
            self.test,
            epochs=self.recipe.epochs,
            metrics={"accuracy": accuracy},
            scheduler=self.scheduler,
            scheduler_every="batch",
            ema=self.ema,
            clip_norm=self.recipe.clip_norm or None,
            **arguments,
        )


def build(
    recipe: Recipe,
    *,
    root: str | None = None,
    device: Any = "cpu",
    workers: int = 0,
    train: bool = True,
    download: bool = False,
) -> Run:
    """Seed the library, and make a model with its optimiser, schedule, loss and loaders.

    Args:
        root, download: see `Source.read`.
        device: where the model goes.
        workers: threads that prepare batches.
        train: whether the training images are needed (not for an evaluation).

    Raises:
        ValueError: a name in the recipe is unknown, a number is out of range, or the network is
            not made for the data.
        FileNotFoundError: the data set's files are missing.
    """
    _check(recipe)
    manual_seed(recipe.seed)
    model = build_model(recipe).to(device)
    source = find_source(recipe.data)
    _try_out(model, recipe, source, device)
    normalize = transforms.Normalize(source.mean, source.std)
    augment = make_augment(recipe.augment, source.shape[1:], normalize)
    images = _some(source.read(root, train=False, download=download), recipe.images)
    images.transform = normalize
    test = DataLoader(images, batch_size=500, num_workers=workers)
    optimizer = _optimizer(recipe, model)
    criterion = AuxiliaryLoss(
        nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing), recipe.auxiliary
    )
    ema = optim.EMA(model, recipe.ema, warmup=True) if recipe.ema else None
    run = Run(recipe, model, optimizer, None, criterion, ema, None, test, source)
    if not train:
        return run
    images = _some(source.read(root, train=True, download=download), recipe.images)
    images.transform = augment
    run.train = DataLoader(
        _mixed(recipe, images, len(source.classes)),
        batch_size=recipe.batch_size,
        shuffle=True,
        drop_last=len(images) % recipe.batch_size == 1,  # BatchNorm needs two samples
        num_workers=workers,
        seed=recipe.seed,
    )
    if not len(run.train):
        raise ValueError(f"images={recipe.images}: BatchNorm needs two images in a batch at least")
    run.scheduler = _schedule(recipe, optimizer, len(run.train))
    return run


def _check(recipe: Recipe) -> None:
    """Refuse numbers that nothing below would refuse before the training begins."""
    for name in ("clip_norm", "mixup", "cutmix", "warmup", "warmup_epochs", "images", "auxiliary"):
        if getattr(recipe, name) < 0:
            raise ValueError(f"{name} must not be negative, got {getattr(recipe, name)}")
    for name in ("epochs", "batch_size"):
        if getattr(recipe, name) < 1:
            raise ValueError(f"{name} must be 1 at least, got {getattr(recipe, name)}")
    if recipe.warmup_epochs > recipe.epochs:
        raise ValueError(
            f"the warm-up of {recipe.warmup_epochs} epochs is longer than the run of "
            f"{recipe.epochs}; change warmup_epochs or epochs"
        )
    if not 0 <= recipe.label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be in [0, 1], got {recipe.label_smoothing}")


def build_model(recipe: Recipe) -> Any:
    """The network of a recipe, with random weights.

    Raises:
        ValueError: there is no network of that name, or it has no such options.
    """
    if recipe.model not in models.__all__:
        known = ", ".join(sorted(models.__all__))
        raise ValueError(f"unknown network {recipe.model!r}; known are {known}")
    try:
        return getattr(models, recipe.model)(**recipe.options)
    except TypeError as error:
        given = ", ".join(f"{name}={value!r}" for name, value in recipe.options.items())
        raise ValueError(f"{recipe.model} cannot be made with {given}: {error}") from error


@no_grad()
def _try_out(model: Any, recipe: Recipe, source: Source, device: Any) -> None:
    """Refuse a network that cannot take the data set's images or lacks classes."""
    images = Tensor(np.zeros((1, *source.shape), np.float32), device=device)
    try:
        scores = model.eval()(images)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{recipe.model} does not take the images of {recipe.data}, {source.shape}: {error}"
        ) from error
    model.train()
    if scores.shape != (1, len(source.classes)):
        raise ValueError(
            f"{recipe.model} gives scores {scores.shape}; {recipe.data} has "
            f"{len(source.classes)} classes"
        )


def _some(images: Any, count: int) -> Any:
    """The data set, cut down to `count` images at most."""
    if 0 < count < len(images):
        chosen = np.random.default_rng(0).permutation(len(images))[:count]
        images.images, images.labels = images.images[chosen], images.labels[chosen]
    return images


def _mixed(recipe: Recipe, images: Any, classes: int) -> Any:
    """The training images, two of them in one where the recipe has it so."""
    mixes: list[Any] = []
    if recipe.mixup:
        mixes.append(transforms.MixUp(alpha=recipe.mixup, num_classes=classes))
    if recipe.cutmix:
        mixes.append(transforms.CutMix(alpha=recipe.cutmix, num_classes=classes))
    if not mixes:
        return images
    return transforms.Mixed(images, mixes[0] if len(mixes) == 1 else transforms.RandomChoice(mixes))


def _optimizer(recipe: Recipe, model: Any) -> Any:
    params: list[Any] = list(model.parameters())
    if recipe.decay == "weights":
        # Biases and the parameters of normalisation are those with one number a channel.
        small = [p for p in params if p.ndim <= 1]
        large = [p for p in params if p.ndim > 1]
        params = [{"params": large}, {"params": small, "weight_decay": 0.0}]
    elif recipe.decay != "all":
        raise ValueError(f"unknown decay {recipe.decay!r}; known are all, weights")
    common: dict[str, Any] = {"lr": recipe.rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return optim.SGD(params, momentum=recipe.momentum, nesterov=recipe.nesterov, **common)
    if recipe.optimizer == "adam":
        return optim.Adam(params, **common)
    if recipe.optimizer == "adamw":
        return optim.AdamW(params, **common)
    raise ValueError(f"unknown optimizer {recipe.optimizer!r}; known are sgd, adam, adamw")


def _schedule(recipe: Recipe, optimizer: Any, batches: int) -> Any:
    """A schedule stepped once a batch."""
    total = recipe.epochs * batches
    warmup = recipe.warmup + recipe.warmup_epochs * batches
    rest = max(total - warmup, 1)
    scheduler = optim.lr_scheduler
    if recipe.schedule == "cosine":
        after: Any = scheduler.CosineAnnealingLR(optimizer, rest)
    elif recipe.schedule == "step":
        falls = [max(1, part - warmup) for part in (total // 2, total * 3 // 4)]
        after = scheduler.MultiStepLR(optimizer, falls, gamma=0.1)
    elif recipe.schedule == "constant":
        after = scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
    else:
        raise ValueError(f"unknown schedule {recipe.schedule!r}; known are cosine, step, constant")
    if recipe.warmup_kind not in ("gradual", "constant"):
        raise ValueError(f"unknown warmup_kind {recipe.warmup_kind!r}; known are gradual, constant")
    if not warmup:
        return after
    if recipe.warmup_kind == "constant":
        first: Any = scheduler.ConstantLR(optimizer, 0.1, total_iters=warmup)
    else:
        unscaled = recipe.lr / recipe.rate if recipe.rate > recipe.lr else 1.0 / warmup
        first = scheduler.LinearLR(optimizer, unscaled, total_iters=warmup)
    return scheduler.SequentialLR(optimizer, [first, after], milestones=[warmup])


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
