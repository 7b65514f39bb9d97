"""The training loop: epochs over a loader, with a progress bar, a log and checkpoints.

A run can be stopped at any moment, even by `kill -9`, and continued with `resume=True` to the same
weights, bit for bit: a checkpoint holds all that the rest of the run depends on (weights,
optimiser, schedule, random state, the loader's place, the sums of the epoch under way), and it is
replaced in one step.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

from ..autograd import Tensor, no_grad
from ..backend import random
from ..io import load, save
from ..nn.utils import clip_grad_norm_
from .evaluate import Metrics, Sums, evaluate
from .interrupt import finish_step_on_interrupt
from .log import write_log
from .nonfinite import explain
from .progress import Bar

__all__ = ["fit"]


def fit(
    model: Any,
    optimizer: Any,
    criterion: Callable[[Tensor, Tensor], Tensor],
    train: Any,
    test: Any = None,
    *,
    epochs: int,
    metrics: Metrics | None = None,
    scheduler: Any = None,
    scheduler_every: str = "epoch",
    ema: Any = None,
    clip_norm: float | None = None,
    device: Any = None,
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    save_every: float = 60.0,
    on_epoch: Callable[[list[dict[str, float]]], None] | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train `model` until `epochs` epochs are done.

    Args:
        model, optimizer: a Module, and the optimiser of its parameters.
        criterion: takes (output, target), returns the loss, averaged over the batch.
        train, test: DataLoaders of (input, target); `test` is evaluated after every epoch.
        epochs: how many epochs in all, including those of a run that is resumed.
        metrics: name -> function of (output, target), averaged over a batch, as `accuracy`.
        scheduler, scheduler_every: a learning-rate schedule, stepped every "epoch" or "batch".
        ema: averaged weights, updated after every step, used for evaluation.
        clip_norm: the largest norm of the gradient.
        device: where the batches go; default: where the model is.
        run: folder for `checkpoint.safetensors` and `log.csv`; None: nothing is written.
        resume: continue from the checkpoint in `run`, if there is one.
        save_every: seconds between checkpoints within an epoch; one is written after each epoch.
        on_epoch: called after every epoch with the history, e.g. to draw the curves.
        progress: whether to show a bar.

    Returns:
        one dictionary an epoch: epoch, lr, train_loss, train_<metric>, test_..., seconds,
        samples_per_second.

    Raises:
        FloatingPointError: the loss is not finite; names the operation where that began.
        KeyboardInterrupt: Ctrl-C, after the step under way is done and a checkpoint written.
    """
    metrics = metrics or {}
    device = device or next(iter(model.parameters())).device
    parts = {"model": model, "optimizer": optimizer, "train": train}
    parts |= {k: v for k, v in {"scheduler": scheduler, "ema": ema}.items() if v is not None}
    path = None if run is None else os.path.join(run, "checkpoint.safetensors")
    history: list[dict[str, float]] = []
    sums = Sums(["loss", *metrics])
    spent = 0.0  # seconds of the epoch under way before this process took it up

    if resume and path is not None and os.path.exists(path):
        state = load(path, device="cpu")
        for name, part in parts.items():
            part.load_state_dict(state[name])
        random.set_state(state["random"])
        history, spent = state["history"], state["spent"]
        sums.load_state_dict(state["sums"])

    def checkpoint() -> None:
        if path is not None:
            state = {name: part.state_dict() for name, part in parts.items()}
            state |= {"random": random.get_state(), "sums": sums.state_dict()}
            save(state | {"history": history, "spent": spent + time.monotonic() - began}, path)

    with finish_step_on_interrupt() as interrupted:
        for epoch in range(len(history), epochs):
            began = saved = time.monotonic()
            model.train()
            bar = Bar(train, f"epoch {epoch + 1}/{epochs}", progress)
            for x, y in train:
                x, y = x.to(device), y.to(device)
                before = random.get_state()
                output = model(x)
                loss = criterion(output, y)
                optimizer.zero_grad()
                loss.backward()
                if bar.due(loss):  # the only place where a step waits for the device
                    bar.show(loss=sums.mean("loss"), **{m: sums.mean(m) for m in metrics})
                    if not math.isfinite(loss.item()):
                        bar.close()
                        explain(model, criterion, x, y, before)
                if clip_norm is not None:
                    clip_grad_norm_(model.parameters(), clip_norm)
                optimizer.step()
                if scheduler is not None and scheduler_every == "batch":
                    scheduler.step()
                if ema is not None:
                    ema.update()
                with no_grad():
                    values = {name: metric(output, y) for name, metric in metrics.items()}
                sums.add(len(y), loss=loss, **values)
                bar.advance()
                if interrupted():
                    bar.close()
                    checkpoint()
                    raise KeyboardInterrupt("stopped after a step; resume to continue there")
                if time.monotonic() - saved > save_every:
                    checkpoint()
                    saved = time.monotonic()
            bar.close()

            row: dict[str, float] = {"epoch": epoch + 1, "lr": optimizer.param_groups[0]["lr"]}
            row |= {f"train_{name}": value for name, value in sums.means().items()}
            if not math.isfinite(row["train_loss"]):
                raise FloatingPointError(f"the loss of epoch {epoch + 1} is {row['train_loss']}")
            seconds = spent + time.monotonic() - began
            if test is not None:
                scores = evaluate(model, test, criterion, metrics, device=device, ema=ema)
                row |= {f"test_{name}": value for name, value in scores.items()}
            row |= {"seconds": seconds, "samples_per_second": sums.count / seconds}
            history.append(row)
            sums, spent = Sums(["loss", *metrics]), 0.0
            if scheduler is not None and scheduler_every == "epoch":
                scheduler.step()
            began = time.monotonic()
            checkpoint()
            if run is not None:
                write_log(history, os.path.join(run, "log.csv"))
            if on_epoch is not None:
                on_epoch(history)
            bar.summary(row)
    return history
