"""A differentiable operation: `forward` on arrays, `backward` on Tensors.

An instance of a Function is a node of the graph: it remembers where its inputs came from (`edges`)
and what `forward` chose to keep (`save_for_backward`). As `backward` computes with Tensors, it can
be recorded itself, so second derivatives need nothing more.

    class Multiply(Function):
        def forward(self, a, b):
            self.save_for_backward(a, b)
            return a * b

        def backward(self, grad):
            a, b = self.saved_tensors
            return grad * b, grad * a

    y = Multiply.apply(x, w)
"""

from __future__ import annotations

import itertools
from time import perf_counter
from typing import Any

from ..backend import Array, of, quietly
from . import events
from .modes import mode
from .tensor import Tensor, wrap

__all__ = ["Function"]

_count = itertools.count().__next__
_FREED = object()
_SELF = object()  # "the node that saves it": a reference to that node would be a circle
_FLOAT_KINDS = "fV"  # V: bfloat16, a NumPy extension type


Edge = tuple[Any, int]  # (node or leaf, which of its outputs)


class Function:
    """Base class of all operations; see the module's text for an example.

    `forward(self, *arrays, **parameters)` takes the positional arguments of `apply`, Tensors as
    arrays and anything else as it is, and returns an array or a tuple of arrays. `backward(self,
    *grads)` takes one Tensor for each output and returns one Tensor (or None) for each positional
    argument; trailing arguments that are not tensors may be left out.

    Attributes:
        needs_input_grad: for each positional argument, whether its gradient is wanted.
        view: whether the result shares memory with the first input. An attribute of the class;
            `forward` sets it on `self` where that depends on the input.
    """

    view = False

    needs_input_grad: tuple[bool, ...]
    recording: bool  # whether this call is part of a graph: what is saved will be wanted

    # The graph, filled in by apply() when it records:
    sequence: int  # rises with every node, so that consumers have a higher one than producers
    edges: list[Edge | None]  # where arguments came from, up to the last that wants a gradient
    results: list[tuple[tuple[int, ...], Any]]  # (shape, dtype) of each output
    hooks: dict[int, dict[int, Any]] | None = None  # for each output: called with its gradient
    retained: dict[int, Any] | None = None  # weak references to outputs that keep their gradient
    _saved: Any = ()

    @property
    def name(self) -> str:
        """The operation's name in error messages and listings."""
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{self.name}>"

    # -- to be written by an operation ------------------------------------------------------------

    def forward(self, *args: Any, **parameters: Any) -> Any:
        raise NotImplementedError(f"{self.name}.forward is not written")

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{self.name}.backward is not written: it has no gradient")

    # -- to be used by an operation ---------------------------------------------------------------

    def save_for_backward(self, *arrays: Array | None) -> None:
        """Declare what `backward` needs; everything else is freed when `forward` returns.

        An input or output of `forward` comes back in `saved_tensors` as part of the graph, so that
        it is differentiated through. Any other array comes back as a constant: save one only if it
        does not depend on the inputs smoothly (a mask, indices), or if `backward` is a Function
        that takes this into account.
        """
        if self.recording:
            self._saved = arrays

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """The tensors declared with `save_for_backward`, in that order (None stays None)."""
        if self._saved is _FREED:
            raise RuntimeError(freed_message(self.name))
        return tuple([None if s is None else s.unpack(self) for s in self._saved])  # type: ignore

    @property
    def saved_arrays(self) -> list[Array]:
        """The arrays kept for `backward`; none are left after it."""
        return [] if self._saved is _FREED else [s.array for s in self._saved if s is not None]

    @property
    def saved_bytes(self) -> int:
        """The memory kept for `backward`, in bytes, counting arrays shared with others in full."""
        return sum(array.nbytes for array in self.saved_arrays)

    # -- the engine's side ------------------------------------------------------------------------

    @classmethod
    def apply(cls, *inputs: Any, **parameters: Any) -> Any:
        """Run `forward` and record it if a gradient may be asked for. Returns Tensor(s)."""
        start = perf_counter() if events.listeners else 0.0
        arrays: list[Any] = []
        needs = []
        kind = None  # the class of the device's arrays
        for x in inputs:
            if isinstance(x, Tensor):
                array = x.data
                arrays.append(array)
                needs.append(x.requires_grad)
                if kind is None:
                    kind = type(array)
                elif type(array) is not kind:
                    _refuse_mixed_devices(cls, inputs)
            else:
                arrays.append(x)
                needs.append(False)

        node = cls()
        node.recording = recording = mode.recording and True in needs
        node.needs_input_grad = tuple(needs)
        outputs = quietly(cls.forward, node, *arrays, **parameters)
        if not recording and type(outputs) is kind and not (node.view or events.listeners):
            # The quick way, by which backward passes go.
            for array in arrays:
                if array is outputs:
                    break
            else:
                return wrap(outputs)
        single = not isinstance(outputs, tuple)
        if single:
            outputs = (outputs,)
        results = []
        for out in outputs:
            if type(out) is not kind:
                _check_array(cls, out)
            for array in arrays:
                if array is out:
                    # Every Tensor has an array object of its own: saved ones are told by identity.
                    out = out.view()
                    break
            arrays.append(out)
            results.append(wrap(out))
        if node.view:
            source = next(x for x in inputs if isinstance(x, Tensor))
            for result in results:
                result._version = source._version
                result._view = node.name

        if recording:
            node._record(inputs, results, outputs)
        if events.listeners:
            saved = node.saved_bytes if recording else 0
            events.emit("forward", node, inputs, results, saved, perf_counter() - start)
        return results[0] if single else tuple(results)

    def _record(
        self, inputs: tuple[Any, ...], results: list[Tensor], arrays: tuple[Array, ...]
    ) -> None:
        self.sequence = _count()
        self.edges = edges = []
        for i, needed in enumerate(self.needs_input_grad):
            x = inputs[i]
            edges.append((x if x._node is None else x._node, x._output) if needed else None)
        while edges[-1] is None:
            edges.pop()
        if self._saved:
            self._saved = [
                None if a is None else _Saved(a, inputs, results, arrays) for a in self._saved
            ]
        self.results = []
        for i, result in enumerate(results):
            shape, dtype = result.data.shape, result.data.dtype
            self.results.append((shape, dtype))
            if dtype.kind in _FLOAT_KINDS:
                result.requires_grad = True
                result._node = self
                result._output = i

    def free(self) -> None:
        """Drop what was saved and the way to the inputs: `backward` has used them."""
        self._saved = _FREED
        self.edges = []

    @property
    def freed(self) -> bool:
        return self._saved is _FREED


