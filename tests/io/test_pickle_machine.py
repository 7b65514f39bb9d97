"""The pickle machine: plain data comes out as Python's own pickle gives it, nothing else does."""

import io
import pickle
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.io import pickle_machine
from minidl.io.pickle_machine import PickleMachine

from . import pickles as p

DAMAGE = (ValueError, IndexError, KeyError, TypeError)


def run(raw, size=None):
    return PickleMachine(len(raw) if size is None else size).run(io.BytesIO(raw))


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
DATA = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(data=DATA, protocol=st.integers(3, 5))
@settings(max_examples=100, deadline=None)
def test_plain_data_comes_back_as_it_was_pickled(data, protocol):
    back = run(pickle.dumps(data, protocol))
    assert back == data
    assert repr(back) == repr(data)  # True is 1, but is no int


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_understood(protocol):
    shared = [1, 2.5, "ü\n", -3]
    data = {"a": shared, "b": shared, 7: (None, True, (), [], {}), "many": list(range(2000))}
    data["big"] = {i: 2**i for i in range(300)}
    back = run(pickle.dumps(data, protocol))
    assert back == data
    assert back["a"] is back["b"]


def test_strings_of_python_2_are_read_as_utf_8():
    assert run(b"U\x03a\xc3\xbc.") == "aü"
    assert run(b"T\x02\x00\x00\x00ab.") == "ab"
    assert run(b"S'ab'\n.") == "ab"


def test_the_machine_stops_at_the_end_of_a_pickle():
    file = io.BytesIO(p.program(p.number(1)) + p.program(p.number(2)) + b"rest")
    machine = PickleMachine(100)
    assert (machine.run(file), machine.run(file), file.read()) == (1, 2, b"rest")


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_that_a_pickle_names_is_called(protocol, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'here')!r}, 'w')",))

    raw = pickle.dumps([Hostile()], protocol)
    with pytest.raises(ValueError, match=r"it names (builtins|__builtin__)\.exec"):
        run(raw)
    assert not (tmp_path / "here").exists()
    pickle.loads(raw)  # the same bytes, given to Python
    assert (tmp_path / "here").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_objects_of_a_class_are_refused_by_the_name_of_the_class(protocol):
    with pytest.raises(ValueError, match=r"Fraction|copyreg\._reconstructor|copy_reg"):
        run(pickle.dumps(__import__("fractions").Fraction(1, 2), protocol))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (p.EMPTY_TUPLE + b"\x81", "opcode NEWOBJ"),
        (p.MARK + b"ios\nsystem\n", "opcode INST"),
        (b"\x82\x01", "opcode EXT1"),
        (b"\x8f", "opcode EMPTY_SET"),
        (b"\x97", "opcode NEXT_BUFFER"),
        (p.number(1) + b"Q", "refers to 1 outside"),
        (p.EMPTY_LIST + p.EMPTY_DICT + p.BUILD, "attributes of a list"),
        (b"\xff", "opcode b'\\\\xff' unknown"),
        (b"", "exhausted before seeing STOP"),
        (b"X\xff\xff\xff\x7fabc", "only 3 remain|expected 2147483647 bytes"),
    ],
)
def test_what_data_does_not_need_is_refused(body, message):
    raw = b"\x80\x02" + body + (p.STOP if body[:1] not in (b"", b"X") else b"")
    with pytest.raises(ValueError, match=message):
        run(raw)


@pytest.mark.parametrize(
    "body",
    [
        b"",  # nothing to return
        b"0",  # POP of nothing
        p.MARK + b"0",  # POP does not reach below a mark
        b"2",  # DUP of nothing
        b"t",  # no mark
        p.get(3),  # nothing there
        p.number(1) + p.NONE + p.APPEND,
        p.NONE + p.NONE + p.REDUCE,
        p.text("os.system") + p.EMPTY_TUPLE + p.REDUCE,
        p.EMPTY_DICT + p.EMPTY_LIST + p.NONE + p.SETITEM,  # an unhashable key
        p.EMPTY_DICT + p.MARK + p.NONE + p.SETITEMS,  # a key without a value
        p.EMPTY_LIST + p.NONE + p.NONE + p.SETITEM,
        p.number(1) + p.number(2) + b"\x93",  # STACK_GLOBAL of numbers
    ],
)
def test_damage_is_noticed(body):
    with pytest.raises(DAMAGE):
        run(p.program(body))


