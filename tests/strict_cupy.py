"""A strict stand-in for CuPy 14: code written for a GPU runs on NumPy, under CuPy's rules.

Pass this module as `xp` wherever the code takes an array library. Its arrays hold NumPy arrays and
are deliberately not NumPy arrays. Three things happen to them that NumPy alone would not show:

* What CuPy refuses is refused with CuPy's exception types: a device array given to NumPy, host and
  device arrays in one operation, names and keywords that NumPy has and CuPy has not.
* What CuPy does silently, and differently, is imitated: reductions and `x[0]` give 0-d device
  arrays, out-of-range index arrays wrap round, duplicates in `a[index] = values` land in any order,
  elementwise results are C-contiguous, floating-point warnings do not exist.
* Each hidden wait for the device and each hidden upload is logged in `syncs` with its line:

      with forbid_sync():              # raises DeviceSynchronized on leaving, naming every line
          loss = training_step()
      with allow_sync():               # a wait that is wanted
          print(loss.item())

In some places it is stricter than CuPy. Host arrays given to functions raise even where CuPy would
compute on the host or upload without a word; writing to a broadcast view raises, where CuPy
corrupts; a float as an index raises, where CuPy truncates.

Not imitated: `flat`, `r_`, `mgrid` and other rarities, the order of float sums, singular matrices
(NumPy raises), bfloat16, streams, kernels, files, cupyx, random numbers (CuPy's differ from
NumPy's, so draw them on the host or by an own counter-based kernel).

Sources: CuPy 14.2's Python files, its documentation, and real CuPy arrays without memory, which
check their arguments on a machine without a GPU too: test_strict_cupy.py keeps comparing.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import linecache
import os
import re
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

# --- The log of waits and uploads ----------------------------------------------------------------


class DeviceSynchronized(RuntimeError):
    """The host waited for the device, or sent it something, where that was forbidden."""


class Sync(NamedTuple):
    """One moment at which host and device met without being asked to.

    Attributes:
        kind: "wait" (the host stops until the device is done) or "upload" (host data travels).
        what: the operation, as in "float()" or "boolean mask".
        where: file and line number of the caller, the nearest frame outside this file and NumPy.
        line: the text of that line.
        callers: where that line was called from, nearest first.
    """

    kind: str
    what: str
    where: str
    line: str
    callers: tuple[str, ...]

    def __str__(self) -> str:
        via = f"  (from {', '.join(self.callers)})" if self.callers else ""
        return f"{self.kind}: {self.what} at {self.where}: {self.line}{via}"


syncs: list[Sync] = []  # every hidden wait and upload so far; clear it as you like

_listeners: list[_Listener] = []  # the forbid_sync() that are open
_thread = threading.local()  # .allowing: how many allow_sync() are open in this thread
_CALLERS = 4  # frames kept beyond the nearest one
_SKIPPED = ("numpy", "contextlib", "copy", "pickle")  # never the culprit


class _Listener(NamedTuple):
    noticed: list[Sync]
    uploads: bool
    explicit: bool


@contextlib.contextmanager
def allow_sync() -> Iterator[None]:
    """Keep the waits of this block, in this thread, out of `syncs`: they are intended."""
    _thread.allowing = getattr(_thread, "allowing", 0) + 1
    try:
        yield
    finally:
        _thread.allowing -= 1


@contextlib.contextmanager
def forbid_sync(*, uploads: bool = True, explicit: bool = False) -> Iterator[list[Sync]]:
    """Raise on leaving if the block waited for the device, naming each line that did.

    Args:
        uploads: whether hidden uploads count too.
        explicit: whether waits inside allow_sync() count too.

    Yields:
        The list of what was noticed, filled while the block runs.

    Raises:
        DeviceSynchronized: there was something to notice.
    """
    listener = _Listener([], uploads, explicit)
    _listeners.append(listener)
    try:
        yield listener.noticed
    finally:
        # by identity: two open blocks may hold equal lists
        _listeners[:] = [other for other in _listeners if other is not listener]
    if listener.noticed:
        listing = "\n  ".join(str(sync) for sync in listener.noticed)
        raise DeviceSynchronized(
            f"{len(listener.noticed)} hidden meeting(s) of host and device:\n  {listing}"
        )


def _log(kind: str, what: str) -> None:
    """Note a wait or an upload, with the line of whoever caused it."""
    intended = getattr(_thread, "allowing", 0) > 0
    listeners = [
        listener
        for listener in _listeners
        if (listener.explicit or not intended) and (listener.uploads or kind == "wait")
    ]
    if intended and not listeners:
        return
    frame: types.FrameType | None = sys._getframe(1)
    places: list[tuple[str, int]] = []
    while frame is not None and len(places) <= _CALLERS:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] in ("_pytest", "pluggy"):
            break
        if module != __name__ and module.partition(".")[0] not in _SKIPPED:
            places.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    names = [f"{_short(file)}:{number}" for file, number in places] or ["?"]
    line = linecache.getline(*places[0]).strip() if places else ""
    sync = Sync(kind, what, names[0], line, tuple(names[1:]))
    if not intended:
        syncs.append(sync)
    for listener in listeners:
        listener.noticed.append(sync)


def _short(file: str) -> str:
    """A path relative to the current folder where it lies below it."""
    here = os.getcwd() + os.sep
    return file[len(here) :] if file.startswith(here) else file


# --- What CuPy 14.2 has not ----------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Names of NumPy that CuPy lacks. Compared with both libraries by a test.
MISSING = _words(
    """
    False_ ScalarType True_ __array_namespace_info__ asmatrix block bmat busday_count busday_offset
    busdaycalendar bytes_ char character clongdouble complex256 core ctypeslib datetime64
    datetime_as_string datetime_data dtypes einsum_path emath errstate f2py flexible float128
    frompyfunc fromregex geomspace get_include getbufsize geterr geterrcall histogram_bin_edges info
    insert is_busday isnat little_endian longdouble ma matrix matvec memmap nanpercentile
    nanquantile ndenumerate nditer nested_iters object_ polyder polydiv polyint rec recarray record
    sctypeDict setbufsize seterr seterrcall show_runtime spacing str_ strings test timedelta64
    typecodes unstack vecdot vecmat void linalg.diagonal linalg.matrix_norm linalg.multi_dot
    linalg.outer linalg.svdvals linalg.tensordot linalg.trace linalg.vecdot linalg.vector_norm
    """
)

# Names of CuPy that are not imitated: callbacks, files, text, polynomials, whole sub-packages.
NOT_IMITATED = _words(
    """
    DataSource apply_along_axis apply_over_axes array2string array_repr array_str asarray_chkfinite
    bartlett base_repr binary_repr blackman broadcast c_ flatiter format_float_positional
    format_float_scientific frombuffer fromfile fromfunction fromiter fromstring genfromtxt
    get_printoptions hamming hanning index_exp iterable kaiser load loadtxt mask_indices mgrid
    ndindex ogrid piecewise poly poly1d polyadd polyfit polymul polynomial polysub polyval
    printoptions r_ random require roots s_ save savetxt savez savez_compressed set_printoptions
    show_config testing typename typing vectorize
    """
)

# CuPy's parameters, where NumPy has others (the test compares every function with both libraries).
# A name after * is keyword-only; a name beginning with * takes the remaining positional arguments.
SIGNATURES = {
    "a axis out keepdims": "all amax amin any max min nanmax nanmin",
    "a axis dtype out keepdims": "mean nanmean nanprod nansum prod sum",
    "a axis dtype out ddof keepdims": "nanstd nanvar std var",
    "a axis": "count_nonzero flip",
    "a q axis out overwrite_input method keepdims * interpolation": "percentile quantile",
    "a kth axis": "argpartition partition",
    "a axis kind": "argsort sort",
    "keys": "lexsort",
    "start stop step dtype": "arange",
    "start stop num endpoint retstep dtype axis": "linspace",
    "shape dtype order": "empty ones zeros",
    "shape fill_value dtype order": "full",
    "prototype dtype order subok shape": "empty_like",
    "a dtype order subok shape": "ones_like zeros_like",
    "a fill_value dtype order subok shape": "full_like",
    "N M k dtype order": "eye",
    "N M k dtype": "tri",
    "n dtype": "identity",
    "dimensions dtype": "indices",
    "obj dtype copy order subok ndmin * blocking": "array",
    "a dtype order * copy blocking": "asanyarray asarray",
    "a dtype": "ascontiguousarray asfortranarray",
    "x dtype * copy": "astype",
    "a order": "copy",
    "a newshape order * copy": "reshape",
    "array shape": "broadcast_to",
    "*args": "broadcast_arrays",
    "a": "fliplr flipud linalg.cholesky linalg.matrix_transpose",
    "a k axes": "rot90",
    "filt trim": "trim_zeros",
    "a a_min a_max out": "clip",
    "tup axis out * dtype casting": "concat concatenate stack",
    "arr indices axis": "delete",
    "arr to_end to_begin": "ediff1d",
    "condition a": "extract",
    "a indices axis out": "take",
    "a indices axis": "take_along_axis",
    "indices dims order": "unravel_index",
    "element test_elements assume_unique invert": "isin",
    "arr1 arr2 assume_unique return_indices": "intersect1d",
    "arr1 arr2": "union1d",
    "ar return_index return_inverse return_counts axis * equal_nan": "unique",
    "a axis bitorder": "unpackbits",
    "x bins range density weights": "histogram",
    "x y bins range weights density": "histogram2d",
    "sample bins range weights density": "histogramdd",
    "a y rowvar bias ddof * dtype": "corrcoef",
    "a y rowvar bias ddof fweights aweights * dtype": "cov",
    "*args axes axis keepdims casting dtype signature order out": "linalg.matmul",
    "M n": "linalg.matrix_power",
    "M tol": "linalg.matrix_rank",
    "a rcond": "linalg.pinv",
    "a full_matrices compute_uv": "linalg.svd",
    "a n axis norm": "fft.fft fft.hfft fft.ifft fft.ihfft fft.irfft fft.rfft",
    "a s axes norm": "fft.fft2 fft.fftn fft.ifft2 fft.ifftn fft.irfft2 fft.irfftn fft.rfft2 "
    "fft.rfftn",
    "n d": "fft.fftfreq fft.rfftfreq",
    "x shape strides": "lib.stride_tricks.as_strided",
}

# Methods of cupy.ndarray that need no more than NumPy's own, with CuPy's parameters.
METHODS = {
    "axis out keepdims": "all any max min",
    "axis dtype out keepdims": "mean prod sum",
    "axis dtype out ddof keepdims": "std var",
    "axis out dtype keepdims": "argmax argmin",
    "axis dtype out": "cumprod cumsum",
    "kth axis": "argpartition partition",
    "axis kind": "argsort sort",
    "min max out": "clip",
    "condition axis out": "compress",
    "choices out mode": "choose",
    "": "conj conjugate nonzero",
    "offset axis1 axis2": "diagonal",
    "offset axis1 axis2 dtype out": "trace",
    "b out": "dot",
    "order": "flatten ravel",
    "decimals out": "round",
    "v side sorter": "searchsorted",
    "axis": "squeeze",
    "axis1 axis2": "swapaxes",
    "*axes": "transpose",
}

# ufunc.at exists for these ufuncs, on these dtypes.
AT_DTYPES = {
    "add": "int32 int64 float16 float32 float64 uint32 uint64",
    "subtract": "int32 uint32",
    "maximum": "int32 int64 float32 float64 uint32 uint64",
    "minimum": "int32 int64 float32 float64 uint32 uint64",
    "bitwise_and": "int32 int64 uint32 uint64",
    "bitwise_or": "int32 int64 uint32 uint64",
    "bitwise_xor": "int32 int64 uint32 uint64",
}

# Functions and methods that read their result's size, or a check, back from the device.
SYNCING = _words(
    """
    argwhere bincount choose compress delete extract flatnonzero histogram histogram2d histogramdd
    intersect1d nanmax nanmin nonzero place setdiff1d setxor1d tril_indices tril_indices_from
    trim_zeros triu_indices triu_indices_from union1d unique unique_all unique_counts unique_inverse
    unique_values unravel_index linalg.cond linalg.lstsq linalg.matrix_rank linalg.pinv
    """
)

_DTYPES = frozenset("?bBhHiIlLqQefdFD")  # the dtype characters of CuPy's arrays
_SCALARS = (bool, int, float, complex, np.generic)

# Parameters that describe an operation rather than take part in it: numbers, shapes, flags, names.
# A device array among them is an error; everything else must be on the device.
_DESCRIPTIONS = _words(
    """
    N UPLO assume_unique atol axes axis axis1 axis2 axisa axisb axisc bias bitorder blocking casting
    compute_uv constant_values copy d ddof decimals deg destination dimensions dims discont dtype dx
    end_values endpoint equal_nan full_matrices increasing indexing indices_or_sections
    interpolation invert k keepdims kind kth method minlength mode n ndim ndmin new_shape newshape
    norm num offset optimize ord order overwrite_input pad_width period q range rcond reflect_type
    repeats reps retstep return_counts return_index return_indices return_inverse returned rowvar
    rtol s shape shift side signature source start stat_length step stop strides subok tol trim
    window_shape writeable
    """
)
_KEEP_ORDER = _words("asfortranarray empty_like ones_like zeros_like")


def _unsupported(value: Any) -> TypeError:
    return TypeError(f"Unsupported type {type(value)}")


class MemoryPointer(NamedTuple):
    """The address of an array, here on the host."""

    ptr: int
    device_id: int = 0

    def copy_from_host_async(self, mem, size, stream=None):
        """A copy that `stream` (of strict_streams.py) makes when it must; NaN until then."""
        ctypes.memset(self.ptr, 0xFF, size)
        address = mem.value if isinstance(mem, ctypes.c_void_p) else mem
        stream.run(lambda: ctypes.memmove(self.ptr, address, size), "copy")


# --- The array -----------------------------------------------------------------------------------


class ndarray:
    """An array on the pretended device: what cupy.ndarray offers, and nothing else.

    Args:
        shape, dtype, strides, order: as for numpy.ndarray; the content is not initialised.
        memptr: must be None.
    """

    __slots__ = ("__weakref__", "_a", "_parent")

    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C") -> None:
        if memptr is not None:
            raise NotImplementedError("strict_cupy has no device pointers")
        dtype = _checked(np.dtype(dtype))
        self._a = np.ndarray(_description(shape), dtype, strides=strides, order=order)
        self._parent: ndarray | None = None

    # Attributes

    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    nbytes = property(lambda self: self._a.nbytes)
    itemsize = property(lambda self: self._a.itemsize)
    strides = property(lambda self: self._a.strides)
    base = property(lambda self: self._parent, doc="The array that owns the memory, or None.")
    T = property(lambda self: _wrap(self._a.T, self))
    mT = property(lambda self: _wrap(self._a.mT, self))
    real = property(lambda self: _wrap(self._a.real, self))
    imag = property(lambda self: _wrap(self._a.imag, self))
    flags = property(lambda self: Flags(self._a.flags))
    device = property(lambda self: Device(0))

    @property
    def shape(self):
        return self._a.shape

    @shape.setter
    def shape(self, shape):
        result = self._a.reshape(shape)
        if result.size and not np.may_share_memory(result, self._a):
            raise AttributeError("incompatible shape")
        self._a = result

    @property
    def data(self):
        """What holds the memory: `.ptr` is its address, here on the host."""
        return MemoryPointer(self._a.ctypes.data)

    # To the host: each of these waits

    def get(self, stream=None, order="C", out=None, blocking=True):
        """A copy as a NumPy array; waits unless a stream is given or blocking is False."""
        if out is not None:
            if not isinstance(out, np.ndarray):
                raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
            if out.dtype != self.dtype:
                raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
            if out.shape != self.shape:
                raise ValueError(f"Shape mismatch. Expected: {self.shape}, actual: {out.shape}")
        if stream is None and blocking:
            _log("wait", ".get()")
        if out is None:
            return self._a.copy(order)
        out[...] = self._a
        return out

    def item(self):
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        _log("wait", ".item()")
        return self._a.item()

    def tolist(self):
        _log("wait", ".tolist()")
        return self._a.tolist()

    def tobytes(self, order="C"):
        _log("wait", ".tobytes()")
        return self._a.tobytes(order)

    def __bool__(self):
        if self.size > 1:
            raise ValueError(
                "The truth value of an array with more than one element is ambiguous. "
                "Use a.any() or a.all()"
            )
        if not self.size:
            return False
        _log("wait", "bool()")
        return bool(self._a)

    def __int__(self):
        _log("wait", "int()")
        return int(self._a)

    def __float__(self):
        _log("wait", "float()")
        return float(self._a)

    def __complex__(self):
        _log("wait", "complex()")
        return complex(self._a)

    def __bytes__(self):
        _log("wait", "bytes()")
        return bytes(self._a)

    def __str__(self):
        _log("wait", "str()")
        return str(self._a)

    def __repr__(self):
        _log("wait", "repr()")
        return repr(self._a)

    def __format__(self, specification):
        _log("wait", "format()")
        return format(self._a[()], specification)

    def __reduce__(self):
        _log("wait", "pickling")
        return array, (self._a.copy(),)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    # Copies and views

    def copy(self, order="C"):
        return _wrap(self._a.copy(order))

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None:
            raise TypeError("casting is not supported yet")
        if subok is not None:
            raise TypeError("subok is not supported yet")
        dtype = _checked(np.dtype(dtype))
        with np.errstate(all="ignore"):
            result = self._a.astype(dtype, order, copy=copy)
        return self if result is self._a else _wrap(result)

    def view(self, dtype=None, type=None):
        if type is not None:
            raise NotImplementedError("strict_cupy has one class of arrays")
        return _wrap(self._a.view() if dtype is None else self._a.view(np.dtype(dtype)), self)

    def reshape(self, *shape, order="C", copy=None):
        result = self._a.reshape(*shape, order=order)
        shared = not result.size or np.may_share_memory(result, self._a)
        if copy is False and not shared:
            raise ValueError("Unable to avoid creating a copy while reshaping.")
        if copy:
            return _wrap(result.copy() if shared else result)
        return _wrap(result, self if shared else None)

    def take(self, indices, axis=None, out=None):
        """Elements along an axis; indices out of range wrap round, silently, as in CuPy."""
        _device(out)
        if isinstance(indices, (list, tuple, np.ndarray)):
            _log("upload", "host index")
        indices = np.asarray(indices._a if isinstance(indices, ndarray) else indices)
        if indices.dtype.kind not in "biu" and indices.size:
            raise TypeError(f"take: indices must be integers, not {indices.dtype}")
        result = self._a.take(indices.astype(np.intp), axis, _plain(out), mode="wrap")
        return _wrap(np.asarray(result, order="C")) if out is None else out

    def repeat(self, repeats, axis=None):
        if isinstance(repeats, np.ndarray):
            raise TypeError("'repeats' does not accept numpy.ndarray; convert with cupy.array()")
        if isinstance(repeats, ndarray):
            _log("wait", "repeat by a device array")
        return _wrap(np.repeat(self._a, _plain(repeats), axis))

    def fill(self, value):
        """Set every element to a scalar or to the element of a 0-d array."""
        if isinstance(value, (np.ndarray, list, tuple)) and np.ndim(value):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        with np.errstate(all="ignore"):
            self._a.fill(_plain(value))

    def set(self, arr, stream=None):
        """Overwrite with a NumPy array of the same shape and dtype."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        self._a[...] = arr

    def put(self, indices, values, mode="wrap"):
        """Set elements of the flattened array; "raise" waits for the check."""
        if mode == "raise":
            _log("wait", "put(mode='raise')")
        for part in (indices, values):
            if isinstance(part, (list, tuple, np.ndarray)):
                _log("upload", "host index or value")
        self._a.put(_plain(indices), _plain(values), mode=mode)

    def scatter_add(self, slices, value):
        _lookup("add").at(self, slices, value)

    def scatter_max(self, slices, value):
        _lookup("maximum").at(self, slices, value)

    def scatter_min(self, slices, value):
        _lookup("minimum").at(self, slices, value)

    # Indexing

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return len(self._a)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self._a)))

    def __getitem__(self, key):
        parts, arrays = _index(self.shape, key)
        if arrays:  # a new array, never a view
            return _wrap(np.asarray(self._a[parts], order="C"))
        return _wrap(self._a[parts], self)

    def __setitem__(self, key, value):
        parts, arrays = _index(self.shape, key)
        if not isinstance(value, (ndarray, *_SCALARS)):
            if not isinstance(value, (np.ndarray, list, tuple)):
                raise _unsupported(value)
            if np.ndim(value):
                if not arrays:
                    raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
                _log("upload", "host value")
            value = np.asarray(value)
        with np.errstate(all="ignore"):
            if np.ndim(_plain(value)) and _has_duplicates(self.shape, arrays):
                _assign_in_any_order(self._a, parts, np.asarray(_plain(value)))
            else:
                self._a[parts] = _plain(value)

    def __delitem__(self, key):
        raise NotImplementedError("Subscript deletion not supported by ndarray")

    # Other libraries

    def __array_ufunc__(self, numpy_ufunc, method, *inputs, out=None, **kwargs):
        """NumPy's ufuncs, called on a device array: CuPy's of the same name take over."""
        try:
            own = _lookup(numpy_ufunc.__name__)
        except AttributeError:
            return NotImplemented
        if method != "__call__":
            return getattr(own, method)(*inputs, **kwargs)
        if any(not isinstance(x, (ndarray, np.ndarray, *_SCALARS)) for x in inputs):
            return NotImplemented
        return own(*inputs, **kwargs) if out is None else own(*inputs, out=out, **kwargs)

    def __array_function__(self, function, kinds, args, kwargs):
        """NumPy's functions, called on a device array: CuPy's of the same name take over."""
        path = function.__module__.split(".")[1:] + [function.__name__]
        try:
            own = _lookup(".".join(path))
        except AttributeError:
            return NotImplemented
        return own(*args, **kwargs)

    def __dlpack_device__(self):
        return 2, 0  # kDLCUDA, device 0

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """A capsule for `from_dlpack` here, or a copy on the host for whoever asks for that.

        The capsule truly holds host memory, so that no library mistakes it for a GPU's.
        """
        if dl_device is not None and dl_device[0] == 1:  # kDLCPU
            _log("wait", "from_dlpack to the host")
            return _capsule(self._a.copy(), max_version)
        if stream is None:  # a consumer that knows of GPUs names its stream
            raise BufferError("Unsupported device in DLTensor: the array lies on the device")
        return _capsule(self._a, max_version)


