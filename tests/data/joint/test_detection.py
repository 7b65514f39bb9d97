"""minidl/data/joint/detection.py: SSD's crops and canvases, sizes by the shorter side."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from minidl.data import Scenes, joint
from minidl.data.moves import Crop
from minidl.data.transforms import RandomPhotometricDistort

from ...torchvision_oracle import torchvision

OPTIONS = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9]


def rng(seed=0):
    return np.random.default_rng(seed)


def random_boxes(seed, count, height, width):
    corners = rng(seed).uniform(0, 1, (count, 2, 2)) * [width, height]
    low, high = corners.min(axis=1), corners.max(axis=1)
    return np.concatenate([low, high + 1], axis=1).astype(np.float32)


def iou(a, b):
    """Of two boxes, by the definition."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def window_of(move):
    return [move.left, move.top, move.left + move.size[1], move.top + move.size[0]]


# -- crops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("least", OPTIONS)
def test_a_crop_overlaps_an_object_whose_centre_it_has_by_at_least_its_option(least):
    height, width = 90, 120
    found = 0
    for seed in range(60):
        boxes = random_boxes(seed, 4, height, width)
        crop = joint.RandomIoUCrop(sampler_options=[least])
        move = crop.plan_for({"boxes": boxes}, height, width, rng(seed))
        if move is None:
            continue
        found += 1
        x1, y1, x2, y2 = window = window_of(move)
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert all(type(v) is int for v in window)
        assert 0.3 * width - 1 < x2 - x1 <= width
        assert 0.3 * height - 1 < y2 - y1 <= height
        assert 0.5 <= (x2 - x1) / (y2 - y1) <= 2
        overlaps = [
            iou(window, box)
            for box in boxes.tolist()
            if x1 <= (box[0] + box[2]) / 2 < x2 and y1 <= (box[1] + box[3]) / 2 < y2
        ]
        assert max(overlaps) >= least
    # Fifty windows seldom miss a small overlap, and seldom have a large one.
    assert found >= (55 if least <= 0.1 else 40 if least <= 0.5 else 1)


def test_the_first_window_that_fits_is_taken_and_fifty_are_tried():
    """The sampler's rules, written as the loop that they are, over the same windows."""
    height, width = 60, 100
    crop = joint.RandomIoUCrop(sampler_options=[0.6])
    taken = []
    for seed in range(80):
        boxes = random_boxes(seed, 3, height, width)
        chance = rng(seed)
        chance.permutation([0.6])
        share, place = chance.uniform(0.3, 1.0, (50, 2)), chance.random((50, 2))
        expected = None
        for trial in range(50):
            w, h = int(share[trial, 0] * width), int(share[trial, 1] * height)
            x, y = int(place[trial, 0] * (width - w + 1)), int(place[trial, 1] * (height - h + 1))
            window = [x, y, x + w, y + h]
            good = 0.5 <= w / h <= 2 and any(
                x <= (a + c) / 2 < x + w and y <= (b + d) / 2 < y + h
                and iou(window, (a, b, c, d)) >= 0.6
                for a, b, c, d in boxes.tolist()
            )  # fmt: skip
            if good:
                expected = window
                taken.append(trial)
                break
        move = crop.plan_for({"boxes": boxes}, height, width, rng(seed))
        assert (None if move is None else window_of(move)) == expected
    assert len(taken) < 80  # some in vain
    assert max(taken) > 20


def test_every_option_is_drawn_and_one_leaves_the_image_whole():
    image, boxes = np.zeros((3, 80, 80), np.float32), np.array([[30, 30, 50, 50]], np.float32)
    target = {"boxes": boxes, "labels": np.array([2])}
    crop = joint.RandomIoUCrop()
    assert crop.sampler_options == [*OPTIONS, 1.0]
    results = [crop(image, target, rng(i)) for i in range(300)]
    whole = sum(new.shape == image.shape for new, _ in results)
    assert whole > 300 / 7 * 0.5
    assert all(moved["labels"].tolist() == [2] for _, moved in results)  # the object is never lost
    shares = [400 / (new.shape[1] * new.shape[2]) for new, _ in results]
    assert min(shares) < 0.1
    assert max(shares) > 0.6  # the side of a window is at least .3 of 80: an area of 576
    assert joint.RandomIoUCrop(sampler_options=[1.0])(image, target, rng()) == (image, target)


def test_without_a_window_that_fits_the_image_stays_whole():
    """Two options that no window can meet: the object is too small."""
    image = np.zeros((1, 50, 50), np.float32)
    target = {"boxes": np.array([[3, 3, 4, 4]], np.float32), "labels": np.array([0])}
    new, moved = joint.RandomIoUCrop(sampler_options=[0.5, 0.7])(image, target, rng())
    assert new is image
    assert moved is target
    # An elongated picture, of which no window of a third of the length is of an allowed shape.
    assert joint.RandomIoUCrop(sampler_options=[0.0]).plan_for({}, 5, 200, rng()) is None
    assert joint.RandomIoUCrop(0.1, 0.3).plan_for({}, 1, 1, rng()) is None


