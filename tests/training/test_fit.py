"""The training loop: it learns, it stops where it should, and goes on as if it never had."""

import itertools
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.backend.cpu import threads
from minidl.data import ArrayDataset, DataLoader
from minidl.metrics import ConfusionMatrix, accuracy
from minidl.nn.freezing import freeze
from minidl.training import AuxiliaryLoss, fit
from minidl.training.checkpoint import FILE, Checkpoint
from minidl.training.log import read_log

from .small import BATCH, BATCHES, SAMPLES, Images, bits, network, parts, untimed


@pytest.fixture(scope="module")
def whole():
    """(weights, averaged weights, history) of the small run, never stopped."""
    made = parts()
    history = fit(**made)
    return bits(made["model"]), made["ema"].state_dict()["average"], untimed(history)


def assert_same(made, history, whole):
    weights, average, rows = whole
    assert bits(made["model"]) == weights
    for name, tensor in made["ema"].state_dict()["average"].items():
        assert np.array_equal(tensor.data, average[name].data)
    assert untimed(history) == rows


# -- learning ------------------------------------------------------------------------------------


def test_it_learns():
    md.manual_seed(0)
    model = network()
    train = DataLoader(Images(200), BATCH, shuffle=True, seed=0)
    history = fit(
        model,
        optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        nn.CrossEntropyLoss(),
        train,
        DataLoader(Images(100, seed=1), 50),
        epochs=5,
        metrics={"accuracy": accuracy},
        progress=False,
    )
    assert history[-1]["test_accuracy"] >= 0.98
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 2


