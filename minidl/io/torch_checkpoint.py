"""Files of `torch.save`, read without torch and without executing anything.

Both formats hold a pickle that describes the objects, in which a tensor is a view (offset, size,
strides, in elements) of a storage, a row of numbers kept outside the pickle under a key:

    since 1.6   a zip archive NAME/ of uncompressed records: data.pkl (the pickle), byteorder,
                data/KEY (a storage each)
    before      one after the other: pickles of a magic number, of the protocol's version and of
                facts of the machine, the pickle, a pickle of the list of keys; then in that order
                the storages, each behind the number of its elements in 8 bytes; little-endian

The layout is that of torch/serialization.py; the pickle is run by `PickleMachine`, which calls
nothing but the functions here.
"""

from __future__ import annotations

import errno
import math
import mmap
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ..autograd import Tensor
from .bfloat16 import float32_of_bfloat16
from .pickle_machine import Callee, PickleMachine, brief

__all__ = ["is_torch_checkpoint", "load_torch_checkpoint"]

_ZIP = b"PK\x03\x04"
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

# A tensor may repeat its storage (`expand`), and many may show the same: all together have at most
# as many elements as the file has bytes, and these.
_REPEATED = 1 << 27


@dataclass(frozen=True, eq=False)
class _Kind:
    """A type of storage.

    Attributes:
        name: as torch calls it.
        stored: the dtype of the bytes in the file.
        given: the dtype of the array.
    """

    name: str
    stored: np.dtype[Any]
    given: np.dtype[Any]


def _kind(name: str, stored: str, given: str | None = None) -> _Kind:
    return _Kind(name, np.dtype(stored), np.dtype(given or stored))


_BYTES = _kind("UntypedStorage", "uint8")
_KINDS = {
    f"torch.{kind.name}": kind
    for kind in (
        _kind("FloatStorage", "float32"),
        _kind("DoubleStorage", "float64"),
        _kind("HalfStorage", "float16"),
        _kind("BFloat16Storage", "uint16", "float32"),
        _kind("LongStorage", "int64"),
        _kind("IntStorage", "int32"),
        _kind("ShortStorage", "int16"),
        _kind("CharStorage", "int8"),
        _kind("ByteStorage", "uint8"),
        _kind("BoolStorage", "uint8", "bool"),
    )
} | {"torch.storage.UntypedStorage": _BYTES}