def test_an_image_without_objects_gives_any_window():
    for target in (
        {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)},
        {"masks": np.zeros((0, 60, 60), bool)},
        np.zeros((60, 60), np.int64),
        {},
    ):
        sizes = set()
        for seed in range(20):
            crop = joint.RandomIoUCrop(sampler_options=[0.9])
            new, moved = crop(np.zeros((3, 60, 60), np.float32), target, rng(seed))
            sizes.add(new.shape[1:])
            if isinstance(target, dict) and "boxes" in target:
                assert moved["boxes"].shape == (0, 4)
        assert len(sizes) > 15
        assert min(h for h, w in sizes) >= 18


def test_objects_of_masks_alone_are_found_by_the_boxes_around_them():
    masks = np.zeros((1, 60, 60), bool)
    masks[0, 10:30, 20:50] = True
    parts = {"boxes": np.array([[20, 10, 50, 30]], np.float32)}
    crop = joint.RandomIoUCrop()
    for seed in range(10):
        ours, theirs = (crop.plan_for(t, 60, 60, rng(seed)) for t in ({"masks": masks}, parts))
        assert (ours and window_of(ours)) == (theirs and window_of(theirs))


def test_crops_keep_cut_and_drop_boxes_as_torchvision_s_do():
    """The same windows through both: torchvision's sampler draws them."""
    torchvision()
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    height, width = 70, 90
    theirs, cuts = v2.RandomIoUCrop(), 0
    for seed in range(40):
        torch.manual_seed(seed)
        boxes = random_boxes(seed, 5, height, width)
        given = tv_tensors.BoundingBoxes(
            torch.from_numpy(boxes), format="XYXY", canvas_size=(height, width)
        )
        picture = tv_tensors.Image(torch.rand(3, height, width))
        window = theirs.make_params([picture, given])
        if not window:
            continue
        expected = v2.SanitizeBoundingBoxes(labels_getter=lambda sample: sample[2])(
            (theirs.transform(picture, window), theirs.transform(given, window), torch.arange(5))
        )
        left, top, w, h = (window[key] for key in ("left", "top", "width", "height"))
        crop = joint.RandomIoUCrop()
        crop.plan_for = lambda *_, at=(top, left, h, w): Crop(*at)
        target = {"boxes": boxes, "labels": np.arange(5)}
        new, moved = crop(picture.numpy(), target)
        np.testing.assert_array_equal(new, expected[0].numpy())
        # torchvision drops what is smaller than a pixel, too.
        large = (moved["boxes"][:, 2:] - moved["boxes"][:, :2] >= 1).all(axis=1)
        np.testing.assert_array_equal(moved["labels"][large], expected[2].numpy())
        np.testing.assert_allclose(moved["boxes"][large], expected[1].numpy(), atol=1e-5)
        cuts += (moved["boxes"] == 0).any() and len(moved["boxes"]) < 5
    assert cuts > 10


# -- canvases -------------------------------------------------------------------------------------


def test_a_canvas_holds_the_whole_image_and_has_its_mean_around():
    image = rng().random((3, 30, 40)).astype(np.float32)
    mask = rng(1).integers(0, 4, (30, 40))
    target = {"mask": mask, "boxes": np.array([[3, 4, 10, 20]], np.float32)}
    sides, places = [], set()
    for seed in range(200):
        new, moved = joint.RandomZoomOut(p=1.0)(image, target, rng(seed))
        h, w = new.shape[1:]
        assert abs(h / 30 - w / 40) < 1 / 30
        left, top = (moved["boxes"] - target["boxes"])[0, :2].astype(int)
        np.testing.assert_array_equal(new[:, top : top + 30, left : left + 40], image)
        np.testing.assert_array_equal(moved["mask"][top : top + 30, left : left + 40], mask)
        assert (moved["mask"] == 255).sum() == h * w - 30 * 40
        np.testing.assert_array_equal(moved["boxes"][0, 2:] - moved["boxes"][0, :2], [7, 16])
        around = np.ones((h, w), bool)
        around[top : top + 30, left : left + 40] = False
        np.testing.assert_allclose(
            new[:, around], np.broadcast_to(image.mean(axis=(1, 2))[:, None], new[:, around].shape)
        )
        sides.append(h / 30)
        places |= {("left", left == 0), ("top", top == 0), ("right", left + 40 == w)}
    assert min(sides) < 1.1
    assert max(sides) > 3.8
    assert max(sides) <= 4
    assert abs(np.mean(sides) - 2.5) < 0.2
    assert len(places) == 6  # at the canvas's edges, too
    kept = sum(joint.RandomZoomOut()(image, target, rng(i))[0] is image for i in range(200))
    assert 70 < kept < 130


