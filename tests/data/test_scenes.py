"""minidl/data/scenes.py: what is said of a scene is what its picture shows."""

import numpy as np
import pytest

from minidl.data import DataLoader, Scenes, joint
from minidl.data.scenes import NAMES, _digit, _shape


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return one.dtype == other.dtype and np.array_equal(one.data, other.data)


def test_a_scene_is_a_function_of_seed_and_index():
    for task in ("semantic", "instances"):
        scenes = Scenes(20, size=48, seed=3, task=task)
        again = Scenes(7, size=48, seed=3, task=task)
        for index in (6, 0, 3):
            assert same(scenes[index][0], again[index][0])
            assert same(scenes[index][1], again[index][1])
        assert same(scenes[-1][0], scenes[19][0])
        others = [Scenes(20, 48, 4), Scenes(20, 48, 3, train=False), Scenes(20, 48, 3)]
        different = [same(other[5][0], scenes[5][0]) for other in others]
        assert different == [False, False, True]
        assert not same(scenes[0][0], scenes[1][0])


def test_scenes_are_the_same_on_every_machine():
    scenes = Scenes(3, size=64, seed=0, task="instances")
    targets = [scenes[i][1] for i in range(3)]
    assert [t["labels"].tolist() for t in targets] == GOLDEN_LABELS
    assert [t["boxes"].tolist() for t in targets] == GOLDEN_BOXES


def test_shapes_and_dtypes_are_those_of_the_conventions():
    image, mask = Scenes(5, size=(40, 56))[2]
    assert (image.shape, image.dtype) == ((3, 40, 56), np.float32)
    assert (mask.shape, mask.dtype) == ((40, 56), np.int64)
    assert 0 <= image.data.min() < image.data.max() <= 1
    bytes_, _ = Scenes(5, size=(40, 56), dtype="uint8")[2]
    np.testing.assert_array_equal(bytes_.data, np.round(image.data * 255))
    assert bytes_.dtype == np.uint8
    image, target = Scenes(5, size=(40, 56), task="instances")[2]
    r = len(target["labels"])
    assert {k: (v.shape, str(v.dtype)) for k, v in target.items()} == {
        "boxes": ((r, 4), "float32"),
        "labels": ((r,), "int64"),
        "masks": ((r, 40, 56), "bool"),
        "keypoints": ((r, 5, 3), "float32"),
        "mask": ((40, 56), "int64"),
        "image_id": ((), "int64"),
    }
    assert target["image_id"].item() == 2


@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_boxes_masks_and_keypoints_belong_together(difficulty):
    scenes = Scenes(40, size=72, task="instances", objects=(0, 7), difficulty=difficulty)
    hidden = 0
    for i in range(40):
        target = {k: v.numpy() for k, v in scenes[i][1].items()}
        masks, boxes = target["masks"], target["boxes"]
        assert masks.sum(axis=0).max(initial=0) <= 1  # a pixel belongs to one object
        painted = np.zeros((72, 72), int)
        for k, label in enumerate(target["labels"]):
            painted[masks[k]] = label + 1
            y, x = np.nonzero(masks[k])
            assert boxes[k].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            x, y, visible = target["keypoints"][k].T
            there = visible > 0
            assert (x[there] >= 0).all()
            assert (y[there] >= 0).all()
            assert (x[there] <= 72).all()
            assert (y[there] <= 72).all()
            assert visible[[0, 1, 2, 4]].all()
            assert (visible[3] == 0) == (scenes.classes[label] == "triangle")
            hidden += (visible == 1).sum()
            # What is seen of the object itself lies within a pixel of its box.
            seen = visible == 2
            assert (x[seen] >= boxes[k, 0] - 1.5).all()
            assert (x[seen] <= boxes[k, 2] + 1.5).all()
        np.testing.assert_array_equal(target["mask"], painted)
    assert hidden > 0


def test_pictures_show_their_objects():
    """On easy scenes, the mean colour inside an object is far from that around it."""
    scenes = Scenes(30, size=64, task="instances", difficulty=0.0, objects=(1, 1), scale=(0.6, 0.8))
    for i in range(30):
        image, target = scenes[i]
        mask = target["masks"].numpy()[0]
        inside, outside = (image.data[:, m].mean(axis=1) for m in (mask, ~mask))
        assert np.abs(inside - outside).max() > 0.3
        # A threshold between the two finds the object again.
        channel = np.abs(inside - outside).argmax()
        found = np.abs(image.data[channel] - inside[channel]) < np.abs(
            image.data[channel] - outside[channel]
        )
        assert (found & mask).sum() / (found | mask).sum() > 0.85