def test_it_is_the_loop_that_one_would_write():
    made = parts(schedule="none")
    model, optimizer = made["model"], made["optimizer"]
    for _ in range(2):
        model.train()
        for x, y in made["train"]:
            loss = made["criterion"](model(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    again = parts(schedule="none")
    fit(**again | {"epochs": 2, "test": None, "metrics": None, "ema": None})
    assert bits(again["model"]) == bits(model)


def test_rows_are_averages_over_samples_not_over_batches(tmp_path):
    """Batches of 5, 5 and 2: the last must not count as much as the others."""
    made = parts() | {"epochs": 1}
    made["optimizer"].param_groups[0]["lr"] = 0.0
    made["scheduler"] = made["ema"] = None
    made["train"] = DataLoader(ArrayDataset(Images(12).images, Images(12).labels), 5)
    made["test"] = DataLoader(ArrayDataset(Images(12).images, Images(12).labels), 7)
    made["model"] = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    made["optimizer"] = optim.SGD(made["model"].parameters(), lr=0.0)
    (row,) = fit(**made)
    output, labels = made["model"](md.Tensor(Images(12).images)), md.Tensor(Images(12).labels)
    assert row["train_loss"] == pytest.approx(made["criterion"](output, labels).item(), rel=1e-6)
    assert row["train_accuracy"] == pytest.approx(accuracy(output, labels).item(), rel=1e-6)
    assert row["test_loss"] == pytest.approx(row["train_loss"], rel=1e-6)
    assert row["test_accuracy"] == pytest.approx(row["train_accuracy"], rel=1e-6)


def test_the_folder_of_a_run_holds_its_log_and_its_checkpoint(tmp_path):
    run = tmp_path / "deep" / "run"
    seen = []
    history = fit(**parts(), run=run, on_epoch=lambda rows: seen.append(len(rows)))
    assert sorted(os.listdir(run)) == [FILE, "log.csv"]
    assert read_log(run / "log.csv") == history
    assert [row["epoch"] for row in history] == seen == [1, 2, 3]
    assert list(history[0]) == [
        "epoch",
        "lr",
        "train_loss",
        "train_accuracy",
        "test_loss",
        "test_accuracy",
        "seconds",
        "samples_per_second",
    ]
    assert {type(v) for row in history for v in row.values()} == {int, float}
    assert all(row["seconds"] > 0 and row["samples_per_second"] > 0 for row in history)


def test_a_schedule_is_stepped_every_batch_or_every_epoch():
    rates = []
    for every, period in (("batch", 3 * BATCHES), ("epoch", 3)):
        made = parts(schedule="none")
        schedule = optim.lr_scheduler.CosineAnnealingLR(made["optimizer"], period)
        made |= {"scheduler": schedule, "scheduler_every": every}
        rates.append([row["lr"] for row in fit(**made)])
    # A row has the rate that its last batch left behind: 1/3, 2/3 and all of half a cosine.
    assert rates[0] == pytest.approx([0.075, 0.025, 0.0])
    assert rates[1] == pytest.approx([0.1, 0.075, 0.025])


def test_a_plateau_schedule_is_given_the_test_loss():
    made = parts(schedule="plateau") | {"epochs": 6}
    losses = []
    step = made["scheduler"].step
    made["scheduler"].step = lambda loss: (losses.append(loss), step(loss))
    history = fit(**made)
    assert losses == [row["test_loss"] for row in history]
    made = parts(schedule="plateau") | {"epochs": 2, "test": None}
    made["scheduler"].step = losses.append
    assert [row["train_loss"] for row in fit(**made)] == losses[-2:]


def test_the_gradient_is_clipped():
    made = parts() | {"clip_norm": 1e-3, "epochs": 1, "ema": None, "scheduler": None}
    before = {name: p.data.copy() for name, p in made["model"].named_parameters()}
    made["optimizer"] = optim.SGD(made["model"].parameters(), lr=1.0)
    fit(**made)
    moved = [np.abs(p.data - before[name]).max() for name, p in made["model"].named_parameters()]
    assert 0 < max(moved) <= BATCHES * 1e-3


def test_evaluation_uses_the_averaged_weights_and_the_run_goes_on_with_the_others():
    test = DataLoader(ArrayDataset(Images(12).images, Images(12).labels), 5)
    made = parts() | {"test": test}
    made["ema"] = optim.EMA(made["model"], 1.0)  # stays what it is: the random weights
    assert len({row["test_loss"] for row in fit(**made)}) == 1
    plain = parts() | {"test": test, "ema": None}
    assert len({row["test_loss"] for row in fit(**plain)}) == 3
    assert bits(made["model"]) == bits(plain["model"])


# -- other models, other batches -----------------------------------------------------------------


class TwoHeads(nn.Module):
    """In training mode (main, auxiliary) scores, else the main ones: as GoogLeNet."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
        self.head, self.auxiliary = nn.Linear(16, 4), nn.Linear(16, 4)

    def forward(self, x):
        x = self.body(x)
        return (self.head(x), self.auxiliary(x)) if self.training else self.head(x)


def test_auxiliary_outputs_are_trained_and_metrics_get_the_main_one():
    def made(model, criterion):
        arguments = parts(schedule="none") | {"ema": None, "clip_norm": None, "epochs": 2}
        arguments |= {"model": model, "criterion": criterion}
        arguments["optimizer"] = optim.SGD(model.parameters(), lr=0.1)
        return arguments

    md.manual_seed(0)
    model = TwoHeads()
    start = bits(model)
    history = fit(**made(model, AuxiliaryLoss(nn.CrossEntropyLoss(), 0.3)))
    assert all(bits(model)[name] != start[name] for name in start)
    # Without a weight for it, the auxiliary head stays, and the rest is as if it were not there.
    model, again = TwoHeads(), TwoHeads()
    again.load_state_dict(model.state_dict())
    silent = fit(**made(model, AuxiliaryLoss(nn.CrossEntropyLoss(), 0.0)))
    again.forward = lambda x: again.head(again.body(x))
    single = fit(**made(again, nn.CrossEntropyLoss()))
    assert untimed(silent) == untimed(single)
    assert 0.5 < history[-1]["train_accuracy"] < 1.0


class Compare(nn.Module):
    """Distances between embeddings of pictures, with one more number for each."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
        self.scale = nn.Linear(1, 1)

    def forward(self, first, second, weight):
        first, second = self.embed(first), self.embed(second)
        return self.scale(weight)[:, 0] * ((first - second) ** 2).mean(1), first


def contrastive(output, target):
    """A loss of several outputs and several targets."""
    distance, first = output
    return ((distance - target["same"]) ** 2).mean() + 1e-3 * (first * target["sign"]).mean() ** 2


@pytest.mark.parametrize("named", [False, True])
def test_several_inputs_and_a_loss_of_several_outputs_and_targets(tmp_path, named):
    images = Images(32)
    first, second = images.images, Images(32, seed=1).images
    weight = np.ones((32, 1), np.float32)
    target = {"same": np.float32(images.labels == 0), "sign": np.ones((32, 1), np.float32)}

    class Pairs:
        def __len__(self):
            return 32

        def get_batch(self, i):
            held = {name: values[i] for name, values in target.items()}
            if named:
                inputs = {"first": first[i], "second": second[i], "weight": weight[i]}
                return {**inputs, "target": held}
            return first[i], second[i], weight[i], held

    def made():
        md.manual_seed(0)
        model = Compare()
        return {
            "model": model,
            "optimizer": optim.SGD(model.parameters(), lr=0.05),
            "criterion": contrastive,
            "train": DataLoader(Pairs(), 8, shuffle=True, seed=0),
            "test": DataLoader(Pairs(), 32),
            "metrics": {"distance": lambda output, target: output[0].mean()},
            "epochs": 4,
            "progress": False,
        }

    whole = made()
    history = fit(**whole)
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    assert math.isfinite(history[-1]["test_distance"])
    stopped = made() | {"epochs": 2}
    fit(**stopped, run=tmp_path)
    again = made()
    fit(**again, run=tmp_path, resume=True)
    assert bits(again["model"]) == bits(whole["model"])


def test_the_input_that_is_not_finite_is_named_among_several():
    images = Images(8).images
    bad = np.ones((8, 1), np.float32)
    bad[3] = math.nan
    model = Compare()
    held = {"same": np.ones(8, np.float32), "sign": np.ones((8, 1), np.float32)}

    class Pairs:
        def __len__(self):
            return 8

        def get_batch(self, i):
            return images[i], images[i], bad[i], {k: v[i] for k, v in held.items()}

    optimizer = optim.SGD(model.parameters(), lr=0.05)
    with pytest.raises(FloatingPointError, match="the input 3 of this batch is not finite"):
        fit(model, optimizer, contrastive, DataLoader(Pairs(), 4), epochs=1, progress=False)


def test_a_frozen_batch_norm_stays_as_it_is_through_training_and_evaluation():
    made = parts() | {"ema": None}
    norm = made["model"][1].eval().requires_grad_(False)
    norm.running_mean.data[:] = 0.25
    before = bits(norm)
    assert len(fit(**made)) == 3
    assert bits(norm) == before
    assert not norm.training
    assert made["model"].training
    assert made["model"][5].training, "dropout is not frozen"
    frozen = parts() | {"ema": None}
    norm = freeze(frozen["model"][1])
    before = bits(norm)
    fit(**frozen)
    assert bits(norm) == before
    thawed = parts() | {"ema": None}
    fit(**thawed)
    assert bits(thawed["model"][1]) != before


def test_an_unknown_period_of_the_schedule_is_refused():
    with pytest.raises(ValueError, match="scheduler_every"):
        fit(**parts() | {"scheduler_every": "step"})


# -- metrics that count ---------------------------------------------------------------------------


def counting(**changes):
    """The small run with a confusion matrix, whose mean IoU is no average over batches."""
    return parts() | {"metrics": {"accuracy": accuracy, "counts": ConfusionMatrix(4)}} | changes


def test_scores_of_counts_are_columns_for_training_and_test_data(tmp_path):
    made = counting()
    history = fit(**made, run=tmp_path)
    scores = ["pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou"]
    for part in ("train", "test"):
        assert [n for n in history[0] if n.startswith(part)] == [
            f"{part}_{name}" for name in ("loss", "accuracy", *scores)
        ]
        for row in history:
            assert row[f"{part}_pixel_accuracy"] == pytest.approx(row[f"{part}_accuracy"])
    assert {type(v) for row in history for v in row.values()} == {int, float}
    assert read_log(tmp_path / "log.csv") == history
    # What is left in it is the last evaluation.
    assert made["metrics"]["counts"].matrix.sum() == 12
    assert made["metrics"]["counts"].mean_iou() == history[-1]["test_mean_iou"]


def test_from_every_checkpoint_counts_go_on_bit_for_bit(tmp_path, monkeypatch):
    whole = counting(epochs=2)
    history = fit(**whole)
    save, numbers = Checkpoint.save, itertools.count()

    def save_and_copy(self):
        save(self)
        shutil.copytree(os.path.dirname(self.path), tmp_path / "copies" / str(next(numbers)))

    monkeypatch.setattr(Checkpoint, "save", save_and_copy)
    fit(**counting(epochs=2), run=tmp_path / "run", save_every=-1.0)
    monkeypatch.undo()
    for number in range(2 * BATCHES + 2):
        made = counting(epochs=2)
        # Counts of another life are no part of the run.
        made["metrics"]["counts"].update(np.zeros((7, 3), int), np.ones((7, 3), int))
        again = fit(**made, run=tmp_path / "copies" / str(number), resume=True)
        assert untimed(again) == untimed(history)
        assert bits(made["model"]) == bits(whole["model"])


def test_a_run_with_other_counts_is_refused(tmp_path):
    fit(**counting(epochs=1), run=tmp_path)
    with pytest.raises(ValueError, match="its log does not fit: the counts are of counts"):
        fit(**counting(metrics={"accuracy": accuracy}), run=tmp_path, resume=True)


class Detector(nn.Module):
    """Finds the bright stripe of `Images`: a model that brings its losses, in two parts."""

    def __init__(self):
        super().__init__()
        self.body = network(4)
        self.scale = nn.Parameter(md.tensor(1.0))
        self.asked = 0

    def losses(self, images, target):
        rows = nn.functional.cross_entropy(self.body(images), target)
        return {"rows": rows, "scale": 0.1 * (self.scale - 0.5) ** 2}

    def predict(self, images):
        assert not self.training
        assert not md.autograd.is_grad_enabled()
        self.asked += 1
        return self.body(images)


def detecting(**changes):
    made = counting(criterion=None, **changes)
    md.manual_seed(0)
    made["model"] = Detector()
    made["optimizer"] = optim.SGD(made["model"].parameters(), lr=0.1, momentum=0.9)
    made["scheduler"] = None
    made["ema"] = optim.EMA(made["model"], 0.5)
    return made


def test_a_model_that_brings_its_losses_is_trained_by_their_sum():
    made = detecting(epochs=3)
    history = fit(**made)
    losses = ["loss", "rows", "scale"]
    scores = ["accuracy", "pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou"]
    assert [n for n in history[0] if n.startswith("train")] == [f"train_{n}" for n in losses]
    tests = {f"test_{n}" for n in (*losses, *scores)}
    assert {n for n in history[0] if n.startswith("test")} == tests
    for part in ("train", "test"):
        for row in history:
            parts_ = row[f"{part}_rows"] + row[f"{part}_scale"]
            assert row[f"{part}_loss"] == pytest.approx(parts_, rel=1e-5)
    assert history[-1]["train_rows"] < history[0]["train_rows"]
    assert history[-1]["train_scale"] < history[0]["train_scale"]
    assert made["model"].asked == 3 * TESTS, "predictions are made of test data alone"


def test_a_model_that_brings_its_losses_goes_on_bit_for_bit(tmp_path):
    whole = detecting()
    history = fit(**whole)
    for step in (1, BATCHES, BATCHES + 3):
        stopped, folder = detecting(), tmp_path / str(step)
        taken = itertools.count(1)
        real = stopped["optimizer"].step

        def press(real=real, taken=taken, step=step):
            if next(taken) == step:
                os.kill(os.getpid(), signal.SIGINT)
            real()

        stopped["optimizer"].step = press
        with pytest.raises(KeyboardInterrupt):
            fit(**stopped, run=folder)
        made = detecting()
        assert untimed(fit(**made, run=folder, resume=True)) == untimed(history)
        assert bits(made["model"]) == bits(whole["model"])


def test_without_a_criterion_the_model_must_bring_its_losses():
    with pytest.raises(TypeError, match=r"needs losses\(\*inputs, target\), which Sequential does"):
        fit(**parts() | {"criterion": None})


def test_a_part_of_own_losses_that_is_not_finite_stops_with_the_operation():
    made = detecting(ema=None)
    made["model"].losses = lambda x, y: {"log": (0.0 * made["model"].scale).log()}
    with pytest.raises(FloatingPointError, match="which began in Log"):
        fit(**made)


# -- resuming ------------------------------------------------------------------------------------


def test_every_checkpoint_leads_to_the_same_end(tmp_path, monkeypatch, whole):
    """A checkpoint after every step: from each of them the run ends with the same bits."""
    save, numbers = Checkpoint.save, itertools.count()

    def save_and_copy(self):
        save(self)
        shutil.copytree(os.path.dirname(self.path), tmp_path / "copies" / str(next(numbers)))

    monkeypatch.setattr(Checkpoint, "save", save_and_copy)
    made = parts()
    assert_same(made, fit(**made, run=tmp_path / "run", save_every=-1.0), whole)
    monkeypatch.undo()
    assert next(numbers) == 3 * BATCHES + 3
    for number in range(3 * BATCHES + 3):
        made = parts(workers=number % 3)
        md.manual_seed(number)  # whatever a new process does before it resumes
        folder = tmp_path / "copies" / str(number)
        assert_same(made, fit(**made, run=folder, resume=True), whole)
        assert untimed(read_log(folder / "log.csv")) == whole[2]


def stop_at(step):
    """A metric that presses Ctrl-C when it is called for the `step`-th time."""
    calls = itertools.count(1)

    def pressed(output, target):
        if next(calls) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return accuracy(output, target)

    return pressed


TESTS = 3  # batches of the test data
A_ROUND = BATCHES + TESTS  # calls of a metric in an epoch


@pytest.mark.parametrize(
    "step", [1, 2, BATCHES, BATCHES + 1, A_ROUND, A_ROUND + 1, 2 * A_ROUND + BATCHES]
)
def test_ctrl_c_leaves_a_checkpoint_from_which_all_goes_on(tmp_path, whole, step):
    before = signal.getsignal(signal.SIGINT)
    made = parts() | {"metrics": {"accuracy": stop_at(step)}}
    with pytest.raises(KeyboardInterrupt, match="stopped in epoch"):
        fit(**made, run=tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    made = parts()
    assert_same(made, fit(**made, run=tmp_path, resume=True), whole)


def test_a_second_ctrl_c_stops_at_once():
    def twice(output, target):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.0)  # the signal arrives here at the latest
        pytest.fail("went on")

    with pytest.raises(KeyboardInterrupt):
        fit(**parts() | {"metrics": {"accuracy": twice}})


def test_a_run_that_is_done_stays_as_it_is(tmp_path, whole):
    fit(**parts(), run=tmp_path)
    content = (tmp_path / FILE).read_bytes()
    made = parts()
    assert_same(made, fit(**made, run=tmp_path, resume=True), whole)
    assert (tmp_path / FILE).read_bytes() == content


def test_resuming_where_nothing_is_starts_from_the_beginning(tmp_path, whole):
    made = parts()
    assert_same(made, fit(**made, run=tmp_path, resume=True), whole)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(whole, workers):
    made = parts(workers=workers)
    assert_same(made, fit(**made), whole)


def test_another_thread_than_the_main_one_can_train(whole):
    made = parts()
    results = []
    thread = threading.Thread(target=lambda: results.append(fit(**made)))
    thread.start()
    thread.join()
    assert_same(made, results[0], whole)


def test_threads_change_nothing_from_one_run_to_the_next():
    """Large enough for every kernel to share its work; which thread takes which piece is chance."""

    def train():
        md.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2),
            nn.ReLU(),
            nn.AvgPool2d(15),
            nn.Flatten(),
            nn.Linear(32, 10),
        )
        rng = np.random.default_rng(0)
        images = rng.standard_normal((256, 3, 32, 32), dtype=np.float32)
        data = DataLoader(ArrayDataset(images, np.arange(256) % 10), 64, num_workers=2)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        fit(model, optimizer, nn.CrossEntropyLoss(), data, epochs=1, progress=False)
        return bits(model)

    before = threads.get_num_threads()
    threads.set_num_threads(3)
    try:
        first = train()
        assert all(train() == first for _ in range(4))
    finally:
        threads.set_num_threads(before)


