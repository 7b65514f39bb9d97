"""Module: the base of layers and networks, after torch.nn.Module.

A module is an object with parameters (trained), buffers (state that is not trained, such as running
statistics) and child modules. Assigning one of these to an attribute registers it; the names of the
attributes, joined with dots, are its path: `layer1.0.conv1.weight`. Everything is kept in the order
of assignment, so that two runs list, initialise and store the same things in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..autograd import Tensor, is_grad_enabled, wrap
from ..autograd.hooks import RemovableHandle
from ..autograd.tensor import DEFAULT_FLOAT
from ..backend import Array, by_name, device, of
from .hooks import gate_inputs, gate_outputs

__all__ = ["IncompatibleKeys", "Module", "Parameter", "new_tensor", "parameter_if"]

Self = TypeVar("Self", bound="Module")


class Parameter(Tensor):
    """A tensor that a module trains: assigning it to a module's attribute registers it there.

    Args:
        data: values; the memory of a tensor or array is shared. None: an empty tensor.
        requires_grad: whether gradients with respect to it are wanted.

    Raises:
        TypeError: `requires_grad` for values that are not floating-point numbers.
    """

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        super().__init__(np.empty(0, DEFAULT_FLOAT) if data is None else data, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` could not match, as paths."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing={self.missing_keys}, unexpected={self.unexpected_keys})"

    def __str__(self) -> str:
        return repr(self)


def new_tensor(
    shape: tuple[int, ...], value: float = 0, device: Any = None, dtype: Any = None
) -> Tensor:
    """A tensor for a parameter or buffer before it is initialised.

    Args:
        shape: its shape.
        value: every element.
        device: default: the one in force (`minidl.use`).
        dtype: default: float32.
    """
    dtype = dtype or DEFAULT_FLOAT
    # np.zeros takes memory from the system only where it is written to (`init.skip_init`).
    values = np.full(shape, value, dtype) if value else np.zeros(shape, dtype)
    return Tensor(values, device=device)


def parameter_if(
    wanted: bool, shape: tuple[int, ...], value: float = 0, device: Any = None, dtype: Any = None
) -> Parameter | None:
    """A parameter made as by `new_tensor`, or None: the bias of a layer that may do without."""
    return Parameter(new_tensor(shape, value, device, dtype)) if wanted else None


class Module:
    """Base class of layers and networks: set attributes in `__init__`, compute in `forward`.

    Attributes:
        training: whether the module is in training mode; dropout and batch norm differ by it.

    Example:
        >>> class Net(Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.fc = nn.Linear(4, 2)
        ...
        ...     def forward(self, x):
        ...         return self.fc(x)
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _non_persistent: set[str]
    _modules: dict[str, Module | None]

    # Entries of the state that files of older versions lack: left as they are where missing.
    _optional_state: tuple[str, ...] = ()
    # Entries that files of a similar layer have, and this one does without.
    _ignored_state: tuple[str, ...] = ()

    def __init__(self) -> None:
        # Past __setattr__, which needs these dictionaries.
        self.__dict__.update(
            training=True,
            _parameters={},
            _buffers={},
            _non_persistent=set(),
            _modules={},
            _forward_pre_hooks={},
            _forward_hooks={},
            _backward_hooks={},
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every module writes its own."""
        raise NotImplementedError(f"{type(self).__name__}.forward is not written")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for hook in list(self._forward_pre_hooks.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        if self._backward_hooks and is_grad_enabled():
            result = self._call_between_gates(args, kwargs)
        else:
            result = self.forward(*args, **kwargs)
        for hook in list(self._forward_hooks.values()):
            changed = hook(self, args, result)
            if changed is not None:
                result = changed
        return result

    # -- attributes -------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if "_parameters" not in self.__dict__:
            if isinstance(value, (Parameter, Module)):
                raise AttributeError(
                    f"{type(self).__name__}.{name}: call super().__init__() before assigning "
                    "parameters or modules"
                )
            object.__setattr__(self, name, value)
        elif isinstance(value, Parameter):
            self._forget(name, but=self._parameters)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._forget(name, but=self._modules)
            self._modules[name] = value
        elif name in self._parameters:
            if value is not None:
                raise TypeError(
                    f"{type(self).__name__}.{name} is a parameter: a Parameter or None can be "
                    f"assigned to it, not a {type(value).__name__}"
                )
            self._parameters[name] = None
        elif name in self._modules:
            if value is not None:
                raise TypeError(
                    f"{type(self).__name__}.{name} is a module: a Module or None can be assigned "
                    f"to it, not a {type(value).__name__}"
                )
            self._modules[name] = None
        elif name in self._buffers:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"{type(self).__name__}.{name} is a buffer: a Tensor or None can be assigned "
                    f"to it, not a {type(value).__name__}"
                )
            self._buffers[name] = value
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        # Called only where ordinary lookup found nothing.
        for registry in ("_parameters", "_buffers", "_modules"):
            entries = self.__dict__.get(registry)
            if entries is not None and name in entries:
                return entries[name]
        message = f"'{type(self).__name__}' object has no attribute '{name}'"
        if "_parameters" not in self.__dict__:
            message += f" ({type(self).__name__}.__init__ has not called super().__init__())"
        raise AttributeError(message, name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                del registry[name]
                self._non_persistent.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]
        return sorted(set(names))

    def _forget(self, name: str, but: dict[str, Any]) -> None:
        """Make room for another kind of attribute of this name; in `but` it keeps its place."""
        for registry in (self.__dict__, self._parameters, self._buffers, self._modules):
            if registry is not but:
                registry.pop(name, None)
        self._non_persistent.discard(name)

    def _check_name(self, name: str, what: str, registry: Mapping[str, Any]) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"the name of a {what} is a non-empty string without dots, not {name!r}")
        if name not in registry and hasattr(self, name):
            raise KeyError(f"{type(self).__name__} already has an attribute {name!r}")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None reserves the name for a parameter that this module does without.

        Raises:
            KeyError: the name is taken, empty or has a dot.
            TypeError: `param` is not a Parameter.
        """
        self._check_name(name, "parameter", self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"parameter {name!r} is a {type(param).__name__}; wrap it in Parameter(...)"
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add state that is not trained.

        Args:
            name: the attribute's name.
            tensor: its value, or None.
            persistent: whether it is part of `state_dict`.

        Raises:
            KeyError: the name is taken, empty or has a dot.
            TypeError: `tensor` is not a Tensor.
        """
        self._check_name(name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"buffer {name!r} is a {type(tensor).__name__}, not a Tensor or None")
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent.discard(name)
        else:
            self._non_persistent.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under a name that need not be a Python identifier."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(
                f"{type(self).__name__}: module {name!r} is a {type(module).__name__}, not a Module"
            )
        self._check_name(name, "module", self._modules)
        self._modules[name] = module

    register_module = add_module

    # -- listing ----------------------------------------------------------------------------------

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and all below it, each once, parents first."""
        seen: set[int] = set()
        for path, module in self._walk(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """All paths, a shared module once for each of its places."""
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child._walk(_join(prefix, name))

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules directly below, each once."""
        seen: set[int] = set()
        for name, child in self._modules.items():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules directly below, each once."""
        return (child for _, child in self.named_children())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter), in the order of assignment.

        Args:
            prefix: put before every path.
            recurse: whether the parameters of modules below are listed, too.
            remove_duplicate: list a shared parameter once, under its first path.
        """
        yield from self._named("_parameters", prefix, recurse, remove_duplicate)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(path, buffer), in the order of assignment; arguments as in `named_parameters`."""
        yield from self._named("_buffers", prefix, recurse, remove_duplicate)

    def _named(
        self, registry: str, prefix: str, recurse: bool, once: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self._walk(prefix) if recurse else [(prefix, self)]:
            for name, tensor in getattr(module, registry).items():
                if tensor is None or (once and id(tensor) in seen):
                    continue
                seen.add(id(tensor))
                yield _join(path, name), tensor

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once, in the order of assignment."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once, in the order of assignment."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as `layer1.0.conv1`; "" is this module.

        Raises:
            AttributeError: there is no module at that path; the message says where it ends.
        """
        module: Module = self
        for i, name in enumerate(target.split(".") if target else []):
            found = module._modules.get(name)
            if found is None:
                where = ".".join(target.split(".")[:i]) or "the module itself"
                raise AttributeError(
                    f"get_submodule({target!r}): {where} ({type(module).__name__}) has no module "
                    f"{name!r}; it has {', '.join(module._modules) or 'none'}"
                )
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as `layer1.0.conv1.weight`."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        found = module._parameters.get(name)
        if found is None:
            raise AttributeError(
                f"get_parameter({target!r}): {type(module).__name__} has no parameter {name!r}"
            )
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path such as `bn1.running_mean`."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        found = module._buffers.get(name)
        if found is None:
            raise AttributeError(
                f"get_buffer({target!r}): {type(module).__name__} has no buffer {name!r}"
            )
        return found

    # -- state ------------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Path -> tensor, of all parameters and persistent buffers.

        Args:
            prefix: put before every path.
            keep_vars: give the Parameters themselves rather than detached tensors that share their
                memory.
        """
        state: dict[str, Tensor] = {}
        for path, module in self._walk(prefix):
            for name, tensor in module._state():
                state[_join(path, name)] = tensor if keep_vars else tensor.detach()
        return state

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of this module's own state."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                yield name, parameter
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent:
                yield name, buffer

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy values into parameters and buffers: all of them, or none if anything does not fit.

        Values may be tensors or arrays of any device. They are cast to the dtype that is here
        (float64 to float32, integers to floats), but floating-point values for an integer buffer
        are refused.

        Args:
            state_dict: path -> values, as `state_dict()` gives it.
            strict: whether missing and unexpected paths are errors, too.

        Returns:
            the missing and the unexpected paths.

        Raises:
            RuntimeError: something does not fit; the message lists every mismatch.
        """
        own = {
            _join(path, name): (tensor, name in module._optional_state)
            for path, module in self._walk()
            for name, tensor in module._state()
        }
        missing = [
            path for path, (_, optional) in own.items() if path not in state_dict and not optional
        ]
        ignored = {
            _join(path, name) for path, module in self._walk() for name in module._ignored_state
        }
        unexpected = [path for path in state_dict if path not in own and path not in ignored]
        wrong = []
        copies: list[tuple[Tensor, Array]] = []
        for path, (tensor, _) in own.items():
            if path not in state_dict:
                continue
            values = _values(state_dict[path])
            if tuple(values.shape) != tensor.shape:
                wrong.append(
                    f"{path}: shape {tuple(values.shape)} in the state, {tensor.shape} here"
                )
            elif values.dtype.kind in "fV" and tensor.dtype.kind not in "fV":
                wrong.append(f"{path}: dtype {values.dtype} in the state, {tensor.dtype} here")
            else:
                backend = of(tensor.data)
                index = backend.index_of(tensor.data)
                copies.append((tensor, backend.asarray(values, tensor.dtype, index)))
        if wrong or (strict and (missing or unexpected)):
            raise RuntimeError(
                _mismatches(type(self).__name__, missing, unexpected, wrong, strict, own)
            )
        for tensor, values in copies:
            tensor.data[...] = values
            tensor.bump_version()
        return IncompatibleKeys(missing, unexpected)

    # -- modes ------------------------------------------------------------------------------------

    def train(self: Self, mode: bool = True) -> Self:
        """Put this module and all below it into training mode (or evaluation mode)."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: mode must be True or False, got {mode!r}")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self: Self) -> Self:
        """Put this module and all below it into evaluation mode."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Train the parameters, or freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or (`set_to_none=False`) fill them with zeros."""
        for parameter in self.parameters():
            clear_grad(parameter, set_to_none)

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn(module)` on every module below and then on this one; to initialise, for one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # -- moves ------------------------------------------------------------------------------------

    def to(self: Self, *args: Any, device: Any = None, dtype: Any = None) -> Self:
        """Move and cast the module in place: `to("cuda")`, `to(np.float64)`, `to(other_tensor)`.

        Only floating-point parameters and buffers are cast.

        Args:
            args: a device, a dtype, both, or a tensor whose device and dtype are taken.
            device: where to.
            dtype: a floating-point dtype.

        Raises:
            TypeError: the dtype is not a floating-point one.
        """
        for arg in args:
            if isinstance(arg, Tensor):
                device, dtype = arg.device, arg.dtype
            elif isinstance(arg, (str, _Device)):
                device = arg
            elif arg is not None:
                dtype = arg
        if dtype is not None:
            dtype = np.dtype(dtype)
            if dtype.kind not in "fV":
                raise TypeError(
                    f"to: a module can be cast to a floating-point dtype, not to {dtype}"
                )
        place = None if device is None else _Device(device)

        def move(array: Array) -> Array:
            backend, index = of(array), of(array).index_of(array)
            if place is not None:
                backend = by_name(place)
                index = (
                    place.index
                    if place.index is not None or place.type != of(array).name
                    else index
                )
            target = dtype if dtype is not None and array.dtype.kind in "fV" else None
            return backend.asarray(array, target, index)

        seen: set[int] = set()
        for tensor in [*self.parameters(), *self.buffers()]:
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            _replace(tensor, move)
            if tensor.grad is not None:
                _replace(tensor.grad, move)
        return self

    def cpu(self: Self) -> Self:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(self: Self, device: int | None = None) -> Self:
        """Move to a GPU, by default the first."""
        return self.to("cuda" if device is None else f"cuda:{device}")

    def float(self: Self) -> Self:
        """Cast to float32."""
        return self.to(np.float32)

    def double(self: Self) -> Self:
        """Cast to float64, as gradient checks need it."""
        return self.to(np.float64)

    def half(self: Self) -> Self:
        """Cast to float16."""
        return self.to(np.float16)

    # -- hooks ------------------------------------------------------------------------------------

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; a result takes the place of args."""
        return RemovableHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; a result takes the output's place."""
        return RemovableHandle(self._forward_hooks, hook)

    def register_full_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the inputs are there.

        Both are tuples with a gradient for each positional tensor argument (None where it does not
        require one) and for each output. A tuple that the hook returns replaces `grad_input`.
        """
        return RemovableHandle(self._backward_hooks, hook)

    def _call_between_gates(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        def call_hooks(grad_input: Any, grad_output: Any) -> Any:
            for hook in list(self._backward_hooks.values()):
                changed = hook(self, grad_input, grad_output)
                if changed is not None:
                    grad_input = changed if isinstance(changed, tuple) else (changed,)
            return grad_input

        args, passage = gate_inputs(args, call_hooks)
        return gate_outputs(self.forward(*args, **kwargs), passage)

    # -- text -------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of this module's `repr`: its arguments."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({name}): {_indent(repr(child))}" for name, child in self._modules.items()]
        return bracket(self._get_name(), extra.split("\n") if extra else [], children)


_Device = device  # `device` is an argument of several methods


def clear_grad(parameter: Tensor, set_to_none: bool) -> None:
    """Drop a gradient, or fill it with zeros."""
    if set_to_none or parameter.grad is None:
        parameter.grad = None
        return
    # A new array: the old one may be held by whoever read .grad, or shared with a graph.
    parameter.grad = wrap(of(parameter.data).xp.zeros_like(parameter.data))


def bracket(name: str, extra: list[str], children: list[str]) -> str:
    """`Name(extra)`, over several lines where there are children."""
    if not children and len(extra) <= 1:
        return f"{name}({''.join(extra)})"
    lines = "\n  ".join(extra + children)
    return f"{name}(\n  {lines}\n)"


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _replace(tensor: Tensor, move: Callable[[Array], Array]) -> None:
    moved = move(tensor.data)
    if moved is not tensor.data:
        tensor.data = moved
        tensor._version = [0]


def _values(value: Any) -> Array:
    """A tensor's array, or anything else (a torch tensor, a list) as an array."""
    if isinstance(value, Tensor):
        return value.data
    try:
        of(value)
    except TypeError:
        return np.asarray(value)
    return value


def _mismatches(
    name: str,
    missing: list[str],
    unexpected: list[str],
    wrong: list[str],
    strict: bool,
    own: Mapping[str, Any],
) -> str:
    """The text of load_state_dict's error: everything that does not fit."""
    parts = [f"load_state_dict: the state does not fit {name}, nothing was changed"]
    if strict and missing:
        parts.append(f"missing in the state ({len(missing)}): " + ", ".join(missing))
    if strict and unexpected:
        parts.append(f"unexpected in the state ({len(unexpected)}): " + ", ".join(unexpected))
        prefix = unexpected[0].partition(".")[0] + "."
        if all(key.startswith(prefix) and key[len(prefix) :] in own for key in unexpected):
            parts.append(f"the paths fit once the prefix {prefix!r} is taken off them")
    if wrong:
        parts.append(f"different in shape or dtype ({len(wrong)}):")
        parts += [f"  {line}" for line in wrong]
    if strict and not wrong:
        parts.append("strict=False loads what fits and returns the rest")
    return "\n  ".join(parts)