def test_a_canvas_is_torchvision_s():
    torchvision()
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    torch.manual_seed(0)
    picture = tv_tensors.Image(torch.rand(3, 20, 30))
    boxes = random_boxes(0, 3, 20, 30)
    given = tv_tensors.BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=(20, 30))
    theirs = v2.RandomZoomOut(fill=[0.1, 0.2, 0.3], p=1.0)
    for _ in range(10):
        place = theirs.make_params([picture])
        left, top, right, bottom = place["padding"]
        ours = joint.RandomZoomOut(fill=(0.1, 0.2, 0.3), p=1.0)
        ours.plan = lambda *_, at=(-top, -left, 20 + top + bottom, 30 + left + right): Crop(*at)
        new, moved = ours(picture.numpy(), {"boxes": boxes})
        np.testing.assert_allclose(new, theirs.transform(picture, place).numpy(), atol=1e-6)
        np.testing.assert_allclose(moved["boxes"], theirs.transform(given, place).numpy(), 1e-6)


# -- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "min_size", "max_size", "expected"),
    [
        ((600, 800), 300, None, (300, 400)),
        ((800, 600), 300, None, (400, 300)),
        ((480, 640), 800, 1333, (800, 1066)),
        ((375, 1242), 800, 1333, (402, 1333)),  # the longer side decides
        ((1242, 375), 800, 1333, (1333, 402)),
        ((100, 100), 30, 20, (20, 20)),
        ((3, 1000), 600, 1000, (3, 1000)),
        ((1, 1000), 10, 10, (1, 10)),  # never less than a pixel
    ],
)
def test_the_shorter_side_gets_its_size_unless_the_longer_one_would_be_too_long(
    size, min_size, max_size, expected
):
    resize = joint.RandomShortestSize(min_size, max_size)
    target = {"boxes": np.array([[0, 0, size[1], size[0]]], np.float32)}
    new, moved = resize(np.ones((1, *size), np.float32), target, rng())
    assert new.shape[1:] == expected
    np.testing.assert_allclose(moved["boxes"], [[0, 0, expected[1], expected[0]]], rtol=1e-6)


def test_sizes_are_torchvision_s_where_its_rounding_loses_no_pixel():
    torchvision()
    import torch
    from torchvision.transforms import v2

    lost = 0
    for seed in range(300):
        height, width = rng(seed).integers(20, 900, 2).tolist()
        least = int(rng(seed + 1).integers(50, 900))
        theirs = v2.RandomShortestSize([least], 1333)
        expected = theirs.make_params([torch.zeros(1, height, width)])["size"]
        move = joint.RandomShortestSize(least, 1333).plan(height, width, rng())
        found = (height, width) if move is None else move.size
        # int(side * (least / side)) is least, or by rounding one less.
        assert all(ours - one in (0, 1) for ours, one in zip(found, expected, strict=True))
        lost += found != expected
    assert lost < 60
    picture = torch.rand(3, 37, 53)
    ours, _ = joint.RandomShortestSize(61)(picture.numpy(), {}, rng())
    theirs = v2.RandomShortestSize([61])(picture).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_several_sizes_are_drawn():
    resize = joint.RandomShortestSize((20, 30, 40))
    sizes = {resize(np.zeros((1, 50, 60), np.float32), {}, rng(i))[0].shape[1] for i in range(40)}
    assert sizes == {20, 30, 40}