# -- killing -------------------------------------------------------------------------------------


def train_to_the_end(run, save_every=-1.0):
    """What a process that will be killed does: a checkpoint after every step."""
    made = parts(workers=1)
    history = fit(**made, run=run, resume=True, save_every=save_every)
    text = json.dumps(untimed(history))
    with open(os.path.join(run, "end.json"), "w") as file:
        file.write(text)


def kill_again_and_again(folder, kills, whole, seed, hits=0):
    """Runs that are killed at random moments until they end, compared with one that never was.

    Args:
        hits: go on, up to ten times as long, until so many kills hit while a file was being
            written: on a busy machine few do.

    Returns:
        how many of the kills did.
    """
    # Children of a server that has imported everything: a fork each, and no thread in it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])

    def start(run):
        process = context.Process(target=train_to_the_end, args=(str(run),))
        process.start()
        return process

    def last_until_end(run):
        begin = time.monotonic()
        process = start(run)
        process.join()
        assert process.exitcode == 0
        return time.monotonic() - begin

    folder.mkdir(exist_ok=True)
    last_until_end(folder / "first")  # starts the server
    duration = last_until_end(folder / "second")
    chance = random.Random(seed)
    done = writing = 0
    for number in itertools.count():
        run = folder / f"run{number}"
        while True:
            process = start(run)
            if done < kills or (writing < hits and done < 10 * kills):
                # Early moments more often: about three kills before a run comes to its end.
                process.join(chance.uniform(0.0, 0.5 * duration))
                process.kill()
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            done += 1
            writing += (
                any(name.endswith(".part") for name in os.listdir(run)) if run.exists() else 0
            )
        made = parts()
        checkpoint = md.load(run / FILE)
        weights = {name: tensor.data.tobytes() for name, tensor in checkpoint["model"].items()}
        assert weights == whole[0]
        made["ema"].load_state_dict(checkpoint["ema"])
        made["model"].load_state_dict(checkpoint["model"])
        assert_same(made, json.loads((run / "end.json").read_text()), whole)
        assert untimed(read_log(run / "log.csv")) == whole[2]
        assert sorted(os.listdir(run)) == [FILE, "end.json", "log.csv"]
        if done >= 10 * kills or (done >= kills and writing >= hits):
            return writing


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_a_few_kills_at_random_moments_change_nothing(tmp_path, whole):
    kill_again_and_again(tmp_path, 5, whole, seed=0)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_two_hundred_kills_at_random_moments_change_nothing(tmp_path, whole):
    writing = kill_again_and_again(tmp_path, 200, whole, seed=1, hits=10)
    assert writing >= 10, "hardly a kill hit while a file was written: the test shows too little"


