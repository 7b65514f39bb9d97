"""Files of torch.save: what torch wrote comes back, and no file does harm."""

import collections
import copy
import importlib.util
import os
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl.autograd import Tensor
from minidl.io import load, torch_checkpoint

from .. import strict_cupy
from ..conftest import StrictBackend
from . import pickles as p

FORMATS = {"zip": p.write_zip, "legacy": p.write_legacy}
NUMBERS = np.arange(12, dtype="<f4")


@pytest.fixture(params=FORMATS)
def write(request, tmp_path):
    """Writes a checkpoint by hand and gives its path."""

    def written(body, *storages):
        path = tmp_path / "made.pth"
        FORMATS[request.param](path, body, storages)
        return path

    return written


def torch_or_skip():
    return pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")


def everything(torch):
    """One of each kind of thing that checkpoints hold."""
    torch.manual_seed(0)
    w = torch.randn(4, 6)
    return {
        "plain": w,
        "transposed": w.t(),
        "part": w[1:3, ::2],
        "repeated": torch.ones(3, 1).expand(3, 5),
        "0-d": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "bool": torch.tensor([[True, False], [False, True]]),
        **{
            name: torch.tensor([1, 2, 3, 100]).to(getattr(torch, name))
            for name in ("uint8", "int8", "int16", "int32", "int64", "float16", "float64")
        },
        "unsigned": torch.tensor([65535, 7], dtype=torch.uint16),
        "wide": torch.tensor([2**63, 7], dtype=torch.uint64),
        "bfloat16": torch.randn(5).bfloat16(),
        "parameter": torch.nn.Parameter(w),
        "gradient": torch.randn(2, requires_grad=True),
        "state": torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict(),
        "size": w.size(),
        "device": torch.device("cuda:1"),
        "dtype": torch.bfloat16,
        "scalars": [np.float64(2.5), np.float32(0.1), np.int32(-2), np.bool_(True), np.uint8(200)],
        "bytes": b"\0\xffx",
        "milestones": collections.Counter([30, 60, 60]),
        "ordered": collections.OrderedDict(z=1, a=2),
        "nested": (1, (2.5,), [None, True, {"ü": -(2**40), 7: 2**127}]),
    }


