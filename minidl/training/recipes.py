"""Recipes: all that decides a training run, as one small value that a run's folder keeps.

`RECIPES[name]` is what `minidl train name` does by default, or else `default(network, data)`.
`build` turns a recipe into a model, loaders, an optimiser and a schedule, the same way for
training, resuming and evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .. import models, optim
from ..backend.random import manual_seed
from ..data import DataLoader
from .detection import Detection
from .fit import fit
from .recipe import Recipe, read_recipe, write_recipe
from .segmentation import Segmentation
from .sources import SOURCES, Source, find_source
from .task import Classification, Task

__all__ = [
    "DEFAULTS",
    "RECIPES",
    "TASKS",
    "Recipe",
    "Run",
    "build",
    "build_model",
    "default",
    "read_recipe",
    "source_of",
    "write_recipe",
]

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "segmentation": Segmentation,
    "detection": Detection,
}

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

# Adam, as these networks come without a recipe for such small pictures.
_SCENES: dict[str, Any] = {
    "augment": "colour:0.3",  # in a mirror, digits are none
    "optimizer": "adam",
    "lr": 2e-3,
    "epochs": 30,
    "batch_size": 16,
}

# Chen et al. 2017, "Rethinking atrous convolution", section 4: flips, scales, windows.
_PHOTOGRAPHS: dict[str, Any] = {
    "augment": "flip+scale:0.5,2+colour:0.3",
    "optimizer": "adam",
    "lr": 1e-4,
    "weight_decay": 1e-4,
    "size": 256,
    "epochs": 50,
    "batch_size": 8,
}

_OBJECTS: dict[str, Any] = {
    "augment": "flip",
    "optimizer": "adam",
    "lr": 1e-3,
    "warmup": 100,
    "clip_norm": 5.0,
    "epochs": 30,
    "batch_size": 4,
}

# What a network without a recipe of its own is trained with, by its task and the data.
DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "classification": {
        "digits": _DIGITS,
        "mnist": {**_DIGITS, "epochs": 10},
        "cifar10": _CIFAR,
    },
    "segmentation": {
        "scenes": _SCENES,
        # Ronneberger et al. 2015, sections 3 and 3.1: elastic deformations, one tile a step,
        # momentum 0.99.
        "isbi": {
            "augment": "flip+flip-vertical+rotation:180+elastic:10",
            "lr": 1e-3,
            "momentum": 0.99,
            "size": 388,
            "clip_norm": 1.0,
            "epochs": 600,
            "batch_size": 1,
        },
        # Badrinarayanan et al. 2017, section 4.1: SGD, 0.1, 0.9, batches of 12, weights.
        "camvid": {
            "augment": "flip",
            "lr": 0.1,
            "schedule": "constant",
            "balance": True,
            "epochs": 100,
            "batch_size": 12,
        },
        "voc": _PHOTOGRAPHS,
        "folder": _PHOTOGRAPHS,
    },
    "detection": {
        # Of SSD's changes (Liu et al. 2016, section 2.2) those that teach in minutes: no mirror, as
        # digits there are none; objects not far smaller than those to be found, nor cut off.
        "scenes": {
            **_SCENES,
            "augment": "distort+zoom-out:1.5",
            "optimizer": "adamw",
            "weight_decay": 1e-4,
            "warmup": 50,
            "clip_norm": 5.0,
            "batch_size": 8,
        },
        "bccd": {**_OBJECTS, "augment": "flip+flip-vertical+colour:0.3", "drop": True},
        "voc": _OBJECTS,
        "coco": _OBJECTS,
        "yolo": _OBJECTS,
    },
}

# What a network needs besides, with any data or with some: fields of a recipe.
NETWORKS: dict[str, dict[str, dict[str, Any]]] = {
    "unet": {
        # Narrow, of all the picture, and with batch norm: for two processors and 64 x 64 pixels.
        "scenes": {"options": {"padding": "same", "batch_norm": True, "width": 16}},
        "camvid": {"options": {"padding": "same", "batch_norm": True}},
        "voc": {"options": {"padding": "same", "batch_norm": True}},
        "folder": {"options": {"padding": "same", "batch_norm": True}},
    },
    # Every stack's scores are compared with the truth (Newell et al. 2016, section 3.2).
    "stacked_hourglass": {"": {"options": {"enlarge": True, "stacks": 2}, "auxiliary": 1.0}},
    "fcn_resnet50": {"": {"options": {"aux_loss": True}, "auxiliary": 0.5}},
    "deconvnet": {"": {"size": 224}},
    # Without normalisation.
    "fcn8s": {"": {"lr": 1e-4, "optimizer": "adam"}},
    "fcn16s": {"": {"lr": 1e-4, "optimizer": "adam"}},
    "fcn32s": {"": {"lr": 1e-4, "optimizer": "adam"}},
    "dilated_vgg16": {"": {"lr": 1e-4, "optimizer": "adam"}},
    "full_resolution": {"": {"lr": 1e-3, "optimizer": "adam"}},
    # Selective search in a picture takes as long as a step of training with it: so the pictures
    # stay as they are, and are searched once.
    "rcnn_small": {"scenes": {"augment": "none", "lr": 1e-3}},
    "spp_net_small": {"scenes": {"augment": "none", "lr": 1e-3}},
    "fast_rcnn_small": {"scenes": {"augment": "none"}},
    # Blood cells of about 100 pixels in pictures of 640 x 480: half as large, or less.
    "fasterrcnn_small": {
        "scenes": {"lr": 1e-3},
        "bccd": {"options": {"min_size": 192}},
    },
    "yolo_v2_small": {
        # `dimension_clusters` of the boxes of the training pictures, in cells of 8 pixels.
        "bccd": {
            "options": {
                "image_size": 256,
                "anchors": [[2.0, 2.6], [5.0, 5.5], [4.8, 6.9], [6.0, 7.3], [10.7, 13.0]],
            }
        }
    },
    "maskrcnn_small": {"scenes": {"lr": 1e-3}},
    "keypointrcnn_small": {"scenes": {"lr": 1e-3}},
    "rfcn_small": {"scenes": {"lr": 4e-3}},
    "localization_small": {"scenes": {"lr": 1e-3}},
    "yolo_v1_small": {"scenes": {"lr": 1e-3}},
    "fasterrcnn_vgg16": {"": {"lr": 1e-4}},
    "ssd300_vgg16": {"": {"lr": 1e-4}},
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


def default(model: str, data: str | None = None) -> Recipe:
    """What is done by default with a network, on some data.

    Args:
        model: a network in `minidl.models`.
        data: a name in `SOURCES`, of the network's task; None: what it is made for, or for
            others the scenes that come with minidl.

    Raises:
        ValueError: no network of that name, or no such data for it.
    """
    if model not in models.INPUT_SHAPES:
        known = ", ".join(dict.fromkeys([*RECIPES, *models.__all__]))
        raise ValueError(f"unknown network {model!r}; known are {known}")
    task = Recipe(model, "").task
    known_data = SOURCES[task]
    if data is None and task == "classification":
        shape = models.INPUT_SHAPES[model]
        fitting = [name for name, source in known_data.items() if source.shape == shape]
        if not fitting:
            raise ValueError(
                f"{model} is made for pictures of {shape}, of which minidl has no data set; choose "
                f"one with --data ({', '.join(known_data)})"
            )
        data = fitting[0]
    data = data or "scenes"
    find_source(data, task)
    own = NETWORKS.get(model, {})
    values = {**DEFAULTS[task][data], **own.get("", {}), **own.get(data, {})}
    if task == "detection" and known_data[data].drawn:
        values["size"] = min(models.INPUT_SHAPES[model][1], 128)
    return Recipe(model, data, **values)


def source_of(recipe: Recipe, root: str | None = None) -> Source:
    """The data of a recipe, with the names of its classes.

    Raises:
        ValueError: there are no such data for the network.
        FileNotFoundError: only files say what the classes are, and they are missing.
    """
    source = find_source(recipe.data, recipe.task)
    if source.from_files and recipe.classes:
        return replace(source, classes=tuple(recipe.classes))
    return source.opened(root)


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
    task: Task
    metrics: dict[str, Any]

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
            metrics=self.metrics,
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
    source = source_of(recipe, root)
    task = TASKS[recipe.task](recipe, source, model)
    task.try_out()
    test = task.batches_of_tests(task.read(root, train=False, download=download), workers)
    optimizer = _optimizer(recipe, model)
    criterion = task.criterion(root)
    ema = optim.EMA(model, recipe.ema, warmup=True) if recipe.ema else None
    metrics = dict(task.metrics())
    run = Run(recipe, model, optimizer, None, criterion, ema, None, test, source, task, metrics)
    if not train:
        return run
    run.train = task.batches(task.read(root, train=True, download=download), workers)
    if not len(run.train):
        raise ValueError(f"images={recipe.images}: BatchNorm needs two images in a batch at least")
    run.scheduler = _schedule(recipe, optimizer, len(run.train))
    return run


def _check(recipe: Recipe) -> None:
    """Refuse numbers that nothing below would refuse before the training begins."""
    for name in (
        *("clip_norm", "mixup", "cutmix", "warmup", "warmup_epochs", "images", "size"),
        "auxiliary",
    ):
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
