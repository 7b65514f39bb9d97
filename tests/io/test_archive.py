"""Saving and loading: what goes in comes out, and damage is reported."""

import os

import numpy as np
import pytest

import minidl as md
from minidl.io import load, save


def test_a_nested_structure_comes_back_equal(tmp_path):
    rng = np.random.default_rng(0)
    thing = {
        "model": {"w": md.tensor(rng.standard_normal((3, 4)).astype(np.float32))},
        "optimizer": {"state": {0: {"step": 3, "m": md.tensor([1.0])}}, "groups": [{"lr": 0.1}]},
        "rng": {"big": 2**127 + 1, "name": "PCG64"},
        "odd": (1, None, True, "x", float("inf"), [], {}),
        "array": np.arange(3, dtype=np.uint8),
        "scalar": np.float32(1.5),
        "empty": md.Tensor(np.zeros((0, 2), np.float32)),
        "half": md.Tensor(np.ones(3, np.float16)),
        "zero-d": md.tensor(2.0),
    }
    save(thing, tmp_path / "a.safetensors")
    back = load(tmp_path / "a.safetensors")
    assert list(back) == list(thing)
    assert np.array_equal(back["model"]["w"].data, thing["model"]["w"].data)
    assert back["optimizer"]["state"][0]["step"] == 3
    assert back["optimizer"]["groups"] == [{"lr": 0.1}]
    assert back["rng"] == thing["rng"]
    assert back["odd"] == thing["odd"]
    assert isinstance(back["array"], np.ndarray)
    assert back["array"].dtype == np.uint8
    assert back["empty"].shape == (0, 2)
    assert back["half"].dtype == np.float16
    assert back["zero-d"].shape == ()
    assert back["zero-d"].item() == 2.0


def test_a_dictionary_of_tensors_is_an_ordinary_safetensors_file(tmp_path):
    from safetensors.numpy import load_file

    save({"a": md.tensor([1.0, 2.0]), "b": md.tensor([[3]])}, tmp_path / "w.safetensors")
    plain = load_file(tmp_path / "w.safetensors")
    assert np.array_equal(plain["a"], [1.0, 2.0])
    assert np.array_equal(load(tmp_path / "w.safetensors")["b"].data, [[3]])


def test_non_contiguous_tensors_are_stored_in_their_own_order(tmp_path):
    x = np.arange(6.0).reshape(2, 3).T
    save({"x": md.Tensor(x)}, tmp_path / "x.safetensors")
    assert np.array_equal(load(tmp_path / "x.safetensors")["x"].data, x)


def test_the_order_of_a_state_dict_is_kept(tmp_path):
    state = {name: md.tensor([1.0]) for name in ("z", "a", "m")}
    save(state, tmp_path / "s.safetensors")
    assert list(load(tmp_path / "s.safetensors")) == ["z", "a", "m"]


def test_colliding_paths_stay_apart(tmp_path):
    save({"a/b": md.tensor([1.0]), "a": {"b": md.tensor([2.0])}}, tmp_path / "c.safetensors")
    back = load(tmp_path / "c.safetensors")
    assert back["a/b"].item() == 1.0
    assert back["a"]["b"].item() == 2.0


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 50, 200])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, keep):
    path = tmp_path / "t.safetensors"
    save({"x": md.Tensor(np.zeros(100, np.float32)), "n": 1}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"t\.safetensors"):
        load(path)


def test_random_damage_never_gives_another_error(tmp_path):
    path = tmp_path / "d.safetensors"
    save({"x": md.Tensor(np.zeros(20, np.float32)), "n": [1, (2, 3)]}, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            damaged[at] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            load(path)
        except ValueError as error:
            refused += 1
            assert "d.safetensors" in str(error)  # noqa: PT017
    assert refused > 100


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        load(tmp_path / "nothing.safetensors")


def test_what_cannot_be_stored_is_named_with_its_place(tmp_path):
    with pytest.raises(TypeError, match="object at a/0"):
        save({"a": [object()]}, tmp_path / "o.safetensors")
    assert not os.listdir(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    import safetensors.numpy

    path = tmp_path / "f.safetensors"
    save({"x": md.tensor([1.0])}, path)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        save({"x": md.tensor([2.0])}, path)
    assert load(path)["x"].item() == 1.0
    assert os.listdir(tmp_path) == ["f.safetensors"]
