"""Values travel unchanged, and nothing that is read is believed."""

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minidl.teach.assign.exchange import MAGIC, Broken, decode, encode

DTYPES = ["?", "i1", "u1", "i2", "i4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
arrays = hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, min_side=0))
plain = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(), st.text(), arrays
)


def same(a, b):
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and (a == b or (a != a and b != b))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), st.one_of(plain, st.lists(plain), st.tuples(plain, plain))))
def test_what_is_sent_arrives(values):
    got = decode(encode(values))
    assert list(got) == list(values)
    assert all(same(values[name], got[name]) for name in values)


def test_layout_byte_order_and_class_of_an_array_are_not_sent():
    x = np.arange(6.0).reshape(2, 3)
    values = {"t": x.T, "big": x.astype(">f8"), "m": np.ma.array(x), "s": x[:, ::2]}
    got = decode(encode(values))
    for name, value in values.items():
        assert type(got[name]) is np.ndarray
        assert got[name].flags.c_contiguous
        assert got[name].flags.writeable
        assert got[name].dtype == np.float64
        assert np.array_equal(got[name], value)


def test_numbers_of_numpy_keep_their_dtype():
    got = decode(encode({"a": np.float32(1.5), "b": np.int8(3), "c": np.bool_(True)}))
    assert got == {"a": 1.5, "b": 3, "c": True}
    assert isinstance(got["a"], np.float32)
    assert isinstance(got["b"], np.int8)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([None]), "out is an array of object"),
        (np.array(["a"]), "out is an array of <U1"),
        (np.zeros(2, "i4,i4"), "out is an array of"),
        ({"a": 1}, "out is of type dict"),
        ([[1]], r"out\[0\] is of type list"),
        ((1, print), r"out\[1\] is of type builtin_function_or_method"),
        (object(), "out is of type object"),
        (2**70, "out is an integer of 71 bits"),
    ],
)
def test_other_things_are_not_sent(value, message):
    with pytest.raises(Broken, match=message):
        encode({"out": value})


def message(head, body=b""):
    text = json.dumps(head).encode() if not isinstance(head, bytes) else head
    return MAGIC + struct.pack("<Q", len(text)) + text + body


TREE = {"x": {"array": 0}}
LIES = {
    "nothing": b"",
    "no beginning": b"PK\3\4" * 10,
    "no head": MAGIC + b"\xff" * 8,
    "no JSON": message(b"{"),
    "deep JSON": message(b"[" * 100_000),
    "a list": message([]),
    "no arrays": message({"tree": {}}),
    "no dtype": message({"tree": TREE, "arrays": [[8, [1]]]}, b"\0" * 8),
    "objects": message({"tree": TREE, "arrays": [["|O", [1]]]}, b"\0" * 8),
    "a structure": message({"tree": TREE, "arrays": [["f4,f4", [1]]]}, b"\0" * 8),
    "text": message({"tree": TREE, "arrays": [["<U9", [1]]]}, b"\0" * 36),
    "no such dtype": message({"tree": TREE, "arrays": [["<f9", [1]]]}, b"\0" * 9),
    "too much": message({"tree": TREE, "arrays": [["<f8", [10**15]]]}, b"\0" * 8),
    "a huge empty shape": message({"tree": TREE, "arrays": [["<f8", [0, 10**15, 10**15]]]}),
    "a negative shape": message({"tree": TREE, "arrays": [["<f8", [-1]]]}, b"\0" * 8),
    "a shape of bools": message({"tree": TREE, "arrays": [["<f8", [True]]]}, b"\0" * 8),
    "a shape of text": message({"tree": TREE, "arrays": [["<f8", "1"]]}, b"\0" * 8),
    "too many axes": message({"tree": TREE, "arrays": [["<f8", [1] * 65]]}, b"\0" * 8),
    "a rest": message({"tree": {}, "arrays": []}, b"rest"),
    "another array": message({"tree": {"x": {"array": 1}}, "arrays": []}),
    "an array before the first": message({"tree": {"x": {"array": -1}}, "arrays": []}),
    "no kind": message({"tree": {"x": {"code": "print()"}}, "arrays": []}),
    "no value": message({"tree": {"x": 3}, "arrays": []}),
    "a value that is a dict": message({"tree": {"x": {"value": {}}}, "arrays": []}),
    "a list of lists": message({"tree": {"x": {"list": [{"list": []}]}}, "arrays": []}),
    "a number with axes": message(
        {"tree": {"x": {"scalar": 0}}, "arrays": [["<f8", [1]]]}, b"\0" * 8
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_lie_is_called_one(lie):
    with pytest.raises(Broken):
        decode(LIES[lie])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_message_is_read_or_refused(data):
    whole = bytearray(encode({"x": np.arange(3.0), "y": [1, np.ones((2, 2), "f4")], "z": "text"}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for content in (bytes(whole), bytes(whole[:cut])):
        try:
            values = decode(content)
        except Broken:
            continue
        assert all(isinstance(name, str) for name in values)


def test_infinity_and_nan_travel():
    got = decode(encode({"a": math.inf, "b": math.nan, "c": [-math.inf]}))
    assert got["a"] == math.inf
    assert math.isnan(got["b"])
    assert got["c"] == [-math.inf]
