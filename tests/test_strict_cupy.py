"""The stand-in for CuPy, against NumPy (results) and against the installed CuPy (what it refuses).

Most of CuPy's refusals come before it touches a GPU. They are therefore compared with real CuPy on
any machine where it is installed: its arrays are then made round host memory that nobody reads, and
an operation that gets as far as the driver counts as accepted.
"""

import copy
import gc
import inspect
import json
import pickle
import re
import warnings
import weakref

import numpy as np
import pytest

from . import strict_cupy as xp
from .conftest import PRETENDING
from .strict_cupy import DeviceSynchronized, allow_sync, forbid_sync, syncs


@pytest.fixture(autouse=True)
def _no_old_syncs():
    syncs.clear()
    yield
    syncs.clear()


def host(x):
    with allow_sync():
        return x.get()


def prepared(asarray, namespace):
    """The names that the snippets below may use."""
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    return {
        "xp": namespace,
        "np": np,
        "copy": copy,
        "json": json,
        "pickle": pickle,
        "x": asarray(values.copy()),
        "y": asarray(values.copy() + 1),
        "v": asarray(np.arange(4, dtype=np.float32)),
        "half": asarray(np.arange(4, dtype=np.float16)),
        "i": asarray(np.array([0, 1, 1])),
        "one": asarray(np.array(1)),
        "m": asarray(values > 5),
        "rows": asarray(np.array([True, False])),
        "s": asarray(np.array(276.0, np.float32)),
        "square": asarray(np.eye(3)),
        "h": values.copy(),
        "h0": np.array(2.0, np.float32),
    }


def run(code, names):
    """The value of an expression, or None after a statement."""
    try:
        tree = compile(code, "<snippet>", "eval")
    except SyntaxError:
        exec(code, names)
        return None
    return eval(tree, names)


# What CuPy refuses and NumPy does not -------------------------------------------------------------

OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "<", "<=", "==", "!=", "@"]
REFUSED = [
    # host and device in one operation
    *((f"x {op} h", TypeError) for op in OPERATORS),
    *((f"h {op} x", TypeError) for op in OPERATORS),
    ("x + h0", TypeError),
    ("h0 * x", TypeError),
    ("x += h", TypeError),
    ("h += x", TypeError),
    ("x[0] += h[0]", TypeError),
    ("x + [1, 2]", TypeError),
    ("[1, 2] + x", TypeError),
    ("x + None", TypeError),
    ("xp.exp(h)", TypeError),
    ("xp.exp([1.0])", TypeError),
    ("xp.maximum(x, h)", TypeError),
    ("np.maximum(x, h)", TypeError),
    ("xp.add(x, 1, out=h)", TypeError),
    ("xp.concatenate([x, h])", TypeError),
    ("np.concatenate([x, h])", TypeError),
    ("xp.concatenate([h, h])", TypeError),
    ("xp.stack([x, h])", TypeError),
    ("xp.where(m, x, h)", TypeError),
    ("xp.where(h > 0, x, 0)", TypeError),
    ("xp.where(True, x, 0)", AttributeError),
    ("xp.where(m, x)", ValueError),
    ("xp.matmul(x, h)", TypeError),
    ("xp.matmul(x[0], 2.0)", TypeError),
    ("xp.dot(v, h[0, 0])", TypeError),
    ("xp.einsum('abc,abc->a', x, h)", TypeError),
    ("xp.expand_dims(h, 0)", TypeError),
    ("xp.broadcast_to(h, (5, 2, 3, 4))", TypeError),
    ("xp.split(h, 2)", TypeError),
    ("xp.cumsum(h)", TypeError),
    ("xp.ascontiguousarray(h)", TypeError),
    ("xp.astype(h, np.float64)", TypeError),
    ("xp.take(h, i)", TypeError),
    ("xp.size(h)", TypeError),
    ("xp.sum(x, axis=0, out=h[0])", TypeError),
    ("xp.repeat(v, np.array([1, 2, 0, 1]))", TypeError),
    ("xp.copyto(x, h)", ValueError),
    ("x.fill(h)", ValueError),
    ("x[:] = h", ValueError),
    ("x[:] = [1, 2, 3, 4]", ValueError),
    ("x[0, 0, 0] = np.ones(1)", ValueError),
    # a device array where host data is needed
    ("np.asarray(x)", TypeError),
    ("np.array(x)", TypeError),
    ("np.asarray(s)", TypeError),
    ("np.float32(s)", TypeError),
    ("np.array([s, s])", TypeError),
    ("np.testing.assert_allclose(x, x)", TypeError),
    ("np.arange(5)[i]", TypeError),
    ("np.arange(5)[one]", TypeError),
    ("h[one]", TypeError),
    ("h[0] = x[0]", TypeError),
    ("xp.array([s, 1.0])", TypeError),
    ("memoryview(x)", TypeError),
    ("json.dumps([s])", TypeError),
    ("range(one)", TypeError),
    ("[1, 2, 3][one]", TypeError),
    ("x[:one]", TypeError),
    ("xp.zeros((one, 2))", TypeError),
    ("xp.zeros(one)", TypeError),
    ("x.reshape(one, 24)", TypeError),
    ("xp.arange(s)", TypeError),
    ("round(s)", TypeError),
    ("len(s)", TypeError),
    ("iter(s)", TypeError),
    ("hash(x)", TypeError),
    ("bool(v)", ValueError),
    ("x.item()", ValueError),
    ("s.item(0)", TypeError),
    ("np.from_dlpack(x)", (BufferError, RuntimeError)),
    ("xp.from_dlpack(h)", TypeError),
    # names
    ("xp.errstate", AttributeError),
    ("xp.insert", AttributeError),
    ("xp.linalg.vector_norm", AttributeError),
    ("xp.lib.array_utils", AttributeError),
    ("xp.add.identity", AttributeError),
    ("xp.add.signature", AttributeError),
    ("x.ctypes", AttributeError),
    ("x.resize(4)", AttributeError),
    ("x.setflags(write=False)", AttributeError),
    ("x.to_device('cpu')", AttributeError),
    ("x.flags.writeable", AttributeError),
    ("x.__array_interface__", AttributeError),
    ("x.__array_namespace__()", AttributeError),
    ("x.foo", AttributeError),
    ("x.foo = 1", AttributeError),
    ("x.dtype = np.int32", AttributeError),
    ("x.T = 1", AttributeError),
    ("del x[0]", NotImplementedError),
    # keywords
    ("xp.exp(x, where=True)", TypeError),
    ("np.divide(x, y, where=True)", TypeError),
    ("xp.add(x, 1, order='C')", TypeError),
    ("xp.add(x)", TypeError),
    ("xp.sum(x, where=m)", TypeError),
    ("xp.sum(x, initial=1.0)", TypeError),
    ("x.sum(where=m)", TypeError),
    ("x.max(axis=0, initial=0.0)", TypeError),
    ("xp.var(x, correction=1)", TypeError),
    ("x.var(correction=1)", TypeError),
    ("xp.clip(x, min=0, max=3)", TypeError),
    ("xp.reshape(x, shape=(4, 6))", TypeError),
    ("x.reshape(shape=(4, 6))", TypeError),
    ("xp.take(v, 1, mode='clip')", TypeError),
    ("xp.take_along_axis(x, i)", TypeError),
    ("xp.sort(v, stable=True)", TypeError),
    ("xp.sort(v, kind='quicksort')", ValueError),
    ("xp.argsort(v, kind='mergesort')", ValueError),
    ("x.sort(kind='quicksort')", ValueError),
    ("xp.zeros((2, 3), device='cpu')", TypeError),
    ("xp.zeros_like(x, device=None)", TypeError),
    ("xp.asarray(h, device='cpu')", TypeError),
    ("xp.array(x, subok=True)", NotImplementedError),
    ("x.astype(np.float64, casting='safe')", TypeError),
    ("x.astype(object)", ValueError),
    ("xp.einsum('abc->a', x, order='C')", TypeError),
    ("xp.einsum('abc->a', x, out=v)", TypeError),
    ("xp.fft.rfft(v, out=None)", TypeError),
    ("xp.lib.stride_tricks.as_strided(x, (2, 2), (4, 4), writeable=False)", TypeError),
    ("xp.lib.stride_tricks.sliding_window_view(v, 2, writeable=True)", NotImplementedError),
    # methods of ufuncs
    ("xp.multiply.at(x, 0, 2.0)", NotImplementedError),
    ("np.multiply.at(x, 0, 2.0)", NotImplementedError),
    ("xp.maximum.reduce(x)", NotImplementedError),
    ("np.maximum.reduce(x)", NotImplementedError),
    ("xp.logical_and.reduce(m)", NotImplementedError),
    ("xp.maximum.accumulate(v)", NotImplementedError),
    ("xp.add.at(h, 0, 1.0)", AttributeError),
    ("xp.subtract.at(v, i, 1.0)", TypeError),
    ("xp.maximum.at(half, i, 1.0)", TypeError),
    # indices
    ("x[5]", IndexError),
    ("x[0, 0, 9]", IndexError),
    ("x[0, 0, 0, 0]", IndexError),
    ("x[..., ...]", IndexError),
    ("x[v]", IndexError),
    ("x[s]", IndexError),
    ("x[m[:1]]", IndexError),
    ("x[i, rows]", (IndexError, ValueError)),
    ("x[i, i[:2]]", ValueError),
    ("x['a']", (IndexError, ValueError)),
    ("s[0]", IndexError),
    ("x.reshape(5, 5)", ValueError),
    ("x.T.reshape(-1, copy=False)", ValueError),
    ("x.T.view(np.uint8)", ValueError),
    ("xp.sum(x, axis=5)", np.exceptions.AxisError),
]

