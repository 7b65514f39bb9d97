"""The device "cuda" as the stand-in for CuPy: for `MINIDL_PRETEND_GPU=1 pytest -m gpu`."""

from minidl import backend
from minidl.backend.cuda.transfer import Transfers

from . import strict_cupy, strict_streams
from .cuda_on_cpu import CudaOnStrict


class PretendedGpu(Transfers, CudaOnStrict):
    name = "cuda"
    xp = strict_streams.Namespace()

    def index_of(self, array):
        return 0

    def select(self, index):
        if index:
            raise RuntimeError(f"device cuda:{index} does not exist: CUDA sees 1 device(s)")


def install():
    """Put it in CuPy's place, and have every probe find it."""
    one = PretendedGpu()
    for name in ("cuda", "strict"):  # one class of arrays has one backend
        backend.register(name, lambda: (one, strict_cupy.ndarray))
    backend.cuda.probe = lambda: (True, "a pretended GPU")
    backend.cuda.device_count = lambda: 1