# -- what goes wrong -----------------------------------------------------------------------------


def test_a_truncated_checkpoint_is_named_and_nothing_is_touched(tmp_path):
    fit(**parts() | {"epochs": 1}, run=tmp_path)
    content = (tmp_path / FILE).read_bytes()
    for length in (0, 100, len(content) // 2, len(content) - 1):
        (tmp_path / FILE).write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"{FILE} .*truncated"):
            fit(**parts(), run=tmp_path, resume=True)
        assert (tmp_path / FILE).read_bytes() == content[:length]


def test_the_run_of_another_network_is_refused(tmp_path):
    fit(**parts() | {"epochs": 1}, run=tmp_path)
    content = (tmp_path / FILE).read_bytes()
    with pytest.raises(ValueError, match=rf"{FILE} is of another run or network.*model") as caught:
        fit(**parts(width=5), run=tmp_path, resume=True)
    assert "\n" not in str(caught.value)
    assert (tmp_path / FILE).read_bytes() == content


def test_the_run_of_other_parts_is_refused(tmp_path):
    fit(**parts() | {"epochs": 1}, run=tmp_path)
    with pytest.raises(ValueError, match=r"it holds .*ema.*; this run has"):
        fit(**parts() | {"ema": None}, run=tmp_path, resume=True)
    with pytest.raises(ValueError, match="its scheduler does not fit"):
        fit(**parts(schedule="plateau"), run=tmp_path, resume=True)
    with pytest.raises(ValueError, match="its log does not fit"):
        fit(**parts() | {"metrics": None}, run=tmp_path, resume=True)