def test_arguments_have_their_meaning():
    scenes = Scenes(60, 64, task="instances", objects=(2, 3), scale=(0.2, 0.3), overlap=0.0)
    counts, sides = [], []
    for i in range(60):
        target = scenes[i][1]
        counts.append(len(target["labels"]))
        boxes = target["boxes"].numpy()
        sides += (boxes[:, 2:] - boxes[:, :2]).max(axis=1).tolist()
    assert set(counts) == {2, 3}
    assert min(sides) >= 0.15 * 64
    assert max(sides) <= 0.4 * 64

    hidden = Scenes(60, 64, task="instances", objects=(4, 4), overlap=0.9, scale=(0.4, 0.6))
    assert any((hidden[i][1]["keypoints"].numpy()[..., 2] == 1).any() for i in range(20))

    few = Scenes(40, 48, task="instances", classes=["triangle", "7"])
    assert few.labels == ["background", "triangle", "7"]
    assert {c for i in range(40) for c in few[i][1]["labels"].tolist()} == {0, 1}
    assert {c for i in range(9) for c in np.unique(few[i][1]["mask"].data)} == {0, 1, 2}

    empty = Scenes(2, 32, task="instances", objects=(0, 0))[1][1]
    assert empty["boxes"].shape == (0, 4)
    assert empty["masks"].shape == (0, 32, 32)
    assert empty["keypoints"].shape == (0, 5, 3)

    plain, rough = (
        np.mean(
            [
                Scenes(9, 64, difficulty=d, objects=(0, 0))[i][0].data.std(axis=(1, 2)).max()
                for i in range(9)
            ]
        )
        for d in (0.0, 1.0)
    )
    assert rough > 3 * plain


def test_all_classes_occur_about_as_often():
    scenes = Scenes(150, 32, task="instances", scale=(0.3, 0.4))
    labels = np.concatenate([scenes[i][1]["labels"].data for i in range(150)])
    counts = np.bincount(labels, minlength=len(NAMES))
    assert counts.min() > 0.4 * counts.mean()


def test_digits_of_training_and_test_are_different_ones():
    train, test = Scenes(1), Scenes(1, train=False)
    assert [len(d) for d in train._digits] == [400] * 10
    assert [len(d) for d in test._digits] == [100] * 10


@pytest.mark.parametrize("name", ["disc", "rectangle", "triangle"])
def test_shapes_are_soft_at_their_edges_and_have_their_area(name):
    rng = np.random.default_rng(0)
    for _ in range(20):
        figure = _shape(name, 30.0, rng)
        x, y = figure.points[:, :2].T
        if name == "disc":
            area = np.pi * 15**2
        else:  # the area of the polygon of its corners (the shoelace formula)
            n = 4 if name == "rectangle" else 3
            area = abs(np.dot(x[:n], np.roll(y[:n], -1)) - np.dot(y[:n], np.roll(x[:n], -1))) / 2
        assert figure.opacity.sum() == pytest.approx(area, rel=0.02)
        soft = (figure.opacity > 0) & (figure.opacity < 1)
        assert soft.sum() > 20
        assert (figure.opacity >= 0.5).sum() == pytest.approx(area, rel=0.05)


def test_a_digit_has_its_ink_and_its_size():
    rng = np.random.default_rng(1)
    digits = Scenes(1)._digits
    for label in range(10):
        figure = _digit(digits[label][0], 40.0, rng)
        mask = figure.opacity >= 0.5
        y, x = np.nonzero(mask)
        side = max(np.ptp(x), np.ptp(y)) + 1
        assert 33 <= side <= 46
        for k, (px, py, _) in enumerate(figure.points[:4]):
            assert mask[int(py), int(px)]
            assert [
                px - 0.5 == x.min(),
                py - 0.5 == y.min(),
                px + 0.5 == x.max() + 1,
                py + 0.5 == y.max() + 1,
            ][k]


def test_scenes_are_batched_and_augmented_by_any_number_of_workers():
    transform = joint.Compose([joint.RandomHorizontalFlip(), joint.RandomElastic(2.0)])
    scenes = Scenes(12, size=32, transform=transform)

    def run(workers):
        loader = DataLoader(scenes, 4, shuffle=True, seed=2, num_workers=workers)
        return [part.data for batch in loader for part in batch]

    one, other = run(0), run(3)
    assert one[0].shape == (4, 3, 32, 32)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

    lists = DataLoader(
        Scenes(4, task="instances", transform=transform),
        4,
        collate_fn=lambda s: list(zip(*s, strict=True)),
    )
    ((images, targets),) = lists
    assert len(images) == len(targets) == 4
    assert all(t["masks"].shape[0] == t["boxes"].shape[0] for t in targets)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": -1}, "must not be negative"),
        ({"size": 8}, "at least 16 x 16"),
        ({"task": "boxes"}, "unknown task 'boxes'"),
        ({"classes": ["disc", "star"]}, r"unknown classes \['star'\]"),
        ({"classes": []}, "at least one class"),
        ({"objects": (3, 2)}, "objects must be"),
        ({"scale": (0.0, 0.5)}, "scale must be"),
        ({"overlap": 1.5}, "overlap must be"),
        ({"difficulty": 2}, "difficulty must be"),
        ({"dtype": "float16"}, "dtype is float32 or uint8"),
        ({"dtype": "uint8", "transform": joint.CenterCrop(8)}, "transforms need dtype float32"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=f"Scenes: .*{message}"):
        Scenes(**{"n": 3, **arguments})


def test_an_index_out_of_range_is_an_error_that_ends_a_loop():
    scenes = Scenes(2, size=16)
    assert len(list(scenes)) == 2
    with pytest.raises(IndexError, match="index 2 is out of range, there are 2"):
        scenes[2]


GOLDEN_LABELS = [[5, 4, 2], [0, 1], [2, 0]]
GOLDEN_BOXES = [
    [[12.0, 3.0, 35.0, 35.0], [28.0, 20.0, 54.0, 56.0], [1.0, 29.0, 21.0, 52.0]],
    [[29.0, 22.0, 57.0, 57.0], [50.0, 27.0, 63.0, 63.0]],
    [[42.0, 35.0, 57.0, 52.0], [9.0, 10.0, 38.0, 41.0]],
]
