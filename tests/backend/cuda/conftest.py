"""The device "strict" with the GPU's kernels."""

import pytest

from minidl import backend

from ... import strict_cupy
from ...conftest import StrictBackend
from ...cuda_on_cpu import CudaOnStrict


@pytest.fixture
def gpu():
    """The backend of the device "strict", with the GPU's kernels."""
    backend.register("strict", lambda: (CudaOnStrict(), strict_cupy.ndarray))
    yield backend.by_name("strict")
    backend.register("strict", lambda: (StrictBackend(), strict_cupy.ndarray))
    backend.by_name("strict")
