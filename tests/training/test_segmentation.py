"""Segmentation as a task: its pictures, its loss, its scores, and answers of any size."""

import numpy as np
import pytest
from PIL import Image

import minidl as md
from minidl import nn
from minidl.data import Scenes
from minidl.models.segmentation.unet import UNet
from minidl.training import AuxiliaryLoss, segmentation
from minidl.training.recipes import Recipe, build, default
from minidl.training.segmentation import PixelLoss, segment
from minidl.training.sources import find_source

from .small import bits, untimed

SCENES = find_source("scenes", "segmentation")
# A narrow network for quick tests: full resolution, three layers.
SMALL = Recipe(
    "full_resolution",
    "scenes",
    options={"in_channels": 3, "num_classes": 14, "depth": 3, "width": 8},
    augment="flip",
    optimizer="adam",
    lr=0.01,
    images=24,
    size=24,
    batch_size=8,
    epochs=2,
)


# -- training --------------------------------------------------------------------------------------


def test_a_run_logs_mean_iou_and_pixel_accuracy_and_learns(tmp_path):
    parts = build(SMALL.changed(epochs=6))
    history = parts.fit(progress=False, run=tmp_path)
    for part in ("train", "test"):
        assert {f"{part}_{n}" for n in ("loss", "mean_iou", "pixel_accuracy")} <= set(history[0])
    assert history[-1]["train_loss"] < 0.6 * history[0]["train_loss"]
    assert history[-1]["test_pixel_accuracy"] > 0.5
    x, y = next(iter(parts.train))
    assert (x.shape, y.shape, y.dtype) == ((8, 3, 24, 24), (8, 24, 24), np.int64)
    assert parts.task.score in {name.removeprefix("test_") for name in history[0]}
    lines = parts.task.details(parts.metrics)
    assert lines[0].startswith("pixel accuracy ")
    assert f"mean IoU {history[-1]['test_mean_iou']:.2%}" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == list(SCENES.classes)


def test_a_run_is_the_same_for_any_workers_and_goes_on_bit_for_bit(tmp_path):
    whole = build(SMALL.changed(loss="cross-entropy+dice", balance=True, ema=0.9))
    history = whole.fit(progress=False)
    recipe = whole.recipe
    stopped = build(recipe, workers=2)
    calls = []

    def stop(*args):
        calls.append(args)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return step(*args)

    step, stopped.optimizer.step = stopped.optimizer.step, stop
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(progress=False, run=tmp_path, save_every=-1.0)
    again = build(recipe, workers=3)
    assert untimed(again.fit(progress=False, run=tmp_path, resume=True)) == untimed(history)
    assert bits(again.model) == bits(whole.model)


def test_training_pictures_are_normalised_and_changed_and_test_pictures_are_not_changed():
    parts = build(SMALL)
    images, masks = (part.data for part in next(iter(parts.test)))
    plain = Scenes(200, 24, train=False)
    # The same 24 of 200 for every seed.
    chosen = np.random.default_rng(0).permutation(200)[:8]
    for image, mask, i in zip(images, masks, chosen, strict=True):
        x, y = plain[int(i)]
        mean, std = (np.reshape(np.float32(v), (3, 1, 1)) for v in (SCENES.mean, SCENES.std))
        np.testing.assert_allclose(image, (x.data - mean) / std, rtol=1e-5, atol=1e-5)
        assert np.array_equal(mask, y.data)
    first, second = (next(iter(parts.train))[1].data for _ in range(2))
    assert not np.array_equal(first, second)


def test_a_network_without_padding_gets_a_margin_and_a_target_of_its_size():
    options = {"in_channels": 3, "num_classes": 14, "width": 1}
    parts = build(
        Recipe("unet", "scenes", options=options, images=2, size=32, batch_size=2, epochs=1)
    )
    x, y = next(iter(parts.train))
    assert x.shape == (2, 3, 220, 220)
    assert y.shape == (2, 36, 36)
    assert (y.data == 255).sum() == 2 * (36**2 - 32**2)
    loss = parts.criterion(parts.model(x), y)
    loss.backward()
    assert loss.item() > 0