def test_arguments_that_make_no_sense_are_refused():
    for wrong, message in [
        (lambda: joint.RandomIoUCrop(min_scale=0.0), "0 < min_scale <= max_scale <= 1, got 0.0"),
        (lambda: joint.RandomIoUCrop(max_scale=1.5), "max_scale <= 1"),
        (lambda: joint.RandomIoUCrop(min_aspect_ratio=3.0), "min_aspect_ratio <= max_aspect"),
        (lambda: joint.RandomIoUCrop(trials=0), "one option and one trial"),
        (lambda: joint.RandomIoUCrop(sampler_options=[]), "one option and one trial"),
        (lambda: joint.RandomZoomOut(side_range=(0.5, 2.0)), "1 <= low <= high"),
        (lambda: joint.RandomZoomOut(p=2.0), "p must be in"),
        (lambda: joint.RandomZoomOut(fill="median"), "numbers or 'mean'"),
        (lambda: joint.RandomShortestSize(0), "sizes must be positive"),
        (lambda: joint.RandomShortestSize([]), "sizes must be positive"),
        (lambda: joint.RandomShortestSize(5, 0), "sizes must be positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            wrong()
    with pytest.raises(ValueError, match="have only labels does not say where they are"):
        joint.RandomIoUCrop()(np.zeros((1, 9, 9)), {"labels": np.arange(2)}, rng())


# -- all together ---------------------------------------------------------------------------------


@st.composite
def rectangles(draw):
    """An image whose pixels say to which object they belong, and its target."""
    height, width = draw(st.integers(8, 40)), draw(st.integers(8, 40))
    count = draw(st.integers(0, 4))
    image = np.zeros((2, height, width), np.float32)
    masks = np.zeros((count, height, width), bool)
    keypoints = np.zeros((count, 2, 3), np.float32)
    for k in range(count):
        x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        x2, y2 = draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))
        masks[k, y1:y2, x1:x2] = True
        inside = draw(st.floats(0.05, 0.95)), draw(st.floats(0.05, 0.95))
        keypoints[k, 0] = x1 + inside[0] * (x2 - x1), y1 + inside[1] * (y2 - y1), 2
        # One bit of the first channel for each object: they may overlap.
        image[0] += masks[k] * 2.0**-k
    image[1] = np.arange(height * width, dtype=np.float32).reshape(height, width)
    target = {
        "boxes": joint.boxes_of_masks(masks),
        "labels": np.arange(count),
        "masks": masks,
        "keypoints": keypoints,
        "area": masks.sum(axis=(1, 2)).astype(np.float32),
    }
    return image, target


WHOLE_PIXELS = [
    joint.RandomIoUCrop(),
    joint.RandomZoomOut(fill=0.0, p=1.0),
    joint.RandomCrop(12, padding=3, keep="center"),
    joint.RandomHorizontalFlip(1.0),
    joint.Compose(
        [joint.RandomZoomOut(fill=0.0), joint.RandomIoUCrop(), joint.RandomHorizontalFlip()]
    ),
]


@pytest.mark.parametrize("transform", WHOLE_PIXELS, ids=repr)
@given(sample=rectangles(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_masks_boxes_and_keypoints_stay_together_and_on_their_object(transform, sample, seed):
    image, target = sample
    image.setflags(write=False)
    for value in target.values():
        value.setflags(write=False)  # a change of the input would be an error
    new, moved = transform(image, target, rng(seed))
    count = len(moved["labels"])
    assert {key: len(value) for key, value in moved.items()} == dict.fromkeys(moved, count)
    assert len(set(moved["labels"])) == count
    np.testing.assert_array_equal(moved["boxes"], joint.boxes_of_masks(moved["masks"]))
    np.testing.assert_array_equal(moved["area"], moved["masks"].sum(axis=(1, 2)))
    assert moved["masks"].any(axis=(1, 2)).all()
    for label, mask, box, keypoints in zip(
        *(moved[key] for key in ("labels", "masks", "boxes", "keypoints")), strict=True
    ):
        # The mask is where the moved image says that the object is.
        np.testing.assert_array_equal((new[0] * 2.0**label).astype(int) % 2 == 1, mask)
        # What is left of a keypoint lies in the box, and on the object's pixel that it was on.
        x, y, visible = keypoints[0]
        if visible:
            assert box[0] <= x <= box[2]
            assert box[1] <= y <= box[3]
            was_x, was_y, _ = target["keypoints"][label, 0]
            here = new[1, min(int(y), len(new[1]) - 1), min(int(x), new.shape[2] - 1)]
            there = image[1, int(was_y), int(was_x)]
            if all(0.01 < v % 1 < 0.99 for v in (was_x, was_y)):
                assert here == there
        else:
            assert not keypoints[0].any()
        assert not keypoints[1].any()  # never annotated: not now, either
    if not isinstance(transform, joint.Compose) and getattr(transform, "keep", "any") == "any":
        assert count == len(target["labels"])


def test_a_scene_goes_through_all_that_ssd_does():
    ssd = joint.Compose(
        [
            joint.ImageOnly(RandomPhotometricDistort()),
            joint.RandomZoomOut(),
            joint.RandomIoUCrop(),
            joint.RandomHorizontalFlip(),
            joint.Resize(300),
        ]
    )
    scenes = Scenes(30, 64, task="instances", objects=(0, 4), transform=ssd)
    counts = []
    for image, target in scenes:
        assert image.shape == (3, 300, 300)
        assert str(image.dtype) == "float32"
        assert 0 <= image.data.min() <= image.data.max() <= 1
        masks, boxes = target["masks"].data, target["boxes"].data
        assert masks.shape == (len(boxes), 300, 300)
        np.testing.assert_allclose(joint.boxes_of_masks(masks), boxes, atol=1.0)
        counts.append(len(boxes))
    assert 0 in counts
    assert max(counts) >= 3