class Flags:
    """Memory layout: `c_contiguous`, `f_contiguous`, `owndata`; nothing is ever read-only."""

    def __init__(self, flags) -> None:
        self.c_contiguous = flags.c_contiguous
        self.f_contiguous = flags.f_contiguous
        self.owndata = flags.owndata

    forc = property(lambda self: self.c_contiguous or self.f_contiguous)
    fnc = property(lambda self: self.f_contiguous and not self.c_contiguous)

    def __getitem__(self, name):
        return getattr(self, name.lower())


class Device:
    """The one pretended GPU, number 0."""

    def __init__(self, device: int = 0) -> None:
        if device != 0:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.id = device

    def use(self):
        return self

    def synchronize(self):
        _log("wait", "Device.synchronize()")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def __eq__(self, other):
        return isinstance(other, Device)

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"<strict_cupy Device {self.id}>"


def _wrap(a, parent: ndarray | None = None) -> ndarray:
    """The NumPy array or scalar `a` as a device array; a view names the array that it shows."""
    if type(a) is not np.ndarray:
        a = np.asarray(a)
    if a.dtype.char not in _DTYPES:
        raise ValueError(f"Unsupported dtype {a.dtype}")
    new = object.__new__(ndarray)
    new._a = a
    new._parent = parent if parent is None or parent._parent is None else parent._parent
    return new