def folder_of_masks(root, count=10, sizes=((40, 50), (30, 64)), values=(0, 1, 2), split=False):
    """Images of bright squares on dark ground, and their class maps, in files."""
    rng = np.random.default_rng(0)
    for i in range(count):
        place = root / ("test" if i % 5 == 4 else "train") if split else root
        for part in ("images", "masks"):
            (place / part).mkdir(parents=True, exist_ok=True)
        height, width = sizes[i % len(sizes)]
        mask = np.zeros((height, width), np.uint8)
        for value in values[1:]:
            top, left = rng.integers(0, height - 12), rng.integers(0, width - 12)
            mask[top : top + 12, left : left + 12] = value
        shade = np.zeros(256, np.uint8)
        shade[list(values)] = np.linspace(20, 240, len(values)).astype(np.uint8)
        pixels = np.repeat(shade[mask][..., None], 3, 2)
        Image.fromarray(pixels).save(place / "images" / f"{i}.png")
        Image.fromarray(mask).save(place / "masks" / f"{i}.png")
    names = [["ground", "square"], ["ground", "one", "two"]][len(values) - 2]
    (root / "classes.txt").write_text("\n".join(names) + "\n")
    return names


SQUARES = SMALL.changed(data="folder", images=0, size=24, lr=0.02, epochs=8, batch_size=4)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("values", [(0, 1, 2), (0, 255), (0, 1)])
def test_a_folder_of_images_and_masks_of_any_size_is_learned(tmp_path, split, values):
    names = folder_of_masks(tmp_path, values=values, split=split)
    recipe = SQUARES.with_options(num_classes=len(names))
    parts = build(recipe, root=str(tmp_path))
    assert parts.source.classes == tuple(names)
    assert (len(parts.train.dataset), len(parts.test.dataset)) == (8, 2)
    assert {y.shape[1:] for _, y in parts.test} <= {(40, 50), (30, 64)}, "whole pictures"
    history = parts.fit(progress=False)
    assert history[-1]["test_mean_iou"] > 0.5


def test_pictures_of_several_sizes_need_the_size_of_a_window(tmp_path):
    names = folder_of_masks(tmp_path)
    recipe = SQUARES.with_options(num_classes=len(names)).changed(size=0)
    with pytest.raises(ValueError, match=r"differ in size: choose windows .* --size"):
        build(recipe, root=str(tmp_path))


def test_class_weights_are_by_median_frequency():
    recipe = SMALL.changed(balance=True)
    weight = build(recipe).criterion.criterion.parts[0].weight.data
    scenes, chosen = Scenes(1000, 24), np.random.default_rng(0).permutation(1000)[:24]
    expected = md.data.median_frequency_weights([scenes[int(i)][1] for i in chosen], 14)
    np.testing.assert_array_equal(weight, expected.data)
    assert weight[0] < 0.2, "most pixels are background"
    assert build(SMALL).criterion.criterion.parts[0].weight is None


def test_every_stack_of_an_hourglass_is_compared_with_the_truth():
    recipe = default("stacked_hourglass").with_options(num_classes=14).changed(images=2, size=64)
    assert recipe.auxiliary == 1.0
    parts = build(recipe.changed(batch_size=2))
    x, y = next(iter(parts.train))
    outputs = parts.model(x)
    assert len(outputs) == 2
    one = PixelLoss("cross-entropy")
    expected = one(outputs[0], y).item() + one(outputs[1], y).item()
    assert parts.criterion(outputs, y).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixup": 0.2}, "mixup is not for segmentation, which full_resolution is for"),
        ({"augment": "cutout"}, "unknown augment 'cutout'; known are none, flip, "),
        ({"loss": "nope"}, "unknown loss 'nope'; known are cross-entropy, dice"),
        ({"data": "digits"}, "digits is data for classification; known for segmentation are sc"),
        ({"data": "nope"}, "unknown data set 'nope'; known for segmentation are scenes"),
        ({"options": {}}, "does not take the images of scenes"),
        ({"options": {"in_channels": 3}}, r"gives scores \(1, 2, 24, 24\).* each of its 14 class"),
        ({"model": "sliding_window", "options": {}}, "sliding_window learns from windows"),
        (
            {"model": "stacked_hourglass", "options": {"num_classes": 14}, "size": 64},
            r"gives scores \(1, 14, 16, 16\) for a picture of scenes; needed are \(1, 14, 64, 64\)",
        ),
        ({"model": "lenet5", "data": "digits", "options": {}}, "size is not for classification"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build(SMALL.changed(**changes))


def test_other_classes_than_the_network_was_made_for_are_refused(tmp_path):
    folder_of_masks(tmp_path)
    recipe = SQUARES.changed(classes=["ground", "tree"]).with_options(num_classes=2)
    with pytest.raises(ValueError, match="are ground, one, two; the network was made for ground, "):
        build(recipe, root=str(tmp_path))


# -- loss ------------------------------------------------------------------------------------------


def test_losses_are_summed_and_ignore_what_does_not_count():
    scores, labels = md.randn(2, 3, 4, 5), np.random.default_rng(0).integers(0, 3, (2, 4, 5))
    labels[0, 0] = 9
    target = md.tensor(labels)
    weight = md.tensor(np.array([1.0, 2.0, 0.5], np.float32))
    both = PixelLoss("cross-entropy+dice", weight, 9)(scores, target).item()
    entropy = nn.CrossEntropyLoss(weight, ignore_index=9)(scores, target).item()
    dice = nn.DiceLoss(weight, ignore_index=9)(scores, target).item()
    assert both == pytest.approx(entropy + dice, rel=1e-6)
    smooth = PixelLoss("cross-entropy", None, 9, 0.1)(scores, target).item()
    expected = nn.CrossEntropyLoss(ignore_index=9, label_smoothing=0.1)(scores, target).item()
    assert smooth == pytest.approx(expected, rel=1e-6)
    found = AuxiliaryLoss(PixelLoss("dice"), 0.5)((scores, scores), md.tensor(labels % 3))
    assert found.item() > 0


# -- answers ---------------------------------------------------------------------------------------


def brightest(channels=3):
    """A network with padding that answers which channel is the brightest around a pixel."""
    net = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="zeros", bias=False)
    net.weight.data[...] = 0.0
    for c in range(channels):
        net.weight.data[c, c] = 1 / 9
    return net


