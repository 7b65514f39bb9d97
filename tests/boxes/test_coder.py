"""Boxes as differences, against the paper's formulas written for one box, and torchvision."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl.autograd import gradcheck, gradgradcheck
from minidl.backend import by_name
from minidl.boxes import BoxCoder

from .. import strict_cupy
from ..torchvision_oracle import torchvision
from .test_nms import random_boxes

DEVICES = ["strict", pytest.param("cuda", marks=pytest.mark.gpu)]
WEIGHTS = [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0), (3.0, 7.0, 0.5, 2.0)]


def pairs(seed, count, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [random_boxes(rng, count).astype(dtype) for _ in range(2)]


def slow_encode(g, p, weights):
    """R-CNN, appendix C, equations 6 to 9."""
    rows = []
    for (gx1, gy1, gx2, gy2), (px1, py1, px2, py2) in zip(g.tolist(), p.tolist(), strict=True):
        gw, gh, pw, ph = gx2 - gx1, gy2 - gy1, px2 - px1, py2 - py1
        row = [
            ((gx1 + gx2) / 2 - (px1 + px2) / 2) / pw,
            ((gy1 + gy2) / 2 - (py1 + py2) / 2) / ph,
            math.log(gw / pw),
            math.log(gh / ph),
        ]
        rows.append([weight * t for weight, t in zip(weights, row, strict=True)])
    return np.array(rows).reshape(-1, 4)


def slow_decode(t, p, weights, limit):
    """R-CNN, appendix C, equations 1 to 4."""
    rows = []
    for code, (px1, py1, px2, py2) in zip(t.tolist(), p.tolist(), strict=True):
        dx, dy, dw, dh = [c / weight for c, weight in zip(code, weights, strict=True)]
        x, y = (px1 + px2) / 2 + dx * (px2 - px1), (py1 + py2) / 2 + dy * (py2 - py1)
        w, h = math.exp(min(dw, limit)) * (px2 - px1), math.exp(min(dh, limit)) * (py2 - py1)
        rows.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return np.array(rows).reshape(-1, 4)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("count", [0, 1, 50])
def test_both_ways_equal_the_papers_formulas(weights, count):
    wanted, start = pairs(count, count)
    coder = BoxCoder(weights)
    codes = coder.encode(wanted, start)
    assert codes.dtype == np.float64
    assert np.allclose(codes, slow_encode(wanted, start, weights), atol=1e-12)
    noise = np.random.default_rng(1).standard_normal(codes.shape) * 3
    expected = slow_decode(noise, start, weights, coder.bbox_xform_clip)
    assert np.allclose(coder.decode(noise, start), expected, atol=1e-9)
    assert np.allclose(coder.decode(codes, start), wanted)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=4, max_size=4), st.integers(0, 1000))
def test_decoding_undoes_encoding(numbers, seed):
    """As long as no side grows beyond the limit, 62.5 times."""
    start = pairs(seed, 1)[0]
    x, y, w, h = numbers
    wanted = np.array([[x, y, x + w, y + h]], np.float64)
    coder = BoxCoder((10, 10, 5, 5))
    assert np.allclose(coder.decode(coder.encode(wanted, start), start), wanted)


def test_golden_values_by_hand():
    start, wanted = np.array([[10, 10, 20, 30]], np.float32), np.array([[12, 10, 32, 20]])
    codes = BoxCoder((10, 10, 5, 5)).encode(wanted.astype(np.float32), start)
    # centres (15, 20) and (22, 15), sides (10, 20) and (20, 10)
    assert codes.dtype == np.float32
    assert np.allclose(codes, [[7.0, -2.5, 5 * math.log(2), -5 * math.log(2)]])


def test_a_side_grows_at_most_from_16_pixels_to_1000():
    start = np.array([[0, 0, 16, 16]], np.float32)
    codes = np.array([[0, 0, 50, 1e30]], np.float32)
    box = BoxCoder().decode(codes, start)
    assert np.allclose(box, [[-492, -492, 508, 508]], rtol=1e-5)
    assert box.dtype == np.float32


def test_codes_of_several_classes_start_from_the_same_boxes():
    _, start = pairs(0, 6)
    codes = np.random.default_rng(2).standard_normal((6, 3, 4))
    coder = BoxCoder((10, 10, 5, 5))
    boxes = coder.decode(codes, start)
    assert boxes.shape == (6, 3, 4)
    for c in range(3):
        assert np.array_equal(boxes[:, c], coder.decode(codes[:, c], start))


def test_gradients_flow_through_decoding_to_second_order():
    _, start = pairs(0, 4)
    codes = md.tensor(np.random.default_rng(3).standard_normal((4, 4)), requires_grad=True)
    coder = BoxCoder((2, 2, 1, 1))
    boxes = coder.decode(codes, start)
    assert isinstance(boxes, md.Tensor)
    assert np.array_equal(boxes.data, coder.decode(codes.data, start))
    assert gradcheck(lambda t: coder.decode(t, start), [codes])
    assert gradgradcheck(lambda t: coder.decode(t, start), [codes])


def test_half_precision_codes_give_float32_boxes():
    start = np.array([[3000, 3000, 3010, 3010]], np.float32)
    box = BoxCoder().decode(np.array([[0.1, 0, 0, 0]], np.float16), start)
    assert box.dtype == np.float32
    assert np.allclose(box, [[3001, 3000, 3011, 3010]], atol=0.01)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_agrees_with_torchvision(dtype):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    torchvision()
    from torchvision.models.detection._utils import BoxCoder as Theirs

    wanted, start = pairs(5, 40, dtype)
    rng = np.random.default_rng(6)
    codes = (rng.standard_normal((40, 3, 4)) * 4).astype(dtype)
    codes[0, 0] = 100  # beyond the limit
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for weights in WEIGHTS:
        ours, theirs = BoxCoder(weights), Theirs(weights)
        there = [torch.tensor(a) for a in (wanted, start)]
        expected = theirs.encode_single(*there).numpy()
        assert np.allclose(ours.encode(wanted, start), expected, rtol=tolerance, atol=tolerance)
        expected = theirs.decode(torch.tensor(codes.reshape(40, 12)), [there[1]]).numpy()
        assert expected.shape == (40, 3, 4)
        assert np.allclose(ours.decode(codes, start), expected, rtol=tolerance, atol=tolerance)


def test_wrong_arguments_name_the_function():
    coder, good = BoxCoder(), np.array([[0, 0, 2, 2.0]])
    for bad, message in [
        ([[1, 1, 1, 3]], r"reference_boxes \(1, 4\): box 0, .* has no area"),
        ([[3, 1, 1, 3]], "box 0, .* has no area"),
        ([[0, np.nan, 1, 1]], "box 0, .* has a NaN"),
        ([[0, 0, np.inf, 1]], "box 0, .* infinite"),
    ]:
        with pytest.raises(ValueError, match=f"BoxCoder.encode: .*{message}"):
            coder.encode(np.array(bad, np.float64), good)
    with pytest.raises(ValueError, match=r"proposals \(2, 4\): box 1"):
        coder.encode(np.repeat(good, 2, 0), np.array([[0, 0, 1, 1], [0, 0, 0, 1.0]]))
    with pytest.raises(ValueError, match=r"\(2, 4\) and proposals \(1, 4\) go in pairs"):
        coder.encode(np.repeat(good, 2, 0), good)
    with pytest.raises(TypeError, match=r"BoxCoder.encode: boxes must be an array, got a Tensor"):
        coder.encode(md.zeros(1, 4), good)
    for shape in [(1, 8), (2, 4), (4,), (1, 2, 3, 4)]:
        with pytest.raises(ValueError, match=r"BoxCoder.decode: rel_codes must be \(R, 4\)"):
            coder.decode(np.zeros(shape), good)
    for weights in [(1, 1, 1), (1, 1, 1, 0)]:
        with pytest.raises(ValueError, match="BoxCoder: weights must be four positive numbers"):
            BoxCoder(weights)
    assert repr(BoxCoder()) == "BoxCoder(weights=(1.0, 1.0, 1.0, 1.0), bbox_xform_clip=4.13517)"


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_gives_the_same_without_waiting(device):
    backend, coder = by_name(device), BoxCoder((10, 10, 5, 5))
    wanted, start = pairs(7, 9, np.float32)
    there = [backend.asarray(a) for a in (wanted, start)]
    with strict_cupy.forbid_sync():
        codes = coder.encode(*there)
        boxes = coder.decode(codes, there[1])
    with strict_cupy.allow_sync():
        assert np.allclose(backend.to_host(codes), coder.encode(wanted, start))
        assert np.allclose(backend.to_host(boxes), wanted, atol=1e-4)
