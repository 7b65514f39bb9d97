"""Where the cells of a result come from: for the operations that move numbers, and the tables."""

import numpy as np
import pytest

import minidl as md
from minidl import ops
from minidl.nn import functional as F
from minidl.teach.stepper.relations import LARGEST_MOVE, relation_of

MOVES = {
    "Reshape": lambda x: x.reshape(4, 6),
    "Permute": lambda x: x.permute(2, 0, 1),
    "Slice": lambda x: x[:, 1:, ::2],
    "Diagonal": lambda x: md.diagonal(x[0, :, :3]),
    "Triangle": lambda x: md.tril(x),
    "Cat": lambda x: md.cat([x, x[:1]], 0),
    "Stack": lambda x: md.stack([x, x], 1),
    "Split": lambda x: x.split([1, 3], 2),
    "Unbind": lambda x: x.unbind(1),
    "Flip": lambda x: x.flip(0, 2),
    "Roll": lambda x: x.roll((1, 2), (1, 2)),
    "Repeat": lambda x: x.repeat(2, 1, 2),
    "RepeatInterleave": lambda x: md.repeat_interleave(x, 2, 1),
    "Pad": lambda x: F.pad(x, (1, 2, 0, 1)),
    "BroadcastTo": lambda x: x[:, :1].expand(2, 5, 4),
    "Take": lambda x: x[:, md.tensor([2, 0])],
    "TakeAlong": lambda x: x.max(dim=1).values,
    "PoolScatter": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, 1, return_indices=True), 2, 1),
}


def operations(call):
    x = md.randn(2, 3, 4, requires_grad=True)
    with md.record() as tape:
        call(x)
    return [step.operation for step in tape._steps]


@pytest.mark.parametrize("name", MOVES)
def test_each_moved_number_is_found_where_it_came_from(name):
    operation = next(o for o in operations(MOVES[name]) if o.name == name)
    relation = relation_of(operation)
    assert relation["kind"] == "move"
    inputs = [a.value.sample.values.ravel() for a in operation.inputs]
    count = len(relation["starts"]) - 1
    everything = np.concatenate(inputs[:count])
    assert relation["starts"] == [0, *np.cumsum([i.size for i in inputs[:count]])]
    moved = 0
    for source, output in zip(relation["sources"], operation.outputs, strict=True):
        place, value = source.values, output.sample.values
        assert place.shape == value.shape
        assert np.array_equal(everything[place[place >= 0]], value[place >= 0])
        assert not value[place < 0].any()
        moved += (place >= 0).sum()
    assert moved


def test_a_large_array_is_not_moved_a_second_time():
    x = md.zeros(LARGEST_MOVE)
    with md.record() as tape:
        x.reshape(2, -1)
    assert relation_of(tape._steps[0].operation) is None


def weighted(tables, x):
    """A_y x A_x^T by the tables of a relation."""
    rows, columns = tables
    if rows is not None:
        x = np.array([sum(w * x[i] for i, w in row) for row in rows])
    if columns is not None:
        x = np.array([sum(w * x[:, i] for i, w in column) for column in columns]).T
    return x


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.avg_pool2d(x, 2, 1, 1),
        lambda x: F.interpolate(x, size=(5, 9), mode="bilinear"),
        lambda x: ops.pool.unpool_nearest(x, (1, 3)),
        lambda x: F.adaptive_avg_pool2d(x, (2, None)),
    ],
)
def test_weights_give_the_result(call):
    x = md.randn(1, 1, 3, 4)
    with md.record() as tape:
        y = call(x)
    operation = tape._steps[0].operation
    (tables,) = relation_of(operation)["tables"]
    np.testing.assert_allclose(weighted(tables, x.numpy()[0, 0]), y.numpy()[0, 0], rtol=1e-5)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("samples", [0, 2])
def test_tables_of_regions_give_the_result(aligned, samples):
    x = md.randn(2, 1, 6, 8)
    boxes = md.tensor([[1.0, 2, 1, 12, 9], [0, 0, 0, 5, 3]])
    with md.record() as tape:
        y = ops.roi.roi_align(x, boxes, (2, 3), 0.5, samples, aligned)
        z = ops.roi.roi_pool(x, boxes, (2, 3), 0.5)
    align, pool = [relation_of(step.operation) for step in tape._steps]
    for k, image in enumerate((1, 0)):
        plane = x.numpy()[image, 0]
        found = weighted(align["tables"][k], plane)
        np.testing.assert_allclose(found, y.numpy()[k, 0], rtol=1e-4, atol=1e-6)
        rows, columns = pool["tables"][k]
        largest = [[plane[np.ix_(r, c)].max() if r and c else 0 for c in columns] for r in rows]
        np.testing.assert_allclose(largest, z.numpy()[k, 0])
        assert align["boxes"][k]["image"] == pool["boxes"][k]["image"] == image
        first, last = align["boxes"][k]["rows"]
        shift = 0 if aligned else 0.5
        assert first[0] == pytest.approx(float(boxes.data[k, 2]) / 2 + shift)
        assert first[1] == pytest.approx(last[0])
        assert last[1] == pytest.approx(float(boxes.data[k, 4]) / 2 + shift)