def _plain(x):
    """What NumPy is to compute with: the array inside a device array, anything else as it is."""
    return x._a if type(x) is ndarray else x


def _checked(dtype: np.dtype) -> np.dtype:
    """`dtype`, if CuPy has it."""
    if dtype.char not in _DTYPES:
        raise ValueError(f"Unsupported dtype {dtype}")
    return dtype


# --- Indexing ------------------------------------------------------------------------------------

# The arrays of an index, as (first dimension that they index, array); empty for views
_Arrays = list[tuple[int, np.ndarray]]


def _index(shape: tuple[int, ...], key) -> tuple[tuple, _Arrays]:
    """`key` in NumPy's terms, with CuPy's habits: host arrays travel, masks wait, integers wrap."""
    parts = list(key) if isinstance(key, tuple) else [key]
    used = []  # dimensions that each part consumes
    for i, part in enumerate(parts):
        if part is None or part is Ellipsis:
            used.append(0)
        elif isinstance(part, slice) or (
            isinstance(part, (int, np.integer)) and not isinstance(part, bool)
        ):
            used.append(1)
        elif isinstance(part, (ndarray, np.ndarray, list, tuple, bool, np.bool_)):
            parts[i] = _index_array(part)
            used.append(parts[i].ndim if parts[i].dtype == bool else 1)
        else:
            raise IndexError(
                "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and "
                f"integer or boolean arrays are valid indices, not {type(part).__name__}"
            )

    arrays: _Arrays = []
    dimension = 0
    for i, part in enumerate(parts):
        if isinstance(part, np.ndarray):
            if part.dtype != bool and dimension < len(shape):
                # asarray: a 0-d array must not become a scalar, which would give a view
                part = np.asarray(part.astype(np.intp) % max(shape[dimension], 1))
                parts[i] = part
            arrays.append((dimension, part))
        dimension += len(shape) - sum(used) if part is Ellipsis else used[i]
    masks = sum(array.dtype == bool for _, array in arrays)
    if masks > 1:
        raise IndexError("more than one boolean array in an index is not supported")
    if not masks:
        np.broadcast_shapes(*(array.shape for _, array in arrays))  # a ValueError, as in CuPy
    if not arrays and not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)  # so that NumPy gives a 0-d view rather than a scalar
    return tuple(parts), arrays