# What the stand-in refuses although CuPy computes something, silently and surprisingly.
STRICTER = [
    ("xp.sum(h)", TypeError),  # on the host
    ("xp.flip(h, 0)", TypeError),
    ("xp.reshape(h, -1)", TypeError),
    ("xp.take_along_axis(x, h.astype(int), 0)", TypeError),  # after an upload
    ("x[1.0]", IndexError),  # truncates
    ("x[rows, m[0, :, 0]]", IndexError),  # "not supported"
    ("xp.broadcast_to(v, (3, 4))[0, 0] = 5.0", ValueError),  # writes to all rows
    ("xp.linspace(0, s, 5)", TypeError),
    ("xp.random.rand(3)", AttributeError),  # another stream of numbers than NumPy's
]

ACCEPTED = [
    "x + 2",
    "2.0 * x",
    "x + np.float64(2)",
    "np.float32(2) * x",
    "x + one",
    "x == None",
    "divmod(v, 2)",
    "abs(-v)",
    "~m",
    "x @ v",
    "xp.exp(2.0)",
    "np.exp(x)",
    "np.sum(x)",
    "np.concatenate([x, x])",
    "np.where(m, x, 0)",
    "np.linalg.norm(x)",
    "np.add.at(v, i, 1.0)",
    "np.add.reduce(x)",
    "xp.sum(x, axis=(0, 2), keepdims=True)",
    "xp.mean(x, dtype=np.float64)",
    "xp.sum(x, axis=0, out=xp.empty((3, 4), np.float32))",
    "xp.argmax(x, axis=1, keepdims=True)",
    "xp.maximum(x, 0.0)",
    "xp.add(x, 1, out=x)",
    "xp.add(x, y, x)",
    "xp.add(x, 1, dtype=np.float64)",
    "xp.modf(v)",
    "xp.add.outer(v, v)",
    "xp.add.accumulate(v)",
    "xp.matmul(x[0], x[0].T, out=xp.empty((3, 3), np.float32))",
    "xp.einsum('abc,dc->abd', x, y[0], optimize=True)",
    "xp.tensordot(x, y, axes=([2], [2]))",
    "xp.reshape(x, newshape=(4, 6))",
    "xp.concatenate(tup=[x, x], axis=1)",
    "xp.stack([s, s])",
    "xp.split(x, 2)",
    "xp.pad(x, ((0, 0), (1, 1), (2, 2)), constant_values=1.0)",
    "xp.roll(x, (1, 2), axis=(0, 1))",
    "xp.tile(x, (2, 1, 1))",
    "xp.repeat(x, 2, axis=0)",
    "xp.take(x, i, axis=1)",
    "xp.take_along_axis(x, x.argmax(1, keepdims=True), 1)",
    "xp.clip(x, 0, 3)",
    "x.clip(min=0)",
    "xp.sort(x, axis=None)",
    "xp.argsort(v, kind='stable')",
    "xp.searchsorted(v, 1.5)",
    "xp.meshgrid(v, v, indexing='ij')",
    "xp.cumsum(x, axis=1)",
    "xp.diff(v)",
    "xp.tril(x[0])",
    "xp.linalg.norm(x, axis=(1, 2))",
    "xp.linalg.solve(square, square)",
    "xp.fft.rfft2(x)",
    "xp.fft.irfft2(xp.fft.rfft2(x), s=(3, 4))",
    "xp.lib.stride_tricks.as_strided(x, (2, 2), (4, 4))",
    "xp.lib.stride_tricks.sliding_window_view(x, 2, axis=2)",
    "xp.exceptions.AxisError",
    "xp.zeros((2, 3), np.float16)",
    "xp.zeros_like(x, dtype=np.float64, shape=(3,))",
    "xp.full((2, 2), 3.0)",
    "xp.full((2, 2), s)",
    "xp.full_like(x, h0)",
    "xp.eye(3, dtype=np.float32)",
    "xp.arange(1, 5, 2, dtype=np.float32)",
    "xp.linspace(0, 1, 5, dtype=np.float32)",
    "xp.array([s, s])",
    "xp.asarray([[1.0, 2.0]])",
    "xp.asarray(x, np.float64)",
    "xp.array(h, ndmin=5)",
    "xp.asarray(np.ones(3, '>f4'))",
    "xp.result_type(x, 2.0)",
    "xp.can_cast(x, np.float64)",
    "xp.broadcast_shapes((3, 1), (1, 4))",
    "xp.shares_memory(x, x)",
    "xp.finfo(np.float32).eps",
    "xp.issubdtype(x.dtype, xp.floating)",
    "xp.asnumpy([1, 2])",
    "xp.from_dlpack(x)",
    "x.astype(np.float64, order='C')",
    "x.view(np.int32)",
    "x.view()",
    "x.reshape((6, 4), order='F')",
    "x.transpose((2, 0, 1))",
    "x.transpose(2, 0, 1)",
    "x.mT",
    "x.squeeze()",
    "x.get(order='F')",
    "x.get(out=np.empty((2, 3, 4), np.float32))",
    "x.set(h)",
    "x.fill(h0)",
    "x.put(i, v[:3])",
    "x.shape = (4, 6)",
    "x.scatter_add(i, 1.0)",
    "x.data.ptr",
    "x.device.id",
    "x.flags.forc",
    "x.flags['C_CONTIGUOUS']",
    "copy.deepcopy({'a': x})",
    "x[np.int64(1)]",
    "x[[0, 1]]",
    "x[[]]",
    "x[..., None, 0]",
    "x[rows, 0]",
    "x[m] = 0.0",
    "x[0, 0, 0] = h0",
    "x[0] = y[:1, :, :]",
    "x[i] = v",
    "x[i] = y[:1, :1]",
    "v[i] = y[:1, :1, :1]",
    "x[0] = 1",
    "x[:, i] += 1.0",
]


