"""The `minidl` command: one function a verb, each a few calls of the rooms below.

    minidl train lenet5         learn handwritten digits; files go to runs/lenet5
    minidl eval runs/lenet5     score its checkpoint on the test images
    minidl predict runs/lenet5 digit.png
    minidl summary resnet20     layers, shapes, parameters, multiply-adds
    minidl models               the networks there are
    minidl doctor               devices, BLAS, threads, versions
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from . import backend, models, nn
from .autograd import Tensor, no_grad
from .backend.random import manual_seed
from .data import read_image
from .io import load
from .metrics import accuracy
from .plot import curves
from .training import evaluate, fit
from .training.recipes import (
    DATA,
    RECIPES,
    Recipe,
    build,
    build_model,
    load_data,
    read_recipe,
    write_recipe,
)

__all__ = ["main"]


def train(args: argparse.Namespace) -> None:
    """Train a network, or continue a run."""
    if args.resume:
        run = args.resume
        recipe = read_recipe(run).changed(epochs=args.epochs)
    else:
        if args.model is None:
            raise ValueError(f"train: name a network ({', '.join(RECIPES)}) or --resume RUN")
        run = args.out or os.path.join("runs", args.model)
        known = RECIPES.get(args.model) or Recipe(args.model, "digits")
        changes = {f.name: getattr(args, f.name, None) for f in fields(Recipe)}
        recipe = known.changed(**changes)
        if os.path.exists(os.path.join(run, "checkpoint.safetensors")) and not args.force:
            raise FileExistsError(
                f"{run} holds a run already: continue it with --resume {run}, replace it with "
                "--force, or choose another folder with --out"
            )
    device = _device(args.device)
    manual_seed(recipe.seed)
    parts = build(recipe, root=args.root, device=device, workers=args.workers)
    os.makedirs(run, exist_ok=True)
    if not args.resume:
        for name in ("checkpoint.safetensors", "log.csv", "curves.png"):
            if os.path.exists(os.path.join(run, name)):
                os.remove(os.path.join(run, name))
    write_recipe(recipe, run)
    assert parts.train is not None
    count = sum(p.numel() for p in parts.model.parameters())
    print(
        f"{recipe.model} ({count:,} parameters) on {recipe.data}: {len(parts.train.dataset):,} "
        f"training and {len(parts.test.dataset):,} test images, {recipe.epochs} epochs on {device}"
    )
    start = time.monotonic()
    try:
        history = fit(
            parts.model,
            parts.optimizer,
            parts.criterion,
            parts.train,
            parts.test,
            epochs=recipe.epochs,
            metrics={"accuracy": accuracy},
            scheduler=parts.scheduler,
            scheduler_every="batch",
            run=run,
            resume=bool(args.resume),
            on_epoch=lambda history: curves(history, os.path.join(run, "curves.png")),
            progress=not args.quiet,
        )
    except KeyboardInterrupt:
        print(f"\nstopped; continue with: minidl train --resume {run}")
        raise SystemExit(130) from None
    last = history[-1]
    print(
        f"test accuracy {last['test_accuracy']:.2%} after {len(history)} epochs "
        f"({time.monotonic() - start:.0f} s); files in {run}: checkpoint.safetensors, log.csv, "
        "curves.png"
    )


def evaluate_run(args: argparse.Namespace) -> None:
    """Score the checkpoint of a run on its test images."""
    recipe = read_recipe(args.run).changed(data=args.data)
    parts = build(recipe, root=args.root, device=_device(args.device), train=False)
    _load_weights(parts.model, args.run)
    scores = evaluate(parts.model, parts.test, parts.criterion, {"accuracy": accuracy})
    print(
        f"{args.run}: test accuracy {scores['accuracy']:.2%}, loss {scores['loss']:.4f} "
        f"on {len(parts.test.dataset):,} images of {recipe.data}"
    )


def predict(args: argparse.Namespace) -> None:
    """Say what a trained network sees in picture files."""
    recipe = read_recipe(args.run)
    device = _device(args.device)
    model = build_model(recipe).to(device)
    _load_weights(model, args.run)
    model.eval()
    data = load_data(recipe.data, args.root, train=False)
    channels = data.test.images.shape[1]
    for path in args.images:
        picture = read_image(path, data.size)
        if channels == 1:  # luma of ITU-R BT.601; digits are light on dark
            picture = np.tensordot(np.float32([0.299, 0.587, 0.114]), picture, 1)[None]
            if not args.keep_polarity and picture.mean() > 0.5:
                picture = 1.0 - picture
        mean = np.reshape(np.float32(data.mean), (-1, 1, 1))
        std = np.reshape(np.float32(data.std), (-1, 1, 1))
        with no_grad():
            scores = model(Tensor(((picture - mean) / std)[None], device=device))
            chances = nn.functional.softmax(scores, dim=1).cpu().numpy()[0]
        best = np.argsort(-chances)[: args.top]
        print(f"{path}: " + ", ".join(f"{data.classes[i]} {chances[i]:.1%}" for i in best))


def summary(args: argparse.Namespace) -> None:
    """Print a network's layers, shapes, parameters and multiply-adds."""
    known = RECIPES.get(args.model) or Recipe(args.model, "digits")
    model = build_model(known)
    shape = args.input or models.INPUT_SHAPES[args.model]
    print(nn.summary(model, (1, *shape)))