def _index_array(part) -> np.ndarray:
    """An array that is part of an index, as a NumPy array; a wait or an upload is logged."""
    if type(part) is ndarray:
        array = part._a
    else:
        _log("upload", "host index")
        array = np.asarray(part)
        if not array.size and isinstance(part, (list, tuple)):
            array = array.astype(np.intp)  # an empty list is no indices, not floats
    if array.dtype.kind not in "biu":
        raise IndexError(
            "arrays used as indices must be of integer or boolean type. "
            f"(actual: {array.dtype.type})"
        )
    if array.dtype == bool and array.size:
        _log("wait", "boolean mask")
    return array


def _has_duplicates(shape: tuple[int, ...], arrays: _Arrays) -> bool:
    """Whether the integer arrays of an index name some element twice."""
    if not arrays or any(array.dtype == bool for _, array in arrays):
        return False
    indices = np.broadcast_arrays(*(array for _, array in arrays))
    flat = np.ravel_multi_index(indices, [max(shape[d], 1) for d, _ in arrays])
    return np.unique(flat).size < flat.size


def _assign_in_any_order(target: np.ndarray, key: tuple, value: np.ndarray) -> None:
    """`target[key] = value`, where the last of several values for an element need not win."""
    places = np.arange(target.size).reshape(target.shape)[key]
    surplus = max(value.ndim - places.ndim, 0)  # leading dimensions of size 1 are dropped
    value = np.broadcast_to(value.reshape(value.shape[surplus:]), places.shape)
    order = _shuffle.permutation(places.size)
    target.flat[places.ravel()[order]] = value.ravel()[order]