def assert_same(ours, theirs, torch):
    if isinstance(theirs, torch.Tensor):
        expected = theirs.detach()
        expected = (expected.float() if expected.dtype == torch.bfloat16 else expected).numpy()
        assert isinstance(ours, Tensor)
        assert ours.dtype == expected.dtype
        assert ours.shape == expected.shape
        np.testing.assert_array_equal(ours.data, expected)
        assert not ours.requires_grad
    elif isinstance(theirs, dict):
        assert type(ours) is dict
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key], torch)
    elif isinstance(theirs, (torch.device, torch.dtype)):
        assert ours == str(theirs)
    elif isinstance(theirs, np.generic):
        assert ours == theirs.item()
        assert type(ours) is type(theirs.item())
    else:
        assert ours == (tuple(theirs) if isinstance(theirs, torch.Size) else theirs)
        assert type(ours) in (tuple, list, dict, str, bytes, int, float, bool)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_torch_saves_comes_back_equal(zipped, protocol, tmp_path):
    torch = torch_or_skip()
    path = tmp_path / "everything.pth"
    thing = everything(torch)
    torch.save(thing, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    assert_same(md.load(path), thing, torch)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_training_run_of_torch_can_be_read(zipped, tmp_path):
    torch = torch_or_skip()
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.Adam(net.parameters(), amsgrad=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    net(torch.randn(2, 1, 5, 5)).sum().backward()
    optimizer.step()
    saved = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "random": torch.get_rng_state(),
    }
    path = tmp_path / "run.tar"
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    back = load(path)
    assert_same(back["model"], saved["model"], torch)
    assert_same(back["optimizer"], saved["optimizer"], torch)
    assert_same(back["random"], saved["random"], torch)
    assert back["schedule"]["milestones"] == {3: 1, 5: 1}
    twin = md.nn.Sequential(md.nn.Conv2d(1, 2, 3), md.nn.BatchNorm2d(2))
    twin.load_state_dict(back["model"])


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensors_that_share_a_storage_share_memory(zipped, tmp_path):
    torch = torch_or_skip()
    w = torch.randn(4, 6)
    path = tmp_path / "tied.pt"
    saved = {"a": w, "b": w, "row": w[2], "own": w.clone()}
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    back = load(path)
    back["a"].data[2, 0] = 77
    assert back["row"].data[0] == 77
    assert back["b"].data[2, 0] == 77
    assert not np.shares_memory(back["a"].data, back["own"].data)


def test_a_bare_tensor_can_be_the_whole_file(tmp_path):
    torch = torch_or_skip()
    torch.save(torch.arange(3), tmp_path / "x")
    assert load(str(tmp_path / "x")).tolist() == [0, 1, 2]


def test_reading_takes_no_torch(write, tmp_path):
    body = p.mapping(weight=p.tensor(p.storage(12), 0, (3, 4), (4, 1)))
    path = write(body, NUMBERS)
    program = (
        "import sys; sys.modules['torch'] = None\n"  # importing it is now an error
        f"import minidl; print(minidl.load({str(path)!r})['weight'].sum().item())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "66.0", done.stderr


def test_sizes_strides_and_offsets_are_those_of_the_file(write):
    stored = p.storage(12)
    body = p.mapping(
        plain=p.tensor(stored, 0, (3, 4), (4, 1)),
        transposed=p.tensor(stored, 0, (4, 3), (1, 4)),
        column=p.tensor(stored, 1, (3,), (4,)),
        last=p.tensor(stored, 11, (), ()),
        empty=p.tensor(stored, 12, (2, 0), (0, 1)),
        unused=p.tensor(stored, 2, (1, 2), (2**62, 1)),  # a stride never taken
        windows=p.tensor(stored, 0, (10, 3), (1, 1)),
    )
    back = load(write(body, NUMBERS))
    grid = NUMBERS.reshape(3, 4)
    np.testing.assert_array_equal(back["plain"].data, grid)
    np.testing.assert_array_equal(back["transposed"].data, grid.T)
    np.testing.assert_array_equal(back["column"].data, [1, 5, 9])
    assert back["last"].shape == ()
    assert back["last"].item() == 11
    assert back["empty"].shape == (2, 0)
    np.testing.assert_array_equal(back["unused"].data, [[2, 3]])
    expected = np.lib.stride_tricks.sliding_window_view(NUMBERS, 3)
    np.testing.assert_array_equal(back["windows"].data, expected)


def test_what_is_read_can_be_changed(write):
    x = load(write(p.tensor(p.storage(12), 0, (12,), (1,)), NUMBERS))
    x.data += 1
    assert x.sum().item() == 78


def test_the_tensors_go_where_they_are_wanted(write, monkeypatch):
    def copied(self, data, dtype=None, index=None):  # as to a GPU
        return strict_cupy.asarray(np.array(data), dtype)

    monkeypatch.setattr(StrictBackend, "asarray", copied)
    path = write(p.sequence(p.tensor(p.storage(12), 0, (4, 3), (1, 4))), NUMBERS)
    (there,) = load(path, device="strict")
    assert there.device == "strict"
    np.testing.assert_array_equal(there.cpu().data, NUMBERS.reshape(3, 4).T)
    (there,) = md.load(path, map_location="strict")
    assert there.device == "strict"


def test_files_without_gradients_of_the_oldest_torch_are_read(write):
    old = p.call(
        p.name("torch._utils", "_rebuild_tensor"),
        p.storage(12),
        p.number(4),
        p.sequence(p.number(2)),
        p.sequence(p.number(3)),
    )
    assert load(write(old, NUMBERS)).tolist() == [4, 7]


def test_a_storage_can_be_a_part_of_another(write):
    """So torch wrote tensors that shared memory, before 0.4."""
    part = p.storage(12, view=p.sequence(p.text("part"), p.number(5), p.number(3)))
    assert load(write(p.tensor(part, 0, (3,), (1,)), NUMBERS)).tolist() == [5, 6, 7]


@pytest.mark.parametrize("order", ["little", "big", None])
def test_the_order_of_bytes_is_that_of_the_file(order, tmp_path):
    sign = ">" if order == "big" else "<"
    arrays = [
        np.array([1.5, -2], f"{sign}f4"),
        np.array([1, -2], f"{sign}i8"),
        np.array([0x3F80, 0xC020], f"{sign}u2"),
        np.array([65535, 258], f"{sign}u2"),
        np.array([True, False]),
    ]
    kinds = ("FloatStorage", "LongStorage", "BFloat16Storage", None, "BoolStorage")
    parts = []
    for key, kind in enumerate(kinds):
        if kind is not None:
            stored = p.storage(2, kind, str(key), view=b"")  # as in zip files
            parts.append(p.tensor(stored, 0, (2,), (1,)))
            continue
        kind_of_bytes = p.name("torch.storage", "UntypedStorage")
        name = p.text("storage"), kind_of_bytes, p.text(str(key)), p.text("cpu"), p.number(4)
        parts.append(
            p.call(
                p.name("torch._utils", "_rebuild_tensor_v3"),
                p.sequence(*name) + b"Q",
                *(p.number(0), p.sequence(p.number(2)), p.sequence(p.number(1)), b"\x89"),
                *(p.EMPTY_DICT, p.name("torch", "uint16")),
            )
        )
    path = tmp_path / "order.pt"
    p.write_zip(path, p.EMPTY_LIST + p.MARK + b"".join(parts) + p.APPENDS, arrays, order)
    back = load(path)
    assert [x.tolist() for x in back] == [[1.5, -2], [1, -2], [1, -2.5], [65535, 258], [1, 0]]
    assert all(x.dtype.isnative for x in back)
    if importlib.util.find_spec("torch"):
        theirs = torch_or_skip().load(path, weights_only=True)
        for k in (0, 1, 2, 4):  # torch does not turn the bytes of those without a type
            np.testing.assert_array_equal(back[k].data, theirs[k].float().numpy())


def test_a_bool_is_any_byte_but_zero(write):
    """NumPy computes nonsense with bools that are neither 0 nor 1."""
    stored = np.array([0, 1, 2, 255], np.uint8)
    back = load(write(p.tensor(p.storage(4, "BoolStorage"), 0, (4,), (1,)), stored))
    assert back.data.view(np.uint8).tolist() == [0, 1, 1, 1]


# -- which format a file has ----------------------------------------------------------------------


def test_the_name_of_a_file_does_not_matter(write, tmp_path):
    path = write(p.mapping(x=p.number(3)))
    os.rename(path, tmp_path / "misleading.safetensors")
    assert load(tmp_path / "misleading.safetensors") == {"x": 3}
    md.save({"x": 3}, tmp_path / "misleading.pth")
    assert load(tmp_path / "misleading.pth") == {"x": 3}


def test_a_safetensors_file_is_not_taken_for_a_pickle(tmp_path):
    """Its first bytes are the length of its header: 0x280 begins as a pickle of protocol 2 does."""
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(0x0280)
    raw = len(header).to_bytes(8, "little") + header + np.float32(7).tobytes()
    assert raw[:2] == b"\x80\x02"
    (tmp_path / "x.safetensors").write_bytes(raw)
    assert load(tmp_path / "x.safetensors")["x"].item() == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither a safetensors file nor a PyTorch checkpoint"),
        (b"hello, world, this is text", "neither a safetensors file nor a PyTorch checkpoint"),
        (b"PK\x03\x04 and nothing else", "the zip archive is damaged"),
        (pickle.dumps({"a": 1}, 2), "it is a pickle, but none of torch.save"),
        (pickle.dumps({"a": 1}, 4), "it is a pickle, but none of torch.save"),
        (p.program(p.number(p.MAGIC)) + p.program(p.number(5)), "version 5 of the format"),
    ],
)
def test_other_files_are_refused_by_name(content, message, tmp_path):
    path = tmp_path / "other.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)


