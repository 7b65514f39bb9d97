"""Recipes: all that decides a training run, as one small value that a run's folder keeps.

`RECIPES[name]` is what `minidl train name` does by default. `build` turns a recipe into a model,
loaders, an optimiser and a schedule, the same way for training, resuming and evaluation.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from .. import models, nn, optim
from ..autograd import Tensor, no_grad
from ..backend.random import manual_seed
from ..data import DataLoader, transforms
from ..io import replace_file
from .sources import Source, find_source

__all__ = ["RECIPES", "Recipe", "Run", "build", "build_model", "read_recipe", "write_recipe"]


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Attributes:
        model, options: the builder in `minidl.models`, and its keyword arguments.
        data: a name in `SOURCES`.
        augment: random changes to the training images: "none"; "affine", a few degrees, pixels and
            percent of size, for digits; "crop-flip", CIFAR's usual.
        optimizer: "sgd" (with `momentum`), "adam" or "adamw".
        lr, weight_decay: of the optimiser; biases and BatchNorm are decayed, too, as in the papers.
        schedule: "cosine" to zero over the run, "step" (a tenth after 1/2 and 3/4 of it) or
            "constant".
        warmup: over how many of the first batches the rate rises linearly.
        label_smoothing: of the cross entropy.
        epochs, batch_size, seed: as they say.
    """

    model: str
    data: str
    options: dict[str, Any] = field(default_factory=dict)
    augment: str = "none"
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup: int = 0
    label_smoothing: float = 0.0
    epochs: int = 10
    batch_size: int = 128
    seed: int = 0

    def changed(self, **values: Any) -> Recipe:
        """A copy with the values that are not None in place of its own."""
        return replace(self, **{k: v for k, v in values.items() if v is not None})


_DIGITS: dict[str, Any] = {
    "augment": "affine",
    "lr": 0.03,
    "nesterov": True,
    "weight_decay": 5e-4,
    "warmup": 32,
    "epochs": 30,
    "batch_size": 64,
}

RECIPES: dict[str, Recipe] = {
    "lenet5": Recipe("lenet5", "digits", **_DIGITS),
    "lenet5-mnist": Recipe("lenet5", "mnist", **{**_DIGITS, "epochs": 10}),
    "mlp": Recipe("mlp", "digits", **_DIGITS),
    # He 2015, section 4.2: 64,000 iterations of 128; the rate falls at 32,000 and 48,000.
    "resnet20": Recipe(
        "resnet20",
        "cifar10",
        augment="crop-flip",
        weight_decay=1e-4,
        schedule="step",
        epochs=164,
    ),
}


@dataclass
class Run:
    """What `build` makes of a recipe: everything `fit` needs. `train` and `scheduler` are None
    where only an evaluation was asked for.
    """

    model: Any
    optimizer: Any
    scheduler: Any
    criterion: Any
    train: DataLoader | None
    test: DataLoader
    source: Source


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
        ValueError: a name in the recipe is unknown, or the network is not made for the data.
        FileNotFoundError: the data set's files are missing.
    """
    manual_seed(recipe.seed)
    model = build_model(recipe).to(device)
    source = find_source(recipe.data)
    _try_out(model, recipe, source, device)
    normalize = transforms.Normalize(source.mean, source.std)
    augment = _augment(recipe, source)
    images = source.read(root, train=False, download=download)
    images.transform = normalize
    test = DataLoader(images, batch_size=500, num_workers=workers)
    optimizer = _optimizer(recipe, model)
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    if not train:
        return Run(model, optimizer, None, criterion, None, test, source)
    images = source.read(root, train=True, download=download)
    images.transform = transforms.Compose([*augment, normalize])
    loader = DataLoader(
        images,
        batch_size=recipe.batch_size,
        shuffle=True,
        drop_last=len(images) % recipe.batch_size == 1,  # BatchNorm needs two samples
        num_workers=workers,
        seed=recipe.seed,
    )
    scheduler = _schedule(recipe, optimizer, len(loader))
    return Run(model, optimizer, scheduler, criterion, loader, test, source)


def build_model(recipe: Recipe) -> Any:
    """The network of a recipe, with random weights.

    Raises:
        ValueError: there is no network of that name.
    """
    if recipe.model not in models.__all__:
        known = ", ".join(sorted(models.__all__))
        raise ValueError(f"unknown network {recipe.model!r}; known are {known}")
    return getattr(models, recipe.model)(**recipe.options)


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


def _augment(recipe: Recipe, source: Source) -> list[Any]:
    size = source.shape[1]
    if recipe.augment == "none":
        return []
    if recipe.augment == "affine":
        shift = 2.0 / size
        return [transforms.RandomAffine(10.0, translate=(shift, shift), scale=(0.9, 1.1))]
    if recipe.augment == "crop-flip":
        return [transforms.RandomCrop(size, padding=4), transforms.RandomHorizontalFlip()]
    raise ValueError(f"unknown augment {recipe.augment!r}; known are none, affine, crop-flip")


def _optimizer(recipe: Recipe, model: Any) -> Any:
    common: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return optim.SGD(
            model.parameters(), momentum=recipe.momentum, nesterov=recipe.nesterov, **common
        )
    if recipe.optimizer == "adam":
        return optim.Adam(model.parameters(), **common)
    if recipe.optimizer == "adamw":
        return optim.AdamW(model.parameters(), **common)
    raise ValueError(f"unknown optimizer {recipe.optimizer!r}; known are sgd, adam, adamw")


def _schedule(recipe: Recipe, optimizer: Any, batches: int) -> Any:
    """A schedule stepped once a batch."""
    total = recipe.epochs * batches
    rest = max(total - recipe.warmup, 1)
    scheduler = optim.lr_scheduler
    if recipe.schedule == "cosine":
        after: Any = scheduler.CosineAnnealingLR(optimizer, rest)
    elif recipe.schedule == "step":
        falls = [max(1, part - recipe.warmup) for part in (total // 2, total * 3 // 4)]
        after = scheduler.MultiStepLR(optimizer, falls, gamma=0.1)
    elif recipe.schedule == "constant":
        after = scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
    else:
        raise ValueError(f"unknown schedule {recipe.schedule!r}; known are cosine, step, constant")
    if not recipe.warmup:
        return after
    first = scheduler.LinearLR(optimizer, 1.0 / recipe.warmup, total_iters=recipe.warmup)
    return scheduler.SequentialLR(optimizer, [first, after], milestones=[recipe.warmup])


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