_shuffle = np.random.default_rng(0)


# --- ufuncs --------------------------------------------------------------------------------------


class ufunc:
    """An elementwise function: device arrays and scalars in, device arrays out, no `where=`."""

    def __init__(self, numpy_ufunc: np.ufunc) -> None:
        self._numpy = numpy_ufunc
        self._short = numpy_ufunc.__name__
        self.__name__ = self.name = f"cupy_{numpy_ufunc.__name__}"
        self.__doc__ = numpy_ufunc.__doc__
        self.nin, self.nout, self.nargs = numpy_ufunc.nin, numpy_ufunc.nout, numpy_ufunc.nargs
        self.types = [t for t in numpy_ufunc.types if not set(t) & set("gGOMm")]

    def __repr__(self):
        return f"<ufunc '{self.name}'>"

    def __call__(self, *args, out=None, dtype=None, casting="same_kind", **wrong):
        if wrong:
            raise TypeError(f"Wrong arguments {sorted(wrong)}")
        if isinstance(out, tuple):
            (out,) = out
        if len(args) not in (self.nin, self.nargs):
            raise TypeError(
                f"Wrong number of arguments for '{self.name}'. It must be either {self.nin} or "
                f"{self.nargs} (with outputs), but given {len(args)}."
            )
        if out is not None:
            args = (*args, out)
        values = [x._a if type(x) is ndarray else _scalar(x) for x in args]
        with np.errstate(all="ignore"):
            result = self._numpy(*values, dtype=dtype, casting=casting, order="C")
        if len(args) > self.nin:  # outputs were given
            return args[self.nin] if self.nout == 1 else args[self.nin :]
        return _wrap(result) if self.nout == 1 else tuple(_wrap(r) for r in result)

    def at(self, a, indices, b=None):
        """Unbuffered in-place operation: duplicates in `indices` all count."""
        if self._short not in AT_DTYPES:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        if not isinstance(a, ndarray):
            raise AttributeError(f"{type(a).__name__!r} object has no attribute '_scatter_op'")
        if a.dtype.name not in AT_DTYPES[self._short].split():
            raise TypeError(
                f"cupy.{self._short}.at only supports {AT_DTYPES[self._short]} as data type, "
                f"not {a.dtype}"
            )
        parts, arrays = _index(a.shape, indices)
        if isinstance(b, (np.ndarray, list, tuple)) and np.ndim(b):
            if not arrays:
                raise _unsupported(b)
            _log("upload", "host value")
        with np.errstate(all="ignore"):
            self._numpy.at(a._a, parts, np.asarray(_plain(b)).astype(a.dtype))

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        return self._along("reduce", array, axis, dtype, out, keepdims=keepdims)

    def accumulate(self, array, axis=0, dtype=None, out=None):
        return self._along("accumulate", array, axis, dtype, out)

    def _along(self, method, array, axis, dtype, out, **kwargs):
        if self._short not in ("add", "multiply"):
            raise NotImplementedError(f"`{self.name}.{method}` is not supported yet")
        operand, target = _device(array, required=True), _device(out)
        with np.errstate(all="ignore"):
            result = getattr(self._numpy, method)(operand, axis, dtype, target, **kwargs)
        return _wrap(np.asarray(result, order="C")) if out is None else out

    def outer(self, A, B, **kwargs):
        a, b = A._a, B._a
        return self(_wrap(a.reshape(a.shape + (1,) * b.ndim)), _wrap(b), **kwargs)


class _MatMul:
    """matmul: the one generalised ufunc; both operands must be device arrays."""

    def __call__(self, x1, x2, out=None, *, axes=None, axis=None, keepdims=False, dtype=None,
                 casting="same_kind", signature=None, order="K"):  # fmt: skip
        for name, x in zip("ab", (x1, x2), strict=True):
            if not isinstance(x, ndarray):
                raise TypeError(
                    f"Argument {name!r} has incorrect type (expected cupy.ndarray, "
                    f"got {type(x).__module__}.{type(x).__name__})"
                )
        if not (axes is axis is signature is None) or keepdims:
            raise NotImplementedError("strict_cupy: matmul with axes, axis, keepdims, signature")
        if isinstance(out, tuple):
            (out,) = out
        target = _device(out)
        with np.errstate(all="ignore"):
            result = np.matmul(x1._a, x2._a, out=target, dtype=dtype, casting=casting, order="C")
        return _wrap(result) if out is None else out


def _scalar(x):
    """`x`, if a ufunc of CuPy takes it as an operand that is no array."""
    if not isinstance(x, _SCALARS):
        raise _unsupported(x)
    return x


# --- Functions -----------------------------------------------------------------------------------


