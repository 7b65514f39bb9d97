"""What training shows."""

import os
import re
import select
import struct
import sys

import pytest

from minidl.training.progress import Bar


class Loader:
    batch_size = 8

    def __len__(self):
        return 5


ROW = {
    "epoch": 2,
    "lr": 0.1,
    "train_loss": 0.25,
    "train_accuracy": 0.5,
    "test_loss": 0.125,
    "seconds": 1.25,
    "samples_per_second": 32.0,
}


def test_a_line_has_what_was_learned_and_how_fast(capsys):
    with Bar(Loader(), 10, True) as bar:
        bar.line(ROW)
    out = capsys.readouterr().out
    assert out == (
        "epoch  2/10  train: loss 0.2500 accuracy 0.5000  test: loss 0.1250  (1.2 s, 32 img/s)\n"
    )


def test_without_a_terminal_there_is_no_bar(capsys):
    with Bar(Loader(), 10, True) as bar:
        bar.begin(0, 0)
        bar.advance(8)
        bar.show({"loss": 1.0})
    assert capsys.readouterr() == ("", "")


def test_invisible_means_silent(capsys):
    with Bar(Loader(), 10, False) as bar:
        bar.begin(0, 0)
        bar.advance(8)
        bar.line(ROW)
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_in_a_terminal_the_bar_shows_epoch_share_speed_time_and_losses(monkeypatch):
    import fcntl
    import pty
    import termios

    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with Bar(Loader(), 2, True) as bar:
            bar.begin(1, 2)  # resumed: 7 of 10 batches are done
            bar.show({"loss": 0.5, "accuracy": 0.75})
            bar.advance(8)
            bar._tqdm.refresh()
            text = ""
            while "80%" not in text:  # what was written arrives at the other end a little later
                ready, _, _ = select.select([controller], [], [], 10.0)
                assert ready, f"only this was shown: {text!r}"
                text += os.read(controller, 100_000).decode()
    os.close(controller)
    # On a busy machine `advance` may show the bar once more in between.
    first, *_, last = text.strip("\r").split("\r")
    assert re.fullmatch(r"epoch 2/2  70%\|█+▉? +\| 00:00<\? \? img/s", first)
    assert re.fullmatch(
        r"epoch 2/2  80%\|█+.? +\| 00:00<00:00 .* img/s, loss=0\.5000, accuracy=0\.7500", last
    )


def test_the_losses_are_looked_at_now_and_then(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("minidl.training.progress.time.monotonic", lambda: now[0])
    with Bar(Loader(), 10, False) as bar:
        assert bar.due()
        bar.show({})
        assert not bar.due()
        now[0] += 0.3
        assert bar.due()
