"""Pickles written opcode by opcode, and both formats of torch.save around them, without torch."""

from __future__ import annotations

import struct
import zipfile

MARK, NONE, STOP = b"(", b"N", b"."
EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE = b"}", b"]", b")"
APPEND, APPENDS, SETITEM, SETITEMS, BUILD, REDUCE = b"a", b"e", b"s", b"u", b"b", b"R"
MAGIC = 0x1950A86A20F9469CFC6C


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def sequence(*items: bytes) -> bytes:
    return MARK + b"".join(items) + b"t"


def mapping(**items: bytes) -> bytes:
    pairs = b"".join(text(key) + value for key, value in items.items())
    return EMPTY_DICT + MARK + pairs + SETITEMS


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + sequence(*arguments) + REDUCE


def put(slot: int) -> bytes:
    return b"r" + struct.pack("<I", slot)


def get(slot: int) -> bytes:
    return b"j" + struct.pack("<I", slot)


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + STOP


def storage(count: int, kind: str = "FloatStorage", key: str = "0", view: bytes = NONE) -> bytes:
    parts = text("storage"), name("torch", kind), text(key), text("cpu"), number(count), view
    return sequence(*parts) + b"Q"


def tensor(stored: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        stored,
        number(offset),
        sequence(*map(number, size)),
        sequence(*map(number, stride)),
        b"\x89",  # False: requires no gradient
        call(name("collections", "OrderedDict")),
    )


def write_zip(path, body, storages=(), order="little", compression=zipfile.ZIP_STORED) -> None:
    """`storages`: an array each, called "0", "1" ... in the file."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("model/data.pkl", program(body))
        archive.writestr("model/version", "3\n")
        if order is not None:
            archive.writestr("model/byteorder", order)
        for key, array in enumerate(storages):
            archive.writestr(f"model/data/{key}", array.tobytes())


def write_legacy(path, body, storages=()) -> None:
    facts = mapping(protocol_version=number(1001), little_endian=b"\x88")
    parts = [program(number(MAGIC)), program(number(1001)), program(facts), program(body)]
    keys = b"".join(text(str(key)) for key in range(len(storages)))
    parts.append(program(EMPTY_LIST + MARK + keys + APPENDS))
    for array in storages:
        parts.append(struct.pack("<q", array.size) + array.tobytes())
    path.write_bytes(b"".join(parts))