def test_other_zip_archives_are_refused(tmp_path):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "hello")
    with pytest.raises(ValueError, match=r"no record data\.pkl"):
        load(path)


def test_a_program_of_torchscript_is_named_as_such(tmp_path):
    path = tmp_path / "script.pt"
    p.write_zip(path, p.NONE)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/constants.pkl", b"")
    with pytest.raises(ValueError, match="TorchScript"):
        load(path)


# -- hostile files --------------------------------------------------------------------------------


def refusal(path):
    """The message with which a file is refused; reading it must take little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as error:
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000, f"{peak} bytes to say: {error.value}"
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 800
    return str(error.value).replace(str(path), "")  # which has the words of the test's name


@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        *(("os", "system"), ("builtins", "eval"), ("argparse", "Namespace"), ("torch", "load")),
        *(("torch.nn.modules.conv", "Conv2d"), ("collections", "defaultdict")),
        *(("numpy.core.multiarray", "_reconstruct"), ("torch._utils", "_rebuild_sparse_tensor")),
        ("torch.serialization", "_get_layout"),
    ],
)
def test_names_outside_the_list_are_errors_that_name_them(module, attribute, write):
    text = refusal(write(p.call(p.name(module, attribute), p.text("echo harm"))))
    assert f"it names {module}.{attribute}" in text
    assert "save its state_dict()" in text


def test_a_whole_module_saved_by_torch_is_refused_by_the_name_of_its_class(tmp_path):
    torch = torch_or_skip()
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pt"
        torch.save(torch.nn.Linear(2, 2), path, _use_new_zipfile_serialization=zipped)
        assert "torch.nn.modules.linear.Linear" in refusal(path) or "outside" in refusal(path)


def test_nothing_in_a_hostile_file_runs(write, tmp_path):
    marker = tmp_path / "harm"
    refusal(write(p.call(p.name("os", "mkdir"), p.text(str(marker)))))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("complex64", "ComplexFloatStorage"), ("float8_e4m3fn", "float8_e4m3fn")],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_types_of_number_that_minidl_lacks_are_named(dtype, name, zipped, tmp_path):
    torch = torch_or_skip()
    path = tmp_path / "x.pt"
    x = torch.ones(2).to(getattr(torch, dtype))
    torch.save({"x": x}, path, _use_new_zipfile_serialization=zipped)
    assert name in refusal(path)


BIG = 2**40
HOSTILE = {
    "more elements than stored": (p.tensor(p.storage(12), 0, (13,), (1,)), "storage of 12"),
    "behind the storage": (p.tensor(p.storage(12), 12, (1,), (1,)), "storage of 12"),
    "strides too long": (p.tensor(p.storage(12), 0, (2, 2), (11, 1)), "storage of 12"),
    "strides that overflow": (p.tensor(p.storage(12), 0, (9, 9), (2**62, 2**62)), "storage of 12"),
    "a negative stride": (p.tensor(p.storage(12), 11, (12,), (-1,)), "whole numbers"),
    "a negative offset": (p.tensor(p.storage(12), -1, (1,), (1,)), "whole numbers"),
    "a negative size": (p.tensor(p.storage(12), 0, (-1,), (1,)), "whole numbers"),
    "an immense number": (p.tensor(p.storage(12), 2**900, (1,), (1,)), "whole numbers"),
    "a missing stride": (p.tensor(p.storage(12), 0, (3, 4), (1,)), "strides"),
    "too many dimensions": (p.tensor(p.storage(12), 0, (1,) * 65, (1,) * 65), "65 dimensions"),
    "repeated without end": (p.tensor(p.storage(12), 0, (BIG, 12), (0, 1)), "stored elements"),
    "an empty tensor of immense sides": (
        p.tensor(p.storage(12), 0, (0, 2**62, 2**62), (1, 1, 1)),
        "too big|maximum|large",
    ),
    "an immense storage": (p.tensor(p.storage(BIG), 0, (1,), (1,)), "bigger than the file"),
    "a negative storage": (p.tensor(p.storage(-1), 0, (1,), (1,)), "describes a storage by"),
    "a storage of two lengths": (
        p.sequence(p.storage(12), p.storage(11)),
        "the storage '0' in two ways",
    ),
    "a storage of two types": (
        p.sequence(p.storage(12), p.storage(12, "IntStorage")),
        "the storage '0' in two ways",
    ),
    "a part outside its storage": (
        p.storage(12, view=p.sequence(p.text("x"), p.number(5), p.number(8))),
        "8 elements from 5 of a storage of 12",
    ),
    "a storage by another name": (
        p.tensor(p.storage(12, key="../../data.pkl"), 0, (1,), (1,)),
        r"\.\./\.\./data\.pkl is missing|belongs to no tensor",
    ),
    "a storage of a long name": (
        p.tensor(p.storage(12, key="x" * 100_000), 0, (1,), (1,)),
        "xxx is missing|belongs to no tensor",
    ),
    "a storage of no type": (
        p.sequence(*map(p.text, ("storage", "float", "0", "cpu")), p.number(1)) + b"Q",
        "describes a storage by",
    ),
    "a module outside the pickle": (p.sequence(p.text("module"), p.NONE) + b"Q", "not a storage"),
    "a storage that is no tensor's": (p.storage(12), "contains _Storage itself"),
    "a function as data": (p.name("torch._utils", "_rebuild_tensor"), "itself"),
    "a type as data": (p.name("torch", "FloatStorage"), "contains _Kind itself"),
    "a tensor of a tensor": (
        p.tensor(p.tensor(p.storage(12), 0, (1,), (1,)), 0, (1,), (1,)),
        "a tensor of a Tensor",
    ),
    "a tensor of too little": (
        p.call(p.name("torch._utils", "_rebuild_tensor_v2"), p.storage(12)),
        "damaged .TypeError",
    ),
    "attributes for a tensor": (
        p.tensor(p.storage(12), 0, (1,), (1,)) + p.EMPTY_DICT + p.BUILD,
        "attributes of a Tensor",
    ),
    "attributes for a function": (
        p.name("torch._utils", "_rebuild_tensor") + p.mapping(call=p.NONE) + p.BUILD,
        "attributes of a Callee",
    ),
    "a parameter of text": (
        p.call(p.name("torch._utils", "_rebuild_parameter"), p.text("x"), p.NONE, p.NONE),
        "a parameter made of a str",
    ),
    "a scalar of objects": (p.call(p.name("numpy", "dtype"), p.text("O8")), "'O8'"),
    "a scalar of too many bytes": (
        p.call(
            p.name("numpy.core.multiarray", "scalar"),
            p.call(p.name("numpy", "dtype"), p.text("f8")),
            b"C\x04abcd",
        ),
        "another number of bytes",
    ),
    "an encoding": (
        p.call(p.name("_codecs", "encode"), p.text("x"), p.text("zip")),
        "encodes a str as 'zip'",
    ),
    "an encoding of a tensor": (
        p.call(p.name("_codecs", "encode"), p.tensor(p.storage(12), 0, (2,), (1,)), p.text("x")),
        "encodes a Tensor as 'x'",
    ),
    "an encoding that is a tensor": (
        p.call(p.name("_codecs", "encode"), p.text("x"), p.tensor(p.storage(12), 0, (2,), (1,))),
        "encodes a str as ",
    ),
    "a scalar whose type is a tensor": (
        p.call(p.name("numpy", "dtype"), p.tensor(p.storage(12), 0, (2,), (1,))),
        "NumPy scalar of the type",
    ),
    "a scalar whose byte order is a tensor": (
        p.call(
            p.name("numpy.core.multiarray", "scalar"),
            p.call(p.name("numpy", "dtype"), p.text("f4"))
            + p.sequence(p.NONE, p.tensor(p.storage(12), 0, (2,), (1,)))
            + p.BUILD,
            b"C\x04abcd",
        ),
        "NumPy scalar without a type",
    ),
    "an untyped tensor of text": (
        p.call(p.name("torch._utils", "_rebuild_tensor_v3"), *[p.text("torch.uint16")] * 7),
        "stored without a type",
    ),
    "an untyped tensor of a typed storage": (
        p.call(
            p.name("torch._utils", "_rebuild_tensor_v3"),
            *(p.storage(12), p.number(0), p.EMPTY_TUPLE, p.EMPTY_TUPLE, p.NONE, p.NONE),
            p.name("torch", "uint16"),
        ),
        "stored without a type",
    ),
    "a storage whose kind of reference is a tensor": (
        p.sequence(p.tensor(p.storage(12), 0, (2,), (1,)), *[p.NONE] * 4) + b"Q",
        "not a storage",
    ),
    "a dictionary of a tensor's rows": (
        p.call(p.name("collections", "OrderedDict"), p.tensor(p.storage(12), 0, (3, 2), (1, 1))),
        "a Tensor as the key",
    ),
    "a dictionary of a number": (
        p.call(p.name("collections", "OrderedDict"), p.number(3)),
        "damaged .TypeError",
    ),
    "a tensor as the key of a dictionary": (
        p.call(
            p.name("collections", "OrderedDict"),
            p.EMPTY_LIST + p.sequence(p.tensor(p.storage(12), 0, (1,), (1,)), p.NONE) + p.APPEND,
        ),
        "a Tensor as the key",
    ),
    "a list as a size": (
        p.call(p.name("torch", "Size"), p.EMPTY_LIST),
        "torch.Size of a list",
    ),
    "a deep argument that is spelt out": (
        p.call(p.name("torch", "device"), p.EMPTY_TUPLE + b"\x85" * 20_000),
        "torch.device of",
    ),
    "tuples many thousands deep": (p.EMPTY_TUPLE + b"\x85" * 5000, "deep"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_at_little_cost(what, write):
    body, message = HOSTILE[what]
    text = refusal(write(body, NUMBERS))
    assert re.search(message, text), text


def test_calls_that_copy_much_are_bounded(write):
    """A long text, kept in the memo and turned into bytes ten thousand times over."""
    encode = p.name("_codecs", "encode") + p.put(0) + b"0"
    latin = p.text("latin1") + p.put(1) + b"0"
    body = encode + latin + p.text("x" * 10_000) + p.put(2) + b"0"
    body += p.EMPTY_LIST + (p.get(0) + p.get(2) + p.get(1) + b"\x86" + p.REDUCE + p.APPEND) * 2000
    assert "more data than it contains" in refusal(write(body))
    pairs = p.EMPTY_LIST + (p.text("k") + p.NONE + b"\x86" + p.APPEND) * 1000 + p.put(1) + b"0"
    body = p.name("collections", "OrderedDict") + p.put(0) + b"0" + pairs + p.EMPTY_LIST
    body += (p.get(0) + p.get(1) + b"\x85" + p.REDUCE + p.APPEND) * 1000
    assert "more data than it contains" in refusal(write(body))


def test_tensors_that_repeat_a_little_are_bounded_together(write, monkeypatch):
    monkeypatch.setattr(torch_checkpoint, "_REPEATED", 1000)
    one = p.tensor(p.storage(12), 0, (60, 12), (0, 1))
    assert load(write(one, NUMBERS)).shape == (60, 12)
    text = refusal(write(p.sequence(one, one, one, one, one), NUMBERS))
    assert "repeat what is stored" in text


# of the zip format


def test_a_compressed_record_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "bomb.pt"
    zeros = np.zeros(10_000_000, np.float32)
    body = p.tensor(p.storage(zeros.size), 0, (zeros.size,), (1,))
    p.write_zip(path, body, [zeros], compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    del zeros
    assert "is compressed or encrypted" in refusal(path)
    p.write_zip(
        path, p.tensor(p.storage(12), 0, (12,), (1,)), [NUMBERS], compression=zipfile.ZIP_DEFLATED
    )
    assert "is compressed or encrypted" in refusal(path)  # and a small one, which is no bomb


def test_a_record_that_is_missing_or_of_another_length_is_named(tmp_path):
    path = tmp_path / "x.pt"
    p.write_zip(path, p.tensor(p.storage(12), 0, (12,), (1,)))
    assert "the record model/data/0 is missing" in refusal(path)
    p.write_zip(path, p.tensor(p.storage(11), 0, (11,), (1,)), [NUMBERS])
    assert "model/data/0 has 48 bytes, its tensors need 44" in refusal(path)
    p.write_zip(path, p.NONE, order="middle")
    assert "byte order is 'middle'" in refusal(path)


def test_two_records_of_one_name_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    p.write_zip(path, p.NONE)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/data.pkl", p.program(p.number(1)))
    assert "two records model/data.pkl" in refusal(path)


def test_a_record_whose_sum_is_wrong_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    p.write_zip(path, p.tensor(p.storage(12), 0, (12,), (1,)), [NUMBERS])
    raw = bytearray(path.read_bytes())
    raw[raw.index(NUMBERS.tobytes()) + 5] ^= 1
    path.write_bytes(raw)
    assert "Bad CRC-32" in refusal(path)


def test_many_storages_cannot_be_the_same_bytes(tmp_path):
    """An archive's list of contents may point at one record again and again."""
    path = tmp_path / "x.pt"
    bodies = [p.tensor(p.storage(50_000, key=str(k)), 0, (1,), (1,)) for k in range(20)]
    zeros = np.zeros(50_000, np.float32)
    p.write_zip(path, p.sequence(*bodies), [zeros])
    with zipfile.ZipFile(path, "a") as archive:
        entry = archive.getinfo("model/data/0")
        for k in range(1, 20):
            twin = copy.copy(entry)
            twin.filename = f"model/data/{k}"
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True
    assert refusal(path)


