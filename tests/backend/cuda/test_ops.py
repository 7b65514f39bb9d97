"""Every operation with the GPU's kernels, executed on the CPU: values and gradients, no waiting.

The same test as on the plain kernels (tests/ops/test_all_ops.py), on another backend.
"""

import pytest

from ...ops import test_all_ops as suite
from .common import needs_compiler


@needs_compiler
@pytest.mark.parametrize("case", suite.ALL, ids=suite.NAMES)
def test_an_operation_with_the_kernels_of_the_gpu_equals_the_cpu(case, gpu):
    assert gpu.name == "strict"
    suite.test_other_devices_give_the_same_without_hidden_waits(case, "strict")