@pytest.mark.parametrize(("code", "error"), REFUSED + STRICTER)
def test_what_a_gpu_refuses_is_refused(code, error):
    with pytest.raises(error):
        run(code, prepared(xp.asarray, xp))


@pytest.mark.parametrize("code", ACCEPTED)
def test_what_a_gpu_accepts_is_accepted(code):
    run(code, prepared(xp.asarray, xp))


# The same tables on the installed CuPy -----------------------------------------------------------


@pytest.fixture(scope="module")
def cupy():
    """The real one, if it is installed."""
    return pytest.importorskip(
        "cupy", reason="compares with the installed CuPy: pip install cupy-cuda12x or -cuda13x"
    )


def has_gpu(cupy):
    return cupy.cuda.is_available()


def without_memory(cupy, a):
    """A cupy.ndarray round the memory of a NumPy array: it may be described, not computed with."""
    memory = cupy.cuda.UnownedMemory(a.ctypes.data, max(a.nbytes, 1), a, 0)
    pointer = cupy.cuda.MemoryPointer(memory, 0)
    return cupy.ndarray(a.shape, a.dtype, pointer, strides=a.strides)


def real_names(cupy):
    if has_gpu(cupy):
        return prepared(cupy.asarray, cupy)
    return prepared(lambda a: without_memory(cupy, a), cupy)


def error_of(code, names):
    """What a snippet raises, or None."""
    try:
        run(code, names)
    except Exception as raised:
        return raised
    return None


def is_lack_of_gpu(error, cupy):
    """Whether an operation passed CuPy's checks and then found no driver or CUDA library."""
    names = ("CUDARuntimeError", "DynamicLibNotFoundError", "ImportError")
    return type(error).__name__ in names and not has_gpu(cupy)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of CuPy's
@pytest.mark.parametrize(("code", "error"), REFUSED)
def test_the_installed_cupy_refuses_the_same(cupy, code, error):
    raised = error_of(code, real_names(cupy))
    assert isinstance(raised, error) or is_lack_of_gpu(raised, cupy), f"CuPy: {raised!r}"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of CuPy's
@pytest.mark.parametrize("code", ACCEPTED)
def test_the_installed_cupy_accepts_the_same(cupy, code):
    raised = error_of(code, real_names(cupy))
    assert raised is None or is_lack_of_gpu(raised, cupy), f"CuPy: {raised!r}"


def parameters_of(function):
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return None


def both_namespaces(cupy):
    """(path below both libraries, NumPy's namespace, CuPy's)."""
    yield "", np, cupy
    for path in ("linalg", "fft"):
        yield f"{path}.", getattr(np, path), getattr(cupy, path)
    yield "lib.stride_tricks.", np.lib.stride_tricks, cupy.lib.stride_tricks


def public(namespace):
    return getattr(namespace, "__all__", None) or [n for n in dir(namespace) if n[0] != "_"]