def deep(depth, opcode):
    return p.program(p.EMPTY_TUPLE + opcode * depth)


def test_nesting_is_bounded():
    inner = run(deep(pickle_machine.MAX_DEPTH - 1, b"\x85"))
    for _ in range(pickle_machine.MAX_DEPTH - 1):
        (inner,) = inner
    assert inner == ()
    with pytest.raises(ValueError, match="nested 101 deep"):
        run(deep(pickle_machine.MAX_DEPTH, b"\x85"))
    with pytest.raises(ValueError, match="deep"):
        run(deep(50_000, b"\x85"))


def test_a_deep_tuple_as_a_key_is_refused_before_it_is_hashed():
    """Hashing is recursive in C, and ends the process."""
    body = p.EMPTY_DICT + p.EMPTY_TUPLE + b"\x85" * 100_000 + p.NONE + p.SETITEM
    with pytest.raises(TypeError, match="a tuple as the key"):
        run(p.program(body))


def test_a_container_within_itself_is_refused():
    for body in (
        p.EMPTY_LIST + p.put(0) + p.get(0) + p.APPEND,
        p.EMPTY_DICT + p.put(0) + p.text("x") + p.get(0) + p.SETITEM,
        p.EMPTY_LIST + p.put(0) + p.get(0) + b"\x85" + p.APPEND,
    ):
        with pytest.raises(ValueError, match="contains itself"):
            run(p.program(body))


def test_what_is_shared_may_not_grow_beyond_measure():
    """Forty lists, each of them twice the one before: a million million values to walk over."""
    body = p.EMPTY_LIST + p.put(0)
    for i in range(40):
        body += p.MARK + p.get(i) + p.get(i) + b"t" + p.put(i + 1)
    with pytest.raises(ValueError, match="values when written out"):
        run(p.program(body))
    shared = p.sequence(p.number(1)) + p.put(0)
    assert run(p.program(p.MARK + shared + p.get(0) * 99 + b"t")) == ((1,),) * 100


def test_the_number_of_steps_is_bounded(monkeypatch):
    monkeypatch.setattr(pickle_machine, "MAX_STEPS", 1000)
    assert run(p.program(p.NONE * 900 + b"0" * 90 + p.NONE)) is None
    with pytest.raises(ValueError, match="more than 1000 steps"):
        run(p.program(p.NONE * 1000))


def test_far_places_of_the_memo_cost_nothing():
    """Python's own machine makes a table as long as the highest number."""
    tracemalloc.start()
    try:
        assert run(p.program(p.NONE + p.put(2**32 - 1) + p.get(2**32 - 1))) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


FRAGMENTS = [
    *(p.MARK, p.NONE, p.EMPTY_DICT, p.EMPTY_LIST, p.EMPTY_TUPLE, p.APPEND, p.APPENDS, p.SETITEM),
    *(p.SETITEMS, p.BUILD, p.REDUCE, p.put(0), p.put(1), p.get(0), p.get(1), b"0", b"1", b"2"),
    *(b"t", b"\x85", b"\x86", b"\x87", b"l", b"d", b"Q", b"\x93", b"\x94"),
    *(p.number(3), p.text("a"), p.name("os", "system")),
]


@given(parts=st.lists(st.sampled_from(FRAGMENTS), max_size=60))
@settings(max_examples=300, deadline=None)
def test_whatever_the_program_the_result_is_data_or_damage(parts):
    try:
        result = run(p.program(b"".join(parts)))
    except DAMAGE:
        return
    assert isinstance(result, (tuple, list, dict, str, int, type(None)))
    assert repr(result)  # can be walked over


@given(raw=st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_whatever_the_bytes_the_result_is_data_or_damage(raw):
    try:
        run(raw)
    except DAMAGE:
        return


def test_a_large_pickle_takes_seconds_at_most():
    data = {f"layer{i}.weight": [i, float(i), (i, i)] for i in range(20_000)}
    raw = pickle.dumps(data, 2)
    began = time.process_time()
    assert run(raw) == data
    assert time.process_time() - began < 10


def test_numbers_that_numpy_pickled_are_not_known_to_the_bare_machine():
    with pytest.raises(ValueError, match=r"numpy\._?core\.multiarray\.scalar"):
        run(pickle.dumps(np.float64(1.0), 2))