class _Function:
    """One function or method of NumPy with CuPy's parameters, device arrays in and out.

    Args:
        function: NumPy's.
        name: its name below cupy, as in "linalg.norm".
        parameters: CuPy's names in the notation of SIGNATURES; None: the same as NumPy's.
    """

    def __init__(self, function, name: str, parameters: str | None = None) -> None:
        self.function = function
        self.name = self.__name__ = name
        self.__doc__ = function.__doc__
        self.syncing = name in SYNCING
        self.keep_order = name in _KEEP_ORDER
        own = list(_until_star(_numpy_parameters(function)))
        names = _numpy_parameters(function) if parameters is None else parameters.split()
        self.positional = list(_until_star(names))
        # the name of *args, if any: what takes the remaining positional arguments
        self.rest = next((p[1:] for p in names if re.fullmatch(r"\*\w+", p)), None)
        self.keywords = {p.lstrip("*") for p in names} - {""}
        self.any_keyword = any(p.startswith("**") for p in names)
        # CuPy's name -> (position, NumPy's name), where the two differ. Where NumPy does not tell
        # its names, the first may be positional only.
        own = own or ["?"]
        self.renamed = {
            p: (i, own[i]) for i, p in enumerate(self.positional) if p not in own and i < len(own)
        }

    def __repr__(self):
        return f"<strict_cupy function {self.name}>"

    def __call__(self, *args, **kwargs):
        self._check(args, kwargs)
        kwargs = self._translate(args, kwargs)
        if self.renamed and "" in kwargs:
            args = (*args, kwargs.pop(""))
        values = [
            self._value(self.positional[i] if i < len(self.positional) else self.rest, x, not i)
            for i, x in enumerate(args)
        ]
        options = {
            key: self._value(key, x, first=not args and not i)
            for i, (key, x) in enumerate(kwargs.items())
        }
        if self.syncing:
            _log("wait", self.name)
        with np.errstate(all="ignore"):
            result = self.function(*values, **options)
        return self._result(result, [*args, *kwargs.values()])

    def _check(self, args, kwargs) -> None:
        """Refuse what CuPy's signature refuses."""
        if len(args) > len(self.positional) and self.rest is None:
            raise TypeError(
                f"{self.name}() takes from 0 to {len(self.positional)} positional arguments "
                f"but {len(args)} were given"
            )
        for key in kwargs:
            if key not in self.keywords and not self.any_keyword:
                raise TypeError(f"{self.name}() got an unexpected keyword argument '{key}'")

    def _translate(self, args, kwargs):
        """`kwargs` under NumPy's names; what must be positional there gets the name ""."""
        if not self.renamed:
            return kwargs
        translated = {}
        for key, value in kwargs.items():
            position, numpy_name = self.renamed.get(key, (None, key))
            translated["" if position == len(args) else numpy_name] = value
        return translated

    def _value(self, parameter: str | None, x, first: bool):
        """An argument on its way to NumPy."""
        if parameter in _DESCRIPTIONS:
            return _description(x)
        return _device(x, required=first and not isinstance(x, str), name=self.name)

    def _result(self, value, operands):
        """A result on its way out: arrays and scalars become device arrays."""
        if isinstance(value, np.ndarray):
            arrays = [x for x in operands if type(x) is ndarray]
            for x in arrays:
                if value is x._a:
                    return x
            if value.base is not None:
                for x in arrays:
                    if np.may_share_memory(value, x._a):
                        return _wrap(value, x)
            if not self.keep_order and not value.flags.c_contiguous:
                value = value.copy("C")
            return _wrap(value)
        if isinstance(value, _SCALARS):
            return _wrap(value)
        if isinstance(value, (tuple, list)):
            kind = list if isinstance(value, list) else tuple
            return kind(self._result(v, operands) for v in value)
        return value


