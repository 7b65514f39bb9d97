"""The page as a file: one file, below its limit, with the arrays in it."""

import base64
import json
import re

import numpy as np
import pytest

import minidl as md
from minidl.nn import functional as F
from minidl.teach.stepper.page import _place


def computation(channels=2, size=6):
    x = md.randn(2, channels, size, size, requires_grad=True)
    w = md.randn(3, channels, 3, 3, requires_grad=True)
    with md.record() as tape:
        F.conv2d(x, w, padding=1).relu().mean().backward()
    return tape


def tape_of(path):
    text = path.read_text("utf-8")
    data = re.search(r'<script type="application/json" id="tape">(.*?)</script>', text, re.DOTALL)
    return json.loads(data[1])


def decoded(raw):
    types = {"f4": "<f4", "f8": "<f8", "i4": "<i4", "u1": "u1"}
    values = np.frombuffer(base64.b64decode(raw["data"]), types[raw["code"]])
    return values.reshape([count for count, _ in raw["places"]])


def test_the_arrays_in_the_page_are_those_of_the_computation(tmp_path):
    tape = computation()
    tape.html(tmp_path / "page.html")
    page = tape_of(tmp_path / "page.html")
    for event, step in zip(tape.events, page["steps"], strict=True):
        assert step["phase"] == event.phase
        operation = page["operations"][step["operation"]]
        assert operation["name"] == event.op
        if event.phase == "forward":
            arrays = [x.data for x in event.inputs if isinstance(x, md.Tensor)]
            for shown, x in zip(operation["inputs"], arrays, strict=True):
                assert np.array_equal(decoded(page["arrays"][shown["array"]]), x)
        else:
            for number, g in zip(step["given"], event.inputs, strict=True):
                assert np.array_equal(decoded(page["arrays"][number]), g.data)


def test_the_page_needs_nothing_else(tmp_path):
    computation().html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    outside = [url for url in re.findall(r"https?://[^\s\"'<>)]+", text) if "w3.org" not in url]
    assert outside == []  # (the name of SVG is no address)
    assert not re.search(r"<link(?![^>]*href=\"data:)|<img|@import|<script src|fetch\(", text)
    assert list(tmp_path.iterdir()) == [tmp_path / "page.html"]


def test_the_page_says_where_but_not_in_which_folder(tmp_path):
    computation().html(tmp_path / "page.html")
    operation = tape_of(tmp_path / "page.html")["operations"][0]
    assert re.fullmatch(r"test_page\.py:\d+", operation["place"])
    assert operation["source"] == "F.conv2d(x, w, padding=1).relu().mean().backward()"
    assert __file__.rsplit("/", 1)[0] not in (tmp_path / "page.html").read_text("utf-8")


def test_large_arrays_are_sampled_until_the_page_is_below_the_limit(tmp_path):
    tape = computation(channels=64, size=100)
    sizes = []
    for limit in (2_000_000, 150_000):
        path = tmp_path / f"{limit}.html"
        tape.html(path, limit=limit)
        sizes.append(path.stat().st_size)
        assert sizes[-1] < limit
        page = tape_of(path)
        x = tape.events[0].inputs[0].data
        raw = page["arrays"][page["operations"][0]["inputs"][0]["array"]]
        places = [np.arange(count) * step for count, step in raw["places"]]
        assert np.array_equal(decoded(raw), x[np.ix_(*places)])
    assert sizes[0] > sizes[1]


def test_what_does_not_fit_is_an_error_that_says_what_to_do(tmp_path):
    tape = computation()
    with pytest.raises(
        ValueError, match=r"html: 6 steps do not fit into 20000 bytes.*record a part"
    ):
        tape.html(tmp_path / "page.html", limit=20_000)
    assert not (tmp_path / "page.html").exists()
    with md.record() as empty:
        pass
    with pytest.raises(ValueError, match="html: nothing was recorded"):
        empty.html(tmp_path / "page.html")


def test_a_title_is_text(tmp_path):
    computation().html(tmp_path / "page.html", title="a < b & c")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "<title>a &lt; b &amp; c</title>" in text


def test_text_of_the_program_cannot_end_the_script(tmp_path):
    x = md.ones(2, requires_grad=True)
    with md.record() as tape:
        x.exp()  # </script><b>
    tape.html(tmp_path / "page.html")
    assert "</script><b>" not in (tmp_path / "page.html").read_text("utf-8")
    source = tape_of(tmp_path / "page.html")["operations"][0]["source"]
    assert source == "x.exp()  # </script><b>"


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int32", "int64", "float16", "float32", "float64"]
)
def test_every_dtype_is_written(tmp_path, dtype):
    x = md.tensor([[0, 1], [1, 0]], dtype=dtype)
    with md.record() as tape:
        x.reshape(4)
    tape.html(tmp_path / "page.html")
    raw = tape_of(tmp_path / "page.html")["arrays"][0]
    assert raw["dtype"] == dtype
    assert decoded(raw).tolist() == [[0, 1], [1, 0]]


def test_whole_numbers_beyond_32_bits_stay_exact(tmp_path):
    x = md.tensor([2**40, -(2**50)])
    with md.record() as tape:
        x.reshape(1, 2)
    tape.html(tmp_path / "page.html")
    assert decoded(tape_of(tmp_path / "page.html")["arrays"][0]).tolist() == [2**40, -(2**50)]


def test_an_array_is_written_once(tmp_path):
    x = md.randn(3, 3, requires_grad=True)
    with md.record() as tape:
        ((x + 1.0) + 1.0).backward(md.ones(3, 3))
    tape.html(tmp_path / "page.html")
    page = tape_of(tmp_path / "page.html")
    assert len(page["arrays"]) == 4, "x, two sums, and one gradient for all"


def test_an_empty_batch_and_numbers_alone_have_a_page(tmp_path):
    with md.record() as tape:
        F.relu(md.ones(0, 3))
        md.tensor(2.0) * md.tensor(3.0)
    tape.html(tmp_path / "page.html")
    assert len(tape_of(tmp_path / "page.html")["steps"]) == 2


def test_a_line_of_a_notebook_is_said_to_be_in_a_cell():
    assert _place("/tmp/ipykernel_312/2949169135.py:4")[:2] == ("cell", "4")
    assert _place("/home/ada/lesson.py:12")[:2] == ("lesson.py", "12")
