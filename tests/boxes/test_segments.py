"""Graph segmentation against the paper's algorithm on sets of pixels."""

import math

import numpy as np
import pytest

from minidl.boxes import felzenszwalb
from minidl.boxes.segments import blur


def slow_segments(image, k, min_size):
    """Felzenszwalb and Huttenlocher 2004, algorithm 1, on sets; Int(C) from the spanning tree.

    Without a blur. Edges of one length in the order right, below, right below, left below.
    """
    channels, height, width = image.shape
    edges = []
    for kind, (dy, dx) in enumerate([(0, 1), (1, 0), (1, 1), (1, -1)]):
        for y in range(height):
            for x in range(width):
                p, q = (y, x), (y + dy, x + dx)
                if q[0] < height and 0 <= q[1] < width:
                    length = math.sqrt(
                        sum((255 * (image[c][p] - image[c][q])) ** 2 for c in range(channels))
                    )
                    edges.append((length, kind, p, q))
    edges.sort(key=lambda edge: edge[0])
    sets = {(y, x): {(y, x)} for y in range(height) for x in range(width)}
    internal = dict.fromkeys(sets, 0.0)  # of the set that p is in

    def join(p, q):
        union = sets[p] | sets[q]
        for node in union:
            sets[node] = union

    for length, _, p, q in edges:
        accepted = min(internal[r] + k / len(sets[r]) for r in (p, q))
        if q not in sets[p] and length <= accepted:
            join(p, q)
            for node in sets[p]:
                internal[node] = length
    for _, _, p, q in edges:
        if q not in sets[p] and min(len(sets[p]), len(sets[q])) < min_size:
            join(p, q)
    return {frozenset(s) for s in sets.values()}


def regions(labels):
    return {frozenset(zip(*np.nonzero(labels == n), strict=True)) for n in np.unique(labels)}


def plain(sets):
    return {frozenset((int(y), int(x)) for y, x in s) for s in sets}


@pytest.mark.parametrize("seed", range(6))
def test_regions_equal_the_papers_algorithm(seed):
    rng = np.random.default_rng(seed)
    size = [(9, 12), (1, 30), (20, 1), (11, 11), (12, 8), (2, 2)][seed]
    image = rng.random((rng.integers(1, 4), *size))
    image = np.clip(image * 0.3 + (rng.random((len(image), 1, 1)) > 0.5) * 0.4, 0, 1)
    image[:, size[0] // 2 :] *= 0.6
    for k in (0.0, 40.0, 300.0):
        for min_size in (0, 5):
            labels = felzenszwalb(image, k, 0.0, min_size)
            assert labels.shape == size
            assert labels.dtype == np.int64
            assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
            assert plain(regions(labels)) == slow_segments(image, k, min_size)


def test_a_picture_of_three_areas_has_three_regions():
    image = np.zeros((3, 40, 60), np.float32)
    image[0, :, 20:] = 1.0
    image[1, 10:30, 35:50] = 0.8
    labels = felzenszwalb(image, 100, 0.0, 20)
    expected = np.zeros((40, 60), int)
    expected[:, 20:] = 1
    expected[10:30, 35:50] = 2
    assert plain(regions(labels)) == plain(regions(expected))


def test_a_larger_scale_gives_larger_regions_and_small_ones_vanish():
    image = np.clip(blur(np.random.default_rng(0).random((3, 50, 70)), 2.0) * 4 - 1.5, 0, 1)
    counts = [felzenszwalb(image, k, 0.8, 0).max() + 1 for k in (20, 100, 1000)]
    assert counts[0] > counts[1] > counts[2] >= 1
    sizes = np.bincount(felzenszwalb(image, 20, 0.8, 30).ravel())
    assert sizes.min() >= 30


def test_noise_inside_a_region_does_not_split_it_but_an_edge_does():
    """The example of the paper's figure 1: variation in one half, a faint step elsewhere."""
    rng = np.random.default_rng(0)
    image = np.full((1, 40, 60), 0.2)
    image[0, :, 20:40] = 0.35
    image[0, :, 40:] = 0.7 + 0.25 * (rng.random((40, 20)) - 0.5)
    labels = felzenszwalb(image, 300, 0.0, 50)
    assert len({int(labels[y, x]) for y in (5, 30) for x in (5, 30, 50)}) == 3
    assert labels.max() == 2


def test_one_pixel_and_one_colour():
    assert felzenszwalb(np.zeros((3, 1, 1))).tolist() == [[0]]
    assert not felzenszwalb(np.full((1, 30, 20), 0.5, np.float32)).any()


def test_a_blur_is_a_convolution_with_a_gaussian_and_its_derivative_is_one():
    spot = np.zeros((1, 31, 31))
    spot[0, 15, 15] = 1.0
    y, x = np.indices((31, 31)) - 15.0
    sigma = 1.5
    gauss = np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    assert np.allclose(blur(spot, sigma)[0], gauss, atol=1e-4)
    assert np.allclose(blur(spot, sigma, (0, 1))[0], -x / sigma**2 * gauss, atol=1e-4)
    assert np.allclose(blur(spot, sigma, (1, 0))[0], -y / sigma**2 * gauss, atol=1e-4)
    ramp = np.broadcast_to(np.arange(31.0), (1, 31, 31))
    assert np.allclose(blur(ramp, 1.0, (0, 1))[0, :, 6:-6], 1.0, atol=1e-3)
    assert np.allclose(blur(np.ones((2, 5, 3)), 2.0), 1.0)


def test_wrong_arguments_name_the_function():
    good = np.zeros((3, 4, 5))
    for image, error, message in [
        (good.tolist(), TypeError, "image must be a NumPy array"),
        (good[0], ValueError, r"image must be \(C, H, W\)"),
        (good[:, :0], ValueError, r"image must be \(C, H, W\), with pixels"),
        (good + 2, ValueError, "numbers from 0 to 1, got 2 to 2; divide bytes by 255"),
        (good * np.nan, ValueError, "numbers from 0 to 1, got nan"),
    ]:
        with pytest.raises(error, match=f"felzenszwalb: .*{message}"):
            felzenszwalb(image)
    for options in ({"scale": -1}, {"sigma": -1}, {"min_size": -1}):
        with pytest.raises(ValueError, match="felzenszwalb: scale, sigma and min_size must not be"):
            felzenszwalb(good, **options)
