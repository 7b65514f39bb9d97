"""RoIPool, RoIAlign and the two stages of a detector, in plain NumPy, forward and backward.

- Girshick, "Fast R-CNN", 2015: RoIPool, one head for classes and boxes.
- Ren, He, Girshick, Sun, "Faster R-CNN", 2015: anchors, the region proposal network (RPN).
- Lin et al., "Feature pyramid networks", 2017: which level of a pyramid a box is cut from.
- He, Gkioxari, Dollár, Girshick, "Mask R-CNN", 2017: RoIAlign, masks.

Where the papers leave something open, the docstrings here decide it.

Conventions, everywhere in this file:

- Floats are float64, labels, indices and levels int64.
- A box is x1, y1, x2, y2 in pixels of the picture, x to the right, y down, with x1 <= x2 and
  y1 <= y2. It is half-open: its width is x2 - x1, without + 1. (RoIPool alone counts otherwise.)
- A region of interest is a row (image, x1, y1, x2, y2), the image counted from 0.
- Sizes are (height, width), and these need not be equal. Maps are (N, C, H, W).
- Class 0 is the background, 1 to C are objects.
- Wherever something is ranked, of equals the one of the lower index comes first.
- No function changes the arrays that it is given.
"""

import math

import numpy as np

LOG_LIMIT = math.log(1000 / 16)  # what `decode` takes for a log size at most

# -- 1. boxes --------------------------------------------------------------------------------------


def box_iou(first, second):
    """Intersection over union of all pairs.

    Args:
        first: (N, 4) boxes. N may be 0.
        second: (M, 4) boxes. M may be 0.

    Returns:
        (N, M), 0 for boxes that only touch. No two boxes without area are compared.
    """
    # BEGIN SOLUTION
    low = np.maximum(first[:, None, :2], second[:, :2])
    high = np.minimum(first[:, None, 2:], second[:, 2:])
    shared = np.maximum(high - low, 0.0).prod(axis=2)
    area = (first[:, 2:] - first[:, :2]).prod(axis=1)
    other = (second[:, 2:] - second[:, :2]).prod(axis=1)
    return shared / (area[:, None] + other - shared)
    # END SOLUTION


def nms(boxes, scores, threshold):
    """Non-maximum suppression: the surest box stays and removes those that overlap it; and so on.

    Args:
        boxes: (K, 4). K may be 0.
        scores: (K,).
        threshold: a box is removed by an IoU larger than this with a box that stays.

    Returns:
        int64 indices of the boxes that stay, by falling score.
    """
    # BEGIN SOLUTION
    iou = box_iou(boxes, boxes)
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if not (iou[i, kept] > threshold).any():
            kept.append(i)
    return np.array(kept, np.int64)
    # END SOLUTION


def encode(boxes, anchors, weights=(1.0, 1.0, 1.0, 1.0)):
    """What leads from each anchor to the box that is wanted. With centres and sizes,

        t_x = w_x (x - x_a) / width_a        t_w = w_w log(width / width_a)
        t_y = w_y (y - y_a) / height_a       t_h = w_h log(height / height_a)

    where the index a is for the anchor.

    Args:
        boxes: (K, 4), the boxes wanted.
        anchors: (K, 4), those one starts from. All have an area.
        weights: w_x, w_y, w_w, w_h.

    Returns:
        (K, 4) t_x, t_y, t_w, t_h.
    """
    # BEGIN SOLUTION
    size, size_a = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    centre, centre_a = boxes[:, :2] + size / 2, anchors[:, :2] + size_a / 2
    moves = np.concatenate([(centre - centre_a) / size_a, np.log(size / size_a)], axis=1)
    return moves * np.array(weights)
    # END SOLUTION


