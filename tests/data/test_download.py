"""minidl/data/download.py: resumed, checked, in place only when whole; against a real server."""

import hashlib

import numpy as np
import pytest

from minidl.data.download import download, md5_of

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def place(tmp_path):
    return tmp_path / "new" / "file.bin"


def part_of(place):
    return place.with_name("file.bin.part")


def test_a_file_is_fetched_into_a_new_folder(server, place):
    server.files["file.bin"] = CONTENT
    assert download([server.url + "file.bin"], place, MD5, progress=False) == place
    assert place.read_bytes() == CONTENT
    assert list(place.parent.iterdir()) == [place]
    assert md5_of(place) == MD5


def test_progress_is_shown_on_request(server, place, capsys):
    server.files["file.bin"] = CONTENT
    download([server.url + "file.bin"], place)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "file.bin: 100%" in shown.err
    assert "300k/300k" in shown.err


def test_a_broken_connection_leaves_a_part_from_which_the_next_call_continues(server, place):
    server.files["file.bin"] = CONTENT
    server.truncate["file.bin"] = 100_000
    with pytest.raises(ConnectionError, match="ended after 100000 of 300000 bytes"):
        download([server.url + "file.bin"], place, MD5, progress=False)
    assert not place.exists()
    assert part_of(place).read_bytes() == CONTENT[:100_000]
    server.truncate.clear()
    download([server.url + "file.bin"], place, MD5, progress=False)
    assert place.read_bytes() == CONTENT
    assert server.asked == [("file.bin", None), ("file.bin", "bytes=100000-")]
    assert not part_of(place).exists()


def test_the_next_address_continues_where_the_first_broke_off(server, place):
    server.files = {"a": CONTENT, "b": CONTENT}
    server.truncate["a"] = 70_000
    download([server.url + "a", server.url + "b"], place, MD5, progress=False)
    assert place.read_bytes() == CONTENT
    assert server.asked[-1] == ("b", "bytes=70000-")


def test_a_server_that_knows_no_ranges_is_asked_for_the_whole_file(server, place):
    server.files["file.bin"] = CONTENT
    server.ranges = False
    place.parent.mkdir()
    part_of(place).write_bytes(CONTENT[:50_000])
    download([server.url + "file.bin"], place, MD5, progress=False)
    assert place.read_bytes() == CONTENT


@pytest.mark.parametrize("begun", [b"x" * 1000, b"x" * 300_000, b"x" * 300_001])
def test_a_part_of_another_file_is_thrown_away(server, place, begun):
    server.files["file.bin"] = CONTENT
    place.parent.mkdir()
    part_of(place).write_bytes(begun)
    download([server.url + "file.bin"], place, MD5, progress=False)
    assert place.read_bytes() == CONTENT


def test_a_part_that_is_already_whole_only_gets_its_name(server, place):
    server.files["file.bin"] = CONTENT
    place.parent.mkdir()
    part_of(place).write_bytes(CONTENT)
    download([server.url + "file.bin"], place, MD5, progress=False)
    assert place.read_bytes() == CONTENT
    assert server.asked == [("file.bin", "bytes=300000-")]


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(server, place):
    server.files["file.bin"] = b"something else"
    with pytest.raises(ConnectionError) as caught:
        download([server.url + "file.bin"], place, MD5, progress=False)
    message = str(caught.value)
    assert f"checksum {hashlib.md5(b'something else').hexdigest()}" in message
    assert MD5 in message
    assert str(place) in message
    assert list(place.parent.iterdir()) == []


def test_after_a_wrong_file_the_next_address_is_tried(server, place):
    server.files = {"wrong": b"?" * 400_000, "right": CONTENT}
    urls = [server.url + name for name in ("missing", "wrong", "right")]
    download(urls, place, MD5, progress=False)
    assert place.read_bytes() == CONTENT


def test_a_missing_file_and_an_absent_network_say_what_to_put_where(server, place):
    urls = [server.url + "nothing", "http://127.0.0.1:1/file.bin"]
    with pytest.raises(ConnectionError) as caught:
        download(urls, place, MD5, progress=False)
    message = str(caught.value)
    assert f"{urls[0]}: HTTP Error 404: Not Found" in message
    assert f"{urls[1]}: <urlopen error" in message
    assert f"get the file (MD5 {MD5}) in another way and put it at {place}" in message
    assert not place.exists()
