import math

import numpy as np
import pytest

import minidl as md
from minidl.boxes import AnchorGenerator
from minidl.models.detection.rpn import Level, RegionProposalNetwork, RPNHead, per_anchor

SIZE = (64, 64)


def network(**options):
    """On a map of 4 x 4, one anchor of 32 x 32 pixels for each 16 pixels of a picture of 64."""
    options = {"batch_size_per_image": 8} | options
    anchors = AnchorGenerator(((32,),), (1.0,))
    return RegionProposalNetwork(anchors, RPNHead(2, 1), **options)


def said(objectness, deltas=None, anchors=None, network=None):
    """A level of one picture: logits (A,), deltas (A, 4) or zeros."""
    logits = np.array(objectness, np.float32)[None]
    if anchors is None:
        anchors = network.anchor_generator(SIZE, [md.zeros(1, 2, 4, 4)])[0]
    moves = np.zeros((1, len(anchors), 4), np.float32) if deltas is None else deltas
    return Level(md.tensor(logits), md.tensor(moves), np.array(anchors, np.float32))


def targets(*boxes):
    return [{"boxes": md.tensor(np.array(boxes, np.float32).reshape(-1, 4))}]


def test_the_output_of_a_head_is_brought_to_the_order_of_anchors():
    """Number n of anchor a at row y, column x."""
    shape = (2, 3, 4, 5, 6)  # N, A, numbers, H, W
    x = np.arange(np.prod(shape)).reshape(shape)
    found = per_anchor(md.tensor(x.reshape(2, 12, 5, 6)), 4).data
    assert found.shape == (2, 90, 4)
    for y, column, anchor in ((0, 0, 0), (0, 1, 2), (3, 4, 1), (4, 5, 2)):
        np.testing.assert_array_equal(
            found[:, (y * 6 + column) * 3 + anchor], x[:, anchor, :, y, column]
        )


def test_two_scores_an_anchor_are_a_softmax():
    head = RPNHead(3, 2, softmax=True).double()
    x = md.randn(1, 3, 4, 5, dtype=np.float64)
    logits, deltas = head(x)
    assert logits.shape == (1, 2, 4, 5)
    assert deltas.shape == (1, 8, 4, 5)
    scores = head.cls_logits(head.conv(x))
    for k in range(2):
        pair = md.nn.functional.softmax(scores[:, [k, 2 + k]], 1)[:, 1]
        np.testing.assert_allclose(md.nn.functional.sigmoid(logits[:, k]).data, pair.data)


def test_the_levels_of_a_pyramid_share_one_head():
    net = RegionProposalNetwork(AnchorGenerator(((8,), (16,)), (0.5, 1.0)), RPNHead(2, 2))
    maps = {"0": md.randn(3, 2, 8, 8), "1": md.randn(3, 2, 4, 4)}
    levels = net(maps, SIZE)
    assert [level.objectness.shape for level in levels] == [(3, 128), (3, 32)]
    assert [level.deltas.shape for level in levels] == [(3, 128, 4), (3, 32, 4)]
    assert [level.anchors.shape for level in levels] == [(128, 4), (32, 4)]
    alone = net.head(maps["1"])[0]
    np.testing.assert_array_equal(levels[1].objectness.data, per_anchor(alone, 1).data[:, :, 0])


def test_proposals_are_the_best_anchors_moved_and_cut_to_the_picture():
    anchors = [[0, 0, 20, 20], [30, 30, 50, 50], [50, 10, 70, 30], [200, 200, 210, 210]]
    deltas = np.zeros((1, 4, 4), np.float32)
    deltas[0, 1] = [0.5, 0, math.log(2), 0]  # half its width to the right, twice as wide
    level = said([0.5, 2.0, 1.0, 9.0], deltas, anchors)
    (found,) = network().proposals([level], [(64, 60)], training=True)
    # The last anchor lies outside of the picture: nothing of it is left.
    np.testing.assert_allclose(
        found, [[30, 30, 60, 50], [50, 10, 60, 30], [0, 0, 20, 20]], atol=1e-4
    )


def test_an_anchor_suppresses_those_of_its_level_only():
    anchors = [[0, 0, 20, 20], [1, 0, 21, 20]]
    first, second = said([3.0, 1.0], None, anchors), said([2.0, 0.0], None, anchors)
    (found,) = network().proposals([first, second], [SIZE], training=True)
    np.testing.assert_array_equal(found, [[0, 0, 20, 20]] * 2)


def test_as_many_proposals_are_made_as_losses_or_predictions_want():
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 40, (60, 2))
    anchors = np.concatenate([start, start + 4], axis=1)
    logits = rng.permutation(60).astype(np.float32)
    net = network(pre_nms_top_n=(30, 12), post_nms_top_n=(20, 5), nms_thresh=1.0)
    for training, count in ((True, 20), (False, 5)):
        (found,) = net.proposals([said(logits, None, anchors)], [SIZE], training)
        best = anchors[np.argsort(-logits)[:count]]
        np.testing.assert_allclose(found, best, atol=1e-4)
    net.post_nms_top_n = (100, 100)
    for training, count in ((True, 30), (False, 12)):
        (found,) = net.proposals([said(logits, None, anchors)], [SIZE], training)
        assert len(found) == count