def decode(deltas, anchors, weights=(1.0, 1.0, 1.0, 1.0)):
    """The boxes to which deltas lead: what undoes `encode`.

    After the weights have been divided out, t_w and t_h are cut to at most LOG_LIMIT: exp must not
    overflow while a network is still wild. (There is no lower limit.)

    Args:
        deltas: (..., 4) t_x, t_y, t_w, t_h.
        anchors: (..., 4) boxes; the leading axes broadcast with those of deltas: for deltas
            (K, C, 4), one for each class, call it with anchors[:, None].
        weights: as in `encode`.

    Returns:
        (..., 4) boxes, of the shape of deltas.
    """
    # BEGIN SOLUTION
    size_a = anchors[..., 2:] - anchors[..., :2]
    centre_a = anchors[..., :2] + size_a / 2
    moves = deltas / np.array(weights)
    centre = moves[..., :2] * size_a + centre_a
    half = np.exp(np.minimum(moves[..., 2:], LOG_LIMIT)) * size_a / 2
    return np.concatenate([centre - half, centre + half], axis=-1)
    # END SOLUTION


# -- 2. anchors ------------------------------------------------------------------------------------


def anchors_of_level(height, width, stride, sizes, ratios):
    """The anchors of a map of height x width positions.

    An anchor of size s and ratio r has the area s² and is r times as high as wide. The anchors of
    row i and column j of the map have their centre where that position has its own: at
    x = (j + 1/2) stride, y = (i + 1/2) stride. Nothing is rounded, nothing cut off at the picture.

    Args:
        height, width: of the map.
        stride: pixels of the picture from one position to the next.
        sizes: a sequence of s, pixels.
        ratios: a sequence of r.

    Returns:
        (height * width * len(ratios) * len(sizes), 4) boxes: row by row, in a row column by column,
        at a position ratio after ratio, of one ratio size after size.
    """
    # BEGIN SOLUTION
    root = np.sqrt(np.array(ratios, float))[:, None]
    sides = np.stack([np.array(sizes) / root, np.array(sizes) * root], axis=-1).reshape(-1, 2)
    x = (np.arange(width) + 0.5) * stride
    y = (np.arange(height) + 0.5) * stride
    centres = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None]
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1).reshape(-1, 4)
    # END SOLUTION


def match_anchors(iou, high, low, keep_best=True):
    """Which object each anchor has to find.

    Of the objects that an anchor overlaps, its own is that of the largest IoU, its best.

    - best IoU >= high: the anchor has to find its own object.
    - best IoU < low: it is background.
    - between them: nothing is said about it.
    - With keep_best every object gets an anchor, however poor: the anchors that have the largest
      IoU with an object (all of them, where several are exactly equal, and only if that IoU is
      above 0) have to find something whatever the thresholds say. What such an anchor finds is its
      own object, which may be another one than that whose best anchor it is.

    Args:
        iou: (G, A) of each object and anchor. G may be 0: then all is background.
        high, low: thresholds, low <= high.
        keep_best: see above.

    Returns:
        (A,) int64: the index of an object; -1 background; -2 nothing is said.
    """
    # BEGIN SOLUTION
    count, anchors = iou.shape
    if count == 0:
        return np.full(anchors, -1)
    best, own = iou.max(axis=0), iou.argmax(axis=0)
    matches = np.where(best >= high, own, -2)
    matches[best < low] = -1
    if keep_best:
        highest = iou.max(axis=1, keepdims=True)
        wanted = ((iou == highest) & (iou > 0)).any(axis=0)
        matches[wanted] = own[wanted]
    return matches
    # END SOLUTION


def sample_anchors(matches, count, fraction, rng):
    """Some anchors, drawn at random, for the loss: so many positive ones, the others negative.

    The rule is exact. numbers = rng.random(A) is drawn once, one for each anchor, and nothing else.
    Of the anchors with an object those int(count * fraction) of the lowest numbers are taken, or
    all if there are fewer; then of the background those of the lowest numbers, so many that there
    are `count` together, or all if there are fewer.

    Args:
        matches: (A,), as from `match_anchors`.
        count: how many anchors.
        fraction: of positive ones, at most.
        rng: np.random.Generator.

    Returns:
        positive (P,) and negative (Q,): int64 indices of anchors, both in rising order.
    """
    # BEGIN SOLUTION
    numbers = rng.random(len(matches))

    def draw(candidates, most):
        chosen = np.argsort(numbers[candidates], kind="stable")[:most]
        return np.sort(candidates[chosen])

    positive = draw(np.flatnonzero(matches >= 0), int(count * fraction))
    negative = draw(np.flatnonzero(matches == -1), count - len(positive))
    return positive, negative
    # END SOLUTION


