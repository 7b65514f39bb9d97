"""minidl/data/coco.py: objects of COCO's json files, and what happens to broken ones."""

import copy
import json

import numpy as np
import pytest
from PIL import Image

from minidl import masks
from minidl.data import CocoDetection, write_coco_results
from minidl.metrics import COCOAveragePrecision

NOSE_AND_EYES = ["nose", "left_eye", "right_eye"]
GOOD = {
    "images": [
        {"id": 9, "file_name": "a.png", "height": 20, "width": 30},
        {"id": 4, "file_name": "b.png", "height": 20, "width": 30},
    ],
    "categories": [
        {"id": 7, "name": "dog"},
        {"id": 3, "name": "person", "keypoints": NOSE_AND_EYES, "skeleton": [[1, 2], [1, 3]]},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 9,
            "category_id": 7,
            "bbox": [2, 3, 10, 5],
            "segmentation": [[2, 3, 12, 3, 12, 8, 2, 8]],
            "area": 50,
            "iscrowd": 0,
        },
        {
            "id": 2,
            "image_id": 9,
            "category_id": 3,
            "bbox": [0, 0, 30, 20],
            "segmentation": {"size": [20, 30], "counts": [100, 400, 100]},
            "area": 400.0,
            "iscrowd": 1,
            "keypoints": [3, 4, 2, 5, 6, 1, 0, 0, 0],
        },
    ],
}


@pytest.fixture
def write(tmp_path):
    """Write a data set with this content; returns the arguments to read it."""
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (30, 20)).save(tmp_path / "pictures" / name)

    def make(content):
        file = tmp_path / "instances.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / "pictures", file

    return make


def changed(**fields):
    """GOOD, with other fields of its second annotation; None: without that field."""
    content = copy.deepcopy(GOOD)
    row = content["annotations"][1]
    row.update(fields)
    content["annotations"][1] = {key: value for key, value in row.items() if value is not None}
    return content


def test_objects_have_the_form_that_detectors_take(write):
    dataset = CocoDetection(*write(GOOD), masks=True, keypoints=True)
    assert len(dataset) == 2
    assert dataset.classes == ["person", "dog"]
    assert dataset.category_ids == [3, 7]
    image, target = dataset[0]
    assert image.shape == (3, 20, 30)
    assert target["image_id"] == 9
    assert target["boxes"].data.tolist() == [[2, 3, 12, 8], [0, 0, 30, 20]]
    assert target["labels"].data.tolist() == [1, 0]
    assert target["area"].data.tolist() == [50, 400]
    assert target["iscrowd"].data.tolist() == [0, 1]
    assert target["masks"].shape == (2, 20, 30)
    assert target["masks"].data[0].sum() == target["masks"].data[0, 3:8, 2:12].sum() == 50
    assert target["masks"].data[1, :, 5:25].all()
    assert target["masks"].data[1].sum() == 400


def test_keypoints_lie_in_the_middle_of_their_pixel(write):
    dataset = CocoDetection(*write(GOOD), keypoints=True)
    keypoints = dataset[0][1]["keypoints"]
    assert keypoints.dtype == np.float32
    assert keypoints.data[0].tolist() == [[0, 0, 0]] * 3
    assert keypoints.data[1].tolist() == [[3.5, 4.5, 2], [5.5, 6.5, 1], [0, 0, 0]]
    assert dataset.keypoint_names == NOSE_AND_EYES
    assert dataset.keypoint_pairs == [(1, 2)]
    assert dataset.skeleton.tolist() == [[0, 1], [0, 2]]


def test_a_picture_without_objects_is_a_sample(write):
    target = CocoDetection(*write(GOOD), masks=True, keypoints=True)[1][1]
    shapes = {key: value.shape for key, value in target.items() if key != "image_id"}
    assert shapes == {
        "boxes": (0, 4),
        "labels": (0,),
        "area": (0,),
        "iscrowd": (0,),
        "masks": (0, 20, 30),
        "keypoints": (0, 3, 3),
    }


def test_masks_and_keypoints_come_only_when_asked_for(write):
    target = CocoDetection(*write(changed(segmentation=None, keypoints=[1])))[0][1]
    assert set(target) == {"boxes", "labels", "area", "iscrowd", "image_id"}


