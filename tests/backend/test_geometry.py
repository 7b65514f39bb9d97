"""Sliding windows: sizes, taps, receptive fields, each against counting pixel by pixel."""

import itertools

import numpy as np
import pytest

from minidl.backend.geometry import ConvGeometry, receptive_field, windows_on_image


def test_output_size_counts_the_windows_that_fit():
    for kernel, stride, low, high, dilation, size in itertools.product(
        (1, 2, 3), (1, 2, 3), (0, 2), (0, 1), (1, 2), range(1, 9)
    ):
        geometry = ConvGeometry(
            (kernel, 1), (stride, 1), ((low, high), (0, 0)), (dilation, 1)
        )  # fmt: skip
        last = dilation * (kernel - 1)
        starts = [i for i in range(0, size + low + high, stride) if i + last < size + low + high]
        if starts:
            assert geometry.output_size((size, 5)) == (len(starts), 5)
        else:
            assert geometry.output_size((size, 5))[0] < 1


def test_input_size_is_the_smallest_image_with_so_many_windows():
    geometry = ConvGeometry((3, 4), (2, 3), ((1, 0), (2, 1)), (2, 1))
    for size in itertools.product(range(1, 5), repeat=2):
        height, width = geometry.input_size(size)
        assert geometry.output_size((height, width)) == size
        assert geometry.output_size((height - 1, width))[0] == size[0] - 1
        assert geometry.output_size((height, width - 1))[1] == size[1] - 1


def test_windows_on_image_are_those_that_find_a_pixel():
    for offset, stride, length, count in itertools.product(
        range(-7, 8), (1, 2, 3), range(6), range(6)
    ):
        windows, pixels = windows_on_image(offset, stride, length, count)
        expected = [
            (j, j * stride + offset) for j in range(count) if 0 <= j * stride + offset < length
        ]
        found = zip(np.arange(count)[windows], np.arange(length)[pixels], strict=True)
        assert list(found) == expected


def test_a_tap_takes_padding_and_dilation_into_account():
    geometry = ConvGeometry((3, 3), (1, 2), ((1, 1), (2, 0)), (1, 3))
    assert geometry.tap(0, 0, 4, 4) == (slice(1, 4), slice(0, 3, 1))
    windows, pixels = geometry.tap(1, 1, 9, 3)
    assert np.arange(3)[windows].tolist() == [0, 1, 2]
    assert np.arange(9)[pixels].tolist() == [1, 3, 5]


@pytest.mark.parametrize("name", ["kernel", "stride", "dilation"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        ConvGeometry(**{"kernel": (2, 2), name: (0, 1)})


def test_groups_below_one_are_refused():
    with pytest.raises(ValueError, match="groups must be at least 1, got 0"):
        ConvGeometry((2, 2), groups=0)


def test_the_receptive_field_of_nothing_is_a_pixel():
    assert receptive_field([]) == ((1, 1), (1, 1), (0, 0))


def test_the_receptive_field_equals_tracing_pixels_back():
    rng = np.random.default_rng(0)
    for _ in range(50):
        geometries = [
            ConvGeometry(
                tuple(rng.integers(1, 5, 2).tolist()),
                tuple(rng.integers(1, 4, 2).tolist()),
                tuple(tuple(rng.integers(0, 3, 2).tolist()) for _ in range(2)),
                tuple(rng.integers(1, 3, 2).tolist()),
            )
            for _ in range(rng.integers(1, 5))
        ]
        field = receptive_field(geometries)
        for axis in (0, 1):
            for unit in (0, 1, 5):
                seen = {unit}
                for geometry in reversed(geometries):
                    seen = {
                        i * geometry.stride[axis]
                        + tap * geometry.dilation[axis]
                        - geometry.padding[axis][0]
                        for i in seen
                        for tap in range(geometry.kernel[axis])
                    }
                first = field.start[axis] + unit * field.stride[axis]
                assert min(seen) == first
                assert max(seen) == first + field.size[axis] - 1


def test_the_receptive_field_of_vgg16_is_212_pixels():
    """Its 13 convolutions and 5 poolings, up to the last feature map."""
    conv = ConvGeometry((3, 3), padding=((1, 1), (1, 1)))
    pool = ConvGeometry((2, 2), (2, 2))
    layers = []
    for count in (2, 2, 3, 3, 3):
        layers += [conv] * count + [pool]
    field = receptive_field(layers)
    assert field.size == (212, 212)
    assert field.stride == (32, 32)
