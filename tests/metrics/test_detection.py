"""minidl/metrics/detection.py: average precision equal to slow and obvious loops, to published
numbers, and to COCO's tools."""

import contextlib
import copy
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import masks
from minidl.metrics import COCOAveragePrecision, Score, VOCAveragePrecision
from minidl.metrics.matching import COCO_SIGMAS

CLASSES = ["cat", "dog"]


def image(predictions, objects, **more):
    """A pair (prediction, target) of rows (label, score, x1, y1, x2, y2) and (label, box)."""
    p = np.array(predictions, float).reshape(-1, 6)
    t = np.array(objects, float).reshape(-1, 5)
    prediction = {"labels": p[:, 0].astype(int), "scores": p[:, 1], "boxes": p[:, 2:]}
    return prediction, {"labels": t[:, 0].astype(int), "boxes": t[:, 1:], **more}


def computed(score, images):
    for prediction, target in images:
        score.update([prediction], [target])
    return score.compute()


def same(a, b):
    """Equal results, NaN where NaN."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, Score) and a.reason != b.reason:
        return False
    return np.array_equal(a, b, equal_nan=True)


# -- slow and obvious ------------------------------------------------------------------------------


def overlap(a, b, crowd=False):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area_a, area_b = ((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    whole = area_a if crowd else area_a + area_b - width * height
    return width * height / whole if whole else 0.0


def surest_first(images, label, most=None):
    """(score, image number, detection number), COCO's and VOC's order."""
    rows = []
    for i, (prediction, _) in enumerate(images):
        mine = [d for d in range(len(prediction["labels"])) if prediction["labels"][d] == label]
        mine.sort(key=lambda d: -prediction["scores"][d])
        rows += [(prediction["scores"][d], i, d) for d in mine[:most]]
    return sorted(rows, key=lambda row: -row[0])


def obvious_voc(images, label, threshold, rule, points):
    objects = 0
    for _, target in images:
        difficult = target.get("difficult", np.zeros(len(target["labels"])))
        objects += int(((target["labels"] == label) & (difficult == 0)).sum())
    if not objects:
        return math.nan
    taken, curve, true, false = set(), [], 0, 0
    for _, i, d in surest_first(images, label):
        box, target = images[i][0]["boxes"][d], images[i][1]
        difficult = target.get("difficult", np.zeros(len(target["labels"])))
        mine = [g for g in range(len(target["labels"])) if target["labels"][g] == label]
        overlaps = {g: overlap(box, target["boxes"][g]) for g in mine}
        if rule == "voc":
            best = max(mine, key=lambda g: (overlaps[g], -g), default=None)
            if best is not None and overlaps[best] < threshold:
                best = None
            if best is not None and difficult[best]:
                continue
            hit = best is not None and (i, best) not in taken
        else:
            free = [g for g in mine if difficult[g] or (i, g) not in taken]
            free = [g for g in free if overlaps[g] > threshold]
            real = [g for g in free if not difficult[g]] or free
            best = max(real, key=lambda g: (overlaps[g], g), default=None)
            if best is not None:
                taken.add((i, best))
                if difficult[best]:
                    continue
            hit = best is not None
        if hit:
            taken.add((i, best))
        true, false = true + hit, false + (not hit)
        curve.append((true / objects, true / (true + false)))
    if points == 11:
        recalls = np.linspace(0, 1, 11)
        return sum(max([p for r, p in curve if r >= at], default=0.0) for at in recalls) / 11
    area, last = 0.0, 0.0
    for recall in sorted({r for r, _ in curve}):
        area += (recall - last) * max(p for r, p in curve if r >= recall)
        last = recall
    return area


def obvious_coco(images, label, low, high, most, measure=overlap):
    """(AP of the ten thresholds, AR of them) of a class, for objects of areas low to high."""
    aps, ars = [], []
    for threshold in np.linspace(0.5, 0.95, 10):
        results, objects = {}, 0
        for i, (prediction, target) in enumerate(images):
            mine = [g for g in range(len(target["labels"])) if target["labels"][g] == label]
            boxes = target["boxes"]
            area = target.get("area", (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
            crowd = target.get("iscrowd", np.zeros(len(target["labels"]), int))
            ignored = {g: bool(crowd[g]) or not low <= area[g] <= high for g in mine}
            objects += sum(not ignored[g] for g in mine)
            taken = set()
            for _, _, d in surest_first([(prediction, target)], label, most):
                box = prediction["boxes"][d]
                free = [
                    (measure(box, boxes[g], crowd[g]), g)
                    for g in mine
                    if crowd[g] or g not in taken
                ]
                free = [(o, g) for o, g in free if o >= min(threshold, 1 - 1e-10)]
                real = [(o, g) for o, g in free if not ignored[g]] or free
                if real:
                    g = max(real)[1]
                    taken.add(g)
                    results[i, d] = None if ignored[g] else True
                else:
                    size = (box[2] - box[0]) * (box[3] - box[1])
                    results[i, d] = False if low <= size <= high else None
        if not objects:
            return math.nan, math.nan
        true, curve, count = 0, [], 0
        for _, i, d in surest_first(images, label, most):
            if results[i, d] is not None:
                count += 1
                true += results[i, d]
                curve.append((true / objects, true / count))
        recalls = np.linspace(0, 1, 101)
        aps.append(np.mean([max([p for r, p in curve if r >= at], default=0.0) for at in recalls]))
        ars.append(true / objects)
    return np.mean(aps), np.mean(ars)


place = st.integers(0, 5)
side = st.integers(1, 3)


@st.composite
def rows(draw, scored):
    x, y, w, h = draw(place), draw(place), draw(side), draw(side)
    label = draw(st.integers(0, 1))
    # Few different scores, so that there are ties.
    score = [draw(st.sampled_from([0.1, 0.5, 0.9]))] if scored else []
    return [label, *score, x, y, x + w, y + h]


@st.composite
def scenes(draw):
    images = []
    for number in range(draw(st.integers(0, 4))):
        objects = draw(st.lists(rows(False), max_size=5))
        flags = draw(st.lists(st.booleans(), min_size=10, max_size=10))
        one = image(draw(st.lists(rows(True), max_size=6)), objects, image_id=number)
        one[1]["iscrowd"] = np.array(flags[: len(objects)], int)
        one[1]["difficult"] = np.array(flags[5 : 5 + len(objects)], int)
        images.append(one)
    return images


@settings(max_examples=60, deadline=None)
@given(scenes(), st.sampled_from(["voc", "lecture"]), st.sampled_from(["all", 11]))
def test_vocs_average_precision_is_that_of_a_slow_loop(images, rule, points):
    images = [(p, {k: v for k, v in t.items() if k != "iscrowd"}) for p, t in images]
    result = computed(VOCAveragePrecision(CLASSES, 0.5, rule, points), images)
    expected = [obvious_voc(images, label, 0.5, rule, points) for label in (0, 1)]
    got = [result["per_class"][name]["AP"] for name in CLASSES]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    there = [ap for ap in expected if ap == ap]
    np.testing.assert_allclose(result["mAP"], np.mean(there) if there else math.nan, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(scenes(), st.sampled_from([(1, 3), (2, 4), (4, 9)]))
def test_cocos_average_precision_is_that_of_a_slow_loop(images, limits):
    images = [(p, {k: v for k, v in t.items() if k != "difficult"}) for p, t in images]

    class Small(COCOAveragePrecision):
        AREAS = {"all": (0.0, 1e10), "s": limits, "m": (0.0, 1e10), "l": (0.0, 1e10)}

    result = computed(Small(CLASSES, max_detections=(1, 3)), images)
    for label, name in enumerate(CLASSES):
        row = result["per_class"][name]
        everything = obvious_coco(images, label, 0, 1e10, 3)
        np.testing.assert_allclose([row["AP"], row["AR3"]], everything, rtol=0, atol=1e-12)
        small = obvious_coco(images, label, *limits, 3)
        np.testing.assert_allclose([row["APs"], row["ARs"]], small, rtol=0, atol=1e-12)


# -- by hand ---------------------------------------------------------------------------------------

SQUARE = [0, 0, 10, 10]


def test_the_lectures_example():
    # Three dogs; the detector finds two, then errs twice, then finds the third.
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(3)]
    away = [0, 50, 10, 60]
    predictions = [
        [0, 0.99, *boxes[0]],
        [0, 0.95, *boxes[1]],
        [0, 0.90, *away],
        [0, 0.50, *away],
        [0, 0.10, *boxes[2]],
    ]
    score = VOCAveragePrecision(["dog"], rule="lecture")
    result = computed(score, [image(predictions, [[0, *b] for b in boxes])])
    assert result["mAP"] == pytest.approx((1 + 1 + 3 / 5) / 3)  # 0.87
    curve = result["curves"]["dog"]
    np.testing.assert_allclose(curve["precision"], [1, 1, 2 / 3, 2 / 4, 3 / 5])
    np.testing.assert_allclose(curve["recall"], [1 / 3, 2 / 3, 2 / 3, 2 / 3, 1])
    assert curve["scores"].tolist() == [0.99, 0.95, 0.9, 0.5, 0.1]
    assert result["per_class"]["dog"] | {"AP": 0} == {"AP": 0, "objects": 3, "true": 3, "false": 2}


def test_an_object_found_twice_is_one_true_and_one_false():
    once, twice = [[0, 0.9, *SQUARE]], [[0, 0.9, *SQUARE], [0, 0.8, 0, 0, 10, 9]]
    for rule in ("voc", "lecture"):
        result = computed(VOCAveragePrecision(1, rule=rule), [image(twice, [[0, *SQUARE]])])
        assert (result["per_class"]["0"]["true"], result["per_class"]["0"]["false"]) == (1, 1)
    more = COCOAveragePrecision(1)
    first = computed(more, [image(once, [[0, *SQUARE]])])
    assert first["AP"] == 1.0


def test_the_rules_differ_where_a_second_detection_overlaps_two_objects():
    objects = [[0, 0, 0, 10, 10], [0, 0, 2, 10, 12]]
    detections = [[0, 0.9, 0, 0, 10, 10], [0, 0.8, 0, 0.5, 10, 10.5]]  # both nearest to the first
    voc, lecture = (
        computed(VOCAveragePrecision(1, rule=rule), [image(detections, objects)])["mAP"]
        for rule in ("voc", "lecture")
    )
    assert voc == 0.5
    assert lecture == 1.0


def test_an_overlap_at_the_threshold_reaches_it_and_does_not_exceed_it():
    pair = [image([[0, 0.9, 0, 0, 10, 5]], [[0, *SQUARE]])]
    assert computed(VOCAveragePrecision(1, 0.5, rule="voc"), pair)["mAP"] == 1.0
    assert computed(VOCAveragePrecision(1, 0.5, rule="lecture"), pair)["mAP"] == 0.0
    assert computed(COCOAveragePrecision(1), pair)["AP50"] == 1.0


def test_difficult_objects_neither_help_nor_hurt():
    plain = image([[0, 0.5, *SQUARE]], [[0, *SQUARE]])
    found = image([[0, 0.9, *SQUARE], [0, 0.8, *SQUARE]], [[0, *SQUARE]], difficult=[1])
    missed = image([], [[0, *SQUARE]], difficult=np.array([True]))
    for make in (VOCAveragePrecision, COCOAveragePrecision):
        result = computed(make(1), [plain, missed])
        assert result["per_class"]["0"]["objects"] == 1
        assert result["per_class"]["0"]["AP"] == 1.0
    assert computed(VOCAveragePrecision(1), [plain, found])["mAP"] == 1.0


def test_a_crowd_swallows_any_number_of_detections():
    crowd = image(
        [[0, 0.9, 0, 0, 3, 3], [0, 0.8, 5, 5, 9, 9], [0, 0.7, 50, 50, 59, 59]],
        [[0, *SQUARE], [0, 50, 50, 59, 59]],
        iscrowd=[1, 0],
    )
    result = computed(COCOAveragePrecision(1), [crowd])
    assert result["AP"] == 1.0
    assert result["per_class"]["0"]["objects"] == 1
    assert result["curves"]["0"]["scores"].tolist() == [0.7]


def test_equal_scores_are_ordered_by_image_id_and_not_by_arrival():
    wrong = image([[0, 0.5, 50, 50, 60, 60]], [], image_id=1)
    right = image([[0, 0.5, *SQUARE]], [[0, *SQUARE]], image_id=2)
    for images in ([wrong, right], [right, wrong]):
        assert computed(VOCAveragePrecision(1), images)["mAP"] == 0.5
    wrong[1]["image_id"] = 3
    assert computed(VOCAveragePrecision(1), [wrong, right])["mAP"] == 1.0


def test_scores_that_do_not_exist_are_nan_and_say_why():
    nothing = COCOAveragePrecision(CLASSES).compute()
    assert math.isnan(nothing["AP"])
    assert nothing["AP"].reason == "no object that counts"
    assert nothing["APs"].reason == "no small object that counts"
    assert nothing["curves"]["cat"]["recall"].shape == (0,)
    nothing = VOCAveragePrecision(CLASSES).compute()
    assert math.isnan(nothing["mAP"])
    assert nothing["mAP"].reason == "no object that counts"

    only_cats = [image([[1, 0.5, *SQUARE]], [[0, *SQUARE]])]
    for make, key in ((COCOAveragePrecision, "AP"), (VOCAveragePrecision, "mAP")):
        result = computed(make(CLASSES), only_cats)
        assert result[key] == 0.0
        assert result[key].reason == "without 1 of 2 classes, for no object that counts: dog"
        dog = result["per_class"]["dog"]
        assert math.isnan(dog["AP"])
        assert dog["AP"].reason == "no object that counts is dog"
        assert dog["objects"] == 0
        assert np.isnan(result["curves"]["dog"]["recall"]).all()


def test_an_image_without_objects_costs_precision_when_something_is_seen_there():
    right = image([[0, 0.5, *SQUARE]], [[0, *SQUARE]])
    for make, key in ((COCOAveragePrecision, "AP"), (VOCAveragePrecision, "mAP")):
        assert computed(make(1), [right, image([], [])])[key] == 1.0
        assert computed(make(1), [right, image([[0, 0.9, *SQUARE]], [])])[key] == pytest.approx(0.5)


def test_masks_are_scored_by_their_pixels():
    pixels = np.zeros((2, 8, 8), bool)
    pixels[0, 2:6, 2:6] = pixels[1, 2:6, 2:5] = True  # IoU 12 / 16 = 0.75
    prediction = {"labels": [0], "scores": [0.5], "masks": pixels[1:]}
    target = {"labels": [0], "masks": pixels[:1]}
    result = computed(COCOAveragePrecision(1, kind="masks"), [(prediction, target)])
    assert result["AP"] == pytest.approx(0.6)
    assert result["AP75"] == 1.0
    as_runs = [masks.encode(m) for m in pixels]
    prediction["masks"], target["masks"] = as_runs[1:], as_runs[:1]
    assert same(result, computed(COCOAveragePrecision(1, kind="masks"), [(prediction, target)]))


def test_keypoints_are_scored_by_their_similarity():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(0, 100, (1, 17, 2)), np.full((1, 17, 1), 2.0)], axis=2)
    points[0, 3:, 2] = 0  # three are labelled
    moved = points.copy()
    moved[..., 0] += 7
    prediction = {"labels": [0], "scores": [0.5], "keypoints": moved}
    target = {"labels": [0], "boxes": [[0, 0, 100, 100]], "area": [5000], "keypoints": points}
    similar = np.mean([math.exp(-(7**2) / (2 * 5000 * (2 * s) ** 2)) for s in COCO_SIGMAS[:3]])
    assert 0.1 < similar < 0.9
    for threshold, ap in ((similar - 1e-6, 1.0), (similar + 1e-6, 0.0)):
        score = VOCAveragePrecision(1, threshold, kind="keypoints")
        assert computed(score, [(prediction, target)])["mAP"] == ap


def test_people_of_whom_nothing_is_labelled_do_not_count():
    points = np.concatenate([np.full((2, 17, 2), 50.0), np.full((2, 17, 1), 2.0)], axis=2)
    points[1, :, :2] += 100
    seen = {"labels": [0, 0], "scores": [0.9, 0.5], "keypoints": points[::-1]}
    marked = points.copy()
    marked[1] = 0
    target = {"labels": [0, 0], "boxes": [[0, 0, 99, 99], [100, 100, 199, 199]]}
    pair = seen, target | {"keypoints": marked}
    for make, key in ((COCOAveragePrecision, "AP"), (VOCAveragePrecision, "mAP")):
        result = computed(make(1, kind="keypoints"), [pair])
        assert result[key] == 1.0
        assert result["per_class"]["0"]["objects"] == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: COCOAveragePrecision([]), "at least one class"),
        (lambda: COCOAveragePrecision(["a", "b", "a"]), "no name twice"),
        (lambda: COCOAveragePrecision(1, "circles"), "kind must be .* got 'circles'"),
        (lambda: COCOAveragePrecision(1, max_detections=(10, 1)), "must rise"),
        (lambda: COCOAveragePrecision(1, max_detections=(0, 1)), "must rise from 1"),
        (lambda: VOCAveragePrecision(1, 50), r"iou_threshold must be in \(0, 1\], got 50"),
        (lambda: VOCAveragePrecision(1, rule="coco"), "rule must be"),
        (lambda: VOCAveragePrecision(1, points=12), "points must be"),
        (lambda: VOCAveragePrecision(1).merge(VOCAveragePrecision(2)), "other classes or settings"),
        (lambda: VOCAveragePrecision(1).merge(VOCAveragePrecision(1, 0.7)), "other classes"),
        (lambda: VOCAveragePrecision(1).merge(COCOAveragePrecision(1)), "cannot merge"),
    ],
)
def test_arguments_that_make_no_sense_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# -- known answers ---------------------------------------------------------------------------------


def corners(boxes):
    boxes = np.array(boxes, float).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def coco_pairs(truth, results, kind):
    """(names of classes, pairs of prediction and target) of contents of COCO's files."""
    categories = sorted(truth["categories"], key=lambda c: c["id"])
    label = {c["id"]: i for i, c in enumerate(categories)}
    pairs = []
    for entry in truth["images"]:
        there = [a for a in truth["annotations"] if a["image_id"] == entry["id"]]
        seen = [a for a in results if a["image_id"] == entry["id"]]
        target = {
            "image_id": entry["id"],
            "labels": [label[a["category_id"]] for a in there],
            "boxes": corners([a["bbox"] for a in there]),
            "area": [a["area"] for a in there],
            "iscrowd": [a["iscrowd"] for a in there],
        }
        prediction = {
            "labels": [label[a["category_id"]] for a in seen],
            "scores": [a["score"] for a in seen],
        }
        if kind == "boxes":
            prediction["boxes"] = corners([a["bbox"] for a in seen])
        for part, rows_ in ((prediction, seen), (target, there)):
            if kind == "keypoints":
                points = np.array([a["keypoints"] for a in rows_], float)
                part["keypoints"] = points.reshape(-1, 17, 3)
            if kind == "masks":
                size = entry["height"], entry["width"]
                part["masks"] = [outline(a["segmentation"], size) for a in rows_]
        pairs.append((prediction, target))
    return [c["name"] for c in categories], pairs