# -- 3. RoIPool ------------------------------------------------------------------------------------


def roi_pool(x, rois, size, scale):
    """The largest number in each of ph x pw bins of each region.

    1. The corners times `scale` are rounded to whole pixels of the map, a half upwards:
       floor(v + 1/2). The pixels of both corners belong to the region, so h = y2 - y1 + 1 and
       w = x2 - x1 + 1.
    2. Bin i of the rows has the pixels from floor(i h / ph) to ceil((i + 1) h / ph), this one not
       included, counted from y1. So neighbours may share a row. Columns likewise.
    3. What lies outside of the map is cut off. A bin of which nothing is left gives 0.

    Args:
        x: (N, C, H, W).
        rois: (K, 5) regions in pixels of the picture. K may be 0; they may reach out of the map.
        size: (ph, pw).
        scale: pixels of the map for one of the picture.

    Returns:
        out: (K, C, ph, pw).
        cache: whatever `roi_pool_backward` needs.
    """
    # BEGIN SOLUTION
    _, channels, height, width = x.shape
    out = np.zeros((len(rois), channels, *size))
    # Where in its plane (H W) each number comes from; -1: from nowhere.
    places = np.full(out.shape, -1)

    def edges(low, high, bins, length):
        step = (high - low + 1) / bins
        start = np.floor(np.arange(bins) * step) + low
        stop = np.ceil(np.arange(1, bins + 1) * step) + low
        return np.clip(np.stack([start, stop], axis=1), 0, length).astype(int)

    for k, roi in enumerate(rois):
        x1, y1, x2, y2 = np.floor(roi[1:] * scale + 0.5)
        for i, (top, bottom) in enumerate(edges(y1, y2, size[0], height)):
            for j, (left, right) in enumerate(edges(x1, x2, size[1], width)):
                window = x[int(roi[0]), :, top:bottom, left:right].reshape(channels, -1)
                if window.size:
                    out[k, :, i, j] = window.max(axis=1)
                    row, column = np.divmod(window.argmax(axis=1), right - left)
                    places[k, :, i, j] = (row + top) * width + column + left
    return out, (places, rois[:, 0].astype(int), x.shape)
    # END SOLUTION


def roi_pool_backward(grad, cache):
    """The gradient to the map: each number's goes to the one element that it was taken from.

    Of equal elements in a bin the first one, row by row, gets all. An element that is the largest
    of several bins, or in several regions, gets the sum of theirs.

    Args:
        grad: (K, C, ph, pw), of a loss to what `roi_pool` gives.
        cache: of `roi_pool`.

    Returns:
        (N, C, H, W).
    """
    # BEGIN SOLUTION
    places, images, shape = cache
    grad_x = np.zeros((shape[0], shape[1], shape[2] * shape[3]))
    k, c, i, j = np.nonzero(places >= 0)
    np.add.at(grad_x, (images[k], c, places[k, c, i, j]), grad[k, c, i, j])
    return grad_x.reshape(shape)
    # END SOLUTION


# -- 4. interpolation ------------------------------------------------------------------------------


