"""minidl/data/joint: image, class map, boxes, masks and keypoints stay together."""

import numpy as np
import pytest

from minidl.data import DataLoader, Dataset, joint
from minidl.data.transforms import ColorJitter, RandomCrop

H, W = 40, 60


def sample(seed=0, objects=3):
    """Discs, each with a class, on an image whose first channel is the class map."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:H, :W] + 0.5
    masks = np.zeros((objects, H, W), bool)
    keypoints = np.zeros((objects, 2, 3), np.float32)
    for k in range(objects):
        cx, cy, r = rng.uniform(10, W - 10), rng.uniform(10, H - 10), rng.uniform(4, 9)
        masks[k] = (x - cx) ** 2 + (y - cy) ** 2 < r**2
        keypoints[k] = [[cx, cy, 2], [cx - r / 2, cy, 1]]
    mask = np.zeros((H, W), np.int64)
    for k in range(objects):
        mask[masks[k]] = k + 1
    image = np.stack([mask / 4, rng.random((H, W))]).astype(np.float32)
    target = {
        "mask": mask,
        "masks": masks,
        "boxes": joint.boxes_of_masks(masks),
        "labels": np.arange(objects),
        "keypoints": keypoints,
        "image_id": 7,
    }
    return image, target


ALL = [
    joint.RandomHorizontalFlip(1.0, keypoint_pairs=[(0, 1)]),
    joint.RandomVerticalFlip(1.0),
    joint.RandomCrop((30, 45)),
    joint.RandomCrop((50, 50), padding=6),
    joint.CenterCrop(36),
    joint.RandomScale((0.5, 2.0), stretch=(0.8, 1.2)),
    joint.Resize((25, 80)),
    joint.RandomRotation(60),
    joint.RandomElastic(4.0),
    joint.RandomCrop((30, 45), fill="mean", keep="center"),
    joint.RandomIoUCrop(),
    joint.RandomZoomOut(p=1.0),
    joint.RandomShortestSize((30, 50), max_size=70),
]
NAMES = [repr(t) for t in ALL]


@pytest.mark.parametrize("transform", ALL, ids=NAMES)
def test_all_parts_of_a_target_move_together(transform):
    for seed in range(4):
        image, target = sample(seed)
        copies = {k: np.copy(v) for k, v in target.items()}
        new, moved = transform(image, target, np.random.default_rng(seed))
        for key in copies:  # the input is as it was
            np.testing.assert_array_equal(target[key], copies[key])
        size = new.shape[1:]
        assert new.dtype == image.dtype
        assert moved["mask"].shape == size
        assert moved["masks"].shape[1:] == size
        assert moved["image_id"] == 7
        for key in ("mask", "masks", "boxes", "labels", "keypoints"):
            assert moved[key].dtype == target[key].dtype, key
        count = len(moved["labels"])
        assert {len(moved[key]) for key in ("masks", "boxes", "keypoints")} == {count}
        # Classes are none but those that were there, and 255 where there is no image.
        assert set(np.unique(moved["mask"])) <= {*np.unique(target["mask"]), 255}
        # The class map is that of the masks, and the image shows it away from edges.
        for label, mask in zip(moved["labels"], moved["masks"], strict=True):
            assert mask[moved["mask"] == label + 1].all()
        exact = new[0] == (moved["mask"] / 4).astype(np.float32)
        assert exact[moved["mask"] != 255].mean() > 0.6
        # The box of a moved mask is the moved box, within a pixel.
        np.testing.assert_allclose(moved["boxes"], joint.boxes_of_masks(moved["masks"]), atol=1.5)
        # Where a disc is not cut, its middle is the middle of its mask.
        for mask, box, points in zip(
            moved["masks"], moved["boxes"], moved["keypoints"], strict=True
        ):
            if box[:2].min() > 0 and box[2] < size[1] and box[3] < size[0]:
                y, x = np.nonzero(mask)
                mirrored = isinstance(transform, joint.RandomHorizontalFlip)
                middle = points[1 if mirrored else 0]
                assert abs(x.mean() + 0.5 - middle[0]) < 1.2
                assert abs(y.mean() + 0.5 - middle[1]) < 1.2
                assert middle[2] == 2


@pytest.mark.parametrize("transform", ALL, ids=NAMES)
def test_boxes_without_masks_contain_what_their_masks_would(transform):
    image, target = sample(1)
    _, expected = transform(image, target, np.random.default_rng(3))
    bare = {key: target[key] for key in ("boxes", "labels")}
    _, moved = transform(image, bare, np.random.default_rng(3))
    places = [list(moved["labels"]).index(label) for label in expected["labels"]]
    inside, around = expected["boxes"], moved["boxes"][places]
    assert (around[:, :2] <= inside[:, :2] + 1).all()
    assert (around[:, 2:] >= inside[:, 2:] - 1).all()


@pytest.mark.parametrize("transform", ALL, ids=NAMES)
def test_a_class_map_alone_is_a_target_too(transform):
    image, target = sample(2)
    new, mask = transform(image, target["mask"], np.random.default_rng(5))
    same, moved = transform(image, {"mask": target["mask"]}, np.random.default_rng(5))
    np.testing.assert_array_equal(new, same)
    np.testing.assert_array_equal(mask, moved["mask"])


def test_flipping_twice_changes_nothing():
    image, target = sample(3)
    for flip in ALL[:2]:
        new, moved = flip(*flip(image, target))
        np.testing.assert_array_equal(new, image)
        for key in target:
            np.testing.assert_allclose(moved[key], target[key], atol=1e-5)


def test_a_mirror_exchanges_left_and_right_keypoints():
    keypoints = np.array([[[10, 5, 2], [20, 6, 1], [30, 7, 2]]], np.float32)
    _, moved = joint.RandomHorizontalFlip(1.0, [(0, 2)])(
        np.zeros((1, H, W)), {"keypoints": keypoints}
    )
    np.testing.assert_array_equal(
        moved["keypoints"], [[[W - 30, 7, 2], [W - 20, 6, 1], [W - 10, 5, 2]]]
    )


def test_objects_that_leave_the_image_are_dropped_and_keypoints_become_nothing():
    image, target = (
        np.zeros((1, 20, 20), np.float32),
        {
            "boxes": np.array([[0, 0, 4, 4], [8, 8, 14, 12], [16, 16, 20, 20]], np.float32),
            "labels": np.array([5, 6, 7]),
            "keypoints": np.array([[[1, 1, 2]], [[8.5, 8, 2]], [[19, 19, 2]]], np.float32),
            "iscrowd": np.array([1, 0, 1]),
        },
    )
    _, moved = joint.CenterCrop((8, 10))(image, target)  # x from 5, y from 6
    np.testing.assert_array_equal(moved["boxes"], [[3, 2, 9, 6]])
    assert (moved["labels"].tolist(), moved["iscrowd"].tolist()) == ([6], [0])
    np.testing.assert_array_equal(moved["keypoints"], [[[3.5, 2, 2]]])
    _, moved = joint.CenterCrop(4)(image, target)  # from 8, 8: half of the box is left
    np.testing.assert_array_equal(moved["boxes"], [[0, 0, 4, 4]])
    np.testing.assert_array_equal(moved["keypoints"], [[[0.5, 0, 2]]])
    target["keypoints"][1, 0] = [7, 9, 2]
    _, moved = joint.CenterCrop(4)(image, target)
    np.testing.assert_array_equal(moved["keypoints"], [[[0, 0, 0]]])


def test_an_object_whose_mask_is_cut_off_goes_with_its_box():
    """Its box still reaches into the window, but none of its pixels does."""
    masks = np.zeros((1, 10, 10), bool)
    masks[0, 0, :6] = masks[0, :6, 0] = True  # an L
    target = {"boxes": joint.boxes_of_masks(masks), "masks": masks, "labels": np.array([1])}
    _, moved = joint.CenterCrop(4)(np.zeros((1, 10, 10)), target)
    assert [len(moved[key]) for key in ("boxes", "masks", "labels")] == [0, 0, 0]
    assert moved["masks"].shape == (0, 4, 4)
    masks[0, 4, :6] = True
    _, moved = joint.CenterCrop(4)(np.zeros((1, 10, 10)), target)
    np.testing.assert_array_equal(moved["boxes"], [[0, 1, 3, 2]])  # tight around what is left


@pytest.mark.parametrize("by", ["masks", "boxes"])
def test_areas_change_as_masks_do_or_else_boxes(by):
    boxes = np.array([[4, 4, 12, 12], [30, 20, 50, 24]], np.float32)
    masks = np.zeros((2, H, W), bool)
    masks[0, 4:12, 4:12] = masks[1, 20:24, 30:50] = True
    target = {"boxes": boxes, "labels": np.arange(2), "area": np.array([60.0, 70.0], np.float32)}
    target = target | {"masks": masks} if by == "masks" else target
    image = np.zeros((3, H, W), np.float32)
    _, large = joint.Resize((2 * H, 3 * W))(image, target)
    assert large["area"].dtype == np.float32
    np.testing.assert_allclose(large["area"], [360, 420])
    # The window from (10, 15): the first object is outside, of the second 15 of 20 columns remain.
    _, cut = joint.CenterCrop((20, 30))(image, target)
    assert cut["labels"].tolist() == [1]
    np.testing.assert_allclose(cut["area"], [52.5])


def test_images_without_objects_stay_without():
    target = {
        "boxes": np.zeros((0, 4), np.float32),
        "labels": np.zeros(0, np.int64),
        "masks": np.zeros((0, H, W), bool),
        "keypoints": np.zeros((0, 5, 3), np.float32),
    }
    for transform in ALL:
        image, moved = transform(np.zeros((3, H, W), np.float32), target)
        assert moved["boxes"].shape == (0, 4)
        assert moved["masks"].shape == (0, *image.shape[1:])
        assert moved["keypoints"].shape == (0, 5, 3)


def test_a_window_larger_than_the_image_is_filled_with_the_ignored_label():
    image, target = sample(4)
    crop = joint.RandomCrop((H + 20, W + 9), fill=0.5, ignore_index=-1)
    places = set()
    for _ in range(20):
        new, mask = crop(image, target["mask"])
        assert new.shape == (2, H + 20, W + 9)
        assert (mask == -1).sum() == mask.size - H * W
        assert (new[1] == 0.5).sum() >= mask.size - H * W
        np.testing.assert_array_equal(mask[mask != -1], target["mask"].reshape(-1))
        places.add(np.argwhere(mask != -1)[0].tobytes())
    assert len(places) > 10


@pytest.mark.parametrize("transform", ALL, ids=NAMES)
def test_the_repr_of_a_transform_makes_it_again(transform):
    again = eval(f"joint.{transform!r}")
    (one, _), (other, _) = (t(*sample(6), np.random.default_rng(2)) for t in (transform, again))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "make",
    [
        lambda fill: joint.CenterCrop((H + 8, W + 12), fill),
        lambda fill: joint.RandomRotation((45.0, 45.0), fill),
    ],
    ids=["crop", "rotation"],
)
def test_the_outside_is_a_number_or_one_for_each_channel_or_their_means(make):
    image = np.random.default_rng(0).random((3, H, W)).astype(np.float32)
    for fill, expected in (
        (0.25, [0.25] * 3),
        ((0.1, 0.2, 0.7), [0.1, 0.2, 0.7]),
        ("mean", image.astype(np.float64).mean(axis=(1, 2))),
    ):
        new, mask = make(fill)(image, np.zeros((H, W), int))
        assert new.dtype == np.float32
        np.testing.assert_allclose(new[:, 0, 0], expected, atol=1e-6)
        assert mask[0, 0] == 255
    with pytest.raises(
        ValueError, match=r"fill has 2 values for the 3 channels of an image \(3, 4"
    ):
        make((0.1, 0.2))(image, np.zeros((H, W), int))


def test_the_centre_rule_keeps_an_object_by_its_box_s_centre():
    """Of objects that reach into the window those whose centre does not are dropped."""
    boxes = np.array([[0, 0, 10, 4], [0, 4, 16, 8], [2, 8, 14, 12], [0, 12, 30, 16]], np.float32)
    masks = np.zeros((4, 20, 40), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    keypoints = np.array([[[9, 2, 2]], [[7, 6, 2]], [[9, 10, 2]], [[20, 14, 1]]], np.float32)
    full = {"boxes": boxes, "labels": np.arange(4), "masks": masks, "keypoints": keypoints}
    image = np.zeros((1, 20, 40), np.float32)
    # The window's columns are 8 to 32; the centres of the boxes 5, 8, 8 and 15.
    everything = joint.CenterCrop((20, 24))
    by_centre = joint.CenterCrop((20, 24))
    by_centre.keep = "center"
    assert everything(image, full)[1]["labels"].tolist() == [0, 1, 2, 3]
    for keys in (("boxes", "labels"), ("masks", "labels"), tuple(full)):
        _, moved = by_centre(image, {key: full[key] for key in keys})
        assert moved["labels"].tolist() == [1, 2, 3]
        assert all(len(moved[key]) == 3 for key in keys)
    np.testing.assert_array_equal(moved["boxes"], [[0, 4, 8, 8], [0, 8, 6, 12], [0, 12, 22, 16]])
    np.testing.assert_array_equal(joint.boxes_of_masks(moved["masks"]), moved["boxes"])
    np.testing.assert_array_equal(moved["keypoints"], [[[0, 0, 0]], [[1, 10, 2]], [[12, 14, 1]]])
    with pytest.raises(ValueError, match="have only labels, keypoints does not say where they are"):
        by_centre(image, {key: full[key] for key in ("labels", "keypoints")})
    for crop in (joint.RandomCrop(8, keep="center"), joint.RandomCrop(8)):
        counts = [len(crop(image, full, np.random.default_rng(i))[1]["labels"]) for i in range(50)]
        assert (min(counts), max(counts)) == ((0, 2) if crop.keep == "center" else (0, 3))


def test_a_padded_crop_reaches_all_places():
    rng, starts = np.random.default_rng(0), set()
    for _ in range(400):
        move = joint.RandomCrop(8, padding=2).plan(10, 9, rng)
        starts.add((move.top, move.left))
    assert starts == {(y, x) for y in range(-2, 5) for x in range(-2, 4)}


def test_scales_are_drawn_from_their_range():
    rng = np.random.default_rng(0)
    sizes = [joint.RandomScale((0.5, 2.0)).plan(100, 200, rng).size for _ in range(300)]
    factors = np.array([h / 100 for h, w in sizes])
    assert factors.min() >= 0.5
    assert factors.max() <= 2.0
    assert 0.4 < (factors < 1).mean() < 0.6  # log-uniform: half of them shrink
    assert all(abs(w - 2 * h) <= 2 for h, w in sizes)
    stretched = [joint.RandomScale((1, 1), (0.5, 2)).plan(100, 100, rng).size for _ in range(50)]
    assert {h < w for h, w in stretched} == {True, False}
    assert all(abs(h * w - 10000) < 200 for h, w in stretched)


def test_displacements_have_their_standard_deviation():
    moves = [
        joint.RandomElastic(3.0, grid=4).plan(30, 30, np.random.default_rng(i)) for i in range(60)
    ]
    corner = [move.rows[0, 0] for move in moves]
    assert 2.2 < np.std(corner) < 3.8
    assert abs(np.mean(corner)) < 1.3


def test_colours_change_without_the_target():
    image, target = sample(5)
    image = image[:1]
    change = joint.Compose(
        [joint.RandomHorizontalFlip(1.0), joint.ImageOnly(ColorJitter(brightness=0.5))]
    )
    new, moved = change(image, target, np.random.default_rng(0))
    np.testing.assert_array_equal(moved["mask"], target["mask"][:, ::-1])
    assert not np.allclose(new, image[:, :, ::-1])
    with pytest.raises(ValueError, match=r"changed the size from \(40, 60\) to \(8, 8\)"):
        joint.ImageOnly(RandomCrop(8))(image, target)


class Pairs(Dataset):
    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 12

    def __getitem__(self, index):
        image, target = sample(index)
        return self.transform(image, target["mask"])


def test_batches_are_the_same_for_any_number_of_workers_and_after_resuming():
    transform = joint.Compose(
        [
            joint.RandomScale(),
            joint.RandomElastic(3.0),
            joint.RandomRotation(9),
            joint.RandomCrop(32),
        ]
    )

    def batches(workers):
        loader = DataLoader(Pairs(transform), 3, shuffle=True, seed=5, num_workers=workers)
        return [[part.data for part in batch] for _ in range(2) for batch in loader]

    alone, together = batches(0), batches(3)
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(alone[0][0], alone[4][0])  # another epoch, other chances

    loader = DataLoader(Pairs(transform), 3, shuffle=True, seed=5)
    run = iter(loader)
    next(run), next(run)
    state = loader.state_dict()
    resumed = DataLoader(Pairs(transform), 3, shuffle=True, seed=1)
    resumed.load_state_dict(state)
    for batch, expected in zip(resumed, alone[2:4], strict=True):
        for a, b in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(a.data, b)


def test_arguments_that_make_no_sense_are_refused():
    for wrong, message in [
        (lambda: joint.RandomHorizontalFlip(1.5), "p must be in"),
        (lambda: joint.RandomCrop(0), "size must be positive"),
        (lambda: joint.RandomCrop(4, padding=-1), "padding must not be negative"),
        (lambda: joint.RandomScale((0, 1)), "0 < low <= high"),
        (lambda: joint.RandomElastic(grid=1), "grid >= 2"),
        (lambda: joint.RandomCrop(4, keep="most"), "'any' or 'center', got 'most'"),
        (lambda: joint.RandomRotation(5, fill="median"), "numbers or 'mean', got 'median'"),
        (lambda: joint.RandomRotation(5, border="wrap"), "'constant' or 'reflect'"),
    ]:
        with pytest.raises(ValueError, match=message):
            wrong()


def test_targets_that_do_not_fit_their_image_are_refused():
    image, target = sample()
    flip = joint.RandomHorizontalFlip(1.0)
    for change, message in [
        ({"mask": np.zeros((H, W + 1), int)}, r"mask must be \(H, W\) with the size \(40, 60\)"),
        ({"masks": np.zeros((3, W, H), bool)}, r"masks must be \(R, H, W\)"),
        ({"boxes": np.zeros((3, 5))}, r"boxes must be \(R, 4\)"),
        ({"keypoints": np.zeros((3, 3))}, r"keypoints must be \(R, K, 3\)"),
        ({"labels": np.zeros(2, int)}, "other numbers of objects"),
    ]:
        with pytest.raises(ValueError, match=message):
            flip(image, {**target, **change})
    with pytest.raises(TypeError, match="NumPy array of floats, got uint8"):
        flip(np.zeros((3, H, W), np.uint8), target)
    with pytest.raises(ValueError, match=r"needs an image \(C, H, W\)"):
        flip(image[0], target)
    with pytest.raises(ValueError, match="objects a second time"):
        joint.RandomRotation(5, border="reflect")(image, target)
    joint.RandomRotation(5, border="reflect")(image, target["mask"])