def outline(segmentation, size):
    if isinstance(segmentation, list):
        return masks.from_polygons(segmentation, size)
    return masks.from_json(segmentation)


def cocos_tools(truth, results, kind):
    """The numbers that pycocotools prints; its -1 as NaN."""
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools (extra reference)")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    names = {"boxes": "bbox", "masks": "segm", "keypoints": "keypoints"}
    with contextlib.redirect_stdout(io.StringIO()):
        there = coco.COCO()
        there.dataset = copy.deepcopy(truth)
        there.createIndex()
        judge = evaluation.COCOeval(there, there.loadRes(copy.deepcopy(results)), names[kind])
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return np.where(judge.stats < 0, math.nan, judge.stats)


def scored(truth, results, kind):
    classes, pairs = coco_pairs(truth, results, kind)
    result = computed(COCOAveragePrecision(classes, kind), pairs)
    values = [v for v in result.values() if isinstance(v, Score)]
    assert len(values) == (10 if kind == "keypoints" else 12)
    return np.array(values)


def contents(path):
    return json.loads(path.read_text())


def distorted(truth, kind, seed, away=0.15):
    """Results that are near the truth, too many of them, with equal scores among them."""
    rng = np.random.default_rng(seed)
    sizes = {entry["id"]: (entry["height"], entry["width"]) for entry in truth["images"]}
    categories = [c["id"] for c in truth["categories"]]
    results = []
    for a in truth["annotations"]:
        for _ in range(rng.integers(0, 5)):
            category = a["category_id"] if rng.random() < 0.9 else int(rng.choice(categories))
            made = {"image_id": a["image_id"], "category_id": category}
            made["score"] = round(float(rng.random()), 2)
            x, y, w, h = a["bbox"]
            noise = rng.normal(0, away, 4)
            if kind == "boxes":
                box = [x + w * noise[0], y + h * noise[1], *(np.exp(noise[2:]) * [w, h])]
                made["bbox"] = [float(v) for v in box]
            elif kind == "keypoints":
                points = np.array(a["keypoints"], float).reshape(17, 3)
                points[:, :2] += rng.normal(0, 0.4 * away * a["area"] ** 0.5, (17, 2))
                made["keypoints"] = points.ravel().tolist()
            else:
                pixels = masks.decode(outline(a["segmentation"], sizes[a["image_id"]]))
                move = (noise[:2] * [h, w]).astype(int)
                made["segmentation"] = masks.to_json(masks.encode(np.roll(pixels, move, (0, 1))))
            results.append(made)
    return results


# AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl, in the order of COCO's tools
GOLDEN = [0.503647, 0.696973, 0.571667, 0.593252, 0.557991, 0.489363]
GOLDEN += [0.386813, 0.593680, 0.595353, 0.654764, 0.603130, 0.553744]


@pytest.mark.data
def test_boxes_of_100_coco_images_have_the_published_scores(data_folder):
    folder = data_folder / "fixtures/detection-metrics/test_coco_eval"
    truth = contents(folder / "gts/sampled_gts_bbox_area.json")
    results = contents(folder / "cocoapi_results.json")
    np.testing.assert_allclose(scored(truth, results, "boxes"), GOLDEN, rtol=0, atol=1e-6)


@pytest.mark.data
def test_boxes_of_100_coco_images_have_the_scores_of_cocos_tools(data_folder):
    folder = data_folder / "fixtures/detection-metrics/test_coco_eval"
    truth = contents(folder / "gts/sampled_gts_bbox_area.json")
    results = contents(folder / "cocoapi_results.json")
    expected = cocos_tools(truth, results, "boxes")
    np.testing.assert_allclose(scored(truth, results, "boxes"), expected, rtol=0, atol=1e-9)


@pytest.mark.data
@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (11, [0.3333333333, 0.2683982683, 0.0303030303, 0.0]),
        ("all", [0.3371980676, 0.2456866804, 0.0222222222, 0.0]),
    ],
)
def test_boxes_of_seven_images_have_the_published_scores_of_voc(data_folder, points, expected):
    folder = data_folder / "fixtures/detection-metrics/test_case_1"
    pairs = []
    for path in sorted((folder / "gts").glob("*.txt")):
        both = []
        for file, columns in ((folder / "dets" / path.name, 5), (path, 4)):
            rows_ = [line.split()[1:] for line in file.read_text().splitlines()]
            both.append(np.array(rows_, float).reshape(-1, columns))
        found, there = both
        # The sizes count whole pixels, both ends included, as in VOC's files.
        prediction = {"scores": found[:, 0], "boxes": corners(found[:, 1:] + [0, 0, 1, 1])}
        prediction["labels"] = np.zeros(len(found), int)
        boxes = corners(there + [0, 0, 1, 1])
        target = {"boxes": boxes, "labels": np.zeros(len(there), int), "image_id": path.stem}
        pairs.append((prediction, target))
    assert len(pairs) == 7
    got = [
        computed(VOCAveragePrecision(["object"], threshold, points=points), pairs)["mAP"]
        for threshold in (0.1, 0.3, 0.5, 0.75)
    ]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