def list_models(args: argparse.Namespace) -> None:
    """List the networks, with their parameters and where they come from."""
    for name in models.__all__:
        model = getattr(models, name)()
        count = sum(p.numel() for p in model.parameters())
        words = (getattr(models, name).__doc__ or "").strip().splitlines()[0]
        print(f"{name:<12}{count:>12,}  {words}")


def doctor(args: argparse.Namespace) -> None:
    """Report what minidl finds on this machine, and what holds it back."""
    import threadpoolctl

    from . import __version__

    print(f"minidl {__version__}, NumPy {np.__version__}, Python {platform.python_version()}")
    print(f"{platform.platform()}, {os.cpu_count()} processors")
    for pool in threadpoolctl.threadpool_info():
        if pool["user_api"] == "blas":
            architecture = pool.get("architecture", "unknown architecture")
            print(
                f"BLAS: {pool['internal_api']} {pool['version']}, kernels for {architecture}, "
                f"{pool['num_threads']} thread(s)"
            )
    held = [v for v in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE") if v in os.environ]
    for name in held:
        print(
            f"  {name}={os.environ[name]} is set: OpenBLAS does not choose for this processor "
            f"itself, which can halve its speed; unset {name} unless you need it"
        )
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in os.environ:
            print(f"  {name}={os.environ[name]} limits BLAS to that many threads")
    usable, what = backend.cuda.probe()
    print(f"GPU: {what}" if usable else f"GPU: none usable: {what}")


def _device(name: str) -> backend.device:
    backend.use(name)
    return backend.default_device()


def _load_weights(model: nn.Module, run: str) -> None:
    path = os.path.join(run, "checkpoint.safetensors")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{run} has no checkpoint.safetensors yet: train for an epoch")
    model.load_state_dict(load(path, device="cpu")["model"])


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.replace("x", ",").split(","))


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

    def common(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--root", help="folder of the data set (default: $MINIDL_DATA, or data)")
        sub.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 or auto (default)")

    sub = verb("train", train)
    sub.add_argument("model", nargs="?", help=f"a network: {', '.join(RECIPES)}")
    sub.add_argument("--resume", metavar="RUN", help="continue the run in this folder")
    sub.add_argument("--out", metavar="RUN", help="folder for the run (default: runs/MODEL)")
    sub.add_argument("--force", action="store_true", help="replace a run that is there")
    sub.add_argument("--data", choices=sorted(DATA))
    sub.add_argument("--epochs", type=int)
    sub.add_argument("--batch-size", type=int)
    sub.add_argument("--optimizer", choices=["sgd", "adam", "adamw"])
    sub.add_argument("--lr", type=float)
    sub.add_argument("--weight-decay", type=float)
    sub.add_argument("--schedule", choices=["cosine", "step", "constant"])
    sub.add_argument("--augment", choices=["none", "shift", "crop-flip"])
    sub.add_argument("--label-smoothing", type=float)
    sub.add_argument("--seed", type=int)
    sub.add_argument("--workers", type=int, default=0, help="threads that prepare batches")
    sub.add_argument("--quiet", action="store_true", help="no progress bar")
    common(sub)

    sub = verb("eval", evaluate_run)
    sub.add_argument("run", metavar="RUN", help="folder of a run")
    sub.add_argument("--data", choices=sorted(DATA), help="another data set than it learned from")
    common(sub)

    sub = verb("predict", predict)
    sub.add_argument("run", metavar="RUN", help="folder of a run")
    sub.add_argument("images", nargs="+", metavar="IMAGE", help="picture files")
    sub.add_argument("--top", type=int, default=3, help="how many answers to print")
    sub.add_argument(
        "--keep-polarity", action="store_true", help="do not invert dark digits on light paper"
    )
    common(sub)

    sub = verb("summary", summary)
    sub.add_argument("model", metavar="MODEL", choices=models.__all__)
    sub.add_argument("--input", type=_shape, help="shape of one image, e.g. 1x28x28")

    verb("models", list_models)
    verb("doctor", doctor)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; errors of the user's making are one line, not a traceback."""
    args = _parser().parse_args(argv)
    try:
        args.function(args)
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        print(f"minidl {args.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
