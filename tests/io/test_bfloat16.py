"""bfloat16."""

import numpy as np
import pytest

from minidl.io.bfloat16 import float32_of_bfloat16


def test_bfloat16_is_the_upper_half_of_a_float32():
    upper = np.array([[0x3F80, 0xC020], [0x7F80, 0x0001]], "<u2")
    wide = float32_of_bfloat16(upper)
    assert wide.dtype == np.float32
    np.testing.assert_array_equal(wide, np.float32([[1.0, -2.5], [np.inf, 2.0**-133]]))


def test_every_bfloat16_comes_out_as_torch_has_it():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    upper = np.arange(1 << 16, dtype=np.uint16)
    theirs = torch.from_numpy(upper.view(np.int16)).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(float32_of_bfloat16(upper), theirs)  # NaNs included
