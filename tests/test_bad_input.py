"""Bad input: public functions and layers give torch's result, or an error that says what is wrong.

Each valid call in `calls.py` is spoiled in all the ways there are: a dimension less or more for
each tensor, a size that does not fit, no samples, integers, bools, NaN, another device. Then torch
decides. Where it computes something, minidl computes the same. Where it raises, minidl raises one
of Python's exceptions, and its message names the operation and, where sizes are at fault, a shape.

Arguments that are not tensors are spoiled by hand, in `IMPOSSIBLE`.
"""

from __future__ import annotations

import builtins
import importlib.util
import re
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

import minidl as md
from minidl.backend import of

from .calls import CONTAINERS, FUNCTIONS, LAYERS, Call
from .impossible_arguments import IMPOSSIBLE, IMPOSSIBLE_LAYERS

F = md.nn.functional


def public_functions() -> set[str]:
    """The operations among the names of `minidl`, and those of `minidl.nn.functional`."""
    rooms = {name: getattr(getattr(md, name), "__module__", "") for name in md.__all__}
    operations = {
        name
        for name, room in rooms.items()
        if room.startswith("minidl.ops") and room != "minidl.ops.autocast"
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


def outcome(call: Call, arrays, torch=None, double=False):
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
            f = f.double() if double else f
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


# The names under which an operation speaks of itself, where they are not its own.
SPEAKS_AS = {
    "absolute": "abs",
    "rand_like": "rand",
    "randn_like": "randn",
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
    "take_along_dim": "gather",
    "tile": "repeat",
    "randint_like": "randint",
    "upsample": "interpolate",
    "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "Conv2d": "pad",  # with a padding_mode
    "FrozenBatchNorm2d": "batch_norm",
    "MultiScaleRoIAlign": "roi_align",
    "Upsample": "interpolate",
    "UpsamplingNearest2d": "interpolate",
    "UpsamplingBilinear2d": "interpolate",
}


def names_itself(name: str, message: str) -> bool:
    """Whether a message names the function, or the function of a layer: "batch_norm: ..."."""
    # BatchNorm2d, ReflectionPad1d and CrossEntropyLoss speak as batch_norm, pad, cross_entropy.
    layer = re.sub(r"(Loss|[12]d)$", "", re.sub(r"^.*Pad[12]d$", "pad", name))
    spoken = message.lower().replace("_", "")
    return any(
        own.lower().replace("_", "") in spoken for own in (name, layer, SPEAKS_AS.get(name, name))
    )


# A shape, or what is wrong with one in words.
A_SHAPE = re.compile(r"\(\d+,|\(\)|\b0-d\b|\d dimension|dimension \d|\d elements|for \d+ classes")


def fault_of(call: Call, what: str, error: Exception) -> str | None:
    """What is wrong with an error, or None: an exception of Python's that names the operation."""
    if getattr(builtins, type(error).__name__, None) is not type(error):
        return f"{type(error).__name__} is not an exception of Python's: {error}"
    if not names_itself(call.name, str(error)):
        return f"{type(error).__name__} does not name the operation: {error}"
    if what.startswith(("rank", "size", "empty")) and not A_SHAPE.search(str(error)):
        return f"{type(error).__name__} shows no shape: {error}"
    return None


# -- where minidl differs from torch, and why -----------------------------------------------------

# (pattern for "call | what", the reason)
STRICTER = [
    (r"^take_along_dim \| (size|value)", "torch reads memory beyond the tensor"),
    (r"^linear \| (rank|size): .*tensor 2", "a bias is (out_features,), as torch's own text says"),
    (r"^conv.* \| dtype: all of integers", "there are no convolutions of integers"),
    (r"^pow.* \| dtype: all of integers", "integers to negative powers; torch rounds them to 0"),
    (
        r"^(adaptive_avg_pool|global_avg_pool|AdaptiveAvgPool).* \| size: .*length 0",
        "only the batch may be empty, as in torch's other poolings",
    ),
    (r"^[mM]ax_?[uU]npool1d \| empty", "a channel dimension (C, L) without channels, not a batch"),
    (r"^pad \(3\) \| size: dimension 1 .*length 0", "only the batch may be empty, as in reflect"),
    (
        r"^(interpolate|upsample|Upsampl|unpool_nearest|global_avg).* \| rank: .*dimension more",
        "no volumes (N, C, D, H, W)",
    ),
    (r"^[dD]ropout[23]d \| rank: .*0 dimensions", "a channel dropout needs channels"),
    (
        r"^scaled_dot_product_attention \| size: dimension [01] of tensor 2 of length 0",
        "a key without a value; torch returns zeros before it looks",
    ),
    (
        r"^(batch_norm|instance_norm|BatchNorm).* \| size: dimension 1 .*length 0",
        "no channels, but running statistics for three",
    ),
    (r"^batch_norm.* \| rank: tensor [34] with a dimension more", "weight and bias are (C,)"),
    (r"^nll_loss \(2\) \| rank: tensor 2 with a dimension more", "class weights are (C,)"),
    (r"^instance_norm.* \| dtype: tensor 1 of (integers|bools)", "statistics are real numbers"),
    (r"^(gaussian_nll_loss|GaussianNLLLoss) \| nan: one in tensor 2", "NaN is no variance"),
    (r"_box_iou_loss \| (rank|size)", "boxes go in pairs; torchvision broadcasts the second ones"),
]
LENIENT = [
    (r"^index_put \| rank: tensor 2 with a dimension more", "values broadcast as in NumPy"),
    (r"^(instance_norm|InstanceNorm).* \| size: dimension 0 .*length 0", "no samples, no result"),
    (r"(?i)roi_?(align|pool).* \| nan: one in tensor [123]", "a box with a NaN; the loops stop"),
]
DIFFERENT = [
    (r"^(multi_margin_loss|MultiMarginLoss) \| nan", "torch loses a NaN in a comparison"),
    (r"^(multi_margin_loss|MultiMarginLoss) \| empty", "torch returns memory it has not written"),
    (r"(?i)^avg_?pool.* \| dtype: .*integers", "torch rounds a mean of integers, minidl does not"),
    (
        r"^(ps_roi_pool|PSRoIPool|MultiScaleRoIAlign) \| nan: one in tensor [01]",
        "means are products with matrices, in which a NaN meets zeros",
    ),
    (r"^topk \| dtype", "which of equal elements comes first is not defined"),
]


# Here only the dtype differs.
OTHER_DTYPE = [
    (r"(?i)^(\w*dropout.*|stochastic_?depth) \| dtype", "scaled integers are float32"),
    (
        r"\w*(_loss|Loss|kl_div|entropy\w*)( \(\d\))? \| dtype: tensor \d of float64",
        "float32 beside float64: torch's losses take now the one, now the other",
    ),
]


def excused(table: list[tuple[str, str]], call: Call, what: str) -> bool:
    return any(re.search(pattern, f"{call} | {what}") for pattern, _ in table)


def verdict(call: Call, what: str, arrays: list[np.ndarray], torch) -> str | None:
    """How minidl's answer to a spoiled call differs from torch's, or None."""
    ours, result = outcome(call, arrays)
    theirs, expected = outcome(call, arrays, torch)
    if ours == "error":
        if theirs == "error" or excused(STRICTER, call, what):
            return None
        return f"raises {type(result).__name__}, torch computes: {result}"
    if theirs == "error" and what.startswith("dtype"):
        # minidl casts what torch refuses: then the numbers are those of double precision.
        kinds = [a.dtype.kind for a in call.arrays()]
        wide = [
            a.astype(np.float64) if kind == "f" else b
            for a, b, kind in zip(arrays, call.arrays(), kinds, strict=True)
        ]
        theirs, expected = outcome(call, wide, torch, double=True)
        if theirs == "error":
            return f"computes {result}, torch raises: {expected}"
        expected = [e.astype(r.dtype) for e, r in zip(expected, result, strict=True)]
    if theirs == "error":
        if excused(LENIENT, call, what):
            return None
        return f"computes {result}, torch raises: {expected}"
    if what.startswith("nan") and re.match("(?i)conv", call.name):
        # Both libraries have algorithms in which a NaN meets zeros of padding or of a transform,
        # and spreads beyond the windows it is in. It must not get lost; the rest is the same.
        result = [np.where(np.isnan(r), e, r) for r, e in zip(result, expected, strict=True)]
    if excused(OTHER_DTYPE, call, what):
        expected = [e.astype(r.dtype) for e, r in zip(expected, result, strict=True)]
    found = difference(result, expected, call.values)
    return None if excused(DIFFERENT, call, what) else found


EVERYTHING = [*FUNCTIONS, *LAYERS]


@pytest.mark.parametrize("call", EVERYTHING, ids=str)
def test_a_spoiled_call_gives_a_result_or_an_error_that_names_the_operation(call):
    faults = []
    for what, arrays in spoiled(call):
        kind, result = outcome(call, arrays)
        fault = fault_of(call, what, result) if kind == "error" else None
        if fault:
            faults.append(f"{what} {[a.shape for a in arrays]}: {fault}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("call", EVERYTHING, ids=str)
def test_torch_answers_a_spoiled_call_in_the_same_way(call):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    found = []
    for what, arrays in spoiled(call):
        difference = verdict(call, what, arrays, torch)
        if difference:
            found.append(f"{what} {[a.shape for a in arrays]}: {difference}")
    assert not found, "\n".join(found)


def test_every_exception_from_torch_is_still_one():
    everything = [f"{call} | {what}" for call in EVERYTHING for what, _ in spoiled(call)]
    for pattern, _ in [*STRICTER, *LENIENT, *DIFFERENT, *OTHER_DTYPE]:
        assert any(re.search(pattern, text) for text in everything), f"{pattern} fits nothing"


def test_every_public_function_and_layer_has_a_call():
    functions = public_functions() - {call.name for call in FUNCTIONS}
    assert functions <= set(IMPOSSIBLE), f"no call for {sorted(functions - set(IMPOSSIBLE))}"
    classes = {name for name in md.nn.__all__ if isinstance(getattr(md.nn, name), type)}
    classes -= {call.name for call in LAYERS} | CONTAINERS
    assert not classes, f"no call for {sorted(classes)}"


# -- an empty batch in training -------------------------------------------------------------------


def gradients(call: Call, arrays, torch=None):
    """The gradients of the sum of a layer's output with respect to its parameters."""

    def compute():
        library = md if torch is None else torch
        layer = call.make(find(call, torch))
        set_parameters(layer, torch)
        call.run(layer, *[library.tensor(a) for a in arrays]).sum().backward()
        return [host(p.grad)[0] for p in layer.parameters()]

    return attempt(compute)


TRAINED = [call for call in LAYERS if list(call.make(find(call)).parameters())]


@pytest.mark.parametrize("call", TRAINED, ids=str)
def test_a_layer_learns_nothing_from_an_empty_batch(call):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    empty = [a[:0] for a in call.arrays()]
    ours, result = gradients(call, empty)
    theirs, expected = gradients(call, empty, torch)
    if theirs == "error":
        assert call.name.startswith("InstanceNorm"), f"torch raises: {expected}"
        expected = [np.zeros_like(g) for g in result]
    assert ours == "result", result
    assert difference(result, expected) is None


# -- tensors on two devices -----------------------------------------------------------------------

# Those that may have tensors on two devices: indices and masks follow the tensor they point into,
# and what is not combined with anything need not be anywhere.
ANYWHERE = {"index_put", "masked_select", "broadcast_tensors", "meshgrid"}
COMBINED = [c for c in EVERYTHING if len(c.inputs) > 1 and c.name not in ANYWHERE]


@pytest.mark.parametrize("call", COMBINED, ids=str)
def test_tensors_on_two_devices_are_refused_with_the_remedy(call):
    for k in range(len(call.inputs)):
        devices = ["strict" if i == k else "cpu" for i in range(len(call.inputs))]
        made = [md.tensor(a, device=d) for a, d in zip(call.arrays(), devices, strict=True)]
        f = find(call) if call.make is None else call.make(find(call))
        kind, result = attempt(lambda f=f, made=made: call.run(f, *made))
        assert kind == "error", f"tensor {k} on another device: computes {result}"
        assert type(result) is RuntimeError, f"tensor {k}: {type(result).__name__}: {result}"
        for word in ("cpu", "strict", "different devices", ".to(device)"):
            assert word in str(result), f"tensor {k}: {result}"


@pytest.mark.parametrize("call", [c for c in TRAINED if c.values], ids=str)
def test_a_layer_on_another_device_than_its_input_says_so(call):
    layer = call.make(find(call))
    tensors = [md.tensor(a, device="strict") for a in call.arrays()]
    kind, result = attempt(lambda: call.run(layer, *tensors))
    assert kind == "error", f"computes {result}"
    assert type(result) is RuntimeError, f"{type(result).__name__}: {result}"
    for word in ("cpu", "strict", "different devices", ".to(device)"):
        assert word in str(result), str(result)


# -- arguments that make no sense -----------------------------------------------------------------


def tensors_of(value, library):
    """`value` with tensors in place of arrays."""
    if isinstance(value, np.ndarray):
        return library.tensor(value)
    if isinstance(value, (list, tuple)):
        return type(value)(tensors_of(v, library) for v in value)
    return value


def tried(name, positional, keywords, library):
    f = find(name, None if library is md else library)
    made = [tensors_of(v, library) for v in positional]
    options = {k: tensors_of(v, library) for k, v in keywords.items()}
    return attempt(lambda: host(f(*made, **options)))


def shown(value):
    return f"array{value.shape}" if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_arguments_that_make_no_sense_are_refused(name):
    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    faults = []
    for positional, keywords in IMPOSSIBLE[name]:
        text = f"{name}({', '.join(map(str, map(shown, positional)))}, {keywords})"
        ours, result = tried(name, positional, keywords, md)
        theirs, expected = "error", None
        if torch and (hasattr(torch, name) or hasattr(torch.nn.functional, name)):
            theirs, expected = tried(name, positional, keywords, torch)
        if ours == "error":
            fault = fault_of(Call(name, None, ()), "", result)
            if fault:
                faults.append(f"{text}: {fault}")
            if theirs == "result":
                faults.append(f"{text}: {result!r}, torch computes {expected}")
        elif theirs == "error":
            faults.append(f"{text}: computes {result}, torch raises {expected!r}")
        elif difference(result, expected):
            faults.append(f"{text}: {difference(result, expected)}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", IMPOSSIBLE_LAYERS)
def test_layers_that_make_no_sense_cannot_be_made(name):
    for positional, keywords in IMPOSSIBLE_LAYERS[name]:
        kind, error = attempt(lambda p=positional, k=keywords: getattr(md.nn, name)(*p, **k))
        assert kind == "error", f"{name}{positional} {keywords} was made"
        assert isinstance(error, (ValueError, TypeError)), repr(error)
        assert names_itself(name, str(error)), f"{positional} {keywords}: {error!r}"
