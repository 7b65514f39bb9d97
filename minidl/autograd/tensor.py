"""The Tensor: an array that remembers how it was computed.

Operators and methods (`x + y`, `x.sum()`, `x[0]`) are differentiable operations of floor 2, which
puts them into this class when it is imported: see the table in `minidl/ops/__init__.py`. Their
signatures are declared here for readers and type checkers.
"""

from __future__ import annotations

import copy
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import Array, by_name, default_device, device, of
from .hooks import RemovableHandle

if TYPE_CHECKING:
    from .function import Function

__all__ = ["Tensor", "as_tensor", "from_dlpack", "from_numpy", "is_tensor", "tensor", "wrap"]

DEFAULT_FLOAT = np.dtype(np.float32)

# What sys.getrefcount says of a version counter that one tensor holds: that, and its argument.
_ALONE = 2


class Tensor:
    """An n-dimensional array on a device, with an optional place in a graph.

    Args:
        data: anything NumPy makes an array of, or an array of a device. Shared if it is an array
            of the right dtype and device (`minidl.tensor` copies).
        requires_grad: whether gradients with respect to this tensor are wanted.
        dtype: default: the array's own; Python floats become float32, ints int64.
        device: default: the array's own; else the one in force (`minidl.use`).

    Attributes:
        data: the array, a `numpy.ndarray` or `cupy.ndarray`.
        requires_grad: whether gradients flow to it.
        grad: after `backward()`, the accumulated gradient of a leaf, a Tensor; else None.
    """

    __slots__ = (
        "__weakref__",
        "_hooks",
        "_node",
        "_output",
        "_owned",
        "_version",
        "_view",
        "data",
        "grad",
        "requires_grad",
    )

    # array + Tensor: NumPy leaves it to Tensor.__radd__.
    __array_priority__ = 1000.0
    __hash__ = object.__hash__

    data: Array
    grad: Tensor | None
    requires_grad: bool
    _node: Function | None  # the operation that computed it; None for a leaf
    _output: int  # which of that operation's outputs it is
    _version: list[int]  # how often the memory was changed in place; shared between views
    _view: str | None  # the operation that made it a view of another tensor's memory
    _hooks: dict[int, Any] | None  # of a leaf; those of a result are with its operation
    _owned: bool  # of a gradient: whether backward made its array for it and may add to it in place

    def __init__(
        self,
        data: Any,
        requires_grad: bool = False,
        *,
        dtype: Any = None,
        device: str | device | None = None,
    ) -> None:
        self._version = [0]
        if isinstance(data, Tensor):
            array = _as_array(data.data, dtype, device or data.device)
            if array is data.data:  # a change through one of them is a change of the other
                self._version = data._version
            self.data = array.view()
        else:
            self.data = _as_array(data, dtype, device).view()
        self.requires_grad = False
        self.grad = None
        self._node = None
        self._output = 0
        self._view = None
        self._hooks = None
        self._owned = False
        if requires_grad:
            self.requires_grad_()

    # -- what it is --------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def device(self) -> device:
        backend = of(self.data)
        index = backend.index_of(self.data)
        return device(backend.name if index is None else f"{backend.name}:{index}")

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one dimension."""
        return self.data.shape if dim is None else self.data.shape[dim]

    def dim(self) -> int:
        return self.data.ndim

    def numel(self) -> int:
        """The number of elements."""
        return int(self.data.size)

    def element_size(self) -> int:
        """Bytes an element takes."""
        return self.data.dtype.itemsize

    def is_floating_point(self) -> bool:
        return self.data.dtype.kind in "fV"

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation computed it."""
        return self._node is None

    @property
    def grad_fn(self) -> Function | None:
        """The operation that computed it; None for a leaf."""
        return self._node

    def __len__(self) -> int:
        if self.data.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.data.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self.data.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __repr__(self) -> str:
        backend = of(self.data)
        values = np.array2string(
            backend.to_host(self.data), separator=", ", prefix="tensor(", precision=4, threshold=200
        )
        notes = []
        if self.data.size == 0 and self.data.ndim > 1:
            notes.append(f"size={self.shape}")
        if self.dtype not in (DEFAULT_FLOAT, np.int64, np.bool_):
            notes.append(f"dtype={self.dtype}")
        if self.device.type != "cpu":
            notes.append(f"device='{self.device}'")
        if self._node is not None:
            notes.append(f"grad_fn={self._node!r}")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return f"tensor({', '.join([values, *notes])})"

    def __format__(self, spec: str) -> str:
        return (
            format(self.item(), spec) if spec and self.data.ndim == 0 else format(str(self), spec)
        )

    # -- its values, on the host (each of these waits for a GPU) -----------------------------------

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array; shares memory with a CPU tensor.

        Raises:
            RuntimeError: the tensor requires a gradient, which NumPy would not follow.
            TypeError: the tensor is on a GPU.
        """
        if self.requires_grad:
            raise RuntimeError(
                "numpy(): this tensor requires a gradient and NumPy operations are not recorded; "
                "use .detach().numpy() if that is meant"
            )
        if self.device.type != "cpu":
            raise TypeError(f"numpy(): this tensor is on {self.device}; use .cpu().numpy()")
        return self.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype, copy=copy)

    def item(self) -> Any:
        """The value of a one-element tensor, as a Python number."""
        if self.data.size != 1:
            raise ValueError(
                f"item(): a tensor of shape {self.shape} is not one number; reduce it first "
                "(.sum(), .mean()), or use .tolist()"
            )
        return of(self.data).to_host(self.data).item()

    def tolist(self) -> Any:
        return of(self.data).to_host(self.data).tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.data.dtype.kind not in "iu":
            raise TypeError(f"only integer tensors are indices, this one is {self.dtype}")
        return int(self.item())

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ValueError(
                f"the truth of a tensor of shape {self.shape} is ambiguous; use .any() or .all()"
            )
        return bool(self.item())

    def __dlpack__(self, **kwargs: Any) -> Any:
        if self.requires_grad:
            raise RuntimeError("__dlpack__: this tensor requires a gradient; use .detach() first")
        return self.data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    # -- copies and moves --------------------------------------------------------------------------

    def detach(self) -> Tensor:
        """The same values in the same memory, outside the graph."""
        result = wrap(self.data.view())
        result._version = self._version
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise RuntimeError(
                "deepcopy: only leaf tensors can be copied, not results of recorded operations; "
                "use .detach().clone()"
            )
        result = _rebuild(type(self), self.data.copy(), self.requires_grad)
        memo[id(self)] = result
        for name, value in _state(self).items():
            setattr(result, name, copy.deepcopy(value, memo))
        if self.grad is not None:
            result.grad = wrap(self.grad.data.copy())
        return result

    def __reduce__(self) -> Any:
        if self._node is not None:
            raise RuntimeError(
                "pickle: only leaf tensors can be stored, not results of recorded operations; "
                "use .detach()"
            )
        name = str(self.device)
        host = of(self.data).to_host(self.data)
        return _unpickle, (type(self), host, name, self.requires_grad), _state(self) or None

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def cuda(self, index: int = 0) -> Tensor:
        return self.to(f"cuda:{index}")

    # -- gradients ---------------------------------------------------------------------------------

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for gradients with respect to this leaf, or stop asking.

        Raises:
            TypeError: the tensor does not hold floating-point numbers.
            RuntimeError: it is the result of a recorded operation.
        """
        if requires_grad and not self.is_floating_point():
            raise TypeError(f"only floating-point tensors have gradients, this one is {self.dtype}")
        if not requires_grad and self._node is not None:
            raise RuntimeError(
                "requires_grad_(False): this tensor was computed by a recorded operation; "
                "use .detach()"
            )
        self.requires_grad = requires_grad
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that is not a leaf in its `.grad`, too."""
        if not self.requires_grad:
            raise RuntimeError("retain_grad: this tensor does not require a gradient")
        self._retain()

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook(gradient)` when this tensor's gradient is computed.

        What the hook returns, if not None, takes the gradient's place. It must not change the
        gradient it is given, which may be part of others.

        Returns:
            a handle whose `remove()` takes the hook off again.
        """
        if not self.requires_grad:
            raise RuntimeError("register_hook: this tensor does not require a gradient")
        if self._node is None:
            if self._hooks is None:
                self._hooks = {}
            hooks = self._hooks
        else:
            if self._node.hooks is None:
                self._node.hooks = {}
            hooks = self._node.hooks.setdefault(self._output, {})
        return RemovableHandle(hooks, hook)

    # -- change in place ---------------------------------------------------------------------------

    def bump_version(self) -> None:
        """Note that the memory was changed, so that a backward that needs the old values errs."""
        self._version[0] += 1

    def check_change(self) -> None:
        """Refuse a change in place that is to be recorded, before it is computed.

        Raises:
            RuntimeError: this tensor is a leaf that requires a gradient, or a view of memory that
                another tensor or the graph still holds, which would not change with it.
        """
        self._check_leaf()
        if self._view is not None and sys.getrefcount(self._version) > _ALONE:
            raise RuntimeError(
                f"a view (made by {self._view}) cannot be changed in place while operations are "
                "recorded: the tensor it was taken from would not change with it; assign to that "
                "tensor (x[key] = value), or work on a copy (.clone())"
            )

    def _check_leaf(self) -> None:
        if self.requires_grad and self._node is None:
            raise RuntimeError(
                "a leaf tensor that requires a gradient cannot be changed in place while "
                "operations are recorded; change it inside `with no_grad():`"
            )

    def adopt(self, other: Tensor) -> Tensor:
        """Become `other`: what an in-place operation does when it is recorded.

        The old memory is left as it was, so earlier operations that saved it stay right. What
        makes `other` of this tensor calls `check_change` first: afterwards the graph may hold it.
        """
        self._check_leaf()
        retained = self._release()
        self.data, self._version, self._view = other.data, other._version, other._view
        self.requires_grad = other.requires_grad
        self._node, self._output = other._node, other._output
        if retained:
            self._retain()
        return self

    def _retain(self) -> None:
        """Have the node of this result keep its gradient here, as long as this tensor lives."""
        node = self._node
        if node is not None:
            node.retained = {**(node.retained or {}), self._output: weakref.ref(self)}

    def _release(self) -> bool:
        """Undo `_retain`; whether there was anything to undo."""
        retained = {} if self._node is None else self._node.retained or {}
        reference = retained.get(self._output)
        if reference is None or reference() is not self:
            return False
        del retained[self._output]
        return True

    # -- put in by minidl.ops (declared for type checkers) -----------------------------------------

    if TYPE_CHECKING:
        T: Tensor
        mT: Tensor

        def backward(
            self,
            gradient: Tensor | None = None,
            retain_graph: bool | None = None,
            create_graph: bool = False,
            inputs: Tensor | Sequence[Tensor] | None = None,
        ) -> None: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __setitem__(self, key: Any, value: Any) -> None: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __iadd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __isub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __imul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __itruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...

        def to(self, *args: Any, **kwargs: Any) -> Tensor: ...
        def __getattr__(self, name: str) -> Callable[..., Any]: ...