# of the legacy format


def test_legacy_storages_must_be_those_of_the_tensors(tmp_path):
    path = tmp_path / "x.pth"
    body = p.tensor(p.storage(12), 0, (12,), (1,))
    p.write_legacy(path, body)
    assert "the storage '0' is missing" in refusal(path)
    p.write_legacy(path, body, [NUMBERS, NUMBERS])
    assert "the storage '1' is there twice or belongs to no tensor" in refusal(path)
    p.write_legacy(path, body, [NUMBERS[:11]])
    assert "has 11 elements and 44 bytes; its tensors need 12" in refusal(path)
    p.write_legacy(path, body, [NUMBERS])
    raw = path.read_bytes()
    path.write_bytes(raw[:-48] + raw[-48:-4])
    assert "12 elements and 44 bytes" in refusal(path)
    place = raw.index(struct.pack("<q", 12), raw.index(p.EMPTY_LIST + p.MARK))
    path.write_bytes(raw[:place] + struct.pack("<q", -12) + raw[place + 8 :])
    assert "has -12 elements" in refusal(path)


# -- damage ---------------------------------------------------------------------------------------


def real_files(folder):
    """Small checkpoints in both formats: by torch where it is installed, and by hand."""
    folder.mkdir(exist_ok=True)
    stored = p.storage(12)
    body = p.mapping(
        w=p.tensor(stored, 0, (3, 4), (4, 1)), t=p.tensor(stored, 0, (4, 3), (1, 4)), n=p.number(7)
    )
    p.write_zip(folder / "made.zip", body, [NUMBERS])
    p.write_legacy(folder / "made.legacy", body, [NUMBERS])
    try:
        import torch
    except ImportError:
        return sorted(folder.iterdir())
    thing = everything(torch)
    del thing["wide"], thing["unsigned"]
    torch.save(thing, folder / "torch.zip")
    torch.save(thing, folder / "torch.legacy", _use_new_zipfile_serialization=False)
    return sorted(folder.iterdir())


