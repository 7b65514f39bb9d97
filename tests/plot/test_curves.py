"""Learning curves: a PNG for every history, in the end complete or not there."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from minidl.plot import curves


def history(epochs, names=("loss", "accuracy"), test=True):
    rows = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "lr": 0.1 / epoch}
        row |= {f"train_{name}": 1.0 / epoch for name in names}
        row |= {f"test_{name}": 1.5 / epoch for name in names if test}
        rows.append(row | {"seconds": 1.0, "samples_per_second": 2.0})
    return rows


def colours(path):
    picture = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return {tuple(int(v) for v in colour) for colour in picture}


BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def test_both_parts_are_drawn_in_their_colours(tmp_path):
    curves(history(12), tmp_path / "c.png")
    assert {BLUE, ORANGE} <= colours(tmp_path / "c.png")
    assert os.listdir(tmp_path) == ["c.png"]


def test_without_test_data_there_is_one_curve(tmp_path):
    curves(history(3, test=False), tmp_path / "c.png")
    assert BLUE in colours(tmp_path / "c.png")
    assert ORANGE not in colours(tmp_path / "c.png")


def test_there_is_a_panel_for_each_value_and_one_for_the_rate(tmp_path):
    widths = []
    for names in (["loss"], ["loss", "accuracy"], ["loss", "accuracy", "top5"]):
        curves(history(3, names), tmp_path / "c.png")
        widths.append(Image.open(tmp_path / "c.png").size[0])
    assert widths[1] - widths[0] == widths[2] - widths[1] == widths[0] // 2


def test_four_panels_stand_in_a_row(tmp_path):
    sizes = []
    for count in (3, 4, 8):
        curves(history(3, ["loss", *"abcdefgh"][:count]), tmp_path / "c.png")
        sizes.append(Image.open(tmp_path / "c.png").size)
    (width, height), *others = sizes
    assert others == [(width, 2 * height), (width, 3 * height)]


def test_what_only_the_test_data_have_is_drawn_too(tmp_path):
    rows = history(3, ["loss"], test=False)
    for row in rows:
        row["test_AP50"] = 0.5
    curves(rows, tmp_path / "c.png")
    assert {BLUE, ORANGE} <= colours(tmp_path / "c.png")


@pytest.mark.parametrize("epochs", [1, 2, 300])
def test_any_length_can_be_drawn(tmp_path, epochs):
    curves(history(epochs), tmp_path / "c.png")
    assert Image.open(tmp_path / "c.png").format == "PNG"


def test_gaps_and_odd_values_can_be_drawn(tmp_path):
    rows = history(4)
    rows[1]["train_loss"] = math.nan
    rows[2]["test_loss"] = math.inf
    rows[3]["train_loss"] = 0.0
    del rows[0]["test_accuracy"]
    curves(rows, tmp_path / "c.png")
    assert ORANGE in colours(tmp_path / "c.png")


def test_an_empty_history_is_an_error_and_no_file(tmp_path):
    with pytest.raises(ValueError, match="history is empty"):
        curves([], tmp_path / "c.png")
    assert not os.listdir(tmp_path)


def test_matplotlib_is_imported_only_when_something_is_drawn():
    code = "import sys, minidl.plot; print('matplotlib' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
