"""Convolution by cuDNN, where it is installed: the same three faces, by NVIDIA's own kernels.

`pip install minidl[cudnn]` brings cuDNN's frontend, which describes a convolution as a graph of one
operation, asks cuDNN for plans to compute it, and runs one. A plan is made once for each geometry,
dtype and precision, which takes milliseconds, and kept. Arrays stay as they are, (N, C, H, W) in C
order; workspaces come from CuPy's pool.

What cuDNN is not asked for: depthwise convolution (our own kernels read the image once), float64,
padding that differs between two sides, arrays without elements. What it refuses goes to our own
kernels, too, and a warning says so, once. `minidl.backend.cudnn.enabled = False` turns it off.
"""

from __future__ import annotations

import math
import threading
import warnings
from typing import Any, NamedTuple

import numpy as np

from ..base import Array
from ..geometry import ConvGeometry
from ..precision import cudnn as switches
from .conv import ConvKernels
from .depthwise import is_depthwise
from .indexing import sums
from .launcher import contiguous

__all__ = ["CudnnKernels", "find_library"]

PLANS = 1024  # that are kept
ALIGNMENT = 16  # bytes, of arrays: a plan may use vector instructions
DTYPES = {"float16": "HALF", "bfloat16": "BFLOAT16", "float32": "FLOAT"}

Shape = tuple[int, ...]


class Plan(NamedTuple):
    """A graph that is ready to run.

    Attributes:
        graph: cuDNN's graph, with the plan chosen.
        tensors: its two inputs and its result.
        workspace: bytes of memory that it needs while it runs.
    """

    graph: Any
    tensors: tuple[Any, Any, Any]
    workspace: int


def find_library() -> Any:
    """The module of cuDNN's frontend, or None where it is not installed.

    Raises:
        Exception: it is installed and cannot be loaded.
    """
    try:
        import cudnn
    except ModuleNotFoundError:
        return None
    return cudnn


