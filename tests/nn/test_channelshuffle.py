"""The shuffle of channels, against torch's."""

import numpy as np
import pytest

import minidl as md
from minidl import nn

from .compare import compare


@pytest.mark.parametrize(("groups", "shape"), [(2, (2, 6, 3)), (3, (2, 6, 3, 4)), (1, (1, 4, 2))])
def test_channel_shuffle_is_torchs(groups, shape):
    compare("ChannelShuffle", (groups,), {}, shape)


def test_channels_are_written_row_by_row_and_read_column_by_column():
    x = md.arange(6.0).reshape(1, 6, 1)
    assert nn.ChannelShuffle(2)(x).data.ravel().tolist() == [0, 3, 1, 4, 2, 5]
    # g groups, then C / g groups: everything is back in its place
    np.testing.assert_array_equal(nn.ChannelShuffle(3)(nn.ChannelShuffle(2)(x)).data, x.data)


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="6 channels cannot be divided into 4 groups"):
        nn.ChannelShuffle(4)(md.zeros(2, 6, 3, 3))
    with pytest.raises(ValueError, match="groups must be positive, got 0"):
        nn.ChannelShuffle(0)