class _Saved:
    """An array kept for backward, with its place in the graph and its version at that time."""

    __slots__ = ("array", "output", "seen", "source", "version")

    array: Array
    source: Any  # what made it: a Function, a leaf, _SELF; None: it needs no gradient
    output: int  # which of the source's outputs it is
    version: list[int] | None  # the counter of its memory; None for a constant
    seen: int  # what that counter showed when it was saved

    def __init__(
        self,
        array: Array,
        inputs: tuple[Any, ...],
        results: list[Tensor],
        outputs: tuple[Array, ...],
    ) -> None:
        self.array = array
        for x in inputs:
            if isinstance(x, Tensor) and x.data is array:
                self.source = None
                if x.requires_grad:
                    self.source = x if x._node is None else x._node
                self.output, self.version = x._output, x._version
                self.seen = x._version[0]
                return
        for index, out in enumerate(outputs):
            if out is array:
                self.array = results[index].data
                self.source = _SELF if array.dtype.kind in _FLOAT_KINDS else None
                self.output, self.version = index, results[index]._version
                self.seen = self.version[0]
                return
        self.source = self.version = None
        self.output = self.seen = 0

    def unpack(self, node: Function) -> Tensor:
        version, source = self.version, self.source
        if version is not None and version[0] != self.seen:
            raise RuntimeError(
                f"{node.name}: a tensor of shape {tuple(self.array.shape)} that its backward needs "
                f"was changed in place ({version[0] - self.seen} time(s)) since forward; "
                "change a copy (x = x + y instead of x += y), or call backward first"
            )
        if isinstance(source, Tensor):
            if source.data is not self.array:
                raise RuntimeError(
                    f"{node.name}: the data of a leaf of shape {tuple(self.array.shape)} was "
                    "replaced between forward and backward; call backward first"
                )
            return source
        tensor = wrap(self.array)
        if version is not None:
            tensor._version = version
        if source is not None:
            tensor.requires_grad = True
            tensor._node = node if source is _SELF else source
            tensor._output = self.output
        return tensor


def _check_array(cls: type, out: Any) -> None:
    """What `forward` returns is an array, or a scalar as NumPy's reductions give."""
    try:
        of(out)
    except TypeError:
        raise TypeError(
            f"{cls.__name__}.forward returned a {type(out).__name__}; it must return an array or a "
            "tuple of arrays"
        ) from None


def freed_message(name: str) -> str:
    return (
        f"backward: the graph has already been freed at {name}; a second backward through it needs "
        "backward(retain_graph=True) the first time, or a new forward"
    )


def _refuse_mixed_devices(cls: type, inputs: tuple[Any, ...]) -> None:
    found = ", ".join(f"{tuple(x.shape)} on {x.device}" for x in inputs if isinstance(x, Tensor))
    raise RuntimeError(
        f"{cls.__name__}: tensors are on different devices ({found}); use .to(device)"
    )