def _numpy_parameters(function) -> list[str]:
    """The parameters of a function of NumPy in the notation of SIGNATURES."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some of those written in C do not say
        return ["*args", "**kwargs"]
    names: list[str] = []
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and not any(n.startswith("*") for n in names):
            names.append("*")
        names.append({p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name)
    return names


def _until_star(names: list[str]) -> Iterator[str]:
    for name in names:
        if name.startswith("*"):
            return
        yield name


def _device(x, required: bool = False, name: str = ""):
    """An operand on its way to NumPy; `required`: it must be an array, or a sequence of arrays."""
    if type(x) is ndarray:
        return x._a
    if isinstance(x, np.ndarray):
        raise _unsupported(x)
    if isinstance(x, (list, tuple)):
        return [_device(part, required=True, name=name) for part in x]
    if required:
        raise TypeError(f"{name}: cupy takes a cupy.ndarray here, not {type(x).__name__}")
    return x


def _description(x):
    """An argument that must be known on the host: a shape, an axis, a flag."""
    if type(x) is ndarray or (isinstance(x, (list, tuple)) and any(type(v) is ndarray for v in x)):
        raise TypeError("'ndarray' object cannot be interpreted as an integer")
    return x


# Functions that differ from NumPy's in more than their parameters


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """A device array from anything NumPy can convert, or from (nested lists of) device arrays."""
    if subok:
        raise NotImplementedError("subok")
    if type(obj) is ndarray:
        dtype = obj.dtype if dtype is None else _checked(np.dtype(dtype))
        a = obj._a
        result = np.array(a, dtype, copy=True if copy else None, order=order or "K", ndmin=ndmin)
        if copy is False and not np.may_share_memory(result, a) and result.size:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        return obj if result is a else _wrap(result, obj if result.base is a else None)
    if isinstance(obj, (list, tuple)) and _leaves_on_device(obj):
        return _wrap(np.array(_nested(obj), dtype, ndmin=ndmin))
    if copy is False:
        raise ValueError("Unable to avoid copy while creating an array as requested.")
    # device arrays among host data end here: NumPy asks them for a conversion, which they refuse
    result = np.array(obj, dtype, copy=True, order=order or "K", ndmin=ndmin)
    if not result.flags.forc:
        result = result.copy("C")
    return _wrap(result.astype(result.dtype.newbyteorder("="), copy=False))


def _leaves_on_device(obj) -> bool:
    """Whether a nested list holds device arrays and nothing else."""
    if isinstance(obj, (list, tuple)):
        return bool(obj) and all(_leaves_on_device(part) for part in obj)
    return type(obj) is ndarray


def _nested(obj):
    return [_nested(part) for part in obj] if isinstance(obj, (list, tuple)) else obj._a


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    """`a` itself if it is on the device and fits, else a device array with its content."""
    return array(a, dtype, copy, order, blocking=blocking)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    """A NumPy array with the content of `a`; waits if `a` is on the device."""
    if type(a) is ndarray:
        return a.get(stream, order, out, blocking)
    if out is not None:
        out[...] = np.asarray(a)
        return out
    return np.asarray(a, order=order)


def get_array_module(*args):
    """This module if any of the arguments is on the device, else NumPy."""
    return sys.modules[__name__] if any(type(a) is ndarray for a in args) else np


def _require(a):
    if type(a) is not ndarray:
        raise TypeError(
            f"Argument 'a' has incorrect type (expected cupy.ndarray, got {type(a).__name__})"
        )
    return a


def _ascontiguousarray(a, dtype=None):
    result = np.asarray(_require(a)._a, dtype, order="C")
    return a if result is a._a else _wrap(result)


def _asfortranarray(a, dtype=None):
    result = np.asarray(_require(a)._a, dtype, order="F")
    return a if result is a._a else _wrap(result)


def _astype(x, dtype, /, *, copy=True):
    if type(x) is not ndarray:
        raise TypeError(f"Input should be a CuPy array. It is a {type(x)} instead.")
    return x.astype(dtype, copy=copy)


def _copy(a, order="K"):
    return _require(a).copy(order)


def _copyto(dst, src, casting="same_kind", where=None):
    """Copy into an array; the source is a device array or a scalar."""
    if not isinstance(src, (ndarray, *_SCALARS)) and np.ndim(src):
        raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
    with np.errstate(all="ignore"):
        np.copyto(_require(dst)._a, _plain(src), casting, True if where is None else _device(where))


def _full(shape, fill_value, dtype=None, order="C"):
    if dtype is None:
        dtype = np.asarray(_plain(fill_value)).dtype
    result = ndarray(shape, dtype, order=order)
    _copyto(result, fill_value, casting="unsafe")
    return result


def _full_like(a, fill_value, dtype=None, order="K", subok=None, shape=None):
    result = _wrap(np.empty_like(_require(a)._a, dtype, order, shape=_description(shape)))
    _copyto(result, fill_value, casting="unsafe")
    return result


def _reshape(a, newshape, order="C", *, copy=None):
    return _require(a).reshape(newshape, order=order, copy=copy)


def _take(a, indices, axis=None, out=None):
    return _require(a).take(indices, axis, out)


def _repeat(a, repeats, axis=None):
    return _require(a).repeat(repeats, axis)


def _put(a, ind, v, mode="wrap"):
    _require(a).put(ind, v, mode)


def _along_axis(a: ndarray, indices: ndarray, axis: int):
    """The index that takes `indices` along one axis and everything along the others."""
    if _require(indices).dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    if a.ndim != indices.ndim:
        raise ValueError("`indices` and `a` must have the same number of dimensions")
    axis = range(a.ndim)[axis]  # a negative one counts from the end
    every = np.ogrid[tuple(slice(n) for n in a.shape)]
    return tuple(indices if i == axis else _wrap(every[i]) for i in range(a.ndim))


def _take_along_axis(a, indices, axis):
    if axis is None:
        a, axis = _require(a).reshape(-1), 0
    return a[_along_axis(_require(a), indices, axis)]


def _put_along_axis(arr, indices, values, axis):
    _require(arr)[_along_axis(arr, indices, axis)] = values


def _where(condition, x=None, y=None):
    """Elementwise choice; with the condition alone it is nonzero, and waits."""
    if (x is None) != (y is None):
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    if x is None:
        return _require(condition).nonzero()
    if not isinstance(condition, (ndarray, np.ndarray)):
        raise AttributeError(f"{type(condition).__name__!r} object has no attribute 'astype'")
    operands = [_plain(v) if type(v) is ndarray else _scalar(v) for v in (condition, x, y)]
    return _wrap(np.asarray(np.where(*operands), order="C"))


def _einsum(*operands, dtype=None, optimize=False, **wrong):
    """Sum of products; becomes transposes and matmuls in CuPy, so there is no `out`."""
    if wrong:
        raise TypeError(f"Did not understand the following kwargs: {sorted(wrong)}")
    values = [
        x if isinstance(x, str) or _is_labels(x) else _device(x, required=True, name="einsum")
        for x in operands
    ]
    return _wrap(np.asarray(np.einsum(*values, dtype=dtype, optimize=optimize), order="C"))


def _is_labels(x) -> bool:
    """Whether `x` names dimensions, as [0, 1, Ellipsis] does in the form without a string."""
    return isinstance(x, (list, tuple)) and all(v is Ellipsis or isinstance(v, int) for v in x)


def _average(a, axis=None, weights=None, returned=False, *, keepdims=False):
    if weights is not None:
        _log("wait", "average with weights")
    return _Function(np.average, "average")(
        a, axis=axis, weights=weights, returned=returned, keepdims=keepdims
    )


def _ravel_multi_index(multi_index, dims, mode="wrap", order="C"):
    """Flat indices; unlike NumPy's, out-of-range ones wrap round unless asked otherwise."""
    if mode == "raise":
        _log("wait", "ravel_multi_index(mode='raise')")
    return _wrap(np.ravel_multi_index(tuple(_device(multi_index)), dims, mode, order))


def _diagonal(a, offset=0, axis1=0, axis2=1):
    """A view that can be written to, as everything in CuPy."""
    result = _require(a)._a.diagonal(offset, axis1, axis2)
    if a._a.flags.writeable:
        result.flags.writeable = True
    return _wrap(result, a)


def _size(a, axis=None):
    return np.size(_require(a)._a, axis)


def _sliding_window_view(x, window_shape, axis=None, *, subok=False, writeable=False):
    """Every window as a view: reading is safe, and writing is refused here (CuPy: corrupts)."""
    if subok or writeable:
        raise NotImplementedError("Writeable views are not supported.")
    view = np.lib.stride_tricks.sliding_window_view(_require(x)._a, window_shape, axis)
    return _wrap(view, x)


def _from_dlpack(x, /, *, device=None, copy=None):
    """An array that shares the memory of another one on this device."""
    if x.__dlpack_device__()[0] != 2:
        raise TypeError(
            "CPU arrays cannot be directly imported to CuPy. "
            "Use `cupy.array(numpy.from_dlpack(input))` instead."
        )
    capsule = x.__dlpack__(stream=1, max_version=(1, 0))  # 1: the default stream
    shared = np.from_dlpack(_Capsule(capsule))
    return _wrap(shared.copy() if copy else shared, x if type(x) is ndarray else None)


def _capsule(a: np.ndarray, max_version):
    """The memory of `a` as DLPack capsule; NumPy 2.0 knows no versions, and then reads only."""
    if max_version is None or np.lib.NumpyVersion(np.__version__) < "2.1.0":
        return a.__dlpack__()
    return a.__dlpack__(max_version=max_version)


class _Capsule:
    """A DLPack capsule in the form in which NumPy takes it."""

    def __init__(self, capsule) -> None:
        self.capsule = capsule

    def __dlpack_device__(self):
        return 1, 0  # kDLCPU: where the memory truly is

    def __dlpack__(self, **options):
        return self.capsule


_SPECIAL = {
    "array": array,
    "asarray": asarray,
    "asanyarray": asarray,
    "ascontiguousarray": _ascontiguousarray,
    "asfortranarray": _asfortranarray,
    "astype": _astype,
    "average": _average,
    "copy": _copy,
    "copyto": _copyto,
    "diagonal": _diagonal,
    "einsum": _einsum,
    "from_dlpack": _from_dlpack,
    "full": _full,
    "full_like": _full_like,
    "matmul": _MatMul(),
    "put": _put,
    "put_along_axis": _put_along_axis,
    "ravel_multi_index": _ravel_multi_index,
    "size": _size,
    "repeat": _repeat,
    "reshape": _reshape,
    "take": _take,
    "take_along_axis": _take_along_axis,
    "where": _where,
    "is_available": lambda: True,
    "linalg.matmul": _MatMul(),
    "lib.stride_tricks.sliding_window_view": _sliding_window_view,
}

