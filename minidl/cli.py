"""The `minidl` command: one function a verb, each a few calls of the rooms below.

minidl train lenet5                    learn handwritten digits; files go to runs/lenet5
minidl train unet                      learn what each pixel of a scene shows
minidl train fasterrcnn_small          learn to find the objects in a scene
minidl train --resume runs/lenet5      go on where it was stopped
minidl eval runs/lenet5                score its checkpoint on the test images
minidl predict runs/lenet5 digit.png   say what is in a picture
minidl predict runs/unet scene.png     draw what each of its pixels shows, or where objects are
minidl ablate lenet5 --without augment train with and without a part of the recipe, over seeds
minidl summary resnet20                layers, shapes, parameters, multiply-adds
minidl models                          the networks there are, and what they cost
minidl lessons build                   run the lessons; notebooks and pages go to runs/lessons
minidl assign grade A2 layers.py       run an assignment's checks on a submission
minidl doctor                          devices, BLAS, threads, versions, data
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields
from importlib import metadata
from typing import Any

import numpy as np

from . import backend, models, nn
from .autograd import Tensor, no_grad
from .backend.cpu.threads import get_num_threads
from .data import read_image
from .io import remove_leftovers
from .plot import (
    curves,
    detection_grid,
    draw_detections,
    mask_overlay,
    report,
    segmentation_grid,
)
from .teach.assign import command as assignments
from .teach.lessons import build_lessons, find_lessons
from .training import evaluate
from .training.ablation import Trial, ablate, table, variations
from .training.augment import AUGMENTS, JOINT_AUGMENTS, OBJECT_AUGMENTS
from .training.checkpoint import FILE, load_weights
from .training.detection import Detection, detect
from .training.ladder import walk
from .training.log import read_log
from .training.machine import duration
from .training.picture import as_grey, prepare_picture
from .training.recipes import (
    RECIPES,
    TASKS,
    Recipe,
    Run,
    build,
    build_model,
    default,
    read_recipe,
    source_of,
    write_recipe,
)
from .training.segmentation import Segmentation, segment
from .training.sources import SOURCES, Source

__all__ = ["main"]


# -- train ---------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> None:
    """Train a network, or continue a run."""
    run, recipe, resume = _run_to_train(args)
    device = _device(args.device)
    parts = build(
        recipe, root=args.root, device=device, workers=args.workers, download=args.download
    )
    assert parts.train is not None
    os.makedirs(run, exist_ok=True)
    if not resume:
        remove_leftovers(run)
        for name in (FILE, "log.csv", "curves.png", "examples.png"):
            if os.path.exists(os.path.join(run, name)):
                os.remove(os.path.join(run, name))
    if not resume or recipe != read_recipe(run):
        write_recipe(recipe, run)
    count = sum(p.numel() for p in parts.model.parameters())
    print(
        f"{recipe.model} ({count:,} parameters) on {recipe.data}: {len(parts.train.dataset):,} "
        f"training and {len(parts.test.dataset):,} test images, {recipe.epochs} epochs on {device}"
    )
    start = last_drawn = time.monotonic()

    def draw_now_and_then(history: list[dict[str, float]]) -> None:
        nonlocal last_drawn
        if (
            time.monotonic() - last_drawn > 60.0
        ):  # a small network's epoch takes less than the picture
            curves(history, os.path.join(run, "curves.png"))
            last_drawn = time.monotonic()

    try:
        history = parts.fit(
            run=run,
            resume=resume,
            on_epoch=draw_now_and_then,
            watch=args.watch or None,
            progress=not args.quiet,
        )
    except KeyboardInterrupt:
        root = ["--root", args.root] if args.root else []
        print(f"stopped; continue with: {shlex.join(['minidl', 'train', '--resume', run, *root])}")
        raise SystemExit(130) from None
    seconds = time.monotonic() - start
    curves(history, os.path.join(run, "curves.png"))
    files = [FILE, "log.csv", "curves.png"]
    with parts.ema.averages() if parts.ema is not None else nullcontext():
        drawn = _draw_examples(parts, args.root, os.path.join(run, "examples.png"))
    if drawn:
        files.append("examples.png")
    print(
        f"test {parts.task.words} {history[-1][f'test_{parts.task.score}']:.2%} after "
        f"{len(history)} epochs ({seconds:.0f} s); in {run}: {', '.join(files)}"
    )


def _draw_examples(parts: Run, root: str | None, path: str) -> bool:
    """Draw some test images with the truth and what the network says, where that can be drawn."""
    task, classes = parts.task, parts.source.classes
    if not isinstance(task, (Segmentation, Detection)):
        return False
    images, truths, predictions = zip(*task.examples(root), strict=True)
    if isinstance(task, Detection):
        detection_grid(images, truths, predictions, classes, path)
        return True
    captions = []
    for truth, found in zip(truths, predictions, strict=True):
        counts = truth != parts.source.ignore_index
        captions.append(f"{(truth == found)[counts].mean():.1%} of the pixels")
    segmentation_grid(images, truths, predictions, classes, path, captions=captions)
    return True


def _run_to_train(args: argparse.Namespace) -> tuple[str, Recipe, bool]:
    """(folder, recipe, whether to resume) that the arguments of `train` ask for."""
    if args.resume is None:
        if args.model is None:
            raise ValueError(f"name {NETWORK}, or --resume RUN")
        run = args.out or os.path.join("runs", args.model)
        if os.path.exists(os.path.join(run, FILE)) and not args.force:
            raise FileExistsError(
                f"{run} holds a run already: continue it with --resume {run}, replace it with "
                "--force, or choose another folder with --out"
            )
        return run, _recipe_for(args), False
    run = args.resume or args.out or os.path.join("runs", args.model or "")
    recipe = read_recipe(run)
    given, options = _changes(args)
    if recipe.model in models.__all__:
        options = _as_text_where_due(recipe.model, options)
    changed = [name for name, value in given.items() if value != getattr(recipe, name)]
    changed += [name for name in options if recipe.options.get(name) != options[name]]
    if args.model is not None and args.model not in (recipe.model, os.path.basename(run)):
        changed.insert(0, "model")
    if changed == ["epochs"]:
        return run, _of_another_length(recipe, given["epochs"], run), True
    if changed:
        raise ValueError(
            f"{run} is continued as it was begun ({os.path.join(run, 'recipe.json')}), which "
            f"excludes another {', '.join(changed)}; for that, begin a new run"
        )
    return run, recipe, True


def _of_another_length(recipe: Recipe, epochs: int, run: str) -> Recipe:
    """The recipe of a run that is to end earlier or later than it was begun for."""
    if recipe.schedule != "constant":
        raise ValueError(
            f"{run} was begun for {recipe.epochs} epochs, and its {recipe.schedule} schedule was "
            f"laid out over just these, so it cannot end after {epochs}; begin a new run with "
            f"--epochs {epochs} (one with --schedule constant can be lengthened)"
        )
    log = os.path.join(run, "log.csv")
    done = len(read_log(log)) if os.path.exists(log) else 0
    if epochs < done:
        raise ValueError(f"{run} cannot end after {epochs} epochs: {done} are done already")
    return recipe.changed(epochs=epochs)


def _changes(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a recipe, and the options of its network, that arguments set."""
    given = {f.name: getattr(args, f.name, None) for f in fields(Recipe) if f.name != "model"}
    options = dict(given.pop("options") or [])
    return {name: value for name, value in given.items() if value is not None}, options