def test_proposals_are_constants_and_what_is_no_number_is_left_out():
    anchors = [[0, 0, 20, 20], [30, 30, 50, 50]]
    deltas = np.zeros((1, 2, 4), np.float32)
    deltas[0, 0, 0] = np.nan
    level = said([np.nan, 1.0], deltas, anchors)
    level.deltas.requires_grad_()
    (found,) = network().proposals([level], [SIZE], training=True)
    np.testing.assert_array_equal(found, [[30, 30, 50, 50]])


def test_losses_are_those_computed_by_hand():
    """Anchors of 32 x 32 about the corners of 16 x 16 cells; an object a little to the right of
    the one about (32, 32)."""
    net = network(batch_size_per_image=16)
    level = said(np.linspace(-2, 2, 16), np.full((1, 16, 4), 0.3, np.float32), network=net)
    object = [18.0, 16.0, 50.0, 48.0]
    anchor = level.anchors[10]
    np.testing.assert_array_equal(anchor, [16, 16, 48, 48])
    found = net.losses([level], targets(object), [SIZE])

    def overlap(box):
        width = max(0.0, min(box[2], object[2]) - max(box[0], object[0]))
        height = max(0.0, min(box[3], object[3]) - max(box[1], object[1]))
        return width * height / (2 * 32 * 32 - width * height)

    overlaps = [overlap(box) for box in level.anchors.tolist()]
    assert [k for k, o in enumerate(overlaps) if o >= 0.7] == [10]
    negative = [k for k, o in enumerate(overlaps) if o < 0.3]
    assert len(negative) < 15  # some lie between the thresholds
    logits = level.objectness.data[0].astype(float)
    chances = 1 / (1 + np.exp(-logits))
    drawn = 1 + len(negative)
    expected = -(math.log(chances[10]) + sum(math.log(1 - chances[k]) for k in negative)) / drawn
    assert float(found["loss_objectness"]) == pytest.approx(expected, rel=1e-5)
    # t = (2 / 32, 0, 0, 0); smooth L1 with beta 1/9 of differences beyond beta: |d| - beta / 2.
    expected = (abs(0.3 - 2 / 32) + 3 * 0.3 - 4 / 18) / drawn
    assert float(found["loss_rpn_box_reg"]) == pytest.approx(expected, rel=1e-5)


def test_half_of_the_anchors_drawn_are_positive_at_most():
    """Sixteen equal anchors on the object, four beside it: of eight drawn four are positive."""
    anchors = [[0, 0, 10, 10]] * 16 + [[30, 30, 40, 40]] * 4
    net = network()
    level = said([0.0] * 20, np.ones((1, 20, 4), np.float32), anchors)
    found = net.losses([level], targets([0, 0, 10, 10]), [SIZE])
    assert float(found["loss_objectness"]) == pytest.approx(math.log(2))
    assert float(found["loss_rpn_box_reg"]) == pytest.approx(4 * 4 * (1 - 1 / 18) / 8)


def test_which_anchors_are_drawn_follows_the_seed():
    net = network(batch_size_per_image=4)
    level = said(np.linspace(-2, 2, 16), network=net)
    seen = []
    for seed in (1, 1, 2, 3):
        md.manual_seed(seed)
        seen.append(
            float(net.losses([level], targets([16, 16, 48, 48]), [SIZE])["loss_objectness"])
        )
    assert seen[0] == seen[1]
    assert len(set(seen)) > 1


def test_pictures_without_objects_give_negative_anchors_only():
    net = network(batch_size_per_image=16)
    level = said([0.0] * 16, network=net)
    found = net.losses([level], targets(), [SIZE])
    assert float(found["loss_objectness"]) == pytest.approx(math.log(2))
    assert float(found["loss_rpn_box_reg"]) == 0.0


def test_an_object_that_no_anchor_fits_gets_the_best_ones():
    net = network()
    level = said([0.0] * 16, network=net)
    matches = net.match(level.anchors, np.array([[1, 1, 5, 5]], np.float32), SIZE)
    # It lies in the anchors about (0, 0), (0, 16), (16, 0) and (16, 16), in all of them alike.
    assert [k for k, match in enumerate(matches) if match == 0] == [0, 1, 4, 5]


def test_anchors_that_cross_the_border_are_ignored_where_the_paper_says_so():
    net = network(ignore_crossing=True, batch_size_per_image=16)
    level = said([0.0] * 16, network=net)
    matches = net.match(level.anchors, np.array([[1, 1, 5, 5]], np.float32), SIZE)
    # About (0, y) and (x, 0) they begin at -16. About (16, 16) it is [0, 0, 32, 32].
    inside = [5, 6, 7, 9, 10, 11, 13, 14, 15]
    assert matches.tolist() == [0 if k == 5 else -1 if k in inside else -2 for k in range(16)]
    # All anchors cross the border of a small picture: nothing is learned, nothing is NaN.
    level.objectness.requires_grad_()
    found = net.losses([level], targets([1, 1, 5, 5]), [(8, 8)])
    assert [float(loss) for loss in found.values()] == [0.0, 0.0]
    sum(found.values()).backward()
    np.testing.assert_array_equal(level.objectness.grad.data, 0)