def test_a_run_of_other_data_is_refused(tmp_path):
    made = parts() | {"metrics": {"accuracy": stop_at(2)}}
    with pytest.raises(KeyboardInterrupt):
        fit(**made, run=tmp_path)
    made = parts() | {"train": DataLoader(Images(SAMPLES + 1), BATCH, shuffle=True, seed=0)}
    with pytest.raises(ValueError, match="its train does not fit"):
        fit(**made, run=tmp_path, resume=True)


def test_a_full_disk_stops_the_run_and_the_last_checkpoint_stays(tmp_path, whole):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fill(rows):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))

    try:
        with pytest.raises(OSError, match=rf"{tmp_path}"):
            fit(**parts(), run=tmp_path, on_epoch=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(os.listdir(tmp_path)) == [FILE, "log.csv"]
    made = parts()
    assert_same(made, fit(**made, run=tmp_path, resume=True), whole)


class Logarithm(nn.Module):
    """Its output is the logarithm of 0."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 4)

    def forward(self, x):
        return self.after(self.fc(x.flatten(1)))

    def after(self, x):
        return x.clamp(min=0.0).log()


class Root(Logarithm):
    """Its output is finite, and the slope there infinite: once `calls` batches have passed."""

    calls = 0

    def after(self, x):
        self.calls -= 1
        return x if self.calls >= 0 else (0.0 * x).sqrt()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Logarithm, r"the loss is (nan|inf|-inf), which began in Log: infinity in output 0"),
        (Root, r"the gradient of fc.weight is not finite, which began in Sqrt.backward"),
    ],
)
def test_a_loss_that_is_not_finite_stops_with_the_operation_that_made_it(tmp_path, model, message):
    made = parts(schedule="none") | {"ema": None, "model": model()}
    made["optimizer"] = optim.SGD(made["model"].parameters(), lr=0.1)
    before = bits(made["model"])
    with pytest.raises(FloatingPointError, match=message) as caught:
        fit(**made, run=tmp_path)
    assert "test_fit.py" in str(caught.value)  # the line of the model
    assert bits(made["model"]) == before
    assert not os.listdir(tmp_path)


def test_a_diverging_run_leaves_the_last_good_checkpoint(tmp_path):
    made = parts(schedule="none") | {"ema": None, "clip_norm": None, "epochs": 50}
    made["model"] = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    made["optimizer"] = optim.SGD(made["model"].parameters(), lr=1e6)
    made["criterion"] = nn.MSELoss()
    targets = np.zeros((SAMPLES, 4), np.float32)
    made["train"] = DataLoader(md.data.TensorDataset(Images().images, targets), BATCH)
    made |= {"test": None, "metrics": None}
    with pytest.raises(FloatingPointError, match="A lower learning rate"):
        fit(**made, run=tmp_path, save_every=-1.0)
    state = md.load(tmp_path / FILE)["model"]
    assert all(np.isfinite(tensor.data).all() for tensor in state.values())


def test_an_input_that_is_not_finite_is_said_to_be_the_reason():
    images = Images()
    images.images[3, 0, 0, 0] = math.nan
    made = parts() | {"train": DataLoader(images, BATCH)}
    with pytest.raises(FloatingPointError, match="the input of this batch is not finite already"):
        fit(**made)


def test_weights_that_are_not_finite_are_said_to_be_the_reason():
    made = parts()
    made["model"][6].weight.data[0, 0] = math.inf
    with pytest.raises(FloatingPointError, match=r"6\.weight is not finite already"):
        fit(**made)


# -- on a device ---------------------------------------------------------------------------------


def test_it_runs_on_the_stand_in_for_a_gpu_and_resumes_there(tmp_path):
    made = parts(device="strict")
    first = fit(**made)
    stopped = parts(device="strict") | {"metrics": {"accuracy": stop_at(A_ROUND + 2)}}
    with pytest.raises(KeyboardInterrupt):
        fit(**stopped, run=tmp_path)
    again = parts(device="strict")
    history = fit(**again, run=tmp_path, resume=True)
    assert bits(again["model"]) == bits(made["model"])
    assert untimed(history) == untimed(first)
    assert next(again["model"].parameters()).device == "strict"


@pytest.mark.parametrize("calls", [1, BATCHES - 2, BATCHES - 1, BATCHES])
def test_unwatched_weights_that_are_not_finite_never_reach_the_checkpoint(
    tmp_path, monkeypatch, calls
):
    """As on a GPU, which is looked at now and then only: here at the first batch and no other."""
    monkeypatch.setattr("minidl.training.progress.PERIOD", math.inf)
    for save_every in (-1.0, 60.0):
        made = parts(schedule="none") | {"ema": None, "model": Root(), "clip_norm": None}
        made["optimizer"] = optim.SGD(made["model"].parameters(), lr=1e-3)
        made["model"].calls = calls
        with pytest.raises(FloatingPointError, match="watch=True"):
            fit(**made, run=tmp_path, watch=False, save_every=save_every)
        if (tmp_path / FILE).exists():
            state = md.load(tmp_path / FILE)["model"]
            assert all(np.isfinite(tensor.data).all() for tensor in state.values())
