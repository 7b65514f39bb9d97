"""Bad input: every public function and layer gives torch's result, or an error that says what is wrong.

Each valid call in `calls.py` is spoiled in all the ways there are: a dimension less or more for
each tensor, a size that does not fit, no samples, integers, bools, NaN, another device. Then torch
decides. Where it computes something, minidl computes the same. Where it raises, minidl raises one
of Python's exceptions, and its message names the operation and, where sizes are at fault, a shape.

Arguments that are not tensors are spoiled by hand, in `IMPOSSIBLE`.
"""

from __future__ import annotations

import builtins
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

import minidl as md
from minidl.autograd import wrap
from minidl.backend import of

from .calls import CONTAINERS, FUNCTIONS, LAYERS, Call

F = md.nn.functional


def public_functions() -> set[str]:
    """The operations among the names of `minidl`, and those of `minidl.nn.functional`."""
    operations = {
        name
        for name in md.__all__
        if getattr(getattr(md, name), "__module__", "").startswith("minidl.ops")
    }
    return operations | set(F.__all__)


def find(call_or_name, torch=None):
    """The function or class of minidl, or torch's of the same name."""
    call = call_or_name
    name = call if isinstance(call, str) else call.name
    if torch is None:
        return getattr(md, name, None) or getattr(F, name, None) or getattr(md.nn, name)
    places = (torch,) if hasattr(md, name) else (torch.nn.functional, torch.nn)
    return next(getattr(place, name) for place in places if hasattr(place, name))


# -- ways to spoil a call -------------------------------------------------------------------------


