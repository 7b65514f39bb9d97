"""Every operation, proven in the same ways, from one table of cases (tests/ops/cases/*.py)."""

from __future__ import annotations

import importlib
import pkgutil
import zlib

import numpy as np
import pytest

import minidl as md
from minidl.autograd import gradcheck, gradgradcheck, listen
from minidl.backend import of

from .. import strict_cupy
from ..conftest import PRETENDING
from . import cases
from .case import Case


def _collect() -> list[Case]:
    found = []
    for module in pkgutil.iter_modules(cases.__path__):
        found += importlib.import_module(f"{cases.__name__}.{module.name}").CASES
    return found


ALL = _collect()
NAMES = [case.name for case in ALL]
DEVICES = ["strict", pytest.param("cuda", marks=pytest.mark.gpu)]


def rng_for(case: Case) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(case.name.encode()))


def cast(array, dtype):
    """Floats in the dtype under test, anything else as it is."""
    array = np.asarray(array)
    return array.astype(dtype) if array.dtype.kind == "f" else array


def arrays_of(case: Case, dtype: str) -> list[np.ndarray]:
    return [cast(a, dtype) for a in case.inputs(rng_for(case))]


def tensors(arrays, device="cpu", grad=True):
    made = [md.tensor(a, device=device) for a in arrays]
    for t in made:
        if grad and t.is_floating_point():
            t.requires_grad_()
    return made


def as_tuple(x):
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def host(x):
    return of(x.data).to_host(x.data)


def assert_near(actual, expected, rtol, what):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    if expected.dtype.kind in "iub":
        assert np.array_equal(actual, expected), f"{what}: {actual} is not {expected}"
        return
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(expected)
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    assert same[~finite].all(), f"{what}: infinities or NaNs differ: {actual} is not {expected}"
    if not finite.any():
        return
    scale = max(float(np.abs(expected[finite]).max()), 1e-30)
    error = float(np.abs(actual[finite] - expected[finite]).max())
    assert error <= rtol * scale, f"{what}: error {error:.3g}, allowed {rtol * scale:.3g}"


def run(case: Case, dtype: str, device: str, rng=None):
    """Outputs and gradients (with a random cotangent) as host arrays, and the tensors."""
    inputs = tensors(arrays_of(case, dtype), device, grad=case.order > 0)
    outputs = as_tuple(case.function(*inputs))
    rng = rng or np.random.default_rng(1)
    smooth = [out for out in outputs if out.requires_grad]
    cotangents = [
        md.tensor(rng.standard_normal(out.shape).astype(out.dtype), device=device) for out in smooth
    ]
    wanted = [x for x in inputs if x.requires_grad]
    grads = ()
    if smooth and wanted:
        grads = md.grad(smooth, wanted, cotangents, allow_unused=True)
    return inputs, outputs, grads


@pytest.mark.parametrize("case", ALL, ids=NAMES)
def test_value_equals_the_slow_oracle_in_every_dtype(case):
    assert case.oracle is not None or case.torch is not None, "a case without any oracle"
    if case.oracle is None:
        pytest.importorskip("torch", reason="the oracle of this case is torch")
        return  # compared in the torch test below
    for dtype in case.dtypes:
        arrays = arrays_of(case, dtype)
        expected = as_tuple(case.oracle(*[cast(a, "float64") for a in arrays]))
        _, outputs, _ = run(case, dtype, "cpu")
        assert len(outputs) == len(expected)
        for k, (out, e) in enumerate(zip(outputs, expected, strict=True)):
            e = np.asarray(e)
            assert_near(host(out), e, case.tolerance(dtype), f"{case}: output {k}, {dtype}")


@pytest.mark.parametrize("case", ALL, ids=NAMES)
def test_gradients_equal_differences_to_second_order(case):
    if case.order == 0:
        outputs = as_tuple(case.function(*tensors(arrays_of(case, "float64"), grad=False)))
        assert not any(out.requires_grad for out in outputs)
        return
    inputs = tensors(arrays_of(case, "float64"))
    assert gradcheck(case.function, inputs)
    if case.order > 1:
        assert gradgradcheck(case.function, inputs)


@pytest.mark.parametrize("case", ALL, ids=NAMES)
def test_dtype_is_kept_in_values_and_gradients(case):
    for dtype in case.dtypes:
        inputs, outputs, grads = run(case, dtype, "cpu")
        if any(x.is_floating_point() for x in inputs):
            for out in outputs:
                assert out.dtype.kind in "iub" or out.dtype == np.dtype(dtype), (
                    f"{dtype} became {out.dtype}"
                )
        for x, g in zip([x for x in inputs if x.requires_grad], grads, strict=False):
            assert g is None or (g.dtype == x.dtype and g.shape == x.shape)