def test_the_list_of_missing_names_is_that_of_the_installed_cupy(cupy):
    for path, ours, theirs in both_namespaces(cupy):
        missing = {path + name for name in public(ours) if not hasattr(theirs, name)}
        assert missing <= xp.MISSING, f"add to MISSING: {sorted(missing - xp.MISSING)}"
        listed = {n for n in xp.MISSING if n.rpartition(".")[0] == path.rstrip(".")}
        there = {name for name in listed if hasattr(theirs, name.rpartition(".")[2])}
        assert not there, f"CuPy has them by now: {sorted(there)}"


def test_every_name_that_is_not_imitated_exists_in_cupy(cupy):
    assert not {name for name in xp.NOT_IMITATED if not hasattr(cupy, name)}


def test_every_name_of_the_stand_in_exists_in_cupy(cupy):
    for path, ours, theirs in both_namespaces(cupy):
        for name in public(ours):
            try:
                xp._lookup(path + name)
            except AttributeError:
                continue
            assert hasattr(theirs, name), path + name


def test_the_parameters_are_those_of_the_installed_cupy(cupy):
    table = xp._BY_NAME
    for path, ours, theirs in both_namespaces(cupy):
        for name in public(ours):
            function, real = getattr(ours, name), getattr(theirs, name, None)
            if isinstance(function, (type, np.ufunc)) or not callable(function):
                continue
            full = path + name
            expected = parameters_of(real) if real is not None else None
            if expected is None or "kwargs" in expected or full in xp.NOT_IMITATED:
                continue
            if full in table:
                assert [p.lstrip("*") for p in table[full].split() if p != "*"] == expected, full
            elif full not in xp._SPECIAL:
                lacking = set(parameters_of(function) or []) - set(expected)
                assert not lacking, f"{full}: CuPy has no {lacking}; add it to SIGNATURES"


def test_functions_written_here_take_what_cupy_takes(cupy):
    for name, function in xp._SPECIAL.items():
        real = cupy
        for part in name.split("."):
            real = getattr(real, part, None)
        expected = parameters_of(real) if real is not None else None
        own = parameters_of(function)
        if expected is None or own is None or name in ("einsum", "matmul", "linalg.matmul"):
            continue
        assert own == expected, name


def test_the_methods_are_those_of_the_installed_cupy(cupy):
    listed = {name: signature for signature, names in xp.METHODS.items() for name in names.split()}
    for name, signature in listed.items():
        text = getattr(cupy.ndarray, name).__doc__.splitlines()[0]  # CuPy's own: f(self, a, b=1)
        inside = re.search(r"\(self,?(.*)\)", text)[1]
        expected = [p.split("=")[0].split()[-1] for p in inside.split(",") if p.strip()]
        assert signature.split() == expected, name
    ours = {n for n in vars(xp.ndarray) if not n.startswith("_")}
    assert not {n for n in ours if not hasattr(cupy.ndarray, n)}
    operators = {
        n for n in vars(xp.ndarray) if n.startswith("__") and callable(getattr(xp.ndarray, n))
    }
    # __float__ and the like of Python's own are in both; __imatmul__ and __contains__ in neither
    assert not {n for n in operators if not hasattr(cupy.ndarray, n)}
    assert not hasattr(xp.ndarray, "__imatmul__")
    assert not hasattr(xp.ndarray, "__contains__")


def test_the_ufuncs_are_those_of_the_installed_cupy(cupy):
    for name in public(np):
        if isinstance(getattr(np, name), np.ufunc) and name not in xp.MISSING:
            ours, theirs = getattr(xp, name), getattr(cupy, name)
            if name != "matmul":
                assert (ours.nin, ours.nout) == (theirs.nin, theirs.nout), name
                # CuPy registers few aliases under a name of their own: abs, acos ... are the same
                assert isinstance(theirs, cupy.ufunc), name
    for name in ("add", "subtract", "maximum", "multiply", "minimum", "divide", "bitwise_or"):
        raised = error_of(f"xp.{name}.at(i, 0, 1)", real_names(cupy))
        assert isinstance(raised, NotImplementedError) == (name not in xp.AT_DTYPES), name


# Results -----------------------------------------------------------------------------------------

UNARY = ["exp", "log1p", "sqrt", "tanh", "sin", "abs", "square", "negative", "sign", "isnan"]
BINARY = ["add", "subtract", "multiply", "divide", "maximum", "power", "hypot", "less", "equal"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY + BINARY)
def test_elementwise_functions_give_numpys_numbers(name, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 2.0, (2, 3, 4)).astype(dtype)
    args = (a,) if name in UNARY else (a, b)
    result = getattr(xp, name)(*map(xp.asarray, args))
    expected = getattr(np, name)(*args)
    np.testing.assert_array_equal(host(result), expected)
    assert result.dtype == expected.dtype
    assert not syncs


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize("kwargs", [{}, {"axis": 1}, {"axis": (0, 2), "keepdims": True}])
@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "max", "min", "prod", "any", "all"])
def test_reductions_give_numpys_numbers_as_device_arrays(name, kwargs, dtype):
    a = np.random.default_rng(0).integers(1, 4, (2, 3, 4)).astype(dtype)
    x = xp.asarray(a)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(a, **kwargs)
    for result in (getattr(xp, name)(x, **kwargs), getattr(x, name)(**kwargs)):
        assert type(result) is xp.ndarray
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(host(result), expected)
    assert not syncs


