"""The log of a run."""

import math
import os

import pytest

from minidl.training.log import Log, read_log, write_log


def test_what_was_written_is_read(tmp_path):
    rows = [
        {"epoch": 1, "lr": 0.1, "train_loss": 1 / 3},
        {"epoch": 2, "lr": 1e-300, "train_loss": math.inf},
    ]
    write_log(rows, tmp_path / "log.csv")
    assert read_log(tmp_path / "log.csv") == rows
    assert (tmp_path / "log.csv").read_text().splitlines()[0] == "epoch,lr,train_loss"
    assert os.listdir(tmp_path) == ["log.csv"]


def test_rows_may_have_different_columns(tmp_path):
    rows = [{"epoch": 1, "a": 1.0}, {"epoch": 2, "b": 2.0}]
    write_log(rows, tmp_path / "log.csv")
    assert read_log(tmp_path / "log.csv") == rows


def test_what_is_no_log_is_named(tmp_path):
    (tmp_path / "x.csv").write_text("name,age\nAda,36\n")
    with pytest.raises(ValueError, match=r"x\.csv is not the log of a run: .*Ada"):
        read_log(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("a,b\n1,2,3\n")
    with pytest.raises(ValueError, match="not the log"):
        read_log(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match="not the log"):
        read_log(tmp_path / "x.csv")


def test_an_epoch_ends_and_the_next_one_begins(tmp_path):
    log = Log(["loss"])
    log.sums.count = 3
    log.end_epoch({"epoch": 1, "train_loss": 0.5})
    assert log.sums.count == 0
    other = Log(["loss"])
    other.sums.count = 7
    other.begin_epoch()
    assert other.sums.count == 7
    other.load_state_dict(log.state_dict())
    assert other.history == log.history == [{"epoch": 1, "train_loss": 0.5}]