def bilinear(x, ys, xs):
    """The value of a map at points between its pixels.

    Pixel [i, j] lies at y = i, x = j. A point between four pixels is interpolated linearly in x and
    in y. At the map's edges, along each axis:

    - below -1 or above the size (H for y, W for x): the value is 0, whatever the other axis says;
    - from -1 to 0: as at 0; from the last pixel (H - 1, W - 1) to the size: as at the last pixel.

    Args:
        x: (C, H, W).
        ys, xs: (P,) the points.

    Returns:
        (C, P).
    """
    # BEGIN SOLUTION
    _, height, width = x.shape
    inside = (ys >= -1) & (ys <= height) & (xs >= -1) & (xs <= width)
    ys, xs = np.clip(ys, 0, height - 1), np.clip(xs, 0, width - 1)
    top, left = np.floor(ys).astype(int), np.floor(xs).astype(int)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    dy, dx = ys - top, xs - left
    upper = x[:, top, left] * (1 - dx) + x[:, top, right] * dx
    lower = x[:, bottom, left] * (1 - dx) + x[:, bottom, right] * dx
    return (upper * (1 - dy) + lower * dy) * inside
    # END SOLUTION


def bilinear_backward(grad, size, ys, xs):
    """The gradient to the map: each point gives to its pixels by their weights in it.

    Args:
        grad: (C, P), of a loss to what `bilinear` gives.
        size: (H, W).
        ys, xs: (P,) as in `bilinear`.

    Returns:
        (C, H, W).
    """
    # BEGIN SOLUTION
    height, width = size
    inside = (ys >= -1) & (ys <= height) & (xs >= -1) & (xs <= width)
    ys, xs = np.clip(ys, 0, height - 1), np.clip(xs, 0, width - 1)
    top, left = np.floor(ys).astype(int), np.floor(xs).astype(int)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    dy, dx = ys - top, xs - left
    grad = grad * inside
    grad_x = np.zeros((len(grad), height, width))
    channel = np.arange(len(grad))[:, None]
    np.add.at(grad_x, (channel, top, left), grad * (1 - dy) * (1 - dx))
    np.add.at(grad_x, (channel, top, right), grad * (1 - dy) * dx)
    np.add.at(grad_x, (channel, bottom, left), grad * dy * (1 - dx))
    np.add.at(grad_x, (channel, bottom, right), grad * dy * dx)
    return grad_x
    # END SOLUTION


# -- 5. RoIAlign -----------------------------------------------------------------------------------


def sample_points(low, high, bins, scale, sampling_ratio, aligned):
    """Where RoIAlign looks, along one axis of one region.

    The region begins at low * scale and ends at high * scale; if aligned, both are less 1/2. If not
    aligned, a region shorter than 1 counts as 1 long, from its beginning on. It is divided into
    bins of equal length, and in each bin n points lie at equal distances, in the middle of n equal
    parts of the bin. Nothing is rounded.

    Args:
        low, high: x1 and x2, or y1 and y2, in pixels of the picture.
        bins: how many.
        scale: pixels of the map for one of the picture.
        sampling_ratio: n; if it is not positive, n is the bin's length on the map, rounded up.
        aligned: bool.

    Returns:
        (bins, n) positions on the map, as `bilinear` takes them. n is 0 for a region of length 0 if
        aligned and sampling_ratio is not positive.
    """
    # BEGIN SOLUTION
    start = low * scale - (0.5 if aligned else 0.0)
    length = (high - low) * scale
    if not aligned:
        length = max(length, 1.0)
    step = length / bins
    n = sampling_ratio if sampling_ratio > 0 else math.ceil(step)
    parts = (np.arange(n) + 0.5) / max(n, 1)
    return start + (np.arange(bins)[:, None] + parts) * step
    # END SOLUTION


