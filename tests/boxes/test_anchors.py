"""Anchors and default boxes against loops over positions, published numbers, and torchvision."""

import math

import numpy as np
import pytest

import minidl as md
from minidl.backend import by_name
from minidl.boxes import (
    AnchorGenerator,
    DefaultBoxGenerator,
    fpn_anchors,
    retinanet_anchors,
    rpn_anchors,
    ssd300_boxes,
)

from .. import strict_cupy
from ..torchvision_oracle import torchvision

DEVICES = ["strict", pytest.param("cuda", marks=pytest.mark.gpu)]
SSD300_MAPS = [38, 19, 10, 5, 3, 1]


def maps(*sizes, dtype=np.float32):
    return [np.zeros((1, 2, *size), dtype) for size in sizes]


def slow_anchors(sizes, ratios, image, grid):
    strides = image[0] // grid[0], image[1] // grid[1]
    rows = []
    for i in range(grid[0]):
        for j in range(grid[1]):
            for ratio in ratios:
                for size in sizes:
                    h, w = size * math.sqrt(ratio), size / math.sqrt(ratio)
                    half = [round(x / 2) for x in (w, h)]
                    x, y = j * strides[1], i * strides[0]
                    rows.append([x - half[0], y - half[1], x + half[0], y + half[1]])
    return rows


def slow_default_boxes(scale, following, ratios, image, grid, step):
    sizes = [(scale, scale), (math.sqrt(scale * following),) * 2]
    for ratio in ratios:
        sizes += [(scale * math.sqrt(ratio), scale / math.sqrt(ratio))]
        sizes += [(scale / math.sqrt(ratio), scale * math.sqrt(ratio))]
    rows = []
    for i in range(grid[0]):
        for j in range(grid[1]):
            y, x = [
                (k + 0.5) * (step if step else whole / count)
                for k, whole, count in zip((i, j), image, grid, strict=True)
            ]
            for w, h in sizes:
                w, h = min(w, 1) * image[1], min(h, 1) * image[0]
                rows.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return rows


def test_anchors_equal_a_loop_over_positions():
    generator = AnchorGenerator(((16, 24), (40,)), ((0.5, 1.0, 2.0), (1.0, 3.0)))
    image, grids = (61, 90), [(7, 11), (3, 4)]  # strides 8 x 8, 20 x 22
    made = generator(image, maps(*grids))
    assert generator.num_anchors_per_location() == [6, 2]
    for boxes, sizes, ratios, grid in zip(
        made, generator.sizes, generator.aspect_ratios, grids, strict=True
    ):
        assert boxes.dtype == np.float32
        assert boxes.tolist() == slow_anchors(sizes, ratios, image, grid)


def test_golden_anchors():
    """The first anchors of Faster R-CNN's region proposal network, about the origin."""
    cell = rpn_anchors().cell_anchors[0]
    assert cell[:3].tolist() == [[-91, -45, 91, 45], [-181, -91, 181, 91], [-362, -181, 362, 181]]
    assert cell[3].tolist() == [-64, -64, 64, 64]
    assert cell[6].tolist() == [-45, -91, 45, 91]
    (boxes,) = AnchorGenerator(((32,),), ((1.0,),))((32, 32), maps((2, 2)))
    assert boxes.tolist() == [
        [-16, -16, 16, 16],
        [0, -16, 32, 16],
        [-16, 0, 16, 32],
        [0, 0, 32, 32],
    ]


def test_the_published_settings():
    assert fpn_anchors().num_anchors_per_location() == [3] * 5
    assert retinanet_anchors().num_anchors_per_location() == [9] * 5
    assert retinanet_anchors().sizes[0] == (32, 40, 50)
    assert retinanet_anchors().sizes[4] == (512, 645, 812)
    assert rpn_anchors().num_anchors_per_location() == [9]


def test_ssd300_has_8732_boxes():
    generator = ssd300_boxes()
    assert generator.num_anchors_per_location() == [4, 6, 6, 6, 4, 4]
    made = generator((300, 300), maps(*[(n, n) for n in SSD300_MAPS]))
    assert [len(boxes) for boxes in made] == [5776, 2166, 600, 150, 36, 4]
    assert sum(len(boxes) for boxes in made) == 8732
    for k, boxes in enumerate(made):
        grid, step = (SSD300_MAPS[k],) * 2, generator.steps[k]
        expected = slow_default_boxes(
            *generator.scales[k : k + 2], generator.aspect_ratios[k], (300, 300), grid, step
        )
        assert np.allclose(boxes, expected, atol=1e-3)


def test_default_boxes_of_any_maps_and_scales():
    """Equation 4: scales at equal distances; without steps, cells divide the picture."""
    generator = DefaultBoxGenerator([[2], [2, 3], []], min_ratio=0.2, max_ratio=0.8)
    assert np.allclose(generator.scales, [0.2, 0.5, 0.8, 1.0])
    image, grids = (64, 96), [(4, 6), (2, 3), (1, 1)]
    for k, boxes in enumerate(generator(image, maps(*grids))):
        scales, ratios = generator.scales[k : k + 2], generator.aspect_ratios[k]
        expected = slow_default_boxes(*scales, ratios, image, grids[k], None)
        assert np.allclose(boxes, expected, atol=1e-4)
    assert DefaultBoxGenerator([[2]]).scales == [0.15, 0.9]


