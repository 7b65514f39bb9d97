"""`save` and `load`: nested dictionaries of tensors and plain values, as one safetensors file.

Tensors are stored by the safetensors format under their path ("optimizer/state/0/momentum"); what
is around them (dictionaries, lists, numbers, strings) as JSON in the file's header. A
dictionary of tensors alone, sorted by name, is an ordinary safetensors file without such a header;
any other is one with it. Loading never executes anything, unlike unpickling.

`load` reads the files of `torch.save`, too: see torch_checkpoint.py.
"""

from __future__ import annotations

import errno
import json
import os
import re
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import of
from .atomic import replace_file
from .bfloat16 import float32_of_bfloat16
from .torch_checkpoint import is_torch_checkpoint, load_torch_checkpoint

__all__ = ["load", "save"]

_KEY = "minidl"  # the header entry that holds what is around the tensors


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Store `obj` in the file `path`, atomically.

    Args:
        obj: dictionaries, lists and tuples, nested, of tensors, arrays, numbers, strings, bools
            and None; a `state_dict()`, or several in a dictionary.
        path: the file, by convention `*.safetensors`; replaced in one step if it exists.

    Raises:
        TypeError: `obj` contains something else; the message says where.
        OSError: the file cannot be written; what was at `path` before is untouched.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays: dict[str, np.ndarray] = {}
    tree = _encode(obj, "", arrays)
    header = None if _is_flat(obj) else {_KEY: json.dumps(tree)}
    with replace_file(path) as temporary:
        try:
            save_file(arrays, temporary, metadata=header)
        except SafetensorError as error:  # a full disk, say; its number is only in the text
            number = re.search(r"os error (\d+)", str(error))
            code = int(number[1]) if number else errno.EIO
            raise OSError(code, os.strerror(code), os.fspath(path)) from error


def load(
    path: str | os.PathLike[str],
    device: Any = None,
    *,
    map_location: Any = None,
    weights_only: bool = True,
) -> Any:
    """Read what `save` stored, any safetensors file, or a PyTorch checkpoint of either format.

    Which of them it is shows in the file's content; its name does not matter. A safetensors file
    of others gives a dictionary of tensors; a checkpoint gives what `torch.save` was given (see
    `load_torch_checkpoint`). Numbers in bfloat16, which NumPy lacks, come as float32.

    Args:
        path: the file.
        device: where its tensors go; default: the device in force.
        map_location: torch's name for `device`.
        weights_only: for torch's sake: nothing else is ever loaded.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, in none of these formats, has numbers of a type that NumPy
            lacks, or names what could only be had by running code (the message names it).

    Example:
        >>> weights = minidl.load("resnet20.th")["state_dict"]
    """
    from safetensors import SafetensorError, safe_open

    path = os.fspath(path)
    device = map_location if device is None else device
    if not os.path.exists(path):
        raise FileNotFoundError(f"load: there is no file {path}")
    with open(path, "rb") as file:
        head = file.read(9)
    if is_torch_checkpoint(head):
        return load_torch_checkpoint(path, device)
    try:
        with safe_open(path, framework="numpy") as source:
            header = source.metadata() or {}
            arrays = _read_arrays(source, path)
    except SafetensorError as error:
        size = os.path.getsize(path)
        raise ValueError(
            f"load: {path} ({size} bytes) is truncated, or neither a safetensors file nor a "
            f"PyTorch checkpoint: {error}"
        ) from None
    if _KEY not in header:
        return {name: Tensor(array, device=device) for name, array in arrays.items()}
    try:
        return _decode(json.loads(header[_KEY]), arrays, device)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"load: the header of {path} is damaged: {error!r}") from None


def _read_arrays(file: Any, path: str) -> dict[str, np.ndarray]:
    """All arrays of an open file; bfloat16, which NumPy does not know, as float32."""
    arrays = {}
    for name in file.keys():  # noqa: SIM118
        kind = file.get_slice(name).get_dtype()
        try:
            arrays[name] = _bfloat16(path, name) if kind == "BF16" else file.get_tensor(name)
        except (TypeError, AttributeError):  # one of the 8-bit floats
            raise ValueError(f"load: {name} in {path} is {kind}, which NumPy lacks") from None
    return arrays


def _bfloat16(path: str, name: str) -> np.ndarray:
    """An array of bfloat16, which is the upper half of a float32.

    The format: the length of the header in 8 bytes, the header, the arrays one after the other.
    """
    with open(path, "rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        entry = json.loads(raw.read(length))[name]
        raw.seek(8 + length + entry["data_offsets"][0])
        upper = np.fromfile(raw, "<u2", int(np.prod(entry["shape"])))
    return float32_of_bfloat16(upper).reshape(entry["shape"])


def _is_flat(obj: Any) -> bool:
    """Whether the file needs no header: a dictionary of names to tensors, like a state dict."""
    return (
        isinstance(obj, dict)
        and bool(obj)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in obj.items())
        # a header's order is not kept by the format: names must already be what they decode to
        and list(obj) == sorted(obj)
    )


def _encode(obj: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """The JSON form of `obj`: plain values as they are, everything else as {kind: content}."""
    if obj is None or (isinstance(obj, (bool, int, float, str)) and type(obj) in _PLAIN):
        return obj
    if isinstance(obj, Tensor):
        return {"tensor": _store(of(obj.data).to_host(obj.data), path, arrays)}
    if isinstance(obj, np.ndarray):
        return {"array": _store(obj, path, arrays)}
    if isinstance(obj, np.generic):
        return _encode(obj.item(), path, arrays)
    if isinstance(obj, dict):
        pairs = []
        for key, value in obj.items():
            if type(key) not in (str, int):
                raise TypeError(f"save: key {key!r} at {path or 'the top'} is not a string or int")
            pairs.append([key, _encode(value, f"{path}/{key}" if path else str(key), arrays)])
        return {"dict": pairs}
    if isinstance(obj, (list, tuple)):
        items = [_encode(v, f"{path}/{i}" if path else str(i), arrays) for i, v in enumerate(obj)]
        return {"tuple": items} if isinstance(obj, tuple) else items
    raise TypeError(
        f"save: {type(obj).__name__} at {path or 'the top'} cannot be stored; "
        "of a module or an optimiser, save its state_dict()"
    )


_PLAIN = (bool, int, float, str)


def _store(array: np.ndarray, path: str, arrays: dict[str, np.ndarray]) -> str:
    name = path or "value"
    while name in arrays:  # {"a/b": ..., "a": {"b": ...}}
        name += "'"
    arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
    return name


def _decode(tree: Any, arrays: dict[str, np.ndarray], device: str | None) -> Any:
    if isinstance(tree, list):
        return [_decode(v, arrays, device) for v in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "tensor":
        return Tensor(arrays[content], device=device)
    if kind == "array":
        return arrays[content]
    if kind == "dict":
        return {key: _decode(value, arrays, device) for key, value in content}
    if kind == "tuple":
        return tuple(_decode(v, arrays, device) for v in content)
    raise ValueError(f"unknown kind {kind!r}")