def roi_align(x, rois, size, scale, sampling_ratio, aligned):
    """Each region resampled to ph x pw bins: a bin is the mean of the map at its points.

    The points of bin (i, j) are all pairs of the points of bin i along y and of bin j along x
    (`sample_points`); the map at a point is that of `bilinear`, points that count as 0 included in
    the mean. A bin without points is 0.

    Args:
        x: (N, C, H, W).
        rois: (K, 5) regions in pixels of the picture. K may be 0; they may reach out of the map.
        size: (ph, pw).
        scale, sampling_ratio, aligned: as in `sample_points`.

    Returns:
        (K, C, ph, pw).
    """
    # BEGIN SOLUTION
    out = np.zeros((len(rois), x.shape[1], *size))
    for k, (image, x1, y1, x2, y2) in enumerate(rois):
        rows = sample_points(y1, y2, size[0], scale, sampling_ratio, aligned)
        columns = sample_points(x1, x2, size[1], scale, sampling_ratio, aligned)
        if rows.size and columns.size:
            ys, xs = np.broadcast_arrays(rows[:, None, :, None], columns[None, :, None, :])
            values = bilinear(x[int(image)], ys.ravel(), xs.ravel())
            out[k] = values.reshape(-1, *ys.shape).mean(axis=(3, 4))
    return out
    # END SOLUTION


def roi_align_backward(grad, shape, rois, scale, sampling_ratio, aligned):
    """The gradient of a loss to the map. (Regions are constants: they get none.)

    Args:
        grad: (K, C, ph, pw), of a loss to what `roi_align` gives.
        shape: (N, C, H, W) of the map.
        rois, scale, sampling_ratio, aligned: as in `roi_align`.

    Returns:
        (N, C, H, W).
    """
    # BEGIN SOLUTION
    grad_x = np.zeros(shape)
    for own, (image, x1, y1, x2, y2) in zip(grad, rois, strict=True):
        rows = sample_points(y1, y2, own.shape[1], scale, sampling_ratio, aligned)
        columns = sample_points(x1, x2, own.shape[2], scale, sampling_ratio, aligned)
        if rows.size and columns.size:
            ys, xs = np.broadcast_arrays(rows[:, None, :, None], columns[None, :, None, :])
            each = own[..., None, None] / (rows.shape[1] * columns.shape[1])
            spread = np.broadcast_to(each, (len(own), *ys.shape)).reshape(len(own), -1)
            grad_x[int(image)] += bilinear_backward(spread, shape[2:], ys.ravel(), xs.ravel())
    return grad_x
    # END SOLUTION


# -- 6. the region proposal network ----------------------------------------------------------------


def binary_cross_entropy(logits, targets):
    """-(t log p + (1 - t) log(1 - p)) with p = sigmoid(logit), element by element.

    Right for every logit, to a thousand and beyond, on either side: no NaN, no infinity.

    Args:
        logits: (...).
        targets: (...), from 0 to 1.

    Returns:
        losses (...), and their derivatives by the logits (...).
    """
    # BEGIN SOLUTION
    small = np.exp(-np.abs(logits))
    losses = np.maximum(logits, 0.0) - logits * targets + np.log1p(small)
    probability = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return losses, probability - targets
    # END SOLUTION


def smooth_l1(predicted, target, beta):
    """With d = predicted - target: d² / (2 beta) where |d| < beta, else |d| - beta / 2.

    Args:
        predicted, target: (...).
        beta: above 0.

    Returns:
        losses (...), and their derivatives by `predicted` (...).
    """
    # BEGIN SOLUTION
    d = predicted - target
    near = np.abs(d) < beta
    losses = np.where(near, d**2 / (2 * beta), np.abs(d) - beta / 2)
    return losses, np.where(near, d / beta, np.sign(d))
    # END SOLUTION


