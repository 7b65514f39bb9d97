"""RoI layers: golden values, the rule of levels, and torchvision's pyramid with a slow RoIAlign."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.autograd import gradcheck, gradgradcheck
from minidl.nn import functional as F

from .. import strict_cupy
from ..ops.cases.roi import align
from ..torchvision_oracle import torchvision

RAMP = md.tensor(np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5))
BOX = md.tensor([[0.0, 1, 1, 3, 3]])


def test_layers_have_the_golden_values():
    for aligned, first in ((False, 7.5), (True, 4.5)):
        out = nn.RoIAlign(4, 1.0, 1, aligned)(RAMP, BOX)
        steps = 0.5 * np.arange(4)
        assert np.allclose(out.data[0, 0], first + 5 * steps[:, None] + steps, atol=1e-6)
    assert nn.RoIPool(1, 1.0)(RAMP, BOX).item() == 18
    assert np.isclose(nn.PSRoIPool(1, 1.0)(RAMP, BOX).item(), 9)  # the mean of 6, 7, 11, 12


def test_layers_pass_their_arguments_on():
    x, boxes = md.rand(2, 8, 6, 7), [md.tensor([[0.0, 3, 20, 25]]), md.tensor([[2.0, 0, 9, 11]])]
    for layer, expected in [
        (nn.RoIAlign((2, 3), 0.25, 2, True), F.roi_align(x, boxes, (2, 3), 0.25, 2, True)),
        (nn.RoIAlign((2, 3), 0.25, -1), F.roi_align(x, boxes, (2, 3), 0.25)),
        (nn.RoIPool((2, 3), 0.25), F.roi_pool(x, boxes, (2, 3), 0.25)),
        (nn.PSRoIPool((2, 4), 0.25), F.ps_roi_pool(x, boxes, (2, 4), 0.25)),
    ]:
        assert np.array_equal(layer(x, boxes).data, expected.data)
        assert "output_size=(2, " in repr(layer)
        assert "spatial_scale=0.25" in repr(layer)


# -- pyramids -------------------------------------------------------------------------------------


def pyramid(seed=0, images=2, size=256, levels=4, device="cpu", channels=3):
    """Maps of strides 4, 8, ... by name."""
    rng = np.random.default_rng(seed)
    return {
        str(k): md.tensor(
            rng.standard_normal((images, channels, size >> (k + 2), size >> (k + 2))).astype(
                np.float32
            ),
            device=device,
        )
        for k in range(levels)
    }


def boxes_of_all_sizes(seed, counts, size=256):
    """Sides from 10 pixels to 1800, far beyond the picture."""
    rng = np.random.default_rng(seed)
    made = []
    for count in counts:
        centre = rng.uniform(0, size, (count, 2))
        half = np.exp(rng.uniform(np.log(5), np.log(900), (count, 2)))
        made.append(np.concatenate([centre - half, centre + half], axis=1).astype(np.float32))
    return made


def level_of(box, finest, coarsest):
    """Equation 1 of the paper, for one box."""
    x1, y1, x2, y2 = [float(c) for c in box]
    k = math.floor(4 + math.log2(math.sqrt((x2 - x1) * (y2 - y1)) / 224) + 1e-6)
    return min(max(k, finest), coarsest)


def test_each_box_is_pooled_from_its_level_and_their_order_is_kept():
    maps, boxes = pyramid(), boxes_of_all_sizes(1, (9, 6))
    layer = nn.MultiScaleRoIAlign(["0", "1", "2", "3"], 2, 2)
    out = layer(maps, [md.tensor(b) for b in boxes], [(256, 256), (200, 256)])
    assert out.shape == (15, 3, 2, 2)
    levels, k = [], 0
    for n, part in enumerate(boxes):
        for box in part:
            level = level_of(box, 2, 5)
            levels.append(level)
            m = maps[str(level - 2)].data.astype(np.float64)
            expected = align(m, [(n, *box)], (2, 2), 0.5**level, 2)
            assert np.allclose(out.data[k], expected[0], atol=1e-4)
            k += 1
    assert set(levels) == {2, 3, 4, 5}


def test_limits_between_levels():
    """A box of 224 x 224 belongs to level 4, one a little smaller to level 3."""
    layer = nn.MultiScaleRoIAlign(["0", "1", "2", "3"], 1, 1)
    sides = [1, 55, 111.9, 112, 223.9, 224, 447.9, 448, 10000]
    boxes = np.array([[8.0, 8, 8 + side, 8 + side] for side in sides], np.float32)
    flat = [[8, 8, 8 + 56 * 8, 8 + 28 / 4]]  # 448 x 7: by its area as 56 x 56
    boxes = np.concatenate([boxes, np.array(flat, np.float32), [[8, 8, 8, 8]]]).astype(np.float32)
    found = layer._levels(np.concatenate([np.zeros((len(boxes), 1)), boxes], axis=1), 2, 5) + 2
    assert found.tolist() == [2, 2, 2, 3, 3, 4, 4, 5, 5, 2, 2]
    maps = pyramid(images=1, size=64)
    for k, m in maps.items():
        m.data[:] = int(k) + 2  # the map of level k is k everywhere
    small = nn.MultiScaleRoIAlign(["0", "1", "2", "3"], 1, 1, canonical_scale=28)
    out = small(maps, [md.tensor([[0.0, 0, 13, 13], [0, 0, 28, 28], [0, 0, 56, 56]])], [(64, 64)])
    assert out.data[:, 0].ravel().tolist() == [2, 4, 5]


def test_one_map_needs_no_levels_and_other_maps_are_ignored():
    maps, boxes = pyramid(), [md.tensor(b) for b in boxes_of_all_sizes(2, (3, 0))]
    layer = nn.MultiScaleRoIAlign(["1"], (3, 2), 2)
    out = layer(maps, boxes, [(256, 256)] * 2)
    assert np.array_equal(out.data, F.roi_align(maps["1"], boxes, (3, 2), 0.125, 2).data)
    none = [md.zeros(0, 4)] * 2
    assert layer(maps, none, [(256, 256)] * 2).shape == (0, 3, 3, 2)
    several = nn.MultiScaleRoIAlign(["0", "1"], 2, 2)
    assert several(maps, none, [(256, 256)] * 2).shape == (0, 3, 2, 2)


def test_gradients_reach_every_map_to_second_order():
    rng = np.random.default_rng(0)
    x = [md.tensor(rng.standard_normal((1, 1, n, n)), requires_grad=True) for n in (8, 4)]
    boxes = [np.array([[1.0, 2, 12, 14], [2, 2, 30, 29], [0, 1, 9, 30]])]
    layer = nn.MultiScaleRoIAlign(["0", "1"], 2, 2, canonical_scale=40)

    def pooled(a, b):
        return layer({"0": a, "1": b}, boxes, [(32, 32)])

    assert gradcheck(pooled, x)
    assert gradgradcheck(pooled, x)
    pooled(*x).sum().backward()
    assert all(m.grad.data.any() for m in x)


def test_it_agrees_with_torchvision(monkeypatch):
    """Whose RoIAlign is replaced by the loop: its own is compiled."""
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    torchvision()
    from torchvision.ops import poolers

    def slow(input, rois, output_size, spatial_scale, sampling_ratio):
        made = align(
            input.double().numpy(), rois.numpy(), output_size, spatial_scale, sampling_ratio
        )
        return torch.tensor(made, dtype=input.dtype)

    monkeypatch.setattr(poolers, "roi_align", slow)
    maps, boxes = pyramid(3), boxes_of_all_sizes(4, (7, 0))
    shapes = [(240, 256), (256, 201)]
    for names, options in [
        (["0", "1", "2", "3"], {}),
        (["1", "2"], {"canonical_scale": 160, "canonical_level": 3}),
        (["2"], {}),
    ]:
        ours = nn.MultiScaleRoIAlign(names, 2, 2, **options)
        theirs = poolers.MultiScaleRoIAlign(names, 2, 2, **options)
        there = {k: torch.tensor(m.data) for k, m in maps.items()}
        expected = theirs(there, [torch.tensor(b) for b in boxes], shapes).numpy()
        made = ours(maps, [md.tensor(b) for b in boxes], shapes)
        assert np.allclose(made.data, expected, atol=1e-4)


def test_wrong_arguments_name_the_layer():
    maps, boxes = pyramid(images=1), [md.zeros(2, 4)]
    layer = nn.MultiScaleRoIAlign(["0", "1"], 2, 2)
    for x, shapes, message in [
        ({"5": maps["0"]}, [(256, 256)], "needs one of the maps"),
        (maps, [], "the shape of an image"),
        ({"0": maps["0"], "1": maps["2"]}, [(256, 256)], "half the size of the one before"),
        ({"0": maps["1"], "1": maps["0"]}, [(256, 256)], "half the size of the one before"),
        ({"0": maps["0"], "1": maps["1"][:, :2]}, [(256, 256)], "of one N and C"),
        ({"0": maps["0"], "1": maps["1"][0]}, [(256, 256)], r"must be \(N, C, H, W\)"),
    ]:
        with pytest.raises(ValueError, match=f"MultiScaleRoIAlign: .*{message}"):
            layer(x, boxes, shapes)
    with pytest.raises(ValueError, match="MultiScaleRoIAlign: 2 arrays of boxes for 1 images"):
        layer(maps, boxes * 2, [(256, 256)])


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_device_waits_only_for_the_numbers_of_boxes(device):
    parts = boxes_of_all_sizes(5, (4, 3))
    layer = nn.MultiScaleRoIAlign(["0", "1", "2", "3"], 2, 2)
    there = pyramid(6, device=device)
    boxes = [md.tensor(b, device=device) for b in parts]
    strict_cupy.syncs.clear()
    out = layer(there, boxes, [(256, 256)] * 2)
    assert len(strict_cupy.syncs) <= 1  # a real GPU keeps no list
    strict_cupy.syncs.clear()
    expected = layer(pyramid(6), [md.tensor(b) for b in parts], [(256, 256)] * 2)
    with strict_cupy.allow_sync():
        assert np.allclose(out.data.get(), expected.data, atol=1e-5)