def survives(path, raw):
    """Whether a damaged file is read; if not, by an error that names it; little memory anyway."""
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        load(path)
        return True
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
        return False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3_000_000, peak


def test_an_empty_tensor_at_the_end_of_a_legacy_file_is_missed_when_it_is_cut(tmp_path):
    """Its storage is a count of zero, of which eight bytes are as good as none."""
    path = tmp_path / "empty.pt"
    p.write_legacy(path, p.mapping(e=p.tensor(p.storage(0), 0, (0,), (1,))), [NUMBERS[:0]])
    raw = path.read_bytes()
    assert load(path)["e"].shape == (0,)
    for missing in range(1, 9):
        assert not survives(path, raw[:-missing]), f"without the last {missing} bytes"


def test_every_truncated_file_is_refused(tmp_path):
    for path in real_files(tmp_path / "whole"):
        raw = path.read_bytes()
        load(path)
        rng = np.random.default_rng(0)
        lengths = {*range(16), *rng.integers(0, len(raw), 60).tolist(), len(raw) - 1}
        for length in lengths:
            assert not survives(tmp_path / "cut.pt", raw[:length]), f"{path.name}[:{length}]"


def test_random_damage_never_gives_another_error(tmp_path):
    for path in real_files(tmp_path / "whole"):
        raw = path.read_bytes()
        rng = np.random.default_rng(1)
        refused = 0
        for _ in range(150):
            damaged = bytearray(raw)
            for at in rng.integers(0, len(raw), rng.integers(1, 20)):
                damaged[at] = rng.integers(256)
            refused += not survives(tmp_path / "damaged.pt", bytes(damaged))
        assert refused > 50, f"{path.name}: {refused}"