def test_without_clipping_a_box_may_be_larger_than_the_picture():
    for clip, widest in ((True, 300), (False, 300 * 0.87 * math.sqrt(2))):
        generator = DefaultBoxGenerator([[2]], scales=[0.87, 1.05], clip=clip)
        (boxes,) = generator((300, 300), maps((1, 1)))
        assert np.isclose((boxes[:, 2] - boxes[:, 0]).max(), widest)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_agree_with_torchvision_to_the_last_bit(dtype):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    torchvision()
    from torchvision.models.detection import anchor_utils
    from torchvision.models.detection.image_list import ImageList

    for ours, theirs, image, grids in [
        (
            fpn_anchors(),
            anchor_utils.AnchorGenerator(
                ((32,), (64,), (128,), (256,), (512,)), ((0.5, 1, 2),) * 5
            ),
            (203, 333),
            [(51, 84), (26, 42), (13, 21), (7, 11), (4, 6)],
        ),
        (
            retinanet_anchors(),
            anchor_utils.AnchorGenerator(retinanet_anchors().sizes, ((0.5, 1.0, 2.0),) * 5),
            (256, 320),
            [(32, 40), (16, 20), (8, 10), (4, 5), (2, 3)],
        ),
        (
            ssd300_boxes(),
            anchor_utils.DefaultBoxGenerator(
                ssd300_boxes().aspect_ratios,
                scales=ssd300_boxes().scales,
                steps=ssd300_boxes().steps,
            ),
            (300, 300),
            [(n, n) for n in SSD300_MAPS],
        ),
        (
            DefaultBoxGenerator([[2], [2, 3]]),
            anchor_utils.DefaultBoxGenerator([[2], [2, 3]]),
            (65, 97),
            [(5, 7), (2, 3)],
        ),
    ]:
        assert ours.num_anchors_per_location() == theirs.num_anchors_per_location()
        features = [torch.zeros(1, 1, *grid, dtype=getattr(torch, dtype)) for grid in grids]
        images = ImageList(torch.zeros(1, 3, *image), [image])
        expected = theirs(images, features)[0].numpy()
        made = np.concatenate(ours(image, maps(*grids, dtype=dtype)))
        assert made.dtype == dtype
        if isinstance(ours, AnchorGenerator) or dtype == "float32":
            assert np.array_equal(made, expected)
        else:  # torchvision computes its default boxes in float32
            assert np.allclose(made, expected, atol=1e-4)


def test_maps_may_be_tensors_and_half_precision():
    generator = AnchorGenerator(((16,),), (1.0,))
    (plain,) = generator((16, 16), maps((4, 4)))
    (made,) = generator((16, 16), [md.zeros(2, 3, 4, 4, dtype=md.float16)])
    assert made.dtype == np.float32
    assert np.array_equal(made, plain)
    assert [len(a) for a in generator((16, 16), maps((0, 4)))] == [0]


def test_wrong_arguments_name_the_class():
    with pytest.raises(ValueError, match="AnchorGenerator: 2 maps have sizes, 1 have aspect"):
        AnchorGenerator(((1,), (2,)), ((1.0,),))
    with pytest.raises(ValueError, match="AnchorGenerator: sizes and ratios must be positive"):
        AnchorGenerator(((0,),), ((1.0,),))
    with pytest.raises(ValueError, match="AnchorGenerator: made for 1 feature maps, got 2"):
        rpn_anchors()((32, 32), maps((2, 2), (1, 1)))
    with pytest.raises(ValueError, match="AnchorGenerator: a map of 4 x 2 is larger than the pict"):
        rpn_anchors()((3, 32), maps((4, 2)))
    for options in ({"scales": [0.1]}, {"steps": [8, 16]}):
        with pytest.raises(ValueError, match="DefaultBoxGenerator: 1 maps need 2 scales and 1 ste"):
            DefaultBoxGenerator([[2]], **options)
    with pytest.raises(ValueError, match="DefaultBoxGenerator: made for 6 feature maps, got 1"):
        ssd300_boxes()((300, 300), maps((38, 38)))


@pytest.mark.parametrize("make", [fpn_anchors, retinanet_anchors])
@pytest.mark.parametrize("device", DEVICES)
def test_a_device_gives_the_same_without_waiting(make, device):
    backend = by_name(device)
    grids = [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
    here = maps(*grids)
    there = [backend.asarray(m) for m in here]
    generator = make()
    with strict_cupy.forbid_sync():
        made = generator((64, 96), there)
    with strict_cupy.allow_sync():
        for a, b in zip(made, generator((64, 96), here), strict=True):
            assert np.array_equal(backend.to_host(a), b)


@pytest.mark.parametrize("device", DEVICES)
def test_default_boxes_on_a_device_too(device):
    backend, generator = by_name(device), DefaultBoxGenerator([[2]])
    with strict_cupy.forbid_sync():
        (made,) = generator((64, 96), [backend.asarray(maps((2, 3))[0])])
    with strict_cupy.allow_sync():
        assert np.array_equal(backend.to_host(made), generator((64, 96), maps((2, 3)))[0])