# Dtypes are given as text, "torch.float32". Tensors of these have storages without a type.
_DTYPES = (
    *("float32", "float64", "float16", "bfloat16", "bool"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
)
_UNTYPED = {f"torch.{name}": np.dtype(name) for name in ("uint16", "uint32", "uint64")}


@dataclass(frozen=True, eq=False)
class _Storage:
    """A storage, or a part of one: `array` has the shape (elements,)."""

    kind: _Kind
    array: np.ndarray


def is_torch_checkpoint(head: bytes) -> bool:
    """Whether a file that begins with these (nine or more) bytes is to be read by this module."""
    if head[8:9] == b"{":  # the text of a safetensors file, behind its length in 8 bytes
        return False
    return head.startswith(_ZIP) or (len(head) > 8 and head[0] == 0x80 and 2 <= head[1] <= 5)


def load_torch_checkpoint(path: str, device: Any = None) -> Any:
    """What `torch.save` stored: dictionaries, lists, tuples, numbers and strings, with Tensors.

    Ordered dictionaries come as plain ones, `torch.Size` as a tuple, Parameters as Tensors, devices
    and dtypes as text, NumPy's scalars as numbers, bfloat16 as float32. Tensors that share
    a storage share memory on the CPU; moved to another device they are copies.

    Args:
        path: the file, in either format.
        device: where the tensors go; default: the device in force.

    Raises:
        ValueError: the file is damaged, or names (as a whole pickled module does) what could only
            be had by running code; the message names it.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        try:
            if file.read(4) == _ZIP:
                return _read_zip(file, size, device)
            return _read_legacy(file, size, device)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            # A ValueError tells what is wrong; of the others only the type does.
            reason = str(error) if isinstance(error, ValueError) else f"damaged ({error!r:.200})"
            raise ValueError(
                f"load: {path} ({size} bytes) cannot be read as a PyTorch checkpoint: {reason}"
            ) from None


# -- the two formats ------------------------------------------------------------------------------


def _read_zip(file: BinaryIO, size: int, device: Any) -> Any:
    import io
    import zipfile

    try:
        with zipfile.ZipFile(file) as archive:
            records = _records(archive, size)
            roots = [name[: -len("data.pkl")] for name in records if name.endswith("/data.pkl")]
            if not roots:
                raise ValueError("the zip archive has no record data.pkl")
            root = min(roots, key=len)
            if f"{root}constants.pkl" in records:
                raise ValueError(
                    "it is a TorchScript program; load it with torch and save its state_dict()"
                )

            def read(name: str, length: int | None = None) -> bytes:
                record = records.get(root + name)
                if record is None:
                    raise ValueError(f"the record {(root + name)[:200]} is missing")
                if length is not None and record.file_size != length:
                    raise ValueError(
                        f"the record {(root + name)[:200]} has {record.file_size} bytes, its "
                        f"tensors need {length}"
                    )
                return archive.read(record)

            order = "little"
            if f"{root}byteorder" in records:
                order = read("byteorder").decode()
                if order not in ("little", "big"):
                    raise ValueError(f"the byte order is {order[:20]!r}")

            def storage(kind: _Kind, key: str, count: int) -> np.ndarray:
                raw = read(f"data/{key}", count * kind.stored.itemsize)
                return _numbers(raw, kind, order)

            objects = _Objects(size, storage, order)
            result = objects.run(io.BytesIO(read("data.pkl")))
            objects.move(device)
            return result
    except (zipfile.BadZipFile, NotImplementedError, EOFError, struct.error) as error:
        raise ValueError(f"the zip archive is damaged: {error}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ValueError("the zip archive is damaged: it points before its beginning") from None


def _records(archive: Any, size: int) -> dict[str, Any]:
    """name -> entry of the archive, all of them stored as they are, so that none is a bomb."""
    records: dict[str, Any] = {}
    for record in archive.infolist():
        name = record.filename
        if name in records:
            raise ValueError(f"the zip archive has two records {name[:200]}")
        encrypted = record.flag_bits & 1
        if record.compress_type or encrypted or record.file_size != record.compress_size:
            raise ValueError(
                f"the record {name[:200]} is compressed or encrypted, as torch never does"
            )
        if record.file_size > size:
            raise ValueError(f"the record {name[:200]} claims {record.file_size} bytes")
        records[name] = record
    return records


def _read_legacy(file: BinaryIO, size: int, device: Any) -> Any:
    # A map of the file reads no more than there is, whatever length a damaged file claims.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as source:
        if PickleMachine(size).run(source) != _MAGIC:
            raise ValueError("it is a pickle, but none of torch.save")
        version = PickleMachine(size).run(source)
        if version != _PROTOCOL:
            raise ValueError(f"it has version {brief(version)} of the format, not {_PROTOCOL}")
        PickleMachine(size).run(source)  # of the machine that wrote it

        # The numbers come last, behind the tensors that they belong to.
        awaited: dict[str, _Storage] = {}

        def storage(kind: _Kind, key: str, count: int) -> np.ndarray:
            array = np.empty(count, kind.given)
            awaited[key] = _Storage(kind, array)
            return array

        objects = _Objects(size, storage, "little")
        result = objects.run(source)
        for key in PickleMachine(size).run(source):
            if key not in awaited:
                raise ValueError(f"the storage {brief(key)} is there twice or belongs to no tensor")
            kind, array = awaited[key].kind, awaited.pop(key).array
            head, raw = source.read(8), source.read(array.size * kind.stored.itemsize)
            count = int.from_bytes(head, "little", signed=True)
            whole = len(head) == 8 and len(raw) == array.size * kind.stored.itemsize
            if count != array.size or not whole:
                raise ValueError(
                    f"the storage {brief(key)} has {count} elements and {len(raw)} bytes; its "
                    f"tensors need {array.size} elements of {kind.stored.itemsize} bytes"
                )
            array[...] = _numbers(raw, kind, "little")
        if awaited:
            raise ValueError(f"the storage {brief(next(iter(awaited)))} is missing")
        objects.move(device)
        return result


def _numbers(raw: bytes, kind: _Kind, order: str) -> np.ndarray:
    """The elements of a storage, in memory of their own."""
    stored = np.frombuffer(raw, kind.stored.newbyteorder("<" if order == "little" else ">"))
    if kind.name == "BFloat16Storage":
        return float32_of_bfloat16(stored)
    if kind.name == "BoolStorage":
        return stored != 0  # NumPy relies on bools being 0 or 1, a file may hold any byte
    return stored.astype(kind.given)


# -- what a checkpoint's pickle may name ----------------------------------------------------------


class _Objects(PickleMachine):
    """The pickle of a checkpoint.

    Args:
        size: bytes of the file.
        read: gives the array of a storage that is met for the first time: (kind, key, elements).
        order: of the bytes in the file, "little" or "big".
    """

    def __init__(
        self, size: int, read: Callable[[_Kind, str, int], np.ndarray], order: str
    ) -> None:
        super().__init__(size, (Tensor,))
        self._read = read
        self._order = order
        self._unread = size  # bytes that storages not met yet can have
        self._elements = size + _REPEATED  # that tensors not met yet can have
        self._storages: dict[str, _Storage] = {}
        self._tensors: list[Tensor] = []
        functions: dict[str, Callable[..., Any]] = {
            "collections.OrderedDict": self._dictionary,
            "collections.Counter": self._dictionary,  # of the milestones of a schedule
            "torch.Size": _size,
            "torch.device": _device,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor_v3": self._untyped_tensor,
            "torch._utils._rebuild_parameter": _parameter,
            "torch._utils._rebuild_parameter_with_state": _parameter,
            # NumPy's scalars, as in {"best accuracy": np.float64(0.93)}
            "numpy.dtype": _NumPyType,
            "numpy.core.multiarray.scalar": _number,
            "numpy._core.multiarray.scalar": _number,
            "_codecs.encode": self._bytes,
        }
        self._known: dict[str, Any] = {name: Callee(name, f) for name, f in functions.items()}
        self._known |= _KINDS
        self._known |= {f"torch.{name}": f"torch.{name}" for name in _DTYPES}

    def find(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        if name.startswith("torch.") and name.endswith("Storage"):
            raise ValueError(f"it has numbers of the type {name[:200]}, which minidl lacks")
        raise ValueError(
            f"it names {name[:200]}, which only running code could provide; tensors, numbers, "
            "strings, lists, tuples and dictionaries are read. Where you trust the file, load it "
            "with torch and save its state_dict() alone"
        )

    def persistent(self, key: Any) -> _Storage:
        if not (isinstance(key, tuple) and len(key) in (5, 6) and _is_text(key[0], "storage")):
            raise ValueError("it refers to something outside the pickle that is not a storage")
        _, kind, name, _, count, *view = key
        if not (isinstance(kind, _Kind) and isinstance(name, str) and _is_count(count)):
            raise ValueError(f"it describes a storage by {brief(key[1:])}")
        if name not in self._storages:
            self._unread -= count * kind.stored.itemsize
            if self._unread < 0:
                raise ValueError(
                    f"its storages up to {brief(name)}, of {count} elements, are bigger than the "
                    "file"
                )
            self._storages[name] = _Storage(kind, self._read(kind, name, count))
        storage = self._storages[name]
        if storage.kind is not kind or storage.array.size != count:
            raise ValueError(f"it describes the storage {brief(name)} in two ways")
        if not view or view[0] is None:
            return storage
        _, offset, length = view[0]  # before 0.4 a storage could be a part of another
        if not (_is_count(offset) and _is_count(length) and offset + length <= count):
            raise ValueError(
                f"it takes {brief(length)} elements from {brief(offset)} of a storage of {count}"
            )
        return _Storage(kind, storage.array[offset : offset + length])

    def build(self, target: Any, state: Any) -> None:
        if not isinstance(target, _NumPyType):
            super().build(target, state)
        target.order = state[1]

    def move(self, device: Any) -> None:
        """Bring all tensors to a device; they are made on the CPU, maybe before their numbers."""
        for tensor in self._tensors:
            tensor.data = Tensor(tensor.data, device=device).data

    def _dictionary(self, items: Any = ()) -> dict[Any, Any]:
        pairs = items.items() if isinstance(items, dict) else items
        self.spend(len(pairs))
        made: dict[Any, Any] = {}
        for key, value in pairs:
            if not isinstance(key, (str, int)):
                raise TypeError(f"a {type(key).__name__} as the key of a dictionary")
            made[key] = value
        return made

    def _bytes(self, text: str, encoding: str) -> bytes:
        """How pickles of protocol 2 write bytes."""
        if not (isinstance(text, str) and _is_text(encoding, "latin1")):
            raise ValueError(f"it encodes a {type(text).__name__} as {brief(encoding)}")
        self.spend(len(text))
        return text.encode("latin-1")

    def _tensor(
        self,
        storage: _Storage,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        requires_grad: bool = False,
        hooks: Any = None,
        metadata: Any = None,
    ) -> Tensor:
        if not isinstance(storage, _Storage):
            raise TypeError(f"a tensor of a {type(storage).__name__}, not of a storage")
        array = _view(storage.array, offset, size, stride)
        self._elements -= array.size
        if self._elements < 0:
            raise ValueError("its tensors repeat what is stored too often")
        self._tensors.append(Tensor(array, device="cpu"))
        return self._tensors[-1]

    def _untyped_tensor(
        self,
        storage: _Storage,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        requires_grad: bool,
        hooks: Any,
        dtype: str,
        metadata: Any = None,
    ) -> Tensor:
        untyped = isinstance(storage, _Storage) and storage.kind is _BYTES
        if not (untyped and isinstance(dtype, str) and dtype in _UNTYPED):
            raise ValueError(f"it has a tensor of the type {brief(dtype)}, stored without a type")
        wanted = _UNTYPED[dtype]
        whole = storage.array[: storage.array.size // wanted.itemsize * wanted.itemsize]
        numbers = whole.view(wanted)
        if self._order != sys.byteorder:
            numbers = numbers.byteswap()
        return self._tensor(_Storage(storage.kind, numbers), offset, size, stride)


def _view(array: np.ndarray, offset: Any, size: Any, stride: Any) -> np.ndarray:
    """The elements of a storage that a tensor shows, as a view of it.

    Args:
        array: (elements,).
        offset: of the first element.
        size: the shape.
        stride: for each dimension, how many elements apart its neighbours are.
    """
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)):
        raise TypeError(f"a tensor of size {brief(size)} with strides {brief(stride)}")
    if len(size) > 64:  # as many as torch and NumPy have
        raise ValueError(f"it has a tensor of {len(size)} dimensions")
    if not all(_is_count(n) for n in (offset, *size, *stride)):
        raise ValueError(
            f"it has a tensor of size {brief(size)}, strides {brief(stride)} and offset "
            f"{brief(offset)}: all must be whole numbers from 0 to 2**63 - 1"
        )
    if 0 in size:
        return np.empty(size, array.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= array.size:
        raise ValueError(
            f"it has a tensor of size {size}, strides {stride} and offset {offset}, whose last "
            f"element is number {last} of a storage of {array.size}"
        )
    if math.prod(size) > array.size + _REPEATED:
        raise ValueError(f"it has a tensor of size {size} made of {array.size} stored elements")
    # A stride that is never taken can be immense.
    steps = [step if n > 1 else 0 for n, step in zip(size, stride, strict=True)]
    width = array.itemsize
    return np.ndarray(size, array.dtype, array, offset * width, [step * width for step in steps])


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_text(value: Any, *choices: str) -> bool:
    """Whether a value is one of these texts; a tensor is not even compared with them."""
    return isinstance(value, str) and value in choices


def _size(size: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(size, tuple):
        raise TypeError(f"torch.Size of a {type(size).__name__}")
    return size


def _device(kind: str, index: int | None = None) -> str:
    if not isinstance(kind, str) or not isinstance(index, (int, type(None))):
        raise TypeError(f"torch.device of {brief(kind)} and {brief(index)}")
    return kind if index is None else f"{kind}:{index}"


def _parameter(data: Tensor, requires_grad: Any, hooks: Any, state: Any = None) -> Tensor:
    if not isinstance(data, Tensor):
        raise TypeError(f"a parameter made of a {type(data).__name__}")
    return data


class _NumPyType:
    """numpy.dtype, of scalars that are plain numbers."""

    def __init__(self, code: str, align: Any = False, copy: Any = True) -> None:
        if not _is_text(code, "b1", "f2", "f4", "f8", *(k + n for k in "iu" for n in "1248")):
            raise ValueError(f"it has a NumPy scalar of the type {brief(code)}")
        self.code = code
        self.order = "|"  # until `build` tells


def _number(kind: _NumPyType, raw: bytes) -> Any:
    """numpy.core.multiarray.scalar"""
    if not isinstance(kind, _NumPyType) or not _is_text(kind.order, "<", ">", "|"):
        raise TypeError("a NumPy scalar without a type")
    dtype = np.dtype(kind.order + kind.code)
    if not isinstance(raw, bytes) or len(raw) != dtype.itemsize:
        raise ValueError(f"it has a NumPy scalar of type {kind.code} in another number of bytes")
    if kind.code == "b1":
        return raw != b"\0"
    return np.frombuffer(raw, dtype)[0].item()