def test_the_answer_has_the_size_of_the_picture_for_networks_of_either_kind():
    image = np.random.default_rng(0).random((3, 21, 34), np.float32)
    for net in (
        UNet(14, 3, widths=(2, 4), dropout=0.0),
        UNet(14, 3, widths=(2, 4), padding="same", dropout=0.0),
    ):
        found = segment(net, image, SCENES)
        assert (found.shape, found.dtype) == ((21, 34), np.int64)
        assert net.training, "is left as it was"


def test_a_network_without_padding_answers_for_each_pixel_in_its_place():
    """Its answer is a function of the pixel alone here: weights pass one pixel on."""

    class Middle(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(md.tensor(1.0))

        def output_size(self, size):
            if size % 2 or size <= 8:
                raise ValueError("odd, or too small")
            return size - 8

        def forward(self, x):
            return self.scale * x[:, :, 4:-4, 4:-4]

    image = np.random.default_rng(0).random((3, 21, 34), np.float32)
    mean, std = (np.reshape(np.float32(v), (3, 1, 1)) for v in (SCENES.mean, SCENES.std))
    expected = ((image - mean) / std).argmax(0)
    assert np.array_equal(segment(Middle(), image, SCENES), expected)


def test_large_pictures_are_answered_for_in_tiles_to_the_same(monkeypatch):
    image = np.random.default_rng(0).random((3, 70, 90), np.float32)
    for net, tile, context in (
        (brightest(), 16, 8),
        (UNet(3, 3, widths=(2, 4), padding="same", dropout=0.0).eval(), 16, 24),
        (UNet(3, 3, widths=(2, 4), dropout=0.0).eval(), 16, 8),
    ):
        whole = segment(net, image, SCENES)
        sizes = []
        monkeypatch.setattr(segmentation, "LARGE", 1000)
        monkeypatch.setattr(segmentation, "TILE", tile)
        monkeypatch.setattr(segmentation, "CONTEXT", context)
        handle = net.register_forward_hook(lambda m, a, o, s=sizes: s.append(a[0].shape[2:]))
        tiled = segment(net, image, SCENES)
        handle.remove()
        monkeypatch.undo()
        assert len(sizes) > 4
        assert max(max(size) for size in sizes) <= tile + 2 * context
        inside = np.s_[8:-8, 8:-8]  # at the border zeros and mirror images differ
        assert np.array_equal(tiled[inside], whole[inside])


def test_examples_are_test_pictures_with_truth_and_answer():
    parts = build(SMALL)
    found = parts.task.examples(None, 3)
    assert len(found) == 3
    for example, i in zip(found, (0, 99, 199), strict=True):
        image, mask = Scenes(200, 24, train=False)[i]
        assert np.array_equal(example.image, image.data)
        assert np.array_equal(example.truth, mask.data)
        assert np.array_equal(example.prediction, segment(parts.model, image.data, SCENES))