@given(at=st.integers(0, 10**9), new=st.binary(min_size=1, max_size=12), cut=st.integers(0, 8))
@settings(max_examples=100, deadline=None)
def test_bytes_put_in_or_taken_out_never_give_another_error(tmp_path_factory, at, new, cut):
    folder = tmp_path_factory.getbasetemp() / "checkpoints"
    if not folder.exists():
        real_files(folder)
    for path in sorted(folder.iterdir()):
        raw = path.read_bytes()
        place = at % len(raw)
        survives(folder.parent / "spliced.pt", raw[:place] + new + raw[place + cut :])


STRUCTURE = [
    *(p.MARK, p.NONE, p.EMPTY_DICT, p.EMPTY_TUPLE, p.REDUCE, p.BUILD, p.put(0), p.get(0), b"Q"),
    *(b"t", b"\x85", b"\x86", b"0", p.text("0"), p.text("storage"), p.number(12), p.number(-1)),
    *(p.storage(12), p.tensor(p.storage(12), 0, (3, 4), (4, 1)), p.sequence(p.number(2))),
    *(p.name("torch._utils", f"_rebuild_{kind}") for kind in ("tensor", "tensor_v3", "parameter")),
    *(p.name("torch", kind) for kind in ("FloatStorage", "Size", "device", "uint16")),
    *(p.name("numpy", "dtype"), p.name("numpy.core.multiarray", "scalar"), p.text("f4")),
    *(p.name("_codecs", "encode"), p.name("collections", "OrderedDict"), p.text("latin1")),
]


@given(parts=st.lists(st.sampled_from(STRUCTURE), max_size=40))
@settings(max_examples=250, deadline=None)
def test_whatever_the_pickle_says_the_result_is_data_or_a_value_error(tmp_path_factory, parts):
    path = tmp_path_factory.getbasetemp() / "said.pt"
    p.write_zip(path, p.MARK + b"".join(parts) + b"t", [NUMBERS])
    survives(path, path.read_bytes())


# -- real files -----------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "tensors"),
    [
        ("resnet20-12fca82f.th", 97),
        ("resnet56-4bfd9763.th", 277),
        ("mobilenet_v2-b0353104.pth", 314),
        ("ultraface/version-RFB-320.pth", 244),
    ],
)
def test_files_of_others_are_read_as_torch_reads_them(file, tensors, data_folder):
    torch = torch_or_skip()
    path = data_folder / "weights" / file
    ours = load(path)
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    assert_same(ours, theirs, torch)
    assert len(ours.get("state_dict", ours)) == tensors
