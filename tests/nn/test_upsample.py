"""Layers that enlarge, against torch's."""

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor

from .compare import compare


@pytest.mark.parametrize(
    "kwargs",
    [
        {"scale_factor": 2},
        {"scale_factor": (2.0, 1.5)},
        {"size": 7},
        {"size": (5, 9), "mode": "bilinear"},
        {"scale_factor": 2.5, "mode": "bilinear", "align_corners": True},
        {"scale_factor": 1.6, "mode": "bilinear", "recompute_scale_factor": True},
    ],
)
def test_upsample_is_torchs(kwargs):
    compare("Upsample", (), kwargs, (2, 3, 4, 5))


def test_its_short_forms_are_torchs():
    compare("UpsamplingNearest2d", (), {"scale_factor": 3}, (2, 3, 4, 5))
    compare("UpsamplingBilinear2d", (), {"size": (6, 7)}, (2, 3, 4, 5))


def test_pixel_shuffle_is_torchs():
    compare("PixelShuffle", (2,), {}, (2, 8, 3, 4))
    compare("PixelShuffle", (3,), {}, (9, 3, 4))
    with pytest.raises(ValueError, match="6 channels cannot be divided by upscale_factor"):
        nn.PixelShuffle(2)(Tensor(np.zeros((1, 6, 2, 2), np.float32)))
