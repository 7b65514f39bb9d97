"""Padding layers against torch's."""

import pytest

from .compare import compare


@pytest.mark.parametrize("padding", [1, (1, 2, 0, 3)])
def test_padding_of_images_is_torchs(padding):
    for name in ("ZeroPad2d", "ReflectionPad2d", "ReplicationPad2d"):
        compare(name, (padding,), {}, (2, 3, 5, 4))
    compare("ConstantPad2d", (padding, 3.5), {}, (2, 3, 5, 4))


@pytest.mark.parametrize("padding", [2, (0, 3)])
def test_padding_of_signals_is_torchs(padding):
    for name in ("ZeroPad1d", "ReflectionPad1d", "ReplicationPad1d"):
        compare(name, (padding,), {}, (2, 3, 5))
    compare("ConstantPad1d", (padding, -1.0), {}, (2, 3, 5))