class CudnnKernels(ConvKernels):
    """The arguments and results are those of `backend/plain/conv.py`."""

    xp: Any

    def cudnn_library(self) -> Any:
        return find_library()

    def conv_forward(
        self, x: Array, w: Array, geometry: ConvGeometry, bias: Array | None = None
    ) -> Array:
        shape = (x.shape[0], w.shape[0], *geometry.output_size(x.shape[2:]))
        y = self._by_cudnn("fprop", x, w, geometry, shape)
        if y is None:
            return super().conv_forward(x, w, geometry, bias)
        if bias is not None:
            y += bias[:, None, None]
        return y

    def conv_input_grad(
        self, g: Array, w: Array, geometry: ConvGeometry, size: tuple[int, int]
    ) -> Array:
        shape = (g.shape[0], w.shape[1] * geometry.groups, *size)
        dx = self._by_cudnn("dgrad", g, w, geometry, shape)
        return super().conv_input_grad(g, w, geometry, size) if dx is None else dx

    def conv_weight_grad(self, x: Array, g: Array, geometry: ConvGeometry) -> Array:
        shape = (g.shape[1], x.shape[1] // geometry.groups, *geometry.kernel)
        dw = self._by_cudnn("wgrad", x, g, geometry, shape)
        return super().conv_weight_grad(x, g, geometry) if dw is None else dw

    # -- cuDNN ------------------------------------------------------------------------------------

    def _by_cudnn(
        self, face: str, a: Array, b: Array, geometry: ConvGeometry, shape: Shape
    ) -> Array | None:
        """The result of a face, of this shape; None where our own kernels must do."""
        (top, bottom), (left, right) = geometry.padding
        asked = switches.enabled and top == bottom and left == right
        if not asked or a.dtype != b.dtype or a.dtype.name not in DTYPES:
            return None
        if 0 in (a.size, b.size, math.prod(shape)):
            return None
        if is_depthwise(shape if face == "wgrad" else b.shape, geometry):
            return None
        handle = self._handle()
        if handle is None:
            return None
        library, number = handle
        tf32 = switches.allow_tf32 and a.dtype == np.float32
        steady = switches.deterministic or sums.deterministic
        key = (
            self.current_device(), face, a.shape, b.shape, shape, geometry, a.dtype, tf32, steady,
        )  # fmt: skip
        plans: dict[Any, Plan | None] = self.__dict__.setdefault("_cudnn_plans", {})
        if key not in plans:
            if len(plans) == PLANS:
                plans.clear()
            plans[key] = self._make(library, number, *key[1:])
        plan = plans[key]
        if plan is None:
            return None
        xp = self.xp
        a, b = _aligned(xp, a), _aligned(xp, b)
        out = xp.empty(shape, a.dtype)
        workspace = xp.empty(max(plan.workspace, 1), np.uint8)
        library.set_stream(handle=number, stream=xp.cuda.get_current_stream().ptr)
        pointers = dict(zip(plan.tensors, (a.data.ptr, b.data.ptr, out.data.ptr), strict=True))
        plan.graph.execute(pointers, workspace.data.ptr, handle=number)
        return out

    def _make(
        self, library: Any, handle: int, face: str, a: Shape, b: Shape, shape: Shape,
        geometry: ConvGeometry, dtype: Any, tf32: bool, steady: bool,
    ) -> Plan | None:  # fmt: skip
        """A plan; None, and a warning, if cuDNN has none."""
        try:
            return _build(library, handle, face, a, b, shape, geometry, dtype, tf32, steady)
        except (library.cudnnGraphNotSupportedError, RuntimeError) as error:
            self._warn(
                "refused",
                f"cuDNN has no plan for {face} of {a} and {b} in {dtype} "
                f"({str(error).strip()}): minidl's own kernels compute it, and whatever else cuDNN "
                "refuses from now on",
            )
            return None

    def _handle(self) -> tuple[Any, int] | None:
        """cuDNN's frontend and a handle for this thread and device; None where it is not usable."""
        known = self.__dict__.setdefault("_cudnn_handles", {})
        key = (self.current_device(), threading.get_ident())  # a handle serves one thread at a time
        if key not in known:
            known[key] = None
            try:
                library = self.cudnn_library()
                if library is not None:
                    known[key] = library, library.create_handle()
            except (
                Exception
            ) as error:  # whatever is wrong with the installation: there is another way
                self._warn(
                    "unusable",
                    f"cuDNN is installed but cannot be used ({type(error).__name__}: {error}): "
                    "minidl's own kernels compute convolutions; minidl.backend.cudnn.enabled = "
                    "False silences this",
                )
        return known[key]

    def _warn(self, kind: str, text: str) -> None:
        said: set[str] = self.__dict__.setdefault("_cudnn_said", set())
        if kind not in said:
            said.add(kind)
            warnings.warn(text, stacklevel=2)


def _build(
    library: Any, handle: int | None, face: str, a: Shape, b: Shape, shape: Shape,
    geometry: ConvGeometry, dtype: Any, tf32: bool, steady: bool,
) -> Plan:  # fmt: skip
    """Describe a face to cuDNN, and let it choose how to compute it."""
    graph, tensors = describe(library, handle, face, a, b, shape, geometry, dtype)
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([library.heur_mode.A, library.heur_mode.FALLBACK])
    # Now that there are candidates, strike out those that are not wanted.
    note = library.numerical_note
    unwanted = [note.NONDETERMINISTIC] if steady else []
    if np.dtype(dtype) == np.float32:
        unwanted.append(note.DOWN_CONVERT_INPUTS)  # to 16 bits
        if not tf32:  # all that tensor cores can do with float32
            unwanted.append(note.TENSOR_CORE)
    else:
        unwanted.append(note.REDUCED_PRECISION_REDUCTION)  # sums in 16 bits
    graph.deselect_numeric_notes(unwanted)
    graph.check_support()
    graph.build_plans()
    return Plan(graph, tensors, graph.get_workspace_size())


def describe(
    library: Any, handle: int | None, face: str, a: Shape, b: Shape, shape: Shape,
    geometry: ConvGeometry, dtype: Any,
) -> tuple[Any, tuple[Any, Any, Any]]:  # fmt: skip
    """The graph of one operation, and its inputs and result."""
    kinds = library.data_type
    single = kinds.FLOAT
    graph = library.pygraph(
        io_data_type=getattr(kinds, DTYPES[np.dtype(dtype).name]),
        intermediate_data_type=single,
        compute_data_type=single,
        handle=handle,
    )
    first = graph.tensor(name="a", dim=list(a), stride=_strides(a))
    second = graph.tensor(name="b", dim=list(b), stride=_strides(b))
    (top, _), (left, _) = geometry.padding
    way = {
        "padding": [top, left],
        "stride": list(geometry.stride),
        "dilation": list(geometry.dilation),
    }
    # Groups are given by the numbers of channels: w has C / groups of them.
    if face == "fprop":
        out = graph.conv_fprop(image=first, weight=second, **way)
    elif face == "dgrad":
        out = graph.conv_dgrad(loss=first, filter=second, **way)
    else:
        out = graph.conv_wgrad(image=first, loss=second, **way)
    # Without strides, cuDNN would take those of channels last.
    out.set_output(True).set_dim(list(shape)).set_stride(_strides(shape))
    return graph, (first, second, out)


def _strides(shape: Shape) -> list[int]:
    """In elements, of an array in C order."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _aligned(xp: Any, x: Array) -> Array:
    x = contiguous(xp, x)
    return x if x.data.ptr % ALIGNMENT == 0 else x.copy()