SAME = """
    xp.reshape(x, (4, 6)) | xp.transpose(x, (2, 0, 1)) | xp.moveaxis(x, 0, -1)
    xp.expand_dims(x, 1) | xp.broadcast_to(x[0], (5, 3, 4)) | xp.concatenate([x, y], axis=1)
    xp.stack([x, y], axis=-1) | xp.split(x, 2, axis=2)[1]
    xp.pad(x, ((0, 0), (1, 2), (0, 1)), mode="edge") | xp.flip(x, axis=2) | xp.roll(x, 2, axis=1)
    xp.tile(x, 2) | xp.repeat(x, 3, axis=1) | xp.where(x > 5, x, y) | xp.where(x > 5, x, 0.0)
    xp.clip(x, 2, 7) | xp.matmul(x, y.transpose(0, 2, 1)) | x @ y[0].T
    xp.tensordot(x, y[:, 0], ([0, 2], [0, 1])) | xp.einsum("abc,abd->cd", x, y)
    xp.dot(x[0], y[0].T) | xp.cumsum(x, 1) | xp.einsum(x, [0, 1, 2], [2, 0])
    xp.outer(x[0, 0], y[0, 0]) | xp.sort(-x, axis=1) | xp.argsort(-x, axis=2)
    xp.argmax(x, axis=1) | xp.argmin(x) | xp.take(x, [0, 2], axis=1)
    xp.take_along_axis(x, xp.argsort(-x, axis=1), 1) | xp.searchsorted(x[0, 0], y[0, 0])
    xp.tril(x) | xp.diag(x[0, 0]) | xp.trace(x) | xp.diagonal(x) | xp.full((2, 3), 4.0)
    xp.full_like(x, 4) | xp.zeros_like(x.T) | xp.arange(3, 9, 2) | xp.linspace(0, 1, 7)
    xp.eye(3, 4) | xp.meshgrid(x[0, 0], y[0, 0], indexing="ij")[0] | xp.unique(x)
    xp.nonzero(x > 5)[1] | xp.count_nonzero(x) | xp.bincount(i) | xp.isin(i, i[:1])
    xp.fft.rfft2(x) | xp.fft.ifft(x) | xp.linalg.norm(x, axis=(1, 2))
    xp.linalg.inv(xp.eye(3) * 2) | xp.linalg.eigh(xp.eye(3))[0]
    xp.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(1, 2))
    xp.lib.stride_tricks.as_strided(x, (2, 2, 3), (48, 16, 4)) | xp.median(x) | xp.nansum(x)
    xp.nan_to_num(x / 0.0) | xp.round(x / 3, 1) | xp.allclose(x, x) | xp.array_equal(x, y)
    xp.add.reduce(x, axis=None) | xp.add.accumulate(x, axis=1) | xp.add.outer(x[0, 0], y[0, 0])
    xp.modf(x / 2)[0] | divmod(x, 4)[1] | x.swapaxes(0, 2) | x.ravel(order="F") | x.T.flatten()
    x.astype(np.float64) | x.astype(np.int32) / 2 | x.view(np.int32) | x.round() | x.cumsum(1)
    x.repeat(2) | x.take(i, 1) | x.argsort(axis=0) | x.dot(y[0].T) | x.clip(1, 3) | x.real
    x.conj() | xp.put_along_axis(x, xp.argsort(-x, axis=1), 1.0, 1) | xp.copyto(x, y)
    xp.add.at(x, i, 1.0) | xp.average(x, weights=y) | xp.ravel_multi_index((i, i), (3, 3))
    xp.indices((2, 3)) | xp.delete(x[0, 0], 1) | xp.tri(3) | x.mT | xp.moveaxis(x, -1, 0)
    xp.atleast_2d(x[0, 0]) | -x | abs(-x) | x // 3 | x % 3 | 2 ** x | x ** 2 | 1 / y | i << 1
    i & 1 | ~(x > 3) | (x > 3) ^ (y > 9) | xp.asarray(i, np.float32) | xp.array([[1, 2]])
    xp.ascontiguousarray(x.T) | xp.copy(x.T)
"""  # fmt: skip


@pytest.mark.parametrize("code", [c.strip() for c in re.split(r"\||\n", SAME) if c.strip()])
def test_a_call_gives_numpys_result(code):
    a = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    numpy_names = {"xp": np, "np": np, "x": a, "y": a * 2 + 1, "i": np.array([0, 1, 1])}
    names = {k: xp.asarray(v) if isinstance(v, np.ndarray) else v for k, v in numpy_names.items()}
    names["xp"] = xp
    with np.errstate(all="ignore"):
        expected = run(code, numpy_names)
    result = run(code, names)
    if expected is None:  # something changed in place
        assert result is None
        np.testing.assert_array_equal(host(names["x"]), numpy_names["x"])
        return
    assert type(result) is xp.ndarray
    np.testing.assert_array_equal(host(result), expected)
    assert result.dtype == np.asarray(expected).dtype
    assert result.shape == np.shape(expected)


def test_python_scalars_are_weak_and_numpy_scalars_are_not():
    x = xp.ones(3, dtype=np.float32)
    assert (x * 2.5).dtype == np.float32
    assert (x * np.float64(2.5)).dtype == np.float64
    assert (x.astype(np.float16) + 1).dtype == np.float16
    assert (x * xp.asarray(2.0)).dtype == np.float64


def test_in_place_operators_change_the_array_itself_and_keep_its_dtype():
    x = xp.arange(6, dtype=np.float32).reshape(2, 3)
    same, row = x, x[0]
    x += 1.0
    x *= xp.asarray(np.float64(2.0))
    x[1] -= 1
    assert x is same
    assert x.dtype == np.float32
    np.testing.assert_array_equal(host(x), [[2, 4, 6], [7, 9, 11]])
    np.testing.assert_array_equal(host(row), [2, 4, 6])
    with pytest.raises(TypeError):
        xp.arange(3).__itruediv__(2)


def test_out_arrays_are_filled_and_returned():
    x, out = xp.ones((2, 3)), xp.empty((2, 3))
    assert xp.add(x, x, out=out) is out
    assert xp.exp(x, out) is out
    assert xp.sum(x, axis=0, out=out[0]).base is out
    square = xp.empty((2, 2))
    assert xp.matmul(x, x.T, out=square) is square
    assert x.clip(0, 1, out=x) is x
    np.testing.assert_array_equal(host(square), np.full((2, 2), 3.0))


def test_elementwise_results_are_c_contiguous_whatever_the_operands_are():
    x = xp.ones((3, 4)).T
    assert not x.flags.c_contiguous
    for result in (x + x, xp.exp(x), -x, xp.where(x > 0, x, 0), x[:, xp.asarray([0, 2])]):
        assert result.flags.c_contiguous
    assert x.copy().flags.c_contiguous
    assert xp.zeros_like(x).strides == x.strides
    assert x.astype(np.float32).flags.f_contiguous


