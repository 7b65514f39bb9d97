"""Detection as a task: data with objects, losses in parts, AP, and what is found in a picture."""

import json

import numpy as np
import pytest
from PIL import Image

from minidl import models
from minidl.data import Scenes, write_yolo
from minidl.training.detection import detect
from minidl.training.recipes import DEFAULTS, NETWORKS, Recipe, build, default, source_of
from minidl.training.sources import SOURCES

from .small import bits, untimed

# A narrow network for quick tests.
SMALL = Recipe(
    "ssd_small",
    "scenes",
    options={"width": 4},
    optimizer="adam",
    augment="flip+iou-crop",
    lr=0.002,
    images=8,
    size=64,
    batch_size=4,
    epochs=2,
)


# -- training --------------------------------------------------------------------------------------


def test_a_run_logs_the_parts_of_the_loss_and_ap_and_goes_on_bit_for_bit(tmp_path):
    whole = build(SMALL)
    history = whole.fit(progress=False)
    assert whole.criterion is None
    losses = ("loss", "classification", "bbox_regression")
    assert {n for n in history[0] if n.startswith("train_")} == {f"train_{n}" for n in losses}
    assert {f"test_{name}" for name in (*losses, "AP", "AP50", "AP75")} <= set(history[0])
    assert history[1]["train_loss"] < history[0]["train_loss"]

    stopped, calls = build(SMALL, workers=2), []
    step = stopped.optimizer.step

    def stop(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(*args)

    stopped.optimizer.step = stop
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(progress=False, run=tmp_path, save_every=-1.0)
    again = build(SMALL, workers=1)
    assert untimed(again.fit(progress=False, run=tmp_path, resume=True)) == untimed(history)
    assert bits(again.model) == bits(whole.model)
    lines = whole.task.details(whole.metrics)
    assert lines[0].startswith(f"boxes: AP {history[-1]['test_AP']:.2%}, AP50 ")
    assert [line.split()[0] for line in lines[2:]] == list(whole.source.classes)


def test_batches_are_lists_of_pictures_and_targets():
    parts = build(SMALL.changed(batch_size=3))
    batches = list(parts.train)
    assert [len(images) for images, _ in batches] == [3, 3, 2]
    images, targets = batches[0]
    assert {type(part) for part in (images, targets)} == {list}
    for image, target in zip(images, targets, strict=True):
        assert image.shape == (3, 64, 64), "windows of any size are brought to that of the recipe"
        assert 0 <= image.data.min() <= image.data.max() <= 1
        assert target["boxes"].shape == (len(target["labels"]), 4)
    (images, targets), *_ = list(parts.test)
    chosen = np.random.default_rng(0).permutation(200)[:3]
    for image, target, i in zip(images, targets, chosen, strict=True):
        x, y = Scenes(200, 64, task="instances", train=False)[int(i)]
        assert np.array_equal(image.data, x.data)
        assert np.array_equal(target["boxes"].data, y["boxes"].data)


@pytest.mark.parametrize(
    ("model", "part", "scores"),
    [
        ("maskrcnn_small", "masks", {"masks_AP", "masks_AP50", "masks_AP75"}),
        ("keypointrcnn_small", "keypoints", {"keypoints_AP", "keypoints_AP50", "keypoints_AP75"}),
    ],
)
def test_masks_and_keypoints_are_learned_and_scored(model, part, scores):
    recipe = default(model).changed(images=2, size=64, epochs=1).with_options(min_size=64)
    parts = build(recipe)
    (row,) = parts.fit(progress=False)
    assert {"test_AP", "test_AP50"} | {f"test_{name}" for name in scores} <= set(row)
    (found,) = parts.task.examples(None, 1)
    assert set(found.truth) == {"boxes", "labels", part}
    assert {"boxes", "labels", "scores", part} <= set(found.prediction)
    assert all(isinstance(value, np.ndarray) for value in found.prediction.values())


SMALL_ONES = [name for name in models.detection.__all__ if name.endswith("_small")]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL_ONES, "sliding_window_detector"])
def test_every_small_detector_is_trained_by_its_recipe(name):
    parts = build(default(name).changed(images=2, epochs=1))
    before = bits(parts.model)
    (row,) = parts.fit(progress=False)
    assert bits(parts.model) != before
    assert np.isfinite([row["train_loss"], row["test_loss"]]).all()
    assert "test_AP50" in row
    for found in parts.task.examples(None, 2):
        assert {"boxes", "labels", "scores"} <= set(found.prediction)