_new = Tensor.__new__


def wrap(array: Any) -> Tensor:
    """A Tensor around an array, outside any graph; the engine's own, quick constructor."""
    result = _new(Tensor)
    # NumPy's reductions give scalars of its own, not 0-d arrays.
    if isinstance(array, np.generic):
        array = np.asarray(array)
    result.data = array
    result.requires_grad = False
    result.grad = None
    result._node = None
    result._output = 0
    result._version = [0]
    result._view = None
    result._hooks = None
    result._owned = False
    return result


def tensor(
    data: Any,
    dtype: Any = None,
    device: str | device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A new leaf tensor with a copy of `data`.

    Args:
        data: numbers, nested lists, an array or a tensor.
        dtype: default: float32 for Python floats, int64 for ints; an array's own dtype.
        device: default: the one in force (`minidl.use`).
        requires_grad: whether gradients with respect to it are wanted.
    """
    if isinstance(data, Tensor):
        device, data = device or data.device, data.data
    array = _as_array(data, dtype, device)
    if array is data or (isinstance(data, np.ndarray) and np.may_share_memory(array, data)):
        array = array.copy()
    result = wrap(array)
    return result.requires_grad_() if requires_grad else result


def as_tensor(data: Any, dtype: Any = None, device: str | device | None = None) -> Tensor:
    """`data` as a tensor, itself or sharing its memory where dtype and device allow it.

    Args:
        data: numbers, nested lists, an array, or a tensor, which stays part of its graph.
        dtype, device: as in `tensor`.
    """
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    return Tensor(data, dtype=dtype, device=device)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A CPU tensor that shares memory with a NumPy array.

    Raises:
        TypeError: not a NumPy array, or one of a dtype that tensors do not have.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"from_numpy: expected a numpy.ndarray, not a {type(ndarray).__name__}")
    return Tensor(ndarray, device="cpu")


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a Tensor."""
    return isinstance(obj, Tensor)


def from_dlpack(other: Any) -> Tensor:
    """A tensor that shares memory with an array of another library, through DLPack."""
    kind = other.__dlpack_device__()[0]
    backend = by_name("cuda" if int(kind) in (2, 13) else "cpu")  # kDLCUDA, kDLCUDAManaged
    return wrap(backend.xp.from_dlpack(other))


def _as_array(data: Any, dtype: Any, target: str | device | None) -> Array:
    try:
        backend = of(data)
    except TypeError:
        has_dtype = hasattr(data, "dtype")  # a torch tensor, say
        try:
            data = np.asarray(_to_host(data))
        except ValueError:
            raise ValueError("tensor: nested sequences must have equal lengths") from None
        if dtype is None and not has_dtype and data.dtype == np.float64:
            dtype = DEFAULT_FLOAT  # Python floats
        backend = None
    # (Kind V is bfloat16, a NumPy extension type; np.void is a structure or raw bytes.)
    if data.dtype.kind not in "biufV" or data.dtype.type is np.void:
        raise TypeError(f"tensor: expected booleans, integers or floats, not {data.dtype}")
    if not data.dtype.isnative:  # read from a file of a machine with the other byte order
        data = data.astype(data.dtype.newbyteorder("="))
    if target is None:
        target = default_device() if backend is None or backend.name == "cpu" else None
    if target is not None:
        chosen = device(target)
        return by_name(chosen).asarray(data, dtype, chosen.index)
    assert backend is not None
    return backend.asarray(data, dtype, backend.index_of(data))


def _to_host(data: Any) -> Any:
    """Nested sequences in which tensors stand for their values."""
    if isinstance(data, Tensor):
        return of(data.data).to_host(data.data)
    if isinstance(data, (list, tuple)) and any(isinstance(x, (Tensor, list, tuple)) for x in data):
        return [_to_host(x) for x in data]
    return data


def _state(source: Tensor) -> dict[str, Any]:
    """The attributes that a subclass adds."""
    return dict(getattr(source, "__dict__", {}))


def _rebuild(kind: type, array: Array, requires_grad: bool) -> Any:
    result: Any = _new(kind)
    Tensor.__init__(result, wrap(array), requires_grad)  # a Tensor stays on its device
    return result


def _unpickle(kind: type, host: np.ndarray, name: str, requires_grad: bool) -> Any:
    chosen = device(name)
    return _rebuild(kind, by_name(chosen).asarray(host, None, chosen.index), requires_grad)
