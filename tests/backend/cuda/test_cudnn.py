"""cuDNN behind the door of convolution, with a stand-in for its frontend that computes in NumPy.

The stand-in has the call forms of nvidia-cudnn-frontend 1.26, which a test compares with the real
package where that is installed; another test has the real package check our graphs. What only a GPU
shows: that plans exist, that they compute this, and how fast.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import warnings

import numpy as np
import pytest

import minidl as md
from minidl import backend
from minidl.backend.cuda import cudnn as file
from minidl.backend.cuda.cudnn import CudnnKernels, describe
from minidl.backend.geometry import ConvGeometry

from ... import strict_cupy, strict_streams
from ...conftest import StrictBackend
from ...cuda_on_cpu import CudaOnStrict
from .common import PLAIN, assert_near, needs_compiler
from .test_steps import lenet5, sgd, train

pytestmark = needs_compiler


class NotSupported(Exception):
    pass


class Enumeration:
    """Names that stand for themselves."""

    def __init__(self, *names):
        vars(self).update({name: name for name in names})


class Tensor:
    def __init__(self, dim, stride, data_type, name):
        self.dim, self.stride, self.data_type, self.name = dim, stride, data_type, name
        self.output = False

    def set_output(self, value):
        self.output = value
        return self

    def set_dim(self, dim):
        self.dim = dim
        return self

    def set_stride(self, stride):
        self.stride = stride
        return self


class Graph:
    """One convolution; every call must come in the order that cuDNN needs."""

    ORDER = ("described", "validated", "built", "planned", "supported", "ready")

    def __init__(self, library, io_data_type, intermediate_data_type, compute_data_type, handle):
        assert intermediate_data_type == compute_data_type == "FLOAT"
        self.library, self.io, self.handle = library, io_data_type, handle
        self.state, self.struck = "described", []
        library.graphs.append(self)

    def tensor(self, dim, stride, data_type=None, name=""):
        assert len(dim) == len(stride) == 4
        return Tensor(dim, stride, data_type or self.io, name)

    def conv_fprop(self, image, weight, padding, stride, dilation):
        return self._conv("conv_forward", image, weight, padding, stride, dilation)

    def conv_dgrad(self, loss, filter, padding, stride, dilation):
        return self._conv("conv_input_grad", loss, filter, padding, stride, dilation)

    def conv_wgrad(self, image, loss, padding, stride, dilation):
        return self._conv("conv_weight_grad", image, loss, padding, stride, dilation)

    def _conv(self, kernel, a, b, padding, stride, dilation):
        self.kernel, self.inputs = kernel, (a, b)
        self.way = padding, stride, dilation
        self.out = Tensor(None, None, self.io, "out")
        return self.out

    def _go(self, before, after):
        assert self.state == before, f"{after} comes after {before}, not {self.state}"
        self.state = after

    def validate(self):
        self._go("described", "validated")
        assert self.out.output

    def build_operation_graph(self):
        self._go("validated", "built")

    def create_execution_plans(self, modes):
        self._go("built", "planned")
        assert modes == ["A", "FALLBACK"]

    def deselect_numeric_notes(self, notes):
        assert self.state == "planned", "there is nothing to strike out before plans are created"
        self.struck += notes

    def check_support(self):
        if self.library.refuses(self):
            raise NotSupported("No valid execution plans built.")
        self._go("planned", "supported")

    def build_plans(self):
        self._go("supported", "ready")

    def get_workspace_size(self):
        return 1024

    def execute(self, pointers, workspace, handle=None):
        assert self.state == "ready"
        assert handle == self.handle == self.library.handle
        assert workspace
        assert self.library.stream is not None
        assert not any(pointer % 16 for pointer in pointers.values()), "not aligned"
        a, b = (self._array(pointers, x) for x in self.inputs)
        out = self._array(pointers, self.out)
        padding, stride, dilation = self.way
        weight = {"conv_forward": b, "conv_input_grad": b, "conv_weight_grad": out}[self.kernel]
        channels = (out if self.kernel == "conv_input_grad" else a).shape[1]
        geometry = ConvGeometry(
            weight.shape[2:],
            tuple(stride),
            tuple((p, p) for p in padding),
            tuple(dilation),
            channels // weight.shape[1],
        )
        more = (out.shape[2:],) if self.kernel == "conv_input_grad" else ()
        out[...] = getattr(PLAIN, self.kernel)(a, b, geometry, *more)
        self.library.ran.append(self.kernel)

    def _array(self, pointers, tensor):
        dtype = {"HALF": np.float16, "FLOAT": np.float32}[tensor.data_type]
        assert tensor.stride == [int(np.prod(tensor.dim[i + 1 :])) for i in range(4)]
        memory = ctypes.c_char * (int(np.prod(tensor.dim)) * np.dtype(dtype).itemsize)
        return np.frombuffer(memory.from_address(pointers[tensor]), dtype).reshape(tensor.dim)


class Frontend:
    """The module `cudnn`, as far as minidl uses it."""

    cudnnGraphNotSupportedError = NotSupported
    data_type = Enumeration("HALF", "BFLOAT16", "FLOAT")
    heur_mode = Enumeration("A", "FALLBACK")
    numerical_note = Enumeration(
        "NONDETERMINISTIC", "DOWN_CONVERT_INPUTS", "TENSOR_CORE", "REDUCED_PRECISION_REDUCTION"
    )

    def __init__(self, refuses=lambda graph: False, broken=None):
        self.graphs, self.ran, self.refuses, self.broken = [], [], refuses, broken
        self.handle = self.stream = None

    def create_handle(self):
        if self.broken:
            raise RuntimeError(self.broken)
        assert self.handle is None, "one handle is enough"
        self.handle = 42
        return 42

    def set_stream(self, handle, stream):
        assert handle == self.handle
        self.stream = stream

    def pygraph(self, **options):
        return Graph(self, **options)


class WithCudnn(CudnnKernels, CudaOnStrict):
    def __init__(self, library):
        super().__init__()
        self.library = library
        self.xp = strict_streams.Namespace()

    def cudnn_library(self):
        return self.library


@pytest.fixture
def gpu():
    """A function that puts a frontend behind the device "strict"; returns its backend."""
    made = []

    def install(library):
        made.append(WithCudnn(library))
        backend.register("strict", lambda: (made[-1], strict_cupy.ndarray))
        return backend.by_name("strict")

    yield install
    backend.register("strict", lambda: (StrictBackend(), strict_cupy.ndarray))
    backend.by_name("strict")
    backend.cudnn.enabled, backend.cudnn.allow_tf32, backend.cudnn.deterministic = (
        True,
        False,
        False,
    )


GEOMETRIES = [
    ConvGeometry((3, 3), (1, 1), ((1, 1), (1, 1))),
    ConvGeometry((3, 2), (2, 1), ((2, 2), (0, 0)), (1, 2)),
    ConvGeometry((1, 1)),
    ConvGeometry((3, 3), (2, 2), ((1, 1), (1, 1)), groups=2),
]


def problem(geometry, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 4, 9, 8))
    w = rng.standard_normal((6, 4 // geometry.groups, *geometry.kernel))
    g = rng.standard_normal((2, 6, *geometry.output_size((9, 8))))
    return [a.astype(dtype) for a in (x, w, g, rng.standard_normal(6))]


def faces(kernels, arrays, geometry, move=lambda a: a):
    x, w, g, bias = (move(a) for a in arrays)
    return [
        kernels.conv_forward(x, w, geometry),
        kernels.conv_forward(x, w, geometry, bias),
        kernels.conv_input_grad(g, w, geometry, (9, 8)),
        kernels.conv_weight_grad(x, g, geometry),
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_each_face_goes_to_cudnn_and_is_right(gpu, geometry, dtype):
    library = Frontend()
    kernels = gpu(library)
    arrays = problem(geometry, dtype)
    with strict_cupy.forbid_sync():
        found = faces(kernels, arrays, geometry, strict_cupy.asarray)
    assert library.ran == ["conv_forward", "conv_forward", "conv_input_grad", "conv_weight_grad"]
    for mine, expected in zip(found, faces(PLAIN, arrays, geometry), strict=True):
        assert_near(mine.get(), expected, 1e-2 if dtype == np.float16 else 1e-5)


def test_a_plan_is_made_once_for_each_geometry_dtype_and_precision(gpu):
    library = Frontend()
    kernels = gpu(library)
    arrays = problem(GEOMETRIES[0], np.float32)
    for _ in range(3):
        faces(kernels, arrays, GEOMETRIES[0], strict_cupy.asarray)
    assert len(library.graphs) == 3
    backend.cudnn.allow_tf32 = True
    faces(kernels, arrays, GEOMETRIES[0], strict_cupy.asarray)
    assert len(library.graphs) == 6
    faces(kernels, problem(GEOMETRIES[0], np.float16), GEOMETRIES[0], strict_cupy.asarray)
    assert len(library.graphs) == 9
    assert library.graphs[-1].io == "HALF"


def struck(gpu, dtype=np.float32):
    library = Frontend()
    geometry = GEOMETRIES[0]
    x, w, _, _ = (strict_cupy.asarray(a) for a in problem(geometry, dtype))
    gpu(library).conv_forward(x, w, geometry)
    return set(library.graphs[-1].struck)


def test_switches_strike_out_what_they_forbid(gpu):
    assert struck(gpu) == {"DOWN_CONVERT_INPUTS", "TENSOR_CORE"}
    assert struck(gpu, np.float16) == {"REDUCED_PRECISION_REDUCTION"}
    backend.cudnn.allow_tf32 = True
    assert struck(gpu) == {"DOWN_CONVERT_INPUTS"}
    backend.cudnn.deterministic = True
    assert struck(gpu) == {"DOWN_CONVERT_INPUTS", "NONDETERMINISTIC"}
    backend.cudnn.deterministic = False
    with md.cuda.deterministic():
        assert struck(gpu) == {"DOWN_CONVERT_INPUTS", "NONDETERMINISTIC"}


@pytest.mark.parametrize(
    "geometry",
    [
        ConvGeometry((3, 3), padding=((1, 0), (0, 1))),
        ConvGeometry((3, 3), groups=4),
    ],
    ids=["padding of one side", "depthwise"],
)
def test_what_it_is_not_asked_for_goes_to_our_own_kernels(gpu, geometry):
    library = Frontend()
    kernels = gpu(library)
    arrays = problem(geometry, np.float32)
    if geometry.groups == 4:
        arrays[1], arrays[2], arrays[3] = arrays[1][:4], arrays[2][:, :4], arrays[3][:4]
    found = faces(kernels, arrays, geometry, strict_cupy.asarray)
    for mine, expected in zip(found, faces(PLAIN, arrays, geometry), strict=True):
        assert_near(mine.get(), expected, 1e-5)
    assert not library.graphs


def test_double_precision_and_empty_batches_are_not_for_cudnn(gpu):
    library = Frontend()
    kernels = gpu(library)
    geometry = GEOMETRIES[0]
    faces(kernels, problem(geometry, np.float64), geometry, strict_cupy.asarray)
    x, w, _, _ = (strict_cupy.asarray(a) for a in problem(geometry, np.float32))
    assert kernels.conv_forward(x[:0], w, geometry).shape == (0, 6, 9, 8)
    assert not library.graphs


def test_it_can_be_turned_off(gpu):
    library = Frontend()
    kernels = gpu(library)
    backend.cudnn.enabled = False
    faces(kernels, problem(GEOMETRIES[0], np.float32), GEOMETRIES[0], strict_cupy.asarray)
    assert library.handle is None


def test_a_refused_plan_is_noted_once_and_not_asked_for_again(gpu):
    library = Frontend(refuses=lambda graph: graph.kernel == "conv_input_grad")
    kernels = gpu(library)
    arrays = problem(GEOMETRIES[0], np.float32)
    with pytest.warns(UserWarning, match=r"cuDNN has no plan for dgrad of \(2, 6, 9, 8\)") as seen:
        found = faces(kernels, arrays, GEOMETRIES[0], strict_cupy.asarray)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        faces(kernels, arrays, GEOMETRIES[0], strict_cupy.asarray)
        other = problem(GEOMETRIES[1], np.float32)
        faces(kernels, other, GEOMETRIES[1], strict_cupy.asarray)
    assert len(library.graphs) == 6
    assert "conv_input_grad" not in library.ran
    for mine, expected in zip(found, faces(PLAIN, arrays, GEOMETRIES[0]), strict=True):
        assert_near(mine.get(), expected, 1e-5)


def test_a_broken_installation_is_noted_once(gpu):
    kernels = gpu(Frontend(broken="cudnnHandle Create failed"))
    arrays = problem(GEOMETRIES[0], np.float32)
    with pytest.warns(UserWarning, match="installed but cannot be used.*Create failed") as seen:
        found = faces(kernels, arrays, GEOMETRIES[0], strict_cupy.asarray)
    assert len(seen) == 1
    assert_near(found[0].get(), faces(PLAIN, arrays, GEOMETRIES[0])[0], 1e-5)


def test_where_it_is_not_installed_nothing_is_said(gpu):
    kernels = gpu(None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        faces(kernels, problem(GEOMETRIES[0], np.float32), GEOMETRIES[0], strict_cupy.asarray)


def test_arrays_that_begin_anywhere_are_aligned(gpu):
    library = Frontend()
    kernels = gpu(library)
    geometry = GEOMETRIES[0]
    x, w, _, _ = problem(geometry, np.float32)
    memory = strict_cupy.empty(x.size + 1, np.float32)
    memory[1:] = strict_cupy.asarray(x).reshape(-1)
    y = kernels.conv_forward(memory[1:].reshape(x.shape), strict_cupy.asarray(w), geometry)
    assert_near(y.get(), PLAIN.conv_forward(x, w, geometry), 1e-5)


def test_a_training_step_through_cudnn_equals_that_on_the_cpu(gpu):
    library = Frontend()
    gpu(library)
    losses, parameters = train(lenet5, sgd, (2, 1, 28, 28), "cpu", 1)
    with strict_cupy.forbid_sync():
        mine, others = train(lenet5, sgd, (2, 1, 28, 28), "strict", 1)
    assert {"conv_forward", "conv_input_grad", "conv_weight_grad"} == set(library.ran)
    for a, b in zip([*mine, *others], [*losses, *parameters], strict=True):
        expected = b.detach().numpy()
        assert np.abs(a.data.get() - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


# -- the real package ------------------------------------------------------------------------------

HAS_FRONTEND = importlib.util.find_spec("cudnn") is not None
needs_frontend = pytest.mark.skipif(
    not HAS_FRONTEND, reason="needs the package nvidia-cudnn-frontend"
)


@needs_frontend
def test_the_calls_fit_the_real_packages_signatures():
    """pybind11 writes them into documentation strings."""
    library = file.find_library()
    mine = {
        "__init__": {"io_data_type", "intermediate_data_type", "compute_data_type", "handle"},
        "conv_fprop": {"image", "weight", "padding", "stride", "dilation"},
        "conv_dgrad": {"loss", "filter", "padding", "stride", "dilation"},
        "conv_wgrad": {"image", "loss", "padding", "stride", "dilation"},
    }
    for name, arguments in mine.items():
        forms = getattr(library.pygraph, name).__doc__.split("\n")
        named = [set(re.findall(r"(\w+): ", form)) for form in forms if f"{name}(self" in form]
        assert any(arguments <= form for form in named), name
    assert set(re.findall(r"(\w+): ", library.set_stream.__doc__)) == {"handle", "stream"}
    for name in ("validate", "build_operation_graph", "check_support", "build_plans"):
        assert callable(getattr(library.pygraph, name))
    for name in ("create_execution_plans", "deselect_numeric_notes", "get_workspace_size"):
        assert callable(getattr(library.pygraph, name))
    for words, theirs in [
        (Frontend.data_type, library.data_type),
        (Frontend.heur_mode, library.heur_mode),
        (Frontend.numerical_note, library.numerical_note),
    ]:
        assert all(hasattr(theirs, name) for name in vars(words))
    assert issubclass(library.cudnnGraphNotSupportedError, Exception)
    for name in ("set_output", "set_dim", "set_stride", "get_dim", "get_stride"):
        assert hasattr(library.tensor, name)


@needs_frontend
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_the_real_package_finds_our_graphs_valid(geometry, dtype):
    library = file.find_library()
    try:
        library.backend_version()
    except RuntimeError as error:
        pytest.skip(f"needs libcudnn, too: nvidia-cudnn-cu13 ({error})")
    x, w, g = ((a.shape) for a in problem(geometry, dtype)[:3])
    for face, a, b, shape in [("fprop", x, w, g), ("dgrad", g, w, x), ("wgrad", x, g, w)]:
        graph, (_, _, out) = describe(library, None, face, a, b, shape, geometry, dtype)
        graph.validate()
        assert tuple(out.get_dim()) == shape
        assert tuple(out.get_stride()) == tuple(np.empty(shape, np.int8).strides)
        if face == "fprop":  # the one whose result's shape cuDNN works out itself
            graph, (_, _, out) = describe(library, None, face, a, b, shape, geometry, dtype)
            out.set_dim([])
            graph.validate()
            assert tuple(out.get_dim()) == shape


@pytest.mark.gpu
@needs_frontend
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_on_a_real_gpu_cudnn_computes_what_our_kernels_compute(geometry, dtype):
    cuda = backend.by_name("cuda")
    arrays = problem(geometry, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a refused plan, an unusable installation
        found = faces(cuda, arrays, geometry, cuda.asarray)
    for mine, expected in zip(found, faces(PLAIN, arrays, geometry), strict=True):
        assert_near(cuda.to_host(mine), expected, 1e-2 if dtype == "float16" else 1e-4)