def _recipe_for(args: argparse.Namespace) -> Recipe:
    """The recipe of the network that is named, with what the arguments change."""
    given, options = _changes(args)
    recipe = _recipe(args.model, args.data).changed(**given)
    options = _as_text_where_due(recipe.model, options)
    return _fitted(recipe.with_options(**options), args.root)


def _as_text_where_due(model: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a network, numbers as text where the network takes a word: variant=1998."""
    takes = inspect.signature(getattr(models, model)).parameters
    words = {n for n in options if n in takes and isinstance(takes[n].default, str)}
    return {n: str(value) if n in words else value for n, value in options.items()}


def _recipe(name: str, data: str | None = None) -> Recipe:
    """What is done by default with a recipe or network of that name."""
    return RECIPES[name] if name in RECIPES else default(name, data)


def _fitted(recipe: Recipe, root: str | None = None) -> Recipe:
    """The recipe, its network told the channels and the classes of its data."""
    source = source_of(recipe, root)
    takes = inspect.signature(getattr(models, recipe.model)).parameters
    found = {"in_channels": source.shape[0], "num_classes": len(source.classes)}
    needed = {n: v for n, v in found.items() if n in takes and takes[n].default != v}
    classes = list(source.classes) if source.from_files else []
    return recipe.changed(options={**needed, **recipe.options}, classes=classes)


# -- compare -------------------------------------------------------------------------------------


def ablate_recipe(args: argparse.Namespace) -> None:
    """Train a network with and without parts of its recipe, over several seeds."""
    recipe = _recipe_for(args)
    if args.ladder:
        if args.without or args.added:
            raise ValueError("--ladder has its own parts: it excludes --without and --with")
        trials, left_out = walk(recipe if args.schedule else recipe.changed(schedule="step"))
        if left_out:
            print(f"{recipe.model} has no options for: {', '.join(left_out)}")
    else:
        trials = variations(
            recipe,
            args.without or (),
            _as_text_where_due(recipe.model, dict(args.added or ())),
            args.every,
        )
    device = _device(args.device)
    folder = args.out or os.path.join("runs", f"ablate-{args.model}")
    print(
        f"{recipe.model} on {recipe.data}: {len(trials)} variations x {args.seeds} seeds of "
        f"{recipe.epochs} epochs on {device}; runs are in {folder}"
    )

    def say(trial: Trial, seed: int, trials: list[Trial]) -> None:
        row, seconds = trial.runs[seed][-1], sum(row["seconds"] for row in trial.runs[seed])
        print(
            f"{trial.name}, seed {seed}: {row[trial.value]:.2%} ({duration(seconds)})",
            flush=True,
        )

    try:
        done = ablate(
            trials,
            args.seeds,
            folder,
            on_run=say,
            root=args.root,
            device=device,
            workers=args.workers,
            download=args.download,
            progress=args.verbose,
        )
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there")
        raise SystemExit(130) from None
    words = TASKS[recipe.task].words
    print(f"\ntest {words} after the last epoch, {recipe.data}")
    print(table(done))
    print(f"in {folder}: results.csv, results.json")


# -- use -----------------------------------------------------------------------------------------


def evaluate_run(args: argparse.Namespace) -> None:
    """Score the checkpoint of a run on its test images."""
    recipe = read_recipe(args.run).changed(data=args.data)
    device = _device(args.device)
    parts = build(recipe, root=args.root, device=device, train=False, download=args.download)
    load_weights(parts.model, args.run)
    scores = evaluate(parts.model, parts.test, parts.criterion, parts.metrics)
    print(
        f"{args.run}: test {parts.task.words} {scores[parts.task.score]:.2%}, loss "
        f"{scores['loss']:.4f} on {len(parts.test.dataset):,} images of {recipe.data}"
    )
    for line in parts.task.details(parts.metrics):
        print(f"  {line}")
    if args.picture:
        if not _draw_examples(parts, args.root, args.picture):
            _draw_report(parts, args.run, args.picture)
        print(f"drawn: {args.picture}")


def _draw_report(parts: Run, run: str, path: str) -> None:
    """Draw the curves of a classifier's run, its answers and mistakes."""
    device = next(iter(parts.model.parameters())).device
    with no_grad():
        outputs = [parts.model.eval()(x.to(device)).cpu().numpy() for x, _ in parts.test]
    report(
        read_log(os.path.join(run, "log.csv")),
        parts.test.dataset.images / np.float32(255),
        parts.test.dataset.labels,
        np.concatenate(outputs).argmax(1),
        parts.source.classes,
        path,
        f"{parts.recipe.model} on {parts.recipe.data}",
    )


def predict(args: argparse.Namespace) -> None:
    """Say what a trained network sees in picture files, and draw it where it is in them."""
    recipe = read_recipe(args.run)
    source = source_of(recipe)
    device = _device(args.device)
    model = build_model(recipe).to(device)
    load_weights(model, args.run)
    model.eval()
    answer = {
        "classification": _name_picture,
        "segmentation": _paint_picture,
        "detection": _mark_objects,
    }[recipe.task]
    failed = 0
    for path in args.images:
        try:
            print(f"{path}: {answer(model, path, source, args)}", flush=True)
        except (OSError, ValueError) as error:  # the other pictures still get their answers
            print(f"minidl predict: {error}", file=sys.stderr)
            failed += 1
    if failed:
        raise SystemExit(1)


def _name_picture(model: Any, path: str, source: Source, args: argparse.Namespace) -> str:
    """What is in a picture."""
    picture = prepare_picture(path, source.shape)
    mean, std = (np.reshape(np.float32(v), (-1, 1, 1)) for v in (source.mean, source.std))
    device = next(iter(model.parameters())).device
    with no_grad():
        scores = model(Tensor(((picture - mean) / std)[None], device=device))
        chances = nn.functional.softmax(scores, dim=1).cpu().numpy()[0]
    best = np.argsort(-chances)[: args.top]
    return ", ".join(f"{source.classes[i]} {chances[i]:.1%}" for i in best)


def _paint_picture(model: Any, path: str, source: Source, args: argparse.Namespace) -> str:
    """The classes of a picture's pixels and their shares; the picture is drawn in their colours."""
    picture = read_image(path)
    found = segment(model, as_grey(picture) if source.shape[0] == 1 else picture, source)
    drawn = _beside(path, "classes", args.out)
    mask_overlay(picture, found, source.classes, drawn)
    shares = np.bincount(found.reshape(-1), minlength=len(source.classes)) / found.size
    best = [i for i in np.argsort(-shares, kind="stable")[: args.top] if shares[i]]
    return ", ".join(f"{source.classes[i]} {shares[i]:.1%}" for i in best) + f"; drawn: {drawn}"


def _mark_objects(model: Any, path: str, source: Source, args: argparse.Namespace) -> str:
    """The objects in a picture, the surest first; they are drawn into it."""
    picture = read_image(path)
    found = detect(model, picture)
    drawn = _beside(path, "objects", args.out)
    draw_detections(picture, found, source.classes, drawn, threshold=args.threshold)
    sure = [
        f"{source.classes[label]} {score:.1%}"
        for label, score in zip(found["labels"], found["scores"], strict=True)
        if score >= args.threshold
    ]
    more = f" and {len(sure) - args.top} more" if len(sure) > args.top else ""
    return f"{', '.join(sure[: args.top]) or 'nothing'}{more}; drawn: {drawn}"


def _beside(path: str, what: str, folder: str) -> str:
    """The PNG for what is drawn of a picture file."""
    name, _ = os.path.splitext(os.path.basename(path))
    return os.path.normpath(os.path.join(folder, f"{name}-{what}.png"))


# -- look ----------------------------------------------------------------------------------------


def summary(args: argparse.Namespace) -> None:
    """Print a network's layers, shapes, parameters and multiply-adds."""
    recipe = RECIPES.get(args.model) or Recipe(args.model, "")
    with nn.init.skip_init():  # its weights are not looked at
        model = build_model(recipe)
    shape = args.input or models.INPUT_SHAPES[recipe.model]
    print(nn.summary(model, (1, *shape)))


def list_models(args: argparse.Namespace) -> None:
    """List the networks: parameters, multiply-adds of one picture, and where they come from."""
    width = max(map(len, models.__all__))
    print(f"{'':<{width}}{'parameters':>12}{'multiply-adds':>16}  source")
    for name in models.__all__:
        with nn.init.skip_init():
            model = getattr(models, name)()
        parameters = sum(p.numel() for p in model.parameters())
        words = (getattr(models, name).__doc__ or "").strip().splitlines()[0]
        print(f"{name:<{width}}{parameters:>12,}{models.MULTIPLY_ADDS[name]:>16,}  {words}")


def doctor(args: argparse.Namespace) -> None:
    """Report what minidl finds on this machine, and what holds it back."""
    from . import __version__

    names = ("numpy", "matplotlib", "pillow", "safetensors", "threadpoolctl", "tqdm")
    print(f"minidl {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print("  " + ", ".join(f"{name} {metadata.version(name)}" for name in names))

    usable, what = backend.cuda.probe()
    print(f"GPU: {what}" if usable else f"GPU: none ({what})")

    print(f"Threads: {get_num_threads()} for minidl's kernels, {os.cpu_count()} processors")
    threads = [v for v in os.environ if v.endswith("_NUM_THREADS")]
    for name in threads:
        print(f"  {name}={os.environ[name]} is set")

    # In a process of its own: BLAS reads these variables when it is loaded.
    held = [v for v in os.environ if v in HOLD_BACK]
    now = _measure_blas({})
    print(f"BLAS: {now['name']}, kernels for {now['kernels']}, {now['speed']:.0f} GFLOP/s a thread")
    if held:
        free = _measure_blas(dict.fromkeys(held))
        settings = ", ".join(f"{v}={os.environ[v]}" for v in held)
        print(
            f"  {settings} is set. Without: kernels for {free['kernels']}, {free['speed']:.0f} "
            f"GFLOP/s a thread" + (f"; to have them: unset {' '.join(held)}")
        )

    root = os.environ.get("MINIDL_DATA")
    print(f"Data: MINIDL_DATA is {root}" if root else "Data: MINIDL_DATA is not set")
    for name, source in _data_sets():
        try:
            drop: dict[str, Any] = {"drop": True} if source.parts else {}
            print(f"  {name}: {len(source.read(train=False, **drop)):,} test images")
        except FileNotFoundError:
            print(f"  {name}: not in {root or 'the folder data'}")
        except (OSError, ValueError) as error:
            print(f"  {name}: {error}")


def _data_sets() -> list[tuple[str, Source]]:
    """Those with a name and a place of their own."""
    return [
        (name if task == "classification" else f"{name} ({task})", source)
        for task, known in SOURCES.items()
        for name, source in known.items()
        if not source.from_files
    ]


HOLD_BACK = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_DEBUG_CPU_TYPE", "BLIS_ARCH_TYPE")

MEASURE = """
import json, time
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
blas = next((p for p in threadpool_info() if p["user_api"] == "blas"), {})
size = 768
a = np.ones((size, size), np.float32)
best = 1e9
with threadpool_limits(1):
    for _ in range(12):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
name = f"{blas.get('internal_api', 'unknown')} {blas.get('version', '')}".strip()
kernels = blas.get("architecture", "unknown")
print(json.dumps({"name": name, "kernels": kernels, "speed": 2e-9 * size**3 / best}))
"""


def _measure_blas(without: dict[str, None]) -> dict:
    """BLAS's name, its kernels and the speed of a product, with some variables taken away."""
    environment = {name: value for name, value in os.environ.items() if name not in without}
    command = [sys.executable, "-c", MEASURE]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


# -- lessons -------------------------------------------------------------------------------------


def lessons(args: argparse.Namespace) -> None:
    """List the lessons, or run them and build notebooks and pages."""
    if args.action == "list":
        for lesson in find_lessons():
            print(f"{lesson.stem:<34} {lesson.title}")
    else:
        build_lessons(args.names, args.out, args.jobs, args.notebooks_only)


# -- assignments ---------------------------------------------------------------------------------


def assign(args: argparse.Namespace) -> None:
    """Write handouts of assignments, check and grade submissions."""
    status = assignments.run(args)
    if status:
        raise SystemExit(status)


# -- arguments -----------------------------------------------------------------------------------


def _device(name: str) -> backend.device:
    backend.use(name)
    return backend.default_device()


def _shape(text: str) -> tuple[int, ...]:
    numbers = text.replace("x", ",").split(",")
    if len(numbers) != 3 or not all(number.isdigit() and int(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"write it as 1x28x28, not {text!r}")
    return tuple(int(number) for number in numbers)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1, not {text!r}")
    return int(text)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"write it as NAME=VALUE, not {text!r}")
    try:
        return name.replace("-", "_"), json.loads(value)
    except json.JSONDecodeError:
        return name.replace("-", "_"), value


def _part(text: str) -> str:
    return text if text in AUGMENTS else text.replace("-", "_")


NETWORK = f"a network: {', '.join(RECIPES)}, unet, fasterrcnn_small, ...; see `minidl models`"


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = argparse.ArgumentParser(
        prog="minidl", description="Deep learning for vision, from scratch, on NumPy and CuPy."
    )
    parser.add_argument("--version", action="version", version=f"minidl {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, function: object) -> argparse.ArgumentParser:
        text = (function.__doc__ or "").strip()
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function)
        return sub

    def add_device(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 or auto (default)")

    def add_data(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--root", help="folder of the data set (default: $MINIDL_DATA, or data)")
        sub.add_argument("--download", action="store_true", help="fetch missing files to there")
        add_device(sub)

    def add_recipe(sub: argparse.ArgumentParser) -> None:
        group = sub.add_argument_group(
            "recipe", "in place of what the network is trained with by default"
        )
        flag = argparse.BooleanOptionalAction
        names = sorted({name for known in SOURCES.values() for name in known})
        add = group.add_argument
        add("--data", choices=names, help="the data set")
        add("--images", type=_count, help="how many training images are used (default: all)")
        add("--size", type=_count, help="of scenes; of windows cut out of other pictures")
        add("--epochs", type=_count, help="how often every image is seen")
        add("--batch-size", type=_count, help="images a step")
        add("--optimizer", choices=["sgd", "adam", "adamw"], help="the rule of a step")
        add("--lr", type=float, help="the learning rate")
        add("--scale-lr", action=flag, help="times batch size / 256")
        add("--momentum", type=float, help="of sgd")
        add("--nesterov", action=flag, help="Nesterov's momentum")
        add("--weight-decay", type=float, help="how fast weights shrink")
        add("--decay", choices=["all", "weights"], help="weights: not biases and normalisation")
        add("--schedule", choices=["cosine", "step", "constant"], help="how the rate falls")
        add("--warmup", type=int, metavar="BATCHES", help="batches with a lower rate at first")
        add("--warmup-epochs", type=int, metavar="EPOCHS", help="and so many epochs of them")
        add(
            "--warmup-kind",
            choices=["gradual", "constant"],
            help="the rate rises in them, or is a tenth",
        )
        add("--clip-norm", type=float, help="the largest norm of the gradient")
        add(
            "--augment",
            metavar="CHANGES",
            help="random changes of training images, as crop-flip+randaugment:2,9+cutout; known "
            f"are none, {', '.join(AUGMENTS)}; for segmentation {', '.join(JOINT_AUGMENTS)}; for "
            f"detection {', '.join(OBJECT_AUGMENTS)}",
        )
        add("--mixup", type=float, metavar="ALPHA", help="means of two training images")
        add("--cutmix", type=float, metavar="ALPHA", help="a piece of one image in another")
        add("--label-smoothing", type=float, help="share of the target for all classes alike")
        add("--drop", action=flag, help="leave out bad annotations of objects")
        add("--loss", help="of a segmentation: cross-entropy, dice or cross-entropy+dice")
        add("--balance", action=flag, help="rare classes of a segmentation count more")
        add("--auxiliary", type=float, metavar="WEIGHT", help="of auxiliary classifiers' losses")
        add("--ema", type=float, metavar="DECAY", help="evaluate averaged weights, as 0.999")
        add(
            "--option",
            dest="options",
            type=_setting,
            action="append",
            metavar="NAME=VALUE",
            help="of the network, as stochastic_depth_prob=0.2; may be repeated",
        )
        add("--seed", type=int, help="of everything random")
        sub.add_argument(
            "--workers", type=int, default=1, help="threads that prepare batches (default: 1)"
        )

    sub = verb("train", train)
    sub.add_argument("model", nargs="?", help=NETWORK)
    sub.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="continue the run in this folder (default: that of the network)",
    )
    sub.add_argument("--out", metavar="RUN", help="folder for the run (default: runs/MODEL)")
    sub.add_argument("--force", action="store_true", help="replace a run that is there")
    add_recipe(sub)
    sub.add_argument(
        "--watch", action="store_true", help="look for NaN in every step, on a GPU too"
    )
    sub.add_argument("--quiet", action="store_true", help="no progress bar, no line an epoch")
    add_data(sub)

    sub = verb("eval", evaluate_run)
    sub.add_argument("run", metavar="RUN", help="folder of a run")
    sub.add_argument("--data", help="other data than it learned from")
    sub.add_argument("--picture", metavar="FILE", help="draw curves, answers and mistakes: a PNG")
    add_data(sub)

    sub = verb("predict", predict)
    sub.add_argument("run", metavar="RUN", help="folder of a run")
    sub.add_argument("images", nargs="+", metavar="IMAGE", help="picture files")
    sub.add_argument("--top", type=_count, default=3, help="how many answers to print (default: 3)")
    sub.add_argument("--out", default=".", metavar="FOLDER", help="for what is drawn (default: .)")
    sub.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        metavar="SCORE",
        help="objects with a lower score are left out (default: 0.5)",
    )
    add_device(sub)

    sub = verb("ablate", ablate_recipe)
    sub.add_argument("model", help=NETWORK)
    sub.add_argument(
        "--without",
        nargs="+",
        type=_part,
        metavar="PART",
        help="parts of the recipe to leave out: one after the other, then all; an option below, a "
        "change of --augment, or an option of the network",
    )
    sub.add_argument(
        "--with",
        dest="added",
        nargs="+",
        type=_setting,
        metavar="PART=VALUE",
        help="parts to add to the recipe, and to leave out likewise",
    )
    sub.add_argument("--every", action="store_true", help="every combination of the parts")
    sub.add_argument(
        "--ladder",
        action="store_true",
        help="instead: the steps from the ResNet of 2015 to that of 2021, each added to the last",
    )
    sub.add_argument("--seeds", type=_count, default=3, help="runs of each (default: 3)")
    sub.add_argument("--out", metavar="FOLDER", help="for the runs (default: runs/ablate-MODEL)")
    sub.add_argument("--verbose", action="store_true", help="show the epochs of each run")
    add_recipe(sub)
    add_data(sub)

    sub = verb("summary", summary)
    sub.add_argument("model", metavar="MODEL", help="a network; see `minidl models`")
    sub.add_argument("--input", type=_shape, metavar="CxHxW", help="shape of one image")

    assignments.add_arguments(verb("assign", assign))
    verb("models", list_models)
    verb("doctor", doctor)

    sub = verb("lessons", lessons)
    actions = sub.add_subparsers(dest="action", required=True, metavar="ACTION", help="what to do")
    actions.add_parser("list", help="their names and titles")
    sub = actions.add_parser("build", help="a notebook and a page of each, and a list of them")
    sub.add_argument("names", nargs="*", metavar="LESSON", help="as 3 or 03_scalar_autograd")
    sub.add_argument("--out", default="runs/lessons", metavar="FOLDER")
    sub.add_argument(
        "--jobs", type=_count, help="lessons at a time (default: as many as processors)"
    )
    sub.add_argument(
        "--notebooks-only", action="store_true", help="run nothing: notebooks to work through"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; errors of the user's making are one line, not a traceback."""
    args = _parser().parse_args(argv)
    try:
        args.function(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` say, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        print(f"minidl {args.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
