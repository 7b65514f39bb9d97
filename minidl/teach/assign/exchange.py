"""The one form in which the grader and the sandbox send each other values: numbers, never code.

A message is a line of JSON and the bytes of the arrays it speaks of, one after the other. Nothing
in it is ever executed or unpickled, and `decode` believes nothing it reads: it names what is wrong
with a message and gives up, because the other side may be a student's program.

This file stands alone (NumPy and the standard library): the sandbox runs it without minidl.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np

__all__ = ["Broken", "decode", "encode"]

MAGIC = b"MDA1"
KINDS = "biufc"  # bool, int, unsigned, float, complex
AXES = 32
TEXT = 100_000  # longest string that is sent back, in characters


class Broken(ValueError):
    """A value that cannot be sent, or a message that cannot be read."""


def encode(values: dict[str, Any]) -> bytes:
    """Write a message.

    Args:
        values: arrays, numbers, bools, strings, None, or flat lists or tuples of these.

    Raises:
        Broken: a value is of another type; the message names it.
    """
    arrays: list[np.ndarray] = []
    tree = {str(name): _written(value, str(name), arrays, True) for name, value in values.items()}
    head = json.dumps(
        {"tree": tree, "arrays": [[array.dtype.str, array.shape] for array in arrays]}
    ).encode()
    parts = [MAGIC, struct.pack("<Q", len(head)), head]
    parts += [array.tobytes() for array in arrays]
    return b"".join(parts)


def _written(value: Any, name: str, arrays: list[np.ndarray], deep: bool) -> Any:
    if value is None or isinstance(value, (bool, np.bool_)):
        return {"value": None if value is None else bool(value)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in KINDS or value.dtype.itemsize > 16:
            raise Broken(f"{name} is an array of {value.dtype}; it must hold numbers or bools")
        arrays.append(np.asarray(value).astype(value.dtype.newbyteorder("<"), copy=False))
        return {"array": len(arrays) - 1}
    if isinstance(value, (np.integer, np.floating, np.complexfloating)):
        arrays.append(np.asarray(value))
        return {"scalar": len(arrays) - 1}
    if isinstance(value, (int, float)):
        if isinstance(value, int) and abs(value) >= 2**63:
            raise Broken(f"{name} is an integer of {value.bit_length()} bits; at most 63 fit")
        return {"value": int(value) if isinstance(value, int) else float(value)}
    if isinstance(value, str):
        return {"value": str(value[:TEXT])}
    if deep and isinstance(value, (list, tuple)):
        items = [_written(v, f"{name}[{i}]", arrays, False) for i, v in enumerate(value)]
        return {"list" if isinstance(value, list) else "tuple": items}
    raise Broken(
        f"{name} is of type {type(value).__name__}; it must be a NumPy array, a number, a bool, a "
        "string, None, or a flat list or tuple of these"
    )


def decode(message: bytes) -> dict[str, Any]:
    """Read a message.

    Raises:
        Broken: it is not one that `encode` writes.
    """
    start = len(MAGIC) + 8
    if len(message) < start or message[: len(MAGIC)] != MAGIC:
        raise Broken("the message has no beginning")
    (length,) = struct.unpack("<Q", message[len(MAGIC) : start])
    if length > len(message) - start:
        raise Broken("the message is cut off")
    try:
        head = json.loads(message[start : start + length])
    except (ValueError, RecursionError):
        raise Broken("the message's head is no JSON") from None
    if not isinstance(head, dict) or not isinstance(head.get("tree"), dict):
        raise Broken("the message's head names no values")
    arrays = _arrays(head.get("arrays"), message, start + length)
    return {name: _read(value, arrays, True) for name, value in head["tree"].items()}


def _arrays(described: Any, message: bytes, position: int) -> list[np.ndarray]:
    arrays = []
    if not isinstance(described, list):
        raise Broken("the message describes no arrays")
    for entry in described:
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
            raise Broken("an array without dtype and shape")
        code, shape = entry
        dtype = _dtype(code)
        if not isinstance(shape, list) or len(shape) > AXES:
            raise Broken("an array without a shape")
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape):
            raise Broken("an array whose shape is not made of numbers")
        count = math.prod(shape)
        if count * dtype.itemsize > len(message) - position:
            raise Broken("an array larger than the message")
        if math.prod(n for n in shape if n) > 2**48:
            raise Broken("an array with an impossible shape")
        array = np.frombuffer(message, dtype, count, position).reshape(shape).copy()
        arrays.append(array.astype(dtype.newbyteorder("="), copy=False))
        position += count * dtype.itemsize
    if position != len(message):
        raise Broken("the message goes on after its end")
    return arrays


def _dtype(code: str) -> np.dtype:
    if len(code) > 4 or code[:1] not in "<|" or code[1:2] not in KINDS:
        raise Broken("an array of an unknown dtype")
    try:
        dtype = np.dtype(code)
    except TypeError:
        raise Broken("an array of an unknown dtype") from None
    if not 0 < dtype.itemsize <= 16:
        raise Broken("an array of an unknown dtype")
    return dtype


def _read(value: Any, arrays: list[np.ndarray], deep: bool) -> Any:
    if not isinstance(value, dict):
        raise Broken("a value of an unknown kind")
    if "value" in value:
        plain = value["value"]
        if plain is not None and not isinstance(plain, (bool, int, float, str)):
            raise Broken("a value of an unknown kind")
        return plain
    for kind in ("array", "scalar"):
        if kind in value:
            index = value[kind]
            if not isinstance(index, int) or not 0 <= index < len(arrays):
                raise Broken("a value without its array")
            if kind == "scalar" and arrays[index].shape:
                raise Broken("a number that is an array")
            return arrays[index] if kind == "array" else arrays[index][()]
    for kind in ("list", "tuple"):
        if deep and isinstance(value.get(kind), list):
            items = [_read(item, arrays, False) for item in value[kind]]
            return items if kind == "list" else tuple(items)
    raise Broken("a value of an unknown kind")
