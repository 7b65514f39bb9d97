"""Saving and loading: what goes in comes out, and damage is reported."""

import errno
import json
import os
import signal
import sys

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


def test_a_header_nested_without_end_is_an_error_that_names_the_file(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "deep.safetensors"
    save_file({"x": np.zeros(1, np.float32)}, path, metadata={"minidl": "[" * 100_000})
    with pytest.raises(ValueError, match=r"header of .*deep\.safetensors is damaged"):
        load(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        load(tmp_path / "nothing.safetensors")


def test_what_cannot_be_stored_is_named_with_its_place(tmp_path):
    with pytest.raises(TypeError, match="object at a/0"):
        save({"a": [object()]}, tmp_path / "o.safetensors")
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on the size of files")
@pytest.mark.parametrize("limit", [0, 100, 3000, 50_000])
def test_a_disk_that_becomes_full_is_an_error_that_names_the_file(tmp_path, limit):
    """The system's limit on the size of a file stands in for a disk of that size."""
    import resource

    path = tmp_path / "f.safetensors"
    save({"x": md.tensor([1.0])}, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError, match=r"f\.safetensors") as caught:
            save({"x": md.Tensor(np.ones(100_000, np.float32))}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert load(path)["x"].item() == 1.0
    assert os.listdir(tmp_path) == ["f.safetensors"]


def write_by_hand(path, entries):
    """A safetensors file of arrays whose dtype is called something else: see the format's page."""
    header, content = {}, b""
    for name, kind, array in entries:
        place = [len(content), len(content) + array.nbytes]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": place}
        content += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def test_bfloat16_files_are_read_as_float32(tmp_path):
    path = tmp_path / "b.safetensors"
    values = np.array([[1.0, -2.5], [np.inf, 3.0e38]], np.float32)  # 3.0e38 is rounded below
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    ones = np.ones(3, np.float32)
    write_by_hand(path, [("x", "F32", ones), ("w", "BF16", upper)])
    assert np.array_equal(load(path)["x"].data, ones)
    back = load(path)["w"]
    assert back.dtype == np.float32
    expected = (upper.astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(back.data, expected)
    assert back.data[0, 1] == -2.5


def test_a_dtype_that_numpy_lacks_is_named(tmp_path):
    path = tmp_path / "e.safetensors"
    write_by_hand(path, [("w", "F8_E4M3", np.zeros(2, np.uint8))])
    with pytest.raises(ValueError, match=r"w in .*e\.safetensors is F8_E4M3, which NumPy lacks"):
        load(path)
