"""Device names ("cpu", "cuda", "cuda:1") and the one in force for new tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Array, Backend

__all__ = ["by_name", "default_device", "device", "of", "register", "use"]


class device:
    """A device's type and number; equal to its string: `device("cuda:1") == "cuda:1"`.

    Args:
        name: "cpu", "cuda", "cuda:N", or another device.

    Raises:
        ValueError: the type is unknown or the number is not one.
    """

    __slots__ = ("index", "type")

    def __init__(self, name: str | device) -> None:
        if isinstance(name, device):
            self.type: str = name.type
            self.index: int | None = name.index
            return
        kind, colon, number = str(name).partition(":")
        if kind not in _MAKERS or (colon and not number.isdigit()):
            known = ", ".join(sorted(_MAKERS))
            raise ValueError(f"device: unknown device {name!r}; known are {known} and e.g. cuda:1")
        self.type = kind
        self.index = int(number) if colon else None

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (str, device)):
            return NotImplemented
        # "cuda" means the first GPU, so that it equals "cuda:0".
        return str(self).removesuffix(":0") == str(other).removesuffix(":0")

    def __hash__(self) -> int:
        return hash(str(self).removesuffix(":0"))


_MAKERS: dict[str, Any] = {}  # device type -> function that makes its backend, called once
_READY: dict[str, Backend] = {}  # device type -> backend
_BY_ARRAY: dict[type, Backend] = {}  # array type -> backend


def register(name: str, make: Any) -> None:
    """Add a device type. `make()` returns (its `Backend`, the class of its arrays)."""
    _MAKERS[name] = make
    _READY.pop(name, None)


def by_name(name: str | device) -> Backend:
    """The backend of a device; the first call for "cuda" imports CuPy and tries the GPU.

    Raises:
        ValueError: unknown device.
        RuntimeError: the device cannot be used; the message says why and what to do.
    """
    kind = device(name).type
    backend = _READY.get(kind)
    if backend is None:
        backend, array_class = _MAKERS[kind]()
        _READY[kind] = backend
        _BY_ARRAY[array_class] = backend
    return backend


def of(array: Array) -> Backend:
    """The backend whose library made `array`: the one door to namespaces and kernels."""
    backend = _BY_ARRAY.get(type(array))
    if backend is None:
        if isinstance(array, (np.ndarray, np.generic)):  # a subclass (memmap, matrix) or a scalar
            return _BY_ARRAY[np.ndarray]
        raise TypeError(
            f"backend: {type(array).__name__} is not an array of a known device; "
            "make a tensor of it with minidl.tensor(...)"
        )
    return backend


class _Default:
    device: device


def default_device() -> device:
    """The device on which new tensors are made."""
    return _Default.device


class use:
    """Make new tensors on `name` from now on, or within a `with` block.

    Args:
        name: "cpu", "cuda", "cuda:1", or "auto": the GPU where one answers, else silently the CPU.

    Raises:
        ValueError: unknown device.
        RuntimeError: the device cannot be used (never for "auto").

    Example:
        >>> use("auto")
        >>> with use("cpu"):
        ...     table = minidl.zeros(3)
    """

    def __init__(self, name: str | device) -> None:
        if name == "auto":
            try:
                by_name("cuda")
                name = "cuda"
            except RuntimeError:
                name = "cpu"
        chosen = device(name)
        self._backend = by_name(chosen)
        self._before = _Default.device, self._backend.current_device()
        self._backend.select(chosen.index)
        _Default.device = chosen

    def __enter__(self) -> use:
        return self

    def __exit__(self, *exception: object) -> None:
        _Default.device, index = self._before
        self._backend.select(index)

    def __repr__(self) -> str:
        return f"use({str(_Default.device)!r})"
