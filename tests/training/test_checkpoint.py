"""The checkpoint of a run (what is in it is tested by resuming, in test_fit.py)."""

import os

import numpy as np
import pytest

import minidl as md
from minidl.backend.random import host_generator, next_offset
from minidl.training.checkpoint import FILE, Checkpoint, load_weights

from .small import bits, network


class Part:
    """Holds a value."""

    def __init__(self, value):
        self.value = value

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def test_all_parts_come_back_and_chance_goes_on(tmp_path):
    checkpoint = Checkpoint(tmp_path, network(), part=Part(3), nothing=None)
    checkpoint.save()
    expected = bits(checkpoint.parts["model"]), host_generator().random(), next_offset(5)
    md.manual_seed(99)
    other = Checkpoint(tmp_path, network(), part=Part(4))
    assert other.restore()
    assert other.parts["part"].value == 3
    assert (bits(other.parts["model"]), host_generator().random(), next_offset(5)) == expected


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint(None, network())
    checkpoint.save()
    assert not checkpoint.restore()
    assert not os.listdir(tmp_path)


def test_there_is_nothing_to_restore_before_the_first_save(tmp_path):
    assert not Checkpoint(tmp_path / "run", network()).restore()


def test_restoring_removes_what_kills_left(tmp_path):
    checkpoint = Checkpoint(tmp_path, network())
    (tmp_path / f".{FILE}.x.part").mkdir()  # of the first save
    assert not checkpoint.restore()
    assert not os.listdir(tmp_path)
    checkpoint.save()
    (tmp_path / f".{FILE}.x.part").mkdir()
    assert checkpoint.restore()
    assert os.listdir(tmp_path) == [FILE]


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = network()
    checkpoint = Checkpoint(tmp_path, model)
    checkpoint.save()
    content = (tmp_path / FILE).read_bytes()
    model[6].weight.data[0, 0] = np.nan
    with pytest.raises(FloatingPointError, match=rf"6\.weight is not finite, so .*{FILE}"):
        checkpoint.save()
    assert (tmp_path / FILE).read_bytes() == content


def test_a_file_that_is_no_checkpoint_is_named(tmp_path):
    for content in ({"w": md.tensor([1.0])}, [1, 2]):
        md.save(content, tmp_path / FILE)
        with pytest.raises(ValueError, match=f"{FILE} is not of this run: it holds"):
            Checkpoint(tmp_path, network()).restore()


def test_the_weights_of_a_run_can_be_had_alone(tmp_path):
    model = network()
    Checkpoint(tmp_path, model, part=Part(1)).save()
    other = network()
    load_weights(other, tmp_path)
    assert bits(other) == bits(model)


def test_weights_that_are_not_there_or_of_another_network_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"has no {FILE}"):
        load_weights(network(), tmp_path)
    Checkpoint(tmp_path, network()).save()
    with pytest.raises(ValueError, match="its model does not fit") as caught:
        load_weights(network(width=9), tmp_path)
    assert "\n" not in str(caught.value)
    md.save({"w": md.tensor([1.0])}, tmp_path / FILE)
    with pytest.raises(ValueError, match="its model does not fit"):
        load_weights(network(), tmp_path)
    md.save([1], tmp_path / FILE)
    with pytest.raises(ValueError, match="its model does not fit"):
        load_weights(network(), tmp_path)


def test_the_weights_of_a_run_with_averages_are_the_averages(tmp_path):
    model = network()
    ema = md.optim.EMA(model, 0.5)
    before = bits(model)
    with md.no_grad():
        for p in model.parameters():
            p.data += 1.0
    Checkpoint(tmp_path, model, ema=ema).save()
    other = network()
    load_weights(other, tmp_path)
    assert bits(other) == before != bits(model)