@pytest.mark.parametrize("case", ALL, ids=NAMES)
def test_memory_layout_does_not_matter(case):
    if not case.inputs(rng_for(case)):
        return
    plain = [host(out) for out in run(case, "float64", "cpu")[1]]
    expected_grads = [None if g is None else host(g) for g in run(case, "float64", "cpu")[2]]
    for layout in (_fortran, _strided, _reversed):
        inputs = [md.Tensor(layout(a)) for a in arrays_of(case, "float64")]
        for x in inputs:
            if case.order and x.is_floating_point():
                x.requires_grad_()
        outputs = as_tuple(case.function(*inputs))
        for out, e in zip(outputs, plain, strict=True):
            assert_near(host(out), e, 1e-12, f"{case}: {layout.__name__}")
        smooth = [out for out in outputs if out.requires_grad]
        if smooth:
            rng = np.random.default_rng(1)
            u = [md.Tensor(layout(rng.standard_normal(out.shape))) for out in smooth]
            wanted = [x for x in inputs if x.requires_grad]
            for g, e in zip(
                md.grad(smooth, wanted, u, allow_unused=True), expected_grads, strict=True
            ):
                assert (g is None) == (e is None)
                if g is not None:
                    assert_near(host(g), e, 1e-10, f"{case}: gradient, {layout.__name__}")


def _fortran(a):
    return np.array(a, order="F")


def _strided(a):
    """Every second element of a larger array, in the last axis."""
    if a.ndim == 0:
        return a
    big = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    big[..., ::2] = a
    return big[..., ::2]


def _reversed(a):
    """Negative strides."""
    turned = (slice(None, None, -1),) * a.ndim
    return np.array(a[turned], order="C")[turned]


@pytest.mark.parametrize("case", ALL, ids=NAMES)
def test_neither_inputs_nor_incoming_gradients_are_changed_or_shared(case):
    arrays = arrays_of(case, "float64")
    inputs = tensors(arrays, grad=case.order > 0)
    outputs = as_tuple(case.function(*inputs))
    for x, a in zip(inputs, arrays, strict=True):
        assert np.array_equal(x.data, a, equal_nan=a.dtype.kind == "f"), "forward changed an input"
    if not case.view:
        for out in outputs:
            for x in inputs:
                assert not np.shares_memory(out.data, x.data), "the result shares an input's memory"
    smooth = [out for out in outputs if out.requires_grad]
    if not smooth:
        return
    rng = np.random.default_rng(2)
    cotangents = [md.tensor(rng.standard_normal(out.shape)) for out in smooth]
    before = [u.data.copy() for u in cotangents]
    leaves = [x for x in inputs if x.requires_grad]
    md.autograd.backward(smooth, cotangents)
    for u, b in zip(cotangents, before, strict=True):
        assert np.array_equal(u.data, b), "backward changed the gradient it was given"
    for x, a in zip(inputs, arrays, strict=True):
        assert np.array_equal(x.data, a, equal_nan=a.dtype.kind == "f"), "backward changed an input"
    held = [x.grad.data for x in leaves if x.grad is not None]
    held += [u.data for u in cotangents] + [x.data for x in leaves]
    for i, a in enumerate(held):
        for b in held[i + 1 :]:
            assert not np.shares_memory(a, b), "gradients share memory"
    nodes = [out.grad_fn for out in smooth]
    assert all(node.freed for node in nodes), "the graph was not freed"


