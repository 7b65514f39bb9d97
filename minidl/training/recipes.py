"""Recipes: all that decides a training run, as one small value that a run's folder keeps.

`RECIPES[name]` is what `minidl train name` does by default. A recipe is turned into a model, loaders,
an optimiser and a schedule by `build`, the same way for training, resuming, evaluation and
prediction.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .. import models, nn, optim
from ..data import CIFAR10, MNIST, DataLoader, Digits, transforms
from ..io import replace_file

__all__ = ["DATA", "RECIPES", "Recipe", "Run", "build", "load_data", "read_recipe", "write_recipe"]


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Attributes:
        model, options: the builder in `minidl.models`, and its keyword arguments.
        data: a name in `DATA`.
        augment: random changes to the training images: "none", "shift" (a pixel or two, and a few
            degrees: for digits), "crop-flip" (CIFAR's usual).
        optimizer: "sgd" (with `momentum`), "adam" or "adamw".
        lr, weight_decay: of the optimiser; biases and BatchNorm are decayed, too, as in the papers.
        schedule: "cosine" to zero over the run, "step" (a tenth after 1/2 and 3/4 of it), "constant".
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


RECIPES: dict[str, Recipe] = {
    "lenet5": Recipe(
        "lenet5", "digits", augment="shift", lr=0.05, nesterov=True, weight_decay=5e-4, warmup=32,
        epochs=20, batch_size=64,
    ),
    "mlp": Recipe("mlp", "digits", augment="shift", lr=0.05, nesterov=True, weight_decay=5e-4,
                  epochs=20, batch_size=64),
    # He 2015, section 4.2: 64,000 iterations of 128; the rate falls at 32,000 and 48,000.
    "resnet20": Recipe("resnet20", "cifar10", augment="crop-flip", weight_decay=1e-4,
                       schedule="step", epochs=164),
}


@dataclass(frozen=True)
class DataSet:
    """A data set of images with labels, ready for training.

    Attributes:
        train, test: the images and labels as read, without transforms.
        mean, std: for normalising, by channel.
        size: (H, W).
        classes: names.
    """

    train: Any
    test: Any
    mean: Any
    std: Any
    size: tuple[int, int]
    classes: tuple[str, ...]


DATA: dict[str, str] = {
    "digits": "5,000 handwritten digits that come with minidl",
    "mnist": "MNIST, 60,000 + 10,000 digits; --root names their folder",
    "cifar10": "CIFAR-10, binary version; --root names its folder",
}


def load_data(name: str, root: str | None = None, train: bool = True) -> DataSet:
    """Read a data set of `DATA`.

    Args:
        root: the folder of its files; default: the environment variable MINIDL_DATA, else "data".
        train: whether the training images are wanted, too.

    Raises:
        ValueError: unknown name.
        FileNotFoundError: files are missing; the message says where to put them.
    """
    root = root or os.environ.get("MINIDL_DATA", "data")
    if name == "digits":
        parts: list[Any] = [Digits(train=True) if train else None, Digits(train=False)]
    elif name == "mnist":
        parts = [MNIST(root, train=True) if train else None, MNIST(root, train=False)]
    elif name == "cifar10":
        parts = [
            CIFAR10(root, batches=_cifar_batches(root)) if train else None,
            CIFAR10(root, train=False),
        ]
    else:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(DATA)}")
    test = parts[1]
    return DataSet(*parts, test.mean, test.std, test.images.shape[2:], tuple(test.classes))


def _cifar_batches(root: str) -> tuple[int, ...]:
    """The training files that are there; all five (so that the reader says what is missing) if none."""
    folders = (root, os.path.join(root, "cifar-10-batches-bin"), os.path.join(root, "cifar10"))
    found = [
        i
        for i in range(1, 6)
        if any(os.path.isfile(os.path.join(d, f"data_batch_{i}.bin")) for d in folders)
    ]
    return tuple(found) or (1, 2, 3, 4, 5)


@dataclass
class Run:
    """What `build` makes of a recipe: everything `fit` needs."""

    model: Any
    optimizer: Any
    scheduler: Any
    criterion: Any
    train: DataLoader | None
    test: DataLoader
    data: DataSet


def build(
    recipe: Recipe, *, root: str | None = None, device: Any = "cpu", workers: int = 0,
    train: bool = True,
) -> Run:
    """A model with its optimiser, schedule, loss and loaders. Seed the library before.

    Args:
        root: the folder of the data set.
        device: where the model goes.
        workers: threads that prepare batches.
        train: whether the training images are needed (not for evaluation).

    Raises:
        ValueError: a name in the recipe is unknown.
    """
    model = build_model(recipe).to(device)
    data = load_data(recipe.data, root, train)
    normalize = transforms.Normalize(data.mean, data.std)
    data.test.transform = normalize
    test = DataLoader(data.test, batch_size=500)
    loader = None
    if data.train is not None:
        data.train.transform = transforms.Compose([*_augment(recipe, data), normalize])
        loader = DataLoader(
            data.train,
            batch_size=recipe.batch_size,
            shuffle=True,
            drop_last=len(data.train) % recipe.batch_size == 1,  # BatchNorm needs two samples
            num_workers=workers,
            seed=recipe.seed,
        )
    optimizer = _optimizer(recipe, model)
    scheduler = None if loader is None else _schedule(recipe, optimizer, len(loader))
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    return Run(model, optimizer, scheduler, criterion, loader, test, data)


def build_model(recipe: Recipe) -> Any:
    """The network of a recipe, with random weights."""
    if recipe.model not in models.__all__:
        known = ", ".join(sorted(models.__all__))
        raise ValueError(f"unknown model {recipe.model!r}; known are {known}")
    return getattr(models, recipe.model)(**recipe.options)


def _augment(recipe: Recipe, data: DataSet) -> list[Any]:
    if recipe.augment == "none":
        return []
    if recipe.augment == "shift":
        shift = 2.0 / data.size[0]
        return [transforms.RandomAffine(10.0, translate=(shift, shift), scale=(0.9, 1.1))]
    if recipe.augment == "crop-flip":
        return [transforms.RandomCrop(data.size[0], padding=4), transforms.RandomHorizontalFlip()]
    raise ValueError(f"unknown augment {recipe.augment!r}; known are none, shift, crop-flip")


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
        after = scheduler.MultiStepLR(optimizer, [total // 2, total * 3 // 4], gamma=0.1)
    elif recipe.schedule == "constant":
        after = scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
    else:
        raise ValueError(f"unknown schedule {recipe.schedule!r}; known are cosine, step, constant")
    if not recipe.warmup:
        return after
    first = scheduler.LinearLR(optimizer, 1.0 / recipe.warmup, total_iters=recipe.warmup)
    return scheduler.SequentialLR(optimizer, [first, after], milestones=[recipe.warmup])


def write_recipe(recipe: Recipe, run: str) -> None:
    """Keep the recipe in the run's folder, as recipe.json."""
    with replace_file(os.path.join(run, "recipe.json")) as temporary:
        with open(temporary, "w") as file:
            json.dump(asdict(recipe), file, indent=2)


def read_recipe(run: str) -> Recipe:
    """The recipe of a run's folder.

    Raises:
        FileNotFoundError: the folder is not that of a run.
        ValueError: its recipe.json is damaged.
    """
    path = os.path.join(run, "recipe.json")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{run} is not the folder of a run: it has no recipe.json")
    with open(path) as file:
        try:
            return Recipe(**json.load(file))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is not a recipe: {error}") from None