# Answers about arrays, dtypes and shapes, given on the host without looking at the content
_QUESTIONS = _words(
    """
    broadcast_shapes can_cast common_type iscomplexobj isdtype isrealobj isscalar issubdtype
    may_share_memory min_scalar_type mintypecode ndim promote_types result_type shape shares_memory
    """
)


def _question(function):
    def answer(*args, **kwargs):
        return function(*map(_plain, args), **kwargs)

    return answer


# --- Names ---------------------------------------------------------------------------------------

_BY_NAME = {name: signature for signature, names in SIGNATURES.items() for name in names.split()}
_NAMESPACES = ("linalg", "fft", "lib", "lib.stride_tricks", "exceptions")
_found: dict[str, Any] = dict(_SPECIAL)


class _Namespace:
    """cupy.linalg and the like."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str):
        return _lookup(f"{self._path}.{name}")

    def __repr__(self):
        return f"<namespace strict_cupy.{self._path}>"


def _lookup(path: str):
    """The attribute of cupy at a dotted path, made from NumPy's at the first use."""
    found = _found.get(path)
    if found is None:
        found = _found[path] = _make(path)
    return found


def _make(path: str):
    parent, _, name = path.rpartition(".")
    value: Any = np
    for part in path.split("."):
        value = getattr(value, part, None)
    if name.startswith("_") or value is None or path in MISSING:
        where = f"cupy.{parent}" if parent else "cupy"
        raise AttributeError(f"module '{where}' has no attribute '{name}'")
    if path in NOT_IMITATED or (isinstance(value, types.ModuleType) and path not in _NAMESPACES):
        raise AttributeError(f"strict_cupy does not imitate cupy.{path}")
    if isinstance(value, types.ModuleType):
        return _Namespace(path)
    if isinstance(value, np.ufunc):
        return ufunc(value)
    if isinstance(value, type) or not callable(value):  # dtypes, exceptions, constants
        return value
    return _question(value) if path in _QUESTIONS else _Function(value, path, _BY_NAME.get(path))


def __getattr__(name: str):
    """Every `xp.name` that is not defined in this file."""
    if name == "newaxis":
        return None
    return _lookup(name)


class PinnedMemoryPointer(bytearray):
    """Host memory that a GPU could copy from; CuPy's has the buffer protocol, too."""


cuda = types.SimpleNamespace(
    Device=Device,
    PinnedMemoryPointer=PinnedMemoryPointer,
    alloc_pinned_memory=PinnedMemoryPointer,
    get_current_stream=lambda: types.SimpleNamespace(
        synchronize=lambda: _log("wait", "Stream.synchronize()")
    ),
    is_available=lambda: True,
    runtime=types.SimpleNamespace(
        getDevice=lambda: 0,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda device: {"name": b"strict_cupy"},
    ),
)


# --- Operators and methods of the array ----------------------------------------------------------


def _operator(name: str, swapped: bool = False):
    function = _lookup(name)

    def operator(self, other):
        if not isinstance(other, (ndarray, np.ndarray, *_SCALARS)):
            return NotImplemented  # other classes have their own say
        return function(other, self) if swapped else function(self, other)

    return operator


def _in_place(name: str):
    function = _lookup(name)

    def operator(self, other):
        return function(self, other, out=self)

    return operator


def _unary(name: str):
    function = _lookup(name)
    return lambda self: function(self)


def _comparison(name: str):
    function = _lookup(name)

    def operator(self, other):
        if not isinstance(other, (ndarray, np.ndarray, *_SCALARS)):
            if name in ("equal", "not_equal") and type(other).__eq__ is object.__eq__:
                return _full(self.shape, name == "not_equal")  # None, say: equal to no element
            return NotImplemented
        return function(self, other)

    return operator


def _method(name: str, parameters: str):
    call = _Function(getattr(np.ndarray, name), name, f"self {parameters}".strip())

    def method(self, *args, **kwargs):
        return call(self, *args, **kwargs)

    method.__name__ = name
    return method


def _sorted(name: str, parameters: str):
    """sort and argsort: always stable in CuPy, whatever NumPy would call it."""
    call = _Function(getattr(np.ndarray, name), name, f"self {parameters}")

    def method(self, axis=-1, kind=None):
        if kind not in (None, "stable"):
            raise ValueError("kind can only be None or 'stable'")
        return call(self, axis=axis, kind="stable")

    return method


def _sort(a, axis=-1, kind=None):
    result = _require(a).copy() if axis is not None else a.reshape(-1).copy()
    result.sort(axis=-1 if axis is None else axis, kind=kind)
    return result


def _argsort(a, axis=-1, kind=None):
    return _require(a).argsort(axis=axis, kind=kind)


def _furnish() -> None:
    """Give the array its operators and the methods that follow NumPy's."""
    arithmetic = {
        "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide",
        "floordiv": "floor_divide", "mod": "remainder", "pow": "power", "lshift": "left_shift",
        "rshift": "right_shift", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
        "divmod": "divmod", "matmul": "matmul",
    }  # fmt: skip
    for short, name in arithmetic.items():
        setattr(ndarray, f"__{short}__", _operator(name))
        setattr(ndarray, f"__r{short}__", _operator(name, swapped=True))
        if short not in ("divmod", "matmul"):  # `x @= y` makes a new array in CuPy
            setattr(ndarray, f"__i{short}__", _in_place(name))
    for short, name in {
        "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
        "eq": "equal", "ne": "not_equal",
    }.items():  # fmt: skip
        setattr(ndarray, f"__{short}__", _comparison(name))
    for short, name in {
        "neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert",
    }.items():  # fmt: skip
        setattr(ndarray, f"__{short}__", _unary(name))
    ndarray.__hash__ = None  # type: ignore[assignment]  # defining __eq__ late leaves it alone
    for parameters, names in METHODS.items():
        for name in names.split():
            kind = _sorted if name in ("sort", "argsort") else _method
            setattr(ndarray, name, kind(name, parameters))
    ndarray.diagonal = _diagonal  # type: ignore[attr-defined]
    ndarray.ptp = lambda self, *args, **kwargs: _lookup("ptp")(self, *args, **kwargs)  # type: ignore[attr-defined]
    _found["sort"], _found["argsort"] = _sort, _argsort


_furnish()