@pytest.mark.data
@pytest.mark.parametrize("kind", ["boxes", "masks", "keypoints"])
def test_scores_on_80_real_images_are_those_of_cocos_tools(data_folder, kind):
    name = "person_keypoints" if kind == "keypoints" else "instances"
    truth = contents(data_folder / f"coco-mini/annotations/{name}_train2017.json")
    results = distorted(truth, kind, seed=0)
    expected = cocos_tools(truth, results, kind)
    assert 0.05 < expected[0] < 0.95
    np.testing.assert_allclose(scored(truth, results, kind), expected, rtol=0, atol=1e-9)


@pytest.mark.data
@pytest.mark.parametrize("kind", ["boxes", "keypoints"])
def test_scores_of_people_in_four_images_are_those_of_cocos_tools(data_folder, kind):
    truth = contents(data_folder / "coco-kp4/test_coco.json")
    results = contents(data_folder / "coco-kp4/test_coco_det_AP_H_56.json")
    if kind == "keypoints":
        results = distorted(truth, kind, seed=1)
    np.testing.assert_allclose(
        scored(truth, results, kind), cocos_tools(truth, results, kind), rtol=0, atol=1e-9
    )


def test_drawn_scores_are_those_of_cocos_tools():
    """Without any data: crowds, ties, areas on the borders of the ranges, 150 detections."""
    rng = np.random.default_rng(5)
    for _ in range(5):
        images = [{"id": i, "height": 300, "width": 300} for i in (5, 2, 9, 4)]
        annotations, results = [], []
        for number in range(40):
            side_ = rng.choice([16.0, 32.0, 64.0, 96.0, 128.0], 2)
            box = [*rng.integers(0, 4, 2) * 20.0, *side_]
            place_ = {"image_id": int(rng.choice([5, 2, 9])), "category_id": int(rng.integers(3))}
            crowd = int(rng.random() < 0.15)
            area = side_.prod() if rng.random() < 0.7 else float(rng.choice([1024, 9216]))
            annotations.append(
                {"id": number + 1, "bbox": box, "area": area, "iscrowd": crowd, **place_}
            )
        for _ in range(400):
            box = [*rng.integers(0, 20, 2) * 4.0, *rng.choice([16.0, 32.0, 60.0, 96.0, 130.0], 2)]
            place_ = {"image_id": int(rng.choice([5, 5, 5, 2, 4])), "category_id": 1}
            results.append({"bbox": box, "score": float(rng.integers(20)) / 20, **place_})
        truth = {"images": images, "annotations": annotations}
        truth["categories"] = [{"id": i, "name": f"class {i}"} for i in range(4)]
        np.testing.assert_allclose(
            scored(truth, results, "boxes"),
            cocos_tools(truth, results, "boxes"),
            rtol=0,
            atol=1e-9,
        )


def test_the_scores_of_a_log_are_those_quoted_most():
    boxes = {"boxes": np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]]), "labels": np.array([0, 1])}
    found = boxes | {"scores": np.array([0.9, 0.8])}
    found["boxes"] = found["boxes"] + np.array([[0.0, 0, 0, 0], [0, 0, 5, 0]])  # IoU 1 and 2/3
    for metric, names in (
        (VOCAveragePrecision(2), ["mAP"]),
        (COCOAveragePrecision(2), ["AP", "AP50", "AP75"]),
    ):
        metric.update([found], [boxes])
        whole = metric.compute()
        assert list(metric.scores()) == names
        assert metric.scores() == {name: whole[name] for name in names}
    assert metric.scores()["AP50"] == pytest.approx(1.0)
    assert metric.scores()["AP75"] == pytest.approx(0.5)
