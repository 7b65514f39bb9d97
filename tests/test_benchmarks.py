"""`python -m benchmarks --device cuda`, as far as a machine without a GPU can tell."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

import minidl as md
from benchmarks import __main__ as program
from benchmarks import detection, gpu
from minidl import backend
from minidl.boxes import nms
from minidl.nn import functional as F

TORCH = pytest.importorskip("torch", reason="the benchmarks compare with torch")


def small(monkeypatch):
    for name, size in (("resnet20", 8), ("resnet18", 32), ("unet", 16)):
        _, _, *more = gpu.NETWORKS[name]
        monkeypatch.setitem(gpu.NETWORKS, name, (2, (3, size, size), *more))


def test_rows_are_the_marks_of_the_issue_in_each_precision():
    assert len(set(gpu.ROWS)) == len(gpu.ROWS)
    assert len({row.what for row in gpu.ROWS}) == len(gpu.ROWS)
    texts = {row.what for row in gpu.ROWS if row.kind == "step"}
    for name in (
        "resnet20 at 32, batch 128",
        "resnet18 at 224, batch 64",
        "unet at 128, batch 4",
    ):
        for precision in ("float32", "tf32", "float16"):
            assert f"training step, {name}, {precision}" in texts


LARGE = {"unet": [pytest.mark.slow]}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=LARGE.get(name, [])) for name in gpu.NETWORKS]
)
def test_both_libraries_train_the_same_network(name, monkeypatch):
    small(monkeypatch)
    sizes = []
    for library, make in (("minidl", gpu.minidl_step), ("torch", gpu.torch_step)):
        seen = {}
        module = md if library == "minidl" else TORCH
        rule = module.optim.SGD

        def noted(parameters, rule=rule, seen=seen, **options):
            seen["parameters"] = list(parameters)
            return rule(seen["parameters"], **options)

        monkeypatch.setattr(module.optim, "SGD", noted)
        for precision in ("float32", "float16"):
            make(gpu.Row("step", name, precision), device="cpu")()
            assert all(p.grad is not None for p in seen["parameters"])
        sizes.append(sorted(p.numel() for p in seen["parameters"]))
        monkeypatch.setattr(module.optim, "SGD", rule)
    assert sizes[0] == sizes[1]


def test_a_float16_row_is_computed_under_autocast(monkeypatch):
    small(monkeypatch)
    seen = []
    with md.autograd.listen(lambda event: seen.append(event.op)):
        gpu.minidl_step(gpu.Row("step", "resnet20", "float16"), device="cpu")()
        assert "Cast" in seen
        seen.clear()
        gpu.minidl_step(gpu.Row("step", "resnet20", "float32"), device="cpu")()
        assert "Cast" not in seen


def test_tf32_is_off_or_on_in_both_libraries_alike():
    theirs = TORCH.backends.cudnn.allow_tf32
    for name, value in (("tf32", True), ("float32", False), ("float16", False)):
        with gpu.precision(name):
            found = {
                backend.matmul.allow_tf32,
                backend.cudnn.allow_tf32,
                TORCH.backends.cuda.matmul.allow_tf32,
                TORCH.backends.cudnn.allow_tf32,
            }
            assert found == {value}
    assert TORCH.backends.cudnn.allow_tf32 == theirs
    assert not backend.matmul.allow_tf32
    assert not backend.cudnn.allow_tf32


def test_the_shortest_burst_of_each_contender_counts():
    took = {"a": iter([9.0, 0.3, 5.0]), "b": iter([9.0, 0.6, 0.2])}
    counts = []

    def watch(name):
        def clock(run, count):
            counts.append((name, count))
            run()
            return next(took[name])

        return clock

    runs = []
    contenders = {name: lambda name=name: runs.append(name) for name in took}
    best = gpu.race(contenders, 0.0, watch)
    assert best == {"a": pytest.approx(0.1), "b": pytest.approx(0.2)}
    assert counts == [("a", 3), ("a", 3), ("b", 3), ("b", 3), ("a", 1), ("b", 1)]
    assert runs == ["a", "a", "b", "b", "a", "b"]


def record():
    rows = []
    for row in gpu.ROWS:
        times = {"minidl": 0.002, "minidl without cuDNN": 0.003, "torch": 0.001}
        rows.append({"what": row.what, "kind": row.kind, "precision": row.precision})
        rows[-1]["seconds"] = times
        if row.kind == "step":
            rows[-1]["memory"] = {"minidl": 12_000_000, "torch": 10_000_000}
    return {"device": "cuda", "machine": {"gpu": "none"}, "rows": rows}


def test_the_table_has_a_line_for_each_row_and_means():
    text = program.report(record())
    lines = text.splitlines()
    assert lines[0] == "## cuda"
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(gpu.ROWS)
    assert {line.count("|") for line in table} == {8}
    assert table[-1].endswith("| 2.000 | 1.000 | **2.00** | 3.000 | 3.00 | 12 / 10 MB |")
    for kind in ("convolutions", "training steps"):
        for precision in gpu.PRECISIONS:
            assert f"- {kind}, {precision}: **2.00**, without cuDNN **3.00**" in lines


def test_the_plain_ways_of_a_detector_give_what_minidl_gives():
    rng = np.random.default_rng(0)
    boxes, scores = detection.boxes_in(300, 200, 300, rng), rng.random(300, np.float32)
    for threshold in (0.2, 0.7):
        expected = nms(boxes, scores, threshold)
        np.testing.assert_array_equal(detection.classic_nms(boxes, scores, threshold), expected)
        assert len(expected) < 300
    features = rng.standard_normal((1, 3, 13, 19), np.float32)
    rois = np.concatenate([np.zeros((300, 1), np.float32), boxes], axis=1)
    expected = F.roi_align(md.Tensor(features), rois, 7, 1 / 16, 2).numpy()
    found = detection.classic_roi_align(features[0], boxes)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_detectors_have_their_marks_rows_and_a_line_without_torchvision():
    assert "RoIAlign, 128 boxes, 256 channels, 38 x 50" in detection.ROWS.values()
    assert "NMS, 12,000 boxes" in detection.ROWS.values()
    row = {"what": "NMS", "kind": "detection", "threads": 1}
    times = {"minidl": 0.002, "classic": 0.008}
    line = program.line({**row, "seconds": times})
    assert line == "| NMS | 1 | 2.00 | - | - | 4.0 |  |"
    line = program.line({**row, "seconds": {**times, "torch": 0.004}})
    assert line == "| NMS | 1 | 2.00 | 4.00 | **0.50** | 4.0 |  |"
    with_gradient = detection.contenders("align and gradient")
    assert with_gradient["minidl"]().shape == (1, 256, 38, 50)


FIRST_STEP = """
import torch
from benchmarks import faster_rcnn
faster_rcnn.SIZE, faster_rcnn.OBJECTS = 128, 5
steps = faster_rcnn.steps()
torch.manual_seed(0)
for name, step in steps.items():
    losses = step()
    print(name, *(losses[part] for part in ("loss_rpn_box_reg", "loss_objectness")))