def rpn_loss(logits, deltas, targets, positive, negative, beta):
    """The loss of the RPN on the anchors that were drawn, of one image.

    - Objectness: the sum of `binary_cross_entropy` over all anchors drawn, with target 1 for the
      positive and 0 for the negative ones.
    - Boxes: the sum of `smooth_l1` over the positive anchors and their four deltas.

    Both are divided by the number of anchors drawn, P + Q, or by 1 if there are none.

    Args:
        logits: (A,).
        deltas: (A, 4), predicted.
        targets: (A, 4), wanted; what stands in rows that are not positive means nothing (it may
            be NaN).
        positive: (P,), negative: (Q,): as from `sample_anchors`. P and Q may be 0.
        beta: of `smooth_l1`.

    Returns:
        loss_objectness, loss_boxes: floats.
        grad_logits (A,), grad_deltas (A, 4): the gradients of their sum.
    """
    # BEGIN SOLUTION
    count = max(len(positive) + len(negative), 1)
    drawn = np.concatenate([positive, negative])
    wanted = np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])
    objectness, slope = binary_cross_entropy(logits[drawn], wanted)
    boxes, box_slope = smooth_l1(deltas[positive], targets[positive], beta)
    grad_logits, grad_deltas = np.zeros(logits.shape), np.zeros(deltas.shape)
    grad_logits[drawn] = slope / count
    grad_deltas[positive] = box_slope / count
    return float(objectness.sum() / count), float(boxes.sum() / count), grad_logits, grad_deltas
    # END SOLUTION


def proposals(logits, deltas, anchors, image_size, pre_top, post_top, min_size, threshold):
    """The boxes that may contain something, in this order:

    1. the pre_top anchors of the highest logits;
    2. moved by their deltas (`decode`, weights 1);
    3. cut off at the picture: x to 0 ... W, y to 0 ... H;
    4. those left out of which a side is shorter than min_size;
    5. `nms` with threshold;
    6. the post_top of the highest logits.

    Args:
        logits: (A,), deltas: (A, 4), anchors: (A, 4).
        image_size: (H, W).
        pre_top, post_top: there may be fewer boxes.
        min_size: pixels.
        threshold: of `nms`.

    Returns:
        boxes (K, 4) and their logits (K,), by falling logit.
    """
    # BEGIN SOLUTION
    order = np.argsort(-logits, kind="stable")[:pre_top]
    height, width = image_size
    boxes = decode(deltas[order], anchors[order])
    boxes = np.clip(boxes, 0.0, [width, height, width, height])
    large = ((boxes[:, 2:] - boxes[:, :2]) >= min_size).all(axis=1)
    boxes, scores = boxes[large], logits[order][large]
    kept = nms(boxes, scores, threshold)[:post_top]
    return boxes[kept], scores[kept]
    # END SOLUTION


# -- 7. the second stage ---------------------------------------------------------------------------


def assign_levels(boxes, lowest, highest, canonical_level=4, canonical_size=224.0):
    """The level of a feature pyramid from which each box is cut.

        level = floor(canonical_level + log2(sqrt(width * height) / canonical_size))

    and where there is no such level the nearest one that there is.

    Args:
        boxes: (K, 4), all with an area. K may be 0.
        lowest, highest: the levels that there are.
        canonical_level, canonical_size: a square box of this size belongs to this level.

    Returns:
        (K,) int64.
    """
    # BEGIN SOLUTION
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    level = np.floor(canonical_level + np.log2(np.sqrt(area) / canonical_size))
    return np.clip(level, lowest, highest).astype(np.int64)
    # END SOLUTION


def head_loss(logits, deltas, labels, targets, beta):
    """The loss of the second stage on K proposals.

    - Classes: the sum over all proposals of -log softmax(logits)[label].
    - Boxes: the sum, over the proposals that are not background, of `smooth_l1` of the four deltas
      of the true class; the deltas of the other classes are left alone.

    Both are divided by K, the background counted, or by 1 if there are none.

    Args:
        logits: (K, C + 1), of any size, to thousands.
        deltas: (K, C + 1, 4).
        labels: (K,), 0 to C.
        targets: (K, 4); what stands in rows of background means nothing (it may be NaN).
        beta: of `smooth_l1`.

    Returns:
        loss_classes, loss_boxes: floats.
        grad_logits (K, C + 1), grad_deltas (K, C + 1, 4): the gradients of their sum.
    """
    # BEGIN SOLUTION
    count = max(len(labels), 1)
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    loss_classes = (np.log(total[:, 0]) - shifted[rows, labels]).sum() / count
    grad_logits = np.exp(shifted) / total
    grad_logits[rows, labels] -= 1.0
    objects = np.flatnonzero(labels > 0)
    own = labels[objects]
    boxes, slope = smooth_l1(deltas[objects, own], targets[objects], beta)
    grad_deltas = np.zeros(deltas.shape)
    grad_deltas[objects, own] = slope / count
    return float(loss_classes), float(boxes.sum() / count), grad_logits / count, grad_deltas
    # END SOLUTION


