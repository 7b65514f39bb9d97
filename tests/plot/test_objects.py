"""minidl/plot/objects.py: colours and places of names (the pictures: see test_detection)."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from minidl.plot.objects import colour_of, free_place


def test_colours_are_bright_and_neighbours_differ():
    colours = np.array([colour_of(i) for i in range(90)])
    assert (colours.max(axis=1) == 1).all()
    assert np.abs(np.diff(colours, axis=0)).max(axis=1).min() > 0.3
    apart = np.abs(colours[:12, None] - colours[:12]).max(axis=-1) + np.eye(12)
    assert apart.min() > 0.1


@given(
    boxes=st.lists(st.tuples(*[st.floats(-50, 350)] * 4), max_size=25),
    size=st.tuples(st.integers(30, 300), st.integers(60, 300)),
)
def test_names_stay_in_the_picture_and_do_not_hide_each_other(boxes, size):
    taken, left_out = [], 0
    for a, b, c, d in boxes:
        box = np.array([min(a, c), min(b, d), max(a, c), max(b, d)])
        place = free_place(box, 50.0, 14.0, size, taken)
        if place is None:
            left_out += 1
            continue
        x, y = place
        assert 0 <= x <= size[1] - 50
        assert 0 <= y <= size[0] - 14
        assert all(x >= e or x + 50 <= a or y >= f or y + 14 <= b for a, b, e, f in taken)
        # Beside or in its box, but for names that were moved from the border of the picture.
        assert any(abs(y - v) < 1e-6 for v in (box[1] - 14, box[1], box[3], box[3] - 14))
        taken.append((x, y, x + 50, y + 14))
    if len(boxes) == 1 and box[1] >= 14 and box[3] <= size[0]:
        assert not left_out
