"""What a loader may give, and what the model and the criterion get of it."""

from collections import namedtuple

import numpy as np
import pytest

import minidl as md
from minidl.training.batches import Batch

Pair = namedtuple("Pair", ["left", "right"])


def tensor(*shape):
    return md.Tensor(np.zeros(shape, np.float32))


def called(*args, **kwargs):
    return args, kwargs


def test_two_parts_are_the_input_and_the_target():
    x, y = tensor(5, 2), tensor(5)
    batch = Batch.of((x, y), "cpu")
    args, kwargs = batch.through(called)
    assert [a.shape for a in args] == [(5, 2)]
    assert not kwargs
    assert batch.target.shape == (5,)
    assert batch.count == 5
    assert list(batch.tensors()) == ["input", "target"]


def test_more_parts_are_more_inputs():
    batch = Batch.of([tensor(4, 1), tensor(4, 2), tensor(4, 3), tensor(4)], "cpu")
    args, _ = batch.through(called)
    assert [a.shape for a in args] == [(4, 1), (4, 2), (4, 3)]
    assert list(batch.tensors()) == ["input", "input 2", "input 3", "target"]


@pytest.mark.parametrize("form", ["pair", "dict"])
def test_inputs_may_have_names(form):
    parts = {"image": tensor(3, 2), "mask": tensor(3, 7)}
    given = (parts, tensor(3)) if form == "pair" else {**parts, "target": tensor(3)}
    batch = Batch.of(given, "cpu")
    args, kwargs = batch.through(called)
    assert not args
    assert {name: x.shape for name, x in kwargs.items()} == {"image": (3, 2), "mask": (3, 7)}
    assert batch.count == 3
    assert list(batch.tensors()) == ["input image", "input mask", "target"]


def test_every_tensor_in_it_goes_to_the_device_and_keeps_its_place():
    boxes = [{"boxes": tensor(2, 4), "name": "a"}, {"boxes": tensor(0, 4), "name": "b"}]
    batch = Batch.of(([tensor(3, 8, 8), tensor(3, 6, 9)], Pair(boxes, (tensor(1),))), "strict")
    (images,), _ = batch.through(called)
    assert [x.device for x in images] == ["strict", "strict"]
    assert isinstance(batch.target, Pair)
    assert batch.target.left[1]["boxes"].device == "strict"
    assert batch.target.left[1]["name"] == "b"
    assert batch.target.right[0].device == "strict"
    assert list(batch.tensors()) == [
        "input[0]",
        "input[1]",
        "target[0][0].boxes",
        "target[0][1].boxes",
        "target[1][0]",
    ]


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ((tensor(3, 8, 8), [{"boxes": tensor(9, 4)}, {"boxes": tensor(1, 4)}]), 2),
        ((tensor(6, 1), tensor(6), None), 6),
        (((tensor(4, 1), tensor(4, 2)), tensor()), 4),
        ({"a": tensor(7, 2), "target": {"depth": tensor(7), "class": tensor(7)}}, 7),
    ],
)
def test_samples_are_counted_by_the_first_part_that_has_some(given, count):
    assert Batch.of(given, "cpu").count == count


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (tensor(2), "not a Tensor"),
        ((tensor(2),), "not a tuple of 1"),
        ({"image": tensor(2), "label": tensor(2)}, "not a dict of image, label"),
    ],
)
def test_what_is_no_batch_is_named(given, words):
    with pytest.raises(TypeError, match=words):
        Batch.of(given, "cpu")


def test_a_batch_without_tensors_has_no_number_of_samples():
    with pytest.raises(TypeError, match="holds no tensor"):
        Batch.of((1, 2), "cpu").count  # noqa: B018