def test_crowds_can_be_left_out(write):
    assert CocoDetection(*write(GOOD), crowds=False)[0][1]["labels"].data.tolist() == [1]


def test_what_a_file_may_lack_has_a_default(write):
    content = changed(area=None, iscrowd=None, keypoints=None)
    del content["images"][0]["height"]
    dataset = CocoDetection(*write(content), keypoints=True)
    target = dataset[0][1]
    assert target["area"].data.tolist() == [50, 600]
    assert target["iscrowd"].data.tolist() == [0, 0]
    assert not target["keypoints"].data.any()
    assert dataset.samples[0].size == (20, 30)


NAN = float("nan")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"bbox": [1, 1, 0, 5]}, "no area"),
        ({"bbox": [1, 1, 5, -5]}, "no area"),
        ({"bbox": [40, 1, 5, 5]}, "outside the image"),
        ({"bbox": [20, 1, 15, 5]}, "outside the image"),
        ({"bbox": [NAN, 1, 5, 5]}, "not finite"),
        ({"bbox": [1, 1, 5]}, "no box"),
        ({"bbox": None}, "no box"),
        ({"category_id": 8}, "unknown class"),
        ({"category_id": None}, "unknown class"),
        ({"image_id": 5}, "unknown image"),
        ({"area": -1}, "bad area"),
        ({"area": NAN}, "bad area"),
        ({"segmentation": []}, "bad outline or keypoints"),
        ({"segmentation": None}, "bad outline or keypoints"),
        ({"segmentation": [[1, 2, 3, 4]]}, "bad outline or keypoints"),
        ({"segmentation": [[1, 2, 3, 4, 5, NAN]]}, "bad outline or keypoints"),
        ({"segmentation": {"size": [20, 30], "counts": [5]}}, "bad outline or keypoints"),
        ({"segmentation": {"size": [30, 20], "counts": [600]}}, "bad outline or keypoints"),
        ({"keypoints": [1, 2, 2]}, "bad outline or keypoints"),
        ({"keypoints": [1, 2, 2, 1, 2, 2, 1, NAN, 2]}, "bad outline or keypoints"),
        ({"keypoints": [1, 2, 2, 90, 2, 2, 1, 2, 2]}, "bad outline or keypoints"),
    ],
)
def test_a_bad_object_is_an_error_or_dropped(write, fields, reason):
    files = write(changed(**fields))
    with pytest.raises(ValueError, match=rf"instances.json, annotation 2\b.*: {reason}: "):
        CocoDetection(*files, masks=True, keypoints=True)
    dataset = CocoDetection(*files, masks=True, keypoints=True, invalid="drop")
    assert dataset.dropped == {reason: 1}
    assert [len(sample.labels) for sample in dataset.samples] == [1, 0]
    assert dataset[0][1]["masks"].shape == (1, 20, 30)


def test_a_missing_picture_is_an_error_or_dropped(write):
    content = copy.deepcopy(GOOD)
    content["images"][1]["file_name"] = "c.png"
    files = write(content)
    with pytest.raises(ValueError, match=r"image 4: missing image: there is no .*c.png"):
        CocoDetection(*files)
    dataset = CocoDetection(*files, invalid="drop")
    assert len(dataset) == 1
    assert dataset.dropped == {"missing image": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps(GOOD)[:-40], "instances.json is not json, or cut off: .*char"),
        ("", "is not json, or cut off"),
        ([], "instances.json has no list 'images'"),
        ({"images": [], "annotations": []}, "has no list 'categories'"),
        (GOOD | {"images": [{"id": 3}]}, "images 0 must have id, file_name"),
        (GOOD | {"annotations": [3]}, "annotations 0 must have keys"),
    ],
)
def test_a_broken_file_is_an_error_even_when_dropping(write, content, message):
    for invalid in ("error", "drop"):
        with pytest.raises(ValueError, match=message):
            CocoDetection(*write(content), invalid=invalid)


