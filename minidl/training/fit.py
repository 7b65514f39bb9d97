"""The training loop: epochs over a loader, with a progress bar, a log and checkpoints.

A run can be stopped at any moment, even by `kill -9`, and continued with `resume=True` to the same
weights, bit for bit: a checkpoint holds all that the rest of the run depends on (weights,
optimiser, schedule, random state, the loader's place, the sums of the epoch under way), and it is
replaced in one step.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from ..autograd import no_grad
from ..backend import keep_memory, random
from ..backend.cpu.threads import one_blas_thread
from ..nn.utils import clip_grad_norm_
from ..optim.lr_scheduler import ReduceLROnPlateau
from .batches import batches_on
from .checkpoint import Checkpoint
from .evaluate import Criterion, evaluate, main_output
from .interrupt import note_interrupts
from .log import Log, write_log
from .modes import trainer
from .nonfinite import HINT, require_finite
from .objective import brings_losses, losses_of
from .progress import Bar
from .scoring import Accumulators, Metrics, split_metrics

__all__ = ["fit"]


def fit(
    model: Any,
    optimizer: Any,
    criterion: Criterion | None,
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
    watch: bool | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train `model` until `epochs` epochs are done.

    From then on the process keeps the memory of freed arrays (`minidl.backend.keep_memory`).

    Args:
        model, optimizer: a Module, and the optimiser of its parameters. Parts of it that are in
            evaluation mode while the model is in training mode, as a frozen BatchNorm, stay so.
        criterion: takes (output, target), returns the loss, averaged over the batch. For a model
            that returns (main, auxiliary, ...) see `AuxiliaryLoss`. None: the model has
            `losses(*inputs, target)`, a dictionary, of which the sum is minimised and the parts are
            logged, and `predict(*inputs)`, which metrics are given; see `objective.py`.
        train, test: DataLoaders of (input, target), or of the other batches in `batches.py`, as
            (input, another, target) for model(input, another); `test` is evaluated after every
            epoch.
        epochs: how many epochs in all, including those of a run that is resumed.
        metrics: name -> function of (output, target), averaged over a batch, as `accuracy`; or an
            object with reset, update(output, target) and scores, as `ConfusionMatrix` (see
            `scoring.py`). With `AuxiliaryLoss`, output is the main output. Without a criterion,
            they see the test data alone, as predictions cost more than a step of training.
        scheduler, scheduler_every: a schedule of the rate, stepped every "epoch" or "batch";
            ReduceLROnPlateau is given the loss of the test data, or else of the training data.
        ema: averaged weights, updated after every step, used for evaluation.
        clip_norm: the largest norm of the gradient.
        device: where the batches go; default: where the model is.
        run: folder for `checkpoint.safetensors` and `log.csv`; None: nothing is written.
        resume: continue from the checkpoint in `run`, if there is one.
        save_every: seconds between checkpoints within an epoch; one is written after each epoch.
        on_epoch: called after every epoch with the history, e.g. to draw the curves.
        watch: look at the loss and the gradients of every step, and stop where one is not finite.
            Default: on the CPU; a GPU, which that would keep waiting, is looked at now and then.
        progress: whether to show a bar, and a line for each epoch.

    Returns:
        one dictionary an epoch: epoch, lr, train_loss, train_<metric or score or part of the loss>,
        test_..., seconds, samples_per_second.

    Raises:
        FloatingPointError: the loss is not finite; names the operation where that began.
        ValueError: the checkpoint in `run` is damaged, or of another run.
        TypeError: no criterion, and the model has no `losses`; a metric that is none.
        KeyboardInterrupt: Ctrl-C, after the step under way is done and a checkpoint written.
    """
    if scheduler_every not in ("epoch", "batch"):
        raise ValueError(f'fit: scheduler_every is "epoch" or "batch", not {scheduler_every!r}')
    own = criterion is None
    if own and not brings_losses(model):
        raise TypeError(
            f"fit: without a criterion the model needs losses(*inputs, target), which "
            f"{type(model).__name__} does not have"
        )
    functions, counting = split_metrics(metrics)
    if own:
        functions, counting = {}, Accumulators({})
    keep_memory()
    device = device or next(iter(model.parameters())).device
    watch = str(device) == "cpu" if watch is None else watch
    log = Log(["loss", *functions], own, counting.resumable())
    parts = {"optimizer": optimizer, "scheduler": scheduler, "ema": ema, "log": log}
    checkpoint = Checkpoint(run, model, train=train, test=test, **parts)
    if resume:
        checkpoint.restore()
    begin_training = trainer(model)
    main = main_output(criterion)

    # BLAS's own threads spin while they wait: beside another busy process they slow a step tenfold.
    with one_blas_thread, note_interrupts() as interrupted, Bar(train, epochs, progress) as bar:
        for epoch in range(len(log.history), epochs):
            begin_training()
            log.begin_epoch()
            bar.begin(epoch, train.batch)
            for batch in batches_on(train, device):
                chance = random.get_state()
                values, output = losses_of(model, criterion, batch)
                loss = values["loss"]
                optimizer.zero_grad()
                loss.backward()
                if watch or bar.due():
                    require_finite(model, criterion, batch, loss, chance)
                if clip_norm is not None:
                    clip_grad_norm_(model.parameters(), clip_norm)
                optimizer.step()
                if scheduler is not None and scheduler_every == "batch":
                    scheduler.step()
                if ema is not None:
                    ema.update()
                with no_grad():
                    answer, target = main(output), batch.target
                    values |= {name: metric(answer, target) for name, metric in functions.items()}
                    log.counting.update(answer, target)
                log.sums.add(batch.count, values)
                bar.advance(batch.count)
                if bar.due():
                    bar.show(log.sums.means())
                if interrupted():
                    checkpoint.save()
                    raise KeyboardInterrupt(f"stopped in epoch {epoch + 1}")
                if checkpoint.age > save_every:
                    checkpoint.save()

            row: dict[str, float] = {"epoch": epoch + 1, "lr": optimizer.param_groups[0]["lr"]}
            row |= {f"train_{name}": value for name, value in log.means().items()}
            if not math.isfinite(row["train_loss"]):
                raise FloatingPointError(f"the loss is {row['train_loss']} in this epoch; {HINT}")
            seconds = log.sums.seconds
            if test is not None:
                means = evaluate(model, test, criterion, metrics, device=device, ema=ema)
                row |= {f"test_{name}": value for name, value in means.items()}
            row |= {"seconds": seconds, "samples_per_second": log.sums.count / seconds}
            log.end_epoch(row)
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(row.get("test_loss", row["train_loss"]))
            elif scheduler is not None and scheduler_every == "epoch":
                scheduler.step()
            if run is not None:  # before the checkpoint, after which this epoch is not done again
                write_log(log.history, os.path.join(run, "log.csv"))
            checkpoint.save()
            if on_epoch is not None:
                on_epoch(log.history)
            bar.line(row)
    return log.history
