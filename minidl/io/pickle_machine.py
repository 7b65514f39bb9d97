"""A pickle, run without running anything of its author's.

A pickle is a program for a small stack machine: "push this string", "make a dictionary of all above
the mark", "call this function with that tuple". Python's own machine (`pickle.load`) imports and
calls whatever the program names, so that to read a stranger's file is to run a stranger's program.
The machine here makes numbers, strings, tuples, lists and dictionaries, and of functions it has
only those that a subclass gives it. The opcodes are explained in Python's module `pickletools`,
which also splits a file into them.

A hostile program can be expected to ask for more memory than its length would suggest, or to make
something that harms whoever walks over it later. So the number of steps, the work within a step,
the depth of the result and its size when written out are bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from reprlib import repr as brief  # what a file holds can be long and deep
from typing import Any

__all__ = ["Callee", "PickleMachine", "brief"]

# A tensor takes about forty steps, so that this is a checkpoint of a hundred thousand tensors.
MAX_STEPS = 1 << 22
MAX_DEPTH = 100
MAX_VALUES = 1 << 24  # of the result, what is shared counted wherever it stands

_KEYS: tuple[Any, ...] = (str, bytes, int, float, type(None))


@dataclass(frozen=True)
class Callee:
    """A function that a pickle may call.

    Attributes:
        name: as the pickle calls it.
        call: takes the arguments that the pickle gives, which can be anything.
    """

    name: str
    call: Callable[..., Any]


class PickleMachine:
    """Runs one pickle; what the outside world would give it is given by a subclass.

    Args:
        size: bytes of the file: a bound of what a pickle in it may make of few steps.
        leaves: types that the result may contain besides numbers, strings, bytes and None.
    """

    def __init__(self, size: int, leaves: tuple[type, ...] = ()) -> None:
        self._budget = size
        self._leaves = (*_KEYS, *leaves)

    def find(self, name: str) -> Any:
        """What a name such as "collections.OrderedDict" stands for."""
        raise ValueError(f"it names {name[:200]}")

    def persistent(self, key: Any) -> Any:
        """What is kept outside the pickle under a key."""
        raise ValueError(f"it refers to {brief(key)} outside the pickle")

    def build(self, target: Any, state: Any) -> None:
        """Give an object that `find` made its attributes."""
        raise ValueError(f"it sets the attributes of a {type(target).__name__}")

    def spend(self, work: int) -> None:
        """Account for `work` elements or bytes made in a single step."""
        self._budget -= work
        if self._budget < 0:
            raise ValueError("it makes more data than it contains")

    def run(self, file: Any) -> Any:
        """Execute the pickle that begins where `file` stands, and leave `file` behind its end.

        Args:
            file: has `read`, `readline` and `tell`, and allocates no more than it has.

        Returns:
            what the pickle describes.

        Raises:
            ValueError: the pickle is damaged, names what is not allowed, or is too big.
            IndexError, KeyError, TypeError: it is damaged: takes what it never put down.
        """
        from pickletools import genops  # not needed by whoever only imports minidl

        stack: list[Any] = []
        marked: list[list[Any]] = []  # the stacks below the marks
        memo: dict[int, Any] = {}

        arg: Any
        for step, (opcode, arg, _) in enumerate(genops(file)):
            if step == MAX_STEPS:
                raise ValueError(f"its pickle has more than {MAX_STEPS} steps")
            match opcode.name:
                case "PROTO" | "FRAME":
                    pass
                case "STOP":
                    break

                # values
                case "NONE":
                    stack.append(None)
                case "NEWTRUE" | "NEWFALSE":
                    stack.append(opcode.name == "NEWTRUE")
                case (
                    ("INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1" | "LONG4")
                    | ("FLOAT" | "BINFLOAT")
                    | ("UNICODE" | "SHORT_BINUNICODE" | "BINUNICODE" | "BINUNICODE8")
                    | ("SHORT_BINBYTES" | "BINBYTES" | "BINBYTES8")
                ):
                    stack.append(arg)
                case "STRING" | "BINSTRING" | "SHORT_BINSTRING":  # of Python 2, read as Latin-1
                    stack.append(arg.encode("latin-1").decode("utf-8"))

                # containers
                case "MARK":
                    marked.append(stack)
                    stack = []
                case "EMPTY_TUPLE":
                    stack.append(())
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    count = int(opcode.name[-1])
                    items = [stack.pop() for _ in range(count)]
                    stack.append(tuple(reversed(items)))
                case "TUPLE":
                    items, stack = stack, marked.pop()
                    stack.append(tuple(items))
                case "EMPTY_LIST":
                    stack.append([])
                case "LIST":
                    items, stack = stack, marked.pop()
                    stack.append(items)
                case "APPEND":
                    item = stack.pop()
                    _of_type(stack[-1], list).append(item)
                case "APPENDS":
                    items, stack = stack, marked.pop()
                    _of_type(stack[-1], list).extend(items)
                case "EMPTY_DICT":
                    stack.append({})
                case "DICT":
                    items, stack = stack, marked.pop()
                    stack.append(_set_items({}, items))
                case "SETITEM":
                    value, key = stack.pop(), stack.pop()
                    _set_items(stack[-1], [key, value])
                case "SETITEMS":
                    items, stack = stack, marked.pop()
                    _set_items(stack[-1], items)

                # the stack and the memo
                case "POP":
                    stack.pop()
                case "POP_MARK":
                    stack = marked.pop()
                case "DUP":
                    stack.append(stack[-1])
                case "PUT" | "BINPUT" | "LONG_BINPUT":
                    memo[arg] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "GET" | "BINGET" | "LONG_BINGET":
                    stack.append(memo[arg])

                # the outside world
                case "GLOBAL":
                    stack.append(self.find(arg.replace(" ", ".")))
                case "STACK_GLOBAL":
                    name, module = stack.pop(), stack.pop()
                    stack.append(self.find(f"{_of_type(module, str)}.{_of_type(name, str)}"))
                case "REDUCE":
                    arguments, function = stack.pop(), stack.pop()
                    callee = _of_type(function, Callee)
                    stack.append(callee.call(*_of_type(arguments, tuple)))
                case "BUILD":
                    state = stack.pop()
                    # The attributes of an OrderedDict, as the _metadata of torch's state_dict,
                    # are not part of its content.
                    if not isinstance(stack[-1], dict):
                        self.build(stack[-1], state)
                case "BINPERSID":
                    stack.append(self.persistent(stack.pop()))
                case _:  # NEWOBJ, INST, EXT1, sets, buffers ...
                    raise ValueError(f"it uses the opcode {opcode.name}, which no tensor needs")

        result = stack.pop()
        self._check(result)
        return result

    def _check(self, result: Any) -> None:
        """That `result` is a tree of data, not deep, and not immense when its shares are copied."""
        measured: dict[int, tuple[int, int]] = {}  # of a container: (values, depth)
        entered: set[int] = set()
        todo: list[tuple[Any, bool]] = [(result, False)]  # (value, whether its content is done)
        while todo:
            item, done = todo.pop()
            if isinstance(item, (tuple, list)):
                content: Any = item
            elif isinstance(item, dict):
                content = item.values()
            elif isinstance(item, self._leaves):
                continue
            else:
                name = item.name if isinstance(item, Callee) else type(item).__name__
                raise ValueError(f"it contains {name} itself")
            if done:
                parts = [measured.get(id(part), (1, 0)) for part in content]
                values = 1 + sum(count for count, _ in parts)
                depth = 1 + max((below for _, below in parts), default=0)
                if values > MAX_VALUES or depth > MAX_DEPTH:
                    raise ValueError(
                        f"it is nested {depth} deep or has {values} values when written out; at "
                        f"most {MAX_DEPTH} and {MAX_VALUES} are read"
                    )
                measured[id(item)] = values, depth
                entered.remove(id(item))
            elif id(item) in entered:
                raise ValueError(f"it has a {type(item).__name__} that contains itself")
            elif id(item) not in measured:
                entered.add(id(item))
                todo.append((item, True))
                todo.extend((part, False) for part in content)


def _of_type(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _set_items(target: Any, items: list[Any]) -> dict[Any, Any]:
    """`target` with further items: key, value, key, value ..."""
    _of_type(target, dict)
    keys = items[::2]
    for key in keys:
        # Hashing a tuple goes as deep as the tuple is.
        if not isinstance(key, _KEYS) and not (
            isinstance(key, tuple) and all(isinstance(part, _KEYS) for part in key)
        ):
            raise TypeError(f"a {type(key).__name__} as the key of a dictionary")
    target.update(zip(keys, items[1::2], strict=True))
    return target