def test_missing_files_and_keypoints_are_told(write, tmp_path):
    pictures, file = write(GOOD)
    with pytest.raises(FileNotFoundError, match="no folder"):
        CocoDetection(tmp_path / "nowhere", file)
    with pytest.raises(FileNotFoundError):
        CocoDetection(pictures, tmp_path / "nowhere.json")
    content = copy.deepcopy(GOOD)
    del content["categories"][1]["keypoints"]
    with pytest.raises(ValueError, match=r"no category of .* has keypoints"):
        CocoDetection(*write(content), keypoints=True)


def test_written_results_are_in_the_form_of_the_files(write, tmp_path):
    dataset = CocoDetection(*write(GOOD), masks=True, keypoints=True)
    target = dataset[0][1]
    prediction = target | {"scores": np.array([0.5, 0.25], np.float32)}
    write_coco_results(tmp_path / "r.json", [prediction], [9], dataset.category_ids)
    first, second = json.loads((tmp_path / "r.json").read_text())
    assert (first["image_id"], first["category_id"], first["score"]) == (9, 7, 0.5)
    assert first["bbox"] == [2, 3, 10, 5]
    assert masks.area(masks.from_json(first["segmentation"])) == 50
    assert second["category_id"] == 3
    assert second["keypoints"][:6] == [3, 4, 2, 5, 6, 1]
    with pytest.raises(ValueError, match="1 predictions for 2 image ids"):
        write_coco_results(tmp_path / "r.json", [prediction], [9, 4], dataset.category_ids)


# -- real files ------------------------------------------------------------------------------------


@pytest.mark.data
def test_eighty_real_images_are_read(data_folder):
    folder = data_folder / "coco-mini"
    files = folder / "train2017", folder / "annotations/instances_train2017.json"
    dataset = CocoDetection(*files, masks=True)
    assert (len(dataset), len(dataset.classes)) == (80, 80)
    crowds = np.concatenate([sample.more["iscrowd"] for sample in dataset.samples])
    assert (len(crowds), crowds.sum()) == (739, 8)
    off = []
    for index in range(0, 80, 8):
        target = dataset[index][1]
        for box, mask in zip(target["boxes"].data, target["masks"].data, strict=True):
            y, x = np.nonzero(mask)
            off.append(np.abs(box - [x.min(), y.min(), x.max() + 1, y.max() + 1]).max())
    assert np.median(off) < 1, "boxes are those around the masks, up to rounding"
    assert np.max(off) < 10
    people = CocoDetection(
        folder / "train2017", folder / "annotations/person_keypoints_train2017.json", keypoints=True
    )
    assert people.classes == ["person"]
    assert len(people.keypoint_names) == 17
    assert len(people.keypoint_pairs) == 8
    assert people.skeleton.shape == (19, 2)


@pytest.mark.data
def test_keypoints_of_real_people_lie_in_their_boxes(data_folder):
    folder = data_folder / "coco-kp4"
    dataset = CocoDetection(folder, folder / "test_coco.json", keypoints=True)
    inside = []
    for _, target in dataset:
        for box, points in zip(target["boxes"].data, target["keypoints"].data, strict=True):
            points = points[points[:, 2] > 0]
            inside += ((points[:, :2] >= box[:2]) & (points[:, :2] <= box[2:])).all(axis=1).tolist()
    assert len(inside) > 100
    assert np.mean(inside) > 0.95, "nearly all: people mark hands outside of their boxes"


@pytest.mark.data
@pytest.mark.parametrize("kind", ["boxes", "masks", "keypoints"])
def test_the_truth_as_detections_scores_one(data_folder, kind):
    folder = data_folder / "coco-mini"
    name = "person_keypoints" if kind == "keypoints" else "instances"
    dataset = CocoDetection(
        folder / "train2017",
        folder / f"annotations/{name}_train2017.json",
        masks=kind == "masks",
        keypoints=kind == "keypoints",
    )
    score = COCOAveragePrecision(dataset.classes, kind)
    for index in range(12):
        _, target = dataset[index]
        keep = np.ones(len(target["labels"]), bool)
        if kind == "keypoints":  # people of whom nothing is labelled are not to be found
            keep = (target["keypoints"].data[..., 2] > 0).any(axis=1)
        prediction = {key: target[key].data[keep] for key in ("labels", kind)}
        score.update([prediction | {"scores": np.ones(keep.sum())}], [target])
    assert score.compute()["AP"] == 1.0