def test_what_is_found_is_what_the_detector_predicts_in_evaluation_mode():
    model = models.ssd_small(13, width=4)
    image = Scenes(1, 64)[0][0]
    found = detect(model, image.data)
    assert model.training, "is left as it was"
    expected = model.eval().predict([image])[0]
    assert all(np.array_equal(found[key], expected[key].data) for key in expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "dice"}, "loss is not for detection, which ssd_small is for"),
        ({"mixup": 0.3}, "mixup is not for detection"),
        ({"augment": "crop-flip"}, "unknown augment 'crop-flip'; known are none, flip, .*iou-crop"),
        ({"data": "camvid"}, "camvid is data for segmentation; known for detection are scenes, "),
        ({"options": {"num_classes": 3}}, "made for 3 kinds of objects; scenes has 13"),
        ({"model": "maskrcnn_small", "options": {}, "data": "bccd"}, "learns from masks, which bc"),
        (
            {"data": "bccd", "options": {"num_classes": 3}},
            "size is of pictures that are drawn; those of bccd are resized by the network",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build(SMALL.changed(**changes))


@pytest.mark.parametrize("data", list(SOURCES["detection"]))
def test_every_detector_has_a_recipe_for_all_data(data):
    for name in models.detection.__all__:
        recipe = default(name, data)
        assert (recipe.model, recipe.data, recipe.task) == (name, data, "detection")
    assert default("ssd_small").size == 64
    assert default("ssd300_vgg16").size == 128
    assert set(NETWORKS) <= set(models.__all__)
    assert data in DEFAULTS["detection"]


# -- data in files ---------------------------------------------------------------------------------


def pictures(folder, names, size=(40, 60)):
    """Grey pictures with a bright square; its box."""
    folder.mkdir(parents=True)
    pixels = np.full((*size, 3), 60, np.uint8)
    pixels[10:26, 20:40] = 220
    for name in names:
        Image.fromarray(pixels).save(folder / name)
    return [20.0, 10.0, 40.0, 26.0]


def coco(root, parts, bad=False):
    (root / "annotations").mkdir(parents=True)
    for part, count in parts.items():
        names = [f"{i}.jpg" for i in range(count)]
        x1, y1, x2, y2 = pictures(root / part, names)
        outline = [x1, y1, x2, y1, x2, y2, x1, y2]
        box = [x1, y1, 0.0 if bad else x2 - x1, y2 - y1]
        annotations = [
            {
                "id": i + 1,
                "image_id": i,
                "category_id": 7,
                "bbox": box if i else [x1, y1, x2 - x1, y2 - y1],
                "segmentation": [outline],
                "area": 320.0,
                "iscrowd": 0,
            }
            for i in range(count)
        ]
        images = [
            {"id": i, "file_name": name, "height": 40, "width": 60} for i, name in enumerate(names)
        ]
        content = {"images": images, "annotations": annotations}
        content["categories"] = [{"id": 7, "name": "square"}]
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))


def yolo(root):
    box = None
    for part, count in (("train", 5), ("val", 2)):
        box = pictures(root / "images" / part, [f"{i}.png" for i in range(count)])
        (root / "labels" / part).mkdir(parents=True)
        for i in range(count):
            path = root / "labels" / part / f"{i}.txt"
            write_yolo(path, np.array([box]), np.array([0]), (40, 60))
    (root / "classes.txt").write_text("square\n")


FILES = SMALL.changed(size=0, images=0, epochs=1, augment="flip+zoom-out+distort").with_options(
    num_classes=1
)


def test_a_folder_of_yolo_s_form_is_trained_on(tmp_path):
    yolo(tmp_path)
    recipe = FILES.changed(data="yolo")
    parts = build(recipe, root=str(tmp_path))
    assert parts.source.classes == ("square",)
    assert (len(parts.train.dataset), len(parts.test.dataset)) == (5, 2)
    (row,) = parts.fit(progress=False)
    assert row["test_AP50"] >= 0
    with pytest.raises(FileNotFoundError, match=r"classes\.txt"):
        build(recipe, root=str(tmp_path / "images"))


@pytest.mark.parametrize("parts", [{"train2017": 5, "val2017": 2}, {"train2017": 7}])
def test_a_folder_of_coco_s_form_is_trained_on(tmp_path, parts):
    coco(tmp_path, parts)
    recipe = FILES.changed(data="coco")
    made = build(recipe, root=str(tmp_path))
    assert made.source.classes == ("square",)
    count = 5 if len(parts) == 2 else 6
    assert len(made.train.dataset) == count
    assert len(made.test.dataset) == sum(parts.values()) - count
    made.fit(progress=False)
    masks = recipe.changed(model="maskrcnn_small", options={"num_classes": 1, "min_size": 64})
    _, targets = next(iter(build(masks, root=str(tmp_path)).train))
    assert targets[0]["masks"].dtype == np.bool_


def test_bad_annotations_are_an_error_that_says_how_to_leave_them_out(tmp_path):
    coco(tmp_path, {"train2017": 3, "val2017": 2}, bad=True)
    recipe = FILES.changed(data="coco")
    with pytest.raises(ValueError, match=r"annotation 2.*no area.*leave such out by --drop"):
        build(recipe, root=str(tmp_path))
    parts = build(recipe.changed(drop=True), root=str(tmp_path))
    assert parts.train.dataset.dropped == {"no area": 2}


def test_missing_folders_are_named(tmp_path):
    for data, message in (
        ("coco", r"instances_train\*\.json"),
        ("yolo", "classes"),
        ("voc", "JPEGImages"),
        ("bccd", "JPEGImages"),
    ):
        recipe = FILES.changed(data=data)
        with pytest.raises(FileNotFoundError, match=message):
            source_of(recipe, str(tmp_path)).read(str(tmp_path))


@pytest.mark.data
def test_blood_cells_are_232_and_60_pictures():
    source = SOURCES["detection"]["bccd"]
    train, test = (source.read(train=part, drop=True) for part in (True, False))
    assert (len(train), len(test)) == (232, 60)
    ids = [{sample.image_id for sample in part.samples} for part in (train, test)]
    assert not ids[0] & ids[1]
    assert tuple(train.classes) == source.classes
    assert train[0][0].shape == source.shape
    with pytest.raises(ValueError, match=r"no area.*--drop"):
        source.read()