def detect(logits, deltas, boxes, image_size, weights, min_score, threshold, most):
    """The objects in a picture, from what the head says of its proposals.

    1. A proposal has a probability for each class: the softmax of its logits.
    2. Each class moves the proposal by its own deltas (`decode`), and each box is cut off at the
       picture.
    3. Of the pairs of a proposal and a class, background apart, those stay of which the
       probability is larger than min_score.
    4. `nms` with threshold within each class: boxes of different classes do not remove each other.
    5. Of all classes together the `most` of the highest probability.

    Args:
        logits: (K, C + 1), of any size.
        deltas: (K, C + 1, 4).
        boxes: (K, 4), the proposals. K may be 0.
        image_size: (H, W).
        weights: of `decode`.
        min_score, threshold, most: see above.

    Returns:
        boxes (R, 4), labels (R,) from 1 to C, scores (R,): by falling score, of equal ones the
        lower label first. R may be 0.
    """
    # BEGIN SOLUTION
    height, width = image_size
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    every = exps / exps.sum(axis=1, keepdims=True)
    moved = decode(deltas, boxes[:, None], weights)
    moved = np.clip(moved, 0.0, [width, height, width, height])
    rows, labels = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for label in range(1, logits.shape[1]):
        candidates = np.flatnonzero(every[:, label] > min_score)
        kept = nms(moved[candidates, label], every[candidates, label], threshold)
        rows.append(candidates[kept])
        labels.append(np.full(len(kept), label))
    row, label = np.concatenate(rows), np.concatenate(labels)
    first = np.argsort(-every[row, label], kind="stable")[:most]
    row, label = row[first], label[first]
    return moved[row, label], label, every[row, label]
    # END SOLUTION


# -- 8. masks --------------------------------------------------------------------------------------


def mask_targets(masks, matches, boxes, size):
    """The true mask of each positive proposal, cut out by the proposal's box.

    Mask matches[k] as a map of one channel, resampled by `roi_align` to size x size bins: scale 1,
    adaptive sampling (sampling_ratio 0), aligned. What comes is the share of each bin that the
    object covers; it stays as it is, from 0 to 1.

    Args:
        masks: (G, H, W) bool, of each object in the picture.
        matches: (K,): the object that each proposal has to find. K may be 0.
        boxes: (K, 4), the proposals.
        size: of the grid.

    Returns:
        (K, size, size) floats.
    """
    # BEGIN SOLUTION
    rois = np.concatenate([matches[:, None], boxes], axis=1)
    return roi_align(masks[:, None].astype(float), rois, (size, size), 1.0, 0, True)[:, 0]
    # END SOLUTION


def mask_loss(logits, labels, targets):
    """`binary_cross_entropy` on the mask of the true class: the mean over proposals and pixels.

    The masks of the other classes are left alone. The loss is 0 if there are no proposals.

    Args:
        logits: (K, C + 1, m, m).
        labels: (K,), 1 to C.
        targets: (K, m, m), as from `mask_targets`.

    Returns:
        loss: float. gradient: (K, C + 1, m, m).
    """
    # BEGIN SOLUTION
    rows = np.arange(len(labels))
    losses, slope = binary_cross_entropy(logits[rows, labels], targets)
    gradient = np.zeros(logits.shape)
    gradient[rows, labels] = slope / max(slope.size, 1)
    return float(losses.sum() / max(losses.size, 1)), gradient
    # END SOLUTION