def spoiled(call: Call) -> Iterator[tuple[str, list[np.ndarray]]]:
    """(what was done, the arrays) for every way to spoil the call."""
    arrays = call.arrays()

    def with_(k, array):
        return [array if i == k else a for i, a in enumerate(arrays)]

    for k, a in enumerate(arrays):
        if a.ndim:
            yield f"rank: tensor {k} without its first dimension", with_(k, a[0])
            yield f"rank: tensor {k} without its last dimension", with_(k, a[..., 0])
            yield f"rank: tensor {k} with 0 dimensions", with_(k, a.reshape(-1)[0])
        yield f"rank: tensor {k} with a dimension more", with_(k, a[None])
        for axis in range(a.ndim):
            longer = np.concatenate([a, a.take([0], axis)], axis)
            yield f"size: dimension {axis} of tensor {k} one longer", with_(k, longer)
            if a.shape[axis] > 1:
                one = a.take([0], axis)
                yield f"size: dimension {axis} of tensor {k} of length 1", with_(k, one)
            yield f"size: dimension {axis} of tensor {k} of length 0", with_(k, a.take([], axis))
    batch = arrays[0].shape[0] if arrays[0].ndim else 0
    same = [a.ndim > 0 and a.shape[0] == batch for a in arrays]
    if sum(same) > 1:
        empty = [a[:0] if b else a for a, b in zip(arrays, same, strict=True)]
        yield "empty: no samples", empty
    floats = [k for k, a in enumerate(arrays) if a.dtype.kind == "f"]
    for k in floats:
        a = arrays[k]
        yield f"dtype: tensor {k} of integers", with_(k, np.rint(a * 3).astype(np.int64))
        yield f"dtype: tensor {k} of bools", with_(k, a > 0)
        yield f"dtype: tensor {k} of float64", with_(k, a.astype(np.float64))
        bad = a.copy()
        bad.reshape(-1)[bad.size // 2] = np.nan
        yield f"nan: one in tensor {k}", with_(k, bad)
    if len(floats) > 1:
        whole = [np.rint(a * 3).astype(np.int64) if a.dtype.kind == "f" else a for a in arrays]
        yield "dtype: all of integers", whole
    for k in set(range(len(arrays))) - set(floats):
        a = arrays[k]
        yield f"dtype: tensor {k} of floats", with_(k, a.astype(np.float32))
        if a.dtype.kind == "i":
            yield f"dtype: tensor {k} of int32", with_(k, a.astype(np.int32))
            yield f"value: tensor {k} negative", with_(k, a - 100)
            yield f"value: tensor {k} too large", with_(k, a + 100)


# -- what comes of it -----------------------------------------------------------------------------


def attempt(compute):
    """("result", arrays) or ("error", exception)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = compute()
        except Exception as error:
            return "error", error
    return "result", result


def outcome(call: Call, arrays, torch=None):
    def compute():
        if torch is None:
            tensors = [md.tensor(a) for a in arrays]
            f = find(call)
        else:
            tensors = [torch.tensor(a) for a in arrays]
            if call.torch is not None:
                return host(call.torch(torch, *tensors))
            f = find(call, torch)
        if call.make is not None:
            (md if torch is None else torch).manual_seed(0)
            f = call.make(f)
            set_parameters(f, torch)
        return host(call.run(f, *tensors))

    return attempt(compute)


def set_parameters(layer, torch):
    """The same numbers in a layer of minidl and in one of torch."""
    rng = np.random.default_rng(0)
    for p in layer.parameters():
        values = rng.uniform(0.5, 1.5, tuple(p.shape)).astype(np.float32)
        with (md if torch is None else torch).no_grad():
            p.copy_(md.tensor(values) if torch is None else torch.tensor(values))


def host(result):
    """The result as a list of arrays, numbers and Nones."""
    if isinstance(result, (tuple, list)):
        return [h for part in result for h in host(part)]
    if isinstance(result, md.Tensor):
        return [of(result.data).to_host(result.data)]
    return [np.asarray(result.detach() if hasattr(result, "detach") else result)]


def difference(ours, theirs, values=True):
    """What distinguishes two results, or None."""
    if len(ours) != len(theirs):
        return f"{len(ours)} results, torch has {len(theirs)}"
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            return f"shape {a.shape}, torch has {b.shape}"
        if a.dtype != b.dtype:
            return f"dtype {a.dtype}, torch has {b.dtype}"
        if not values:
            continue
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return f"{a}, torch has {b}"
        elif not np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True):
            return f"{a}, torch has {b}"
    return None


def plain_name(text: str) -> str:
    return text.lower().replace("_", "")


# Short and other names under which an operation speaks of itself.
SPEAKS_AS = {
    "absolute": "abs",
    "clip": "clamp",
    "divide": "div",
    "true_divide": "div",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "multiply": "mul",
    "negative": "neg",
    "not_equal": "ne",
    "subtract": "sub",
    "swapaxes": "transpose",
    "upsample": "interpolate",
}


def names_itself(call: Call, message: str) -> bool:
    names = [call.name, SPEAKS_AS.get(call.name, call.name)]
    return any(plain_name(name) in plain_name(message) for name in names)


def is_builtin(error: BaseException) -> bool:
    return getattr(builtins, type(error).__name__, None) is type(error)


def judge(call: Call, what: str, arrays, torch) -> str | None:
    """What is wrong with minidl's answer to a spoiled call, or None."""
    kind, ours = outcome(call, arrays)
    verdict, theirs = outcome(call, arrays, torch)
    if kind == "error":
        if not is_builtin(ours):
            return f"raises {type(ours).__name__}, which is not one of Python's: {ours}"
        if verdict == "result":
            return f"raises {type(ours).__name__}, torch computes: {ours}"
        if not names_itself(call, str(ours)):
            return f"the message does not name the operation: {type(ours).__name__}: {ours}"
        if what.startswith(("rank", "size")) and not any(
            str(a.shape) in str(ours) for a in arrays
        ):
            return f"the message shows no shape: {ours}"
        return None
    if verdict == "error":
        return f"computes {ours}, torch raises: {str(theirs).splitlines()[0]}"
    return difference(ours, theirs, call.values)


if __name__ == "__main__":
    import torch
    import sys
    n=0
    for call in [*FUNCTIONS, *LAYERS]:
        for what, arrays in spoiled(call):
            n+=1
            found = judge(call, what, arrays, torch)
            if found:
                print(f"{call} | {what} | {[a.shape for a in arrays]} | {found.replace(chr(10),' ')[:230]}")
    print(n)