@pytest.mark.parametrize("case", [c for c in ALL if c.torch], ids=str)
def test_torch_gives_the_same_values_and_gradients(case):
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    for dtype in [d for d in case.dtypes if d != "float16"]:
        arrays = arrays_of(case, dtype)
        theirs = [torch.tensor(np.array(a, order="C")) for a in arrays]
        for t in theirs:
            t.requires_grad_(case.order > 0 and t.is_floating_point())
        expected = as_tuple(case.torch(torch, *theirs))
        _, outputs, grads = run(case, dtype, "cpu")
        assert len(outputs) == len(expected)
        for k, (out, e) in enumerate(zip(outputs, expected, strict=True)):
            tolerance = max(case.tolerance(dtype), 1e-10)
            assert_near(host(out), e.detach().numpy(), tolerance, f"{case}: output {k} {dtype}")
        rng = np.random.default_rng(1)
        u = [rng.standard_normal(o.shape).astype(o.dtype) for o in outputs if o.requires_grad]
        smooth = [e for e in expected if e.requires_grad]
        assert len(smooth) == len(u), "torch differentiates other outputs"
        if not smooth:
            continue
        wanted = [t for t in theirs if t.requires_grad]
        theirs_grads = torch.autograd.grad(
            smooth, wanted, [torch.tensor(a) for a in u], allow_unused=True
        )
        for k, (g, e) in enumerate(zip(grads, theirs_grads, strict=True)):
            g = np.zeros(wanted[k].shape) if g is None else host(g)
            e = np.zeros(wanted[k].shape) if e is None else e.numpy()
            tolerance = 1e-10 if dtype == "float64" else max(case.tolerance(dtype), 1e-4)
            assert_near(g, e, tolerance, f"{case}: gradient {k} {dtype}")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", ALL, ids=NAMES)
def test_other_devices_give_the_same_without_hidden_waits(case, device):
    if (device == "strict" or PRETENDING) and not case.strict:
        return
    for dtype in [d for d in case.dtypes if d != "float16"]:
        _, expected, expected_grads = run(case, dtype, "cpu")
        inputs = tensors(arrays_of(case, dtype), device, grad=case.order > 0)
        smooth_cpu = [out for out in expected if out.requires_grad]
        rng = np.random.default_rng(1)
        u = [
            md.tensor(rng.standard_normal(out.shape).astype(out.dtype), device=device)
            for out in smooth_cpu
        ]
        strict_cupy.syncs.clear()
        outputs = as_tuple(case.function(*inputs))
        smooth = [out for out in outputs if out.requires_grad]
        wanted = [x for x in inputs if x.requires_grad]
        grads = md.grad(smooth, wanted, u, allow_unused=True) if smooth and wanted else ()
        assert not strict_cupy.syncs, f"hidden waits: {strict_cupy.syncs}"
        tolerance = max(case.tolerance(dtype), 1e-10) * (10 if dtype == "float32" else 1)
        for k, (out, e) in enumerate(zip(outputs, expected, strict=True)):
            assert out.device.type == device
            assert_near(host(out), host(e), tolerance, f"{case}: output {k}, {dtype}, {device}")
        for k, (g, e) in enumerate(zip(grads, expected_grads, strict=True)):
            assert (g is None) == (e is None)
            if g is not None:
                assert_near(host(g), host(e), tolerance, f"{case}: gradient {k}, {dtype}, {device}")


@pytest.mark.gpu
@pytest.mark.parametrize("case", [c for c in ALL if c.order], ids=str)
def test_gradients_equal_differences_on_the_gpu(case):
    inputs = tensors(arrays_of(case, "float64"), "cuda")
    assert gradcheck(case.function, inputs)
    if case.order > 1:
        assert gradgradcheck(case.function, inputs)


def _functions(base=md.Function):
    for cls in base.__subclasses__():
        # (Those of `explain` are no operations: rules put in a gradient's place, and none.)
        if cls.__module__.startswith("minidl.") and ".explain." not in cls.__module__:
            yield cls
        yield from _functions(cls)


def test_every_function_has_a_case():
    seen = set()

    def note(event):
        seen.add(type(event.node))

    with listen(note):
        for case in ALL:
            try:
                inputs, _, _ = run(case, "float64", "cpu")
                smooth = [out for out in as_tuple(case.function(*inputs)) if out.requires_grad]
                wanted = [x for x in inputs if x.requires_grad]
                if case.order > 1 and smooth and wanted:
                    u = [md.Tensor(np.ones(out.shape), requires_grad=True) for out in smooth]
                    first = md.grad(smooth, wanted, u, create_graph=True, allow_unused=True)
                    first = [g for g in first if g is not None and g.requires_grad]
                    if first:
                        ones = [md.Tensor(np.ones(g.shape)) for g in first]
                        md.grad(first, wanted + u, ones, allow_unused=True)
            except Exception as error:
                raise AssertionError(f"{case}: {error}") from error
    missing = sorted(f"{c.__module__}.{c.__name__}" for c in set(_functions()) - seen)
    assert not missing, f"Functions that no case exercises: {missing}"


def test_names_of_cases_are_unique():
    twice = {name for name in NAMES if NAMES.count(name) > 1}
    assert not twice, twice