def test_arithmetic_gives_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zero = xp.zeros(3, dtype=np.float32)
        1.0 / zero, xp.log(zero), zero / zero, xp.arange(3) // 0, xp.asarray([1e30]).astype("i4")


def test_attributes_are_those_of_the_array():
    x = xp.zeros((2, 3), dtype=np.float16)
    assert (x.shape, x.dtype, x.ndim, x.size, x.nbytes) == ((2, 3), np.float16, 2, 6, 12)
    assert (x.strides, x.itemsize, x.T.shape, x.device.id) == ((6, 2), 2, (3, 2), 0)
    assert x.base is None
    assert x.T.base is x
    assert x[0].base is x
    assert x[0][1:].reshape(1, 2).base is x
    assert x.T.reshape(-1).base is None
    assert xp.transpose(x).base is x
    assert isinstance(x, xp.ndarray)
    assert not isinstance(x, np.ndarray)
    assert xp.get_array_module(1, x) is xp
    assert xp.get_array_module(np.ones(1)) is np


def test_asarray_copies_from_the_host_and_not_from_the_device():
    h = np.ones(3)
    x = xp.asarray(h)
    h[0] = 5.0
    assert host(x)[0] == 1.0
    assert xp.asarray(x) is x
    assert xp.array(x) is not x
    assert xp.asarray(x, np.float64) is x
    assert xp.asnumpy(h) is h
    assert not syncs
    assert xp.asarray(np.arange(3, dtype=">i4")).dtype.isnative
    for wrong in (np.array(["a"]), [None], np.ones(1, np.longdouble), np.array("2020", "M8[D]")):
        with pytest.raises(ValueError, match="Unsupported dtype"):
            xp.asarray(wrong)


def test_other_classes_may_take_over_an_operator():
    class Tensor:
        __array_priority__ = 1000

        def __radd__(self, other):
            return "mine"

        def __eq__(self, other):
            return "equal"

    assert xp.ones(2) + Tensor() == "mine"
    assert (xp.ones(2) == Tensor()) == "equal"
    assert host(xp.ones(2) == None).tolist() == [False, False]  # noqa: E711
    assert host(xp.ones(2) != None).tolist() == [True, True]  # noqa: E711


def test_an_array_can_be_pickled_and_copied():
    x = xp.arange(6).reshape(2, 3)
    with allow_sync():
        again = pickle.loads(pickle.dumps(x))
    assert type(again) is xp.ndarray
    np.testing.assert_array_equal(host(again), host(x))
    for duplicate in (copy.copy(x), copy.deepcopy(x), x.copy()):
        assert not xp.shares_memory(duplicate, x)
    assert not syncs


def test_dlpack_shares_memory_on_the_device_and_copies_to_the_host():
    class Holder:
        def __init__(self, a):
            self.__dlpack__, self.__dlpack_device__ = a.__dlpack__, a.__dlpack_device__

    x = xp.arange(4)
    for source in (x, Holder(x)):
        other = xp.from_dlpack(source)
        assert xp.shares_memory(other, x)
    with pytest.raises(BufferError):
        np.from_dlpack(x)
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        other[0] = 7
        assert host(x)[0] == 7
        copied = np.from_dlpack(x, device="cpu")
        assert type(copied) is np.ndarray
        assert [sync.kind for sync in syncs] == ["wait"]


def test_an_array_is_freed_with_its_last_reference():
    x = xp.ones(3)
    gone = weakref.ref(x)
    total = x.sum()
    del x
    gc.collect()
    assert gone() is None
    assert host(total) == 3.0


# Indexing ----------------------------------------------------------------------------------------


def random_key(rng, shape):
    """A key for an array of this shape: basic, advanced, one mask, new axes, an ellipsis."""
    parts, left = [], list(shape)
    kinds = ["int", "slice", "slice", "new", "ellipsis", "array", "array", "list"]
    index_shape = tuple(rng.integers(1, 4, rng.integers(0, 3)))
    if rng.random() < 0.3:
        # a mask counts as an array of as many indices as it has True, and must fit the others
        kinds, index_shape = [*kinds, "mask", "mask"], ()
    while left and rng.random() < 0.85:
        kind = rng.choice(kinds)
        size = left[0]
        if kind == "new":
            parts.append(None)
        elif kind == "ellipsis":
            parts.append(...)
            left = left[int(rng.integers(0, len(left) + 1)) :]
            kinds.remove("ellipsis")
        elif kind == "slice" or (size == 0 and kind != "mask"):
            bounds = [None if rng.random() < 0.4 else int(rng.integers(-5, 6)) for _ in range(2)]
            parts.append(slice(*bounds, rng.choice([None, 1, 2, -1, -2])))
            left = left[1:]
        elif kind == "mask":
            dims = left[: int(rng.integers(1, len(left) + 1))]
            parts.append(rng.random(dims) < 0.5)
            left = left[len(dims) :]
            kinds = [k for k in kinds if k != "mask"]
        elif kind == "int":
            parts.append(int(rng.integers(-size, size)))
            left = left[1:]
        else:
            index = rng.integers(-size, size, index_shape, dtype=rng.choice(["i4", "i8", "i1"]))
            parts.append(index.tolist() if kind == "list" and index_shape else index)
            left = left[1:]
    if any(part is ... for part in parts):
        parts += [slice(None)] * len(left)  # else the dimensions would shift to the ellipsis
    return parts[0] if len(parts) == 1 and rng.random() < 0.7 else tuple(parts)


def on_device(key, rng):
    """The same key with some of its arrays on the device."""
    if isinstance(key, tuple):
        return tuple(on_device(part, rng) for part in key)
    if isinstance(key, np.ndarray) and rng.random() < 0.8:
        return xp.asarray(key)
    return key


def is_fancy(key):
    parts = key if isinstance(key, tuple) else (key,)
    return any(isinstance(part, (np.ndarray, list)) for part in parts)


