"""Matching and sampling against loops over boxes, at their edges, and torchvision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl.backend import by_name
from minidl.boxes import BalancedPositiveNegativeSampler, Matcher, SSDMatcher, box_iou

from .. import strict_cupy
from ..torchvision_oracle import torchvision
from .test_nms import random_boxes

DEVICES = ["strict", pytest.param("cuda", marks=pytest.mark.gpu)]


def slow_match(quality, high, low, low_quality):
    """Box after box, as the paper says it."""
    result = []
    for n in range(quality.shape[1]):
        column = quality[:, n].tolist()
        best = max(column)
        wanted = [q == max(row) and q > 0 for q, row in zip(column, quality.tolist(), strict=True)]
        if best >= high or (low_quality and any(wanted)):
            result.append(column.index(best))
        else:
            result.append(-2 if best >= low else -1)
    return result


def table(seed, m, n, levels=10):
    """Overlaps among which many are equal."""
    return (np.random.default_rng(seed).integers(0, levels + 1, (m, n)) / levels).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(0, 12),
    st.integers(0, 1000),
    st.sampled_from([(0.7, 0.3), (0.5, 0.5), (1.0, 0.0)]),
    st.booleans(),
)
def test_matches_equal_a_loop_over_boxes(m, n, seed, thresholds, low_quality):
    quality = table(seed, m, n)
    high, low = [float(np.float32(t)) for t in thresholds]
    matches = Matcher(high, low, low_quality)(quality)
    assert matches.dtype == np.int64
    assert matches.tolist() == slow_match(quality, high, low, low_quality)


def test_thresholds_by_hand():
    quality = np.array([[0.75, 0.5, 0.25, 0.0], [0.5, 0.75, 0.125, 0.0]], np.float32)
    assert Matcher(0.5, 0.25)(quality).tolist() == [0, 1, -2, -1]
    assert Matcher(0.75, 0.5)(quality).tolist() == [0, 1, -1, -1]  # a threshold belongs above
    assert Matcher(0.76, 0.1)(quality).tolist() == [-2, -2, -2, -1]
    assert Matcher(0.76, 0.1, True)(quality).tolist() == [0, 1, -2, -1]


def test_of_equal_overlaps_the_first_counts_and_all_best_boxes_are_kept():
    quality = np.array([[0.25, 0.25, 0.1], [0.25, 0.0, 0.1]], np.float32)
    assert Matcher(0.7, 0.3, True)(quality).tolist() == [0, 0, -1]
    # The best box of the second prefers the first: it keeps its own best match, as in torchvision.
    quality = np.array([[0.5, 0.2], [0.4, 0.1]], np.float32)
    assert Matcher(0.7, 0.3, True)(quality).tolist() == [0, -1]


def test_ties_are_those_of_float32():
    """Two overlaps that differ in float64 only are equal, and both boxes are kept."""
    exact = np.array([[0.3, 0.3 + 1e-9, 0.2]])
    assert Matcher(0.7, 0.3, True)(exact.astype(np.float32)).tolist() == [0, 0, -1]
    assert Matcher(0.7, 0.31, True)(exact).tolist() == [-1, 0, -1]


def test_without_objects_all_is_background():
    none = np.zeros((0, 5), np.float32)
    for matcher in (Matcher(0.7, 0.3, True), Matcher(0.5, 0.5), SSDMatcher(0.5)):
        assert matcher(none).tolist() == [-1] * 5
        assert matcher(none).dtype == np.int64
        assert matcher(np.zeros((3, 0), np.float32)).shape == (0,)
        assert matcher(np.zeros((0, 0), np.float32)).shape == (0,)


def test_an_object_that_overlaps_nothing_takes_nothing():
    """torchvision would give it every box that overlaps nothing."""
    quality = np.array([[0.8, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    assert Matcher(0.7, 0.3, True)(quality).tolist() == [0, -1, -1]


def test_every_object_gets_a_box_from_ssds_matcher():
    quality = np.array([[0.2, 0.1, 0.6], [0.3, 0.4, 0.7], [0.1, 0.0, 0.0]], np.float32)
    # both of the first two want box 2: the last of them gets it; box 0 goes to the third
    assert SSDMatcher(0.5)(quality).tolist() == [2, -1, 1]
    assert SSDMatcher(0.35)(quality).tolist() == [2, 1, 1]


def overlaps(seed, m, n):
    rng = np.random.default_rng(seed)
    return box_iou(random_boxes(rng, m).astype(np.float32), random_boxes(rng, n).astype(np.float32))


@pytest.mark.parametrize("seed", range(5))
def test_matchers_agree_with_torchvision(seed):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    torchvision()
    from torchvision.models.detection import _utils

    for quality in (overlaps(seed, 6, 200), table(seed, 4, 60), table(seed, 30, 10, 3)):
        # torchvision lets an object without overlaps take all; see the test above
        quality = quality[quality.max(axis=1) > 0]
        there = torch.tensor(quality)
        for high, low, low_quality in [(0.7, 0.3, True), (0.5, 0.5, False), (0.5, 0.4, True)]:
            expected = _utils.Matcher(high, low, low_quality)(there).numpy()
            assert np.array_equal(Matcher(high, low, low_quality)(quality), expected)
        assert np.array_equal(SSDMatcher(0.5)(quality), _utils.SSDMatcher(0.5)(there).numpy())


def test_wrong_overlaps_are_errors_that_name_the_class():
    for bad in (np.nan, 1.5, -0.1):
        with pytest.raises(ValueError, match=r"Matcher: all elements must be between 0.0 and 1.0"):
            Matcher(0.7, 0.3)(np.array([[0.5, bad]], np.float32))
    with pytest.raises(ValueError, match=r"SSDMatcher: match_quality_matrix must be \(M, N\)"):
        SSDMatcher(0.5)(np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="Matcher: overlaps must be an array, got a Tensor"):
        Matcher(0.7, 0.3)(md.zeros(2, 3))
    with pytest.raises(ValueError, match=r"low_threshold 0.8 must not be above high_threshold 0.7"):
        Matcher(0.7, 0.8)
    assert "high_threshold=0.7" in repr(Matcher(0.7, 0.3))


# -- sampling -------------------------------------------------------------------------------------


def labels(seed, count, positive, negative):
    """`positive` ones, `negative` zeros, the rest -1."""
    numbers = [1] * positive + [0] * negative + [-1] * (count - positive - negative)
    return np.random.default_rng(seed).permutation(np.array(numbers, np.int64))


CROWDS = [  # (count, positive, negative) of an image, drawn for 16 boxes, a quarter positive
    ((100, 50, 50), (4, 12)),
    ((100, 2, 90), (2, 14)),  # too few positive: more negative
    ((100, 0, 90), (0, 16)),  # no object
    ((100, 90, 3), (4, 3)),  # too few negative: fewer boxes
    ((10, 2, 3), (2, 3)),
    ((10, 10, 0), (4, 0)),
    ((5, 0, 0), (0, 0)),
    ((1, 1, 0), (1, 0)),
    ((0, 0, 0), (0, 0)),
]


def test_so_many_are_drawn_as_there_are_and_of_the_right_kind():
    batch = [labels(k, *numbers) for k, (numbers, _) in enumerate(CROWDS)]
    before = [numbers.copy() for numbers in batch]
    sampler = BalancedPositiveNegativeSampler(16, 0.25)
    for positive, negative in (sampler(batch), sampler([b.astype(np.float32) for b in batch])):
        assert len(positive) == len(negative) == len(batch)
        for numbers, p, n, (_, drawn) in zip(batch, positive, negative, CROWDS, strict=True):
            assert p.dtype == n.dtype == np.bool_
            assert p.shape == n.shape == numbers.shape
            assert (int(p.sum()), int(n.sum())) == drawn
            assert (numbers[p] == 1).all()
            assert (numbers[n] == 0).all()
    assert all(np.array_equal(a, b) for a, b in zip(batch, before, strict=True))


def test_manual_seed_decides_and_each_call_draws_anew():
    batch = [labels(0, 200, 60, 100), labels(0, 200, 60, 100)]
    sampler = BalancedPositiveNegativeSampler(20, 0.5)
    md.manual_seed(3)
    first, second = sampler(batch), sampler(batch)
    md.manual_seed(3)
    again = sampler(batch)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[0][0], first[0][1]), "the images of a batch are drawn alike"


def test_every_box_is_drawn_equally_often():
    md.manual_seed(0)
    numbers = labels(1, 40, 10, 20)
    sampler = BalancedPositiveNegativeSampler(8, 0.5)
    positive, negative = sampler([numbers] * 2000)
    for drawn, kind, share in ((positive, 1, 4 / 10), (negative, 0, 4 / 20)):
        often = np.mean(drawn, axis=0)[numbers == kind]
        # the standard deviation of a share in 2,000 draws is 0.011
        assert np.abs(often - share).max() < 0.05


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 40),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_numbers_drawn_are_torchvisions(positive, negative, size, fraction):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    torchvision()
    from torchvision.models.detection._utils import BalancedPositiveNegativeSampler as Theirs

    numbers = labels(0, positive + negative + 3, positive, negative)
    ours = BalancedPositiveNegativeSampler(size, fraction)([numbers])
    theirs = Theirs(size, fraction)([torch.tensor(numbers)])
    for (mine,), (expected,) in zip(ours, theirs, strict=True):
        assert mine.shape == tuple(expected.shape)
        assert int(mine.sum()) == int(expected.sum())


def test_a_wrong_sampler_and_wrong_labels_are_errors():
    for size, fraction in [(-1, 0.5), (4, 1.5), (4, float("nan"))]:
        with pytest.raises(ValueError, match="BalancedPositiveNegativeSampler: batch_size_per"):
            BalancedPositiveNegativeSampler(size, fraction)
    sampler = BalancedPositiveNegativeSampler(4, 0.5)
    with pytest.raises(ValueError, match=r"matched_idxs must be \(N,\) for each image, got \(2, 3"):
        sampler([np.zeros((2, 3))])
    with pytest.raises(TypeError, match="must be arrays, got a Tensor"):
        sampler([md.zeros(3)])


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_gives_the_same_without_waiting(device):
    backend = by_name(device)
    quality = overlaps(0, 3, 50)
    batch = [labels(k, 50, 20, 20) for k in range(2)] + [labels(9, 6, 1, 3)]
    matchers = [Matcher(0.5, 0.2, True), SSDMatcher(0.5)]
    sampler = BalancedPositiveNegativeSampler(10, 0.3)
    there, batch_there = backend.asarray(quality), [backend.asarray(b) for b in batch]
    md.manual_seed(1)
    with strict_cupy.forbid_sync():
        matches = [matcher(there) for matcher in matchers]
        masks = sampler(batch_there)
    md.manual_seed(1)
    expected = sampler(batch)
    with strict_cupy.allow_sync():
        for made, matcher in zip(matches, matchers, strict=True):
            assert np.array_equal(backend.to_host(made), matcher(quality))
        for k in (0, 1):
            for made, mask in zip(masks[k], expected[k], strict=True):
                assert np.array_equal(backend.to_host(made), mask)
