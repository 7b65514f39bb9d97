"""Devices the tests run on, and who decides which tests run.

"cpu" always; "strict", the stand-in for CuPy on which a hidden synchronisation is an error; "cuda"
where a GPU answers. A test marked `gpu` needs the last, one marked `data` the folder MINIDL_DATA.
"""

import os
import pathlib

# One thread for BLAS and PyTorch in each test process: the suite runs on all processors as it is,
# and threads that wait by spinning slow each other down tenfold. Read when NumPy is first loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

import minidl as md
from minidl import backend
from minidl.backend.base import Backend

from . import strict_cupy


class StrictBackend(Backend):
    """The plain kernels on the stand-in: what runs where CuPy is, on a machine without a GPU."""

    name = "strict"
    xp = strict_cupy

    def asarray(self, data, dtype=None, index=None):
        return strict_cupy.asarray(data, dtype)

    def to_host(self, array):
        return strict_cupy.asnumpy(array)  # logged: float(tensor) and `if loss > x` end here too


backend.register("strict", lambda: (StrictBackend(), strict_cupy.ndarray))


# To see that tests marked `gpu` would run: the device "cuda" is the stand-in, with the kernels of
# the GPU compiled for the CPU.
PRETENDING = "MINIDL_PRETEND_GPU" in os.environ
if PRETENDING:
    from . import pretended_gpu

    pretended_gpu.install()


def pytest_collection_modifyitems(items):
    gpu = backend.cuda.probe() if any(item.get_closest_marker("gpu") for item in items) else None
    for item in items:
        if item.get_closest_marker("gpu") and not gpu[0]:
            item.add_marker(pytest.mark.skip(reason=f"needs a GPU: {gpu[1]}"))
        if item.get_closest_marker("data") and "MINIDL_DATA" not in os.environ:
            item.add_marker(pytest.mark.skip(reason="needs real data: set MINIDL_DATA"))


@pytest.fixture
def data_folder():
    """The folder with real data sets."""
    return pathlib.Path(os.environ["MINIDL_DATA"])


@pytest.fixture(autouse=True)
def _same_start():
    """Every test starts from the same random state and leaves the global switches as they were."""
    md.manual_seed(0)
    np.random.seed(0)
    before = backend.default_device()
    yield
    assert md.autograd.is_grad_enabled(), "the test left recording switched off"
    assert not md.autograd.events.listeners, "the test left a listener behind"
    backend.use(before)