def test_reading_through_six_thousand_random_keys_gives_what_numpy_gives():
    rng = np.random.default_rng(0)
    kinds = {"view": 0, "copy": 0, "refused": 0}
    for _ in range(6000):
        shape = tuple(rng.integers(0, 5, rng.integers(0, 5)))
        a = rng.random(shape)
        x, key = xp.asarray(a), random_key(rng, shape)
        try:
            expected = a[key]
        except (IndexError, ValueError):
            kinds["refused"] += 1
            with pytest.raises((IndexError, ValueError)):
                x[on_device(key, rng)]
            continue
        result = x[on_device(key, rng)]
        assert type(result) is xp.ndarray, key
        assert result.shape == np.shape(expected), key
        np.testing.assert_array_equal(host(result), expected)
        if is_fancy(key):
            kinds["copy"] += 1
            assert result.base is None
            assert result.flags.c_contiguous
            assert not xp.shares_memory(result, x)
        else:
            kinds["view"] += 1
            assert result.base is x
            if result.size:
                assert xp.shares_memory(result, x), key
    assert min(kinds["view"], kinds["copy"]) > 1500, kinds
    assert kinds["refused"] < 600, kinds


@pytest.mark.parametrize("value", ["scalar", "array", "row", "host"])
def test_writing_through_random_keys_does_what_numpy_does(value):
    rng = np.random.default_rng(1)
    written = 0
    for _ in range(1500):
        shape = tuple(rng.integers(0, 5, rng.integers(0, 5)))
        a = rng.random(shape)
        x, key = xp.asarray(a), random_key(rng, shape)
        try:
            part = a[key]
        except (IndexError, ValueError):
            with pytest.raises((IndexError, ValueError)):
                x[on_device(key, rng)] = 0.0
            continue
        wanted = {"scalar": (), "row": np.shape(part)[-1:]}.get(value, np.shape(part))
        source = np.asarray(rng.random(wanted))
        if value == "host" and not is_fancy(key) and source.ndim:
            with pytest.raises(ValueError, match="fill"):
                x[on_device(key, rng)] = source
            continue
        places = np.arange(a.size).reshape(shape)[key]
        a[key] = source
        x[on_device(key, rng)] = source if value == "host" else xp.asarray(source)
        written += 1
        if np.unique(places).size == places.size or not source.ndim:
            np.testing.assert_array_equal(host(x), a)
        else:  # some element is named twice: any of its values may have won
            assert np.isin(host(x).ravel(), [*a.ravel(), *source.ravel()]).all()
    assert written > 500


def test_index_arrays_out_of_range_wrap_round_silently():
    rng = np.random.default_rng(2)
    a = rng.random((3, 4, 5))
    x = xp.asarray(a)
    for _ in range(300):
        axis = int(rng.integers(0, 3))
        index = rng.integers(-30, 30, rng.integers(1, 4))
        key = (slice(None),) * axis
        inside = index % a.shape[axis]
        np.testing.assert_array_equal(host(x[(*key, xp.asarray(index))]), a[(*key, inside)])
        np.testing.assert_array_equal(host(x.take(xp.asarray(index), axis)), a.take(inside, axis))
    assert host(x[xp.asarray(7), xp.asarray(-9)]).tolist() == a[1, 3].tolist()
    small = xp.asarray(np.arange(200))[xp.asarray(np.array([255], np.uint8))]
    assert host(small).tolist() == [55]
    with pytest.raises(IndexError):
        x[3]


def test_an_element_is_a_view_that_can_be_written_through():
    x = xp.zeros((2, 3))
    corner = x[1, 2]
    corner += 5.0
    x[0][1] = 3.0
    assert corner.shape == ()
    np.testing.assert_array_equal(host(x), [[0, 3, 0], [0, 0, 5]])


def test_of_several_values_for_one_element_any_may_win():
    index = xp.asarray(np.arange(1000) % 2)
    winners = set()
    for _ in range(5):
        x = xp.zeros(2)
        x[index] = xp.arange(1000.0)
        winners.add(tuple(host(x).tolist()))
    assert len(winners) > 1
    assert all(first % 2 == 0 and second % 2 == 1 for first, second in winners)


def test_add_at_counts_duplicates_and_augmented_assignment_does_not():
    index = xp.asarray([0, 0, 0, 1])
    x, y = xp.zeros(3, dtype=np.float32), xp.zeros(3, dtype=np.float32)
    xp.add.at(x, index, 1.0)
    y[index] += 1.0
    assert host(x).tolist() == [3, 1, 0]
    assert host(y).tolist() == [1, 1, 0]


# Waits and uploads -------------------------------------------------------------------------------

WAITS = {
    "float(s)": "float()",
    "int(s)": "int()",
    "bool(s)": "bool()",
    "complex(s)": "complex()",
    "s.item()": ".item()",
    "x.get()": ".get()",
    "xp.asnumpy(x)": ".get()",
    "x.tolist()": ".tolist()",
    "x.tobytes()": ".tobytes()",
    "str(x)": "str()",
    "repr(x)": "repr()",
    "f'{s:.2f}'": "format()",
    "'%f' % s": "float()",
    "pickle.dumps(x)": "pickling",
    "not s": "bool()",
    "1 if s > 1 else 0": "bool()",
    "s > 1 and s < 5": "bool()",
    "1.0 in v": "bool()",
    "max(v)": "bool()",
    "x[m]": "boolean mask",
    "x[rows]": "boolean mask",
    "x[:, m[0, :, 0]]": "boolean mask",
    "x[m] = 0.0": "boolean mask",
    "xp.add.at(x, m, 1.0)": "boolean mask",
    "xp.nonzero(m)": "nonzero",
    "m.nonzero()": "nonzero",
    "xp.where(m)": "nonzero",
    "xp.argwhere(m)": "argwhere",
    "xp.flatnonzero(m)": "flatnonzero",
    "xp.unique(v)": "unique",
    "xp.bincount(i)": "bincount",
    "xp.extract(m, x)": "extract",
    "xp.compress(rows, x, axis=0)": "compress",
    "xp.histogram(v)": "histogram",
    "xp.nanmax(x)": "nanmax",
    "xp.unravel_index(i, (2, 3))": "unravel_index",
    "xp.average(v, weights=v)": "average with weights",
    "xp.linalg.pinv(square)": "linalg.pinv",
    "xp.cuda.get_current_stream().synchronize()": "Stream.synchronize()",
    "x.device.synchronize()": "Device.synchronize()",
}