"""


@pytest.mark.slow
def test_a_detector_is_the_same_in_both_libraries():
    # In a process of its own: it lends torchvision operations that are no oracle of ours.
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("needs torchvision: pip install minidl[reference]")
    done = subprocess.run(
        [sys.executable, "-c", FIRST_STEP],
        capture_output=True,
        text=True,
        cwd=program.HERE.parent,
        check=True,
    )
    ours, theirs = ([float(v) for v in line.split()[1:]] for line in done.stdout.splitlines())
    # All anchors with an object are sampled, so that the loss of their boxes is the same; those
    # without are drawn by chance.
    assert ours[0] == pytest.approx(theirs[0], rel=1e-4)
    assert ours[1] == pytest.approx(theirs[1], rel=0.02)


def test_without_a_gpu_it_refuses_and_says_why():
    if gpu.why_not() is None:
        pytest.skip("there is a GPU")
    command = [sys.executable, "-m", "benchmarks", "--device", "cuda", "--quick"]
    root = program.HERE.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 2
    assert not done.stdout
    assert "minidl cannot use a GPU" in done.stderr


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("row", [gpu.ROWS[0], gpu.ROWS[-4]], ids=lambda row: row.what)
def test_a_row_is_measured_on_the_gpu(row):
    if gpu.why_not() is not None:
        pytest.skip(gpu.why_not())
    times = gpu.measure(row, 0.1)
    assert set(times) == {"minidl", "minidl without cuDNN", "torch"}
    assert all(0 < t < 10 for t in times.values())