UPLOADS = [
    "x[[0, 1]]",
    "x[np.array([0, 1])]",
    "x[np.array(1)]",
    "x.take([0, 1], 1)",
    "xp.take(x, np.array([0, 1]))",
    "x[[0, 1]] = 0.0",
    "x[i] = h[0]",
    "x[i] = [1.0, 2.0, 3.0, 4.0]",
    "xp.add.at(v, i, np.ones(3))",
    "xp.add.at(v, [0, 1], 1.0)",
    "x.put([0, 1], v[:2])",
]

QUIET = [
    "len(x)",
    "list(v)",
    "a, b, c, d = v",
    "x is y",
    "x.shape",
    "x.sum()",
    "x.argmax()",
    "s > 1",
    "xp.array_equal(x, y)",
    "xp.allclose(x, y)",
    "xp.count_nonzero(m)",
    "xp.isfinite(x).all()",
    "x[i]",
    "x[one]",
    "x[i] = 0.0",
    "x[i] = v",
    "x[0] = s",
    "x[0] = h0",
    "x.fill(s)",
    "xp.full((2, 2), s)",
    "xp.clip(x, s, None)",
    "xp.take_along_axis(x, x.argmax(1, keepdims=True), 1)",
    "xp.put_along_axis(x, x.argmax(1, keepdims=True), 0.0, 1)",
    "xp.where(m, x, 0.0)",
    "xp.copyto(x, y, where=m)",
    "xp.putmask(x, m, 0.0)",
    "xp.add.at(v, i, 1.0)",
    "xp.asarray(h)",
    "xp.searchsorted(v, v)",
    "xp.digitize(v, v)",
    "xp.isin(v, v)",
    "xp.sort(x)",
    "xp.median(x)",
    "xp.linalg.norm(x)",
    "xp.average(x)",
    "xp.shares_memory(x, y)",
    "copy.deepcopy(x)",
    "bool(x[:0])",
    "x.get(blocking=False)",
]


@pytest.mark.parametrize(("code", "what"), WAITS.items())
def test_a_hidden_wait_is_logged(code, what):
    names = prepared(xp.asarray, xp)
    syncs.clear()
    run(code, names)
    assert {(sync.kind, sync.what) for sync in syncs} == {("wait", what)}


@pytest.mark.parametrize("code", UPLOADS)
def test_a_hidden_upload_is_logged(code):
    names = prepared(xp.asarray, xp)
    run(code, names)
    assert {sync.kind for sync in syncs} == {"upload"}


@pytest.mark.parametrize("code", QUIET)
def test_what_does_not_wait_is_not_logged(code):
    names = prepared(xp.asarray, xp)
    run(code, names)
    assert not syncs


@pytest.mark.gpu
@pytest.mark.skipif(PRETENDING, reason="compares the stand-in with CuPy itself")
def test_the_real_gpu_waits_exactly_there(cupy):
    import cupyx

    differing = []
    for code in [*WAITS, *QUIET]:
        if "synchronize()" in code:
            continue  # CuPy's own detector does not see a stream's
        names = prepared(cupy.asarray, cupy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with cupyx.allow_synchronize(False):
                raised = error_of(code, names)
        if isinstance(raised, cupyx.DeviceSynchronized) != (code in WAITS):
            differing.append((code, raised))
    assert not differing


def test_a_wait_is_logged_with_the_line_that_caused_it():
    x = xp.ones(())

    def log_loss():
        return float(x)  # the culprit

    log_loss()
    (sync,) = syncs
    number = log_loss.__code__.co_firstlineno + 1
    assert sync.where.endswith(f"test_strict_cupy.py:{number}")
    assert sync.line == "return float(x)  # the culprit"
    assert sync.callers[0].endswith(f"test_strict_cupy.py:{number + 2}")
    assert str(sync).startswith(f"wait: float() at {sync.where}: return float(x)")


def test_numpys_own_frames_are_not_blamed():
    np.unique(xp.ones(3))
    (sync,) = syncs
    assert sync.line == "np.unique(xp.ones(3))"


def test_a_block_without_waits_passes():
    with forbid_sync() as noticed:
        x = xp.maximum(xp.ones((5, 4)) @ xp.ones((4, 3)), 0.0)
        x -= 0.1 * (2.0 * x / x.size)
    assert not noticed


def test_a_block_with_waits_fails_on_leaving_and_names_every_line():
    x = xp.ones(3)

    def step():
        if x.sum() > 1:
            x[x > 0.5] = 0.0
        x[[0, 1]] = 1.0

    with pytest.raises(DeviceSynchronized) as caught, forbid_sync():
        step()
    text = str(caught.value)
    assert "if x.sum() > 1:" in text
    assert "x[x > 0.5] = 0.0" in text
    assert "x[[0, 1]] = 1.0" in text


def test_intended_waits_pass_unless_the_block_is_to_have_none_at_all():
    x = xp.ones(())
    with forbid_sync(), allow_sync():
        float(x)
    assert not syncs
    raises = pytest.raises(DeviceSynchronized, match=r"float\(\)")
    with raises, forbid_sync(explicit=True), allow_sync():
        float(x)
    with raises, allow_sync(), forbid_sync(explicit=True):
        float(x)


def test_of_two_nested_blocks_each_sees_what_happens_inside_it():
    x = xp.ones(())

    def step():
        with forbid_sync() as inner:
            x.sum()
        float(x)
        assert not inner

    with pytest.raises(DeviceSynchronized), forbid_sync() as outer:
        step()
    assert len(outer) == 1


def test_uploads_can_be_permitted_where_only_waits_matter():
    x = xp.ones(3)
    with forbid_sync(uploads=False):
        x[[0, 1]]
    with pytest.raises(DeviceSynchronized), forbid_sync():
        x[[0, 1]]


def test_an_error_inside_the_block_is_not_hidden_by_the_waits():
    def step():
        float(xp.ones(()))
        raise KeyError

    with pytest.raises(KeyError), forbid_sync():
        step()
    assert not xp._listeners


def test_the_pretended_gpu_is_number_zero():
    assert xp.cuda.runtime.getDeviceCount() == 1
    with xp.cuda.Device(0) as device:
        assert xp.zeros(1).device == device
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        xp.cuda.Device(1)
